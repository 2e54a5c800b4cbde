"""Recurrent modules of torch.nn out of a file that torch.save has written."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .convert import to_torch
from .one_step import RNNCellBase
from .recurrent import RecurrentLayer

_MODULES = (nn.RNN, nn.LSTM, nn.GRU, nn.RNNCell, nn.LSTMCell, nn.GRUCell)
_LAYERS: dict[int, type[nn.RNNBase]] = {1: nn.RNN, 3: nn.GRU, 4: nn.LSTM}
_CELLS: dict[int, type[nn.RNNCellBase]] = {1: nn.RNNCell, 3: nn.GRUCell, 4: nn.LSTMCell}
RECURRENT_WEIGHT = re.compile(
    r"^(?P<prefix>.*?)(?P<name>(?:weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)(?:_l\d+(?:_reverse)?)?)$"
)


def load_recurrent(path: str, trust: bool = False) -> list[tuple[str, nn.Module]]:
    """Every RNN, LSTM, GRU and cell of torch.nn in the file, with its name there.

    The file holds a module, or a state dict, alone or anywhere inside dicts. Of a state dict's Elman RNN it is not
    known whether it is tanh or relu: both are returned.

    Args:
        path: a file that torch.save has written.
        trust: unpickle whatever the file holds, which runs code from it. Without, only tensors, containers and
            torch.nn's own recurrent modules are loaded.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such file, holds other classes and is not trusted, holds no recurrent weights, or weights
            that do not fit together.
    """
    loaded = _load(path, trust)
    if isinstance(loaded, nn.Module):
        if any(isinstance(m, (RecurrentLayer, RNNCellBase)) for m in loaded.modules()):
            try:
                loaded = to_torch(loaded)
            except TypeError as error:
                raise ValueError(f"{path}: {error}") from None
        found = [(name or type(m).__name__, m) for name, m in loaded.named_modules() if type(m) in _MODULES]
    else:
        found = list(_from_tensors(dict(_tensors(loaded))))
    if not found:
        raise ValueError(f"{path} should hold an RNN, LSTM, GRU or cell of torch.nn, or its state dict; found none")
    return found


def load_tensors(path: str, trust: bool = False) -> dict[str, Tensor]:
    """Every tensor in the file by its name there, in nested dicts and modules too.

    Raises:
        OSError, ValueError: as `load_recurrent`, but for a file without recurrent weights.
    """
    return dict(_tensors(_load(path, trust)))


def _load(path: str, trust: bool) -> Any:
    try:
        with torch.serialization.safe_globals([*_MODULES, set]):
            return torch.load(path, map_location="cpu", weights_only=not trust)
    except OSError:
        raise
    except Exception as error:  # a file of another kind makes the unpickler raise whatever it stumbles over
        reason, hint = "it is no file that torch.save has written", ""
        if trust:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        elif "Unsupported global" in str(error):
            reason = "it holds more than tensors and torch.nn's recurrent modules"
            hint = "; if it is a whole model from a source you trust, load it with --trust"
        raise ValueError(f"cannot load {path}: {reason}{hint}") from None


def _tensors(loaded: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(loaded, nn.Module):
        loaded = loaded.state_dict()
    if isinstance(loaded, (list, tuple)):
        loaded = {str(k): value for k, value in enumerate(loaded)}
    if isinstance(loaded, Mapping):
        for key, value in loaded.items():
            yield from _tensors(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(loaded, Tensor):
        yield prefix, loaded


def _from_tensors(tensors: dict[str, Tensor]) -> Iterator[tuple[str, nn.Module]]:
    groups: dict[str, OrderedDict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = RECURRENT_WEIGHT.match(key)
        if match:
            groups.setdefault(match["prefix"], OrderedDict())[match["name"]] = tensor
    for prefix, weights in groups.items():
        name = prefix.removesuffix(".")
        try:
            yield from _from_state_dict(name, weights)
        except (KeyError, RuntimeError, ValueError, ZeroDivisionError) as error:
            shapes = ", ".join(f"{n} {list(w.shape)}" for n, w in weights.items())
            reason = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
            whose = name or "the state dict"
            raise ValueError(f"the weights of {whose} do not fit together: {shapes} ({reason})") from None


def _from_state_dict(name: str, weights: OrderedDict[str, Tensor]) -> Iterator[tuple[str, nn.Module]]:
    is_cell = "weight_ih" in weights
    first, recurrent = (weights[w if is_cell else f"{w}_l0"] for w in ("weight_ih", "weight_hh"))
    projection = weights.get("weight_hr_l0")
    hidden_size = recurrent.shape[1] if projection is None else projection.shape[1]
    gates = recurrent.shape[0] // hidden_size
    if gates not in _LAYERS:
        raise ValueError(f"{gates} gates; 1, 3 and 4 are known")
    common: dict[str, Any] = {"bias": any(w.startswith("bias") for w in weights), "dtype": first.dtype}
    if not is_cell:
        common["num_layers"] = 1 + max(int(number) for w in weights for number in re.findall(r"_l(\d+)", w))
        common["bidirectional"] = any(w.endswith("_reverse") for w in weights)
    if projection is not None:
        common["proj_size"] = projection.shape[0]
    kind: Any = (_CELLS if is_cell else _LAYERS)[gates]
    for nonlinearity in ("tanh", "relu") if gates == 1 else ("",):
        options = common | ({"nonlinearity": nonlinearity} if nonlinearity else {})
        module = kind(first.shape[1], hidden_size, **options)
        module.load_state_dict(weights)
        called = f"{name or kind.__name__}{' as ' if nonlinearity else ''}{nonlinearity}"
        yield called, module
