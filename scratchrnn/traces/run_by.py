"""By which module another is run where a trace or a measure of its weights needs one of scratchrnn."""

from __future__ import annotations

from typing import TypeAlias, overload

from torch import nn

from ..cells.twins import LAYERS, STEPS
from ..engine.columns import Weights
from ..layers.convert import twin
from ..layers.one_step import GRUCell, LSTMCell, RNNCell, RNNCellBase
from ..layers.recurrent import RecurrentLayer
from .diversion import forwards_class

Layer: TypeAlias = nn.RNNBase | RecurrentLayer
OneStep: TypeAlias = nn.RNNCellBase | RNNCellBase
"""A module that takes a single step: torch.nn's and our RNNCell, LSTMCell and GRUCell."""
LAYER = (nn.RNNBase, RecurrentLayer)
ONE_STEP = (nn.RNNCellBase, RNNCellBase)

_FORWARDS = (*LAYERS, *STEPS, RecurrentLayer, RNNCell, LSTMCell, GRUCell)


@overload
def run_by(module: Layer) -> RecurrentLayer: ...
@overload
def run_by(module: OneStep) -> RNNCellBase: ...
def run_by(module: Layer | OneStep) -> RecurrentLayer | RNNCellBase:
    """The module of scratchrnn that a traced one runs by for one call: itself, or one with the very same weights.

    Raises:
        TypeError: the module has a `forward` of its own.
    """
    if forwards_class(module) not in _FORWARDS:
        raise own_forward(module)
    made = module if isinstance(module, (RecurrentLayer, RNNCellBase)) else twin(module)
    assert isinstance(made, (RecurrentLayer, RNNCellBase))
    return made


def own_forward(module: nn.Module) -> TypeError:
    """What to raise where what a module computes is not known."""
    return TypeError(
        f"cannot trace a {type(module).__name__}: it has a forward of its own. Let a module hold the layer or cell "
        "instead of being one, or give equations of your own as a RecurrentLayer(Cell(...), ...)"
    )


def weights_of(module: RecurrentLayer | RNNCellBase, k: int = 0, reverse: bool = False) -> Weights:
    """Of layer k and direction, or of a cell."""
    if isinstance(module, RecurrentLayer):
        return module._weights(k, int(reverse))
    return Weights(module.weight_ih, module.weight_hh, module.bias_ih, module.bias_hh, None)  # type: ignore[arg-type]
