"""The dtypes of one call: all the same, but for half precision and under autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

_HALF = (torch.bfloat16, torch.float16)


class Precision(NamedTuple):
    """bfloat16 and float16 are computed in float32 and rounded once for each layer."""

    operand: torch.dtype  # what inputs and weights are rounded to
    compute: torch.dtype  # what the engine computes in
    emitted: torch.dtype  # of output and h_n
    carried: torch.dtype  # of the further states

    def enter(self, x: Tensor) -> Tensor:
        return x.to(self.operand).to(self.compute)


def precision(x: Tensor, float32_state: bool, float32_carried: bool) -> Precision:
    """The dtypes for input `x`; under autocast those that torch.nn's layers return.

    Args:
        float32_state: the states stay float32 under autocast (torch.nn's GRU).
        float32_carried: the states after the first do (torch.nn's LSTM with a projection).

    Raises:
        RuntimeError: a float64 input under autocast.
    """
    operand = autocast_dtype(x)
    if operand is None:
        return Precision(x.dtype, torch.float32 if x.dtype in _HALF else x.dtype, x.dtype, x.dtype)
    if x.dtype == torch.float64:
        raise RuntimeError("Expected an input of at most float32 precision under autocast, got torch.float64")
    emitted = torch.float32 if float32_state else operand
    return Precision(operand, torch.float32, emitted, torch.float32 if float32_carried else emitted)


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype of autocast on `x`'s device, None where it is off."""
    device = x.device.type
    if device != "meta" and torch.is_autocast_enabled(device):  # meta has no autocast, and raises when asked
        return torch.get_autocast_dtype(device)
    return None


def lowered(x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the dtype of autocast on `x`'s device, as a product is that has been computed there."""
    dtype = autocast_dtype(x)
    return tensors if dtype is None else tuple(t.to(dtype) for t in tensors)


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """No autocast on `x`'s device inside."""
    return nullcontext() if autocast_dtype(x) is None else torch.autocast(x.device.type, enabled=False)
