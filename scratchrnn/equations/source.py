"""A function's source, once it is sure to be the function's, and what its names stand for outside of it."""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import torch

from .operations import meant


class Unreadable(ValueError):  # noqa: N818 - it is no mistake of the caller
    """What of a function cannot be read, and why: its text says both, with the line of the file."""


class Source(NamedTuple):
    """A function as it is written."""

    function: FunctionType
    what: str
    """What it is, for messages."""
    parameters: tuple[str, ...]
    body: list[ast.stmt]

    def unreadable(self, node: ast.AST | None, why: str) -> Unreadable:
        """The error for a place in it."""
        text = "" if node is None else f" `{ast.unparse(node).partition(chr(10))[0]}`"
        number = getattr(node, "lineno", self.function.__code__.co_firstlineno)
        return Unreadable(f"{self.what}, line {number}: cannot read{text}: {why}")

    def look_up(self, name: str) -> Any:
        """What a name, also one with dots, stands for outside of the function, now; `UNKNOWN` if for nothing."""
        return _looked_up(self.function, name)


UNKNOWN = object()


def source_of(function: Any, what: str) -> Source:
    """The source of a function written with `def`.

    Its file is compiled, and the source taken only if that gives the function's own code: a decorator that put another
    function in its place, or a file that was edited since, would have other lines than those that run.

    Raises:
        Unreadable: it has no source, is no function written with `def`, or the source is another function's.
    """
    if not isinstance(function, FunctionType):
        raise Unreadable(f"{what} cannot be read: only a function written with def can, got {type(function).__name__}")
    code = function.__code__
    text = "".join(_lines(function))
    place = f"{code.co_filename}, line {code.co_firstlineno}"
    try:
        tree, compiled = _compiled(text, code.co_filename)
    except (SyntaxError, ValueError) as error:
        raise Unreadable(f"{what} cannot be read: {place}: {error}") from None
    if not any(_content(found) == _content(code) for found in _functions(compiled)):
        came = "is not what the function runs" if text else "is not to be had"
        raise Unreadable(f"{what} cannot be read: its source, {place}, {came}")
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and _first_line(node) == code.co_firstlineno and node.name == code.co_name:
            return Source(function, what, code.co_varnames[: code.co_argcount], node.body)
    raise Unreadable(f"{what} cannot be read: only a function written with def can, and {place}, is none")


def _lines(function: FunctionType) -> list[str]:
    """Of its file or, from Python 3.13 on, as they were typed at the prompt; none if there are none."""
    name = function.__code__.co_filename
    linecache.checkcache(name)
    lines = linecache.getlines(name, function.__globals__)
    if not lines:
        with suppress(OSError):  # those of the prompt are kept apart
            lines, _ = inspect.findsource(function)
    return lines


def _first_line(node: ast.FunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


@lru_cache(maxsize=4)
def _compiled(text: str, filename: str) -> tuple[ast.Module, CodeType]:
    tree = ast.parse(text)
    return tree, compile(tree, filename, "exec", dont_inherit=True)


def _functions(code: CodeType) -> Iterator[CodeType]:
    """All functions that are defined in it, also within each other."""
    for found in code.co_consts:
        if isinstance(found, CodeType):
            yield found
            yield from _functions(found)


def _content(value: Any) -> Any:
    """What a function computes by."""
    if isinstance(value, CodeType):
        names = value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars
        return value.co_name, value.co_firstlineno, value.co_code, names, [_content(c) for c in value.co_consts]
    return type(value), repr(value)


# -------------------------------------------------------------------------- what is outside, and whether it changed


def _looked_up(function: Any, name: str) -> Any:
    head, *attributes = name.split(".")
    found: Any = UNKNOWN
    code = getattr(function, "__code__", None)
    if code is not None and head in code.co_freevars:
        try:
            found = function.__closure__[code.co_freevars.index(head)].cell_contents
        except ValueError:  # not assigned yet
            return UNKNOWN
    elif code is not None:
        found = function.__globals__.get(head, getattr(builtins, head, UNKNOWN))
    for attribute in attributes:
        found = getattr(found, attribute, UNKNOWN)
    return found


Path = tuple[str, ...]
"""A name in `update` or `adjoint`, and of a function that it stands for, and is read through, a name in that."""


def at(function: Any, path: Path) -> Any:
    """What stands at the end of a path, now."""
    for name in path:
        function = _looked_up(function, name)
    return function


def identity(value: Any) -> Any:
    """What lines that were read depend on: equal for two values by which the same lines are read.

    It holds nothing that could hold a cell, or the cell would not be freed.
    """
    if is_number(value):
        return "number"
    if isinstance(value, FunctionType) and meant(value) is None:
        return value.__code__
    if isinstance(value, type):
        return value.__name__, getattr(value, "_fields", None)
    if (row := meant(value)) is not None:
        return row.name
    return type(value).__name__, getattr(value, "__name__", None)


def is_number(value: Any) -> bool:
    """Whether it is a number that lines may have: no bool, which is none to a reader."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def unchanged(function: Any, read: Mapping[Path, Any]) -> bool:
    """Whether everything that was found outside of a function is what it was, but for the values of numbers."""
    return all(identity(at(function, path)) == found for path, found in read.items())


def torch_function(value: Any) -> str | None:
    """The name of a function of torch that has no row, if it is one: `erf` of `torch.erf`."""
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) and getattr(torch, name, None) is value and not name.endswith("_") else None
