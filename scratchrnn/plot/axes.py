"""Axes, panels, lines, legends and steps, as every picture of this room has them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D, Bbox
from torch import Tensor

from ..cells.cell import Cell
from ..traces.palette import LINES, places
from ..traces.palette import SIGNED as PALETTE
from ..traces.record import Record, expect_record
from .names import panel_title, thing

COLOURS = LINES["light"]
_STYLES = ("-", "--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)))  # five to seven colours: 35 lines that differ
SIGNED = LinearSegmentedColormap.from_list("signed", PALETTE["light"])
UNSIGNED = LinearSegmentedColormap.from_list("unsigned", PALETTE["light"][1:])
"""From the least value to the largest: 0 is pale, and what is above it blue, in both."""
SMALL = 8  # points


def numbers(tensor: Tensor) -> Any:
    """Of any dtype and device, for matplotlib."""
    return tensor.detach().double().cpu().numpy()


def line_styles() -> Iterator[dict[str, Any]]:
    """A colour and a dash pattern for each line: 35 that differ."""
    for n in count():
        round, place = divmod(n, len(COLOURS))
        yield {"color": COLOURS[place], "linestyle": _STYLES[(place + round) % len(_STYLES)], "linewidth": 1.6}


def colour_of(cell: Cell, name: str) -> str:
    """That of the gate or state, the same in every picture; grey for what belongs to none."""
    place = places(cell).get(thing(cell, name))
    return "0.35" if place is None else COLOURS[place]


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


def name_panel(panel: Axes, record: Record, name: str) -> None:
    """What the panel shows, above it and in the colour of the gate or state."""
    colour = colour_of(record.cell, name)
    panel.set_title(panel_title(record, name), loc="left", fontsize=9, pad=3, color=colour, parse_math=False)


def legend(panel: Axes, lines: Mapping[str, Artist], above: bool = False) -> None:
    """The lines by their names, as they are: the legend itself leaves out what begins with an underscore."""
    at_the_side: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
    in_a_row: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": len(lines)}
    legend = panel.legend(
        lines.values(),
        ["line"] * len(lines),
        fontsize=9,
        frameon=False,
        handlelength=2.8,
        **(in_a_row if above else at_the_side),
    )
    for text, name in zip(legend.get_texts(), lines, strict=True):
        text.set(text=name, parse_math=False)


def width_for(tokens: Sequence[Any] | None, otherwise: float, side: bool = False) -> float:
    """Inches in which each token can be read below the steps, or at the side, too; at most 40."""
    each = 0.0 if tokens is None else _TURNED if side else min(_upright(tokens), _TURNED)
    return min(max(otherwise, len(tokens or ()) * each / 72 / _SHARE), 40)


_SHARE = 0.74  # of a new figure the panels take at least so much


def _upright(tokens: Sequence[Any]) -> float:
    """How many points wide the longest is, and a gap."""
    return 0.62 * SMALL * max(len(shown(token)) for token in tokens) + 1.5


_TURNED = 1.2 * SMALL  # points that a token takes on its side


def time_axis(panels: Sequence[Axes], steps: int, tokens: Sequence[Any] | None) -> None:
    """The same steps for all panels, with labels below the lowest."""
    for panel in panels:
        panel.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        panel.tick_params(labelbottom=panel is panels[-1], labelsize=SMALL)
    lowest = panels[-1]
    lowest.set_xlabel("step")
    if tokens is not None:
        room = _points(lowest).width / steps
        upright = _upright(tokens) <= room
        for panel in panels:
            at = range(0, steps, 1 if upright else math.ceil(_TURNED / room))
            _write(panel.xaxis, at, [shown(tokens[t]) for t in at], 0 if upright else 90)


def side_axis(panel: Axes, steps: int, tokens: Sequence[Any] | None, start: str) -> None:
    """The steps down the side, below what was before the first."""
    every = math.ceil(_TURNED / (_points(panel).height / (steps + 1)))
    if tokens is None:
        at = [int(t) for t in MaxNLocator(10, integer=True).tick_values(0, steps - 1) if every - 1 <= t < steps]
        labels = [start, *map(str, at)]
    else:
        at = [*range(every - 1, steps, every)]
        labels = [start, *(shown(tokens[t]) for t in at)]
    _write(panel.yaxis, [-1, *at], labels, 0)


def _points(panel: Axes) -> Bbox:
    return panel.get_window_extent().transformed(Affine2D().scale(72 / figure_of(panel).dpi))


def _write(axis: Axis, at: Sequence[float], labels: Sequence[str], rotation: int) -> None:
    axis.set_ticks(at, labels, rotation=rotation, parse_math=False, family="monospace", fontsize=SMALL)


def shown(token: Any) -> str:
    """A token in print: the end of a line as an arrow, a blank as an open box."""
    text = str(token).replace("\n", "⏎")
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return text if text.strip() else "␣" * len(text)


def expect_index(name: str, index: int, size: int, what: str) -> None:
    """Raise an IndexError that names the argument, unless 0 <= index < size."""
    if not 0 <= index < size:
        raise IndexError(f"{name} should be a {what} from 0 to {size - 1}, got {index}")


def steps_of(record: Record, sequence: int, tokens: Sequence[Any] | None) -> int:
    """How many steps the sequence has; the record, the sequence and the tokens fit, or it raises."""
    expect_record(record)
    lengths = record.valid().sum(0)
    expect_index("sequence", sequence, len(lengths), "sequence")
    steps = int(lengths[sequence])
    if tokens is not None and len(tokens) != steps:
        raise ValueError(
            f"tokens should be one for each of the {steps} steps of sequence {sequence}, got {len(tokens)}"
        )
    return steps
