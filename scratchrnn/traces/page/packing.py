"""Numbers as text in a page: 16 bits each, on a scale of its own for each unit."""

from __future__ import annotations

import base64
from typing import Any

import torch
from torch import Tensor

STEPS = 65531
"""Of a unit's scale from its least to its largest number: what is shown departs by half a step at most."""
_NAN, _INF, _MINUS_INF = 65533, 65534, 65535


def packed(tensor: Tensor) -> dict[str, Any]:
    """[N, units] as the page's `unpacked` reads it: of each unit the least number, the length of a step, the counts.

    0 is on the scale wherever it lies between the least and the largest, so that what is 0 is shown as 0.
    """
    values = tensor.detach().cpu().double()
    finite = values.isfinite()
    least = values.where(finite, torch.inf).amin(0).nan_to_num(0.0, 0.0, 0.0)
    most = values.where(finite, -torch.inf).amax(0).nan_to_num(0.0, 0.0, 0.0)
    step = _float32((most - least) / STEPS)
    across = (least < 0) & (most > 0)
    low = _float32(torch.where(across, (least / step).floor() * step, least))
    codes = ((values - low) / torch.where(step > 0, step, 1.0)).round().clamp(0, STEPS + 1)
    codes = codes.where(finite, torch.where(values.isnan(), _NAN, torch.where(values > 0, _INF, _MINUS_INF)))
    return {
        "units": tensor.shape[1],
        "low": floats(low),
        "step": floats(step),
        "codes": _base64(codes.to(torch.int32).numpy().astype("<u2").tobytes()),
    }


def floats(tensor: Tensor) -> str:
    """As float32, for what is not many numbers."""
    return _base64(tensor.detach().cpu().float().contiguous().numpy().astype("<f4").tobytes())


def _float32(tensor: Tensor) -> Tensor:
    """As the page has it."""
    return tensor.float().double()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
