"""Pictures of traces, gradients, weights and cells, by matplotlib.

Each function returns the figure. It draws into `ax`, an Axes of yours, or into a figure of its own; what has several
panels divides the axes, and the panels are then its `child_axes`. Nothing global changes: pyplot is not used. Colours
are for every eye, and lines differ in their style, too, for print without colour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from ..traces.record import Record, expect_record
from ..traces.summary import Saturation, saturable, saturation, span
from .axes import (
    COLOURS,
    SIGNED,
    SMALL,
    UNSIGNED,
    axes_of,
    expect_index,
    figure_of,
    legend,
    line_styles,
    numbers,
    panels_in,
    time_axis,
)

# ---------------------------------------------------------------------------------------------------- traces


def gates(
    record: Record,
    sequence: int = 0,
    names: Sequence[str] | None = None,
    tokens: Sequence[Any] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Each gate and state of a layer as it reads one sequence: a panel for each, units down, steps across.

    A gate's colours span what it can be: a sigmoid's 0 to 1, a tanh's -1 to 1; the others' span the largest absolute
    value to both sides of 0. Steps behind the sequence's end are left out.

    Args:
        record: a layer and direction of a trace, `trace(...).layer(k)`.
        sequence: which one of the batch.
        names: of the tensors to show; otherwise the cell's gates, as far as its tape keeps them, and its states.
        tokens: what the sequence consists of, one for each step, to be written below the steps; only every n-th where
            there is no room for more.

    Raises:
        TypeError: `record` is no record, `names` no list of names, or `ax` no Axes.
        IndexError: there is no such sequence.
        KeyError: the record has no such name.
        ValueError: there are no names, or not as many tokens as steps.
    """
    steps = _steps(record, sequence, tokens)
    names = _names(record, names, [*record.cell.gates, *record.cell.states])
    ax = axes_of(ax, 7, 0.4 + 1.1 * len(names))
    ax.set_title(f"{record.cell.name}, sequence {sequence}", fontsize=10, parse_math=False)
    panels = panels_in(ax, heights=[1] * len(names), widths=[1, 0.02], gaps=(0.35, 0.02))
    for name, (panel, bar) in zip(names, panels, strict=True):
        values = numbers(record[name][:steps, sequence]).T  # [H, T]
        image = panel.imshow(values, aspect="auto", interpolation="nearest", **_scale(record, name))
        low, high = image.get_clim()
        ax.figure.colorbar(image, cax=bar, ticks=[low, (low + high) / 2, high], format="{x:.3g}")
        bar.tick_params(labelsize=SMALL)
        panel.set_title(name, loc="left", fontsize=10)
        panel.set_ylabel("unit")
        panel.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    time_axis([panel for panel, _ in panels], steps, tokens)
    return figure_of(ax)


def unit(
    record: Record,
    k: int,
    sequence: int = 0,
    names: Sequence[str] | None = None,
    tokens: Sequence[Any] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """The gates of unit k, and below them its states, as lines over one sequence; arguments and errors as of `gates`.

    Under a projection the emitted state mixes all units: it is shown only if named.

    Raises:
        IndexError: there is no such unit, too.
    """
    steps = _steps(record, sequence, tokens)
    H = max(t.shape[-1] for t in record.tensors.values())
    of_units = [
        n for n in (*record.cell.gates, *record.cell.states) if n in record.tensors and record[n].shape[-1] == H
    ]
    names = _names(record, names, of_units)
    expect_index("k", k, min(record[name].shape[-1] for name in names), "unit")
    groups = {"gate": [n for n in names if n in record.cell.gates]}
    groups["state"] = [n for n in names if n not in groups["gate"]]
    groups = {what: found for what, found in groups.items() if found}
    ax = axes_of(ax, 7, 0.6 + 1.8 * len(groups))
    ax.set_title(f"{record.cell.name}, unit {k}, sequence {sequence}", fontsize=10, parse_math=False)
    panels = [panel for (panel,) in panels_in(ax, heights=[1] * len(groups), gaps=(0.12, 0))]
    styles = line_styles()
    for panel, (what, found) in zip(panels, groups.items(), strict=True):
        panel.axhline(0, color="0.6", linewidth=0.8)
        lines = {}
        for name in found:
            (lines[name],) = panel.plot(numbers(record[name][:steps, sequence, k]), label=name, **next(styles))
        panel.set_ylabel(what if set(found) <= {*record.cell.gates, *record.cell.states} else "value")
        panel.margins(x=0.01)
        legend(panel, lines)
    time_axis(panels, steps, tokens)
    return figure_of(ax)


def histograms(record: Record, names: Sequence[str] | None = None, ax: Axes | None = None) -> Figure:
    """How the values of each gate are distributed, over the steps of all sequences and all units.

    Where a gate has bounds, what lies within 5 % of its range from them is shaded, and its share written there: the
    mean over units of `summary.saturation`.

    Args:
        record: a layer and direction of a trace.
        names: of the tensors to show; otherwise the gates, and for a cell whose tape keeps none, as Elman's, the
            emitted state.

    Raises:
        TypeError, KeyError, ValueError: as `gates`.
    """
    expect_record(record)
    names = _names(record, names, saturable(record))
    ax = axes_of(ax, 0.8 + 2.2 * len(names), 2.6)
    ax.set_title(record.cell.name, fontsize=10, pad=18, parse_math=False)
    shares = saturation(record)
    panels = panels_in(ax, widths=[1] * len(names), gaps=(0, 0.28))[0]
    for name, panel in zip(names, panels, strict=True):
        values = numbers(record[name][record.valid()]).ravel()
        bounds = span(record, name)
        panel.hist(values, bins=40, range=bounds, weights=[1 / values.size] * values.size, color=COLOURS[0])
        panel.set_title(name, fontsize=10)
        panel.set_ylabel("share of values" if panel is panels[0] else "")
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        panel.tick_params(labelsize=SMALL)
        if bounds is not None:
            _mark_saturation(panel, bounds, shares[name])
    return figure_of(ax)


def _mark_saturation(panel: Axes, bounds: tuple[float, float], shares: Saturation) -> None:
    low, high = bounds
    margin = 0.05 * (high - low)
    panel.set_xlim(low, high)
    panel.set_xticks([low + margin, (low + high) / 2, high - margin])
    panel.set_ylim(top=1.2 * panel.get_ylim()[1])  # room for the shares
    for edge, inside, align, share in [
        (low, low + margin, "left", shares.low),
        (high, high - margin, "right", shares.high),
    ]:
        panel.axvspan(edge, inside, color=COLOURS[4], alpha=0.4, linewidth=0, zorder=0)
        panel.annotate(
            f"{share.mean().item():.1%}",
            (inside, 0.98),
            xycoords=panel.get_xaxis_transform(),
            xytext=(3 if align == "left" else -3, 0),
            textcoords="offset points",
            ha=align,
            va="top",
            fontsize=SMALL,
        )


# ------------------------------------------------------------------------------------------------- gradients


def gradient_norms(
    norms: Mapping[str, Tensor],
    radii: Mapping[str, Mapping[str, float]] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """||dL/dh_t|| against t on a logarithmic axis, a line for each model: which gradients vanish, which explode.

    A norm of 0 has no place on that axis: the line has a gap there, and a triangle at the lower edge stands for it.

    Args:
        norms: for each model `summary.gradient_norms(gradients)`, [T].
        radii: for some of the models `summary.spectral_radius(layer)`, to be written into the legend.

    Raises:
        TypeError: `norms` or `radii` is no mapping, or `ax` no Axes.
        ValueError: there are no norms, some are not [T], or `radii` has a name that `norms` has not.
    """
    _expect_norms(norms, radii)
    ax = axes_of(ax, 8, 3.6)
    lines = {}
    for (name, norm), style in zip(norms.items(), line_styles(), strict=False):
        values = numbers(norm)
        label = f"{name}\n{_radii(radii[name])}" if radii and name in radii else name
        shown = [v if v > 0 else math.nan for v in values]
        (lines[label],) = ax.semilogy(range(len(values)), shown, label=label, **style)
        zeros = [t for t, v in enumerate(values) if v == 0]
        at_edge: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False, "markersize": 4}
        ax.plot(zeros, [0.0] * len(zeros), "v", color=style["color"], **at_edge)
    if any((norm == 0).any() for norm in norms.values()):
        (lines["norm 0"],) = ax.plot([], [], "v", color="0.4", label="norm 0")
    ax.set(xlabel="step t", ylabel=r"$\Vert\, \partial L / \partial h_t \,\Vert$")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(alpha=0.3)
    legend(ax, lines)
    return figure_of(ax)


def _radii(of_gates: Mapping[str, float]) -> str:
    return "\N{GREEK SMALL LETTER RHO}(W_h): " + ", ".join(f"{gate} {radius:.2f}" for gate, radius in of_gates.items())


def _expect_norms(norms: Any, radii: Any) -> None:
    for what, given in [("norms", norms), ("radii", radii or {})]:
        if not isinstance(given, Mapping):
            raise TypeError(f"{what} should be a mapping from the models' names, got {type(given).__name__}")
    if not norms:
        raise ValueError("norms should have a model at least, got none")
    for name, norm in norms.items():
        if not isinstance(norm, Tensor) or norm.dim() != 1 or not len(norm):
            came = list(norm.shape) if isinstance(norm, Tensor) else type(norm).__name__
            raise ValueError(f"norms[{name!r}] should be a tensor [T], got {came}")
    if radii and not radii.keys() <= norms.keys():
        raise ValueError(f"radii should name models of norms, {', '.join(norms)}, got {', '.join(radii)}")


# --------------------------------------------------------------------------------------------------- weights


# ------------------------------------------------------------------------------------------------ equations


# -------------------------------------------------------------------------------------------- what is shown


def _scale(record: Record, name: str) -> dict[str, Any]:
    """Colours and their limits, the same for all sequences of the record."""
    low, high = span(record, name) or (-math.inf, math.inf)
    if low >= 0:
        return {"cmap": UNSIGNED, "vmin": low, "vmax": high}
    largest = high if high < math.inf else record[name].abs().max().item() or 1.0
    return {"cmap": SIGNED, "vmin": -largest, "vmax": largest}


# ---------------------------------------------------------------------------------------------------- axes


# ------------------------------------------------------------------------------------------------- arguments


def _steps(record: Record, sequence: int, tokens: Sequence[Any] | None) -> int:
    """How many steps the sequence has."""
    expect_record(record)
    lengths = record.valid().sum(0)
    expect_index("sequence", sequence, len(lengths), "sequence")
    steps = int(lengths[sequence])
    if tokens is not None and len(tokens) != steps:
        raise ValueError(
            f"tokens should be one for each of the {steps} steps of sequence {sequence}, got {len(tokens)}"
        )
    return steps


def _names(record: Record, names: Sequence[str] | None, otherwise: Sequence[str]) -> list[str]:
    if isinstance(names, str):
        raise TypeError(f"names should be a list of names, got {names!r}")
    found = [n for n in otherwise if n in record.tensors] if names is None else [*names]
    if not found:
        raise ValueError("names should have one at least, got none")
    for name in found:
        record[name]  # raises what it raises for a name that is not there
    return found
