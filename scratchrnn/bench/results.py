"""What was measured: times and ratios of each implementation, how noisy they are, and on which machine."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..cells.lstm import lstm
from ..engine.native.takes import status
from .cases import Case
from .implementations import THEIRS

NOISY = 0.1
"""A measurement is noisy if its interquartile range is above this share of its median."""


@dataclass
class Result:
    """One implementation in one case."""

    case: Case
    implementation: str
    times: list[float] = field(default_factory=list)
    """Seconds of one call, in each round."""
    ratios: list[float] = field(default_factory=list)
    """torch.nn's time by its own, of the same round: above 1 is faster than torch.nn."""
    gemm_shares: list[float] = field(default_factory=list)
    """The time of the same products alone by its own, of the same round."""
    memory: int | None = None
    """Most bytes allocated at once in one call of training, beside the parameters and the input."""
    skipped: str | None = None
    """Why there are no times."""
    other_work: bool = False
    """It is another cell than the case's, or a first call, which compiles: how much work it does is not known."""
    best_gemm: float | None = None
    """The most FLOP/s of one product alone, of this case's or a large one."""
    other_order: float | None = None
    """The ratio in the rounds that went in the other order, by that in the rest; None of one round."""

    @property
    def time(self) -> float:
        return statistics.median(self.times)

    @property
    def spread(self) -> float:
        """The interquartile range of the times by their median."""
        return spread(self.times)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def ratio_spread(self) -> float:
        """The interquartile range of the ratios by their median."""
        return spread(self.ratios)

    @property
    def gemm_share(self) -> float:
        return statistics.median(self.gemm_shares)

    @property
    def flops_per_second(self) -> float:
        return self.case.work.flops / self.time

    @property
    def noisy(self) -> bool:
        return self.spread > NOISY


def spread(numbers: Sequence[float]) -> float:
    """The interquartile range by the median; 0 of a single number."""
    if len(numbers) < 2:
        return 0.0
    first, _, third = statistics.quantiles(numbers, n=4, method="inclusive")
    return (third - first) / statistics.median(numbers)


def machine(device: str = "cpu") -> dict[str, Any]:
    """What ran: processor, system, versions, flags."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "scratchrnn": version("scratchrnn"),
        "engine": "torch" if device != "cpu" or status(lstm) else "native",
        "device": torch.cuda.get_device_name() if device != "cpu" else "cpu",
        "oneDNN": torch.backends.mkldnn.is_available(),
        "MKL": torch.backends.mkl.is_available(),
        "cuDNN": torch.backends.cudnn.version() if device != "cpu" else None,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def to_dict(result: Result) -> dict[str, Any]:
    """For JSON."""
    return asdict(result.case) | {k: v for k, v in asdict(result).items() if k != "case"}


def from_dict(row: dict[str, Any]) -> Result:
    """The reverse of `to_dict`."""
    row = {"mode": "kept"} | row  # a record that says nothing of changed weights had none
    of_case = {k: v for k, v in row.items() if k in Case.__dataclass_fields__}
    return Result(Case(**of_case), **{k: v for k, v in row.items() if k not in of_case})


def geometric_means(results: Iterable[Result]) -> dict[tuple[str, str, bool, str], float]:
    """The geometric mean of the ratios of each cell, implementation, work and group of shapes."""
    ratios: dict[tuple[str, str, bool, str], list[float]] = {}
    for r in results:
        if r.times and r.implementation != THEIRS:
            ratios.setdefault((r.case.cell, r.implementation, r.case.training, r.case.group), []).append(r.ratio)
    return {key: statistics.geometric_mean(values) for key, values in ratios.items()}


def best_gemms(results: Iterable[Result]) -> dict[tuple[str, ...], float]:
    """The most FLOP/s of one matrix product that a run has seen, by `Case.setting`, where the record holds it."""
    best: dict[tuple[str, ...], float] = {}
    for r in results:
        if r.best_gemm is not None:
            best[r.case.setting] = max(r.best_gemm, best.get(r.case.setting, 0.0))
    return best


@dataclass(frozen=True)
class Change:
    """One implementation in one case, in two recordings."""

    case: Case
    implementation: str
    before: float
    after: float
    noise: float | None
    """The larger of the two spreads; None where a recording is of one round, which has none."""

    @property
    def ratio(self) -> float:
        """Above 1 is faster."""
        return self.before / self.after

    @property
    def beyond_noise(self) -> bool:
        """Beyond 2%, too; beyond that alone where no noise is known."""
        return abs(self.ratio - 1) > max(self.noise or 0.0, 0.02)


def changes(before: Iterable[Result], after: Iterable[Result]) -> list[Change]:
    """What both recordings have, in the order of the second."""
    old = {(r.case, r.implementation): r for r in before if r.times}
    pairs = [(old[r.case, r.implementation], r) for r in after if r.times and (r.case, r.implementation) in old]
    return [Change(b.case, b.implementation, a.time, b.time, _noise(a, b)) for a, b in pairs]


def _noise(before: Result, after: Result) -> float | None:
    return max(before.spread, after.spread) if min(len(before.times), len(after.times)) > 1 else None
