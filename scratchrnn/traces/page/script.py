"""Lines as JavaScript: the page computes a step with a number of the reader's in the place of one of the trace."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from ...cells.cell import Cell
from ...equations.equations import Equations
from ...equations.lines import Line

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
    "sigmoid": "(x) => 1 / (1 + Math.exp(-x))",
    "relu": "(x) => Math.max(x, 0)",
    "square": "(x) => x * x",
    "softplus": "(x) => Math.log1p(Math.exp(-Math.abs(x))) + Math.max(x, 0)",
    "maximum": "Math.max",
    "minimum": "Math.min",
    "where": "(condition, a, b) => (condition ? a : b)",
} | {name: f"Math.{name}" for name in ("tanh", "exp", "log", "sqrt", "abs", "sin", "cos")}
"""What a line may call, with its arguments in order; all of torch's further ones are left as they are."""
_ARGUMENTS = {"maximum": 2, "minimum": 2, "where": 3}  # of the others one


def script(cells: Sequence[Cell]) -> str:
    """`UPDATES`: of each cell a function from pre-activations, states before and numbers that are set, or null.

    It gives every line's number by its name, and where one is set that in its place. Null stands for a cell whose
    lines cannot be read, or call something that has no row above.
    """
    functions = ", ".join(f"{name}: {code}" for name, code in FUNCTIONS.items())
    return f"const FUNCTIONS = {{ {functions} }};\nconst UPDATES = [{', '.join(map(_update, cells))}];"


def _update(cell: Cell) -> str:
    try:
        equations = Equations(cell)
        given = [*equations.pre_activations, *(f"{state}_prev" for state in cell.states)]
        numbers = "".join(f"const ${name} = {value!r}; " for name, value in equations.numbers.items())
        lines = "".join(f"const ${line.target} = set.{line.target} ?? {_line(line)}; " for line in equations.forward)
    except ValueError:
        return "null"
    targets = ", ".join(f"{line.target}: ${line.target}" for line in equations.forward)
    arguments = ", ".join(f"{name}: ${name}" for name in given)
    return f"({{ {arguments} }}, set) => {{ {numbers}{lines}return {{ {targets} }}; }}"


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
        case ast.Constant(value=bool() | int() | float() as value):
            return repr(float(value))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _SIGNS:
            return f"({_SIGNS[type(op)]}{_code(operand)})"
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _SIGNS:
            return f"({_code(left)} {_SIGNS[type(op)]} {_code(right)})"
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _SIGNS:
            return f"({_code(left)} {_SIGNS[type(op)]} {_code(right)})"
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in FUNCTIONS and len(
            arguments
        ) == _ARGUMENTS.get(name, 1):
            return f"FUNCTIONS.{name}({', '.join(map(_code, arguments))})"
    raise ValueError(f"a page has no {ast.unparse(node)!r}")
