"""The first call is one in a new process, with or without what was compiled before."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from timed import case, ways
from torch import nn

from scratchrnn import cells, native
from scratchrnn.bench import first_call as room
from scratchrnn.bench.first_call import FROM_DISK, first_call
from scratchrnn.bench.implementations import IMPLEMENTATIONS, OURS, THEIRS, Unavailable
from scratchrnn.bench.measure import measure
from scratchrnn.bench.subject import Subject

FIRST = replace(case(T=2), mode="first")


@pytest.mark.compiled
def test_it_compiles_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert room.status(cells.lstm) is None  # compiled here, too, but elsewhere
    monkeypatch.setenv("SCRATCHRNN_CACHE", str(tmp_path))
    compiling = first_call(FIRST, OURS, IMPLEMENTATIONS[OURS], "cpu")
    assert compiling > 0.05
    assert list(tmp_path.iterdir()) == []
    assert first_call(FIRST, FROM_DISK, IMPLEMENTATIONS[OURS], "cpu") > 0
    assert list(tmp_path.glob("*.so"))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[list[Any], dict[str, str]]]:
    """The arguments and the environment of the processes that would have been started."""
    found: list[tuple[list[Any], dict[str, str]]] = []

    def run(command: list[str], env: dict[str, str], **options: Any) -> Any:
        found.append((json.loads(command[-1]), env))
        assert Path(env["SCRATCHRNN_CACHE"]).is_dir()
        return subprocess.CompletedProcess(command, 0, "said on import\n0.25\n", "")

    monkeypatch.setattr(room.subprocess, "run", run)
    monkeypatch.setenv("SCRATCHRNN_CACHE", str(tmp_path))
    return found


def test_the_process_is_told_what_runs_and_by_which_engine(started: list[Any], tmp_path: Path) -> None:
    assert first_call(FIRST, OURS, IMPLEMENTATIONS[OURS], "cpu") == 0.25
    (fields, way, threads, device), environment = started[-1]
    assert (way, threads, device) == (OURS, torch.get_num_threads(), "cpu")
    assert room.Case(**fields) == FIRST
    assert environment["SCRATCHRNN_CACHE"] == environment["TORCHINDUCTOR_CACHE_DIR"] != str(tmp_path)
    assert environment["SCRATCHRNN_NATIVE"] == ("require" if native.is_available() else "0")
    with native.flags(enabled=False):
        first_call(FIRST, FROM_DISK, IMPLEMENTATIONS[OURS], "cpu")
    (_, way, *_), environment = started[-1]
    assert way == OURS
    assert environment["SCRATCHRNN_CACHE"] == str(tmp_path)
    assert environment["SCRATCHRNN_NATIVE"] == "0"
    first_call(FIRST, "subject", Subject(nn.LSTM, path="torch.nn:LSTM"), "cpu")
    assert started[-1][0][1] == "torch.nn:LSTM"


def test_a_first_call_is_measured_in_turn_with_the_others(started: list[Any]) -> None:
    results = measure(FIRST, ways(OURS, "cell loop"), rounds=2)
    assert [r.implementation for r in results] == [THEIRS, OURS, "cell loop", FROM_DISK]
    assert all(r.times == [0.25, 0.25] and r.other_work for r in results)
    assert [told[1] for told, _ in started[4:8]] == [THEIRS, OURS, "cell loop", OURS]


@pytest.mark.usefixtures("started")
def test_what_a_new_process_does_not_know_is_skipped() -> None:
    _, mine, nowhere = measure(FIRST, {"mine": lambda theirs: theirs, "subject": Subject(nn.LSTM)}, rounds=1)
    assert mine.skipped == nowhere.skipped == "a new process does not know it"


@pytest.mark.parametrize(
    ("stderr", "told"),
    [("Traceback\nMemoryError: too large\n", "MemoryError: too large"), ("", "exit status 3")],
)
def test_what_fails_in_a_new_process_is_told(stderr: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.subprocess, "run", lambda c, **options: subprocess.CompletedProcess(c, 3, "", stderr))
    with pytest.raises(Unavailable, match=f"its first call fails in a new process: {told}"):
        first_call(FIRST, THEIRS, IMPLEMENTATIONS[THEIRS], "cpu")


def test_the_new_process_prints_the_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = torch.get_num_threads()
    for found in (THEIRS, "torch.nn:LSTM"):
        told = json.dumps([room.asdict(FIRST), found, threads, "cpu"])
        monkeypatch.setattr(room.sys, "argv", ["-c", told])
        room.tell()
        assert 0 < float(capsys.readouterr().out) < 60
