"""From a cell's lines to C: each equation one statement on vectors of units, with its text beside it."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from ...equations.equations import Equations
from ...equations.lines import Line
from ..columns import Columns

DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "addcmul": {"value": "1"},
    "clamp": {"min": "-__builtin_inf()", "max": "__builtin_inf()"},
    "elu": {"alpha": "1"},
    "hardtanh": {"min_val": "-1", "max_val": "1"},
    "leaky_relu": {"negative_slope": "0.01"},
    "softplus": {"beta": "1", "threshold": "20"},
}
"""The arguments that may be left out of torch's functions."""

FUNCTIONS = """
vec where(ints yes, vec a, vec b) { return (vec)((yes & (ints)a) | (~yes & (ints)b)); }
vec clamp(vec x, vec min, vec max) { x = where((x < min) | (min != min), min, x); \
return where((x > max) | (max != max), max, x); }
vec power_of_two(ints n) { return (vec)((n + EXPONENT_BIAS) << MANTISSA_BITS); }
vec without_ln2(vec x, ints *n) { vec k = x * ONE_OVER_LN2 + ROUNDING; *n = (ints)k - (ints)splat(ROUNDING); \
k -= ROUNDING; return x - k * LN2_HIGH - k * LN2_LOW; }
vec expm1_near_0(vec r) { return r + r * r * exp_series(r); }
vec exp(vec x) { ints n; vec y = 1 + expm1_near_0(without_ln2(clamp(x, splat(EXP_LEAST), splat(EXP_MOST)), &n)); \
return y * power_of_two(n >> 1) * power_of_two(n - (n >> 1)); }
vec expm1(vec x) { ints n; vec y = expm1_near_0(without_ln2(clamp(x, splat(EXP_LEAST), splat(EXP_MOST)), &n)); \
ints half = n >> 1; vec s = power_of_two(half); \
return where(n == 0, y, (y * s + (s - power_of_two(half - n))) * power_of_two(n - half)); }
vec sigmoid(vec x) { ints n; vec y = 1 + expm1_near_0(without_ln2(clamp(-x, splat(-EXP_NORMAL), splat(EXP_NORMAL)), &n)); \
return 1 / (1 + y * power_of_two(n)); }
vec tanh(vec x) { ints n; vec y = expm1_near_0(without_ln2(2 * clamp(x, splat(-TANH_FLAT), splat(TANH_FLAT)), &n)); \
vec s = power_of_two(n); y = y * s + (s - 1); return y / (y + 2); }
vec relu(vec x) { return where(x < 0, splat(0), x); }
vec log(vec x) { ints tiny = x < SMALLEST_NORMAL; vec y = where(tiny, x * (1 / EPSILON), x); \
ints n = ((ints)y - (ints)splat(SQRT_HALF)) >> MANTISSA_BITS; \
vec f = (vec)((ints)y - (n << MANTISSA_BITS)) - 1, s = f / (f + 2); \
vec k = __builtin_convertvector(n, vec) - where(tiny, splat(MANTISSA_BITS), splat(0)); \
y = k * LN2_HIGH + (2 * s * log_series(s * s) + k * LN2_LOW); \
y = where(x < __builtin_inf(), y, x); y = where(x == 0, splat(-__builtin_inf()), y); \
return where(x < 0, splat(__builtin_nan("")), y); }
vec log1p(vec x) { vec u = 1 + x, y = log(u) * (x / (u - 1)); y = where(u == 1, x, y); \
return where(u < __builtin_inf(), y, u); }
vec sqrt(vec x) { for (int i = 0; i < V; i++) x[i] = SQRT(x[i]); return x; }
vec abs(vec x) { return (vec)((ints)x & ~(ints)splat(-0.0)); }
vec sign(vec x) { return where(x > 0, splat(1), splat(0)) - where(x < 0, splat(1), splat(0)); }
vec clamp_min(vec x, vec min) { return where((x < min) | (min != min), min, x); }
vec clamp_max(vec x, vec max) { return where((x > max) | (max != max), max, x); }
vec maximum(vec a, vec b) { return where((a > b) | (a != a), a, b); }
vec minimum(vec a, vec b) { return where((a < b) | (a != a), a, b); }
vec leaky_relu(vec x, vec negative_slope) { return where(x > 0, x, x * negative_slope); }
vec elu(vec x, vec alpha) { return where(x > 0, x, alpha * expm1(x)); }
vec silu(vec x) { return x / (1 + exp(-x)); }
vec hardtanh(vec x, vec min_val, vec max_val) { return clamp(x, min_val, max_val); }
vec hardsigmoid(vec x) { return clamp(x + 3, splat(0), splat(6)) / 6; }
vec softplus(vec x, vec beta, vec threshold) { vec y = beta * x; return where(y > threshold, x, log1p(exp(y)) / beta); }
vec logsigmoid(vec x) { return where(x > 0, splat(0), x) - log1p(exp(-abs(x))); }
vec square(vec x) { return x * x; }
vec lerp(vec a, vec b, vec weight) { return where(abs(weight) < (real)0.5, a + weight * (b - a), b - (b - a) * (1 - weight)); }
vec addcmul(vec a, vec b, vec c, vec value) { return a + value * b * c; }
vec pow_whole(vec x, int n) { vec y = splat(1); for (int i = 0; i < n; i++) y *= x; return y; }
vec pow_positive(vec x, vec n) { return exp(n * log(x)); }
"""
"""Functions of torch in C, for vectors, and the parts they share. The errors are stated, and tested, in test_emit.py."""

_C = {re.search(r"(\w+)\(", text)[1]: text for text in FUNCTIONS.replace("\\\n", "").splitlines() if text}  # type: ignore[index]
_PARTS = {"power_of_two", "without_ln2", "expm1_near_0", "pow_whole", "pow_positive"}  # no functions of torch
_COMPARISONS = {ast.Gt: ">", ast.GtE: ">=", ast.Lt: "<", ast.LtE: "<=", ast.Eq: "==", ast.NotEq: "!="}
_KEYWORDS = [
    "auto",
    "break",
    "case",
    "char",
    "const",
    "continue",
    "default",
    "do",
    "double",
    "else",
    "enum",
    "extern",
    "float",
    "for",
    "goto",
    "if",
    "inline",
    "int",
    "long",
    "register",
    "restrict",
    "return",
    "short",
    "signed",
    "sizeof",
    "static",
    "struct",
    "switch",
    "typedef",
    "union",
    "unsigned",
    "void",
    "volatile",
    "while",
    "asm",
    "typeof",
    "real",
    "vec",
    "ints",
    "whole",
    "loose",
    "pre",
    "prev",
    "emitted",
    "next",
    "number",
    "arriving",
    "d_pre",
    "d_prev",
    "linux",
    "unix",
]


def source(equations: Equations) -> str:
    """The C of a cell's scan, complete, for float and for double. The numbers of its lines each call brings.

    Raises:
        ValueError: a line holds what has no C.
    """
    once, twice = with_cell(equations)
    defined = re.findall(r"^#define (\w+)", twice, re.M)
    named = re.findall(
        r"^(?:static|INLINE|APART|void|struct|const|typedef)\b[^;={(]*?(\w+)(?: \{|\(| __attr|\[)", twice, re.M
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
    functions = "".join(f"INLINE {_C[name]}\n" for name in _C if name in used)
    sizes = {"GATES": len(cell.gates), "SPLIT": len(cell.split), "PRE": len(columns.places), "STATES": len(cell.states)}
    return (
        "".join(f"#define {name} {size}\n" for name, size in sizes.items())
        + functions
        + f"\nINLINE void update(const vec *pre, const vec *prev, const double *number, "
        f"vec *next)\n{{ /* {cell.name} */\n{update}}}\n"
        "\nINLINE void adjoint(const vec *pre, const vec *prev, const double *number, "
        f"const vec *arriving,\n                    vec *d_pre, vec *d_prev, vec *emitted)\n{{\n{back}}}\n"
    )


def _with_parts(names: Collection[str]) -> set[str]:
    """Those of the table among the names, and what they call."""
    found = {name for name in names if name in _C}
    below = {part for name in found for part in re.findall(r"\w+(?=\()", _C[name]) if part in _C} - found
    return found | _with_parts(found | below) if below else found


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
    return f"{plain}_" if plain.rstrip("_") in _taken() else plain


@cache
def _taken() -> frozenset[str]:
    return frozenset([*_KEYWORDS, *_C, *re.findall(r"#define (\w+)", "".join(_scan()))])


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
        case ast.Call(func=ast.Name(id=name)) if name in _C and name not in _PARTS:
            return ast.Name(f"{name}({', '.join(_arguments(name, node))})")
    raise ValueError(f"there is no C for {ast.unparse(node)}")


def _arguments(name: str, call: ast.Call) -> Iterator[str]:
    """In the order of the parameters, with what torch takes where nothing is given."""
    parameters = re.findall(r"vec (\w+)[,)]", _C[name])
    given = dict(zip(parameters, call.args, strict=False)) | {str(k.arg): k.value for k in call.keywords}
    given = {p: value for p, value in given.items() if not (isinstance(value, ast.Constant) and value.value is None)}
    defaults = DEFAULTS.get(name, {})
    if len(call.args) > len(parameters) or not set(given) <= set(parameters) <= set(given) | set(defaults):
        raise ValueError(f"there is no C for {ast.unparse(call)}")
    for parameter in parameters:
        yield _vector(given[parameter]) if parameter in given else f"splat({defaults[parameter]})"


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
