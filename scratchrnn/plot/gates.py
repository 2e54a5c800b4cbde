"""Pictures of a trace: gates and states over a sequence, of all units or one, and how their values spread."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from ..traces.record import Record, expect_record
from ..traces.summary import Saturation, saturable, saturation, span
from .axes import (
    SIGNED,
    SMALL,
    UNSIGNED,
    axes_of,
    colour_of,
    expect_index,
    figure_of,
    name_panel,
    numbers,
    panels_in,
    steps_of,
    time_axis,
    width_for,
)
from .names import short, title


def gates(
    record: Record,
    sequence: int = 0,
    names: Sequence[str] | None = None,
    tokens: Sequence[Any] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Each gate and state of a layer as it reads one sequence: a panel for each, units down, steps across.

    0 is pale, what is above it blue, below orange. A gate's colours span what it can be: a sigmoid's 0 to 1, a tanh's
    -1 to 1, a state's the largest absolute value on both sides of 0. Pre-activations share one scale, and so does
    everything in a record of gradients, whose largest hundredth lies beyond it. Steps behind the sequence's end
    are left out.

    Args:
        record: a layer and direction of a trace, `trace(...).layer(k)`, or of its gradients.
        sequence: which one of the batch.
        names: of the tensors to show; otherwise the cell's gates, as far as its tape keeps them, and its states.
        tokens: what the sequence consists of, one for each step, to be written below the steps. A figure of its own is
            as wide as they need, up to 40 inches; where there is no room for all, every n-th is written.

    Raises:
        TypeError: `record` is no record, `names` no list of names, or `ax` no Axes.
        IndexError: there is no such sequence.
        KeyError: the record has no such name.
        ValueError: there are no names, or not as many tokens as steps.

    Example:
        >>> import torch, scratchrnn as sr
        >>> trace = sr.trace(torch.nn.LSTM(3, 4), torch.randn(5, 3))
        >>> sr.plot.gates(trace.layer(0), tokens=[*"hello"]).savefig("gates.png")
    """
    steps = steps_of(record, sequence, tokens)
    names = _names(record, names, [*record.cell.gates, *record.cell.states])
    ax = axes_of(ax, width_for(tokens, 7), 0.6 + 1.2 * len(names))
    ax.set_title(title(record, f"sequence {sequence}"), fontsize=10, pad=20, parse_math=False)
    bar_width = 0.14 / figure_of(ax).get_figwidth()  # inches
    panels = panels_in(ax, heights=[1] * len(names), widths=[1, bar_width], gaps=(0.42, 0.02))
    limits = _limits(record, {name: record[name] for name in names})
    for name, (panel, bar) in zip(names, panels, strict=True):
        values = numbers(record[name][:steps, sequence]).T  # [H, T]
        low, high = limits[name]
        colours = UNSIGNED if low == 0 else SIGNED
        image = panel.imshow(values, aspect="auto", interpolation="nearest", cmap=colours, vmin=low, vmax=high)
        beyond = "both" if not record.of_a_run() and record[name].abs().max() > high else "neither"
        ax.figure.colorbar(image, cax=bar, ticks=[low, (low + high) / 2, high], format="{x:.3g}", extend=beyond)
        bar.tick_params(labelsize=SMALL)
        name_panel(panel, record, name)
        panel.set_ylabel("unit", fontsize=SMALL)
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
    """The gates and states of unit k as lines over one sequence, a panel for each; arguments and errors as of `gates`.

    The panels have the scales of `gates`, as far as this unit goes. Under a projection the emitted state mixes all
    units: it is shown only if named.

    Raises:
        IndexError: there is no such unit, too.

    Example:
        >>> import torch, scratchrnn as sr
        >>> trace = sr.trace(torch.nn.GRU(3, 4), torch.randn(5, 3))
        >>> sr.plot.unit(trace.layer(0), 2, tokens=[*"hello"]).savefig("unit.png")
    """
    steps = steps_of(record, sequence, tokens)
    H = max(t.shape[-1] for t in record.tensors.values())
    of_units = [
        n for n in (*record.cell.gates, *record.cell.states) if n in record.tensors and record[n].shape[-1] == H
    ]
    names = _names(record, names, of_units)
    expect_index("k", k, min(record[name].shape[-1] for name in names), "unit")
    ax = axes_of(ax, width_for(tokens, 7), 0.6 + 1.05 * len(names))
    ax.set_title(title(record, f"unit {k}", f"sequence {sequence}"), fontsize=10, pad=20, parse_math=False)
    panels = [panel for (panel,) in panels_in(ax, heights=[1] * len(names), gaps=(0.5, 0))]
    values = {name: record[name][:steps, sequence, k] for name in names}
    limits = _limits(record, values)
    for name, panel in zip(names, panels, strict=True):
        low, high = limits[name]
        panel.axhline(0, color="0.6", linewidth=0.8)
        panel.plot(numbers(values[name]), color=colour_of(record.cell, name), linewidth=1.6)
        panel.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
        panel.set_yticks([low, (low + high) / 2, high])
        panel.yaxis.set_major_formatter("{x:.3g}")
        panel.set_xlim(-0.5, steps - 0.5)
        name_panel(panel, record, name)
    time_axis(panels, steps, tokens)
    return figure_of(ax)


def histograms(record: Record, names: Sequence[str] | None = None, ax: Axes | None = None) -> Figure:
    """How the values of each gate are distributed, over the steps of all sequences and all units, on one scale.

    Where a gate has bounds, what lies within 5 % of its range from them is shaded, and its share written there: the
    mean over units of `summary.saturation`. Of a run that diverged the finite values are shown, as shares of all.

    Args:
        record: a layer and direction of a trace.
        names: of the tensors to show; otherwise the gates, and for a cell whose tape keeps none, as Elman's, the
            emitted state.

    Raises:
        TypeError, KeyError, ValueError: as `gates`.

    Example:
        >>> import torch, scratchrnn as sr
        >>> trace = sr.trace(torch.nn.LSTM(3, 4), torch.randn(50, 2, 3))
        >>> sr.plot.histograms(trace.layer(0)).savefig("histograms.png")
    """
    expect_record(record)
    names = _names(record, names, saturable(record))
    ax = axes_of(ax, max(1 + 2.2 * len(names), 6), 3)
    ax.set_title(title(record), fontsize=10, pad=24, parse_math=False)
    shares = saturation(record)
    panels = panels_in(ax, widths=[1] * len(names), gaps=(0, 0.2))[0]
    for name, panel in zip(names, panels, strict=True):
        of_all = record[name][record.valid()]
        values = numbers(of_all[of_all.isfinite()])
        bounds = span(record, name)
        colour = colour_of(record.cell, name)
        panel.hist(values, bins=40, range=bounds, weights=[1 / of_all.numel()] * values.size, color=colour)
        panel.set_title(short(record.cell, name), fontsize=9, color=colour, parse_math=False)
        panel.set_ylabel("share of values" if panel is panels[0] else "")
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        panel.tick_params(labelsize=SMALL, labelleft=panel is panels[0])
        if bounds is not None:
            _mark_saturation(panel, bounds, shares[name])
    highest = max(panel.get_ylim()[1] for panel in panels)
    for panel in panels:
        panel.set_ylim(0, 1.15 * highest)  # room for the shares
    if any(span(record, name) for name in names):
        meaning = "within 5 % of an end of the range, as good as closed or open: so many of the values"
        ax.legend(
            handles=[Patch(color=_BAND, label=meaning)],
            loc="upper center",
            bbox_to_anchor=(0.5, -0.12),
            fontsize=SMALL,
            frameon=False,
        )
    return figure_of(ax)


_BAND = "0.85"


def _mark_saturation(panel: Axes, bounds: tuple[float, float], shares: Saturation) -> None:
    low, high = bounds
    margin = 0.05 * (high - low)
    panel.set_xlim(low, high)
    panel.set_xticks([low + margin, (low + high) / 2, high - margin])
    for edge, inside, align, share in [
        (low, low + margin, "left", shares.low),
        (high, high - margin, "right", shares.high),
    ]:
        panel.axvspan(edge, inside, color=_BAND, linewidth=0, zorder=0)
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


# -------------------------------------------------------------------------------------------- what is shown


def _limits(record: Record, values: Mapping[str, Tensor]) -> dict[str, tuple[float, float]]:
    """The least and the largest value of each panel: a gate's span; states have their own, all others one scale."""
    if not record.of_a_run():  # a few steps have most of it
        most = _largest(values.values(), share=0.99)
        return dict.fromkeys(values, (-most, most))
    found, states = {}, {*record.cell.states, *(f"{s}_prev" for s in record.cell.states)}
    others = [name for name in values if name not in states and span(record, name) is None]
    for name in values:
        most = _largest([values[n] for n in (others if name in others else [name])])
        low, high = span(record, name) or (-most, most)
        found[name] = (0.0, high) if low >= 0 else (-max(-low, high), max(-low, high))
    return found


def _largest(values: Iterable[Tensor], share: float = 1.0) -> float:
    """The largest absolute value, or that below which so many of them lie; 1 where all are 0."""
    sizes = torch.cat([t.detach().double().flatten() for t in values]).abs().nan_to_num(0.0, 0.0)
    within = sizes.kthvalue(math.ceil(share * len(sizes))).values.item()
    return within or sizes.max().item() or 1.0


def _names(record: Record, names: Sequence[str] | None, otherwise: Sequence[str]) -> list[str]:
    if isinstance(names, str):
        raise TypeError(f"names should be a list of names, got {names!r}")
    found = [n for n in otherwise if n in record.tensors] if names is None else [*names]
    if not found:
        raise ValueError("names should have one at least, got none")
    for name in found:
        record[name]  # raises what it raises for a name that is not there
    return found
