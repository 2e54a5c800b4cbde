"""Padded, batch-first, unbatched, packed: what comes in becomes time-major, what goes out is laid out as it came.

Inside, a padded batch is [T, B, I], and packed sequences are their rows [N, I] beside `batch_sizes` [T]: the number of
sequences that are at least t + 1 long, for each step t, with the sequences sorted by decreasing length.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


class Layout:
    """How the caller laid the sequences out."""

    def __init__(self, batch_first: bool, unbatched: bool = False, packed: PackedSequence | None = None) -> None:
        self.batch_first, self.unbatched, self.packed = batch_first, unbatched, packed
        self.batch_sizes = None if packed is None else packed.batch_sizes
        self.sorted_indices = None if packed is None else packed.sorted_indices
        self.unsorted_indices = None if packed is None else packed.unsorted_indices

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


def permute_rows(state: Tensor, indices: Tensor | None) -> Tensor:
    """The sequences of a state [L * D, B, H] in another order; None leaves it as it is."""
    return state if indices is None else state.index_select(1, indices)
