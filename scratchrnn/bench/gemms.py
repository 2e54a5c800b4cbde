"""What the matrix products alone take, and the most that this machine was seen to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch

from ..equations.work import Product
from .clock import Clock, clock, least

_LARGE = Product(times=1, rows=1024, inner=1024, columns=1024)


def products_alone(products: Sequence[Product], dtype: torch.dtype, device: str) -> tuple[Clock, float]:
    """All products of a call and nothing else, each by the library that is faster at it; and the most FLOP/s of one.

    Among those is one that is large, so that small cases are not held to small products.
    """
    fastest = [_fastest(p, dtype, device) for p in products]

    def run() -> None:
        for p, (product, _) in zip(products, fastest, strict=True):
            for _ in range(p.times):
                product()

    best = max(p.flops / p.times / seconds for p, (_, seconds) in zip(products, fastest, strict=True))
    return clock(run), max(best, _large(dtype, device, torch.get_num_threads()))


@cache
def _large(dtype: torch.dtype, device: str, threads: int) -> float:
    return _LARGE.flops / _fastest(_LARGE, dtype, device)[1]


def _fastest(p: Product, dtype: torch.dtype, device: str) -> tuple[Callable[[], Any], float]:
    """One such product by the fastest library, and its seconds."""
    x, W = (torch.randn(n, p.inner, dtype=dtype, device=device) for n in (p.rows, p.columns))
    candidates: list[Callable[[], Any]] = [lambda: torch.mm(x, W.T)]
    if device == "cpu" and dtype == torch.float32 and torch.backends.mkldnn.is_available():
        packed = torch.ops.mkldnn._reorder_linear_weight(W, p.rows)
        candidates.append(lambda: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], ""))
    seconds = [least(candidate) for candidate in candidates]
    return candidates[seconds.index(min(seconds))], min(seconds)
