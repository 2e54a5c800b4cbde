"""Recurrent modules of torch.nn out of a file that torch.save has written."""

from __future__ import annotations

import pickletools
import re
import sys
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..cells.twins import LAYERS, STEPS, TWINS
from .convert import to_torch
from .one_step import RNNCellBase
from .recurrent import RecurrentLayer

_MODULES = (*LAYERS, *STEPS)
RECURRENT_WEIGHT = re.compile(
    r"^(?P<prefix>.*?)(?P<name>(?:weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)(?:_l\d+(?:_reverse)?)?)$"
)
_BEFORE_ZIP = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # how torch.save's files start that are no zip archives
_NOT_THERE = (AttributeError, ModuleNotFoundError)


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
            that do not fit together or are no dense tensors of real numbers.
    """
    loaded = _load(path, trust)
    for name, tensor in _tensors(loaded):
        if RECURRENT_WEIGHT.match(name):
            _check_numbers(f"{path}: {name}", tensor)
    if isinstance(loaded, nn.Module):
        if any(isinstance(m, (RecurrentLayer, RNNCellBase)) for m in loaded.modules()):
            try:
                loaded = to_torch(loaded)
            except TypeError as error:
                raise ValueError(f"{path}: {error}") from None
        found = [(name or type(m).__name__, m) for name, m in loaded.named_modules() if type(m) in _MODULES]
    else:
        found = list(_from_tensors(path, dict(_tensors(loaded))))
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
    with open(path, "rb") as file:  # what is wrong with the path is said here, what is wrong with the content below
        start = file.read(len(_BEFORE_ZIP))
    try:
        with torch.serialization.safe_globals([*_MODULES, set]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.load warns of what is refused below
            return torch.load(path, map_location="cpu", weights_only=not trust)
    except Exception as error:  # a file of another kind makes the unpickler raise whatever it stumbles over
        raise ValueError(
            f"cannot load {path}: {_what_it_is(path, start, trust, error)}; expected a state dict, as of "
            "torch.save(model.state_dict(), FILE)"
        ) from None


def _what_it_is(path: str, start: bytes, trust: bool, error: Exception) -> str:
    said = " ".join(str(error).split())
    no_zip = start == _BEFORE_ZIP
    asked = (
        None
        if no_zip and _ends_within_a_pickle(path)
        else re.search(r"GLOBAL (\S+)( whose module \S+ is blocked)?", said)
    )
    if asked:
        if asked[2]:
            return f"unpickled, it would run {asked[1]}, which no model needs: it may be malicious, do not load it"
        of_a_script = asked[1].startswith("__main__.")
        if of_a_script and not hasattr(sys.modules["__main__"], asked[1].split(".")[1]):
            return _of_a_script(asked[1])
        return (
            f"it asks for {asked[1]}, more than tensors and torch.nn's recurrent modules; if that is the class of a "
            f"whole model from a source you trust, load it with {'trust=True' if of_a_script else '--trust'}"
        )
    if (
        isinstance(error, OSError)
        or "PytorchStreamReader failed reading" in said
        or (no_zip and not isinstance(error, _NOT_THERE))
    ):
        return "it is cut off or damaged, copy or download it again"
    if "TorchScript" in said:
        return "it is a TorchScript archive, which torch.jit.load loads"
    if trust:
        if "__main__'" in said and (lost := re.search(r"attribute '(\S+)'", said)):
            return _of_a_script(f"__main__.{lost[1]}")
        importable = ", run it where its classes can be imported" if isinstance(error, _NOT_THERE) else ""
        return f"{type(error).__name__}: {said}{importable}"
    if start.startswith(b"\x80"):
        return "it is a pickle that torch.save has not written"
    return "it is no file that torch.save has written"


def _of_a_script(name: str) -> str:
    return f"it asks for {name}, defined in the script that saved it and found nowhere else: save the state dict there"


def _ends_within_a_pickle(path: str) -> bool:
    """Whether a file that is no zip archive is cut off early, where the name of a class may be half a name."""
    with open(path, "rb") as file:
        try:
            for _ in range(4):  # a number that marks the file, its format's, the sizes of integers, what was saved
                for _ in pickletools.genops(file):
                    pass
        except ValueError:
            return True
    return False


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


def _from_tensors(path: str, tensors: dict[str, Tensor]) -> Iterator[tuple[str, nn.Module]]:
    groups: dict[str, OrderedDict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = RECURRENT_WEIGHT.match(key)
        if match:
            groups.setdefault(match["prefix"], OrderedDict())[match["name"]] = tensor
    for prefix, weights in groups.items():
        name = prefix.removesuffix(".")
        try:
            yield from _from_state_dict(name, weights)
        except ValueError as error:
            raise ValueError(
                f"{path}: the weights of {name or 'the state dict'} are of no layer of torch.nn: {error}; save a "
                "module's state_dict(), unchanged"
            ) from None


def _from_state_dict(name: str, weights: OrderedDict[str, Tensor]) -> Iterator[tuple[str, nn.Module]]:
    is_cell = "weight_ih" in weights
    suffix = "" if is_cell else "_l0"
    first, recurrent = (_matrix(weights, f"{w}{suffix}") for w in ("weight_ih", "weight_hh"))
    projection = _matrix(weights, "weight_hr_l0") if "weight_hr_l0" in weights else None
    hidden_size = recurrent.shape[1] if projection is None else projection.shape[1]
    gates = len(recurrent) // hidden_size if hidden_size and len(recurrent) % hidden_size == 0 else 0
    twins = [twin for twin in TWINS if len(twin.cell.gates) == gates]
    if not twins:
        shape = f"{list(recurrent.shape)} should have 1, 3 or 4 times as many rows as "
        columns = "columns" if projection is None else f"weight_hr_l0 {list(projection.shape)} has columns"
        raise ValueError(f"weight_hh{suffix} {shape}{columns}, for an RNN, a GRU or an LSTM")
    common: dict[str, Any] = {"bias": any(w.startswith("bias") for w in weights)}
    if not is_cell:
        common["num_layers"] = 1 + max(int(number) for w in weights for number in re.findall(r"_l(\d+)", w))
        common["bidirectional"] = any(w.endswith("_reverse") for w in weights)
    if projection is not None:
        common["proj_size"] = projection.shape[0]
    for twin in twins:
        kind, options = twin.step if is_cell else twin.layer, common | twin.options
        _check_shapes(kind(first.shape[1], hidden_size, device="meta", **options), weights)
        module = kind(first.shape[1], hidden_size, dtype=first.dtype, **options)
        module.load_state_dict(weights)
        yield " as ".join([name or kind.__name__, *twin.options.values()]), module


def _matrix(weights: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in weights:
        raise ValueError(f"it has no {name}")
    found = weights[name]
    if found.dim() != 2:
        raise ValueError(f"{name} {list(found.shape)} should be a matrix")
    return found


def _check_numbers(name: str, weight: Tensor) -> None:
    if not weight.is_floating_point():
        raise ValueError(f"{name} should be of floating point, it is {weight.dtype}")
    if weight.layout != torch.strided:
        raise ValueError(f"{name} should be dense, {torch.strided}, its layout is {weight.layout}")
    if weight.is_meta:
        raise ValueError(f"{name} should hold numbers, it is on the meta device")


def _check_shapes(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    expected = module.state_dict()
    for name, w in expected.items():
        if name not in weights:
            raise ValueError(f"as {module} it has no {name}")
        if weights[name].shape != w.shape:
            raise ValueError(f"as {module} {name} should be {list(w.shape)}, it is {list(weights[name].shape)}")
    for name in weights:
        if name not in expected:
            raise ValueError(f"as {module} it has {name} beside its own")
