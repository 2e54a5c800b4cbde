"""The equations: what an Elman, an LSTM and a GRU cell do in one step, and how that is differentiated.

A cell is only its gate math. A `Cell` holds `update`, from the pre-activations and the previous state to the next
state, and `adjoint`, its derivative written by hand. The products with weight matrices are linear and belong to
`engine.py`; shapes belong to `sequences.py`. `RNNCell`, `LSTMCell` and `GRUCell` at the end of the file write one
whole step out, matrix by matrix, for reading, and call the same `update` that the engine calls.

Letters: x input, h hidden state, c cell state, `_prev` the step before; B batch, I input_size, H hidden_size;
dX is the gradient of the loss by X and has X's shape; `*` between tensors is the Hadamard product.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .cell import Cell
from .precision import lowered

# ---------------------------------------------------------------------------------------------------- Elman
# n  = W_in x + b_in + W_hn h_prev + b_hn
# h  = tanh(n)    or    h = relu(n)
# Elman 1990, "Finding structure in time", doi:10.1207/s15516709cog1402_1 (there with the logistic function).


class ElmanTape(NamedTuple):
    h: Tensor


def elman_update(n: Tensor, h_prev: Tensor) -> tuple[tuple[Tensor], ElmanTape]:
    """h = tanh(n)"""
    h = torch.tanh(n)
    return (h,), ElmanTape(h)


def elman_adjoint(tape: ElmanTape, dh: Tensor) -> tuple[tuple[Tensor], tuple[None]]:
    """dn = dh * (1 - h * h)"""
    (h,) = tape
    dn = dh * (1 - h * h)
    return (dn,), (None,)


def elman_relu_update(n: Tensor, h_prev: Tensor) -> tuple[tuple[Tensor], ElmanTape]:
    """h = relu(n)"""
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
# Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735, with the forget gate of Gers, Schmidhuber & Cummins
# 2000, doi:10.1162/089976600300015015. No peepholes; the output gate sees tanh(c).


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
    """c = f * c_prev + i * g;  h = o * tanh(c)"""
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
# Cho et al. 2014, arXiv:1406.1078v1: the reset gate acts after the product with W_hn, so b_hn is inside it. (v3 of the
# paper has W_hn (r * h_prev), another function that no reordering of weights turns into this one.) z keeps the old
# state, as in the paper and in PyTorch.


class GRUTape(NamedTuple):
    r: Tensor
    z: Tensor
    n: Tensor
    n_h: Tensor
    h_prev: Tensor


def gru_update(r: Tensor, z: Tensor, n_x: Tensor, n_h: Tensor, h_prev: Tensor) -> tuple[tuple[Tensor], GRUTape]:
    """n = tanh(n_x + r * n_h);  h = (1 - z) * n + z * h_prev"""
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


# -------------------------------------------------------------------------- one step, matrix by matrix


def _blocks(parameter: str, count: int) -> list[Any]:
    """One property for each gate: the rows of `parameter` that belong to it, as a view; 0 where there is no bias."""

    def block(k: int) -> property:
        def rows(cell: RNNCellBase) -> Tensor | float:
            try:
                stacked = getattr(cell, parameter)
            except AttributeError as error:  # which Python would take for a missing property
                raise RuntimeError(f"{type(cell).__name__} has no {parameter}") from error
            H = cell.hidden_size
            return 0.0 if stacked is None else stacked.narrow(0, k * H, H)

        return property(rows, doc=f"Block {k} of the {count} blocks of rows of `{parameter}`, a view.")

    return [block(k) for k in range(count)]


class RNNCellBase(nn.Module):
    """What the three cells share: parameters, their initialisation, and the check of what comes in."""

    cell: Cell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        gates: int,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        self.weight_ih = nn.Parameter(torch.empty(gates * hidden_size, input_size, device=device, dtype=dtype))
        self.weight_hh = nn.Parameter(torch.empty(gates * hidden_size, hidden_size, device=device, dtype=dtype))
        for name in ("bias_ih", "bias_hh"):
            parameter = nn.Parameter(torch.empty(gates * hidden_size, device=device, dtype=dtype)) if bias else None
            self.register_parameter(name, parameter)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Every parameter uniform in (-k, k), k = 1 / sqrt(hidden_size)."""
        k = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0.0
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -k, k)

    def extra_repr(self) -> str:
        bias = "" if self.bias is True else f", bias={self.bias}"
        return f"{self.input_size}, {self.hidden_size}{bias}"

    def _enter(self, input: Tensor, *state: Tensor | None) -> list[Tensor]:
        """Check input and states, give them a batch dimension, and put zeros for a state left out."""
        kind = type(self).__name__
        if input.dim() not in (1, 2):
            raise ValueError(f"{kind}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        for k, s in enumerate(state):
            which = "hidden" if len(state) == 1 else f"hx[{k}]"
            if s is not None and s.dim() not in (1, 2):
                raise ValueError(f"{kind}: Expected {which} to be 1D or 2D, got {s.dim()}D instead")
            if s is not None and s.dim() != input.dim():
                raise RuntimeError(
                    f"{kind}: Expected {which} to have as many dimensions as input, "
                    f"got {s.dim()}-D beside {input.dim()}-D input"
                )
        x, *given = [s if s is None or s.dim() == 2 else s.unsqueeze(0) for s in (input, *state)]
        assert x is not None
        if x.size(1) != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {x.size(1)} expected {self.input_size}")
        entered = [x]
        for k, s in enumerate(given):
            if s is None:
                s = torch.zeros(x.size(0), self.hidden_size, dtype=x.dtype, device=x.device)
            if s.size(0) != x.size(0):
                raise RuntimeError(f"Input batch size {x.size(0)} doesn't match hidden{k} batch size {s.size(0)}")
            if s.size(1) != self.hidden_size:
                raise RuntimeError(
                    f"hidden{k} has inconsistent hidden_size: got {s.size(1)}, expected {self.hidden_size}"
                )
            entered.append(s)
        return entered


class RNNCell(RNNCellBase):
    """One step of an Elman cell, for `nonlinearity` "tanh" or "relu".

        h = tanh(W_in x + b_in + W_hn h_prev + b_hn)

    Args:
        input_size, hidden_size: I and H.
        bias: whether there are `bias_ih` and `bias_hh`.
        nonlinearity: "tanh" or "relu".
        device, dtype: of the parameters.

    Called with `input` [B, I] or [I] and optionally `hx` [B, H] or [H] (zeros if left out), it returns h, shaped as hx.
    `W_in`, `W_hn`, `b_in`, `b_hn` are views of the parameters: writing into them under `torch.no_grad()` writes there.

    Raises: ValueError for a wrong number of dimensions, RuntimeError for a wrong size or an unknown nonlinearity.
    Source: Elman 1990, doi:10.1207/s15516709cog1402_1.
    """

    (W_in,) = _blocks("weight_ih", 1)
    (W_hn,) = _blocks("weight_hh", 1)
    (b_in,) = _blocks("bias_ih", 1)
    (b_hn,) = _blocks("bias_hh", 1)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, gates=1, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity

    @property
    def cell(self) -> Cell:  # type: ignore[override]
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return elman if self.nonlinearity == "tanh" else elman_relu

    def extra_repr(self) -> str:
        nonlinearity = "" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}"
        return super().extra_repr() + nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        x, h = self._enter(input, hx)

        n = x @ self.W_in.T + self.b_in + h @ self.W_hn.T + self.b_hn

        (h,), _ = self.cell.update(*lowered(x, n), h)
        return h if input.dim() == 2 else h.squeeze(0)


class LSTMCell(RNNCellBase):
    """One step of an LSTM cell.

        i = sigmoid(W_ii x + b_ii + W_hi h_prev + b_hi)      c = f * c_prev + i * g
        f = sigmoid(W_if x + b_if + W_hf h_prev + b_hf)      h = o * tanh(c)
        g =    tanh(W_ig x + b_ig + W_hg h_prev + b_hg)
        o = sigmoid(W_io x + b_io + W_ho h_prev + b_ho)

    Args:
        input_size, hidden_size: I and H.
        bias: whether there are `bias_ih` and `bias_hh`.
        device, dtype: of the parameters.

    Called with `input` [B, I] or [I] and optionally `hx = (h, c)`, each [B, H] or [H] (zeros if left out), it returns
    (h, c), shaped alike. `W_ii, ..., W_io` (views of `weight_ih` [4H, I]), `W_hi, ..., W_ho` (of `weight_hh` [4H, H])
    and `b_ii, ..., b_ho` can be read, and written into under `torch.no_grad()`.

    Raises: ValueError for a wrong number of dimensions, RuntimeError for a wrong size.
    Source: Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; the forget gate of Gers, Schmidhuber &
    Cummins 2000, doi:10.1162/089976600300015015.
    """

    cell = lstm

    W_ii, W_if, W_ig, W_io = _blocks("weight_ih", 4)
    W_hi, W_hf, W_hg, W_ho = _blocks("weight_hh", 4)
    b_ii, b_if, b_ig, b_io = _blocks("bias_ih", 4)
    b_hi, b_hf, b_hg, b_ho = _blocks("bias_hh", 4)

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, gates=4, device=device, dtype=dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        given = (None, None) if hx is None else tuple(hx)
        if len(given) != 2:
            raise RuntimeError(f"lstm_cell expects two hidden states, got {len(given)}")
        x, h, c = self._enter(input, *given)

        i = x @ self.W_ii.T + self.b_ii + h @ self.W_hi.T + self.b_hi
        f = x @ self.W_if.T + self.b_if + h @ self.W_hf.T + self.b_hf
        g = x @ self.W_ig.T + self.b_ig + h @ self.W_hg.T + self.b_hg
        o = x @ self.W_io.T + self.b_io + h @ self.W_ho.T + self.b_ho

        (h, c), _ = lstm.update(*lowered(x, i, f, g, o), h, c)
        return (h, c) if input.dim() == 2 else (h.squeeze(0), c.squeeze(0))


class GRUCell(RNNCellBase):
    """One step of a GRU cell.

        r = sigmoid(W_ir x + b_ir + W_hr h_prev + b_hr)
        z = sigmoid(W_iz x + b_iz + W_hz h_prev + b_hz)
        n = tanh(W_in x + b_in + r * (W_hn h_prev + b_hn))
        h = (1 - z) * n + z * h_prev

    The reset gate acts after the product, so `b_hn` is inside it and cannot be merged with `b_in`.

    Args:
        input_size, hidden_size: I and H.
        bias: whether there are `bias_ih` and `bias_hh`.
        device, dtype: of the parameters.

    Called with `input` [B, I] or [I] and optionally `hx` [B, H] or [H] (zeros if left out), it returns h, shaped as hx.
    `W_ir, W_iz, W_in` (views of `weight_ih` [3H, I]), `W_hr, W_hz, W_hn` (of `weight_hh` [3H, H]) and
    `b_ir, ..., b_hn` can be read, and written into under `torch.no_grad()`.

    Raises: ValueError for a wrong number of dimensions, RuntimeError for a wrong size.
    Source: Cho et al. 2014, arXiv:1406.1078v1.
    """

    cell = gru

    W_ir, W_iz, W_in = _blocks("weight_ih", 3)
    W_hr, W_hz, W_hn = _blocks("weight_hh", 3)
    b_ir, b_iz, b_in = _blocks("bias_ih", 3)
    b_hr, b_hz, b_hn = _blocks("bias_hh", 3)

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, gates=3, device=device, dtype=dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        x, h = self._enter(input, hx)

        r = x @ self.W_ir.T + self.b_ir + h @ self.W_hr.T + self.b_hr
        z = x @ self.W_iz.T + self.b_iz + h @ self.W_hz.T + self.b_hz
        n_x = x @ self.W_in.T + self.b_in
        n_h = h @ self.W_hn.T + self.b_hn

        (h,), _ = gru.update(*lowered(x, r, z, n_x, n_h), h)
        return h if input.dim() == 2 else h.squeeze(0)
