"""One step of each cell, matrix by matrix and gate by gate: the reading room.

`RNNCell`, `LSTMCell` and `GRUCell` are called as torch.nn's are. Every product and every sum is written out; what
follows them is the `update` of the cell that the layers run, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..cells import elman, elman_relu, gru, lstm
from ..cells.cell import Cell, State, step
from .arguments import no_torchscript, other_dtype
from .precision import agree, lowered
from .shown import name_of


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
    _step: Callable[..., tuple[State, Any]] = staticmethod(step)

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

    def _get_name(self) -> str:
        return name_of(self)

    def extra_repr(self) -> str:
        bias = "" if self.bias is True else f", bias={self.bias}"
        return f"{self.input_size}, {self.hidden_size}{bias}"

    def running_by(self, step: Callable[..., tuple[State, Any]]) -> RNNCellBase:
        """The same cell, of the very same parameters, with another step in the place of `cells.cell.step`."""
        view = type(self).__new__(type(self))
        view.__dict__ = self.__dict__ | {"_step": step}
        return view

    def __prepare_scriptable__(self) -> nn.Module:
        """Called by torch.jit.script."""
        raise no_torchscript(type(self).__name__, in_torch_nn=True)

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
        for name in ("bias_ih", "bias_hh"):  # a product of two dtypes raises by itself, a sum does not
            bias = getattr(self, name, None)
            if bias is not None and not agree(x, bias):
                raise other_dtype(x, name, bias)
        return entered


class RNNCell(RNNCellBase):
    """One step of an Elman cell, for `nonlinearity` "tanh" or "relu".

        h = tanh(W_in x + b_in + W_hn h_prev + b_hn)

    Args:
        input_size: I, how many numbers x has.
        hidden_size: H, the units.
        bias: False leaves out `bias_ih` and `bias_hh`. Default: True.
        nonlinearity: "tanh" or "relu". Default: "tanh".
        device, dtype: of the parameters. Default: torch's own defaults.

    Called with `input` [B, I] or [I] and optionally `hx` [B, H] or [H] (zeros if left out), it returns h, shaped as hx.
    `W_in` is `weight_ih` [H, I], `W_hn` is `weight_hh` [H, H], `b_in` and `b_hn` are `bias_ih` and `bias_hh` [H],
    all views: writing into them under `torch.no_grad()` writes there. All start uniform in (-1 / sqrt(H), 1 / sqrt(H)).

    Raises: ValueError for a wrong number of dimensions, RuntimeError for a wrong size or an unknown nonlinearity.
    Sources: Elman 1990, doi:10.1207/s15516709cog1402_1; relu: Le, Jaitly & Hinton 2015, arXiv:1504.00941.
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

        (h,), _ = self._step(self.cell, *lowered(x, n), h)
        return h if input.dim() == 2 else h.squeeze(0)


class LSTMCell(RNNCellBase):
    """One step of an LSTM cell.

        i = sigmoid(W_ii x + b_ii + W_hi h_prev + b_hi)      c = f * c_prev + i * g
        f = sigmoid(W_if x + b_if + W_hf h_prev + b_hf)      h = o * tanh(c)
        g =    tanh(W_ig x + b_ig + W_hg h_prev + b_hg)
        o = sigmoid(W_io x + b_io + W_ho h_prev + b_ho)

    Args:
        input_size: I, how many numbers x has.
        hidden_size: H, the units.
        bias: False leaves out `bias_ih` and `bias_hh`. Default: True.
        device, dtype: of the parameters. Default: torch's own defaults.

    Called with `input` [B, I] or [I] and optionally `hx = (h, c)`, each [B, H] or [H] (zeros if left out), it returns
    (h, c), shaped alike. `W_ii, ..., W_io` (views of `weight_ih` [4 * H, I]), `W_hi, ..., W_ho` (of `weight_hh`
    [4 * H, H]) and `b_ii, ..., b_ho` (of `bias_ih` and `bias_hh` [4 * H]) can be read, and written into under
    `torch.no_grad()`. All start uniform in (-1 / sqrt(H), 1 / sqrt(H)).

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

        (h, c), _ = self._step(lstm, *lowered(x, i, f, g, o), h, c)
        return (h, c) if input.dim() == 2 else (h.squeeze(0), c.squeeze(0))


class GRUCell(RNNCellBase):
    """One step of a GRU cell.

        r = sigmoid(W_ir x + b_ir + W_hr h_prev + b_hr)
        z = sigmoid(W_iz x + b_iz + W_hz h_prev + b_hz)
        n = tanh(W_in x + b_in + r * (W_hn h_prev + b_hn))
        h = (1 - z) * n + z * h_prev

    The reset gate acts after the product, so `b_hn` is inside it and cannot be merged with `b_in`.

    Args:
        input_size: I, how many numbers x has.
        hidden_size: H, the units.
        bias: False leaves out `bias_ih` and `bias_hh`. Default: True.
        device, dtype: of the parameters. Default: torch's own defaults.

    Called with `input` [B, I] or [I] and optionally `hx` [B, H] or [H] (zeros if left out), it returns h, shaped as hx.
    `W_ir, W_iz, W_in` (views of `weight_ih` [3 * H, I]), `W_hr, W_hz, W_hn` (of `weight_hh` [3 * H, H]) and
    `b_ir, ..., b_hn` (of `bias_ih` and `bias_hh` [3 * H]) can be read, and written into under `torch.no_grad()`. All
    start uniform in (-1 / sqrt(H), 1 / sqrt(H)).

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

        (h,), _ = self._step(gru, *lowered(x, r, z, n_x, n_h), h)
        return h if input.dim() == 2 else h.squeeze(0)
