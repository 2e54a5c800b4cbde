"""What one layer and direction of a trace is like, over all its calls: the numbers of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ..record import Record, place
from .measures import dead, gradient_norms, into_weights, roads, saturation, stuck, time_constants

Place: TypeAlias = tuple[str, int, bool]
"""The layer's name in the model, k, reverse."""


class Gate(NamedTuple):
    """A gate of one layer and direction, over all its units, steps and sequences; None is not known."""

    low: float | None = None
    """The share of its values within 5 % of its range from the lower bound: closed, or a candidate near -1."""
    high: float | None = None
    """From the upper bound: open, or near 1."""
    share: float | None = None
    """Of the squared gradient that goes back into the weights."""
    radius: float | None = None
    """The spectral radius of its block of `weight_hh`."""


class Span(NamedTuple):
    """For how many steps the units hold what a state has of them; infinite where all is kept."""

    median: float
    longest: float
    unit: int
    """The one that holds longest."""


class GradientNorms(NamedTuple):
    """||dL/dh_t||, in the order in which the direction reads.

    Calls of which each goes on from the state that the one before ended in are one sequence. Of other calls, and of
    several in the reverse direction, `first`, `last` and `step` are None: their steps have no order.
    """

    first: float | None
    last: float | None
    largest: float
    step: int | None
    """Where it is largest, a number of a step of the trace."""


@dataclass(frozen=True)
class LayerReport:
    """One layer and direction, over all calls that were traced."""

    name: str
    """Of the layer in the model; empty for a layer that was traced by itself."""
    layer: int
    reverse: bool
    cell: str
    units: int
    calls: int
    sequences: int
    steps: int
    """Of the longest sequence."""
    gates: dict[str, Gate]
    """Of a cell whose gates are not in the trace, an Elman cell, the emitted state, too."""
    spans: dict[str, Span]
    """Of each state that goes on past the weights, as an LSTM's c; none of an Elman cell."""
    dead: list[int]
    """Units that stay within 0.001 of 0."""
    stuck: list[int]
    """Units that keep another value, to 0.001."""
    gradients: GradientNorms | None
    not_finite: list[str]
    """Gates and states in which something is infinite or no number, as after a run that diverged; `dL/dh`, too."""

    @property
    def title(self) -> str:
        """Where it stands: `encoder.lstm, layer 0, reverse`."""
        return place(self.name, self.layer, self.reverse)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python, as JSON has it; None for what is not known, and for a span without end."""
        kept = {k: v for k, v in vars(self).items() if k not in ("gates", "spans", "gradients")}
        parts: dict[str, dict[str, Any]] = {"gates": dict(self.gates), "spans": dict(self.spans)}
        kept |= {part: {name: _finite(row._asdict()) for name, row in rows.items()} for part, rows in parts.items()}
        return kept | {"gradients": None if self.gradients is None else _finite(self.gradients._asdict())}


def layer_report(
    where: Place, calls: list[Record], gradients: list[Record] | None, radii: Mapping[str, float]
) -> LayerReport:
    """What one layer and direction is like, of the records of all its calls."""
    name, k, reverse = where
    cell, valid = calls[0].cell, [record.valid() for record in calls]
    rows = {n: torch.cat([r[n].detach()[v] for r, v in zip(calls, valid, strict=True)]) for n in calls[0].tensors}
    every = Record({n: t.unsqueeze(1) for n, t in rows.items()}, cell)  # of all calls and sequences, as of one
    ends = {g: {"low": s.low.mean().item(), "high": s.high.mean().item()} for g, s in saturation(every).items()}
    shares = {} if gradients is None else _shares(gradients)
    names = dict.fromkeys([*cell.gates, *ends])
    gates = {g: Gate(**ends.get(g, {}), share=shares.get(g), radius=radii.get(g)) for g in names}
    norms = None if gradients is None else _norms(gradients, not reverse and _go_on(calls), reverse)
    endless = [n for n in (*cell.gates, *cell.states) if n in rows and not rows[n].isfinite().all()]
    return LayerReport(
        *(name, k, reverse, cell.name, max(t.shape[-1] for t in rows.values())),
        calls=len(calls),
        sequences=sum(v.shape[1] for v in valid),
        steps=max(len(v) for v in valid),
        gates=gates,
        spans={state: _span(time_constants(every, state)) for state in roads(every)},
        dead=dead(every).nonzero().flatten().tolist(),
        stuck=stuck(every).nonzero().flatten().tolist(),
        gradients=norms,
        not_finite=endless + ["dL/dh"] * (norms is not None and not math.isfinite(norms.largest)),
    )


def _span(taus: Tensor) -> Span:
    return Span(taus.median().item(), taus.max().item(), int(taus.argmax()))


def _shares(gradients: list[Record]) -> dict[str, float]:
    """Of each gate, over all steps together."""
    squares = {
        g: sum(gradient_norms(record, name).square().sum().item() for record in gradients)
        for g, name in into_weights(gradients[0].cell).items()
    }
    total = sum(squares.values())
    return {g: square / total if total else 0.0 for g, square in squares.items()}


def _go_on(calls: list[Record]) -> bool:
    """Whether each call begins with the state in which the one before ended, so that all read one sequence."""
    return all(
        before.lengths is None and torch.equal(before[state][-1], after[f"{state}_prev"][0])
        for before, after in pairwise(calls)
        for state in before.cell.states
    )


def _norms(gradients: list[Record], go_on: bool, reverse: bool) -> GradientNorms:
    norms = torch.cat([gradient_norms(record) for record in gradients])
    if len(gradients) > 1 and not go_on:
        return GradientNorms(None, None, norms.max().item(), None)
    first, last = (-1, 0) if reverse else (0, -1)
    return GradientNorms(norms[first].item(), norms[last].item(), norms.max().item(), int(norms.argmax()))


def _finite(numbers: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in numbers.items()}
