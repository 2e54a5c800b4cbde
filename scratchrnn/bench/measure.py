"""The benchmark: one layer, run in several ways, in turn, in one process, after it has been compared."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..cells.twins import BUILT_IN
from ..equations.work import Product
from ..layers.recurrent import RecurrentLayer
from ..parity.compare import Report, compare
from .cases import Case
from .implementations import THEIRS, Build, Unavailable, time_limit
from .results import Result

if TYPE_CHECKING:
    from torch.utils.benchmark import Timer

_LEAST_TIME = 0.01  # seconds of one round of one implementation: shorter calls are repeated


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
    cell = replace(module.cell, adjoint=None, check=True, walk=True)  # or it would be held to itself
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
