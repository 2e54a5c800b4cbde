"""Hand-written Elman, LSTM and GRU cells in raw PyTorch tensors, checked against torch.nn."""

from . import interruption as interruption  # first: the others import torch, which takes seconds
from .cells.cell import Cell
from .layers.convert import from_torch, to_torch
from .layers.models import GRUModel, LSTMModel, MultiLayerRNN, RNNModel
from .layers.one_step import GRUCell, LSTMCell, RNNCell, RNNCellBase
from .layers.recurrent import RecurrentLayer
from .layers.rnn import GRU, LSTM, RNN
from .parity.compare import compare
from .traces.record import load_trace
from .traces.trace import trace

__version__ = "0.1.0"

RNNBase = (
    RecurrentLayer  # torch.nn's name, for isinstance(module, nn.RNNBase); it takes a cell where theirs takes a mode
)

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Cell",
    "GRUCell",
    "GRUModel",
    "LSTMCell",
    "LSTMModel",
    "MultiLayerRNN",
    "RNNBase",
    "RNNCell",
    "RNNCellBase",
    "RNNModel",
    "RecurrentLayer",
    "compare",
    "from_torch",
    "load_trace",
    "to_torch",
    "trace",
]
