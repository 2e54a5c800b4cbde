"""Hand-written Elman, LSTM and GRU cells in raw PyTorch tensors, checked against torch.nn."""

from importlib import import_module
from typing import Any

from . import interruption as interruption  # first: the others import torch, which takes seconds
from .cells import Cell
from .layers import (
    GRU,
    LSTM,
    RNN,
    GRUCell,
    GRUModel,
    LSTMCell,
    LSTMModel,
    MultiLayerRNN,
    RecurrentLayer,
    RNNCell,
    RNNCellBase,
    RNNModel,
    from_torch,
    to_torch,
)
from .parity import compare, diagnose
from .traces import load_trace, trace

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
    "diagnose",
    "from_torch",
    "load_trace",
    "to_torch",
    "trace",
]


def __getattr__(name: str) -> Any:
    """What is loaded when it is asked for: `plot` needs matplotlib, and `__version__` looks for what is installed."""
    match name:
        case "plot":
            return import_module(".plot", __name__)
        case "native":
            return import_module(".engine.native", __name__)
        case "summary":
            return import_module(".traces.summary", __name__)
        case "__version__":
            return import_module("importlib.metadata").version("scratchrnn")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
