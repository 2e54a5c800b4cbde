"""The reader: a function of tensors' sums, products, comparisons and functions of torch as lines, from its source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Container, Mapping, Sequence
from itertools import count
from typing import Any

import torch

from .lines import Line

_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)
_COMPARISONS = (ast.Gt, ast.GtE, ast.Lt, ast.LtE)


def fingerprint(function: Any) -> Any:
    """Plain values, others where other lines would be read: the code, and what the lines have from outside of it.

    That is numbers, and the fields of the class that makes a tape. None for what cannot be read.
    """
    try:
        outside = _outside(function)
    except (TypeError, ValueError):
        return None
    numbers = {name: repr(value) for name, value in outside.items() if isinstance(value, (int, float))}
    fields = {name: getattr(value, "_fields", None) for name, value in outside.items() if isinstance(value, type)}
    return inspect.unwrap(function).__code__, numbers, fields


def _outside(function: Any) -> dict[str, Any]:
    """What the names mean that a function uses and does not define itself."""
    found = inspect.getclosurevars(inspect.unwrap(function))
    return {**found.builtins, **found.globals, **found.nonlocals}


class Source:
    """The statements of a function: groups of simultaneous assignments, and what it returns."""

    def __init__(self, function: Callable[..., Any], what: str) -> None:
        self.what = what
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
            self.outside = _outside(function)
        except (OSError, TypeError, SyntaxError) as error:
            raise ValueError(f"{what}: its source cannot be read: {error}") from None
        if not isinstance(tree, ast.FunctionDef):
            raise ValueError(f"{what}: only a function written with def can be read, got {ast.unparse(tree)}")
        self.parameters = list(inspect.signature(function).parameters)
        body = [s for s in tree.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
        if not body or not isinstance(body[-1], ast.Return):
            raise ValueError(f"{what} should end with return, got {ast.unparse(body[-1] if body else tree)}")
        self.groups = [self._assignments(statement) for statement in body[:-1]]
        self.returned = body[-1].value

    def _assignments(self, statement: ast.stmt) -> list[tuple[str, ast.expr]]:
        """One statement's assignments: several of `f, g = a, b`; `h += x` is `h = h + x`."""
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                return [(name, value)]
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                return [(name, value)]
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                return [(name, ast.BinOp(ast.Name(name), op, value))]
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)) if len(targets) == len(
                values
            ) and all(isinstance(t, ast.Name) for t in targets):
                return [(t.id, v) for t, v in zip(targets, values, strict=True)]  # type: ignore[attr-defined]
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Name() as value) if all(
                isinstance(t, ast.Name) for t in targets
            ):
                # the fields of a tape, see `unpack`
                return [(t.id, ast.Subscript(value, ast.Constant(k))) for k, t in enumerate(targets)]  # type: ignore[attr-defined]
        raise self._unreadable(statement)

    def unpack(self, tape: str, fields: Sequence[str], names: dict[str, str]) -> None:
        """Read `tape.f`, and `f` after `i, f = tape`, as the tape's field."""
        for k, field in enumerate(fields):
            names[f"{tape}.{field}"] = names[f"{tape}[{k}]"] = field

    def pair(self) -> list[ast.expr]:
        return self.elements(self.returned, 2)

    def elements(self, node: ast.expr | None, count: int) -> list[ast.expr]:
        """The parts of a tuple that is written out in the return statement."""
        if not isinstance(node, ast.Tuple) or len(node.elts) != count:
            raise self._unreadable(node, f"a tuple of {count} in its return statement")
        return node.elts

    def fields(self) -> tuple[str, ...]:
        """Those of the class that makes the tape in the return statement: the second of the two that are returned."""
        _, tape = self.pair()
        if not isinstance(tape, ast.Call):
            return ()
        made_by = self._found(tape.func)
        if not isinstance(made_by, type):
            raise self._unreadable(tape, "a tape that its class makes in its return statement")
        return tuple(getattr(made_by, "_fields", ()))

    def _found(self, node: ast.expr) -> Any:
        """What a name, or a name with dots, stands for outside of the function; None if for nothing."""
        match node:
            case ast.Name(id=name):
                return self.outside.get(name)
            case ast.Attribute(value=of, attr=name):
                return getattr(self._found(of), name, None)
        return None

    def arguments(self, node: ast.expr, fields: Sequence[str]) -> list[ast.expr]:
        """What the tape's fields are given where it is made."""
        if not isinstance(node, ast.Call) or len(node.args) + len(node.keywords) != len(fields):
            raise self._unreadable(node, f"a tape of {', '.join(fields)} in its return statement")
        by_name = dict(zip(fields, node.args, strict=False)) | {str(k.arg): k.value for k in node.keywords}
        return [by_name.get(f, node) for f in fields]

    def lines(
        self, names: Mapping[str, str], results: Sequence[tuple[str, ast.expr]], reserved: Container[str] = ()
    ) -> list[Line]:
        """All assignments as lines. `names` are those of what is given, `results` what the returned values are called.

        An assignment whose value is returned gets the result's name, any other its own, with a number if it is taken
        or `reserved` for something that these lines do not have.
        """
        now = dict(names)  # what each of the function's names stands for: something given, or "#k", the k-th assignment
        found: list[Line] = []
        for group in self.groups:
            for target, value in [(target, self._translated(value, now)) for target, value in group]:
                now[target] = value.id if isinstance(value, ast.Name) else f"#{len(found)}"
                if not isinstance(value, ast.Name):
                    found.append(Line(target, value))
        called: dict[str, str] = {}  # "#k": the name that the k-th assignment gets
        others: list[Line] = []  # what is computed, or given a second name, where it is returned
        for name, value in [(name, self._translated(value, now)) for name, value in results]:
            same = value.id if isinstance(value, ast.Name) else None
            if same is not None and same.startswith("#") and same not in called:
                called[same] = name
            elif same is None or called.get(same, same) != name:
                others.append(Line(name, value))
        taken = {*names.values(), *(name for name, _ in results)}
        for k, (target, _) in enumerate(found):
            if f"#{k}" not in called:
                called[f"#{k}"] = _free(target, taken, reserved)
                taken.add(called[f"#{k}"])
        renamed = _Renamed(called)
        found = [Line(called[f"#{k}"], value) for k, (_, value) in enumerate(found)]
        return [Line(target, renamed.visit(value)) for target, value in found + others]

    def _translated(self, node: ast.expr, now: Mapping[str, str]) -> ast.expr:
        """The expression with the names of the lines, and torch's functions by their bare names."""

        def again(inner: ast.expr) -> ast.expr:
            return self._translated(inner, now)

        match node:
            case ast.Name() | ast.Attribute() | ast.Subscript() if (name := ast.unparse(node)) in now:
                return ast.Name(now[name])
            case ast.Name(id=name) if isinstance(value := self.outside.get(name), (int, float)):
                return _number(value)
            case ast.Constant(value=int() | float()):
                return node
            case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _OPERATORS):
                return ast.BinOp(again(left), op, again(right))
            case ast.UnaryOp(op=ast.USub() as minus, operand=operand):
                return ast.UnaryOp(minus, again(operand))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if isinstance(op, _COMPARISONS):
                return ast.Compare(again(left), [op], [again(right)])
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr=name), args=args, keywords=[]):
                return ast.Call(ast.Name(name), [again(a) for a in args], [])
            case ast.Call(func=ast.Attribute(value=of, attr=name), args=args, keywords=[]) if hasattr(torch, name):
                return ast.Call(ast.Name(name), [again(of), *(again(a) for a in args)], [])
        raise self._unreadable(node)

    def _unreadable(self, node: ast.AST | None, expected: str = "") -> ValueError:
        expected = expected or "assignments of sums, products, comparisons and torch's functions of its tensors"
        return ValueError(
            f"{self.what} should hold {expected}; cannot read: {ast.unparse(node) if node else 'nothing'}"
        )


class _Renamed(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.names.get(node.id, node.id))


def _free(name: str, taken: Container[str], reserved: Container[str]) -> str:
    numbered = (f"{name}_{k}" if k else name for k in count())
    return next(n for n in numbered if n not in taken and n not in reserved)


def _number(value: float) -> ast.expr:
    """As Python reads it, where -1.0 is the minus of 1.0: so it gets its parentheses in (-1.0) ** 2."""
    return ast.UnaryOp(ast.USub(), ast.Constant(-value)) if value < 0 else ast.Constant(value)


def is_none(node: ast.expr) -> bool:
    """Whether it is written `None`."""
    return isinstance(node, ast.Constant) and node.value is None
