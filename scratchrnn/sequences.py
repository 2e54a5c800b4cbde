"""Padded, batch-first, unbatched, packed: what comes in becomes time-major, what goes out is laid out as it came.

Inside, a padded batch is [T, B, I], and packed sequences are their rows [N, I] beside `batch_sizes` [T]: the number of
sequences that are at least t + 1 long, for each step t, with the sequences sorted by decreasing length.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


class Layout(NamedTuple):
    """How the caller laid the sequences out."""

    batch_first: bool
    unbatched: bool = False
    packed: PackedSequence | None = None

    @property
    def batch_sizes(self) -> Tensor | None:
        return None if self.packed is None else self.packed.batch_sizes

    def batched(self, input: Tensor | PackedSequence) -> Tensor:
        """With a batch dimension, where the caller would have put it; packed sequences as their rows."""
        if isinstance(input, PackedSequence):
            return input.data
        return input.unsqueeze(0 if self.batch_first else 1) if self.unbatched else input

    def enter(self, batched: Tensor) -> Tensor:
        """[T, B, I], or rows [N, I] for packed sequences."""
        return batched.transpose(0, 1) if self.batch_first and self.packed is None else batched

    def leave(self, output: Tensor) -> Tensor | PackedSequence:
        if self.packed is not None:
            return PackedSequence(output, *self.packed[1:])
        if self.unbatched:
            return output.squeeze(1)
        return output.transpose(0, 1) if self.batch_first else output

    def batched_state(self, state: Tensor) -> Tensor:
        """[L * D, B, H]"""
        return state.unsqueeze(1) if self.unbatched else state

    def enter_state(self, state: Tensor) -> Tensor:
        """A batched state with its rows in the order of the packed sequences."""
        return state if self.packed is None else permute_rows(state, self.packed.sorted_indices)

    def leave_state(self, state: Tensor) -> Tensor:
        if self.unbatched:
            return state.squeeze(1)
        return state if self.packed is None else permute_rows(state, self.packed.unsorted_indices)


def permute_rows(state: Tensor, indices: Tensor | None) -> Tensor:
    """The sequences of a state [L * D, B, H] in another order; None leaves it as it is."""
    return state if indices is None else state.index_select(1, indices)
