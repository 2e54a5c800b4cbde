"""The large products outside the recurrence, each for all rows of a scan at once, by the tile that the scan is made of."""

from __future__ import annotations

from struct import pack
from typing import NamedTuple

import torch
from torch import Tensor

from ..columns import Columns, Operands

_TINY = 1 << 19  # operations: a second thread would take as long to be told

_BLOCK = 96 * 512  # numbers of a turned block


class Multiplier(NamedTuple):
    """`multiply` of scan.c, and how many threads it has."""

    function: object
    columns: int  # of a panel
    openmp: tuple[int, int, int]
    threads: int

    def __call__(self, x: Tensor, W: Tensor, out: Tensor, bias: Tensor | None = None) -> Tensor:
        """out [N, outputs] = x [N, terms] W [terms, outputs] + bias"""
        (N, terms), outputs = x.shape, W.shape[1]
        threads = 1 if 2 * N * outputs * terms < _TINY else self.threads
        (x, *x_lies), (W, *W_lies) = _lying(x), _lying(W)
        panels = x.new_empty(-(-outputs // self.columns) * self.columns * terms)
        blocks = x.new_empty(threads * _BLOCK if x_lies[1] else 0)
        self.function(  # type: ignore[operator]
            pack(
                "18q",
                *self.openmp,
                threads,
                N,
                outputs,
                terms,
                x.data_ptr(),
                *x_lies,
                W.data_ptr(),
                *W_lies,
                0 if bias is None else bias.data_ptr(),
                out.data_ptr(),
                out.stride(0),
                panels.data_ptr(),
                blocks.data_ptr(),
            )
        )
        return out


def _lying(t: Tensor) -> tuple[Tensor, int, int]:
    """A matrix of which one dimension is dense, the stride of the other, and whether the dense one is the first."""
    if t.stride(1) == 1:
        return t, t.stride(0), 0
    if t.stride(0) == 1:
        return t, t.stride(1), 1
    t = t.contiguous()
    return t, t.stride(0), 0


def input_product(times: Multiplier, columns: Columns, operands: Operands) -> Tensor:
    """The buffer of pre-activations before the first step: W_ih x for all steps, and the biases."""
    rows, W_ih, bias = operands.x.flatten(0, -2), operands.W_ih, operands.bias
    filled = W_ih.shape[0]
    apart = filled // len(columns.gates) * columns.split
    pre: Tensor = rows.new_empty(rows.shape[0], filled + apart)
    times(rows, W_ih.T, pre[:, :filled], bias)
    if apart:
        pre[:, filled:] = 0 if bias is None else bias[filled:]
    return pre


def input_gradient(times: Multiplier, d_rows: Tensor, W_ih: Tensor) -> Tensor:
    """dx = dpre W_ih"""
    return times(d_rows, W_ih, d_rows.new_empty(d_rows.shape[0], W_ih.shape[1]))


def weight_gradient(times: Multiplier, d_rows: Tensor, rows: Tensor) -> Tensor:
    """dW = dpre^T x"""
    return times(d_rows.T, rows, d_rows.new_empty(d_rows.shape[1], rows.shape[1]))
