"""The README: its examples print what it says, its files exist, its commands are what CI runs."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from scratchrnn.cli.bench import _read
from scratchrnn.cli.speeds import markdown_table, summary

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_examples_print_what_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where the files go that the examples write
    result = doctest.testfile(str(ROOT / "README.md"), module_relative=False, verbose=False)
    assert result.attempted > 15
    assert result.failed == 0


def test_every_room_is_on_the_map() -> None:
    linked = set(re.findall(r"\[`(\w+)`\]\(scratchrnn/\1\)", README))
    there = {path.parent.name for path in (ROOT / "scratchrnn").glob("*/__init__.py")}
    assert linked == there


@pytest.mark.parametrize("processor", ["amd", "intel"])
def test_the_table_of_speed_is_the_recorded_one(processor: str) -> None:
    record = ROOT / "benchmarks" / "results" / f"regimes-{processor}.json"
    shown = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert "\n".join(markdown_table(summary(_read(str(record))))) in shown


def test_the_ranges_of_speed_are_those_of_the_table() -> None:
    shown = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for cell in ("LSTM", "GRU", "RNN"):
        tables = re.findall(rf"^\| {cell}: scratchrnn \| (.+) \|$", shown, re.MULTILINE)
        rows = [[float(ratio) for ratio in row.split(" | ")] for row in tables]
        ranges = [f"{min(part):.2f} to {max(part):.2f}" for row in rows for part in (row[:3], row[3:])]
        assert f"| {cell} | {' | '.join(ranges)} |" in README


def test_every_link_to_a_file_leads_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "benchmarks" / "README.md"):
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
        assert links
        assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_equations_stand_in_the_code_as_shown() -> None:
    code = (ROOT / "scratchrnn" / "cells" / "lstm.py").read_text(encoding="utf-8")
    lines = re.findall(r"^\|.*\| `(.+ = .+)` \|$", README, re.MULTILINE)
    assert len(lines) == 6
    body = code[code.index("def lstm_update") : code.index("def lstm_adjoint")]
    positions = [body.index(f"    {line}") for line in lines]
    assert positions == sorted(positions)
