"""How a subject's parameters are read: which rows of which of them stand where torch.nn has its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from ..configuration import Place, Weights


class Piece(NamedTuple):
    """A part of one parameter, and what of torch.nn's it stands for."""

    parameter: str
    place: Place
    view: Callable[[Tensor], Tensor]
    """Of the parameter, or of its gradient, the part in torch.nn's orientation: [H, I], [H, R] or [H]."""


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

    def weights(self, parameters: Mapping[str, Tensor]) -> Weights:
        """What the pieces hold; a place of no piece is absent, which for a bias is zero."""
        return {p.place: p.view(parameters[p.parameter]) for p in self.pieces}
