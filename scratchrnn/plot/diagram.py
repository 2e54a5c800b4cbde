"""A cell drawn as boxes and arrows."""

from __future__ import annotations

import ast
import copy
from collections.abc import Collection, Sequence
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


def diagram(cell: Cell, ax: Axes | None = None, *, highlight: str | None = None) -> Figure:
    """A cell's equations, a box for each, with arrows from the box that makes a value to those that use it.

    At the left the states before and what the weights give, at the right the states. States have a thick frame, and
    each state and gate its colour. In axes of yours the letters are as large as fits their size at the call.

    With `highlight` it is small enough for a telephone: a box has a name alone, that of a gate or state, and one of
    them has its colour, with the arrows there and away. Below stand its line and those that use it, whole.

    Args:
        cell: one of the package's or of your own.
        ax: where to draw.
        highlight: the gate or state to show: "f".

    Raises:
        TypeError: `cell` is no `Cell`, or `ax` no Axes.
        ValueError: its `update` cannot be read: see `equations.Equations`; or no line of it makes `highlight`.

    Example:
        >>> import scratchrnn as sr
        >>> sr.plot.diagram(sr.cells.gru).savefig("gru.png")
        >>> sr.plot.diagram(sr.cells.lstm, highlight="f").savefig("lstm-f.png")
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"cell should be a Cell, as scratchrnn.cells.lstm, got {type(cell).__name__}")
    if highlight is not None:
        return _highlighted(cell, highlight, ax)
    texts, sources = _boxes(cell)
    sizes = {name: size_of(text) for name, text in texts.items()}
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
        ax.text(*centre, texts[name], ha="center", va="center", size=_LETTERS * scale, math_fontfamily=_MATHS)
    return figure_of(ax)


_LETTERS, _BORDER = 12, 12  # points
_MATHS = "stix"  # near to what a browser has, where the picture is an SVG with letters as text


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


def size_of(text: str, letters: float = _LETTERS) -> tuple[float, float]:
    """Width and height of a box around the text."""
    extent = TextPath((0, 0), text, size=letters, prop=FontProperties(math_fontfamily=_MATHS)).get_extents()
    return extent.width + 14, max(extent.height, letters) + 12


def _frame(centre: tuple[float, float], size: tuple[float, float], **style: Any) -> FancyBboxPatch:
    (x, y), (w, h) = centre, size
    return FancyBboxPatch(
        (x - w / 2, y - h / 2), w, h, boxstyle="round,pad=0,rounding_size=4", edgecolor="black", **style
    )


def _arrow(
    route: Sequence[tuple[float, float]], scale: float, color: str = "0.25", weight: float = 0.9
) -> FancyArrowPatch:
    """Level through the columns, a curve in each gap between them."""
    points, codes = [route[0]], [Path.MOVETO]
    for n, ((x0, y0), (x, y)) in enumerate(pairwise(route)):
        middle = (x0 + x) / 2
        points += [(x, y)] if n % 2 == 0 else [(middle, y0), (middle, y), (x, y)]
        codes += [Path.LINETO] if n % 2 == 0 else [Path.CURVE4] * 3
    line_width = weight * scale
    return FancyArrowPatch(
        path=Path(points, codes), arrowstyle="-|>", mutation_scale=9 * scale, color=color, linewidth=line_width
    )


# ------------------------------------------------------------------------------------------------ one at a time


_READ = 14  # points: the letters of the small diagram


def _highlighted(cell: Cell, name: str, ax: Axes | None) -> Figure:
    lines = _whole(cell)
    if name not in lines:
        raise ValueError(f"highlight should be a gate or state that a line makes, {', '.join(lines)}, got {name!r}")
    texts, sources = _names(cell, lines)
    sizes = {box: size_of(text, _READ) for box, text in texts.items()}
    placed = lay_out(sources, sizes, gaps=(48, 14))
    shown = [f"${lines[name].latex()}$", *(f"${line.latex()}$" for line in lines.values() if name in line.names)]
    below = [size_of(text, _READ) for text in shown]
    width = max(placed.size[0], *(w for w, _ in below)) + 2 * _BORDER
    under = sum(h for _, h in below) + _BORDER
    height = placed.size[1] + under + 2 * _BORDER
    ax = axes_of(ax, width / 72, height / 72, layout=None)
    left = (placed.size[0] - width) / 2
    ax.set(xlim=(left, left + width), ylim=(-_BORDER - under, height - _BORDER - under), aspect="equal")
    ax.set_axis_off()
    room = ax.get_window_extent()
    scale = min(room.width / width, room.height / height) * 72 / figure_of(ax).dpi
    colour = colour_of(cell, name)
    for ends, route in sorted(placed.routes.items(), key=lambda item: name in item[0]):  # those in colour on top
        ax.add_patch(_arrow(route, scale, *((colour, 2.2) if name in ends else ("0.7", 0.9))))
    letters: Any = {"ha": "center", "va": "center", "size": _READ * scale, "math_fontfamily": _MATHS}
    near = {name, *sources[name], *(box for box, used in sources.items() if name in used)}
    for box, centre in placed.centres.items():
        ink = colour if box == name else "black" if box in near else "0.5"
        frame = _frame(centre, sizes[box], facecolor=(colour, 0.2) if box == name else "white")
        frame.set(edgecolor=ink, linewidth=(1.8 if box in cell.states else 0.8) * scale)
        ax.add_patch(frame)
        ax.text(*centre, texts[box], color=ink, **letters)
    y = -float(_BORDER)
    for text, (_, h) in zip(shown, below, strict=True):
        ax.text(placed.size[0] / 2, y - h / 2, text, color=colour if text == shown[0] else "black", **letters)
        y -= h
    return figure_of(ax)


def _whole(cell: Cell) -> dict[str, Line]:
    """A line for each gate and state that has one, with all that is neither written out within it."""
    lines = {line.target: line for line in (*linear_forward(cell), *Equations(cell).forward)}
    named = [name for name in lines if name in cell.gates or name in cell.states]
    whole = _Whole({name: line.expression for name, line in lines.items() if name not in named})
    return {name: Line(name, whole.visit(copy.deepcopy(lines[name].expression))) for name in named}


class _Whole(ast.NodeTransformer):
    """Names exchanged for their expressions."""

    def __init__(self, expressions: dict[str, ast.expr]) -> None:
        self.expressions = expressions

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self.expressions:
            return node
        found: ast.expr = self.visit(copy.deepcopy(self.expressions[node.id]))
        return found


def _names(cell: Cell, named: Collection[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """What is written in each box, a name, and from which others each is made; "x" is all that goes through weights."""
    made_of = {name: sources_of(cell, name, named) for name in named}
    used = {name for made_from in made_of.values() for name in made_from}
    before = [f"{s}_prev" for s in cell.states]
    texts = {name: f"${latex_name(name)}$" for name in before if name in used} | {"x": f"$x, {latex_name(before[0])}$"}
    texts |= {name: f"${latex_name(name)}$" for name in named}
    return texts, {box: made_of.get(box, []) for box in texts}


def sources_of(cell: Cell, name: str, named: Collection[str]) -> list[str]:
    """Of which of the `named` and of the states before a line's target is computed.

    "x" stands for what comes through the weights, from x and h_prev.
    """
    of = Equations(cell)
    lines = {line.target: line for line in of.forward}
    found: dict[str, None] = {}
    left = [*lines[name].names]
    for used in left:
        if used in of.pre_activations:
            found["x"] = None
        elif used in named or used.removesuffix("_prev") in cell.states:
            found[used] = None
        elif used not in of.numbers:
            left += lines[used].names
    return [*found]
