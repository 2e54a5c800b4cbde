"""Where each pre-activation of a cell stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..cells.cell import Cell, State


class Weights(NamedTuple):
    """The parameters of one direction of one layer, as torch.nn stacks them: G gates, H hidden_size, R emitted size."""

    ih: Tensor  # [G * H, I]
    hh: Tensor  # [G * H, R]
    bias_ih: Tensor | None  # [G * H]
    bias_hh: Tensor | None  # [G * H]
    hr: Tensor | None  # [R, H], the projection h = W_hr h'

    def map(self, function: Callable[[Tensor], Tensor]) -> Weights:
        return Weights(*[None if w is None else function(w) for w in self])  # type: ignore[arg-type]


class Inputs(NamedTuple):
    """The tensors of one scan, the weights' blocks arranged in the columns' order."""

    x: Tensor  # [N, I]
    bias: Tensor | None  # [(S + G) * H]
    W_ih: Tensor  # [G * H, I], split gates first
    W_hh: Tensor  # [G * H, R], split gates last
    W_hr: Tensor | None
    state: State  # [B, R], [B, H], ...

    def flat(self) -> tuple[Any, ...]:
        return self.x, self.bias, self.W_ih, self.W_hh, self.W_hr, *self.state

    @classmethod
    def of(cls, flat: Sequence[Any]) -> Inputs:
        x, bias, W_ih, W_hh, W_hr, *state = flat
        return cls(x, bias, W_ih, W_hh, W_hr, tuple(state))


def columns(cell: Cell) -> list[int]:
    """For each pre-activation of `update`, the number of its block of columns."""
    split_x = [f"{g}_x" for g in cell.split]
    split_h = [f"{g}_h" for g in cell.split]
    order = [*split_x, *(g for g in cell.gates if g not in cell.split), *split_h]
    return [order.index(p) for p in cell.pre_activations]


def arrange(cell: Cell, x: Tensor, state: State, weights: Weights) -> Inputs:
    """Put the weights' blocks in the columns' order and the two biases into one row."""
    unsplit = [g for g in cell.gates if g not in cell.split]
    first = _reorder(cell.gates, [*cell.split, *unsplit])  # the window that the input product fills
    last = _reorder(cell.gates, [*unsplit, *cell.split])  # the window that the hidden product is added to
    bias = None
    if weights.bias_ih is not None and weights.bias_hh is not None:
        pad = len(cell.split) * (weights.bias_ih.shape[0] // len(cell.gates))
        bias = nn.functional.pad(first(weights.bias_ih), (0, pad)) + nn.functional.pad(last(weights.bias_hh), (pad, 0))
    return Inputs(x, bias, first(weights.ih), last(weights.hh), weights.hr, state)


def _reorder(gates: tuple[str, ...], wanted: list[str]) -> Callable[[Tensor], Tensor]:
    if list(gates) == wanted:
        return lambda stacked: stacked

    def reorder(stacked: Tensor) -> Tensor:
        blocks = stacked.chunk(len(gates))
        return torch.cat([blocks[gates.index(g)] for g in wanted])

    return reorder


def windows(cell: Cell, W_hh: Tensor) -> tuple[slice, slice]:
    """The columns that the input product and the hidden product reach."""
    filled = W_hh.shape[0]
    split = filled // len(cell.gates) * len(cell.split)
    return slice(0, filled), slice(split, split + filled)
