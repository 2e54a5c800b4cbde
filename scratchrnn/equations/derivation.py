"""The chain rule: from lines the lines of their gradients."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import NamedTuple

from .lines import Line


class Step(NamedTuple):
    """A forward line, and the gradients that are complete once it and all later lines have been differentiated."""

    line: Line
    gradients: tuple[Line, ...]


def derivation(
    lines: Sequence[Line], arriving: Mapping[str, str], gradient: Callable[[str], str], what: str
) -> list[Step]:
    """The lines in reverse order, each with the gradients that it completes.

    The gradient of a name is the sum over all lines, and all places in a line, where the name occurs; it stands with
    the first of the forward lines that use it, after which no term is missing.

    Args:
        lines: each name assigned once.
        arriving: for each result of the lines what its gradient from outside is called; where that is not dX, it is
            one of the terms of dX.
        gradient: what the gradient of a name is called.
        what: what the lines are, for messages.

    Raises:
        ValueError: a line has something else than + - * sigmoid tanh relu and numbers.
    """
    terms: dict[str, list[_Term]] = {}
    reached = set(arriving)
    for result, from_outside in arriving.items():
        if from_outside != f"d{result}":
            terms[result] = [_Term((ast.Name(from_outside),))]
    steps = []
    for k, forward in reversed([*enumerate(lines)]):
        if forward.target in reached:
            upstream = _Term((ast.Name(f"d{forward.target}"),))
            for name, term in _chain_rule(forward.expression, upstream, ast.Name(forward.target), what):
                terms.setdefault(name, []).append(term)
        before = {name for earlier in lines[:k] for name in earlier.names}
        complete = [name for name in forward.names if name in terms and name not in before]
        reached |= set(complete)
        steps.append(Step(forward, tuple(Line(gradient(name), _sum(terms[name])) for name in complete)))
    return steps


class _Term(NamedTuple):
    """A product, with its sign."""

    factors: tuple[ast.expr, ...]
    negative: bool = False

    def times(self, *factors: ast.expr) -> _Term:
        return _Term((*self.factors, *factors), self.negative)

    def negated(self) -> _Term:
        return _Term(self.factors, not self.negative)


def _chain_rule(node: ast.expr, upstream: _Term, y: ast.expr, what: str) -> Iterator[tuple[str, _Term]]:
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
                f"{what}: the chain rule is known for + - * sigmoid tanh relu and numbers, not for {ast.unparse(node)}"
            )
    for operand, term in parts:
        yield from _chain_rule(operand, term, operand, what)


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
