"""`scratchrnn bench`: what is shown is what was measured; its subject, its records, its options and errors."""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

import scratchrnn as sr
from scratchrnn import cli
from scratchrnn.bench.cases import Case, suites
from scratchrnn.bench.implementations import IMPLEMENTATIONS, OURS, THEIRS
from scratchrnn.bench.results import Change, Result, from_dict
from scratchrnn.bench.subject import subject
from scratchrnn.cli import bench as bench_command
from scratchrnn.cli.main import _parser
from scratchrnn.cli.speeds import show, show_changes, summary

CASES = [
    Case("small", cell, training, 1, 3, 2, 4, 5) for cell, training in [("LSTM", False), ("LSTM", True), ("GRU", True)]
]
Bench = Callable[..., tuple[int, str]]


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Bench:
    def command(*arguments: str) -> tuple[int, str]:
        status = cli.main(["bench", "--rounds", "2", *arguments])
        out, err = capsys.readouterr()
        return status, out + err

    return command


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_command, "load_suite", lambda name, full=False: (CASES, 0 if full else 4))


# ---------------------------------------------------------------------------------------------------------- subject

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

class ByName(nn.LSTM):
    def __init__(self, input_size, hidden_size, *, num_layers):
        super().__init__(input_size, hidden_size, num_layers)

class Foreign(nn.Module):
    def __init__(self, I, H, L):
        super().__init__()
        self.inner = nn.LSTM(I, H, L)
    def forward(self, x, hx=None):
        return self.inner(x, hx)

class GRU(nn.GRU):
    pass

class Peepholes(nn.LSTM):
    def __init__(self, I, H):
        super().__init__(I, H)
        self.peepholes = nn.Parameter(torch.zeros(3, H))

class NoNames(nn.Module):
    def __init__(self, *, input_size, hidden_size):
        super().__init__()

class Breaks(nn.LSTM):
    def forward(self, x, hx=None):
        raise IndexError("a\\n b")

class Leaves(nn.LSTM):
    def __init__(self, I, H):
        raise SystemExit("no data")

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
"""


@pytest.fixture
def own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_cells.py").write_text(OWN)
    (tmp_path / "one.csv").write_text(
        "group,cell,works,layers,T,B,I,H\nx,LSTM,training,1,3,2,4,5\nx,GRU,training,1,3,2,4,5\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_cells", raising=False)


def test_a_module_of_ones_own_is_compared_and_timed(own_modules: None, bench: Bench) -> None:
    status, shown = bench("--suite", "one.csv", "--subject", "own_cells:Right", "--json", "r.json")
    assert status == 0
    found = json.loads(Path("r.json").read_text())["results"]
    assert {r["cell"] for r in found} == {"LSTM"}
    assert [r["implementation"] for r in found][:2] == [THEIRS, "subject"]
    assert len(found[1]["times"]) == 2
    assert "  subject " in shown


def test_a_module_that_differs_is_told_once_and_first(
    own_modules: None, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(bench_command, "measure", None)  # nothing is timed
        status, shown = bench("--suite", "quick", "--subject", "own_cells:Wrong", "--json", "r.json")
    assert status == 1
    start, told = shown.splitlines()
    assert "torch" in start
    assert told.startswith(
        "subject own_cells:Wrong, made as Wrong(128, 128): differs from torch.nn: DIFFERS output err "
    )
    assert not Path("r.json").exists()
    status, shown = bench("--suite", "one.csv", "--subject", "own_cells:Wrong", "--unchecked")
    assert status == 0
    assert "differs" not in shown


def test_parameters_of_other_names_are_reported(own_modules: None, bench: Bench) -> None:
    status, shown = bench("--suite", "one.csv", "--subject", "own_cells:Foreign")
    assert status == 1
    told = (
        "its parameters are not those of nn.LSTM: it has no weight_ih_l0; --against chooses another cell, --unchecked "
    )
    told += "times it as it is, and scratchrnn diagnose reads parameters of other names and shapes"
    assert f"subject own_cells:Foreign, made as Foreign(4, 5, 1): {told}\n" in shown
    status, shown = bench("--suite", "one.csv", "--subject", "own_cells:Foreign", "--unchecked")
    assert status == 0
    assert "skipped" not in shown


@pytest.mark.parametrize(
    ("name", "departs"),
    [("GRU", "its weight_ih_l0 should be [20, 4], got [15, 4]"), ("Peepholes", "it has peepholes besides")],
)
def test_the_first_parameter_that_departs_is_named(name: str, departs: str, own_modules: None, bench: Bench) -> None:
    status, shown = bench("--suite", "one.csv", "--subject", f"own_cells:{name}")
    assert status == 1
    assert f": its parameters are not those of nn.LSTM: {departs}; --against chooses another cell, " in shown


def test_a_class_without_num_layers_is_timed_where_there_is_one_layer(own_modules: None, bench: Bench) -> None:
    status, shown = bench("--suite", "one.csv", "--subject", "own_cells:Two")
    assert status == 0
    assert "  subject " in shown
    Path("two.csv").write_text(
        "group,cell,works,layers,T,B,I,H\nx,LSTM,inference,2,3,2,4,5\nx,LSTM,inference training,1,3,2,4,5\n"
    )
    status, shown = bench("--suite", "two.csv", "--subject", "own_cells:Two")
    assert status == 1
    (told,) = [line for line in shown.splitlines() if "Two" in line]
    assert told.startswith("subject own_cells:Two, made as Two(4, 5, 2): fails: TypeError: ")
    assert told.endswith("; left out of the cases of 2 layers")
    assert sum(line.startswith("  subject ") for line in shown.splitlines()) == 2
    assert "skipped" not in shown


def test_a_subject_is_timed_in_the_forms_that_it_has(own_modules: None, bench: Bench) -> None:
    Path("forms.csv").write_text(
        "group,cell,works,layers,T,B,I,H,directions,layout\n"
        "x,LSTM,training,1,3,2,4,5,2,\nx,LSTM,training,1,3,2,4,5,,packed\nx,LSTM,training,1,3,2,4,5,,\n"
    )
    for name in ("own_cells:Right", "own_cells:mgu"):
        status, shown = bench("--suite", "forms.csv", "--subject", name)
        assert status == 0
        assert sum(line.startswith("  subject ") for line in shown.splitlines()) == 3
    status, shown = bench("--suite", "forms.csv", "--subject", "own_cells:Two")
    assert status == 1
    (told,) = [line for line in shown.splitlines() if "Two" in line]
    assert told.startswith("subject own_cells:Two, made as Two(4, 5, bidirectional=True): fails: TypeError: ")
    assert told.endswith("; left out of the cases of 1 layer, both directions")
    assert sum(line.startswith("  subject ") for line in shown.splitlines()) == 2


def test_a_class_that_wants_num_layers_by_name_gets_it(own_modules: None, bench: Bench) -> None:
    Path("two.csv").write_text(
        "group,cell,works,layers,T,B,I,H\nx,LSTM,training,1,3,2,4,5\nx,LSTM,training,2,3,2,4,5\n"
    )
    status, shown = bench("--suite", "two.csv", "--subject", "own_cells:ByName")
    assert status == 0
    assert sum(line.startswith("  subject ") for line in shown.splitlines()) == 2
    theirs = nn.LSTM(4, 5, 2)
    assert subject("own_cells:ByName").call(theirs) == "ByName(4, 5, num_layers=2)"
    assert subject("own_cells:Foreign").call(theirs) == "Foreign(4, 5, 2)"
    assert subject("own_cells:mgu").call(theirs) == "RecurrentLayer(OWN_MGU, 4, 5, 2)"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("NoNames", "made as NoNames(4, 5): fails: TypeError: "),
        ("Breaks", "made as Breaks(4, 5): fails: IndexError: a b"),
        ("Leaves", "made as Leaves(4, 5): fails: SystemExit: no data"),
        ("Slow", "made as Slow(4, 5): not ready to run within 0.2 s"),
        ("nan", "made as RecurrentLayer(OWN_NAN, 4, 5): nothing to compare: none of the "),
    ],
)
def test_a_subject_that_fails_is_told_with_the_call_that_makes_it(
    name: str, told: str, own_modules: None, bench: Bench
) -> None:
    limit = ["--compile-limit", "0.2"] if name == "Slow" else []
    status, shown = bench("--suite", "one.csv", "--subject", f"own_cells:{name}", *limit)
    assert status == 1
    assert shown.splitlines()[1].startswith(f"subject own_cells:{name}, {told}")
    assert len(shown.splitlines()) == 2


def test_a_built_in_cell_as_subject_is_compared_with_torch_nn(own_modules: None, bench: Bench) -> None:
    status, shown = bench("--suite", "one.csv", "--subject", "scratchrnn.cells:lstm")
    assert status == 0
    assert "skipped" not in shown
    status, shown = bench("--suite", "one.csv", "--subject", "scratchrnn.cells:gru")  # against an LSTM: another cell
    assert status == 0
    (line,) = [line for line in shown.splitlines() if line.startswith("  subject")]
    assert len(line.replace(" noisy", "").split()) == 6  # no GFLOP/s and shares: how much work it does is not known


def test_a_cell_of_ones_own_is_compared_with_autograd(own_modules: None, bench: Bench) -> None:
    status, _ = bench("--suite", "one.csv", "--subject", "own_cells:mgu", "--against", "GRU", "--json", "r.json")
    assert status == 0
    found = json.loads(Path("r.json").read_text())["results"]
    assert {r["cell"] for r in found} == {"GRU"}
    assert found[1]["times"]


def test_a_cell_of_ones_own_is_walked_and_compiled_where_that_is_asked_for(
    own_modules: None, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(module: nn.Module) -> nn.Module:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", fails)
    ways = ["--implementations", "subject, walked; subject, compiled"]
    status, shown = bench("--suite", "one.csv", "--subject", "own_cells:mgu", "--against", "GRU", *ways)
    assert status == 0
    assert [line.split("  ")[1] for line in shown.splitlines() if line.startswith("  subject")] == [
        "subject",
        "subject, walked",
        "subject, compiled",
    ]
    assert "skipped: subject, compiled: fails: RuntimeError: no C++ compiler (GRU training, T=3" in shown
    status, shown = bench("--suite", "one.csv", "--subject", "own_cells:Right", *ways)
    assert status == 2
    assert "Python loop, compiled; got subject, walked; subject, compiled" in shown


def test_what_differs_in_many_cases_is_told_once(small: None, capsys: pytest.CaptureFixture[str]) -> None:
    different = [
        Result(c, "subject", skipped=f"differs from torch.nn: DIFFERS output err {k}") for k, c in enumerate(CASES)
    ]
    late = [Result(c, "subject", skipped="not ready to run within 1 s") for c in CASES[:1]]
    show([*different, *late], Console(soft_wrap=True))
    skipped = [line for line in capsys.readouterr().out.splitlines() if line.startswith("skipped")]
    assert skipped == [
        "skipped: subject: differs from torch.nn: DIFFERS output err 0 (LSTM inference, T=3 B=2 I=4 H=5 and 2 more)",
        "skipped: subject: not ready to run within 1 s (LSTM inference, T=3 B=2 I=4 H=5)",
    ]


# ------------------------------------------------------------------------------------ what is shown and recorded


def test_the_engine_that_runs_is_named(small: None, bench: Bench) -> None:
    with sr.native.flags(enabled=False):
        assert "scratchrnn's torch engine" in bench()[1]


def test_the_table_shows_what_the_record_holds(small: None, bench: Bench, tmp_path: Path) -> None:
    path = str(tmp_path / "r.json")
    status, shown = bench("--json", path)
    assert status == 0
    assert "4 cases of more than 40 GFLOP left out: --full runs them" in shown
    record = json.loads(Path(path).read_text())
    assert record["threads"] == torch.get_num_threads()
    assert record["machine"]["torch"] == torch.__version__
    assert record["machine"]["engine"] == ("native" if sr.native.is_available() else "torch")
    assert f"scratchrnn's {record['machine']['engine']} engine" in shown
    rows = [from_dict(row) for row in record["results"]]
    best = max(row.best_gemm for row in rows)
    assert f"best GEMM: {best / 1e9:.0f} GFLOP/s" in shown
    lines = shown.splitlines()
    for row in rows:
        under = lines[lines.index(row.case.title) :]
        line = next(line for line in under if line.startswith(f"  {row.implementation} "))
        assert f"{row.time * 1e3:.3f}" in line
        assert f"{row.ratio:.2f}x" in line
        assert f"{row.ratio_spread:.0%}" in line
        assert f"{row.gemm_share:.2f}" in line
        assert f"{row.flops_per_second / best:.2f}" in line
    assert bench("--show", path)[1].splitlines()[-8:] == shown.splitlines()[-8:]
    assert "left out" not in bench("--full")[1]


def test_the_longer_way_of_the_means_goes_down() -> None:
    found = [Result(replace(CASES[0], group=group), OURS, [1.0], [2.0], [1.0]) for group in ("a", "b", "c")]
    heading = "geometric mean of the ratios"
    assert summary(found) == [
        [heading, "LSTM: scratchrnn"],
        ["infer a", "2.00"],
        ["infer b", "2.00"],
        ["infer c", "2.00"],
    ]
    assert summary(found[:1]) == [[heading, "infer a"], ["LSTM: scratchrnn", "2.00"]]


def test_the_best_product_is_told_for_each_setting(capsys: pytest.CaptureFixture[str]) -> None:
    single = replace(CASES[0], threads=1, dtype="float64")
    found = [Result(of, OURS, [1.0], [1.0], [1.0], best_gemm=best) for of, best in ((CASES[0], 2e9), (single, 1e9))]
    show(found, Console(soft_wrap=True))
    assert "best GEMM: 2 GFLOP/s; 1 GFLOP/s, float64, 1 thread" in capsys.readouterr().out


def test_that_the_order_does_not_matter_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(soft_wrap=True)
    found = [
        Result(CASES[0], name, [1.0], [1.0], [1.0], other_order=other)
        for name, other in ((THEIRS, 1.0), (OURS, 0.98), ("cell loop", 1.48), ("Python loop", None))
    ]
    show(found, console)
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == "in the other order the ratios are 1.23 times these, spread 20%"
    show(found[1:2], console)
    assert capsys.readouterr().out.splitlines()[-1] == "in the other order the ratios are 0.98 times these"
    show(found[-1:], console)
    assert "other order" not in capsys.readouterr().out


def test_a_single_time_has_no_spread(capsys: pytest.CaptureFixture[str]) -> None:
    for times, said in (([1.0], ["1000.000", "2.00x"]), ([1.0, 1.0], ["1000.000", "0%", "2.00x", "0%"])):
        show([Result(CASES[0], OURS, times, [2.0 * t for t in times], times)], Console(soft_wrap=True, width=80))
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"  {OURS} ")]
        assert line.split()[1 : len(said) + 1] == said
        assert ("%" in line) == (len(times) > 1)


def test_no_number_is_cut_where_the_terminal_is_narrow(capsys: pytest.CaptureFixture[str]) -> None:
    show([Result(CASES[0], OURS, [1e-6], [123456.789], [1.0])], Console(soft_wrap=True, width=80))
    out = capsys.readouterr().out
    assert " 123456.79x " in out
    assert "…" not in out


def test_markdown_is_a_table(small: None, bench: Bench) -> None:
    _, shown = bench("--markdown")
    lines = [line for line in shown.splitlines() if line.startswith("|")]
    assert (
        lines[0] == "| case | implementation | ms | spread | ratio | spread | GFLOP/s | of GEMMs | of best | peak MiB |"
    )
    assert lines[1] == "|---|" + "---:|" * 9
    assert len({line.count("|") for line in lines[: 2 + 9]}) == 1
    assert lines[11].startswith("| geometric mean of the ratios | infer small | train small |")


def test_an_interruption_keeps_what_was_measured(
    small: None, bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured = bench_command.measure

    def once(case: Case, *arguments: Any, **options: Any) -> list[Result]:
        if case.cell == "GRU":
            raise KeyboardInterrupt
        return measured(case, *arguments, **options)

    monkeypatch.setattr(bench_command, "measure", once)
    path = tmp_path / "r.json"
    status, shown = bench("--json", str(path))
    assert status == 130
    assert "interrupted: what was measured until then is above" in shown
    assert len(json.loads(path.read_text())["results"]) == 2 * 3


def test_two_records_are_compared(small: None, bench: Bench, tmp_path: Path) -> None:
    a, b = str(tmp_path / "a.json"), str(tmp_path / "b.json")
    bench("--json", a)
    record = json.loads(Path(a).read_text())
    for row in record["results"]:
        row["times"] = [1.0, 1.0]
    Path(a).write_text(json.dumps(record))
    record["results"][1]["times"] = [0.5, 0.5]
    record["results"][2]["times"] = [4.0, 4.0]
    Path(b).write_text(json.dumps(record))
    status, shown = bench("--compare", a, b)
    assert status == 0
    slower, faster, last = shown.splitlines()
    assert slower.startswith("slower  4.00x  1000.000 -> 4000.000 ms")
    assert faster.startswith("faster  2.00x  1000.000 -> 500.000 ms")
    assert (
        last == f"2 of 9 beyond the noise; all together {statistics.geometric_mean([1] * 7 + [2, 0.25]):.2f}x as fast"
    )


def test_a_change_of_one_round_is_not_said_to_be_beyond_the_noise(capsys: pytest.CaptureFixture[str]) -> None:
    def told(*noise: float | None) -> list[str]:
        show_changes([Change(CASES[0], OURS, 1.0, 0.5, each) for each in noise], Console(soft_wrap=True))
        return capsys.readouterr().out.splitlines()

    changed = f"faster  2.00x  {'1000.000 -> 500.000 ms':26}"
    of = "LSTM inference, T=3 B=2 I=4 H=5, scratchrnn"
    assert told(None, 0.25, None) == [
        f"{changed} one round   {of}",
        f"{changed} noise  25%  {of}",
        f"{changed} one round   {of}",
        "1 of 1 beyond the noise; 2 of one round, of unknown noise; all together 2.00x as fast",
    ]
    assert told(None)[-1] == "1 of one round, of unknown noise; all together 2.00x as fast"


def test_records_with_nothing_in_common_are_refused(small: None, bench: Bench, tmp_path: Path) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    bench("--json", str(a))
    b.write_text('{"results": []}')
    status, shown = bench("--compare", str(a), str(b))
    assert status == 2
    assert "have no case in common" in shown
    b.write_text("[]")
    status, shown = bench("--compare", str(a), str(b))
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
        (["--implementations", " ; "], "--implementations should be of torch.nn; scratchrnn; "),
        (["--implementations", ""], "--implementations should be of torch.nn; scratchrnn; "),
        (["--implementations", "mine"], "--implementations should be of torch.nn; scratchrnn; "),
    ],
)
def test_bad_usage_is_named(small: None, bench: Bench, arguments: list[str], text: str) -> None:
    status, shown = bench(*arguments)
    assert status == 2
    assert f"scratchrnn bench: {text}" in shown


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_cuda_that_is_not_there_is_refused(small: None, bench: Bench) -> None:
    assert bench("--device", "cuda") == (2, "scratchrnn bench: --device cuda: this torch finds no CUDA device\n")


def test_a_suite_without_the_subjects_cell_is_refused(small: None, own_modules: None, bench: Bench) -> None:
    status, shown = bench("--subject", "own_cells:Right", "--against", "RNN")
    assert status == 2
    assert "suite 'quick' has no case of RNN: --against should be LSTM or GRU" in shown


def test_a_suite_without_a_case_says_of_what(own_modules: None, bench: Bench) -> None:
    Path("gru.csv").write_text("group,cell,works,layers,T,B,I,H\nx,GRU,training,1,3,2,4,5\n")
    status, shown = bench("--suite", "gru.csv", "--subject", "own_cells:Right")
    assert (status, shown) == (
        2,
        "scratchrnn bench: suite 'gru.csv' has no case of LSTM: --against should be GRU\n",
    )
    Path("large.csv").write_text("group,cell,works,layers,T,B,I,H\nx,GRU,training,1,9999,99,4000,4000\n")
    assert "suite 'large.csv' has no case of at most 40 GFLOP a call: --full runs " in bench("--suite", "large.csv")[1]


@pytest.mark.parametrize(("written", "cell"), [("gru", "GRU"), ("rnn_RELU", "RNN_relu")])
def test_the_letters_of_a_cell_may_be_small_or_capital(written: str, cell: str) -> None:
    assert _parser().parse_args(["bench", "--subject", "a:b", "--against", written]).against == cell
    assert _parser().parse_args(["explain", cell, "My.Own:GRU"]).cells == [cell.lower(), "My.Own:GRU"]
    assert _parser().parse_args(["doctor", cell, "My.Own:GRU"]).cell == [cell.lower(), "My.Own:GRU"]
    assert _parser().parse_args(["quiz", cell]).cell == cell.lower()
    assert _parser().parse_args(["explore", "--cell", "Gru", "LSTM"]).cell == ["gru", "lstm"]
    assert _parser().parse_args(["diagnose", "a:b", "--as", "LSTM-Cell"]).kind == "lstm-cell"


def test_implementations_are_chosen(small: None, bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    bench("--implementations", "Python loop; scratchrnn", "--threads", "1", "--json", str(path))
    record = json.loads(path.read_text())
    assert [r["implementation"] for r in record["results"]][:3] == [THEIRS, "Python loop", OURS]
    assert record["threads"] == 1


def test_the_help_lists_suites_and_implementations(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["bench", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{', '.join(suites())}, or a table" in shown
    for name in (*IMPLEMENTATIONS, "subject, walked", "subject, compiled"):
        assert name == THEIRS or name in shown


def test_all_implementations_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    options = _parser().parse_args(["bench", "--implementations", "all"])
    assert set(bench_command._implementations(options)) == set(IMPLEMENTATIONS) - {THEIRS}
    options.subject = "scratchrnn.cells:gru"
    own = {"subject", "subject, walked", "subject, compiled"}
    assert set(bench_command._implementations(options)) == set(IMPLEMENTATIONS) - {THEIRS} | own


# -------------------------------------------------------------------------------------------------------- files


def test_the_picture_is_written(small: None, bench: Bench, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "p.png"
    assert bench("--plot", str(path))[0] == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_picture_needs_matplotlib(small: None, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [name for name in sys.modules if name.startswith("scratchrnn.plot")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(sr, "plot", raising=False)
    status, shown = bench("--plot", "p.png")
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
    arguments: list[str], message: str, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(bench_command, "measure", None)
    status, shown = bench(*arguments)
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
def test_a_record_that_is_none_is_refused_in_one_line(
    content: bytes, reason: str, bench: Bench, tmp_path: Path
) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    fix = "write one by scratchrnn bench --json FILE"
    expected = f"scratchrnn bench: {path} is no file that --json has written: {reason}; {fix}\n"
    assert bench("--show", str(path)) == (2, expected)
    assert bench("--compare", str(path), str(path)) == (2, expected)
