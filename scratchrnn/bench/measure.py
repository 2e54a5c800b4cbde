"""The benchmark: one layer, run in several ways, in turn, in one process, after it has been compared."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import cycle
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..cells.twins import BUILT_IN
from ..layers.recurrent import RecurrentLayer
from ..parity.compare import Report, compare
from .cases import Case
from .clock import Clock, clock
from .first_call import FROM_DISK, first_call
from .gemms import products_alone
from .implementations import OURS, THEIRS, Build, Unavailable, time_limit
from .memory import peak_memory
from .results import Result

Input = Tensor | PackedSequence


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

    Before each call, outside of its time, every parameter is changed in place, so that whoever keeps what it has made
    of a weight would compute something else. Every other round goes in the other order: what one implementation leaves
    behind, in caches or as threads that still spin, meets another one next.

    Args:
        case: the layer and the work.
        implementations: by name, as `implementations.IMPLEMENTATIONS`; torch.nn is timed in any case.
        rounds: how often all are timed, one after the other. A round of one is at least 10 ms long.
        threads: of torch where the case does not say, the number that is set if None.
        device: where.
        compile_limit: seconds after which an implementation that is not ready is skipped, for it compiles.
        unchecked: names of those that compute something else than torch.nn, and are timed nevertheless.

    An implementation whose outputs or gradients differ from torch.nn's beyond the tolerance rule gets no times, and one
    that cannot be run here none either; `skipped` says why.
    """
    theirs, x = case.theirs(device), case.input(device)
    if case.mode == "first" and OURS in implementations:
        implementations = implementations | {FROM_DISK: implementations[OURS]}
    results = {name: Result(case, name) for name in (THEIRS, *implementations)}
    clocks: dict[str, Clock] = {}
    before = torch.get_num_threads()
    torch.set_num_threads(case.threads or threads or before)
    try:
        for name, result in results.items():
            try:
                build = implementations.get(name, lambda layer: layer)
                with nullcontext() if name == THEIRS else time_limit(compile_limit):
                    module = build(theirs)
                    if name != THEIRS and name not in unchecked:
                        _check(module, theirs, x)
                    run = _call(case, module, x)
                    run()
                    run()
                clocks[name] = _clock(case, name, build, device, module, run)
                result.memory = peak_memory(run, device) if case.training else None
                result.other_work = case.mode == "first" or not _is_twin(module, theirs)
            except (Exception, SystemExit) as error:  # a script's own model may leave
                if name == THEIRS:
                    raise
                result.skipped = _reason(error)
        products, best = products_alone(case.work.products, _values(x).dtype, device)
        for k in range(rounds):
            order = [*clocks] if k % 2 == 0 else [*reversed(clocks)]
            times = {name: clocks[name]() for name in order}
            alone = products()
            for name, seconds in times.items():
                results[name].times.append(seconds)
                results[name].ratios.append(times[THEIRS] / seconds)
                results[name].gemm_shares.append(alone / seconds)
    finally:
        torch.set_num_threads(before)
    for name in clocks:
        _conclude(results[name], best)
    return list(results.values())


def _clock(
    case: Case, name: str, build: Build, device: str, module: Callable[..., Any], run: Callable[[], None]
) -> Clock:
    if case.mode == "first":
        first = partial(first_call, case, name, build, device)
        first()  # what fails there is said before the rounds
        return first
    return clock(run) if case.mode == "kept" else clock(run, _change(module))


def _conclude(result: Result, best: float) -> None:
    result.best_gemm = best
    if len(result.ratios) > 1:
        result.other_order = statistics.median(result.ratios[1::2]) / statistics.median(result.ratios[::2])


def refusal(
    case: Case, build: Build, device: str = "cpu", compile_limit: float = 60.0, unchecked: bool = False
) -> str | None:
    """Why an implementation would get no times in such a case, found out in two of its steps; None if it would."""
    case = replace(case, T=min(case.T, 2))
    theirs, x = case.theirs(device), case.input(device)
    try:
        with time_limit(compile_limit):
            module = build(theirs)
            if not unchecked:
                _check(module, theirs, x)
            _call(case, module, x)()
    except (Exception, SystemExit) as error:
        return _reason(error)
    return None


def _reason(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return words if isinstance(error, Unavailable) else f"fails: {type(error).__name__}: {words[:300]}"


def _is_twin(module: Any, theirs: nn.RNNBase) -> bool:
    """Whether it should do what `theirs` does: all but a cell of one's own."""
    layer = _layer(module)
    return type(layer) is not RecurrentLayer or layer.cell == BUILT_IN[theirs.mode]


def _layer(module: Any) -> Any:
    """What torch.compile has wrapped."""
    return getattr(module, "_orig_mod", module)


def _check(module: Any, theirs: nn.RNNBase, x: Input) -> None:
    """Raise Unavailable if it differs from torch.nn; a cell of one's own, from autograd walking through its update."""
    report, other = _parity(module, theirs, x)
    if not report:
        raise Unavailable(f"differs from {other}: {report.failed[0]}" if report.failed else report.verdict)


def _parity(module: Any, theirs: nn.RNNBase, x: Input) -> tuple[Report, str]:
    if _is_twin(module, theirs):
        wrapped = module if isinstance(module, nn.Module) else _AsModule(module)
        parameters = isinstance(module, nn.Module) and _names(module) == _names(theirs)
        return compare(wrapped, theirs, x, parameters=parameters), THEIRS
    layer = _layer(module)
    cell = replace(layer.cell, adjoint=None, check=True, walk=True)  # or it would be held to itself
    sizes = layer.input_size, layer.hidden_size, layer.num_layers
    walked = RecurrentLayer(cell, *sizes, bidirectional=layer.bidirectional).to(_values(x))
    walked.load_state_dict(layer.state_dict())
    return compare(module, walked, x, parameters=module is layer), "autograd"


class _AsModule(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Input, hx: Any = None) -> Any:
        return self.function(x)


def _names(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_parameters()}


def _call(case: Case, module: Any, x: Input) -> Callable[[], None]:
    """What is timed."""
    if isinstance(module, nn.Module):
        module.train(case.mode != "eval")
    if case.training:
        values = _values(x)
        return _training(module, x, values.new_empty(*values.shape[:-1], case.directions * case.H).normal_())

    def run() -> None:
        with torch.set_grad_enabled(case.mode == "eval"):
            module(x)

    return run


def _training(module: Any, x: Input, upstream: Tensor) -> Callable[[], None]:
    parameters = list(module.parameters())

    def run() -> None:
        output, _ = module(x)
        _values(output).backward(upstream)
        for parameter in parameters:
            parameter.grad = None

    return run


def _values(x: Input) -> Tensor:
    return x.data if isinstance(x, PackedSequence) else x


def _change(module: Any) -> Callable[[], None]:
    """Half of every number and the whole of it in turn, written through `.data`, which `_version` does not see."""
    parameters = [p for p in module.parameters() if p.is_floating_point()]
    factors = cycle((0.5, 2.0))

    def change() -> None:
        factor = next(factors)
        for parameter in parameters:
            parameter.data.mul_(factor)

    return change
