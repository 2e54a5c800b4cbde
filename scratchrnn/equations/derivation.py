"""The chain rule: from lines the lines of their gradients."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from .lines import Line
from .operations import CHEAP, operation


class Step(NamedTuple):
    """A forward line, and the gradients that are complete once it and all later lines have been differentiated."""

    line: Line
    gradients: tuple[Line, ...]


class Underivable(ValueError):  # noqa: N818 - it is no mistake of the caller
    """A line whose derivative is not known, and why."""

    line: Line


def derivation(
    lines: Sequence[Line],
    arriving: Mapping[str, str],
    gradient: Callable[[str], str],
    numbers: Container[str],
    what: str,
) -> list[Step]:
    """The lines in reverse order, each with the gradients that it completes.

    The gradient of a name is the sum over all lines, and all places in a line, where the name occurs; it stands with
    the first of the forward lines that use it, after which no term is missing.

    Args:
        lines: each name assigned once.
        arriving: for each result of the lines what its gradient from outside is called; where that is not dX, it is
            one of the terms of dX.
        gradient: what the gradient of a name is called.
        numbers: names that have no gradient.
        what: what the lines are, for messages.

    Raises:
        Underivable: a line has an operation without a row, or one whose derivative by that argument is not known.
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
            try:
                found = [*_chain_rule(forward.expression, upstream, ast.Name(forward.target), numbers)]
            except _Unknown as error:
                unknown = Underivable(f"{what}: the chain rule is not known of `{forward.text}`: {error}")
                unknown.line = forward
                raise unknown from None
            for name, term in found:
                terms.setdefault(name, []).append(term)
        before = {name for earlier in lines[:k] for name in earlier.names}
        complete = [name for name in forward.names if name in terms and name not in before]
        reached |= set(complete)
        steps.append(Step(forward, tuple(Line(gradient(name), _sum(terms[name])) for name in complete)))
    return steps


def one_at_a_time(lines: Sequence[Line], numbers: Container[str], free: Callable[[str], str]) -> list[Line]:
    """The same, with a line of its own for what stands within another expression, where that saves work.

    That is what is dear to compute again, since the adjoint needs it, as `tanh(c)` in `h = o * tanh(c)`, and what a
    function is given, as `n_x + r * n_h` in `n = tanh(n_x + r * n_h)`, since the gradients of all that stands in it
    begin with the same product. What occurs twice is one line. `free` gives a name that is not taken.
    """
    found: list[Line] = []
    names: dict[str, str] = {}  # what is computed: by what name

    def line_of_its_own(name: str, node: ast.expr) -> ast.expr:
        text = ast.unparse(node)
        if text not in names:
            names[text] = free(name)
            found.append(Line(names[text], node))
        return ast.Name(names[text])

    def named(node: ast.expr, target: str = "") -> ast.expr:
        """The expression of names of lines; `target`: it is a whole line."""
        row = operation(node)
        if row is not None and row.expansion:
            return named(put_in(_parsed(row.expansion), row.arguments(node)), target)
        match node:
            case ast.BinOp(left=left, op=op, right=right):
                return ast.BinOp(named(left), op, named(right))
            case ast.UnaryOp(op=op, operand=operand):
                return ast.UnaryOp(op, named(operand))
            case ast.Compare(left=left, ops=ops, comparators=[right]):
                return ast.Compare(named(left), ops, [named(right)])
            case ast.Call(func=ast.Name(id=function), args=arguments, keywords=keywords):
                given = [named(a) for a in arguments]
                if row is not None:
                    inner = f"{target or row.name}_in"
                    flows = [not _is_number(a, numbers) and not isinstance(a, (ast.Name, ast.Compare)) for a in given]
                    given = [line_of_its_own(inner, a) if f else a for a, f in zip(given, flows, strict=True)]
                node = ast.Call(ast.Name(function), given, [ast.keyword(k.arg, named(k.value)) for k in keywords])
        if target or row is None or row.cost <= CHEAP:
            return node
        of = [*_names(node)]
        return line_of_its_own(f"{row.name}_{of[0]}" if len(of) == 1 else row.name, node)

    for target, expression in lines:
        value = named(expression, target)
        text = ast.unparse(value)
        found.append(Line(target, ast.Name(names[text]) if text in names else value))
        if not isinstance(value, (ast.Name, ast.Constant)):
            names.setdefault(text, target)
    return found


# ------------------------------------------------------------------------------------------------------ the terms


class _Term(NamedTuple):
    """A product of factors, divided by divisors, with its sign."""

    factors: tuple[ast.expr, ...]
    negative: bool = False
    divisors: frozenset[int] = frozenset()
    """The places of those factors that divide."""

    def times(self, factor: ast.expr) -> _Term:
        is_one = isinstance(factor, ast.Constant) and factor.value == 1
        return self if is_one else self._replace(factors=(*self.factors, factor))

    def over(self, divisor: ast.expr) -> _Term:
        return _Term((*self.factors, divisor), self.negative, self.divisors | {len(self.factors)})

    def negated(self) -> _Term:
        return self._replace(negative=not self.negative)

    def expression(self, sign: bool = True) -> ast.expr:
        """The product, `sign`: with its own."""
        total, *others = self.factors
        if sign and self.negative:
            total = ast.UnaryOp(ast.USub(), total)
        for k, factor in enumerate(others, 1):
            total = ast.BinOp(total, ast.Div() if k in self.divisors else ast.Mult(), factor)
        return total


class _Unknown(Exception):  # noqa: N818 - caught here
    """Why the chain rule cannot go on."""


def _chain_rule(node: ast.expr, upstream: _Term, y: ast.expr, numbers: Container[str]) -> Iterator[tuple[str, _Term]]:
    """The names below `node`, each time one occurs, with its term of the gradient; `y` is the node's value."""
    if isinstance(node, ast.Name):
        yield node.id, upstream
        return
    row = operation(node)
    if row is None:
        raise _Unknown(f"`{ast.unparse(node)}` is no operation with a derivative")
    arguments = row.arguments(node)
    for name, argument in arguments.items():
        if _is_number(argument, numbers):
            continue
        if name not in row.gradients:
            raise _Unknown(f"{name} of {row.name} should be a number, got `{ast.unparse(argument)}`")
        if gradient := row.gradients[name]:
            term = _applied(_parsed(gradient), upstream, {**arguments, "y": y})
            yield from _chain_rule(argument, term, argument, numbers)


def _applied(gradient: ast.expr, upstream: _Term, values: Mapping[str, ast.expr]) -> _Term:
    """The gradient that a row has for an argument, for `dy` the upstream term."""
    match gradient:
        case ast.Name(id="dy"):
            return upstream
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _applied(operand, upstream, values).negated()
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _applied(left, upstream, values).times(put_in(right, values))
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _applied(left, upstream, values).over(put_in(right, values))
    # `where`: the sign stays outside, so that a sum can have it
    return _Term((put_in(gradient, {**values, "dy": upstream.expression(sign=False)}),), upstream.negative)


def _sum(terms: Sequence[_Term]) -> ast.expr:
    """The positive terms first, so that a sum does not begin with a minus if it need not; what all share once."""
    first, *others = sorted(terms, key=lambda term: term.negative)
    if others and all(len(t.factors) > 1 and not t.divisors and _same(t.factors[0], first.factors[0]) for t in terms):
        return ast.BinOp(first.factors[0], ast.Mult(), _sum([t._replace(factors=t.factors[1:]) for t in terms]))
    total = first.expression()
    for term in others:
        total = ast.BinOp(total, ast.Sub() if term.negative else ast.Add(), term.expression(sign=False))
    return total


# ------------------------------------------------------------------------------------------------- expressions


@cache
def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _names(node: ast.expr) -> Iterator[str]:
    """Of tensors and numbers, without those of functions."""
    return iter(Line("", node).names)


def _same(a: ast.expr, b: ast.expr) -> bool:
    return ast.unparse(a) == ast.unparse(b)


def _is_number(node: ast.expr, numbers: Container[str]) -> bool:
    return all(name in numbers for name in _names(node))


class _PutIn(ast.NodeTransformer):
    """The values in the place of names; what numbers alone make up is computed, and 1 * x and 0 + x are x."""

    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.values.get(node.id, node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        left: ast.expr = self.visit(node.left)
        right: ast.expr = self.visit(node.right)
        match left, node.op, right:
            case ast.Constant(value=int() | float() as a), ast.Sub(), ast.Constant(value=int() | float() as b):
                return _constant(a - b)
            case (other, ast.Mult(), ast.Constant(value=1)) | (ast.Constant(value=1), ast.Mult(), other):
                return other
            case (ast.Constant(value=0) as zero, ast.Mult(), _) | (_, ast.Mult(), ast.Constant(value=0) as zero):
                return zero
            case (other, ast.Add() | ast.Sub(), ast.Constant(value=0)) | (ast.Constant(value=0), ast.Add(), other):
                return other
            case ast.Constant(value=0), ast.Sub(), other:
                return ast.UnaryOp(ast.USub(), other)
            case other, ast.Pow(), ast.Constant(value=1):
                return other
        return ast.BinOp(left, node.op, right)


def put_in(template: ast.expr, values: Mapping[str, ast.expr]) -> ast.expr:
    """The expression with these in the place of names; what 0 and 1 then leave of it is computed."""
    found: ast.expr = _PutIn(values).visit(copy.deepcopy(template))
    return found


def _constant(value: float) -> ast.expr:
    """As Python reads it, where -1.0 is the minus of 1.0."""
    return ast.UnaryOp(ast.USub(), ast.Constant(-value)) if value < 0 else ast.Constant(value)
