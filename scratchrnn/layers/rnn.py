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
    """The Elman RNN of torch.nn, tanh or relu; arguments as there, the call as of `RecurrentLayer`.

        h_t = tanh(W_in x_t + b_in + W_hn h_{t-1} + b_hn)    or relu(...)

    Source: Elman 1990, doi:10.1207/s15516709cog1402_1.
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
    """The LSTM of torch.nn; arguments as there, the call as of `RecurrentLayer` with `hx = (h_0, c_0)`.

        i, f, o = sigmoid(W_i* x_t + b_i* + W_h* h_{t-1} + b_h*)      c_t = f * c_{t-1} + i * g
              g =    tanh(W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)      h_t = o * tanh(c_t), with proj_size W_hr (...)

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
        return packed or self.proj_size > 0  # otherwise it is one kernel, oneDNN's


class GRU(RecurrentLayer):
    """The GRU of torch.nn; arguments as there, the call as of `RecurrentLayer`.

        r, z = sigmoid(W_i* x_t + b_i* + W_h* h_{t-1} + b_h*)
           n = tanh(W_in x_t + b_in + r * (W_hn h_{t-1} + b_hn))
         h_t = (1 - z) * n + z * h_{t-1}

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
