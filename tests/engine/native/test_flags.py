"""Choosing the engine, for a block, the process and by the environment; and what is said where it cannot run."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import timeit
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from table import ROWS
from torch._subclasses import FakeTensorMode

import scratchrnn as sr
from scratchrnn.engine.native import build, choice


@pytest.fixture(autouse=True)
def _unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process, in which the environment says nothing."""
    monkeypatch.delenv("SCRATCHRNN_NATIVE", raising=False)
    monkeypatch.setattr(choice, "_in_process", None)
    monkeypatch.setattr(choice, "_said", {})
    monkeypatch.setattr(build, "_tried", {})


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SCRATCHRNN_CC", "no-such-compiler")
    return "no C compiler (no-such-compiler: not found)"


def required() -> bool:
    try:
        sr.native.refused("x")
    except sr.native.Unavailable:
        return True
    return False


def test_it_is_wanted_by_default_and_not_required() -> None:
    assert sr.native.enabled()
    assert not required()


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", (True, False)), ("0", (False, False)), ("1", (True, False)), ("require", (True, True))],
)
def test_the_environment_chooses(value: str, expected: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHRNN_NATIVE", value)
    assert (sr.native.enabled(), required()) == expected


@pytest.mark.parametrize("value", ["yes", "2", "Require"])
def test_another_value_is_refused_at_each_use(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHRNN_NATIVE", value)
    for use in (sr.native.enabled, sr.native.enabled, sr.native.enable):
        with pytest.raises(ValueError, match=f"^SCRATCHRNN_NATIVE should be 0, 1 or require, got '{value}'$"):
            use()


def test_the_process_chooses_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHRNN_NATIVE", "0")
    assert sr.native.enable() is False
    assert sr.native.enabled()
    assert sr.native.enable("require") is True
    assert required()
    assert sr.native.enable(False) == "require"
    assert not sr.native.enabled()


def test_a_block_chooses_over_the_process_and_ends_with_an_error_too() -> None:
    sr.native.enable(False)
    with sr.native.flags(enabled="require"):
        assert required()
        with sr.native.flags(enabled=True):
            assert (sr.native.enabled(), required()) == (True, False)
        assert required()
    with pytest.raises(KeyError), sr.native.flags(enabled=True):
        raise KeyError
    assert not sr.native.enabled()


def test_another_thread_sees_the_process_and_not_the_block() -> None:
    seen = []

    def look() -> None:
        thread = threading.Thread(target=lambda: seen.append(sr.native.enabled()))
        thread.start()
        thread.join()

    with sr.native.flags(enabled=False):
        look()
    sr.native.enable(False)
    with sr.native.flags(enabled=True):
        look()
    assert seen == [True, False]


@pytest.mark.parametrize("value", [None, 1, "1", "required"])
def test_a_choice_is_a_bool_or_require(value: Any) -> None:
    expected = f"^enabled should be True, False or 'require', got {value!r}$"
    with pytest.raises(ValueError, match=expected):
        sr.native.enable(value)
    with pytest.raises(ValueError, match=expected), sr.native.flags(enabled=value):
        pass
    assert (sr.native.enabled(), required()) == (True, False)


def test_asking_takes_less_than_a_microsecond() -> None:
    assert min(timeit.repeat(sr.native.enabled, number=1000, repeat=50)) < 1000 * 1e-6


def test_a_failed_build_is_one_warning_with_what_to_do(no_compiler: str, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        with pytest.raises(sr.native.Unavailable) as caught:
            build.load("int a;", "a")
        sr.native.refused(caught.value)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("scratchrnn", "WARNING")
    said = record.getMessage()
    assert said.startswith(f"the torch engine runs, not the faster native one: {no_compiler}: install gcc or clang")
    assert said.endswith("(`scratchrnn doctor` shows more, SCRATCHRNN_NATIVE=0 ends this message)")


def test_a_call_it_is_not_for_is_an_info_once_for_each_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "scratchrnn")
    for reason in ("x is complex", "x is on cuda", "x is complex"):
        sr.native.refused(reason)
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]
    assert ["complex" in record.getMessage() for record in caplog.records] == [True, False]


def test_where_it_is_required_the_reason_is_an_error_each_time(caplog: pytest.LogCaptureFixture) -> None:
    with sr.native.flags(enabled="require"):
        for _ in range(2):
            with pytest.raises(
                sr.native.Unavailable, match=r"^the native engine is required, and does not run: x is c"
            ):
                sr.native.refused("x is complex")
    assert caplog.records == []


@pytest.mark.compiled
def test_it_is_available_where_a_compiler_makes_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHRNN_CACHE", str(tmp_path))
    assert sr.native.is_available()
    monkeypatch.setattr(build, "_tried", {})
    monkeypatch.setenv("SCRATCHRNN_CC", "cc -D__builtin_memcpy=(void)sizeof")  # what it makes computes nothing
    assert not sr.native.is_available()


def test_it_is_not_available_without_a_compiler(no_compiler: str) -> None:
    assert not sr.native.is_available()
    assert sr.native.enabled()  # which says what is wanted


@pytest.mark.compiled
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_status_of_a_cell_is_why_it_does_not_run(row: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHRNN_CACHE", str(tmp_path))
    assert sr.native.status(row.cell) == (f"cell {row.cell.name!r} has walk=True" if row.cell.walk else None)
    with sr.native.flags(enabled=False):
        assert "switched off" in str(sr.native.status(row.cell))


AROUND: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu"),
    "fake tensors": FakeTensorMode,
    "inference": torch.inference_mode,
    "another device": lambda: torch.device("meta"),
}


@pytest.mark.compiled
@pytest.mark.parametrize("around", AROUND)
def test_a_cell_is_tried_as_ever_whatever_is_on_where_it_is_first_used(around: str) -> None:
    lstm = sr.cells.lstm
    cell = sr.Cell("NEW", lstm.gates, lstm.update, lstm.adjoint)  # of which nothing is compiled
    with AROUND[around]():
        assert sr.native.status(cell) is None


@pytest.mark.compiled
def test_the_status_of_a_cell_that_cannot_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHRNN_CACHE", str(tmp_path))
    scope: dict[str, Any] = {}
    exec("def update(n, h_prev):\n    return (n + h_prev,), ()", scope)
    cell = sr.Cell("UNREAD", ("n",), scope["update"])
    assert "its source, <string>, line 1, is not to be had" in str(sr.native.status(cell))


def test_the_status_without_a_compiler_is_that(no_compiler: str) -> None:
    lstm = sr.cells.lstm
    cell = sr.Cell("NEW", lstm.gates, lstm.update, lstm.adjoint)  # of which nothing is compiled
    assert str(sr.native.status(cell)).startswith(no_compiler)


def test_an_import_compiles_nothing_and_does_not_look_at_the_environment(tmp_path: Path) -> None:
    log, script = tmp_path / "called", tmp_path / "cc"
    script.write_text(f"#!/bin/sh\ntouch {log}\n")
    script.chmod(0o755)
    named = {"SCRATCHRNN_CC": str(script), "SCRATCHRNN_NATIVE": "nonsense", "PYTHONPATH": os.pathsep.join(sys.path)}
    code = "import scratchrnn, scratchrnn.cli; scratchrnn.native"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600, env=os.environ | named)
    assert not log.exists()
