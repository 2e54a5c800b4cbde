"""The dtypes of one call: all the same, but for half precision and under autocast."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..cells.cell import State
from ..engine.autocast import HALF, LOWERED, autocast_dtype


class Precision(NamedTuple):
    """bfloat16 and float16 are computed in float32 and rounded once for each layer."""

    operand: torch.dtype  # what inputs and weights are rounded to
    compute: torch.dtype  # what the engine computes in
    emitted: torch.dtype  # of output and h_n
    further: torch.dtype  # of the further states

    def enter(self, x: Tensor) -> Tensor:
        return cast(cast(x, self.operand), self.compute)

    def leave(self, state: State) -> State:
        return cast(state[0], self.emitted), *[cast(s, self.further) for s in state[1:]]


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x.to(dtype)`; where it has that dtype the comparison takes a tenth of the time of the call."""
    return x if x.dtype is dtype else x.to(dtype)


def precision(x: Tensor, added: torch.dtype | None, projected: bool) -> Precision | None:
    """The dtypes for input `x`, None where all is computed as it comes; under autocast those that torch.nn returns.

    Autocast rounds products to its dtype, and torch.nn's loops on the CPU add them to a state as it came: the sum has
    the wider dtype of the two. Fused kernels, cuDNN's and oneDNN's, round all.

    Args:
        added: the dtype of the state to which products are added, None where there is none or the kernel is fused.
        projected: what is emitted is a product again.
    """
    operand = autocast_dtype(x)
    if operand is None:
        return Precision(x.dtype, torch.float32, x.dtype, x.dtype) if x.dtype in HALF else None
    further = operand if added is None or x.device.type != "cpu" else torch.promote_types(operand, added)
    return Precision(operand, torch.float32, operand if projected else further, further)


def agree(x: Tensor, other: Tensor) -> bool:
    """Whether both have one dtype, or autocast rounds both to its own."""
    return other.dtype == x.dtype or (other.dtype in LOWERED and autocast_dtype(x) is not None)


def lowered(x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the dtype of autocast on `x`'s device, as a product is that has been computed there."""
    dtype = autocast_dtype(x)
    return tensors if dtype is None else tuple(t.to(dtype) for t in tensors)
