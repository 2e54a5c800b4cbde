"""What there is to say about a cell: forward equations, shapes, counts, the derivation of its adjoint, with numbers.

All of it is read from the cell's own functions. `explain` gives sections of prose, equations and tables;
the command `explain` prints them.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from ..cells.cell import Cell
from .adjoint import why_walked
from .departure import departure
from .equations import Equations
from .linear import linear_backward, linear_forward
from .sections import SHOWN, Entry, Equation, Part, Section, Table, with_values
from .work import work
from .worked_example import TOLERANCE, Deviation, Walk

_BYTES = 4  # of a float32
_PARTS = "Parts of the forward lines that are needed again have names of their own:"


def explain(cell: Cell, I: int, H: int, found: Walk | None = None) -> list[Section]:  # noqa: E741 - input_size
    """All there is to say about one step of `cell` with I inputs and H units, with the numbers of a walk if given.

    What cannot be read or derived is said where it would stand.
    """
    sections = [
        Section(f"{cell.name}, {I} inputs, {H} units", [source(cell), _letters(cell)]),
        *([_given(found, cell)] if found else []),
        _forward(cell, found),
        _backward(cell, found),
        _backward_linear(cell, found),
        _shapes(cell, I, H),
        _counts(cell, I, H),
        _kept(cell, H),
    ]
    return [section for section in (*sections, check(found.deviations) if found else None) if section is not None]


def _letters(cell: Cell) -> str:
    return (
        f"x is the input, {cell.states[0]}_prev the hidden state before the step; * is the Hadamard product, W x a "
        "matrix product. dX is the gradient of the loss by X and has X's shape."
    )


def source(cell: Cell) -> str:
    """What the docstring of `update` says behind "Source:", or all of it."""
    text = " ".join((inspect.getdoc(cell.update) or "").split())
    before, _, source = text.partition("Source: ")
    return f"Source: {source}" if source else before or "Source: update has no docstring."


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
    of, values = Equations(cell), found and found.forward
    parts: list[Part] = [
        "The linear part. The engine, which runs the loop over time, computes it:",
        with_values(linear_forward(cell), values),
        f"The gate math, {getattr(cell.update, '__name__', 'update')}:",
        with_values(of.readable, values),
    ]
    if reason := _why_not(lambda: of.forward):
        parts = [*(part for part in parts if part), f"Here the reading ends. {reason}."]
    elif numbers := of.numbers:
        listed = ", ".join(f"{name} = {value}" for name, value in numbers.items())
        parts.append(f"Numbers from outside of it, as they are now: {listed}.")
    return Section("Forward", parts)


def _why_not(read: Callable[[], Any]) -> str | None:
    """Why the equations cannot be had, if they cannot."""
    try:
        read()
    except ValueError as error:
        return str(error)
    return None


def _shapes(cell: Cell, I: int, H: int) -> Section:  # noqa: E741
    G = len(cell.gates)

    def blocks(prefix: str) -> str:
        return ", ".join(prefix + g for g in cell.gates)

    of = Equations(cell)
    vectors = [*(f"{s}_prev" for s in cell.states), *of.pre_activations, *(each.target for each in of.readable)]
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
    if why_walked(cell) is not None:
        notes += " The elementwise work backward is autograd's, and not counted."
    return Section("Counts", [Table(("", "count", "which is"), rows), notes])


def _kept(cell: Cell, H: int) -> Section:
    of, by_hand = Equations(cell), cell.adjoint is not None
    if why_walked(cell) is not None:
        return Section("What is kept for the gradient", ["Autograd keeps what it needs of every operation."])
    fields = of.tape if by_hand and _why_not(lambda: of.tape) is None else () if by_hand else of.derived_tape
    before = [*of.pre_activations, *(f"{s}_prev" for s in cell.states)]
    rows: list[tuple[Entry, ...]] = [
        (place, f"{len(names)} x {H} x {_BYTES} = {len(names) * H * _BYTES}", ", ".join(names))
        for place, names in (("on the tape", fields), ("in the engine", before))
    ]
    note = (
        "The engine does not keep the tape. It keeps the pre-activations and the states before, and computes the tape "
        f"of many steps from them by one call of {'update' if by_hand else 'the lines'} when the gradient is asked for."
    )
    return Section("What is kept for the gradient", [Table(("", "bytes of a row", "float32 tensors"), rows), note])


def _backward(cell: Cell, found: Walk | None) -> Section:
    of, title = Equations(cell), "Backward: the adjoint"
    if reason := _why_not(lambda: (of.derivation, of.adjoint)):
        return Section(title, [f"It is not derived. {reason}.", _by_what(cell)])
    by_target = {each.target: each for each in of.adjoint}
    name = getattr(cell.adjoint, "__name__", "")
    wrong = departure(cell) if found is not None else None
    rows: list[tuple[Entry, ...]] = []
    for step in of.derivation:
        if step.gradients:
            rows.append((Equation(step.line),))
        for gradient in step.gradients:
            derived = with_values([gradient], found and found.derived)[0]
            by_hand = by_target.pop(gradient.target, None)
            beside = with_values([by_hand], found and found.by_hand)[0] if by_hand else None
            rows.append((derived, beside))
            if wrong is not None and by_hand is not None and by_hand == wrong.line:
                rows.append((None, f"^ the first that departs{wrong.lacking and ': '}{wrong.lacking}"))
    rows += [(None, with_values([rest], found and found.by_hand)[0]) for rest in by_target.values()]
    table = Table(("by the chain rule", f"as {name} computes it" if of.adjoint else ""), rows)
    *others, last = of.arriving
    arrives = f"{', '.join(others)} and {last} arrive" if others else f"{last} arrives"
    parts: list[Part] = [
        f"The lines in reverse order. {arrives} from the loss and the later "
        "steps. A gradient is the sum over all lines that use the name; it is written where its last term comes in."
        f"{_renamed(cell) if of.adjoint else ''}",
    ]
    if of.added:
        parts += [_PARTS, with_values(of.added, found and found.parts)]
    parts.append(table)
    if wrong is not None:
        parts.append(f"DIFFERS: {name or 'the adjoint'} {wrong}.")
    if any(each.target == of.direct_gradient for each in of.derived):
        parts.append(f"{of.direct_gradient} is the part of d{cell.states[0]}_prev that does not come through W_hh.")
    if not of.adjoint:
        parts.append(_by_what(cell))
    return Section(title, parts)


def _by_what(cell: Cell) -> str:
    """What gives the gradient of a cell."""
    if cell.walk:
        return "The cell has walk=True: autograd walks through the steps."
    if cell.adjoint is not None:
        return f"The engine uses {getattr(cell.adjoint, '__name__', 'its adjoint')}."
    if why_walked(cell) is not None:
        return "The cell has no adjoint of its own: autograd walks through the steps."
    return "The cell has no adjoint of its own: the engine uses this one."


def _renamed(cell: Cell) -> str:
    """How the names differ from those of the code, by the first gate whose name `update` uses twice."""
    for gate, value in [each[:2] for each in Equations(cell).forward if each.target in cell.gates]:
        match value:
            case ast.Call(func=ast.Name(id=function), args=[ast.Name(id=before)]) if before == f"{gate}_pre":
                meaning = f"{before} before the {function}, {gate} after it"
                return f" The code uses some names twice; here each name has one meaning: {meaning}."
    return ""


def _backward_linear(cell: Cell, found: Walk | None) -> Section | None:
    if _why_not(lambda: Equations(cell).derivation):
        return None
    lines = linear_backward(cell)
    note = "Gradients accumulate: those of weights and biases are the sums of these over all rows and steps."
    return Section("Backward: the linear part", [with_values(lines, found and found.linear), note])


def check(deviations: Sequence[Deviation]) -> Section:
    """How far numbers are from those of each reference, and which differ."""
    off = [d for d in deviations if not d.value <= TOLERANCE]
    rows: list[tuple[Entry, ...]] = []
    for reference in dict.fromkeys(d.reference for d in deviations):
        of_it = [d for d in deviations if d.reference == reference]
        worst = max(of_it, key=lambda d: d.value)
        rows.append((reference, str(len(of_it)), f"{worst.value:.1e}", f"{worst.name}, {worst.lines}"))
    largest = max(d.value for d in deviations)
    verdict = f"All agree in float64; the largest deviation is {largest:.1e}, {TOLERANCE:g} is allowed."
    if off:
        verdict = "\n".join(f"DIFFERS {d.name} of the {d.lines} from {d.reference} by {d.value:.1e}" for d in off)
    return Section("Check", [Table(("against", "tensors", "largest deviation", "of"), rows), verdict])
