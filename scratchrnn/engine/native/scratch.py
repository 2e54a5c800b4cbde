"""Memory that no caller sees: a thread's buffer, which it keeps from call to call."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

_LINE = 64  # bytes at which each part begins
_KEPT = 1 << 26  # bytes that a thread may keep: new memory costs a page fault for every 4 KiB

_of_thread = threading.local()


def borrow(room: Sequence[int], like: Tensor) -> tuple[Tensor, list[int]]:
    """A buffer for so many numbers each, of the dtype of `like`, and the addresses where they begin.

    It is the caller's alone until it is given back: a signal may call a layer between.
    """
    ends = [*accumulate(-(-k * like.itemsize // _LINE) * _LINE for k in room)]
    buffer: Tensor | None = _of_thread.__dict__.pop("buffer", None)
    if buffer is None or buffer.numel() < ends[-1]:
        buffer = like.new_empty(ends[-1], dtype=torch.uint8)
    start = buffer.data_ptr()
    return buffer, [start, *(start + end for end in ends[:-1])]


def give_back(buffer: Tensor) -> None:
    """For the thread's next call: a large one goes back to the system."""
    if buffer.numel() <= _KEPT:
        _of_thread.buffer = buffer
