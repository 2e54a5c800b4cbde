"""What a scan keeps for its gradient: everything, or every k-th state, from which the steps between are run again.

`checkpoint_every` cuts a sequence of T steps into segments of k. Each is a scan of its own, from the state that the one
before has left, so that its gradient is that of any scan. Instead of (S + G + states) * H numbers for each row, there
are the states at T / k places, and all numbers of one segment at a time. Chen et al. 2016, arXiv:1604.06174.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..cells.cell import State
from .backward import gradients
from .columns import Inputs
from .forward import History, Setting, steps


def remember(setting: Setting, inputs: Inputs) -> tuple[Tensor, State, list[Tensor]]:
    """Emitted rows, last state, and what `recall` needs: the history, or each state at the segments' beginnings."""
    if setting.checkpoint_every is None:
        output, state, history = steps(setting, inputs, keep=True)
        assert history is not None
        return output, state, [history.pre, *history.state_prev]
    output, state = inputs.x.new_empty(inputs.x.shape[0], inputs.state[0].shape[1]), inputs.state
    starts = []
    for segment, rows in _segments(setting):
        starts.append(state)
        output[rows], state, _ = steps(segment, _within(inputs, rows, state))
    return output, state, [torch.stack(s) for s in zip(*starts, strict=True)]


def recall(
    setting: Setting,
    inputs: Inputs,
    kept: Sequence[Tensor],
    needed: Sequence[bool],
    d_outputs: Sequence[Tensor | None],
) -> list[Tensor | None]:
    """The gradients of `inputs`, flat; arguments as of `backward.gradients`."""
    if setting.checkpoint_every is None:
        return gradients(setting, inputs, History(kept[0], tuple(kept[1:])), needed, d_outputs)
    d_output, *d_state = d_outputs
    dx = torch.empty_like(inputs.x) if needed[0] else None
    d_weights: list[Tensor | None] = [None] * 4
    for (segment, rows), *start in reversed([*zip(_segments(setting), *kept, strict=True)]):
        part = _within(inputs, rows, tuple(start))
        _, _, history = steps(segment, part, keep=True)
        assert history is not None
        upstream = [None if d_output is None else d_output[rows], *d_state]
        dx_part, *found = gradients(segment, part, history, needed, upstream)
        if dx is not None and dx_part is not None:
            dx[rows] = dx_part
        d_weights = [
            d if total is None or d is None else total.add_(d) for total, d in zip(d_weights, found, strict=False)
        ]
        d_state = found[4:]
    return [dx, *d_weights, *d_state]


def _segments(setting: Setting) -> list[tuple[Setting, slice]]:
    count, every = len(setting.sizes), setting.checkpoint_every
    assert every is not None
    return [*setting.cut(min(every, count - k) for k in range(0, count, every))]


def _within(inputs: Inputs, rows: slice, state: State) -> Inputs:
    return inputs._replace(x=inputs.x[rows], state=state)
