"""One scan by the native engine, forward and back; C cuts it into segments where their first states alone are kept."""

from __future__ import annotations

from ..columns import Operands, Weights
from ..forward import Kept, Run, Setting
from .call import Sizes, dense, run_in_c, sizes_of
from .scratch import in_large_pages

_MUCH = 1 << 20  # numbers: of results of so many some may span large pages


def steps(setting: Setting, operands: Operands, keep: bool = False) -> Run:
    """The loop over time, as `engine.forward.steps`."""
    x, sizes = operands.x, sizes_of(setting, operands)
    output, state = x.new_empty(*sizes.output), tuple([x.new_empty(*shape) for shape in sizes.states])
    kept = _new_kept(setting, operands, sizes) if keep else None
    if sizes.N * sizes.outputs >= _MUCH:
        in_large_pages([output, *(kept.flat() if kept else ())])
    run_in_c(setting, operands, sizes, operands.state, kept, [output, *state])
    return Run(output, state, kept)


def _new_kept(setting: Setting, operands: Operands, sizes: Sizes) -> Kept:
    """Room for what a scan keeps; where segments begin, the first with the states that are given."""
    x, N, H = operands.x, sizes.N, sizes.H
    if setting.checkpoint_every is None:
        pre = x.new_empty(N, len(setting.cell.pre_activations) * H)
        return Kept(pre, (x.new_empty(N, sizes.R), *[x.new_empty(N, H) for _ in setting.cell.states[1:]]))
    segments = -(-len(setting.sizes) // setting.checkpoint_every)
    starts = tuple([x.new_empty(segments, *shape[1:]) for shape in sizes.states])
    for start, first in zip(starts, operands.state, strict=True):
        start[:1] = 0 if first is None else first
    return Kept(None, starts)


def gradients(setting: Setting, operands: Operands, kept: Kept, needed: Operands, upstream: Run) -> Operands:
    """The gradients of the operands, as `engine.backward.gradients`."""
    x, sizes, every = operands.x, sizes_of(setting, operands), setting.checkpoint_every
    kept = Kept.of(setting, dense(kept.flat()))  # type: ignore[arg-type]  # a hook of saved tensors may lay it out anew
    pairs = zip((operands.x, *operands.weights), (needed.x, *needed.weights), strict=True)
    dx, *d_weights = [x.new_empty(*t.shape) if n and t is not None else None for t, n in pairs]
    d_state = [x.new_empty(*shape) if n or every else None for shape, n in zip(sizes.states, needed.state, strict=True)]
    if dx is not None and sizes.N * sizes.outputs >= _MUCH:
        in_large_pages([dx])
    results = [*dense([upstream.output]), *d_state]
    run_in_c(setting, operands, sizes, upstream.state, kept, results, [dx, *d_weights])
    return Operands(dx, Weights(*d_weights), tuple(d_state))  # type: ignore[arg-type]
