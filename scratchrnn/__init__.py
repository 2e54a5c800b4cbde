"""Hand-written Elman, LSTM and GRU cells in raw PyTorch tensors, checked against torch.nn."""

from importlib import import_module
from importlib.util import find_spec
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
from .parity import Cause, Diagnosis, Difference, Report, compare, diagnose
from .traces import ModelTrace, Record, Trace, load_trace, trace

RNNBase = (
    RecurrentLayer  # torch.nn's name, for isinstance(module, nn.RNNBase); it takes a cell where theirs takes a mode
)

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Cause",
    "Cell",
    "Diagnosis",
    "Difference",
    "GRUCell",
    "GRUModel",
    "LSTMCell",
    "LSTMModel",
    "ModelTrace",
    "MultiLayerRNN",
    "RNNBase",
    "RNNCell",
    "RNNCellBase",
    "RNNModel",
    "Record",
    "RecurrentLayer",
    "Report",
    "Trace",
    "compare",
    "diagnose",
    "from_torch",
    "load_trace",
    "to_torch",
    "trace",
]

_ROOMS = {
    "cells": ".cells",
    "native": ".engine.native",
    "plot": ".plot",
    "summary": ".traces.summary",
    "testing": ".testing",
}
_NEEDS = {"plot": "matplotlib", "testing": "hypothesis"}


def __getattr__(name: str) -> Any:
    """What is loaded when it is asked for: `plot` needs matplotlib, and `__version__` looks for what is installed."""
    if name in _ROOMS:
        return import_module(_ROOMS[name], __name__)
    if name == "__version__":
        return import_module("importlib.metadata").version("scratchrnn")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, but for a room whose library is not installed."""
    there = [name for name in _ROOMS if name not in _NEEDS or find_spec(_NEEDS[name])]
    return sorted([*__all__, *there, "__version__"])
