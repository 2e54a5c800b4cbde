"""The adjoint of a cell, derived from the lines of its `update` by the chain rule."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import NamedTuple

from ..cells.cell import Cell
from .lines import Line
from .source import arriving, direct_gradient, equations, pre_activation_names


class Step(NamedTuple):
    """A forward line, and the gradients that are complete once it and all later lines have been differentiated."""

    line: Line
    gradients: list[Line]


def derivation(cell: Cell) -> list[Step]:
    """The adjoint by the chain rule: the lines of `update` in reverse order, each with the gradients it completes.

    The gradient of a name is the sum over all lines, and all places in a line, where the name occurs; it stands with
    the first of the forward lines that use it, after which no term is missing.

    Raises:
        ValueError: a line has something else than + - * sigmoid tanh relu and numbers, or a pre-activation has no
            influence on the states.
    """
    lines = equations(cell)
    terms: dict[str, list[_Term]] = {}
    reached = set()
    for state, gradient in zip(cell.states, arriving(cell), strict=True):
        reached.add(state)
        if gradient != f"d{state}":
            terms[state] = [_Term((ast.Name(gradient),))]
    steps = []
    for k, forward in reversed([*enumerate(lines)]):
        if forward.target in reached:
            upstream = _Term((ast.Name(f"d{forward.target}"),))
            for name, term in _chain_rule(forward.expression, upstream, ast.Name(forward.target), cell):
                terms.setdefault(name, []).append(term)
        before = {name for earlier in lines[:k] for name in earlier.names}
        complete = [name for name in forward.names if name in terms and name not in before]
        reached |= set(complete)
        steps.append(Step(forward, [Line(gradient_name(cell, name), _sum(terms[name])) for name in complete]))
    for name in pre_activation_names(cell):
        if name not in terms:
            raise ValueError(f"update of cell {cell.name!r} makes no use of {name}: there is no gradient to derive")
    return steps


class _Term(NamedTuple):
    """A product, with its sign."""

    factors: tuple[ast.expr, ...]
    negative: bool = False

    def times(self, *factors: ast.expr) -> _Term:
        return _Term((*self.factors, *factors), self.negative)

    def negated(self) -> _Term:
        return _Term(self.factors, not self.negative)


def _chain_rule(node: ast.expr, upstream: _Term, y: ast.expr, cell: Cell) -> Iterator[tuple[str, _Term]]:
    """The names below `node`, each time one occurs, with its term of the gradient; `y` is the node's value."""
    match node:
        case ast.Constant():
            return
        case ast.Name(id=name):
            yield name, upstream
            return
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            parts = [(left, upstream), (right, upstream)]
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            parts = [(left, upstream), (right, upstream.negated())]
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            parts = [(left, upstream.times(right)), (right, upstream.times(left))]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            parts = [(operand, upstream.negated())]
        case ast.Call(func=ast.Name(id="sigmoid"), args=[x]):
            parts = [(x, upstream.times(y, _one_minus(y)))]
        case ast.Call(func=ast.Name(id="tanh"), args=[x]):
            parts = [(x, upstream.times(_one_minus(_product([y, y]))))]
        case ast.Call(func=ast.Name(id="relu"), args=[x]):
            parts = [(x, upstream.times(ast.Compare(y, [ast.Gt()], [ast.Constant(0)])))]
        case _:
            raise ValueError(
                f"update of cell {cell.name!r}: the chain rule is known for + - * sigmoid tanh relu and numbers, "
                f"not for {ast.unparse(node)}"
            )
    for operand, term in parts:
        yield from _chain_rule(operand, term, operand, cell)


def _one_minus(node: ast.expr) -> ast.expr:
    return ast.BinOp(ast.Constant(1), ast.Sub(), node)


def _product(factors: Sequence[ast.expr]) -> ast.expr:
    return reduce(lambda a, b: ast.BinOp(a, ast.Mult(), b), factors)


def _sum(terms: Sequence[_Term]) -> ast.expr:
    """The positive terms first, so that a sum does not begin with a minus if it need not."""
    first, *others = sorted(terms, key=lambda term: term.negative)
    start, *factors = first.factors
    total = _product([ast.UnaryOp(ast.USub(), start) if first.negative else start, *factors])
    for term in others:
        total = ast.BinOp(total, ast.Sub() if term.negative else ast.Add(), _product(term.factors))
    return total


def gradient_name(cell: Cell, name: str) -> str:
    """dX; what reaches `h_prev` not through W_hh is `dh_direct`, a part of `dh_prev`."""
    return direct_gradient(cell) if name == f"{cell.states[0]}_prev" else f"d{name}"
