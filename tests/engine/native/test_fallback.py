"""Whatever stands in the way of the native engine: a layer trains by the torch engine, and says so in one line."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from running import equal
from torch import Tensor

import scratchrnn as sr
from scratchrnn.engine.native import build, choice

pytestmark = pytest.mark.compiled
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As in a new process, whose cache folder is this one and empty."""
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("SCRATCHRNN_CACHE", str(folder))
    monkeypatch.setattr(choice, "_in_process", True)
    monkeypatch.setattr(choice, "_said", {})
    monkeypatch.setattr(build, "_tried", {})
    return folder


def new_cell() -> sr.Cell:
    """A cell of which nothing is compiled."""
    lstm = sr.cells.lstm
    return sr.Cell("NEW", lstm.gates, lstm.update, lstm.adjoint)


def train(layer: sr.RecurrentLayer) -> list[Tensor]:
    output, _ = layer(torch.linspace(-1, 1, 24).view(4, 2, 3))
    return [output, *torch.autograd.grad(output.square().sum(), layer.parameters())]


def assert_the_torch_engine_runs(reason: str, caplog: pytest.LogCaptureFixture) -> None:
    layer = sr.RecurrentLayer(new_cell(), 3, 5)
    results = [train(layer) for _ in range(3)]
    with sr.native.flags(enabled=False):
        expected = train(layer)
    for found in results:
        equal(found, expected)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("scratchrnn", logging.WARNING)
    assert reason in record.getMessage()
    with sr.native.flags(enabled="require"), pytest.raises(sr.native.Unavailable) as caught:
        layer(torch.zeros(4, 2, 3))
    assert reason in str(caught.value)


def without_a_home(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("SCRATCHRNN_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    return "HOME is not set, so there is no cache folder: set SCRATCHRNN_CACHE to a folder of your own"


def on_a_noexec_mount(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    real = os.statvfs(cache)
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result([*real[:8], os.ST_NOEXEC, *real[9:]]))
    return f"{cache} is mounted noexec"


def where_no_folder_can_be(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (cache / "file").touch()
    monkeypatch.setenv("SCRATCHRNN_CACHE", str(cache / "file" / "cache"))
    return f"no library can be kept in {cache / 'file' / 'cache'}: Not a directory"


def in_a_folder_of_somebody_else(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    os.chown(cache, 12345, -1)
    return f"{cache} belongs to user 12345"


def in_a_folder_that_others_may_write(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    cache.chmod(0o777)
    return f"{cache} can be written by other users"


def with_no_compiler(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SCRATCHRNN_CC", "no-such-compiler")
    return "no C compiler (no-such-compiler: not found)"


def with_a_compiler_that_fails(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SCRATCHRNN_CC", "cc -no-such-option")
    return "failed: "


def with_a_compiler_that_makes_something_else(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    script = cache.with_name("a compiler")
    script.write_text("""#!/bin/sh
for each; do case "$each" in *.c) sed -i "s/return r + r \\* r/return r - r * r/" "$each";; esac; done
exec cc "$@"
""")
    script.chmod(0o755)
    monkeypatch.setenv("SCRATCHRNN_CC", f"'{script}'")
    return "computes something else than the torch engine"


OBSTACLES = [
    without_a_home,
    pytest.param(on_a_noexec_mount, marks=pytest.mark.skipif(not hasattr(os, "ST_NOEXEC"), reason="cannot tell")),
    where_no_folder_can_be,
    pytest.param(in_a_folder_of_somebody_else, marks=as_root),
    in_a_folder_that_others_may_write,
    with_no_compiler,
    with_a_compiler_that_fails,
    with_a_compiler_that_makes_something_else,
]


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_without_a_library_the_torch_engine_runs(
    obstacle: Callable[[Path, pytest.MonkeyPatch], str],
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert_the_torch_engine_runs(obstacle(cache, monkeypatch), caplog)


def test_another_process_that_compiles_is_waited_for_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]

    def held(*_: object) -> None:
        raise BlockingIOError

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(fcntl, "flock", held)
    monkeypatch.setattr(build, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    assert_the_torch_engine_runs("another process still compiles after 10 s: start again later", caplog)
    assert 10 <= now[0] < 11
