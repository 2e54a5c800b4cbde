"""From a cell's lines to C: each equation one statement on vectors of units, with its text beside it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from ...equations.equations import Equations
from ...equations.lines import Line
from ...equations.operations import OPERATIONS
from ..columns import Columns

_C = {re.search(r"(\w+)\(", text)[1]: text for row in OPERATIONS.values() for text in row.c.splitlines()}  # type: ignore[index]
_SIZES = ("GATES", "SPLIT", "PRE", "STATES")
_WINDOWS = ("INPUT_GATES", "HIDDEN_GATES")
_COMPARISONS = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!="}
_WORDS = re.compile(
    "auto|break|case|char|const|continue|default|do|double|else|enum|extern|float|for|goto|if|inline|int|long|register|"
    "restrict|return|short|signed|sizeof|static|struct|switch|typedef|union|unsigned|void|volatile|while|asm|typeof|real|"
    "vec|ints|whole|loose|pre|prev|emitted|next|number|arriving|d_pre|d_prev|linux|unix"
)


def source(equations: Equations) -> str:
    """The C of a cell's scan, complete, for float and for double. The numbers of its lines each call brings.

    Raises:
        ValueError: a line holds what has no C.
    """
    once, twice = with_cell(equations)
    defined = re.findall(r"^#define (\w+)", twice, re.M)
    named = re.findall(
        r"^(?:static|INLINE|APART|void|int64_t|struct|const|typedef)\b[^;={(]*?(\w+)(?: \{|\(| __attr|\[)", twice, re.M
    )
    undefined = "".join(f"#undef {name}\n" for name in dict.fromkeys((*defined, *named, "real", "REAL_BYTES")))
    return once + "".join(
        f"#define real {real}\n#define REAL_BYTES {size}\n"
        + "".join(f"#define {name} {name}_{real}\n" for name in dict.fromkeys(named))
        + twice
        + undefined
        for real, size in (("float", 4), ("double", 8))
    )


def with_cell(equations: Equations) -> tuple[str, str]:
    """scan.c with the cell's equations in it: what is compiled once, and what is for each dtype.

    Raises:
        ValueError: as for `source`.
    """
    once, twice = _scan()
    return once, twice.replace('#include "cell"\n', cell_part(equations))


@cache
def _scan() -> tuple[str, str]:
    """scan.c: what is compiled once, and what is for each dtype."""
    text = Path(__file__).with_name("scan.c").read_text(encoding="utf-8")
    once, mark, twice = text.partition("/* ---- what follows stands twice")
    return once, mark + twice


def cell_part(equations: Equations) -> str:
    """What stands for the cell in scan.c: its sizes, the functions it uses, `update` and `adjoint`."""
    cell, numbers = equations.cell, [*equations.numbers]
    columns = Columns.of(cell)
    given = {f"pre[{place}]": name for place, name in zip(columns.places, equations.pre_activations, strict=True)}
    given |= {f"prev[{s}]": f"{state}_prev" for s, state in enumerate(cell.states)}
    arriving = {f"arriving[{s}]": name for s, name in enumerate(equations.arriving)}
    states = {f"next[{s}]": state for s, state in enumerate(cell.states)}
    gradients = {f"d_pre[{place}]": f"d{name}" for place, name in zip(columns.places, given.values(), strict=False)}
    gradients |= {f"d_prev[{s}]": equations.gradient(f"{state}_prev") for s, state in enumerate(cell.states)}
    forward, adjoint = equations.named, equations.derived
    update = _function(given, forward, states, numbers)
    back = _function(given | arriving, (*forward, *adjoint), gradients | {"*emitted": cell.states[0]}, numbers)
    used = _with_parts(re.findall(r"\w+(?=\()", update + back))
    functions = "".join(f"INLINE {text}\n" for text in used.values())
    windows = zip(_WINDOWS, (columns.filled, columns.added), strict=True)
    orders = {name: [cell.gates.index(g) for g in window] for name, window in windows}
    counted = (cell.gates, cell.split, columns.places, cell.states)
    sizes = {name: len(all_of) for name, all_of in zip(_SIZES, counted, strict=True)}
    return (
        "".join(f"#define {name} {size}\n" for name, size in sizes.items())
        + "".join(_order(name, order) for name, order in orders.items())
        + functions
        + f"\nINLINE void update(const vec *pre, const vec *prev, const double *number, "
        f"vec *next)\n{{ /* {cell.name} */\n{update}}}\n"
        "\nINLINE void adjoint(const vec *pre, const vec *prev, const double *number, "
        f"const vec *arriving,\n                    vec *d_pre, vec *d_prev, vec *emitted)\n{{\n{back}}}\n"
    )


def _order(name: str, order: list[int]) -> str:
    """The gates of a window, by their places in the weights."""
    if order == sorted(order):
        return f"#define {name} NULL\n"
    return f"static const int {name}[GATES] = {{{', '.join(map(str, order))}}};\n"


def _with_parts(names: Iterable[str]) -> dict[str, str]:
    """Those of the table among the names, each behind what it calls."""
    found: dict[str, str] = {}
    for name in names:
        if name in _C and name not in found:
            found |= _with_parts(part for part in re.findall(r"\w+(?=\()", _C[name]) if part != name)
            found[name] = _C[name]
    return found


def _function(
    given: Mapping[str, str], lines: Sequence[Line], results: Mapping[str, str], numbers: Sequence[str]
) -> str:
    """The body: what is given by its name, the lines that the results need, and the results. None is 0."""
    needed = set(results.values())
    kept: list[Line] = []
    for each in reversed(lines):
        if each.target in needed:
            kept.insert(0, each)
            needed |= set(each.names)
    statements = [f"vec {_name(name)} = {place};" for place, name in given.items() if name in needed]
    statements += [f"vec {_name(n)} = splat(number[{k}]);" for k, n in enumerate(numbers) if n in needed]
    width = max((len(f"vec {_name(e.target)} = {_vector(e.expression)};") for e in kept), default=0)
    for each in kept:
        statements.append(f"{f'vec {_name(each.target)} = {_vector(each.expression)};':<{width}}  /* {each.text} */")
    there = {*given.values(), *numbers, *(each.target for each in kept)}
    statements += [f"{place} = {_name(name) if name in there else 'splat(0)'};" for place, name in results.items()]
    return "".join(f"    {statement}\n" for statement in statements)


def _name(name: str) -> str:
    """An identifier of C: none of its words, and none of the functions'."""
    plain = "".join(c if c.isascii() else f"u{ord(c):x}_" for c in name)
    bare = plain.rstrip("_")
    return f"{plain}_" if bare in _taken() or _WORDS.fullmatch(bare) else plain


@cache
def _taken() -> frozenset[str]:
    text = "".join(_scan())
    defined = re.findall(r"#define (\w+)|^(?:INLINE|APART|static)\b[^;={(]*?(\w+)\(", text, re.M)
    return frozenset([*_C, *_SIZES, *_WINDOWS, "NULL", *(name for names in defined for name in names if name)])


def _vector(node: ast.expr) -> str:
    """The C of an expression, of the type `vec`."""
    text = ast.unparse(_in_c(node))
    return text if any(isinstance(part, (ast.Name, ast.Call)) for part in ast.walk(node)) else f"splat({text})"


def _in_c(node: ast.expr) -> ast.expr:
    """The same expression such that its Python text is C: both bind + - * / and the minus sign alike."""
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return ast.Name(_number(value))
        case ast.Name(id=name):
            return ast.Name(_name(name))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return ast.UnaryOp(ast.USub(), _in_c(operand))
        case ast.BinOp(left=base, op=ast.Pow(), right=exponent):
            return ast.Name(_power(base, exponent))
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() as op, right=right):
            return ast.BinOp(_in_c(left), op, _in_c(right))
        case ast.Compare():
            return ast.Name(f"where({_condition(node)}, splat(1), splat(0))")
        case ast.Call(func=ast.Name(id="pow"), args=[base, exponent], keywords=[]):
            return ast.Name(_power(base, exponent))
        case ast.Call(func=ast.Name(id="where"), args=[condition, a, b], keywords=[]):
            return ast.Name(f"where({_condition(condition)}, {_vector(a)}, {_vector(b)})")
        case ast.Call(func=ast.Name(id=name)) if name in OPERATIONS and (name in _C or name == "clamp"):
            return ast.Name(f"{name}({', '.join(_arguments(node))})")
    raise ValueError(f"there is no C for {ast.unparse(node)}")


def _arguments(call: ast.Call) -> Iterator[str]:
    """In the order of the parameters, with what torch takes where nothing is given."""
    row = OPERATIONS[ast.unparse(call.func)]
    try:
        given = row.arguments(call)
    except TypeError as error:
        raise ValueError(f"there is no C for {ast.unparse(call)}: {error}") from None
    return map(_vector, given.values())


def _condition(node: ast.expr) -> str:
    match node:
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
            return f"{_vector(left)} {_COMPARISONS[type(op)]} {_vector(right)}"
    return f"{_vector(node)} != 0"


def _power(base: ast.expr, exponent: ast.expr) -> str:
    match exponent:
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as n)):
            return f"(1 / {_power(base, ast.Constant(n))})"
        case ast.Constant(value=0.5):
            return f"sqrt({_vector(base)})"
        case ast.Constant(value=int() | float() as n) if n == int(n) and n <= 64:
            return f"pow_whole({_vector(base)}, {int(n)})"
        case ast.Constant(value=int() | float() as n):
            return f"pow_positive({_vector(base)}, splat({_number(n)}))"
    raise ValueError(f"there is no C for {ast.unparse(base)} ** {ast.unparse(exponent)}")


def _number(value: float) -> str:
    if value == int(value) if abs(value) < 1 << 24 else False:
        return str(int(value))
    if value != value:
        return '(real)__builtin_nan("")'
    return f"(real){'__builtin_inf()' if value == float('inf') else repr(value)}"
