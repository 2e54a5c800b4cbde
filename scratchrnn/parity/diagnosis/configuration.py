"""One way to make a layer and to call it: what torch.nn's constructor is told, and what a call is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from ...cells.twins import Twin


class Place(NamedTuple):
    """Whose rows of which parameter of torch.nn: `("weight_hh_l0", "f")`; of `weight_hr_l0` the gate is ""."""

    name: str
    gate: str


Weights = dict[Place, Tensor]
"""A layer's parameters gate by gate: [H, I], [H, R] or [H]."""


class Outcome(NamedTuple):
    """What a call returns, time-major: None for what is not returned."""

    output: Tensor | None
    """[T, B, D * R]; [B, R] of a cell."""
    states: tuple[Tensor | None, ...]
    """`(h_n,)` or `(h_n, c_n)`, each [L * D, B, R]; of a cell `h` and `c` [B, R], and `output` is None."""


@dataclass(frozen=True)
class Configuration:
    """Sizes and options of the twin, and how it is called. T, B, I, H and L * D all differ unless that is the point."""

    twin: Twin
    step: bool = False
    """The twin's cell, which takes one step."""
    input_size: int = 3
    hidden_size: int = 4
    num_layers: int = 1
    bias: bool = True
    bidirectional: bool = False
    batch_first: bool = False
    dropout: float = 0.0
    proj_size: int = 0
    training: bool = False
    layout: str = "padded"
    """"padded", "unbatched", "packed" (a PackedSequence), or "lengths" (padded, with the lengths beside it)."""
    states: bool = True
    """Whether the states before the first step are given."""
    length: int = 5
    batch: int = 2

    @property
    def options(self) -> dict[str, Any]:
        """What the constructor is told beside the sizes, where it is not torch.nn's default."""
        defaults = {"num_layers": 1, "bias": True, "bidirectional": False, "batch_first": False, "dropout": 0.0}
        defaults |= {"proj_size": 0}
        mine = {name: getattr(self, name) for name in defaults}
        return {name: value for name, value in mine.items() if value != defaults[name]}

    def module(self) -> nn.Module:
        """torch.nn's, in float64."""
        kind = self.twin.step if self.step else self.twin.layer
        made = kind(self.input_size, self.hidden_size, **self.twin.options, **self.options)
        return made.double().train(self.training)

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """R, the width of h."""
        return self.proj_size or self.hidden_size

    def __str__(self) -> str:
        kind = self.twin.step if self.step else self.twin.layer
        options = "".join(f", {k}={v!r}" for k, v in {**self.twin.options, **self.options}.items() if v != "tanh")
        called = [self.layout] if self.layout != "padded" else []
        called += [] if self.states else ["no state given"]
        called += ["in training"] if self.training else []
        return f"nn.{kind.__name__}({self.input_size}, {self.hidden_size}{options})" + "".join(f", {c}" for c in called)


ALL = 1 - 1e-9
"""A dropout that leaves nothing: what it does is seen without knowing what it draws."""


def tried(base: Configuration, takes: frozenset[str]) -> Iterator[Configuration]:
    """From the simplest to the richest: what each has that those before it have not is one thing, where that can be."""
    first = replace(base, states="states" in takes)
    yield first
    if first.states:
        yield replace(first, states=False)
    if "sizes" in takes:
        yield replace(first, input_size=first.hidden_size)
    if "training" in takes:
        yield replace(first, training=True)
    if "bias" in takes:
        yield replace(first, bias=not first.bias)
    if "unbatched" in takes:
        yield replace(first, layout="unbatched", batch=1)
    sized, H, D = "sizes" in takes, first.hidden_size, 2 if "bidirectional" in takes else first.directions
    richest = first
    if "num_layers" in takes:
        richest = replace(first, num_layers=3)  # of one width throughout: their weights could be each other's
        yield replace(richest, input_size=H * first.directions) if sized else richest
    if "bidirectional" in takes:
        yield replace(first, bidirectional=True)
        if richest != first:
            richest = replace(richest, bidirectional=True)
            yield richest
            yield replace(richest, input_size=H * D if sized else first.input_size, states=False)
        richest = replace(richest, bidirectional=True)
    if "batch_first" in takes:
        yield replace(first, batch_first=not first.batch_first, length=4, batch=4)
    if "proj_size" in takes:
        yield replace(first, proj_size=2)
        if first.states:  # what ignores it does not take its states
            yield replace(first, proj_size=2, states=False)
    if "dropout" in takes and richest.num_layers > 1:
        yield replace(richest, dropout=ALL, training=True)
        yield replace(richest, dropout=ALL)
    for layout in ("packed", "lengths"):
        if layout in takes:
            yield replace(first, layout=layout, batch=3)
            if richest != first:
                yield replace(richest, layout=layout, batch=3)
