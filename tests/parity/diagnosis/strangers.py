"""Layers that a stranger wrote to see a diagnosis fail, and at which it did: right ones, and wrong ones."""

import torch
from torch import nn


class TwoLayers(nn.Module):
    """As many layers as an LSTM has states: a pair for each layer could be taken for the two states."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.lstm1, self.lstm2 = nn.LSTMCell(input_size, hidden_size), nn.LSTMCell(hidden_size, hidden_size)

    def forward(self, x, states=None):
        z = x.new_zeros(x.size(1), self.hidden_size)
        (h1, c1), (h2, c2) = states if states is not None else ((z, z), (z, z))
        output = []
        for x_t in x:
            h1, c1 = self.lstm1(x_t, (h1, c1))
            h2, c2 = self.lstm2(h1, (h2, c2))
            output.append(h2)
        return torch.stack(output), ((h1, c1), (h2, c2))


class Stacked(nn.Module):
    """Names that say the layer by a number, and no side but a letter: U is of x and W of h, as in some books."""

    names = ("U", "W")

    def __init__(self, input_size, hidden_size, num_layers=1):
        super().__init__()
        of_x, of_h = self.names
        widths = [input_size] + [hidden_size] * (num_layers - 1)
        setattr(self, of_x, nn.ParameterList([nn.Parameter(torch.randn(hidden_size, n)) for n in widths]))
        setattr(self, of_h, nn.ParameterList([nn.Parameter(torch.randn(hidden_size, hidden_size)) for _ in widths]))
        self.b = nn.ParameterList([nn.Parameter(torch.randn(hidden_size)) for _ in widths])

    def forward(self, x, h_0=None):
        last = []
        of_x, of_h = (getattr(self, name) for name in self.names)
        for k, (U, W, b) in enumerate(zip(of_x, of_h, self.b, strict=True)):
            h, output = x.new_zeros(x.size(1), len(b)) if h_0 is None else h_0[k], []
            for x_t in x:
                h = torch.tanh(b + h @ W.T + x_t @ U.T)
                output.append(h)
            x = torch.stack(output)
            last.append(h)
        return x, torch.stack(last)


class LettersOnly(Stacked):
    names = ("A", "B")


class CarryFirst(nn.Module):
    """A cell as JAX has it: the carry first, in what is returned too."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.cell = nn.LSTMCell(input_size, hidden_size)

    def forward(self, carry, inputs):
        h, c = self.cell(inputs, carry)
        return (h, c), h


RIGHT = {
    "two layers, a pair of states for each": (TwoLayers, "lstm"),
    "U is of x and W of h, stacked": (Stacked, "rnn"),
    "letters that say nothing, stacked": (LettersOnly, "rnn"),
    "U is of x and W of h, both square": (Stacked(4, 4), "rnn"),
    "the carry first": (CarryFirst, "lstm-cell"),
}


class LengthsIgnored(nn.Module):
    """It takes a PackedSequence, too, and is right there."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.gru = nn.GRU(input_size, hidden_size)

    def forward(self, x, lengths=None):
        return self.gru(x)


class NoGradient(nn.LSTM):
    @torch.no_grad()
    def forward(self, *given):
        return super().forward(*given)


class Cells(nn.Module):
    """A loop over torch.nn's cell, batch first, in which one thing is wrong."""

    wrong = ""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.cell, self.hidden_size = nn.GRUCell(input_size, hidden_size), hidden_size

    def forward(self, x, h=None):
        h, output = x.new_zeros(x.size(0), self.hidden_size) if h is None else h[0], []
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
            output.append(h)
            if self.wrong == "truncated" and t % 2 == 1:
                h = h.detach()
        output = torch.stack(output)
        return output.view(x.size(0), x.size(1), -1) if self.wrong == "viewed" else output.transpose(0, 1), h[None]


class Truncated(Cells):
    wrong = "truncated"


class Viewed(Cells):
    wrong = "viewed"


WRONG = {
    "lengths ignored beside a right PackedSequence": (LengthsIgnored, "gru", "packed-padding"),
    "under no_grad": (NoGradient, "lstm", "gradient-detached"),
    "detached behind every second step": (Truncated, "gru", "gradient-truncated"),
    "viewed, not transposed": (Viewed, "gru", "batch-first"),
}
