"""A cell or module of the caller's own as an implementation that the benchmark times."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ..cells.cell import Cell
from ..cells.twins import BUILT_IN
from ..layers.recurrent import RecurrentLayer
from ..parity.subjects import imported
from .implementations import Build, Unavailable

SUBJECT = "subject"
WALKED, COMPILED = f"{SUBJECT}, walked", f"{SUBJECT}, compiled"


@dataclass(frozen=True)
class Subject:
    """The implementation by a `Cell`, or by a class that is called and built as torch.nn's layers are."""

    what: Cell | type[nn.Module]
    unchecked: bool = False
    """It may have other parameters than torch.nn's."""
    path: str = ""
    """Where it is found, `my.module:Name`."""

    def __call__(self, theirs: nn.RNNBase) -> nn.Module:
        if isinstance(self.what, Cell):
            return _layer_of(self.what, theirs)
        sizes, named = self._arguments(theirs)
        return _module_of(self.what(*sizes, **named), theirs, self.unchecked)

    def call(self, theirs: nn.RNNBase) -> str:
        """The call that makes it, as one would write it."""
        sizes, named = self._arguments(theirs)
        arguments = ", ".join([*map(str, sizes), *(f"{name}={value}" for name, value in named.items())])
        if isinstance(self.what, Cell):
            return f"RecurrentLayer({self.what.name}, {arguments})"
        return f"{self.what.__name__}({arguments})"

    def _arguments(self, theirs: nn.RNNBase) -> tuple[tuple[int, ...], dict[str, int]]:
        """What stands in the call, by place and by name: the first of these ways that fits."""
        sizes, layers = (theirs.input_size, theirs.hidden_size), theirs.num_layers
        both: dict[str, int] = {"bidirectional": True} if theirs.bidirectional else {}
        ways: list[tuple[tuple[int, ...], dict[str, int]]] = [
            *([(sizes, both)] if layers == 1 else []),
            ((*sizes, layers), both),
            (sizes, {"num_layers": layers} | both),
        ]
        return next((way for way in ways if isinstance(self.what, Cell) or _takes(self.what, *way)), ways[0])


def others(cell: Cell) -> dict[str, Build]:
    """The other ways to run a cell: its own lines under autograd, and those under torch.compile."""
    walked = Subject(replace(cell, adjoint=None, walk=True))
    return {WALKED: walked, COMPILED: lambda theirs: torch.compile(walked(theirs))}


def _takes(function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> bool:
    try:
        inspect.signature(function).bind(*arguments, **keywords)
    except TypeError:
        return False
    return True


def subject(path: str, unchecked: bool = False) -> Subject:
    """The implementation at `my.module:Name`: a `Cell`, or a class called and built as torch.nn's layers are.

    The module is looked for in the working directory too. A class is made as `Name(input_size, hidden_size)`, with
    num_layers behind them, or by its name, where there are several or it demands that, and `bidirectional=True` where
    there are both directions, and gets torch.nn's weights by `load_state_dict`; if `unchecked`, it may have others.

    Raises:
        ValueError: the path is not of that form, or leads nowhere, or to something else.
    """
    found = imported("subject", path)
    if isinstance(found, Cell) or (isinstance(found, type) and issubclass(found, nn.Module)):
        return Subject(found, unchecked, path)
    raise ValueError(f"subject {path!r} should be a scratchrnn.Cell or a class of torch.nn.Module, got {found!r}")


def _layer_of(cell: Cell, theirs: nn.RNNBase) -> nn.Module:
    like = theirs.weight_hh_l0
    sizes = theirs.input_size, theirs.hidden_size, theirs.num_layers
    both = theirs.bidirectional
    layer = RecurrentLayer(cell, *sizes, bidirectional=both, device=like.device, dtype=like.dtype)
    if cell == BUILT_IN[theirs.mode]:
        layer.load_state_dict(theirs.state_dict())
    return layer


def _module_of(made: nn.Module, theirs: nn.RNNBase, unchecked: bool) -> nn.Module:
    like = next(theirs.parameters())
    made = made.to(like.device, like.dtype)
    try:
        made.load_state_dict(theirs.state_dict())
    except RuntimeError as error:
        if unchecked:
            return made
        departs = _departs(made.state_dict(), theirs.state_dict()) or " ".join(str(error).split())
        raise Unavailable(
            f"its parameters are not those of nn.{type(theirs).__name__}: {departs}; --against chooses another cell, "
            "--unchecked times it as it is, and scratchrnn diagnose reads parameters of other names and shapes"
        ) from error
    return made


def _departs(own: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Where the first parameter is that is not as wanted; empty if there is none."""
    for name in {**wanted, **own}:
        if name not in own:
            return f"it has no {name}"
        if name not in wanted:
            return f"it has {name} besides"
        if own[name].shape != wanted[name].shape:
            return f"its {name} should be {list(wanted[name].shape)}, got {list(own[name].shape)}"
    return ""
