"""The forward lines under the names that they have elsewhere: in papers, in Dive into Deep Learning, in Keras."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from ..cells.cell import Cell
from .derivation import put_in
from .equations import Equations
from .explain import source
from .latex import TILDE
from .lines import Line
from .sections import Section, Table, with_values


class Notation(NamedTuple):
    """How names are made; `{}` is a letter."""

    title: str
    letter: Callable[[str], str]
    gates: Mapping[str, str]
    """The letters of gates that have another one there; "" for one without a name, which is written out in place."""
    below: Mapping[str, str]
    """The letters of gates behind weights, where they are others."""
    gate: str
    state: str
    before: str
    x: str
    weights: tuple[str, str]
    """Of the input and of the state before."""
    bias: str
    biases: tuple[str, str]
    """The two where they are kept apart."""
    both: bool
    """Whether all gates of a cell keep them apart where one has to."""
    rows: bool
    """A vector is a row, x W: weights are the transposes of PyTorch's."""
    notes: Mapping[str, str]
    """What else is different there: by "", in general, and by the name of a cell."""


_CANDIDATES = MappingProxyType({"g": "c", "n": "h"})  # what g and n are candidates for

_TABLE = {
    "papers": Notation(
        title="papers",
        letter=str,
        gates={"g": f"c{TILDE}", "n": f"h{TILDE}"},
        below=_CANDIDATES,
        gate="{}_t",
        state="{}_t",
        before="{}_{{t-1}}",
        x="x_t",
        weights=("W_{}", "U_{}"),
        bias="b_{}",
        biases=("b_{}", "b'_{}"),
        both=False,
        rows=False,
        notes={
            "": "The letters of Cho et al. 2014, arXiv:1406.1078, and Chung et al. 2014, arXiv:1412.3555: W for the "
            "input, U for the state before. Graves 2013, arXiv:1308.0850, has W_xf and W_hf.",
            "LSTM": "Chung et al. give the gates peepholes, V c. In Greff et al. 2015, arXiv:1503.04069, the candidate "
            "is z, the block input, U is R, and h is y.",
            "GRU": f"z keeps the old state, as in Cho et al.; in Chung et al. it writes, h_t = (1 - z_t) * h_{{t-1}} + "
            f"z_t * h{TILDE}_t. Both leave out the biases. Version 1 of Cho et al. has the reset gate where it stands "
            "here, version 3 before the product, U (r_t * h_{t-1}), which is another function.",
        },
    ),
    "d2l": Notation(
        title="Dive into Deep Learning (d2l.ai)",
        letter=str.upper,
        gates={"g": f"C{TILDE}", "n": f"H{TILDE}"},
        below=_CANDIDATES,
        gate="{}_t",
        state="{}_t",
        before="{}_{{t-1}}",
        x="X_t",
        weights=("W_x{}", "W_h{}"),
        bias="b_{}",
        biases=("b_{}", "b'_{}"),
        both=False,
        rows=True,
        notes={
            "": "X_t is [n, d], a row for each sequence of the batch, H_t is [n, h], a bias [1, h]: one for each gate.",
            "GRU": f"The book has the reset gate before the product, H{TILDE}_t = tanh(X_t W_xh + (R_t * H_{{t-1}}) "
            "W_hh + b_h): another function, which no reordering of weights turns into this one. Its b'_h is ours.",
        },
    ),
    "keras": Notation(
        title="Keras",
        letter=str,
        gates={"g": "", "n": "hh"},
        below=_CANDIDATES,
        gate="{}",
        state="{}",
        before="{}_tm1",
        x="x",
        weights=("kernel_{}", "recurrent_kernel_{}"),
        bias="bias_{}",
        biases=("input_bias_{}", "recurrent_bias_{}"),
        both=True,
        rows=True,
        notes={
            "": "kernel_f is the block of gate f in the columns of kernel [I, G H], and so on. Keras starts with "
            "glorot, orthogonal and zero weights, and calls tanh activation and sigmoid recurrent_activation.",
            "LSTM": "The blocks stand in the order i, f, c, o. The bias of f starts at 1 (unit_forget_bias).",
            "GRU": "The blocks stand in the order z, r, h. This is reset_after=True, the default, whose bias is [2, 3 "
            "H]; False has the reset gate before the product, which is another function, and one bias.",
        },
    ),
}
NOTATIONS = ("pytorch", *_TABLE)


class Named(NamedTuple):
    """The lines of a cell in a notation."""

    lines: tuple[Line, ...]
    names: dict[str, str]
    """What each name there is in PyTorch's: `b_f` is `b_if + b_hf`, where vectors are rows `W_xf` is `W_if.T`."""


def named(cell: Cell, notation: str) -> Named:
    """The forward lines of `cell` in one of `NOTATIONS` but PyTorch's, in which every pre-activation is written out.

    Raises:
        ValueError: as for `Equations.forward`.
    """
    of, to = Equations(cell), _TABLE[notation]
    names: dict[str, str] = {to.x: "x"}
    values: dict[str, ast.expr] = {}  # what is put in the place of our names
    for g in cell.gates:
        below = to.below.get(g, g) if to.below.get(g) not in cell.gates else g
        W_i, W_h = (weight.format(below) for weight in to.weights)
        halves = [_product(W_i, to.x, to.rows), _product(W_h, to.before.format(to.letter(cell.states[0])), to.rows)]
        names |= {W_i: f"W_i{g}" + ".T" * to.rows, W_h: f"W_h{g}" + ".T" * to.rows}
        if g in cell.split or (to.both and cell.split):
            biases = [bias.format(below) for bias in to.biases]
            names |= dict(zip(biases, (f"b_i{g}", f"b_h{g}"), strict=True))
            halves = [_sum(half, ast.Name(bias)) for half, bias in zip(halves, biases, strict=True)]
        if g in cell.split:
            values |= {f"{g}_x": halves[0], f"{g}_h": halves[1]}
            continue
        values[f"{g}_pre"] = _sum(*halves)
        if not (to.both and cell.split):
            bias = to.bias.format(below)
            names[bias] = f"b_i{g} + b_h{g}"
            values[f"{g}_pre"] = _sum(values[f"{g}_pre"], ast.Name(bias))
    for s in cell.states:
        names[to.before.format(to.letter(s))] = f"{s}_prev"
        values[f"{s}_prev"] = ast.Name(to.before.format(to.letter(s)))
    lines: list[Line] = []
    for each in of.forward:
        expression = put_in(each.expression, values)
        letter = (
            to.letter(each.target) if each.target in cell.states else to.gates.get(each.target, to.letter(each.target))
        )
        if letter and each.target in (*cell.states, *cell.gates):
            form = to.state if each.target in cell.states else to.gate
            names[form.format(letter)] = each.target
            values[each.target] = ast.Name(form.format(letter))
            lines.append(Line(form.format(letter), expression))
        else:
            values[each.target] = expression
    return Named(tuple(lines), names)


def _product(weight: str, vector: str, rows: bool) -> ast.expr:
    left, right = (vector, weight) if rows else (weight, vector)
    return ast.BinOp(ast.Name(left), ast.MatMult(), ast.Name(right))


def _sum(left: ast.expr, right: ast.expr) -> ast.expr:
    return ast.BinOp(left, ast.Add(), right)


def in_notation(cell: Cell, notation: str) -> list[Section]:
    """The sections: the lines, what is different there, and which name is which.

    Raises:
        ValueError: as for `named`.
    """
    to, found = _TABLE[notation], named(cell, notation)
    notes = [to.notes[key] for key in ("", cell.name) if key in to.notes]
    rows = [(ours.replace(".T", "^T"), theirs) for theirs, ours in found.names.items() if theirs != ours]
    return [
        Section(f"{cell.name}, in the notation of {to.title}", [source(cell)]),
        Section("Forward", [with_values(found.lines), *notes]),
        Section("Names", [Table(("here, as in PyTorch", "there"), [*rows])]),
    ]
