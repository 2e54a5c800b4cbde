"""The linear part of one step, which the engine computes around a cell, as equations; a vector is a column."""

from __future__ import annotations

from .cell import Cell
from .equations import Line, line


def linear_forward(cell: Cell) -> list[Line]:
    """The pre-activations of every gate, `f_pre = W_if x + b_if + W_hf h_prev + b_hf`."""
    lines: list[Line] = []
    for g in cell.gates:
        by_x, by_h = f"W_i{g} @ x + b_i{g}", f"W_h{g} @ h_prev + b_h{g}"
        split = [f"{g}_x = {by_x}", f"{g}_h = {by_h}"]
        lines += map(line, split if g in cell.split else [f"{g}_pre = {by_x} + {by_h}"])
    return lines


def linear_backward(cell: Cell, direct: bool) -> list[Line]:
    """The gradients of x, h_prev, weights and biases. `direct`: whether h_prev is reached by another road than W_hh."""
    halves = {g: (f"d{g}_x", f"d{g}_h") if g in cell.split else (f"d{g}_pre",) * 2 for g in cell.gates}
    dx = " + ".join(f"W_i{g}.T @ {by_x}" for g, (by_x, _) in halves.items())
    dh = " + ".join(f"W_h{g}.T @ {by_h}" for g, (_, by_h) in halves.items())
    lines = [f"dx = {dx}", f"dh_prev = {dh}{' + dh_direct' if direct else ''}"]
    lines += [f"dW_i{g} = {by_x} @ x.T" for g, (by_x, _) in halves.items()]
    lines += [f"dW_h{g} = {by_h} @ h_prev.T" for g, (_, by_h) in halves.items()]
    lines += [f"db_i{g} = {by_x}" for g, (by_x, _) in halves.items()]
    lines += [f"db_h{g} = {by_h}" for g, (_, by_h) in halves.items()]
    return [line(text) for text in lines]
