"""The guide: its examples print what it says, its picture is what they draw, and Sphinx builds it."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import io
import json
import math
import re
import subprocess
import sys
from fnmatch import fnmatch
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

import scratchrnn as sr
from scratchrnn import cells, cli, native, plot, summary, testing
from scratchrnn.equations import Exercise, exercises
from scratchrnn.guide import char_lstm
from scratchrnn.parity.diagnosis.causes import GRADIENTS, OTHERS, OUTPUTS
from scratchrnn.parity.diagnosis.laws import LAWS

GUIDE = Path(__file__).parents[2] / "scratchrnn" / "guide"
TRANSLATIONS = sorted(GUIDE.glob("[0-9]*-*.zh.md"))
CHAPTERS = sorted({*GUIDE.glob("[0-9]*-*.md")} - {*TRANSLATIONS}, key=lambda path: int(path.name.partition("-")[0]))
FIRST = CHAPTERS[0]
each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)

# torch's own, when its forward-mode derivatives are first used
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def test_the_chapters_are_those_of_the_index() -> None:
    linked = re.findall(r"^\d+\. \[.+?\]\((.+?)\)", (GUIDE / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(linked) == 12
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


def test_every_picture_is_drawn_by_a_chapter_and_shown_with_a_text_in_its_place() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in CHAPTERS)
    pictures = sorted(path.name for path in (GUIDE / "images").iterdir())
    drawn = [re.sub(r"\{.+?\}", "*", name) for name in re.findall(r"save_svg\(.*, f?\"(.+?)\"\)", text)]
    assert [sum(fnmatch(picture, name) for name in drawn) for picture in pictures] == [1] * len(pictures)
    assert pictures == sorted(set(re.findall(r"!\[.{10,}\]\(images/(.+?)\)", text)))


def test_a_picture_is_small_and_its_letters_are_text() -> None:
    for picture in (GUIDE / "images").iterdir():
        written = picture.read_text(encoding="utf-8")
        assert len(written) < 65_000
        assert "<text" in written


def test_the_program_stands_in_its_chapter_as_it_runs_and_fits_on_a_screen() -> None:
    program = (GUIDE / "char_lstm.py").read_text(encoding="utf-8")
    (chapter,) = [path for path in CHAPTERS if "one-screen" in path.stem]
    assert f"```python\n{program}```\n" in chapter.read_text(encoding="utf-8")
    assert max(len(line) for line in program.splitlines()) <= 84
    code = [line for line in program.splitlines() if line and not line.startswith("import")]
    assert len(code) <= 75


def test_the_program_learns_a_little_and_writes_every_few_hundred_steps(capsys: pytest.CaptureFixture[str]) -> None:
    weights, alphabet = char_lstm.train("a stitch in time saves nine. " * 100, steps=201, H=16, B=4, T=10)
    said = re.findall(r"^step (\d+), loss (\S+): (.+)", capsys.readouterr().out, re.MULTILINE)
    assert [step for step, _, _ in said] == ["0", "200"]
    assert float(said[0][1]) == pytest.approx(math.log(len(alphabet)), abs=0.2)
    assert float(said[1][1]) < 0.8
    assert "ime saves" in char_lstm.sample(weights, alphabet, "a", 200)


@pytest.mark.parametrize(
    ("line", "wrong"),
    [("", ""), ("d_out[t] + dh", "d_out[t]"), ("@ hs[t]", "@ hs[t + 1]"), ('d["b_y"] = ', 'd["b_y"] += 2 * ')],
    ids=["as it is", "no gradient from behind", "the state after the step", "a bias twice"],
)
def test_the_programs_gradients_are_autograds_of_its_own_loss_and_no_others(line: str, wrong: str) -> None:
    program = (GUIDE / "char_lstm.py").read_text(encoding="utf-8")
    assert line in program
    namespace: dict[str, Any] = {}
    exec(program.replace(line, wrong) if line else program, namespace)
    w = {name: weight.double().requires_grad_() for name, weight in namespace["new_weights"](7, 5).items()}
    ids, (h, c) = torch.randint(7, (6, 3)), torch.randn(2, 3, 5, dtype=torch.float64)
    loss, d, _, _ = namespace["loss_and_gradients"](w, ids, h, c)
    of_autograd = torch.autograd.grad(loss, [*w.values()])
    right = [torch.allclose(d[name], exact, rtol=1e-10) for name, exact in zip(w, of_autograd, strict=True)]
    assert all(right) == (not line)


def test_the_program_is_run_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("a stitch in time saves nine. " * 100, encoding="utf-8")
    command = [sys.executable, "-u", "-m", "scratchrnn.guide.char_lstm", str(tmp_path / "book.txt")]
    with subprocess.Popen(command, cwd=GUIDE.parents[1], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        running.kill()
    assert first.startswith("step 0, loss 2.")


@each_chapter
def test_a_chapter_is_read_in_ten_minutes(chapter: Path) -> None:
    text = re.sub(r"^```python\n(.*?)^```", lambda block: typed(block[1]), chapter.read_text("utf-8"), flags=BLOCK)
    text = re.sub(r"<!--.*?-->|!\[.+?\]\(.+?\)", "", text, flags=re.DOTALL)  # a picture is seen
    text = re.sub(r"(?<=</summary>).*?(?=</details>)", "", text, flags=re.DOTALL)  # and a fold passed over
    words = " ".join(line for line in text.splitlines() if not line.startswith("|")).split()
    assert (
        300 <= len([word for word in words if re.search(r"\w", word)]) <= 2000
    )  # a table and what an example prints are looked up


def typed(block: str) -> str:
    return "".join(line for line in block.splitlines(keepends=True) if line.startswith((">>>", "...")))


BLOCK = re.MULTILINE | re.DOTALL


@pytest.mark.parametrize("page", [*CHAPTERS, GUIDE / "native.md"], ids=lambda path: path.stem)
def test_code_is_at_most_84_characters_wide(page: Path) -> None:
    blocks = re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), BLOCK)
    assert [line for block in blocks for line in block.splitlines() if len(line) > 84] == []


@pytest.mark.parametrize("translation", TRANSLATIONS, ids=lambda path: path.stem)
def test_a_translation_has_the_examples_tables_and_links_of_its_chapter(translation: Path) -> None:
    chapter = translation.with_name(translation.name.replace(".zh.md", ".md"))
    of_chapter, of_translation = (path.read_text(encoding="utf-8") for path in (chapter, translation))
    for parts in (r"^```\w+\n.*?^```$", r"\$[^$\n]+\$", r"arXiv:[\d.]+", r"^#+ ", r"!?\]\((?!0-)([^)]+)\)"):
        assert re.findall(parts, of_translation, BLOCK) == re.findall(parts, of_chapter, BLOCK)
    code = r"^\| (`[^|]+) \|"  # what a row of the table of arguments is about
    assert re.findall(code, of_translation.replace("、", ", "), BLOCK) == re.findall(code, of_chapter, BLOCK)
    assert f"]({chapter.name})" in of_translation
    assert f"]({translation.name})" in of_chapter


def test_the_table_of_arguments_has_those_of_the_three_layers() -> None:
    listed = re.findall(r"`(\w+)(?:=([^`]+))?`", "".join(re.findall(r"^\| (`.+?) \|", FIRST.read_text("utf-8"), BLOCK)))
    given: dict[str, inspect.Parameter] = {}
    for layer in (sr.RNN, sr.LSTM, sr.GRU):
        given |= inspect.signature(layer).parameters
    assert sorted(name for name, _ in listed) == sorted(given)
    for name, default in listed:
        if default:
            assert repr(given[name].default) == default.replace('"', "'")


def test_the_rows_of_the_gates_are_those_of_the_cells() -> None:
    listed = re.findall(r"\| (LSTM|GRU), `(?:(\d)\*)?(H|0):.+?` \| `(\w)` \|", FIRST.read_text(encoding="utf-8"))
    for name, gates in (("LSTM", sr.cells.lstm.gates), ("GRU", sr.cells.gru.gates)):
        rows = [(int(times or start == "H"), gate) for cell, times, start, gate in listed if cell == name]
        assert rows == list(enumerate(gates))


@each_chapter
def test_every_link_to_a_file_leads_somewhere(chapter: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", chapter.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (GUIDE / link).exists()] == []


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the guide in HTML."""
    for package in ("sphinx", "myst_parser", "furo", "sphinx_copybutton", "nbformat"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install '.[guide]'")
    out = tmp_path_factory.mktemp("guide")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    built = subprocess.run([*command, str(GUIDE), str(out)], capture_output=True, text=True, timeout=900)
    assert built.returncode == 0, built.stderr
    return out


def test_sphinx_builds_the_guide_without_a_warning(pages: Path) -> None:
    texts = {path.stem: path.read_text(encoding="utf-8") for path in pages.glob("*.html")}
    for chapter in (*CHAPTERS, *TRANSLATIONS):
        text = texts[chapter.stem]
        assert text.count('<pre><span></span><span class="gp">&gt;&gt;&gt;') > 1  # examples, coloured
        assert text.count("<math ") == formulas(chapter.read_text(encoding="utf-8"))
        assert f' lang="{"zh-CN" if chapter in TRANSLATIONS else "en"}"' in text
        assert f'href="{chapter.stem}.ipynb"' in text
    assert "scratchrnn.LSTM" in texts["api"]
    fetched = r"(?:src|href)=\"https?://[^\"]+\.(?:js|css|woff2?|png|svg)"
    assert [name for name, text in texts.items() if re.search(fetched, text)] == []  # nothing from a network
    of_api = [path.read_text(encoding="utf-8") for path in (pages / "api").glob("*.html")]
    shown = [unescape(re.sub(r"<[^>]+>", "", text)) for text in of_api]
    assert len(shown) == len(list((GUIDE / "api").glob("*.md")))
    address = r".*(?:<object|object at |0x[0-9a-f]{6}|<factory>|<function).*"
    assert [re.findall(address, text) for text in shown] == [[]] * len(shown)


def test_every_public_name_has_an_entry_of_its_own(pages: Path) -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in (pages / "api").glob("*.html"))
    entries = re.findall(r'<dt [^>]*\bid="([\w.]+)"', text)
    rooms = (sr, native, plot, summary, testing)
    public = [f"{room.__name__}.{name}" for room in rooms for name in room.__all__]
    assert [name for name in public if entries.count(name) != 1] == []
    assert [entry for entry in entries if not any(f"{entry}.".startswith(f"{name}.") for name in public)] == []


def test_every_link_of_a_notebook_leads_somewhere(pages: Path) -> None:
    notebooks = sorted(pages.glob("*.ipynb"))
    assert [path.stem for path in notebooks] == sorted(path.stem for path in (*CHAPTERS, *TRANSLATIONS))
    for path in notebooks:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        prose = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        links = re.findall(r"\]\((?!https?:)([^)#]+)", prose)
        assert links
        assert [link for link in links if not (pages / link).exists()] == []


def test_the_button_copies_an_example_without_prompts_and_what_it_prints(pages: Path, browser: Any) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto((pages / f"{FIRST.stem}.html").as_uri())
    block = page.locator("div.highlight").first
    block.hover()
    block.locator("button.copybtn").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    context.close()
    example = re.search(r"^```python\n(.*?)^```", FIRST.read_text(encoding="utf-8"), BLOCK)[1]
    assert copied == "".join(part.source for part in doctest.DocTestParser().get_examples(example)).strip()


@pytest.mark.parametrize("chapter", [FIRST, *TRANSLATIONS], ids=lambda path: path.stem)
def test_a_page_is_as_wide_as_the_screen_and_code_fits_on_a_phone_and_beside_the_sidebar(
    chapter: Path, pages: Path, browser: Any
) -> None:
    for width in (1280, 390):
        context = browser.new_context(viewport={"width": width, "height": 900})
        page = context.new_page()
        page.goto((pages / f"{chapter.stem}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        tables = ", article .table-wrapper" * (width == 1280)  # on a phone a table scrolls
        blocks = f"[...document.querySelectorAll('article pre{tables}')]"
        assert page.evaluate(f"{blocks}.filter(block => block.scrollWidth > block.clientWidth).length") == 0
        context.close()


def formulas(text: str) -> int:
    """How many `$...$` and `$$...$$` there are outside of code."""
    prose = re.sub(r"```.*?```|`[^`]+`", "", text, flags=re.DOTALL)
    assert prose.count("$") % 2 == 0
    return len(re.findall(r"\$\$[^$]+\$\$|\$[^$]+\$", prose))


# ------------------------------------------------------------------------------------------------- pictures


def assert_drawn_alike(path: Path, committed: Path) -> None:
    """The same words, and the same number of lines in these colours through the same points, to a hundredth."""
    assert words(path) == words(committed)
    ours, theirs = curves(path), curves(committed)
    assert [(len(curve), style) for curve, style in ours] == [(len(curve), style) for curve, style in theirs]
    for (curve, _), (expected, _) in zip(ours, theirs, strict=True):
        for point, point_expected in zip(curve, expected, strict=True):
            assert point == pytest.approx(point_expected, abs=0.01)


def words(path: Path) -> list[str]:
    """The letters of each text, in whatever order it is set."""
    return ["".join(sorted("".join(text.itertext()).split())) for text in ElementTree.parse(path).iter(f"{SVG}text")]


def curves(path: Path) -> list[tuple[list[tuple[float, float]], str]]:
    """What is drawn, in shares of the axes, or of the picture where there are none, and its colours.

    Where sizes of letters move the axes, the lines and bands of data move along.
    """
    root = ElementTree.parse(path).getroot()
    groups = {g.get("id", ""): g for g in root.iter(f"{SVG}g")}
    frame = points(next(groups["axes_1" if "matplotlib.axis_1" in groups else "figure_1"].iter(f"{SVG}path")))
    (left, right), (top, bottom) = [(min(values), max(values)) for values in zip(*frame, strict=True)]
    clipped = [line for line in groups["axes_1"].iter(f"{SVG}path") if line.get("clip-path")]
    data = [(points(line), colours(line)) for line in clipped]
    assert data
    bands = [line for name, g in groups.items() if name.startswith("FillBetween") for line in g.iter(f"{SVG}path")]
    height = float(root.get("height", "").removesuffix("pt"))  # a band is drawn below the picture, and moved up
    data += [([(x, y + height) for x, y in points(line)], colours(line)) for line in bands]
    return [
        ([((x - left) / (right - left), (bottom - y) / (bottom - top)) for x, y in line], style)
        for line, style in data
        if len(line) > 2  # those of the grid have two points
    ]


def colours(line: ElementTree.Element) -> str:
    return " ".join(re.findall(r"(?:fill|stroke): \S+?(?=;|$)", line.get("style", "")))


SVG = "{http://www.w3.org/2000/svg}"


def points(line: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", line.get("d", ""))]
