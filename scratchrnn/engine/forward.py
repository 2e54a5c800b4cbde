"""One scan forward by the torch engine: the input product, and the loop over time; and what both engines are given.

A scan sees rows, the packed layout: `x` [N, I] holds the first step's rows, then the second's, ...; `sizes[t]` is the
number of rows of step t, and at each step the first `sizes[t]` rows of the state move while the others wait. A padded
batch [T, B, I] is the case of equal sizes, and reverse is the same steps in the other order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..cells.cell import Cell, State, step
from .columns import Arranged, Columns, Operands


class Setting(NamedTuple):
    """What stays the same for all steps: the cell, the rows of each, their order, what is kept, the engine."""

    cell: Cell
    sizes: list[int]
    reverse: bool
    checkpoint_every: int | None = None
    native: Any = None  # the functions of the native engine, if it is that

    def columns(self) -> Columns:
        """No property: dynamo of torch 2.6 does not look into those of a tuple."""
        return Columns.of(self.cell)

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
            segment = self._replace(sizes=self.sizes[start:end], checkpoint_every=None)
            yield segment, slice(first_row[start], first_row[end])
            k += length

    def segments(self) -> list[tuple[Setting, slice]]:
        """The runs of `checkpoint_every` steps."""
        count, every = len(self.sizes), self.checkpoint_every
        assert every is not None
        return [*self.cut(min(every, count - k) for k in range(0, count, every))]


class Kept(NamedTuple):
    """What a scan keeps for its gradient: of all rows of all steps, or, to run the steps again, where segments begin.

    `checkpoint_every` cuts a sequence of T steps into segments of k. Each is a scan of its own, from the state that the
    one before has left. Instead of (S + G + states) * H numbers for each row there are then the states at T / k places,
    and all numbers of one segment at a time. Chen et al. 2016, arXiv:1604.06174.
    """

    pre: Tensor | None  # [N, (S + G) * H]; None where only the segments' first states are kept
    state_prev: State  # [N, R], [N, H], ...; or [T / k, B, R], ...

    def flat(self) -> list[Tensor]:
        """As an operator of torch returns them."""
        return [*self.state_prev] if self.pre is None else [self.pre, *self.state_prev]

    @classmethod
    def of(cls, setting: Setting, flat: Sequence[Tensor]) -> Kept:
        """The reverse of `flat`."""
        return cls(flat[0], tuple(flat[1:])) if setting.checkpoint_every is None else cls(None, tuple(flat))


class Run(NamedTuple):
    """What a scan gives; or, under the same names, the gradients that come back to it."""

    output: Any  # [T, B, R], or packed [N, R]
    state: tuple[Any, ...]  # [1, B, R], [1, B, H], ..., each row's after its last step
    kept: Kept | None = None


def steps(setting: Setting, operands: Operands, functional: bool = False, keep: bool = False) -> Run:
    """The loop over time; `keep`: what the gradient needs.

    `functional` leaves every tensor as it was made, so that autograd and torch.func can follow; otherwise each step
    adds into the buffer of pre-activations.
    """
    sizes, W_hr, state = setting.sizes, operands.weights.hr, initial(setting, operands)
    weights = setting.columns().arrange(operands.weights)
    pre = _input_product(setting.columns(), operands.x.flatten(0, -2), weights, functional)
    pre_activations = (_followed if functional else _in_place)(setting, pre, weights.hh)
    take = _as_written(setting.cell) if functional else partial(step, setting.cell)

    state = tuple(s.squeeze(0).contiguous() for s in state)
    batch = state[0].shape[0]
    waiting = tuple(s[batch:] for s in state)
    before: list[State] = []
    emitted: list[Tensor] = []
    for t in setting.order():
        state, waiting = move(state, waiting, sizes[t])
        if keep:
            before.append(state)
        state, _ = take(*pre_activations(t, state[0]), *state)
        if W_hr is not None:
            state = (state[0] @ W_hr.T, *state[1:])
        emitted.append(state[0])

    state, _ = move(state, waiting, batch)
    if setting.reverse:
        emitted.reverse()
        before.reverse()
    kept = Kept(pre, tuple(torch.cat(s) for s in zip(*before, strict=True))) if keep else None
    # A view could not be changed in place by who receives it.
    output = torch.cat(emitted) if operands.x.dim() == 2 else torch.stack(emitted)
    return Run(output, entries(state), kept)


PreActivations = Callable[[int, Tensor], Sequence[Tensor]]  # of a step, by its number and the h before it


def _in_place(setting: Setting, pre: Tensor, W_hh: Tensor) -> PreActivations:
    """W_hh h is added to the input's part where that stands."""
    sizes, columns = setting.sizes, setting.columns()
    summed = columns.hidden_side(pre).split(sizes)
    W_hh_T = W_hh.T
    # Views of every gate at every step, made at once: a call each, not a call each step.
    views = list(zip(*(block.split(sizes) for block in columns.pre_activations(pre)), strict=True))

    def pre_activations(t: int, h: Tensor) -> Sequence[Tensor]:
        summed[t].addmm_(h, W_hh_T)
        return views[t]

    return pre_activations


def _followed(setting: Setting, pre: Tensor, W_hh: Tensor) -> PreActivations:
    """The same in operations that autograd and torch.func can follow."""
    gates, columns = len(setting.cell.gates), setting.columns()
    summed = columns.hidden_side(pre).split(setting.sizes)
    alone = pre[:, : pre.shape[1] - W_hh.shape[0]].split(setting.sizes)  # what the hidden product does not reach

    def pre_activations(t: int, h: Tensor) -> Sequence[Tensor]:
        blocks = torch.addmm(summed[t], h, W_hh.T).chunk(gates, 1)
        if columns.split:
            blocks = (*alone[t].chunk(columns.split, 1), *blocks)
        return columns.ordered(blocks)

    return pre_activations


def _as_written(cell: Cell) -> Callable[..., tuple[State, Any]]:
    """The cell's step, with the adjoint for its gradient where that is another on purpose."""
    return partial(step, cell) if cell.check else lambda *arguments: (_ByAdjoint.apply(cell, *arguments), None)  # type: ignore[no-untyped-call]


class _ByAdjoint(torch.autograd.Function):
    """`update` with the cell's adjoint for its gradient, as written, also where autograd walks through the steps."""

    generate_vmap_rule = True

    @staticmethod
    def forward(cell: Cell, *arguments: Tensor) -> State:
        return step(cell, *arguments)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: State) -> None:
        ctx.cell, *arguments = inputs
        ctx.save_for_backward(*arguments)

    @staticmethod
    def backward(ctx: Any, *d_state: Tensor) -> tuple[Tensor | None, ...]:
        arguments = ctx.saved_tensors
        _, tape = step(ctx.cell, *arguments)
        d_pre, d_prev = ctx.cell.adjoint(tape, *d_state)
        found = zip((*d_pre, *d_prev), arguments, strict=True)
        return None, *(None if d is None else d.expand_as(a) for d, a in found)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Any:
        raise RuntimeError(
            f"forward-mode AD cannot follow cell {ctx.cell.name!r}: its adjoint departs from its update on purpose "
            "(check=False), and an adjoint works backward"
        )


def _input_product(columns: Columns, rows: Tensor, weights: Arranged, functional: bool) -> Tensor:
    """The buffer of pre-activations before the first step: W_ih x for all steps in one GEMM, and the biases."""
    bias, W_ih, _ = weights
    filled = W_ih.shape[0]
    apart = filled // len(columns.gates) * columns.split  # columns of the hidden halves of split gates
    if bias is None:
        bias = W_ih.new_zeros(filled + apart)
    if apart == 0:
        return torch.addmm(bias, rows, W_ih.T)
    if functional:
        wait = bias[filled:].expand(rows.shape[0], apart)
        return torch.cat([torch.addmm(bias[:filled], rows, W_ih.T), wait], 1)
    pre: Tensor = rows.new_empty(rows.shape[0], filled + apart)
    torch.addmm(bias[:filled], rows, W_ih.T, out=pre[:, :filled])
    pre[:, filled:] = bias[filled:]
    return pre


def move(moving: State, waiting: State, count: int) -> tuple[State, State]:
    """Let the first `count` rows move and the others wait."""
    if moving[0].shape[0] == count:
        return moving, waiting
    joined = [torch.cat(pair) for pair in zip(moving, waiting, strict=True)]
    return tuple(s[:count] for s in joined), tuple(s[count:] for s in joined)


def entries(state: State) -> State:
    """[1, B, .] each: a tensor of its own, also of a state that passes through."""
    return tuple(torch.stack((s,)) for s in state)


def replay(setting: Setting, kept: Kept, step: Callable[..., tuple[State, Any]]) -> tuple[State, Any]:
    """State (before the projection) and tape of many steps in one call: a step works row by row."""
    assert kept.pre is not None
    return step(*setting.columns().pre_activations(kept.pre), *kept.state_prev)


def initial(setting: Setting, operands: Operands) -> State:
    """The states before the first step; zeros for one that is not given."""
    return operands.filled(operands.state, len(setting.cell.gates), batch_of(setting, operands))


def batch_of(setting: Setting, operands: Operands) -> int:
    """B: of packed sequences the first step has the most rows."""
    first = operands.state[0]
    if first is None:
        return setting.sizes[0] if setting.sizes else 0
    return first.shape[1]  # type: ignore[no-any-return]


def step_sizes(x: Tensor, batch_sizes: Tensor | None) -> list[int]:
    """The number of rows of each step."""
    if batch_sizes is None:
        return [x.shape[1]] * x.shape[0]
    if torch._C._are_functorch_transforms_active():  # inside which torch 2.6 has no tolist
        return [int(size) for size in batch_sizes]
    return batch_sizes.tolist()
