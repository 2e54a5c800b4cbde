"""The named tensors of one layer and direction, as a run leaves them behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..cells.cell import Cell

Nodes = dict[str, list[Tensor]]


@dataclass(frozen=True)
class Record:
    """One layer and direction: `record.f` or `record["f"]` is gate f at every step, time-major [T, B, H].

    The names are the fields of the cell's tape, its states, its pre-activations, the states before: an LSTM's
    `i f g o c_prev tanh_c`, `h c`, `i_pre f_pre g_pre o_pre`, `h_prev`; a GRU's `r z n n_h h_prev`, `h`,
    `r_pre z_pre n_x`. Taken with `halves=True`, also
    the two terms of every pre-activation, `f_x = W_if x + b_if` and `f_h = W_hf h_prev + b_hf`. A sequence shorter than
    T has zeros behind its end. `h` is [T, B, P] under a projection.
    """

    tensors: dict[str, Tensor]
    cell: Cell
    lengths: Tensor | None = None
    """[B], the steps of each sequence; None where all have T."""
    bias: bool = True
    """Whether the layer has biases."""
    nodes: Nodes = field(default_factory=dict)
    """Of a differentiable trace: what the tensors were made of, step by step, for `Trace.gradients`."""
    join: Callable[[list[Tensor]], Tensor] = field(default_factory=lambda: torch.stack)
    name: str = ""
    """Of the layer in its model, `encoder.lstm`; "" where it was traced alone."""
    layer: int = 0
    reverse: bool = False
    """Which layer of its stack this is, and which direction: of `trace(...).layer(k, reverse)` the two arguments."""

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __getitem__(self, name: str) -> Tensor:
        tensors = self.__dict__.get("tensors", {})
        if name not in tensors:
            hint = "; halves of pre-activations with trace(..., halves=True)" if name.endswith(("_x", "_h")) else ""
            raise KeyError(f"no {name!r} in this trace, only {', '.join(tensors)}{hint}")
        return tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __repr__(self) -> str:
        return f"{self.cell.name}, {shown(self)}"

    def of_a_run(self) -> bool:
        """Whether it holds what a layer did, not the gradients of that."""
        return all(f"{state}_prev" in self.tensors for state in self.cell.states)

    def is_real(self) -> bool:
        """Whether it has numbers, and none of them complex."""
        return all(t.numel() and not t.is_complex() for t in self.tensors.values())

    def valid(self) -> Tensor:
        """[T, B]: whether the sequence has that step."""
        some = next(iter(self.tensors.values()))
        T, B = some.shape[:2]
        lengths = torch.full((B,), T) if self.lengths is None else self.lengths
        return (torch.arange(T).unsqueeze(1) < lengths).to(some.device)


Records: TypeAlias = dict[tuple[int, bool], Record]
"""Of a layer's runs one for each (k, reverse): its layers and directions."""


def place(name: str, layer: int, reverse: bool) -> str:
    """Where a record stands, for people: `encoder.lstm, layer 0, reverse`; "" is a layer without a name."""
    return f"{name}{', ' if name else ''}layer {layer}{', reverse' if reverse else ''}"


def expect_record(given: Any, name: str = "record") -> None:
    """Raise TypeError unless the argument of that name is a record."""
    if not isinstance(given, Record):
        raise TypeError(f"{name} should be a Record, as trace(...).layer(k), got {type(given).__name__}")


def shown(record: Record) -> str:
    """Sizes and the first names: `T=61 B=1 H=64: i f g o h c ...`."""
    widths = {name: t.shape[-1] for name, t in record.tensors.items()}
    T, B, _ = next(iter(record.tensors.values())).shape
    H, emitted = max(widths.values()), record.cell.states[0]
    P = f" P={widths[emitted]}" if widths.get(emitted, H) < H else ""
    names = [name for name in (*record.cell.gates, *record.cell.states) if name in widths]
    return f"T={T} B={B} H={H}{P}: {' '.join(names)}{' ...' if len(names) < len(widths) else ''}"
