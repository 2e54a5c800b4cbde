"""Backpropagation through time: in blocks of steps and runs of rows, whose lengths change no result."""

from __future__ import annotations

import pytest
import torch
from running import close, each_row, leaf, run, states
from table import Row
from torch.nn.utils.rnn import pack_padded_sequence

from scratchrnn.cells import gru
from scratchrnn.engine import backward
from scratchrnn.engine.columns import Columns
from scratchrnn.engine.forward import Setting


@each_row
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("block_bytes", "rows"), [(1, 1), (2000, 3), (1 << 30, 1 << 30)])
def test_blocks_and_runs_change_nothing(
    row: Row, packed: bool, block_bytes: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = row.layer(3, 4, 2, bidirectional=True, dtype=torch.float64)
    x, hx = leaf(9, 4, 3), states(row, layer, 4)
    lengths = torch.tensor([2, 9, 1, 5])
    input = pack_padded_sequence(x, lengths, enforce_sorted=False) if packed else x
    expected = run(layer, input, hx)
    monkeypatch.setattr(backward, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(backward, "_RUN", rows)
    monkeypatch.setattr(backward, "_TERMS", rows)
    close(run(layer, input, hx), expected)


def test_blocks_cut_the_steps_by_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(sizes: list[int], reverse: bool = False) -> list[int]:
        return [*backward._block_lengths(Setting(gru, Columns.of(gru), sizes, reverse), backward._BLOCK_BYTES // 4)]

    monkeypatch.setattr(backward, "_RUN", 1)
    assert cut([3, 3, 2, 2, 1, 1]) == [1, 1, 2, 2]
    assert cut([3, 3, 2, 2, 1, 1], reverse=True) == [3, 1, 1, 1]
    assert cut([9, 9]) == [1, 1]
    monkeypatch.setattr(backward, "_RUN", 5)  # fewer rows than a GEMM should have, however wide they are
    assert cut([3, 3, 2, 2, 1, 1]) == [2, 3, 1]
