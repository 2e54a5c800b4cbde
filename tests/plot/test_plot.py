"""What the pictures show: their data, labels and limits; what they refuse."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from running import each_row, error, layers, leaf, states
from table import ROWS, TWINNED, Row, coupled, mgu, pair
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import scratchrnn as sr
from scratchrnn import plot
from scratchrnn.bench.cases import Case
from scratchrnn.bench.implementations import OURS
from scratchrnn.bench.results import Result
from scratchrnn.cells import elman, gru, lstm
from scratchrnn.cells.twins import BUILT_IN
from scratchrnn.plot import axes
from scratchrnn.plot import bench as bench_plot
from scratchrnn.plot.axes import COLOURS, line_styles
from scratchrnn.plot.diagram import _boxes, _names, _whole
from scratchrnn.plot.layout import lay_out
from scratchrnn.traces import Record, Trace
from scratchrnn.traces.palette import LINES, SIGNED, places
from scratchrnn.traces.summary import (
    contributions,
    gate_shares,
    gradient_norms,
    saturation,
    spectral_radius,
    time_constants,
)
from scratchrnn.traces.words import words

T, B, I, H = 6, 3, 4, 5  # noqa: E741 - input_size
LENGTHS = [4, 6, 2]
CELLS = [*BUILT_IN.values(), mgu, coupled, pair]
LSTM = next(row for row in ROWS if row.name == "LSTM")


def packed_record(row: Row = LSTM, **options: Any) -> Record:
    """Of the reverse direction of layer 1, from a random state, sequences of other lengths."""
    layer = row.layer(I, H, num_layers=2, bidirectional=True, dtype=torch.float64, **options)
    x = pack_sequence([leaf(n, I) for n in LENGTHS], enforce_sorted=False)
    return sr.trace(layer, x, states(row, layer, B)).layer(1, reverse=True)


def drawn(figure: Figure) -> list[Axes]:
    """The panels of a figure, drawn once so that labels and limits are what is seen."""
    FigureCanvasAgg(figure).draw()
    (ax,) = figure.axes
    return ax.child_axes


def image(panel: Axes) -> Any:
    (found,) = panel.images
    return found


def labels(panel: Axes) -> list[str]:
    return [label.get_text() for label in panel.get_xticklabels()]


def named(panels: list[Axes]) -> dict[str, Axes]:
    """By what stands before the colon of their titles."""
    return {panel.get_title(loc="left").split(": ")[0]: panel for panel in panels if panel.get_title(loc="left")}


def images(figure: Figure) -> dict[str, Axes]:
    return {name: panel for name, panel in named(drawn(figure)).items() if panel.images}


# ---------------------------------------------------------------------------------------------------- gates


@each_row
def test_every_gate_and_state_is_an_image_of_the_records_numbers_to_the_sequences_end(row: Row) -> None:
    record = packed_record(row)
    figure = plot.gates(record, sequence=2)
    panels = images(figure)
    assert [*panels] == [n for n in dict.fromkeys([*row.cell.gates, *row.cell.states]) if n in record]
    for name, panel in panels.items():
        np.testing.assert_array_equal(image(panel).get_array(), record[name][: LENGTHS[2], 2].T)
    assert figure.axes[0].get_title() == f"{row.cell.name}, layer 1, reverse, sequence 2"
    assert {panel.get_ylabel() for panel in panels.values()} == {"unit"}
    assert [panel.get_xlabel() for panel in panels.values()] == [""] * (len(panels) - 1) + ["step"]


def test_the_colours_of_a_gate_span_what_it_can_be_and_others_have_zero_in_the_middle() -> None:
    record = packed_record()
    record.c.mul_(7)
    panels = images(plot.gates(record, names=["f", "g", "c"]))
    largest = record.c.abs().max().item()
    for name, cmap, limits in [
        ("f", "unsigned", (0, 1)),
        ("g", "signed", (-1, 1)),
        ("c", "signed", (-largest, largest)),
    ]:
        assert image(panels[name]).get_cmap().name == cmap
        assert image(panels[name]).get_clim() == limits
    bars = [panel for panel in drawn(plot.gates(record, names=["f", "g"])) if not panel.images]
    ticks = [[t.get_text().replace("\N{MINUS SIGN}", "-") for t in bar.get_yticklabels()] for bar in bars]
    assert ticks == [["0", "0.5", "1"], ["-1", "0", "1"]]


def test_a_gate_that_is_closed_for_good_keeps_its_colours() -> None:
    record = packed_record()
    record.f.zero_()
    assert image(images(plot.gates(record))["f"]).get_clim() == (0, 1)


def test_the_sign_has_the_colours_of_the_page() -> None:
    low, zero, high = SIGNED["light"]
    assert [to_hex(axes.SIGNED(x)) for x in (0.0, 0.5, 1.0)] == [low, to_hex(axes.SIGNED(128)), high]
    assert to_rgba(zero) == pytest.approx(axes.SIGNED(128), abs=0.01)
    assert [to_hex(axes.UNSIGNED(x)) for x in (0.0, 1.0)] == [zero, high]


def test_pre_activations_share_one_scale() -> None:
    record = packed_record()
    record.f_pre.mul_(5)
    panels = images(plot.gates(record, names=["i_pre", "f_pre", "c", "h_prev"]))
    largest = record.f_pre.abs().max().item()
    assert image(panels["i_pre"]).get_clim() == image(panels["f_pre"]).get_clim() == (-largest, largest)
    assert image(panels["h_prev"]).get_clim()[1] == record.h_prev.abs().max().item()


def test_gradients_share_one_scale_which_a_hundredth_of_them_goes_beyond() -> None:
    trace = sr.trace(nn.LSTM(I, H), torch.randn(T, B, I), differentiable=True)
    gradients = trace.gradients(trace.output.square().sum()).layer(0)
    figure = plot.gates(gradients, names=["f", "c"])
    panels = images(figure)
    sizes = torch.cat([gradients.f.flatten(), gradients.c.flatten()]).abs().sort().values
    within = sizes[math.ceil(0.99 * len(sizes)) - 1].item()
    assert [image(panel).get_clim() for panel in panels.values()] == [(-within, within)] * 2
    assert {image(panel).get_cmap().name for panel in panels.values()} == {"signed"}
    beyond = [image(panel).colorbar.extend for panel in panels.values()]
    assert beyond == ["both" if gradients[n].abs().max() > within else "neither" for n in ("f", "c")]
    assert "both" in beyond
    assert list(panels) == ["dL/df", "dL/dc"]


def test_the_gradient_of_nothing_is_drawn() -> None:
    trace = sr.trace(nn.LSTM(I, H), torch.randn(T, B, I), differentiable=True)
    gradients = trace.gradients(0 * trace.output.sum()).layer(0)
    assert image(images(plot.gates(gradients))["dL/df"]).get_clim() == (-1, 1)


def test_a_panel_says_what_it_shows_in_the_colour_of_the_gate_or_state() -> None:
    record = sr.trace(nn.LSTM(I, H), torch.randn(T, B, I), halves=True).layer(0)
    names = ["f", "c", "tanh_c", "f_pre", "f_x", "f_h", "c_prev"]
    found = {
        panel.get_title(loc="left"): panel._left_title.get_color()  # type: ignore[attr-defined]
        for panel in drawn(plot.gates(record, names=names))
        if panel.images
    }
    f, c = (COLOURS[places(lstm)[name]] for name in "fc")
    assert found == {
        "f: forget gate: how much of the cell state is kept, 0 none, 1 all": f,
        "c: cell state: what the unit remembers": c,
        "tanh(c): the cell state, brought between \N{MINUS SIGN}1 and 1": c,
        "f_pre: f before its nonlinearity": f,
        "f_x: what the input gives to f": f,
        "f_h: what h of the step before gives to f": f,
        "c_prev: c of the step before": c,
    }


def test_what_nobody_has_words_for_is_named() -> None:
    record = sr.trace(sr.RecurrentLayer(pair, I, H), torch.randn(T, B, I)).layer(0)
    assert [p.get_title(loc="left") for p in drawn(plot.gates(record, names=["a", "m", "u_pre"])) if p.images] == [
        "a",
        "m",
        "u_pre: u before its nonlinearity",
    ]


def commented(f: torch.Tensor, n: torch.Tensor, h_prev: torch.Tensor) -> torch.Tensor:
    f = torch.sigmoid(f)  # forget gate: what is kept
    return f * h_prev + (1 - f) * torch.tanh(n)


def test_ones_own_words_are_the_comments_of_the_update() -> None:
    record = sr.trace(sr.RecurrentLayer(sr.Cell("MINE", ("f", "n"), commented), I, H), torch.randn(T, B, I)).layer(0)
    f, h = (panel for panel in drawn(plot.gates(record)) if panel.images)
    assert [f.get_title(loc="left"), h.get_title(loc="left")] == ["f: forget gate: what is kept", "h"]
    assert drawn(plot.histograms(record))[0].get_title() == "f, forget gate"


def for_tools(i: torch.Tensor, f: torch.Tensor, h_prev: torch.Tensor) -> torch.Tensor:
    l = torch.sigmoid(i)  # noqa: E741
    i = "only read"  # type: ignore[assignment]
    f = torch.sigmoid(f)  # what is kept  # pragma: no cover
    return f * h_prev + l


def test_ones_own_words_win_under_a_built_in_name_and_what_tools_are_told_is_none() -> None:
    assert words(sr.Cell("LSTM", ("i", "f"), for_tools)) == {"f": "what is kept"}
    assert words(sr.Cell("LSTM", ("f", "n"), commented)) == {"f": "forget gate: what is kept"}
    assert words(lstm)["f"] == "forget gate: how much of the cell state is kept, 0 none, 1 all"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_trace_in_half_precision_is_drawn(dtype: torch.dtype) -> None:
    trace = sr.trace(nn.GRU(I, H, dtype=dtype), torch.randn(T, B, I, dtype=dtype), differentiable=True)
    for record in (trace.layer(0), trace.gradients(trace.output.sum()).layer(0)):
        panel = images(plot.gates(record, names=["h"]))
        np.testing.assert_array_equal(image(*panel.values()).get_array(), record.h[:, 0].detach().double().T)
    assert drawn(plot.unit(trace.layer(0), 0))
    assert drawn(plot.carried(trace.layer(0), 0))


def test_a_layer_in_a_model_has_its_name_in_the_figure() -> None:
    model = nn.ModuleDict({"encoder": nn.ModuleDict({"lstm": nn.LSTM(I, H, 2, bidirectional=True)})})
    model.forward = lambda x: model["encoder"]["lstm"](x)  # type: ignore[method-assign, index]
    trace = sr.trace(model, torch.randn(T, B, I), differentiable=True)
    of_gradients = trace.gradients(trace.output[0].sum())
    for found in (trace, of_gradients):
        record = found["encoder.lstm"].layer(1, reverse=True)
        assert plot.gates(record).axes[0].get_title() == "LSTM, encoder.lstm, layer 1, reverse, sequence 0"


def test_tokens_stand_below_the_lowest_panel_and_unprintable_ones_are_readable() -> None:
    record = packed_record()
    *above, lowest = images(plot.gates(record, tokens=["a", " ", "\n", "$x$"])).values()
    assert labels(lowest) == ["a", "␣", "⏎", "$x$"]
    assert [t.get_parse_math() for t in lowest.get_xticklabels()] == [False] * 4
    assert list(lowest.get_xticks()) == [0, 1, 2, 3]
    assert not any(label.get_visible() for panel in above for label in panel.get_xticklabels() if label.get_text())


def test_a_blank_and_a_line_break_have_the_signs_of_the_page(tmp_path: Path) -> None:
    record = packed_record()
    *_, lowest = images(plot.gates(record, tokens=[" ", "\n", " ", "\n"])).values()
    sr.trace(nn.RNN(I, H), torch.randn(2, I)).to_html(str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert [label for label in labels(lowest) if f'"{label}"' not in page] == []


WITH_TOKENS: dict[str, Callable[..., Figure]] = {
    "gates": plot.gates,
    "unit": lambda record, **options: plot.unit(record, 0, **options),
    "carried": lambda record, **options: plot.carried(record, 0, **options),
    "gate_shares": lambda record, **options: plot.gate_shares(
        Record({g: record[g] for g in ("h", "r_pre", "z_pre", "n_h")}, gru), **options
    ),
}
with_tokens = pytest.mark.parametrize("draw", WITH_TOKENS.values(), ids=WITH_TOKENS)


def labels_of_steps(figure: Figure) -> list[Any]:
    panels = [*drawn(figure), *figure.axes]
    return next(panel for panel in panels if panel.get_xlabel() == "step").get_xticklabels()


@with_tokens
@pytest.mark.parametrize("tokens", [[*"hello, you" * 15], [f"token{t}" for t in range(150)]], ids=["letters", "words"])
def test_a_figure_is_wide_enough_for_every_token(draw: Callable[..., Figure], tokens: list[str]) -> None:
    record = sr.trace(nn.GRU(I, H), torch.randn(150, 1, I)).layer(0)
    written = labels_of_steps(draw(record, tokens=tokens))
    assert [label.get_text() for label in written] == [axes.shown(token) for token in tokens]
    assert not any(a.get_window_extent().overlaps(b.get_window_extent()) for a, b in pairwise(written))


@with_tokens
def test_in_axes_of_ones_own_tokens_are_thinned_until_none_touches_another(draw: Callable[..., Figure]) -> None:
    record = sr.trace(nn.GRU(I, H), torch.randn(200, 1, I)).layer(0)
    tokens = [f"token{t}" for t in range(200)]
    figure = Figure(figsize=(7, 5))
    written = labels_of_steps(draw(record, tokens=tokens, ax=figure.subplots()))
    assert 20 < len(written) < 100
    assert [label.get_text() for label in written] == tokens[:: -(-200 // len(written))]
    boxes = [label.get_window_extent() for label in written]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


# ----------------------------------------------------------------------------------------------------- unit


@each_row
def test_a_units_lines_are_the_records_numbers_gates_above_states(row: Row) -> None:
    record = packed_record(row)
    figure = plot.unit(record, 3, sequence=0, tokens="abcd")
    panels = named(drawn(figure))
    assert [*panels] == [n for n in dict.fromkeys([*row.cell.gates, *row.cell.states]) if n in record]
    for name, panel in panels.items():
        _, line = panel.lines
        np.testing.assert_array_equal(line.get_xdata(), range(LENGTHS[0]))
        np.testing.assert_array_equal(line.get_ydata(), record[name][: LENGTHS[0], 0, 3])
        assert line.get_color() == COLOURS[places(row.cell)[name]]
        low, high = panel.get_ylim()
        assert low < line.get_ydata().min() <= line.get_ydata().max() < high
    assert figure.axes[0].get_title() == f"{row.cell.name}, layer 1, reverse, unit 3, sequence 0"
    assert labels([*panels.values()][-1]) == [*"abcd"]


def test_the_panels_of_a_unit_have_the_scales_of_its_gates() -> None:
    panels = named(drawn(plot.unit(packed_record(), 0, names=["f", "g", "f_pre", "o_pre"])))
    assert [list(panels[name].get_yticks()) for name in ("f", "g")] == [[0, 0.5, 1], [-1, 0, 1]]
    assert list(panels["f_pre"].get_yticks()) == list(panels["o_pre"].get_yticks())


def test_under_a_projection_a_units_emitted_state_is_shown_only_if_named() -> None:
    record = packed_record(proj_size=2)
    assert [*named(drawn(plot.unit(record, 4)))] == ["i", "f", "g", "o", "c"]
    assert error(lambda: plot.unit(record, 4, names=["h"])) == (
        IndexError,
        "k should be a unit from 0 to 1, got 4",
    )
    np.testing.assert_array_equal(drawn(plot.unit(record, 1, names=["h"]))[0].lines[1].get_ydata(), record.h[:4, 0, 1])


def test_thirty_five_lines_differ() -> None:
    styles = line_styles()
    found = [next(styles) for _ in range(35)]
    assert len({(style["color"], str(style["linestyle"])) for style in found}) == 35


# ----------------------------------------------------------------------------------------------- histograms


@each_row
def test_histograms_count_every_valid_value_once_and_name_the_saturated_shares(row: Row) -> None:
    record = packed_record(row)
    expected = saturation(record)
    figure = plot.histograms(record)
    names = [g for g in row.cell.gates if g in record] or ["h"]
    for name, panel in zip(names, drawn(figure), strict=True):
        assert panel.get_title().split(",")[0] == name
        bars = [p for p in panel.patches if isinstance(p, Rectangle)][:40]
        assert sum(bar.get_height() for bar in bars) == pytest.approx(1)
        values = record[name][record.valid()]
        bounded = panel.get_xlim() in [(0, 1), (-1, 1)]
        heights, _ = np.histogram(values.numpy(), 40, panel.get_xlim() if bounded else None)
        assert [bar.get_height() for bar in bars] == pytest.approx(heights / values.numel())
        shares = [share.mean().item() for share in expected[name]] if bounded else []
        assert [text.get_text() for text in panel.texts] == [f"{share:.1%}" for share in shares]
    assert figure.axes[0].get_title() == f"{row.cell.name}, layer 1, reverse"
    assert len({panel.get_ylim() for panel in drawn(figure)}) == 1


def test_a_histograms_axis_spans_the_gates_bounds_and_marks_where_it_saturates() -> None:
    record = packed_record()
    record.f.fill_(0.99)
    figure = plot.histograms(record, ["f", "g", "c"])
    f, g, c = drawn(figure)
    assert f.get_xlim() == (0, 1)
    assert g.get_xlim() == (-1, 1)
    assert list(f.get_xticks()) == pytest.approx([0.05, 0.5, 0.95])
    assert list(g.get_xticks()) == pytest.approx([-0.9, 0, 0.9])
    assert [text.get_text() for text in f.texts] == ["0.0%", "100.0%"]
    assert not c.texts
    assert [panel.get_title() for panel in (f, g, c)] == ["f, forget gate", "g, candidate", "c, cell state"]
    assert [panel.patches[0].get_facecolor() for panel in (f, g, c)] == [
        to_rgba(COLOURS[places(lstm)[name]]) for name in "fgc"
    ]
    (said,) = figure.axes[0].get_legend().get_texts()
    assert said.get_text().startswith("within 5 % of an end of the range")
    (band,) = figure.axes[0].get_legend().get_patches()
    assert band.get_facecolor() == f.patches[-1].get_facecolor()


def test_a_histogram_without_bounds_has_no_band_to_explain() -> None:
    figure = plot.histograms(packed_record(), ["c"])
    drawn(figure)
    assert figure.axes[0].get_legend() is None


def test_of_what_is_not_finite_a_histogram_shows_the_rest() -> None:
    record = packed_record()
    values = record.c[record.valid()]
    record.c[0, 0, :2] = torch.tensor([math.nan, math.inf])
    record.f.fill_(math.nan)
    c, f = drawn(plot.histograms(record, ["c", "f"]))
    heights = [sum(bar.get_height() for bar in panel.patches if isinstance(bar, Rectangle)) for panel in (c, f)]
    assert heights == pytest.approx([1 - 2 / values.numel(), 0])


# ------------------------------------------------------------------------------------------- gradient norms


def test_gradient_norms_are_lines_on_a_logarithmic_axis_with_the_spectral_radius_in_the_legend() -> None:
    norms, radii = {}, {}
    for name, layer in {"Elman": nn.RNN(I, H), "LSTM": nn.LSTM(I, H)}.items():
        trace = sr.trace(layer, torch.randn(T, B, I), differentiable=True)
        norms[name] = gradient_norms(trace.gradients(trace.output[-1].sum()).layer(0))
        radii[name] = spectral_radius(layer)
    figure = plot.gradient_norms(norms, {"LSTM": radii["LSTM"]})
    drawn(figure)
    (ax,) = figure.axes
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "step t"
    assert "partial L" in ax.get_ylabel()
    elman_line, _, lstm_line, _ = ax.lines
    np.testing.assert_array_equal(elman_line.get_ydata(), norms["Elman"])
    np.testing.assert_array_equal(lstm_line.get_ydata(), norms["LSTM"])
    shown = ", ".join(f"{g} {radius:.2f}" for g, radius in radii["LSTM"].items())
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [
        "Elman",
        f"LSTM\n\N{GREEK SMALL LETTER RHO}(W_h): {shown}",
    ]


def test_a_norm_of_zero_is_a_gap_and_a_triangle_at_the_edge() -> None:
    figure = plot.gradient_norms({"a": torch.tensor([0.0, 0.0, 2.0**-100, 2.0]), "none": torch.zeros(4)})
    drawn(figure)
    (ax,) = figure.axes
    line, zeros, _, all_zeros, _ = ax.lines
    np.testing.assert_array_equal(line.get_ydata(), [np.nan, np.nan, 2.0**-100, 2.0])
    assert zeros.get_marker() == "v"
    assert zeros.get_xydata().tolist() == [[0, 0], [1, 0]]
    assert zeros.get_transform() == ax.get_xaxis_transform()
    assert len(all_zeros.get_xdata()) == 4
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "none", "norm 0"]


def test_names_are_written_as_they_are_in_titles_and_legends() -> None:
    cell = sr.Cell("$_$", ("_f", "n"), update=hidden_update)
    layer = sr.RecurrentLayer(cell, I, H)
    record = sr.trace(layer, torch.randn(T, B, I)).layer(0)
    for figure in (plot.gates(record), plot.unit(record, 0), plot.histograms(record), plot.weights(layer)):
        drawn(figure)
        assert figure.axes[0].get_title().startswith("$_$")
        assert not figure.axes[0].title.get_parse_math()
    assert [*named(drawn(plot.unit(record, 0)))] == ["_f", "n", "h"]
    assert not any(panel._left_title.get_parse_math() for panel in drawn(plot.unit(record, 0)))
    figure = plot.gradient_norms({"_a": torch.rand(3), "b$_$c$": torch.tensor([0.0, 1.0])}, {"_a": {"n": 1.0}})
    drawn(figure)
    legend = figure.axes[0].get_legend().get_texts()
    assert [text.get_text() for text in legend] == ["_a\n\N{GREEK SMALL LETTER RHO}(W_h): n 1.00", "b$_$c$", "norm 0"]
    assert not any(text.get_parse_math() for text in legend)


class Hidden(tuple):
    _fields = ("_f", "n")
    _f = property(lambda self: self[0])
    n = property(lambda self: self[1])

    def _asdict(self) -> dict[str, torch.Tensor]:
        return dict(zip(self._fields, self, strict=True))


def hidden_update(_f: torch.Tensor, n: torch.Tensor, h_prev: torch.Tensor) -> tuple[tuple[torch.Tensor], Hidden]:
    _f, n = torch.sigmoid(_f), torch.tanh(n)
    return (_f * n,), Hidden((_f, n))


def gradients(layer: nn.RNNBase | None = None) -> Record:
    """Of a loss at the last step but one."""
    trace = sr.trace(layer or nn.LSTM(I, H), torch.randn(T, B, I), differentiable=True)
    return trace.gradients(trace.output[-2].sum()).layer(0)


def test_the_shares_of_the_gates_are_stacked_in_their_colours_and_add_up_to_all() -> None:
    given = gradients()
    figure = plot.gate_shares(given, tokens="abcdef")
    drawn(figure)
    (ax,) = figure.axes
    expected, below = gate_shares(given), torch.zeros(T)
    assert len(ax.patches) == 4
    for patch, (gate, share) in zip(ax.patches, expected.items(), strict=True):
        data = patch.get_data()
        np.testing.assert_allclose(data.values - data.baseline, share)
        np.testing.assert_allclose(data.baseline, below)
        assert patch.get_facecolor() == to_rgba(COLOURS[places(lstm)[gate]])
        below = below + share
    assert below.tolist() == pytest.approx([1.0] * (T - 1) + [0.0])
    assert labels(ax) == [*"abcdef"]
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words == ["i, input gate", "f, forget gate", "g, candidate", "o, output gate"]
    assert ax.get_title() == "LSTM, layer 0"


# ---------------------------------------------------------------------------------------------- remembering


def test_time_constants_are_lines_from_the_longest_with_the_units_named() -> None:
    trace = sr.trace(nn.LSTM(I, H, num_layers=2), torch.randn(T, B, I))
    figure = plot.time_constants(trace)
    drawn(figure)
    (ax,) = figure.axes
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    for k, line in enumerate(ax.lines[:6:3]):
        tau = time_constants(trace.layer(k))
        np.testing.assert_array_equal(line.get_ydata(), tau.sort(descending=True).values)
        longest = ", ".join(str(unit) for unit in tau.argsort(descending=True)[:3].tolist())
        assert said[k] == f"layer {k}\nmedian {tau.median():.3g}, longest: unit {longest}"
    assert said[2:] == [f"{T} steps, the longest sequence"]
    assert ax.lines[-1].get_ydata() == [T, T]
    assert ax.get_yscale() == "log"


def test_a_unit_that_keeps_all_or_nothing_is_a_triangle_at_the_edge() -> None:
    record = packed_record()
    record.f_pre[..., 1] = math.inf
    record.f_pre[..., 3] = -math.inf
    figure = plot.time_constants(record)
    drawn(figure)
    line, kept, lost, _ = figure.axes[0].lines
    assert [line.get_marker() for line in (kept, lost)] == ["^", "v"]
    assert kept.get_xydata().tolist() == [[0, 1]]
    assert lost.get_xydata().tolist() == [[H - 1, 0]]
    np.testing.assert_array_equal(np.isnan(line.get_ydata()), [True, False, False, False, True])


def test_every_layer_of_a_model_and_every_state_that_goes_on_has_its_line() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.GRU(I, H, bidirectional=True), sr.RecurrentLayer(pair, 2 * H, H)
            self.left_out = nn.RNN(I, H)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x)[0])[0]

    figure = plot.time_constants(sr.trace(Model(), torch.randn(T, B, I)))
    drawn(figure)
    said = [text.get_text().split("\n")[0] for text in figure.axes[0].get_legend().get_texts()]
    assert said[:-1] == ["a, layer 0", "a, layer 0, reverse", "b, layer 0, h", "b, layer 0, m", "b, layer 0, k"]
    assert figure.axes[0].get_title() == "GRU, PAIR"


def test_what_is_carried_is_the_contributions_and_above_them_the_state() -> None:
    record = packed_record()
    figure = plot.carried(record, 2, sequence=1, tokens="abcdef")
    above, _, panel, _ = drawn(figure)
    np.testing.assert_allclose(above.lines[1].get_ydata(), record.c[:, 1, 2])
    left = contributions(record, 2, 1)
    found = image(panel).get_array()
    np.testing.assert_allclose(found[~found.mask], left[~found.mask])
    assert found.mask.sum() == T * (T - 1) / 2
    assert left[found.mask].abs().max() == 0
    assert image(panel).get_cmap().name == "signed"
    assert image(panel).get_clim() == (-left.abs().max(), left.abs().max())
    assert labels(panel) == [*"abcdef"]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["start", *"abcdef"]
    assert list(panel.get_yticks()) == list(range(-1, T))
    assert panel.get_title(loc="left") == "what is left in c of what each step wrote: a column adds up to c"
    assert figure.axes[0].get_title() == "LSTM, layer 1, reverse, unit 2, sequence 1"


def test_without_tokens_what_is_carried_has_the_steps_numbers_at_the_side() -> None:
    record = sr.trace(nn.GRU(I, H), torch.randn(100, 1, I)).layer(0)
    *_, panel, _ = drawn(plot.carried(record, 0))
    first, *others = [label.get_text() for label in panel.get_yticklabels()]
    assert first == "start"
    assert [float(other) for other in others] == list(panel.get_yticks())[1:]
    boxes = [label.get_window_extent() for label in panel.get_yticklabels()]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


# -------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("row", TWINNED, ids=str)
@pytest.mark.parametrize("reverse", [False, True])
def test_weights_are_the_layers_on_one_scale_with_the_gates_blocks_apart(row: Row, reverse: bool) -> None:
    suffix = "l1_reverse" if reverse else "l1"
    for layer in layers(row, I, H, num_layers=2, bidirectional=True):
        figure = plot.weights(layer, 1, reverse)
        *panels, bar = drawn(figure)
        given = dict(layer.named_parameters())
        ih, hh = given[f"weight_ih_{suffix}"], given[f"weight_hh_{suffix}"]
        bias = torch.stack([given[f"bias_ih_{suffix}"], given[f"bias_hh_{suffix}"]], 1)
        assert [p.get_title() for p in panels] == ["weight_ih", "weight_hh", "bias"]
        largest = max(w.abs().max().item() for w in (ih, hh, bias))
        for panel, expected in zip(panels, (ih, hh, bias), strict=True):
            np.testing.assert_array_equal(image(panel).get_array(), expected.detach())
            assert image(panel).get_clim() == (-largest, largest)
            assert [label.get_text().split(",")[0] for label in panel.get_yticklabels()] == [*row.cell.gates]
            colours = [COLOURS[places(row.cell)[gate]] for gate in row.cell.gates]
            assert [label.get_color() for label in panel.get_yticklabels()] == colours
            assert [line.get_ydata()[0] for line in panel.lines] == [n * H - 0.5 for n in range(1, len(row.cell.gates))]
        assert labels(panels[-1]) == ["ih", "hh"]
        assert bar.get_ylim() == (-largest, largest)
        assert figure.axes[0].get_title() == f"{row.cell.name}, layer 1{', reverse' if reverse else ''}"
        called = plot.weights(layer, 1, reverse, name="encoder").axes[0].get_title()
        assert called == f"{row.cell.name}, encoder, layer 1{', reverse' if reverse else ''}"


def test_weights_are_drawn_into_axes_that_stand_in_their_place() -> None:
    figure = Figure()
    assert plot.weights(nn.GRU(I, H), 0, False, figure.add_subplot()) is figure


def test_a_projection_has_a_panel_and_a_layer_without_bias_none_for_it() -> None:
    layer = nn.LSTM(I, H, proj_size=2, bias=False)
    *panels, _ = drawn(plot.weights(layer))
    assert [p.get_title() for p in panels] == ["weight_ih", "weight_hh", "weight_hr"]
    np.testing.assert_array_equal(image(panels[-1]).get_array(), layer.weight_hr_l0.detach())
    assert not panels[-1].lines


def test_weights_of_ones_own_cell() -> None:
    layer = sr.RecurrentLayer(mgu, I, H)
    panel = drawn(plot.weights(layer))[1]
    np.testing.assert_array_equal(image(panel).get_array(), layer.weight_hh_l0.detach())
    assert [label.get_text() for label in panel.get_yticklabels()] == ["f", "n"]


# -------------------------------------------------------------------------------------------------- diagram


def boxes(figure: Figure) -> list[FancyBboxPatch]:
    return [p for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch)]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_no_box_of_a_diagram_overlaps_another_and_every_text_is_inside_its_box(cell: sr.Cell) -> None:
    figure = plot.diagram(cell)
    FigureCanvasAgg(figure).draw()
    frames = [box.get_window_extent() for box in boxes(figure)]
    words = [text.get_window_extent() for text in figure.axes[0].texts]
    for inner, outer in zip(words, frames, strict=True):
        assert outer.x0 < inner.x0 < inner.x1 < outer.x1
        assert outer.y0 < inner.y0 < inner.y1 < outer.y1
    assert not any(a.overlaps(b) for a, b in combinations(frames, 2))
    assert all(figure.bbox.x0 < f.x0 and f.x1 < figure.bbox.x1 for f in frames)
    assert all(figure.bbox.y0 < f.y0 and f.y1 < figure.bbox.y1 for f in frames)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_an_arrow_of_a_diagram_meets_no_box_but_those_at_its_ends(cell: sr.Cell) -> None:
    _, sources = _boxes(cell)
    figure = plot.diagram(cell)
    arrows = [p for p in figure.axes[0].patches if isinstance(p, FancyArrowPatch)]
    assert len(arrows) == sum(len(made_from) for made_from in sources.values())
    frames = [(b.get_x(), b.get_y(), b.get_x() + b.get_width(), b.get_y() + b.get_height()) for b in boxes(figure)]
    for arrow in arrows:
        curve = arrow._path_original.interpolated(1).to_polygons(closed_only=False)[0]
        points = np.concatenate([np.linspace(a, b, 20) for a, b in pairwise(curve)])
        for x0, y0, x1, y1 in frames:
            inside = (points[:, 0] > x0 + 0.1) & (points[:, 0] < x1 - 0.1)
            inside &= (points[:, 1] > y0 + 0.1) & (points[:, 1] < y1 - 0.1)
            assert not inside.any()


def test_a_diagram_of_the_lstm_has_its_equations_from_left_to_right() -> None:
    figure = plot.diagram(lstm)
    found = texts(figure)
    assert r"$c = f \odot c_{\mathrm{prev}} + i \odot g$" in found
    assert r"$f = \sigma(f_{\mathrm{pre}})$" in found
    assert any("W_{if}" in text and "b_{hf}" in text for text in found)
    assert r"$h = o \odot \tanh(c)$" in found
    assert r"$\tanh(c)$" in found
    x = {text.get_text(): text.get_position()[0] for text in figure.axes[0].texts}
    assert x[r"$c_{\mathrm{prev}}$"] < x[r"$f = \sigma(f_{\mathrm{pre}})$"]
    assert x[r"$f = \sigma(f_{\mathrm{pre}})$"] < x[r"$c = f \odot c_{\mathrm{prev}} + i \odot g$"] < x["$c$"]
    assert abs(x["$c$"] - x["$h$"]) < 1
    assert max(x.values()) == max(x["$c$"], x["$h$"])
    width = {t: box.get_linewidth() for t, box in zip(found, boxes(figure), strict=True)}
    thick = {text for text, points in width.items() if points > 1}
    assert {"$c$", "$h$", r"$c_{\mathrm{prev}}$", r"$c = f \odot c_{\mathrm{prev}} + i \odot g$"} < thick
    assert len(thick) == 6  # and h_prev and h = ...
    _, sources = _boxes(lstm)
    assert {name for name, made_from in sources.items() if "h_prev" in made_from} == {f"{g}_pre" for g in "ifgo"}
    filled = {t: box.get_facecolor() for t, box in zip(found, boxes(figure), strict=True)}
    for text, name in {r"$f = \sigma(f_{\mathrm{pre}})$": "f", "$c$": "c", r"$h_{\mathrm{prev}}$": "h"}.items():
        assert filled[text] == to_rgba(COLOURS[places(lstm)[name]], 0.25)


def test_a_diagram_of_the_gru_keeps_the_halves_of_the_split_gate_apart() -> None:
    found = texts(plot.diagram(gru))
    assert any(text.startswith("$n_{x} = ") and "W_{in}" in text and "W_{hn}" not in text for text in found)
    assert any(text.startswith("$n_{h} = ") and "W_{hn}" in text and "b_{hn}" in text for text in found)
    assert r"$h_{\mathrm{prev}}$" in found


def test_a_diagram_in_small_axes_has_smaller_letters_that_fit() -> None:
    figure = Figure(figsize=(5, 4))
    ax = figure.subplots(2, 2)[0, 0]
    assert plot.diagram(gru, ax) is figure
    FigureCanvasAgg(figure).draw()
    words = [text.get_window_extent() for text in ax.texts]
    assert not any(a.overlaps(b) for a, b in combinations(words, 2))
    assert ax.texts[0].get_size() < plot.diagram(gru).axes[0].texts[0].get_size()


def test_what_is_needed_far_to_the_right_has_a_lane_of_its_own_below_the_boxes_between() -> None:
    sources = {"a": [], "b": ["a"], "c": ["b"], "d": ["a", "c"]}
    placed = lay_out(sources, dict.fromkeys(sources, (20.0, 10.0)), gaps=(30, 8), lane=4)
    assert [placed.centres[name][0] for name in sources] == [10, 60, 110, 160]
    assert placed.routes["a", "b"][0] == (20, placed.centres["a"][1])
    for name in ("b", "c"):
        x, y = placed.centres[name]
        (at,) = {point[1] for point in placed.routes["a", "d"] if abs(point[0] - x) <= 10}
        assert abs(at - y) >= 5 + 8 + 2 - 1e-6
    assert placed.size[0] == 170


def crossings(sources: dict[str, list[str]], last: list[str]) -> int:
    """How many pairs of arrows change their order between two columns."""
    placed = lay_out(sources, dict.fromkeys(sources, (20.0, 10.0)), last)
    gaps = [(a, b) for route in placed.routes.values() for a, b in zip(route[1::2], route[2::2], strict=False)]
    return sum(
        a[0] == c[0] and (a[1] - c[1]) * (b[1] - d[1]) < -1e-6
        for (a, b), (c, d) in combinations(dict.fromkeys(gaps), 2)
    )


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_no_two_arrows_of_these_cells_cross(cell: sr.Cell) -> None:
    _, sources = _boxes(cell)
    found = crossings(sources, [*sources][-len(cell.states) :])
    assert found == (2 if cell is pair else 0)  # its m is shut in between k_prev and a, which both go to k
    _, sources = _names(cell, _whole(cell))
    assert crossings(sources, []) == 0


def test_arrows_cross_where_they_must_and_no_more() -> None:
    all_to_all = {"a": [], "b": [], "x": ["a", "b"], "y": ["a", "b"]}
    assert crossings(all_to_all, []) == 1
    backwards = {"a": [], "b": [], "c": [], "x": ["c"], "y": ["b"], "z": ["a"]}
    assert crossings(backwards, []) == 0
    swapped = {"a": [], "b": [], "c": [], "p": ["a", "b"], "q": ["b", "c"], "r": ["a"], "x": ["p", "r"], "y": ["q"]}
    assert crossings(swapped, ["y", "x"]) == 0


# ------------------------------------------------------------------------------------------------- highlight


def ink(figure: Figure) -> dict[str, Any]:
    """The colour of each text."""
    return {text.get_text(): text.get_color() for text in figure.axes[0].texts}


@pytest.mark.parametrize(
    ("cell", "name", "lines", "arrows"),
    [
        (elman, "h", [r"$h = \tanh(W_{in} \, x + b_{in} + W_{hn} \, h_{\mathrm{prev}} + b_{hn})$"], 1),
        (
            lstm,
            "f",
            [
                r"$f = \sigma(W_{if} \, x + b_{if} + W_{hf} \, h_{\mathrm{prev}} + b_{hf})$",
                r"$c = f \odot c_{\mathrm{prev}} + i \odot g$",
            ],
            2,
        ),
        (lstm, "c", [r"$c = f \odot c_{\mathrm{prev}} + i \odot g$", r"$h = o \odot \tanh(c)$"], 5),
        (
            gru,
            "r",
            [
                r"$r = \sigma(W_{ir} \, x + b_{ir} + W_{hr} \, h_{\mathrm{prev}} + b_{hr})$",
                r"$n = \tanh(W_{in} \, x + b_{in} + r \odot (W_{hn} \, h_{\mathrm{prev}} + b_{hn}))$",
            ],
            2,
        ),
    ],
    ids=["Elman h", "LSTM f", "LSTM c", "GRU r"],
)
def test_a_highlighted_gate_has_its_colour_arrows_and_lines(
    cell: sr.Cell, name: str, lines: list[str], arrows: int
) -> None:
    figure = plot.diagram(cell, highlight=name)
    colour = LINES["light"][places(cell)[name]]
    assert texts(figure)[-len(lines) :] == lines
    assert [text for text, of in ink(figure).items() if of == colour] == [f"${name}$", lines[0]]
    drawn = [p for p in figure.axes[0].patches if isinstance(p, FancyArrowPatch)]
    assert sum(to_hex(arrow.get_edgecolor()) == colour for arrow in drawn) == arrows
    assert len(drawn) == {"RNN_TANH": 1, "LSTM": 10, "GRU": 7}[cell.name]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_a_highlighted_diagram_has_room_for_each_box_and_line(cell: sr.Cell) -> None:
    figure = plot.diagram(cell, highlight=cell.states[0])
    FigureCanvasAgg(figure).draw()
    frames = [box.get_window_extent() for box in boxes(figure)]
    below = [text.get_window_extent() for text in figure.axes[0].texts[len(frames) :]]
    assert not any(a.overlaps(b) for a, b in combinations([*frames, *below], 2))
    assert all(figure.bbox.x0 < b.x0 and b.x1 < figure.bbox.x1 and figure.bbox.y0 < b.y0 for b in below)


# ------------------------------------------------------------------------------------------------- unrolled


def dashed(arrow: FancyArrowPatch) -> bool:
    return arrow.get_linestyle() != "solid"


@pytest.mark.parametrize(
    ("cell", "each", "direct"), [(elman, 4, 0), (lstm, 7, 1), (gru, 5, 1)], ids=["Elman", "LSTM", "GRU"]
)
def test_every_arrow_of_an_unrolled_cell_but_that_of_x_has_one_back(cell: sr.Cell, each: int, direct: int) -> None:
    steps = 4
    figure = plot.unrolled(cell, steps)
    arrows = [p for p in figure.axes[0].patches if isinstance(p, FancyArrowPatch)]
    green = [arrow for arrow in arrows if to_hex(arrow.get_edgecolor()) == LINES["light"][2]]
    assert len(green) == (steps + 1) * direct  # the last in the legend
    back = [arrow for arrow in arrows if dashed(arrow)]
    assert len(back) == steps * (each - 1 - direct) + 1
    assert len(arrows) - len(back) - len(green) == steps * each + 1
    assert all(arrow.get_linewidth() > 2 for arrow in green)
    named = texts(figure)[: len(boxes(figure))]
    assert [text for text in named if text.startswith("$h")] == [f"$h_{{{t}}}$" for t in range(steps + 1)]
    assert [text for text in named if text.startswith("$x")] == [f"$x_{{{t}}}$" for t in range(1, steps + 1)]


def test_below_an_unrolled_cell_stand_the_lines_of_both_roads() -> None:
    assert texts(plot.unrolled(elman))[-1] == (
        r"$\mathrm{d}h_{\mathrm{prev}} = W_{hn}^\top \, \mathrm{d}n_{\mathrm{pre}}$"
    )
    assert texts(plot.unrolled(lstm))[-1] == r"$\mathrm{d}c_{\mathrm{prev}} = \mathrm{d}c \odot f$"
    *_, through, direct = texts(plot.unrolled(gru))
    assert through.endswith(r"+ \mathrm{d}h_{\mathrm{direct}}$")
    assert direct == r"$\mathrm{d}h_{\mathrm{direct}} = \mathrm{d}h \odot z$"


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_an_unrolled_cell_has_room_for_each_box_and_line(cell: sr.Cell) -> None:
    figure = plot.unrolled(cell, 2)
    FigureCanvasAgg(figure).draw()
    frames = [box.get_window_extent() for box in boxes(figure)]
    written = [text.get_window_extent() for text in figure.axes[0].texts]
    assert not any(a.overlaps(b) for a, b in combinations([*frames, *written[len(frames) :]], 2))
    assert all(figure.bbox.x0 < b.x0 and b.x1 < figure.bbox.x1 for b in [*frames, *written])


# ------------------------------------------------------------------------------------------------------ svg


def test_a_small_svg_has_letters_as_text_and_is_the_same_at_each_writing(here: Path) -> None:
    for name in ("first.svg", "second.svg"):
        plot.save_svg(plot.diagram(lstm, highlight="f"), name)
    written = Path("first.svg").read_text(encoding="utf-8")
    assert written == Path("second.svg").read_text(encoding="utf-8")
    assert ">f</tspan>" in written
    assert "<metadata>" not in written
    assert re.search(r"\d\.\d{3}", written) is None
    assert len(written) < 20_000


# ------------------------------------------------------------------------------------------- axes and errors


DRAW: dict[str, Callable[..., Figure]] = {
    "gates": lambda **o: plot.gates(packed_record(), **o),
    "unit": lambda **o: plot.unit(packed_record(), 0, **o),
    "histograms": lambda **o: plot.histograms(packed_record(), **o),
    "carried": lambda **o: plot.carried(packed_record(), 0, **o),
    "time_constants": lambda **o: plot.time_constants(packed_record(), **o),
    "gate_shares": lambda **o: plot.gate_shares(gradients(), **o),
    "gradient_norms": lambda **o: plot.gradient_norms({"a": torch.rand(3)}, **o),
    "weights": lambda **o: plot.weights(nn.GRU(I, H), **o),
    "diagram": lambda **o: plot.diagram(elman, **o),
    "highlight": lambda **o: plot.diagram(elman, highlight="h", **o),
    "unrolled": lambda **o: plot.unrolled(elman, **o),
}
each_picture = pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)


@each_picture
def test_a_picture_goes_into_the_given_axes_and_leaves_the_others_alone(draw: Callable[..., Figure]) -> None:
    figure = Figure(figsize=(12, 6), layout="constrained")
    ax, other = figure.subplots(1, 2)
    assert draw(ax=ax) is figure
    FigureCanvasAgg(figure).draw()
    assert figure.axes == [ax, other]
    assert ax.child_axes or ax.lines or ax.patches
    assert not other.has_data()
    assert not other.child_axes


@each_picture
def test_the_whole_figure_of_a_subfigures_axes_is_returned(draw: Callable[..., Figure]) -> None:
    figure = Figure(figsize=(12, 6))
    assert draw(ax=figure.subfigures(1, 2)[0].subplots()) is figure


@each_picture
def test_what_is_no_axes_is_refused(draw: Callable[..., Figure]) -> None:
    expected = (TypeError, "ax should be an Axes of matplotlib, got Figure")
    assert error(lambda: draw(ax=Figure())) == expected


REFUSED: dict[str, tuple[Callable[[Record], Any], type[Exception], str]] = {
    "sequence": (
        lambda r: plot.gates(r, sequence=3),
        IndexError,
        "sequence should be a sequence from 0 to 2, got 3",
    ),
    "negative sequence": (
        lambda r: plot.unit(r, 0, sequence=-1),
        IndexError,
        "sequence should be a sequence from 0 to 2, got -1",
    ),
    "unit": (lambda r: plot.unit(r, 5), IndexError, "k should be a unit from 0 to 4, got 5"),
    "tokens": (
        lambda r: plot.gates(r, tokens="abcdef"),
        ValueError,
        "tokens should be one for each of the 4 steps of sequence 0, got 6",
    ),
    "tokens of a unit": (
        lambda r: plot.unit(r, 0, sequence=2, tokens="a"),
        ValueError,
        "tokens should be one for each of the 2 steps of sequence 2, got 1",
    ),
    "one name": (lambda r: plot.gates(r, names="f"), TypeError, "names should be a list of names, got 'f'"),
    "no names": (lambda r: plot.histograms(r, names=[]), ValueError, "names should have one at least, got none"),
    "unit that carries": (lambda r: plot.carried(r, 5), IndexError, "unit should be from 0 to 4, got 5"),
    "tokens of what is carried": (
        lambda r: plot.carried(r, 0, tokens="abc"),
        ValueError,
        "tokens should be one for each of the 4 steps of sequence 0, got 3",
    ),
    "tokens of shares": (
        lambda r: plot.gate_shares(gradients(), tokens="abc"),
        ValueError,
        "tokens should be one for each of the 6 steps, got 3",
    ),
    "shares of a trace": (
        plot.gate_shares,
        ValueError,
        "gradients should be a record of Trace.gradients, got one of the trace itself",
    ),
    "time constants": (
        lambda r: plot.time_constants(r.f),  # type: ignore[arg-type]
        TypeError,
        "of should be a trace, or a Record as trace(...).layer(k), got Tensor",
    ),
    "record": (
        lambda r: plot.gates({"f": r.f}),  # type: ignore[arg-type]
        TypeError,
        "record should be a Record, as trace(...).layer(k), got dict",
    ),
    "a whole trace": (
        lambda r: plot.unit(Trace(None, None, {(0, False): r}), 0),  # type: ignore[arg-type]
        TypeError,
        "record should be a Record, as trace(...).layer(k), got Trace",
    ),
    "record of histograms": (
        lambda r: plot.histograms(r.f),  # type: ignore[arg-type]
        TypeError,
        "record should be a Record, as trace(...).layer(k), got Tensor",
    ),
    "layer": (
        lambda r: plot.weights(nn.Linear(2, 2)),  # type: ignore[arg-type]
        TypeError,
        "layer should be a recurrent layer of torch.nn or scratchrnn, got Linear",
    ),
    "layer k": (
        lambda r: plot.weights(nn.GRU(2, 2, num_layers=2), 2),
        IndexError,
        "k should be a layer from 0 to 1, got 2",
    ),
    "direction": (
        lambda r: plot.weights(nn.GRU(2, 2), reverse=True),
        IndexError,
        "reverse should be False: the layer has the forward direction only",
    ),
    "cell": (
        lambda r: plot.diagram(nn.LSTM(2, 2)),  # type: ignore[arg-type]
        TypeError,
        "cell should be a Cell, as scratchrnn.cells.lstm, got LSTM",
    ),
    "highlight": (
        lambda r: plot.diagram(elman, highlight="n"),
        ValueError,
        "highlight should be a gate or state that a line makes, h, got 'n'",
    ),
    "unrolled": (
        lambda r: plot.unrolled(nn.LSTM(2, 2)),  # type: ignore[arg-type]
        TypeError,
        "cell should be a Cell, as scratchrnn.cells.lstm, got LSTM",
    ),
    "steps": (
        lambda r: plot.unrolled(lstm, 2.0),  # type: ignore[arg-type]
        TypeError,
        "steps should be an int, got float",
    ),
    "no steps": (lambda r: plot.unrolled(lstm, 0), ValueError, "steps should be 1 or more, got 0"),
    "figure": (
        lambda r: plot.save_svg(Figure().subplots(), "a.svg"),  # type: ignore[arg-type]
        TypeError,
        "figure should be a Figure of matplotlib, got Axes",
    ),
    "norms": (
        lambda r: plot.gradient_norms(torch.ones(3)),  # type: ignore[arg-type]
        TypeError,
        "norms should be a mapping from the models' names, got Tensor",
    ),
    "radii": (
        lambda r: plot.gradient_norms({"a": torch.ones(3)}, 0.9),  # type: ignore[arg-type]
        TypeError,
        "radii should be a mapping from the models' names, got float",
    ),
    "no norms": (lambda r: plot.gradient_norms({}), ValueError, "norms should have a model at least, got none"),
    "shape of norms": (
        lambda r: plot.gradient_norms({"a": torch.ones(3, 2)}),
        ValueError,
        "norms['a'] should be a tensor [T], got [3, 2]",
    ),
    "norms that are none": (
        lambda r: plot.gradient_norms({"a": 2.0}),  # type: ignore[dict-item]
        ValueError,
        "norms['a'] should be a tensor [T], got float",
    ),
    "names of radii": (
        lambda r: plot.gradient_norms({"a": torch.ones(3)}, {"b": {"n": 1.0}}),
        ValueError,
        "radii should name models of norms, a, got b",
    ),
}


@pytest.mark.parametrize(("call", "kind", "text"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused(call: Callable[[Record], Any], kind: type[Exception], text: str) -> None:
    record = packed_record()
    assert error(lambda: call(record)) == (kind, text)


@pytest.mark.parametrize("draw", [plot.gates, plot.histograms, lambda r, **o: plot.unit(r, 0, **o)])
def test_a_name_that_is_not_there_is_the_records_own_error(draw: Callable[..., Figure]) -> None:
    record = packed_record()
    assert error(lambda: draw(record, names=["f", "q"])) == error(lambda: record["q"])


def test_where_matplotlib_is_missing_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['matplotlib'] = None; import scratchrnn; import scratchrnn.plot"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert last == "ModuleNotFoundError: scratchrnn.plot needs matplotlib: pip install 'scratchrnn[plot]'"


def test_the_benchmarks_picture_has_the_same_colours() -> None:
    assert bench_plot.COLOURS is COLOURS
    assert len({to_rgba(colour) for colour in COLOURS}) == 7


def test_the_picture_of_results_shows_ratios_and_times() -> None:
    cases = [Case("T", "GRU", True, 1, T, 2, 4, 5) for T in (4, 2, 8)]
    along = [Result(case, OURS, [case.T * 1e-3], [2.0], [0.5]) for case in cases]
    ratios, times = (ax for ax in bench_plot.figure(along).axes if ax.get_visible())
    assert ratios.get_title() == "GRU"
    assert ratios.get_ylabel() == "ratio to torch.nn"
    (points,) = [line for line in ratios.lines if line.get_label() == f"{OURS}, T, training"]
    assert sorted(points.get_xdata()) == sorted(r.case.work.flops for r in along)
    assert set(points.get_ydata()) == {2.0}
    (line,) = times.lines
    assert list(line.get_xdata()) == [2, 4, 8]
    assert list(line.get_ydata()) == pytest.approx([2, 4, 8])
    assert times.get_xlabel() == "T (B=2, H=5)"
    assert times.get_xscale() == times.get_yscale() == "log"
