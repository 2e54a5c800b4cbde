"""The GRU cell: its equations, and how they are differentiated.

Letters: h hidden state, c cell state, `_prev` the step before; dX is the gradient of the loss by X and has X's shape;
`*` between tensors is the Hadamard product.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .cell import Cell

# r = W_ir x + b_ir + W_hr h_prev + b_hr        n_x = W_in x + b_in
# z = W_iz x + b_iz + W_hz h_prev + b_hz        n_h = W_hn h_prev + b_hn


class GRUTape(NamedTuple):
    """What `gru_adjoint` reads of a step."""

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
