"""Calls of a cell, each a step, joined to the sequences that they belong to."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from ..cells.cell import Cell, State
from .record import Record
from .traced import Trace

_End: TypeAlias = tuple[int, int | bytes]
"""Which of the states, and in it a tensor, by its `id`, or the numbers of a row."""


class Step(NamedTuple):
    """One call."""

    given: State | None
    """The caller's own tensors, [B, H] or [H] each."""
    returned: State
    """What the caller got."""
    rows: dict[str, Tensor]
    """What is to be seen of it, [B, width] each."""
    nodes: dict[str, Tensor]
    """What of that a gradient is given by."""


class Steps:
    """The calls of one cell, in their order.

    A call goes on where an earlier one ended if it is given the state that this one returned: the very tensor, or, if
    none returned that, equal numbers, as of a state that was detached, cloned or kept elsewhere meanwhile. What a loop
    does to states does not part a sequence while some row of some state is as it was: a mask that lets rows wait,
    dropout of h beside an LSTM's c. Fewer rows go on if they are rows of that state, in its order; the other sequences
    have ended. All else begins anew: any other state, none, zeros, rows in another order. So sequences that take turns,
    and directions one after the other, are kept apart.
    """

    def __init__(self, cell: Cell, bias: bool, name: str) -> None:
        self._cell, self._bias, self._name = cell, bias, name
        self._batches: list[_Batch] = []
        self._ending: defaultdict[_End, set[int]] = defaultdict(set)
        """Which batches end so: a call looks at these alone, not at all that there were."""

    def take(self, step: Step) -> None:
        if step.given is not None:
            given = [_keys(s) for s in step.given]
            for ends, places_in in (
                (_tensors(step.given), _Batch.places_by_tensor),
                (_rows(given), _Batch.places_by_numbers),
            ):
                for n in sorted({n for end in ends for n in self._ending.get(end, ())}, reverse=True):
                    if (places := places_in(self._batches[n], step.given, given)) is not None:
                        self._add(n, step, places)
                        return
        self._batches.append(_Batch(self._cell, self._bias, step))
        self._ends_now(len(self._batches) - 1)

    def _add(self, n: int, step: Step, places: list[int]) -> None:
        for end in self._batches[n].ends():
            self._ending[end].remove(n)
            if not self._ending[end]:
                del self._ending[end]
        self._batches[n].add(step, places)
        self._ends_now(n)

    def _ends_now(self, n: int) -> None:
        for end in self._batches[n].ends():
            self._ending[end].add(n)

    def traces(self) -> list[Trace]:
        """In the order in which they began, each of the sequences that were read in one batch."""
        return [batch.trace(self._name) for batch in self._batches]


class _Batch:
    """Sequences that are read side by side."""

    def __init__(self, cell: Cell, bias: bool, first: Step) -> None:
        self._cell, self._bias, self._unbatched = cell, bias, first.returned[0].dim() == 1
        self._seen: list[dict[str, Tensor]] = []
        self._nodes: list[dict[str, Tensor]] = []
        self._there: list[list[int]] = []
        """Of each step: which of the sequences have it."""
        self.add(first, list(range(first.rows[cell.states[0]].shape[0])))

    def add(self, step: Step, places: list[int]) -> None:
        before = self._there[-1] if self._there else places
        self._there.append(before if len(places) == len(before) else [before[k] for k in places])
        self._seen.append(step.rows)
        self._nodes.append(step.nodes)
        self._returned, self._ended = step.returned, [_keys(step.rows[name]) for name in self._cell.states]

    def ends(self) -> set[_End]:
        return _tensors(self._returned) | _rows(self._ended)

    def places_by_tensor(self, state: State, given: list[list[bytes]]) -> list[int] | None:
        """All of the last step's rows, if a call is given what that step returned; None otherwise."""
        if any(s is r for s, r in zip(state, self._returned, strict=True)) and (
            given == self._ended or any(map(any, given))  # not put to zero in place
        ):
            return list(range(len(self._ended[0])))
        return None

    def places_by_numbers(self, _: State, given: list[list[bytes]]) -> list[int] | None:
        """Which of the last step's rows go on in a call that is given these; None where it begins anew."""
        return next((found for pair in zip(self._ended, given, strict=True) if (found := _going_on(*pair))), None)

    def trace(self, name: str) -> Trace:
        states, B = self._cell.states, len(self._there[0])
        join = partial(_joined, self._there, B)
        tensors = {what: join([rows[what] for rows in self._seen]) for what in self._seen[0]}
        nodes = {what: [of_step[what] for of_step in self._nodes] for what in self._nodes[0]}
        lengths = torch.tensor([sum(b in there for there in self._there) for b in range(B)])
        ends = (lengths - 1, torch.arange(B))
        output, state = tensors[states[0]], tuple(tensors[what][ends] for what in states)
        if self._unbatched:
            output, state = output.squeeze(1), tuple(s.squeeze(0) for s in state)
        ragged = len(self._there[-1]) < B
        record = Record(tensors, self._cell, lengths if ragged else None, self._bias, nodes, join, name)
        return Trace(output, state if len(state) > 1 else state[0], {(0, False): record})


def _joined(there: list[list[int]], B: int, steps: list[Tensor]) -> Tensor:
    """[T, B, width] of the rows of each step, with zeros where a sequence has ended."""
    if len(there[-1]) == B:
        return torch.stack(steps)
    places = [torch.tensor(of_step, device=rows.device) for of_step, rows in zip(there, steps, strict=True)]
    every = [rows.new_zeros(B, rows.shape[1]).index_copy(0, at, rows) for at, rows in zip(places, steps, strict=True)]
    return torch.stack(every)


def _keys(state: Tensor) -> list[bytes]:
    """Of each row its numbers, alike for equal ones of any dtype; none of a row of zeros, as loops begin with."""
    rows = state.detach().to("cpu", torch.promote_types(state.dtype, torch.float64)).numpy() + 0.0  # no -0.0
    return [row.tobytes() if row.any() else b"" for row in rows.reshape(-1, rows.shape[-1])]


def _tensors(state: State) -> set[_End]:
    return {(k, id(s)) for k, s in enumerate(state)}


def _rows(keys: list[list[bytes]]) -> set[_End]:
    """Those that are not zero: from these a sequence begins."""
    return {(k, row) for k, rows in enumerate(keys) for row in rows if row}


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
