"""One scan backward: backpropagation through time (BPTT) by the cell's adjoint, and the gradients of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from .cell import Cell
from .forward import History, Inputs, Setting, State, columns, move, replay, steps, windows
from .precision import without_autocast

_BLOCK_BYTES = 1 << 20  # local derivatives of as many steps at a time as stay in a core's cache
_RUN = 64  # rows of one GEMM of a weight's gradient


class BPTT(torch.autograd.Function):
    """The scan with its hand-derived gradient; where that gradient is itself to be differentiated, the loop again."""

    @staticmethod
    def forward(ctx: Any, setting: Setting, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        inputs = Inputs.of(tensors)
        output, last, history = steps(setting, inputs, keep=True)
        assert history is not None
        ctx.setting = setting
        ctx.save_for_backward(*tensors, history.pre, *history.state_prev)
        ctx.set_materialize_grads(False)
        return output, *last

    @staticmethod
    def backward(ctx: Any, *d_outputs: Tensor | None) -> tuple[Any, ...]:
        saved = ctx.saved_tensors
        count = len(ctx.needs_input_grad) - 1
        inputs, history = Inputs.of(saved[:count]), History(saved[count], saved[count + 1 :])
        needed = ctx.needs_input_grad[1:]
        with without_autocast(inputs.x):
            if torch.is_grad_enabled() or _batched(d_outputs):  # create_graph=True, or many upstream gradients at once
                return None, *_differentiable_gradients(ctx.setting, inputs, needed, d_outputs)
            return None, *gradients(ctx.setting, inputs, history, needed, d_outputs)


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


def gradients(
    setting: Setting, inputs: Inputs, history: History, needed: Sequence[bool], d_outputs: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The gradients of `inputs`, flat: by BPTT, and then of each weight for all steps at once.

    `needed` says which of them are wanted, `d_outputs` are the gradients of the emitted rows and the last states.
    """
    need_x, need_bias, need_W_ih, need_W_hh, need_W_hr, *_ = needed
    d_pre, d_emitted, unprojected, d_state = _through_time(setting, inputs, history, d_outputs)
    d_input_side, d_hidden_side = (d_pre[:, window] for window in windows(setting.cell, inputs.W_hh))
    return [
        _input_gradient(d_input_side, inputs.W_ih, d_pre.shape[1] - d_hidden_side.shape[1]) if need_x else None,
        d_pre.sum(0) if need_bias else None,
        _weight_gradient(d_input_side, inputs.x) if need_W_ih else None,
        _weight_gradient(d_hidden_side, history.state_prev[0]) if need_W_hh else None,
        _weight_gradient(d_emitted, unprojected) if need_W_hr else None,
        *d_state,
    ]


def _weight_gradient(d_rows: Tensor, rows: Tensor) -> Tensor:
    """The sum over all rows of d_row row^T, a run of rows at a time.

    A GEMM adds its terms one after the other; sums of runs lose several times less to rounding than one of all rows,
    and take hardly longer.
    """
    total = d_rows[:_RUN].T @ rows[:_RUN]
    for k in range(_RUN, rows.shape[0], _RUN):
        total.addmm_(d_rows[k : k + _RUN].T, rows[k : k + _RUN])
    return total


def _input_gradient(d_rows: Tensor, W_ih: Tensor, only_input: int) -> Tensor:
    """W_ih^T dpre. The split gates come last: a sum loses least if its largest terms do, and candidates' are those."""
    if not only_input:
        return d_rows @ W_ih
    summed = d_rows[:, only_input:] @ W_ih[only_input:]
    return summed.addmm_(d_rows[:, :only_input], W_ih[:only_input])


def _through_time(
    setting: Setting, inputs: Inputs, history: History, d_outputs: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor, Tensor, State]:
    """Gradients of the pre-activations [N, (S + G) * H] and the first state; for W_hr, d_emitted and what it projects.

    Per step, with the local derivatives A_s of all pre-activations by state s (see `_local_derivatives`):

        dpre_t = A_h * dh_t + A_c * dc_t + ...;      dh_{t-1} = W_hh^T dpre_t + the direct road
    """
    cell, sizes, _ = setting
    W_hh, W_hr = inputs.W_hh, inputs.W_hr
    N, width = history.pre.shape[0], W_hh.shape[0] // len(cell.gates)
    pre_count, split = len(cell.pre_activations), len(cell.split)
    d_output, *d_last = d_outputs
    d_rows = d_output.split(sizes) if d_output is not None else None
    d_emitted: list[Tensor] = [inputs.x] * len(sizes) if W_hr is not None else []  # each is replaced at its step
    unprojected = W_hh.new_empty(N if W_hr is not None else 0, width)

    d_state = tuple(torch.zeros_like(s) if d is None else d for s, d in zip(inputs.state, d_last, strict=True))
    waiting = tuple(d[d.shape[0] :] for d in d_state)
    first_row = [0, *accumulate(sizes)]
    d_all: Tensor | None = None
    for block in _blocks(setting.order()[::-1], sizes, pre_count * width * W_hh.element_size()):
        start, end = min(block), max(block) + 1
        span = slice(first_row[start], first_row[end])
        state, tape = replay(cell, history, span)
        if W_hr is not None:
            unprojected[span] = state[0]
        derivatives, roads = _local_derivatives(cell, tape, history.pre)
        if d_all is None:
            d_all = W_hh.new_empty(N, pre_count + len(roads), width)
        # By h they are written where the gradients will stand, so that a step turns them into those in place.
        stacks = [d_all[span], *(torch.empty_like(d_all[span]) for _ in derivatives[1:])]
        for stack, derivative in zip(stacks, derivatives, strict=True):
            for k, values in enumerate(derivative):
                stack[:, k] = values
        by_h, *by_others = (stack.split(sizes[start:end]) for stack in stacks)
        for t in block:
            d_state, waiting = move(d_state, waiting, sizes[t])
            dh, *d_others = d_state
            if d_rows is not None:
                dh = dh + d_rows[t]
            if W_hr is not None:
                d_emitted[t] = dh
                dh = dh @ W_hr
            d_t = by_h[t - start].mul_(dh.unsqueeze(1))
            for A, d_other in zip(by_others, d_others, strict=True):
                d_t.addcmul_(A[t - start], d_other.unsqueeze(1))
            d_hidden = d_t[:, split:pre_count].flatten(1)
            direct = dict(zip(roads, d_t[:, pre_count:].unbind(1), strict=True))
            dh = d_hidden @ W_hh
            if 0 in direct:
                dh += direct[0]  # not by addmm, which starts from its largest term and loses more to rounding
            d_state = (dh, *(direct[s] for s in range(1, len(cell.states))))
    assert d_all is not None
    d_state, _ = move(d_state, waiting, inputs.state[0].shape[0])
    d_pre = d_all[:, :pre_count].flatten(1)
    return d_pre, torch.cat(d_emitted) if d_emitted else unprojected, unprojected, d_state


def _local_derivatives(cell: Cell, tape: Any, like: Tensor) -> tuple[list[list[Tensor]], list[int]]:
    """By each state, the derivatives of all pre-activations (in the columns' order) and of the directly reached states.

    The adjoint is linear in `d_state` and acts unit by unit, so its values at dh = 1, dc = 0 and at dh = 0, dc = 1,
    computed for all rows of the tape at once, say all there is to know. Also: which states are reached directly.
    """
    states = range(len(cell.states))
    # A new tensor each: an adjoint may write into what it is given.
    units = [[like.new_full((), float(k == s)) for k in states] for s in states]
    adjoints = [cell.adjoint(tape, *unit) for unit in units]  # type: ignore[misc]
    roads = [s for s in states if s > 0 or adjoints[0][1][s] is not None]
    place = columns(cell)
    derivatives = []
    for d_pre, direct in adjoints:
        in_columns = [d_pre[place.index(k)] for k in range(len(place))]
        derivatives.append(in_columns + [like.new_zeros(()) if direct[s] is None else direct[s] for s in roads])
    return derivatives, roads


def _blocks(order: range, sizes: list[int], row_bytes: int) -> Iterator[list[int]]:
    """Cut the steps into runs whose rows fit `_BLOCK_BYTES`, each at least one step long."""
    block: list[int] = []
    rows = 0
    for t in order:
        if block and (rows + sizes[t]) * row_bytes > _BLOCK_BYTES:
            yield block
            block, rows = [], 0
        block.append(t)
        rows += sizes[t]
    yield block
