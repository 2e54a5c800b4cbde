"""`scratchrnn explain`: every equation it prints holds, in every form; its options, statuses and errors."""

from __future__ import annotations

import importlib.util
import io
import re

import matplotlib.mathtext
import pytest
import torch
from mutants import Flip, changed, install, parsed, signs
from rich.console import Console
from running import close
from table import ROWS, pair

import scratchrnn as sr
from scratchrnn import cells, cli
from scratchrnn.cli.effect import effect
from scratchrnn.equations.equations import Equations
from scratchrnn.equations.explain import explain
from scratchrnn.equations.lines import line
from scratchrnn.equations.notation import named
from scratchrnn.equations.through_time import evaluated
from scratchrnn.equations.worked_example import walk
from scratchrnn.layers.tasks import Task

CELLS = {twin.word: twin.cell for twin in cells.TWINS}
OWN = {f"table:{name}": None for name in ("mgu", "mgu_walked", "coupled", "pair")}
each_name = pytest.mark.parametrize("name", [*CELLS, *OWN])
each_cell = pytest.mark.parametrize("cell", [row.cell for row in ROWS], ids=lambda cell: cell.name)
EQUATION = re.compile(r"(?<![\w=(])(\w+ = [^\[\n]*?)(?=\s{3}|\n|$|`)")


def said(capsys, *arguments, status=0):
    assert cli.main(["explain", *arguments]) == status
    caught = capsys.readouterr()
    return caught.out if status in (0, 1) else caught.err


def python(text):
    """A printed line as Python: `W_ii x` as `W_ii @ x`, `W^T` as `W.T`."""
    text = text.replace("^T", ".T")
    return line(re.sub(r"(?<=[\w.]) (?=[a-zA-Z])", " @ ", text))


def printed(shown, start, end):
    """The equations between two headings."""
    part = shown[shown.index(f"\n{start}\n") : shown.index(f"\n{end}\n")]
    return [python(found.strip()) for found in EQUATION.findall(part)]


# ------------------------------------------------------------------------------------- every printed equation


def cell_of(name):
    return CELLS[name] if name in CELLS else getattr(__import__("table"), name.removeprefix("table:"))


@each_name
def test_every_printed_equation_holds(name, capsys):
    cell, I, H = cell_of(name), 4, 5  # noqa: E741
    shown = said(capsys, name, "--input-size", "4", "--hidden-size", "5")
    forward = printed(shown, "Forward", "Backward: the adjoint")
    adjoint = printed(shown, "Backward: the adjoint", "Backward: the linear part")
    linear = printed(shown, "Backward: the linear part", "Shapes")

    shapes = {"x": (I, 1), "h_prev": (H, 1)} | {f"{s}_prev": (H, 1) for s in cell.states}
    for g in cell.gates:
        shapes |= {f"W_i{g}": (H, I), f"W_h{g}": (H, H), f"b_i{g}": (H, 1), f"b_h{g}": (H, 1)}
    leaves = {n: torch.randn(s, dtype=torch.float64, requires_grad=True) for n, s in shapes.items()}
    values = dict(leaves)
    for each in forward:
        values[each.target] = each.evaluate(values)
    pre = [values[f"{p}_pre" if p in cell.gates else p] for p in cell.pre_activations]
    state, _ = cell.update(*pre, *[leaves[f"{s}_prev"] for s in cell.states])
    for s, expected in zip(cell.states, state, strict=True):
        close(values[s], expected)

    d_state = [torch.randn(H, 1, dtype=torch.float64) for _ in state]
    given = dict(values)
    for s, d in zip(cell.states, d_state, strict=True):
        given |= {f"d{s}": d, f"d{s}_next": d}
    gradients = torch.autograd.grad(state, [*leaves.values(), *pre], d_state, allow_unused=True, materialize_grads=True)
    expected = dict(zip([f"d{n}" for n in leaves], gradients, strict=False))
    names = [f"d{p}_pre" if p in cell.gates else f"d{p}" for p in cell.pre_activations]
    expected |= zip(names, gradients[len(leaves) :], strict=True)
    held = set()
    for each in [*adjoint, *linear]:  # the parts of lines first
        found = each.evaluate(given)
        if each.target in expected:
            close(found, expected[each.target])
            held.add(each.target)
        if each.target in given and each.target not in {f"d{s}" for s in cell.states}:
            close(found, given[each.target])  # the chain rule and the cell's own line
        given[each.target] = found
    unused = {f"d{s}_prev" for s in cell.states if f"{s}_prev" not in {n for e in forward for n in e.names}}
    assert held == set(expected) - unused
    doubled = [each.target for each in adjoint if each.target in {e.target for e in Equations(cell).derived}]
    assert (len(set(doubled)) < len(doubled)) == (cell.adjoint is not None)


@each_cell
def test_the_numbers_agree_with_autograd_and_torch(cell):
    found = walk(cell, 3, 2)
    assert max(d.value for d in found.deviations) <= 1e-15
    references = {d.reference for d in found.deviations}
    assert any(r.startswith("torch.nn.") for r in references) == (cell in CELLS.values())
    assert {"a call of update", "autograd"} <= references
    assert all(t.abs().min() > 0 for name, t in found.given.items() if name != "x")
    for name in ("x", "h_prev", *(f"{p}{g}" for g in cell.gates for p in ("W_i", "W_h", "b_i", "b_h"))):
        assert {d.name for d in found.deviations} >= {f"d{name}"}


@pytest.mark.parametrize("H", [2, 64])
def test_the_state_before_is_one_that_the_cell_can_have(H):
    before = {name: walk(cell, 3, H).given for name, cell in CELLS.items()}
    for name in ("rnn", "gru", "lstm"):
        assert 0.1 < before[name]["h_prev"].abs().max() < 1
    assert before["rnn_relu"]["h_prev"].min() >= 0
    h_prev, c_prev = before["lstm"]["h_prev"], before["lstm"]["c_prev"]
    assert (h_prev.abs() <= torch.tanh(c_prev.abs() + 0.01)).all()
    assert (h_prev * c_prev >= 0).all()  # h = o * tanh(c)


@each_name
def test_numbers_are_those_of_the_lines_beside_them(name, capsys):
    shown = said(capsys, name, "--numbers", "--input-size", "2", "--hidden-size", "3")
    found = walk(cell_of(name), 2, 3)
    rows = re.findall(
        r"^ +(\w+) = .*?   \[ *(.+?)\]$", shown[shown.index("\nForward\n") : shown.index("\nBackward")], re.M
    )
    assert [target for target, _ in rows] == list(found.forward)
    for target, numbers in rows:
        assert numbers.split() == [f"{v + 0.0:.4f}" for v in found.forward[target].flatten().tolist()]
    for values in (found.parts, found.derived, found.by_hand, found.linear, found.given):
        for target, value in values.items():
            assert f"{target} " in shown
            assert f"[{' '.join(f'{v + 0.0:8.4f}' for v in value.T[0].tolist())}]" in shown or value.shape[1] > 1
            assert f"[{' '.join(f'{v + 0.0:8.4f}' for v in value[0].tolist())}]" in shown or value.shape[1] == 1
    assert "All agree in float64; the largest deviation is " in shown.splitlines()[-1]


@pytest.mark.parametrize(("cell", "chapters"), [("rnn", "0, 1 and 2"), ("lstm", "0, 1 and 2"), ("gru", "0 to 3")])
def test_it_says_where_to_read_on(capsys: pytest.CaptureFixture[str], cell: str, chapters: str) -> None:
    assert cli.main(["explain", cell]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"The guide's chapters {chapters} are about these lines; scratchrnn quiz {cell} asks for them."
    for options in (["--markdown"], ["--latex"], ["--numbers"], ["--notation", "papers"], ["--steps", "1"]):
        assert cli.main(["explain", cell, *options]) == 0
        assert "The guide's chapters" not in capsys.readouterr().out


@pytest.mark.parametrize("form", [[], ["--markdown"], ["--latex"]], ids=["", "markdown", "latex"])
def test_of_large_sizes_some_numbers_are_shown_and_all_compared(form, capsys):
    usual = said(capsys, "lstm", "--numbers", "--input-size", "8", "--hidden-size", "8", *form)
    shown = said(capsys, "lstm", "--numbers", "--input-size", "3", "--hidden-size", "64", *form)
    note = "Small sizes are for reading: of more than 8 numbers in a row or a column the first 6 and the last are shown"
    assert note in " ".join(shown.split())
    assert "all are compared" in " ".join(shown.split())
    assert "for reading" not in usual
    assert "…" not in usual
    assert "dots" not in usual
    assert len(shown) < 2 * len(usual)
    found = walk(cells.lstm, 3, 64)
    numbers = [f"{v + 0.0:.4f}" for v in found.forward["h"].flatten().tolist()]
    if not form:
        assert f"[{' '.join(f'{n:>8}' for n in [*numbers[:6], '…', numbers[-1]])}]" in shown
        assert max(map(len, shown.splitlines())) <= max(map(len, usual.splitlines()))
    if form == ["--latex"]:
        assert f"({', '.join([*numbers[:6], chr(92) + 'dots', numbers[-1]])})^" in shown
    assert {d.name for d in found.deviations} >= {"dW_ho", "dh_prev"}


# -------------------------------------------------------------------------------------------------- mutants


FLIPS = [
    pytest.param(name, function, k, id=f"{function.__name__}-sign-{k}")
    for name, cell in CELLS.items()
    for function in (cell.update, cell.adjoint)
    for k in range(signs(parsed(function)))
]


@pytest.mark.parametrize(("name", "function", "sign"), FLIPS)
def test_a_flipped_sign_shows_in_the_text_and_is_found(name, function, sign, tmp_path, monkeypatch, capsys):
    before = said(capsys, name)
    file = tmp_path / "mutant.py"
    room = function.__module__
    file.write_text(f"from __future__ import annotations\nfrom {room} import *\n{changed(function, Flip(sign))}\n")
    spec = importlib.util.spec_from_file_location("mutant", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    install(monkeypatch, function, getattr(module, function.__name__))
    assert said(capsys, name) != before
    shown = said(capsys, name, "--numbers", status=1)
    assert "All agree" not in shown
    if function.__name__.endswith("adjoint"):
        assert re.search(r"DIFFERS d\w+ of the adjoint from autograd by \d", shown)
        assert "from torch.nn" not in shown
    else:
        assert re.search(r"DIFFERS h of the forward from torch.nn.\w+Cell by \d", shown)


# ---------------------------------------------------------------------------------------------- what it says


def test_an_lstm_is_explained(capsys):
    shown = said(capsys, "lstm")
    text = " ".join(shown.split())
    assert text.startswith("LSTM, 3 inputs, 2 units Source: Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8")
    assert "  f_pre = W_if x + b_if + W_hf h_prev + b_hf\n" in shown
    assert "W_ii, W_if, W_ig, W_io: the blocks of rows of weight_ih [8, 3]" in text
    assert "parameters 56 G H (I + H + 2), G = 4" in text
    assert sum(p.numel() for p in torch.nn.LSTMCell(3, 2).parameters()) == 56
    assert "Backward is without dx (48 more), which a first layer does not need." in text
    assert "The linear part. The engine, which runs the loop over time, computes it:" in text
    assert "it is written where its last term comes in. The code uses some names twice; here each name has one " in text
    assert "here each name has one meaning: i_pre before the sigmoid, i after it. by the chain rule" in text
    assert "  as lstm_adjoint computes it\n" in shown
    assert "FLOP forward 122 80 in matrix products, 42 elementwise" in text
    assert "in the engine 6 x 2 x 4 = 48 i_pre, f_pre, g_pre, o_pre, h_prev, c_prev" in text
    assert "The engine does not keep the tape." in text
    assert "dh and dc_next arrive from the loss" in text
    assert "dc = dc_next + dtanh_c * (1 - tanh_c * tanh_c)   dc = dc_next + dh * o * (1 - tanh_c * tanh_c)" in shown
    assert "  dh_prev = W_hi^T di_pre + W_hf^T df_pre + W_hg^T dg_pre + W_ho^T do_pre\n" in shown
    assert "dh_direct" not in shown
    assert all(len(row) <= 100 for row in shown.splitlines())


@pytest.mark.parametrize("numbers", [False, True])
def test_forward_and_backward_come_before_shapes_and_counts(numbers):
    titles = [section.title for section in explain(cells.gru, 3, 2, walk(cells.gru, 3, 2) if numbers else None)]
    assert titles == [
        "GRU, 3 inputs, 2 units",
        *(["Given"] if numbers else []),
        "Forward",
        "Backward: the adjoint",
        "Backward: the linear part",
        "Shapes",
        "Counts",
        "What is kept for the gradient",
        *(["Check"] if numbers else []),
    ]


def test_a_cell_whose_states_have_other_names_and_whose_locals_are_called_like_gradients(tmp_path, monkeypatch, capsys):
    (tmp_path / "leaky.py").write_text(LEAKY)
    monkeypatch.syspath_prepend(str(tmp_path))
    shown = said(capsys, "leaky:leaky", "--numbers")
    assert "  f_pre = W_if x + b_if + W_hf s_prev + b_hf   [" in shown
    assert "  ds_1 = f * s_prev " in shown
    assert "  dm_prev = dm " in shown
    assert "  ds_prev = W_hf^T df_pre + W_hn^T dn_h + ds_direct\n" in shown
    assert "  dW_hn = dn_h s_prev^T  " in shown
    assert "ds_direct is the part of ds_prev that does not come through W_hh." in shown
    assert "s_prev the hidden state before the step" in shown
    assert "s is [B, H]" in shown
    assert "h_prev" not in shown
    assert "All agree in float64" in shown
    assert r"W_{hf} \, s_{\mathrm{prev}}" in said(capsys, "leaky:leaky", "--latex")


LEAKY = """
from typing import NamedTuple
import torch
from torch import Tensor
from scratchrnn import Cell

K = -0.5

class Tape(NamedTuple):
    f: Tensor
    n: Tensor
    s_prev: Tensor

def update(f, n_x, n_h, s_prev, m_prev):
    f = torch.sigmoid(f)
    n = torch.tanh(n_x + n_h)
    ds = f * s_prev
    s = ds + n * K
    m = m_prev + s_prev
    return (s, m), Tape(f, n, s_prev)

def adjoint(tape, ds, dm):
    f, n, s_prev = tape
    dn = ds * K * (1 - n * n)
    return (ds * s_prev * f * (1 - f), dn, dn), (ds * f + dm, dm)

leaky = Cell("LEAKY_^~\\\\", ("f", "n"), update, adjoint, split=("n",))
"""


def test_the_engine_keeps_what_is_said(capsys):
    layer = sr.LSTM(3, 2)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        layer(torch.randn(7, 1, 3))
    rows = [t for t in saved if t.shape[0] == 7 and t.shape[-1] != 3]  # not the input
    assert sum(t.numel() * t.element_size() for t in rows) == 7 * 48


def test_a_cell_without_an_adjoint_gets_the_derivation_alone(capsys):
    shown = said(capsys, "table:pair")
    assert "dk = dk_next + dtanh_k * (1 - tanh_k * tanh_k)" in shown
    assert "dm = dm_next + dk * a" in shown
    assert "db_h = -db_in * 0.5" in shown
    assert "Parts of the forward lines that are needed again have names of their own:\n\n  sigmoid_a_h = " in shown
    assert "dh_direct is the part of dh_prev that does not come through W_hh." in shown
    assert "The cell has no adjoint of its own: the engine uses this one." in shown
    assert "on the tape     7 x 2 x 4 = 56   tanh_k, b, m, a, tanh_u_pre, sigmoid_a_h, a_x" in shown
    assert "computes it" not in shown.split("Backward")[1]
    assert "here each name has one meaning" not in shown
    written = {each.target for each in Equations(pair).forward}
    targets = [step.line.target for step in Equations(pair).derivation]
    assert [t for t in targets if t in written] == ["h", "k", "m", "b", "a"]
    assert "The cell has walk=True: autograd walks through the steps." in said(capsys, "table:mgu_walked")


def test_the_docstring_of_an_own_update_is_its_source(capsys):
    assert "An LSTM whose input gate is 1 - f (Greff et al. 2017, arXiv:1503.04069)." in said(capsys, "table:coupled")
    bare = sr.Cell("BARE", ("f",), bare_update)
    assert "Source: update has no docstring." in explain(bare, 1, 1)[0].parts


def bare_update(f, h_prev):
    h = torch.tanh(f)
    return (h,), None


# --------------------------------------------------------------------------------------------------- forms


@each_name
@pytest.mark.parametrize("numbers", [[], ["--numbers"]], ids=["", "numbers"])
def test_markdown_has_headings_code_and_well_formed_tables(name, numbers, capsys):
    shown = said(capsys, name, "--markdown", *numbers)
    rows = shown.splitlines()
    assert rows[0].startswith("# ")
    assert sum(row.startswith("## ") for row in rows) == (8 if numbers else 6)
    assert rows.count("```text") == rows.count("```") == 3 + bool(Equations(cell_of(name)).added)
    tables = re.findall(r"(?:^\|.*\|\n)+", shown, re.MULTILINE)
    assert len(tables) == (6 if numbers else 4) - cell_of(name).walk
    for table in tables:
        head, rule, *body = table.splitlines()
        assert re.fullmatch(r"\|(---\|)+", rule)
        assert body
        for row in [head, *body]:
            assert row.count("|") == rule.count("|")
            assert row.count("`") % 2 == 0
    terminal = said(capsys, name, *numbers)
    spaceless = re.sub(r"\s", "", shown)
    for part in ("Forward", "Backward: the adjoint"):
        for each in printed(terminal, part, f"Backward: the {'adjoint' if part == 'Forward' else 'linear part'}"):
            assert re.sub(r"\s", "", each.text) in spaceless


@each_name
@pytest.mark.parametrize("numbers", [[], ["--numbers"]], ids=["", "numbers"])
def test_every_line_of_latex_parses(name, numbers, capsys):
    shown = said(capsys, name, "--latex", *numbers)
    parser = matplotlib.mathtext.MathTextParser("path")
    aligned = re.findall(r"\\begin{align\*}\n(.*?)\n\\end{align\*}", shown, re.DOTALL)
    assert len(aligned) >= 3
    formulas = re.findall(r"\$(.+?)\$", shown)
    for block in aligned:
        for row in block.split(" \\\\\n"):
            formulas += re.split(r"(?<!\\) & (?=[^=])|&", row) if "pmatrix" not in row else []
    for formula in formulas:
        if formula.strip() and "pmatrix" not in formula:
            parser.parse(f"${formula.strip()}$")
    for matrix in re.findall(r"\\begin{pmatrix}(.+?)\\end{pmatrix}", shown):
        counts = {len(row.split("&")) for row in matrix.split(r"\\")}
        assert len(counts) == 1
    for environment in ("align*", "tabular", "pmatrix"):
        assert shown.count(rf"\begin{{{environment}}}") == shown.count(rf"\end{{{environment}}}")
    prose = re.sub(r"\\begin{align\*}.*?\\end{align\*}|\$.+?\$|% needs.*", "", shown, flags=re.DOTALL)
    assert not re.search(r"(?<!\\)[_#]", prose)
    assert not re.search(r"^\[", prose, re.MULTILINE)
    assert ("pmatrix" in shown) == bool(numbers)


def test_letters_that_mean_something_to_latex_are_written_out(tmp_path, monkeypatch, capsys):
    (tmp_path / "leaky.py").write_text(LEAKY)
    monkeypatch.syspath_prepend(str(tmp_path))
    shown = said(capsys, "leaky:leaky", "--latex")
    assert r"\section*{LEAKY\_\textasciicircum{}\textasciitilde{}\textbackslash{}, 3 inputs, 2 units}" in shown


def test_latex_has_the_names_of_the_paper(capsys):
    shown = said(capsys, "lstm", "--latex")
    assert r"f_{\mathrm{pre}} &= W_{if} \, x + b_{if} + W_{hf} \, h_{\mathrm{prev}} + b_{hf} \\" in shown
    assert r"c &= f \odot c_{\mathrm{prev}} + i \odot g \\" in shown
    assert r"\mathrm{d}W_{hf} &= \mathrm{d}f_{\mathrm{pre}} \, h_{\mathrm{prev}}^\top \\" in shown
    assert r"From $h = o \odot \mathrm{tanh}_{c}$:" in shown


# --------------------------------------------------------------------------------- steps, two cells, other names


FORMS = pytest.mark.parametrize("form", [[], ["--markdown"], ["--latex"]], ids=["", "markdown", "latex"])


@FORMS
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "table:pair"])
def test_steps_show_the_roads_the_sums_and_that_all_agree(name, form, capsys):
    shown = said(capsys, name, "--steps", "3", *form)
    text = " ".join(shown.split())
    assert "All agree in float64; the largest deviation is " in text
    for title in ("Forward, step 3", "Back, step 1", "What arrives at each step", "The gradients of the parameters"):
        assert title in shown
    assert ("There is no direct road" in text) == (name == "rnn")
    if form == ["--latex"]:
        assert r"h_{2}" in shown
        assert r"h_{1}^\top" in shown
    if not form and name == "gru":
        assert "  dh_2 = dh_loss_2 + dh_W_2 + dh_direct_2   [" in shown
        assert "  dh_direct_1 = dh_2 * z_2   [" in shown
        values = evaluated(cells.gru, 3, 3, 2)
        for t in (1, 2, 3):
            row = " ".join(f"{v + 0.0:8.4f}" for v in values[f"dW_hr_{t}"][0].tolist())
            assert f"[{row}]" in shown
    if not form and name in CELLS:
        assert all(len(row) <= 100 for row in shown.splitlines())


@FORMS
def test_two_cells_stand_beside_each_other(form, capsys):
    shown = said(capsys, "--diff", "lstm", "gru", *form)
    assert said(capsys, "lstm", "gru", "--diff", *form) == shown
    for heading in ("Changed:", "Only in LSTM:", "Only in GRU:", "Of one form, under other names:"):
        assert heading in shown
    assert "-14" in shown
    assert "From" not in shown
    if not form:
        assert all(len(row) <= 100 for row in shown.splitlines())


def test_a_cell_of_ones_own_is_compared_and_named(capsys):
    shown = said(capsys, "--diff", "table:coupled", "lstm")
    assert "  i_pre = W_ii x + b_ii + W_hi h_prev + b_hi\n" in shown.split("Only in LSTM:")[1]
    assert "COUPLED   c = f * c_prev + (1 - f) * g" in shown
    assert "F̃" not in said(capsys, "table:coupled", "--notation", "d2l")


@FORMS
@pytest.mark.parametrize("notation", ["papers", "d2l", "keras"])
def test_other_notations_are_printed_in_every_form(notation, form, capsys):
    shown = said(capsys, "gru", "--notation", notation, *form)
    assert "Names" in shown
    if form == ["--latex"] and notation == "d2l":
        assert r"\tilde{H}_{t} &= \tanh(X_{t} \, W_{xh} + b_{h} + R_{t} \odot (H_{t-1} \, W_{hh} + b'_{h})) \\" in shown
    if form == ["--latex"]:
        assert "\u0303" not in shown  # which LaTeX would not print
        assert (r"\~{h}\_t" in shown) == (notation == "papers")
    if not form:
        assert [*named(cells.gru, notation).lines][-1].text in shown


def test_pytorchs_notation_is_the_usual_one(capsys):
    assert said(capsys, "gru", "--notation", "pytorch") == said(capsys, "gru")


@pytest.mark.parametrize("notation", ["papers", "d2l", "keras"])
@pytest.mark.parametrize("name", [*CELLS, *OWN])
def test_every_line_in_a_notation_parses_as_latex(name, notation, capsys):
    shown = said(capsys, name, "--notation", notation, "--latex")
    parser = matplotlib.mathtext.MathTextParser("path")
    (block,) = re.findall(r"\\begin{align\*}\n(.*?)\n\\end{align\*}", shown, re.DOTALL)
    for row in block.split(" \\\\\n"):
        parser.parse(f"${row.replace('&', '')}$")


# --------------------------------------------------------------------------------------------------- without a line


def trained(monkeypatch):
    """Shares that are made up, and by what."""
    calls = []
    monkeypatch.setattr(Task, "right", lambda task, cell, seed: calls.append((task.name, cell.name, seed)) or 0.25)
    return calls


@FORMS
def test_without_a_line_every_seed_of_both_cells_is_shown(form, monkeypatch, capsys):
    calls = trained(monkeypatch)
    shown = said(capsys, "lstm", "--without", "f", *form)
    each = [(t, c, s) for t in ("recall", "stream") for c in ("LSTM", "LSTM without f") for s in range(4)]
    assert calls == each
    assert shown.count("0.25") == 16
    assert "seed 3" in shown
    assert "with `f = 1` in the place of `f = sigmoid(f" in shown
    assert "Only in LSTM:" in shown


@FORMS
def test_what_needs_no_training_is_shown_before_it(form, monkeypatch, capsys):
    before = []
    monkeypatch.setattr(Task, "right", lambda task, cell, seed: before.append(capsys.readouterr()) or 0.25)
    assert cli.main(["explain", "lstm", "--without", "f", "--seeds", "1", *form]) == 0
    shown, after = before[0], capsys.readouterr()
    assert "Only in LSTM" in shown.out
    assert "What it learns" in after.out
    assert not any(each.out or each.err for each in before[1:])
    assert shown.err == "training 4 small models, a second or two each; fewer with --seeds\n"
    assert after.err == ""


def test_as_many_seeds_are_tried_as_asked_for(monkeypatch, capsys):
    calls = trained(monkeypatch)
    said(capsys, "gru", "--without", "z", "--seeds", "1")
    assert len(calls) == 4
    assert "What it learns" not in said(capsys, "gru", "--without", "z", "--seeds", "0")
    assert len(calls) == 4


def test_what_takes_the_place_of_a_line_stands_behind_the_sign(monkeypatch, capsys):
    trained(monkeypatch)
    shown = said(capsys, "lstm", "--without", "f = 1 - i")
    assert "LSTM and LSTM with f = 1 - i, 3 inputs, 2 units" in shown
    assert "LSTM with f = 1 - i   f = 1 - i" in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--numbers"], "  c = c_prev + i * g "),
        (["--steps", "2"], "  dc_next_1 = dc_2 "),
        (["--adjoint"], "    return (di_pre, dg_pre, do_pre), (None, dc_prev)"),
        (["--c"], "vec c = c_prev + i * g;"),
        (["--notation", "papers"], "  c_t = c_{t-1} + i_t * c̃_t"),
        (["--notation", "pytorch"], "  c = c_prev + i * g"),
    ],
)
def test_the_reduced_cell_is_explained_as_any_other(arguments, expected, monkeypatch, capsys):
    calls = trained(monkeypatch)
    assert expected in said(capsys, "lstm", "--without", "f", *arguments)
    assert calls == []


def test_the_bar_is_there_on_a_terminal(monkeypatch):
    trained(monkeypatch)
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    assert effect((cells.lstm,), 2, console).title == "What it learns"
    assert "4/4" in out.getvalue()


# ------------------------------------------------------------------------------------------- the first wrong line


WRONG = """
from scratchrnn import Cell
from scratchrnn.cells import gru_update, lstm_update

def adjoint(tape, dh, dc):
    i, f, g, o, c_prev, tanh_c = tape
    do = dh * tanh_c
    dc = dh * o * (1 - tanh_c * tanh_c)
    df, dc_prev, di, dg = dc * c_prev, dc * f, dc * g, dc * i
    return (di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)), (None, dc_prev)

def shut(tape, dh):
    r, z, n, n_h, h_prev = tape
    dn, dz = dh * (1 - z), dh * (h_prev - n)
    dn_x = dn * (1 - n * n)
    dr, dn_h = dn_x * n_h, dn_x * r
    return (dr * r * (1 - r), dz * z * (1 - z), dn_x, dn_h), (None,)

lost = Cell("LOST", ("i", "f", "g", "o"), lstm_update, adjoint)
shut = Cell("SHUT", ("r", "z", "n"), gru_update, shut, split=("n",))
"""


@pytest.fixture
def wrong(tmp_path, monkeypatch):
    (tmp_path / "wrong.py").write_text(WRONG)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_the_first_line_that_departs_is_marked_with_the_term_that_is_missing(wrong, capsys):
    rows = said(capsys, "wrong:lost", "--numbers", status=1).splitlines()
    mark = next(k for k, row in enumerate(rows) if "^ the first that departs" in row)
    assert rows[mark].endswith("^ the first that departs: it lacks the term `+ dc_next`")
    assert rows[mark - 2].endswith("   dc = dh * o * (1 - tanh_c * tanh_c)")
    assert rows[mark].index("^") == rows[mark - 2].index("dc = dh * o")
    assert sum("^ the first" in row for row in rows) == 1
    text = " ".join(" ".join(rows).split())
    assert "DIFFERS: adjoint departs first in `dc = dh * o * (1 - tanh_c * tanh_c)`, where the chain rule has " in text
    assert "^ the first" not in said(capsys, "wrong:lost")


def test_the_mark_stands_in_every_form(wrong, capsys):
    shown = said(capsys, "wrong:lost", "--numbers", "--latex", status=1)
    assert r"\text{\textasciicircum{} the first that departs: it lacks the term `+ dc\_next`}" in shown
    shown = said(capsys, "wrong:lost", "--numbers", "--markdown", status=1)
    assert r"|  | ^ the first that departs: it lacks the term `+ dc\_next` |" in shown


def test_a_gradient_that_is_not_given_is_named(wrong, capsys):
    shown = said(capsys, "wrong:shut", "--numbers", status=1)
    assert "DIFFERS: shut gives no dh_direct, where the chain rule has `dh_direct = dh * z`." in " ".join(shown.split())


def test_nothing_is_marked_where_nothing_departs(capsys):
    assert "departs" not in said(capsys, "lstm", "--numbers")
    assert "DIFFERS" not in said(capsys, "table:mgu_walked", "--numbers")


# -------------------------------------------------------------------------------------------------- errors

MODULE = """
import torch
from scratchrnn import Cell

RATE = 0.5

def wave(f, h_prev):
    h = torch.sin(f) / 2
    return h

def idle(f, g, h_prev):
    h = RATE * torch.tanh(f)
    return h

def looped(f, h_prev):
    f = torch.tanh(f)
    for _ in range(2):
        f = f * f
    return f

class Called:
    def __call__(self, f, h_prev):
        return torch.tanh(f)

called, wave, looped = Cell("CALLED", ("f",), Called()), Cell("WAVE", ("f",), wave), Cell("LOOPED", ("f",), looped)
idle = Cell("IDLE", ("f", "g"), idle)
"""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["elman"], "CELL should be rnn, rnn_relu, lstm, gru, or of the form my.module:name, got 'elman'"),
        (["my:"], "CELL should be of the form my.module:Name, got 'my:'"),
        (["no_such_module:mgu"], "CELL 'no_such_module:mgu' cannot be imported: No module named 'no_such_module'"),
        (["mine:nothing"], "CELL 'mine:nothing' cannot be imported: module 'mine' has no attribute 'nothing'"),
        (["mine:torch"], "CELL 'mine:torch' should be a scratchrnn.Cell, got <module 'torch'"),
        (["mine:called", "--numbers"], "update of cell 'CALLED' cannot be read: only a function written with def can"),
        (["mine:called", "--adjoint"], "update of cell 'CALLED' cannot be read: only a function written with def can"),
        (["mine:wave", "--adjoint"], "update of cell 'WAVE': the chain rule is not known of `h = sin(f_pre) / 2`: "),
        (["lstm", "--adjoint", "--markdown"], "--markdown does not go with --adjoint, which is Python"),
        (["lstm", "--c", "--latex"], "--latex does not go with --c"),
        (["lstm", "gru"], "CELL should be given once, got 2: two cells are compared with --diff"),
        (["--diff", "lstm"], "CELL should be given twice, got 1: --diff takes two, as in --diff lstm gru"),
        (["--diff", "lstm", "elman"], "CELL should be rnn, rnn_relu, lstm, gru, or of the form my.module:name"),
        (["--diff", "lstm", "mine:wave"], "update of cell 'WAVE': the chain rule is not known of "),
        (["--diff", "lstm", "gru", "--without", "f"], "--without does not go with --diff: it shows the difference"),
        (["lstm", "--steps", "0"], "--steps should be from 1 to 5, got 0: small numbers are for reading"),
        (["lstm", "--steps", "6"], "--steps should be from 1 to 5, got 6: small numbers are for reading"),
        (["mine:wave", "--steps", "2"], "update of cell 'WAVE': the chain rule is not known of "),
        (["mine:called", "--notation", "d2l"], "update of cell 'CALLED' cannot be read"),
        (["lstm", "--seeds", "2"], "--seeds goes with --without alone, which trains"),
        (["lstm", "--without", "f", "--seeds", "2", "--numbers"], "--seeds goes with --without alone, which trains"),
        (["lstm", "--without", "f", "--seeds", "-1"], "--seeds should be at least 0, got -1"),
        (["lstm", "--without", "q"], "cell 'LSTM' has no line 'q' to be without: it has i, f, g, o, c, tanh_c, h"),
        (["lstm", "--without", "c"], "is neither a gate nor a function of one argument: say what takes its place, c=0"),
        (["lstm", "--without", "f=1 - x"], "of earlier names, i_pre, f_pre, g_pre, o_pre, h_prev, c_prev, i; got x"),
        (["lstm", "--without", "f=1/0"], "of numbers up to 1e+18, and `1 / 0` is inf"),
        (["lstm", "--without", "f=9**9**9"], "an exponent should be a number of at most 9, got `9 ** 9`"),
        (["lstm", "--without", ""], "--without should be a line, as f, f=0 or f='1 - i', got ''"),
        (["lstm", "--without", "f="], "--without should be a line, as f, f=0 or f='1 - i', got 'f='"),
        (["lstm", "--without", "=1"], "--without should be a line, as f, f=0 or f='1 - i', got '=1'"),
        (["lstm", "--adjoint", "--input-size", "3"], "--input-size does not go with --adjoint, which has no sizes"),
        (["lstm", "--c", "--hidden-size", "2"], "--hidden-size does not go with --c, which has no sizes"),
        (
            ["lstm", "--notation=d2l", "--hidden-size=2"],
            "--hidden-size does not go with --notation, which has no sizes",
        ),
        (["lstm", "--input-size", "0"], "--input-size should be at least 1, got 0"),
        (["lstm", "--hidden-size", "-2"], "--hidden-size should be at least 1, got -2"),
    ],
)
def test_a_bad_argument_is_named(arguments, text, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    error = said(capsys, *arguments, status=2)
    assert error.startswith("scratchrnn explain: ")
    assert text in error


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("--markdown", "--latex"),
        ("--numbers", "--adjoint"),
        ("--numbers", "--steps=2"),
        ("--steps=2", "--notation=d2l"),
        ("--notation=keras", "--c"),
        ("--diff", "--numbers"),
    ],
)
def test_of_what_is_shown_and_of_the_forms_there_is_one(one, other, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["explain", "lstm", one, other])
    assert caught.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_notation_that_is_not_there_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["explain", "lstm", "--notation", "tensorflow"])
    assert caught.value.code == 2
    assert "argument --notation: invalid choice: 'tensorflow'" in capsys.readouterr().err


def test_the_help_names_cells_and_statuses(capsys):
    with pytest.raises(SystemExit):
        cli.main(["explain", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "rnn, rnn_relu, lstm, gru, or a Cell of your own as my.module:name" in shown
    assert "1 with --numbers or --steps: something differs from autograd or torch.nn, 2 bad usage" in shown
    assert "--notation {pytorch,papers,d2l,keras}" in shown
    for option in ("--without LINE", "--seeds N", "--steps N", "--diff", "what is shown, one of"):
        assert option in shown
