"""One equation as data: what it is called, and the expression."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from .latex import latex, latex_name
from .operations import OPERATIONS


class Line(NamedTuple):
    """One equation, `target = expression`.

    Every name in it is that of a tensor or of a number: functions are called as the rows of `operations` are, those
    that have none there as torch calls them. In a line of linear algebra `@` is the matrix product, `.T` the transpose.
    """

    target: str
    expression: ast.expr

    @property
    def code(self) -> str:
        """The expression as Python: what `evaluate` evaluates."""
        return ast.unparse(self.expression)

    @property
    def text(self) -> str:
        """`c = f * c_prev + i * g`; a matrix product reads `W_ii x`, a transpose `W_hi^T`."""
        return f"{self.target} = {self.right}"

    @property
    def right(self) -> str:
        """The right side of `text`."""
        return self.code.replace(".T", "^T").replace(" @ ", " ")

    @property
    def names(self) -> tuple[str, ...]:
        """The names on the right, in the order in which they occur first."""
        return tuple(dict.fromkeys(_names(self.expression)))

    def renamed(self, names: Mapping[str, str]) -> Line:
        """The same line under other names, those of `names`; the functions keep theirs."""
        return Line(names.get(self.target, self.target), _Renamed(names).visit(copy.deepcopy(self.expression)))

    def latex(self) -> str:
        r"""`c = f \odot c_{\mathrm{prev}} + i \odot g`, without dollar signs; `x > 0` is 1 where it is true."""
        return f"{latex_name(self.target)} = {latex(self.expression)}"

    def evaluate(self, values: Mapping[str, Tensor | float]) -> Tensor:
        """What the right side gives where each name stands for the tensor or number in `values`.

        Raises:
            KeyError: `values` lacks a name.
        """
        functions = {f: _function(f) for f in _functions(self.expression)}
        value: Tensor = eval(self.code, {"__builtins__": {}} | functions, {name: values[name] for name in self.names})
        return value


def line(text: str) -> Line:
    """The line that is written so, in Python: `line("c = f * c_prev + i * g")`.

    Raises:
        ValueError: the text is no assignment to a name.
    """
    match ast.parse(text).body:
        case [ast.Assign(targets=[ast.Name(id=target)], value=expression)]:
            return Line(target, expression)
    raise ValueError(f"text should be an assignment to one name, got {text!r}")


class _Renamed(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.names.get(node.id, node.id))

    def visit_Call(self, node: ast.Call) -> ast.Call:
        keywords = [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords]
        return ast.Call(node.func, [self.visit(a) for a in node.args], keywords)


def _names(node: ast.AST) -> list[str]:
    match node:
        case ast.Name(id=name):
            return [name]
        case ast.Call(args=args, keywords=keywords):
            return [name for argument in (*args, *(k.value for k in keywords)) for name in _names(argument)]
    return [name for child in ast.iter_child_nodes(node) for name in _names(child)]


def _function(name: str) -> Callable[..., Tensor]:
    return OPERATIONS[name].function if name in OPERATIONS else getattr(torch, name)


def _functions(node: ast.AST) -> list[str]:
    return [call.func.id for call in ast.walk(node) if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)]
