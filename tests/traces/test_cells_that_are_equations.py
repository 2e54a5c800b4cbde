"""Cells that are their equations and nothing else: without tape and adjoint, all that looks inside sees every line."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
import torch
from running import equal
from table import EQUATIONS

import scratchrnn as sr
from scratchrnn.equations.equations import Equations

each_cell = pytest.mark.parametrize("cell", EQUATIONS, ids=lambda cell: cell.name)
I, H = 3, 4  # noqa: E741 - input_size


def layer_of(cell):
    return sr.RecurrentLayer(cell, I, H, bidirectional=True, dtype=torch.float64)


@each_cell
def test_a_record_holds_every_lines_target_under_its_name(cell):
    layer, x = layer_of(cell), torch.randn(5, 2, I, dtype=torch.float64)
    trace = sr.trace(layer, x)
    torch.testing.assert_close(trace.output, layer(x)[0], rtol=1e-12, atol=1e-12)
    for record in (trace.layer(0), trace.layer(0, reverse=True)):
        targets = [each.target for each in Equations(cell).forward]
        assert set(targets) <= set(record)
        values = record.tensors | Equations(cell).numbers
        for each in Equations(cell).forward:
            torch.testing.assert_close(each.evaluate(values), record[each.target], rtol=1e-12, atol=1e-12)


@each_cell
def test_a_differentiable_trace_has_the_gradient_of_each(cell):
    trace = sr.trace(layer_of(cell), torch.randn(5, 2, I, dtype=torch.float64), differentiable=True)
    record = trace.gradients(trace.output.sum()).layer(0)
    assert {each.target for each in Equations(cell).forward} <= set(record)
    assert record[cell.states[0]].abs().min() > 0


@each_cell
def test_packed_sequences_and_several_layers_are_traced(cell):
    layer = sr.RecurrentLayer(cell, I, H, num_layers=2)
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.randn(5, 2, I), [3, 5], enforce_sorted=False)
    record = sr.trace(layer, packed).layer(1)
    assert record.lengths.tolist() == [3, 5]
    equal(record[cell.states[0]][3:, 0], torch.zeros(2, H))


@each_cell
def test_it_is_summed_up_and_drawn_and_has_a_page(cell, tmp_path):
    trace = sr.trace(layer_of(cell), torch.randn(5, 2, I, dtype=torch.float64), halves=True)
    for name, kept in sr.summary.roads(trace.layer(0)).items():
        assert name in cell.states
        assert kept.isfinite().all()
    sr.plot.diagram(cell)
    sr.plot.gates(trace.layer(0))
    plt.close("all")
    trace.to_html(tmp_path / "page.html")
    assert f"cell {cell.name!r}" not in (tmp_path / "page.html").read_text()  # as in why there are no lines


@each_cell
def test_it_is_captured_whole(cell):
    layer, x = layer_of(cell), torch.randn(5, 2, I, dtype=torch.float64)
    captured = torch.compile(layer, fullgraph=True, backend="aot_eager")
    found = [torch.autograd.grad(m(x)[0].sin().sum(), [*m.parameters()]) for m in (captured, layer)]
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_local_that_a_trace_has_something_else_for_is_left_out():
    def update(f, h_prev):
        step = torch.tanh(f)
        f_x = 2 * step
        return f_x + h_prev

    layer = sr.RecurrentLayer(sr.Cell("OWN", ("f",), update), I, H)
    assert list(sr.trace(layer, torch.randn(5, 2, I)).layer(0)) == ["h", "f_pre", "h_prev"]
    assert "f_x" in sr.trace(layer, torch.randn(5, 2, I), halves=True).layer(0)
