"""One scan by the native engine, forward and back; or cut into scans, of which the first states are kept.

As `engine.segments` cuts it for the torch engine: but many segments are one call into C, for one of a small cell takes
C less time than it takes Python to begin it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from ..columns import Operands, Weights
from ..forward import Kept, Run, Setting, state_shapes
from .call import (
    Piece,
    Sizes,
    back_fields,
    dense,
    forward_fields,
    given_to,
    how_divided,
    pieces,
    room_back,
    room_forward,
    run_in_c,
    sizes_of,
)
from .library import Functions
from .scratch import borrow, give_back, in_large_pages

_MUCH = 1 << 20  # numbers: of results of so many some may span large pages


def steps(
    setting: Setting, operands: Operands, keep: bool = False, division: int | None = None, threads: int | None = None
) -> Run:
    """The loop over time, as `engine.forward.steps`. Division and threads are the shape's and torch's if not given."""
    if keep and setting.checkpoint_every is not None:
        return _steps_in_segments(setting, operands, division, threads)
    x, shapes = operands.x, state_shapes(setting, operands)
    of: Functions = setting.native[x.dtype]
    sizes = sizes_of(setting, operands, shapes, x.numel() // x.shape[-1])
    output = x.new_empty(*x.shape[:-1], sizes.R)
    state = tuple([x.new_empty(shape) for shape in shapes])
    kept = new_kept(x, sizes) if keep else None
    if sizes.N * sizes.width >= _MUCH:
        in_large_pages([output, *(kept.flat() if kept else ())])
    how = how_divided(sizes, of.layout, division, threads, back=False)
    scratch, room = borrow(room_forward(of.layout, sizes, keep), x)
    given = given_to(of, setting, operands, operands.state)
    fields = forward_fields(operands, room, given, output, state, kept)
    run_in_c(of, pieces(of, setting, sizes, how, False, fields, given))
    give_back(scratch)
    return Run(output, state, kept)


def new_kept(x: Tensor, sizes: Sizes) -> Kept:
    """Room for what a scan keeps."""
    N, further = sizes.N, range(sizes.states - 1)
    return Kept(x.new_empty(N, sizes.width), (x.new_empty(N, sizes.R), *[x.new_empty(N, sizes.H) for _ in further]))


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
    x, shapes = operands.x, state_shapes(setting, operands)
    of: Functions = setting.native[x.dtype]
    sizes = sizes_of(setting, operands, shapes, x.numel() // x.shape[-1])
    kept = Kept.of(setting, [t.contiguous() for t in kept.flat()])  # a hook of saved tensors may lay it out anew
    d_output = None if upstream.output is None else upstream.output.contiguous()
    d_state = [x.new_empty(shape) if n else None for shape, n in zip(shapes, needed.state, strict=True)]
    dx, d_weights = new_gradients(operands, needed)
    if dx is not None and sizes.N * sizes.width >= _MUCH:
        in_large_pages([dx])
    how = how_divided(sizes, of.layout, division, threads, back=True)
    scratch, room = borrow(room_back(of.layout, sizes, how.threads), x)
    given = given_to(of, setting, operands, upstream.state)
    fields = back_fields(needed, room, given, kept, d_output, d_state, dx, d_weights)
    run_in_c(of, pieces(of, setting, sizes, how, True, fields, given))
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
    x, shapes = operands.x, state_shapes(setting, operands)
    of: Functions = setting.native[x.dtype]
    segments = setting.segments()
    sizes = sizes_of(setting, operands, shapes, _longest(segments))
    output = x.new_empty(*x.shape[:-1], sizes.R)
    state = tuple([x.new_empty(shape) for shape in shapes])
    starts = tuple([x.new_empty(len(segments), *shape) for shape in shapes])
    in_large_pages([output, *starts])
    for start, first in zip(starts, operands.state, strict=True):
        start[0] = 0 if first is None else first
    scratch, room = borrow(room_forward(of.layout, sizes, keep=False), x)
    how = how_divided(sizes, of.layout, division, threads, back=False)
    output_rows, before = output.flatten(0, -2), [*zip(*starts, strict=True)]

    def scans() -> Iterator[Piece]:
        for (segment, rows), first, last in zip(segments, before, [*before[1:], state], strict=True):
            given = given_to(of, segment, operands._replace(x=_part(x, segment, rows)), first)
            fields = forward_fields(operands, room, given, output_rows[rows], last, None)
            yield from pieces(of, segment, sizes, how, False, fields, given)

    run_in_c(of, scans())
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
    x, shapes = operands.x, state_shapes(setting, operands)
    of: Functions = setting.native[x.dtype]
    segments = setting.segments()
    sizes = sizes_of(setting, operands, shapes, _longest(segments))
    again, state = new_kept(x, sizes), [x.new_empty(shape) for shape in shapes]  # what is kept, and left, by each
    output = x.new_empty(sizes.N, sizes.R)
    d_state = tuple([x.new_empty(shape) for shape in shapes])
    dx, d_weights = new_gradients(operands, needed)
    if dx is not None:
        in_large_pages([dx])
    how = how_divided(sizes, of.layout, division, threads, back=True)
    scratch, room = borrow(room_back(of.layout, sizes, how.threads), x)
    scratch_forward, room_again = borrow(room_forward(of.layout, sizes, keep=True), x)
    dx_rows = None if dx is None else dx.flatten(0, -2)
    d_rows = None if upstream.output is None else upstream.output.contiguous().flatten(0, -2)

    def scans() -> Iterator[Piece]:
        arriving = upstream.state
        for (segment, rows), *first in reversed([*zip(segments, *kept.state_prev, strict=True)]):
            part = operands._replace(x=_part(x, segment, rows))
            given, given_back = given_to(of, segment, part, first), given_to(of, segment, part, arriving)
            d_output, d_part = (None if t is None else t[rows] for t in (d_rows, dx_rows))
            fields = forward_fields(operands, room_again, given, output, state, again)
            yield from pieces(of, segment, sizes, how, False, fields, given)
            added = arriving is d_state  # not by the segment that comes first
            fields = back_fields(needed, room, given_back, again, d_output, d_state, d_part, d_weights, added)
            yield from pieces(of, segment, sizes, how, True, fields, given_back)
            arriving = d_state

    run_in_c(of, scans())
    give_back(scratch_forward)
    give_back(scratch)
    return Operands(dx, Weights(*d_weights), d_state)  # type: ignore[arg-type]


def _longest(segments: Sequence[tuple[Setting, slice]]) -> int:
    """Of so many rows is the longest."""
    return max(sum(segment.sizes) for segment, _ in segments)


def _part(x: Tensor, segment: Setting, rows: slice) -> Tensor:
    """The segment's rows of x, laid out as x is."""
    return x[rows] if x.dim() == 2 else x.flatten(0, 1)[rows].view(len(segment.sizes), *x.shape[1:])
