"""The chapters as notebooks: each is run by Jupyter's kernel and shows what the chapter says.

The thorough profile runs all; else the first, as `test_guide.py` runs the same examples without a kernel.
"""

from __future__ import annotations

import doctest
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from scratchrnn.guide.notebooks import notebook

GUIDE = Path(__file__).parents[2] / "scratchrnn" / "guide"
CHAPTERS = sorted({*GUIDE.glob("[0-9]*-*.md")} - {*GUIDE.glob("*.zh.md")})  # a translation has the same examples


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_no_fold_begins_in_one_cell_and_ends_in_another(chapter: Path) -> None:
    cells = notebook(chapter).cells
    examples = [cell.source for cell in cells if cell.cell_type == "code"]
    assert [cell.source for cell in cells if cell.source.count("<details>") != cell.source.count("</details>")] == []
    text = chapter.read_text(encoding="utf-8")
    assert "".join(examples).count("def ") == len(re.findall(r"^(?:>>>|\.\.\.) .*\bdef ", text, re.MULTILINE))


LIKE = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS  # IPython breaks a long value into lines


def shown(cell: Any) -> str:
    """What stands below a cell; of an error its last line. Warnings aside, and what is only displayed, as by rich."""
    text = {
        "stream": lambda output: "" if output.name == "stderr" else output.text,
        "display_data": lambda output: "",
        "execute_result": lambda output: output.data["text/plain"],
        "error": lambda output: f"{output.ename}: {output.evalue}",
    }
    return "".join(text[output.output_type](output) for output in cell.outputs)


THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"


@pytest.mark.parametrize("chapter", CHAPTERS if THOROUGH else CHAPTERS[:1], ids=lambda path: path.stem)
def test_a_notebook_shows_what_the_chapter_says(chapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")  # for which hypothesis does not ask how fast the machine is
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in the other tests
    built = notebook(chapter)
    nbformat.validate(built)
    code = [cell.source for cell in built.cells if cell.cell_type == "code"]
    assert not [source for source in code if ">>>" in source or "doctest:" in source]
    ran = nbformat.from_dict(built)
    NotebookClient(ran, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    pairs = [(said, now) for said, now in zip(built.cells, ran.cells, strict=True) if said.cell_type == "code"]
    assert sum(bool(shown(said)) for said, _ in pairs) > 1
    for said, now in pairs:
        assert doctest.OutputChecker().check_output(shown(said), shown(now), LIKE), f"{said.source}\n{shown(now)}"
