"""Pictures of what goes on from step to step: for how long units remember, and what is left of each step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from ..traces import summary
from ..traces.record import Record, place
from ..traces.traced import ModelTrace, Trace
from .axes import (
    SIGNED,
    SMALL,
    axes_of,
    colour_of,
    figure_of,
    legend,
    line_styles,
    name_panel,
    numbers,
    panels_in,
    side_axis,
    steps_of,
    time_axis,
    width_for,
)
from .names import printed, title


def time_constants(of: Record | Trace | ModelTrace, ax: Axes | None = None) -> Figure:
    """For how many steps units remember: `summary.time_constants`, a line for each layer, the longest unit first.

    The legend names the units that remember longest. Above the grey line a unit outlasts the sequences, and its time
    constant is extrapolated. One that keeps all, or nothing, stands as a triangle at the edge.

    Args:
        of: a layer and direction of a trace, or all of a trace, of a layer or of a model.

    Raises:
        TypeError: `of` is neither, or `ax` no Axes.
        ValueError: a cell keeps nothing past its weights, as Elman's; or a layer of the model was called several times.

    Example:
        >>> import torch, scratchrnn as sr
        >>> trace = sr.trace(torch.nn.LSTM(3, 16, num_layers=2), torch.randn(50, 2, 3))
        >>> sr.plot.time_constants(trace).savefig("time_constants.png")
    """
    found = [*_time_constants(of)]
    ax = axes_of(ax, 8, 3.6)
    lines = {}
    for (label, _, tau), style in zip(found, line_styles(), strict=False):
        ranked, units = tau.sort(descending=True)
        longest = ", ".join(str(unit) for unit in units[:3].tolist())
        label = f"{label}\nmedian {tau.median():.3g}, longest: unit {longest}"
        values = [v if 0 < v < math.inf else math.nan for v in ranked.tolist()]
        (lines[label],) = ax.semilogy(range(len(values)), values, label=label, marker=".", **style)
        for marker, y, at in [("^", 1.0, tau.isinf()), ("v", 0.0, tau == 0)]:
            edge: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False, "markersize": 4}
            x = at[units].nonzero().flatten().tolist()
            ax.plot(x, [y] * len(x), marker, color=style["color"], **edge)
    T = max(int(record.valid().sum(0).max()) for _, record, _ in found)
    lines[f"{T} steps, the longest sequence"] = ax.axhline(T, color="0.5", linewidth=1)
    cells = dict.fromkeys(record.cell.name for _, record, _ in found)
    ax.set_title(", ".join(cells), fontsize=10, parse_math=False)
    ax.set(xlabel="units, the longest time constant first", ylabel="time constant in steps")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.grid(alpha=0.3)
    legend(ax, lines)
    return figure_of(ax)


def _time_constants(of: Record | Trace | ModelTrace) -> Iterator[tuple[str, Record, Tensor]]:
    """What each line is called, and shows."""
    for record in _records(of):
        where = place(record.name, record.layer, record.reverse)
        states: list[str | None] = [*summary.roads(record)] or [None]  # of which the summary says why there is none
        for state in states:
            label = f"{where}, {state}" if len(states) > 1 else where
            yield label, record, summary.time_constants(record, state)


def _records(of: Record | Trace | ModelTrace) -> Iterator[Record]:
    match of:
        case Record():
            yield of
        case Trace():
            yield from of.records.values()
        case ModelTrace():
            for name, calls in of.calls.items():
                if calls:
                    yield from of[name].records.values()
        case _:
            raise TypeError(f"of should be a trace, or a Record as trace(...).layer(k), got {type(of).__name__}")


def carried(
    record: Record,
    unit: int,
    sequence: int = 0,
    state: str | None = None,
    tokens: Sequence[Any] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """What is left in a unit, at each step, of what every earlier step wrote: `summary.contributions`.

    A row is a step that wrote, the topmost what was there before the first; a column is a step that reads, and adds up
    to the state, which is drawn above. A row that stays dark is remembered.

    Args:
        record: a layer and direction of a trace.
        unit: which unit.
        sequence: which one of the batch.
        state: which state, where several go on past the weights: see `summary.carried`.
        tokens: one for each step, to be written below and beside; the figure is as large as they need, about 40 inches
            at most.

    Raises:
        TypeError: `record` is no record, or `ax` no Axes.
        IndexError: there is no such unit or sequence.
        ValueError: not as many tokens as steps; and as of `summary.carried`.

    Example:
        >>> import torch, scratchrnn as sr
        >>> trace = sr.trace(torch.nn.LSTM(3, 4), torch.randn(5, 3))
        >>> sr.plot.carried(trace.layer(0), 2, tokens=[*"hello"]).savefig("carried.png")
    """
    steps = steps_of(record, sequence, tokens)
    left = summary.contributions(record, unit, sequence, state).cpu()
    name, _ = summary.carried(record, state)
    side = width_for(tokens, 6, side=True)
    ax = axes_of(ax, side + 1, side + 1.5)
    ax.set_title(title(record, f"unit {unit}", f"sequence {sequence}"), fontsize=10, pad=20, parse_math=False)
    height = figure_of(ax).get_figheight()
    (above, beside), (panel, bar) = panels_in(ax, [1.1 / height, 1], [1, 0.14 / height], gaps=(0.5 / height, 0.02))
    beside.set_axis_off()
    above.axhline(0, color="0.6", linewidth=0.8)
    above.plot(numbers(left.sum(0)), color=colour_of(record.cell, name), linewidth=1.6)
    name_panel(above, record, name)
    most = left.abs().max().item() or 1.0
    image = panel.imshow(
        numbers(left.masked_fill(_unwritten(steps, record.reverse), math.nan)),
        extent=(-0.5, steps - 0.5, steps - 0.5, -1.5),
        aspect="auto",
        interpolation="nearest",
        cmap=SIGNED,
        vmin=-most,
        vmax=most,
    )
    ax.figure.colorbar(image, cax=bar)
    bar.tick_params(labelsize=SMALL)
    said = f"what is left in {printed(name)} of what each step wrote: a column adds up to {printed(name)}"
    panel.set_title(said, loc="left", fontsize=9, pad=3, parse_math=False)
    panel.set_ylabel("written at step")
    above.set_xlim(-0.5, steps - 0.5)
    time_axis([above, panel], steps, tokens)
    side_axis(panel, steps, tokens, "start")
    return figure_of(ax)


def _unwritten(steps: int, reverse: bool) -> Tensor:
    """[T + 1, T]: where a step has not been yet when another reads."""
    later = torch.ones(steps, steps, dtype=torch.bool)
    later = later.triu(1) if reverse else later.tril(-1)
    return torch.cat([torch.zeros(1, steps, dtype=torch.bool), later])
