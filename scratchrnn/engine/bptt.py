"""The scan as a function that autograd can differentiate, by backpropagation through time (BPTT)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from . import forward
from .autocast import without_autocast
from .columns import Operands
from .forward import Kept, Run, Setting
from .native.takes import refused_tensors
from .segments import gradients, steps


class BPTT(torch.autograd.Function):
    """The scan with BPTT for its gradient; where that gradient is itself to be differentiated, the loop again.

    It takes x, the weights and the states as they are given, None for zeros.
    """

    @staticmethod
    def forward(ctx: Any, setting: Setting, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        output, state, kept = steps(setting, Operands.of(tensors), keep=True)
        assert kept is not None
        ctx.setting = setting
        ctx.save_for_backward(*tensors, *kept.flat())
        ctx.set_materialize_grads(False)
        return output, *state

    @staticmethod
    def backward(ctx: Any, d_output: Tensor | None, *d_state: Tensor | None) -> tuple[Any, ...]:
        setting, needed, upstream = ctx.setting, ctx.needs_input_grad[1:], Run(d_output, d_state)
        saved = ctx.saved_tensors
        tensors, kept = saved[: len(needed)], saved[len(needed) :]
        with without_autocast(tensors[0]):
            if setting.native:  # what is saved may come back as another kind of tensor, and gradients are the caller's
                given = [t for t in (*saved, d_output, *d_state) if t is not None]
                setting = setting if refused_tensors(given) is None else setting._replace(native=None)
            # create_graph=True, or many upstream gradients at once
            if torch.is_grad_enabled() or _batched([d_output, *d_state]):
                return None, *_differentiable_gradients(setting, tensors, needed, upstream)
            operands, wanted = Operands.of(tensors), Operands.of(needed)
            return None, *gradients(setting, operands, Kept.of(setting, kept), wanted, upstream).flat()


def _batched(d_outputs: Sequence[Tensor | None]) -> bool:
    """Whether vmap runs this backward: is_grads_batched, or jacobian(vectorize=True)."""
    return torch._C._are_functorch_transforms_active() or any(
        d is not None and torch._C._functorch.is_legacy_batchedtensor(d) for d in d_outputs
    )


def _differentiable_gradients(
    setting: Setting, tensors: Sequence[Tensor | None], needed: Sequence[bool], upstream: Run
) -> list[Tensor | None]:
    """The gradients by operations that autograd and vmap can follow: autograd walks the loop."""
    # An alias for each operand, or a tensor that comes in twice would get the sum of its gradients twice.
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        aliases = [t if t is None else t.view_as(t) for t in tensors]
        run = forward.steps(setting, Operands.of(aliases), functional=True)
    outputs = zip((run.output, *run.state), (upstream.output, *upstream.state), strict=True)
    pairs = [(y, dy) for y, dy in outputs if dy is not None and y.requires_grad]
    wanted = [t if need else None for t, need in zip(aliases, needed, strict=True)]
    found = iter(
        torch.autograd.grad(
            [y for y, _ in pairs],
            [t for t in wanted if t is not None],
            [dy for _, dy in pairs],
            create_graph=create_graph,
            allow_unused=True,
        )
    )
    return [t if t is None else next(found) for t in wanted]
