"""The operations that lines are made of, a row for each: what of torch it is, its derivative, its sign, its cost.

A new operation is a new row. Each row is held to torch itself by the tests, value and gradient, at ties, thresholds
and edges, and for nan and the infinities.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

CHEAP = 1
"""What an operation costs that is rather done again than kept."""


@dataclass(frozen=True)
class Operation:
    """What a call means: `leaky_relu(input, negative_slope=0.01)`, or an operator's sign.

    The gradient of an argument is written in the arguments' names, `y`, the value, and `dy`, the gradient of the loss
    by it: a product that begins with `dy`, or a `where` that selects, since 0 times what is not finite would not be 0.
    """

    name: str
    parameters: str
    """The arguments as torch calls them, with torch's defaults."""
    functions: tuple[str, ...]
    """What it is called in torch; by the first it is evaluated and written out."""
    gradients: Mapping[str, str] = field(default_factory=dict)
    """By each argument. "" where it is 0 everywhere; an argument that is missing has to be a number."""
    cost: int = CHEAP
    """In additions, about."""
    latex: str = ""
    """The function's sign, or with `{}` for its argument the whole."""
    sign: type[ast.AST] | None = None
    """How Python writes it, where that is no call."""
    expansion: str = ""
    """The same by other operations, of which the chain rule then knows."""
    c: str = ""
    """The function of that name in C, of vectors `vec` of some `real` each; scan.c has what it is made of."""

    @cached_property
    def signature(self) -> inspect.Signature:
        return inspect.signature(eval(f"lambda {self.parameters}: None"))

    @property
    def function(self) -> Callable[..., Any]:
        """torch's own."""
        found: Callable[..., Any] = _of_torch(self.functions[0])
        return found

    def arguments(self, node: ast.expr) -> dict[str, ast.expr]:
        """What each argument is at a place where this operation stands; of a default its value.

        Raises:
            TypeError: it takes no such arguments.
        """
        given: list[ast.expr] = []
        keywords: dict[str, ast.expr] = {}
        match node:
            case ast.BinOp(left=left, right=right) | ast.Compare(left=left, comparators=[right]):
                given = [left, right]
            case ast.UnaryOp(operand=operand):
                given = [operand]
            case ast.Call(args=given):
                keywords = {str(k.arg): k.value for k in node.keywords}
        bound = self.signature.bind(*given, **keywords)
        bound.apply_defaults()
        return {n: v if isinstance(v, ast.expr) else ast.Constant(v) for n, v in bound.arguments.items()}


def _of_torch(name: str) -> Any:
    found: Any = torch
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    return found


def _row(
    name: str, parameters: str, also: str = "", *, torch_name: str = "", method: bool = True, **fields: Any
) -> Operation:
    """`also` are further names in torch, of functions that take the same arguments."""
    names = [torch_name or f"torch.{name}", *also.split()]
    names += [f"torch.Tensor.{name}"] if method and hasattr(torch.Tensor, name) else []
    return Operation(name, parameters, tuple(names), **fields)


def _between(low: str, high: str, otherwise: str = "0") -> str:
    """dy where both hold."""
    return f"where({low}, where({high}, dy, {otherwise}), {otherwise})"


_F = "torch.nn.functional"

_ROWS = (
    # ------------------------------------------------------------------------------------------------ arithmetic
    _row(
        "add",
        "input, other",
        gradients={"input": "dy", "other": "dy"},
        sign=ast.Add,
    ),
    _row(
        "sub",
        "input, other",
        "torch.subtract torch.Tensor.subtract",
        gradients={"input": "dy", "other": "-dy"},
        sign=ast.Sub,
    ),
    _row(
        "mul",
        "input, other",
        "torch.multiply torch.Tensor.multiply",
        gradients={"input": "dy * other", "other": "dy * input"},
        sign=ast.Mult,
    ),
    _row(
        "div",
        "input, other",
        "torch.divide torch.true_divide torch.Tensor.divide",
        gradients={"input": "dy / other", "other": "-dy * y / other"},
        cost=4,
        sign=ast.Div,
    ),
    _row("neg", "input", "torch.negative torch.Tensor.negative", gradients={"input": "-dy"}, sign=ast.USub),
    _row(
        "pow",
        "input, exponent",
        gradients={"input": "dy * (exponent * input ** (exponent - 1))"},
        cost=20,
        sign=ast.Pow,
        c=(
            "vec pow_whole(vec x, int n) { vec y = splat(1); for (int i = 0; i < n; i++) y *= x; "
            "return y; }\n"
            "vec pow_positive(vec x, vec n) { return exp(n * log(x)); }"
        ),
    ),
    _row(
        "square",
        "input",
        gradients={"input": "dy * (2 * input)"},
        c="vec square(vec x) { return x * x; }",
    ),
    _row("addcmul", "input, tensor1, tensor2, *, value=1", expansion="input + value * tensor1 * tensor2"),
    _row(
        "lerp",
        "input, end, weight",
        gradients={"input": "dy * (1 - weight)", "end": "dy * weight", "weight": "dy * (end - input)"},
        cost=3,
        c=(
            "vec lerp(vec a, vec b, vec weight) { vec d = b - a; "
            "return where(abs(weight) < (real)0.5, a + weight * d, b - d * (1 - weight)); }"
        ),
    ),
    # ----------------------------------------------------------------------------------------------- comparisons
    *(
        _row(name, "input, other", f"torch.{long}", gradients={"input": "", "other": ""}, sign=sign)
        for name, long, sign in (
            ("gt", "greater", ast.Gt),
            ("ge", "greater_equal", ast.GtE),
            ("lt", "less", ast.Lt),
            ("le", "less_equal", ast.LtE),
            ("eq", "eq", ast.Eq),
            ("ne", "not_equal", ast.NotEq),
        )
    ),
    _row(
        "where",
        "condition, input, other",
        method=False,  # a tensor's own takes them in another order
        gradients={"condition": "", "input": "where(condition, dy, 0)", "other": "where(condition, 0, dy)"},
    ),
    _row(
        "maximum",
        "input, other",
        gradients={
            "input": "where(input == other, dy / 2, where(input < other, 0, dy))",
            "other": "where(input == other, dy / 2, where(other < input, 0, dy))",
        },
        latex=r"\max",
        c="vec maximum(vec a, vec b) { return where((a > b) | (a != a), a, b); }",
    ),
    _row(
        "minimum",
        "input, other",
        gradients={
            "input": "where(input == other, dy / 2, where(input > other, 0, dy))",
            "other": "where(input == other, dy / 2, where(other > input, 0, dy))",
        },
        latex=r"\min",
        c="vec minimum(vec a, vec b) { return where((a < b) | (a != a), a, b); }",
    ),
    _row(
        "clamp_min",
        "input, min",
        gradients={"input": "where(input >= min, dy, 0)"},
        c="vec clamp_min(vec x, vec min) { return where((x < min) | (min != min), min, x); }",
    ),
    _row(
        "clamp_max",
        "input, max",
        gradients={"input": "where(input <= max, dy, 0)"},
        c="vec clamp_max(vec x, vec max) { return where((x > max) | (max != max), max, x); }",
    ),
    _row("clamp", "input, min, max", "torch.clip", gradients={"input": _between("input >= min", "input <= max")}),
    _row(
        "abs",
        "input",
        "torch.absolute",
        gradients={"input": "dy * sign(input)"},
        latex="|{}|",
        c="vec abs(vec x) { return (vec)((ints)x & ~(ints)splat(-0.0)); }",
    ),
    _row(
        "sign",
        "input",
        gradients={"input": ""},
        c=("vec sign(vec x) { return where(x > 0, splat(1), splat(0)) - where(x < 0, splat(1), splat(0)); }"),
    ),
    # --------------------------------------------------------------------------------- exponentials and logarithms
    _row(
        "exp",
        "input",
        gradients={"input": "dy * y"},
        cost=10,
        latex=r"\exp",
        c=(
            "vec exp(vec x) { ints n; "
            "vec y = 1 + expm1_near_0(without_ln2(within(x, EXP_LEAST, EXP_MOST), &n)); "
            "return y * power_of_two(n >> 1) * power_of_two(n - (n >> 1)); }"
        ),
    ),
    _row(
        "expm1",
        "input",
        "torch.special.expm1",
        gradients={"input": "dy * (y + 1)"},
        cost=15,
        c=(
            "vec expm1(vec x) { ints n; "
            "vec y = expm1_near_0(without_ln2(within(x, EXP_LEAST, EXP_MOST), &n)); "
            "ints half = n >> 1; vec s = power_of_two(half); "
            "return where(n == 0, y, (y * s + (s - power_of_two(half - n))) * power_of_two(n - half)); "
            "}"
        ),
    ),
    _row(
        "log",
        "input",
        gradients={"input": "dy / input"},
        cost=15,
        latex=r"\log",
        c=(
            "vec log(vec x) { ints tiny = x < SMALLEST_NORMAL; "
            "vec y = where(tiny, x * (1 / EPSILON), x); "
            "ints n = ((ints)y - (ints)splat(SQRT_HALF)) >> MANTISSA_BITS; "
            "vec f = (vec)((ints)y - (n << MANTISSA_BITS)) - 1, s = f / (f + 2); "
            "vec k = __builtin_convertvector(n, vec) - where(tiny, splat(MANTISSA_BITS), splat(0)); "
            "y = k * LN2_HIGH + (2 * s * log_series(s * s) + k * LN2_LOW); "
            "y = where(x < (real)__builtin_inf(), y, x); y = where(x == 0, splat(-__builtin_inf()), y); "
            'return where(x < 0, splat(__builtin_nan("")), y); }'
        ),
    ),
    _row(
        "log1p",
        "input",
        "torch.special.log1p",
        gradients={"input": "dy / (1 + input)"},
        cost=20,
        c=(
            "vec log1p(vec x) { vec u = 1 + x, y = log(u) * (x / (u - 1)); y = where(u == 1, x, y); "
            "return where(u < (real)__builtin_inf(), y, u); }"
        ),
    ),
    _row(
        "sqrt",
        "input",
        gradients={"input": "dy / (2 * y)"},
        cost=5,
        latex=r"\sqrt{{{}}}",
        c=(
            "vec sqrt(vec x) { for (int i = 0; i < V; "
            "i++) x[i] = EITHER(__builtin_sqrtf(x[i]), __builtin_sqrt(x[i])); return x; }"
        ),
    ),
    # ---------------------------------------------------------------------------------------------- nonlinearities
    _row(
        "sigmoid",
        "input",
        f"torch.special.expit {_F}.sigmoid",
        gradients={"input": "dy * y * (1 - y)"},
        cost=15,
        latex=r"\sigma",
        c=(
            "vec sigmoid(vec x) { ints n; x = within(-x, -EXP_NORMAL, EXP_NORMAL); "
            "vec y = 1 + expm1_near_0(without_ln2(x, &n)); return 1 / (1 + y * power_of_two(n)); }"
        ),
    ),
    _row(
        "logsigmoid",
        "input",
        torch_name=f"{_F}.logsigmoid",
        gradients={"input": "dy * sigmoid(-input)"},
        cost=25,
        c="vec logsigmoid(vec x) { return where(x > 0, splat(0), x) - log1p(exp(-abs(x))); }",
    ),
    _row(
        "tanh",
        "input",
        f"{_F}.tanh",
        gradients={"input": "dy * (1 - y * y)"},
        cost=15,
        latex=r"\tanh",
        c=(
            "vec tanh(vec x) { ints n; "
            "vec y = expm1_near_0(without_ln2(2 * within(x, -TANH_FLAT, TANH_FLAT), &n)); "
            "vec s = power_of_two(n); y = y * s + (s - 1); return y / (y + 2); }"
        ),
    ),
    _row(
        "relu",
        "input",
        f"{_F}.relu",
        gradients={"input": "where(y <= 0, 0, dy)"},
        c="vec relu(vec x) { return where(x < 0, splat(0), x); }",
    ),
    _row(
        "leaky_relu",
        "input, negative_slope=0.01",
        torch_name=f"{_F}.leaky_relu",
        gradients={"input": "where(input > 0, dy, dy * negative_slope)"},
        c=("vec leaky_relu(vec x, vec negative_slope) { return where(x > 0, x, x * negative_slope); }"),
    ),
    _row(
        "elu",
        "input, alpha=1.0",
        torch_name=f"{_F}.elu",
        gradients={"input": "where(input <= 0, dy * (y + alpha), dy)"},
        cost=15,
        c="vec elu(vec x, vec alpha) { return where(x > 0, x, alpha * expm1(x)); }",
    ),
    _row("silu", "input", torch_name=f"{_F}.silu", expansion="input * sigmoid(input)", cost=15),
    _row(
        "hardtanh",
        "input, min_val=-1.0, max_val=1.0",
        torch_name=f"{_F}.hardtanh",
        gradients={"input": "where(input <= min_val, 0, where(input >= max_val, 0, dy))"},
        c="vec hardtanh(vec x, vec min_val, vec max_val) { return clamp(x, min_val, max_val); }",
    ),
    _row(
        "hardsigmoid",
        "input",
        torch_name=f"{_F}.hardsigmoid",
        gradients={"input": "where(input > -3, where(input < 3, dy / 6, 0), 0)"},
        c="vec hardsigmoid(vec x) { return clamp(x + 3, splat(0), splat(6)) / 6; }",
    ),
    _row(
        "softplus",
        "input, beta=1.0, threshold=20.0",
        torch_name=f"{_F}.softplus",
        gradients={"input": "where(input * beta > threshold, dy, dy * sigmoid(input * beta))"},
        cost=25,
        c=(
            "vec softplus(vec x, vec beta, vec threshold) { vec y = beta * x; "
            "return where(y > threshold, x, log1p(exp(y)) / beta); }"
        ),
    ),
)

OPERATIONS = {row.name: row for row in _ROWS}
_BY_SIGN = {row.sign: row for row in _ROWS if row.sign is not None}
_BY_FUNCTION = {_of_torch(name): row for row in _ROWS for name in row.functions} | {abs: OPERATIONS["abs"]}


def operation(node: ast.AST) -> Operation | None:
    """The row of what stands at the top of an expression of a line; None for names, numbers, and what has no row."""
    match node:
        case ast.BinOp(op=op) | ast.UnaryOp(op=op) | ast.Compare(ops=[op]):
            return _BY_SIGN.get(type(op))
        case ast.Call(func=ast.Name(id=name)):
            return OPERATIONS.get(name)
    return None


def meant(function: Any) -> Operation | None:
    """The row of one of torch's functions or of a tensor's methods."""
    try:
        return _BY_FUNCTION.get(function)
    except TypeError:  # it has no hash
        return None


def written(row: Operation, arguments: list[ast.expr], keywords: list[ast.keyword]) -> ast.expr:
    """A call of the operation in the one form that lines have: with its sign where it has one.

    Raises:
        TypeError: it takes no such arguments.
    """
    call = ast.Call(ast.Name(row.name), arguments, keywords)
    found = [*row.arguments(call).values()]
    if row.sign is None:
        return call
    sign: Any = row.sign()
    match found:
        case [operand]:
            return ast.UnaryOp(sign, operand)
        case [left, right] if isinstance(sign, ast.cmpop):
            return ast.Compare(left, [sign], [right])
    return ast.BinOp(found[0], sign, found[1])


def clamped(arguments: list[ast.expr], keywords: list[ast.keyword]) -> tuple[Operation, list[ast.expr]]:
    """torch's `clamp(input, min=None, max=None)` as the one of the three rows that it is.

    Raises:
        TypeError: it takes no such arguments.
    """
    bound = inspect.signature(lambda input, min=None, max=None: None).bind(
        *arguments, **{str(k.arg): k.value for k in keywords}
    )
    given = {n: v for n, v in bound.arguments.items() if not (isinstance(v, ast.Constant) and v.value is None)}
    name = {"min": "clamp_min", "max": "clamp_max"}["".join(given)[5:]] if len(given) == 2 else "clamp"
    return OPERATIONS[name], [given[n] for n in OPERATIONS[name].signature.parameters if n in given]
