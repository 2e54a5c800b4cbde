"""`scan`: which road one sequence takes through the engine.

The loop over time is that of `forward.py`, or, for what `native/takes.py` takes, the same in C. It runs as it is where
no gradient is asked for, and where one is, inside an autograd function: `BPTT`, by the cell's adjoint. Where there is
no adjoint, or a transform has to see each operation, autograd or torch.func follow the loop of `forward.py`. Under
`torch.compile` and `torch.export` the scan is one opaque operator of `operators.py`, and finds its engine when it runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch._guards import TracingContext
from torch.autograd import forward_ad

from ..cells.cell import Cell, State
from ..equations.adjoint import walked, why_walked
from . import forward, operators
from .bptt import BPTT
from .columns import Operands, Weights
from .forward import Setting, step_sizes
from .native.takes import functions_for
from .segments import steps


def scan(
    cell: Cell,
    x: Tensor,
    batch_sizes: Tensor | None,
    state: Sequence[Tensor | None],
    weights: Weights,
    reverse: bool = False,
    checkpoint_every: int | None = None,
) -> tuple[Tensor, State]:
    """Run `cell` over a sequence.

        pre_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh;   (h'_t, ...) = update(pre_t, h_{t-1}, ...);   h_t = W_hr h'_t

    Args:
        x: [T, B, I], or packed rows [N, I].
        batch_sizes: [T] on the CPU, the number of rows of each step, for packed rows; None for [T, B, I].
        state: the state before the first step, [1, B, R] and then [1, B, H] for each further state, an entry of a
            layer's hx each; None for zeros.
        weights: of this layer and direction.
        reverse: take the steps from the last to the first.
        checkpoint_every: for the gradient keep the states of every so many steps alone, and run the others again.

    Returns:
        What the cell emits, [T, B, R] or packed [N, R], and each row's state after its last step, as `state`.

    Raises:
        ValueError: `checkpoint_every` in training, and the cell has no adjoint and none can be derived.
    """
    operands = Operands(x, weights, tuple(state))
    flat = operands.flat()
    tensors = [t for t in flat if t is not None]
    differentiable = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    walks, captured = differentiable and _walked(cell), _captured()
    if checkpoint_every is not None and walks:
        raise ValueError(f"checkpoint_every needs a cell with an adjoint to train: {why_walked(cell)}")
    native = None if captured else functions_for(cell, tensors)
    # What runs in C has an adjoint, and nobody has to see its operations.
    by_adjoint = native is not None or (not walks and not _seen_by_torch(tensors, captured))
    if by_adjoint and captured:
        run = operators.scan(cell, batch_sizes, reverse, checkpoint_every, operands, differentiable)
        return run.output, run.state
    setting = Setting(cell, step_sizes(x, batch_sizes), reverse, checkpoint_every, native)
    if by_adjoint and differentiable:
        output, *last = BPTT.apply(setting, *flat)  # type: ignore[no-untyped-call]
        return output, tuple(last)
    run = steps(setting, operands) if by_adjoint else forward.steps(setting, operands, functional=True)
    return run.output, run.state


def _walked(cell: Cell) -> bool:
    """Whether autograd walks through the steps, for want of an adjoint or on purpose."""
    return cell.walk or (cell.adjoint is None and walked(cell.key))


def _seen_by_torch(tensors: list[Tensor], captured: bool) -> bool:
    """Whether something has to see every operation: torch's autograd then walks the loop, not our BPTT."""
    if torch._C._are_functorch_transforms_active() or tensors[0].dtype.is_complex:
        return True
    if captured:
        return False
    return not all(map(_is_plain, tensors)) or any(forward_ad.unpack_dual(t).tangent is not None for t in tensors)


def _captured() -> bool:
    """Whether torch.compile or torch.export captures this call; `is_compiling` alone tells of the whole process."""
    if torch.compiler.is_dynamo_compiling():
        return True
    return torch.compiler.is_compiling() and (
        # torch 2.6 exports without a context, by modes that record.
        TracingContext.try_get() is not None or torch._C._len_torch_dispatch_stack() > 0
    )


def _is_plain(t: Tensor) -> bool:
    """Whether torch's functions treat `t` as they treat a Tensor: no `__torch_function__` of its own."""
    return type(t) is Tensor or type(t).__torch_function__ is torch._C._disabled_torch_function_impl
