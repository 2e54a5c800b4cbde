"""The scan and its gradient as two torch operators, so that torch.compile and torch.export see one node, not T steps.

A graph can hold strings and tensors but no Python function: the cell travels as its `key`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ..cells.cell import Cell
from ..cells.registry import find_cell
from .columns import Operands
from .forward import Kept, Run, Setting, step_sizes
from .native.takes import functions_for
from .segments import gradients, steps

_HOW = "str cell, Tensor? batch_sizes, bool reverse, int? checkpoint_every"
_WEIGHTS = "Tensor weight_ih, Tensor weight_hh, Tensor? bias_ih, Tensor? bias_hh, Tensor? weight_hr"
_OPERANDS = f"{_HOW}, Tensor x, {_WEIGHTS}, Tensor[] state"


def scan(
    cell: Cell,
    batch_sizes: Tensor | None,
    reverse: bool,
    checkpoint_every: int | None,
    operands: Operands,
    differentiable: bool,
) -> Run:
    """As `engine.scan`; `differentiable`: keep what BPTT needs."""
    how = cell.key, batch_sizes, reverse, checkpoint_every
    x, batch = operands.x, operands.x.shape[1] if batch_sizes is None else int(batch_sizes[0])
    state = operands.filled(operands.state, len(cell.gates), batch)
    output, *states = _scan(*how, x, *operands.weights, list(state), differentiable)
    return Run(output, tuple(states[: len(cell.states)]))


def _setting(
    tensors: Sequence[Tensor | None], key: str, batch_sizes: Tensor | None, reverse: bool, checkpoint_every: int | None
) -> Setting:
    cell, given = find_cell(key), [t for t in tensors if t is not None]
    sizes = step_sizes(given[0], batch_sizes)
    return Setting(cell, sizes, reverse, checkpoint_every, functions_for(cell, given))


@torch.library.custom_op("scratchrnn::scan", mutates_args=(), schema=f"({_OPERANDS}, bool keep) -> Tensor[]")
def _scan(cell: str, batch_sizes: Tensor | None, reverse: bool, every: int | None, *rest: Any) -> list[Tensor]:
    """Output and last states; if asked to, what is kept for the gradient."""
    *tensors, state, keep = rest
    operands = Operands.of([*tensors, *state])
    _check_primal([t for t in operands.flat() if t is not None])
    run = steps(_setting(operands.flat(), cell, batch_sizes, reverse, every), operands, keep=keep)
    return [run.output, *run.state, *([] if run.kept is None else run.kept.flat())]


def _check_primal(tensors: Sequence[Tensor]) -> None:
    """Raise NotImplementedError, as torch does, for a dual tensor: an operator loses its tangent."""
    if forward_ad._current_level < 0:
        return
    none = torch._C.DispatchKeySet(torch._C.DispatchKey.Undefined)
    # Autograd's keys can tell, and they are excluded where an operator runs.
    with torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), none):
        dual = any(forward_ad.unpack_dual(t).tangent is not None for t in tensors)
    if dual:
        raise NotImplementedError(
            "forward-mode AD cannot follow a captured scan (torch.compile, torch.export), and would lose the tangent: "
            "call the layer itself, or capture torch.func.jvp of it"
        )


@_scan.register_fake
def _(cell: str, batch_sizes: Tensor | None, reverse: bool, every: int | None, *rest: Any) -> list[Tensor]:
    x, weight_ih, *_, state, keep = rest
    gates, pre_activations = len(find_cell(cell).gates), len(find_cell(cell).pre_activations)
    outputs = [x.new_empty(*x.shape[:-1], state[0].shape[-1]), *(s.new_empty(s.shape) for s in state)]
    if keep and every is not None:
        length = x.shape[0] if batch_sizes is None else batch_sizes.shape[0]
        outputs += [s.new_empty((length + every - 1) // every, *s.shape[1:]) for s in state]
    elif keep:
        rows = x.flatten(0, -2).shape[0]
        outputs.append(x.new_empty(rows, weight_ih.shape[0] // gates * pre_activations))
        outputs += [x.new_empty(rows, s.shape[-1]) for s in state]
    return outputs


@torch.library.custom_op(
    "scratchrnn::scan_backward",
    mutates_args=(),
    schema=f"({_OPERANDS}, Tensor[] kept, Tensor[] upstream, bool[] needed) -> Tensor[]",
)
def _scan_backward(cell: str, batch_sizes: Tensor | None, reverse: bool, every: int | None, *rest: Any) -> list[Tensor]:
    """The gradients that are needed, in the order of the scan's operands."""
    *tensors, state, kept, (d_output, *d_state), needed = rest
    operands, wanted = Operands.of([*tensors, *state]), Operands.of(needed)
    setting = _setting([*operands.flat(), *kept, d_output, *d_state], cell, batch_sizes, reverse, every)
    found = gradients(setting, operands, Kept.of(setting, kept), wanted, Run(d_output, tuple(d_state)))
    return [d for d in found.flat() if d is not None]


@_scan_backward.register_fake
def _(cell: str, batch_sizes: Tensor | None, reverse: bool, every: int | None, *rest: Any) -> list[Tensor]:
    *tensors, state, _, _, needed = rest
    return [t.new_empty(t.shape) for t, n in zip((*tensors, *state), needed, strict=True) if n]


def _setup_context(ctx: Any, inputs: Sequence[Any], output: list[Tensor]) -> None:
    ctx.how, *tensors, state = inputs[:4], *inputs[4:-1]
    ctx.save_for_backward(*tensors, *state, *output[1 + len(state) :])


def _backward(ctx: Any, d_outputs: list[Tensor | None]) -> tuple[Any, ...]:
    *need_tensors, need_state, _ = ctx.needs_input_grad[len(ctx.how) :]
    needed = Operands.of([*need_tensors, *need_state])
    saved = ctx.saved_tensors  # once: under a checkpoint, asking is what runs the forward pass again
    operands, kept = Operands.of(saved[: len(needed.flat())]), list(saved[len(needed.flat()) :])
    if not kept:
        raise RuntimeError(
            "this graph was captured without gradients, so it has kept nothing for them: "
            "capture it with gradients enabled and parameters that require them"
        )
    x, state = operands.x, operands.state
    zeros = [x.new_zeros(*x.shape[:-1], state[0].shape[-1]), *(torch.zeros_like(s) for s in state)]
    upstream = [z if d is None else d for z, d in zip(zeros, d_outputs, strict=False)]
    found = iter(_scan_backward(*ctx.how, x, *operands.weights, list(state), kept, upstream, [*needed.flat()]))
    gradients = Operands.of([next(found) if n else None for n in needed.flat()])
    return *[None] * len(ctx.how), gradients.x, *gradients.weights, list(gradients.state), None


_scan.register_autograd(_backward, setup_context=_setup_context)
