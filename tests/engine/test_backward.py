"""Backpropagation through time over many rows: as near to the truth as torch.nn, however the engine cuts the work.

The sizes are such that the rows of a scan neither fit a core's cache nor one run of a sum at once.
"""

from __future__ import annotations

import pytest
import torch
from running import close, each_row, each_twin, gradients, leaf, states, tensors
from table import Row
from torch.nn.utils.rnn import pack_padded_sequence

import scratchrnn as sr


@each_twin
@pytest.mark.parametrize("packed", [False, True])
def test_many_rows_and_wide_layers_are_as_near_to_float64_as_torch_nn(row: Row, packed: bool) -> None:
    assert row.twin is not None
    T, B, H = 50, 24, 560
    theirs = row.twin(20, H, bidirectional=True, **({"proj_size": 40} if row.projects else {}))
    x = torch.randn(T, B, 20)
    lengths = torch.randint(1, T + 1, (B,)).index_fill(0, torch.tensor([3]), T)
    input = pack_padded_sequence(x, lengths, enforce_sorted=False) if packed else x
    report = sr.compare(sr.from_torch(theirs), theirs, input)
    assert report, str(report)


@each_row
def test_a_long_sequence_has_the_gradients_of_its_pieces(row: Row) -> None:
    layer = row.layer(3, 64, dtype=torch.float64)
    x, hx = leaf(310, 8, 3), states(row, layer, 8)
    leaves = [x, *tensors(hx), *layer.parameters()]
    outputs, state = [], hx
    for piece in x.split(31):
        output, state = layer(piece, state)
        outputs.append(output)
    whole, pieces = tensors(layer(x, hx)), [torch.cat(outputs), *tensors(state)]
    close(whole, pieces)
    close(gradients(whole, leaves), gradients(pieces, leaves))
