"""One way in which a cause can be there: what it says of the subject, and the change that makes the reference so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ..configuration import Configuration
from ..reference import Change

NAMES = {
    "i": "input gate", "f": "forget gate", "g": "candidate", "o": "output gate",
    "r": "reset gate", "z": "update gate", "n": "candidate",
}  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What is known of a subject when its variants are listed."""

    configuration: Configuration
    """The richest that it has been tried in."""
    own: tuple[int, ...] = ()
    """How long the vectors are that stand for nothing of torch.nn's, in one layer and direction."""
    forget_bias: tuple[float, ...] = (1.0, 0.5, 2.0, 3.0, 5.0, -1.0)
    """Constants that may be added to the forget gate."""
    promised: bool = True
    """Whether its parameters have torch.nn's names, and so promise its order of gates."""

    @property
    def gates(self) -> tuple[str, ...]:
        return self.configuration.twin.cell.gates

    @property
    def states(self) -> tuple[str, ...]:
        return self.configuration.twin.cell.states

    def name(self, gate: str) -> str:
        """`the forget gate f`; an Elman layer's only one has no such name."""
        return f"the {NAMES[gate]} {gate}" if len(self.gates) > 1 else "h"


class Variant(NamedTuple):
    """One row of one cause."""

    detail: str
    """What the subject does, in a sentence that "yours" could begin."""
    change: Change
    fix: str = ""
    """In the place of the cause's own, where it says more."""


Variants = Iterator[Variant]
