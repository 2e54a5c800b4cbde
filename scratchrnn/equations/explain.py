"""What there is to say about a cell: forward equations, shapes, counts, the derivation of its adjoint, with numbers.

All of it is read from the cell's own functions. `explain` gives sections of prose, equations and tables;
the command `explain` prints them.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from torch import Tensor

from ..cells.cell import Cell
from .equations import Equations
from .linear import linear_backward, linear_forward
from .lines import Line
from .work import work
from .worked_example import TOLERANCE, Walk

_BYTES = 4  # of a float32
SHOWN = 8
"""The most numbers that are printed of a row or a column; of more, the first and the last, and … between them."""


class Equation(NamedTuple):
    """A line, and what it gives where numbers are asked for."""

    line: Line
    value: Tensor | None = None


Entry: TypeAlias = str | Equation | Tensor | None


class Table(NamedTuple):
    """Headings and rows. A row of one entry stands for itself: the rows that follow belong to it."""

    head: tuple[str, ...]
    rows: list[tuple[Entry, ...]]


class Section(NamedTuple):
    """A heading and what stands below it: prose, equations under each other, tables."""

    title: str
    parts: list[str | list[Equation] | Table]


def explain(cell: Cell, I: int, H: int, found: Walk | None = None) -> list[Section]:  # noqa: E741 - input_size
    """All there is to say about one step of `cell` with I inputs and H units, with the numbers of a walk if given.

    Raises:
        ValueError: the source of the cell's functions cannot be read, or the chain rule of something in it is unknown.
    """
    sections = [
        Section(f"{cell.name}, {I} inputs, {H} units", [_source(cell), _letters(cell)]),
        *([_given(found, cell)] if found else []),
        _forward(cell, found),
        _backward(cell, found),
        _backward_linear(cell, found),
        _shapes(cell, I, H),
        _counts(cell, I, H),
        _kept(cell, H),
    ]
    return [*sections, _check(found)] if found else sections


def _letters(cell: Cell) -> str:
    return (
        f"x is the input, {cell.states[0]}_prev the hidden state before the step; * is the Hadamard product, W x a "
        "matrix product. dX is the gradient of the loss by X and has X's shape."
    )


def _source(cell: Cell) -> str:
    """What the docstring of `update` says behind "Source:", or all of it."""
    text = " ".join((inspect.getdoc(cell.update) or "").split())
    before, _, source = text.partition("Source: ")
    return f"Source: {source}" if source else before or "Source: update has no docstring."


def _equations(lines: Sequence[Line], values: Mapping[str, Tensor] | None) -> list[Equation]:
    return [Equation(each, None if values is None else values[each.target]) for each in lines]


def _given(found: Walk, cell: Cell) -> Section:
    note = (
        "Normal numbers from a fixed seed, rounded to two digits; a vector, which is a column, is written as a row. "
        f"{', '.join(Equations(cell).arriving)}: what arrives for the backward step."
    )
    if max(max(value.shape) for value in found.given.values()) > SHOWN:
        note += (
            f" Small sizes are for reading: of more than {SHOWN} numbers in a row or a column the first {SHOWN - 2} "
            "and the last are shown, and all are compared."
        )
    return Section("Given", [note, Table(("name", "value"), [*found.given.items()])])


def _forward(cell: Cell, found: Walk | None) -> Section:
    values = found and found.forward
    gate_math = _equations(Equations(cell).forward, values)
    return Section(
        "Forward",
        [
            "The linear part. The engine, which runs the loop over time, computes it:",
            _equations(linear_forward(cell), values),
            f"The gate math, {cell.update.__name__}:",
            gate_math,
        ],
    )


def _shapes(cell: Cell, I: int, H: int) -> Section:  # noqa: E741
    G = len(cell.gates)

    def blocks(prefix: str) -> str:
        return ", ".join(prefix + g for g in cell.gates)

    of = Equations(cell)
    vectors = [*(f"{s}_prev" for s in cell.states), *of.pre_activations, *(each.target for each in of.forward)]
    rows: list[tuple[Entry, ...]] = [
        (f"[{H}, {I}]", f"{blocks('W_i')}: the blocks of rows of weight_ih [{G * H}, {I}]"),
        (f"[{H}, {H}]", f"{blocks('W_h')}: of weight_hh [{G * H}, {H}]"),
        (f"[{H}]", f"{blocks('b_i')}: of bias_ih [{G * H}]"),
        (f"[{H}]", f"{blocks('b_h')}: of bias_hh [{G * H}]"),
        (f"[{I}]", "x"),
        (f"[{H}]", ", ".join(dict.fromkeys(vectors))),
    ]
    note = f"A batch has B such rows: x is [B, I], {cell.states[0]} is [B, H]."
    return Section("Shapes", [Table(("shape", "tensors"), rows), note])


def _counts(cell: Cell, I: int, H: int) -> Section:  # noqa: E741
    G = len(cell.gates)
    forward, training = (work(cell, 1, 1, 1, I, H, training=t) for t in (False, True))
    products = [sum(p.flops for p in each.products) for each in (forward, training)]
    elementwise = [forward.elementwise, training.elementwise]
    rows: list[tuple[Entry, ...]] = [
        ("parameters", str(G * H * (I + H + 2)), f"G H (I + H + 2), G = {G}"),
        ("FLOP forward", str(forward.flops), f"{products[0]} in matrix products, {elementwise[0]} elementwise"),
        (
            "FLOP backward",
            str(training.flops - forward.flops),
            f"{products[1] - products[0]} in matrix products, {elementwise[1] - elementwise[0]} elementwise",
        ),
    ]
    notes = f"One row, one step. Backward is without dx ({2 * I * G * H} more), which a first layer does not need."
    if cell.adjoint is None:
        notes += " Without an adjoint the elementwise work backward is autograd's and not counted."
    return Section("Counts", [Table(("", "count", "which is"), rows), notes])


def _kept(cell: Cell, H: int) -> Section:
    fields = Equations(cell).tape
    before = [*Equations(cell).pre_activations, *(f"{s}_prev" for s in cell.states)]
    kept = len(before)
    rows: list[tuple[Entry, ...]] = [
        ("on the tape", f"{len(fields)} x {H} x {_BYTES} = {len(fields) * H * _BYTES}", ", ".join(fields)),
        ("in the engine", f"{kept} x {H} x {_BYTES} = {kept * H * _BYTES}", ", ".join(before)),
    ]
    note = (
        "The engine does not keep the tape. It keeps the pre-activations and the states before, and computes the tape "
        "of many steps from them by one call of update when the gradient is asked for."
    )
    if cell.adjoint is None:
        note = "Without an adjoint autograd keeps what it needs of every operation."
        rows = rows[:1]
    return Section("What is kept for the gradient", [Table(("", "bytes of a row", "float32 tensors"), rows), note])


def _backward(cell: Cell, found: Walk | None) -> Section:
    of = Equations(cell)
    by_target = {each.target: each for each in of.adjoint}
    name = getattr(cell.adjoint, "__name__", "")
    rows: list[tuple[Entry, ...]] = []
    for step in of.derivation:
        if step.gradients:
            rows.append((Equation(step.line),))
        for gradient in step.gradients:
            derived = _equations([gradient], found and found.derived)[0]
            by_hand = by_target.pop(gradient.target, None)
            beside = _equations([by_hand], found and found.by_hand)[0] if by_hand else None
            rows.append((derived, beside))
    rows += [(None, _equations([rest], found and found.by_hand)[0]) for rest in by_target.values()]
    table = Table(("by the chain rule", f"as {name} computes it" if of.adjoint else ""), rows)
    *others, last = of.arriving
    arrives = f"{', '.join(others)} and {last} arrive" if others else f"{last} arrives"
    parts: list[str | list[Equation] | Table] = [
        f"The lines in reverse order. {arrives} from the loss and the later "
        "steps. A gradient is the sum over all lines that use the name; it is written where its last term comes in."
        f"{_renamed(cell) if of.adjoint else ''}",
        table,
    ]
    if any(each.target == of.direct_gradient for each in of.derived):
        parts.append(f"{of.direct_gradient} is the part of d{cell.states[0]}_prev that does not come through W_hh.")
    if not of.adjoint:
        parts.append("The cell has no adjoint of its own: autograd walks through the steps.")
    return Section("Backward: the adjoint", parts)


def _renamed(cell: Cell) -> str:
    """How the names differ from those of the code, by the first gate whose name `update` uses twice."""
    for gate, value in [each[:2] for each in Equations(cell).forward if each.target in cell.gates]:
        match value:
            case ast.Call(func=ast.Name(id=function), args=[ast.Name(id=before)]) if before == f"{gate}_pre":
                meaning = f"{before} before the {function}, {gate} after it"
                return f" The code uses some names twice; here each name has one meaning: {meaning}."
    return ""


def _backward_linear(cell: Cell, found: Walk | None) -> Section:
    lines = linear_backward(cell)
    note = "Gradients accumulate: those of weights and biases are the sums of these over all rows and steps."
    return Section("Backward: the linear part", [_equations(lines, found and found.linear), note])


def _check(found: Walk) -> Section:
    references = dict.fromkeys(d.reference for d in found.deviations)
    off = [d for d in found.deviations if not d.value <= TOLERANCE]
    rows: list[tuple[Entry, ...]] = []
    for reference in references:
        worst = max((d for d in found.deviations if d.reference == reference), key=lambda d: d.value)
        count = sum(d.reference == reference for d in found.deviations)
        rows.append((reference, str(count), f"{worst.value:.1e}", f"{worst.name}, {worst.lines}"))
    largest = max(d.value for d in found.deviations)
    verdict = f"All agree in float64; the largest deviation is {largest:.1e}, {TOLERANCE:g} is allowed."
    if off:
        verdict = "\n".join(f"DIFFERS {d.name} of the {d.lines} from {d.reference} by {d.value:.1e}" for d in off)
    return Section("Check", [Table(("against", "tensors", "largest deviation", "of"), rows), verdict])
