"""`scratchrnn doctor`: what it shows of the machine, which engine runs a cell, and what it clears."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import scratchrnn as sr
from scratchrnn import cli
from scratchrnn.cells.twins import TWINS
from scratchrnn.engine.native import build, choice
from scratchrnn.equations.equations import Equations
from scratchrnn.traces import training

WORDS = [twin.word for twin in TWINS]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test, and a process in which nothing was tried or chosen."""
    monkeypatch.setenv("SCRATCHRNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SCRATCHRNN_NATIVE", raising=False)
    monkeypatch.setattr(choice, "_in_process", None)
    monkeypatch.setattr(build, "_tried", {})
    return tmp_path / "cache"


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, str]:
    """What stands behind each word at the start of a line."""
    assert cli.main(["doctor", *arguments]) == status
    lines = capsys.readouterr().out.splitlines()
    return {line[:14].rstrip(): line[15:] for line in lines if line[14:15] == " "}


@pytest.mark.compiled
def test_it_shows_what_the_engine_has_found_and_that_it_runs_the_cells(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = shown(capsys)
    command, version = build.compiler()
    assert rows["compiler"] == f"{' '.join(command)}: {version.splitlines()[0]}"
    assert rows["flags"].startswith("-march=native -O2")
    assert re.fullmatch(r"\d+ bits", rows["vector width"])
    assert rows["self-test"] == "passed"
    size, files = sum(path.stat().st_size for path in cache.iterdir()), len([*cache.iterdir()])
    assert files >= 3
    assert rows["cache folder"] == f"{cache}: {files} files, {size / 1024:.1f} KiB"
    assert rows["switched on"] == "yes"
    assert [rows[word] for word in WORDS] == ["native"] * 4


@pytest.mark.compiled
@pytest.mark.skipif("avx512f" not in Path("/proc/cpuinfo").read_text(), reason="has other vectors")
def test_the_vector_width_is_the_processors(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys)["vector width"] == "512 bits"


@pytest.mark.compiled
def test_it_shows_the_torch_that_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    rows = shown(capsys)
    assert rows["version"] == torch.__version__
    assert rows["threads"] == str(torch.get_num_threads())
    assert f"MKL-DNN v{rows['oneDNN']} " in torch.__config__.show()
    assert (rows["MKL"], rows["CUDA"]) == ("no", "a GPU")


def test_without_a_compiler_it_says_why_and_exits_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCRATCHRNN_CC", "no-such-compiler")
    for twin in TWINS:  # in a process that has not compiled them yet
        monkeypatch.delitem(Equations(twin.cell).__dict__, "_native", raising=False)
    rows = shown(capsys, status=1)
    assert rows["self-test"].startswith("failed: no C compiler (no-such-compiler: not found): install gcc or clang")
    assert all(rows[word].startswith("torch: no C compiler (no-such-compiler: not found)") for word in WORDS)
    assert not {"compiler", "flags", "vector width"} & {*rows}


def test_without_a_home_it_says_why_and_exits_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("SCRATCHRNN_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(build, "compiler", lambda limit=1: (["cc"], ""))
    rows = shown(capsys, status=1)
    assert rows["self-test"].startswith("failed: HOME is not set")
    assert rows["compiler"] == "cc: no version"
    assert "cache folder" not in rows
    assert cli.main(["doctor", "--clear"]) == 2
    assert capsys.readouterr().err.startswith("scratchrnn doctor: HOME is not set, so there is no cache folder: set ")


@pytest.mark.compiled
def test_where_it_is_switched_off_the_torch_engine_runs_and_the_status_is_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCRATCHRNN_NATIVE", "0")
    rows = shown(capsys)
    assert (rows["switched on"], rows["self-test"]) == ("no", "passed")
    off = "torch: it is switched off, by SCRATCHRNN_NATIVE=0, native.enable or native.flags"
    assert [rows[word] for word in WORDS] == [off] * 4


def test_a_wrong_value_in_the_environment_is_bad_usage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCRATCHRNN_NATIVE", "on")
    assert cli.main(["doctor"]) == 2
    said = capsys.readouterr().err
    assert said == "scratchrnn doctor: SCRATCHRNN_NATIVE should be 0, 1 or require, got 'on'\n"


@pytest.mark.compiled
def test_cells_of_ones_own_are_shown_behind_the_built_in_ones(capsys: pytest.CaptureFixture[str]) -> None:
    rows = shown(capsys, "table:mgu", "table:pair", "gru")
    assert [*rows][-6:] == [*WORDS, "table:mgu", "table:pair"]
    assert rows["table:mgu"] == "native"


@pytest.mark.parametrize("name", ["nothing", "table:nothing"])
def test_a_cell_that_is_not_there_is_bad_usage(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", name]) == 2
    assert capsys.readouterr().err.startswith("scratchrnn doctor: CELL ")


@pytest.mark.compiled
def test_clear_removes_what_is_kept_and_the_probe_is_compiled_anew(
    cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sr.native.is_available()
    (cache / "mine.c").touch()
    (old,) = cache.glob("*.so")
    made, size = old.stat().st_mtime_ns, sum(path.stat().st_size for path in cache.iterdir())
    monkeypatch.setattr(build, "_tried", {})
    assert cli.main(["doctor", "--clear"]) == 0
    assert capsys.readouterr().out.startswith(f"removed 3 files, {size / 1024:.1f} KiB\n")
    assert (cache / "mine.c").exists()
    assert old.stat().st_mtime_ns > made


def test_the_models_that_explore_has_trained_are_counted_and_cleared(
    cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRATCHRNN_NATIVE", "0")
    monkeypatch.setenv("SCRATCHRNN_CC", "no-such-compiler")
    training.train("rnn", "to be, or not to be; " * 20, steps=1)
    (model,) = cache.iterdir()
    for mine in ("explored_mine.pt", model.name.replace("explored", "best"), model.with_suffix(".txt").name):
        (cache / mine).touch()
    found = f"1 file, {model.stat().st_size / 1024:.1f} KiB"
    assert shown(capsys, status=1)["cache folder"] == f"{cache}: {found}"
    assert cli.main(["doctor", "--clear"]) == 1
    assert capsys.readouterr().out.startswith(f"removed {found}\n")
    assert not model.exists()
    assert len([*cache.iterdir()]) == 3
