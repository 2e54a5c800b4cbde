"""The lines in other notations: they compute the same, every gate has its name, and they read as they do there."""

from __future__ import annotations

import re

import pytest
import table
import torch
from running import close

from scratchrnn.cells import BUILT_IN, elman, gru, lstm
from scratchrnn.equations.equations import Equations
from scratchrnn.equations.linear import linear_forward
from scratchrnn.equations.lines import line
from scratchrnn.equations.notation import NOTATIONS, in_notation, named
from scratchrnn.equations.worked_example import walk

CELLS = [*BUILT_IN.values(), table.pair, table.coupled, *table.EQUATIONS]
each_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
each_notation = pytest.mark.parametrize("notation", NOTATIONS[1:])


def python(text):
    """`H_{t-1} W_hf + b'_h` with names that Python has, and the sign of the matrix product."""
    text = text.replace("_{t-1}", "_before").replace("'", "_2")
    return re.sub(r"(?<=[\w.]) (?=[^\W\d])", " @ ", text)


@each_cell
@each_notation
def test_the_lines_compute_the_same(cell, notation):
    given = walk(cell, 3, 2).given
    ours = {**given, **Equations(cell).numbers}
    for each in [*linear_forward(cell), *Equations(cell).forward]:
        ours[each.target] = each.evaluate(ours)
    found = named(cell, notation)
    rows = notation in ("d2l", "keras")
    theirs = dict(Equations(cell).numbers)
    targets = {each.target for each in found.lines}
    for name, of_ours in found.names.items():
        value = line(f"y = {of_ours}").evaluate(ours)
        vector = value.shape[1] == 1 and not re.match(r"W|U|kernel|recurrent_k", name)
        if name not in targets:
            theirs[python(name)] = value.T if rows and vector else value
    for each in found.lines:
        computed = line(f"y = {python(each.text.partition(' = ')[2])}").evaluate(theirs)
        theirs[python(each.target)] = computed
        close(computed.T if rows else computed, ours[found.names[each.target]])
    assert {found.names[target] for target in targets} >= set(cell.states)


@each_cell
@each_notation
def test_every_gate_and_its_weights_have_a_name_of_their_own(cell, notation):
    found = named(cell, notation)
    assert len(set(found.names)) == len(found.names)
    ours = " ".join(found.names.values())
    for g in cell.gates:
        for parameter in (f"W_i{g}", f"W_h{g}", f"b_i{g}", f"b_h{g}"):
            assert len(re.findall(rf"\b{parameter}\b", ours)) == 1
    text = " ".join(each.text for each in found.lines)
    assert "_pre" not in text
    assert "_prev" not in text


@pytest.mark.parametrize(
    ("cell", "notation", "expected"),
    [
        (lstm, "papers", "c̃_t = tanh(W_c x_t + U_c h_{t-1} + b_c)"),
        (lstm, "papers", "c_t = f_t * c_{t-1} + i_t * c̃_t"),
        (gru, "papers", "h̃_t = tanh(W_h x_t + b_h + r_t * (U_h h_{t-1} + b'_h))"),
        (elman, "papers", "h_t = tanh(W_h x_t + U_h h_{t-1} + b_h)"),
        (lstm, "d2l", "F_t = sigmoid(X_t W_xf + H_{t-1} W_hf + b_f)"),
        (lstm, "d2l", "H_t = O_t * tanh(C_t)"),
        (gru, "d2l", "H_t = (1 - Z_t) * H̃_t + Z_t * H_{t-1}"),
        (lstm, "keras", "c = f * c_tm1 + i * tanh(x kernel_c + h_tm1 recurrent_kernel_c + bias_c)"),
        (gru, "keras", "hh = tanh(x kernel_h + input_bias_h + r * (h_tm1 recurrent_kernel_h + recurrent_bias_h))"),
    ],
)
def test_lines_read_as_they_do_there(cell, notation, expected):
    assert expected in [each.text for each in named(cell, notation).lines]


def test_in_latex_letters_have_their_marks():
    lines = {each.target: each.latex() for each in named(gru, "papers").lines}
    assert lines["h_t"] == r"h_{t} = (1 - z_{t}) \odot \tilde{h}_{t} + z_{t} \odot h_{t-1}"
    assert r"U_{h} \, h_{t-1} + b'_{h}" in lines["h̃_t"]


@pytest.mark.parametrize(
    ("notation", "said"),
    [
        ("papers", "in Chung et al. it writes, h_t = (1 - z_t) * h_{t-1} + z_t * h̃_t."),
        ("d2l", "reset gate before the product, H̃_t = tanh(X_t W_xh + (R_t * H_{t-1}) W_hh + b_h): another function"),
        ("keras", "This is reset_after=True, the default, whose bias is [2, 3 H]"),
    ],
)
def test_where_another_gru_is_meant_there_it_says_so(notation, said):
    assert any(
        said in part for section in in_notation(gru, notation) for part in section.parts if isinstance(part, str)
    )
    assert not any(said in str(part) for section in in_notation(lstm, notation) for part in section.parts)


def test_what_the_other_gru_computes_is_another_function():
    """The book's lines, evaluated: with r = 1 and no b'_h they are these, else not."""
    torch.manual_seed(0)
    X, H, R = torch.randn(1, 3), torch.randn(1, 2), torch.rand(1, 2)
    W_xh, W_hh, b = torch.randn(3, 2), torch.randn(2, 2), torch.randn(2)
    theirs = [torch.tanh(X @ W_xh + (r * H) @ W_hh + b) for r in (R, torch.ones(1, 2))]
    ours = [torch.tanh(X @ W_xh + b + r * (H @ W_hh)) for r in (R, torch.ones(1, 2))]
    assert not torch.allclose(ours[0], theirs[0])
    assert torch.allclose(ours[1], theirs[1])
