"""Where each pre-activation of a cell stands in the one buffer that holds them all, and the weights in that order.

The buffer of N rows is [N, (S + G) * H], for G gates of which S are split. A GRU's columns:

    | n_x          | r     z          | n_h          |
      W x            W x + W h          W h

The input product fills the first G blocks, for the whole sequence in one GEMM; each step adds the hidden product to
the last G blocks. Both windows are runs of neighbouring columns, so each product goes straight to where it belongs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..cells.cell import Cell


class Weights(NamedTuple):
    """The parameters of one direction of one layer, as torch.nn stacks them: G gates, H hidden_size, R emitted size."""

    ih: Tensor  # [G * H, I]
    hh: Tensor  # [G * H, R]
    bias_ih: Tensor | None  # [G * H]
    bias_hh: Tensor | None  # [G * H]
    hr: Tensor | None  # [R, H], the projection h = W_hr h'

    def map(self, function: Callable[[Tensor], Tensor]) -> Weights:
        return Weights(*[None if w is None else function(w) for w in self])  # type: ignore[arg-type]


class Operands(NamedTuple):
    """The tensors of one scan; or, under the same names, the gradient of each, or whether that is needed."""

    x: Any  # [T, B, I], or packed rows [N, I]
    weights: Weights
    state: tuple[Any, ...]  # [1, B, R], [1, B, H], ..., before the first step; None stands for zeros

    def flat(self) -> tuple[Any, ...]:
        """As autograd takes them."""
        return self.x, *self.weights, *self.state

    def filled(self, state: Sequence[Any], gates: int, batch: int) -> tuple[Tensor, ...]:
        """States or their gradients, [1, B, R], [1, B, H], ..., with zeros where there is none."""
        ih, hh = self.weights.ih, self.weights.hh
        widths = [hh.shape[1], *[ih.shape[0] // gates] * (len(state) - 1)]
        return tuple(ih.new_zeros(1, batch, width) if s is None else s for s, width in zip(state, widths, strict=True))

    @classmethod
    def of(cls, flat: Sequence[Any]) -> Operands:
        """The reverse of `flat`."""
        return cls(flat[0], Weights(*flat[1:6]), tuple(flat[6:]))


class Arranged(NamedTuple):
    """The weights in the columns' order, as the torch engine multiplies by them."""

    bias: Tensor | None  # [(S + G) * H]
    ih: Tensor  # [G * H, I], split gates first
    hh: Tensor  # [G * H, R], split gates last


class Columns(NamedTuple):
    """The order of a cell's blocks of columns."""

    gates: tuple[str, ...]
    split: int  # S, the number of split gates
    filled: tuple[str, ...]  # in the order of the input product's window, and so of W_ih's rows: split gates first
    added: tuple[str, ...]  # in that of the hidden product's, and so of W_hh: split gates last
    places: tuple[int, ...]  # for each pre-activation of `update`, the number of its block

    @classmethod
    def of(cls, cell: Cell) -> Columns:
        if not cell.split:
            return cls(cell.gates, 0, cell.gates, cell.gates, tuple(range(len(cell.gates))))
        unsplit = tuple(g for g in cell.gates if g not in cell.split)
        order = [*(f"{g}_x" for g in cell.split), *unsplit, *(f"{g}_h" for g in cell.split)]
        places = tuple(order.index(p) for p in cell.pre_activations)
        return cls(cell.gates, len(cell.split), cell.split + unsplit, unsplit + cell.split, places)

    def pre_activations(self, pre: Tensor) -> list[Tensor]:
        """Those of all rows, views of the buffer, in the order in which `update` takes them."""
        return self.ordered(pre.chunk(len(self.places), 1))

    def ordered(self, blocks: Sequence[Tensor]) -> list[Tensor]:
        """The blocks in the order in which `update` takes them."""
        return [blocks[k] for k in self.places]

    def input_side(self, pre: Tensor) -> Tensor:
        """The columns that the input product reaches."""
        return pre[:, : pre.shape[1] - self._apart(pre)]

    def hidden_side(self, pre: Tensor) -> Tensor:
        """The columns that the hidden product reaches."""
        return pre[:, self._apart(pre) :]

    def _apart(self, pre: Tensor) -> int:
        """S * H: so many columns one of the two products does not reach."""
        return pre.shape[1] // len(self.places) * self.split

    def arrange(self, weights: Weights) -> Arranged:
        """The weights' blocks in the columns' order, and the two biases in one row."""
        bias = None
        if weights.bias_ih is not None and weights.bias_hh is not None:
            bias_ih = _rows(weights.bias_ih, self.gates, self.filled)
            bias_hh = _rows(weights.bias_hh, self.gates, self.added)
            if apart := bias_ih.shape[0] // len(self.gates) * self.split:
                bias_ih, bias_hh = nn.functional.pad(bias_ih, (0, apart)), nn.functional.pad(bias_hh, (apart, 0))
            bias = bias_ih + bias_hh
        ih, hh = _rows(weights.ih, self.gates, self.filled), _rows(weights.hh, self.gates, self.added)
        return Arranged(bias, ih, hh)

    def taken_apart(self, ih: Tensor | None, hh: Tensor | None, bias: Tensor | None, hr: Tensor | None) -> Weights:
        """The gradients of the weights from those in the columns' order: what `arrange` is in reverse."""
        bias_ih = bias_hh = None
        if bias is not None:
            apart = bias.shape[0] // len(self.places) * self.split
            bias_ih = _rows(bias[: len(bias) - apart], self.filled, self.gates)
            bias_hh = _rows(bias[apart:], self.added, self.gates).clone()  # each is its parameter's own
        ih = None if ih is None else _rows(ih, self.filled, self.gates)
        hh = None if hh is None else _rows(hh, self.added, self.gates)
        return Weights(ih, hh, bias_ih, bias_hh, hr)  # type: ignore[arg-type]


def _rows(stacked: Tensor, of: tuple[str, ...], to: tuple[str, ...]) -> Tensor:
    """The gates' blocks of rows in another order."""
    if of == to:
        return stacked
    blocks = dict(zip(of, stacked.chunk(len(of)), strict=True))
    return torch.cat([blocks[g] for g in to])
