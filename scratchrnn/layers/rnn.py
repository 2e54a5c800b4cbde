"""RNN, LSTM and GRU as torch.nn has them: `RecurrentLayer` with a built-in cell and torch.nn's constructor."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

from ..cells import elman, elman_relu, gru, lstm
from .recurrent import RecurrentLayer

Init = TypeVar("Init", bound=Callable[..., None])
_NOT_GIVEN = object()


def _without_projection(init: Init) -> Init:
    """Leave `proj_size` out of the signature that is shown: it is there to be refused in torch.nn's words."""
    signature = inspect.signature(init)
    shown = [p for p in signature.parameters.values() if p.name != "proj_size"]
    init.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    return init


class RNN(RecurrentLayer):
    """Layers of Elman cells, as nn.RNN: its arguments, its parameters, its numbers.

        h_t = tanh(W_in x_t + b_in + W_hn h_{t-1} + b_hn)    or relu(...)

    Args:
        input_size: I, how many numbers x_t has.
        hidden_size: H, the units of a layer.
        num_layers: L, layers on top of each other, each reads the output of the one below. Default: 1.
        nonlinearity: "tanh" or "relu". Default: "tanh".
        bias: False leaves out `bias_ih_l*` and `bias_hh_l*`. Default: True.
        batch_first: input and output are [B, T, .] instead of [T, B, .]; the states are not. Default: False.
        dropout: in training, the probability of zeroing each element of every layer's output but the last's; what is
            left is divided by 1 - dropout. Default: 0.
        bidirectional: D = 2, a second direction that runs from the end of each sequence to its beginning; otherwise
            D = 1. Default: False.
        device, dtype: of the parameters. Default: torch's own defaults.

    Called as `output, h_n = layer(input, h_0)`, with T steps of B sequences:

        input    [T, B, I]; [T, I] of one sequence without B, then the states are [L * D, H]; or a PackedSequence
        h_0      [L * D, B, H], before the first step; zeros if left out
        output   [T, B, D * H], h of the last layer at every step, both directions side by side; packed if input is
        h_n      [L * D, B, H], after the last step of each sequence; h_n[k * D + d] is of layer k, direction d

    Parameters of layer k, of the second direction with `_reverse` behind the name:

        weight_ih_l{k}               [H, I], from k = 1 on [H, D * H]
        weight_hh_l{k}               [H, H]
        bias_ih_l{k}, bias_hh_l{k}   [H]

    All start uniform in (-1 / sqrt(H), 1 / sqrt(H)).

    Raises: as `RecurrentLayer`; ValueError also for another nonlinearity.
    Sources: Elman 1990, doi:10.1207/s15516709cog1402_1; relu: Le, Jaitly & Hinton 2015, arXiv:1504.00941.
    """

    @_without_projection
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
        proj_size: Any = _NOT_GIVEN,
    ) -> None:
        _refuse_projection(proj_size)
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        cell = elman if nonlinearity == "tanh" else elman_relu
        super().__init__(
            cell,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )
        self.nonlinearity = nonlinearity


class LSTM(RecurrentLayer):
    """Layers of LSTM cells, as nn.LSTM: its arguments, its parameters, its numbers.

        i, f, o = sigmoid(W_i* x_t + b_i* + W_h* h_{t-1} + b_h*)      c_t = f * c_{t-1} + i * g
              g =    tanh(W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)      h_t = o * tanh(c_t), with proj_size W_hr (...)

    Args:
        input_size: I, how many numbers x_t has.
        hidden_size: H, the units of a layer.
        num_layers: L, layers on top of each other, each reads the output of the one below. Default: 1.
        bias: False leaves out `bias_ih_l*` and `bias_hh_l*`. Default: True.
        batch_first: input and output are [B, T, .] instead of [T, B, .]; the states are not. Default: False.
        dropout: in training, the probability of zeroing each element of every layer's output but the last's; what is
            left is divided by 1 - dropout. Default: 0.
        bidirectional: D = 2, a second direction that runs from the end of each sequence to its beginning; otherwise
            D = 1. Default: False.
        proj_size: P > 0 projects each h to P numbers by `weight_hr_l*`; it has to be below H. Default: 0, none.
        device, dtype: of the parameters. Default: torch's own defaults.

    Called as `output, (h_n, c_n) = layer(input, (h_0, c_0))`, with T steps of B sequences, R = H or proj_size:

        input      [T, B, I]; [T, I] of one sequence without B, then the states are without it; or a PackedSequence
        h_0, c_0   [L * D, B, R] and [L * D, B, H], before the first step; zeros if the pair is left out
        output     [T, B, D * R], h of the last layer at every step, both directions side by side; packed if input is
        h_n, c_n   as h_0 and c_0, after the last step of each sequence; h_n[k * D + d] is of layer k, direction d

    Parameters of layer k, of the second direction with `_reverse` behind the name; H rows of each gate, in the order
    i, f, g, o:

        weight_ih_l{k}               [4 * H, I], from k = 1 on [4 * H, D * R]
        weight_hh_l{k}               [4 * H, R]
        bias_ih_l{k}, bias_hh_l{k}   [4 * H]
        weight_hr_l{k}               [proj_size, H], with a projection

    All start uniform in (-1 / sqrt(H), 1 / sqrt(H)).

    Raises: as `RecurrentLayer`.
    Sources: Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; the forget gate of Gers, Schmidhuber &
    Cummins 2000, doi:10.1162/089976600300015015; the projection of Sak, Senior & Beaufays 2014, arXiv:1402.1128.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            lstm,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
        )

    def get_expected_cell_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """[L * D, B, H], the shape of c."""
        return self._expected_size(input, batch_sizes, self.hidden_size)

    def _adds_to_state(self, packed: bool) -> bool:
        return packed or self.proj_size > 0  # otherwise it is one call of oneDNN


class GRU(RecurrentLayer):
    """Layers of GRU cells, as nn.GRU: its arguments, its parameters, its numbers.

        r, z = sigmoid(W_i* x_t + b_i* + W_h* h_{t-1} + b_h*)
           n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn))
         h_t = (1 - z) * n + z * h_{t-1}

    Args:
        input_size: I, how many numbers x_t has.
        hidden_size: H, the units of a layer.
        num_layers: L, layers on top of each other, each reads the output of the one below. Default: 1.
        bias: False leaves out `bias_ih_l*` and `bias_hh_l*`. Default: True.
        batch_first: input and output are [B, T, .] instead of [T, B, .]; the states are not. Default: False.
        dropout: in training, the probability of zeroing each element of every layer's output but the last's; what is
            left is divided by 1 - dropout. Default: 0.
        bidirectional: D = 2, a second direction that runs from the end of each sequence to its beginning; otherwise
            D = 1. Default: False.
        device, dtype: of the parameters. Default: torch's own defaults.

    Called as `output, h_n = layer(input, h_0)`, with T steps of B sequences:

        input    [T, B, I]; [T, I] of one sequence without B, then the states are [L * D, H]; or a PackedSequence
        h_0      [L * D, B, H], before the first step; zeros if left out
        output   [T, B, D * H], h of the last layer at every step, both directions side by side; packed if input is
        h_n      [L * D, B, H], after the last step of each sequence; h_n[k * D + d] is of layer k, direction d

    Parameters of layer k, of the second direction with `_reverse` behind the name; H rows of each gate, in the order
    r, z, n:

        weight_ih_l{k}               [3 * H, I], from k = 1 on [3 * H, D * H]
        weight_hh_l{k}               [3 * H, H]
        bias_ih_l{k}, bias_hh_l{k}   [3 * H]

    All start uniform in (-1 / sqrt(H), 1 / sqrt(H)).

    Raises: as `RecurrentLayer`.
    The reset acts after the product, so b_hn is inside it: Cho et al. 2014, arXiv:1406.1078v1.
    """

    @_without_projection
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        device: Any = None,
        dtype: Any = None,
        proj_size: Any = _NOT_GIVEN,
    ) -> None:
        _refuse_projection(proj_size)
        super().__init__(
            gru,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device=device,
            dtype=dtype,
        )

    def _adds_to_state(self, packed: bool) -> bool:
        return True


def _refuse_projection(proj_size: Any) -> None:
    if proj_size is not _NOT_GIVEN:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
