"""torch.nn's modules, of any cell: parameters, stacking, directions, layouts and dtypes at the border, conversion."""

from .convert import from_torch, to_torch
from .models import GRUModel, LSTMModel, MultiLayerRNN, RNNModel
from .one_step import GRUCell, LSTMCell, RNNCell, RNNCellBase
from .recurrent import RecurrentLayer
from .rnn import GRU, LSTM, RNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "GRUModel",
    "LSTMCell",
    "LSTMModel",
    "MultiLayerRNN",
    "RNNCell",
    "RNNCellBase",
    "RNNModel",
    "RecurrentLayer",
    "from_torch",
    "to_torch",
]
