"""The benchmark: what is timed has been compared, and what is shown is what was measured."""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import scratchrnn as sr
from scratchrnn import bench, cli
from scratchrnn.bench import implementations
from scratchrnn.bench.cases import Case, load_suite, suites
from scratchrnn.bench.implementations import IMPLEMENTATIONS, OURS, THEIRS, Unavailable, subject, time_limit
from scratchrnn.bench.measure import measure, peak_memory
from scratchrnn.bench.results import Change, Result, changes, from_dict, geometric_means, to_dict
from scratchrnn.cli import bench as bench_command
from scratchrnn.cli.main import _parser

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


# ------------------------------------------------------------------------------------------------------ subject

OWN = """
import time
import torch, scratchrnn as sr
from torch import nn

class Right(nn.LSTM):
    pass

class Wrong(nn.LSTM):
    def forward(self, x, hx=None):
        output, state = super().forward(x, hx)
        return output + 1e-3, state

class Two(nn.LSTM):
    def __init__(self, I, H):
        super().__init__(I, H)

class Foreign(nn.Module):
    def __init__(self, I, H, L):
        super().__init__()
        self.inner = nn.LSTM(I, H, L)
    def forward(self, x, hx=None):
        return self.inner(x, hx)

class NoNames(nn.Module):
    def __init__(self, *, input_size, hidden_size):
        super().__init__()

class Breaks(nn.LSTM):
    def forward(self, x, hx=None):
        raise IndexError("a\\n b")

class Slow(nn.LSTM):
    def forward(self, x, hx=None):
        time.sleep(3600)

def no_number(f, h_prev):
    return (torch.tanh(f) * float("nan"),), ()

nan = sr.Cell("OWN_NAN", ("f",), no_number)

def update(f, n_x, n_h, h_prev):
    f = torch.sigmoid(f)
    n = torch.tanh(n_x + f * n_h)
    return ((1 - f) * h_prev + f * n,), ()

mgu = sr.Cell("OWN_MGU", ("f", "n"), update, split=("n",))
number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_cells.py").write_text(OWN)
    (tmp_path / "one.csv").write_text(
        "group,cell,works,layers,T,B,I,H\nx,LSTM,training,1,3,2,4,5\nx,GRU,training,1,3,2,4,5\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_cells", raising=False)


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str) -> tuple[int, str]:
        status = cli.main(["bench", "--rounds", "2", *arguments])
        out, err = capsys.readouterr()
        return status, out + err

    return command


def test_a_module_of_ones_own_is_compared_and_timed(own: None, run: Run) -> None:
    status, shown = run("--suite", "one.csv", "--subject", "own_cells:Right", "--json", "r.json")
    assert status == 0
    found = json.loads(Path("r.json").read_text())["results"]
    assert {r["cell"] for r in found} == {"LSTM"}
    assert [r["implementation"] for r in found][:2] == [THEIRS, "subject"]
    assert len(found[1]["times"]) == 2
    assert "  subject " in shown


def test_a_module_that_differs_is_told_once_and_first(own: None, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(bench, "measure", None)  # nothing is timed
        status, shown = run("--suite", "quick", "--subject", "own_cells:Wrong", "--json", "r.json")
    assert status == 1
    start, told = shown.splitlines()
    assert "torch" in start
    assert told.startswith(
        "subject own_cells:Wrong, made as Wrong(128, 128): differs from torch.nn: DIFFERS output err "
    )
    assert not Path("r.json").exists()
    status, shown = run("--suite", "one.csv", "--subject", "own_cells:Wrong", "--unchecked")
    assert status == 0
    assert "differs" not in shown


def test_parameters_of_other_names_are_reported(own: None, run: Run) -> None:
    status, shown = run("--suite", "one.csv", "--subject", "own_cells:Foreign")
    assert status == 1
    assert "subject own_cells:Foreign, made as Foreign(4, 5, 1): its parameters are not torch.nn's: " in shown
    status, shown = run("--suite", "one.csv", "--subject", "own_cells:Foreign", "--unchecked")
    assert status == 0
    assert "skipped" not in shown


def test_a_class_without_num_layers_is_timed_where_there_is_one_layer(own: None, run: Run) -> None:
    status, shown = run("--suite", "one.csv", "--subject", "own_cells:Two")
    assert status == 0
    assert "  subject " in shown
    Path("two.csv").write_text(
        "group,cell,works,layers,T,B,I,H\nx,LSTM,inference,2,3,2,4,5\nx,LSTM,inference training,1,3,2,4,5\n"
    )
    status, shown = run("--suite", "two.csv", "--subject", "own_cells:Two")
    assert status == 1
    (told,) = [line for line in shown.splitlines() if "Two" in line]
    assert told.startswith("subject own_cells:Two, made as Two(4, 5, 2): fails: TypeError: ")
    assert told.endswith("; left out of the cases of 2 layers")
    assert sum(line.startswith("  subject ") for line in shown.splitlines()) == 2
    assert "skipped" not in shown


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("NoNames", "made as NoNames(4, 5): fails: TypeError: "),
        ("Breaks", "made as Breaks(4, 5): fails: IndexError: a b"),
        ("Slow", "made as Slow(4, 5): not ready to run within 0.2 s"),
        ("nan", "made as RecurrentLayer(OWN_NAN, 4, 5): nothing to compare: none of the "),
    ],
)
def test_a_subject_that_fails_is_told_with_the_call_that_makes_it(name: str, told: str, own: None, run: Run) -> None:
    limit = ["--compile-limit", "0.2"] if name == "Slow" else []
    status, shown = run("--suite", "one.csv", "--subject", f"own_cells:{name}", *limit)
    assert status == 1
    assert shown.splitlines()[1].startswith(f"subject own_cells:{name}, {told}")
    assert len(shown.splitlines()) == 2


def test_what_differs_in_many_cases_is_told_once(few: None, capsys: pytest.CaptureFixture[str]) -> None:
    of = [case(), case(True), case(True, "GRU")]
    different = [
        Result(c, "subject", skipped=f"differs from torch.nn: DIFFERS output err {k}") for k, c in enumerate(of)
    ]
    late = [Result(c, "subject", skipped="not ready to run within 1 s") for c in of[:1]]
    options = _parser().parse_args(["bench"])
    bench_command._show([*different, *late], options, Console(soft_wrap=True))
    skipped = [line for line in capsys.readouterr().out.splitlines() if line.startswith("skipped")]
    assert skipped == [
        "skipped: subject: differs from torch.nn: DIFFERS output err 0 (LSTM inference, T=3 B=2 I=4 H=5 and 2 more)",
        "skipped: subject: not ready to run within 1 s (LSTM inference, T=3 B=2 I=4 H=5)",
    ]


def test_a_built_in_cell_as_subject_is_compared_with_torch_nn(own: None, run: Run) -> None:
    status, shown = run("--suite", "one.csv", "--subject", "scratchrnn.cells:lstm")
    assert status == 0
    assert "skipped" not in shown
    status, shown = run("--suite", "one.csv", "--subject", "scratchrnn.cells:gru")  # against an LSTM: another cell
    assert status == 0
    (line,) = [line for line in shown.splitlines() if line.startswith("  subject")]
    assert (
        len(line.replace(" noisy", "").split()) == 5
    )  # name, ms, spread, ratio, peak: how much work it does is not known


def test_torch_nn_itself_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = nn.LSTM.forward
    monkeypatch.setattr(nn.LSTM, "forward", lambda *arguments: time.sleep(0.05) or forward(*arguments))
    theirs, ours = measure(case(), ways(OURS), rounds=1, compile_limit=0.02)
    assert theirs.times
    assert ours.skipped == "not ready to run within 0.02 s"


def test_a_cell_of_ones_own_is_compared_with_autograd(own: None, run: Run) -> None:
    status, _ = run("--suite", "one.csv", "--subject", "own_cells:mgu", "--against", "GRU", "--json", "r.json")
    assert status == 0
    found = json.loads(Path("r.json").read_text())["results"]
    assert {r["cell"] for r in found} == {"GRU"}
    assert found[1]["times"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("own_cells", "subject should be of the form my.module:Name, got 'own_cells'"),
        ("no_such_module:Cell", "subject 'no_such_module:Cell' cannot be imported: "),
        ("own_cells:Missing", "subject 'own_cells:Missing' cannot be imported: "),
        (
            "own_cells:number",
            "subject 'own_cells:number' should be a scratchrnn.Cell or a class of torch.nn.Module, got 3",
        ),
    ],
)
def test_a_subject_that_is_none_is_refused(own: None, path: str, text: str) -> None:
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


# ---------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [case(), case(True), case(True, "GRU")]
    monkeypatch.setattr(bench_command, "load_suite", lambda name, full=False: (cases, 0 if full else 4))


def test_the_table_shows_what_the_record_holds(few: None, run: Run, tmp_path: Path) -> None:
    path = str(tmp_path / "r.json")
    status, shown = run("--json", path)
    assert status == 0
    assert "4 cases of more than 40 GFLOP left out: --full runs them" in shown
    record = json.loads(Path(path).read_text())
    assert record["threads"] == torch.get_num_threads()
    assert record["machine"]["torch"] == torch.__version__
    for row in map(from_dict, record["results"]):
        assert row.case.title in shown
        line = next(line for line in shown.splitlines() if f"{row.time * 1e3:.3f}" in line)
        assert f"{row.ratio:.2f}x" in line
        assert f"{row.gemm_share:.2f}" in line
    assert run("--show", path)[1].splitlines()[-8:] == shown.splitlines()[-8:]
    assert "left out" not in run("--full")[1]


def test_markdown_is_a_table(few: None, run: Run) -> None:
    _, shown = run("--markdown")
    lines = [line for line in shown.splitlines() if line.startswith("|")]
    assert lines[0] == "| case | implementation | ms | spread | ratio | GFLOP/s | of GEMMs | peak MiB |"
    assert lines[1] == "|---|---:|---:|---:|---:|---:|---:|---:|"
    assert len({line.count("|") for line in lines[: 2 + 9]}) == 1
    assert lines[11].startswith("| geometric mean of the ratios | infer small | train small |")


def test_an_interruption_keeps_what_was_measured(
    few: None, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured = bench_command.measure

    def once(case: Case, *arguments: Any, **options: Any) -> list[Result]:
        if case.cell == "GRU":
            raise KeyboardInterrupt
        return measured(case, *arguments, **options)

    monkeypatch.setattr(bench_command, "measure", once)
    path = tmp_path / "r.json"
    status, shown = run("--json", str(path))
    assert status == 130
    assert "interrupted: what was measured until then is above" in shown
    assert len(json.loads(path.read_text())["results"]) == 2 * 3


def test_two_records_are_compared(few: None, run: Run, tmp_path: Path) -> None:
    a, b = str(tmp_path / "a.json"), str(tmp_path / "b.json")
    run("--json", a)
    record = json.loads(Path(a).read_text())
    for row in record["results"]:
        row["times"] = [1.0, 1.0]
    Path(a).write_text(json.dumps(record))
    record["results"][1]["times"] = [0.5, 0.5]
    record["results"][2]["times"] = [4.0, 4.0]
    Path(b).write_text(json.dumps(record))
    status, shown = run("--compare", a, b)
    assert status == 0
    slower, faster, last = shown.splitlines()
    assert slower.startswith("slower  4.00x  1000.000 -> 4000.000 ms")
    assert faster.startswith("faster  2.00x  1000.000 -> 500.000 ms")
    assert (
        last == f"2 of 9 beyond the noise; all together {statistics.geometric_mean([1] * 7 + [2, 0.25]):.2f}x as fast"
    )


def test_records_with_nothing_in_common_are_refused(few: None, run: Run, tmp_path: Path) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    run("--json", str(a))
    b.write_text('{"results": []}')
    status, shown = run("--compare", str(a), str(b))
    assert status == 2
    assert "have no case in common" in shown
    b.write_text("[]")
    status, shown = run("--compare", str(a), str(b))
    assert status == 2
    assert f"{b} is no file that --json has written" in shown.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--rounds", "0"], "--rounds should be at least 1, got 0"),
        (["--threads", "0"], "--threads should be at least 1, got 0"),
        (["--compile-limit", "0"], "--compile-limit should be at least 0.001, got 0.0"),
        (["--unchecked"], "--unchecked and --against are for a --subject"),
        (["--against", "GRU"], "--unchecked and --against are for a --subject"),
        (["--subject", "a:b", "--against", "CNN"], "--against should be one of RNN, RNN_relu, LSTM, GRU, got 'CNN'"),
        (["--implementations", "mine"], "--implementations should be of torch.nn; scratchrnn; "),
    ],
)
def test_bad_usage_is_named(few: None, run: Run, arguments: list[str], text: str) -> None:
    status, shown = run(*arguments)
    assert status == 2
    assert f"scratchrnn bench: {text}" in shown


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_cuda_that_is_not_there_is_refused(few: None, run: Run) -> None:
    assert run("--device", "cuda") == (2, "scratchrnn bench: --device cuda: this torch finds no CUDA device\n")


def test_a_suite_without_the_subjects_cell_is_refused(few: None, own: None, run: Run) -> None:
    status, shown = run("--subject", "own_cells:Right", "--against", "RNN")
    assert status == 2
    assert "suite 'quick' has no case for this" in shown


def test_implementations_are_chosen(few: None, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    run("--implementations", "Python loop; scratchrnn", "--threads", "1", "--json", str(path))
    record = json.loads(path.read_text())
    assert [r["implementation"] for r in record["results"]][:3] == [THEIRS, "Python loop", OURS]
    assert record["threads"] == 1


def test_all_implementations_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    options = _parser().parse_args(["bench", "--implementations", "all"])
    assert set(bench_command._implementations(options)) == set(IMPLEMENTATIONS) - {THEIRS}


# ---------------------------------------------------------------------------------------------------- the picture


def test_the_picture_shows_ratios_and_times(few: None, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from scratchrnn.plot.bench import figure

    path = tmp_path / "p.png"
    assert run("--plot", str(path))[0] == 0
    assert path.read_bytes().startswith(b"\x89PNG")

    along = [result([T * 1e-3], of=case(True, "GRU", T=T, group="T"), ratios=[2.0]) for T in (4, 2, 8)]
    ratios, times = (ax for ax in figure(along).axes if ax.get_visible())
    assert ratios.get_title() == "GRU"
    assert ratios.get_ylabel() == "ratio to torch.nn"
    (points,) = [line for line in ratios.lines if line.get_label() == f"{OURS}, T, training"]
    assert sorted(points.get_xdata()) == sorted(r.case.work.flops for r in along)
    assert set(points.get_ydata()) == {2.0}
    (line,) = times.lines
    assert list(line.get_xdata()) == [2, 4, 8]
    assert list(line.get_ydata()) == pytest.approx([2, 4, 8])
    assert times.get_xlabel() == "T (B=2, H=5)"
    assert times.get_xscale() == times.get_yscale() == "log"


def test_the_picture_needs_matplotlib(few: None, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [name for name in sys.modules if name.startswith("scratchrnn.plot")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(sr, "plot", raising=False)
    status, shown = run("--plot", "p.png")
    assert status == 2
    assert "--plot needs matplotlib: pip install 'scratchrnn[plot]'" in shown
    assert not os.path.exists("p.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "no/r.json"], "[Errno 2] No such file or directory: 'no/r.json'"),
        (["--plot", "no/p.png"], "[Errno 2] No such file or directory: 'no/p.png'"),
        (["--plot", "p.txt"], "--plot should end in ."),
    ],
)
def test_a_file_that_cannot_be_written_is_said_before_the_work(
    arguments: list[str], message: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench_command, "measure", None)
    status, shown = run(*arguments)
    assert status == 2
    assert shown.startswith(f"scratchrnn bench: {message}")
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04\x80\x80" * 500, "it is no text"),
        (b"hello", "it is no JSON, or cut off: Expecting value: line 1 column 1 (char 0)"),
        (b'{"results": [', "it is no JSON, or cut off: Expecting value: line 1 column 14 (char 13)"),
        (b'{"agrees": true}', "it is JSON of something else"),
        (b"[]", "it is JSON of something else"),
        (b'{"results": ["a"]}', "it is JSON of something else"),
        (b'{"results": [{"cell": "GRU"}]}', "it is JSON of something else"),
    ],
)
def test_a_record_that_is_none_is_refused_in_one_line(content: bytes, reason: str, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    fix = "write one by scratchrnn bench --json FILE"
    expected = f"scratchrnn bench: {path} is no file that --json has written: {reason}; {fix}\n"
    assert run("--show", str(path)) == (2, expected)
    assert run("--compare", str(path), str(path)) == (2, expected)


def test_a_suite_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(b"\x80" * 3000)
    with pytest.raises(
        ValueError, match=r"suite '.*s\.csv' should be a table as text, with the columns group,cell,.* GRU$"
    ):
        load_suite(str(tmp_path / "s.csv"))
