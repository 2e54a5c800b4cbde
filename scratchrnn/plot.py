"""Pictures of traces, gradients, weights and cells, by matplotlib.

Each function returns the figure. It draws into `ax`, an Axes of yours, or into a figure of its own; what has several
panels divides the axes, and the panels are then its `child_axes`. Nothing global changes: pyplot is not used. Colours
are for every eye, and lines differ in their style, too, for print without colour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.lines import Line2D
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
    from matplotlib.path import Path
    from matplotlib.textpath import TextPath
    from matplotlib.ticker import MaxNLocator, PercentFormatter
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("scratchrnn.plot needs matplotlib: pip install 'scratchrnn[plot]'") from error

from .cells.cell import Cell
from .diagram import lay_out
from .equations.latex import latex_name
from .equations.linear import linear_forward
from .equations.source import equations
from .layers.recurrent import RecurrentLayer
from .traces.record import Record, expect_record
from .traces.summary import Saturation, saturable, saturation, span
from .traces.trace import run_by

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe & Ito: for every eye
_STYLES = ("-", "--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)))  # five to seven colours: 35 lines that differ
_SIGNED, _UNSIGNED = "PuOr", "cividis"  # 0 white in the middle; from dark to light, in grey too
_SMALL = 8  # points

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
    ax = _axes(ax, 7, 0.4 + 1.1 * len(names))
    ax.set_title(f"{record.cell.name}, sequence {sequence}", fontsize=10, parse_math=False)
    panels = _panels(ax, heights=[1] * len(names), widths=[1, 0.02], gaps=(0.35, 0.02))
    for name, (panel, bar) in zip(names, panels, strict=True):
        values = _numbers(record[name][:steps, sequence]).T  # [H, T]
        image = panel.imshow(values, aspect="auto", interpolation="nearest", **_scale(record, name))
        low, high = image.get_clim()
        ax.figure.colorbar(image, cax=bar, ticks=[low, (low + high) / 2, high], format="{x:.3g}")
        bar.tick_params(labelsize=_SMALL)
        panel.set_title(name, loc="left", fontsize=10)
        panel.set_ylabel("unit")
        panel.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    _time_axis([panel for panel, _ in panels], steps, tokens)
    return _figure(ax)


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
    _expect_index("k", k, min(record[name].shape[-1] for name in names), "unit")
    groups = {"gate": [n for n in names if n in record.cell.gates]}
    groups["state"] = [n for n in names if n not in groups["gate"]]
    groups = {what: found for what, found in groups.items() if found}
    ax = _axes(ax, 7, 0.6 + 1.8 * len(groups))
    ax.set_title(f"{record.cell.name}, unit {k}, sequence {sequence}", fontsize=10, parse_math=False)
    panels = [panel for (panel,) in _panels(ax, heights=[1] * len(groups), gaps=(0.12, 0))]
    styles = _line_styles()
    for panel, (what, found) in zip(panels, groups.items(), strict=True):
        panel.axhline(0, color="0.6", linewidth=0.8)
        lines = {}
        for name in found:
            (lines[name],) = panel.plot(_numbers(record[name][:steps, sequence, k]), label=name, **next(styles))
        panel.set_ylabel(what if set(found) <= {*record.cell.gates, *record.cell.states} else "value")
        panel.margins(x=0.01)
        _legend(panel, lines)
    _time_axis(panels, steps, tokens)
    return _figure(ax)


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
    ax = _axes(ax, 0.8 + 2.2 * len(names), 2.6)
    ax.set_title(record.cell.name, fontsize=10, pad=18, parse_math=False)
    shares = saturation(record)
    panels = _panels(ax, widths=[1] * len(names), gaps=(0, 0.28))[0]
    for name, panel in zip(names, panels, strict=True):
        values = _numbers(record[name][record.valid()]).ravel()
        bounds = span(record, name)
        panel.hist(values, bins=40, range=bounds, weights=[1 / values.size] * values.size, color=COLOURS[0])
        panel.set_title(name, fontsize=10)
        panel.set_ylabel("share of values" if panel is panels[0] else "")
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        panel.tick_params(labelsize=_SMALL)
        if bounds is not None:
            _mark_saturation(panel, bounds, shares[name])
    return _figure(ax)


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
            fontsize=_SMALL,
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
    ax = _axes(ax, 8, 3.6)
    lines = {}
    for (name, norm), style in zip(norms.items(), _line_styles(), strict=False):
        values = _numbers(norm)
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
    _legend(ax, lines)
    return _figure(ax)


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


def weights(layer: nn.RNNBase | RecurrentLayer, k: int = 0, reverse: bool = False, ax: Axes | None = None) -> Figure:
    """The weights and biases of one layer and direction as images, on one scale that has 0 in its middle.

    Lines separate the gates' blocks of rows. A projection has its own rows and its own panel.

    Args:
        layer: a layer of torch.nn or of scratchrnn.
        k: which of its layers.
        reverse: the direction.

    Raises:
        TypeError: `layer` is no such layer, or `ax` no Axes.
        IndexError: it has no layer k, or no reverse direction.
    """
    if not isinstance(layer, (nn.RNNBase, RecurrentLayer)):
        raise TypeError(f"layer should be a recurrent layer of torch.nn or scratchrnn, got {type(layer).__name__}")
    _expect_index("k", k, layer.num_layers, "layer")
    if reverse and not layer.bidirectional:
        raise IndexError("reverse should be False: the layer has the forward direction only")
    layer = run_by(layer)
    matrices = _matrices(layer, k, reverse)
    largest = max(m.abs().max().item() for m in matrices.values())
    columns = sum(m.shape[1] for m in matrices.values())
    widths = [max(m.shape[1] / columns, 0.12) for m in matrices.values()]
    ax = _axes(ax, 8, 4.2)
    title = f"{layer.cell.name}, layer {k}{', reverse' if reverse else ''}"
    ax.set_title(title, fontsize=10, pad=20, parse_math=False)
    *panels, bar = _panels(ax, widths=[*widths, 0.03], gaps=(0, 0.16))[0]
    for (name, matrix), panel in zip(matrices.items(), panels, strict=True):
        image = panel.imshow(
            _numbers(matrix), cmap=_SIGNED, vmin=-largest, vmax=largest, aspect="auto", interpolation="nearest"
        )
        panel.set_title(name, fontsize=10)
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.tick_params(labelsize=_SMALL)
        if name != "weight_hr":
            _mark_blocks(panel, layer.cell.gates, layer.hidden_size)
        if name == "bias":
            panel.set_xticks([0, 1], ["ih", "hh"])
    ax.figure.colorbar(image, cax=bar)
    bar.tick_params(labelsize=_SMALL)
    return _figure(ax)


def _matrices(layer: RecurrentLayer, k: int, reverse: bool) -> dict[str, Tensor]:
    """By torch.nn's names, the two biases as the columns of one matrix."""
    ih, hh, bias_ih, bias_hh, hr = layer._weights(k, int(reverse))
    found = {"weight_ih": ih, "weight_hh": hh}
    if bias_ih is not None and bias_hh is not None:
        found["bias"] = torch.stack([bias_ih, bias_hh], 1)
    return found if hr is None else found | {"weight_hr": hr}


def _mark_blocks(panel: Axes, gates: Sequence[str], H: int) -> None:
    for n in range(1, len(gates)):
        panel.axhline(n * H - 0.5, color="black", linewidth=1)
    panel.set_yticks([(n + 0.5) * H - 0.5 for n in range(len(gates))], gates)
    panel.tick_params(axis="y", length=0, labelsize=10)


# ------------------------------------------------------------------------------------------------ equations


def diagram(cell: Cell, ax: Axes | None = None) -> Figure:
    """A cell's equations, a box for each, with arrows from the box that makes a value to those that use it.

    At the left what the weights give and the states before, at the right the states. States have a thick frame,
    gates are blue. In axes of yours the letters are as large as fits their size at the call.

    Raises:
        TypeError: `cell` is no `Cell`, or `ax` no Axes.
        ValueError: its `update` cannot be read: see `equations.equations`.
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"cell should be a Cell, as scratchrnn.cells.lstm, got {type(cell).__name__}")
    texts, sources = _boxes(cell)
    sizes = {name: _size(text) for name, text in texts.items()}
    outputs = [_output(s) for s in cell.states]
    placed = lay_out(sources, sizes, last=outputs)
    width, height = (size + 2 * _BORDER for size in placed.size)
    ax = _axes(ax, width / 72, height / 72, layout=None)
    ax.set(xlim=(-_BORDER, width - _BORDER), ylim=(-_BORDER, height - _BORDER), aspect="equal")
    ax.set_axis_off()
    room = ax.get_window_extent()
    scale = min(room.width / width, room.height / height) * 72 / _figure(ax).dpi
    for route in placed.routes.values():
        ax.add_patch(_arrow(route, scale))
    states = {*cell.states, *outputs, *(f"{s}_prev" for s in cell.states)}
    for name, centre in placed.centres.items():
        fill = (COLOURS[4], 0.3) if name in states else (COLOURS[5], 0.3) if name in cell.gates else "white"
        ax.add_patch(_frame(centre, sizes[name], facecolor=fill, linewidth=(1.8 if name in states else 0.8) * scale))
        ax.text(*centre, texts[name], ha="center", va="center", size=_LETTERS * scale, math_fontfamily="cm")
    return _figure(ax)


_LETTERS, _BORDER = 12, 12  # points


def _boxes(cell: Cell) -> tuple[dict[str, str], dict[str, list[str]]]:
    """What is written in each box, and from which others each is made."""
    computed = equations(cell)
    used = {name for line in computed for name in line.names}
    texts = {line.target: f"${line.latex()}$" for line in linear_forward(cell)}
    texts |= {f"{s}_prev": f"${latex_name(f'{s}_prev')}$" for s in cell.states if f"{s}_prev" in used}
    sources: dict[str, list[str]] = {name: [] for name in texts}
    texts |= {line.target: f"${line.latex()}$" for line in computed}
    sources |= {line.target: list(line.names) for line in computed}
    texts |= {_output(s): f"${latex_name(s)}$" for s in cell.states}
    sources |= {_output(s): [s] for s in cell.states}
    return texts, sources


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


# -------------------------------------------------------------------------------------------- what is shown


def _numbers(tensor: Tensor) -> Any:
    return tensor.detach().double().cpu().numpy()


def _scale(record: Record, name: str) -> dict[str, Any]:
    """Colours and their limits, the same for all sequences of the record."""
    low, high = span(record, name) or (-math.inf, math.inf)
    if low >= 0:
        return {"cmap": _UNSIGNED, "vmin": low, "vmax": high}
    largest = high if high < math.inf else record[name].abs().max().item() or 1.0
    return {"cmap": _SIGNED, "vmin": -largest, "vmax": largest}


def _line_styles() -> Iterator[dict[str, Any]]:
    for n in count():
        yield {"color": COLOURS[n % len(COLOURS)], "linestyle": _STYLES[n % len(_STYLES)], "linewidth": 1.6}


# ---------------------------------------------------------------------------------------------------- axes


def _axes(ax: Axes | None, width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Axes:
    """The given axes, or those of a new figure of that many inches: without a layout they fill it."""
    if ax is None:
        figure = Figure(figsize=(width, height), layout=layout)
        return figure.add_axes((0, 0, 1, 1)) if layout is None else figure.add_subplot()
    if not isinstance(ax, Axes):
        raise TypeError(f"ax should be an Axes of matplotlib, got {type(ax).__name__}")
    return ax


def _figure(ax: Axes) -> Figure:
    return ax.figure.figure  # of a subfigure, too, the whole


def _panels(
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


def _legend(panel: Axes, lines: Mapping[str, Line2D]) -> None:
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


def _time_axis(panels: Sequence[Axes], steps: int, tokens: Sequence[Any] | None) -> None:
    """The same steps for all panels, with labels below the lowest."""
    for panel in panels:
        panel.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        panel.tick_params(labelbottom=panel is panels[-1], labelsize=_SMALL)
    lowest = panels[-1]
    lowest.set_xlabel("step")
    if tokens is None:
        return
    shown = [_shown(token) for token in tokens]
    longest = max(len(token) for token in shown)
    points = lowest.get_window_extent().width * 72 / _figure(lowest).dpi
    upright = steps * longest * 0.8 * _SMALL <= points
    every = 1 if upright else math.ceil(steps * 1.2 * _SMALL / points)
    for panel in panels:
        at = range(0, steps, every)
        panel.set_xticks(at, shown[::every], rotation=0 if upright else 90, parse_math=False)


def _shown(token: Any) -> str:
    """A token in print: the end of a line as an arrow, a blank as an open box."""
    text = str(token).replace("\n", "↵")
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return text if text.strip() else "␣" * len(text)


# ------------------------------------------------------------------------------------------------- arguments


def _expect_index(name: str, index: int, size: int, what: str) -> None:
    if not 0 <= index < size:
        raise IndexError(f"{name} should be a {what} from 0 to {size - 1}, got {index}")


def _steps(record: Record, sequence: int, tokens: Sequence[Any] | None) -> int:
    """How many steps the sequence has."""
    expect_record(record)
    lengths = record.valid().sum(0)
    _expect_index("sequence", sequence, len(lengths), "sequence")
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
