"""Hand-written Elman, LSTM and GRU cells in raw PyTorch tensors, checked against torch.nn."""

from .cell import Cell
from .cells import GRUCell, LSTMCell, RNNCell, RNNCellBase
from .convert import from_torch, to_torch
from .layers import GRU, LSTM, RNN
from .models import GRUModel, LSTMModel, MultiLayerRNN, RNNModel
from .parity import compare
from .recurrent import RecurrentLayer
from .trace import trace

RNNBase = RecurrentLayer  # torch.nn's name, for code that asks isinstance(module, nn.RNNBase)

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
    "to_torch",
    "trace",
]
