"""A step that is spelled a second time does what the equation says."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from running import each_row
from table import Row
from torch import Tensor

from scratchrnn import cells
from scratchrnn.cells.cell import step
from scratchrnn.engine.kernels import step_of


def arguments(row: Row, B: int, H: int, scale: float, dtype: torch.dtype) -> list[Tensor]:
    rows = torch.randn(B, H * (len(row.cell.pre_activations) + len(row.cell.states)), dtype=dtype) * scale
    return list(rows.split(H, 1))  # views with a stride, as the loop passes them


@each_row
@given(B=st.integers(1, 9), H=st.integers(1, 33), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_a_step_is_the_update_without_its_tape(row: Row, B: int, H: int, scale: float) -> None:
    given = arguments(row, B, H, scale, torch.float64)
    kept = [t.clone() for t in given]
    state, _ = step_of(row.cell)(*given)
    assert isinstance(state, tuple)
    torch.testing.assert_close(state, step(row.cell, *given)[0], rtol=1e-12, atol=1e-14)
    assert all(map(torch.equal, given, kept))  # BPTT reads the pre-activations again


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_grus_step_is_as_near_to_float64_as_its_equation(scale: float) -> None:
    row = Row("GRU", cells.gru, lambda: None)
    given = arguments(row, 64, 64, scale, torch.float32)
    (exact,) = cells.gru.update(*(t.double() for t in given))[0]
    (spelled,), (equation,) = step_of(cells.gru)(*given)[0], cells.gru.update(*given)[0]
    eps = torch.finfo(torch.float32).eps
    assert (spelled - exact).abs().max() <= 2 * (equation - exact).abs().max() + eps


def test_the_second_spelling_is_taken_for_its_own_equation_alone() -> None:
    assert step_of(cells.gru) is step_of(cells.gru)
    assert step_of(cells.lstm) is not step_of(cells.gru)
