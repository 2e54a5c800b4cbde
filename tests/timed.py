"""Small cases and results for the tests of the benchmark."""

from __future__ import annotations

from typing import Any

from scratchrnn.bench.cases import Case
from scratchrnn.bench.implementations import IMPLEMENTATIONS, OURS
from scratchrnn.bench.results import Result


def ways(*names: str) -> dict[str, Any]:
    return {name: IMPLEMENTATIONS[name] for name in names}


def case(training: bool = False, cell: str = "LSTM", T: int = 3, B: int = 2, group: str = "small") -> Case:
    return Case(group, cell, training, 1, T, B, 4, 5)


def result(times: list[float], name: str = OURS, of: Case | None = None, ratios: list[float] | None = None) -> Result:
    return Result(of or case(), name, times, ratios or [1.0] * len(times), [0.5] * len(times))
