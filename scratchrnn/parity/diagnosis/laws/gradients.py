"""The law of gradients: autograd's derivative is the one that finite differences measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .layer import Judged, call, listed

_STEPS = (1e-5, 1e-6, 1e-7)  # a kink, as relu has, may lie within one of them


def gradients(judged: Judged) -> str | None:
    """Holds autograd's derivatives against central differences."""
    layer = judged.layer
    started = layer.starts(() if judged.start is None else judged.start)
    leaves = {"input": judged.x.clone()} | {name: s.clone() for name, s in started.items()}
    asked = {name: leaf.requires_grad_() for name, leaf in leaves.items()}
    asked |= {name: p for name, p in layer.parameters.items() if p.requires_grad and p.dtype == torch.float64}
    first = judged.run(judged.x, judged.start)
    upstream = {name: torch.randn_like(y) for name, y in first.items()}
    rounding = (
        100 * torch.finfo(torch.float64).eps * sum((u * first[k]).abs().sum().item() for k, u in upstream.items())
    )

    def loss() -> Tensor:
        x, *start = leaves.values()
        # no leaf itself: a layer may write into what it is given
        found = layer.named(*call(layer.run, x, tuple(start) if judged.start is not None else None))
        return torch.stack([(found[name] * u).sum() for name, u in upstream.items()]).sum()

    total, wanted = loss(), [*asked.values()]
    found: Sequence[Tensor | None] = [None] * len(wanted)
    if total.requires_grad:
        found = torch.autograd.grad(total, wanted, allow_unused=True)

    def differs(leaf: Tensor, gradient: Tensor, rows: Any) -> tuple[float, float] | None:
        """Autograd's derivative along a random direction in some rows, and that by differences, if they differ."""
        direction = torch.zeros_like(leaf)
        direction[rows] = torch.randn_like(direction[rows])
        direction /= direction.norm()
        expected, before = (gradient * direction).sum().item(), leaf.detach().clone()
        for step in _STEPS:
            with torch.no_grad():
                ends = []
                for sign in (1, -1):
                    leaf.copy_(before + sign * step * direction)
                    ends.append(loss().item())
                leaf.copy_(before)
            measured = (ends[0] - ends[1]) / (2 * step)
            scale = max(gradient[rows].norm().item(), abs(measured))
            if abs(expected - measured) <= 1e-6 * scale + rounding / step:
                return None
        return expected, measured

    said = []
    for (name, leaf), gradient in zip(asked.items(), found, strict=True):
        g = torch.zeros_like(leaf) if gradient is None else gradient
        if not leaf.numel() or not (numbers := differs(leaf, g, ...)):
            continue
        wrong = [k for k in range(len(leaf) if leaf.dim() else 0) if differs(leaf, g, k)]
        where = _named_rows(name, wrong, leaf, layer.gates if name in layer.parameters else ())
        none = ", which has none," if gradient is None else ""
        said.append(
            f"of {name}{none}{where} the derivative along a random direction is {numbers[0]:.6g} by autograd and "
            f"{numbers[1]:.6g} by central differences"
        )
    return "; ".join(said)


def _named_rows(name: str, wrong: Sequence[int], leaf: Tensor, gates: tuple[str, ...]) -> str:
    """` (wrong at steps 0 and 1 of 6)`, ` (wrong in the rows of gate f)`: where it is not all of the leaf."""
    if not wrong or len(wrong) == len(leaf):
        return ""
    plural = "" if len(wrong) == 1 else "s"
    rows = listed([str(k) for k in wrong])
    if name == "input":
        return f" (wrong at step{plural} {rows} of {len(leaf)})"
    if gates and len(leaf) % len(gates) == 0:
        height = len(leaf) // len(gates)
        named = [gate for k, gate in enumerate(gates) if any(row // height == k for row in wrong)]
        return f" (wrong in the rows of gate{'' if len(named) == 1 else 's'} {listed(named)})"
    return f" (wrong in row{plural} {rows} of {len(leaf)})"
