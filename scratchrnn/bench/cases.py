"""What the benchmark times: cases, and the suites of them that lie in tables of published shapes."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..cells.twins import TWINS
from ..equations.work import Work, work

CELLS = {twin.case: twin for twin in TWINS}
"""What a table may name as `cell`."""
_TOO_MUCH = 40e9  # FLOP of one call: larger cases are run only if all of the suite are asked for


@dataclass(frozen=True)
class Case:
    """One layer and one work: shapes, and whether it is trained (forward, backward) or only run."""

    group: str
    cell: str
    training: bool
    layers: int
    T: int
    B: int
    I: int  # noqa: E741 - input_size
    H: int

    @property
    def title(self) -> str:
        stack = f"{self.layers} layers, " if self.layers > 1 else ""
        sizes = f"T={self.T} B={self.B} I={self.I} H={self.H}"
        return f"{self.cell} {'training' if self.training else 'inference'}, {stack}{sizes}"

    @property
    def work(self) -> Work:
        return work(CELLS[self.cell].cell, self.layers, self.T, self.B, self.I, self.H, self.training)

    def theirs(self, device: torch.device | str = "cpu") -> nn.RNNBase:
        """torch.nn's layer, with new weights."""
        twin = CELLS[self.cell]
        return twin.layer(self.I, self.H, self.layers, **twin.options).to(device)


def suites() -> dict[str, Path]:
    """The tables of shapes, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "suites").glob("*.csv"))}


def load_suite(name: str, full: bool = False) -> tuple[list[Case], int]:
    """The cases of a suite, or of a table of one's own at that path, and how many were left out as too large.

    A table is CSV with the columns `group,cell,works,layers,T,B,I,H`; `works` is `inference`, `training` or both, and
    a line that starts with `#` is a comment.

    Raises:
        ValueError: there is no such suite or file, or it is not such a table.
    """
    path = suites().get(name, Path(name))
    if not path.is_file():
        raise ValueError(f"suite should be one of {', '.join(suites())} or the path of a table, got {name!r}")
    wanted = "group,cell,works,layers,T,B,I,H with cell one of " + ", ".join(CELLS)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"suite {name!r} should be a table as text, with the columns {wanted}") from None
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    cases = []
    for row in csv.DictReader(lines):
        try:
            sizes = [int(row[column]) for column in ("layers", "T", "B", "I", "H")]
            works = row["works"].split()
            if row["cell"] not in CELLS or min(sizes) < 1 or not works or not {*works} <= {"inference", "training"}:
                raise ValueError
        except (KeyError, ValueError, TypeError, AttributeError):
            raise ValueError(f"suite {name!r} should have the columns {wanted}; got {row}") from None
        cases += [Case(row["group"], row["cell"], w == "training", *sizes) for w in works]
    kept = [case for case in cases if full or case.work.flops <= _TOO_MUCH]
    return kept, len(cases) - len(kept)
