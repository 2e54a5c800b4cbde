"""Which classes of torch.nn compute each built-in cell, and what it is called where: each name stands here once."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn

from .cell import Cell
from .elman import elman, elman_relu
from .gru import gru
from .lstm import lstm


class Twin(NamedTuple):
    """A built-in cell and its twins in torch.nn; `cell.name` is torch.nn's `mode`, and what a saved trace holds."""

    cell: Cell
    layer: type[Any]
    """torch.nn's layer of it, made as `layer(input_size, hidden_size, **options)`."""
    step: type[Any]
    """torch.nn's cell, which takes a single step."""
    options: dict[str, str]
    """What the constructors of both are told beside the sizes."""
    case: str
    """Its name in a benchmark's tables and records."""
    word: str
    """Its name as it is typed behind a command."""
    title: str
    """Its name in what `verify` prints."""


TWINS = (
    Twin(elman, nn.RNN, nn.RNNCell, {"nonlinearity": "tanh"}, "RNN", "rnn", "RNN tanh"),
    Twin(elman_relu, nn.RNN, nn.RNNCell, {"nonlinearity": "relu"}, "RNN_relu", "rnn_relu", "RNN relu"),
    Twin(lstm, nn.LSTM, nn.LSTMCell, {}, "LSTM", "lstm", "LSTM"),
    Twin(gru, nn.GRU, nn.GRUCell, {}, "GRU", "gru", "GRU"),
)
BUILT_IN = {twin.cell.name: twin.cell for twin in TWINS}
LAYERS: tuple[type[Any], ...] = tuple(dict.fromkeys(twin.layer for twin in TWINS))
STEPS: tuple[type[Any], ...] = tuple(dict.fromkeys(twin.step for twin in TWINS))


def find_twin(cell: Cell) -> Twin | None:
    """The row of a cell, None for one that torch.nn does not have."""
    return next((twin for twin in TWINS if twin.cell == cell), None)
