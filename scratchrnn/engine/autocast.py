"""Autocast on the device of a tensor: inside a scan it is off."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)


_NOTHING: AbstractContextManager[Any] = nullcontext()
LOWERED = (*HALF, torch.float32)  # what autocast rounds: it leaves float64 and complex alone


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype to which autocast rounds `x` on its device, None where it is off or leaves it alone."""
    if not torch._C._is_any_autocast_enabled():
        return None
    device = x.device.type
    if x.dtype in LOWERED and device != "meta" and torch.is_autocast_enabled(device):  # meta raises when asked
        return torch.get_autocast_dtype(device)
    return None


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """No autocast on `x`'s device inside."""
    return _NOTHING if autocast_dtype(x) is None else torch.autocast(x.device.type, enabled=False)
