"""The scripts in `benchmarks/` run as they are, on small shapes."""

from __future__ import annotations

import importlib.util
import re
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

import scratchrnn as sr
from scratchrnn.bench.cases import Case, load_suite, suites
from scratchrnn.bench.implementations import THEIRS
from scratchrnn.bench.measure import measure
from scratchrnn.bench.subject import others, subject

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
SMALL = {
    "checkpointing": {"T": 20, "B": 2, "H": 4, "ROUNDS": 1, "EVERY": (None, 5)},
    "packed": {"B": 2, "H": 4, "ROUNDS": 1},
    "tracing": {"SHAPES": ((5, 2, 4),), "ROUNDS": 1},
}


def test_every_script_is_run_here() -> None:
    assert {path.stem for path in SCRIPTS.glob("*.py")} == {*SMALL, "own_cell"}


@pytest.mark.parametrize("name", sorted(SMALL))
def test_a_script_prints_its_table(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    for constant, value in SMALL[name].items():
        monkeypatch.setattr(script, constant, value)
    script.main()
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert {line.split(" | ")[0] for line in table[2:]} == {"| LSTM", "| GRU", "| RNN"}
    assert len({line.count("|") for line in table}) == 1


def test_every_suite_is_described() -> None:
    described = re.findall(r"^\| `(\w+)` \|", (SCRIPTS / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(described) == sorted(suites())


def test_the_cell_of_ones_own_is_timed_in_all_its_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SCRIPTS.parent)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    own = subject("benchmarks.own_cell:mgu")
    assert isinstance(own.what, sr.Cell)
    for training in (False, True):
        case = Case("small", "GRU", training, 1, 3, 2, 4, 5)
        results = measure(case, {"subject": own} | others(own.what), rounds=1)
        assert [r.implementation for r in results] == [THEIRS, "subject", "subject, walked", "subject, compiled"]
        assert [r.skipped for r in results] == [None] * 4
        assert [r.other_work for r in results] == [False, True, True, True]
    cases, left_out = load_suite(str(SCRIPTS / "own_cell.csv"))
    assert {c.cell for c in cases} == {"GRU"}
    assert not left_out
