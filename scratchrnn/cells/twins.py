"""The cells that torch.nn has too, by the names that it calls them."""

from __future__ import annotations

from .elman import elman, elman_relu
from .gru import gru
from .lstm import lstm

BUILT_IN = {cell.name: cell for cell in (elman, elman_relu, lstm, gru)}
