"""The report of a trace: its numbers next to the measures that they come from, and what it says of layers made so."""

from __future__ import annotations

import doctest
import json
import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from running import error
from table import mgu, pair
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

import scratchrnn as sr
from scratchrnn.traces import Trace, summary
from scratchrnn.traces.summary import LayerReport, TraceReport

T, B, I, H = 6, 3, 4, 5  # noqa: E741 - input_size
LENGTHS = [3, 6, 1]


def packed() -> Any:
    return pack_sequence([torch.randn(n, I, dtype=torch.float64) for n in LENGTHS], enforce_sorted=False)


def traced(layer: nn.Module) -> tuple[nn.Module, Trace, Trace]:
    found = sr.trace(layer.double(), packed(), differentiable=True)
    return layer, found, found.gradients(found.output.data.square().sum())


LAYERS = {
    "LSTM": lambda: nn.LSTM(I, H, 2, bidirectional=True),
    "projected": lambda: nn.LSTM(I, H, proj_size=2),
    "GRU": lambda: nn.GRU(I, H, 2),
    "Elman": lambda: nn.RNN(I, H),
    "relu": lambda: nn.RNN(I, H, nonlinearity="relu"),
    "MGU": lambda: sr.RecurrentLayer(mgu, I, H),
    "of several states": lambda: sr.RecurrentLayer(pair, I, H),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_numbers_are_those_of_the_measures_over_all_units(name: str) -> None:
    layer, found, gradients = traced(LAYERS[name]())
    report = summary.report(found, gradients, layer)
    assert [(part.layer, part.reverse) for part in report] == list(found.records)
    for part in report:
        record, d = found.layer(part.layer, part.reverse), gradients.layer(part.layer, part.reverse)
        assert (part.name, part.cell, part.units, part.calls, part.sequences, part.steps) == (
            *("", record.cell.name, H, 1),
            *(len(LENGTHS), max(LENGTHS)),
        )
        near, radii = summary.saturation(record), summary.spectral_radius(layer, part.layer, part.reverse)
        assert list(part.gates) == list(dict.fromkeys([*record.cell.gates, *near]))
        squares = {g: d[f"{g}_h" if g in record.cell.split else f"{g}_pre"].square().sum() for g in record.cell.gates}
        for gate, row in part.gates.items():
            ends = [s.mean().item() for s in near[gate]] if gate in near else [None, None]
            assert [row.low, row.high] == pytest.approx(ends)
            assert row.radius == radii.get(gate)
            share = squares[gate] / sum(squares.values()) if gate in squares else None
            assert row.share == (share if share is None else pytest.approx(share.item()))
        assert list(part.spans) == list(summary.roads(record))
        for state, span in part.spans.items():
            taus = summary.time_constants(record, state)
            assert span == pytest.approx((taus.median().item(), taus.max().item(), taus.argmax().item()))
        assert part.dead == summary.dead(record).nonzero().flatten().tolist()
        assert part.stuck == summary.stuck(record).nonzero().flatten().tolist()
        norms = summary.gradient_norms(d).tolist()
        read = norms[::-1] if part.reverse else norms
        assert part.gradients == pytest.approx((read[0], read[-1], max(norms), norms.index(max(norms))))


def test_without_gradients_and_a_model_there_are_none_of_their_numbers() -> None:
    (part,) = summary.report(sr.trace(nn.GRU(I, H), torch.randn(T, B, I)))
    assert part.gradients is None
    assert all(gate.share is None and gate.radius is None for gate in part.gates.values())
    text = repr(summary.report(sr.trace(nn.GRU(I, H), torch.randn(T, B, I))))
    for absent in ("radius", "of the gradient", "dL/dh"):
        assert absent not in text


class Decoder(nn.Module):
    """A layer that is called once for each step, and a cell that is looped over, with the same weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.cell = nn.LSTM(I, H), nn.LSTMCell(I, H)
        self.cell.load_state_dict({n.removesuffix("_l0"): w for n, w in self.layer.state_dict().items()})

    def forward(self, x: Tensor) -> Tensor:
        of_layer = of_cell = None
        for x_t in x:
            y, of_layer = self.layer(x_t.unsqueeze(0), of_layer)
            of_cell = self.cell(x_t, of_cell)
        return y.sum() + of_cell[0].sum()


def test_all_calls_of_a_layer_count_together() -> None:
    model = Decoder().double()
    found = sr.trace(model, torch.randn(T, B, I).double(), differentiable=True)
    stepped, looped = summary.report(found, found.gradients(found.output), model)
    assert (stepped.name, stepped.calls, stepped.sequences, stepped.steps) == ("layer", T, T * B, 1)
    assert (looped.name, looped.calls, looped.sequences, looped.steps) == ("cell", 1, B, T)
    for gate, row in stepped.gates.items():
        assert row == pytest.approx(looped.gates[gate])
    assert stepped.spans["c"] == pytest.approx(looped.spans["c"])
    assert stepped.gradients == pytest.approx(looped.gradients)
    assert "layer, layer 0: LSTM, 5 units, 18 sequences of up to 1 steps in 6 calls" in repr(TraceReport((stepped,)))


class Chunks(nn.Module):
    """A layer that reads a batch in parts, each from the state before or, apart, from none."""

    def __init__(self, apart: bool, **options: Any) -> None:
        super().__init__()
        self.layer, self.apart = nn.GRU(I, H, **options), apart

    def forward(self, x: Tensor) -> Tensor:
        state, total = None, x.new_zeros(())
        for part in x.split(2):
            y, state = self.layer(part, None if self.apart else state)
            total = total + y.square().sum()
        return total


def test_norms_have_a_first_and_a_last_step_where_the_calls_read_one_sequence() -> None:
    x = torch.randn(T, B, I).double()

    def report(model: nn.Module) -> TraceReport:
        found = sr.trace(model.double(), x, differentiable=True)
        return summary.report(found, found.gradients(found.output))

    model = Chunks(apart=False)
    (one,) = report(model)
    whole = sr.trace(model.layer, x, differentiable=True)
    d = summary.gradient_norms(whole.gradients(whole.output.square().sum()).layer(0)).tolist()
    assert one.gradients == pytest.approx((d[0], d[-1], max(d), d.index(max(d))))
    for apart, both in ((True, False), (True, True), (False, True)):
        *_, last = report(Chunks(apart, bidirectional=both))
        assert last.reverse == both
        assert last.gradients is not None
        assert last.gradients == (None, None, last.gradients.largest, None)
        said = repr(TraceReport((last,))).splitlines()[-1].split()
        assert said == ["|dL/dh|", "at", "most", f"{last.gradients.largest:.2g}"]


def test_of_a_run_that_diverged_it_says_so_first() -> None:
    torch.manual_seed(0)
    lstm, x = nn.LSTM(I, H).double(), torch.randn(T, B, I).double()
    x[4:] = math.nan
    found = sr.trace(lstm, x, differentiable=True)
    report = summary.report(found, found.gradients(found.output.sum()))
    assert report.layers[0].not_finite == ["i", "f", "g", "o", "h", "c", "dL/dh"]
    assert report.findings[0] == "Not finite: i, f, g, o, h, c, dL/dh in layer 0."
    assert "nan" not in " ".join(report.findings)
    json.dumps(report.to_dict(), allow_nan=False)

    whole = sr.trace(lstm, x[:4], differentiable=True)
    report = summary.report(whole, whole.gradients(math.inf * whole.output.sum()))
    assert report.findings[0] == "Not finite: dL/dh in layer 0."
    assert not any(sentence.startswith("Gradient") for sentence in report.findings)


def made() -> nn.LSTM:
    """Unit 0 keeps all, and that is nothing; 1 is dead, 2 stuck; where something comes in the forget gate is open."""
    lstm = nn.LSTM(I, H)
    with torch.no_grad():
        for w in lstm.parameters():
            w.zero_()
        lstm.weight_ih_l0[2 * H + 3 : 3 * H] = 1.0
        _, f, g, o = lstm.bias_ih_l0.view(4, H)
        f[:], f[0], o[1] = 4.0, 999.0, -99.0
        f[2], g[2] = -99.0, 1.0
    return lstm


def test_what_is_wrong_stands_above_in_sentences() -> None:
    torch.manual_seed(0)
    report = summary.report(sr.trace(made().double(), torch.randn(T, B, I).double()))
    assert report.findings == [
        "Longest memory: c of unit 0 in layer 0 keeps all.",
        "Saturated in layer 0: f (20 % low, 80 % high).",
        "Dead in layer 0: 2 of 5 units (0, 1).",
        "Stuck in layer 0: 1 of 5 units (2).",
    ]
    assert repr(report).split("\n\n")[0].splitlines() == report.findings


def part(**changes: Any) -> LayerReport:
    (some,) = summary.report(sr.trace(nn.LSTM(I, H), torch.randn(T, B, I)))
    return replace(some, **changes)


def test_each_sentence_says_what_its_numbers_do() -> None:
    span = summary.Span(2.34, 83.2, 4)
    quiet = part(spans={"c": span}, steps=100)
    assert TraceReport((quiet,)).findings == [
        "Longest memory: c of unit 4 in layer 0 falls to 1/e in 83 steps; "
        "half of the units there take no more than 2.3.",
        "Saturated: no gate in more than half of its values.",
        "Dead or stuck: no unit.",
    ]
    beyond = "falls to 1/e in 83 steps, more than the 61 traced; half"
    assert beyond in TraceReport((replace(quiet, steps=61),)).findings[0]
    assert beyond not in TraceReport((replace(quiet, steps=61, calls=2),)).findings[0]
    reverse = replace(quiet, name="encoder.lstm", reverse=True, spans={"c": span._replace(longest=99.0)})
    assert (
        "c of unit 4 in encoder.lstm, layer 0, reverse falls to 1/e in 99" in TraceReport((quiet, reverse)).findings[0]
    )

    faded = replace(quiet, gradients=summary.GradientNorms(1e-9, 0.5, 2.0, 7))
    assert TraceReport((faded,)).findings[3:] == [
        "Gradient in layer 0: of its largest norm, at step 7, 5e-10 is left at the first step read."
    ]
    assert len(TraceReport((replace(quiet, gradients=summary.GradientNorms(1e-2, 0.5, 2.0, 7)),)).findings) == 3
    assert len(TraceReport((replace(quiet, gradients=summary.GradientNorms(0.0, 0.0, 0.0, 0)),)).findings) == 3

    elman = summary.report(sr.trace(nn.RNN(I, H), torch.randn(T, B, I)))
    assert elman.findings[0] == (
        "Memory: no state of RNN_TANH goes on past the weights; how far back it remembers, gradients show."
    )
    many = replace(quiet, units=64, dead=list(range(20)))
    listed = "Dead in layer 0: 20 of 64 units (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, and 8 more)."
    assert TraceReport((many,)).findings[2] == listed


def test_a_model_that_calls_no_layer_has_a_report_that_says_so() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.RNN(I, H)

        def forward(self) -> None: ...

    report = summary.report(sr.trace(Idle()))
    assert repr(report) == "No recurrent layer was called."
    assert report.to_dict() == {"findings": ["No recurrent layer was called."], "layers": []}


def test_it_prints_as_aligned_text() -> None:
    gates = {
        "i": summary.Gate(0.0, 0.031, 0.9996, 1.25),
        "long": summary.Gate(0.9999, 0.0001, 0.0004, 0.5),
        "h": summary.Gate(1.0, 0.995),
    }
    norms = summary.GradientNorms(1.234e-5, 0.3, 0.91, 7)
    some = part(gates=gates, dead=[3], spans={"c": summary.Span(2.34, math.inf, 4)}, gradients=norms, name="enc")
    assert repr(TraceReport((some,))).split("\n\n")[1].splitlines() == [
        "enc, layer 0: LSTM, 5 units, 3 sequences of up to 6 steps",
        "  gate  at its low end  at its high end  of the gradient  radius of W_h",
        "  i                0 %            3.1 %         > 99.9 %           1.25",
        "  long        > 99.9 %          < 0.1 %          < 0.1 %           0.50",
        "  h              100 %           99.5 %",
        "  c remembers  2.3 steps in the median unit, infinitely many in unit 4",
        "  dead units   3",
        "  stuck units  none",
        "  |dL/dh|      1.2e-05 at the first step, 0.3 at the last, at most 0.91 at step 7",
    ]


def test_it_becomes_plain_python_that_json_takes() -> None:
    _, found, gradients = traced(nn.LSTM(I, H, 2))
    report = summary.report(found, gradients)
    kept = report.to_dict()
    assert json.loads(json.dumps(kept, allow_nan=False)) == kept
    assert kept["findings"] == report.findings
    for of_dict, of_report in zip(kept["layers"], report, strict=True):
        assert of_dict == of_report.to_dict()
        assert of_dict["gates"] == {name: gate._asdict() for name, gate in of_report.gates.items()}
        assert of_dict["spans"] == {"c": of_report.spans["c"]._asdict()}
        assert of_dict["gradients"] == of_report.gradients._asdict()  # type: ignore[union-attr]
        assert {"name", "layer", "reverse", "cell", "units", "calls", "sequences", "steps"} < of_dict.keys()
    endless = summary.report(sr.trace(made(), torch.randn(T, B, I))).to_dict()["layers"][0]
    assert endless["spans"]["c"]["longest"] is None
    assert endless["spans"]["c"]["unit"] == 0
    assert endless["gradients"] is None
    assert endless["dead"] == [0, 1]


def test_it_becomes_a_data_frame_with_a_row_for_each_layer_and_direction() -> None:
    pytest.importorskip("pandas")
    model = nn.ModuleDict({"a": nn.LSTM(I, H, bidirectional=True), "b": nn.GRU(2 * H, H)})
    model.forward = lambda x: model["b"](model["a"](x)[0])[0]  # type: ignore[method-assign]
    found = sr.trace(model, torch.randn(T, B, I), differentiable=True)
    report = summary.report(found, found.gradients(found.output.sum()), model)
    frame = report.to_dataframe()
    assert frame[["name", "layer", "reverse"]].values.tolist() == [["a", 0, False], ["a", 0, True], ["b", 0, False]]
    for row, of_report in zip(frame.itertuples(), report, strict=True):
        assert row.gradient_first == of_report.gradients.first  # type: ignore[union-attr]
        assert (row.dead, row.stuck) == (len(of_report.dead), len(of_report.stuck))
    assert frame.f_high[1] == report.layers[1].gates["f"].high
    assert frame.c_longest[0] == report.layers[0].spans["c"].longest
    assert frame.z_radius[2] == report.layers[2].gates["z"].radius
    assert math.isnan(frame.f_high[2])
    assert "gradient_first" not in summary.report(found).to_dataframe()


def test_in_a_notebook_it_is_tables_with_the_same_words() -> None:
    layer, found, gradients = traced(nn.LSTM(I, H, 2))
    report = summary.report(found, gradients, layer)
    report = TraceReport(tuple(replace(some, name="<b>&") for some in report))
    page = report._repr_html_()
    assert "<b>&," not in page
    assert page.count("<table>") == page.count("</table>") == 2
    words = [re.sub(r"\s+", "", text) for text in (re.sub(r"<[^>]*>", "", page), repr(report))]
    unescaped = words[0].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert unescaped == words[1]


def test_what_does_not_belong_together_is_refused() -> None:
    lstm, found, gradients = traced(nn.LSTM(I, H))
    other = sr.trace(nn.Sequential(lstm), packed(), differentiable=True)
    two = nn.LSTM(I, H, 2).double()
    cases = {
        lambda: summary.report(found.layer(0)): (TypeError, "trace should be what trace(...) returns, got Record"),
        lambda: summary.report(found, gradients=3): (TypeError, "gradients should be what trace(...) returns, got int"),
        lambda: summary.report(gradients): (
            ValueError,
            "trace should be one of gates and states, this is one of gradients: give it as gradients=...",
        ),
        lambda: summary.report(found, found): (
            ValueError,
            "gradients should be trace.gradients(loss), this is a trace of gates and states",
        ),
        lambda: summary.report(sr.trace(nn.LSTM(I, H), torch.randn(T, 0, I))): (
            ValueError,
            "trace should have one sequence at least, got a batch of 0 in layer 0",
        ),
        lambda: summary.report(other, gradients): (
            ValueError,
            "gradients should be of the layers of the trace, 0, layer 0; got layer 0",
        ),
        lambda: summary.report(found, model="lstm"): (TypeError, "model should be a torch.nn.Module, got str"),
        lambda: summary.report(found, model=nn.LSTM(I, H + 1)): (
            ValueError,
            "model should be the module that was traced, LSTM of 5 units, got LSTM",
        ),
        lambda: summary.report(found, model=nn.GRU(I, H)): (
            ValueError,
            "model should be the module that was traced, LSTM of 5 units, got GRU",
        ),
        lambda: summary.report(other, model=lstm): (
            ValueError,
            "model should be the module that was traced, with a layer '0', LSTM of 5 units, got LSTM",
        ),
        lambda: summary.report(sr.trace(two, packed()), model=lstm): (
            IndexError,
            f"no layer 1, reverse=False in {lstm}",
        ),
    }
    for call, expected in cases.items():
        assert error(call) == expected


@pytest.mark.parametrize("function", [sr.trace, summary.report])
def test_the_examples_in_the_docstrings_run(function: Any) -> None:
    runner = doctest.DocTestRunner(verbose=False)
    (example,) = doctest.DocTestFinder(recurse=False).find(function)
    assert example.examples
    assert runner.run(example).failed == 0
