"""Laws that hold for any cell, over drawn sizes and options: outputs, last states and every gradient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from running import close, each_row, equal, gradients, leaf, run, states, tensors, upstream
from table import BY_NAME, Row, mgu, mgu_walked
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, unpack_sequence
from torch.utils._pytree import tree_map

import scratchrnn as sr

pytestmark = pytest.mark.usefixtures("engine")

drawn = st.fixed_dictionaries(
    {name: st.integers(1, top) for name, top in {"T": 6, "B": 4, "I": 3, "H": 4, "num_layers": 3}.items()}
    | {name: st.booleans() for name in ("bidirectional", "bias", "project")}
    | {"seed": st.integers(0, 999)}
)


def case(row: Row, drawn: dict[str, Any], **fixed: Any) -> tuple[Any, Tensor, Any]:
    """A float64 layer with random weights, a random input and random states."""
    options = drawn | fixed
    torch.manual_seed(options.pop("seed"))
    T, B, I, H, project = (options.pop(name) for name in ("T", "B", "I", "H", "project"))  # noqa: E741
    if project and row.projects and H > 1:
        options["proj_size"] = H // 2
    layer = row.layer(I, H, dtype=torch.float64, **options)
    return layer, leaf(T, B, I), states(row, layer, B)


def assert_same(found: Any, expected: Any, leaves: Iterable[Tensor]) -> None:
    """The same values and, under random upstream gradients of all of them, the same gradients of `leaves`."""
    found, expected, leaves = tensors(found), tensors(expected), list(leaves)
    close(found, expected)
    close(gradients(found, leaves), gradients(expected, leaves))


def part(row: Row, layer: Any, k: int = 0, only: str | None = None) -> Any:
    """Layer k of `layer`, with both its directions or `only` one: a layer that has the same Parameters."""
    options = {"bias": layer.bias, "bidirectional": layer.bidirectional and only is None}
    if layer.proj_size:
        options["proj_size"] = layer.proj_size
    alone = row.layer(getattr(layer, f"weight_ih_l{k}").shape[1], layer.hidden_size, dtype=torch.float64, **options)
    for name in list(alone.state_dict()):
        setattr(alone, name, getattr(layer, name.replace("l0", f"l{k}") + (only or "")))
    return alone


def slots(hx: Any, which: slice) -> Any:
    """The states of some of the layers and directions."""
    return tree_map(lambda s: s[which], hx)


def joined(results: Iterable[Any], output_dim: int, state_dim: int) -> list[Tensor]:
    outputs, lasts = zip(*results, strict=True)
    return [torch.cat(outputs, output_dim), *(torch.cat(s, state_dim) for s in zip(*map(tensors, lasts), strict=True))]


@each_row
@given(drawn, st.integers(1, 5))
def test_a_sequence_can_be_cut_and_continued_from_the_state(row: Row, drawn: dict[str, Any], cut: int) -> None:
    layer, x, hx = case(row, drawn, bidirectional=False, T=cut + drawn["T"])
    first, between = layer(x[:cut], hx)
    second, last = layer(x[cut:], between)
    assert_same(layer(x, hx), (torch.cat([first, second]), last), [x, *tensors(hx), *layer.parameters()])


@each_row
@given(drawn)
def test_a_row_of_a_batch_is_as_if_alone(row: Row, drawn: dict[str, Any]) -> None:
    layer, x, hx = case(row, drawn)
    alone = [layer(x[:, [b]], tree_map(lambda s, b=b: s[:, [b]], hx)) for b in range(x.shape[1])]
    assert_same(layer(x, hx), joined(alone, 1, 1), [x, *tensors(hx), *layer.parameters()])


@each_row
@given(drawn)
def test_both_directions_are_a_forward_layer_and_one_that_runs_on_the_flipped_input(
    row: Row, drawn: dict[str, Any]
) -> None:
    layer, x, hx = case(row, drawn, bidirectional=True, num_layers=1)
    forward = part(row, layer, only="")(x, slots(hx, slice(0, 1)))
    output, last = part(row, layer, only="_reverse")(x.flip(0), slots(hx, slice(1, 2)))
    halves = joined([forward, (output.flip(0), last)], -1, 0)
    assert_same(layer(x, hx), halves, [x, *tensors(hx), *layer.parameters()])


@each_row
@given(drawn)
def test_a_stack_is_its_layers_one_after_the_other(row: Row, drawn: dict[str, Any]) -> None:
    layer, x, hx = case(row, drawn)
    y, lasts, D = x, [], 1 + layer.bidirectional
    for k in range(layer.num_layers):
        y, last = part(row, layer, k)(y, slots(hx, slice(k * D, (k + 1) * D)))
        lasts.append(tensors(last))
    ends = [torch.cat(s) for s in zip(*lasts, strict=True)]
    assert_same(layer(x, hx), (y, ends), [x, *tensors(hx), *layer.parameters()])


@each_row
@given(drawn, st.integers(0, 5))
def test_what_comes_later_changes_nothing_before(row: Row, drawn: dict[str, Any], t: int) -> None:
    layer, x, hx = case(row, drawn, bidirectional=False)
    other = torch.cat([x[:t], torch.randn_like(x[t:])])
    close(layer(other, hx)[0][:t], layer(x, hx)[0][:t])


@each_row
@given(drawn, st.integers(0, 5))
def test_in_reverse_what_comes_earlier_changes_nothing_behind(row: Row, drawn: dict[str, Any], t: int) -> None:
    layer, x, hx = case(row, drawn, bidirectional=True, num_layers=1)
    other = torch.cat([torch.randn_like(x[:t]), x[t:]])
    width = layer.proj_size or layer.hidden_size
    close(layer(other, hx)[0][t:, :, width:], layer(x, hx)[0][t:, :, width:])


@each_row
@given(drawn)
def test_permuting_the_hidden_units_permutes_the_output(row: Row, drawn: dict[str, Any]) -> None:
    layer, x, hx = case(row, drawn, num_layers=1)
    H, R = layer.hidden_size, layer.proj_size or layer.hidden_size
    units = torch.randperm(H)
    emitted = torch.randperm(R) if layer.proj_size else units
    stacked = torch.cat([k * H + units for k in range(len(row.cell.gates))])
    expected_output, expected_last = layer(x, hx)

    def permute(state: Any) -> list[Tensor]:
        h, *others = tensors(state)
        return [h[..., emitted], *(s[..., units] for s in others)]

    expected = [expected_output.unflatten(-1, (-1, R))[..., emitted].flatten(-2), *permute(expected_last)]
    with torch.no_grad():
        for name, w in layer.named_parameters():
            rows, columns = (emitted, units) if "hr" in name else (stacked, emitted if "weight_hh" in name else None)
            w.copy_(w[rows] if columns is None else w[rows][:, columns])
    permuted = permute(hx)
    close(tensors(layer(x, tuple(permuted) if len(permuted) > 1 else permuted[0])), [y.detach() for y in expected])


# --------------------------------------------------------------------------------------- laws of certain cells


@given(drawn, st.floats(0, 5), st.floats(0, 50))
def test_the_state_of_a_gru_stays_within_one_or_where_it_began(
    drawn: dict[str, Any], start: float, weights: float
) -> None:
    layer, x, hx = case(BY_NAME["GRU"], drawn, num_layers=1, bidirectional=False)
    with torch.no_grad():
        for w in layer.parameters():
            w.mul_(weights)
    h_0 = start * hx
    assert (layer(x, h_0)[0].abs() <= h_0.abs().clamp(min=1)).all()


@given(drawn)
def test_an_lstm_whose_forget_gate_is_one_and_input_gate_zero_keeps_its_cell_state(drawn: dict[str, Any]) -> None:
    layer, x, (h_0, c_0) = case(BY_NAME["LSTM"], drawn, bias=True)
    for name, b in layer.named_parameters():
        if "bias_ih" in name:
            i, f, *_ = b.detach().chunk(4)
            i.fill_(-100), f.fill_(100)
    equal(layer(x, (h_0, c_0))[1][1], c_0)


@pytest.mark.parametrize("row", [BY_NAME[name] for name in ("LSTM", "GRU", "MGU", "MGU_walked")], ids=str)
@given(drawn)
def test_with_all_weights_zero_the_remembered_state_halves_at_each_step(row: Row, drawn: dict[str, Any]) -> None:
    layer, x, hx = case(row, drawn, project=False)
    for w in layer.parameters():
        w.detach().zero_()
    *_, remembered = tensors(hx)
    *_, last = tensors(layer(x, hx))
    equal(last, remembered / 2 ** len(x))


@given(drawn)
def test_the_hand_derived_gradients_of_mgu_are_those_that_autograd_finds(drawn: dict[str, Any]) -> None:
    layer, x, hx = case(BY_NAME["MGU"], drawn)
    walked, _, _ = case(BY_NAME["MGU_walked"], drawn)
    walked.load_state_dict(layer.state_dict())
    assert (layer.cell, walked.cell) == (mgu, mgu_walked)
    close(run(layer, x, hx), run(walked, x, hx))


# ------------------------------------------------------------------------- the loop, apart from any equation


class CountTape(NamedTuple):
    n: Tensor


def count_update(n: Tensor, h_prev: Tensor) -> tuple[tuple[Tensor], CountTape]:
    return (h_prev + 1,), CountTape(n)


def count_adjoint(tape: CountTape, dh: Tensor) -> tuple[tuple[Tensor], tuple[Tensor]]:
    return (torch.zeros_like(tape.n),), (dh,)


COUNTS = [sr.Cell("COUNT_WALKED", ("n",), count_update), sr.Cell("COUNT", ("n",), count_update, count_adjoint)]
each_count = pytest.mark.parametrize("cell", COUNTS, ids=lambda cell: cell.name)


def assert_counts(layer: Any, x: Any, h_0: Tensor, lengths: list[int]) -> None:
    """Each sequence counts from its own state over its own steps, and its gradients come back to that state."""
    output, h_n = layer(x, h_0)
    sequences = output.unbind(1) if isinstance(output, Tensor) else unpack_sequence(output)
    H = layer.hidden_size
    top = slice(-2, None) if layer.bidirectional else slice(-1, None)
    for b, (y, length) in enumerate(zip(sequences, lengths, strict=True)):
        up = torch.arange(1, length + 1, dtype=torch.float64).unsqueeze(1)
        starts = h_0[top, b]
        directions = [starts[0] + up, *([starts[1] + up.flip(0)] if layer.bidirectional else [])]
        close(y, torch.cat(directions, 1))
    close(h_n, h_0 + torch.tensor(lengths, dtype=torch.float64).unsqueeze(1))

    outputs = [*sequences, h_n]
    (d_h_0,) = torch.autograd.grad(outputs, [h_0], upstream(outputs))
    *d_sequences, expected = upstream(outputs)
    for b, dy in enumerate(d_sequences):
        expected[top, b] += dy.sum(0).unflatten(0, (-1, H))
    close(d_h_0, expected)


def counter(cell: sr.Cell, num_layers: int, bidirectional: bool) -> nn.Module:
    return sr.RecurrentLayer(cell, 2, 3, num_layers, bidirectional=bidirectional, dtype=torch.float64)


@each_count
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    num_layers=st.integers(1, 2),
    bidirectional=st.booleans(),
    seed=st.integers(0, 999),
)
def test_a_counting_cell_counts_the_steps_of_each_packed_sequence(
    cell: sr.Cell, lengths: list[int], num_layers: int, bidirectional: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    x = pack_padded_sequence(leaf(max(lengths), len(lengths), 2), torch.tensor(lengths), enforce_sorted=False)
    h_0 = leaf(num_layers * (1 + bidirectional), len(lengths), 3)
    assert_counts(counter(cell, num_layers, bidirectional), x, h_0, lengths)


@each_count
@given(T=st.integers(1, 6), B=st.integers(1, 4), num_layers=st.integers(1, 2), bidirectional=st.booleans())
def test_a_counting_cell_counts_the_steps_of_a_padded_batch(
    cell: sr.Cell, T: int, B: int, num_layers: int, bidirectional: bool
) -> None:
    h_0 = leaf(num_layers * (1 + bidirectional), B, 3)
    assert_counts(counter(cell, num_layers, bidirectional), leaf(T, B, 2), h_0, [T] * B)
