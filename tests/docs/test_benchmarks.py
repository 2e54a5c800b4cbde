"""The scripts in `benchmarks/` run as they are, on small shapes."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from scratchrnn.bench.cases import suites

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
SMALL = {
    "checkpointing": {"T": 20, "B": 2, "H": 4, "ROUNDS": 1, "EVERY": (None, 5)},
    "packed": {"B": 2, "H": 4, "ROUNDS": 1},
    "tracing": {"SHAPES": ((5, 2, 4),), "ROUNDS": 1},
}


@pytest.mark.parametrize("name", sorted(path.stem for path in SCRIPTS.glob("*.py")))
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
