"""What the benchmark times: cases, and the suites of them that lie in tables of published shapes."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from ..cells.twins import TWINS
from ..equations.work import Work, work

CELLS = {twin.case: twin for twin in TWINS}
"""What a table may name as `cell`."""
MODES = {"changed": "", "kept": "weights kept", "eval": "eval with grad mode on", "first": "first call"}
"""How a case is called, and what its title says of it.

`changed`, the rule: all parameters change before each call. `kept`: they stay as they are. `eval`: nothing is trained,
but grad mode is on. `first`: only the first call of a new process is timed, which may have to compile.
"""
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
    directions: int = 1
    layout: str = "padded"
    dtype: str = "float32"
    mode: str = "changed"
    threads: int | None = None
    """Of torch; those of the whole run if None."""

    @property
    def title(self) -> str:
        said = [f"{self.cell} {'training' if self.training else 'inference'}", MODES[self.mode]]
        said += [self.form if self.layers > 1 else self.form.partition(", ")[2], *self.setting]
        return ", ".join([*filter(None, said), f"T={self.T} B={self.B} I={self.I} H={self.H}"])

    @property
    def form(self) -> str:
        """What a layer has to be able to do to run it."""
        said = [_counted(self.layers, "layer"), "both directions" if self.directions == 2 else ""]
        return ", ".join(filter(None, [*said, "packed" if self.layout == "packed" else ""]))

    @property
    def setting(self) -> tuple[str, ...]:
        """On what the machine's peak depends, where it is not the usual."""
        dtype = () if self.dtype == "float32" else (self.dtype,)
        return dtype if self.threads is None else (*dtype, _counted(self.threads, "thread"))

    @property
    def work(self) -> Work:
        sizes = self.layers, self.T, self.B, self.I, self.H, self.training
        more: dict[str, Any] = {"itemsize": self._dtype.itemsize, "directions": self.directions}
        if self.layout == "packed":
            more["batch_sizes"] = (self._lengths > torch.arange(self.T)[:, None]).sum(1).tolist()
        return work(CELLS[self.cell].cell, *sizes, **more)

    def theirs(self, device: torch.device | str = "cpu") -> nn.RNNBase:
        """torch.nn's layer, with new weights."""
        twin, both = CELLS[self.cell], self.directions == 2
        made = twin.layer(self.I, self.H, self.layers, bidirectional=both, dtype=self._dtype, **twin.options)
        return made.to(device)

    def input(self, device: torch.device | str = "cpu") -> Tensor | PackedSequence:
        """Random, [T, B, I]; packed, of lengths from T / 2 to T, the longest last."""
        x = torch.randn(self.T, self.B, self.I, dtype=self._dtype, device=device)
        return x if self.layout == "padded" else pack_padded_sequence(x, self._lengths, enforce_sorted=False)

    @property
    def _lengths(self) -> Tensor:
        return torch.linspace(self.T, (self.T + 1) // 2, self.B).round().long().flip(0)

    @property
    def _dtype(self) -> torch.dtype:
        return getattr(torch, self.dtype)


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def suites() -> dict[str, Path]:
    """The tables of shapes, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "suites").glob("*.csv"))}


_SIZES = ("layers", "T", "B", "I", "H")
_COLUMNS = ("group", "cell", "works", *_SIZES)
_CHOICES: dict[str, tuple[str, ...]] = {
    "directions": ("1", "2"),
    "layout": ("padded", "packed"),
    "dtype": ("float32", "float64"),
    "mode": tuple(MODES),
}
"""Columns that a table may have, and what may stand there; the first is meant where nothing does."""


def load_suite(name: str, full: bool = False) -> tuple[list[Case], int]:
    """The cases of a suite, or of a table of one's own at that path, and how many were left out as too large.

    A table is CSV with the columns `group,cell,works,layers,T,B,I,H`; `works` is `inference`, `training` or both, and
    a line that starts with `#` is a comment. It may have the columns `directions` (1 or 2), `layout` (padded or
    packed), `dtype` (float32 or float64), `mode` (one of `MODES`, other than `changed` in inference alone) and
    `threads`, empty where it is as usual.

    Raises:
        ValueError: there is no such suite or file, or it is not such a table.
    """
    path = suites().get(name, Path(name))
    if not path.is_file():
        raise ValueError(f"suite should be one of {', '.join(suites())} or the path of a table, got {name!r}")
    wanted = f"{','.join(_COLUMNS)} with cell one of {', '.join(CELLS)}"
    may = [f"{column} ({', '.join(choices)})" for column, choices in _CHOICES.items()]
    more = f", and may have {', '.join(may)}, threads"
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"suite {name!r} should be a table as text, with the columns {wanted}{more}") from None
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    cases = []
    for row in csv.DictReader(lines):
        try:
            cases += _cases(row)
        except (KeyError, ValueError, TypeError, AttributeError):
            raise ValueError(f"suite {name!r} should have the columns {wanted}{more}; got {row}") from None
    kept = [case for case in cases if full or case.work.flops <= _TOO_MUCH]
    return kept, len(cases) - len(kept)


def _cases(row: dict[str, Any]) -> list[Case]:
    """Of one line, any error where it is wrong."""
    sizes, works = [int(row[column]) for column in _SIZES], row["works"].split()
    chosen = {column: row.get(column) or choices[0] for column, choices in _CHOICES.items()}
    threads = row.get("threads")
    right = (
        row.keys() <= {*_COLUMNS, *_CHOICES, "threads"},
        row["cell"] in CELLS,
        min(*sizes, int(threads or 1)) >= 1,
        works and {*works} <= {"inference", "training"},
        all(choice in _CHOICES[column] for column, choice in chosen.items()),
        chosen["mode"] == "changed" or works == ["inference"],
    )
    if not all(right):
        raise ValueError
    both, layout, dtype, mode = chosen.values()
    more = int(both), layout, dtype, mode, int(threads) if threads else None
    layers, T, B, I, H = sizes  # noqa: E741 - input_size
    return [Case(row["group"], row["cell"], w == "training", layers, T, B, I, H, *more) for w in works]
