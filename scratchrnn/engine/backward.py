"""One scan backward: backpropagation through time (BPTT) by the cell's adjoint, and the gradients of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..cells.cell import Cell, State
from .columns import Inputs, columns, windows
from .forward import History, Setting, move, replay

_BLOCK_BYTES = 1 << 20  # gradients of the pre-activations of as many steps at a time as stay in a core's cache
_RUN = 64  # rows of one GEMM of a weight's gradient
_TERMS = 512  # of one GEMM of the input's gradient


def gradients(
    setting: Setting, inputs: Inputs, history: History, needed: Sequence[bool], d_outputs: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The gradients of `inputs`, flat: by BPTT through a block of steps, and of each weight for all the block's rows.

    `needed` says which of them are wanted, `d_outputs` are the gradients of the emitted rows and the last states.
    """
    need_x, need_bias, need_W_ih, need_W_hh, need_W_hr, *_ = needed
    d_output, *d_last = d_outputs
    d_state = tuple(torch.zeros_like(s) if d is None else d for s, d in zip(inputs.state, d_last, strict=True))
    dx = torch.empty_like(inputs.x) if need_x else None
    d_bias = dW_ih = dW_hh = dW_hr = None
    input_side, hidden_side = windows(setting.cell, inputs.W_hh)
    row_bytes = history.pre.shape[1] * history.pre.element_size()
    for block, rows in reversed([*setting.cut(_block_lengths(setting, row_bytes))]):
        in_block = History(history.pre[rows], tuple(s[rows] for s in history.state_prev))
        d_emitted = None if d_output is None else d_output[rows]
        d_pre, d_projected, unprojected, d_state = _through_time(block, inputs, in_block, d_emitted, d_state)
        if dx is not None:
            dx[rows] = _input_gradient(d_pre[:, input_side], inputs.W_ih, hidden_side.start)
        if need_bias:
            d_bias = d_pre.sum(0) if d_bias is None else d_bias.add_(d_pre.sum(0))
        if need_W_ih:
            dW_ih = _weight_gradient(dW_ih, d_pre[:, input_side], inputs.x[rows])
        if need_W_hh:
            dW_hh = _weight_gradient(dW_hh, d_pre[:, hidden_side], in_block.state_prev[0])
        if need_W_hr and d_projected is not None:
            dW_hr = _weight_gradient(dW_hr, d_projected, unprojected)
    return [dx, d_bias, dW_ih, dW_hh, dW_hr, *d_state]


def _weight_gradient(total: Tensor | None, d_rows: Tensor, rows: Tensor) -> Tensor:
    """Add the sum over all rows of d_row row^T to what there is, a run of rows at a time.

    A GEMM adds its terms one after the other; sums of runs lose several times less to rounding than one of all rows,
    and take hardly longer.
    """
    for k in range(0, max(rows.shape[0], 1), _RUN):
        d_run, run = d_rows[k : k + _RUN].T, rows[k : k + _RUN]
        total = d_run @ run if total is None else total.addmm_(d_run, run)
    assert total is not None
    return total


def _input_gradient(d_rows: Tensor, W_ih: Tensor, only_input: int) -> Tensor:
    """W_ih^T dpre, a run of terms at a time and each added when it is complete: of few columns MKL sums one by one.

    The split gates come last: a sum loses least if its largest terms do, and candidates' are those.
    """
    starts = [*range(only_input, W_ih.shape[0], _TERMS), *range(0, only_input, _TERMS)]
    ends = [min(k + _TERMS, W_ih.shape[0] if k >= only_input else only_input) for k in starts]
    total = d_rows[:, starts[0] : ends[0]] @ W_ih[starts[0] : ends[0]]
    for start, end in zip(starts[1:], ends[1:], strict=True):
        total += d_rows[:, start:end] @ W_ih[start:end]
    return total


def _through_time(
    setting: Setting, inputs: Inputs, history: History, d_output: Tensor | None, d_state: State
) -> tuple[Tensor, Tensor | None, Tensor, State]:
    """Gradients of the pre-activations [N, (S + G) * H] and of the state before; for W_hr, those of what it emits, and
    what it projects.

    Per step, with the local derivatives A_s of all pre-activations by state s (see `_local_derivatives`):

        dpre_t = A_h * dh_t + A_c * dc_t + ...;      dh_{t-1} = W_hh^T dpre_t + the direct road
    """
    cell, sizes = setting.cell, setting.sizes
    W_hh, W_hr = inputs.W_hh, inputs.W_hr
    d_rows = d_output.split(sizes) if d_output is not None else None
    d_emitted: list[Tensor] = [inputs.x] * len(sizes) if W_hr is not None else []  # each is replaced at its step

    batch = d_state[0].shape[0]
    unprojected, tape = replay(cell, history)
    pull = _ByHand(setting, W_hh, history, tape)
    d_state = tuple(d.contiguous() for d in d_state)
    waiting = tuple(d[batch:] for d in d_state)
    for t in setting.order()[::-1]:
        d_state, waiting = move(d_state, waiting, sizes[t])
        dh, *d_others = d_state
        if d_rows is not None:
            dh = dh + d_rows[t]
        if W_hr is not None:
            d_emitted[t] = dh
            dh = dh @ W_hr
        d_state = pull(t, (dh, *d_others))
    d_state, _ = move(d_state, waiting, batch)
    return pull.d_pre, torch.cat(d_emitted) if W_hr is not None else None, unprojected[0], d_state


def _summed(product: Tensor, direct: Sequence[Tensor], states: int) -> State:
    """The gradients of the previous states: of h by W_hh, and of those that are reached directly, h last or not."""
    others = direct[len(direct) - states + 1 :]
    if len(direct) == states:
        product += direct[0]  # not by addmm, which starts from its largest term and loses more to rounding
    return (product, *others)


class _ByHand:
    """By the local derivatives of all the block's steps, which come from one call: a step is then two operations.

    Called at each step with t and the gradients of its states, it fills the step's rows of `d_pre`, and returns the
    gradients of the states before the step.
    """

    def __init__(self, setting: Setting, W_hh: Tensor, history: History, tape: Any) -> None:
        cell, sizes, pre = setting.cell, setting.sizes, history.pre
        count = len(cell.pre_activations)
        by_state = _local_derivatives(cell, tape, pre)
        stacks = [pre.new_empty(pre.shape[0], len(by_h), pre.shape[1] // count) for by_h in by_state]
        for stack, derivatives in zip(stacks, by_state, strict=True):
            for k, values in enumerate(derivatives):
                stack[:, k] = values
        # The derivatives by h stand where the gradients will: a step turns them into those in place.
        self.d_all, self.W_hh = stacks[0].split(sizes), W_hh
        self.by_others = list(zip(*(stack.split(sizes) for stack in stacks[1:]), strict=True)) or [()] * len(sizes)
        direct = [stacks[0][:, k].split(sizes) for k in range(count, len(by_state[0]))]
        self.direct = list(zip(*direct, strict=True)) or [()] * len(sizes)
        self.d_pre = stacks[0][:, :count].flatten(1)
        self.d_hidden = self.d_pre[:, windows(cell, W_hh)[1]].split(sizes)

    def __call__(self, t: int, d_state: State) -> State:
        dh, *d_others = d_state
        d_t = self.d_all[t].mul_(dh.unsqueeze(1))
        for derivative, d_other in zip(self.by_others[t], d_others, strict=True):
            d_t.addcmul_(derivative, d_other.unsqueeze(1))
        return _summed(self.d_hidden[t] @ self.W_hh, self.direct[t], len(d_state))


def _local_derivatives(cell: Cell, tape: Any, like: Tensor) -> list[list[Tensor]]:
    """By each state, the derivatives of all pre-activations (in the columns' order) and of the directly reached states.

    The adjoint is linear in `d_state` and acts unit by unit, so its values at dh = 1, dc = 0 and at dh = 0, dc = 1,
    computed for all rows of the tape at once, say all there is to know.
    """
    states = range(len(cell.states))
    units = [[like.new_full((), float(k == s)) for k in states] for s in states]
    adjoints = [cell.adjoint(tape, *unit) for unit in units]  # type: ignore[misc]
    roads = [s for s in states if s > 0 or adjoints[0][1][s] is not None]
    place = columns(cell)
    derivatives = []
    for d_pre, direct in adjoints:
        in_columns = [d_pre[place.index(k)] for k in range(len(place))]
        derivatives.append(in_columns + [like.new_zeros(()) if direct[s] is None else direct[s] for s in roads])
    return derivatives


def _block_lengths(setting: Setting, row_bytes: int) -> Iterator[int]:
    """Cut the steps, in their order, into runs whose rows fit `_BLOCK_BYTES`, but of at least `_RUN` rows."""
    steps = rows = 0
    for t in setting.order():
        if rows >= _RUN and (rows + setting.sizes[t]) * row_bytes > _BLOCK_BYTES:
            yield steps
            steps = rows = 0
        steps += 1
        rows += setting.sizes[t]
    yield steps
