"""The derived adjoint: the derivative that autograd has, by functions that the engine runs and a person may paste."""

from __future__ import annotations

import functools
import importlib
import logging
import math
from dataclasses import replace

import pytest
import torch
from running import outcome
from table import EQUATIONS, ROWS, mgu, mgu_derived, slstm_derived

import scratchrnn as sr
from scratchrnn import cells
from scratchrnn.cells.cell import step
from scratchrnn.equations import adjoint as adjoints
from scratchrnn.equations import operations
from scratchrnn.equations.adjoint import adjoint_of, python, why_walked
from scratchrnn.equations.equations import Equations

ALL = [*EQUATIONS, *(row.cell for row in ROWS if row.cell not in EQUATIONS)]
each_cell = pytest.mark.parametrize("cell", ALL, ids=lambda cell: cell.name)


def derived(cell):
    """The pair that the chain rule gives, of cells that have an adjoint by hand or are walked, too."""
    return adjoint_of(replace(cell, adjoint=None, walk=False))


def arguments(cell, kind):
    count = len(cell.pre_activations) + len(cell.states)
    found = [torch.randn(6, 5, dtype=torch.float64) for _ in range(count)]
    if kind == "ties":  # whole numbers: many are equal to each other, to 0 and to thresholds
        found = [(2 * t).round() for t in found]
    if kind == "saturated":
        found = [40 * t for t in found]
    if cell.states[0] == "h" and "n" in cell.states:  # sLSTM divides by n, which is positive
        n = len(cell.pre_activations) + cell.states.index("n")
        found[n] = found[n].abs() + 0.5
    return found


@each_cell
@pytest.mark.parametrize("kind", ["random", "ties", "saturated"])
def test_the_derived_adjoint_is_the_derivative_that_autograd_has(cell, kind):
    pair = derived(cell)
    leaves = [a.requires_grad_() for a in arguments(cell, kind)]
    expected, _ = step(cell, *leaves)
    d_state = [torch.randn_like(s) for s in expected]
    exact = torch.autograd.grad(expected, leaves, d_state, allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        state, tape = pair.step(*leaves)
        d_pre, d_prev = pair.adjoint(tape, *d_state)
    for ours, theirs in zip((*state, *d_pre, *d_prev), (*expected, *exact), strict=True):
        ours = torch.zeros_like(theirs) if ours is None else ours.expand_as(theirs)
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", EQUATIONS, ids=lambda cell: cell.name)
@pytest.mark.parametrize("checkpoint_every", [None, 3])
def test_a_layer_trains_by_it_as_by_autograd(cell, checkpoint_every):
    layer, reference = (
        sr.RecurrentLayer(c, 3, 4, num_layers=2, bidirectional=True, dtype=torch.float64)
        for c in (cell, replace(cell, walk=True))
    )
    reference.load_state_dict(layer.state_dict())
    layer.checkpoint_every = checkpoint_every
    x = torch.randn(7, 2, 3, dtype=torch.float64, requires_grad=True)
    found, exact = (
        torch.autograd.grad(m(x)[0].sin().sum(), [x, *m.parameters()], allow_unused=True, materialize_grads=True)
        for m in (layer, reference)
    )
    assert (by_adjoint(layer, x), by_adjoint(reference, x)) == (True, False)
    for ours, theirs in zip(found, exact, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def by_adjoint(layer, x):
    """Whether the engine's BPTT gave the output."""
    nodes, seen = [layer(x)[0].grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes += [before for before, _ in node.next_functions]
    return any(type(node).__name__ == "BPTTBackward" for node in seen)


@pytest.mark.parametrize("cell", [cells.elman, cells.elman_relu, cells.lstm, cells.gru], ids=lambda cell: cell.name)
def test_an_adjoint_by_hand_is_the_derived_one(cell):
    by_hand, by_rule = adjoint_of(cell), derived(cell)
    given = arguments(cell, "random")
    d_state = [torch.randn(6, 5, dtype=torch.float64) for _ in cell.states]
    found = []
    for pair in (by_hand, by_rule):
        _, tape = pair.step(*given)
        d_pre, d_prev = pair.adjoint(tape, *d_state)
        found.append([*d_pre, *(torch.zeros(()) if d is None else d for d in d_prev)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@each_cell
def test_what_is_printed_can_be_pasted(cell):
    bare, namespace = replace(cell, adjoint=None, walk=False), {}
    exec(python(bare), namespace)
    names = {n.rpartition("_")[2]: f for n, f in namespace.items() if n.endswith(("_update", "_adjoint"))}
    pasted = sr.Cell("PASTED", cell.gates, names["update"], names["adjoint"], cell.split)
    ours, theirs = (sr.RecurrentLayer(c, 3, 4, dtype=torch.float64) for c in (pasted, bare))
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    for a, b in zip(*(torch.autograd.grad(m(x)[0].sum(), m.parameters()) for m in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_the_printed_adjoint_reads_as_one_by_hand():
    assert python(mgu_derived).split("\n\n\n")[2].splitlines() == [
        "def mgu_derived_update(f, n_x, n_h, h_prev):",
        "    f = torch.sigmoid(f)",
        "    n_in = n_x + f * n_h",
        "    n = torch.tanh(n_in)",
        "    h = (1 - f) * h_prev + f * n",
        "    return (h,), MGU_DERIVEDTape(f, n, n_h, h_prev)",
    ]


def test_no_line_is_computed_twice_and_no_adjoint_computes_an_exponential_again():
    lines = [each.right for each in Equations(slstm_derived).named]
    assert len(set(lines)) == len(lines)
    assert sum("logsigmoid(" in text for text in lines) == 1
    for cell in EQUATIONS:
        of = Equations(cell)
        dear = [t for t in ("tanh(", "exp(", "sqrt(") if any(t in each.right for each in of.derived)]
        assert dear == []


# ---------------------------------------------------------------------------------------- where autograd walks


def test_a_cell_may_ask_for_autograd_whatever_there_is():
    for cell in (mgu, mgu_derived, cells.lstm):
        assert adjoint_of(cell) is not None
        assert why_walked(cell) is None
        walked = replace(cell, walk=True)
        assert adjoint_of(walked) is None
        assert why_walked(walked) == f"cell {cell.name!r} has walk=True"


def test_a_wrong_row_is_caught_where_the_cell_is_read_and_by_the_walk(monkeypatch):
    tanh = operations.OPERATIONS["tanh"]
    wrong = replace(tanh, gradients={"input": "dy * (1 - y)"})
    monkeypatch.setitem(operations.OPERATIONS, "tanh", wrong)

    def fresh():
        return sr.Cell("MGU", ("f", "n"), mgu_derived.update, split=("n",))

    assert why_walked(fresh()) == "autograd of update of cell 'MGU' has another df than the chain rule of its lines"
    monkeypatch.setattr(adjoints, "_disproof", lambda cell, pair: None)
    layer, reference = (sr.RecurrentLayer(c, 3, 4) for c in (fresh(), replace(fresh(), walk=True)))
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(5, 2, 3)
    found, exact = (torch.autograd.grad(m(x)[0].sum(), m.parameters()) for m in (layer, reference))
    assert not all(torch.allclose(a, b) for a, b in zip(found, exact, strict=True))


def test_lines_that_are_not_the_update_are_not_used(monkeypatch):
    tanh = operations.OPERATIONS["tanh"]
    monkeypatch.setitem(operations.OPERATIONS, "tanh", replace(tanh, functions=("torch.sin",)))
    cell = sr.Cell("MGU", ("f", "n"), mgu_derived.update, split=("n",))
    assert why_walked(cell) == "update of cell 'MGU' gives another h than its lines do"


def test_why_no_adjoint_is_derived_is_said_once(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("scratchrnn"), "disabled", False)  # as import-linter leaves all loggers

    def update(f, h_prev):
        for _ in range(2):
            f = f / 2
        return torch.tanh(f)

    cell = sr.Cell("LOOPED", ("f",), update)
    with caplog.at_level(logging.INFO, logger="scratchrnn"):
        for _ in range(2):
            layer = sr.RecurrentLayer(cell, 3, 4)
        sr.RecurrentLayer(replace(cell, walk=True), 3, 4)
    (record,) = caplog.records
    line = update.__code__.co_firstlineno + 1
    assert record.getMessage() == (
        "no adjoint is derived, autograd walks through the steps: update of cell 'LOOPED', line "
        f"{line}: cannot read `for _ in range(2):`: only assignments and a return can, no control flow "
        "(walk=True says so)"
    )
    layer(torch.randn(5, 2, 3))[0].sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_a_number_from_outside_is_read_at_each_use():
    rate = 0.5

    def update(f, h_prev):
        return rate * torch.tanh(f)

    layer = sr.RecurrentLayer(sr.Cell("RATED", ("f",), update), 3, 4, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64)

    def gradients(layer):
        return torch.autograd.grad(layer(x)[0].sum(), layer.parameters())

    for rate in (0.5, 0.25, 2):  # noqa: B007 - update has it
        walked = sr.RecurrentLayer(sr.Cell("RATED", ("f",), update, walk=True), 3, 4, dtype=torch.float64)
        walked.load_state_dict(layer.state_dict())
        for a, b in zip(gradients(layer), gradients(walked), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    rate = torch.tensor(0.5, dtype=torch.float64)  # no number any more: the cell is not read
    assert "it is a tensor that the function holds; only numbers can" in why_walked(layer.cell)
    gradients(layer)


@pytest.mark.parametrize("least", [-math.inf, math.nan])
def test_a_number_from_outside_may_be_infinite_or_none(least):
    def update(f, h_prev):
        return torch.clamp(torch.tanh(f) + 0.5 * h_prev, least, 0.5)

    cell = sr.Cell("FLOORED", ("f",), update)
    assert f'least = float("{least}")' in python(cell)
    layer = sr.RecurrentLayer(cell, 3, 4, dtype=torch.float64)
    walked = sr.RecurrentLayer(sr.Cell("FLOORED", ("f",), update, walk=True), 3, 4, dtype=torch.float64)
    walked.load_state_dict(layer.state_dict())
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    of = [torch.autograd.grad(each(x)[0].sum(), each.parameters()) for each in (layer, walked)]
    torch.testing.assert_close(*of, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_a_function_of_other_code_is_read_anew():
    def half(a):
        return a / 2

    def quarter(a):
        return a / 4

    part = half

    def update(f, h_prev):
        return part(torch.tanh(f))

    cell = sr.Cell("HALVED", ("f",), update)
    assert Equations(cell).forward[-1].text == "h = a / 2"
    part = quarter
    assert Equations(cell).forward[-1].text == "h = a / 4"


# --------------------------------------------------------------------------------------------- a wrong one by hand


def plain(f, n_x, n_h, h_prev):
    return mgu.update(f, n_x, n_h, h_prev)


WRONG = {
    "a term is lacking": ("df = dh * (n - h_prev) + dn_x * n_h", "df = dh * (n - h_prev)", "+ dn_in * n_h"),
    "a sign": ("df = dh * (n - h_prev) + dn_x * n_h", "df = dh * (n - h_prev) - dn_x * n_h", "+ dn_in * n_h"),
    "another factor": ("dn_x = dh * f * (1 - n * n)", "dn_x = dh * f * (1 - n)", None),
    "not returned": ("(dh * (1 - f),)", "(None,)", None),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_adjoint_is_told_with_its_first_line(what, tmp_path, monkeypatch):
    right, wrong, term = WRONG[what]
    lines = [
        "import torch",
        "from table import MGUTape, mgu_update as update",
        "def adjoint(tape, dh):",
        "    f, n, n_h, h_prev = tape",
        "    dn_x = dh * f * (1 - n * n)",
        "    df = dh * (n - h_prev) + dn_x * n_h",
        "    return (df * f * (1 - f), dn_x, dn_x * f), (dh * (1 - f),)",
    ]
    text = "\n".join(lines)
    assert right in text
    name = f"wrong_{abs(hash(what))}"
    (tmp_path / f"{name}.py").write_text(text.replace(right, wrong))
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module(name)
    kind, said = outcome(sr.RecurrentLayer, sr.Cell("WRONG", ("f", "n"), module.update, module.adjoint, ("n",)), 3, 4)
    assert kind is ValueError
    assert "departs from the derivative of its update, as autograd has it, in d" in said
    if what == "not returned":
        assert said.endswith("; it gives no dh_direct, where the chain rule has `dh_direct = dh * (1 - f)`")
    else:
        assert f"; it departs first in `{wrong}`, where the chain rule has `d" in said
    if term is not None:
        ending = (
            f"it lacks the term `{term}`" if what == "a term is lacking" else f"the term `{term}` with the other sign"
        )
        assert said.endswith(ending)


def test_of_an_adjoint_that_cannot_be_read_the_gradients_are_named_alone():
    wrong = functools.partial(lambda tape, dh: ((dh, dh, dh), (dh,)))
    _, said = outcome(sr.RecurrentLayer, sr.Cell("WRONG", ("f", "n"), mgu.update, wrong, ("n",)), 3, 4)
    assert said.endswith("Cell(..., check=False) takes one that does so on purpose")
