"""The two tasks: their answers are what they say, and each tells an LSTM with a forget gate from one without."""

from __future__ import annotations

import pytest
import torch

from scratchrnn.cells import lstm
from scratchrnn.equations.without import without
from scratchrnn.layers.tasks import TASKS

recall, stream = TASKS


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_answer_is_the_bit_that_was_marked_last(task):
    before = torch.tensor([1.0, -1.0, 1.0])
    x, answers = task._sequence(task.length, before, torch.Generator().manual_seed(0))
    assert x.shape == (task.length, 3, 2)
    assert set(x[..., 0].flatten().tolist()) == {-1.0, 1.0}
    last = before.clone()
    for bits, marks, found in zip(x[..., 0], x[..., 1], answers, strict=True):
        last = torch.where(marks > 0, bits, last)
        assert found.equal(last)
    assert (answers[0] == before).any() or task is recall
    marked = x[..., 1].sum(0)
    assert marked.tolist() == [1, 1, 1] if task is recall else (x[1:, :, 1].sum() > 0)


def test_in_recall_forgetting_costs_and_in_a_stream_it_pays():
    bare = without(lstm, "f")
    assert recall.right(bare, 0) > 0.95
    assert recall.right(lstm, 0) < 0.6
    assert stream.right(lstm, 0) > 0.95
    assert stream.right(bare, 0) < 0.9


def test_a_seed_gives_the_same_share_and_leaves_torchs_own_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = stream.right(without(lstm, "f"), 3)
    assert torch.rand(1).equal(expected)
    assert stream.right(without(lstm, "f"), 3) == first
