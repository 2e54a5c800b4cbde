"""A cell drawn step after step, with the roads that a gradient has back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from ..cells.cell import Cell
from ..equations.equations import Equations
from ..equations.latex import latex_name
from ..equations.linear import linear_backward
from ..equations.lines import Line
from ..traces.palette import LINES, places
from .axes import axes_of, figure_of
from .diagram import size_of, sources_of


class Box(NamedTuple):
    """What stands in a box: `x`, `gates`, a state's name, or `L`, the loss; and at which step, 0 before the first."""

    name: str
    step: int


Point = tuple[float, float]


def unrolled(cell: Cell, steps: int = 3, ax: Axes | None = None) -> Figure:
    """A cell at each of so many steps: what is computed of what, and how the gradient of the losses L comes back.

    Grey arrows go forward. Dashed ones are the gradient on its way to the gates, and through W_hh to the step before;
    thick ones its direct road, from a state to the same state one step before, past every matrix, in the colour of the
    gate that opens it. Both roads' equations stand below. The gradients of x and of the weights are left out.

    Raises:
        TypeError: `cell` is no `Cell`, `steps` no int, or `ax` no Axes.
        ValueError: `steps` is below 1; or the lines of the cell's `update` or their derivatives cannot be read: see
            `equations.Equations`.

    Example:
        >>> import scratchrnn as sr
        >>> sr.plot.unrolled(sr.cells.lstm, steps=4).savefig("lstm.png")
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"cell should be a Cell, as scratchrnn.cells.lstm, got {type(cell).__name__}")
    if not isinstance(steps, int) or isinstance(steps, bool):
        raise TypeError(f"steps should be an int, got {type(steps).__name__}")
    if steps < 1:
        raise ValueError(f"steps should be 1 or more, got {steps}")
    rows, emitted = _legend(cell), cell.states[0]
    gates = 6 + 11 * len(cell.gates)
    centres = _centres(cell, steps, gates)
    bent = emitted in _direct_lines(cell)
    left = -_BOX / 2 - _BORDER
    written = left + _BORDER + 38  # where the equations begin
    widest = max(size_of(text, _SMALL)[0] for _, text in rows)
    right = max(*(x + _BOX / 2 for x, _ in centres.values()), written + widest) + _BORDER
    top = max(y for _, y in centres.values()) + (_UP - 8 if bent else _BOX / 2 + _BORDER)
    bottom = -_DOWN - _BOX / 2 - _ROW * len(rows) - 1.5 * _BORDER
    ax = axes_of(ax, (right - left) / 72, (top - bottom) / 72, layout=None)
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    ax.set_axis_off()
    room = ax.get_window_extent()
    scale = min(room.width / (right - left), room.height / (top - bottom)) * 72 / figure_of(ax).dpi

    def write(x: float, y: float, text: str, size: float, ha: str) -> None:
        ax.text(x, y, text, ha=ha, va="center", size=size * scale, math_fontfamily="stix")

    frames = {}
    for box, (x, y) in centres.items():
        width = gates if box.name == "gates" else _BOX
        thick = 1.8 if box.name in cell.states else 0.8
        frames[box] = FancyBboxPatch(
            (x - width / 2, y - _BOX / 2),
            width,
            _BOX,
            boxstyle="round,pad=0,rounding_size=4",
            facecolor="white",
            edgecolor="black",
            linewidth=thick * scale,
        )
        ax.add_patch(frames[box])
        names = cell.gates if box.name == "gates" else [f"{box.name}_{box.step}"]
        write(x, y, f"${'~'.join(map(latex_name, names))}$", _LETTERS, "center")
    for a, b in _arrows(cell, steps):
        if a.name == "x":
            ax.add_patch(_arrow(centres[a], centres[b], _FORWARD, scale, (frames[a], frames[b])))
            continue
        direct = a.name == b.name
        outer, inner = (0.64, 0.54) if direct and a.name == emitted else (0, 0)  # over the gates between them
        back = _direct(cell, a.name) if direct else _through(cell)
        ax.add_patch(_arrow(centres[a], centres[b], _FORWARD, scale, (frames[a], frames[b]), _APART, -outer))
        ax.add_patch(_arrow(centres[b], centres[a], back, scale, (frames[b], frames[a]), _APART, inner))
    for t in range(1, steps + 1):
        (x, y), (before, _) = centres[Box("gates", t)], centres[Box(emitted, t - 1)]
        write((before + _BOX / 2 + x - gates / 2) / 2, y - 13, "$W_{hh}$", _SMALL, "center")
        write(x + 4, y - _DOWN / 2, "$W_{ih}$", _SMALL, "left")
    for k, (style, text) in enumerate(rows):
        y = bottom + 0.5 * _BORDER + (len(rows) - k - 0.5) * _ROW
        ends = [left + _BORDER, left + _BORDER + 30]
        start, end = ends if style is _FORWARD else ends[::-1]
        ax.add_patch(_arrow((start, y), (end, y), style, scale))
        write(written, y, text, _SMALL, "left")
    return figure_of(ax)


_LETTERS, _SMALL, _BORDER, _ROW = 15, 12.5, 8, 23  # points
_BOX, _ACROSS, _UP, _DOWN = 27, 29, 58, 56  # the size of a box, room between two, from one row to the next
_APART = 3.5  # half of the room between an arrow and the one back
_FORWARD = {"color": "0.35", "linewidth": 1.1}


def _through(cell: Cell) -> dict[str, Any]:
    return {"color": LINES["light"][places(cell)[cell.states[0]]], "linewidth": 1.3, "linestyle": (0, (3.5, 1.8))}


def _direct(cell: Cell, state: str) -> dict[str, Any]:
    gates = [name for name in _direct_lines(cell)[state].names if name in cell.gates]
    return {"color": LINES["light"][places(cell)[gates[0] if gates else state]], "linewidth": 2.4}


def _direct_lines(cell: Cell) -> dict[str, Line]:
    """For each state the line of what its gradient hands to the step before past the weights, if there is one."""
    of = Equations(cell)
    lines = {each.target: each for each in of.derived}
    return {s: lines[g] for s in cell.states if (g := of.gradient(f"{s}_prev")) in lines}


def _legend(cell: Cell) -> list[tuple[dict[str, Any], str]]:
    through = linear_backward(cell)[1]  # the line of dh_prev
    direct = [(_direct(cell, state), f"${line.latex()}$") for state, line in _direct_lines(cell).items()]
    return [(_FORWARD, "the same weights at every step"), (_through(cell), f"${through.latex()}$"), *direct]


def _centres(cell: Cell, steps: int, gates: float) -> dict[Box, Point]:
    """The emitted state and the gates in one row, x and L below them, other states above."""
    found: dict[Box, Point] = {}
    x = 0.0
    for t in range(steps + 1):
        if t:
            x += _BOX / 2 + _ACROSS + gates / 2
            found[Box("gates", t)] = x, 0.0
            found[Box("x", t)] = x, -_DOWN
            x += gates / 2 + 0.7 * _ACROSS + _BOX / 2
            found[Box("L", t)] = x, -_DOWN
        for k, state in enumerate(cell.states):
            found[Box(state, t)] = x, k * _UP
    return found


def _arrows(cell: Cell, steps: int) -> Iterator[tuple[Box, Box]]:
    """From what is computed to what is computed of it."""
    emitted, *_ = cell.states
    for t in range(1, steps + 1):
        yield Box("x", t), Box("gates", t)
        yield Box(emitted, t - 1), Box("gates", t)
        for state in cell.states:
            for name in sources_of(cell, state, cell.states):
                before = name.removesuffix("_prev")
                yield Box("gates" if name == "x" else before, t - (before != name)), Box(state, t)
        yield Box(emitted, t), Box("L", t)


def _arrow(
    start: Point,
    end: Point,
    style: dict[str, Any],
    scale: float,
    boxes: tuple[FancyBboxPatch | None, FancyBboxPatch | None] = (None, None),
    beside: float = 0,
    bend: float = 0,
) -> FancyArrowPatch:
    """From box to box, so far to the left of the straight line: there is room for the one back."""
    (x0, y0), (x1, y1) = start, end
    length = math.dist(start, end)
    dx, dy = -(y1 - y0) / length * beside, (x1 - x0) / length * beside
    return FancyArrowPatch(
        (x0 + dx, y0 + dy),
        (x1 + dx, y1 + dy),
        arrowstyle="-|>",
        connectionstyle=f"arc3,rad={bend}",
        patchA=boxes[0],
        patchB=boxes[1],
        shrinkA=scale,
        shrinkB=scale,
        mutation_scale=8 * scale,
        **style | {"linewidth": style["linewidth"] * scale},
    )
