"""The equations: what an Elman, an LSTM and a GRU cell do in one step, and how that is differentiated.

A cell is only its gate math. A `Cell` holds `update`, from the pre-activations and the previous state to the next
state, and `adjoint`, its derivative written by hand. The products with weight matrices are linear: the engine computes
them for all steps (`forward.py`, `backward.py`), and `one_step.py` writes them out for one.

Letters: x input, h hidden state, c cell state, `_prev` the step before; B batch, I input_size, H hidden_size;
dX is the gradient of the loss by X and has X's shape; `*` between tensors is the Hadamard product.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .cell import Cell

# ---------------------------------------------------------------------------------------------------- Elman
# n  = W_in x + b_in + W_hn h_prev + b_hn
# h  = tanh(n)    or    h = relu(n)


class ElmanTape(NamedTuple):
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

    Source: Elman 1990, "Finding structure in time", doi:10.1207/s15516709cog1402_1 (there with the logistic function).
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


# ----------------------------------------------------------------------------------------------------- LSTM
# i, f, g, o = the four rows of blocks of   W_ih x + b_ih + W_hh h_prev + b_hh


class LSTMTape(NamedTuple):
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


# ------------------------------------------------------------------------------------------------------ GRU
# r = W_ir x + b_ir + W_hr h_prev + b_hr        n_x = W_in x + b_in
# z = W_iz x + b_iz + W_hz h_prev + b_hz        n_h = W_hn h_prev + b_hn


class GRUTape(NamedTuple):
    r: Tensor
    z: Tensor
    n: Tensor
    n_h: Tensor
    h_prev: Tensor


def gru_update(r: Tensor, z: Tensor, n_x: Tensor, n_h: Tensor, h_prev: Tensor) -> tuple[tuple[Tensor], GRUTape]:
    """h = (1 - z) * n + z * h_prev,  with n = tanh(n_x + r * n_h)

    Source: Cho et al. 2014, arXiv:1406.1078v1: the reset gate acts after the product with W_hn, so b_hn is inside it.
    (v3 of the paper has W_hn (r * h_prev), another function that no reordering of weights turns into this one.) z keeps
    the old state, as in the paper and in PyTorch.
    """
    r = torch.sigmoid(r)  # reset gate
    z = torch.sigmoid(z)  # update gate
    n = torch.tanh(n_x + r * n_h)  # candidate
    h = (1 - z) * n + z * h_prev
    return (h,), GRUTape(r, z, n, n_h, h_prev)


def gru_adjoint(tape: GRUTape, dh: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], tuple[Tensor]]:
    """The lines of `gru_update` in reverse order; h_prev is reached through W_hh and, by `z * h_prev`, directly."""
    r, z, n, n_h, h_prev = tape
    dn, dz, dh_prev = dh * (1 - z), dh * (h_prev - n), dh * z
    dn_x = dn * (1 - n * n)
    dr, dn_h = dn_x * n_h, dn_x * r
    dz = dz * z * (1 - z)
    dr = dr * r * (1 - r)
    return (dr, dz, dn_x, dn_h), (dh_prev,)


gru = Cell("GRU", gates=("r", "z", "n"), update=gru_update, adjoint=gru_adjoint, split=("n",))

BUILT_IN = {cell.name: cell for cell in (elman, elman_relu, lstm, gru)}
