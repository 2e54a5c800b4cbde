"""Memory that no caller sees: a thread's buffer, which it keeps from call to call."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from itertools import accumulate

import torch
from torch import Tensor

_LINE = 64  # bytes at which each part begins
_KEPT = 1 << 26  # bytes that a thread may keep: new memory costs a page fault for every 4 KiB

_of_thread = threading.local()


def parts_of(room: Iterable[int], itemsize: int) -> tuple[int, ...]:
    """Where in a buffer the parts for so many numbers each begin, and the last one ends, in bytes."""
    return 0, *accumulate(-(-k * itemsize // _LINE) * _LINE for k in room)


def borrow(parts: tuple[int, ...], like: Tensor) -> tuple[Tensor, list[int]]:
    """A buffer of these parts, and the addresses where they begin.

    It is the caller's alone until it is given back: a signal may call a layer between.
    """
    *begins, size = parts
    buffer: Tensor | None = _of_thread.__dict__.pop("buffer", None)
    if buffer is None or buffer.numel() < size:
        buffer = like.new_empty(size, dtype=torch.uint8)
    start = buffer.data_ptr()
    return buffer, [start + begin for begin in begins]


def give_back(buffer: Tensor) -> None:
    """For the thread's next call: a large one goes back to the system."""
    if buffer.numel() <= _KEPT:
        _of_thread.buffer = buffer
