"""One scan by the native engine, forward and back; or cut into scans, of which the first states are kept.

As `engine.segments` cuts it for the torch engine: but many segments are one call into C, for one of a small cell takes
C less time than it takes Python to begin it.
"""

from __future__ import annotations

from torch import Tensor

from ..columns import Operands, Weights
from ..forward import Kept, Run, Setting
from .call import Sizes, dense, fields, how_divided, run_in_c, sizes_of, tensors_of
from .library import Functions
from .scratch import in_large_pages

_MUCH = 1 << 20  # numbers: of results of so many some may span large pages


def steps(
    setting: Setting, operands: Operands, keep: bool = False, division: int | None = None, threads: int | None = None
) -> Run:
    """The loop over time, as `engine.forward.steps`. Division and threads are the shape's and torch's if not given."""
    if keep and setting.checkpoint_every is not None:
        return _steps_in_segments(setting, operands, division, threads)
    x, sizes = operands.x, sizes_of(setting, operands)
    of = _functions(setting, x)
    output, state = x.new_empty(sizes.output), tuple([x.new_empty(shape) for shape in sizes.states])
    kept = new_kept(setting, x, sizes) if keep else None
    if sizes.N * sizes.outputs >= _MUCH:
        in_large_pages([output, *(kept.flat() if kept else ())])
    how = how_divided(sizes, x.itemsize, division, threads, back=False)
    tensors = tensors_of(of, setting, operands, operands.state, kept, [output, *state])
    run_in_c(of, x, [fields(of, setting, sizes, how, tensors)])
    return Run(output, state, kept)


def new_kept(setting: Setting, x: Tensor, sizes: Sizes) -> Kept:
    """Room for what a scan keeps."""
    N, H, further = sizes.N, sizes.H, setting.cell.states[1:]
    pre = x.new_empty(N, len(setting.cell.pre_activations) * H)
    return Kept(pre, (x.new_empty(N, sizes.R), *[x.new_empty(N, H) for _ in further]))


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
    x, sizes = operands.x, sizes_of(setting, operands)
    of = _functions(setting, x)
    kept = Kept.of(setting, dense(kept.flat()))  # type: ignore[arg-type]  # a hook of saved tensors may lay it out anew
    d_state = [x.new_empty(shape) if n else None for shape, n in zip(sizes.states, needed.state, strict=True)]
    dx, d_weights = new_gradients(operands, needed)
    if dx is not None and sizes.N * sizes.outputs >= _MUCH:
        in_large_pages([dx])
    how = how_divided(sizes, x.itemsize, division, threads, back=True)
    arriving, results = upstream.state, [*dense([upstream.output]), *d_state]
    tensors = tensors_of(of, setting, operands, arriving, kept, results, [dx, *d_weights])
    run_in_c(of, x, [fields(of, setting, sizes, how, tensors, back=True)])
    return Operands(dx, Weights(*d_weights), tuple(d_state))  # type: ignore[arg-type]


def new_gradients(operands: Operands, needed: Operands) -> tuple[Tensor | None, list[Tensor | None]]:
    """Room for those of x and the weights."""
    x, pairs = operands.x, zip((operands.x, *operands.weights), (needed.x, *needed.weights), strict=True)
    dx, *d_weights = [x.new_empty(t.shape) if n and t is not None else None for t, n in pairs]
    return dx, d_weights


# ---------------------------------------------------------------------------------------------------- in segments


def _steps_in_segments(setting: Setting, operands: Operands, division: int | None, threads: int | None) -> Run:
    """Each segment begins with the states that the one before has left."""
    operands = Operands.of(dense(operands.flat()))  # once, or each segment would hold copies of its own
    x, segments = operands.x, setting.segments()
    sizes = sizes_of(setting, operands, max(sum(segment.sizes) for segment, _ in segments))  # of the longest
    of = _functions(setting, x)
    output, state = x.new_empty(sizes.output), tuple([x.new_empty(shape) for shape in sizes.states])
    starts = tuple([x.new_empty(len(segments), *shape[1:]) for shape in sizes.states])
    in_large_pages([output, *starts])
    for start, first in zip(starts, operands.state, strict=True):
        start[:1] = 0 if first is None else first
    how = how_divided(sizes, x.itemsize, division, threads, back=False)
    output_rows, before = output.flatten(0, -2), [*zip(*starts, strict=True)]

    scans, held = [], []  # what C reads and writes has to live until it is done
    for (segment, rows), first, last in zip(segments, before, [*before[1:], state], strict=True):
        part = operands._replace(x=_part(x, segment, rows))
        tensors = tensors_of(of, segment, part, first, None, [output_rows[rows], *last])
        held.append(tensors)
        scans.append(fields(of, segment, sizes, how, tensors))
    run_in_c(of, x, scans)
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
    x, segments = operands.x, setting.segments()
    sizes = sizes_of(setting, operands, max(sum(segment.sizes) for segment, _ in segments))  # of the longest
    of = _functions(setting, x)
    again, state = new_kept(setting, x, sizes), [x.new_empty(shape) for shape in sizes.states]  # what is kept, and left
    output = x.new_empty(sizes.N, sizes.R)
    d_state = tuple([x.new_empty(shape) for shape in sizes.states])
    dx, d_weights = new_gradients(operands, needed)
    if dx is not None:
        in_large_pages([dx])
    how = how_divided(sizes, x.itemsize, division, threads, back=True)
    dx_rows = None if dx is None else dx.flatten(0, -2)
    d_rows = None if upstream.output is None else upstream.output.contiguous().flatten(0, -2)

    scans: list[bytes] = []
    held: list[list[Tensor | None]] = []
    arriving = upstream.state
    for (segment, rows), *first in reversed([*zip(segments, *kept.state_prev, strict=True)]):
        part = operands._replace(x=_part(x, segment, rows))
        forth = tensors_of(of, segment, part, first, again, [output, *state])
        d_output, d_part = (None if t is None else t[rows] for t in (d_rows, dx_rows))
        back = tensors_of(of, segment, part, arriving, again, [d_output, *d_state], [d_part, *d_weights])
        held += forth, back
        scans.append(fields(of, segment, sizes, how, forth))
        scans.append(fields(of, segment, sizes, how, back, back=True, added=len(scans) > 1))
        arriving = d_state
    run_in_c(of, x, scans)
    return Operands(dx, Weights(*d_weights), d_state)  # type: ignore[arg-type]


def _functions(setting: Setting, x: Tensor) -> Functions:
    found: Functions = setting.native[x.dtype]
    return found


def _part(x: Tensor, segment: Setting, rows: slice) -> Tensor:
    """The segment's rows of x, laid out as x is."""
    return x[rows] if x.dim() == 2 else x.flatten(0, 1)[rows].view(len(segment.sizes), *x.shape[1:])
