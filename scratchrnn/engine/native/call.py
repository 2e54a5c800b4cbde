"""A call into C: how its work is divided, the fields of scan.c's `scan`, and so many of those at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ...cells.cell import Cell
from ...equations.equations import Equations
from ..columns import Operands
from ..forward import Kept, Setting
from .library import Functions, Layout, crew, team
from .scratch import Sizes

ONE_THREAD, ROWS_ALONE, PANELS = range(3)
"""How the work of a scan is divided, as in scan.c."""

_PIECE = 2e10  # operations of one call into C, which no Ctrl-C interrupts: some tenths of a second
_MANY = 256  # scans of one call: each holds what it reads
_TINY = 4e4  # operations of a step
_LARGE = 1e7  # of the products outside the loop: several threads for them alone
_CACHED = 1 << 17  # bytes of weights of which each thread may have all
_NO_GRADIENTS = [0] * 14  # the last fields of `scan`, which only the way back has

# ---------------------------------------------------------------------------------------------------- how


def _tiny(batch: int, weights: int) -> bool:
    """Whether a second thread would take as long to be told as a step by one takes."""
    return 2 * batch * weights < _TINY


def divided(batch: int, weights: int, itemsize: int, threads: int) -> int:
    """How the work of steps of so many rows and so many weights is divided among threads."""
    if threads == 1 or _tiny(batch, weights):
        return ONE_THREAD
    if batch >= 4 * threads and weights * itemsize <= _CACHED:
        return ROWS_ALONE
    return PANELS


def how_divided(sizes: Sizes, of: Layout, large: bool, division: int | None, threads: int | None) -> tuple[int, int]:
    """The division of work, and the threads; `large`: whether there are products outside the loop that want several."""
    weights = sizes.outputs * sizes.R
    if threads is None:
        threads = team() if large or not _tiny(sizes.B, weights) else 1
    if division is None:
        division = divided(sizes.B, weights, of.bytes, threads)
    return division, threads if large or division != ONE_THREAD else 1


def sizes_of(setting: Setting, operands: Operands, shapes: Sequence[tuple[int, int]], rows: int) -> Sizes:
    """Of a scan of so many rows, whose states have these shapes."""
    (outputs, I), (B, R) = operands.weights.ih.shape, shapes[0]  # noqa: E741
    H = outputs // len(setting.cell.gates)
    width = len(setting.columns.places) * H
    return Sizes(len(shapes), B, rows, I, H, R, width, outputs, operands.weights.hr is not None)


def large_products(sizes: Sizes) -> bool:
    """Whether the products outside the loop want several threads for them alone."""
    return sizes.N * sizes.I * sizes.outputs > _LARGE


# ---------------------------------------------------------------------------------------------------- fields


def functions_of(setting: Setting, operands: Operands) -> Functions:
    """Of the cell, for this dtype."""
    return setting.native[operands.x.dtype]  # type: ignore[no-any-return]


def given_to(setting: Setting, operands: Operands, states: Sequence[Tensor | None]) -> list[Tensor | None]:
    """What a scan reads, to be held as long as it runs: the rows of each step, the numbers of the lines, the operands.

    `states` are those before the first step, or on the way back the gradients of the last.
    """
    packed = torch.tensor(setting.sizes, device="cpu") if operands.x.dim() == 2 else None
    numbers = _numbers(setting.cell) if functions_of(setting, operands).numbers else None
    return [packed, numbers, *dense((operands.x, *operands.weights, *states))]


def dense(tensors: Iterable[Tensor | None]) -> list[Tensor | None]:
    """Each as C reads it: row by row, without gaps."""
    return [None if t is None else t.contiguous() for t in tensors]


def _numbers(cell: Cell) -> Tensor:
    """Those that the lines have from outside, as they are now."""
    return torch.tensor([*Equations(cell).numbers.values()], dtype=torch.float64, device="cpu")


def _address(t: Tensor | None) -> int:
    return 0 if t is None else t.data_ptr()


def forward_fields(
    operands: Operands,
    room: Sequence[int],
    given: Sequence[Tensor | None],
    output: Tensor,
    state: Sequence[Tensor],
    kept: Kept | None,
) -> tuple[int, ...]:
    """The last fields of scan.c's `scan`."""
    panels_ih, panels, panels_hr, bias, unprojected, *of_steps = room
    pre, *prev = of_steps if kept is None else [t.data_ptr() for t in kept.flat()]
    if operands.weights.bias_ih is None:
        bias = 0
    rooms = panels_ih, panels, panels_hr, bias, kept is not None, pre, output.data_ptr(), unprojected, *prev
    return *map(_address, given), *rooms, *[t.data_ptr() for t in state], *_NO_GRADIENTS


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
    """The last fields of scan.c's `scan`; `added`: the gradients of the weights go to what is there already."""
    panels_ih, panels, panels_hr, unprojected, d_pre, d_carry, d_emitted, panels_x, blocks, *left = room
    d_bias, lost, *running = left
    pre, *prev = [t.data_ptr() for t in kept.flat()]
    running = [place if d is None else d.data_ptr() for d, place in zip(d_state, running, strict=True)]
    if not (needed.weights.bias_ih or needed.weights.bias_hh):
        d_bias = 0
    rooms = panels_ih, panels, panels_hr, 0, 1, pre, _address(d_output), unprojected, *prev, *running
    found = *map(_address, (dx, *d_weights)), panels_x, blocks, d_bias, lost
    return *map(_address, given), *rooms, added, d_pre, d_carry, d_emitted, *found


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
    how: tuple[int, int],
    back: bool,
    fields: Sequence[int],
    given: Sequence[Tensor | None],
) -> Iterator[Piece]:
    """A scan, cut where it is long."""
    _, B, _, I, H, R, _, outputs, _ = sizes  # noqa: E741
    T, (division, threads) = len(setting.sizes), how
    of_step = max(1, 2 * B * outputs * (I + R))
    length = max(1, int(_PIECE / of_step))
    cuts = range(0, T, length)
    for start in reversed(cuts) if back else cuts:
        end = min(start + length, T)
        row = _first_row(setting, end if back else start)
        place = back, division, T, start, end, row, setting.reverse, B, I, H, R
        yield Piece(of_step * (end - start), of.pack(*crew(threads), *place, *fields), given)


def _first_row(setting: Setting, k: int) -> int:
    """Where the rows of the k-th step that is taken begin, behind the last one too."""
    sizes, t = setting.sizes, len(setting.sizes) - 1 - k if setting.reverse else k
    return sum(sizes[: max(t, 0)])


def run(of: Functions, scans: Iterable[Piece]) -> None:
    """One after the other in C, some at a time, so that Ctrl-C is answered between."""
    together: list[Piece] = []
    operations = 0.0
    for piece in scans:
        if together and (operations + piece.operations > _PIECE or len(together) == _MANY):
            _call(of, together)
            together, operations = [], 0.0
        together.append(piece)
        operations += piece.operations
    _call(of, together)


def _call(of: Functions, together: Sequence[Piece]) -> None:
    of.run(b"".join([piece.scan for piece in together]), len(together))
