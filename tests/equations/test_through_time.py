"""Backpropagation through time in numbers: every line against autograd and torch.nn, the roads, the sums."""

from __future__ import annotations

import pytest
import table
import torch
from running import close
from torch import nn

from scratchrnn.cells import elman, gru, lstm
from scratchrnn.equations import through_time as module
from scratchrnn.equations.equations import Equations
from scratchrnn.equations.through_time import evaluated, through_time, unrolled
from scratchrnn.equations.without import without

CELLS = [row.cell for row in table.ROWS if not row.cell.walk] + table.EQUATIONS[2:]
each_cell = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)


@each_cell
@pytest.mark.parametrize("steps", [1, 3])
def test_every_gradient_is_autograds(cell, steps):
    sections, agree = through_time(cell, steps, 3, 2)
    assert agree
    assert sections[-1].parts[-1].startswith("All agree in float64")
    names = [each.target for each in unrolled(cell, steps).lines]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("cell", "theirs"), [(elman, nn.RNN), (lstm, nn.LSTM), (gru, nn.GRU)], ids=["rnn", "lstm", "gru"]
)
def test_the_gradients_of_the_parameters_are_those_of_torch(cell, theirs):
    T, I, H = 4, 3, 2  # noqa: E741
    values = evaluated(cell, T, I, H)
    layer = theirs(I, H, dtype=torch.float64)
    stacks = {"weight_ih_l0": "W_i", "weight_hh_l0": "W_h", "bias_ih_l0": "b_i", "bias_hh_l0": "b_h"}
    with torch.no_grad():
        for name, block in stacks.items():
            parameter = getattr(layer, name)
            parameter.copy_(torch.cat([values[f"{block}{g}"] for g in cell.gates]).view_as(parameter))
    states = [values[f"{s}_0"].T.unsqueeze(0) for s in cell.states]
    output, last = layer(
        torch.stack([values[f"x_{t}"].T for t in range(1, T + 1)]), tuple(states) if len(states) > 1 else states[0]
    )
    upstream = torch.stack([values[f"dh_loss_{t}"].T for t in range(1, T + 1)])
    loss = (output * upstream).sum()
    if len(states) > 1:
        loss = loss + (last[1] * values[f"dc_next_{T}"].T).sum()
    loss.backward()
    for name, block in stacks.items():
        expected = getattr(layer, name).grad
        close(torch.cat([values[f"d{block}{g}"] for g in cell.gates]).view_as(expected), expected)


def test_the_state_is_handed_on_by_two_roads_in_a_gru_and_by_one_in_an_lstm():
    of_gru = {each.target: each.text for each in unrolled(gru, 3).lines}
    assert of_gru["dh_2"] == "dh_2 = dh_loss_2 + dh_W_2 + dh_direct_2"
    assert of_gru["dh_3"] == "dh_3 = dh_loss_3"
    assert of_gru["dh_direct_2"] == "dh_direct_2 = dh_3 * z_3"
    assert of_gru["dh_W_2"] == "dh_W_2 = W_hr^T dr_pre_3 + W_hz^T dz_pre_3 + W_hn^T dn_h_3"
    assert of_gru["dh_0"] == "dh_0 = dh_W_0 + dh_direct_0"
    of_lstm = {each.target: each.text for each in unrolled(lstm, 3).lines}
    assert of_lstm["dh_2"] == "dh_2 = dh_loss_2 + dh_W_2"
    assert of_lstm["dc_next_2"] == "dc_next_2 = dc_3 * f_3"
    assert of_lstm["dc_0"] == "dc_0 = dc_1 * f_1"
    assert of_lstm["c_2"] == "c_2 = f_2 * c_1 + i_2 * g_2"
    assert of_lstm["dW_hf"] == "dW_hf = df_pre_1 h_0^T + df_pre_2 h_1^T + df_pre_3 h_2^T"


def test_the_outer_products_of_the_steps_sum_to_the_gradient():
    values = evaluated(lstm, 3, 3, 2)
    for g in lstm.gates:
        close(values[f"dW_h{g}"], sum(values[f"dW_h{g}_{t}"] for t in (1, 2, 3)))
        for t in (1, 2, 3):
            assert torch.linalg.matrix_rank(values[f"dW_h{g}_{t}"]) == 1


def test_a_state_that_nothing_hands_on_gets_nothing():
    reduced = without(lstm, "f", 0)
    assert "dc_prev" not in {each.target for each in Equations(reduced).derived}
    values = evaluated(reduced, 3, 3, 2)
    assert through_time(reduced, 3, 3, 2)[1]
    assert values["dc_next_2"].tolist() == values["dc_0"].tolist() == [[0.0], [0.0]]
    assert values["dc_next_3"].abs().min() > 0


def test_a_road_that_is_forgotten_is_found(monkeypatch):
    monkeypatch.setattr(module, "_roads", lambda cell: [f"d{cell.states[0]}_W"])
    sections, agree = through_time(gru, 3, 3, 2)
    assert not agree
    assert "DIFFERS dh_0 of the backward from autograd by " in sections[-1].parts[-1]
