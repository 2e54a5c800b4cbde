"""Layers that are wrong in a way of their own: no known cause may be named for them."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class LSTM(nn.Module):
    """Right, with torch.nn's names, and with places to go wrong in."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        k = hidden_size**-0.5
        self.hidden_size = hidden_size
        self.weight_ih_l0 = nn.Parameter(torch.empty(4 * hidden_size, input_size).uniform_(-k, k))
        self.weight_hh_l0 = nn.Parameter(torch.empty(4 * hidden_size, hidden_size).uniform_(-k, k))
        self.bias_ih_l0 = nn.Parameter(torch.empty(4 * hidden_size).uniform_(-k, k))
        self.bias_hh_l0 = nn.Parameter(torch.empty(4 * hidden_size).uniform_(-k, k))

    def of_input(self, x):
        return F.linear(x, self.weight_ih_l0, self.bias_ih_l0)

    def of_hidden(self, h):
        return F.linear(h, self.weight_hh_l0, self.bias_hh_l0)

    def sums(self, x, h):
        return self.of_input(x) + self.of_hidden(h)

    def gates(self, x, h):
        i, f, g, o = self.sums(x, h).chunk(4, 1)
        return i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()

    def cell_state(self, i, f, g, c):
        return f * c + i * g

    def hidden_state(self, o, c, h, x):
        return o * c.tanh()

    def emitted(self, outputs):
        return torch.stack(outputs)

    def forward(self, x, state=None):
        zeros = x.new_zeros(x.shape[1], self.hidden_size)
        h, c = (zeros, zeros) if state is None else (state[0][0], state[1][0])
        outputs = []
        for x_t in x:
            i, f, g, o = self.gates(x_t, h)
            c = self.cell_state(i, f, g, c)
            h = self.hidden_state(o, c, h, x_t)
            outputs.append(h)
        return self.emitted(outputs), (h.unsqueeze(0), c.unsqueeze(0))


class GRU(nn.Module):
    """Right, with torch.nn's names, and with places to go wrong in."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        k = hidden_size**-0.5
        self.hidden_size = hidden_size
        self.weight_ih_l0 = nn.Parameter(torch.empty(3 * hidden_size, input_size).uniform_(-k, k))
        self.weight_hh_l0 = nn.Parameter(torch.empty(3 * hidden_size, hidden_size).uniform_(-k, k))
        self.bias_ih_l0 = nn.Parameter(torch.empty(3 * hidden_size).uniform_(-k, k))
        self.bias_hh_l0 = nn.Parameter(torch.empty(3 * hidden_size).uniform_(-k, k))

    def gates(self, x, h):
        of_x = F.linear(x, self.weight_ih_l0, self.bias_ih_l0).chunk(3, 1)
        of_h = F.linear(h, self.weight_hh_l0, self.bias_hh_l0).chunk(3, 1)
        r, z = (of_x[0] + of_h[0]).sigmoid(), (of_x[1] + of_h[1]).sigmoid()
        return r, z, self.candidate(of_x[2], r, z, of_h[2])

    def candidate(self, of_x, r, z, of_h):
        return (of_x + r * of_h).tanh()

    def hidden_state(self, r, z, n, h):
        return (1 - z) * n + z * h

    def forward(self, x, state=None):
        h = x.new_zeros(x.shape[1], self.hidden_size) if state is None else state[0]
        outputs = []
        for x_t in x:
            r, z, n = self.gates(x_t, h)
            h = self.hidden_state(r, z, n, h)
            outputs.append(h)
        return torch.stack(outputs), h.unsqueeze(0)


class Elman(nn.Module):
    """Right, with Linears, and with places to go wrong in."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.i2h = nn.Linear(input_size, hidden_size)
        self.h2h = nn.Linear(hidden_size, hidden_size)

    def step(self, x, h, before):
        return torch.tanh(self.i2h(x) + self.h2h(h))

    def forward(self, x, state=None):
        h = x.new_zeros(x.shape[1], self.hidden_size) if state is None else state[0]
        before = h
        outputs = []
        for x_t in x:
            h, before = self.step(x_t, h, before), h
            outputs.append(h)
        return torch.stack(outputs), h.unsqueeze(0)


class ClippedCell(LSTM):
    def cell_state(self, i, f, g, c):
        return (f * c + i * g).clamp(-0.15, 0.15)


class CellWithinOne(LSTM):
    def cell_state(self, i, f, g, c):
        return torch.tanh(f * c + i * g)


class Averaged(LSTM):
    def hidden_state(self, o, c, h, x):
        return 0.9 * o * c.tanh() + 0.1 * h


class ForgetOfInput(LSTM):
    """The forget gate is computed from the input gate."""

    def gates(self, x, h):
        i, f, g, o = self.sums(x, h).chunk(4, 1)
        i = i.sigmoid()
        return i, (f * i).sigmoid(), g.tanh(), o.sigmoid()


class Coupled(LSTM):
    def cell_state(self, i, f, g, c):
        return f * c + (1 - f) * g


class NonlinearInput(LSTM):
    def of_input(self, x):
        return torch.tanh(super().of_input(x))


class ScaledInput(LSTM):
    def of_input(self, x):
        return super().of_input(2 * x)


class AbsoluteInput(LSTM):
    def of_input(self, x):
        return super().of_input(x.abs())


class NormalizedInput(LSTM):
    """The features of an input vector are centred first."""

    def of_input(self, x):
        return super().of_input(x - x.mean(-1, keepdim=True))


class Normalized(LSTM):
    def sums(self, x, h):
        return F.layer_norm(super().sums(x, h), (4 * self.hidden_size,))


class BatchNormalized(LSTM):
    def sums(self, x, h):
        sums = super().sums(x, h)
        return sums - 0.5 * sums.mean(0)


class NextUnit(LSTM):
    """Each unit reads its neighbour's cell state."""

    def cell_state(self, i, f, g, c):
        return f * c.roll(1, -1) + i * g


class LastUnitLost(LSTM):
    def hidden_state(self, o, c, h, x):
        h = o * c.tanh()
        return torch.cat([h[:, :-1], torch.zeros_like(h[:, -1:])], 1)


class LastFeatureLost(LSTM):
    def of_input(self, x):
        return F.linear(x[:, :-1], self.weight_ih_l0[:, :-1], self.bias_ih_l0)


class Masked(LSTM):
    """One mask for ever, not drawn anew."""

    def of_hidden(self, h):
        mask = torch.ones_like(h)
        mask[:, ::3] = 0
        return super().of_hidden(h * mask)


class Squared(LSTM):
    def cell_state(self, i, f, g, c):
        return f * c + i**2 * g


class Mixed(LSTM):
    """Each unit's cell state takes from the mean of all units."""

    def cell_state(self, i, f, g, c):
        return f * c + i * g + 0.2 * c.mean(1, keepdim=True)


class Sharp(LSTM):
    """Gates at a temperature."""

    def gates(self, x, h):
        i, f, g, o = self.sums(x, h).chunk(4, 1)
        return (1.7 * i).sigmoid(), (1.7 * f).sigmoid(), g.tanh(), (1.7 * o).sigmoid()


class Softmaxed(LSTM):
    """The input gate's units sum to one."""

    def gates(self, x, h):
        i, f, g, o = self.sums(x, h).chunk(4, 1)
        return i.softmax(1), f.sigmoid(), g.tanh(), o.sigmoid()


class Skipping(LSTM):
    """The input is added to the output."""

    def hidden_state(self, o, c, h, x):
        return o * c.tanh() + x.mean(1, keepdim=True)


class Cumulative(LSTM):
    """The output is the mean of all hidden states so far."""

    def emitted(self, outputs):
        steps = torch.arange(1, len(outputs) + 1).view(-1, 1, 1)
        return torch.stack(outputs).cumsum(0) / steps


class FadingOutput(LSTM):
    def emitted(self, outputs):
        return torch.stack([0.9**t * h for t, h in enumerate(outputs)])


class UnitLength(LSTM):
    def hidden_state(self, o, c, h, x):
        return F.normalize(o * c.tanh(), dim=1)


class HalfGradient(LSTM):
    """Forward is right; the gradient of each hidden state is halved."""

    def hidden_state(self, o, c, h, x):
        h = o * c.tanh()
        return 0.5 * h + 0.5 * h.detach()


class UpdateInReset(GRU):
    def candidate(self, of_x, r, z, of_h):
        return (of_x + z * of_h).tanh()


class ResetTwice(GRU):
    def candidate(self, of_x, r, z, of_h):
        return (of_x + r * r * of_h).tanh()


class ResetInState(GRU):
    def hidden_state(self, r, z, n, h):
        return (1 - z) * n + z * (r * h)


class Unbalanced(GRU):
    """z and 1 - z do not sum to one."""

    def hidden_state(self, r, z, n, h):
        return (1 - z**2) * n + z * h


class ResetOfWholeCandidate(GRU):
    def candidate(self, of_x, r, z, of_h):
        return (r * (of_x + of_h)).tanh()


class Leaky(Elman):
    def step(self, x, h, before):
        return 0.7 * super().step(x, h, before) + 0.3 * h


class TwoStepsBack(Elman):
    """Recurs from the hidden state before the last."""

    def step(self, x, h, before):
        return torch.tanh(self.i2h(x) + self.h2h(before))


class TwiceThrough(Elman):
    def step(self, x, h, before):
        return torch.tanh(self.i2h(x) + self.h2h(torch.tanh(self.h2h(h))))


class SortedUnits(Elman):
    def step(self, x, h, before):
        return torch.tanh(self.i2h(x) + self.h2h(h)).sort(1).values


class ResidualStack(nn.Module):
    """Right with one layer; above it, each layer's input is added to its output."""

    def __init__(self, input_size, hidden_size, num_layers=1):
        super().__init__()
        sizes = [input_size] + [hidden_size] * (num_layers - 1)
        self.layers = nn.ModuleList([nn.GRU(size, hidden_size) for size in sizes])

    def forward(self, x, h_0=None):
        last = []
        for k, layer in enumerate(self.layers):
            y, h = layer(x, None if h_0 is None else h_0[k : k + 1])
            x = y if k == 0 else x + y
            last.append(h)
        return x, torch.cat(last)


class MeanOfDirections(nn.Module):
    """The second half of the output is the mean of both directions."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.fwd, self.bwd = nn.GRU(input_size, hidden_size), nn.GRU(input_size, hidden_size)

    def forward(self, x):
        there, h_there = self.fwd(x)
        back, h_back = self.bwd(x.flip(0))
        return torch.cat([there, (there + back.flip(0)) / 2], -1), torch.cat([h_there, h_back])


RIGHT = {"LSTM": (LSTM, "lstm"), "GRU": (GRU, "gru"), "Elman": (Elman, "rnn")}
"""What the wrong ones depart from."""

WRONG = {
    name: (subject, kind)
    for base, kind in ((LSTM, "lstm"), (GRU, "gru"), (Elman, "rnn"))
    for name, subject in ((each.__name__, each) for each in base.__subclasses__())
}
WRONG |= {"ResidualStack": (ResidualStack, "gru"), "MeanOfDirections": (MeanOfDirections, "gru")}
"""name: the subject, and what it is to be."""


# ------------------------------------------------------------------------------------- not even to be judged

_RIGHT = """
import torch
from torch import nn


class Layer(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size)

    def forward(self, x, state=None):
"""

BROKEN = {
    "raises when it is made": (
        "class Layer:\n    def __init__(self, i, h):\n        raise RuntimeError('no such device: abacus')\n",
        "no such device: abacus",
    ),
    "raises when it is called": (_RIGHT + "        raise KeyError('mask')\n", "mask"),
    "raises when it is imported": ("raise OSError('weights.bin is missing')\n", "weights.bin is missing"),
    "raises in its backward pass": (
        """
import torch
from torch import nn


class Same(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, dx):
        raise ArithmeticError("dx is too large")


class Layer(nn.LSTM):
    def forward(self, x, state=None):
        y, state = super().forward(x, state)
        return Same.apply(y), state
""",
        "dx is too large",
    ),
    "returns nan": (
        _RIGHT + "        y, state = self.lstm(x, state)\n        return y * float('nan'), state\n",
        "(?i)nan|finite",
    ),
    "returns a string": (_RIGHT + "        return 'done'\n", "str"),
    "returns nothing": (_RIGHT + "        self.lstm(x, state)\n", "None"),
    "returns another shape": (
        _RIGHT + "        y, state = self.lstm(x, state)\n        return y.sum(-1), state\n",
        "(?i)shape|\\[5, 2\\]|\\(5, 2\\)",
    ),
    "wants arguments that nobody can guess": (
        "class Layer:\n    def __init__(self, vocabulary, tags, width):\n        self.tags = tags[vocabulary]\n",
        "vocabulary",
    ),
    "is called with arguments that nobody can guess": (
        _RIGHT.replace("x, state=None", "tokens, memory, mask") + "        return self.lstm(memory[mask][tokens])\n",
        "memory|mask",
    ),
    "has no parameters": (
        "class Layer:\n    def __init__(self, i, h):\n        self.h = h\n\n"
        "    def __call__(self, x):\n        return x.sum(-1, keepdim=True).expand(-1, -1, self.h)\n",
        "parameter|weight",
    ),
    "has parameters of no known layout": (
        "import torch\nfrom torch import nn\n\n\nclass Layer(nn.Module):\n"
        "    def __init__(self, i, h):\n        super().__init__()\n"
        "        self.core = nn.Parameter(torch.randn(7, 11, h))\n\n"
        "    def forward(self, x):\n        return x.mean(-1, keepdim=True) + self.core.mean((0, 1))\n",
        "core|load_weights",
    ),
    "is no layer": ("Layer = 3\n", "int"),
    "is not there": ("class Other:\n    pass\n", "Layer"),
    "cannot be parsed": ("class Layer(:\n", "(?i)syntax"),
}
"""What of it: a file with a `Layer` that is to be an LSTM, and a pattern of what the message should say."""

LETHAL = {
    "hangs when it is called": (_RIGHT + "        while True:\n            pass\n", "(?i)limit|seconds"),
    "hangs when it is imported": ("import time\n\ntime.sleep(1e6)\n", "(?i)limit|seconds"),
    "exits": (_RIGHT + "        import sys\n\n        sys.exit(0)\n", "(?i)exit"),
    "exits when it is imported": ("import sys\n\nsys.exit('goodbye')\n", "(?i)exit"),
    "leaves the interpreter": (_RIGHT + "        import os\n\n        os._exit(0)\n", "(?i)exit|left|ended"),
    "dies of a signal": (
        _RIGHT + "        import os, signal\n\n        os.kill(os.getpid(), signal.SIGKILL)\n",
        "(?i)signal|killed|died",
    ),
}
"""The same, but no process that wants to live runs them itself."""

HARMLESS = {
    "prints": _RIGHT + "        print('x', x.shape)\n        return self.lstm(x, state)\n",
    "prints behind Python's back": _RIGHT
    + """
        import os

        os.write(1, b"hello")
        return self.lstm(x, state)
""",
    "changes the default dtype": _RIGHT
    + """
        torch.set_default_dtype(torch.float16)
        return self.lstm(x, state)
""",
    "seeds": _RIGHT + "        torch.manual_seed(5)\n        return self.lstm(x, state)\n",
    "changes its first argument": _RIGHT
    + """
        y, state = self.lstm(x.clone(), state)
        with torch.no_grad():
            x.zero_()
        return y, state
""",
}
"""Right, with manners of its own: a file with a `Layer`."""
