"""A picture of a benchmark: ratios to torch.nn against the size of the work, and times along one size at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from .bench import Case, Result
from .implementations import THEIRS

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe & Ito: for every eye
_MARKERS = "osD^vPX*"


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
    colours = {name: _COLOURS[k % len(_COLOURS)] for k, name in enumerate([*names, THEIRS])}
    for ax, cell in zip(axes[0], cells, strict=False):
        _ratios(ax, [r for r in timed if r.case.cell == cell and r.implementation != THEIRS], colours, groups)
        ax.set_title(cell)
    if lines:
        for ax, (size, series) in zip(axes[1], lines.items(), strict=False):
            _times(ax, size, series, colours)
    handles: dict[str, Any] = {}
    for ax in axes.flat:
        handles |= {label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    made.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, fontsize=8)
    return made


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
                    label=f"{name}, {group}, {'training' if training else 'inference'}" if chosen else None,
                )
    ax.axhline(1, color="0.3", linewidth=1)
    ax.set(xscale="log", yscale="log", xlabel="FLOP of one call", ylabel="times as fast as torch.nn")
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


_STYLES = ("-", "--", ":", "-.")


def _times(ax: Any, size: str, series: dict[tuple[str, str, str], list[Result]], colours: dict[str, str]) -> None:
    ax.set_visible(True)
    cells = list(dict.fromkeys(cell for cell, work, _ in series if work == "training"))
    for (cell, work, name), found in series.items():
        if work == "training":
            x = [getattr(r.case, size) for r in found]
            style = _STYLES[cells.index(cell) % len(_STYLES)]
            ax.plot(
                x, [r.time * 1e3 for r in found], style, color=colours[name], label=f"{cell}, {name}", linewidth=1.2
            )
    fixed = found_case(series)
    ax.set(xscale="log", yscale="log", xlabel=f"{size} ({_others(fixed, size)})", ylabel="ms for one step of training")
    ax.grid(alpha=0.3)


def found_case(series: dict[tuple[str, str, str], list[Result]]) -> Case:
    return next(iter(series.values()))[0].case


def _others(case: Case, size: str) -> str:
    return ", ".join(f"{s}={getattr(case, s)}" for s in ("T", "B", "H") if s != size)
