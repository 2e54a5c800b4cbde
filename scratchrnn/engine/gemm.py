"""The product with one large matrix at every step, by the faster of two libraries.

`torch.addmm` on the CPU is MKL's, which arranges the matrix anew in each call: with few rows that costs more than the
product. The linear layer of oneDNN, which PyTorch's own compiler calls, takes it arranged once. It is reached by
private operators, all of them here; they are tried once, and where they are missing or wrong, MKL does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

_TERMS = 384  # of one sum: oneDNN adds them one by one, and of longer sums it loses more to rounding than MKL does
_LEAST_PART = 1 << 18  # entries of W in such a sum, on average: a smaller matrix stays in the cache, and MKL is as fast
_LEAST_ROWS = 4  # of one product
_LEAST_STEPS = 16  # fewer products do not make up for the arranging


def multiplier(W: Tensor, rows: int, steps: int) -> Callable[[Tensor], Tensor] | None:
    """x -> x @ W.T by oneDNN, for `steps` products with x [up to `rows`, in]; None where MKL is as good or must do it.

    W is [out, in]; its values are copied.
    """
    parts = -(-W.shape[1] // _TERMS)
    if rows < _LEAST_ROWS or steps < _LEAST_STEPS or W.numel() < parts * _LEAST_PART or not (_fits(W) and _works()):
        return None
    packed = [torch.ops.mkldnn._reorder_linear_weight(part.contiguous(), rows) for part in W.detach().split(_TERMS, 1)]

    def product(x: Tensor) -> Tensor:
        first, *others = x.split(_TERMS, 1)
        total: Tensor = torch.ops.mkldnn._linear_pointwise(first, packed[0], None, "none", [], "")
        for part, W_part in zip(others, packed[1:], strict=True):
            total = torch.ops.mkldnn._linear_pointwise.binary(part, total, W_part, None, "add")
        return total

    return product


def _fits(W: Tensor) -> bool:
    plain = type(W) in (Tensor, nn.Parameter) and W.device.type == "cpu" and W.dtype == torch.float32
    backend: Any = torch.backends.mkldnn
    return plain and backend.is_available() and bool(backend.enabled)


@cache
def _works() -> bool:
    """Whether the private operators are there and multiply rightly."""
    x, W, other = torch.arange(12.0).view(3, 4), torch.arange(20.0).view(5, 4), torch.arange(15.0).view(3, 5)
    linear = torch.ops.mkldnn
    try:
        packed = linear._reorder_linear_weight(W, 3)
        alone = linear._linear_pointwise(x, packed, None, "none", [], "")
        added = linear._linear_pointwise.binary(x, other, packed, None, "add")
    except (AttributeError, RuntimeError, NotImplementedError, TypeError):
        return False
    return torch.equal(alone, x @ W.T) and torch.equal(added, x @ W.T + other)
