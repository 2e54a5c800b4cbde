"""A picture of a benchmark: ratios to torch.nn against the size of the work, and times along one size at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from ..bench.implementations import THEIRS
from ..bench.results import Result
from .axes import COLOURS

_MARKERS = "osD^vPX*"


def endings() -> list[str]:
    """Of the files that a figure can be saved as."""
    return sorted(Figure().canvas.get_supported_filetypes())


def figure(results: Sequence[Result]) -> Figure:
    """Above, for each cell, ratio against FLOP of a call; below, time against T, B or H where a suite varies them."""
    timed = [r for r in results if r.times]
    cells = list(dict.fromkeys(r.case.cell for r in timed))
    lines = {size: found for size in ("T", "B", "H") if (found := _series(timed, size))}
    rows, columns = 1 + bool(lines), max(len(cells), len(lines), 1)
    made = Figure(figsize=(4.2 * columns, 3.8 * rows), layout="constrained")
    axes = made.subplots(rows, columns, squeeze=False, sharey="row")
    for ax in axes.flat:
        ax.set_visible(False)
        ax.tick_params(labelleft=True)
    names = [n for n in dict.fromkeys(r.implementation for r in timed) if n != THEIRS]
    groups = list(dict.fromkeys(r.case.group for r in timed))
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate([*names, THEIRS])}
    for ax, cell in zip(axes[0], cells, strict=False):
        _ratios(ax, [r for r in timed if r.case.cell == cell and r.implementation != THEIRS], colours, groups)
        ax.set_title(cell)
    if lines:
        for ax, (size, series) in zip(axes[1], lines.items(), strict=False):
            _times(ax, size, series, colours)
    made.legend(handles=_legend(colours, groups, lines), loc="outside lower center", ncols=4, fontsize=8)
    return made


def _legend(colours: dict[str, str], groups: Sequence[str], lines: dict[str, Any]) -> list[Line2D]:
    """Colours are implementations, markers groups of shapes, filled is training; below, line styles are cells."""

    def mark(label: str, marker: str = "o", **style: Any) -> Line2D:
        return Line2D([], [], linestyle="none", marker=marker, label=label, **style)

    shown = [mark(name, color=colour) for name, colour in colours.items() if name != THEIRS or lines]
    shown += [mark(g, _MARKERS[k % len(_MARKERS)], color="0.4") for k, g in enumerate(groups)]
    shown += [mark("inference", color="0.4", markerfacecolor="white"), mark("training", color="0.4")]
    cells = dict.fromkeys(cell for series in lines.values() for cell, _, _ in series)
    return shown + [Line2D([], [], color="0.4", linestyle=_style(cell), label=cell) for cell in cells]


def _ratios(ax: Any, results: Sequence[Result], colours: dict[str, str], groups: list[str]) -> None:
    ax.set_visible(True)
    for name, colour in colours.items():
        for k, group in enumerate(groups):
            for training in (False, True):
                chosen = [
                    r for r in results if (r.implementation, r.case.group, r.case.training) == (name, group, training)
                ]
                ax.plot(
                    [r.case.work.flops for r in chosen],
                    [r.ratio for r in chosen],
                    marker=_MARKERS[k % len(_MARKERS)],
                    linestyle="none",
                    markersize=5,
                    color=colour,
                    markerfacecolor=colour if training else "white",
                    label=f"{name}, {group}, {'training' if training else 'inference'}",
                )
    ax.axhline(1, color="0.3", linewidth=1)
    ax.set(xscale="log", yscale="log", xlabel="FLOP of one call", ylabel="ratio to torch.nn")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.grid(alpha=0.3)


def _series(results: Sequence[Result], size: str) -> dict[tuple[str, str, str], list[Result]]:
    """Results along one size, the others the same: at least three, by cell, work and implementation."""
    along: dict[Any, list[Result]] = {}
    for r in results:
        if r.case.group == size:
            work = "training" if r.case.training else "inference"
            along.setdefault((r.case.cell, work, r.implementation), []).append(r)
    return {key: sorted(found, key=lambda r: getattr(r.case, size)) for key, found in along.items() if len(found) > 2}


def _style(cell: str) -> Any:
    return {"LSTM": "-", "GRU": "--", "RNN": ":"}.get(cell, "-.")


def _times(ax: Any, size: str, series: dict[tuple[str, str, str], list[Result]], colours: dict[str, str]) -> None:
    ax.set_visible(True)
    for (cell, work, name), found in series.items():
        if work == "training":
            x, y = [getattr(r.case, size) for r in found], [r.time * 1e3 for r in found]
            ax.plot(x, y, _style(cell), color=colours[name], marker=".", linewidth=1.2, label=f"{cell}, {name}")
    first = next(iter(series.values()))[0].case
    fixed = ", ".join(f"{s}={getattr(first, s)}" for s in ("T", "B", "H") if s != size)
    ax.set(xscale="log", yscale="log", xlabel=f"{size} ({fixed})", ylabel="ms of a step of training")
    ax.grid(alpha=0.3)
