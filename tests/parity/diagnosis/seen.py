"""Bugs that recurrent layers really had in public, each built anew in a few lines."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from parity.diagnosis.planted import OwnElman, OwnLSTM, own
from torch import nn

UNEXPLAINED = None
"""Stands among the slugs where an honest `differs` is right too."""


def uniform(*shape):
    return nn.Parameter(torch.empty(shape).uniform_(-0.5, 0.5))


class OldCheckpoints(nn.Module):
    """Input and forget gate were exchanged once, and stay so for the checkpoints that exist."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_ih_l0, self.weight_hh_l0 = (
            uniform(4 * hidden_size, input_size),
            uniform(4 * hidden_size, hidden_size),
        )
        self.bias_ih_l0, self.bias_hh_l0 = uniform(4 * hidden_size), uniform(4 * hidden_size)

    def gates(self, a):
        f, i, g, o = a.chunk(4, 1)
        return i, f, g, o

    def forward(self, x, state=None):
        zeros = x.new_zeros(x.shape[1], self.hidden_size)
        h, c = (zeros, zeros) if state is None else (state[0][0], state[1][0])
        ys = []
        for x_t in x:
            a = F.linear(x_t, self.weight_ih_l0, self.bias_ih_l0) + F.linear(h, self.weight_hh_l0, self.bias_hh_l0)
            i, f, g, o = self.gates(a)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            ys.append(h)
        return torch.stack(ys), (h.unsqueeze(0), c.unsqueeze(0))


class OutputBeforeCandidate(OldCheckpoints):
    """A posted layer stacks i, f, o, g."""

    def gates(self, a):
        i, f, o, g = a.chunk(4, 1)
        return i, f, g, o


def exported_order(x, state, weights):
    """Weights of torch.nn, read in the order of an exchange format: i, o, f, c."""
    w, u = weights["weight_ih_l0"], weights["weight_hh_l0"]
    w_i, w_o, w_f, w_c = w.chunk(4)
    u_i, u_o, u_f, u_c = u.chunk(4)
    b_i, b_o, b_f, b_c = (weights["bias_ih_l0"] + weights["bias_hh_l0"]).chunk(4)
    h, c = state[0][0], state[1][0]
    ys = []
    for x_t in x:
        i = torch.sigmoid(x_t @ w_i.T + h @ u_i.T + b_i)
        o = torch.sigmoid(x_t @ w_o.T + h @ u_o.T + b_o)
        f = torch.sigmoid(x_t @ w_f.T + h @ u_f.T + b_f)
        c = f * c + i * torch.tanh(x_t @ w_c.T + h @ u_c.T + b_c)
        h = o * torch.tanh(c)
        ys.append(h)
    return torch.stack(ys), (h[None], c[None])


class PlusForTimes(nn.Module):
    """A cell whose forget gate is added to the cell state."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.weight_ih, self.weight_hh = uniform(4 * hidden_size, input_size), uniform(4 * hidden_size, hidden_size)
        self.bias_ih, self.bias_hh = uniform(4 * hidden_size), uniform(4 * hidden_size)

    def forward(self, x, state):
        h, c = state
        a = x @ self.weight_ih.T + self.bias_ih + h @ self.weight_hh.T + self.bias_hh
        i, f, g, o = a.chunk(4, -1)
        c = torch.sigmoid(f) + c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class OutputGatesBias(nn.Module):
    """A matrix a gate on [h, x]; the bias of the output gate serves forget and update too."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.n_out = n_out
        for gate in ("forget", "update", "cell", "output"):
            setattr(self, f"W_{gate}", uniform(n_out + n_in, n_out))
            setattr(self, f"b_{gate}", uniform(n_out))

    def forward(self, x):
        h = c = x.new_zeros(x.shape[1], self.n_out)
        ys = []
        for x_t in x:
            both = torch.cat([h, x_t], 1)
            forget = torch.sigmoid(both @ self.W_forget + self.b_output)
            update = torch.sigmoid(both @ self.W_update + self.b_output)
            output = torch.sigmoid(both @ self.W_output + self.b_output)
            c = forget * c + update * torch.tanh(both @ self.W_cell + self.b_cell)
            h = output * torch.tanh(c)
            ys.append(h)
        return torch.stack(ys), (h[None], c[None])


class NoHiddenBias(nn.Module):
    """A GRU cell with Linears, none of the hidden ones with a bias."""

    def __init__(self, in_features, hidden_features):
        super().__init__()
        self.ir, self.hr = (
            nn.Linear(in_features, hidden_features),
            nn.Linear(hidden_features, hidden_features, bias=False),
        )
        self.iz, self.hz = (
            nn.Linear(in_features, hidden_features),
            nn.Linear(hidden_features, hidden_features, bias=False),
        )
        self.in_, self.hn = (
            nn.Linear(in_features, hidden_features),
            nn.Linear(hidden_features, hidden_features, bias=False),
        )

    def forward(self, x, h):
        r, z = torch.sigmoid(self.ir(x) + self.hr(h)), torch.sigmoid(self.iz(x) + self.hz(h))
        n = torch.tanh(self.in_(x) + r * self.hn(h))
        return (1 - z) * n + z * h


class PeepholeAfter(nn.Module):
    """What the cell state gives to a gate is added behind its sigmoid."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.x2h, self.h2h = nn.Linear(input_size, 4 * hidden_size), nn.Linear(hidden_size, 4 * hidden_size)
        self.cell_to_input, self.cell_to_forget = (
            nn.Parameter(torch.zeros(hidden_size)),
            nn.Parameter(torch.zeros(hidden_size)),
        )

    def forward(self, x, state=None):
        zeros = x.new_zeros(x.shape[1], self.hidden_size)
        h, c = (zeros, zeros) if state is None else (state[0][0], state[1][0])
        ys = []
        for x_t in x:
            i, f, g, o = (self.x2h(x_t) + self.h2h(h)).chunk(4, 1)
            i = torch.sigmoid(i) + self.cell_to_input * c
            f = torch.sigmoid(f) + self.cell_to_forget * c
            c = f * c + i * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            ys.append(h)
        return torch.stack(ys), (h[None], c[None])


class TanhLayer(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.weight_ih_l0, self.weight_hh_l0 = uniform(hidden_size, input_size), uniform(hidden_size, hidden_size)
        self.bias_ih_l0, self.bias_hh_l0 = uniform(hidden_size), uniform(hidden_size)

    def activation(self, a):
        return torch.tanh(a)

    def forward(self, x, h=None):
        h = x.new_zeros(x.shape[1], self.weight_hh_l0.shape[0]) if h is None else h[0]
        ys = []
        for x_t in x:
            a = F.linear(x_t, self.weight_ih_l0, self.bias_ih_l0) + F.linear(h, self.weight_hh_l0, self.bias_hh_l0)
            h = self.activation(a)
            ys.append(h)
        return torch.stack(ys), h[None]


class ReluLayer(TanhLayer):
    """A variant that inherits the plain class: what it should bring is under a name that nobody calls."""

    def activate(self, a):
        return torch.relu(a)


def split_along_the_batch(x, state, weights):
    """The gates, [B, 4H], split along the batch by a view."""
    H = weights["weight_hh_l0"].shape[1]
    h, c = state[0][0], state[1][0]
    ys = []
    for x_t in x:
        a = F.linear(x_t, weights["weight_ih_l0"], weights["bias_ih_l0"])
        i, f, g, o = (a + F.linear(h, weights["weight_hh_l0"], weights["bias_hh_l0"])).view(4, x.shape[1], H)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        ys.append(h)
    return torch.stack(ys), (h[None], c[None])


class FirstStateReturned(OldCheckpoints):
    """Right but for what it returns as the last states: the first ones."""

    def gates(self, a):
        return a.chunk(4, 1)

    def forward(self, x, state=None):
        if state is None:
            state = (x.new_zeros(1, x.shape[1], self.hidden_size),) * 2
        ys, _ = super().forward(x, state)
        return ys, state


class ExchangedStates(nn.Module):
    """A stack of cells that takes and gives (c, h)."""

    def __init__(self, input_size, hidden_size, num_layers=1):
        super().__init__()
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.cells = nn.ModuleList(nn.LSTMCell(size, hidden_size) for size in sizes)

    def forward(self, x, state):
        cs, hs = ([*part] for part in state)
        ys = []
        for y in x:
            for k, cell in enumerate(self.cells):
                hs[k], cs[k] = cell(y, (hs[k], cs[k]))
                y = hs[k]
            ys.append(y)
        return torch.stack(ys), (torch.stack(cs), torch.stack(hs))


class MaskAsIndices(nn.Module):
    """Rows that are to wait are chosen by a mask of 0 and 1, which indexing takes for rows 0 and 1."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.cell, self.hidden_size = nn.GRUCell(input_size, hidden_size), hidden_size

    def forward(self, x, lengths=None):
        h = x.new_zeros(x.shape[1], self.hidden_size)
        ys = []
        for t, x_t in enumerate(x):
            new = self.cell(x_t, h)
            if lengths is None:
                h = y = new
            else:
                waiting = (torch.as_tensor(lengths) <= t).long()
                y = new * (1 - waiting)[:, None]
                h, old = new.clone(), h
                if waiting.any():
                    h[waiting] = old[waiting]
            ys.append(y)
        return torch.stack(ys), h[None]


class WithoutLastStatesGradient(torch.autograd.Function):
    """Hands a state on, and forgets the gradient that comes back by it."""

    @staticmethod
    def forward(ctx, h):
        return h.clone()

    @staticmethod
    def backward(ctx, dh):
        return torch.zeros_like(dh)


class UpstreamForgotten(nn.Module):
    """Right forward; the gradient by way of the last state never arrives."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.gru = nn.GRU(input_size, hidden_size)

    def forward(self, x, h=None):
        y, h = self.gru(x, h)
        return y, WithoutLastStatesGradient.apply(h)


class DropoutOnlyForward(nn.Module):
    """Dropout between the layers that the backward pass does not know of."""

    def __init__(self, input_size, hidden_size, num_layers=1, dropout=0.0):
        super().__init__()
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.layers = nn.ModuleList(nn.GRU(size, hidden_size) for size in sizes)
        self.dropout = dropout

    def forward(self, x, h_0=None):
        last = []
        for k, layer in enumerate(self.layers):
            if k and self.dropout:
                x = x + (F.dropout(x, self.dropout, self.training) - x).detach()
            x, h = layer(x, None if h_0 is None else h_0[k : k + 1])
            last.append(h)
        return x, torch.cat(last)


class ExportedReset(nn.Module):
    """A GRU as an exporter writes it: the reset gate acts before the product."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.weight_ih_l0, self.weight_hh_l0 = (
            uniform(3 * hidden_size, input_size),
            uniform(3 * hidden_size, hidden_size),
        )
        self.bias_ih_l0, self.bias_hh_l0 = uniform(3 * hidden_size), uniform(3 * hidden_size)

    def forward(self, x, h=None):
        w_r, w_z, w_n = self.weight_ih_l0.chunk(3)
        u_r, u_z, u_n = self.weight_hh_l0.chunk(3)
        b_r, b_z, b_n = self.bias_ih_l0.chunk(3)
        d_r, d_z, d_n = self.bias_hh_l0.chunk(3)
        h = x.new_zeros(x.shape[1], u_r.shape[0]) if h is None else h[0]
        ys = []
        for x_t in x:
            r = torch.sigmoid(x_t @ w_r.T + b_r + h @ u_r.T + d_r)
            z = torch.sigmoid(x_t @ w_z.T + b_z + h @ u_z.T + d_z)
            n = torch.tanh(x_t @ w_n.T + b_n + (r * h) @ u_n.T + d_n)
            h = (1 - z) * n + z * h
            ys.append(h)
        return torch.stack(ys), h[None]


SEEN = {
    "input and forget exchanged for old checkpoints": (OldCheckpoints, "lstm", {"gate-order"}),
    "i o f c of an exchange format": (exported_order, "lstm", {"gate-order"}),
    "i f o g in a posted layer": (OutputBeforeCandidate, "lstm", {"gate-order"}),
    "a cache written f first, read i first": (
        *own(OwnLSTM, "gradient-gate: exchanged"),
        {"gradient-gate", UNEXPLAINED},
    ),
    "+ for *": (PlusForTimes, "lstm-cell", {"operator"}),
    "the output gate's bias for forget and update": (OutputGatesBias, "lstm", {"bias-shared"}),
    "no b_hn": (NoHiddenBias, "gru-cell", {"candidate-bias"}),
    "peephole behind the sigmoid": (PeepholeAfter, "lstm", {"peephole"}),
    "a variant that inherits the plain class": (ReluLayer, "rnn-relu", {"activation"}),
    "split along the batch": (split_along_the_batch, "lstm", {"split-axis"}),
    "h_0 returned for h_n": (FirstStateReturned, "lstm", {"last-state"}),
    "h and c exchanged": (ExchangedStates, "lstm", {"state-order"}),
    "a mask used as indices": (MaskAsIndices, "gru", {"packed-last-state", "packed-padding", UNEXPLAINED}),
    "sigmoid for its derivative": (*own(OwnLSTM, "gradient-gate"), {"gradient-gate"}),
    "dh and dc never carried": (*own(OwnLSTM, "gradient-detached"), {"gradient-detached"}),
    "dh never carried": (*own(OwnElman, "gradient-detached"), {"gradient-detached"}),
    "tanh of tanh(c)": (*own(OwnLSTM, "gradient-gate: tanh of tanh"), {"gradient-gate"}),
    "the forget gate's bias gradient for another": (*own(OwnLSTM, "gradient-bias"), {"gradient-bias"}),
    "a wrong delta for one gate": (*own(OwnLSTM, "gradient-gate: candidate"), {"gradient-gate"}),
    "upstream gradient missing": (UpstreamForgotten, "gru", {"gradient-detached", UNEXPLAINED}),
    "backward ignores dropout": (DropoutOnlyForward, "gru", {"dropout", UNEXPLAINED}),
    "reset before the product, exported": (ExportedReset, "gru", {"reset-before-product"}),
}
"""What it was: the subject, what it is to be, and the slugs that may be named for it."""
