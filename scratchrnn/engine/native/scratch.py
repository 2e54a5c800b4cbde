"""Memory: a thread's buffer, which no caller sees and which it keeps; and new memory, in large pages."""

from __future__ import annotations

import ctypes
import mmap
import threading
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor

_KEPT = 1 << 26  # bytes that a thread may keep: new memory costs a page fault for every 4 KiB

_of_thread = threading.local()


def borrow() -> Tensor:
    """The buffer, of as many bytes as it has; the caller's alone until it is given back: a signal may call a layer."""
    buffer: Tensor | None = _of_thread.__dict__.pop("buffer", None)
    return torch.empty(0, dtype=torch.uint8, device="cpu") if buffer is None else buffer


def give_back(buffer: Tensor) -> None:
    """For the thread's next call: a large one goes back to the system."""
    if buffer.numel() <= _KEPT:
        _of_thread.buffer = buffer


# ---------------------------------------------------------------------------------------------------- large pages

_PAGE = 1 << 21
_HUGE_PAGES = getattr(mmap, "MADV_HUGEPAGE", None)  # of Linux


def in_large_pages(tensors: Iterable[Tensor]) -> None:
    """Ask for pages of 2 MiB where new memory spans some, as a long sequence's does: a fault for each, not for 4 KiB.

    It is a wish: where the system does not grant it, nothing changes.
    """
    for t in tensors:
        start = t.data_ptr()
        first, end = -(-start // _PAGE) * _PAGE, (start + t.nbytes) // _PAGE * _PAGE
        if first < end and _HUGE_PAGES is not None:
            _madvise()(first, end - first, _HUGE_PAGES)


@cache
def _madvise() -> Any:
    function = ctypes.CDLL(None).madvise
    function.argtypes = [ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
    return function
