"""The large products outside the recurrence, each for all rows of a scan at once."""

from __future__ import annotations

import torch
from torch import Tensor

from ..columns import Columns, Operands

_RUN = 512  # terms of one sum


def input_product(columns: Columns, operands: Operands) -> Tensor:
    """The buffer of pre-activations before the first step: W_ih x for all steps, and the biases."""
    rows, W_ih, bias = operands.x.flatten(0, -2), operands.W_ih, operands.bias
    filled = W_ih.shape[0]
    apart = filled // len(columns.gates) * columns.split
    pre: Tensor = rows.new_empty(rows.shape[0], filled + apart)
    if bias is None:
        torch.mm(rows, W_ih.T, out=pre[:, :filled])
        pre[:, filled:] = 0
    else:
        torch.addmm(bias[:filled], rows, W_ih.T, out=pre[:, :filled])
        pre[:, filled:] = bias[filled:]
    return pre


def input_gradient(d_rows: Tensor, W_ih: Tensor) -> Tensor:
    """dx = dpre W_ih"""
    return d_rows @ W_ih


def weight_gradient(d_rows: Tensor, rows: Tensor) -> Tensor:
    """dW = dpre^T x, in partial sums of runs of rows."""
    total = d_rows[:_RUN].T @ rows[:_RUN]
    for k in range(_RUN, rows.shape[0], _RUN):
        total.addmm_(d_rows[k : k + _RUN].T, rows[k : k + _RUN])
    return total
