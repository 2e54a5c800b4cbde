"""The large products outside the recurrence, each for all rows of a scan at once, by the tile the scan is made of."""

from __future__ import annotations

from struct import pack

from torch import Tensor

from .library import Functions, crew

_BLOCK = 96 * 512  # numbers of x that a thread turns at a time, as in scan.c
_TINY = 1 << 19  # operations of a product: a second thread would take as long to be told


def panels(functions: Functions, outputs: int, terms: int) -> int:
    """So many numbers have weights of so many outputs in panels."""
    columns = functions.wide * functions.lanes
    return -(-outputs // columns) * columns * terms


def dense(t: Tensor) -> Tensor:
    """A matrix as it lies if one of its dimensions is dense, or a copy."""
    return t if 1 in t.stride() else t.contiguous()


def _lying(t: Tensor) -> tuple[int, int]:
    """The stride of the dimension that is not dense, and whether the dense one is the first."""
    row, column = t.stride()
    return (row, 0) if column == 1 else (column, 1)


def multiply(functions: Functions, threads: int, x: Tensor, W: Tensor) -> Tensor:
    """x W"""
    x, W = dense(x), dense(W)
    (N, terms), outputs = x.shape, W.shape[1]
    threads = 1 if 2 * N * terms * outputs < _TINY else threads
    y, room = x.new_empty(N, outputs), panels(functions, outputs, terms)
    scratch = x.new_empty(room + threads * _BLOCK)
    panel, block = scratch.data_ptr(), scratch.data_ptr() + room * x.itemsize
    given = x.data_ptr(), *_lying(x), W.data_ptr(), *_lying(W), 0, y.data_ptr(), outputs, panel, block
    functions.multiply(pack("18q", *crew(threads), N, outputs, terms, *given))
    return y
