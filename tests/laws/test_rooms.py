"""The laws of the house: imports run one way, and a name on the face is nothing else than it seems."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import subprocess
import sys
from pathlib import Path
from traceback import walk_stack
from types import FrameType

import pytest
import torch
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

import scratchrnn as sr

ROOT = Path(__file__).parents[2]
PACKAGE = Path(sr.__file__).parent


def test_each_room_imports_only_from_those_below_it_and_no_circle_is_in_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(logging.getLogger("scratchrnn"), "disabled", False)  # and again behind: it switches all off
    status = lint_imports(str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_no_name_on_the_face_hides_a_module() -> None:
    for module in pkgutil.iter_modules(sr.__path__):
        assert module.name not in sr.__all__
        if module.name != "__main__":
            loaded = importlib.import_module(f"scratchrnn.{module.name}")
            assert getattr(sr, module.name) is loaded


@pytest.mark.parametrize(("training", "most"), [(False, 4), (True, 5)])
def test_between_a_layer_and_the_equations_of_its_cell_are_few_calls(training: bool, most: int) -> None:
    between: list[list[str]] = []

    def look(frame: FrameType | None, event: str, _: object) -> None:
        if event == "call" and frame is not None and frame.f_code is sr.cells.lstm.update.__code__:
            above = [each.f_code for each, _ in walk_stack(frame.f_back)]
            calls = above[: above.index(sr.LSTM.forward.__code__)]
            between.append([code.co_name for code in calls if str(PACKAGE) in code.co_filename])  # not torch's own

    layer, x = sr.LSTM(3, 4), torch.randn(5, 2, 3)
    before = sys.getprofile()
    with sr.native.flags(enabled=False), torch.set_grad_enabled(training):
        sys.setprofile(look)
        try:
            layer(x)
        finally:
            sys.setprofile(before)
    assert between
    assert max(map(len, between)) <= most, between[0]


def test_importing_the_package_needs_torch_alone() -> None:
    unwanted = ("rich", "matplotlib", "pandas", "torch._dynamo")
    code = f"import sys, scratchrnn; print([m for m in {unwanted} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout == "[]\n"
