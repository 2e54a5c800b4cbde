"""What is wrong with a right side: which change of the true one gives the same numbers."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from itertools import combinations, combinations_with_replacement
from typing import NamedTuple

import torch
from torch import Tensor

from .answers import value
from .derivation import derivation
from .equations import Equations
from .exercises import Exercise
from .lines import Line
from .replies import REPLIES
from .terms import factors, multiplied, summed, terms

_NONLINEAR = ("sigmoid", "tanh", "relu")
_SPELLINGS = 12  # of the true line: in the others names are replaced by what they stand for


class Mistake(NamedTuple):
    """The true right side, changed, and what there is to say of it."""

    expression: ast.expr
    says: str


def explained(exercise: Exercise, answer: Tensor) -> str | None:
    """Why an answer that gives these numbers is wrong; None where no change that is tried gives the same."""
    true = value(exercise.line.expression, exercise.known)

    def gives(mistake: Mistake) -> bool:
        try:
            return close(value(mistake.expression, exercise.known), answer)
        except ValueError:  # its shapes do not fit
            return False

    for mistake in mistakes(exercise):
        if gives(mistake):
            return mistake.says
    if says := _in_numbers(true, answer):
        return says
    whole = exercise.line.expression
    for mistake in _two_names_too_much(whole, exercise):
        if gives(mistake):
            return mistake.says
    for mistake in (m for spelling in _others(exercise) for m in _one_thing(spelling, exercise)):
        if gives(mistake):
            return mistake.says
    for first in _one_thing(whole, exercise):
        for second in _changes(first.expression):
            if gives(second):
                return f"two things: {first.says}; and {second.says}"
    return None


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two right sides give the same in float64, up to rounding; a number is as good as a vector of it."""
    alike = a.shape == b.shape or not (a.dim() and b.dim())
    a, b = torch.broadcast_tensors(a, b) if alike else (a, b)  # torch 2.6 does not compare a number with a vector
    return alike and torch.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True)


def mistakes(exercise: Exercise) -> Iterator[Mistake]:
    """The true right side with one thing changed, in each way that is tried first; a few are right in spite of it."""
    whole = exercise.line.expression
    yield from _of_another_function(exercise)
    yield from _another_line(exercise)
    yield from _one_thing(whole, exercise)
    yield from _beside(whole, exercise)
    yield Mistake(ast.UnaryOp(ast.USub(), whole), "the sign of the whole is wrong")
    if exercise.linear:
        said = "the transpose is missing: what went through W comes back through W^T"
        yield Mistake(_Straight().visit(copy.deepcopy(whole)), said)
    yield from _too_much(whole, exercise)
    for spelling in _spelled_out(whole, exercise):
        yield from _changes(spelling)


def _one_thing(node: ast.expr, exercise: Exercise) -> Iterator[Mistake]:
    yield from _changes(node)
    yield from _names(node, exercise)


def _spelled_out(spelling: ast.expr, exercise: Exercise) -> Iterator[ast.expr]:
    """The same with one name replaced by the right side of its own line, each in turn."""
    pre_activations = Equations(exercise.cell).pre_activations
    before = {each.target: each.expression for each in exercise.before if each.target not in pre_activations}
    return (_put(spelling, {name: before[name]}) for name in Line("", spelling).names if name in before)


def _others(exercise: Exercise) -> list[ast.expr]:
    """The true right side, with names replaced by the right sides of their own lines."""
    found = [exercise.line.expression]
    seen = {ast.unparse(found[0])}
    for spelling in found:
        for other in _spelled_out(spelling, exercise):
            if len(found) < _SPELLINGS and ast.unparse(other) not in seen:
                seen.add(ast.unparse(other))
                found.append(other)
    return found[1:]


# ------------------------------------------------------------------------------------------------- in one place


def _changes(node: ast.expr) -> Iterator[Mistake]:
    """A term, factor, sign or function is changed in one place."""
    match node:
        case ast.BinOp(op=ast.Add() | ast.Sub()) | ast.UnaryOp(op=ast.USub()):
            yield from _of_a_sum(node)
        case ast.BinOp(op=ast.Mult() | ast.Div()):
            yield from _of_a_product(node)
        case ast.BinOp(left=left, op=ast.Pow() as op, right=right):
            yield Mistake(left, f"{_code(left)} stands where {_code(node)} should")
            for base in _changes(left):
                yield base._replace(expression=ast.BinOp(base.expression, op, right))
        case ast.Compare(left=left, ops=ops, comparators=[right]):
            yield Mistake(ast.Compare(right, ops, [left]), f"{_code(node)} is the other way round")
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=keywords):
            if name in _NONLINEAR:
                yield Mistake(arguments[0], f"{name} is missing: it is taken of {_code(arguments[0])}")
                for other in _NONLINEAR:
                    if other != name:
                        said = f"{other} stands where {name} should, of {_code(arguments[0])}"
                        yield Mistake(ast.Call(ast.Name(other), arguments, keywords), said)
            if name == "where":
                condition, *sides = arguments
                yield Mistake(ast.Call(node.func, [condition, *sides[::-1]], keywords), "the two sides are exchanged")
            for k, argument in enumerate(arguments):
                for changed in _inside(argument):
                    given = [*arguments[:k], changed.expression, *arguments[k + 1 :]]
                    yield changed._replace(expression=ast.Call(node.func, given, keywords))


def _of_a_sum(node: ast.expr) -> Iterator[Mistake]:
    parts = [*terms(node)]
    for k, (term, negative) in enumerate(parts):
        before, after = parts[:k], parts[k + 1 :]
        if before or after:
            yield Mistake(summed([*before, *after]), _not_there(term))
        said = f"the term {_code(term)} has the wrong sign: it is {'subtracted' if negative else 'added'}"
        yield Mistake(summed([*before, (term, not negative), *after]), said)
    match parts:
        case [(ast.Constant(value=1), False), (other, True)]:
            yield Mistake(other, f"{_code(other)} stands where {_code(node)} should")
    for k, (term, negative) in enumerate(parts):
        for changed in _changes(term):
            expression = summed([*parts[:k], (changed.expression, negative), *parts[k + 1 :]])
            yield changed._replace(expression=expression)


def _of_a_product(node: ast.expr) -> Iterator[Mistake]:
    parts = [*factors(node)]
    for k, (factor, divides) in enumerate(parts):
        before, after = parts[:k], parts[k + 1 :]
        missing = f"the divisor {_code(factor)} is missing" if divides else f"the factor {_code(factor)} is missing"
        yield Mistake(multiplied([*before, *after]), f"{missing} in {_code(node)}")
        said = "multiplies, where it should divide" if divides else "divides, where it should multiply"
        yield Mistake(multiplied([*before, (factor, not divides), *after]), f"{_code(factor)} {said}")
    if not any(divides for _, divides in parts):
        said = f"a sum stands where the product {_code(node)} should"
        yield Mistake(summed([(factor, False) for factor, _ in parts]), said)
    for k, (factor, divides) in enumerate(parts):
        for changed in _inside(factor):
            expression = multiplied([*parts[:k], (changed.expression, divides), *parts[k + 1 :]])
            yield changed._replace(expression=expression)


def _inside(node: ast.expr) -> Iterator[Mistake]:
    """The changes of what stands within a product or a function: of a sum it is said of which."""
    within = f", in {_code(node)}" if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub) else ""
    for changed in _changes(node):
        yield changed._replace(says=changed.says + within * changed.says.startswith("the term"))


def _not_there(term: ast.expr) -> str:
    if isinstance(term, ast.Name) and term.id.startswith("d") and term.id.endswith("_next"):
        return f"the term that arrives from the next step, {term.id}, is not there"
    return f"the term {_code(term)} is not there"


# ------------------------------------------------------------------------------------------------- other names


def _names(node: ast.expr, exercise: Exercise) -> Iterator[Mistake]:
    """Another name stands in the place of one, or the name with something done to it, or two are exchanged."""
    of = Line("", node).names
    for a, b in combinations(of, 2):
        yield Mistake(_put(node, {a: ast.Name(b), b: ast.Name(a)}), f"`{a}` and `{b}` are exchanged")
    for name in of:
        others: list[tuple[ast.expr, str]] = [(ast.Name(n), _instead(n, name, exercise)) for n in _like(name, exercise)]
        both = f"(1 - {name})" in ast.unparse(node)
        exchanged = f"`{name}` and `1 - {name}` are exchanged"
        others.append((_one_minus(name), exchanged if both else f"`1 - {name}` stands where `{name}` should"))
        for function in _NONLINEAR[:2]:
            call = ast.Call(ast.Name(function), [ast.Name(name)], [])
            others.append((call, f"{_code(call)} stands where `{name}` should"))
        for other, said in others:
            yield Mistake(_put(node, {name: other}), said)
        times = sum(isinstance(part, ast.Name) and part.id == name for part in ast.walk(node))
        for place in range(times if times > 1 else 0):
            for other, _ in others:
                said = f"{_code(other)} stands in one place where `{name}` should"
                yield Mistake(_put(node, {name: other}, place), said)


def _beside(node: ast.expr, exercise: Exercise) -> Iterator[Mistake]:
    """A name has a factor that is too much, or 1 minus another in its place."""
    for name in Line("", node).names:
        for other in _like(name, exercise):
            product = ast.BinOp(ast.Name(name), ast.Mult(), ast.Name(other))
            yield Mistake(_put(node, {name: product}), f"the factor `{other}` is too much, beside `{name}`")
            yield Mistake(_put(node, {name: _one_minus(other)}), f"`1 - {other}` stands where `{name}` should")


def _like(name: str, exercise: Exercise) -> Iterator[str]:
    """The other names that could stand where this one does."""
    known = exercise.known
    return (other for other in exercise.names if other != name and known[other].shape == known[name].shape)


def _one_minus(name: str) -> ast.expr:
    return ast.BinOp(ast.Constant(1), ast.Sub(), ast.Name(name))


def _instead(name: str, expected: str, exercise: Exercise) -> str:
    """`c` for `tanh_c`: what was to be done with it is said, too."""
    said = f"`{name}` stands where `{expected}` should"
    for each in exercise.before:
        match each:
            case Line(target, ast.Call(func=ast.Name(id=function), args=[ast.Name(id=argument)])):
                if (target, argument) == (expected, name):
                    if exercise.through is not None and exercise.through.target == target:
                        return f"{said}: the derivative of {function} is made of its output, {each.text}"
                    return f"{said}: {each.text}"
    return said


class _Straight(ast.NodeTransformer):
    """Without transposes."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return node.value


class _Put(ast.NodeTransformer):
    def __init__(self, values: dict[str, ast.expr], place: int | None) -> None:
        self.values, self.place = values, place

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self.values:
            return node
        if self.place is not None:
            self.place -= 1
            if self.place != -1:
                return node
        return copy.deepcopy(self.values[node.id])


def _put(node: ast.expr, values: dict[str, ast.expr], place: int | None = None) -> ast.expr:
    """The values in the place of names, everywhere or where one occurs for the `place`-th time."""
    alone = ast.parse(ast.unparse(node), mode="eval").body  # of an expression one node may stand in two places
    found: ast.expr = _Put(values, place).visit(alone)
    return found


# ----------------------------------------------------------------------------------- more than a changed place


def _of_another_function(exercise: Exercise) -> Iterator[Mistake]:
    """What the chain rule gives if the forward line has another function, or none."""
    match exercise.through:
        case Line(target, ast.Call(func=ast.Name(id=name), args=[argument])) if name in _NONLINEAR:
            of = Equations(exercise.cell)
            arriving = dict(zip(exercise.cell.states, of.arriving, strict=True))
            for other in ("", *_NONLINEAR):
                if other == name:
                    continue
                wrong = Line(target, ast.Call(ast.Name(other), [argument], []) if other else argument)
                lines = [wrong if each.target == target else each for each in of.named]
                steps = derivation(lines, arriving, of.gradient, {*of.numbers}, "")
                said = f"the derivative of {name} is not there"
                if other:
                    said = f"that is the derivative of {other}, and the line is {exercise.through.text}"
                for gradient in (each for step in steps for each in step.gradients):
                    if gradient.target == exercise.line.target:
                        yield Mistake(gradient.expression, said)


def _another_line(exercise: Exercise) -> Iterator[Mistake]:
    """The right sides of later lines, as far as all in them is known here, and of the linear part those of earlier."""
    for each in (*(exercise.before if exercise.linear else ()), *exercise.after):
        is_name = isinstance(each.expression, ast.Name)
        if not is_name and {*each.names} <= {*exercise.known}:
            yield Mistake(each.expression, f"that is {each.target}")


def _too_much(whole: ast.expr, exercise: Exercise) -> Iterator[Mistake]:
    """A factor that is too much, or a term, of one name."""
    for name in _as_long_as_the_line(exercise):
        for factor in (ast.Name(name), _one_minus(name)):
            yield Mistake(ast.BinOp(whole, ast.Mult(), factor), f"the factor {_code(factor)} is too much")
    for name in _as_long_as_the_line(exercise):
        yield from _term_too_much(whole, ast.Name(name))


def _two_names_too_much(whole: ast.expr, exercise: Exercise) -> Iterator[Mistake]:
    for a, b in combinations_with_replacement(_as_long_as_the_line(exercise), 2):
        yield from _term_too_much(whole, ast.BinOp(ast.Name(a), ast.Mult(), ast.Name(b)))


def _term_too_much(whole: ast.expr, term: ast.expr) -> Iterator[Mistake]:
    for op, sign in ((ast.Add(), "+"), (ast.Sub(), "-")):
        yield Mistake(ast.BinOp(whole, op, term), f"the term `{sign} {Line('', term).right}` is too much")


def _as_long_as_the_line(exercise: Exercise) -> list[str]:
    """The names of what has the length of the line's vector, and of numbers."""
    shape = value(exercise.line.expression, exercise.known).shape
    return [name for name in exercise.names if exercise.known[name].shape in (shape, ())]


def _in_numbers(true: Tensor, answer: Tensor) -> str:
    """A number that is too much: it multiplies the whole, or is added to it."""
    times = float((true * answer).sum() / (true * true).sum())
    if close(times * true, answer):
        return REPLIES["times"].format(f"{times:.4g}")
    more = (answer - true).expand_as(true)
    if close(more, more.flatten()[0]):
        return REPLIES["too much"].format(f"{float(more.flatten()[0]):+.4g}")
    return ""


def _code(node: ast.expr) -> str:
    return f"`{Line('', node).right}`"
