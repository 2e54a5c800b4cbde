"""One scan by the engine that its setting names; by torch's, cut into scans where only their first states are kept."""

from __future__ import annotations

from typing import Any

import torch

from . import backward, forward
from .columns import Operands, Weights
from .forward import Kept, Run, Setting
from .native import run as native


def steps(setting: Setting, operands: Operands, keep: bool = False) -> Run:
    """The loop over time; `keep`: what the gradient needs."""
    if setting.native:
        return native.steps(setting, operands, keep)
    if keep and setting.checkpoint_every is not None:
        return _in_segments(setting, operands)
    return forward.steps(setting, operands, keep=keep)


def gradients(setting: Setting, operands: Operands, kept: Kept, needed: Operands, upstream: Run) -> Operands:
    """The gradients of the operands that are needed, by what the scan has kept: see `backward.gradients`."""
    if setting.native:
        by = native.gradients
    else:
        by = backward.gradients if setting.checkpoint_every is None else _gradients_in_segments
    found = by(setting, operands, kept, needed, upstream).flat()
    return Operands.of([d if n else None for d, n in zip(found, needed.flat(), strict=True)])


def _in_segments(setting: Setting, operands: Operands) -> Run:
    """A scan cut into scans, of which the first states are kept."""
    rows, state = operands.x.flatten(0, -2), forward.initial(setting, operands)
    output = rows.new_empty(*operands.x.shape[:-1], state[0].shape[-1])
    output_rows, starts = output.flatten(0, -2), []
    for segment, where in setting.segments():
        starts.append(state)
        run = forward.steps(segment, operands._replace(x=rows[where], state=state))
        output_rows[where], state = run.output, run.state
    kept = Kept(None, tuple(torch.cat(s) for s in zip(*starts, strict=True)))
    return Run(output, state, kept)


def _gradients_in_segments(
    setting: Setting, operands: Operands, kept: Kept, needed: Operands, upstream: Run
) -> Operands:
    """Of a scan cut into scans, each run again from the state that it began with."""
    x = operands.x.flatten(0, -2)
    d_output = None if upstream.output is None else upstream.output.flatten(0, -2)
    dx = x.new_empty(x.shape) if needed.x else None
    d_weights: list[Any] = []
    needed = needed._replace(state=(True,) * len(operands.state))  # by the segment before
    d_state = upstream.state
    for (segment, rows), *start in reversed([*zip(setting.segments(), *kept.state_prev, strict=True)]):
        part = operands._replace(x=x[rows], state=tuple([s.unsqueeze(0) for s in start]))
        again = forward.steps(segment, part, keep=True).kept
        assert again is not None
        d_part = Run(None if d_output is None else d_output[rows], d_state)
        found = backward.gradients(segment, part, again, needed, d_part)
        d_state = found.state
        if dx is not None:
            dx[rows] = found.x
        added = zip(d_weights or found.weights, found.weights, strict=True)
        d_weights = [total if total is None or total is more else total.add_(more) for total, more in added]
    return Operands(None if dx is None else dx.view_as(operands.x), Weights(*d_weights), d_state)
