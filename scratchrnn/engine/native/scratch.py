"""Memory that no caller sees: a thread's buffer, which it keeps from call to call."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from .library import Layout

_LINE = 64  # bytes at which each part begins
_KEPT = 1 << 26  # bytes that a thread may keep: new memory costs a page fault for every 4 KiB

_of_thread = threading.local()


class Sizes(NamedTuple):
    """Of one scan, by its letters; `width`: of a row of pre-activations."""

    states: int
    B: int
    N: int
    I: int  # noqa: E741
    H: int
    R: int
    width: int
    outputs: int
    projected: bool


@lru_cache(1 << 10)
def room_forward(of: Layout, sizes: Sizes, keep: bool) -> tuple[int, ...]:
    """What a scan needs beside what it gives, in the order in which `run.steps` names the parts.

    Panels of W_ih, W_hh and W_hr; the bias; h' before its projection; and where nothing is kept, the pre-activations of
    a chunk, and two steps' states.
    """
    states, B, N, I, H, R, width, _, projected = sizes  # noqa: E741
    room = [of.panels_of_gates(H, I), of.panels_of_gates(H, R)]
    room += [of.panels(R, H) if projected else 0, width, B * H if projected else 0]
    if not keep:
        room += [min(N, of.chunk + B) * width, 2 * B * R, *[2 * B * H] * (states - 1)]
    return _parts(room, of.bytes)


@lru_cache(1 << 10)
def room_back(of: Layout, sizes: Sizes, threads: int) -> tuple[int, ...]:
    """What its gradients need, in the order in which `run.gradients` names the parts.

    Panels of W_ih, W_hh and W_hr; h' before its projection; dpre of a chunk, and of the step behind it; dh; panels of a
    chunk's rows; the blocks that threads turn; db, and what it has lost; the gradients of the states as they go.
    """
    states, B, N, I, H, R, width, outputs, projected = sizes  # noqa: E741
    rows = min(N, of.chunk_back + B)
    room = [of.panels(I, outputs), of.panels(R, outputs)]
    room += [of.panels(H, R), N * H] if projected else [0, 0]
    room += [rows * width, B * width, N * R if projected else 0]
    room += [of.panels(max(I, R, H), rows), threads * of.block, width, width]
    return _parts([*room, B * R, *[B * H] * (states - 1)], of.bytes)


def _parts(room: Iterable[int], itemsize: int) -> tuple[int, ...]:
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
