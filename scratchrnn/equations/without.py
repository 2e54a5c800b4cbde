"""A cell without one of its lines: made of the other lines, and a cell like any other, to train and to explain."""

from __future__ import annotations

import ast
import hashlib
import linecache
from collections.abc import Sequence
from typing import Any

import torch

from ..cells.cell import Cell
from .adjoint import by_the_gates_name, code, identifier
from .answers import read, value
from .derivation import put_in
from .equations import Equations
from .lines import Line
from .operations import operation

_GATES = ("sigmoid", "hardsigmoid")  # between 0 and 1
_LARGEST = 1e18  # torch multiplies by whole numbers below 2**63


def without(cell: Cell, name: str, instead: str | float | None = None) -> Cell:
    """The cell without the line `name`: a gate is held open, a function is left out.

        without(lstm, "f")           f = 1                     a sigmoid is 1 at every step
        without(lstm, "g")           g = g_pre                 another function passes on what it is given
        without(lstm, "f", 0)        f = 0
        without(lstm, "f", "1 - i")  f = 1 - i                 another equation, of names that stand before it
        without(gru, "z")            z = 0                     with 1, h would be h_prev for ever, whatever comes in

    What no state depends on any more goes too: without f the LSTM has three gates, and three quarters of the weights.
    The adjoint is derived from the lines that are left. These are the variants of Greff et al. 2015, arXiv:1503.04069.
    The function is made here and has no module: the cell's layers are saved as state dicts, not pickled whole.

    Args:
        name: what the line computes: a gate, `c`, `tanh_c`.
        instead: a number, or an expression of earlier lines, that takes the place of the line's right side.

    Raises:
        ValueError: `update` cannot be read; it has no such line; the line is neither a gate nor a function and nothing
            is said `instead`, or that is no such expression; a state would not depend on anything any more, or no state
            on the input.
    """
    of = Equations(cell)
    found = {each.target: each for each in of.forward}
    if name not in found:
        raise ValueError(f"cell {cell.name!r} has no line {name!r} to be without: it has {', '.join(found)}")
    line = found[name]
    if instead is not None:
        return _made(cell, line, _expression(cell, line, str(instead)), f"with {name} = {instead}")
    match line.expression:
        case ast.Call(func=ast.Name(id=function)) if function in _GATES:
            always = ast.Constant(1)
            shut = _entered(cell, of.forward) - _entered(cell, _reduced(cell, line, always))
            right: ast.expr = ast.Constant(0) if shut else always
        case ast.Call(args=[right]) as call if operation(call) is not None:
            pass
        case _:
            raise ValueError(
                f"`{line.text}` of cell {cell.name!r} is neither a gate nor a function of one argument: say what takes "
                f"its place, {name}=0 or {name}=an expression"
            )
    return _made(cell, line, right, f"without {name}")


def _expression(cell: Cell, line: Line, text: str) -> ast.expr:
    of = Equations(cell)
    before = of.forward[: [each.target for each in of.forward].index(line.target)]
    known = [*of.pre_activations, *(f"{s}_prev" for s in cell.states), *of.numbers, *(each.target for each in before)]
    what = f"what takes the place of {line.target} in cell {cell.name!r} should be a number or an expression"
    try:
        found = read(text)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
    if unknown := [n for n in Line("", found).names if n not in known]:
        raise ValueError(f"{what} of earlier names, {', '.join(known)}; got {', '.join(unknown)}")
    numbers = {name: torch.tensor(float(number), dtype=torch.float64) for name, number in of.numbers.items()}
    for node in ast.walk(found):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            raise ValueError(f"{what} of operations that lines have, got {ast.unparse(node)!r}")
        if isinstance(node, ast.expr) and {*Line("", node).names} <= {*numbers}:
            number = float(value(node, numbers))
            if not abs(number) <= _LARGEST:
                raise ValueError(f"{what} of numbers up to {_LARGEST:g}, and `{ast.unparse(node)}` is {number:g}")
    return found


def _reduced(cell: Cell, line: Line, value: ast.expr) -> list[Line]:
    """The lines with this value in the place of that line's, without those that no state depends on any more."""
    of, lines, values = Equations(cell), list[Line](), dict[str, ast.expr]()
    for each in of.forward:
        here = value if each is line else each.expression
        now = _Computed().visit(put_in(here, values))
        if (isinstance(now, ast.Name) or not Line("", now).names) and each.target not in cell.states:
            values[each.target] = now
        else:
            lines.append(Line(each.target, now))
    wanted, kept = set(cell.states), list[Line]()
    for each in reversed(lines):
        if each.target in wanted:
            wanted |= set(each.names)
            kept.append(each)
    return kept[::-1]


class _Computed(ast.NodeTransformer):
    """Functions of numbers alone as the numbers that they are; a mixture of two that takes one of them as that one."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        row = operation(node)
        match row and row.name, node.args:
            case "lerp", [start, end, ast.Constant(value=(0 | 1) as weight)]:
                return end if weight else start
        if row is None or Line("", node).names:
            return node
        given = {n: torch.tensor(Line("", a).evaluate({}), dtype=torch.float64) for n, a in row.arguments(node).items()}
        return ast.Constant(float(row.function(*given.values())))


def _entered(cell: Cell, lines: Sequence[Line]) -> set[str]:
    """The states that a pre-activation reaches within a step."""
    reached = {*Equations(cell).pre_activations}
    for each in lines:
        if reached & {*each.names}:
            reached.add(each.target)
    return reached & {*cell.states}


def _made(cell: Cell, line: Line, value: ast.expr, how: str) -> Cell:
    """The cell of the lines that are left, written out as Python, so that it can be read as every cell is."""
    of, lines, name = Equations(cell), _reduced(cell, line, value), f"{cell.name} {how}"
    for each in lines:
        if not each.names:
            raise ValueError(f"of cell {name!r} nothing is left to compute: `{each.text}` at every step")
    if not _entered(cell, lines):
        raise ValueError(f"of cell {name!r} no line is left that the input enters: {lines[-1].text}")
    called = by_the_gates_name(cell, lines)
    used = {n for each in lines for n in each.names}
    pairs = [*zip(of.pre_activations, cell.pre_activations, strict=True)]
    gates = [g for g in cell.gates if {f"{g}_pre", f"{g}_x", f"{g}_h"} & {p for p, _ in pairs if p in used}]
    split = tuple(g for g in cell.split if g in gates)
    arguments = [a for g in gates for a in ((f"{g}_x", f"{g}_h") if g in split else (g,))]
    body = [
        repr(f"{cell.name} with `{Line(line.target, value).text}` in the place of `{line.text}`."),
        *(f"{pre} = {given}" for pre, given in pairs if pre in used and called[pre] != given),
        *(f"{target} = {code(expression, called)}" for target, expression in lines),
        f"return {', '.join(cell.states)}",
    ]
    function = f"{identifier(name.lower())}_update"
    states = [f"{s}_prev" for s in cell.states]
    head = f"def {function}({', '.join([*arguments, *states])}):"
    text = "".join(f"{row}\n" for row in [head, *(f"    {row}" for row in body)])
    file = f"<{name}, {hashlib.sha256(text.encode()).hexdigest()[:8]}>"
    linecache.cache[file] = len(text), None, text.splitlines(keepends=True), file  # what shows its source looks there
    namespace: dict[str, Any] = {"__name__": __name__, "torch": torch, **of.numbers}
    exec(compile(text, file, "exec"), namespace)
    return Cell(name, tuple(gates), namespace[function], split=split, walk=cell.walk)
