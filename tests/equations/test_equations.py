"""The lines read from `update` and `adjoint`: their names, their values, what cannot be read."""

from __future__ import annotations

import functools
import gc
import importlib
import re
import weakref
from collections import namedtuple

import matplotlib.mathtext
import pytest
import torch
from running import close, equal, outcome
from table import ROWS, coupled, mgu, pair

import scratchrnn as sr
from scratchrnn import cells
from scratchrnn.equations import reading
from scratchrnn.equations.equations import Equations
from scratchrnn.equations.explain import explain
from scratchrnn.equations.latex import latex_name
from scratchrnn.equations.lines import line
from scratchrnn.equations.worked_example import agrees, walk

tapes = importlib.import_module("scratchrnn.cells.elman")

each_cell = pytest.mark.parametrize("cell", [row.cell for row in ROWS], ids=lambda cell: cell.name)
Gates = namedtuple("Gates", "f n")


def texts(lines):
    return [each.text for each in lines]


def forward(cell):
    return Equations(cell).forward


def adjoint(cell):
    return Equations(cell).adjoint


def read(update, adjoint=None, gates=("f",), split=()):
    cell = sr.Cell("OWN", gates, update, adjoint, split)
    return texts(Equations(cell).forward), texts(Equations(cell).adjoint)


# ------------------------------------------------------------------------------------------------- the text


def test_the_lines_of_an_lstm_are_those_of_the_code_each_name_assigned_once():
    assert texts(Equations(cells.lstm).forward) == [
        "i = sigmoid(i_pre)",
        "f = sigmoid(f_pre)",
        "g = tanh(g_pre)",
        "o = sigmoid(o_pre)",
        "c = f * c_prev + i * g",
        "tanh_c = tanh(c)",
        "h = o * tanh_c",
    ]
    assert texts(Equations(cells.lstm).adjoint) == [
        "do = dh * tanh_c",
        "dc = dc_next + dh * o * (1 - tanh_c * tanh_c)",
        "df = dc * c_prev",
        "dc_prev = dc * f",
        "di = dc * g",
        "dg = dc * i",
        "do_pre = do * o * (1 - o)",
        "dg_pre = dg * (1 - g * g)",
        "df_pre = df * f * (1 - f)",
        "di_pre = di * i * (1 - i)",
    ]


def test_split_gates_keep_their_halves_and_the_direct_road_has_a_name():
    assert texts(Equations(cells.gru).forward)[2:] == ["n = tanh(n_x + r * n_h)", "h = (1 - z) * n + z * h_prev"]
    lines = texts(Equations(cells.gru).adjoint)
    assert lines[:5] == [
        "dn = dh * (1 - z)",
        "dz = dh * (h_prev - n)",
        "dh_direct = dh * z",
        "dn_x = dn * (1 - n * n)",
        "dr = dn_x * n_h",
    ]


def test_simultaneous_assignments_are_split_and_returned_expressions_named():
    assert texts(Equations(coupled).forward) == [
        "f = sigmoid(f_pre)",
        "g = tanh(g_pre)",
        "o = sigmoid(o_pre)",
        "c = f * c_prev + (1 - f) * g",
        "tanh_c = tanh(c)",
        "h = o * tanh_c",
    ]
    assert texts(Equations(mgu).adjoint)[-3:] == [
        "df_pre = df * f * (1 - f)",
        "dn_h = dn_x * f",
        "dh_direct = dh * (1 - f)",
    ]
    assert Equations(pair).adjoint == ()


def test_the_gradients_that_arrive_are_named_by_whether_the_step_adds_to_them():
    assert [Equations(c).arriving for c in (cells.elman, cells.gru)] == [("dh",), ("dh",)]
    assert [Equations(c).arriving for c in (cells.lstm, pair)] == [("dh", "dc_next"), ("dh", "dm_next", "dk_next")]
    assert Equations(cells.gru).tape == ("r", "z", "n", "n_h", "h_prev")


def test_the_road_past_the_weights_has_the_name_of_the_emitted_state():
    def update(f, s_prev, m_prev):
        s = torch.tanh(f) + s_prev
        return (s, m_prev), Gates(f=f, n=m_prev)

    def adjoint(tape, ds, dm):
        return (ds * (1 - tape.n),), (ds, dm)

    assert read(update, adjoint)[1] == ["df_pre = ds * (1 - n)", "ds_direct = ds", "dm_prev = dm"]


RATE, K = 0.25, -1.0


def test_a_local_that_is_called_like_a_gradient_gets_a_number():
    def update(f, n, h_prev):
        dh = f * h_prev
        dh_next = dh + n
        dn_pre = dh_next - n
        dtotal = dn_pre
        x = torch.tanh(dtotal)
        total = x + dh
        dtotal = total * 2
        return (torch.tanh(dtotal),), None

    assert read(update, gates=("f", "n"))[0] == [
        "dh_1 = f_pre * h_prev",
        "dh_next_1 = dh_1 + n_pre",
        "dn_pre_1 = dh_next_1 - n_pre",
        "x_1 = tanh(dn_pre_1)",
        "total = x_1 + dh_1",
        "dtotal_1 = total * 2",
        "h = tanh(dtotal_1)",
    ]


def test_a_local_that_is_called_like_the_gradient_of_a_numbered_one_gets_another_number():
    def update(f, n, h_prev):
        dh = f * h_prev
        h = dh + n
        h = torch.tanh(h)
        return (h,), None

    assert read(update, gates=("f", "n"))[0] == ["dh_2 = f_pre * h_prev", "h_1 = dh_2 + n_pre", "h = tanh(h_1)"]
    assert agrees(walk(sr.Cell("OWN", ("f", "n"), update), 3, 2).deviations)


def test_a_negative_constant_keeps_its_parentheses():
    def update(f, h_prev):
        h = f * (-2.0) ** 2 + K * f
        return (h,), None

    of = Equations(sr.Cell("OWN", ("f",), update))
    (found,) = of.forward
    assert of.numbers == {"K": K}
    assert found.text == "h = f_pre * (-2.0) ** 2 + K * f_pre"
    assert found.latex() == r"h = f_{\mathrm{pre}} \cdot (-2.0)^{2} + K \odot f_{\mathrm{pre}}"
    f = torch.randn(3)
    equal(found.evaluate({"f_pre": f, "K": K}), f * (-2.0) ** 2 + K * f)


def test_names_that_are_taken_get_numbers_and_numbers_from_outside_their_names():
    slope = 2

    def update(f, n, h_prev):
        """Not a line."""
        f, n = torch.tanh(n), f.sigmoid()
        h = RATE * f
        h += n**slope
        new: torch.Tensor = -h
        return (new - h_prev,), Gates(f=f, n=h_prev)

    assert read(update, gates=("f", "n"))[0] == [
        "f = tanh(n_pre)",
        "n_1 = sigmoid(f_pre)",
        "h_1 = RATE * f",
        "h_2 = h_1 + n_1 ** slope",
        "new = -h_2",
        "h = new - h_prev",
        "n = h_prev",
    ]


def test_a_tape_may_be_read_by_its_fields_or_be_no_tape():
    def update(f, n, h_prev):
        n = torch.tanh(n)
        h = n * f
        return (h,), Gates(f, n)

    def adjoint(t, dh):
        return (dh * t.n, dh * t.f * (1 - t.n * t.n)), (None,)

    def without(f, h_prev):
        return (torch.tanh(f),), None

    assert read(update, adjoint, ("f", "n")) == (
        ["n = tanh(n_pre)", "h = n * f_pre", "f = f_pre"],
        ["df_pre = dh * n", "dn_pre = dh * f * (1 - n * n)"],
    )
    assert read(without)[0] == ["h = tanh(f_pre)"]


def test_the_fields_of_a_tape_are_found_without_a_step():
    def by_module(f, h_prev):
        h = torch.narrow(f, -1, 0, 4) * h_prev
        return (h,), tapes.ElmanTape(h)

    def plain(f, h_prev):
        return (f,), (f, h_prev)

    def of_own(f, h_prev):
        h = torch.tanh(f)
        return (h,), tapes.ElmanTape._make([h])

    cell = functools.partial(sr.Cell, "OWN", ("f",))
    assert Equations(cell(by_module)).tape == ("h",)
    assert Equations(cell(plain)).tape == Equations(cell(of_own)).tape == ()
    assert texts(Equations(cell(of_own)).forward) == ["h = tanh(f_pre)"]


# ------------------------------------------------------------------------------------------------- read once


def test_the_source_of_a_cell_is_read_once(monkeypatch):
    read, source_of = [], reading.source_of
    monkeypatch.setattr(reading, "source_of", lambda function, what: read.append(function) or source_of(function, what))
    cell = sr.Cell("OWN", cells.gru.gates, cells.gru.update, cells.gru.adjoint, cells.gru.split)
    explain(cell, 3, 2, walk(cell, 3, 2))
    explain(cell, 4, 5)
    assert read == [cell.update, cell.adjoint]


def test_a_cell_whose_lines_were_read_is_freed_with_them():
    def own():
        def update(f, h_prev):
            h = torch.tanh(f) * RATE if cell.name else f  # it holds the cell that holds it
            return (h,), Gates(f, h)

        def adjoint(tape, dh):
            df = dh * (tape.f if cell.name else dh)
            return (df,), (None,)

        cell = sr.Cell("HELD", ("f",), update, adjoint)
        return cell

    def plain(f, h_prev):
        h = torch.tanh(f)
        return (h,), None

    dropped = []
    for cell in (own(), sr.Cell("OWN", ("f",), plain)):
        outcome(forward, cell)
        outcome(adjoint, cell)
        dropped.append(weakref.ref(cell))
    del cell
    gc.collect()
    assert [gone() for gone in dropped] == [None, None]


def test_cells_of_one_name_have_each_their_own_lines_also_one_made_where_another_was():
    def half(f, h_prev):
        h = torch.tanh(f)
        return (h,), None

    def whole(f, h_prev):
        h = torch.sigmoid(f) * h_prev
        return (h,), None

    for _ in range(3):  # each in the place, and under the key, of one that is gone
        for update, shown in ((half, "h = tanh(f_pre)"), (whole, "h = sigmoid(f_pre) * h_prev")):
            assert texts(Equations(sr.Cell("SAME", ("f",), update)).forward) == [shown]
    first, second = sr.Cell("SAME", ("f",), half), sr.Cell("SAME", ("f",), whole)
    assert texts(Equations(first).forward) != texts(Equations(second).forward)


def test_a_number_that_a_function_holds_has_the_value_that_it_has_now():
    slope = 2

    def update(f, h_prev):
        h = slope * f
        return (h,), None

    cell = sr.Cell("OWN", ("f",), update)
    assert texts(Equations(cell).forward) == ["h = slope * f_pre"]
    assert texts(Equations(cell).derived) == ["df_pre = dh * slope"]
    for slope in (2, 2.0, 3):
        assert Equations(cell).numbers == {"slope": slope}


def test_what_an_adjoint_cannot_be_read_for_leaves_the_other_lines_and_is_said_each_time():
    def update(f, h_prev):
        h = torch.tanh(f)
        return (h,), None

    cell = sr.Cell("OWN", ("f",), update, lambda tape, dh: ((dh,), (None,)))
    for _ in range(2):
        assert outcome(adjoint, cell)[0] is ValueError
        assert texts(Equations(cell).forward) == ["h = tanh(f_pre)"]
        assert texts(Equations(cell).derived) == ["df_pre = dh * (1 - h * h)"]


def test_a_function_that_has_no_hash_is_refused_as_one_without_source():
    class Update:
        __hash__ = None

        def __call__(self, f, h_prev):
            return (torch.tanh(f),), None

    kind, text = outcome(forward, sr.Cell("OWN", ("f",), Update()))
    assert kind is ValueError
    assert text == "update of cell 'OWN' cannot be read: only a function written with def can, got Update"


# ----------------------------------------------------------------------------------------------- the values


@each_cell
def test_every_line_gives_what_a_trace_has_under_its_name(cell):
    layer = sr.RecurrentLayer(cell, 3, 4, dtype=torch.float64)
    state = tuple(torch.randn(1, 2, 4, dtype=torch.float64) for _ in cell.states)
    record = sr.trace(layer, torch.randn(5, 2, 3, dtype=torch.float64), state if state[1:] else state[0]).layer(0)
    values = dict(record.tensors)
    for each in Equations(cell).forward:
        assert set(each.names) <= set(values)
        found = line(f"{each.target} = {each.code}").evaluate(values)  # the printed text, parsed again
        equal(found, each.evaluate(values))
        if each.target in record.tensors:
            close(found, record[each.target])
        values[each.target] = found
    assert set(cell.states) <= {each.target for each in Equations(cell).forward}


@pytest.mark.parametrize("cell", [row.cell for row in ROWS if row.cell.adjoint], ids=lambda cell: cell.name)
def test_the_adjoints_lines_give_what_the_adjoint_returns(cell):
    pre = [torch.randn(2, 4, dtype=torch.float64) for _ in cell.pre_activations]
    prev = [torch.randn(2, 4, dtype=torch.float64) for _ in cell.states]
    d_state = [torch.randn(2, 4, dtype=torch.float64) for _ in cell.states]
    _, tape = cell.update(*pre, *prev)
    values = tape._asdict() | dict(zip(Equations(cell).arriving, d_state, strict=True))
    for each in Equations(cell).adjoint:
        values[each.target] = each.evaluate(values)
    d_pre, d_prev = cell.adjoint(tape, *d_state)
    for name, expected in zip(cell.pre_activations, d_pre, strict=True):
        equal(values[f"d{name}_pre" if name in cell.gates else f"d{name}"], expected)
    for name, expected in zip(["dh_direct", "dc_prev"], d_prev, strict=False):
        assert (name in values) == (expected is not None)
        if expected is not None:
            equal(values[name], expected)


def test_a_line_of_linear_algebra_reads_and_evaluates_as_one():
    dx = line("dx = W_ii.T @ di_pre + W_if.T @ df_pre")
    assert dx.text == "dx = W_ii^T di_pre + W_if^T df_pre"
    assert dx.names == ("W_ii", "di_pre", "W_if", "df_pre")
    values = {name: torch.randn(4, 3) if name[0] == "W" else torch.randn(4, 1) for name in dx.names}
    equal(dx.evaluate(values), values["W_ii"].T @ values["di_pre"] + values["W_if"].T @ values["df_pre"])
    with pytest.raises(KeyError, match="W_if"):
        dx.evaluate({name: t for name, t in values.items() if name != "W_if"})
    with pytest.raises(ValueError, match=re.escape("text should be an assignment to one name, got 'dx, dy = x'")):
        line("dx, dy = x")


# ---------------------------------------------------------------------------------------------------- LaTeX


def test_latex_has_the_fields_signs():
    shown = [each.latex() for each in Equations(cells.lstm).forward]
    assert shown[1] == r"f = \sigma(f_{\mathrm{pre}})"
    assert shown[4] == r"c = f \odot c_{\mathrm{prev}} + i \odot g"
    assert Equations(cells.gru).forward[3].latex() == r"h = (1 - z) \odot n + z \odot h_{\mathrm{prev}}"
    assert Equations(cells.elman_relu).adjoint[0].latex().endswith(r"\mathrm{d}h \odot [h > 0]")
    assert line("dx = W_if.T @ df_pre - (a - b)").latex() == (
        r"\mathrm{d}x = W_{if}^\top \, \mathrm{d}f_{\mathrm{pre}} - (a - b)"
    )
    assert line("y = -(a + b) * 0.5 / c ** 2").latex() == r"y = \frac{-(a + b) \cdot 0.5}{c^{2}}"
    assert line("y = a / (b * c) + softplus(a <= b)").latex() == (
        r"y = \frac{a}{b \odot c} + \mathrm{softplus}([a \leq b])"
    )
    assert latex_name("dtanh_c") == r"\mathrm{d}\mathrm{tanh}_{c}"
    assert latex_name("_t") == r"\mathrm{\_t}"
    assert line("y = clamp_min(_, a)").latex() == r"y = \mathrm{clamp\_min}(\mathrm{\_}, a)"
    assert latex_name("new_h_1") == r"\mathrm{new}_{h,1}"
    with pytest.raises(ValueError, match=re.escape("no LaTeX for [a]")):
        line("y = [a]").latex()


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("(a ** 2) ** b", r"(a^{2})^{b}"),
        ("a ** 2 ** b", r"a^{2^{b}}"),
        ("(a / b) ** 2", r"(\frac{a}{b})^{2}"),
        ("a / b ** 2 * c", r"\frac{a}{b^{2}} \odot c"),
    ],
)
def test_latex_has_parentheses_where_a_power_is_taken(code, shown):
    assert line(f"y = {code}").latex() == f"y = {shown}"


@each_cell
def test_every_line_parses_as_mathematics(cell):
    parser = matplotlib.mathtext.MathTextParser("path")
    for each in [*Equations(cell).forward, *Equations(cell).adjoint]:
        parser.parse(f"${each.latex()}$")
