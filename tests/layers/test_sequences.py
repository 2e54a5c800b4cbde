"""Sequences of several lengths in one batch: each must come out as if it had been alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from running import (
    close,
    each_row,
    each_twin,
    equal,
    error,
    gradients,
    layers,
    run,
    same_error,
    states,
    tensors,
    words_of_torch,
)
from table import PROJECTED, Row
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence

I, H = 3, 4  # noqa: E741 - input_size


def pack_sorted(sequences: list[Tensor]) -> PackedSequence:
    """In the order that `sorted_indices = None` says, which must be that of falling lengths."""
    return pack_sequence(sequences)


def pack_any_order(sequences: list[Tensor]) -> PackedSequence:
    return pack_sequence(sequences, enforce_sorted=False)


def pack_by_hand(sequences: list[Tensor]) -> PackedSequence:
    """Built directly, step by step."""
    order = sorted(range(len(sequences)), key=lambda b: -len(sequences[b]))
    steps = [[sequences[b][t] for b in order if t < len(sequences[b])] for t in range(len(sequences[order[0]]))]
    rows = torch.stack([x for step in steps for x in step])
    return PackedSequence(rows, torch.tensor([len(step) for step in steps]), torch.tensor(order))


PACKS = [pack_sorted, pack_any_order, pack_by_hand]
ragged = st.lists(st.integers(1, 5), min_size=1, max_size=5)


def draw(pack: Callable[[list[Tensor]], PackedSequence], lengths: list[int], seed: int = 0) -> list[Tensor]:
    """Random sequences of these lengths, sorted where `pack` needs it."""
    torch.manual_seed(seed)
    lengths = sorted(lengths, reverse=True) if pack is pack_sorted else lengths
    return [torch.randn(n, I, dtype=torch.float64, requires_grad=True) for n in lengths]


def at(hx: Any, b: int) -> Any:
    """The states of one sequence of the batch."""
    return tuple(s[:, b] for s in hx) if isinstance(hx, tuple) else None if hx is None else hx[:, b]


@given(
    lengths=ragged,
    pack=st.sampled_from(PACKS),
    num_layers=st.integers(1, 2),
    bidirectional=st.booleans(),
    with_states=st.booleans(),
    bias=st.booleans(),
    seed=st.integers(0, 999),
)
@pytest.mark.parametrize(("row", "proj_size"), PROJECTED, ids=str)
def test_each_packed_sequence_is_as_if_alone_forward_and_backward(
    row: Row,
    proj_size: int,
    lengths: list[int],
    pack: Callable[[list[Tensor]], PackedSequence],
    with_states: bool,
    seed: int,
    **options: Any,
) -> None:
    sequences = draw(pack, lengths, seed)
    options |= {"proj_size": proj_size} if proj_size else {}
    layer = row.layer(I, H, dtype=torch.float64, **options)
    hx = states(row, layer, len(sequences)) if with_states else None
    leaves = [*sequences, *tensors(hx), *layer.parameters()]

    output, last = layer(pack(sequences), hx)
    together = [*unpack_sequence(output), *tensors(last)]
    each = [layer(x, at(hx, b)) for b, x in enumerate(sequences)]
    ends = [torch.stack(s, 1) for s in zip(*(tensors(last) for _, last in each), strict=True)]
    alone = [*(output for output, _ in each), *ends]
    close(together, alone)
    close(gradients(together, leaves), gradients(alone, leaves))


@given(
    lengths=ragged,
    pack=st.sampled_from(PACKS),
    num_layers=st.integers(1, 2),
    bidirectional=st.booleans(),
    with_states=st.booleans(),
    seed=st.integers(0, 999),
)
@pytest.mark.parametrize(("row", "proj_size"), [(row, P) for row, P in PROJECTED if row.twin], ids=str)
def test_packed_sequences_give_what_torch_nn_gives(
    row: Row,
    proj_size: int,
    lengths: list[int],
    pack: Callable[[list[Tensor]], PackedSequence],
    with_states: bool,
    seed: int,
    **options: Any,
) -> None:
    x = pack([x.detach() for x in draw(pack, lengths, seed)])
    x.data.requires_grad_()
    options |= {"proj_size": proj_size} if proj_size else {}
    ours, theirs = layers(row, I, H, **options)
    arguments = (x, states(row, ours, len(lengths))) if with_states else (x,)
    close(run(ours, *arguments), run(theirs, *arguments))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("pack", PACKS)
@each_row
def test_a_packed_sequence_comes_out_with_the_very_index_tensors_that_came_in(
    row: Row, pack: Callable[[list[Tensor]], PackedSequence], bidirectional: bool
) -> None:
    x = pack(draw(pack, [2, 4, 1]))
    output, _ = row.layer(I, H, bidirectional=bidirectional, dtype=torch.float64)(x)
    assert type(output) is PackedSequence
    assert output.data.shape == (7, H * (1 + bidirectional))
    assert all(out is came for out, came in zip(output[1:], x[1:], strict=True))
    assert (x.sorted_indices is None) == (pack is pack_sorted)


@each_row
def test_batch_first_plays_no_role_for_packed_sequences(row: Row) -> None:
    layer = row.layer(I, H, 2, bidirectional=True, dtype=torch.float64)
    x, hx = pack_any_order(draw(pack_any_order, [2, 4, 1])), states(row, layer, 3)
    expected = tensors(layer(x, hx))
    layer.batch_first = True
    equal(tensors(layer(x, hx)), expected)


@each_row
def test_equal_lengths_packed_are_the_padded_batch(row: Row) -> None:
    layer = row.layer(I, H, 2, bidirectional=True, dtype=torch.float64)
    sequences, hx = draw(pack_sorted, [4, 4, 4]), states(row, layer, 3)
    output, last = layer(pack_sorted(sequences), hx)
    close([torch.stack(unpack_sequence(output), 1), last], list(layer(torch.stack(sequences, 1), hx)))


@each_row
def test_a_batch_in_reverse_order_gives_its_states_in_reverse_order(row: Row) -> None:
    layer = row.layer(I, H, 2, bidirectional=True, dtype=torch.float64)
    sequences, hx = draw(pack_any_order, [2, 4, 1, 3]), states(row, layer, 4)
    backwards = tuple(s.flip(1) for s in hx) if isinstance(hx, tuple) else hx.flip(1)
    last = tensors(layer(pack_any_order(sequences), hx)[1])
    close([s.flip(1) for s in tensors(layer(pack_any_order(sequences[::-1]), backwards)[1])], last)


# ------------------------------------------------------------------------------------------------------ errors

FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "rows not 2-D": ("input must have 2 dimensions, got 3", {"data": (6, 1, I)}),
    "features": ("input.size(-1) must be equal to input_size. Expected 3, got 7", {"data": (6, 7)}),
    "features before states": ("input.size(-1) must be equal", {"data": (6, 7), "states": (2, 2, H)}),
    "dtype": ("RNN input dtype (torch.float32) does not match weight dtype (torch.float64)", {"dtype": torch.float32}),
    "dtype before rows": ("RNN input dtype", {"data": (6, 1, I), "dtype": torch.float32}),
    "states of a batch of one": ("size (2, 3, 4), got [2, 1, 4]", {"states": (2, 1, H)}),
    "states of a larger batch": ("size (2, 3, 4), got [2, 5, 4]", {"states": (2, 5, H)}),
    "states of one layer": ("size (2, 3, 4), got [1, 3, 4]", {"states": (1, 3, H)}),
    "states' width": ("size (2, 3, 4), got [2, 3, 1]", {"states": (2, 3, 1)}),
    "2-D states": ("size (2, 3, 4), got [3, 4]", {"states": (3, H)}),
}


@words_of_torch
@pytest.mark.parametrize("fault", FAULTS)
@each_twin
def test_what_does_not_fit_is_refused_with_the_words_of_torch_nn(row: Row, fault: str) -> None:
    text, given = FAULTS[fault]
    data = torch.randn(given.get("data", (6, I)), dtype=given.get("dtype", torch.float64))
    x = PackedSequence(data, torch.tensor([3, 2, 1]))
    pair = layers(row, I, H, 2)
    hx = None
    if "states" in given:
        hx = tuple(torch.randn(given["states"], dtype=torch.float64) for _ in row.cell.states)
        hx = hx if len(hx) > 1 else hx[0]
    if len(row.cell.states) == 1:
        same_error(text, pair, x, hx)
    else:  # torch.nn's LSTM checks nothing here and lets its kernel fail; ours says what the other two say
        kind, found = error(lambda: pair[0](x, hx))
        assert kind is (ValueError if "dtype" in text else RuntimeError)
        assert text in found


@each_row
def test_states_of_too_large_a_batch_are_refused_for_unsorted_sequences_too(row: Row) -> None:
    layer = row.layer(I, H, dtype=torch.float64)
    x = pack_any_order(draw(pack_any_order, [2, 4, 1]))
    with pytest.raises(RuntimeError, match=r"size \(1, 3, 4\), got \[1, 5, 4\]"):
        layer(x, states(row, layer, 5))
