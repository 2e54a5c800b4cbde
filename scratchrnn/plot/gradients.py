"""Pictures of gradients: their norms over time, and what share each gate has in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from torch import Tensor

from ..traces import summary
from ..traces.record import Record
from .axes import axes_of, colour_of, figure_of, legend, line_styles, numbers, time_axis, width_for
from .names import short, title


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

    Example:
        >>> import torch, scratchrnn as sr
        >>> trace = sr.trace(torch.nn.RNN(3, 4), torch.randn(50, 1, 3), differentiable=True)
        >>> norms = sr.summary.gradient_norms(trace.gradients(trace.output[-1].sum()).layer(0))
        >>> sr.plot.gradient_norms({"Elman (nn.RNN)": norms}).savefig("norms.png")
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


def gate_shares(gradients: Record, tokens: Sequence[Any] | None = None, ax: Axes | None = None) -> Figure:
    """Each gate's share in the gradient that goes back into the weights, step by step: `summary.gate_shares`.

    A step that no gradient reaches stays empty.

    Args:
        gradients: a record of `Trace.gradients`, over all its sequences.
        tokens: one for each step, to be written below; the figure is as wide as for `gates`.

    Raises:
        TypeError: `gradients` is no record, or `ax` no Axes.
        ValueError: it is one of a trace itself, or there are not as many tokens as steps.

    Example:
        >>> import torch, scratchrnn as sr
        >>> trace = sr.trace(torch.nn.LSTM(3, 4), torch.randn(5, 1, 3), differentiable=True)
        >>> gradients = trace.gradients(trace.output[-1].sum()).layer(0)
        >>> sr.plot.gate_shares(gradients, tokens=[*"hello"]).savefig("shares.png")
    """
    shares = summary.gate_shares(gradients)
    if gradients.of_a_run():
        raise ValueError("gradients should be a record of Trace.gradients, got one of the trace itself")
    steps = len(next(iter(shares.values())))
    if tokens is not None and len(tokens) != steps:
        raise ValueError(f"tokens should be one for each of the {steps} steps, got {len(tokens)}")
    ax = axes_of(ax, width_for(tokens, 8), 3)
    ax.set_title(title(gradients), fontsize=10, pad=26, parse_math=False)
    edges = [t - 0.5 for t in range(steps + 1)]
    below, areas = torch.zeros(steps), dict[str, Artist]()
    for gate, share in shares.items():
        above = below + share.cpu()
        colour = colour_of(gradients.cell, gate)
        area = ax.stairs(numbers(above), edges, baseline=numbers(below), fill=True, color=colour)
        areas[short(gradients.cell, gate)] = area
        below = above
    ax.set(xlim=(-0.5, steps - 0.5), ylim=(0, 1), ylabel="share of the squared gradient")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    time_axis([ax], steps, tokens)
    legend(ax, areas, above=True)
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
