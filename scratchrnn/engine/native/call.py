"""A call into C: how its work is divided, the room it needs, the fields of scan.c's `scan`, and many in turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ...cells.cell import Cell
from ...equations.equations import Equations
from ..columns import Operands
from ..forward import Kept, Setting
from .library import Functions, Layout, available_threads, crew
from .scratch import parts_of

ONE_THREAD, ROWS_ALONE, PANELS = range(3)
"""How the work of a step is divided, as in scan.c: one thread does it; each has rows of its own, or panels."""

_PIECE = 2e10  # operations of one call into C, which no Ctrl-C interrupts: some tenths of a second
_MANY = 256  # scans of one call: each holds what it reads
_TINY = 4e4  # operations of a step: of fewer, a second thread would take as long to be told as one takes for all
_LARGE = 1e7  # of the products outside the loop: several threads for them alone
_CACHED = 1 << 17  # bytes of weights of which each thread may have all
_NO_GRADIENTS = [0] * 14  # the last fields of `scan`, which only the way back has

# ---------------------------------------------------------------------------------------------------- how


class Sizes(NamedTuple):
    """Of one scan, by its letters."""

    states: int
    B: int
    N: int  # rows
    I: int  # noqa: E741
    H: int
    R: int
    width: int  # (S + G) * H, of a row of pre-activations
    outputs: int  # G * H
    projected: bool


def sizes_of(setting: Setting, operands: Operands, shapes: Sequence[tuple[int, int]], rows: int) -> Sizes:
    """Of a scan of so many rows, whose states have these shapes."""
    (outputs, I), (B, R) = operands.weights.ih.shape, shapes[0]  # noqa: E741
    H = outputs // len(setting.cell.gates)
    width = len(setting.columns.places) * H
    return Sizes(len(shapes), B, rows, I, H, R, width, outputs, operands.weights.hr is not None)


class How(NamedTuple):
    """The division of a step's work, and the threads of the call."""

    division: int
    threads: int


def how_divided(sizes: Sizes, layout: Layout, division: int | None, threads: int | None, back: bool) -> How:
    """As given, or as the sizes ask for; on the way back products outside the loop may want threads of their own."""
    weights = sizes.outputs * sizes.R
    tiny = 2 * sizes.B * weights < _TINY
    large = back and sizes.N * sizes.I * sizes.outputs > _LARGE
    if threads is None:
        threads = 1 if tiny and not large else available_threads()
    if division is None:
        if threads == 1 or tiny:
            division = ONE_THREAD
        elif 4 * threads <= sizes.B and weights * layout.bytes <= _CACHED:
            division = ROWS_ALONE
        else:
            division = PANELS
    return How(division, threads if large or division != ONE_THREAD else 1)


# ------------------------------------------------------------------------------------------- room and fields


def given_to(
    of: Functions, setting: Setting, operands: Operands, states: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """What a scan reads, to be held as long as it runs: the rows of each step, the numbers of the lines, the operands.

    `states` are those before the first step, or on the way back the gradients of the last.
    """
    packed = torch.tensor(setting.sizes, device="cpu") if operands.x.dim() == 2 else None
    numbers = _numbers(setting.cell) if of.numbers else None
    return [packed, numbers, *dense((operands.x, *operands.weights, *states))]


def dense(tensors: Iterable[Tensor | None]) -> list[Tensor | None]:
    """Each as C reads it: row by row, without gaps."""
    return [None if t is None else t.contiguous() for t in tensors]


def _numbers(cell: Cell) -> Tensor:
    """Those that the lines have from outside, as they are now."""
    return torch.tensor([*Equations(cell).numbers.values()], dtype=torch.float64, device="cpu")


def _address(t: Tensor | None) -> int:
    return 0 if t is None else t.data_ptr()


@lru_cache(1 << 10)
def room_forward(layout: Layout, sizes: Sizes, keep: bool) -> tuple[int, ...]:
    """What a scan needs beside what it gives, in the order in which `forward_fields` names the parts.

    Panels of W_ih, W_hh and W_hr; the bias; h' before its projection; and where nothing is kept, the pre-activations of
    a chunk, and two steps' states.
    """
    states, B, N, I, H, R, width, _, projected = sizes  # noqa: E741
    room = [layout.panels_of_gates(H, I), layout.panels_of_gates(H, R)]
    room += [layout.panels(R, H) if projected else 0, width, B * H if projected else 0]
    if not keep:
        room += [min(N, layout.chunk + B) * width, 2 * B * R, *[2 * B * H] * (states - 1)]
    return parts_of(room, layout.bytes)


def forward_fields(
    operands: Operands,
    room: Sequence[int],
    given: Sequence[Tensor | None],
    output: Tensor,
    state: Sequence[Tensor],
    kept: Kept | None,
) -> tuple[int, ...]:
    """The fields of scan.c's `scan` from `sizes` on, in its order."""
    panels_ih, panels, panels_hr, bias, unprojected, *of_steps = room
    pre, *prev = of_steps if kept is None else [t.data_ptr() for t in kept.flat()]
    if operands.weights.bias_ih is None:
        bias = 0
    inner = panels_ih, panels, panels_hr, bias, kept is not None, pre, output.data_ptr(), unprojected, *prev
    return *map(_address, given), *inner, *[t.data_ptr() for t in state], *_NO_GRADIENTS


@lru_cache(1 << 10)
def room_back(layout: Layout, sizes: Sizes, threads: int) -> tuple[int, ...]:
    """What its gradients need, in the order in which `back_fields` names the parts.

    Panels of W_ih, W_hh and W_hr; h' before its projection; dpre of a chunk, and of the step behind it; dh; panels of a
    chunk's rows; the blocks that threads copy; db, and what it has lost; the gradients of the states as they go.
    """
    states, B, N, I, H, R, width, outputs, projected = sizes  # noqa: E741
    rows = min(N, layout.chunk_back + B)
    room = [layout.panels(I, outputs), layout.panels(R, outputs)]
    room += [layout.panels(H, R), N * H] if projected else [0, 0]
    room += [rows * width, B * width, N * R if projected else 0]
    room += [layout.panels(max(I, R, H), rows), threads * layout.block, width, width]
    return parts_of([*room, B * R, *[B * H] * (states - 1)], layout.bytes)


def back_fields(
    needed: Operands,
    room: Sequence[int],
    given: Sequence[Tensor | None],
    kept: Kept,
    d_output: Tensor | None,
    d_state: Sequence[Tensor | None],
    dx: Tensor | None,
    d_weights: Sequence[Tensor | None],
    added: bool = False,
) -> tuple[int, ...]:
    """As `forward_fields`, on the way back; `added`: the gradients of the weights go to what is there already."""
    panels_ih, panels, panels_hr, unprojected, d_pre, d_carry, d_emitted, *further = room
    panels_x, blocks, d_bias, lost, *running = further
    pre, *prev = [t.data_ptr() for t in kept.flat()]
    running = [place if d is None else d.data_ptr() for d, place in zip(d_state, running, strict=True)]
    if not (needed.weights.bias_ih or needed.weights.bias_hh):
        d_bias = 0
    no_bias, keep = 0, True  # `pre` has been kept, with the biases in it
    inner = panels_ih, panels, panels_hr, no_bias, keep, pre, _address(d_output), unprojected, *prev, *running
    found = *map(_address, (dx, *d_weights)), panels_x, blocks, d_bias, lost
    return *map(_address, given), *inner, added, d_pre, d_carry, d_emitted, *found


# ---------------------------------------------------------------------------------------------------- the call


class Piece(NamedTuple):
    """Some steps of a scan."""

    operations: float
    scan: bytes  # as C takes it
    given: Sequence[Tensor | None]  # what it reads


def pieces(
    of: Functions,
    setting: Setting,
    sizes: Sizes,
    how: How,
    back: bool,
    fields: Sequence[int],
    given: Sequence[Tensor | None],
) -> Iterator[Piece]:
    """A scan, cut where it is long."""
    T = len(setting.sizes)
    of_step = max(1, 2 * sizes.B * sizes.outputs * (sizes.I + sizes.R))
    length = max(1, int(_PIECE / of_step))
    cuts = range(0, T, length)
    for start in reversed(cuts) if back else cuts:
        end = min(start + length, T)
        row = _first_row(setting, end if back else start)
        place = back, how.division, T, start, end, row, setting.reverse, sizes.B, sizes.I, sizes.H, sizes.R
        yield Piece(of_step * (end - start), of.pack(*crew(how.threads), *place, *fields), given)


def _first_row(setting: Setting, k: int) -> int:
    """Where the rows of the k-th step that is taken begin, or would begin behind the last one."""
    sizes, t = setting.sizes, len(setting.sizes) - 1 - k if setting.reverse else k
    return sum(sizes[: max(t, 0)])


def run_in_c(of: Functions, scans: Iterable[Piece]) -> None:
    """One after the other in C, some at a time, so that Ctrl-C is answered between."""
    together: list[Piece] = []
    operations = 0.0
    for piece in scans:
        if together and (operations + piece.operations > _PIECE or len(together) == _MANY):
            _run(of, together)
            together, operations = [], 0.0
        together.append(piece)
        operations += piece.operations
    _run(of, together)


def _run(of: Functions, together: Sequence[Piece]) -> None:
    of.run(b"".join([piece.scan for piece in together]), len(together))
