"""A cell without a line: its lines, its numbers beside the whole cell and cells written by hand, its errors."""

from __future__ import annotations

import inspect
import linecache
import re

import pytest
import table
import torch
from running import close

import scratchrnn as sr
from scratchrnn.cells import elman, gru, lstm
from scratchrnn.equations.adjoint import why_walked
from scratchrnn.equations.equations import Equations
from scratchrnn.equations.without import without

JANET = next(cell for cell in table.EQUATIONS if cell.name == "JANET")
CIFG = next(cell for cell in table.EQUATIONS if cell.name == "CIFG")


@pytest.mark.parametrize(
    ("cell", "name", "instead", "title", "gates", "changed"),
    [
        (lstm, "f", None, "LSTM without f", "igo", "c = c_prev + i * g"),
        (lstm, "i", None, "LSTM without i", "fgo", "c = f * c_prev + g"),
        (lstm, "o", None, "LSTM without o", "ifg", "h = tanh(c)"),
        (lstm, "g", None, "LSTM without g", "ifgo", "c = f * c_prev + i * g_pre"),
        (lstm, "tanh_c", None, "LSTM without tanh_c", "ifgo", "h = o * c"),
        (lstm, "f", 0, "LSTM with f = 0", "igo", "c = i * g"),
        (lstm, "f", 0.5, "LSTM with f = 0.5", "igo", "c = 0.5 * c_prev + i * g"),
        (lstm, "f", "-1", "LSTM with f = -1", "igo", "c = -1 * c_prev + i * g"),
        (lstm, "f", "1 - i", "LSTM with f = 1 - i", "igo", "f = 1 - i"),
        (lstm, "c", "c_prev + g", "LSTM with c = c_prev + g", "go", "c = c_prev + g"),
        (gru, "r", None, "GRU without r", "zn", "n = tanh(n_x + n_h)"),
        (gru, "z", None, "GRU without z", "rn", "h = tanh(n_x + r * n_h)"),
        (gru, "z", "0.5", "GRU with z = 0.5", "rn", "h = 0.5 * n + 0.5 * h_prev"),
        (elman, "h", None, "RNN_TANH without h", "n", "h = n_pre"),
        (table.mgu, "f", None, "MGU without f", "n", "h = tanh(n_x + n_h)"),
        (CIFG, "f", None, "CIFG without f", "go", "c = tanh(g_pre)"),
        (JANET, "h", "BETA * c_prev + g_pre", "JANET with h = BETA * c_prev + g_pre", "g", "c = h"),
    ],
)
def test_a_line_is_left_out_and_what_depends_on_it_changes(cell, name, instead, title, gates, changed):
    reduced = without(cell, name, instead)
    assert (reduced.name, "".join(reduced.gates), reduced.states) == (title, gates, cell.states)
    assert set(reduced.split) == set(cell.split) & set(gates)
    assert changed in [each.text for each in Equations(reduced).forward]
    assert why_walked(reduced) is None


@pytest.mark.parametrize(
    ("cell", "name", "bias"),
    [(lstm, "i", 1e3), (lstm, "f", 1e3), (lstm, "o", 1e3), (gru, "r", 1e3), (gru, "z", -1e3)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_gate_held_open_is_one_with_a_large_bias(cell, name, bias, engine):
    reduced = without(cell, name)
    whole = sr.RecurrentLayer(cell, 3, 4, dtype=torch.float64)
    part = sr.RecurrentLayer(reduced, 3, 4, dtype=torch.float64)
    rows = torch.tensor([g in reduced.gates for g in cell.gates]).repeat_interleave(4)
    with torch.no_grad():
        for mine, theirs in zip(part.parameters(), whole.parameters(), strict=True):
            mine.copy_(theirs[rows])
        whole.bias_ih_l0[~rows] = bias
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    state = [torch.randn(1, 2, 4, dtype=torch.float64) for _ in cell.states]
    given = tuple(state) if len(state) > 1 else state[0]
    upstream = torch.randn(5, 2, 4, dtype=torch.float64)
    found = []
    for layer in (whole, part):
        output, _ = layer(x, given)
        found.append((output, torch.autograd.grad(output, [*layer.parameters()], upstream)))
    (expected, gradients), (output, of_part) = found
    close(output, expected)
    for mine, theirs in zip(of_part, gradients, strict=True):
        close(mine, theirs[rows])


def coupled(i, g, o, h_prev, c_prev):
    i, g, o = torch.sigmoid(i), torch.tanh(g), torch.sigmoid(o)
    c = (1 - i) * c_prev + i * g
    return o * torch.tanh(c), c


def linear_candidate(i, f, g, o, h_prev, c_prev):
    i, f, o = torch.sigmoid(i), torch.sigmoid(f), torch.sigmoid(o)
    c = f * c_prev + i * g
    return o * torch.tanh(c), c


@pytest.mark.parametrize(
    ("reduced", "update"),
    [(without(lstm, "f", "1 - i"), coupled), (without(lstm, "g"), linear_candidate)],
    ids=["coupled", "linear"],
)
def test_it_is_the_cell_that_one_would_write_by_hand(reduced, update):
    by_hand = sr.RecurrentLayer(sr.Cell("BY_HAND", reduced.gates, update), 3, 4)
    layer = sr.RecurrentLayer(reduced, 3, 4)
    layer.load_state_dict(by_hand.state_dict())
    assert sr.compare(layer, by_hand, torch.randn(5, 2, 3), (torch.randn(1, 2, 4), torch.randn(1, 2, 4)))


def test_lines_are_left_out_one_after_the_other():
    reduced = without(without(lstm, "f"), "o")
    assert reduced.name == "LSTM without f without o"
    assert reduced.gates == ("i", "g")
    assert [each.text for each in Equations(reduced).forward][-2:] == ["c = c_prev + i * g", "h = tanh(c)"]


def test_its_source_can_be_read_by_anybody():
    reduced = without(lstm, "f")
    linecache.checkcache()
    text = inspect.getsource(reduced.update)
    assert text.startswith("def lstm_without_f_update(i, g, o, h_prev, c_prev):\n")
    assert "    'LSTM with `f = 1` in the place of `f = sigmoid(f_pre)`.'\n" in text
    assert "    i = torch.sigmoid(i)\n" in text
    assert "    c = c_prev + i * g\n" in text


def test_a_name_may_have_any_letters():
    cell = sr.Cell('A "\\"" B', lstm.gates, lstm.update)
    assert without(cell, "f").name == 'A "\\"" B without f'
    assert "f = 1" in without(cell, "f").update.__doc__


def test_a_function_of_numbers_alone_is_computed():
    reduced = without(lstm, "g", "tanh(2 * 3)")
    assert "c = f * c_prev + i * 0.9999877" in Equations(reduced).forward[3].text


def test_a_number_from_outside_stays():
    reduced = without(JANET, "h", "BETA * c_prev + g_pre")
    assert Equations(reduced).numbers == {"BETA": table.BETA}


@pytest.mark.parametrize(
    ("cell", "name", "instead", "text"),
    [
        (lstm, "q", None, "cell 'LSTM' has no line 'q' to be without: it has i, f, g, o, c, tanh_c, h"),
        (lstm, "c", None, "`c = f * c_prev + i * g` of cell 'LSTM' is neither a gate nor a function of one argument: "),
        (lstm, "o", "0", "of cell 'LSTM with o = 0' nothing is left to compute: `h = 0` at every step"),
        (gru, "z", "1", "of cell 'GRU with z = 1' no line is left that the input enters: h = h_prev"),
        (lstm, "f", "1 -", "in cell 'LSTM' should be a number or an expression: `1 -` cannot be read"),
        (lstm, "f", "i[0]", "should be a number or an expression: '[' cannot be read"),
        (lstm, "f", "open(i)", "should be a number or an expression: open is no function that is known here"),
        (lstm, "f", "'a'", 'should be a number or an expression: "\'" cannot be read'),
        (lstm, "f", "", "should be a number or an expression: nothing was typed"),
        (lstm, "f", "i @ 2", "should be a number or an expression of operations that lines have, got 'i @ 2'"),
        (lstm, "f", "9**9**9", "an exponent should be a number of at most 9, got `9 ** 9`"),
        (lstm, "f", "2**9999", "an exponent should be a number of at most 9, got `9999`"),
        (lstm, "f", "((9**9)**9)**9", "of numbers up to 1e+18, and `((9 ** 9) ** 9) ** 9` is inf"),
        (lstm, "f", "9" * 400, "a number should be one that float64 has, at most 1.8e+308"),
        (lstm, "f", "i * 9223372036854775808", "of numbers up to 1e+18, and `9223372036854775808` is 9.22337e+18"),
        (lstm, "f", "1/0", "of numbers up to 1e+18, and `1 / 0` is inf"),
        (lstm, "f", "i + 0/0", "of numbers up to 1e+18, and `0 / 0` is nan"),
        (lstm, "f", "(-1)**0.5 * i", "of numbers up to 1e+18, and `(-1) ** 0.5` is nan"),
        (JANET, "h", "c_prev / (BETA - BETA) * 1/(BETA - BETA) + 1/(BETA - BETA)", "` is inf"),
        (lstm, "f", "1 - g", "of earlier names, i_pre, f_pre, g_pre, o_pre, h_prev, c_prev, i; got g"),
        (sr.Cell("BUILTIN", ("f",), lambda f, h_prev: f), "f", None, "cannot be read"),
    ],
)
def test_what_cannot_be_left_out_is_refused(cell, name, instead, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        without(cell, name, instead)
