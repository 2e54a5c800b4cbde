"""Two cells beside each other: which lines are the same, changed, gone, new; and the counts."""

from __future__ import annotations

import pytest
import table
import torch

from scratchrnn.cells import BUILT_IN, gru, lstm
from scratchrnn.equations.difference import compared, difference
from scratchrnn.equations.lines import line
from scratchrnn.equations.sections import Equation, Table
from scratchrnn.equations.without import without


def test_every_line_is_in_one_of_four_groups():
    before = [line(text) for text in ("a = x", "b = a * x", "c = b")]
    after = [line(text) for text in ("a = x", "b = a + x", "d = b")]
    found = difference(before, after)
    assert [each.text for each in found.same] == ["a = x"]
    assert [(a.text, b.text) for a, b in found.changed] == [("b = a * x", "b = a + x")]
    assert [each.text for each in found.gone] == ["c = b"]
    assert [each.text for each in found.new] == ["d = b"]


def lines(section):
    """By the heading of each part: the texts of its lines; of changed ones the names of the cells, too."""
    found = {}
    for title, part in zip(section.parts[::2], section.parts[1::2], strict=True):
        if isinstance(part, Table):
            found[title] = [
                (row[0], *(e.line.text if isinstance(e, Equation) else e for e in row[1:])) for row in part.rows
            ]
        else:
            found[title] = [equation.line.text for equation in part]
    return found


def test_without_the_forget_gate_its_gradients_vanish_and_dc_goes_on_unchanged():
    _, forward, backward, _ = compared(lstm, without(lstm, "f"), 3, 2)
    assert lines(forward)["Only in LSTM:"] == ["f_pre = W_if x + b_if + W_hf h_prev + b_hf", "f = sigmoid(f_pre)"]
    assert lines(forward)["Changed:"] == [
        ("LSTM", "c = f * c_prev + i * g"),
        ("LSTM without f", "c = c_prev + i * g"),
    ]
    assert lines(backward)["Only in LSTM:"] == ["df = dc * c_prev", "df_pre = df * f * (1 - f)"]
    changed = lines(backward)["Changed:"]
    assert changed[:2] == [("LSTM", "dc_prev = dc * f"), ("LSTM without f", "dc_prev = dc")]
    assert "W_hf^T df_pre" in changed[4][1]
    assert "df_pre" not in changed[5][1]
    assert "Only in LSTM without f:" not in lines(forward) | lines(backward)


def test_lines_of_one_form_are_found_under_other_names():
    _, forward, _, _ = compared(lstm, gru, 3, 2)
    assert lines(forward)["Of one form, under other names:"] == [("y = sigmoid(a)", "i, f, o", "r, z")]
    assert lines(forward)["Only in GRU:"][-1] == "n = tanh(n_x + r * n_h)"


def test_a_cell_beside_itself_has_all_in_both():
    _, forward, backward, counts = compared(gru, gru, 3, 2)
    assert [*lines(forward)] == [*lines(backward)] == ["In both:"]
    assert {row[-1] for row in counts.parts[0].rows} == {"the same"}


def test_what_autograd_does_is_said_not_to_be_counted():
    assert "of MGU_WALKED is autograd's, and not counted" in compared(gru, table.mgu_walked, 3, 2)[-1].parts[1]
    assert "counted" not in compared(gru, lstm, 3, 2)[-1].parts[1]


@pytest.mark.parametrize(("I", "H"), [(3, 2), (7, 5)])
def test_the_parameters_are_counted_as_torch_has_them(I, H):  # noqa: E741
    counts = compared(BUILT_IN["LSTM"], BUILT_IN["GRU"], I, H)[-1].parts[0]
    here, there = (sum(p.numel() for p in cell(I, H).parameters()) for cell in (torch.nn.LSTMCell, torch.nn.GRUCell))
    assert counts.rows[1] == ("parameters", str(here), str(there), f"{there - here:+d}")
