"""The benchmark: one layer, run in several ways, in turn, in one process, after it has been compared."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from . import __version__
from .cases import Case
from .cells.cell import Cell
from .cells.twins import BUILT_IN
from .equations.work import Product
from .implementations import THEIRS, Build, Unavailable, time_limit
from .layers.recurrent import RecurrentLayer
from .parity.compare import Report, compare

if TYPE_CHECKING:
    from torch.utils.benchmark import Timer

NOISY = 0.1
"""A measurement is noisy if its interquartile range is above this share of its median."""
_LEAST_TIME = 0.01  # seconds of one round of one implementation: shorter calls are repeated


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
    """It is another cell than the case's: how much work it does is not known."""

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
    def gemm_share(self) -> float:
        return statistics.median(self.gemm_shares)

    @property
    def flops_per_second(self) -> float:
        return self.case.work.flops / self.time

    @property
    def noisy(self) -> bool:
        return self.spread > NOISY


def spread(times: Sequence[float]) -> float:
    """The interquartile range by the median; 0 of a single time."""
    if len(times) < 2:
        return 0.0
    first, _, third = statistics.quantiles(times, n=4, method="inclusive")
    return (third - first) / statistics.median(times)


# ----------------------------------------------------------------------------------------------------- measure


def measure(
    case: Case,
    implementations: dict[str, Build],
    rounds: int = 7,
    threads: int | None = None,
    device: str = "cpu",
    compile_limit: float = 60.0,
    unchecked: Iterable[str] = (),
) -> list[Result]:
    """Run one case in every way, each compared with torch.nn first, then all in turn for so many rounds.

    Args:
        case: the layer and the work.
        implementations: by name, as `implementations.IMPLEMENTATIONS`; torch.nn is timed in any case.
        rounds: how often all are timed, one after the other. A round of one is at least 10 ms long.
        threads: of torch, the number that is set if None.
        device: where.
        compile_limit: seconds after which an implementation that is not ready is skipped, for it compiles.
        unchecked: names of those that compute something else than torch.nn, and are timed nevertheless.

    An implementation whose outputs or gradients differ from torch.nn's beyond the tolerance rule gets no times, and one
    that cannot be run here none either; `skipped` says why.
    """
    threads = threads or torch.get_num_threads()
    theirs = case.theirs(device)
    x = torch.randn(case.T, case.B, case.I, device=device)
    upstream = torch.randn(case.T, case.B, case.H, device=device)
    results = {name: Result(case, name) for name in (THEIRS, *implementations)}
    timers: dict[str, tuple[Timer, int]] = {}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for name, result in results.items():
            try:
                build = implementations.get(name, lambda layer: layer)
                with nullcontext() if name == THEIRS else time_limit(compile_limit):
                    module = build(theirs)
                    if name != THEIRS and name not in unchecked:
                        _check(module, theirs, x)
                    run = _training(module, x, upstream) if case.training else _inference(module, x)
                    run()
                    run()
                timers[name] = _timer(run, threads)
                result.memory = peak_memory(run, device) if case.training else None
                result.other_work = not _is_twin(module, theirs)
            except Exception as error:
                if name == THEIRS:
                    raise
                result.skipped = _reason(error)
        gemms = _timer(_products(case.work.products, device), threads)
        for _ in range(rounds):
            times = {name: timer.timeit(number).mean for name, (timer, number) in timers.items()}
            products = gemms[0].timeit(gemms[1]).mean
            for name, seconds in times.items():
                results[name].times.append(seconds)
                results[name].ratios.append(times[THEIRS] / seconds)
                results[name].gemm_shares.append(products / seconds)
    finally:
        torch.set_num_threads(before)
    return list(results.values())


def refusal(
    case: Case, build: Build, device: str = "cpu", compile_limit: float = 60.0, unchecked: bool = False
) -> str | None:
    """Why an implementation would get no times in such a case, found out in two of its steps; None if it would."""
    theirs = case.theirs(device)
    x = torch.randn(min(case.T, 2), case.B, case.I, device=device)
    try:
        with time_limit(compile_limit):
            module = build(theirs)
            if not unchecked:
                _check(module, theirs, x)
            _inference(module, x)()
    except Exception as error:
        return _reason(error)
    return None


def _reason(error: Exception) -> str:
    words = " ".join(str(error).split())
    return words if isinstance(error, Unavailable) else f"fails: {type(error).__name__}: {words[:300]}"


def _is_twin(module: Any, theirs: nn.RNNBase) -> bool:
    """Whether it should do what `theirs` does: all but a cell of one's own."""
    return type(module) is not RecurrentLayer or module.cell == BUILT_IN[theirs.mode]


def _check(module: Any, theirs: nn.RNNBase, x: Tensor) -> None:
    """Raise Unavailable if it differs from torch.nn; a cell of one's own, from autograd walking through its update."""
    report, other = _parity(module, theirs, x)
    if not report:
        raise Unavailable(f"differs from {other}: {report.failed[0]}" if report.failed else report.verdict)


def _parity(module: Any, theirs: nn.RNNBase, x: Tensor) -> tuple[Report, str]:
    if _is_twin(module, theirs):
        wrapped = module if isinstance(module, nn.Module) else _AsModule(module)
        parameters = isinstance(module, nn.Module) and _names(module) == _names(theirs)
        return compare(wrapped, theirs, x, parameters=parameters), THEIRS
    cell = Cell(module.cell.name, module.cell.gates, module.cell.update, None, module.cell.split)
    walked = RecurrentLayer(cell, module.input_size, module.hidden_size, module.num_layers).to(x)
    walked.load_state_dict(module.state_dict())
    return compare(module, walked, x), "autograd"


class _AsModule(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        return self.function(x)


def _names(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_parameters()}


def _inference(module: Callable[..., Any], x: Tensor) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            module(x)

    return run


def _training(module: Any, x: Tensor, upstream: Tensor) -> Callable[[], None]:
    parameters = list(module.parameters())

    def run() -> None:
        output, _ = module(x)
        output.backward(upstream)
        for parameter in parameters:
            parameter.grad = None

    return run


def _timer(run: Callable[[], None], threads: int) -> tuple[Timer, int]:
    """A timer that has warmed up, and how many calls make a round."""
    from torch.utils.benchmark import Timer  # not before it is needed: on a CUDA build it looks for a compiler

    timer = Timer("run()", globals={"run": run}, num_threads=threads)
    once = timer.timeit(1).mean
    return timer, max(1, min(1000, round(_LEAST_TIME / once)))


def _products(products: Sequence[Product], device: str) -> Callable[[], None]:
    """All products of a call and nothing else, each by the library that is faster at it."""
    fastest = []
    for p in products:
        x, W = torch.randn(p.rows, p.inner, device=device), torch.randn(p.columns, p.inner, device=device)
        candidates: list[Callable[[], Any]] = [lambda x=x, W=W: torch.mm(x, W.T)]  # type: ignore[misc]
        if device == "cpu" and torch.backends.mkldnn.is_available():
            packed = torch.ops.mkldnn._reorder_linear_weight(W, p.rows)
            candidates.append(
                lambda x=x, packed=packed: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")  # type: ignore[misc]
            )
        timers = [_timer(candidate, torch.get_num_threads())[0] for candidate in candidates]
        seconds = [min(timer.timeit(1).mean for _ in range(5)) for timer in timers]
        fastest.append((p.times, candidates[seconds.index(min(seconds))]))

    def run() -> None:
        for times, product in fastest:
            for _ in range(times):
                product()

    return run


def peak_memory(run: Callable[[], None], device: str = "cpu") -> int:
    """The most bytes that are allocated at once by torch while `run` runs, beside what was there before."""
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    from torch.profiler import ProfilerActivity, profile

    with _quiet(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    events = profiled.profiler.kineto_results.events()
    allocations = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    now = most = 0
    for _, count in allocations:
        now += count
        most = max(most, now)
    return most


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on the error stream: some builds of torch's profiler write there that they start and stop."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# ----------------------------------------------------------------------------------------------------- records


def machine(device: str = "cpu") -> dict[str, Any]:
    """What ran: processor, system, versions, flags."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "scratchrnn": __version__,
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
    sizes = Case.__dataclass_fields__
    rest = {k: v for k, v in row.items() if k not in sizes}
    return Result(Case(**{k: row[k] for k in sizes}), **rest)


def geometric_means(results: Iterable[Result]) -> dict[tuple[str, str, bool, str], float]:
    """The geometric mean of the ratios of each cell, implementation, work and group of shapes."""
    ratios: dict[tuple[str, str, bool, str], list[float]] = {}
    for r in results:
        if r.times and r.implementation != THEIRS:
            ratios.setdefault((r.case.cell, r.implementation, r.case.training, r.case.group), []).append(r.ratio)
    return {key: statistics.geometric_mean(values) for key, values in ratios.items()}


@dataclass(frozen=True)
class Change:
    """One implementation in one case, in two recordings."""

    case: Case
    implementation: str
    before: float
    after: float
    noise: float
    """The larger of the two spreads."""

    @property
    def ratio(self) -> float:
        """Above 1 is faster."""
        return self.before / self.after

    @property
    def beyond_noise(self) -> bool:
        return abs(self.ratio - 1) > max(self.noise, 0.02)


def changes(before: Iterable[Result], after: Iterable[Result]) -> list[Change]:
    """What both recordings have, in the order of the second."""
    old = {(r.case, r.implementation): r for r in before if r.times}
    pairs = [(old[r.case, r.implementation], r) for r in after if r.times and (r.case, r.implementation) in old]
    return [Change(b.case, b.implementation, a.time, b.time, max(a.spread, b.spread)) for a, b in pairs]
