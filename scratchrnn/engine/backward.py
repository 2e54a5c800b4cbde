"""One scan backward: backpropagation through time (BPTT) by the cell's adjoint, and the gradients of the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..cells.cell import State
from ..equations.adjoint import adjoint_of
from .columns import Operands
from .forward import Kept, Run, Setting, batch_of, entries, move, replay

_BLOCK_BYTES = 1 << 20  # gradients of the pre-activations of as many steps at a time as stay in a core's cache
_RUN = 64  # rows of one GEMM of a weight's gradient
_TERMS = 512  # of one GEMM of the input's gradient


def gradients(setting: Setting, operands: Operands, kept: Kept, needed: Operands, upstream: Run) -> Operands:
    """The gradients of the operands: by BPTT through a block of steps, and of each weight for all the block's rows.

    `needed` says which of them are wanted, `upstream` are the gradients of the emitted rows and the last states; None
    stands for zero.
    """
    assert kept.pre is not None
    x, columns = operands.x.flatten(0, -2), setting.columns()
    d_output = None if upstream.output is None else upstream.output.flatten(0, -2)
    weights = columns.arrange(operands.weights)
    arriving = operands.filled(upstream.state, len(setting.cell.gates), batch_of(setting, operands))
    d_state = tuple(d.squeeze(0) for d in arriving)
    dx = x.new_empty(x.shape) if needed.x else None
    d_bias = dW_ih = dW_hh = dW_hr = None
    row_bytes = kept.pre.shape[1] * kept.pre.element_size()
    for block, rows in reversed([*setting.cut(_block_lengths(setting, row_bytes))]):
        of_block = Kept(kept.pre[rows], tuple(s[rows] for s in kept.state_prev))
        found = _through_time(
            block, weights.hh, operands.weights.hr, of_block, None if d_output is None else d_output[rows], d_state
        )
        d_state = found.d_state
        d_input_side, d_hidden_side = columns.input_side(found.d_pre), columns.hidden_side(found.d_pre)
        if dx is not None:
            dx[rows] = _input_gradient(d_input_side, weights.ih, kept.pre.shape[1] - weights.hh.shape[0])
        if needed.weights.bias_ih or needed.weights.bias_hh:
            d_bias = found.d_pre.sum(0) if d_bias is None else d_bias.add_(found.d_pre.sum(0))
        if needed.weights.ih:
            dW_ih = _weight_gradient(dW_ih, d_input_side, x[rows])
        if needed.weights.hh:
            dW_hh = _weight_gradient(dW_hh, d_hidden_side, of_block.state_prev[0])
        if needed.weights.hr and found.d_emitted is not None:
            dW_hr = _weight_gradient(dW_hr, found.d_emitted, found.unprojected)
    d_weights = columns.taken_apart(dW_ih, dW_hh, d_bias, dW_hr)
    return Operands(None if dx is None else dx.view_as(operands.x), d_weights, entries(d_state))


def _weight_gradient(total: Tensor | None, d_rows: Tensor, rows: Tensor) -> Tensor:
    """Add the sum over all rows of d_row row^T to what there is, a run of rows at a time.

    A GEMM adds its terms one after the other; sums of runs lose several times less to rounding than one of all rows.
    Each run's is made by itself: told to add to what there is, MKL adds a small matrix's terms to it one by one.
    """
    for k in range(0, max(rows.shape[0], 1), _RUN):
        d_run, run = d_rows[k : k + _RUN].T, rows[k : k + _RUN]
        product = d_run @ run
        total = product if total is None else total.add_(product)
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


class _ThroughTime(NamedTuple):
    d_pre: Tensor  # [N, (S + G) * H]
    d_state: State  # of the state before the first step
    d_emitted: Tensor | None  # [N, R], of what is projected, and
    unprojected: Tensor  # [N, H], what it is projected from: for W_hr


def _through_time(
    setting: Setting, W_hh: Tensor, W_hr: Tensor | None, kept: Kept, d_output: Tensor | None, d_state: State
) -> _ThroughTime:
    """Per step, with the local derivatives A_s of all pre-activations by state s (see `_local_derivatives`):

    dpre_t = A_h * dh_t + A_c * dc_t + ...;      dh_{t-1} = W_hh^T dpre_t + the direct road
    """
    sizes = setting.sizes
    d_rows = d_output.split(sizes) if d_output is not None else None
    d_emitted: list[Tensor] = [W_hh] * len(sizes) if W_hr is not None else []  # each is replaced at its step

    batch = d_state[0].shape[0]
    pair = adjoint_of(setting.cell)
    assert pair is not None  # or autograd walks
    (unprojected, *_), tape = replay(setting, kept, pair.step)
    pull = _Pull(setting, W_hh, kept.pre, partial(pair.adjoint, tape))
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
    return _ThroughTime(pull.d_pre, d_state, torch.cat(d_emitted) if W_hr is not None else None, unprojected)


class _Pull:
    """By the local derivatives of all the block's steps, which come from one call: a step is then two operations.

    Called at each step with t and the gradients of its states, it fills the step's rows of `d_pre`, and returns the
    gradients of the states before the step.
    """

    def __init__(self, setting: Setting, W_hh: Tensor, pre: Any, adjoint: Callable[..., Any]) -> None:
        sizes, count, states = setting.sizes, len(setting.columns().places), len(setting.cell.states)
        by_state = _local_derivatives(setting, adjoint, pre)
        # The states that are reached directly: all but the emitted one, which may be reached by W_hh alone.
        roads = [s for s in range(states) if s > 0 or by_state[0].direct[s] is not None]
        stacks = [pre.new_zeros(pre.shape[0], count + len(roads), pre.shape[1] // count) for _ in by_state]
        for stack, local in zip(stacks, by_state, strict=True):
            for k, values in enumerate([*local.pre, *(local.direct[s] for s in roads)]):
                if values is not None:
                    stack[:, k] = values
        # The derivatives by h stand where the gradients will: a step turns them into those in place.
        self.d_all, self.W_hh = stacks[0].split(sizes), W_hh
        self.by_others = list(zip(*(stack.split(sizes) for stack in stacks[1:]), strict=True)) or [()] * len(sizes)
        direct = {s: stacks[0][:, count + k].split(sizes) for k, s in enumerate(roads)}
        self.dh_direct = direct.pop(0, None)
        self.d_others = list(zip(*direct.values(), strict=True)) or [()] * len(sizes)
        self.d_pre = stacks[0][:, :count].flatten(1)
        self.d_hidden = setting.columns().hidden_side(self.d_pre).split(sizes)

    def __call__(self, t: int, d_state: State) -> State:
        dh, *d_others = d_state
        d_t = self.d_all[t].mul_(dh.unsqueeze(1))
        for derivative, d_other in zip(self.by_others[t], d_others, strict=True):
            d_t.addcmul_(derivative, d_other.unsqueeze(1))
        dh_prev = self.d_hidden[t] @ self.W_hh
        if self.dh_direct is not None:
            dh_prev += self.dh_direct[t]  # not by addmm, which starts from its largest term and loses more to rounding
        return (dh_prev, *self.d_others[t])


class _Local(NamedTuple):
    """Derivatives by one state: of the pre-activations, in the columns' order, and of the states before the step."""

    pre: list[Tensor]
    direct: tuple[Tensor | None, ...]


def _local_derivatives(setting: Setting, adjoint: Callable[..., Any], like: Tensor) -> list[_Local]:
    """By each state, all there is to know of the adjoint.

    It is linear in `d_state` and acts unit by unit, so its values at dh = 1, dc = 0 and at dh = 0, dc = 1, computed for
    all rows of the tape at once, are the derivatives.
    """
    cell, places = setting.cell, setting.columns().places
    states = range(len(cell.states))
    found = []
    for s in states:
        d_pre, direct = adjoint(*(like.new_full((), float(k == s)) for k in states))
        found.append(_Local([d_pre[places.index(k)] for k in range(len(places))], direct))
    return found


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
