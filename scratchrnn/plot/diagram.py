"""A cell drawn as boxes and arrows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from ..cells.cell import Cell
from ..equations.equations import Equations
from ..equations.latex import latex, latex_name
from ..equations.linear import linear_forward
from ..equations.lines import Line
from .axes import axes_of, colour_of, figure_of
from .layout import lay_out
from .names import printed


def diagram(cell: Cell, ax: Axes | None = None) -> Figure:
    """A cell's equations, a box for each, with arrows from the box that makes a value to those that use it.

    At the left the states before and what the weights give, at the right the states. States have a thick frame, and
    each state and gate its colour. In axes of yours the letters are as large as fits their size at the call.

    Raises:
        TypeError: `cell` is no `Cell`, or `ax` no Axes.
        ValueError: its `update` cannot be read: see `equations.Equations`.

    Example:
        >>> import scratchrnn as sr
        >>> sr.plot.diagram(sr.cells.gru).savefig("gru.png")
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"cell should be a Cell, as scratchrnn.cells.lstm, got {type(cell).__name__}")
    texts, sources = _boxes(cell)
    sizes = {name: _size(text) for name, text in texts.items()}
    outputs = [_output(s) for s in cell.states]
    placed = lay_out(sources, sizes, last=outputs)
    width, height = (size + 2 * _BORDER for size in placed.size)
    ax = axes_of(ax, width / 72, height / 72, layout=None)
    ax.set(xlim=(-_BORDER, width - _BORDER), ylim=(-_BORDER, height - _BORDER), aspect="equal")
    ax.set_axis_off()
    room = ax.get_window_extent()
    scale = min(room.width / width, room.height / height) * 72 / figure_of(ax).dpi
    for route in placed.routes.values():
        ax.add_patch(_arrow(route, scale))
    states = {*cell.states, *outputs, *(f"{s}_prev" for s in cell.states)}
    for name, centre in placed.centres.items():
        known = name in states or name in cell.gates
        fill = (colour_of(cell, name.removesuffix(" out")), 0.25) if known else "white"
        ax.add_patch(_frame(centre, sizes[name], facecolor=fill, linewidth=(1.8 if name in states else 0.8) * scale))
        ax.text(*centre, texts[name], ha="center", va="center", size=_LETTERS * scale, math_fontfamily="cm")
    return figure_of(ax)


_LETTERS, _BORDER = 12, 12  # points


def _boxes(cell: Cell) -> tuple[dict[str, str], dict[str, list[str]]]:
    """What is written in each box, and from which others each is made."""
    computed, numbers = Equations(cell).forward, Equations(cell).numbers
    linear = linear_forward(cell)
    used = {name for line in (*linear, *computed) for name in line.names}
    states = [f"{s}_prev" for s in cell.states if f"{s}_prev" in used]
    texts = {name: f"${latex_name(name)}$" for name in states} | {line.target: f"${line.latex()}$" for line in linear}
    sources: dict[str, list[str]] = {name: [] for name in states}
    sources |= {line.target: [name for name in states if name in line.names] for line in linear}
    texts |= {line.target: f"${_latex(line, computed)}$" for line in computed}
    sources |= {line.target: [name for name in line.names if name not in numbers] for line in computed}
    texts |= {_output(s): f"${latex_name(s)}$" for s in cell.states}
    sources |= {_output(s): [s] for s in cell.states}
    return texts, sources


def _latex(line: Line, lines: Sequence[Line]) -> str:
    r"""The line, with `\tanh(c)` for `tanh_c`, and for the line that makes it."""
    functions = {each.target: latex(each.expression) for each in lines if printed(each.target) == each.right}
    text = functions.get(line.target, line.latex())
    for name, function in functions.items():
        text = text.replace(latex_name(name), function)
    return text


def _output(state: str) -> str:
    return f"{state} out"  # no name of a line


def _size(text: str) -> tuple[float, float]:
    """Width and height of a box around the text."""
    extent = TextPath((0, 0), text, size=_LETTERS, prop=FontProperties(math_fontfamily="cm")).get_extents()
    return extent.width + 14, max(extent.height, _LETTERS) + 12


def _frame(centre: tuple[float, float], size: tuple[float, float], **style: Any) -> FancyBboxPatch:
    (x, y), (w, h) = centre, size
    return FancyBboxPatch(
        (x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0,rounding_size=4", edgecolor="black", **style
    )


def _arrow(route: Sequence[tuple[float, float]], scale: float) -> FancyArrowPatch:
    """Level through the columns, a curve in each gap between them."""
    points, codes = [route[0]], [Path.MOVETO]
    for n, ((x0, y0), (x, y)) in enumerate(pairwise(route)):
        middle = (x0 + x) / 2
        points += [(x, y)] if n % 2 == 0 else [(middle, y0), (middle, y), (x, y)]
        codes += [Path.LINETO] if n % 2 == 0 else [Path.CURVE4] * 3
    line_width = 0.9 * scale
    return FancyArrowPatch(
        path=Path(points, codes), arrowstyle="-|>", mutation_scale=9 * scale, color="0.25", linewidth=line_width
    )
