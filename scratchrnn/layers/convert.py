"""Between torch.nn's recurrent modules and these, with the same weights; alone or anywhere inside a model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import nn

from ..cells.twins import BUILT_IN, LAYERS, STEPS, find_twin
from .one_step import GRUCell, LSTMCell, RNNCell, RNNCellBase
from .recurrent import RecurrentLayer
from .rnn import GRU, LSTM, RNN

_OURS: dict[str, type[nn.Module]] = {ours.__name__: ours for ours in (RNN, LSTM, GRU, RNNCell, LSTMCell, GRUCell)}
_TWINS: dict[type[nn.Module], type[nn.Module]] = {theirs: _OURS[theirs.__name__] for theirs in (*LAYERS, *STEPS)}
_ARGUMENTS = (
    *("input_size", "hidden_size", "num_layers", "nonlinearity", "bias"),
    *("batch_first", "dropout", "bidirectional", "proj_size"),
)
_OF_A_CELL = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def from_torch(module: nn.Module) -> nn.Module:
    """A copy of `module` in which every RNN, LSTM, GRU and cell of torch.nn is replaced by ours.

    The weights are copies, with their `requires_grad`; weights that are shared stay shared; `training` and hooks go
    over. `module` itself is left alone. What refers to a layer otherwise than as a submodule, in a plain list for
    instance, goes on referring to torch.nn's.

    Raises:
        TypeError: a submodule is of a class derived from one of torch.nn's: it may compute something else.
        ValueError: nothing is there to be replaced, or a submodule's parameters are not the usual ones, or not all
            that it holds.
    """
    return _convert(module, _TWINS, "torch.nn's", (nn.RNNBase, nn.RNNCellBase))


def to_torch(module: nn.Module) -> nn.Module:
    """The reverse of `from_torch`: a copy of `module` with torch.nn's RNN, LSTM, GRU and cells in the place of ours.

    Raises:
        TypeError: a submodule is a RecurrentLayer, of whatever cell, or of a class derived from one of ours.
        ValueError: nothing is there to be replaced, or a submodule's parameters are not the usual ones.
    """
    return _convert(
        module, {ours: theirs for theirs, ours in _TWINS.items()}, "scratchrnn's", (RecurrentLayer, RNNCellBase)
    )


def _convert(
    module: nn.Module, twins: dict[type[nn.Module], type[nn.Module]], whose: str, bases: tuple[type[nn.Module], ...]
) -> nn.Module:
    if not isinstance(module, nn.Module):
        raise TypeError(f"module should be a torch.nn.Module, got: {type(module).__name__}")
    for name, part in module.named_modules():
        _check(part, name, twins, whose, bases)
    if not any(type(part) in twins for part in module.modules()):
        raise ValueError(f"nothing to convert: no RNN, LSTM, GRU or cell of {whose} in this {type(module).__name__}")
    copied = copy.deepcopy(module)
    made = {part: _twin(part, twins[type(part)]) for part in copied.modules() if type(part) in twins}
    for parent in list(copied.modules()):
        for name, child in parent._modules.items():
            if child in made:
                parent._modules[name] = made[child]
    return made.get(copied, copied)


def _check(
    part: nn.Module,
    name: str,
    twins: dict[type[nn.Module], type[nn.Module]],
    whose: str,
    bases: tuple[type[nn.Module], ...],
) -> None:
    """Raise unless the part has a twin with the same parameters, or is none of the modules that need one."""
    if type(part) is RecurrentLayer and RecurrentLayer in bases:
        found = find_twin(part.cell)
        if found is None:
            raise TypeError(f"cannot convert {_called(name)}: torch.nn has no layer of the cell {part.cell.name!r}")
        options = ", ".join(["...", *(f"{option}={value!r}" for option, value in found.options.items())])
        raise TypeError(
            f"cannot convert {_called(name)}: a RecurrentLayer is converted to none of torch.nn's, whatever its cell; "
            f"make a scratchrnn.{found.layer.__name__}({options}) instead, which loads its state dict"
        )
    if isinstance(part, bases) and type(part) not in twins:
        raise TypeError(
            f"cannot convert {_called(name)}: a {type(part).__name__} is not exactly one of {whose} "
            f"{', '.join(t.__name__ for t in twins)} and may compute something else "
            "(parametrized modules: torch.nn.utils.parametrize.remove_parametrizations first)"
        )
    if type(part) in twins:
        _check_parameters(part, twins[type(part)], name)


def twin(layer: nn.Module) -> nn.Module:
    """Ours in the place of a layer or cell of torch.nn, for one call: its settings, and its weights as it has them now.

    The layer may be of a class derived from one of torch.nn's, and its weights computed, as by a parametrization.
    """
    ours = next(_TWINS[kind] for kind in type(layer).__mro__ if kind in _TWINS)
    made = ours.__new__(ours)
    nn.Module.__init__(made)
    made.__dict__.update({a: layer.__dict__[a] for a in (*_ARGUMENTS, "mode", "training") if a in layer.__dict__})
    names: Sequence[str] = _OF_A_CELL
    if isinstance(made, RecurrentLayer):
        made.cell = BUILT_IN[made.mode]
        names = made._flat_weights_names
    made.__dict__.update({name: getattr(layer, name) for name in names})
    return made


def _twin(part: nn.Module, twin: type[nn.Module]) -> nn.Module:
    made = _empty(part, twin)
    for bookkeeping in vars(nn.Module()).keys() - {"_parameters", "_buffers", "_modules"}:
        made.__dict__[bookkeeping] = part.__dict__[bookkeeping]  # hooks, training
    for parameter, value in part._parameters.items():
        setattr(made, parameter, value)
    return made


def _empty(part: nn.Module, twin: type[nn.Module]) -> nn.Module:
    """A `twin` made with the arguments of `part`, without data."""
    unknown = ("proj_size",) if twin in (RNN, GRU, nn.RNN, nn.GRU) else ()
    arguments: dict[str, Any] = {a: part.__dict__[a] for a in _ARGUMENTS if a in part.__dict__ and a not in unknown}
    dropout = {"dropout": arguments.pop("dropout")} if "dropout" in arguments else {}
    made = twin(**arguments, device="meta")
    made.__dict__.update(dropout)  # given to the constructor, that of a single layer would be warned of once more
    return made


def _check_parameters(part: nn.Module, twin: type[nn.Module], name: str) -> None:
    """Raise unless the parameters are the usual ones: old weight_norm and pruning, for instance, replace some."""
    expected, there = (
        {n: None if p is None else list(p.shape) for n, p in m._parameters.items()} for m in (_empty(part, twin), part)
    )
    if expected != there:
        raise ValueError(f"cannot convert {_called(name)}: expected the parameters {expected}, got {there}")
    more = [*part._buffers, *part._modules]
    if more:
        raise ValueError(f"cannot convert {_called(name)}: it holds more than its parameters: {', '.join(more)}")


def _called(name: str) -> str:
    return f"submodule {name!r}" if name else "the module"
