"""A picture of a layer's weights."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor, nn

from ..cells.cell import Cell
from ..layers.recurrent import RecurrentLayer
from ..traces.record import place
from ..traces.run_by import run_by
from .axes import SIGNED, SMALL, axes_of, colour_of, expect_index, figure_of, numbers, panels_in
from .names import short


def weights(
    layer: nn.RNNBase | RecurrentLayer, k: int = 0, reverse: bool = False, ax: Axes | None = None, *, name: str = ""
) -> Figure:
    """The weights and biases of one layer and direction as images, on one scale that has 0 in its middle.

    Above 0 is blue, below orange. Lines separate the gates' blocks of rows. A projection has its own rows and its own
    panel.

    Args:
        layer: a layer of torch.nn or of scratchrnn.
        k: which of its layers.
        reverse: the direction.
        name: what the model calls the layer, `encoder.lstm`, for the title.

    Raises:
        TypeError: `layer` is no such layer, or `ax` no Axes.
        IndexError: it has no layer k, or no reverse direction.

    Example:
        >>> import torch, scratchrnn as sr
        >>> sr.plot.weights(torch.nn.LSTM(3, 4)).savefig("weights.png")
    """
    if not isinstance(layer, (nn.RNNBase, RecurrentLayer)):
        raise TypeError(f"layer should be a recurrent layer of torch.nn or scratchrnn, got {type(layer).__name__}")
    expect_index("k", k, layer.num_layers, "layer")
    if reverse and not layer.bidirectional:
        raise IndexError("reverse should be False: the layer has the forward direction only")
    layer = run_by(layer)
    matrices = _matrices(layer, k, reverse)
    largest = max(m.abs().max().item() for m in matrices.values())
    columns = sum(m.shape[1] for m in matrices.values())
    widths = [max(m.shape[1] / columns, 0.12) for m in matrices.values()]
    ax = axes_of(ax, 8, 4.2)
    ax.set_title(f"{layer.cell.name}, {place(name, k, reverse)}", fontsize=10, pad=20, parse_math=False)
    *panels, bar = panels_in(ax, widths=[*widths, 0.03], gaps=(0, 0.16))[0]
    for (matrix_name, matrix), panel in zip(matrices.items(), panels, strict=True):
        image = panel.imshow(
            numbers(matrix), cmap=SIGNED, vmin=-largest, vmax=largest, aspect="auto", interpolation="nearest"
        )
        panel.set_title(matrix_name, fontsize=10)
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.tick_params(labelsize=SMALL)
        if matrix_name != "weight_hr":
            _mark_blocks(panel, layer.cell, layer.hidden_size, first=panel is panels[0])
        if matrix_name == "bias":
            panel.set_xticks([0, 1], ["ih", "hh"])
    ax.figure.colorbar(image, cax=bar)
    bar.tick_params(labelsize=SMALL)
    return figure_of(ax)


def _matrices(layer: RecurrentLayer, k: int, reverse: bool) -> dict[str, Tensor]:
    """By torch.nn's names, the two biases as the columns of one matrix."""
    ih, hh, bias_ih, bias_hh, hr = layer._weights(k, int(reverse))
    found = {"weight_ih": ih, "weight_hh": hh}
    if bias_ih is not None and bias_hh is not None:
        found["bias"] = torch.stack([bias_ih, bias_hh], 1)
    return found if hr is None else found | {"weight_hr": hr}


def _mark_blocks(panel: Axes, cell: Cell, H: int, first: bool) -> None:
    """The gates' rows, each by its name and in its colour, the first panel's in words."""
    for n in range(1, len(cell.gates)):
        panel.axhline(n * H - 0.5, color="black", linewidth=1)
    named = [short(cell, gate) if first else gate for gate in cell.gates]
    panel.set_yticks([(n + 0.5) * H - 0.5 for n in range(len(cell.gates))], named, parse_math=False)
    panel.tick_params(axis="y", length=0, labelsize=9)
    for gate, label in zip(cell.gates, panel.get_yticklabels(), strict=True):
        label.set_color(colour_of(cell, gate))
