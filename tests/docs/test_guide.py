"""The guide: its examples print what it says, its picture is what they draw, and Sphinx builds it."""

from __future__ import annotations

import doctest
import importlib.util
import io
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from scratchrnn import cells, cli
from scratchrnn.equations import Exercise, exercises
from scratchrnn.parity.diagnosis.causes import GRADIENTS, OTHERS, OUTPUTS
from scratchrnn.parity.diagnosis.laws import LAWS

GUIDE = Path(__file__).parents[2] / "scratchrnn" / "guide"
CHAPTERS = sorted(GUIDE.glob("[0-9]-*.md"))
each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)

# torch's own, when its forward-mode derivatives are first used
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def test_the_chapters_are_those_of_the_index() -> None:
    linked = re.findall(r"^\d\. \[.+\]\((.+)\)", (GUIDE / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(linked) == 9
    assert linked == [path.name for path in CHAPTERS]


@each_chapter
def test_the_examples_print_what_the_chapter_says(
    chapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the files go that the examples write
    result = doctest.testfile(str(chapter), module_relative=False, verbose=False, encoding="utf-8")
    assert result.attempted > 5
    assert result.failed == 0
    for drawn in tmp_path.glob("*.svg"):
        assert_drawn_alike(drawn, GUIDE / "images" / drawn.name)


def test_the_examples_of_the_native_engine_print_what_the_page_says() -> None:
    result = doctest.testfile(str(GUIDE / "native.md"), module_relative=False, verbose=False, encoding="utf-8")
    assert result.attempted > 3
    assert result.failed == 0


def test_every_variable_of_the_environment_is_in_the_one_table() -> None:
    listed = re.findall(r"^\| `(SCRATCHRNN_[A-Z]+)` \|", (GUIDE / "native.md").read_text("utf-8"), re.MULTILINE)
    root = GUIDE.parents[1]
    read = [*GUIDE.parent.rglob("*.py"), *(root / "tests").rglob("*.py"), root / ".ci" / "run"]
    named = {name for path in read for name in re.findall(r"\bSCRATCHRNN_[A-Z]+\b", path.read_text(encoding="utf-8"))}
    assert sorted(listed) == sorted(named)


def test_the_causes_and_laws_are_those_of_the_tables() -> None:
    chapter = (GUIDE / "8-what-is-wrong-with-my-lstm.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z-]+)` \| (.+) \| (.+) \|$", chapter, re.MULTILINE)
    causes = [(row.slug, row.says, row.fix) for row in (*OUTPUTS, *GRADIENTS)]
    causes += [(slug, *said) for slug, said in OTHERS.items()]
    assert listed == causes + [(law.name, law.sentence, law.meaning) for law in LAWS]


def test_the_exercises_are_the_lines_of_the_cells() -> None:
    chapter = (GUIDE / "9-exercises.md").read_text(encoding="utf-8")
    asked = [
        e for cell in (cells.elman, cells.lstm, cells.gru) for back in (0, 1) for e in exercises(cell, back).values()
    ]
    assert "\n".join(re.findall(r"<details>.*?</details>", chapter, re.DOTALL)) == "\n".join(map(folded, asked))


def folded(exercise: Exercise) -> str:
    """The question, and below it the line, which a click shows."""
    through = f", through <code>{exercise.through.text}</code>" if exercise.through else ""
    question = f"<summary><code>{exercise.line.target} = ?</code>{through}</summary>"
    return f"<details>{question}\n\n`{exercise.line.text}`\n\n</details>"


def test_the_quiz_says_what_the_chapter_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chapter = (GUIDE / "9-exercises.md").read_text(encoding="utf-8")
    arguments, shown = re.findall(r"```text\n\$ scratchrnn ([^\n]+)\n(.*?)```", chapter, re.DOTALL)[0]
    answers = re.findall(r"^> (.+\n)", shown, re.MULTILINE)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(answers)))
    cli.main(arguments.split())
    assert capsys.readouterr().out == shown


def test_every_picture_is_drawn_by_a_chapter() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in CHAPTERS)
    pictures = sorted(path.name for path in (GUIDE / "images").iterdir())
    assert pictures == sorted(re.findall(r"\.savefig\(\"(.+?)\"", text))
    assert pictures == sorted(re.findall(r"\]\(images/(.+?)\)", text))


@each_chapter
def test_a_chapter_is_read_in_ten_minutes(chapter: Path) -> None:
    lines = chapter.read_text(encoding="utf-8").splitlines()
    words = " ".join(line for line in lines if not line.startswith("|")).split()  # a table is looked up
    assert 300 <= len(words) <= 1500


@each_chapter
def test_every_link_to_a_file_leads_somewhere(chapter: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", chapter.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (GUIDE / link).exists()] == []


def test_sphinx_builds_the_guide_without_a_warning(tmp_path: Path) -> None:
    for package in ("sphinx", "myst_parser", "furo"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install '.[guide]'")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    built = subprocess.run([*command, str(GUIDE), str(tmp_path / "out")], capture_output=True, text=True, timeout=900)
    assert built.returncode == 0, built.stderr
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / "out").glob("*.html")}
    for chapter in CHAPTERS:
        assert pages[chapter.stem].count('<pre><span></span><span class="gp">&gt;&gt;&gt;') > 1  # examples, coloured
        assert pages[chapter.stem].count("<math ") == formulas(chapter.read_text(encoding="utf-8"))
    assert "scratchrnn.LSTM" in pages["api"]
    fetched = r"(?:src|href)=\"https?://[^\"]+\.(?:js|css|woff2?|png|svg)"
    assert [name for name, page in pages.items() if re.search(fetched, page)] == []  # nothing from a network


def formulas(text: str) -> int:
    """How many `$...$` and `$$...$$` there are outside of code."""
    prose = re.sub(r"```.*?```|`[^`]+`", "", text, flags=re.DOTALL)
    assert prose.count("$") % 2 == 0
    return len(re.findall(r"\$\$[^$]+\$\$|\$[^$]+\$", prose))


# ------------------------------------------------------------------------------------------------- pictures


def assert_drawn_alike(path: Path, committed: Path) -> None:
    """The same number of lines through the same points, as shares of the axes, to a hundredth."""
    ours, theirs = curves(path), curves(committed)
    assert [len(curve) for curve in ours] == [len(curve) for curve in theirs]
    for curve, expected in zip(ours, theirs, strict=True):
        for point, point_expected in zip(curve, expected, strict=True):
            assert point == pytest.approx(point_expected, abs=0.01)


def curves(path: Path) -> list[list[tuple[float, float]]]:
    """The lines of data in a picture by matplotlib: where sizes of letters move the axes, they move along."""
    axes = next(g for g in ElementTree.parse(path).iter(f"{SVG}g") if g.get("id") == "axes_1")
    frame = points(next(axes.iter(f"{SVG}path")))
    (left, right), (top, bottom) = [(min(values), max(values)) for values in zip(*frame, strict=True)]
    clipped = [points(line) for line in axes.iter(f"{SVG}path") if line.get("clip-path")]
    data = [line for line in clipped if len(line) > 2]  # those of the grid have two points
    assert data
    return [[((x - left) / (right - left), (bottom - y) / (bottom - top)) for x, y in line] for line in data]


SVG = "{http://www.w3.org/2000/svg}"


def points(line: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", line.get("d", ""))]
