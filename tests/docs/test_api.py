"""The pages of the public names: each name stands there with an example, and the examples run."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import scratchrnn as sr
from scratchrnn import native, plot, summary, testing

GUIDE = Path(__file__).parents[2] / "scratchrnn" / "guide"
PAGES = sorted((GUIDE / "api").glob("*.md"))
ROOMS = {"native": native, "plot": plot, "summary": summary, "testing": testing}

# torch's own, when its forward-mode derivatives are first used
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def documented(page: Path) -> Iterator[tuple[str, Any]]:
    """What a page documents, by the name by which its examples call it: `sr.LSTM`, `summary.report`."""
    text = page.read_text(encoding="utf-8")
    for name in re.findall(r"\.\. auto(?:class|function):: (\w+)", text):
        yield f"sr.{name}", getattr(sr, name)
    for module in re.findall(r"\.\. automodule:: ([\w.]+)\n   :members:", text):
        room = importlib.import_module(module)
        for name in room.__all__:
            yield f"{module.rpartition('.')[2]}.{name}", getattr(room, name)


def examples(text: str) -> str:
    """The code alone."""
    return "\n".join(re.findall(r"^\s*(?:>>>|\.\.\.) (.+)", text, re.MULTILINE))


def test_dir_is_the_public_api_and_nothing_else() -> None:
    rooms = ["cells", *ROOMS]
    assert dir(sr) == sorted([*sr.__all__, *rooms, "__version__"])
    for name in dir(sr):
        assert getattr(sr, name) is not None
    for name in ("Trace", "Record", "ModelTrace", "Report", "Difference", "Diagnosis", "Cause"):
        assert isinstance(getattr(sr, name), type)


def test_the_rooms_are_there_without_an_import_of_their_own_and_loaded_when_asked_for() -> None:
    code = """
import sys, rlcompleter
import scratchrnn as sr
late = "scratchrnn.plot", "scratchrnn.testing", "matplotlib", "hypothesis"
assert not [name for name in late if name in sys.modules]
assert "plot" in dir(sr) and not [name for name in late if name in sys.modules]
assert sr.summary.time_constants and "matplotlib" not in sys.modules
from scratchrnn import plot
assert sr.plot is plot and sr.plot.gates
assert rlcompleter.Completer({"sr": sr}).attr_matches("sr.pl") == ["sr.plot"]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)


def test_a_room_whose_library_is_missing_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sr, "find_spec", lambda name: None)
    assert not {"plot", "testing"} & set(dir(sr))
    assert {"summary", "native", "cells"} < set(dir(sr))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_name_has_an_example_on_its_page_or_in_its_docstring(page: Path) -> None:
    shown = examples(page.read_text(encoding="utf-8"))
    shown += "".join(examples(inspect.getdoc(thing) or "") for _, thing in documented(page))
    assert [name for name, _ in documented(page) if not re.search(rf"\b{re.escape(name)}\b", shown)] == []


@pytest.mark.parametrize("page", [*PAGES, GUIDE / "questions.md"], ids=lambda page: page.stem)
def test_the_examples_print_what_the_page_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where the files go that the examples write
    assert doctest.testfile(str(page), module_relative=False, verbose=False, encoding="utf-8").failed == 0
    for name, thing in documented(page):
        for test in doctest.DocTestFinder().find(thing, name, globs={}):
            assert doctest.DocTestRunner(verbose=False).run(test).failed == 0, test.name


def test_each_of_twenty_questions_has_a_line_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (GUIDE / "questions.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+\?) \| `(.+)` \|$", text, re.MULTILINE)
    assert len(dict(rows)) == len(rows) == text.count("\n| ") - 1 == 20
    names: dict[str, Any] = {}
    for example in doctest.DocTestParser().get_examples(text):
        exec(example.source, names)
    for _, line in rows:
        eval(line, names)
