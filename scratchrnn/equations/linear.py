"""The linear part of one step, which the engine computes around a cell, as equations; a vector is a column."""

from __future__ import annotations

from typing import NamedTuple

from ..cells.cell import Cell
from .equations import Equations
from .lines import Line, line


def halves(gate: str, bias: bool = True, state: str = "h") -> tuple[Line, Line]:
    """What the input and what the state before give to a gate, `f_x = W_if x + b_if` and `f_h = W_hf h_prev + b_hf`.

    `state` is what the cell calls the state that it emits, h in most.
    """
    sides = ("i", "x", "x"), ("h", f"{state}_prev", "h")
    by_x, by_h = (f"{gate}_{half} = W_{w}{gate} @ {v}" + bias * f" + b_{w}{gate}" for w, v, half in sides)
    return line(by_x), line(by_h)


def linear_forward(cell: Cell) -> list[Line]:
    """The pre-activations of every gate: `f_pre`, the sum of its halves, and of a split gate both halves."""
    lines: list[Line] = []
    for g in cell.gates:
        by_x, by_h = halves(g, state=cell.states[0])
        lines += [by_x, by_h] if g in cell.split else [line(f"{g}_pre = {by_x.code} + {by_h.code}")]
    return lines


class Onward(NamedTuple):
    """The gradients that leave a step: of what the layer below emits, and of what the step before does."""

    dx: Line
    dh_prev: Line


def linear_onward(cell: Cell) -> Onward:
    """The gradients of x and h_prev, out of those that the adjoint gives.

    Raises:
        ValueError: as for `Equations.derivation`, which says whether h_prev is reached by another road than W_hh.
    """
    of, d_pre = Equations(cell), _gradients(cell)
    direct = [each.target for each in of.derived if each.target == of.direct_gradient]
    dx = " + ".join(f"W_i{g}.T @ {by_x}" for g, (by_x, _) in d_pre.items())
    dh = " + ".join(f"W_h{g}.T @ {by_h}" for g, (_, by_h) in d_pre.items())
    return Onward(line(f"dx = {dx}"), line(f"d{cell.states[0]}_prev = {' + '.join([dh, *direct])}"))


def linear_parameters(cell: Cell) -> list[Line]:
    """The gradients of the weights and the biases, out of those that the adjoint gives."""
    d_pre, h_prev = _gradients(cell), f"{cell.states[0]}_prev"
    lines = [f"dW_i{g} = {by_x} @ x.T" for g, (by_x, _) in d_pre.items()]
    lines += [f"dW_h{g} = {by_h} @ {h_prev}.T" for g, (_, by_h) in d_pre.items()]
    lines += [f"db_i{g} = {by_x}" for g, (by_x, _) in d_pre.items()]
    lines += [f"db_h{g} = {by_h}" for g, (_, by_h) in d_pre.items()]
    return [line(text) for text in lines]


def linear_backward(cell: Cell) -> list[Line]:
    """The gradients of x, h_prev, weights and biases.

    Raises:
        ValueError: as for `linear_onward`.
    """
    return [*linear_onward(cell), *linear_parameters(cell)]


def _gradients(cell: Cell) -> dict[str, tuple[str, str]]:
    """What the gradients of a gate's two halves are called, `dn_x` and `dn_h`, or twice `df_pre`."""
    return {g: (f"d{g}_x", f"d{g}_h") if g in cell.split else (f"d{g}_pre",) * 2 for g in cell.gates}
