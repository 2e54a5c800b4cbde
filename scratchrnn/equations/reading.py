"""The reader: the statements of a function as lines, in which every name is assigned once."""

from __future__ import annotations

import ast
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from itertools import count
from types import FunctionType
from typing import Any

from torch import Tensor

from .lines import Line
from .operations import clamped, meant, operation, written
from .source import UNKNOWN, Path, Source, Unreadable, identity, is_number, source_of, torch_function

_DEPTH = 8
"""So many functions within each other are read through."""


class Reading:
    """One function, read statement by statement.

    While it is read a value is called `#k`, the k-th assignment, as one name may be assigned several times, and what
    it is called in the lines is known when the whole function is; a number from outside `%path`.
    """

    def __init__(self, function: Any, what: str) -> None:
        self.source = source_of(function, what)
        self.outside: dict[Path, Any] = {}
        """What was found outside of the function: see `source.identity`."""
        self.returned: ast.expr | None = None
        """What the return statement has; of a pair of states and tape the states."""
        self.last: ast.expr | None = None
        """The same as it is written."""
        self.tape: dict[str, ast.expr] = {}
        """The fields of the tape, if a NamedTuple is made there, and their values."""
        self._assigned: list[tuple[str, ast.expr]] = []
        self._numbers: dict[str, Path] = {}

    def read(self, given: Mapping[str, ast.expr], tape: bool = False) -> Unreadable | None:
        """Read as far as it goes: the error says where that ended.

        `given` is what the parameters are in the lines; `tape`: beside the state a tape may be returned.
        """
        try:
            self.returned = _Body(self, self.source, (), given).run(tape)
        except Unreadable as error:
            return error
        return None

    def assigned(self) -> list[str]:
        """The names that are assigned, one for each assignment."""
        return [target for target, _ in self._assigned]

    def numbers(self, taken: Container[str]) -> dict[str, Path]:
        """The numbers from outside, under names that are not taken."""
        found: dict[str, Path] = {}
        for path in self._numbers.values():
            found[_free(path[-1].rpartition(".")[2], {*found}, taken)] = path
        return found

    def lines(
        self,
        results: Sequence[tuple[str, ast.expr]],
        numbers: Mapping[str, Path],
        given: Container[str],
        reserved: Container[str] = (),
    ) -> list[Line]:
        """All assignments as lines, `results` are what the returned values are called.

        An assignment whose value is returned gets the result's name, any other its own, with a number if it is taken
        or `reserved` for something that these lines do not have.
        """
        called = {key: name for name, path in numbers.items() for key, of in self._numbers.items() if of == path}
        others: list[Line] = []  # what is computed, or given a second name, where it is returned
        for name, value in results:
            same = value.id if isinstance(value, ast.Name) else None
            if same is not None and same.startswith("#") and same not in called:
                called[same] = name
            elif same is None or called.get(same, same) != name:
                others.append(Line(name, value))
        taken = {*numbers, *(name for name, _ in results)}
        for k, (target, _) in enumerate(self._assigned):
            if f"#{k}" not in called:
                called[f"#{k}"] = _free(target, taken, given, reserved)
                taken.add(called[f"#{k}"])
        renamed = _Renamed(called)
        found = [Line(called[f"#{k}"], value) for k, (_, value) in enumerate(self._assigned)]
        return [Line(target, renamed.visit(value)) for target, value in found + others]

    def assign(self, target: str, value: ast.expr) -> ast.expr:
        """What stands for the value from now on: a name, or of a tuple those of its parts."""
        if isinstance(value, ast.Tuple):
            return ast.Tuple([self.assign(f"{target}_{k}", part) for k, part in enumerate(value.elts)])
        if isinstance(value, ast.Name):
            return value
        self._assigned.append((target, value))
        return ast.Name(f"#{len(self._assigned) - 1}")

    def number(self, path: Path) -> ast.expr:
        """The name of a number that stands outside of the function."""
        key = f"%{'/'.join(path)}"
        self._numbers[key] = path
        return ast.Name(key)


class _Body:
    """The statements of one function: of the cell's, or of one that it calls."""

    def __init__(self, reading: Reading, source: Source, path: Path, names: Mapping[str, ast.expr]) -> None:
        self.reading, self.source, self.path = reading, source, path
        self.now: dict[str, Any] = dict(names)  # a name's expression, or a function that it is another name of

    def run(self, tape: bool = False) -> ast.expr:
        """What it returns; `tape`: of a pair the state, whose tape is noted."""
        for statement in self.source.body:
            match statement:
                case ast.Expr(value=ast.Constant()):
                    continue
                case ast.Return(value=ast.Tuple(elts=[state, made])) if tape and self._is_tuple(state):
                    found = self._translated(state)
                    self.reading.tape, self.reading.last = self._tape(made), state
                    return found
                case ast.Return(value=ast.expr() as value):
                    self.reading.last = value
                    return self._translated(value)
                case _:
                    self._assign(statement)
        raise self.source.unreadable(None, "it returns nothing")

    def _is_tuple(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Tuple) or (
            isinstance(node, ast.Name) and isinstance(self.now.get(node.id), ast.Tuple)
        )

    def _tape(self, node: ast.expr) -> dict[str, ast.expr]:
        """The fields of the NamedTuple that is made there, and their values; what else a tape may be has none."""
        if isinstance(node, ast.Name) and isinstance(self.now.get(node.id), dict):
            return self.now[node.id]  # type: ignore[no-any-return]
        fields = tuple(getattr(self._found(node.func), "_fields", ())) if isinstance(node, ast.Call) else ()
        if not isinstance(node, ast.Call) or not fields:
            return {}
        given = dict(zip(fields, node.args, strict=False)) | {str(k.arg): k.value for k in node.keywords}
        if len(node.args) + len(node.keywords) != len(fields) or set(given) != set(fields):
            raise self.source.unreadable(node, f"it should give each of ({', '.join(fields)}) once")
        return {f: self._one(given[f]) for f in fields}

    # ------------------------------------------------------------------------------------------- statements

    def _assign(self, statement: ast.stmt) -> None:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                self._name(name, self._value(value))
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                self._name(name, self._translated(ast.copy_location(ast.BinOp(ast.Name(name), op, value), statement)))
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=value) if all(
                isinstance(t, ast.Name) for t in targets
            ):
                values = self._translated(value)
                parts = values.elts if isinstance(values, ast.Tuple) else []
                if len(parts) != len(targets):
                    raise self.source.unreadable(statement, f"no tuple of {len(targets)} is written out there")
                for target, part in zip(targets, parts, strict=True):
                    self._name(target.id, part)  # type: ignore[attr-defined]
            case ast.If() | ast.For() | ast.While() | ast.With() | ast.Try() | ast.Match() | ast.Assert() | ast.Raise():
                raise self.source.unreadable(statement, "only assignments and a return can, no control flow")
            case _:
                raise self.source.unreadable(statement, "only assignments to names and a return can")

    def _value(self, node: ast.expr) -> Any:
        """The expression; or a function, as of `S = torch.sigmoid`; or the fields of a tape."""
        if isinstance(node, ast.Call) and (tape := self._tape(node)):
            return tape
        if isinstance(node, (ast.Name, ast.Attribute)) and _dotted(node).partition(".")[0] not in self.now:
            found = self._found(node)
            if meant(found) is not None or torch_function(found) or isinstance(found, FunctionType):
                return _Function(found, (*self.path, _dotted(node)))
        return self._translated(node)

    def _name(self, name: str, value: Any) -> None:
        kept = isinstance(value, (_Function, dict)) or _is_none(value)
        self.now[name] = value if kept else self.reading.assign(name, value)

    # ------------------------------------------------------------------------------------------ expressions

    def _translated(self, node: ast.expr) -> ast.expr:
        """The expression in the names and operations of the lines."""
        match node:
            case ast.Name(id=name) if isinstance(self.now.get(name), ast.expr):
                return self.now[name]  # type: ignore[no-any-return]
            case ast.Attribute() | ast.Subscript() if (text := ast.unparse(node)) in self.now:
                return self.now[text]  # type: ignore[no-any-return]
            case ast.Name() | ast.Attribute():
                return self._outside(node)
            case ast.Constant(value=value) if is_number(value) or value is None:
                return ast.Constant(value)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                return ast.Tuple([self._translated(part) for part in parts])
            case ast.BinOp(left=left, op=op, right=right) if operation(node):
                return ast.BinOp(self._one(left), op, self._one(right))
            case ast.UnaryOp(op=ast.USub() as op, operand=operand):
                return ast.UnaryOp(op, self._one(operand))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if operation(node):
                return ast.Compare(self._one(left), [op], [self._one(right)])
            case (
                ast.GeneratorExp(generators=[ast.comprehension() as over])
                | ast.ListComp(generators=[ast.comprehension() as over])
            ) if not over.ifs:
                return ast.Tuple([*self._each(node.elt, over)])
            case ast.Call():
                return self._call(node)
            case ast.IfExp() | ast.BoolOp() | ast.Lambda() | ast.Await() | ast.NamedExpr():
                raise self.source.unreadable(node, "an expression of operations can, no control flow")
            case ast.Subscript():
                raise self.source.unreadable(node, "a cell works unit by unit, and no part of a tensor can")
        raise self.source.unreadable(node, "it is none of the operations of tensors that can")

    def _one(self, node: ast.expr) -> ast.expr:
        value = self._translated(node)
        if isinstance(value, ast.Tuple) or _is_none(value):
            raise self.source.unreadable(node, "one tensor or number should stand there")
        return value

    def _each(self, element: ast.expr, over: ast.comprehension) -> Iterator[ast.expr]:
        """The element of a comprehension for each of a tuple that is written out."""
        parts = self._translated(over.iter)
        if not isinstance(parts, ast.Tuple) or not isinstance(over.target, ast.Name):
            raise self.source.unreadable(over.iter, "only a comprehension over tensors that are written out can")
        before = self.now
        for part in parts.elts:
            self.now = before | {over.target.id: self.reading.assign(over.target.id, part)}
            yield self._one(element)
        self.now = before

    def _outside(self, node: ast.expr) -> ast.expr:
        found, name = self._found(node), ast.unparse(node)
        if name.partition(".")[0] in self.now:
            raise self.source.unreadable(node, "no attribute of a tensor can")
        if is_number(found):
            return self.reading.number((*self.path, name))
        if isinstance(found, Tensor):
            why = "it is a tensor that the function holds; only numbers can"
        elif found is UNKNOWN:
            why = "it is neither assigned before nor defined outside"
        else:
            why = f"it is a {type(found).__name__}; of what a function holds only numbers and functions can"
        raise self.source.unreadable(node, why)

    def _found(self, node: ast.expr) -> Any:
        """What a name, or a name with dots, stands for outside of the function; what lines depend on is noted."""
        try:
            name = _dotted(node)
        except TypeError:
            return UNKNOWN
        head = name.partition(".")[0]
        if head in self.now or head in self.source.function.__code__.co_varnames:
            return UNKNOWN
        found = self.source.look_up(name)
        path = (*self.path, name)
        self.reading.outside[path] = identity(found)
        return found

    # ------------------------------------------------------------------------------------------------ calls

    def _call(self, node: ast.Call) -> ast.expr:
        called, arguments = node.func, node.args
        match called:
            case ast.Name(id=name) if isinstance(self.now.get(name), _Function):
                function = self.now[name]
            case ast.Attribute(value=of, attr=name) if self._is_tensor(of):
                function, arguments = self._method(node, name), [of, *arguments]
            case _:
                function = _Function(self._found(called), (*self.path, _try_dotted(called)))
        if any(isinstance(a, ast.Starred) for a in arguments) or any(k.arg is None for k in node.keywords):
            raise self.source.unreadable(node, "arguments should be written out")
        row, opaque = meant(function.function), torch_function(function.function)
        of_lines = isinstance(function.function, FunctionType) and row is None
        if row is None and opaque is None and not of_lines:
            raise self.source.unreadable(node, f"{ast.unparse(called)} is no operation of tensors that can")
        translated = self._translated if of_lines else self._argument
        given = [translated(a) for a in arguments]
        keywords = [ast.keyword(k.arg, translated(k.value)) for k in node.keywords]
        if of_lines:
            return self._through(function, given, keywords, node)
        if row is not None:
            try:
                if row.name == "clamp":
                    row, given = clamped(given, keywords)
                    keywords = []
                return written(row, given, keywords)
            except TypeError as error:
                raise self.source.unreadable(node, f"{row.name} takes ({row.parameters}): {error}") from None
        return ast.Call(ast.Name(str(opaque)), given, keywords)

    def _argument(self, node: ast.expr) -> ast.expr:
        return ast.Constant(None) if _is_none(node) else self._one(node)

    def _is_tensor(self, node: ast.expr) -> bool:
        """Whether it is an expression of what the lines have, so that a method of it is a tensor's."""
        if isinstance(node, (ast.Name, ast.Attribute)):
            return _try_dotted(node).partition(".")[0] in self.now
        return not isinstance(node, ast.Constant)

    def _method(self, node: ast.expr, name: str) -> _Function:
        if name.endswith("_") and not name.endswith("__"):
            raise self.source.unreadable(node, f"{name} writes into its tensor")
        return _Function(getattr(Tensor, name, UNKNOWN), ())

    def _through(
        self, function: _Function, given: list[ast.expr], keywords: list[ast.keyword], node: ast.Call
    ) -> ast.expr:
        """The call of a function that is itself such lines: they stand before the line that calls it."""
        if len(function.path) > _DEPTH:
            raise self.source.unreadable(node, f"it is {_DEPTH} functions deep")
        source = source_of(function.function, f"{self.source.what}, in {_try_dotted(node.func)}")
        names = dict(zip(source.parameters, given, strict=False)) | {str(k.arg): k.value for k in keywords}
        if len(given) + len(keywords) != len(source.parameters) or set(names) != set(source.parameters):
            raise self.source.unreadable(node, f"it should give each of ({', '.join(source.parameters)}) once")
        by_name = {name: self.reading.assign(name, value) for name, value in names.items()}
        return _Body(self.reading, source, function.path, by_name).run()


class _Function:
    """A function, and the way to it from the one that is read."""

    def __init__(self, function: Any, path: Path) -> None:
        self.function, self.path = function, path


def _dotted(node: ast.expr) -> str:
    """`torch.nn.functional.silu`.

    Raises:
        TypeError: it is something else than names with dots between them.
    """
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=of, attr=name):
            return f"{_dotted(of)}.{name}"
    raise TypeError


def _try_dotted(node: ast.expr) -> str:
    try:
        return _dotted(node)
    except TypeError:
        return ""


def _is_none(value: Any) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


class _Renamed(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.names.get(node.id, node.id))


def _free(name: str, *taken: Container[str]) -> str:
    numbered: Callable[[int], str] = lambda k: f"{name}_{k}" if k else name  # noqa: E731
    return next(n for n in map(numbered, count()) if not any(n in names for names in taken))
