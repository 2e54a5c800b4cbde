"""What is timed has been compared, in turn, with changed weights."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import Any

import pytest
import torch
from table import mgu_derived
from timed import case, result, ways
from torch import Tensor, nn

from scratchrnn.bench import implementations
from scratchrnn.bench.cases import Case
from scratchrnn.bench.clock import clock
from scratchrnn.bench.gemms import products_alone
from scratchrnn.bench.implementations import OURS, THEIRS, Unavailable
from scratchrnn.bench.measure import _change, measure, refusal
from scratchrnn.bench.memory import peak_memory
from scratchrnn.bench.results import Result, best_gemms
from scratchrnn.bench.subject import Subject
from scratchrnn.cells.twins import TWINS

SMALL = {twin.case: Case("small", twin.case, True, 2, 3, 2, 4, 5) for twin in TWINS}
ON_CPU = [OURS, "cell loop", "Python loop"]


@pytest.mark.parametrize("cell", SMALL)
@pytest.mark.parametrize("training", [False, True])
def test_every_implementation_is_compared_and_timed(cell: str, training: bool) -> None:
    results = measure(Case("small", cell, training, 2, 3, 2, 4, 5), ways(*ON_CPU), rounds=2)
    assert [r.implementation for r in results] == [THEIRS, *ON_CPU]
    for r in results:
        assert r.skipped is None
        assert len(r.times) == len(r.ratios) == len(r.gemm_shares) == 2
        assert min(r.times) > 0
        assert (r.memory is not None) == training
    theirs, ours = results[:2]
    assert theirs.ratios == [1.0, 1.0]
    assert ours.ratios == pytest.approx([a / b for a, b in zip(theirs.times, ours.times, strict=True)])


@pytest.mark.parametrize("more", [{"directions": 2}, {"layout": "packed"}, {"dtype": "float64"}, {"layers": 2}])
@pytest.mark.parametrize("training", [False, True])
def test_every_variant_is_compared_and_timed(more: dict[str, Any], training: bool) -> None:
    of = replace(case(training, T=4, B=3), **more)
    theirs, ours, loop, walked = measure(of, ways(OURS, "cell loop") | {"own": Subject(mgu_derived)}, rounds=1)
    for r in (theirs, ours, walked):
        assert r.times, r.skipped
    why = {"directions": "it is a loop in one direction", "layout": "it takes padded batches alone"}
    assert loop.skipped == why.get(next(iter(more)))
    with pytest.raises(Unavailable, match="it takes padded batches alone"):
        implementations._expect_padded(replace(of, layout="packed").input())


def test_grad_mode_is_on_where_the_case_says_so_and_weights_are_kept_where_it_says_that() -> None:
    seen: list[tuple[bool, bool, float]] = []

    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Any:
            seen.append((torch.is_grad_enabled(), self.training, self.weight.item()))
            return x, x

    for mode, grad, training, weights in (
        ("changed", False, True, {0.5, 1.0}),
        ("eval", True, False, {0.5, 1.0}),
        ("kept", False, True, {1.0}),
    ):
        seen.clear()
        measure(replace(case(), mode=mode), {"looks": lambda theirs: Looks()}, 1, unchecked=["looks"])
        assert {(g, t) for g, t, _ in seen} == {(grad, training)}
        assert {weight for *_, weight in seen} == weights


def test_what_differs_gets_no_times() -> None:
    class Wrong(nn.Module):
        def __init__(self, theirs: nn.Module) -> None:
            super().__init__()
            self.layer = theirs

        def forward(self, x: Tensor, hx: Any = None) -> Any:
            output, state = self.layer(x)
            return output * 1.001, state

    _, wrong = measure(case(), {"wrong": Wrong}, rounds=1)
    assert not wrong.times
    assert wrong.skipped is not None
    assert wrong.skipped.startswith("differs from torch.nn: DIFFERS output")
    _, wrong = measure(case(), {"wrong": Wrong}, rounds=1, unchecked=["wrong"])
    assert wrong.times


def test_threads_are_set_for_the_measurement_and_set_back() -> None:
    seen: set[int] = set()

    class Looks(nn.Module):
        def forward(self, x: Tensor) -> Any:
            seen.add(torch.get_num_threads())
            return x, x

    before = torch.get_num_threads()
    looks = {"looks": lambda theirs: Looks()}
    measure(case(), looks, rounds=1, threads=before + 1, unchecked=["looks"])
    assert seen == {before + 1}
    seen.clear()
    measure(replace(case(), threads=before + 2), looks, rounds=1, threads=before + 1, unchecked=["looks"])
    assert seen == {before + 2}
    assert torch.get_num_threads() == before


class Noted(nn.Module):
    """Notes its name, and the weight that it is called with."""

    def __init__(self, name: str, calls: list[tuple[str, float]]) -> None:
        super().__init__()
        self.name, self.calls = name, calls
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Any:
        self.calls.append((self.name, self.weight.item()))
        time.sleep(0.02)  # a round is one call, after one that is not timed
        return x, x


def noted(rounds: int) -> tuple[list[tuple[str, float]], list[Result]]:
    calls: list[tuple[str, float]] = []
    both = {name: (lambda theirs, name=name: Noted(name, calls)) for name in ("a", "b")}
    return calls, measure(case(), both, rounds, unchecked=both)[1:]


def test_before_each_call_the_parameters_are_changed_in_place() -> None:
    calls, _ = noted(rounds=2)
    weights = [weight for name, weight in calls if name == "a"][2:]  # after those that warm it up
    assert weights == [0.5, 1.0] * (len(weights) // 2)
    module = Noted("a", [])
    version, address = module.weight._version, module.weight.data_ptr()
    _change(module)()
    assert (module.weight.item(), module.weight._version, module.weight.data_ptr()) == (0.5, version, address)


def test_every_other_round_goes_in_the_other_order() -> None:
    calls, results = noted(rounds=4)
    timed = "".join(name for name, _ in calls)[-4 * 4 :]
    assert timed == "aabbbbaa" * 2
    for r in results:
        assert r.other_order == pytest.approx(sum(r.ratios[1::2]) / sum(r.ratios[::2]))
    assert all(r.other_order is None for r in noted(rounds=1)[1])


def test_a_round_is_the_median_of_calls_and_what_comes_before_them_is_not_timed() -> None:
    said: list[str] = []
    waits = iter([0.005, 0.005] + [0.03, 0.001, 0.001] * 2)

    def run() -> None:
        said.append("run")
        time.sleep(next(waits))

    def change() -> None:
        said.append("change")
        time.sleep(0.02)

    measured = clock(run, change)
    assert 0.001 <= measured() < 0.015  # of 0.03, which is not counted, and two of 0.001
    assert 0.001 <= measured() < 0.015
    assert said == ["change", "run"] * (len(said) // 2)


def test_the_best_product_is_that_of_a_case_or_a_large_one() -> None:
    run, best = products_alone(case().work.products, torch.float32, "cpu")
    assert run() > 0
    assert best > case().work.flops / run()
    assert best_gemms(measure(case(), {}, rounds=1))[()] > 1e8
    assert best_gemms([result([1.0])]) == {}
    one, other = replace(case(), threads=1), replace(case(), threads=1, dtype="float64")
    found = [Result(of, OURS, best_gemm=best) for of, best in ((one, 1.0), (one, 3.0), (one, 2.0), (other, 4.0))]
    assert best_gemms(found) == {("1 thread",): 3.0, ("float64", "1 thread"): 4.0}


def test_peak_memory_is_the_most_that_is_there_at_once() -> None:
    def run() -> None:
        a = torch.empty(1 << 20, dtype=torch.uint8)
        b = torch.empty(2 << 20, dtype=torch.uint8)
        del a
        c = torch.empty(1 << 19, dtype=torch.uint8)
        del b, c

    assert 3 << 20 <= peak_memory(run) < (3 << 20) + 4096


@pytest.mark.parametrize("at_call", [0, 2])
def test_who_leaves_the_interpreter_fails_and_the_others_are_timed(at_call: int) -> None:
    class Leaves(nn.LSTM):
        calls = 0

        def forward(self, *arguments: Any) -> Any:
            self.calls += 1
            if self.calls > at_call:
                sys.exit("no data")
            return super().forward(*arguments)

    _, leaves, ours = measure(case(), {"leaves": Subject(Leaves)} | ways(OURS), rounds=1)
    assert (leaves.skipped, leaves.times) == ("fails: SystemExit: no data", [])
    assert ours.times
    assert refusal(case(), Subject(Leaves)) == ("fails: SystemExit: no data" if at_call == 0 else None)


def test_torch_nn_itself_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = nn.LSTM.forward
    monkeypatch.setattr(nn.LSTM, "forward", lambda *arguments: time.sleep(0.05) or forward(*arguments))
    theirs, ours = measure(case(), ways(OURS), rounds=1, compile_limit=0.02)
    assert theirs.times
    assert ours.skipped == "not ready to run within 0.02 s"
