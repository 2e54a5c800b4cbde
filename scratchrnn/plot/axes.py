"""Axes, panels, lines, legends and steps, as every picture of this room has them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from torch import Tensor

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe & Ito: for every eye


_STYLES = ("-", "--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)))  # five to seven colours: 35 lines that differ


SIGNED, UNSIGNED = "PuOr", "cividis"  # 0 white in the middle; from dark to light, in grey too


SMALL = 8  # points


def numbers(tensor: Tensor) -> Any:
    """Of any dtype and device, for matplotlib."""
    return tensor.detach().double().cpu().numpy()


def line_styles() -> Iterator[dict[str, Any]]:
    """A colour and a dash pattern for each line: 35 that differ."""
    for n in count():
        yield {"color": COLOURS[n % len(COLOURS)], "linestyle": _STYLES[n % len(_STYLES)], "linewidth": 1.6}


def axes_of(
    ax: Axes | None, width: float, height: float, layout: Literal["constrained"] | None = "constrained"
) -> Axes:
    """The given axes, or those of a new figure of that many inches: without a layout they fill it."""
    if ax is None:
        figure = Figure(figsize=(width, height), layout=layout)
        return figure.add_axes((0, 0, 1, 1)) if layout is None else figure.add_subplot()
    if not isinstance(ax, Axes):
        raise TypeError(f"ax should be an Axes of matplotlib, got {type(ax).__name__}")
    return ax


def figure_of(ax: Axes) -> Figure:
    """The figure that the axes belong to."""
    return ax.figure.figure  # of a subfigure, too, the whole


def panels_in(
    ax: Axes, heights: Sequence[float] = (1,), widths: Sequence[float] = (1,), gaps: tuple[float, float] = (0, 0)
) -> list[list[Axes]]:
    """Divide the axes into rows of panels, in these proportions, the gaps in parts of all rows' or columns' mean."""
    ax.set_axis_off()
    rows = [(1 - start - size, size) for start, size in _divide(heights, gaps[0])]
    columns = _divide(widths, gaps[1])
    return [[ax.inset_axes((x, y, width, height)) for x, width in columns] for y, height in rows]


def _divide(sizes: Sequence[float], gap: float) -> list[tuple[float, float]]:
    """Start and size of each part of the interval from 0 to 1."""
    gap *= sum(sizes) / len(sizes)
    total = sum(sizes) + gap * (len(sizes) - 1)
    return [((sum(sizes[:n]) + gap * n) / total, size / total) for n, size in enumerate(sizes)]


def legend(panel: Axes, lines: Mapping[str, Line2D]) -> None:
    """The lines by their names, as they are: the legend itself leaves out what begins with an underscore."""
    legend = panel.legend(
        lines.values(),
        ["line"] * len(lines),
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        fontsize=9,
        frameon=False,
        handlelength=2.8,
    )
    for text, name in zip(legend.get_texts(), lines, strict=True):
        text.set(text=name, parse_math=False)


def time_axis(panels: Sequence[Axes], steps: int, tokens: Sequence[Any] | None) -> None:
    """The same steps for all panels, with labels below the lowest."""
    for panel in panels:
        panel.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        panel.tick_params(labelbottom=panel is panels[-1], labelsize=SMALL)
    lowest = panels[-1]
    lowest.set_xlabel("step")
    if tokens is None:
        return
    printed = [shown(token) for token in tokens]
    longest = max(len(token) for token in printed)
    points = lowest.get_window_extent().width * 72 / figure_of(lowest).dpi
    upright = steps * longest * 0.8 * SMALL <= points
    every = 1 if upright else math.ceil(steps * 1.2 * SMALL / points)
    for panel in panels:
        at = range(0, steps, every)
        panel.set_xticks(at, printed[::every], rotation=0 if upright else 90, parse_math=False)


def shown(token: Any) -> str:
    """A token in print: the end of a line as an arrow, a blank as an open box."""
    text = str(token).replace("\n", "↵")
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return text if text.strip() else "␣" * len(text)


def expect_index(name: str, index: int, size: int, what: str) -> None:
    """Raise an IndexError that names the argument, unless 0 <= index < size."""
    if not 0 <= index < size:
        raise IndexError(f"{name} should be a {what} from 0 to {size - 1}, got {index}")
