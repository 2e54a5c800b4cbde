"""Look inside a layer: its gates and states at every step, which torch.nn's layers do not return."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from .cell import Cell
from .convert import from_torch
from .forward import Setting, State, Weights, arrange, replay, step_sizes, steps
from .recurrent import RecurrentLayer


@dataclass(frozen=True)
class Record:
    """One layer and direction: `record.f` or `record["f"]` is gate f at every step, time-major [T, B, H].

    The names are the fields of the cell's tape and its states: an LSTM's `i f g o c_prev tanh_c h c`, a GRU's
    `r z n n_h h_prev h`. A sequence shorter than T has zeros behind its end.
    """

    tensors: dict[str, Tensor]

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __getitem__(self, name: str) -> Tensor:
        tensors = self.__dict__.get("tensors", {})
        if name not in tensors:
            raise KeyError(f"no {name!r} in this trace, only {', '.join(tensors)}")
        return tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)


@dataclass(frozen=True)
class Trace:
    """What a layer returned, and a `Record` for each of its layers and directions."""

    output: Any
    state: Any
    records: dict[tuple[int, bool], Record]

    def layer(self, k: int, reverse: bool = False) -> Record:
        """The record of layer k, forward or reverse direction.

        Raises:
            IndexError: there is no such layer or direction.
        """
        if (k, reverse) not in self.records:
            there = ", ".join(f"layer({n}{', reverse=True' if r else ''})" for n, r in self.records)
            raise IndexError(f"no layer({k}, reverse={reverse}) in this trace, only {there}")
        return self.records[k, reverse]


@torch.no_grad()
def trace(layer: nn.Module, input: Tensor | PackedSequence, state: Any = None) -> Trace:
    """Run `layer` and return every gate and state of every step.

        trace(nn.LSTM(3, 4), x).layer(0).f    # [T, B, H]

    Args:
        layer: a `RecurrentLayer` (RNN, LSTM, GRU, or one with your cell), or torch.nn's RNN, LSTM or GRU.
        input, state: as the layer takes them.

    The tensors are detached. They cost one forward pass and, beside it, one call of the cell's `update` for all steps.

    Raises:
        TypeError: `layer` is none of these; and what the layer itself raises for its input.
    """
    if isinstance(layer, nn.RNNBase):
        layer = from_torch(layer)
    if not isinstance(layer, RecurrentLayer):
        raise TypeError(f"layer should be a recurrent layer of scratchrnn or torch.nn, got: {type(layer).__name__}")
    found: list[dict[str, Tensor]] = []

    def scan(
        cell: Cell, x: Tensor, batch_sizes: Tensor | None, start: State, weights: Weights, reverse: bool
    ) -> tuple[Tensor, State]:
        setting = Setting(cell, step_sizes(x, batch_sizes), reverse)
        inputs = arrange(cell, x.flatten(0, -2), start, weights)
        emitted, last, history = steps(setting, inputs, keep=True)
        assert history is not None
        after, tape = replay(cell, history)
        gates = tape._asdict() if hasattr(tape, "_asdict") else {}
        states = dict(zip(cell.states, (emitted, *after[1:]), strict=True))
        found.append({name: _time_major(rows, x, input) for name, rows in (gates | states).items()})
        return found[-1][cell.states[0]] if batch_sizes is None else emitted, last

    output, last = layer.run(input, state, scan)
    directions = 2 if layer.bidirectional else 1
    records = {divmod(n, directions): Record(tensors) for n, tensors in enumerate(found)}
    return Trace(output, last, {(k, bool(d)): record for (k, d), record in records.items()})


def _time_major(rows: Tensor, x: Tensor, input: Tensor | PackedSequence) -> Tensor:
    """[T, B, width], the sequences in the caller's order."""
    if isinstance(input, PackedSequence):
        return pad_packed_sequence(input._replace(data=rows))[0]
    return rows.unflatten(0, x.shape[:-1])
