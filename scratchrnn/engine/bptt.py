"""The scan as a function that autograd can differentiate, by backpropagation through time (BPTT)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .autocast import without_autocast
from .columns import Inputs
from .forward import Setting, steps
from .segments import recall, remember


class BPTT(torch.autograd.Function):
    """The scan with its hand-derived gradient; where that gradient is itself to be differentiated, the loop again."""

    @staticmethod
    def forward(ctx: Any, setting: Setting, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        output, last, kept = remember(setting, Inputs.of(tensors))
        ctx.setting = setting
        ctx.save_for_backward(*tensors, *kept)
        ctx.set_materialize_grads(False)
        return output, *last

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> tuple[Any, ...]:
        saved = ctx.saved_tensors
        count = len(ctx.needs_input_grad) - 1
        inputs, kept = Inputs.of(saved[:count]), saved[count:]
        needed = ctx.needs_input_grad[1:]
        with without_autocast(inputs.x):
            if torch.is_grad_enabled() or _batched(d_outputs):  # create_graph=True, or many upstream gradients at once
                return None, *_differentiable_gradients(ctx.setting, inputs, needed, d_outputs)
            return None, *recall(ctx.setting, inputs, kept, needed, d_outputs)


def _batched(d_outputs: Sequence[Tensor | None]) -> bool:
    """Whether vmap runs this backward: is_grads_batched, or jacobian(vectorize=True)."""
    return torch._C._are_functorch_transforms_active() or any(
        d is not None and torch._C._functorch.is_legacy_batchedtensor(d) for d in d_outputs
    )


def _differentiable_gradients(
    setting: Setting, inputs: Inputs, needed: Sequence[bool], d_outputs: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The gradients by operations that autograd and vmap can follow: autograd walks the loop."""
    # An alias for each input, or a tensor that comes in twice would get the sum of its gradients twice.
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        aliases = [t if t is None else t.view_as(t) for t in inputs.flat()]
        output, last, _ = steps(setting, Inputs.of(aliases), functional=True)
    pairs = [(y, dy) for y, dy in zip((output, *last), d_outputs, strict=True) if dy is not None and y.requires_grad]
    wanted = [k for k, need in enumerate(needed) if need]
    results: list[Tensor | None] = [None] * len(aliases)
    found = torch.autograd.grad(
        [y for y, _ in pairs],
        [aliases[k] for k in wanted],  # type: ignore[arg-type]
        [dy for _, dy in pairs],
        create_graph=create_graph,
        allow_unused=True,
    )
    for k, gradient in zip(wanted, found, strict=True):
        results[k] = gradient
    return results
