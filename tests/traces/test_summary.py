"""The numbers that a trace is summed up in, next to their definitions and to layers made to have them."""

from __future__ import annotations

import math
import re

import pytest
import torch
from running import close, error
from table import coupled, mgu, pair, slstm
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

import scratchrnn as sr
from scratchrnn.traces import Record, Trace, summary

T, B, I, H = 6, 3, 4, 5  # noqa: E741 - input_size
LENGTHS = [3, 6, 1]


def record(layer: nn.Module) -> tuple[Record, list[slice]]:
    """Of packed sequences, and the steps that each has."""
    x = pack_sequence([torch.randn(n, I, dtype=torch.float64) for n in LENGTHS], enforce_sorted=False)
    return sr.trace(layer.double(), x).layer(0), [slice(0, n) for n in LENGTHS]


def values(found: Record, name: str, there: list[slice]) -> Tensor:
    """[sum of lengths, H]"""
    return torch.cat([found[name][steps, b] for b, steps in enumerate(there)])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_saturation_is_the_share_of_values_near_the_bounds_of_the_gate(kind: type[nn.Module]) -> None:
    layer = kind(I, H)
    with torch.no_grad():
        layer.weight_ih_l0.mul_(8)
    found, there = record(layer)
    shares = summary.saturation(found)
    assert list(shares) == list(found.cell.gates)
    for gate, (low, high) in shares.items():
        bound = 0.9 if gate in "gn" else 0.95
        floor = -0.9 if gate in "gn" else 0.05
        close(low, (values(found, gate, there) < floor).double().mean(0))
        close(high, (values(found, gate, there) > bound).double().mean(0))
        assert low.any()
        assert high.any()


def test_saturation_of_an_elman_cell_is_that_of_its_state_and_relu_has_no_bound() -> None:
    layer = nn.RNN(I, H)
    with torch.no_grad():
        layer.weight_ih_l0.mul_(8)
    found, there = record(layer)
    low, high = summary.saturation(found)["h"]
    close(high, (values(found, "h", there) > 0.9).double().mean(0))
    close(low, (values(found, "h", there) < -0.9).double().mean(0))
    assert summary.saturation(record(nn.RNN(I, H, nonlinearity="relu"))[0]) == {}


def stays_update(n: Tensor, h_prev: Tensor, k_prev: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[()]]:
    k = 0.9 * k_prev + torch.tanh(n)
    return (torch.tanh(k), k), ()


stays = sr.Cell("STAYS", ("n",), stays_update)


def test_where_several_states_go_on_past_the_weights_one_is_chosen() -> None:
    found, there = record(sr.RecurrentLayer(slstm, I, H))
    message = (
        "several states of cell 'STABILISED' reach the next step past its weights, c, n, m: choose one, as state='c'"
    )
    for function in (summary.carried, summary.time_constants):
        assert error(lambda function=function: function(found)) == (ValueError, message)
    roads = summary.roads(found)
    assert list(roads) == ["c", "n", "m"]
    valid = found.valid().unsqueeze(-1)
    expected = {"c": found.f * valid, "n": found.f * valid, "m": (found.f_pre + found.m_prev > found.i_pre) * valid}
    for state, share in expected.items():
        name, kept = summary.carried(found, state=state)
        assert name == state
        close(kept, share.double())
        close(roads[state], kept)
        mean = torch.cat([share.double()[steps, b] for b, steps in enumerate(there)]).mean(0)
        close(summary.time_constants(found, state=state), (-1 / mean.log()).abs())
    assert error(lambda: summary.carried(found, state="h")) == (
        ValueError,
        "state 'h' of cell 'STABILISED' reaches the next step but through its weights; those past them: c, n, m",
    )
    assert error(lambda: summary.time_constants(found, state="s")) == (
        ValueError,
        "state should be one of cell 'STABILISED', h, c, n, m, got 's'",
    )


def test_the_only_state_that_goes_on_past_the_weights_may_be_named() -> None:
    found, _ = record(nn.LSTM(I, H))
    close(summary.carried(found, state="c")[1], summary.carried(found)[1])
    assert error(lambda: summary.carried(record(nn.RNN(I, H))[0], state="h")) == (
        ValueError,
        "no state of cell 'RNN_TANH' reaches the next step but through its weights",
    )


@pytest.mark.parametrize(
    ("layer", "state", "gate"),
    [
        (nn.LSTM(I, H), "c", lambda r: r.f),
        (nn.LSTM(I, H, proj_size=2), "c", lambda r: r.f),
        (nn.GRU(I, H), "h", lambda r: r.z),
        (sr.RecurrentLayer(mgu, I, H), "h", lambda r: 1 - r.f),
        (sr.RecurrentLayer(coupled, I, H), "c", lambda r: r.f),
        (sr.RecurrentLayer(stays, I, H), "k", lambda r: torch.full_like(r.k, 0.9)),
    ],
)
def test_what_is_carried_is_the_derivative_past_the_weights(layer: nn.Module, state: str, gate: object) -> None:
    found, there = record(layer)
    name, kept = summary.carried(found)
    assert name == state
    expected = gate(found)  # type: ignore[operator]
    for b, steps in enumerate(there):
        close(kept[steps, b], expected[steps, b])
        assert not kept[steps.stop :, b].any()
    mean = torch.cat([expected[steps, b] for b, steps in enumerate(there)]).mean(0)
    close(summary.time_constants(found), torch.tensor([-1 / math.log(m) for m in mean], dtype=torch.float64))
    assert not kept.requires_grad


def test_a_unit_that_keeps_all_remembers_forever_and_one_that_keeps_nothing_not_at_all() -> None:
    lstm = nn.LSTM(I, H)
    with torch.no_grad():
        lstm.weight_ih_l0.zero_()
        lstm.weight_hh_l0.zero_()
        lstm.bias_ih_l0[H : H + 2] = torch.tensor([1000.0, -1000.0])
        lstm.bias_ih_l0[H + 2] = math.log(math.exp(-1 / 20) / (1 - math.exp(-1 / 20))) - lstm.bias_hh_l0[H + 2]
    found = sr.trace(lstm.double(), torch.randn(T, B, I).double()).layer(0)
    taus = summary.time_constants(found)
    assert taus[0] == math.inf
    assert taus[1] == 0
    assert taus[2].item() == pytest.approx(20, rel=1e-5)


def test_an_elman_cell_carries_nothing_past_its_weights() -> None:
    for function in (summary.carried, summary.time_constants):
        assert error(lambda function=function: function(record(nn.RNN(I, H))[0])) == (
            ValueError,
            "no state of cell 'RNN_TANH' reaches the next step but through its weights",
        )


def test_a_span_is_found_where_the_halves_of_a_gate_go_to_different_sides() -> None:
    assert summary.span(record(sr.RecurrentLayer(pair, I, H))[0], "a") == (-1.0, 1.0)  # tanh(a_x * sigmoid(a_h))
    lstm, _ = record(nn.LSTM(I, H))
    assert [summary.span(lstm, name) for name in ("f", "g", "c", "f_pre")] == [(0.0, 1.0), (-1.0, 1.0), None, None]
    assert summary.span(record(nn.RNN(I, H))[0], "h") == (-1.0, 1.0)
    assert summary.span(record(nn.RNN(I, H, nonlinearity="relu"))[0], "h") is None


def test_a_gradient_or_a_gate_that_leaves_its_limits_has_no_span() -> None:
    lstm = nn.LSTM(I, H).double()
    traced = sr.trace(lstm, torch.randn(T, B, I).double(), differentiable=True)
    assert summary.span(traced.gradients(traced.output.square().sum() * 1e4).layer(0), "f") is None
    grows = sr.Cell("GROWS", ("n",), lambda n, h_prev: ((torch.tanh(n) + h_prev,), ()))
    steady = sr.trace(sr.RecurrentLayer(grows, I, H), 9 * torch.ones(40, 1, I)).layer(0)
    assert steady.h.abs().max() > 2
    assert summary.saturation(steady) == {}


def test_a_cell_for_one_width_alone_is_summed_up_too() -> None:
    def update(n: Tensor, h_prev: Tensor) -> tuple[tuple[Tensor], tuple[()]]:
        return (torch.sigmoid(nn.functional.layer_norm(n, (H,))),), ()

    layer = sr.RecurrentLayer(sr.Cell("NORMED", ("n",), update), I, H)
    assert summary.saturation(sr.trace(layer, torch.randn(T, B, I)).layer(0)).keys() <= {"h"}


def test_what_is_carried_is_found_in_every_grad_mode() -> None:
    lstm, x = nn.LSTM(I, H), torch.randn(T, B, I)
    expected = summary.carried(sr.trace(lstm, x).layer(0))[1]
    with torch.inference_mode():
        found = sr.trace(lstm, x).layer(0)
        close(summary.carried(found)[1], expected)
    close(summary.carried(found)[1], expected)


def test_dead_units_stay_at_zero_and_stuck_ones_somewhere_else() -> None:
    layer = nn.RNN(I, H, nonlinearity="relu")
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
        layer.weight_ih_l0[:2].zero_()
        layer.bias_ih_l0[:2] = torch.tensor([-9.0, 9.0])
    found, _ = record(layer)
    assert summary.dead(found)[:2].tolist() == [True, False]
    assert summary.stuck(found)[:2].tolist() == [False, True]
    assert not summary.dead(found)[2:].all()
    assert not summary.stuck(found)[2:].any()
    biggest = found.h.abs().max().item()
    assert summary.dead(found, below=biggest).all()
    assert not summary.stuck(found, within=biggest).any()


def gradients(layer: nn.Module) -> tuple[Trace, Record]:
    traced = sr.trace(layer.double(), torch.randn(T, B, I).double(), differentiable=True)
    return traced, traced.gradients(traced.output[-1].square().sum()).layer(0)


def test_gradient_norms_are_those_of_the_states_at_each_step() -> None:
    traced, d = gradients(nn.LSTM(I, H))
    expected = torch.autograd.grad(traced.output[-1].square().sum(), traced.output, retain_graph=True)[0][-1]
    norms = summary.gradient_norms(d)
    assert norms.shape == (T,)
    assert norms[-1].item() == pytest.approx(expected.norm().item())
    close(summary.gradient_norms(d, "f"), torch.stack([d_t.norm() for d_t in d.f]))
    named = sr.Cell("S", ("n",), lambda n, s_prev: ((torch.tanh(n),), ()))
    _, d = gradients(sr.RecurrentLayer(named, I, H))
    close(summary.gradient_norms(d), summary.gradient_norms(d, "s"))


@pytest.mark.parametrize(("kind", "hidden"), [(nn.LSTM, "i_pre f_pre g_pre o_pre"), (nn.GRU, "r_pre z_pre n_h")])
def test_gate_shares_are_of_the_squared_gradients_and_add_up_to_one(kind: type[nn.Module], hidden: str) -> None:
    _, d = gradients(kind(I, H))
    shares = summary.gate_shares(d)
    squares = torch.stack([d[name].square().sum((1, 2)) for name in hidden.split()])
    close(torch.stack([*shares.values()]), squares / squares.sum(0))
    assert list(shares) == list(d.cell.gates)
    close(sum(shares.values()), torch.ones(T, dtype=torch.float64))


def test_gate_shares_are_zero_where_no_gradient_arrives() -> None:
    traced = sr.trace(nn.GRU(I, H), torch.randn(T, B, I), differentiable=True)
    shares = summary.gate_shares(traced.gradients(traced.output[1].sum()).layer(0))
    assert not torch.stack([*shares.values()])[:, 2:].any()
    close(sum(shares.values())[:2], torch.ones(2, dtype=torch.float64))


OF_A_RECORD = {
    "record": [
        summary.saturation,
        summary.saturable,
        lambda r: summary.span(r, "f"),
        summary.roads,
        summary.carried,
        summary.time_constants,
        summary.dead,
        summary.stuck,
    ],
    "gradients": [summary.gradient_norms, summary.gate_shares],
}


@pytest.mark.parametrize(("name", "function"), [(n, f) for n, functions in OF_A_RECORD.items() for f in functions])
def test_what_is_no_record_is_refused_in_the_same_words_everywhere(name: str, function: object) -> None:
    x = torch.randn(T, B, I)
    for given in (sr.trace(nn.LSTM(I, H), x), sr.trace(nn.Sequential(nn.LSTM(I, H)), x), x):
        assert error(lambda given=given: function(given)) == (  # type: ignore[operator]
            TypeError,
            f"{name} should be a Record, as trace(...).layer(k), got {type(given).__name__}",
        )


def test_the_spectral_radius_of_a_rotation_is_its_scale() -> None:
    angle = 0.3
    rotation = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    gru, lstm = nn.GRU(I, 2, 2, bidirectional=True), nn.LSTM(I, 3, proj_size=2)
    with torch.no_grad():
        gru.weight_hh_l1_reverse.copy_(torch.cat([0.5 * rotation, rotation, 2 * rotation]))
        lstm.weight_hh_l0.copy_(torch.cat([k * torch.eye(3)[:, :2] for k in (1, 2, 3, 4)]))
        lstm.weight_hr_l0.copy_(torch.eye(3)[:2])
    for layer in (gru, sr.from_torch(gru)):
        radii = summary.spectral_radius(layer, 1, reverse=True)
        assert radii == pytest.approx({"r": 0.5, "z": 1.0, "n": 2.0}, rel=1e-5)
    for k, reverse in ((1, False), (-1, False), (0, True)):
        assert error(lambda k=k, reverse=reverse: summary.spectral_radius(lstm, k, reverse)) == (
            IndexError,
            f"no layer {k}, reverse={reverse} in {lstm}",
        )
    assert summary.spectral_radius(lstm) == pytest.approx({"i": 1.0, "f": 2.0, "g": 3.0, "o": 4.0})


# -------------------------------------------------------------------------------------------- contributions


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("layer", [nn.LSTM(3, 4, bidirectional=True), nn.GRU(3, 4, bidirectional=True)], ids=str)
def test_a_contribution_is_what_a_step_wrote_times_what_every_later_one_kept(layer: nn.RNNBase, reverse: bool) -> None:
    lengths = [6, 4]
    x = pack_sequence([torch.randn(n, 3) for n in lengths])
    state = torch.randn(2, 2, 4)
    start = (torch.randn(2, 2, 4), state) if isinstance(layer, nn.LSTM) else state
    record = sr.trace(layer, x, start).layer(0, reverse)
    T, b, unit = lengths[1], 1, 2
    name, kept = summary.carried(record)
    found = summary.contributions(record, unit, b)
    assert found.shape == (T + 1, T)
    order = [*range(T)][:: -1 if reverse else 1]
    written = record.i * record.g if name == "c" else (1 - record.z) * record.n
    for place, t in enumerate(order):
        later = [kept[s, b, unit].item() for s in order[: place + 1]]
        assert found[0, t].item() == pytest.approx(state[int(reverse), b, unit].item() * math.prod(later), abs=1e-6)
        for before, s in enumerate(order[: place + 1]):
            since = [kept[r, b, unit].item() for r in order[before + 1 : place + 1]]
            assert found[s + 1, t].item() == pytest.approx(written[s, b, unit].item() * math.prod(since), abs=1e-6)
        assert all(found[s + 1, t] == 0 for s in order[place + 1 :])
    torch.testing.assert_close(found.sum(0), record[name][:T, b, unit].double())


def test_contributions_of_a_state_that_is_no_sum_add_up_to_it_too() -> None:
    record = sr.trace(sr.RecurrentLayer(pair, 3, 4), torch.randn(5, 2, 3)).layer(0)
    for state in ("h", "m", "k"):
        found = summary.contributions(record, 1, 1, state)
        torch.testing.assert_close(found.sum(0), record[state][:, 1, 1].double())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((4,), "unit should be from 0 to 3, got 4"), ((0, -1), "sequence should be from 0 to 1, got -1")],
)
def test_a_unit_or_sequence_that_is_not_there_is_refused(arguments: tuple[int, ...], message: str) -> None:
    record = sr.trace(nn.GRU(3, 4), torch.randn(5, 2, 3)).layer(0)
    with pytest.raises(IndexError, match=f"^{re.escape(message)}$"):
        summary.contributions(record, *arguments)
