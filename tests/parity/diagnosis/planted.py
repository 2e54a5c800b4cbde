"""Recurrent layers with one thing wrong, as strangers write them: each cause of a diagnosis in several spellings.

A spelling is a family of classes with a switch for each thing that can be wrong: `Loop` has torch.nn's names and
keywords, `PerGate` a Linear for each gate, `Fused` one matrix on [h, x], `Own...` their own backward pass, and so on.
With no switch on, each family is right: UNPLANTED.
"""

from __future__ import annotations

import random
from itertools import combinations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

GATES = {"lstm": 4, "gru": 3, "rnn": 1, "rnn-relu": 1}


def member(family, mode, *bugs):
    """The class of a family with these switches on."""
    return type(family.__name__, (family,), {"mode": mode, "bugs": frozenset(bugs), "__module__": __name__})


# ----------------------------------------------------------------- a loop, with torch.nn's names and keywords


class Loop(nn.Module):
    mode = "gru"
    bugs: frozenset = frozenset()

    def __init__(
        self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False
    ):
        super().__init__()
        self._make(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)

    def _make(self, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size=0):
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = bias, batch_first, dropout, bidirectional
        projected = proj_size > 0 and "projection" not in self.bugs
        self.emitted = proj_size if projected else hidden_size  # the width of h
        self.kept = None
        rows = GATES[self.mode] * hidden_size
        recurs = hidden_size if "projection: output" in self.bugs else self.emitted
        for layer in range(num_layers):
            width = input_size if layer == 0 else self.emitted * (2 if bidirectional else 1)
            for suffix in self.suffixes(layer):
                shapes = {"weight_ih": (rows, width), "weight_hh": (rows, recurs)}
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                if projected:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                for name, shape in shapes.items():
                    bound = hidden_size**-0.5
                    setattr(self, name + suffix, nn.Parameter(torch.empty(shape).uniform_(-bound, bound)))
                if "peephole" in self.bugs:
                    for name in ("weight_ci", "weight_cf", "weight_co"):
                        setattr(self, name + suffix, nn.Parameter(torch.zeros(hidden_size)))

    def suffixes(self, layer):
        return [f"_l{layer}", f"_l{layer}_reverse"] if self.bidirectional else [f"_l{layer}"]

    def forward(self, input, hx=None):
        bugs = self.bugs
        lengths = None
        if isinstance(input, PackedSequence):
            x, lengths = pad_packed_sequence(input)
        else:
            x = input
        single = x.dim() == 2
        if single:
            x = x.unsqueeze(1)
        elif self.batch_first and lengths is None and "batch-first" not in bugs:
            x = x.transpose(0, 1)
        slots, B = self.num_layers * (2 if self.bidirectional else 1), x.shape[1]
        if hx is None and "state-kept" in bugs and self.kept is not None and self.kept[0].shape[1] == B:
            hx = self.kept if self.mode == "lstm" else self.kept[0]
        if hx is None or "initial-state-ignored" in bugs:
            h_0 = x.new_zeros(slots, B, self.recurs())
            c_0 = x.new_zeros(slots, B, self.hidden_size)
        else:
            h_0, c_0 = hx if self.mode == "lstm" else (hx, hx)
            if single and h_0.dim() == 2:
                h_0, c_0 = h_0.unsqueeze(1), c_0.unsqueeze(1)
        if "initial-state-ignored: c" in bugs:
            c_0 = torch.zeros_like(c_0)
        if "gradient-initial-state" in bugs:
            h_0, c_0 = h_0.detach(), c_0.detach()

        h_n, c_n = [], []
        for layer in range(self.num_layers):
            both = []
            for suffix in self.suffixes(layer):
                slot = len(h_n)
                y, h, c = self.scan(x, h_0[slot], c_0[slot], suffix, lengths)
                if "last-state: h_0" in bugs:
                    h = h_0[slot]
                if "last-state: wrong end" in bugs and suffix.endswith("_reverse"):
                    h = y[-1]
                both.append(y)
                h_n.append(h)
                c_n.append(c)
            if "direction-order" in bugs:
                both.reverse()
            x = torch.cat(both, dim=-1)
            between = layer < self.num_layers - 1
            if "dropout: after last" in bugs:
                between = True
            if self.dropout and between:
                x = F.dropout(x, self.dropout, training=self.training or "dropout" in bugs)
        if "layer-order" in bugs:
            h_n.reverse()
            c_n.reverse()
        if "last-state: first layer" in bugs:
            h_n = [h_n[k % len(self.suffixes(0))] for k in range(slots)]
        h_n, c_n = torch.stack(h_n), torch.stack(c_n)
        if "state-kept" in bugs:
            self.kept = h_n.detach(), c_n.detach()
        if "not-deterministic" in bugs:
            x = x + 0.01 * torch.randn_like(x)

        if lengths is not None:
            x = pack_padded_sequence(x, lengths, enforce_sorted=input.sorted_indices is None)
        elif single:
            x, h_n, c_n = x.squeeze(1), h_n.squeeze(1), c_n.squeeze(1)
        elif self.batch_first and not {"batch-first", "batch-first: output"} & bugs:
            x = x.transpose(0, 1)
        if self.mode != "lstm":
            return x, h_n
        return x, ((c_n, h_n) if "state-order" in bugs else (h_n, c_n))

    def recurs(self):
        return self.hidden_size if "projection: output" in self.bugs else self.emitted

    def scan(self, x, h, c, suffix, lengths):
        bugs = self.bugs
        reverse = suffix.endswith("_reverse")
        if reverse and "directions-share-weights" in bugs:
            suffix = suffix.removesuffix("_reverse")
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_ci", "weight_cf", "weight_co")
        weights = {name: getattr(self, name + suffix, None) for name in names}
        T = x.shape[0]
        outputs = [None] * T
        for k in range(T):
            t = T - 1 - k if reverse else k
            if k > 0 and "gradient-detached" in bugs:
                h, c = h.detach(), c.detach()
            if "gradient-detached: c" in bugs and k > 0:
                c = c.detach()
            if "gradient-truncated" in bugs and k > 0 and k % 2 == 0:
                h, c = h.detach(), c.detach()
            x_t = x[t]
            if "time-shift: input" in bugs:
                x_t = x[t - 1] if t > 0 else torch.zeros_like(x_t)
            h_prev, c_prev = h, c
            if self.mode == "lstm":
                h, c = self.lstm(x_t, h, c, weights)
            elif self.mode == "gru":
                h = c = self.gru(x_t, h, weights)
            else:
                h = c = self.elman(x_t, h, weights)
            y = h_prev if "time-shift" in bugs else h
            if "projection: output" in bugs and weights["weight_hr"] is not None:
                y = F.linear(y, weights["weight_hr"])
            if lengths is not None:
                moving = (t < lengths).unsqueeze(1)
                y = torch.where(moving, y, torch.zeros_like(y))
                waits = not ("packed-padding" in bugs if reverse else "packed-last-state" in bugs)
                if waits:
                    h, c = torch.where(moving, h, h_prev), torch.where(moving, c, c_prev)
            outputs[k if "reverse-not-flipped" in bugs else t] = y
        if "packed-last-state: zeros" in bugs and not reverse and lengths is not None:
            h = outputs[-1]
        return torch.stack(outputs), h, c

    def products(self, x, h, weights):
        """What the input and what the hidden state give to the pre-activations, [B, gates * H] each."""
        bugs, H = self.bugs, self.hidden_size
        w_ih, w_hh, b_ih, b_hh = (weights[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        if "weights-swapped" in bugs:
            w_ih, w_hh = w_hh, w_ih
        if "weights-transposed" in bugs:
            w_hh = torch.cat([w.T for w in w_hh.split(H)])
        if "bias-shared" in bugs and b_ih is not None:  # the last gate's, for all
            b_ih, b_hh = b_ih[-H:].repeat(GATES[self.mode]), b_hh[-H:].repeat(GATES[self.mode])
        if "bias-shared: both" in bugs:
            b_hh = b_ih
        if "bias-missing" in bugs:
            b_ih, b_hh = (None, b_hh) if self.mode == "gru" else (b_ih, None)
        of_x, of_h = F.linear(x, w_ih, b_ih), F.linear(h, w_hh, b_hh)
        if "bias-doubled" in bugs and b_ih is not None:
            of_x = of_x + b_ih
        return of_x, of_h

    def lstm(self, x, h, c, weights):
        bugs, dtype = self.bugs, h.dtype
        if "precision" in bugs:
            x, h, c = x.float(), h.float(), c.float()
            weights = {name: w if w is None else w.float() for name, w in weights.items()}
        of_x, of_h = self.products(x, h, weights)
        gates = of_x + of_h
        if "split-axis" in bugs:
            i, f, g, o = gates.view(4, x.shape[0], self.hidden_size)
        elif "gate-order" in bugs:
            i, f, o, g = gates.chunk(4, 1)
        elif "gate-order: f first" in bugs:
            f, i, g, o = gates.chunk(4, 1)
        else:
            i, f, g, o = gates.chunk(4, 1)
        if "forget-bias" in bugs:
            f = f + 1.0
        if "peephole" in bugs:
            i, f = i + weights["weight_ci"] * c, f + weights["weight_cf"] * c
        i = F.hardsigmoid(i) if "activation" in bugs else torch.sigmoid(i)
        f = torch.sigmoid(f)
        g = F.relu(g) if "activation: relu" in bugs else torch.tanh(g)
        c = f * c + (i + g if "operator" in bugs else i * g)
        if "peephole" in bugs:
            o = o + weights["weight_co"] * c
        o = torch.sigmoid(o)
        h = o * (c if "output-activation" in bugs else torch.tanh(c))
        if weights["weight_hr"] is not None and "projection: output" not in bugs:
            h = F.linear(h, weights["weight_hr"])
        return h.to(dtype), c.to(dtype)

    def gru(self, x, h, weights):
        bugs, H, dtype = self.bugs, self.hidden_size, h.dtype
        if "precision" in bugs:
            x, h = x.float(), h.float()
            weights = {name: w if w is None else w.float() for name, w in weights.items()}
        of_x, of_h = self.products(x, h, weights)
        if "split-axis" in bugs:
            (xr, xz, xn), (hr, hz, hn) = of_x.view(3, -1, H), of_h.view(3, -1, H)
        elif "gate-order" in bugs:
            (xz, xr, xn), (hz, hr, hn) = of_x.chunk(3, 1), of_h.chunk(3, 1)
        else:
            (xr, xz, xn), (hr, hz, hn) = of_x.chunk(3, 1), of_h.chunk(3, 1)
        r = torch.sigmoid(xr + hr)
        z = F.hardsigmoid(xz + hz) if "activation" in bugs else torch.sigmoid(xz + hz)
        b_hn = 0 if weights["bias_hh"] is None else weights["bias_hh"][2 * H :]
        if "reset-before-product" in bugs:
            hn = (r * h) @ weights["weight_hh"][2 * H :].T + b_hn
        elif "candidate-bias" in bugs:
            hn = r * (hn - b_hn) + b_hn
        elif "candidate-bias: missing" in bugs:
            hn = r * (hn - b_hn)
        elif "operator" in bugs:
            hn = r + hn
        else:
            hn = r * hn
        n = torch.sigmoid(xn + hn) if "activation: sigmoid" in bugs else torch.tanh(xn + hn)
        h = z * n + (1 - z) * h if "update-flipped" in bugs else (1 - z) * n + z * h
        return h.to(dtype)

    def elman(self, x, h, weights):
        bugs, dtype = self.bugs, h.dtype
        if "precision" in bugs:
            x, h = x.float(), h.float()
            weights = {name: w if w is None else w.float() for name, w in weights.items()}
        of_x, of_h = self.products(x, h, weights)
        a = of_x - of_h if "operator" in bugs else of_x + of_h
        relu = (self.mode == "rnn-relu") != ("activation" in bugs)
        return (F.relu(a) if relu else torch.tanh(a)).to(dtype)


class LoopLSTM(Loop):
    mode = "lstm"

    def __init__(
        self,
        input_size,
        hidden_size,
        num_layers=1,
        bias=True,
        batch_first=False,
        dropout=0.0,
        bidirectional=False,
        proj_size=0,
    ):
        nn.Module.__init__(self)
        self._make(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size)


def loop(mode, *bugs):
    """`proj_size` is a keyword where W_hh need not be square."""
    projects = mode == "lstm" and not {"weights-transposed", "weights-swapped"} & set(bugs)
    return member(LoopLSTM if projects else Loop, mode, *bugs), mode


# ------------------------------------------------------------------------------- a Linear for each gate


class PerGate(nn.Module):
    """Batch first, one layer; `x_i` is what the input gives to gate i, `h_i` what the hidden state gives."""

    mode = "lstm"
    bugs: frozenset = frozenset()

    def __init__(self, input_dim, hidden_dim):
        super().__init__()
        self.hidden_dim = hidden_dim
        for gate in {"lstm": "ifgo", "gru": "rzn", "rnn": "h"}[self.mode]:
            setattr(self, f"x_{gate}", nn.Linear(input_dim, hidden_dim))
            setattr(self, f"h_{gate}", nn.Linear(hidden_dim, hidden_dim, bias="candidate-bias" not in self.bugs))
        if "peephole" in self.bugs:
            self.p_f = nn.Parameter(torch.zeros(hidden_dim))
        self.memory = None

    def forward(self, x, state=None):
        return self.run(x, state)

    def run(self, x, state, lengths=None):
        bugs = self.bugs
        B, T, _ = x.shape
        zeros = x.new_zeros(1, B, self.hidden_dim)
        if state is None and "not-deterministic: start" in bugs:
            state = (torch.randn_like(zeros), torch.randn_like(zeros))
            state = state if self.mode == "lstm" else state[0]
        if state is None and "state-kept" in bugs and self.memory is not None and self.memory[0].shape[1] == B:
            state = self.memory if self.mode == "lstm" else self.memory[0]
        if state is None or "initial-state-ignored" in bugs:
            h, c = zeros, zeros
        elif self.mode == "lstm":
            h, c = (state[1], state[0]) if "state-order" in bugs else state
        else:
            h = c = state
        h, c = h[0], c[0]
        if "gradient-initial-state" in bugs:
            c = c.detach()
        h_0, outputs = h, []
        for t in range(T):
            if "gradient-detached" in bugs:
                h, c = h.detach(), c.detach()
            if "gradient-truncated" in bugs and t > 0 and t % 3 == 0:
                h, c = h.detach(), c.detach()
            x_t = x[:, t]
            if "time-shift" in bugs:
                x_t = x[:, t - 1] if t > 0 else torch.zeros_like(x_t)
            h_prev, c_prev = h, c
            h, c = self.step(x_t, h, c)
            if "precision" in bugs:
                h = h.bfloat16().to(x.dtype)
            y = h
            if lengths is not None:
                moving = (t < lengths).unsqueeze(1)
                y = torch.where(moving, h, torch.zeros_like(h))
                if "packed-last-state" not in bugs:
                    h, c = torch.where(moving, h, h_prev), torch.where(moving, c, c_prev)
            outputs.append(y)
        if "last-state" in bugs:
            h = h_0
        if "last-state: first step" in bugs:
            h = outputs[0]
        self.memory = (h.detach().unsqueeze(0), c.detach().unsqueeze(0))
        output, h, c = torch.stack(outputs, dim=1), h.unsqueeze(0), c.unsqueeze(0)
        if self.mode != "lstm":
            return output, h
        return output, ((c, h) if "state-order" in bugs else (h, c))

    def step(self, x, h, c):
        bugs = self.bugs
        if self.mode == "rnn":
            h = torch.tanh(self.x_h(x) - self.h_h(h) if "operator" in bugs else self.x_h(x) + self.h_h(h))
            return h, h
        if self.mode == "gru":
            r = torch.sigmoid(self.x_r(x) + self.h_r(h))
            z = torch.sigmoid(self.x_z(x) + self.h_z(h))
            if "reset-before-product" in bugs:
                n = torch.tanh(self.x_n(x) + self.h_n(r * h))
            elif "candidate-bias: outside" in bugs:
                n = torch.tanh(self.x_n(x) + r * F.linear(h, self.h_n.weight) + self.h_n.bias)
            elif "activation" in bugs:
                n = F.relu(self.x_n(x) + r * self.h_n(h))
            else:
                n = torch.tanh(self.x_n(x) + r * self.h_n(h))
            h = (1 - z) * h + z * n if "update-flipped" in bugs else (1 - z) * n + z * h
            return h, h
        f = self.x_f(x) + self.h_f(h)
        if "bias-missing" in bugs:
            f = F.linear(x, self.x_f.weight) + self.h_f(h)
        if "bias-doubled" in bugs:
            f = f + self.h_f.bias
        if "bias-shared" in bugs:
            f = F.linear(x, self.x_f.weight, self.x_o.bias) + F.linear(h, self.h_f.weight, self.h_o.bias)
        if "forget-bias" in bugs:
            f = f + 1
        if "peephole" in bugs:
            f = f + self.p_f * c
        i = torch.sigmoid(self.x_i(x) + self.h_i(h))
        f = torch.sigmoid(f)
        g = torch.tanh(self.x_g(x) + self.h_g(h))
        o = self.x_o(x) + self.h_o(h)
        o = torch.tanh(o) if "activation" in bugs else torch.sigmoid(o)
        c = f * c + i * g
        if "operator" in bugs:
            return o + torch.tanh(c), c
        return o * (c if "output-activation" in bugs else torch.tanh(c)), c


class PerGateLengths(PerGate):
    def forward(self, x, state=None, lengths=None):
        return self.run(x, state, lengths)


def per_gate(mode, *bugs):
    return member(PerGate, mode, *bugs), mode


# -------------------------------------------------------------------- one matrix on [h, x], as numpy writes it


class FusedLSTM(nn.Module):
    """`W` [H + I, 4H], the gates in the order i, f, o, g; time first."""

    bugs: frozenset = frozenset()

    def __init__(self, n_in, n_hidden):
        super().__init__()
        self.n = n_hidden
        self.W = nn.Parameter(torch.randn(n_hidden + n_in, 4 * n_hidden) * n_hidden**-0.5)
        self.b = nn.Parameter(torch.zeros(n_hidden if "bias-shared" in self.bugs else 4 * n_hidden))
        if "peephole" in self.bugs:
            self.peep = nn.Parameter(torch.zeros(3, n_hidden))
        self.last = None

    def forward(self, x, h0=None, c0=None):
        bugs, n = self.bugs, self.n
        T, B, _ = x.shape
        if h0 is None and "state-kept" in bugs and self.last is not None and self.last[0].shape[0] == B:
            h0, c0 = self.last
        if h0 is None or "initial-state-ignored" in bugs:
            h0, c0 = x.new_zeros(B, n), x.new_zeros(B, n)
        h, c = (c0, h0) if "state-order" in bugs else (h0, c0)
        ys = torch.zeros(T, B, n, dtype=x.dtype)
        for t in range(T):
            if "gradient-detached" in bugs and t > 0:
                c = c.detach()
            if "gradient-truncated" in bugs and t in (2, 4):
                h, c = h.data, c.data
            if "time-shift" in bugs:
                ys[t] = h
            W, b, X = self.W, self.b, torch.cat([h, x[t]], 1)
            if "bias-shared" in bugs:
                b = b.repeat(4)
            if "precision" in bugs:
                W, b, X = W.float(), b.float(), X.float()
            a = (X @ W + b).to(x.dtype)
            if "bias-doubled" in bugs:
                a = a + b
            if "split-axis" in bugs:
                i, f, o, g = a.view(4, B, n)
            else:
                i, f, o, g = a[:, :n], a[:, n : 2 * n], a[:, 2 * n : 3 * n], a[:, 3 * n :]
            if "peephole" in bugs:
                i, f = i + self.peep[0] * c, f + self.peep[1] * c
            i = 1 / (1 + torch.exp(-i))
            f = 1 / (1 + torch.exp(-(f + 1) if "forget-bias" in bugs else -f))
            g = torch.tanh(g)
            c = f * c - i * g if "operator" in bugs else f * c + i * g
            if "peephole" in bugs:
                o = o + self.peep[2] * c
            o = torch.clamp(0.2 * o + 0.5, 0, 1) if "activation" in bugs else 1 / (1 + torch.exp(-o))
            h = o * c if "output-activation" in bugs else o * torch.tanh(c)
            if "not-deterministic" in bugs:
                h = h + 1e-3 * torch.randn_like(h)
            if "time-shift" not in bugs:
                ys[t] = h
        self.last = h.detach(), c.detach()
        return ys, h, c


class FusedGRU(nn.Module):
    """`W` [H + I, 2H] for z and r; the candidate has a matrix for each, its hidden bias within the reset."""

    bugs: frozenset = frozenset()

    def __init__(self, n_in, n_hidden):
        super().__init__()
        self.n = n_hidden
        self.W = nn.Parameter(torch.randn(n_hidden + n_in, 2 * n_hidden) * n_hidden**-0.5)
        self.b = nn.Parameter(torch.zeros(2 * n_hidden))
        self.Wx = nn.Parameter(torch.randn(n_in, n_hidden) * n_hidden**-0.5)
        self.Wh = nn.Parameter(torch.randn(n_hidden, n_hidden) * n_hidden**-0.5)
        self.bx = nn.Parameter(torch.zeros(n_hidden))
        if "candidate-bias" not in self.bugs:
            self.bh = nn.Parameter(torch.zeros(n_hidden))

    def forward(self, x, h0=None):
        bugs, n = self.bugs, self.n
        h = x.new_zeros(x.shape[1], n) if h0 is None else h0
        ys = []
        for x_t in x:
            a = torch.sigmoid(torch.cat([h, x_t], 1) @ self.W + self.b)
            z, r = a[:, :n], a[:, n:]
            if "reset-before-product" in bugs:
                s = torch.tanh(x_t @ self.Wx + (r * h) @ self.Wh + self.bx + self.bh)
            elif "candidate-bias" in bugs:
                s = torch.tanh(x_t @ self.Wx + r * (h @ self.Wh) + self.bx)
            else:
                s = torch.tanh(x_t @ self.Wx + self.bx + r * (h @ self.Wh + self.bh))
            if "time-shift" in bugs:
                ys.append(h)
            h = (1 - z) * h + z * s if "update-flipped" in bugs else z * h + (1 - z) * s
            if "time-shift" not in bugs:
                ys.append(h)
        return torch.stack(ys), h


def fused(mode, *bugs):
    return member(FusedLSTM if mode == "lstm" else FusedGRU, mode, *bugs), mode


# --------------------------------------------------------------------- a function of the input and the weights


def function(mode, *bugs):
    """`weights` is a mapping by torch.nn's names; `state` is as torch.nn takes it."""
    bugs = frozenset(bugs)

    def lstm(x, state, weights):
        w_ih, w_hh = weights["weight_ih_l0"], weights["weight_hh_l0"]
        b_ih, b_hh = weights["bias_ih_l0"], weights["bias_hh_l0"]
        H = w_hh.shape[1]
        if "bias-shared" in bugs:  # the output gate's, for input and forget too
            b_ih = torch.cat([b_ih[3 * H :], b_ih[3 * H :], b_ih[2 * H :]])
            b_hh = torch.cat([b_hh[3 * H :], b_hh[3 * H :], b_hh[2 * H :]])
        if "precision" in bugs:
            w_ih, w_hh, b_ih, b_hh = (w.half().to(x.dtype) for w in (w_ih, w_hh, b_ih, b_hh))
        h, c = state[0][0], state[1][0]
        output = []
        for x_t in x.unbind(0):
            bias = b_ih if "bias-missing" in bugs else b_ih + b_hh
            gates = x_t @ w_ih.t() + h @ w_hh.t() + bias
            if "bias-doubled" in bugs:
                gates = gates + b_hh
            if "split-axis" in bugs:
                i, f, g, o = gates.reshape(4, -1, H)
            elif "gate-order" in bugs:
                i, o, f, g = gates.split(H, 1)
            else:
                i, f, g, o = gates.split(H, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            output.append(h)
        return torch.stack(output), (h.unsqueeze(0), c.unsqueeze(0))

    def gru(x, state, weights):
        w_ih, w_hh = weights["weight_ih_l0"], weights["weight_hh_l0"]
        b_ih, b_hh = weights["bias_ih_l0"], weights["bias_hh_l0"]
        H = w_hh.shape[1]
        if "weights-swapped" in bugs:
            w_ih, w_hh = w_hh, w_ih
        if "bias-missing" in bugs:
            b_ih = torch.zeros_like(b_ih)
        h = state[0]
        output = []
        for x_t in x.unbind(0):
            of_x, of_h = torch.addmm(b_ih, x_t, w_ih.t()), torch.addmm(b_hh, h, w_hh.t())
            if "split-axis" in bugs:
                (xr, xz, xn), (hr, hz, hn) = of_x.reshape(3, -1, H), of_h.reshape(3, -1, H)
            elif "gate-order" in bugs:
                (xz, xr, xn), (hz, hr, hn) = of_x.split(H, 1), of_h.split(H, 1)
            else:
                (xr, xz, xn), (hr, hz, hn) = of_x.split(H, 1), of_h.split(H, 1)
            r, z = (xr + hr).sigmoid(), (xz + hz).sigmoid()
            if "reset-before-product" in bugs:
                n = (xn + torch.addmm(b_hh[2 * H :], r * h, w_hh[2 * H :].t())).tanh()
            elif "candidate-bias" in bugs:
                n = (xn + r * (h @ w_hh[2 * H :].t())).tanh()
            else:
                n = (xn + r * hn).tanh()
            h = h + z * (n - h) if "update-flipped" in bugs else n + z * (h - n)
            output.append(h)
        return torch.stack(output), h.unsqueeze(0)

    def rnn(x, state, weights):
        w_hh = weights["weight_hh_l0"]
        h = state[0]
        output = []
        for x_t in x.unbind(0):
            of_h = h @ w_hh if "weights-transposed" in bugs else h @ w_hh.t()
            of_h = of_h + weights["bias_hh_l0"]
            h = torch.tanh(x_t @ weights["weight_ih_l0"].t() + weights["bias_ih_l0"] + of_h)
            output.append(h)
        return torch.stack(output), h.unsqueeze(0)

    return {"lstm": lstm, "gru": gru, "rnn": rnn}[mode], mode


# ------------------------------------------------------------------------------ cells, with torch.nn's names


class Cell(nn.Module):
    mode = "lstm"
    bugs: frozenset = frozenset()

    def __init__(self, input_size, hidden_size, bias=True):
        super().__init__()
        self.hidden_size = hidden_size
        rows, k = GATES[self.mode] * hidden_size, hidden_size**-0.5
        self.weight_ih = nn.Parameter(torch.empty(rows, input_size).uniform_(-k, k))
        self.weight_hh = nn.Parameter(torch.empty(rows, hidden_size).uniform_(-k, k))
        self.bias_ih = nn.Parameter(torch.empty(rows).uniform_(-k, k)) if bias else None
        self.bias_hh = nn.Parameter(torch.empty(rows).uniform_(-k, k)) if bias else None
        if "peephole" in self.bugs:
            self.weight_peephole = nn.Parameter(torch.empty(3, hidden_size).uniform_(-k, k))

    def by_gate(self, x, weight, bias):
        """[gates, B, H]"""
        weight = weight.view(-1, self.hidden_size, weight.shape[1])
        if "weights-transposed" in self.bugs and weight is not None and weight.shape[1] == weight.shape[2]:
            gates = torch.einsum("bj,gjk->gbk", x, weight)
        elif "split-axis" in self.bugs:
            gates = torch.einsum("bk,gjk->bgj", x, weight).reshape(-1, x.shape[0], self.hidden_size)
            shared = 0 if bias is None else bias.expand(x.shape[0], -1).reshape(gates.shape)
            return gates + shared
        else:
            gates = torch.einsum("bk,gjk->gbj", x, weight)
        if bias is None:
            return gates
        if "bias-missing" in self.bugs and bias is self.bias_hh:
            return gates
        if "bias-doubled" in self.bugs and bias is self.bias_hh:
            bias = bias * 2
        return gates + bias.view(-1, 1, self.hidden_size)

    def forward(self, x, hx):
        bugs = self.bugs
        h, c = hx if self.mode == "lstm" else (hx, hx)
        if "weights-swapped" in bugs:
            of_x = self.by_gate(x, self.weight_hh, self.bias_ih)
            of_h = self.by_gate(h, self.weight_ih, self.bias_hh)
        else:
            of_x = self.by_gate(x, self.weight_ih, self.bias_ih)
            of_h = self.by_gate(h, self.weight_hh, self.bias_hh)
        if "gradient-initial-state" in bugs:
            c = c.detach()
        if self.mode == "lstm":
            i, f, g, o = of_x + of_h
            if "gate-order" in bugs:
                f, i, g, o = of_x + of_h
            if "forget-bias" in bugs:
                f = f + 1.0
            if "peephole" in bugs:
                i, f = i + self.weight_peephole[0] * c, f + self.weight_peephole[1] * c
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            if "peephole" in bugs:
                o = o + self.weight_peephole[2] * c
            h = torch.sigmoid(o) * (c if "output-activation" in bugs else torch.tanh(c))
            return (c, h) if "state-order" in bugs else (h, c)
        if self.mode == "gru":
            r, z, xn = of_x[0] + of_h[0], of_x[1] + of_h[1], of_x[2]
            if "gate-order" in bugs:
                r, z = z, r
            r, z = torch.sigmoid(r), torch.sigmoid(z)
            n = torch.tanh(xn + r * of_h[2])
            return h * (1 - z) + n * z if "update-flipped" in bugs else n * (1 - z) + h * z
        h = torch.tanh(of_x[0] + of_h[0])
        return h + 0.01 * torch.rand_like(h) if "not-deterministic" in bugs else h


def cell(mode, *bugs):
    return member(Cell, mode, *bugs), f"{mode}-cell"


# ------------------------------------------------------------------------- a stack of torch.nn's cells


class Stack(nn.Module):
    """nn.LSTMCell or nn.GRUCell for each layer; takes a PackedSequence too."""

    mode = "lstm"
    bugs: frozenset = frozenset()

    def __init__(self, input_size, hidden_size, num_layers=1, batch_first=False, dropout=0.0):
        super().__init__()
        make = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}[self.mode]
        self.cells = nn.ModuleList(make(hidden_size if k else input_size, hidden_size) for k in range(num_layers))
        self.hidden_size, self.batch_first, self.dropout = hidden_size, batch_first, dropout
        self.carried = None

    def forward(self, x, state=None):
        bugs, L = self.bugs, len(self.cells)
        packed = x if isinstance(x, PackedSequence) else None
        lengths = None
        if packed is not None:
            x, lengths = pad_packed_sequence(packed)
        elif self.batch_first and "batch-first" not in bugs:
            x = x.transpose(0, 1)
        B = x.shape[1]
        zeros = x.new_zeros(L, B, self.hidden_size)
        if state is None:
            state = (zeros, zeros) if self.mode == "lstm" else zeros
            if "state-kept" in bugs and self.carried is not None and self.carried[0].shape == zeros.shape:
                state = self.carried if self.mode == "lstm" else self.carried[0]
        hs, cs = (list(part) for part in (state if self.mode == "lstm" else (state, state)))
        if "initial-state-ignored" in bugs:  # the layers above the first start from zero
            hs, cs = [hs[0], *zeros[1:]], [cs[0], *zeros[1:]]
        if "layer-order: h_0" in bugs:
            hs, cs = hs[::-1], cs[::-1]
        outputs = []
        for t in range(x.shape[0]):
            if "gradient-detached" in bugs and t > 0:
                hs, cs = [h.detach() for h in hs], [c.detach() for c in cs]
            if "gradient-truncated" in bugs and t > 0 and t % 2 == 0:
                hs, cs = [h.detach() for h in hs], [c.detach() for c in cs]
            y = x[t]
            moving = None if lengths is None else (t < lengths).unsqueeze(1)
            for k, cell in enumerate(self.cells):
                if self.mode == "lstm":
                    h, c = cell(y, (hs[k], cs[k]))
                else:
                    h = c = cell(y, hs[k])
                if moving is not None and "packed-last-state" not in bugs:
                    h, c = torch.where(moving, h, hs[k]), torch.where(moving, c, cs[k])
                hs[k], cs[k] = h, c
                y = h
                if self.dropout and (k < L - 1 or "dropout: after last" in bugs):
                    y = F.dropout(y, self.dropout, self.training or "dropout" in bugs)
            outputs.append(y if moving is None else torch.where(moving, y, torch.zeros_like(y)))
        output = torch.stack(outputs)
        if "layer-order" in bugs:
            hs, cs = hs[::-1], cs[::-1]
        if "last-state" in bugs:
            hs, cs = hs[:1] * L, cs[:1] * L
        h_n, c_n = torch.stack(hs), torch.stack(cs)
        self.carried = h_n.detach(), c_n.detach()
        if packed is not None:
            output = pack_padded_sequence(output, lengths, enforce_sorted=packed.sorted_indices is None)
        elif self.batch_first and not {"batch-first", "batch-first: output"} & bugs:
            output = output.transpose(0, 1)
        if packed is None and self.batch_first and "batch-first: state" in bugs:
            h_n, c_n = h_n.transpose(0, 1), c_n.transpose(0, 1)
        return output, ((h_n, c_n) if self.mode == "lstm" else h_n)


def stack(mode, *bugs):
    return member(Stack, mode, *bugs), mode


# ------------------------------------------------------------------------------- always two directions


class TwoGRUs(nn.Module):
    """One nn.GRU for each direction."""

    mode = "gru"
    bugs: frozenset = frozenset()

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.forward_gru = nn.GRU(input_size, hidden_size)
        self.backward_gru = nn.GRU(input_size, hidden_size)

    def forward(self, x, h_0=None):
        bugs = self.bugs
        h_f, h_b = (None, None) if h_0 is None else (h_0[:1], h_0[1:])
        backward = self.forward_gru if "directions-share-weights" in bugs else self.backward_gru
        out_f, h_f = self.forward_gru(x, h_f)
        out_b, h_b = backward(x.flip(0), h_b)
        if "last-state" in bugs:
            h_b = out_b[:1]
        if "reverse-not-flipped" not in bugs:
            out_b = out_b.flip(0)
        halves = [out_b, out_f] if "direction-order" in bugs else [out_f, out_b]
        return torch.cat(halves, -1), torch.cat([h_f, h_b])


class TwoCells(nn.Module):
    """Batch first, cells of torch.nn, the lengths of the sequences beside them."""

    mode = "lstm"
    bugs: frozenset = frozenset()

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        make = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}[self.mode]
        self.cell_fw = make(input_size, hidden_size)
        if "directions-share-weights" not in self.bugs:
            self.cell_bw = make(input_size, hidden_size)

    def forward(self, x, lengths=None):
        bugs, lstm = self.bugs, self.mode == "lstm"
        B, T, _ = x.shape
        lengths = torch.full((B,), T) if lengths is None else torch.as_tensor(lengths)
        halves, lasts = [], []
        for reverse in (False, True):
            cell = self.cell_bw if reverse and "directions-share-weights" not in bugs else self.cell_fw
            h = c = x.new_zeros(B, self.hidden_size)
            out = [None] * T
            for k in range(T):
                t = T - 1 - k if reverse else k
                moving = (t < lengths).unsqueeze(1)
                new, new_c = cell(x[:, t], (h, c)) if lstm else (cell(x[:, t], h),) * 2
                out[k if reverse and "reverse-not-flipped" in bugs else t] = torch.where(moving, new, 0 * new)
                if ("packed-padding" if reverse else "packed-last-state") in bugs:
                    h, c = new, new_c
                else:
                    h, c = torch.where(moving, new, h), torch.where(moving, new_c, c)
            halves.append(torch.stack(out, 1))
            lasts.append((h, c))
        if "direction-order" in bugs:
            halves.reverse()
        h_n, c_n = (torch.stack(part) for part in zip(*lasts, strict=True))
        return torch.cat(halves, 2), ((h_n, c_n) if lstm else h_n)


# ------------------------------------------------------------------------------------ around torch.nn's own


class Wrapped(nn.Module):
    """An nn.LSTM, and what people write around it."""

    mode = "lstm"
    bugs: frozenset = frozenset()

    def __init__(self, input_size, hidden_size, num_layers=1, dropout=0.0, batch_first=False):
        super().__init__()
        self.lstm = nn.LSTM(
            input_size,
            hidden_size,
            num_layers,
            dropout=dropout if num_layers > 1 else 0.0,
            batch_first=batch_first and "batch-first" not in self.bugs,
        )
        self.drop = dropout

    def forward(self, x, state=None):
        bugs = self.bugs
        if state is not None and "state-order" in bugs:
            state = state[::-1]
        output, state = self.lstm(x, state)
        if "dropout" in bugs:
            output = F.dropout(output, self.drop)
        if "dropout: after last" in bugs:
            output = F.dropout(output, self.drop, self.training)
        return output, (state[::-1] if "state-order" in bugs else state)


class Projected(nn.Module):
    """An nn.LSTM with a Linear behind it that is to be `proj_size`; right without that."""

    def __init__(self, input_size, hidden_size, proj_size=0):
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size)
        self.proj = nn.Linear(hidden_size, proj_size, bias=False) if proj_size else nn.Identity()

    def forward(self, x, state=None):
        output, state = self.lstm(x, state)
        return self.proj(output), state


class Unprojected(nn.Module):
    """A Linear for all gates; `proj_size` is taken and forgotten."""

    def __init__(self, input_size, hidden_size, proj_size=0):
        super().__init__()
        self.x2h = nn.Linear(input_size, 4 * hidden_size)
        self.h2h = nn.Linear(hidden_size, 4 * hidden_size)
        self.hidden_size, self.proj_size = hidden_size, proj_size

    def forward(self, x, state=None):
        zeros = x.new_zeros(x.shape[1], self.hidden_size)
        h, c = (zeros, zeros) if state is None else (state[0][0], state[1][0])
        outputs = []
        for x_t in x:
            i, f, g, o = (self.x2h(x_t) + self.h2h(h)).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        return torch.stack(outputs), (h[None], c[None])


class TwoLayers(nn.Module):
    """Always two layers."""

    bugs: frozenset = frozenset()

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.layer1 = nn.GRU(input_size, hidden_size)
        self.layer2 = nn.GRU(hidden_size, hidden_size)

    def forward(self, x, h_0=None):
        h1, h2 = (None, None) if h_0 is None else h_0.split(1)
        if "layer-order: h_0" in self.bugs and h_0 is not None:
            h1, h2 = h2, h1
        y, h1 = self.layer1(x, h1)
        y, h2 = self.layer2(y, h2)
        return y, torch.cat([h2, h1] if {"layer-order", "layer-order: h_0"} & self.bugs else [h1, h2])


# ----------------------------------------------------------------------------------- their own backward pass


class ElmanScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, h_0, w_ih, w_hh, b_ih, b_hh, bugs):
        hs = [h_0]
        for x_t in x:
            hs.append(torch.tanh(x_t @ w_ih.T + b_ih + hs[-1] @ w_hh.T + b_hh))
        hs = torch.stack(hs)
        ctx.save_for_backward(x, hs, w_ih, w_hh)
        ctx.bugs = bugs
        return hs[1:].clone(), hs[-1].clone()

    @staticmethod
    def backward(ctx, dy, dh_n):
        x, hs, w_ih, w_hh = ctx.saved_tensors
        bugs = ctx.bugs
        dx, dw_ih, dw_hh = torch.zeros_like(x), torch.zeros_like(w_ih), torch.zeros_like(w_hh)
        db = x.new_zeros(w_hh.shape[0])
        dh = dh_n
        for t in reversed(range(x.shape[0])):
            dh = dh + dy[t]
            h = hs[t + 1]
            da = dh * (1 - h) if "gradient-gate" in bugs else dh * (1 - h**2)
            dx[t] = da @ w_ih
            dw_ih += da.T @ x[t]
            if "gradient-overwritten" in bugs:
                dw_hh = da.T @ hs[t]
            else:
                dw_hh += da.T @ hs[t]
            db += da.sum(0)
            dh = torch.zeros_like(dh) if "gradient-detached" in bugs and t > 0 else da @ w_hh
        if "gradient-initial-state" in bugs:
            dh = torch.zeros_like(dh)
        db_hh = torch.zeros_like(db) if "gradient-bias" in bugs else db
        return dx, dh, dw_ih, dw_hh, db, db_hh, None


class OwnElman(nn.Module):
    """torch.nn's names."""

    bugs: frozenset = frozenset()

    def __init__(self, input_size, hidden_size):
        super().__init__()
        k = hidden_size**-0.5
        self.weight_ih_l0 = nn.Parameter(torch.empty(hidden_size, input_size).uniform_(-k, k))
        self.weight_hh_l0 = nn.Parameter(torch.empty(hidden_size, hidden_size).uniform_(-k, k))
        self.bias_ih_l0 = nn.Parameter(torch.empty(hidden_size).uniform_(-k, k))
        self.bias_hh_l0 = nn.Parameter(torch.empty(hidden_size).uniform_(-k, k))

    def forward(self, x, h_0=None):
        h = x.new_zeros(x.shape[1], self.weight_hh_l0.shape[0]) if h_0 is None else h_0[0]
        weights = self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0
        output, h = ElmanScan.apply(x, h, *weights, self.bugs)
        return output, h.unsqueeze(0)


class LSTMScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, h, c, Wx, Wh, b, bugs):
        hs, cs, gates = [h], [c], []
        for x_t in x:
            i, f, g, o = (x_t @ Wx + h @ Wh + b).chunk(4, 1)
            i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
            c = f * c + i * g
            h = o * c.tanh()
            gates.append(torch.stack([i, f, g, o]))
            hs.append(h)
            cs.append(c)
        ctx.save_for_backward(x, torch.stack(hs), torch.stack(cs), torch.stack(gates), Wx, Wh)
        ctx.bugs = bugs
        return torch.stack(hs[1:]), h.clone(), c.clone()

    @staticmethod
    def backward(ctx, dy, dh, dc):
        x, hs, cs, gates, Wx, Wh = ctx.saved_tensors
        bugs = ctx.bugs
        dx, dWx, dWh, db = torch.zeros_like(x), torch.zeros_like(Wx), torch.zeros_like(Wh), x.new_zeros(Wx.shape[1])
        for t in reversed(range(x.shape[0])):
            i, f, g, o = gates[t]
            tanh_c = cs[t + 1].tanh()
            do = (dh + dy[t]) * (tanh_c.tanh() if "gradient-gate: tanh of tanh" in bugs else tanh_c)
            dc = dc + (dh + dy[t]) * o * (1 - tanh_c**2)
            di = dc * g * (i if "gradient-gate" in bugs else i * (1 - i))
            df = dc * cs[t] * f * (1 - f)
            dg = dc * i * (1 - g**2)
            if "gradient-gate: exchanged" in bugs:  # the cache has f first, and is read with i first
                di, df = dc * g * f * (1 - f), dc * cs[t] * i * (1 - i)
            if "gradient-gate: candidate" in bugs:
                dg = dc * i * (1 - g)
            da = torch.cat([di, df, dg, do * o * (1 - o)], 1)
            dx[t] = da @ Wx.T
            if "gradient-overwritten" in bugs:
                dWx, dWh, db = x[t].T @ da, hs[t].T @ da, da.sum(0)
            else:
                dWx += x[t].T @ da
                dWh += hs[t].T @ da
                db += da.sum(0)
            if "gradient-detached" in bugs and t > 0:
                dh, dc = torch.zeros_like(dh), torch.zeros_like(dc)
            else:
                dh, dc = da @ Wh.T, dc * f
        if "gradient-bias" in bugs:  # the forget gate's, for the input gate too
            n = db.shape[0] // 4
            db[:n] = db[n : 2 * n]
        if "gradient-initial-state" in bugs:
            dc = torch.zeros_like(dc)
        return dx, dh, dc, dWx, dWh, db, None


class OwnLSTM(nn.Module):
    """Transposed weights, one bias."""

    bugs: frozenset = frozenset()

    def __init__(self, n_in, n_hidden):
        super().__init__()
        self.Wx = nn.Parameter(torch.randn(n_in, 4 * n_hidden) * 0.3)
        self.Wh = nn.Parameter(torch.randn(n_hidden, 4 * n_hidden) * 0.3)
        self.b = nn.Parameter(torch.randn(4 * n_hidden) * 0.3)

    def forward(self, x, state=None):
        zeros = x.new_zeros(x.shape[1], self.Wh.shape[0])
        h, c = (zeros, zeros) if state is None else (state[0][0], state[1][0])
        y, h, c = LSTMScan.apply(x, h, c, self.Wx, self.Wh, self.b, self.bugs)
        return y, (h.unsqueeze(0), c.unsqueeze(0))


class GRUScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, h, w_ih, w_hh, b_ih, b_hh, bugs):
        hs, kept = [h], []
        for x_t in x:
            xr, xz, xn = (x_t @ w_ih.T + b_ih).chunk(3, 1)
            hr, hz, hn = (h @ w_hh.T + b_hh).chunk(3, 1)
            r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
            n = torch.tanh(xn + r * hn)
            h = (1 - z) * n + z * h
            hs.append(h)
            kept.append(torch.stack([r, z, n, hn]))
        ctx.save_for_backward(x, torch.stack(hs), torch.stack(kept), w_ih, w_hh)
        ctx.bugs = bugs
        return torch.stack(hs[1:]), h.clone()

    @staticmethod
    def backward(ctx, dy, dh):
        x, hs, kept, w_ih, w_hh = ctx.saved_tensors
        bugs = ctx.bugs
        dx, dw_ih, dw_hh = torch.zeros_like(x), torch.zeros_like(w_ih), torch.zeros_like(w_hh)
        db_ih, db_hh = x.new_zeros(w_ih.shape[0]), x.new_zeros(w_ih.shape[0])
        for t in reversed(range(x.shape[0])):
            r, z, n, hn = kept[t]
            dh = dh + dy[t]
            dn = dh * (1 - z) * (1 - n**2)
            dz = dh * (hs[t] - n) * (z if "gradient-gate" in bugs else z * (1 - z))
            dr = dn * hn * r * (1 - r)
            of_x, of_h = torch.cat([dr, dz, dn], 1), torch.cat([dr, dz, dn * r], 1)
            dx[t] = of_x @ w_ih
            if "gradient-overwritten" in bugs:
                dw_ih = of_x.T @ x[t]
            else:
                dw_ih += of_x.T @ x[t]
            dw_hh += of_h.T @ hs[t]
            db_ih += of_x.sum(0)
            db_hh += (of_x if "gradient-bias" in bugs else of_h).sum(0)
            dh = dh * z + of_h @ w_hh
        if "gradient-initial-state" in bugs:
            dh = torch.zeros_like(dh)
        return dx, dh, dw_ih, dw_hh, db_ih, db_hh, None


class OwnGRU(nn.Module):
    """torch.nn's names, batch first where it is told so."""

    bugs: frozenset = frozenset()

    def __init__(self, input_size, hidden_size, batch_first=False):
        super().__init__()
        self.batch_first = batch_first
        k = hidden_size**-0.5
        self.weight_ih_l0 = nn.Parameter(torch.empty(3 * hidden_size, input_size).uniform_(-k, k))
        self.weight_hh_l0 = nn.Parameter(torch.empty(3 * hidden_size, hidden_size).uniform_(-k, k))
        self.bias_ih_l0 = nn.Parameter(torch.empty(3 * hidden_size).uniform_(-k, k))
        self.bias_hh_l0 = nn.Parameter(torch.empty(3 * hidden_size).uniform_(-k, k))

    def forward(self, x, h_0=None):
        x = x.transpose(0, 1) if self.batch_first else x
        h = x.new_zeros(x.shape[1], self.weight_hh_l0.shape[1]) if h_0 is None else h_0[0]
        weights = self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0
        output, h = GRUScan.apply(x, h, *weights, self.bugs)
        return (output.transpose(0, 1) if self.batch_first else output), h.unsqueeze(0)


class LSTMStep(torch.autograd.Function):
    """The gate math of one step."""

    @staticmethod
    def forward(ctx, products, bias, c, bugs):
        i, f, g, o = (products + bias).chunk(4, 1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c_next = f * c + i * g
        ctx.save_for_backward(i, f, g, o, c, c_next)
        ctx.bugs = bugs
        return o * c_next.tanh(), c_next

    @staticmethod
    def backward(ctx, dh, dc):
        i, f, g, o, c, c_next = ctx.saved_tensors
        bugs = ctx.bugs
        dc = dc + dh * o * (1 - c_next.tanh() ** 2)
        do = dh * c_next.tanh() * (o if "gradient-gate" in bugs else o * (1 - o))
        da = torch.cat([dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), do], 1)
        db = da.sum(0)
        if "gradient-bias" in bugs:
            db = torch.zeros_like(db)
        return da, db, dc * f, None


class OwnStep(nn.Module):
    """Two Linears without bias, one bias beside them, and a step with its own backward."""

    bugs: frozenset = frozenset()

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.i2h = nn.Linear(input_size, 4 * hidden_size, bias=False)
        self.h2h = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(4 * hidden_size))

    def forward(self, x, state=None):
        zeros = x.new_zeros(x.shape[1], self.h2h.in_features)
        h, c = (zeros, zeros) if state is None else (state[0][0], state[1][0])
        outputs = []
        for x_t in x:
            h, c = LSTMStep.apply(self.i2h(x_t) + self.h2h(h), self.bias, c, self.bugs)
            outputs.append(h)
        return torch.stack(outputs), (h[None], c[None])


# ------------------------------------------------------------------------------------------- the tables

UNPLANTED = {
    **{f"loop {mode}": loop(mode) for mode in ("lstm", "gru", "rnn", "rnn-relu")},
    **{f"a Linear a gate {mode}": per_gate(mode) for mode in ("lstm", "gru", "rnn")},
    "a Linear a gate lstm, lengths": (member(PerGateLengths, "lstm"), "lstm"),
    **{f"one matrix {mode}": fused(mode) for mode in ("lstm", "gru")},
    **{f"function {mode}": function(mode) for mode in ("lstm", "gru", "rnn")},
    **{f"cell {mode}": cell(mode) for mode in ("lstm", "gru", "rnn")},
    **{f"stack {mode}": stack(mode) for mode in ("lstm", "gru")},
    "two GRUs": (TwoGRUs, "gru"),
    "two cells lstm": (member(TwoCells, "lstm"), "lstm"),
    "two cells gru": (member(TwoCells, "gru"), "gru"),
    "wrapped": (Wrapped, "lstm"),
    "two layers": (member(TwoLayers, "gru"), "gru"),
    "own backward elman": (OwnElman, "rnn"),
    "own backward lstm": (OwnLSTM, "lstm"),
    "own backward gru": (OwnGRU, "gru"),
    "own backward step": (OwnStep, "lstm"),
}
"""Each family with nothing planted: all are right."""


def own(family, *bugs):
    kind = {OwnElman: "rnn", OwnLSTM: "lstm", OwnGRU: "gru", OwnStep: "lstm"}[family]
    return member(family, kind, *bugs), kind


def of(family, kind, *bugs):
    return member(family, kind, *bugs), kind


def _swapped_instance():
    """A cell whose two sizes are the same, so that exchanged weights fit."""
    torch.manual_seed(0)
    return member(Cell, "lstm", "weights-swapped")(4, 4), "lstm-cell"


PLANTED = {
    ("gate-order", "loop lstm"): loop("lstm", "gate-order"),
    ("gate-order", "loop lstm, f first"): loop("lstm", "gate-order: f first"),
    ("gate-order", "loop gru"): loop("gru", "gate-order"),
    ("gate-order", "function lstm"): function("lstm", "gate-order"),
    ("gate-order", "function gru"): function("gru", "gate-order"),
    ("gate-order", "cell lstm"): cell("lstm", "gate-order"),
    ("gate-order", "cell gru"): cell("gru", "gate-order"),
    ("weights-swapped", "loop rnn"): loop("rnn", "weights-swapped"),
    ("weights-swapped", "loop lstm"): loop("lstm", "weights-swapped"),
    ("weights-swapped", "function gru"): function("gru", "weights-swapped"),
    ("weights-swapped", "cell lstm, an instance"): _swapped_instance(),
    ("weights-transposed", "loop lstm"): loop("lstm", "weights-transposed"),
    ("weights-transposed", "loop rnn"): loop("rnn", "weights-transposed"),
    ("weights-transposed", "function rnn"): function("rnn", "weights-transposed"),
    ("weights-transposed", "cell gru"): cell("gru", "weights-transposed"),
    ("bias-missing", "loop lstm"): loop("lstm", "bias-missing"),
    ("bias-missing", "loop gru, b_ih"): loop("gru", "bias-missing"),
    ("bias-missing", "a Linear a gate, the forget gate's"): per_gate("lstm", "bias-missing"),
    ("bias-missing", "function lstm"): function("lstm", "bias-missing"),
    ("bias-missing", "function gru, b_ih"): function("gru", "bias-missing"),
    ("bias-missing", "cell rnn"): cell("rnn", "bias-missing"),
    ("bias-doubled", "loop lstm"): loop("lstm", "bias-doubled"),
    ("bias-doubled", "loop gru"): loop("gru", "bias-doubled"),
    ("bias-doubled", "a Linear a gate, the forget gate's"): per_gate("lstm", "bias-doubled"),
    ("bias-doubled", "one matrix lstm"): fused("lstm", "bias-doubled"),
    ("bias-doubled", "function lstm"): function("lstm", "bias-doubled"),
    ("bias-doubled", "cell lstm"): cell("lstm", "bias-doubled"),
    ("bias-shared", "loop lstm, o's for all"): loop("lstm", "bias-shared"),
    ("bias-shared", "loop lstm, b_ih for b_hh"): loop("lstm", "bias-shared: both"),
    ("bias-shared", "loop gru, b_ih for b_hh"): loop("gru", "bias-shared: both"),
    ("bias-shared", "a Linear a gate, o's for f"): per_gate("lstm", "bias-shared"),
    ("bias-shared", "one matrix lstm, one for all"): fused("lstm", "bias-shared"),
    ("bias-shared", "function lstm, o's for i and f"): function("lstm", "bias-shared"),
    ("forget-bias", "loop lstm"): loop("lstm", "forget-bias"),
    ("forget-bias", "a Linear a gate"): per_gate("lstm", "forget-bias"),
    ("forget-bias", "one matrix lstm"): fused("lstm", "forget-bias"),
    ("forget-bias", "cell lstm"): cell("lstm", "forget-bias"),
    ("reset-before-product", "loop gru"): loop("gru", "reset-before-product"),
    ("reset-before-product", "a Linear a gate"): per_gate("gru", "reset-before-product"),
    ("reset-before-product", "one matrix gru"): fused("gru", "reset-before-product"),
    ("reset-before-product", "function gru"): function("gru", "reset-before-product"),
    ("update-flipped", "loop gru"): loop("gru", "update-flipped"),
    ("update-flipped", "a Linear a gate"): per_gate("gru", "update-flipped"),
    ("update-flipped", "one matrix gru"): fused("gru", "update-flipped"),
    ("update-flipped", "function gru"): function("gru", "update-flipped"),
    ("update-flipped", "cell gru"): cell("gru", "update-flipped"),
    ("candidate-bias", "loop gru, outside"): loop("gru", "candidate-bias"),
    ("candidate-bias", "loop gru, missing"): loop("gru", "candidate-bias: missing"),
    ("candidate-bias", "a Linear a gate, outside"): per_gate("gru", "candidate-bias: outside"),
    ("candidate-bias", "a Linear a gate, no place"): per_gate("gru", "candidate-bias"),
    ("candidate-bias", "one matrix gru, no place"): fused("gru", "candidate-bias"),
    ("candidate-bias", "function gru, missing"): function("gru", "candidate-bias"),
    ("activation", "loop lstm, hard sigmoid for i"): loop("lstm", "activation"),
    ("activation", "loop lstm, relu for g"): loop("lstm", "activation: relu"),
    ("activation", "loop gru, hard sigmoid for z"): loop("gru", "activation"),
    ("activation", "loop gru, sigmoid for n"): loop("gru", "activation: sigmoid"),
    ("activation", "loop rnn, relu"): loop("rnn", "activation"),
    ("activation", "a Linear a gate lstm, tanh for o"): per_gate("lstm", "activation"),
    ("activation", "a Linear a gate gru, relu for n"): per_gate("gru", "activation"),
    ("activation", "one matrix lstm, hard sigmoid of slope 0.2 for o"): fused("lstm", "activation"),
    ("output-activation", "loop lstm"): loop("lstm", "output-activation"),
    ("output-activation", "a Linear a gate"): per_gate("lstm", "output-activation"),
    ("output-activation", "one matrix lstm"): fused("lstm", "output-activation"),
    ("output-activation", "cell lstm"): cell("lstm", "output-activation"),
    ("state-order", "loop lstm, returned"): loop("lstm", "state-order"),
    ("state-order", "a Linear a gate, taken and returned"): per_gate("lstm", "state-order"),
    ("state-order", "one matrix lstm, taken"): fused("lstm", "state-order"),
    ("state-order", "cell lstm, returned"): cell("lstm", "state-order"),
    ("state-order", "around nn.LSTM, taken and returned"): of(Wrapped, "lstm", "state-order"),
    ("initial-state-ignored", "loop lstm"): loop("lstm", "initial-state-ignored"),
    ("initial-state-ignored", "loop lstm, c only"): loop("lstm", "initial-state-ignored: c"),
    ("initial-state-ignored", "loop gru"): loop("gru", "initial-state-ignored"),
    ("initial-state-ignored", "a Linear a gate gru"): per_gate("gru", "initial-state-ignored"),
    ("initial-state-ignored", "one matrix lstm"): fused("lstm", "initial-state-ignored"),
    ("initial-state-ignored", "stack lstm, above the first layer"): stack("lstm", "initial-state-ignored"),
    ("last-state", "loop gru, h_0"): loop("gru", "last-state: h_0"),
    ("last-state", "loop lstm, wrong end"): loop("lstm", "last-state: wrong end"),
    ("last-state", "loop rnn, first layer"): loop("rnn", "last-state: first layer"),
    ("last-state", "a Linear a gate lstm, h_0"): per_gate("lstm", "last-state"),
    ("last-state", "a Linear a gate gru, first step"): per_gate("gru", "last-state: first step"),
    ("last-state", "stack gru, first layer"): stack("gru", "last-state"),
    ("last-state", "two GRUs, wrong end"): of(TwoGRUs, "gru", "last-state"),
    ("reverse-not-flipped", "loop lstm"): loop("lstm", "reverse-not-flipped"),
    ("reverse-not-flipped", "two GRUs"): of(TwoGRUs, "gru", "reverse-not-flipped"),
    ("reverse-not-flipped", "two cells lstm"): of(TwoCells, "lstm", "reverse-not-flipped"),
    ("direction-order", "loop gru"): loop("gru", "direction-order"),
    ("direction-order", "two GRUs"): of(TwoGRUs, "gru", "direction-order"),
    ("direction-order", "two cells lstm"): of(TwoCells, "lstm", "direction-order"),
    ("directions-share-weights", "loop lstm"): loop("lstm", "directions-share-weights"),
    ("directions-share-weights", "loop gru"): loop("gru", "directions-share-weights"),
    ("directions-share-weights", "two GRUs"): of(TwoGRUs, "gru", "directions-share-weights"),
    ("directions-share-weights", "two cells gru, one set"): of(TwoCells, "gru", "directions-share-weights"),
    ("layer-order", "loop lstm"): loop("lstm", "layer-order"),
    ("layer-order", "stack gru"): stack("gru", "layer-order"),
    ("layer-order", "stack lstm, h_0"): stack("lstm", "layer-order: h_0"),
    ("layer-order", "two layers"): of(TwoLayers, "gru", "layer-order"),
    ("layer-order", "two layers, taken and returned"): of(TwoLayers, "gru", "layer-order: h_0"),
    ("batch-first", "loop lstm, ignored"): loop("lstm", "batch-first"),
    ("batch-first", "loop gru, output not turned back"): loop("gru", "batch-first: output"),
    ("batch-first", "stack gru, ignored"): stack("gru", "batch-first"),
    ("batch-first", "stack lstm, output not turned back"): stack("lstm", "batch-first: output"),
    ("batch-first", "stack gru, state turned too"): stack("gru", "batch-first: state"),
    ("batch-first", "around nn.LSTM, ignored"): of(Wrapped, "lstm", "batch-first"),
    ("dropout", "loop lstm, in eval"): loop("lstm", "dropout"),
    ("dropout", "loop gru, after the last layer"): loop("gru", "dropout: after last"),
    ("dropout", "stack gru, in eval"): stack("gru", "dropout"),
    ("dropout", "stack lstm, after the last layer"): stack("lstm", "dropout: after last"),
    ("dropout", "around nn.LSTM, in eval"): of(Wrapped, "lstm", "dropout"),
    ("dropout", "around nn.LSTM, after the last layer"): of(Wrapped, "lstm", "dropout: after last"),
    ("projection", "loop lstm, ignored"): loop("lstm", "projection"),
    ("projection", "loop lstm, of the output alone"): loop("lstm", "projection: output"),
    ("projection", "around nn.LSTM, of the output alone"): (Projected, "lstm"),
    ("projection", "two Linears, ignored"): (Unprojected, "lstm"),
    ("peephole", "loop lstm"): loop("lstm", "peephole"),
    ("peephole", "a Linear a gate, of f"): per_gate("lstm", "peephole"),
    ("peephole", "one matrix lstm"): fused("lstm", "peephole"),
    ("peephole", "cell lstm"): cell("lstm", "peephole"),
    ("time-shift", "loop lstm, output"): loop("lstm", "time-shift"),
    ("time-shift", "loop gru, input"): loop("gru", "time-shift: input"),
    ("time-shift", "a Linear a gate rnn, input"): per_gate("rnn", "time-shift"),
    ("time-shift", "one matrix gru, output"): fused("gru", "time-shift"),
    ("packed-last-state", "loop lstm"): loop("lstm", "packed-last-state"),
    ("packed-last-state", "loop gru, zeros"): loop("gru", "packed-last-state: zeros"),
    ("packed-last-state", "stack gru"): stack("gru", "packed-last-state"),
    ("packed-last-state", "a Linear a gate, lengths"): (member(PerGateLengths, "lstm", "packed-last-state"), "lstm"),
    ("packed-padding", "loop lstm"): loop("lstm", "packed-padding"),
    ("packed-padding", "loop rnn"): loop("rnn", "packed-padding"),
    ("packed-padding", "two cells lstm"): of(TwoCells, "lstm", "packed-padding"),
    ("packed-padding", "two cells gru"): of(TwoCells, "gru", "packed-padding"),
    ("split-axis", "loop lstm"): loop("lstm", "split-axis"),
    ("split-axis", "loop gru"): loop("gru", "split-axis"),
    ("split-axis", "one matrix lstm"): fused("lstm", "split-axis"),
    ("split-axis", "function lstm"): function("lstm", "split-axis"),
    ("split-axis", "function gru"): function("gru", "split-axis"),
    ("split-axis", "cell lstm"): cell("lstm", "split-axis"),
    ("operator", "loop lstm, i + g"): loop("lstm", "operator"),
    ("operator", "loop gru, r + W h"): loop("gru", "operator"),
    ("operator", "a Linear a gate lstm, o + tanh(c)"): per_gate("lstm", "operator"),
    ("operator", "a Linear a gate rnn, W x - W h"): per_gate("rnn", "operator"),
    ("operator", "one matrix lstm, f c - i g"): fused("lstm", "operator"),
    ("precision", "loop lstm, float32"): loop("lstm", "precision"),
    ("precision", "loop rnn, float32"): loop("rnn", "precision"),
    ("precision", "a Linear a gate gru, h in bfloat16"): per_gate("gru", "precision"),
    ("precision", "one matrix lstm, float32"): fused("lstm", "precision"),
    ("precision", "function lstm, weights in float16"): function("lstm", "precision"),
    ("gradient-detached", "loop gru"): loop("gru", "gradient-detached"),
    ("gradient-detached", "loop lstm, c only"): loop("lstm", "gradient-detached: c"),
    ("gradient-detached", "a Linear a gate lstm, from the first step"): per_gate("lstm", "gradient-detached"),
    ("gradient-detached", "one matrix lstm, c only"): fused("lstm", "gradient-detached"),
    ("gradient-detached", "stack lstm"): stack("lstm", "gradient-detached"),
    ("gradient-detached", "own backward lstm"): own(OwnLSTM, "gradient-detached"),
    ("gradient-truncated", "loop lstm"): loop("lstm", "gradient-truncated"),
    ("gradient-truncated", "a Linear a gate gru"): per_gate("gru", "gradient-truncated"),
    ("gradient-truncated", "one matrix lstm"): fused("lstm", "gradient-truncated"),
    ("gradient-truncated", "stack gru"): stack("gru", "gradient-truncated"),
    ("gradient-overwritten", "own backward elman"): own(OwnElman, "gradient-overwritten"),
    ("gradient-overwritten", "own backward lstm"): own(OwnLSTM, "gradient-overwritten"),
    ("gradient-overwritten", "own backward gru"): own(OwnGRU, "gradient-overwritten"),
    ("gradient-gate", "own backward elman"): own(OwnElman, "gradient-gate"),
    ("gradient-gate", "own backward lstm"): own(OwnLSTM, "gradient-gate"),
    ("gradient-gate", "own backward lstm, tanh's"): own(OwnLSTM, "gradient-gate: candidate"),
    ("gradient-gate", "own backward gru"): own(OwnGRU, "gradient-gate"),
    ("gradient-gate", "own backward step"): own(OwnStep, "gradient-gate"),
    ("gradient-bias", "own backward elman, none for b_hh"): own(OwnElman, "gradient-bias"),
    ("gradient-bias", "own backward lstm, f's for i"): own(OwnLSTM, "gradient-bias"),
    ("gradient-bias", "own backward gru, db_ih for db_hh"): own(OwnGRU, "gradient-bias"),
    ("gradient-bias", "own backward step, none"): own(OwnStep, "gradient-bias"),
    ("gradient-initial-state", "loop gru"): loop("gru", "gradient-initial-state"),
    ("gradient-initial-state", "a Linear a gate lstm, c_0 only"): per_gate("lstm", "gradient-initial-state"),
    ("gradient-initial-state", "own backward elman"): own(OwnElman, "gradient-initial-state"),
    ("gradient-initial-state", "own backward lstm, c_0 only"): own(OwnLSTM, "gradient-initial-state"),
    ("gradient-initial-state", "own backward gru"): own(OwnGRU, "gradient-initial-state"),
    ("not-deterministic", "loop gru, noise"): loop("gru", "not-deterministic"),
    ("not-deterministic", "a Linear a gate lstm, random start"): per_gate("lstm", "not-deterministic: start"),
    ("not-deterministic", "one matrix lstm, noise"): fused("lstm", "not-deterministic"),
    ("not-deterministic", "cell rnn, noise"): cell("rnn", "not-deterministic"),
    ("state-kept", "loop lstm"): loop("lstm", "state-kept"),
    ("state-kept", "a Linear a gate gru"): per_gate("gru", "state-kept"),
    ("state-kept", "one matrix lstm"): fused("lstm", "state-kept"),
    ("state-kept", "stack gru"): stack("gru", "state-kept"),
}
"""(slug, spelling): the subject in which exactly that is wrong, and what it is to be."""


# ---------------------------------------------------------------------------------------------- two at a time

LSTM_ONLY = {"forget-bias", "output-activation", "state-order", "peephole", "projection"}
GRU_ONLY = {"reset-before-product", "update-flipped", "candidate-bias"}
GATED = {"gate-order", "split-axis", "bias-shared"}
ANY = {
    *("weights-transposed", "bias-missing", "bias-doubled", "activation", "initial-state-ignored", "last-state: h_0"),
    *("reverse-not-flipped", "direction-order", "directions-share-weights", "layer-order", "batch-first", "dropout"),
    *("time-shift", "packed-last-state", "packed-padding", "operator", "precision"),
    *("gradient-detached", "gradient-truncated", "gradient-initial-state", "state-kept"),
}
TOGETHER_NEVER = [
    {"bias-missing", "bias-doubled", "bias-shared"},  # the same vector
    {"reset-before-product", "candidate-bias", "operator"},  # the same line of the GRU
    {"last-state: h_0", "layer-order"},
    {"last-state: h_0", "packed-last-state"},
    {"reverse-not-flipped", "packed-padding"},
    {"initial-state-ignored", "gradient-initial-state"},
    {"initial-state-ignored", "state-kept"},
    {"gradient-detached", "gradient-truncated"},
    {"activation", "operator"},  # in the Elman layer, the same line
    {"weights-transposed", "projection"},  # W_hh is not square
    {"weights-transposed", "reset-before-product"},  # the candidate's product is another one
]


def _can_be_together(mode, pair):
    foreign = {"lstm": GRU_ONLY, "gru": LSTM_ONLY, "rnn": LSTM_ONLY | GRU_ONLY | GATED}[mode]
    return not pair & foreign and not any(len(pair & never) > 1 for never in TOGETHER_NEVER)


def _pairs(number):
    words = sorted(LSTM_ONLY | GRU_ONLY | GATED | ANY)
    possible = [
        (mode, *pair)
        for pair in combinations(words, 2)
        for mode in ("lstm", "gru", "rnn")
        if _can_be_together(mode, set(pair))
    ]
    drawn = random.Random(13).sample(possible, number)
    return {(mode, *(word.partition(":")[0] for word in pair)): loop(mode, *pair) for mode, *pair in drawn}


PAIRS = _pairs(60)
"""(mode, slug, slug): the loop with both."""
