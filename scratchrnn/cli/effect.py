"""What cells learn of two tasks, beside each other: trained while a bar moves, and shown as one table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from ..cells.cell import Cell
from ..equations.sections import Entry, Section, Table
from ..layers.tasks import TASKS
from .terminal import progress


def effect(cells: Sequence[Cell], seeds: int, console: Any) -> Section:
    """The share of right answers of every cell in every task, from every seed."""
    rows: list[tuple[Entry, ...]] = []
    models = len(TASKS) * len(cells) * seeds
    print(f"training {models} small models, a second or two each; fewer with --seeds", file=sys.stderr)
    with progress(console, models) as update:
        for task in TASKS:
            rows.append((f"{task.name}: {task.says}",))
            for cell in cells:
                shares = []
                for seed in range(seeds):
                    update(advance=0, description=f"{task.name}, {cell.name}, seed {seed}")
                    shares.append(task.right(cell, seed))
                    update(advance=1)
                rows.append((cell.name, *(f"{share:.2f}" for share in shares)))
    note = (
        "The share of right answers, of which 0.50 can be guessed, of 12 units that were trained for "
        f"{' and '.join(str(task.steps) for task in TASKS)} steps of Adam: every seed that was tried, from the weights "
        "that torch.nn begins with. At each step a layer sees a bit, and whether it is marked; asked is the bit that "
        "was marked last. After Greff et al. 2015, arXiv:1503.04069, in seconds: it shows what a line does, and no "
        "more than these two tasks do."
    )
    return Section("What it learns", [note, Table(("", *(f"seed {seed}" for seed in range(seeds))), rows)])
