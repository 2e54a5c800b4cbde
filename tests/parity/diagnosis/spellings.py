"""Right recurrent layers, as strangers write them: none may be accused of anything."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Optional

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def written(name, source):
    """A module of its own with this text, as if it were a stranger's file."""
    module = ModuleType(name)
    exec(compile(source, f"<{name}>", "exec"), vars(module))
    sys.modules[name] = module
    return module


def uniform(*shape):
    return nn.Parameter(torch.empty(shape).uniform_(-0.4, 0.4))


# ------------------------------------------------------------------------------------ torch.nn's names


class NamedLSTM(nn.Module):
    """One layer with torch.nn's names, a loop over time."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_ih_l0, self.weight_hh_l0 = (
            uniform(4 * hidden_size, input_size),
            uniform(4 * hidden_size, hidden_size),
        )
        self.bias_ih_l0, self.bias_hh_l0 = uniform(4 * hidden_size), uniform(4 * hidden_size)

    def forward(self, x, hx=None):
        if hx is None:
            hx = (torch.zeros_like(x[:1, :, :1]).expand(-1, -1, self.hidden_size),) * 2
        h, c = hx[0][0], hx[1][0]
        outputs = []
        for t in range(x.size(0)):
            gates = x[t] @ self.weight_ih_l0.T + self.bias_ih_l0 + h @ self.weight_hh_l0.T + self.bias_hh_l0
            i, f, g, o = gates.chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs), (h[None], c[None])


class EinsumGRU(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_ih_l0, self.weight_hh_l0 = (
            uniform(3 * hidden_size, input_size),
            uniform(3 * hidden_size, hidden_size),
        )
        self.bias_ih_l0, self.bias_hh_l0 = uniform(3 * hidden_size), uniform(3 * hidden_size)

    def forward(self, x, h0=None):
        H = self.hidden_size
        h = x.new_zeros(x.shape[1], H) if h0 is None else h0.squeeze(0)
        U = self.weight_hh_l0.view(3, H, H)
        xs = torch.einsum("tbi,gi->tbg", x, self.weight_ih_l0) + self.bias_ih_l0
        ys = []
        for x_t in xs:
            a = x_t.view(-1, 3, H)
            b = torch.einsum("bk,gjk->bgj", h, U) + self.bias_hh_l0.view(3, H)
            r, z = torch.sigmoid(a[:, 0] + b[:, 0]), torch.sigmoid(a[:, 1] + b[:, 1])
            n = torch.tanh(torch.addcmul(a[:, 2], r, b[:, 2]))
            h = torch.lerp(n, h, z)
            ys.append(h)
        return torch.stack(ys, 0), h.unsqueeze(0)


class AddmmLSTM(nn.Module):
    """addmm, split, in-place-like temporaries."""

    def __init__(self, input_size, hidden_size, bias=True):
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_ih_l0, self.weight_hh_l0 = (
            uniform(4 * hidden_size, input_size),
            uniform(4 * hidden_size, hidden_size),
        )
        if bias:
            self.bias_ih_l0, self.bias_hh_l0 = uniform(4 * hidden_size), uniform(4 * hidden_size)
        self.bias = bias

    def forward(self, input, state=None):
        H = self.hidden_size
        if state is None:
            state = [input.new_zeros(1, input.shape[1], H) for _ in range(2)]
        h, c = state[0][0], state[1][0]
        bias = self.bias_ih_l0 + self.bias_hh_l0 if self.bias else input.new_zeros(4 * H)
        out = []
        for x in input.unbind(0):
            a = torch.addmm(torch.addmm(bias, x, self.weight_ih_l0.t()), h, self.weight_hh_l0.t())
            i, f, g, o = torch.split(a, H, dim=-1)
            c = c * f.sigmoid() + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            out.append(h)
        return torch.stack(out), (h.unsqueeze(0), c.unsqueeze(0))


class BaddbmmLSTM(nn.Module):
    """All gates in one batched product."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.weight_ih_l0, self.weight_hh_l0 = (
            uniform(4 * hidden_size, input_size),
            uniform(4 * hidden_size, hidden_size),
        )
        self.bias_ih_l0, self.bias_hh_l0 = uniform(4 * hidden_size), uniform(4 * hidden_size)

    def forward(self, x, hx=None):
        H = self.weight_hh_l0.shape[1]
        W = self.weight_ih_l0.view(4, H, -1).transpose(1, 2)
        U = self.weight_hh_l0.view(4, H, H).transpose(1, 2)
        b = (self.bias_ih_l0 + self.bias_hh_l0).view(4, 1, H)
        h, c = (x.new_zeros(x.shape[1], H),) * 2 if hx is None else (hx[0][0], hx[1][0])
        ys = []
        for x_t in x:
            a = torch.baddbmm(b, x_t.expand(4, -1, -1), W)
            i, f, g, o = torch.baddbmm(a, h.expand(4, -1, -1), U).unbind(0)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            ys.append(h)
        return torch.stack(ys), (h[None], c[None])


class ScriptableLSTM(nn.Module):
    """Annotated, so that TorchScript compiles it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_ih = nn.Parameter(torch.randn(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.randn(4 * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.randn(4 * hidden_size))
        self.bias_hh = nn.Parameter(torch.randn(4 * hidden_size))

    def forward(
        self,
        input: Tensor,
        state: Optional[tuple[Tensor, Tensor]] = None,  # noqa: UP045
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        if state is None:
            zeros = torch.zeros(input.shape[1], self.hidden_size, dtype=input.dtype, device=input.device)
            hx, cx = zeros, zeros
        else:
            hx, cx = state[0][0], state[1][0]
        inputs = input.unbind(0)
        outputs: list[Tensor] = []
        for i in range(len(inputs)):
            gates = torch.mm(inputs[i], self.weight_ih.t()) + self.bias_ih
            gates = gates + torch.mm(hx, self.weight_hh.t()) + self.bias_hh
            ingate, forgetgate, cellgate, outgate = gates.chunk(4, 1)
            cx = (torch.sigmoid(forgetgate) * cx) + (torch.sigmoid(ingate) * torch.tanh(cellgate))
            hx = torch.sigmoid(outgate) * torch.tanh(cx)
            outputs += [hx]
        return torch.stack(outputs), (hx.unsqueeze(0), cx.unsqueeze(0))


class UnrolledRNN(nn.Module):
    """Takes a sequence without a batch too, and a PackedSequence by its batch sizes."""

    def __init__(self, input_size, hidden_size, nonlinearity="tanh"):
        super().__init__()
        self.act = {"tanh": torch.tanh, "relu": torch.relu}[nonlinearity]
        self.weight_ih_l0, self.weight_hh_l0 = uniform(hidden_size, input_size), uniform(hidden_size, hidden_size)
        self.bias_ih_l0, self.bias_hh_l0 = uniform(hidden_size), uniform(hidden_size)

    def step(self, x, h):
        return self.act(
            F.linear(x, self.weight_ih_l0, self.bias_ih_l0) + F.linear(h, self.weight_hh_l0, self.bias_hh_l0)
        )

    def forward(self, x, h=None):
        if isinstance(x, PackedSequence):
            return self.packed(x, h)
        h = x.new_zeros(*x.shape[1:-1], self.weight_hh_l0.shape[0]) if h is None else h[0]
        out = []
        for x_t in x:
            h = self.step(x_t, h)
            out.append(h)
        return torch.stack(out), h.unsqueeze(0)

    def packed(self, x, h):
        data, sizes, sorted_indices, unsorted_indices = x
        B = int(sizes[0])
        h = data.new_zeros(B, self.weight_hh_l0.shape[0]) if h is None else h[0]
        if sorted_indices is not None:
            h = h[sorted_indices]
        out = []
        for part in data.split(sizes.tolist()):
            moved = self.step(part, h[: len(part)])
            h = torch.cat([moved, h[len(part) :]])
            out.append(moved)
        if unsorted_indices is not None:
            h = h[unsorted_indices]
        return PackedSequence(torch.cat(out), sizes, sorted_indices, unsorted_indices), h.unsqueeze(0)


def relu_rnn(input_size, hidden_size):
    return UnrolledRNN(input_size, hidden_size, "relu")


class StackOfCells(nn.Module):
    """Cells of torch.nn, layer by layer, with dropout between the layers."""

    def __init__(self, input_size, hidden_size, num_layers=1, dropout=0.0, batch_first=False):
        super().__init__()
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.layers = nn.ModuleList([nn.LSTMCell(size, hidden_size) for size in sizes])
        self.drop = nn.Dropout(dropout)
        self.batch_first = batch_first

    def forward(self, x, state=None):
        if self.batch_first:
            x = x.transpose(0, 1)
        xs = list(x)
        hs, cs = [], []
        for k, layer in enumerate(self.layers):
            if k > 0:
                xs = list(self.drop(torch.stack(xs)))
            hc = None if state is None else (state[0][k], state[1][k])
            ys = []
            for x_t in xs:
                hc = layer(x_t, hc)
                ys.append(hc[0])
            xs = ys
            hs.append(hc[0])
            cs.append(hc[1])
        return torch.stack(xs, 1 if self.batch_first else 0), (torch.stack(hs), torch.stack(cs))


class KeywordGRU(nn.Module):
    """torch.nn's names in a ParameterDict for each layer and direction, and all its keywords."""

    def __init__(
        self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False
    ):
        super().__init__()
        self.hidden_size, self.batch_first, self.p = hidden_size, batch_first, dropout
        self.layers, self.directions = num_layers, 2 if bidirectional else 1
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * self.directions
            for end in ["", "_reverse"][: self.directions]:
                self.register_parameter(f"weight_ih_l{layer}{end}", uniform(3 * hidden_size, width))
                self.register_parameter(f"weight_hh_l{layer}{end}", uniform(3 * hidden_size, hidden_size))
                if bias:
                    self.register_parameter(f"bias_ih_l{layer}{end}", uniform(3 * hidden_size))
                    self.register_parameter(f"bias_hh_l{layer}{end}", uniform(3 * hidden_size))

    def one_way(self, x, h, end):
        w_ih, w_hh = getattr(self, f"weight_ih_{end}"), getattr(self, f"weight_hh_{end}")
        b_ih, b_hh = getattr(self, f"bias_ih_{end}", None), getattr(self, f"bias_hh_{end}", None)
        products = F.linear(x, w_ih, b_ih).split(self.hidden_size, 2)
        ys = []
        for xr, xz, xn in zip(*products, strict=True):
            hr, hz, hn = F.linear(h, w_hh, b_hh).chunk(3, 1)
            r, z = (xr + hr).sigmoid(), (xz + hz).sigmoid()
            n = (xn + r * hn).tanh()
            h = n + z * (h - n)
            ys.append(h)
        return torch.stack(ys), h

    def forward(self, x, h0=None):
        if self.batch_first:
            x = x.transpose(0, 1)
        if h0 is None:
            h0 = x.new_zeros(self.layers * self.directions, x.shape[1], self.hidden_size)
        last = []
        for layer in range(self.layers):
            y, h = self.one_way(x, h0[self.directions * layer], f"l{layer}")
            last.append(h)
            if self.directions == 2:
                y_back, h = self.one_way(x.flip(0), h0[2 * layer + 1], f"l{layer}_reverse")
                y = torch.cat([y, y_back.flip(0)], -1)
                last.append(h)
            if layer < self.layers - 1:
                y = F.dropout(y, self.p, self.training)
            x = y
        return (x.transpose(0, 1) if self.batch_first else x), torch.stack(last)


class Projecting(nn.Module):
    def __init__(self, input_size, hidden_size, proj_size=0):
        super().__init__()
        R = proj_size or hidden_size
        self.weight_ih_l0, self.weight_hh_l0 = uniform(4 * hidden_size, input_size), uniform(4 * hidden_size, R)
        self.bias_ih_l0, self.bias_hh_l0 = uniform(4 * hidden_size), uniform(4 * hidden_size)
        if proj_size:
            self.weight_hr_l0 = uniform(proj_size, hidden_size)
        self.hidden_size, self.proj_size = hidden_size, proj_size

    def forward(self, x, state=None):
        if state is None:
            h, c = x.new_zeros(x.shape[1], self.weight_hh_l0.shape[1]), x.new_zeros(x.shape[1], self.hidden_size)
        else:
            h, c = state[0][0], state[1][0]
        ys = []
        for x_t in x:
            a = F.linear(x_t, self.weight_ih_l0, self.bias_ih_l0) + F.linear(h, self.weight_hh_l0, self.bias_hh_l0)
            i, f, g, o = a.chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            if self.proj_size:
                h = h @ self.weight_hr_l0.T
            ys.append(h)
        return torch.stack(ys), (h[None], c[None])


class SubclassedLSTM(nn.LSTM):
    """torch.nn's own, with weights drawn in another way."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for p in self.parameters():
            nn.init.orthogonal_(p) if p.dim() > 1 else nn.init.zeros_(p)


# -------------------------------------------------------------------------------- a matrix for each gate


class LinearsLSTM(nn.Module):
    """A Linear for each gate and operand; batch first without a word."""

    def __init__(self, input_dim, hidden_dim):
        super().__init__()
        self.hidden_dim = hidden_dim
        self.W_ii, self.W_hi = nn.Linear(input_dim, hidden_dim), nn.Linear(hidden_dim, hidden_dim)
        self.W_if, self.W_hf = nn.Linear(input_dim, hidden_dim), nn.Linear(hidden_dim, hidden_dim)
        self.W_ig, self.W_hg = nn.Linear(input_dim, hidden_dim), nn.Linear(hidden_dim, hidden_dim)
        self.W_io, self.W_ho = nn.Linear(input_dim, hidden_dim), nn.Linear(hidden_dim, hidden_dim)

    def forward(self, x, states=None):
        batch, seq_len, _ = x.size()
        if states is None:
            h_t, c_t = x.new_zeros(batch, self.hidden_dim), x.new_zeros(batch, self.hidden_dim)
        else:
            h_t, c_t = states[0].squeeze(0), states[1].squeeze(0)
        hidden_seq = []
        for t in range(seq_len):
            x_t = x[:, t, :]
            i_t = torch.sigmoid(self.W_ii(x_t) + self.W_hi(h_t))
            f_t = torch.sigmoid(self.W_if(x_t) + self.W_hf(h_t))
            g_t = torch.tanh(self.W_ig(x_t) + self.W_hg(h_t))
            o_t = torch.sigmoid(self.W_io(x_t) + self.W_ho(h_t))
            c_t = f_t * c_t + i_t * g_t
            h_t = o_t * torch.tanh(c_t)
            hidden_seq.append(h_t.unsqueeze(1))
        return torch.cat(hidden_seq, dim=1), (h_t.unsqueeze(0), c_t.unsqueeze(0))


class LinearsGRU(nn.Module):
    """Batch first without a word; the biases of reset and update stand in one of the two Linears."""

    def __init__(self, n_inputs, n_units):
        super().__init__()
        self.reset_x, self.reset_h = nn.Linear(n_inputs, n_units), nn.Linear(n_units, n_units, bias=False)
        self.update_x, self.update_h = nn.Linear(n_inputs, n_units), nn.Linear(n_units, n_units, bias=False)
        self.new_x, self.new_h = nn.Linear(n_inputs, n_units), nn.Linear(n_units, n_units)
        self.n_units = n_units

    def forward(self, x, h=None):
        h = torch.zeros(x.shape[0], self.n_units, dtype=x.dtype) if h is None else h[0]
        outputs = []
        for x_t in x.unbind(dim=1):
            reset = torch.sigmoid(self.reset_x(x_t) + self.reset_h(h))
            update = torch.sigmoid(self.update_x(x_t) + self.update_h(h))
            new = torch.tanh(self.new_x(x_t) + reset * self.new_h(h))
            h = (1 - update) * new + update * h
            outputs.append(h)
        return torch.stack(outputs, dim=1), h.unsqueeze(0)


class MatricesLSTM(nn.Module):
    """A raw matrix for each gate and operand, transposed, and one bias a gate."""

    def __init__(self, input_sz, hidden_sz):
        super().__init__()
        self.hidden_sz = hidden_sz
        for gate in "ifco":
            setattr(self, f"W_{gate}", uniform(input_sz, hidden_sz))
            setattr(self, f"U_{gate}", uniform(hidden_sz, hidden_sz))
            setattr(self, f"b_{gate}", uniform(hidden_sz))

    def forward(self, x, init_states=None):
        if init_states is None:
            h, c = x.new_zeros(x.shape[1], self.hidden_sz), x.new_zeros(x.shape[1], self.hidden_sz)
        else:
            h, c = init_states
        hidden_seq = []
        for x_t in x:
            i = torch.sigmoid(x_t @ self.W_i + h @ self.U_i + self.b_i)
            f = torch.sigmoid(x_t @ self.W_f + h @ self.U_f + self.b_f)
            g = torch.tanh(x_t @ self.W_c + h @ self.U_c + self.b_c)
            o = torch.sigmoid(x_t @ self.W_o + h @ self.U_o + self.b_o)
            c = f * c + i * g
            h = o * torch.tanh(c)
            hidden_seq.append(h)
        return torch.stack(hidden_seq), (h, c)


class OneLinearAGateLSTM(nn.Module):
    """A Linear on [x, h] for each gate; returns the output alone."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.input_gate = nn.Linear(input_size + hidden_size, hidden_size)
        self.forget_gate = nn.Linear(input_size + hidden_size, hidden_size)
        self.cell_gate = nn.Linear(input_size + hidden_size, hidden_size)
        self.output_gate = nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, x):
        h = c = x.new_zeros(x.shape[1], self.hidden_size)
        out = []
        for x_t in x:
            both = torch.cat([x_t, h], dim=1)
            keep = torch.sigmoid(self.forget_gate(both))
            write = torch.sigmoid(self.input_gate(both))
            c = keep * c + write * torch.tanh(self.cell_gate(both))
            h = torch.sigmoid(self.output_gate(both)) * torch.tanh(c)
            out.append(h)
        return torch.stack(out)


# ----------------------------------------------------------------------------- a pair of matrices for all gates


class PairLSTM(nn.Module):
    def __init__(self, input_size, hidden_size, bias=True):
        super().__init__()
        self.hidden_size = hidden_size
        self.x2h = nn.Linear(input_size, 4 * hidden_size, bias=bias)
        self.h2h = nn.Linear(hidden_size, 4 * hidden_size, bias=bias)

    def forward(self, x, hc=None):
        h, c = (x.new_zeros(x.shape[1], self.hidden_size),) * 2 if hc is None else (hc[0][0], hc[1][0])
        outs = []
        for t in range(x.shape[0]):
            i, f, g, o = (self.x2h(x[t]) + self.h2h(h)).view(-1, 4, self.hidden_size).unbind(1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outs.append(h)
        return torch.stack(outs), (h.unsqueeze(0), c.unsqueeze(0))


class PairGRU(nn.Module):
    """Batch first where it is told so; returns the output and h [B, H]."""

    def __init__(self, input_size, hidden_size, batch_first=False):
        super().__init__()
        self.hidden_size, self.batch_first = hidden_size, batch_first
        self.x2h = nn.Linear(input_size, 3 * hidden_size)
        self.h2h = nn.Linear(hidden_size, 3 * hidden_size)

    def forward(self, x, h=None):
        dim = 1 if self.batch_first else 0
        h = x.new_zeros(x.shape[1 - dim], self.hidden_size) if h is None else h
        outs = []
        for x_t in x.unbind(dim):
            x_reset, x_upd, x_new = self.x2h(x_t).chunk(3, 1)
            h_reset, h_upd, h_new = self.h2h(h).chunk(3, 1)
            reset_gate, update_gate = torch.sigmoid(x_reset + h_reset), torch.sigmoid(x_upd + h_upd)
            new_gate = torch.tanh(x_new + reset_gate * h_new)
            h = update_gate * h + (1 - update_gate) * new_gate
            outs.append(h)
        return torch.stack(outs, dim), h


class PairRNN(nn.Module):
    """Returns the last hidden state alone."""

    def __init__(self, data_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.in_h = nn.Linear(data_size, hidden_size, bias=False)
        self.h_h = nn.Linear(hidden_size, hidden_size)

    def forward(self, x):
        h = x.new_zeros(x.shape[1], self.hidden_size)
        for x_t in x:
            h = torch.tanh(self.in_h(x_t) + self.h_h(h))
        return h


class TransposedLSTM(nn.Module):
    """Wx [I, 4H], Wh [H, 4H], one bias; sigmoid and tanh spelled out."""

    def __init__(self, input_dim, hidden_dim):
        super().__init__()
        self.H = hidden_dim
        self.Wx = nn.Parameter(torch.randn(input_dim, 4 * hidden_dim) / hidden_dim**0.5)
        self.Wh = nn.Parameter(torch.randn(hidden_dim, 4 * hidden_dim) / hidden_dim**0.5)
        self.b = nn.Parameter(torch.zeros(4 * hidden_dim))

    @staticmethod
    def sigmoid(x):
        return 1 / (1 + torch.exp(-x))

    def tanh(self, x):
        return 2 * self.sigmoid(2 * x) - 1

    def forward(self, x, h0=None, c0=None):
        H = self.H
        h = x.new_zeros(x.shape[1], H) if h0 is None else h0
        c = x.new_zeros(x.shape[1], H) if c0 is None else c0
        hs = []
        for t in range(len(x)):
            a = x[t].mm(self.Wx) + h.mm(self.Wh) + self.b
            i, f, o = self.sigmoid(a[:, :H]), self.sigmoid(a[:, H : 2 * H]), self.sigmoid(a[:, 3 * H :])
            g = self.tanh(a[:, 2 * H : 3 * H])
            c = f * c + i * g
            h = o * self.tanh(c)
            hs.append(h)
        return torch.stack(hs), h, c


class TransposedGRU(nn.Module):
    """kernel [I, 3H], recurrent_kernel [H, 3H], bias [2, 3H], in the order z, r, n; batch first."""

    def __init__(self, input_dim, units):
        super().__init__()
        self.units = units
        self.kernel, self.recurrent_kernel = uniform(input_dim, 3 * units), uniform(units, 3 * units)
        self.bias = uniform(2, 3 * units)

    def forward(self, inputs, initial_state=None):
        u = self.units
        h = inputs.new_zeros(inputs.shape[0], u) if initial_state is None else initial_state
        outputs = []
        for t in range(inputs.shape[1]):
            matrix_x = inputs[:, t] @ self.kernel + self.bias[0]
            matrix_inner = h @ self.recurrent_kernel + self.bias[1]
            z = torch.sigmoid(matrix_x[:, :u] + matrix_inner[:, :u])
            r = torch.sigmoid(matrix_x[:, u : 2 * u] + matrix_inner[:, u : 2 * u])
            hh = torch.tanh(matrix_x[:, 2 * u :] + r * matrix_inner[:, 2 * u :])
            h = z * h + (1 - z) * hh
            outputs.append(h)
        return torch.stack(outputs, 1), h


class OrderedLSTM(nn.Module):
    """Own names, own order of the gates."""

    order = "iofg"

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.input_weights = nn.Parameter(torch.randn(4 * hidden_size, input_size))
        self.recurrent_weights = nn.Parameter(torch.randn(4 * hidden_size, hidden_size))
        self.biases = nn.Parameter(torch.randn(4 * hidden_size))

    def forward(self, x, state=None):
        zeros = x.new_zeros(x.shape[1], self.hidden_size)
        h, c = (zeros, zeros) if state is None else (state[0][0], state[1][0])
        ys = []
        for x_t in x:
            a = F.linear(x_t, self.input_weights, self.biases) + F.linear(h, self.recurrent_weights)
            a = dict(zip(self.order, a.chunk(4, 1), strict=True))
            c = a["f"].sigmoid() * c + a["i"].sigmoid() * a["g"].tanh()
            h = a["o"].sigmoid() * c.tanh()
            ys.append(h)
        return torch.stack(ys), (h[None], c[None])


class ForgetFirstLSTM(OrderedLSTM):
    order = "figo"


class CandidateLastLSTM(OrderedLSTM):
    order = "ifog"


class UpdateFirstGRU(nn.Module):
    """Own names in the order z, r, n, the candidate's hidden bias apart."""

    def __init__(self, in_features, hidden_features):
        super().__init__()
        self.hidden_features = hidden_features
        self.input_proj = nn.Linear(in_features, 3 * hidden_features)
        self.hidden_proj = nn.Linear(hidden_features, 3 * hidden_features, bias=False)
        self.recurrent_bias = nn.Parameter(torch.randn(hidden_features))

    def forward(self, x, h=None):
        h = x.new_zeros(x.shape[1], self.hidden_features) if h is None else h[0]
        out = []
        for x_t in x:
            (xz, xr, xn), (hz, hr, hn) = self.input_proj(x_t).chunk(3, 1), self.hidden_proj(h).chunk(3, 1)
            z, r = (xz + hz).sigmoid(), (xr + hr).sigmoid()
            n = (xn + r * (hn + self.recurrent_bias)).tanh()
            h = n - z * n + z * h
            out.append(h)
        return torch.stack(out), h[None]


# ---------------------------------------------------------------------------------- one matrix on both operands


class InputFirstLSTM(nn.Module):
    """One Linear on [x, h]."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.gates = nn.Linear(input_size + hidden_size, 4 * hidden_size)

    def forward(self, x, state=None):
        zeros = x.new_zeros(x.shape[1], self.hidden_size)
        h, c = (zeros, zeros) if state is None else state
        ys = []
        for x_t in x:
            i, f, g, o = self.gates(torch.cat((x_t, h), 1)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            ys.append(h)
        return torch.stack(ys), h, c


class HiddenFirstLSTM(nn.Module):
    """One raw matrix on [h, x], transposed; the output and h, without c."""

    def __init__(self, D, H):
        super().__init__()
        self.W = nn.Parameter(torch.randn(H + D, 4 * H) * 0.3)
        self.bias = nn.Parameter(torch.randn(1, 4 * H) * 0.3)
        self.H = H

    def forward(self, x):
        h = c = x.new_zeros(x.shape[1], self.H)
        ys = []
        for x_t in x:
            i, f, g, o = (torch.cat((h, x_t), 1) @ self.W + self.bias).tensor_split(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            ys.append(h)
        return torch.stack(ys), h


class TutorialRNN(nn.Module):
    """i2h on [x, h], one step; asks for its first hidden state."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.i2h = nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, input, hidden):
        return torch.tanh(self.i2h(torch.cat((input, hidden), 1)))


# ------------------------------------------------------------------------------------------------- lengths


class LengthsGRU(nn.Module):
    """Padded input, batch first, and the lengths beside it."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_ih_l0, self.weight_hh_l0 = (
            uniform(3 * hidden_size, input_size),
            uniform(3 * hidden_size, hidden_size),
        )
        self.bias_ih_l0, self.bias_hh_l0 = uniform(3 * hidden_size), uniform(3 * hidden_size)

    def forward(self, x, lengths=None):
        B, T, _ = x.shape
        h = x.new_zeros(B, self.hidden_size)
        ys = []
        for t in range(T):
            xr, xz, xn = F.linear(x[:, t], self.weight_ih_l0, self.bias_ih_l0).chunk(3, 1)
            hr, hz, hn = F.linear(h, self.weight_hh_l0, self.bias_hh_l0).chunk(3, 1)
            z = torch.sigmoid(xz + hz)
            n = torch.tanh(xn + torch.sigmoid(xr + hr) * hn)
            new = (1 - z) * n + z * h
            if lengths is None:
                h = new
                ys.append(h)
            else:
                mask = (torch.as_tensor(lengths) > t).to(x.dtype).unsqueeze(1)
                h = mask * new + (1 - mask) * h
                ys.append(mask * new)
        return torch.stack(ys, 1), h.unsqueeze(0)


class UnpackingLSTM(nn.Module):
    """Packs and unpacks inside: padded input and lengths, an nn.LSTM within."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size, batch_first=True, bidirectional=True)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        output, state = self.lstm(packed)
        output, _ = pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])
        return output, state


# --------------------------------------------------------------------------- more layers, more directions


class BothWays(nn.Module):
    """Always two directions, each an nn.LSTM."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.fwd, self.bwd = nn.LSTM(input_size, hidden_size), nn.LSTM(input_size, hidden_size)

    def forward(self, x):
        y_fwd, (h_fwd, c_fwd) = self.fwd(x)
        y_bwd, (h_bwd, c_bwd) = self.bwd(x.flip(0))
        return torch.cat([y_fwd, y_bwd.flip(0)], 2), (torch.cat([h_fwd, h_bwd]), torch.cat([c_fwd, c_bwd]))


class BothWaysGRU(nn.Module):
    """Always two directions, with Linears of its own; the output alone, batch first."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.x_forward, self.h_forward = nn.Linear(input_size, 3 * hidden_size), nn.Linear(hidden_size, 3 * hidden_size)
        self.x_backward, self.h_backward = (
            nn.Linear(input_size, 3 * hidden_size),
            nn.Linear(hidden_size, 3 * hidden_size),
        )

    def one(self, xs, from_x, from_h):
        h = xs[0].new_zeros(xs[0].shape[0], self.hidden_size)
        for x in xs:
            (xr, xz, xn), (hr, hz, hn) = from_x(x).chunk(3, 1), from_h(h).chunk(3, 1)
            r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
            h = (1 - z) * torch.tanh(xn + r * hn) + z * h
            yield h

    def forward(self, x):
        xs = x.unbind(1)
        there = list(self.one(xs, self.x_forward, self.h_forward))
        back = list(self.one(xs[::-1], self.x_backward, self.h_backward))[::-1]
        return torch.stack([torch.cat(pair, 1) for pair in zip(there, back, strict=True)], 1)


class TwoDeep(nn.Module):
    """Always two layers."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.first, self.second = PairLSTM(input_size, hidden_size), PairLSTM(hidden_size, hidden_size)

    def forward(self, x, state=None):
        lower, upper = (None, None) if state is None else zip(*(part.split(1) for part in state), strict=True)
        y, (h1, c1) = self.first(x, lower)
        y, (h2, c2) = self.second(y, upper)
        return y, (torch.cat([h1, h2]), torch.cat([c1, c2]))


class Model(nn.Module):
    """torch.nn's own inside a module."""

    def __init__(self, input_size, hidden_size, num_layers=1):
        super().__init__()
        self.rnn = nn.GRU(input_size, hidden_size, num_layers)

    def forward(self, x):
        output, _ = self.rnn(x)
        return output


# ------------------------------------------------------------------------------------------ kinds of subject


def make_sized(input_size, hidden_size):
    """A factory."""
    return PairLSTM(input_size, hidden_size)


def make_ready():
    """A factory without arguments."""
    return PairGRU(3, 5)


def lstm_of_weights(x, weights):
    H = weights["weight_hh_l0"].shape[1]
    h = c = torch.zeros(x.shape[1], H, dtype=x.dtype)
    ys = []
    for x_t in x:
        a = F.linear(x_t, weights["weight_ih_l0"], weights["bias_ih_l0"])
        i, f, g, o = (a + F.linear(h, weights["weight_hh_l0"], weights["bias_hh_l0"])).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        ys.append(h)
    return torch.stack(ys)


def gru_of_state_and_weights(x, state, weights):
    W, U = weights["weight_ih_l0"], weights["weight_hh_l0"]
    b, d = weights["bias_ih_l0"], weights["bias_hh_l0"]
    h = state[0]
    ys = []
    for x_t in x:
        (xr, xz, xn), (hr, hz, hn) = (W @ x_t.T + b[:, None]).chunk(3), (U @ h.T + d[:, None]).chunk(3)
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        h = ((1 - z) * torch.tanh(xn + r * hn)).T + z.T * h
        ys.append(h)
    return torch.stack(ys), h[None]


def rnn_of_weights(x, weights):
    h = 0 * (x[0] @ weights["weight_ih_l0"].T)
    ys = []
    for x_t in x:
        h = torch.tanh(
            x_t @ weights["weight_ih_l0"].T
            + h @ weights["weight_hh_l0"].T
            + weights["bias_ih_l0"]
            + weights["bias_hh_l0"]
        )
        ys.append(h)
    return torch.stack(ys), h[None]


class PlainLSTM:
    """No module of torch.nn: tensors that want a gradient."""

    def __init__(self, input_size, hidden_size):
        self.W_x = (torch.randn(4 * hidden_size, input_size) / 3).requires_grad_()
        self.W_h = (torch.randn(4 * hidden_size, hidden_size) / 3).requires_grad_()
        self.b = torch.zeros(4 * hidden_size, requires_grad=True)

    def __call__(self, x):
        h = c = x.new_zeros(x.shape[1], self.W_h.shape[1])
        ys = []
        for x_t in x:
            i, f, g, o = (x_t @ self.W_x.T + h @ self.W_h.T + self.b).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            ys.append(h)
        return torch.stack(ys), (h[None], c[None])


class PlainRNN:
    """No module of torch.nn, and a method `forward`."""

    def __init__(self, n_x, n_h):
        self.Wxh, self.Whh = torch.randn(n_h, n_x) * 0.5, torch.randn(n_h, n_h) * 0.5
        self.bh = torch.randn(n_h) * 0.5
        for p in (self.Wxh, self.Whh, self.bh):
            p.requires_grad = True

    def forward(self, x, h=None):
        h = x.new_zeros(x.shape[1], len(self.bh)) if h is None else h
        ys = []
        for x_t in x:
            h = torch.tanh(x_t @ self.Wxh.T + h @ self.Whh.T + self.bh)
            ys.append(h)
        return torch.stack(ys), h


class DefaultDtypeLSTM(nn.Module):
    """Its zeros have the default dtype, whatever the input has."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.x2h = nn.Linear(input_size, 4 * hidden_size)
        self.h2h = nn.Linear(hidden_size, 4 * hidden_size)

    def forward(self, x):
        h = torch.zeros(x.shape[1], self.hidden_size)
        c = torch.zeros(x.shape[1], self.hidden_size)
        ys = torch.zeros(x.shape[0], x.shape[1], self.hidden_size)
        for t in range(x.shape[0]):
            i, f, g, o = (self.x2h(x[t]) + self.h2h(h)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            ys[t] = h
        return ys, (h.unsqueeze(0), c.unsqueeze(0))


class Float32GRU(nn.Module):
    """Asks for float32: its zeros have that dtype."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.x2h = nn.Linear(input_size, 3 * hidden_size)
        self.h2h = nn.Linear(hidden_size, 3 * hidden_size)

    def forward(self, x):
        h = torch.zeros(x.shape[1], self.hidden_size, dtype=torch.float32)
        ys = []
        for x_t in x:
            (xr, xz, xn), (hr, hz, hn) = self.x2h(x_t).chunk(3, 1), self.h2h(h).chunk(3, 1)
            r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
            h = (1 - z) * torch.tanh(xn + r * hn) + z * h
            ys.append(h)
        return torch.stack(ys), h.unsqueeze(0)


# -------------------------------------------------------------------------------------------------- cells


class NamedGRUCell(nn.Module):
    """torch.nn's names; (x, h) -> h."""

    def __init__(self, input_size, hidden_size, bias=True):
        super().__init__()
        self.hidden_size = hidden_size
        self.weight_ih, self.weight_hh = uniform(3 * hidden_size, input_size), uniform(3 * hidden_size, hidden_size)
        self.bias_ih = uniform(3 * hidden_size) if bias else None
        self.bias_hh = uniform(3 * hidden_size) if bias else None

    def forward(self, x, h=None):
        h = x.new_zeros(x.shape[0], self.hidden_size) if h is None else h
        x_part = F.linear(x, self.weight_ih, self.bias_ih).view(-1, 3, self.hidden_size)
        h_part = F.linear(h, self.weight_hh, self.bias_hh).view(-1, 3, self.hidden_size)
        r, z = torch.sigmoid(x_part[:, :2] + h_part[:, :2]).unbind(1)
        n = torch.tanh(x_part[:, 2] + r * h_part[:, 2])
        return z * (h - n) + n


class NamedLSTMCell(nn.Module):
    """torch.nn's names; (x, (h, c)) -> (h, c)."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.weight_ih, self.weight_hh = uniform(4 * hidden_size, input_size), uniform(4 * hidden_size, hidden_size)
        self.bias_ih, self.bias_hh = uniform(4 * hidden_size), uniform(4 * hidden_size)

    def forward(self, x, state):
        h, c = state
        a = torch.cat([x, h], 1) @ torch.cat([self.weight_ih, self.weight_hh], 1).T + self.bias_ih + self.bias_hh
        i, f, g, o = a.chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class ThreeArgumentsLSTMCell(nn.Module):
    """(x, h, c) -> h, c."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.i2h, self.h2h = nn.Linear(input_size, 4 * hidden_size), nn.Linear(hidden_size, 4 * hidden_size)

    def forward(self, x, h, c):
        i, f, g, o = (self.i2h(x) + self.h2h(h)).chunk(4, 1)
        c = c * f.sigmoid() + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class OutputAndStateLSTMCell(nn.Module):
    """(x, (h, c)) -> h, (h, c)."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.ih, self.hh = nn.Linear(input_size, 4 * hidden_size), nn.Linear(hidden_size, 4 * hidden_size)

    def forward(self, x, state):
        h, c = state
        i, f, g, o = (self.ih(x) + self.hh(h)).chunk(4, 1)
        c = c * f.sigmoid() + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return h, (h, c)


class RNNCell(nn.Module):
    """(x, h) -> h, raw transposed weights."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.Wx, self.Wh, self.b = uniform(n_in, n_out), uniform(n_out, n_out), uniform(n_out)

    def forward(self, x, h):
        return torch.tanh(x @ self.Wx + h @ self.Wh + self.b)


# ----------------------------------------------------------------------------------- their own backward pass


class TanhStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a):
        h = torch.tanh(a)
        ctx.save_for_backward(h)
        return h

    @staticmethod
    def backward(ctx, dh):
        (h,) = ctx.saved_tensors
        return dh * (1 - h * h)


class OwnTanhRNN(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.weight_ih_l0, self.weight_hh_l0 = uniform(hidden_size, input_size), uniform(hidden_size, hidden_size)
        self.bias_ih_l0, self.bias_hh_l0 = uniform(hidden_size), uniform(hidden_size)

    def forward(self, x, h=None):
        h = x.new_zeros(x.shape[1], self.weight_hh_l0.shape[0]) if h is None else h[0]
        ys = []
        for x_t in x:
            a = F.linear(x_t, self.weight_ih_l0, self.bias_ih_l0) + F.linear(h, self.weight_hh_l0, self.bias_hh_l0)
            h = TanhStep.apply(a)
            ys.append(h)
        return torch.stack(ys), h[None]


class LSTMStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, h, c, weights, bias):
        X = torch.cat([h, x], dim=1)
        i, f, g, o = torch.addmm(bias, X, weights.t()).chunk(4, dim=1)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        new_c = f * c + i * g
        ctx.save_for_backward(X, c, new_c, i, f, g, o, weights)
        return o * torch.tanh(new_c), new_c

    @staticmethod
    def backward(ctx, dh, dc):
        X, c, new_c, i, f, g, o, weights = ctx.saved_tensors
        t = torch.tanh(new_c)
        dc = dc + dh * o * (1 - t**2)
        da = torch.cat([dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), dh * t * o * (1 - o)], 1)
        dX = da @ weights
        H = c.shape[1]
        return dX[:, H:], dX[:, :H], dc * f, da.t() @ X, da.sum(0)


class OwnStepLSTM(nn.Module):
    """One matrix on [h, x], a step with its own backward."""

    def __init__(self, input_features, state_size):
        super().__init__()
        self.state_size = state_size
        self.weights = uniform(4 * state_size, input_features + state_size)
        self.bias = uniform(4 * state_size)

    def forward(self, x, state=None):
        zeros = x.new_zeros(x.shape[1], self.state_size)
        h, c = (zeros, zeros) if state is None else (state[0][0], state[1][0])
        ys = []
        for x_t in x:
            h, c = LSTMStep.apply(x_t, h, c, self.weights, self.bias)
            ys.append(h)
        return torch.stack(ys), (h[None], c[None])


# --------------------------------------------------------------------------------- weights loaded by themselves

LOADED = written(
    "strangers_with_load_weights",
    '''
import torch
from torch import nn


class Interleaved(nn.Module):
    """The four gates of a unit stand beside each other."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.kernel = nn.Parameter(torch.randn(input_size, hidden_size, 4))
        self.recurrent = nn.Parameter(torch.randn(hidden_size, hidden_size, 4))
        self.offset = nn.Parameter(torch.randn(hidden_size, 4))

    def forward(self, x, state=None):
        zeros = x.new_zeros(x.shape[1], self.hidden_size)
        h, c = (zeros, zeros) if state is None else (state[0][0], state[1][0])
        ys = []
        for x_t in x:
            a = torch.einsum("bi,ihg->bhg", x_t, self.kernel) + torch.einsum("bk,khg->bhg", h, self.recurrent)
            i, f, g, o = (a + self.offset).unbind(2)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            ys.append(h)
        return torch.stack(ys), (h[None], c[None])


def load_weights(module, weights):
    H = module.hidden_size
    with torch.no_grad():
        module.kernel.copy_(weights["weight_ih_l0"].view(4, H, -1).permute(2, 1, 0))
        module.recurrent.copy_(weights["weight_hh_l0"].view(4, H, H).permute(2, 1, 0))
        module.offset.copy_((weights["bias_ih_l0"] + weights["bias_hh_l0"]).view(4, H).T)
''',
)

torch.manual_seed(0)

CORRECT = {
    "torch.nn's names, a loop": (NamedLSTM, "lstm"),
    "torch.nn's names, einsum": (EinsumGRU, "gru"),
    "torch.nn's names, addmm and split": (AddmmLSTM, "lstm"),
    "torch.nn's names, baddbmm and unbind": (BaddbmmLSTM, "lstm"),
    "torch.nn's names, for TorchScript": (ScriptableLSTM, "lstm"),
    "torch.nn's names, unbatched and packed": (UnrolledRNN, "rnn"),
    "a factory of a relu layer": (relu_rnn, "rnn-relu"),
    "torch.nn's names and keywords": (KeywordGRU, "gru"),
    "torch.nn's names, projected": (Projecting, "lstm"),
    "a subclass of nn.LSTM": (SubclassedLSTM, "lstm"),
    "nn.LSTM": (nn.LSTM, "lstm"),
    "nn.GRU": (nn.GRU, "gru"),
    "nn.RNN": (nn.RNN, "rnn"),
    "nn.LSTMCell": (nn.LSTMCell, "lstm-cell"),
    "a stack of nn.LSTMCell": (StackOfCells, "lstm"),
    "nn.GRU in a module, the output alone": (Model, "gru"),
    "a Linear a gate, lstm": (LinearsLSTM, "lstm"),
    "a Linear a gate, gru": (LinearsGRU, "gru"),
    "a matrix a gate, transposed": (MatricesLSTM, "lstm"),
    "a Linear on both a gate, the output alone": (OneLinearAGateLSTM, "lstm"),
    "two Linears, lstm": (PairLSTM, "lstm"),
    "two Linears, gru": (PairGRU, "gru"),
    "two Linears, the last state alone": (PairRNN, "rnn"),
    "transposed, functions spelled out": (TransposedLSTM, "lstm"),
    "transposed, z r n": (TransposedGRU, "gru"),
    "own order i o f g": (OrderedLSTM, "lstm"),
    "own order f i g o": (ForgetFirstLSTM, "lstm"),
    "own order i f o g": (CandidateLastLSTM, "lstm"),
    "own order z r n": (UpdateFirstGRU, "gru"),
    "one Linear on [x, h]": (InputFirstLSTM, "lstm"),
    "one matrix on [h, x], without c": (HiddenFirstLSTM, "lstm"),
    "one Linear on [x, h], a cell": (TutorialRNN, "rnn-cell"),
    "lengths, gru": (LengthsGRU, "gru"),
    "lengths, packed inside, two directions": (UnpackingLSTM, "lstm"),
    "always two directions": (BothWays, "lstm"),
    "always two directions, the output alone": (BothWaysGRU, "gru"),
    "always two layers": (TwoDeep, "lstm"),
    "a ready instance": (PairLSTM(3, 5), "lstm"),
    "a ready instance in eval": (KeywordGRU(4, 3, num_layers=2, bidirectional=True).eval(), "gru"),
    "a ready nn.GRU": (nn.GRU(4, 6, batch_first=True), "gru"),
    "a factory with sizes": (make_sized, "lstm"),
    "a factory without arguments": (make_ready, "gru"),
    "a function (x, weights)": (lstm_of_weights, "lstm"),
    "a function (x, state, weights)": (gru_of_state_and_weights, "gru"),
    "a function (x, weights) that returns h": (rnn_of_weights, "rnn"),
    "no module": (PlainLSTM, "lstm"),
    "no module, and forward": (PlainRNN, "rnn"),
    "zeros in the default dtype": (DefaultDtypeLSTM, "lstm"),
    "zeros in float32": (Float32GRU, "gru"),
    "cell (x, h)": (NamedGRUCell, "gru-cell"),
    "cell (x, (h, c))": (NamedLSTMCell, "lstm-cell"),
    "cell (x, h, c)": (ThreeArgumentsLSTMCell, "lstm-cell"),
    "cell (x, (h, c)) -> h, (h, c)": (OutputAndStateLSTMCell, "lstm-cell"),
    "cell, transposed": (RNNCell, "rnn-cell"),
    "own backward of tanh": (OwnTanhRNN, "rnn"),
    "own backward of a step": (OwnStepLSTM, "lstm"),
    "load_weights": (LOADED.Interleaved, "lstm"),
}
"""name: the subject, and what it is."""
