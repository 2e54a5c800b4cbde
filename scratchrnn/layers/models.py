"""Sequence classifiers: a recurrent layer and a linear readout of the last time step, [B, T, I] -> [B, output_dim]."""

from __future__ import annotations

from torch import Tensor, nn

from .one_step import RNNCell
from .rnn import GRU, LSTM, RNN


def _check(x: Tensor) -> None:
    if x.dim() != 3 or x.size(1) == 0:
        raise ValueError(f"x should be [B, T, input_dim] with at least one time step, got {list(x.shape)}")


class RNNModel(nn.Module):
    """A relu Elman RNN and a linear readout of its last step.

        h_t = relu(W_in x_t + b_in + W_hn h_{t-1} + b_hn);    y = W_fc h_T + b_fc

    Args:
        input_dim, hidden_dim: of the recurrent layer.
        layer_dim: number of layers.
        output_dim: size of y.

    Called with x [B, T, input_dim] it returns y [B, output_dim]; the states before the first step are zero.
    Parameters: `rnn.*`, `fc.*`.

    Raises:
        ValueError: x is not [B, T, input_dim], or has no time steps; and what the layer raises for its arguments.
    """

    def __init__(self, input_dim: int, hidden_dim: int, layer_dim: int, output_dim: int) -> None:
        super().__init__()
        self.rnn = RNN(input_dim, hidden_dim, layer_dim, nonlinearity="relu", batch_first=True)
        self.fc = nn.Linear(hidden_dim, output_dim)

    def forward(self, x: Tensor) -> Tensor:
        _check(x)
        output, _ = self.rnn(x)
        return self.fc(output[:, -1])


class MultiLayerRNN(nn.Module):
    """A stack of tanh `RNNCell`s, stepped by hand, and a linear readout of the last step of the topmost.

        h^k_t = tanh(W_in h^{k-1}_t + b_in + W_hn h^k_{t-1} + b_hn),   h^0_t = x_t;    y = W_fc h^L_T + b_fc

    Args:
        input_dim, hidden_dim: of the cells.
        num_layers: number of cells, L.
        output_dim: size of y.

    Called with x [B, T, input_dim] it returns y [B, output_dim]; the states before the first step are zero.
    Parameters: `rnn_cells.*`, `fc.*`.

    Raises:
        ValueError: num_layers is less than one; x is not [B, T, input_dim], or has no time steps.
    """

    def __init__(self, input_dim: int, hidden_dim: int, num_layers: int, output_dim: int) -> None:
        super().__init__()
        if num_layers < 1:
            raise ValueError(f"num_layers must be greater than zero, got {num_layers}")
        sizes = [input_dim] + [hidden_dim] * (num_layers - 1)
        self.rnn_cells = nn.ModuleList(RNNCell(size, hidden_dim) for size in sizes)
        self.fc = nn.Linear(hidden_dim, output_dim)

    def forward(self, x: Tensor) -> Tensor:
        _check(x)
        h = [x.new_zeros(x.size(0), self.fc.in_features) for _ in self.rnn_cells]
        for x_t in x.unbind(1):
            for k, cell in enumerate(self.rnn_cells):
                h[k] = cell(x_t if k == 0 else h[k - 1], h[k])
        return self.fc(h[-1])


class LSTMModel(nn.Module):
    """An LSTM and a linear readout of its last step: y = W_fc h_T + b_fc.

    Args, shapes and the call as of `RNNModel`. Parameters: `lstm.*`, `fc.*`.
    """

    def __init__(self, input_dim: int, hidden_dim: int, layer_dim: int, output_dim: int) -> None:
        super().__init__()
        self.lstm = LSTM(input_dim, hidden_dim, layer_dim, batch_first=True)
        self.fc = nn.Linear(hidden_dim, output_dim)

    def forward(self, x: Tensor) -> Tensor:
        _check(x)
        output, _ = self.lstm(x)
        return self.fc(output[:, -1])


class GRUModel(nn.Module):
    """A GRU and a linear readout of its last step: y = W_fc h_T + b_fc.

    Args, shapes and the call as of `RNNModel`. Parameters: `gru.*`, `fc.*`.
    """

    def __init__(self, input_dim: int, hidden_dim: int, layer_dim: int, output_dim: int) -> None:
        super().__init__()
        self.gru = GRU(input_dim, hidden_dim, layer_dim, batch_first=True)
        self.fc = nn.Linear(hidden_dim, output_dim)

    def forward(self, x: Tensor) -> Tensor:
        _check(x)
        output, _ = self.gru(x)
        return self.fc(output[:, -1])
