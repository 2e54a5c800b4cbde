"""One scan by the native engine, forward and back; or cut into scans, of which the first states are kept.

As `engine.segments` cuts it for the torch engine: but all segments are one call into C, for one of a small cell takes C
less time than it takes Python to begin it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from ..columns import Operands, Weights
from ..forward import Kept, Run, Setting, state_shapes
from .call import (
    Piece,
    back_fields,
    dense,
    forward_fields,
    functions_of,
    given_to,
    how_divided,
    large_products,
    pieces,
    run,
    sizes_of,
)
from .scratch import Sizes, borrow, give_back, room_back, room_forward


def steps(
    setting: Setting, operands: Operands, keep: bool = False, division: int | None = None, threads: int | None = None
) -> Run:
    """The loop over time, as `engine.forward.steps`. Division and threads are the shape's and torch's if not given."""
    if keep and setting.checkpoint_every is not None:
        return _steps_in_segments(setting, operands, division, threads)
    of, x, shapes = functions_of(setting, operands), operands.x, state_shapes(setting, operands)
    sizes = sizes_of(setting, operands, shapes, x.numel() // x.shape[-1])
    output = x.new_empty(*x.shape[:-1], sizes.R)
    state = tuple([x.new_empty(shape) for shape in shapes])
    kept = new_kept(x, sizes) if keep else None
    scratch, room = borrow(room_forward(of.layout, sizes, keep), x)
    given = given_to(setting, operands, operands.state)
    fields = forward_fields(operands, room, given, output, state, kept)
    run(of, pieces(of, setting, sizes, how_divided(sizes, of.layout, False, division, threads), False, fields, given))
    give_back(scratch)
    return Run(output, state, kept)


def new_kept(x: Tensor, sizes: Sizes) -> Kept:
    """Room for what a scan keeps."""
    states, _, N, _, H, R, width, _, _ = sizes
    return Kept(x.new_empty(N, width), (x.new_empty(N, R), *[x.new_empty(N, H) for _ in range(states - 1)]))


def gradients(
    setting: Setting,
    operands: Operands,
    kept: Kept,
    needed: Operands,
    upstream: Run,
    division: int | None = None,
    threads: int | None = None,
) -> Operands:
    """The gradients of the operands, as `engine.backward.gradients`."""
    if setting.checkpoint_every is not None:
        return _gradients_in_segments(setting, operands, kept, needed, upstream, division, threads)
    of, x, shapes = functions_of(setting, operands), operands.x, state_shapes(setting, operands)
    sizes = sizes_of(setting, operands, shapes, x.numel() // x.shape[-1])
    kept = Kept.of(setting, [t.contiguous() for t in kept.flat()])
    d_output = None if upstream.output is None else upstream.output.contiguous()
    d_state = [x.new_empty(shape) if n else None for shape, n in zip(shapes, needed.state, strict=True)]
    dx, d_weights = new_gradients(operands, needed)
    how = how_divided(sizes, of.layout, large_products(sizes), division, threads)
    scratch, room = borrow(room_back(of.layout, sizes, how[1]), x)
    given = given_to(setting, operands, upstream.state)
    fields = back_fields(needed, room, given, kept, d_output, d_state, dx, d_weights)
    run(of, pieces(of, setting, sizes, how, True, fields, given))
    give_back(scratch)
    return Operands(dx, Weights(*d_weights), tuple(d_state))  # type: ignore[arg-type]


def new_gradients(operands: Operands, needed: Operands) -> tuple[Tensor | None, list[Tensor | None]]:
    """Room for those of x and the weights."""
    pairs = zip((operands.x, *operands.weights), (needed.x, *needed.weights), strict=True)
    dx, *d_weights = [t.new_empty(t.shape) if n and t is not None else None for t, n in pairs]
    return dx, d_weights


# ---------------------------------------------------------------------------------------------------- in segments


def _steps_in_segments(setting: Setting, operands: Operands, division: int | None, threads: int | None) -> Run:
    """Each segment begins with the states that the one before has left."""
    operands = Operands.of(dense(operands.flat()))  # once, or each segment would hold copies of its own
    of, x, shapes = functions_of(setting, operands), operands.x, state_shapes(setting, operands)
    segments = setting.segments()
    sizes = sizes_of(setting, operands, shapes, _longest(segments))
    output = x.new_empty(*x.shape[:-1], sizes.R)
    state = tuple([x.new_empty(shape) for shape in shapes])
    starts = tuple([x.new_empty(len(segments), *shape) for shape in shapes])
    for start, first in zip(starts, operands.state, strict=True):
        start[0] = 0 if first is None else first
    scratch, room = borrow(room_forward(of.layout, sizes, keep=False), x)
    how = how_divided(sizes, of.layout, False, division, threads)
    output_rows, before = output.flatten(0, -2), [*zip(*starts, strict=True)]

    def scans() -> Iterator[Piece]:
        for (segment, rows), first, last in zip(segments, before, [*before[1:], state], strict=True):
            given = given_to(segment, operands._replace(x=_part(x, segment, rows)), first)
            fields = forward_fields(operands, room, given, output_rows[rows], last, None)
            yield from pieces(of, segment, sizes, how, False, fields, given)

    run(of, scans())
    give_back(scratch)
    return Run(output, state, Kept(None, starts))


def _gradients_in_segments(
    setting: Setting,
    operands: Operands,
    kept: Kept,
    needed: Operands,
    upstream: Run,
    division: int | None,
    threads: int | None,
) -> Operands:
    """Each segment, the last one first, runs again and then back; the one before takes its gradients of the states."""
    operands = Operands.of(dense(operands.flat()))  # once, or each segment would hold copies of its own
    of, x, shapes = functions_of(setting, operands), operands.x, state_shapes(setting, operands)
    segments = setting.segments()
    sizes = sizes_of(setting, operands, shapes, _longest(segments))
    again, state = new_kept(x, sizes), [x.new_empty(shape) for shape in shapes]  # what is kept, and left, by each
    output = x.new_empty(sizes.N, sizes.R)
    d_state = tuple([x.new_empty(shape) for shape in shapes])
    dx, d_weights = new_gradients(operands, needed)
    how = how_divided(sizes, of.layout, large_products(sizes), division, threads)
    scratch, room = borrow(room_back(of.layout, sizes, how[1]), x)
    scratch_forward, room_again = borrow(room_forward(of.layout, sizes, keep=True), x)
    dx_rows = None if dx is None else dx.flatten(0, -2)
    d_rows = None if upstream.output is None else upstream.output.contiguous().flatten(0, -2)

    def scans() -> Iterator[Piece]:
        arriving = upstream.state
        for (segment, rows), *first in reversed([*zip(segments, *kept.state_prev, strict=True)]):
            part, more = operands._replace(x=_part(x, segment, rows)), arriving is d_state
            given, given_back = given_to(segment, part, first), given_to(segment, part, arriving)
            d_output, d_part = (None if t is None else t[rows] for t in (d_rows, dx_rows))
            fields = forward_fields(operands, room_again, given, output, state, again)
            yield from pieces(of, segment, sizes, how, False, fields, given)
            fields = back_fields(needed, room, given_back, again, d_output, d_state, d_part, d_weights, more)
            yield from pieces(of, segment, sizes, how, True, fields, given_back)
            arriving = d_state

    run(of, scans())
    give_back(scratch_forward)
    give_back(scratch)
    return Operands(dx, Weights(*d_weights), d_state)  # type: ignore[arg-type]


def _longest(segments: Sequence[tuple[Setting, slice]]) -> int:
    """Of so many rows is the longest."""
    return max(sum(segment.sizes) for segment, _ in segments)


def _part(x: Tensor, segment: Setting, rows: slice) -> Tensor:
    """The segment's rows of x, laid out as x is."""
    return x[rows] if x.dim() == 2 else x.flatten(0, 1)[rows].view(len(segment.sizes), *x.shape[1:])
