"""How a subject's parameters are read: which rows of which of them stand where torch.nn has its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from ..configuration import Place, Weights


class View(NamedTuple):
    """The part of a parameter, or of its gradient, that is one gate's, as torch.nn has it: [H, I], [H, R] or [H]."""

    rows: tuple[int, int]
    columns: tuple[int, int] | None = None
    """None of a bias."""
    transposed: bool = False
    gate: int | None = None
    """Where the parameter counts gates in a dimension of its own, the first."""

    def __call__(self, parameter: Tensor) -> Tensor:
        part = parameter if self.gate is None else parameter[self.gate]
        if self.columns is None:
            return part.reshape(-1)[slice(*self.rows)]
        part = part.mT if self.transposed else part
        return part[slice(*self.rows), slice(*self.columns)]


class Piece(NamedTuple):
    """A part of one parameter, and what of torch.nn's it stands for."""

    parameter: str
    place: Place
    view: View


class Reading(NamedTuple):
    """One way to read all parameters of a subject."""

    pieces: tuple[Piece, ...]
    order: tuple[str, ...] = ()
    """The gates' order in a stacked parameter; empty where each gate has its own."""
    promised: bool = False
    """Whether the parameters have torch.nn's own names, and so promise its order."""
    unexplained: tuple[str, ...] = ()
    """Parameters that stand for nothing of torch.nn's: peepholes, scales."""
    assumed: tuple[str, ...] = ()
    """What was assumed, in sentences for a person."""
    judged: bool = True
    """Whether the parameters' gradients are theirs: what `load_weights` sets is not reached by any."""
    rests_on: Any = None
    """What was decided, so that the same can be read from parameters of other sizes."""

    def weights(self, parameters: Mapping[str, Tensor]) -> Weights:
        """What the pieces hold; a place of no piece is absent, which for a bias is zero."""
        return {p.place: p.view(parameters[p.parameter]) for p in self.pieces}
