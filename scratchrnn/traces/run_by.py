"""By which layer another is run where a trace or a measure of its weights needs one of scratchrnn."""

from __future__ import annotations

from torch import nn

from ..layers.convert import twin
from ..layers.recurrent import RecurrentLayer
from .diversion import forwards_class


def run_by(layer: nn.RNNBase | RecurrentLayer) -> RecurrentLayer:
    """The layer of scratchrnn that a traced layer runs by: itself, or one with the very same weights.

    Raises:
        TypeError: the layer's class is derived from one of these, and has a `forward` of its own.
    """
    made = layer if isinstance(layer, RecurrentLayer) else twin(layer)
    assert isinstance(made, RecurrentLayer)
    if forwards_class(made) is not RecurrentLayer:
        raise TypeError(f"cannot trace a {type(layer).__name__}: it has a forward of its own")
    return made
