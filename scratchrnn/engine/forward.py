"""One scan forward: the columns of the pre-activations, the input product, the loop over time.

A scan sees rows only, the packed layout: `x` [N, I] holds the first step's rows, then the second's, ...; `sizes[t]` is
the number of rows of step t, and at each step the first `sizes[t]` rows of the state move while the others wait. A
padded batch is the case of equal sizes, and reverse is the same steps in the other order.

One buffer holds all pre-activations, [N, (S + G) * H] for G gates of which S are split. A GRU's columns:

    | n_x          | r     z          | n_h          |
      W x            W x + W h          W h

The input product fills the first G blocks, for the whole sequence in one GEMM; each step adds the hidden product to
the last G blocks. Both windows are runs of neighbouring columns, so each product goes straight to where it belongs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..cells.cell import Cell, State
from . import gemm
from .columns import Inputs, columns, windows
from .kernels import step_of


class Setting(NamedTuple):
    """What stays the same for all steps: the cell, the number of rows at each step, the steps' order, what is kept."""

    cell: Cell
    sizes: list[int]
    reverse: bool
    checkpoint_every: int | None = None

    def order(self) -> range:
        """The steps in the order in which they are taken."""
        count = len(self.sizes)
        return range(count - 1, -1, -1) if self.reverse else range(count)

    def cut(self, lengths: Iterable[int]) -> Iterator[tuple[Setting, slice]]:
        """Runs of so many steps, in the order in which they are taken: each a setting of its own, and its rows."""
        order, first_row = self.order(), [0, *accumulate(self.sizes)]
        k = 0
        for length in lengths:
            steps = order[k : k + length]
            start, end = min(steps), max(steps) + 1
            yield Setting(self.cell, self.sizes[start:end], self.reverse), slice(first_row[start], first_row[end])
            k += length


class History(NamedTuple):
    """What the steps leave behind for BPTT and for the trace, all rows of all steps."""

    pre: Tensor  # [N, (S + G) * H]
    state_prev: State  # [N, R], [N, H], ...


# ------------------------------------------------------------------------------------------------- columns


# ------------------------------------------------------------------------------------------------- forward


def steps(
    setting: Setting, inputs: Inputs, functional: bool = False, keep: bool = False
) -> tuple[Tensor, State, History | None]:
    """The loop over time: emitted rows, last state and, if asked to `keep` it, the history.

    `functional` leaves every tensor as it was made, so that autograd and torch.func can follow; otherwise each step
    adds into the buffer of pre-activations.
    """
    cell, sizes = setting.cell, setting.sizes
    rows, bias, W_ih, W_hh, W_hr, state = inputs
    pre = _input_product(rows, W_ih, bias, windows(cell, W_hh)[1].start, functional)
    take = (
        _advance_functional(cell, pre, sizes, W_hh) if functional else _advance(cell, pre, sizes, W_hh, len(state[0]))
    )

    state = tuple(s.contiguous() for s in state)
    waiting = tuple(s[s.shape[0] :] for s in state)
    before: list[State] = []
    emitted: list[Tensor] = []
    for t in setting.order():
        state, waiting = move(state, waiting, sizes[t])
        if keep:
            before.append(state)
        state = take(t, state)
        if W_hr is not None:
            state = (state[0] @ W_hr.T, *state[1:])
        emitted.append(state[0])

    state, _ = move(state, waiting, inputs.state[0].shape[0])
    if setting.reverse:
        emitted.reverse()
        before.reverse()
    history = History(pre, tuple(torch.cat(s) for s in zip(*before, strict=True))) if keep else None
    return torch.cat(emitted), state, history


def _advance(cell: Cell, pre: Tensor, sizes: list[int], W_hh: Tensor, batch: int) -> Callable[[int, State], State]:
    """One step: W_hh h is added to the pre-activations where they stand, and the cell's update taken."""
    summed = pre[:, windows(cell, W_hh)[1]].split(sizes)
    W_hh_T = W_hh.T
    product = gemm.multiplier(W_hh, batch, len(sizes))
    # Views of every gate at every step, made at once: a call each, not a call each step.
    blocks = [block.split(sizes) for block in pre.chunk(len(cell.pre_activations), 1)]
    pre_activations = list(zip(*(blocks[k] for k in columns(cell)), strict=True))
    step = step_of(cell)

    def advance(t: int, state: State) -> State:
        if product is None:
            summed[t].addmm_(state[0], W_hh_T)
        else:
            summed[t].add_(product(state[0]))
        return step(*pre_activations[t], *state)

    return advance


def _advance_functional(cell: Cell, pre: Tensor, sizes: list[int], W_hh: Tensor) -> Callable[[int, State], State]:
    """The same in operations that autograd and torch.func can follow."""
    split = windows(cell, W_hh)[1].start
    only_input = pre[:, :split].split(sizes)
    summed = pre[:, split:].split(sizes)
    place = columns(cell)
    take = (lambda *arguments: cell.update(*arguments)[0]) if cell.check else partial(_ByAdjoint.apply, cell)

    def advance(t: int, state: State) -> State:
        blocks = torch.addmm(summed[t], state[0], W_hh.T).chunk(len(cell.gates), 1)
        if split:
            blocks = (*only_input[t].chunk(len(cell.split), 1), *blocks)
        return take(*[blocks[k] for k in place], *state)

    return advance


class _ByAdjoint(torch.autograd.Function):
    """`update` with the cell's adjoint for its gradient, as written, also where autograd walks through the steps."""

    generate_vmap_rule = True

    @staticmethod
    def forward(cell: Cell, *arguments: Tensor) -> State:
        return cell.update(*arguments)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: State) -> None:
        ctx.cell, *arguments = inputs
        ctx.save_for_backward(*arguments)

    @staticmethod
    def backward(ctx: Any, *d_state: Tensor) -> tuple[Tensor | None, ...]:
        _, tape = ctx.cell.update(*ctx.saved_tensors)
        d_pre, d_prev = ctx.cell.adjoint(tape, *d_state)
        return None, *d_pre, *d_prev


def _input_product(rows: Tensor, W_ih: Tensor, bias: Tensor | None, only_hidden: int, functional: bool) -> Tensor:
    """The buffer of pre-activations before the first step: W_ih x for all steps in one GEMM, and the biases."""
    filled = W_ih.shape[0]
    if bias is None:
        bias = W_ih.new_zeros(filled + only_hidden)
    if only_hidden == 0:
        return torch.addmm(bias, rows, W_ih.T)
    if functional:
        wait = bias[filled:].expand(rows.shape[0], only_hidden)
        return torch.cat([torch.addmm(bias[:filled], rows, W_ih.T), wait], 1)
    pre = rows.new_empty(rows.shape[0], filled + only_hidden)
    torch.addmm(bias[:filled], rows, W_ih.T, out=pre[:, :filled])
    pre[:, filled:] = bias[filled:]
    return pre


def move(moving: State, waiting: State, count: int) -> tuple[State, State]:
    """Let the first `count` rows move and the others wait."""
    if moving[0].shape[0] == count:
        return moving, waiting
    joined = [torch.cat(pair) for pair in zip(moving, waiting, strict=True)]
    return tuple(s[:count] for s in joined), tuple(s[count:] for s in joined)


def replay(cell: Cell, history: History) -> tuple[State, Any]:
    """State (before the projection) and tape of many steps in one call: `update` works row by row."""
    blocks = history.pre.chunk(len(cell.pre_activations), 1)
    return cell.update(*[blocks[k] for k in columns(cell)], *history.state_prev)


def step_sizes(x: Tensor, batch_sizes: Tensor | None) -> list[int]:
    """The number of rows of each step."""
    if batch_sizes is None:
        return [x.shape[1]] * x.shape[0]
    if torch._C._are_functorch_transforms_active():  # inside which torch 2.6 has no tolist
        return [int(size) for size in batch_sizes]
    return batch_sizes.tolist()
