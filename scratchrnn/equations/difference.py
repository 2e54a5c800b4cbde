"""In what two cells differ: lines that both have, that changed, that only one has, forward and back; and the work."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..cells.cell import Cell
from .adjoint import why_walked
from .equations import Equations
from .linear import linear_forward, linear_onward
from .lines import Line
from .sections import Entry, Equation, Part, Section, Table, with_values
from .work import work


class Difference(NamedTuple):
    """Lines of one list beside those of another, by the name that they compute."""

    same: list[Line]
    changed: list[tuple[Line, Line]]
    gone: list[Line]
    new: list[Line]


def difference(before: Sequence[Line], after: Sequence[Line]) -> Difference:
    """What becomes of the lines `before` where those `after` stand."""
    here, there = ({each.target: each for each in lines} for lines in (before, after))
    both = [(here[name], there[name]) for name in here if name in there]
    return Difference(
        [a for a, b in both if a.text == b.text],
        [(a, b) for a, b in both if a.text != b.text],
        [each for each in before if each.target not in there],
        [each for each in after if each.target not in here],
    )


def compared(a: Cell, b: Cell, I: int, H: int) -> list[Section]:  # noqa: E741 - input_size
    """The sections that tell two cells apart, by their names."""
    note = (
        "Lines are held beside each other by the name on their left side, whatever it means in each of the two. "
        "dX is the gradient of the loss by X."
    )
    counted = "One row, one step. Backward is without dx."
    if walked := [cell.name for cell in (a, b) if why_walked(cell) is not None]:
        counted += f" The elementwise work backward of {' and '.join(walked)} is autograd's, and not counted."
    forward = _parts(a, b, lambda cell: [*linear_forward(cell), *Equations(cell).forward])
    if forms := _forms(a, b):
        forward += ["Of one form, under other names:", forms]
    return [
        Section(f"{a.name} and {b.name}, {I} inputs, {H} units", [note]),
        Section("Forward", forward),
        Section("Backward: by the chain rule", _parts(a, b, _adjoint)),
        Section("Counts", [_counts(a, b, I, H), counted]),
    ]


def _adjoint(cell: Cell) -> list[Line]:
    """The derived lines, and those that go on to the input and the step before."""
    return [*Equations(cell).derived, *linear_onward(cell)]


def _parts(a: Cell, b: Cell, lines: Callable[[Cell], Sequence[Line]]) -> list[Part]:
    found = difference(lines(a), lines(b))
    beside: list[tuple[Entry, ...]] = [
        (cell.name, Equation(each)) for pair in found.changed for cell, each in zip((a, b), pair, strict=True)
    ]
    parts: list[Part] = []
    for title, shown in (
        ("In both:", with_values(found.same)),
        ("Changed:", Table(("cell", "line"), beside) if beside else None),
        (f"Only in {a.name}:", with_values(found.gone)),
        (f"Only in {b.name}:", with_values(found.new)),
    ):
        if shown:
            parts += [title, shown]
    return parts


def _forms(a: Cell, b: Cell) -> Table | None:
    """Lines that are not the same, and would be under other names: `y = sigmoid(a)` is f of the one, z of the other."""
    apart = difference(Equations(a).forward, Equations(b).forward)
    same = {each.target for each in apart.same}
    by_form: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for cell, found in zip((a, b), by_form, strict=True):
        for each in Equations(cell).forward:
            if each.target not in same:
                found.setdefault(_form(each), []).append(each.target)
    rows: list[tuple[Entry, ...]] = [
        (form, ", ".join(names), ", ".join(by_form[1][form]))
        for form, names in by_form[0].items()
        if form in by_form[1]
    ]
    return Table(("form", a.name, b.name), rows) if rows else None


def _form(line: Line) -> str:
    return line.renamed({line.target: "y"} | dict(zip(line.names, string.ascii_lowercase, strict=False))).text


def _counts(a: Cell, b: Cell, I: int, H: int) -> Table:  # noqa: E741
    rows: list[tuple[Entry, ...]] = []
    for what, one, other in zip(
        ("gates", "parameters", "states of a unit", "FLOP forward", "FLOP backward"),
        _counted(a, I, H),
        _counted(b, I, H),
        strict=True,
    ):
        rows.append((what, str(one), str(other), f"{other - one:+d}" if other != one else "the same"))
    return Table(("", a.name, b.name, "difference"), rows)


def _counted(cell: Cell, I: int, H: int) -> tuple[int, ...]:  # noqa: E741
    forward, training = (work(cell, 1, 1, 1, I, H, training=t).flops for t in (False, True))
    G = len(cell.gates)
    return G, G * H * (I + H + 2), len(cell.states), forward, training - forward
