"""The large products outside the recurrence, each for all rows of a scan at once, by the tile the scan is made of."""

from __future__ import annotations

from struct import pack

from torch import Tensor

from .library import Functions, crew

_BLOCK = 96 * 512  # numbers of x that a thread turns at a time, as in scan.c
_TINY = 1 << 19  # operations of a product: a second thread would take as long to be told


def large(functions: Functions, x: Tensor, W: Tensor, bias: Tensor | None, y: Tensor, room: int) -> tuple[int, ...]:
    """The fields of scan.c's `large`: y [N, outputs] = x [N, terms] W [terms, outputs] + bias; room for its panels."""
    (N, terms), outputs = x.shape, W.shape[1]
    lies, W_lies = _lying(x), _lying(W)
    address = 0 if bias is None else bias.data_ptr()
    end = room + panels(functions, outputs, terms) * x.itemsize
    return (
        N,
        outputs,
        terms,
        x.data_ptr(),
        *lies,
        W.data_ptr(),
        *W_lies,
        address,
        y.data_ptr(),
        y.stride(0),
        room,
        end,
    )


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
    y = x.new_empty(N, outputs)
    scratch = x.new_empty(panels(functions, outputs, terms) + threads * _BLOCK)
    functions.multiply(pack("18q", *crew(threads), *large(functions, x, W, None, y, scratch.data_ptr())))
    return y
