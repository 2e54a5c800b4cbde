"""The Elman cell: its equation, and how that is differentiated.

Letters: h hidden state, c cell state, `_prev` the step before; dX is the gradient of the loss by X and has X's shape;
`*` between tensors is the Hadamard product.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .cell import Cell

# n  = W_in x + b_in + W_hn h_prev + b_hn
# h  = tanh(n)    or    h = relu(n)


class ElmanTape(NamedTuple):
    """What `elman_adjoint` reads of a step."""

    h: Tensor


def elman_update(n: Tensor, h_prev: Tensor) -> tuple[tuple[Tensor], ElmanTape]:
    """h = tanh(n)

    Source: Elman 1990, "Finding structure in time", doi:10.1207/s15516709cog1402_1 (there with the logistic function).
    """
    h = torch.tanh(n)
    return (h,), ElmanTape(h)


def elman_adjoint(tape: ElmanTape, dh: Tensor) -> tuple[tuple[Tensor], tuple[None]]:
    """dn = dh * (1 - h * h)"""
    (h,) = tape
    dn = dh * (1 - h * h)
    return (dn,), (None,)


def elman_relu_update(n: Tensor, h_prev: Tensor) -> tuple[tuple[Tensor], ElmanTape]:
    """h = relu(n)

    Source: Le, Jaitly & Hinton 2015, "A simple way to initialize recurrent networks of rectified linear units",
    arXiv:1504.00941; there W_hn starts as the identity, here as torch.nn starts it.
    """
    h = torch.relu(n)
    return (h,), ElmanTape(h)


def elman_relu_adjoint(tape: ElmanTape, dh: Tensor) -> tuple[tuple[Tensor], tuple[None]]:
    """dn = dh * (h > 0)"""
    (h,) = tape
    dn = dh * (h > 0)
    return (dn,), (None,)


elman = Cell("RNN_TANH", gates=("n",), update=elman_update, adjoint=elman_adjoint)
elman_relu = Cell("RNN_RELU", gates=("n",), update=elman_relu_update, adjoint=elman_relu_adjoint)
