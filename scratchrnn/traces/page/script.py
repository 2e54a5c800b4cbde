"""Lines as JavaScript: the page computes a step with a number of the reader's in the place of one of the trace, and
holds a line of the reader's to them.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence

from ...cells.cell import Cell
from ...equations.equations import Equations
from ...equations.lines import Line
from ...equations.operations import OPERATIONS

_SIGNS: Mapping[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
    ast.USub: "-",
    ast.UAdd: "+",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Lt: "<",
    ast.LtE: "<=",
}
FUNCTIONS = {
    "add": "(a, b) => a + b",
    "sub": "(a, b) => a - b",
    "mul": "(a, b) => a * b",
    "div": "(a, b) => a / b",
    "neg": "(x) => -x",
    "pow": "(x, exponent) => x ** exponent",
    "addcmul": "(a, b, c) => a + b * c",
    "gt": "(a, b) => +(a > b)",
    "ge": "(a, b) => +(a >= b)",
    "lt": "(a, b) => +(a < b)",
    "le": "(a, b) => +(a <= b)",
    "eq": "(a, b) => +(a === b)",
    "ne": "(a, b) => +(a !== b)",
    "sigmoid": "(x) => 1 / (1 + Math.exp(-x))",
    "relu": "(x) => Math.max(x, 0)",
    "square": "(x) => x * x",
    "softplus": "(x) => Math.log1p(Math.exp(-Math.abs(x))) + Math.max(x, 0)",
    "maximum": "Math.max",
    "minimum": "Math.min",
    "where": "(condition, a, b) => (condition ? a : b)",
    "lerp": "(a, b, weight) => a + weight * (b - a)",
    "clamp": "(x, low, high) => Math.min(Math.max(x, low), high)",
    "clamp_min": "Math.max",
    "clamp_max": "Math.min",
    "logsigmoid": "(x) => Math.min(x, 0) - Math.log1p(Math.exp(-Math.abs(x)))",
    "leaky_relu": "(x) => (x > 0 ? x : 0.01 * x)",
    "elu": "(x) => (x > 0 ? x : Math.expm1(x))",
    "silu": "(x) => x / (1 + Math.exp(-x))",
    "hardtanh": "(x) => Math.min(Math.max(x, -1), 1)",
    "hardsigmoid": "(x) => Math.min(Math.max(x + 3, 0), 6) / 6",
} | {name: f"Math.{name}" for name in ("tanh", "exp", "expm1", "log", "log1p", "sqrt", "abs", "sign", "sin", "cos")}
"""What a line may call, with its arguments in order; all of torch's further ones are left as they are."""


def script(cells: Sequence[Cell]) -> str:
    """`UPDATES`: of each cell a function from pre-activations, states before and numbers that are set, or null.

    It gives every line's number by its name, and where one is set that in its place. Null stands for a cell whose
    lines cannot be read, or call something that has no row above.
    """
    functions = ", ".join(f"{name}: {code}" for name, code in FUNCTIONS.items())
    updates = ", ".join(update(cell) or "null" for cell in cells)
    return f"const FUNCTIONS = {{ {functions} }};\nconst UPDATES = [{updates}];"


def parameters(name: str) -> list[str]:
    """What a function takes on a page: those arguments that have no default."""
    if name not in OPERATIONS:
        return ["input"]
    return [p.name for p in OPERATIONS[name].signature.parameters.values() if p.default is p.empty]


def update(cell: Cell) -> str | None:
    """The function of one cell; None where a page cannot compute it."""
    try:
        equations = Equations(cell)
        given = [*equations.pre_activations, *(f"{state}_prev" for state in cell.states)]
        numbers = "".join(
            f"const ${name} = {_code(ast.Constant(value))}; " for name, value in equations.numbers.items()
        )
        lines = "".join(f"const ${line.target} = set.{line.target} ?? {_line(line)}; " for line in equations.forward)
    except ValueError:
        return None
    targets = ", ".join(f"{line.target}: ${line.target}" for line in equations.forward)
    names = ", ".join(f"{name}: ${name}" for name in given)
    return f"({{ {names} }}, set) => {{ {numbers}{lines}return {{ {targets} }}; }}"


def _line(line: Line) -> str:
    return f"({_code(line.expression)})"


def _code(node: ast.expr) -> str:
    """Every operation in parentheses.

    Raises:
        ValueError: it is none that a page knows.
    """
    match node:
        case ast.Name(id=name):
            return f"${name}"
        case ast.Constant(value=bool() | int() | float() as value) if math.isfinite(value):
            return repr(float(value))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _SIGNS:
            return f"({_SIGNS[type(op)]}{_code(operand)})"
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _SIGNS:
            return f"({_code(left)} {_SIGNS[type(op)]} {_code(right)})"
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _SIGNS:
            return f"({_code(left)} {_SIGNS[type(op)]} {_code(right)})"
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in FUNCTIONS and len(given) == len(
            parameters(name)
        ):
            return f"FUNCTIONS.{name}({', '.join(map(_code, given))})"
    raise ValueError(f"a page has no {ast.unparse(node)!r}")
