"""Calls of a cell, each a step, joined to the sequences that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..cells.cell import Cell, State
from .record import Record
from .traced import Trace


class Step(NamedTuple):
    """One call."""

    given: State | None
    """The states, [B, H] or [H] each, the caller's own tensors."""
    returned: State
    """So, too."""
    rows: dict[str, Tensor]
    """What is to be seen of it, [B, width] each."""
    nodes: dict[str, Tensor]
    """What of that a gradient is given by."""


class Steps:
    """The calls of one cell, in their order.

    A call goes on where an earlier one ended if it is given the state that this one returned: the very tensor, or equal
    numbers, as of a state that was detached, cloned or kept elsewhere meanwhile. What a loop does to states does not
    part a sequence while some row of some state is as it was: a mask that lets rows wait, dropout of h beside an LSTM's
    c. Fewer rows go on if they are rows of that state, in its order; the other sequences have ended. All else begins
    anew: any other state, none, zeros, rows in another order. So sequences that take turns, and directions one after
    the other, are kept apart.
    """

    def __init__(self, cell: Cell, bias: bool) -> None:
        self._cell, self._bias = cell, bias
        self._batches: list[_Batch] = []

    def take(self, step: Step) -> None:
        given = None if step.given is None else [_keys(s) for s in step.given]
        for batch in reversed(self._batches):
            if (places := batch.places(step, given)) is not None:
                batch.add(step, places)
                return
        self._batches.append(_Batch(self._cell, self._bias, step))

    def traces(self) -> list[Trace]:
        """In the order in which they began, each of the sequences that were read in one batch."""
        return [batch.trace() for batch in self._batches]


class _Batch:
    """Sequences that are read side by side."""

    def __init__(self, cell: Cell, bias: bool, first: Step) -> None:
        self._cell, self._bias = cell, bias
        self._steps: list[Step] = []
        self._rows: list[list[int]] = []
        """Of each step: which sequences have it."""
        self.add(first, list(range(first.rows[cell.states[0]].shape[0])))

    def add(self, step: Step, places: list[int]) -> None:
        self._rows.append([self._rows[-1][k] for k in places] if self._rows else places)
        self._steps.append(step)
        self._ended = [_keys(step.rows[name]) for name in self._cell.states]

    def places(self, step: Step, given: list[list[bytes]] | None) -> list[int] | None:
        """Which of the last step's rows go on in this one; None where it begins anew."""
        if step.given is None or given is None:
            return None
        if any(s is r for s, r in zip(step.given, self._steps[-1].returned, strict=True)) and (
            given == self._ended or any(map(any, given))  # not put to zero in place
        ):
            return list(range(len(self._ended[0])))
        return next((found for pair in zip(self._ended, given, strict=True) if (found := _going_on(*pair))), None)

    def trace(self) -> Trace:
        cell, B = self._cell, len(self._rows[0])

        def join(steps: Sequence[Tensor]) -> Tensor:
            """[T, B, width], with zeros where a sequence has ended."""
            return torch.stack([_spread(rows, there, B) for rows, there in zip(steps, self._rows, strict=True)])

        tensors = {name: join([step.rows[name] for step in self._steps]) for name in self._steps[0].rows}
        nodes = {name: [step.nodes[name] for step in self._steps] for name in self._steps[0].nodes}
        lengths = torch.tensor([sum(b in there for there in self._rows) for b in range(B)])
        ends = (lengths - 1, torch.arange(B))
        output, state = tensors[cell.states[0]], tuple(tensors[name][ends] for name in cell.states)
        if self._steps[0].returned[0].dim() == 1:
            output, state = output.squeeze(1), tuple(s.squeeze(0) for s in state)
        ragged = len(self._rows[-1]) < B
        record = Record(tensors, cell, lengths if ragged else None, self._bias, nodes, join)
        return Trace(output, state if len(state) > 1 else state[0], {(0, False): record})


def _keys(state: Tensor) -> list[bytes]:
    """Of each row its numbers, alike for equal ones of any dtype; none of a row of zeros, as loops begin with."""
    rows = state.detach().to("cpu", torch.promote_types(state.dtype, torch.float64)).numpy() + 0.0  # no -0.0
    return [row.tobytes() if row.any() else b"" for row in rows.reshape(-1, rows.shape[-1])]


def _going_on(ended: list[bytes], given: list[bytes]) -> list[int] | None:
    """Which rows of a state that was returned go on in one that is given; None, or no row, if that is another."""
    if len(given) == len(ended):
        others = set(ended)
        as_it_was = [g for e, g in zip(ended, given, strict=True) if g and e == g]
        moved = [g for e, g in zip(ended, given, strict=True) if g and e != g and g in others]
        return list(range(len(ended))) if as_it_was and not moved else None
    places, k = [], 0
    for row in given:
        while k < len(ended) and ended[k] != row:
            k += 1
        if k == len(ended):
            return None
        places.append(k)
        k += 1
    return places if any(given) else None


def _spread(rows: Tensor, there: list[int], B: int) -> Tensor:
    return (
        rows
        if len(there) == B
        else rows.new_zeros(B, rows.shape[1]).index_copy(0, torch.tensor(there, device=rows.device), rows)
    )
