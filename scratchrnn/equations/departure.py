"""In which line an adjoint by hand departs from the derived one."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..cells.cell import Cell
from ..cells.probe import some_arguments
from .equations import Equations
from .lines import Line


class Departure(NamedTuple):
    """Where an adjoint parts from the chain rule; its text goes on behind its name: `departs first in ...`."""

    line: Line | None
    """The first line that is another; None where one is missing."""
    expected: Line
    """What the chain rule has there."""
    lacking: str = ""
    """Which term or factor is missing, or has the other sign; "" where it is none of these."""

    def __str__(self) -> str:
        if self.line is None:
            return f"gives no {self.expected.target}, where the chain rule has `{self.expected.text}`"
        where = f"departs first in `{self.line.text}`, where the chain rule has `{self.expected.text}`"
        return f"{where}: {self.lacking}" if self.lacking else where


def departure(cell: Cell) -> Departure | None:
    """The first line in which the adjoint of `cell` departs from the chain rule, what that has there, and which term.

    None where it has no adjoint, one of the two cannot be read, or they agree.
    """
    of = Equations(cell)
    if cell.adjoint is None:
        return None
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
            lacking = ours[each.target] - theirs[each.target]
            return Departure(each, expected, _lacking(expected, lacking, values | d_state | ours))
    for name in results:
        if name in wrong and name in chain_rule and name not in theirs:
            return Departure(None, chain_rule[name])
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


def _lacking(expected: Line, lacking: Tensor, values: Mapping[str, Tensor | float]) -> str:
    """Which term of a sum is what is lacking, or lacking twice; or which factor of a term makes the difference."""
    terms = [*_terms(expected.expression)]
    for term, negative in terms:
        value, shown = _value(term, negative, values), f"`{'-' if negative else '+'} {ast.unparse(term)}`"
        if len(terms) > 1 and _close(lacking, value):
            return f"it lacks the term {shown}"
        if _close(lacking, 2 * value):
            return f"it has the term {shown} with the other sign" if len(terms) > 1 else "it has the other sign"
        for factor, others in _factors(term):
            if _close(lacking, value - _value(others, negative, values)):
                return f"it lacks the factor `{ast.unparse(factor)}`"
    for term, negative in _multiplied_out(expected.expression):
        if _close(lacking, _value(term, negative, values)):
            return f"multiplied out, it lacks the term `{'-' if negative else '+'} {ast.unparse(term)}`"
    return ""


def _value(term: ast.expr, negative: bool, values: Mapping[str, Tensor | float]) -> Tensor | float:
    return (-1 if negative else 1) * Line("", term).evaluate(values)


def _factors(term: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Each factor of a product, and the product of the others."""
    match term:
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            yield right, left
            yield from ((factor, ast.BinOp(others, ast.Mult(), right)) for factor, others in _factors(left))
            if not isinstance(left, ast.BinOp) or not isinstance(left.op, ast.Mult):
                yield left, right


def _multiplied_out(node: ast.expr) -> Iterator[tuple[ast.expr, bool]]:
    """The terms of a sum, of products of sums too."""
    for term, negative in _terms(node):
        match term:
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                for a, minus in _multiplied_out(left):
                    for b, negated in _multiplied_out(right):
                        yield ast.BinOp(a, ast.Mult(), b), negative ^ minus ^ negated
            case _:
                yield term, negative


def _terms(node: ast.expr, negative: bool = False) -> Iterator[tuple[ast.expr, bool]]:
    """The terms of a sum, and whether each is subtracted."""
    match node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            yield from _terms(left, negative)
            yield from _terms(right, negative != isinstance(op, ast.Sub))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield operand, not negative
        case _:
            yield node, negative


def _close(a: Tensor | float, b: Tensor | float) -> bool:
    a, b = torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
    return torch.allclose(a.expand(torch.broadcast_shapes(a.shape, b.shape)), b, rtol=1e-6, atol=1e-9, equal_nan=True)
