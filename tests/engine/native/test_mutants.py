"""Bugs planted in the C of the native engine: the verifier must reject each, which it compares as a user's layer."""

from __future__ import annotations

import ast
import copy

import pytest
from mutants import verdict

from scratchrnn import cells, native
from scratchrnn.engine.native import emit, takes
from scratchrnn.equations.derivation import Step
from scratchrnn.equations.equations import Equations
from scratchrnn.equations.lines import Line

pytestmark = pytest.mark.compiled
CELLS = {
    "RNN": (cells.elman, {}),
    "RNN relu": (cells.elman_relu, {"nonlinearity": "relu"}),
    "LSTM": (cells.lstm, {}),
    "GRU": (cells.gru, {}),
}
FORWARD = {"output", "h_n", "c_n"}


@pytest.fixture(autouse=True)
def required(monkeypatch):
    """The native engine and no other, without its own test, which would refuse each of these libraries."""
    monkeypatch.setattr(takes, "_tested", lambda cell, functions: functions)
    with native.flags(enabled="require"):
        yield
    for cell, _ in CELLS.values():
        Equations(cell).__dict__.pop("_native", None)


def planted(monkeypatch, cell, **found):
    """Other equations of a cell, as if they had been read so."""
    kept = Equations(cell).__dict__
    kept.pop("_native", None)
    for name, value in found.items():
        monkeypatch.setitem(kept, name, value)


def flipped(line, k):
    """The line with its k-th + as -, or the reverse; None if it has no more."""
    expression = copy.deepcopy(line.expression)
    places = [n for n in ast.walk(expression) if isinstance(n, ast.BinOp) and isinstance(n.op, (ast.Add, ast.Sub))]
    if k >= len(places):
        return None
    places[k].op = ast.Sub() if isinstance(places[k].op, ast.Add) else ast.Add()
    return Line(line.target, expression)


def flips(lines):
    """All lines, with one sign flipped."""
    for i, line in enumerate(lines):
        k = 0
        while (other := flipped(line, k)) is not None:
            yield other.text, (*lines[:i], other, *lines[i + 1 :])
            k += 1


OF_UPDATE = [(name, *flip) for name, (cell, _) in CELLS.items() for flip in flips(Equations(cell).named)]
OF_ADJOINT = [(name, *flip) for name, (cell, _) in CELLS.items() for flip in flips(Equations(cell).derived)]


def kind_of(name):
    return name.partition(" ")[0]


@pytest.mark.parametrize(("name", "text", "lines"), OF_UPDATE, ids=[f"{n}: {t}" for n, t, _ in OF_UPDATE])
def test_a_flipped_sign_of_an_update_is_seen(name, text, lines, monkeypatch):
    cell, options = CELLS[name]
    planted(monkeypatch, cell, named=lines, derivation=Equations(cell).derivation)
    assert "output" in {d.name for d in verdict(kind_of(name), **options).failed}


@pytest.mark.parametrize(("name", "text", "lines"), OF_ADJOINT, ids=[f"{n}: {t}" for n, t, _ in OF_ADJOINT])
def test_a_flipped_sign_of_an_adjoint_is_seen(name, text, lines, monkeypatch):
    cell, options = CELLS[name]
    planted(monkeypatch, cell, derivation=(Step(lines[0], lines),))
    failed = {d.name for d in verdict(kind_of(name), **options).failed}
    assert failed
    assert not failed & FORWARD


BUGS = {
    "the direct road of h lost": (
        "vec dh = sum[r * WIDE + c] + load_part(direct, n);",
        "vec dh = sum[r * WIDE + c];",
        "GRU",
        {"dinput", "dh_0"},
    ),
    "the gradient from outside overwrites what comes from later steps": (
        "dh += load_part(a->output + at, n);",
        "dh = load_part(a->output + at, n);",
        "RNN",
        {"dinput", "dh_0"},
    ),
    "the hidden product in the wrong window": (
        "if (p >= SPLIT) {\n                pre[p] += sum[p - SPLIT];",
        "if (p < GATES) {\n                pre[p] += sum[p];",
        "GRU",
        {"output"},
    ),
    "waiting rows move": (
        "store_part(after(a, t, s, row) + unit, next[s], n);",
        "store_part(after(a, t, s, row) + unit, row < t->next_n ? next[s] : splat(0), n);",
        "LSTM",
        {"h_n", "c_n"},
    ),
    "the bias of a split gate forgotten": (
        "pre[p] = bias ? load_part(bias + p * H + unit, n) : splat(0);",
        "pre[p] = splat(0);",
        "GRU",
        {"output"},
    ),
    "the input's bias forgotten": (
        "vec bias = a->bias ? load_part(a->bias + g * a->H + unit, n) : splat(0);",
        "vec bias = splat(0);",
        "RNN",
        {"output"},
    ),
    "the gradient of a further state dropped": (
        "store_part(a->state[s] + row * H + unit, d_prev[s], n);",
        "store_part(a->state[s] + row * H + unit, splat(0), n);",
        "LSTM",
        {"dinput", "dc_0"},
    ),
    "the initial state ignored": (
        "memcpy(a->prev[s] + (row + before) * W, a->state[s] + before * W, sizeof(real) * (n - before) * W);",
        "memset(a->prev[s] + (row + before) * W, 0, sizeof(real) * (n - before) * W);",
        "GRU",
        {"output"},
    ),
    "the state before read as zero": (
        "prev[s] = s == 0 && projected ? splat(0) : load_part(t->prev[s] + row * H + unit, n);",
        "prev[s] = splat(0);",
        "LSTM",
        {"output", "c_n"},
    ),
    "the gradient of a projection's input from its gradient": (
        "store_part(a->unprojected + at, emitted, n);",
        "store_part(a->unprojected + at, dh, n);",
        "LSTM projected",
        {"dweight_hr_l0"},
    ),
    "the gradient of a projection's output lost": (
        "store_part(a->d_emitted + at, dh, n);",
        "store_part(a->d_emitted + at, splat(0), n);",
        "LSTM projected",
        {"dweight_hr_l0", "dinput"},
    ),
    "the gates' weights in the order of units": (
        "((w->gates ? w->gates[g] : g) * w->outputs + first) * w->stride;",
        "((w->gates ? w->gates[g] : gates - 1 - g) * w->outputs + first) * w->stride;",
        "LSTM",
        {"output"},
    ),
    "db_hh taken from db_ih": (
        "a->d_bias + (g + SPLIT) * H, sizeof(real) * H);",
        "a->d_bias + g * H, sizeof(real) * H);",
        "GRU",
        {"dbias_hh_l0"},
    ),
    "the input's biases in the order of the columns": (
        "a->bias_ih + row_of(INPUT_GATES, H, p * H) : NULL;",
        "a->bias_ih + p * H : NULL;",
        "GRU",
        {"output"},
    ),
    "the gradient of the initial state forgotten": (
        "struct backstep t = {0, rows_at(a, 0), 0, NULL, d_later};\n        step_back(",
        "struct backstep t = {0, 0, 0, NULL, d_later};\n        step_back(",
        "GRU",
        {"dh_0"},
    ),
}


@pytest.mark.parametrize("title", BUGS)
def test_a_bug_of_the_scan_is_seen(title, monkeypatch):
    right, wrong, name, seen = BUGS[title]
    once, twice = emit._scan()
    assert twice.count(right) == 1
    monkeypatch.setattr(emit, "_scan", lambda: (once, twice.replace(right, wrong)))
    kind = kind_of(name)
    planted(monkeypatch, CELLS[kind][0])
    failed = {d.name for d in verdict(kind, **({"proj_size": 2} if "projected" in name else {})).failed}
    assert seen <= failed


def test_without_a_bug_all_agree():
    for kind in ("RNN", "LSTM", "GRU"):
        assert verdict(kind), str(verdict(kind))
    assert verdict("LSTM", proj_size=2)
