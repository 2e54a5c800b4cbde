"""What a module is called where a model is printed."""

from __future__ import annotations

from torch import nn

_PACKAGE = __package__.partition(".")[0]


def name_of(module: nn.Module) -> str:
    """`scratchrnn.LSTM`, beside torch.nn's `LSTM`; a class derived from one of ours has its own name alone."""
    kind = type(module)
    return f"{_PACKAGE}.{kind.__name__}" if kind.__module__.partition(".")[0] == _PACKAGE else kind.__name__
