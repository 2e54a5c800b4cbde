"""The scan and its gradient as two torch operators, so that torch.compile and torch.export see one node, not T steps.

A graph can hold strings and tensors but no Python function: the cell travels as its `key`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..cells.cell import Cell, State
from ..cells.registry import find_cell
from .columns import Inputs
from .forward import Setting, step_sizes, steps
from .segments import recall, remember

_HOW = "str cell, Tensor? batch_sizes, bool reverse, int? checkpoint_every"
_INPUTS = f"{_HOW}, Tensor x, Tensor? bias, Tensor W_ih, Tensor W_hh, Tensor? W_hr, Tensor[] state"


def scan(
    cell: Cell,
    batch_sizes: Tensor | None,
    reverse: bool,
    checkpoint_every: int | None,
    inputs: Inputs,
    differentiable: bool,
) -> tuple[Tensor, State]:
    """As `engine.scan`, for arranged inputs, with x [T, B, I] or [N, I]; `differentiable`: keep what BPTT needs."""
    x, bias, W_ih, W_hh, W_hr, state = inputs
    how = cell.key, batch_sizes, reverse, checkpoint_every
    output, *states = _scan(*how, x, bias, W_ih, W_hh, W_hr, list(state), differentiable)
    return output, tuple(states[: len(cell.states)])


@torch.library.custom_op("scratchrnn::scan", mutates_args=(), schema=f"({_INPUTS}, bool keep) -> Tensor[]")
def _scan(cell: str, batch_sizes: Tensor | None, reverse: bool, every: int | None, *rest: Any) -> list[Tensor]:
    """Output and last states; if asked to, what is kept for the gradient."""
    *tensors, state, keep = rest
    x = tensors[0]
    setting = Setting(find_cell(cell), step_sizes(x, batch_sizes), reverse, every)
    inputs = Inputs.of([x.flatten(0, -2), *tensors[1:], *state])
    output, last, kept = remember(setting, inputs) if keep else (*steps(setting, inputs)[:2], [])
    # An operator may return neither an input nor one tensor twice, as a state that passes through unchanged would be.
    last = tuple(s.clone(memory_format=torch.contiguous_format) for s in last)
    return [output.reshape(*x.shape[:-1], output.shape[-1]), *last, *kept]


@_scan.register_fake
def _(cell: str, batch_sizes: Tensor | None, reverse: bool, every: int | None, *rest: Any) -> list[Tensor]:
    x, _, W_ih, _, _, state, keep = rest
    gates, pre_activations = len(find_cell(cell).gates), len(find_cell(cell).pre_activations)
    outputs = [x.new_empty(*x.shape[:-1], state[0].shape[-1]), *(s.new_empty(s.shape) for s in state)]
    if keep and every is not None:
        length = x.shape[0] if batch_sizes is None else batch_sizes.shape[0]
        outputs += [s.new_empty((length + every - 1) // every, *s.shape) for s in state]
    elif keep:
        rows = x.flatten(0, -2).shape[0]
        outputs.append(x.new_empty(rows, W_ih.shape[0] // gates * pre_activations))
        outputs += [x.new_empty(rows, s.shape[-1]) for s in state]
    return outputs


@torch.library.custom_op(
    "scratchrnn::scan_backward",
    mutates_args=(),
    schema=f"({_INPUTS}, Tensor[] kept, Tensor[] d_outputs, bool[] needed) -> Tensor[]",
)
def _scan_backward(cell: str, batch_sizes: Tensor | None, reverse: bool, every: int | None, *rest: Any) -> list[Tensor]:
    """The gradients that are needed, in the order of the scan's tensors."""
    *tensors, state, kept, d_outputs, needed = rest
    x = tensors[0]
    setting = Setting(find_cell(cell), step_sizes(x, batch_sizes), reverse, every)
    inputs = Inputs.of([x.flatten(0, -2), *tensors[1:], *state])
    d_outputs = [d_outputs[0].flatten(0, -2), *d_outputs[1:]]
    found = recall(setting, inputs, kept, needed, d_outputs)
    split = len(tensors)
    of_tensors = [d.view(t.shape) for d, t, n in zip(found, tensors, needed, strict=False) if n and d is not None]
    # Nor may it return two views of one buffer, as two states' gradients can be.
    of_state = [d for d, n in zip(found[split:], needed[split:], strict=True) if n and d is not None]
    return of_tensors + [d.clone(memory_format=torch.contiguous_format) for d in of_state]


@_scan_backward.register_fake
def _(cell: str, batch_sizes: Tensor | None, reverse: bool, every: int | None, *rest: Any) -> list[Tensor]:
    *tensors, state, _, _, needed = rest
    return [t.new_empty(t.shape) for t, n in zip((*tensors, *state), needed, strict=True) if n]


def _setup_context(ctx: Any, inputs: Sequence[Any], output: list[Tensor]) -> None:
    *ctx.how, tensors_and_state = *inputs[:4], inputs[4:-1]
    *tensors, state = tensors_and_state
    ctx.counts = len(tensors), len(state)
    ctx.save_for_backward(*tensors, *state, *output[1 + len(state) :])


def _backward(ctx: Any, d_outputs: list[Tensor | None]) -> tuple[Any, ...]:
    tensor_count, state_count = ctx.counts
    saved = ctx.saved_tensors  # once: under a checkpoint, asking is what runs the forward pass again
    if len(saved) == tensor_count + state_count:
        raise RuntimeError(
            "this graph was captured without gradients, so it has kept nothing for them: "
            "capture it with gradients enabled and parameters that require them"
        )
    tensors = saved[:tensor_count]
    state = list(saved[tensor_count : tensor_count + state_count])
    kept = list(saved[tensor_count + state_count :])
    x = tensors[0]
    zeros = [x.new_zeros(*x.shape[:-1], state[0].shape[-1]), *(torch.zeros_like(s) for s in state)]
    upstream = [z if d is None else d for z, d in zip(zeros, d_outputs[: 1 + state_count], strict=True)]
    *need_tensors, need_state, _ = ctx.needs_input_grad[4:]
    needed = [*need_tensors, *need_state]
    found = iter(_scan_backward(*ctx.how, *tensors, state, kept, upstream, needed))
    gradients = [next(found) if n else None for n in needed]
    return None, None, None, None, *gradients[:tensor_count], gradients[tensor_count:], None


_scan.register_autograd(_backward, setup_context=_setup_context)
