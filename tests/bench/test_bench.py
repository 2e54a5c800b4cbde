"""The benchmark: what is timed has been compared, and suites are tables of cases."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scratchrnn.bench import implementations
from scratchrnn.bench.cases import Case, load_suite, suites
from scratchrnn.bench.clock import clock
from scratchrnn.bench.gemms import products_alone
from scratchrnn.bench.implementations import IMPLEMENTATIONS, OURS, THEIRS, Unavailable, time_limit
from scratchrnn.bench.measure import _change, measure
from scratchrnn.bench.memory import peak_memory
from scratchrnn.bench.results import Change, Result, best_gemm, changes, from_dict, geometric_means, to_dict
from scratchrnn.bench.subject import subject

SMALL = {cell: Case("small", cell, True, 2, 3, 2, 4, 5) for cell in ("RNN", "RNN_relu", "LSTM", "GRU")}
ON_CPU = [OURS, "cell loop", "Python loop"]


def ways(*names: str) -> dict[str, Any]:
    return {name: IMPLEMENTATIONS[name] for name in names}


def case(training: bool = False, cell: str = "LSTM", T: int = 3, B: int = 2, group: str = "small") -> Case:
    return Case(group, cell, training, 1, T, B, 4, 5)


def result(times: list[float], name: str = OURS, of: Case | None = None, ratios: list[float] | None = None) -> Result:
    return Result(of or case(), name, times, ratios or [1.0] * len(times), [0.5] * len(times))


# ---------------------------------------------------------------------------------------------------- measuring


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


def test_what_cannot_run_here_says_why() -> None:
    results = measure(case(cell="GRU"), ways("torch.nn, no oneDNN", "torch.nn, no cuDNN", "scratchrnn, CUDA graph"), 1)
    assert [r.skipped for r in results] == [
        None,
        "torch.nn runs this cell without oneDNN anyway",
        "cuDNN needs CUDA",
        "CUDA graphs need CUDA",
    ]
    assert all(not r.times for r in results[1:])


def test_torch_nn_without_onednn_takes_another_road(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = nn.LSTM(4, 5)
    layer: Any = IMPLEMENTATIONS["torch.nn, no oneDNN"](theirs)
    seen: list[bool] = []
    monkeypatch.setattr(theirs, "forward", lambda x, hx=None: seen.append(torch.backends.mkldnn.enabled))
    layer(torch.randn(3, 2, 4))
    assert seen == [False]
    assert torch.backends.mkldnn.enabled


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_implementations_are_timed() -> None:
    names = [OURS, "torch.nn, no cuDNN", "scratchrnn, CUDA graph", "cell loop"]
    for training in (False, True):
        results = measure(Case("small", "LSTM", training, 1, 8, 4, 16, 32), ways(*names), rounds=2, device="cuda")
        assert all(r.times for r in results), [r.skipped for r in results]


def test_what_is_not_ready_in_time_is_skipped() -> None:
    waited: list[str] = []

    def slow(theirs: nn.RNNBase) -> nn.Module:
        waited.append("begun")
        time.sleep(600)
        waited.append("to the end")
        return theirs

    _, late = measure(case(), {"slow": slow}, rounds=1, compile_limit=0.3)
    assert late.skipped == "not ready to run within 0.3 s"
    assert waited == ["begun"]


def test_a_time_limit_leaves_other_errors_alone() -> None:
    with pytest.raises(ZeroDivisionError), time_limit(600):
        _ = 1 / 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)  # the alarm is off
    with time_limit(600):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_threads_are_set_for_the_measurement_and_set_back() -> None:
    seen: set[int] = set()

    class Looks(nn.Module):
        def forward(self, x: Tensor) -> Any:
            seen.add(torch.get_num_threads())
            return x, x

    before = torch.get_num_threads()
    measure(case(), {"looks": lambda theirs: Looks()}, rounds=1, threads=before + 1, unchecked=["looks"])
    assert seen == {before + 1}
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
    assert best_gemm(measure(case(), {}, rounds=1)) > 1e8
    assert best_gemm([result([1.0])]) is None


def test_peak_memory_is_the_most_that_is_there_at_once() -> None:
    def run() -> None:
        a = torch.empty(1 << 20, dtype=torch.uint8)
        b = torch.empty(2 << 20, dtype=torch.uint8)
        del a
        c = torch.empty(1 << 19, dtype=torch.uint8)
        del b, c

    assert 3 << 20 <= peak_memory(run) < (3 << 20) + 4096


def test_median_spread_and_noise() -> None:
    calm, noisy = result([1.0, 1.01, 0.99, 1.0, 1.02]), result([1.0, 1.3, 0.8, 1.0, 1.2])
    assert calm.time == 1.0
    assert calm.spread == pytest.approx(0.01)
    assert not calm.noisy
    assert noisy.spread == pytest.approx(0.2)
    assert noisy.noisy
    assert result([1.0] * 3, ratios=[2.0, 2.2, 1.8]).ratio_spread == pytest.approx(0.1)
    assert result([2.0]).spread == 0
    assert calm.flops_per_second == case().work.flops


def test_geometric_means_are_by_cell_work_and_group() -> None:
    a, b, other = case(T=3), case(T=4), case(True)
    means = geometric_means(
        [result([1.0], of=a, ratios=[2.0]), result([1.0], of=b, ratios=[8.0]), result([1.0], of=other)]
    )
    assert means == pytest.approx({("LSTM", OURS, False, "small"): 4.0, ("LSTM", OURS, True, "small"): 1.0})
    assert geometric_means([result([1.0], THEIRS), Result(a, OURS, skipped="why")]) == {}


def test_changes_are_told_from_noise() -> None:
    a, b, c = case(T=3), case(T=4), case(T=5)
    before = [result([1.0, 1.0, 1.0], of=a), result([1.0, 1.5, 0.5], of=b)]
    after = [result([0.5, 0.5, 0.5], of=a), result([0.7, 0.7, 0.7], of=b), result([1.0], of=c)]
    first, second = changes(before, after)
    assert (first.ratio, first.beyond_noise) == (2.0, True)
    assert second.noise == pytest.approx(0.5)
    assert not second.beyond_noise
    assert not Change(a, OURS, 1.0, 1.01, 0.0).beyond_noise


def test_a_result_goes_through_json() -> None:
    for r in measure(case(True), ways(OURS, "torch.nn, no cuDNN"), rounds=2):
        assert from_dict(json.loads(json.dumps(to_dict(r)))) == r


def test_torch_nn_itself_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = nn.LSTM.forward
    monkeypatch.setattr(nn.LSTM, "forward", lambda *arguments: time.sleep(0.05) or forward(*arguments))
    theirs, ours = measure(case(), ways(OURS), rounds=1, compile_limit=0.02)
    assert theirs.times
    assert ours.skipped == "not ready to run within 0.02 s"


# ------------------------------------------------------------------------------------------------------- suites


def test_suites_are_tables_of_cases() -> None:
    assert set(suites()) >= {
        "quick",
        "regimes",
        "deepbench",
        "fastrnns",
        "haste",
        "flashrnn",
        "device",
        "scaling",
    }
    sizes = {name: len(load_suite(name, full=True)[0]) for name in suites()}
    assert sizes["deepbench"] == 41 + 33
    assert sizes["haste"] == 2 * 2 * 5 * 9 * 4
    assert sizes["device"] == 3
    assert sizes["regimes"] == 3 * 2 * 11


def test_large_cases_are_left_out_and_counted() -> None:
    kept, left_out = load_suite("deepbench")
    everything, none = load_suite("deepbench", full=True)
    assert none == 0
    assert left_out > 0
    assert len(kept) + left_out == len(everything)
    assert all(c.work.flops <= 40e9 for c in kept)


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("# a comment\ngroup,cell,works,layers,T,B,I,H\nmine,GRU,inference training,1,2,3,4,5\n")
    cases, _ = load_suite(str(path))
    assert cases == [Case("mine", "GRU", training, 1, 2, 3, 4, 5) for training in (False, True)]


@pytest.mark.parametrize(
    "row",
    [
        "x,CNN,training,1,2,3,4,5",
        "x,GRU,sleeping,1,2,3,4,5",
        "x,GRU,training,1,2,three,4,5",
        "x,GRU,training,1,0,3,4,5",
    ],
)
def test_a_table_with_a_wrong_row_is_refused(row: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(f"group,cell,works,layers,T,B,I,H\n{row}\n")
    with pytest.raises(
        ValueError, match=r"should have the columns group,cell,works,layers,T,B,I,H with cell one of RNN"
    ):
        load_suite(str(path))


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(ValueError, match=r"suite should be one of deepbench, .* or the path of a table, got 'slow'"):
        load_suite("slow")


def test_a_suite_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(b"\x80" * 3000)
    with pytest.raises(
        ValueError, match=r"suite '.*s\.csv' should be a table as text, with the columns group,cell,.* GRU$"
    ):
        load_suite(str(tmp_path / "s.csv"))


# ---------------------------------------------------------------------------------------------------- implementations


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("math", "subject should be of the form my.module:Name, got 'math'"),
        ("no_such_module:Cell", "subject 'no_such_module:Cell' cannot be imported: "),
        ("math:Missing", "subject 'math:Missing' cannot be imported: "),
        (
            "math:pi",
            "subject 'math:pi' should be a scratchrnn.Cell or a class of torch.nn.Module, got 3.14",
        ),
    ],
)
def test_a_subject_that_is_none_is_refused(path: str, text: str) -> None:
    with pytest.raises(ValueError, match=text.replace("(", r"\(")):
        subject(path)


def test_what_a_loop_keeps_are_torch_nns_parameters() -> None:
    theirs = nn.LSTM(3, 4, 2)
    for kind in (implementations.CellLoop, implementations.PythonLoop):
        assert [n for n, _ in kind(theirs).named_parameters()] == [n for n, _ in theirs.named_parameters()]
    with pytest.raises(NotImplementedError):
        implementations._Loop(theirs)(torch.randn(2, 1, 3))
    with pytest.raises(Unavailable, match="CUDA graphs need CUDA"):
        IMPLEMENTATIONS["scratchrnn, CUDA graph"](theirs)
