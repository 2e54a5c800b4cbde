"""An expression taken apart, and put together again: the terms of a sum, the factors of a product."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence


def terms(node: ast.expr, negative: bool = False) -> Iterator[tuple[ast.expr, bool]]:
    """The terms of a sum, and whether each is subtracted."""
    match node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            yield from terms(left, negative)
            yield from terms(right, negative != isinstance(op, ast.Sub))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield operand, not negative
        case _:
            yield node, negative


def summed(parts: Sequence[tuple[ast.expr, bool]]) -> ast.expr:
    """The sum of which these are the terms; of none it is 0."""
    if not parts:
        return ast.Constant(0)
    (total, negative), *others = parts
    total = ast.UnaryOp(ast.USub(), total) if negative else total
    for term, negative in others:
        total = ast.BinOp(total, ast.Sub() if negative else ast.Add(), term)
    return total


def factors(node: ast.expr) -> Iterator[tuple[ast.expr, bool]]:
    """The factors of a product, and whether each divides."""
    match node:
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            yield from factors(left)
            yield from factors(right)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            yield from factors(left)
            yield right, True
        case _:
            yield node, False


def multiplied(parts: Sequence[tuple[ast.expr, bool]]) -> ast.expr:
    """The product of which these are the factors; of none it is 1."""
    if not parts or parts[0][1]:
        parts = [(ast.Constant(1), False), *parts]
    (total, _), *others = parts
    for factor, divides in others:
        total = ast.BinOp(total, ast.Div() if divides else ast.Mult(), factor)
    return total
