"""In which line an adjoint by hand departs from the derived one."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..cells.cell import Cell
from ..cells.probe import some_arguments
from .equations import Equations
from .lines import Line
from .terms import terms


def departure(cell: Cell) -> str | None:
    """The first line in which the adjoint of `cell` departs from the chain rule, what that has there, and which term.

    None where one of the two cannot be read, or they agree.
    """
    of = Equations(cell)
    try:
        by_hand, derived = of.adjoint, of.derived
    except ValueError:
        return None
    arguments = some_arguments(cell, 5, torch.float64)
    values: dict[str, Tensor | float] = {**of.values(*arguments), **of.numbers}
    d_state = {name: torch.cos(arguments[0] + k) for k, name in enumerate(of.arriving)}
    ours, theirs = (_evaluated(lines, values | d_state) for lines in (derived, by_hand))
    results = [f"d{n}" for n in of.pre_activations] + [of.gradient(f"{s}_prev") for s in cell.states]
    wrong = {n for n in results if not _close(theirs.get(n, 0.0), ours.get(n, 0.0))}
    chain_rule = {each.target: each for each in derived}
    for each in _that_lead_to(wrong, by_hand):
        expected = chain_rule.get(each.target)
        known = each.target in results or not any(_close(theirs[each.target], value) for value in ours.values())
        if expected is not None and known and not _close(theirs[each.target], ours[each.target]):
            term = _term(expected, ours[each.target] - theirs[each.target], values | d_state | ours)
            return f"it departs first in `{each.text}`, where the chain rule has `{expected.text}`{term}"
    for name in results:
        if name in wrong and name in chain_rule and name not in theirs:
            return f"it gives no {name}, where the chain rule has `{chain_rule[name].text}`"
    return None


def _evaluated(lines: Sequence[Line], values: Mapping[str, Tensor | float]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for each in lines:
        found[each.target] = each.evaluate({**values, **found})
    return found


def _that_lead_to(results: set[str], lines: Sequence[Line]) -> list[Line]:
    """The lines that have a part in one of the results, in their order."""
    wanted, found = set(results), []
    for each in reversed(lines):
        if each.target in wanted:
            wanted |= set(each.names)
            found.append(each)
    return found[::-1]


def _term(expected: Line, lacking: Tensor, values: Mapping[str, Tensor | float]) -> str:
    """Which of the terms of a sum is what is lacking, or lacking twice."""
    parts = [*terms(expected.expression)]
    for term, negative in parts if len(parts) > 1 else []:
        value = (-1 if negative else 1) * Line("", term).evaluate(values)
        shown = f"`{'-' if negative else '+'} {ast.unparse(term)}`"
        if _close(lacking, value):
            return f": it lacks the term {shown}"
        if _close(lacking, 2 * value):
            return f": it has the term {shown} with the other sign"
    return ""


def _close(a: Tensor | float, b: Tensor | float) -> bool:
    a, b = torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
    return torch.allclose(a.expand(torch.broadcast_shapes(a.shape, b.shape)), b, rtol=1e-6, atol=1e-9, equal_nan=True)
