"""Lines whose right sides are left out, for a person to write, and what is known where each stands."""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..cells.cell import Cell
from ..cells.probe import some_arguments
from .answers import value
from .equations import Equations
from .linear import linear_backward, linear_forward
from .lines import Line

_INPUTS, _UNITS = 3, 24


class Exercise(NamedTuple):
    """A line that is asked for."""

    cell: Cell
    line: Line
    known: Mapping[str, Tensor]
    """Random numbers for every name that may be used, which fulfil the lines before: vectors are columns."""
    before: tuple[Line, ...]
    """The lines that stand before it; before a gradient's those of the whole step forward, too."""
    after: tuple[Line, ...]
    """The lines that come later."""
    through: Line | None
    """The forward line that is differentiated, where a gradient is asked for."""

    def __repr__(self) -> str:
        return f"Exercise({self.line.target} = ?)"  # not the answer, and not thousands of numbers

    @property
    def linear(self) -> bool:
        """Whether the line has matrix products."""
        return any(isinstance(node, ast.MatMult) for node in ast.walk(self.line.expression))

    @property
    def names(self) -> tuple[str, ...]:
        """The known names that a line of its kind may have: of one without matrix products no weights, for example."""
        others = set() if self.linear else {*_weights(self.cell), "x"}
        return tuple(name for name in self.known if name not in others)

    @property
    def hints(self) -> tuple[str, str, str]:
        """The names that occur, the shape of the line, and the line."""
        blank = Line(self.line.target, _Blank().visit(copy.deepcopy(self.line.expression)))
        return f"it has {', '.join(self.line.names)}", f"it has the shape {blank.text}", f"it is {self.line.text}"


def exercises(cell: Cell, adjoint: bool = False) -> dict[str, Exercise]:
    """The lines of one step of `cell` by their names: forward, or of the gradients as the chain rule has them.

    Of the linear part, which is alike for every gate, one gate is asked for, and one whose halves are not summed.

    Raises:
        ValueError: as for `Equations.forward`, or as for `Equations.derivation`.
    """
    of = Equations(cell)
    linear, lines = linear_forward(cell), [*linear_forward(cell), *(of.named if adjoint else of.forward)]
    if adjoint:
        through = {each.target: step.line for step in of.derivation for each in step.gradients}
        through |= _through_the_linear_part(cell, {each.target: each for each in linear})
        asked, lines = {*through}, [*lines, *of.derived, *linear_backward(cell)]
    else:
        through, asked = {}, {*_of_the_linear_part(cell), *(each.target for each in of.forward)}
    known, found = _given(cell, adjoint), {}
    for k, each in enumerate(lines):
        if each.target in asked:
            before, after = (*lines[:k],), (*lines[k + 1 :],)
            found[each.target] = Exercise(cell, each, {**known}, before, after, through.get(each.target))
        known[each.target] = value(each.expression, known)
    return found


def _weights(cell: Cell) -> dict[str, tuple[int, int]]:
    """The names of the weights and biases, and the shapes that they have here."""
    shapes = {"W_i": (_UNITS, _INPUTS), "W_h": (_UNITS, _UNITS), "b_i": (_UNITS, 1), "b_h": (_UNITS, 1)}
    return {f"{parameter}{gate}": shape for gate in cell.gates for parameter, shape in shapes.items()}


def _of_the_linear_part(cell: Cell) -> set[str]:
    """The first pre-activation that is a sum, and the halves of the first that is split."""
    return {pre for halves in _two_gates(cell).values() for pre in halves}


def _two_gates(cell: Cell) -> dict[str, tuple[str, str]]:
    """The first gate that is not split, and the first that is: what its two products go into."""
    whole = [gate for gate in cell.gates if gate not in cell.split]
    of_whole = {gate: (f"{gate}_pre", f"{gate}_pre") for gate in whole[:1]}
    return of_whole | {gate: (f"{gate}_x", f"{gate}_h") for gate in cell.split[:1]}


def _through_the_linear_part(cell: Cell, linear: Mapping[str, Line]) -> dict[str, Line]:
    """The gradients that are asked for of the linear part, and the forward line of each; of all gates' the first."""
    by_x, by_h = next(iter(_two_gates(cell).values()))
    found = {"dx": linear[by_x], f"d{cell.states[0]}_prev": linear[by_h]}
    for gate, (by_x, by_h) in _two_gates(cell).items():
        found |= {f"dW_i{gate}": linear[by_x], f"dW_h{gate}": linear[by_h], f"db_h{gate}": linear[by_h]}
    return found


def _given(cell: Cell, adjoint: bool) -> dict[str, Tensor]:
    """What a step is given, with states that the cell comes to."""
    of, drawn = Equations(cell), torch.Generator().manual_seed(1)
    shapes = {"x": (_INPUTS, 1), **_weights(cell)}
    found = {n: torch.randn(s, generator=drawn, dtype=torch.float64) / s[1] ** 0.5 for n, s in shapes.items()}
    states = some_arguments(cell, _UNITS, torch.float64)[len(cell.pre_activations) :]
    found |= {f"{s}_prev": t[0].unsqueeze(1) for s, t in zip(cell.states, states, strict=True)}
    found |= {n: torch.tensor(number, dtype=torch.float64) for n, number in of.numbers.items()}
    gradients = of.arriving if adjoint else ()
    return found | {n: torch.randn((_UNITS, 1), generator=drawn, dtype=torch.float64) for n in gradients}


class _Blank(ast.NodeTransformer):
    """Every name but those of functions as `_`."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Name("_")

    def visit_Call(self, node: ast.Call) -> ast.expr:
        return ast.Call(node.func, [self.visit(a) for a in node.args], [self.visit(k) for k in node.keywords])
