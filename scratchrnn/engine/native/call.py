"""A call into C: how its work is divided, and the fields of scan.c's `scan`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from ...equations.equations import Equations
from ..columns import Operands
from ..forward import Kept, Setting, batch_of
from .library import Functions, available_threads, openmp
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
    N: int  # rows in all
    I: int  # noqa: E741
    H: int
    R: int
    outputs: int  # G * H
    output: tuple[int, ...]  # [T, B, R] or [N, R]
    states: tuple[tuple[int, int, int], ...]  # [1, B, R], [1, B, H], ...


def sizes_of(setting: Setting, operands: Operands) -> Sizes:
    """Of a scan."""
    x, (W_ih, W_hh, *_), state = operands
    return _sizes(x.shape, W_ih.shape, W_hh.shape, len(setting.cell.gates), len(state), batch_of(setting, operands))


@lru_cache(1 << 10)
def _sizes(x: torch.Size, W_ih: torch.Size, W_hh: torch.Size, gates: int, states: int, B: int) -> Sizes:
    (outputs, I), R, H = W_ih, W_hh[1], W_ih[0] // gates  # noqa: E741
    of_states = (1, B, R), *[(1, B, H)] * (states - 1)
    return Sizes(B, x.numel() // I, I, H, R, outputs, (*x[:-1], R), of_states)


class How(NamedTuple):
    """The division of a step's work, and the threads of the call."""

    division: int
    threads: int


def how_divided(setting: Setting, sizes: Sizes, itemsize: int, back: bool) -> How:
    """As the sizes ask for; on the way back products outside the loop may want threads of their own."""
    weights, every = sizes.outputs * sizes.R, setting.checkpoint_every
    rows = sizes.N if every is None else min(sizes.N, every * sizes.B)  # that are multiplied at once
    tiny, large = 2 * sizes.B * weights < _TINY, back and rows * sizes.I * sizes.outputs > _LARGE
    threads = 1 if tiny and not large else available_threads()
    if threads == 1 or tiny:
        return How(ONE_THREAD, threads if large else 1)
    return How(ROWS_ALONE if 4 * threads <= sizes.B and weights * itemsize <= _CACHED else PANELS, threads)


# ---------------------------------------------------------------------------------------------------- the call


def run_in_c(
    setting: Setting,
    operands: Operands,
    sizes: Sizes,
    states: Sequence[Tensor | None],
    kept: Kept | None,
    results: Sequence[Tensor | None],
    gradients: Sequence[Tensor | None] | None = None,
) -> None:
    """A scan, or with `gradients`, those of x and the weights, its way back; in pieces, so that Ctrl-C is answered.

    `states` are those before the first step, or on the way back the gradients of the last; `results` are the output
    and the states after the last step, or the gradients of the output and of the states before the first.
    """
    x, back = operands.x, gradients is not None
    of: Functions = setting.native[x.dtype]
    how = how_divided(setting, sizes, x.itemsize, back)
    begins = torch.tensor([0, *accumulate(setting.sizes)], device="cpu") if x.dim() == 2 else None
    outside = [*Equations(setting.cell).numbers.values()] if of.numbers else None  # as they are now
    numbers = None if outside is None else torch.tensor(outside, dtype=torch.float64, device="cpu")
    of_kept = (None,) * (1 + len(states)) if kept is None else (kept.pre, *kept.state_prev)
    given = dense((x, *operands.weights, *states))
    tensors = begins, numbers, *given, *of_kept, *results, *(gradients or _NO_GRADIENTS)
    every = min(setting.checkpoint_every or 0, len(setting.sizes)) if kept else 0  # C makes room for so many steps
    fields = *openmp(), how.threads, back, every, how.division, setting.reverse, len(setting.sizes), *sizes[:5]
    scan = of.pack(*fields, *[0 if t is None else t.data_ptr() for t in tensors])
    scratch, done = borrow(), -1
    while done:
        done = of.run(scan, scratch.data_ptr(), scratch.numel(), max(done, 0), _PIECE)
        if done < 0:
            del scratch  # before there is another
            scratch = torch.empty(-done, dtype=torch.uint8, device="cpu")
    give_back(scratch)


def dense(tensors: Iterable[Tensor | None]) -> list[Tensor | None]:
    """Each as C reads it: row by row, without gaps."""
    return [None if t is None else t.contiguous() for t in tensors]
