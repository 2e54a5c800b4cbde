"""A call into C: how its work is divided, the fields of scan.c's `scan`, and many of them in turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ...cells.cell import Cell
from ...equations.equations import Equations
from ..columns import Operands
from ..forward import Kept, Setting, batch_of
from .library import Functions, available_threads, crew
from .scratch import borrow, give_back

ONE_THREAD, ROWS_ALONE, PANELS = range(3)
"""How the work of a step is divided, as in scan.c: one thread does it; each has rows of its own, or panels."""

_PIECE = 2e10  # operations of one call into C, which no Ctrl-C interrupts: some tenths of a second
_TINY = 4e4  # operations of a step: of fewer, a second thread would take as long to be told as one takes for all
_LARGE = 1e7  # of the products outside the loop: several threads for them alone
_CACHED = 1 << 17  # bytes of weights of which each thread may have all
_NO_GRADIENTS = (None,) * 6  # of x and the weights


class Sizes(NamedTuple):
    """Of one scan, by its letters."""

    B: int
    N: int  # rows
    I: int  # noqa: E741
    H: int
    R: int
    projected: bool
    outputs: int  # G * H
    output: tuple[int, ...]  # its shape, and those
    states: tuple[tuple[int, int, int], ...]  # of a row's states


def sizes_of(setting: Setting, operands: Operands, rows: int | None = None) -> Sizes:
    """Of a scan of so many rows, if not of all."""
    x, (W_ih, W_hh, _, _, W_hr), state = operands
    of_weights = W_ih.shape, W_hh.shape, W_hr is not None, len(setting.cell.gates)
    return _sizes(x.shape, *of_weights, len(state), batch_of(setting, operands), rows)


@lru_cache(1 << 10)
def _sizes(
    x: torch.Size, W_ih: torch.Size, W_hh: torch.Size, projected: bool, gates: int, states: int, B: int, N: int | None
) -> Sizes:
    (outputs, I), R, H = W_ih, W_hh[1], W_ih[0] // gates  # noqa: E741
    of_states = (1, B, R), *[(1, B, H)] * (states - 1)
    return Sizes(B, x.numel() // I if N is None else N, I, H, R, projected, outputs, (*x[:-1], R), of_states)


class How(NamedTuple):
    """The division of a step's work, and the threads of the call."""

    division: int
    threads: int


def how_divided(sizes: Sizes, itemsize: int, division: int | None, threads: int | None, back: bool) -> How:
    """As given, or as the sizes ask for; on the way back products outside the loop may want threads of their own."""
    weights = sizes.outputs * sizes.R
    tiny = 2 * sizes.B * weights < _TINY
    large = back and sizes.N * sizes.I * sizes.outputs > _LARGE
    if threads is None:
        threads = 1 if tiny and not large else available_threads()
    if division is None:
        if threads == 1 or tiny:
            division = ONE_THREAD
        elif 4 * threads <= sizes.B and weights * itemsize <= _CACHED:
            division = ROWS_ALONE
        else:
            division = PANELS
    return How(division, threads if large or division != ONE_THREAD else 1)


# ---------------------------------------------------------------------------------------------------- the fields


def tensors_of(
    of: Functions,
    setting: Setting,
    operands: Operands,
    states: Sequence[Tensor | None],
    kept: Kept | None,
    results: Sequence[Tensor | None],
    gradients: Sequence[Tensor | None] = _NO_GRADIENTS,
) -> list[Tensor | None]:
    """Those of a scan, in the order of scan.c's fields, from the rows of each step and the numbers of the lines on.

    `states` are those before the first step, or on the way back the gradients of the last; `results` are the output
    and the states after the last step, or the gradients of the output and of the states before the first.
    """
    packed = torch.tensor(setting.sizes, device="cpu") if operands.x.dim() == 2 else None
    numbers = _numbers(setting.cell) if of.numbers else None
    of_kept = (None,) * (1 + len(states)) if kept is None else kept.flat()
    return [packed, numbers, *dense((operands.x, *operands.weights, *states)), *of_kept, *results, *gradients]


def dense(tensors: Iterable[Tensor | None]) -> list[Tensor | None]:
    """Each as C reads it: row by row, without gaps."""
    return [None if t is None else t.contiguous() for t in tensors]


def _numbers(cell: Cell) -> Tensor:
    """Those that the lines have from outside, as they are now."""
    return torch.tensor([*Equations(cell).numbers.values()], dtype=torch.float64, device="cpu")


def fields(
    of: Functions,
    setting: Setting,
    sizes: Sizes,
    how: How,
    tensors: Iterable[Tensor | None],
    back: bool = False,
    added: bool = False,
) -> bytes:
    """A scan as C takes it; `added`: the gradients of the weights go to what is there already."""
    place = back, added, how.division, setting.reverse, len(setting.sizes), *sizes[:5]
    return of.pack(*crew(how.threads), *place, *[0 if t is None else t.data_ptr() for t in tensors])


# ---------------------------------------------------------------------------------------------------- the call


def run_in_c(of: Functions, like: Tensor, scans: Sequence[bytes]) -> None:
    """One after the other in C; in pieces, between which Ctrl-C is answered."""
    together, scratch = b"".join(scans), borrow(like)
    done = -1
    while done:
        done = of.run(together, len(scans), scratch.data_ptr(), scratch.numel(), max(done, 0), _PIECE)
        if done < 0:
            scratch = like.new_empty(-done, dtype=torch.uint8)
    give_back(scratch)
