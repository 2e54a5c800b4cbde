"""The LSTM cell: its equations, and how they are differentiated.

Letters: h hidden state, c cell state, `_prev` the step before; dX is the gradient of the loss by X and has X's shape;
`*` between tensors is the Hadamard product.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .cell import Cell

# i, f, g, o = the four rows of blocks of   W_ih x + b_ih + W_hh h_prev + b_hh


class LSTMTape(NamedTuple):
    """What `lstm_adjoint` reads of a step."""

    i: Tensor
    f: Tensor
    g: Tensor
    o: Tensor
    c_prev: Tensor
    tanh_c: Tensor


def lstm_update(
    i: Tensor, f: Tensor, g: Tensor, o: Tensor, h_prev: Tensor, c_prev: Tensor
) -> tuple[tuple[Tensor, Tensor], LSTMTape]:
    """c = f * c_prev + i * g;  h = o * tanh(c)

    Source: Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735, with the forget gate of Gers, Schmidhuber &
    Cummins 2000, doi:10.1162/089976600300015015. No peepholes.
    """
    i = torch.sigmoid(i)  # input gate
    f = torch.sigmoid(f)  # forget gate
    g = torch.tanh(g)  # candidate
    o = torch.sigmoid(o)  # output gate
    c = f * c_prev + i * g
    tanh_c = torch.tanh(c)
    h = o * tanh_c
    return (h, c), LSTMTape(i, f, g, o, c_prev, tanh_c)


def lstm_adjoint(
    tape: LSTMTape, dh: Tensor, dc: Tensor
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], tuple[None, Tensor]]:
    """The lines of `lstm_update` in reverse order; h_prev is reached through W_hh alone."""
    i, f, g, o, c_prev, tanh_c = tape
    do = dh * tanh_c
    dc = dc + dh * o * (1 - tanh_c * tanh_c)
    df, dc_prev, di, dg = dc * c_prev, dc * f, dc * g, dc * i
    do = do * o * (1 - o)
    dg = dg * (1 - g * g)
    df = df * f * (1 - f)
    di = di * i * (1 - i)
    return (di, df, dg, do), (None, dc_prev)


lstm = Cell("LSTM", gates=("i", "f", "g", "o"), update=lstm_update, adjoint=lstm_adjoint)
