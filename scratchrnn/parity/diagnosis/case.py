"""A subject in one configuration, called once with random numbers, and held against the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .adapter import Instance, Reading, Subject, Unjudged, short
from .configuration import Configuration, Outcome, Place, Weights
from .reference import Change, Reference, complete

Hypothesis = Sequence[Change]
_SENSELESS = (RuntimeError, KeyError, IndexError, ValueError, NameError)
"""What the reference raises where a change makes no sense of a configuration's sizes."""


@dataclass(frozen=True)
class Tolerance:
    """How far two results may be apart, relative to the largest number of the reference's.

    In float64 whatever is computed in another order differs by 1e-15, and what went through float32 by 1e-8: between
    the two nothing is lost.
    """

    outputs: float = 1e-11
    gradients: float = 1e-9


@dataclass
class Case:
    """What a subject returned, and the gradients that it gave, for one draw of everything."""

    subject: Subject
    configuration: Configuration
    seed: int = 0
    tolerance: Tolerance = field(default_factory=Tolerance)

    def __post_init__(self) -> None:
        c, generator = self.configuration, torch.Generator().manual_seed(self.seed)
        self.instance: Instance = self.fresh()

        def drawn(*shape: int) -> Tensor:
            return (torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1).to(self.subject.dtype)

        T, B = c.length, c.batch
        self.x = (drawn(B, c.input_size) if c.step else drawn(T, B, c.input_size)).requires_grad_()
        stack = () if c.step else (c.num_layers * c.directions,)
        sizes = (c.output_size, c.hidden_size)[: len(c.twin.cell.states)]
        self.states = tuple(drawn(*stack, B, n).requires_grad_() for n in sizes) if c.states else None
        self.lengths = None
        if c.layout in ("packed", "lengths"):
            self.lengths = torch.tensor([max(1, T - (2 * b + 1) % T) if b else T - 2 for b in range(B)])
            self.lengths[-1] = T
        self.returned = self.instance(self.x, self.states, self.lengths)
        flat = (self.returned.output, *self.returned.states)
        self.upstream = [None if y is None else drawn(*y.shape) for y in flat]
        self.outcome = Outcome(*map(_double, self.returned))

    def fresh(self) -> Instance:
        """A new instance, with the same numbers as every other of this case."""
        torch.manual_seed(self.seed)  # what its constructor draws for itself is the same, too
        instance = self.subject.make(self.configuration)
        instance.draw(torch.Generator().manual_seed(self.seed + 1))
        return instance

    def with_(self, **changed: Any) -> Case:
        """The same in another configuration."""
        return Case(self.subject, replace(self.configuration, **changed), self.seed, self.tolerance)

    # ----------------------------------------------------------------------------------------------- weights

    def weights(self, reading: Reading) -> Weights:
        """What the subject's parameters are to torch.nn, and its own vectors as `own_0`, ..."""
        return self._read(reading, {name: p.detach().double() for name, p in self.instance.parameters.items()})

    def _read(self, reading: Reading, parameters: Mapping[str, Tensor]) -> Weights:
        own = {Place(name, "own"): parameters[name].flatten() for name in reading.unexplained}
        return complete(reading.weights(parameters) | own, self.configuration)

    @property
    def readings(self) -> tuple[Reading, ...]:
        return self.instance.readings

    # ----------------------------------------------------------------------------------------------- outputs

    def reference(self, weights: Weights, changes: Hypothesis = ()) -> Outcome:
        """What torch.nn returns, under some changes."""
        with torch.inference_mode():
            states = None if self.states is None else tuple(s.double() for s in self.states)
            reference = Reference(self.configuration.twin.cell, changes)
            return reference(self.configuration, weights, self.x.double(), states, self.lengths)

    def error(self, weights: Weights, changes: Hypothesis = ()) -> float:
        """How far the subject's outputs and states are from that; infinite where it cannot be computed."""
        try:
            expected = self.reference(weights, changes)
        except _SENSELESS:
            return float("inf")
        return max((_error(ours, theirs) for ours, theirs in _pairs(self.outcome, expected)), default=float("inf"))

    def computable(self, reading: int, changes: Hypothesis = ()) -> bool:
        """Whether parameters and outputs of the subject have the shapes that torch.nn's function takes and gives."""
        try:
            return self.error(self.weights(self.readings[reading]), changes) < float("inf")
        except _SENSELESS:
            return False

    def residual(self, weights: Weights, changes: Hypothesis = ()) -> Tensor | None:
        """Every output and state less the reference's, in one vector; None where the shapes differ."""
        pairs = _pairs(self.outcome, self.reference(weights, changes))
        if any(ours.shape != theirs.shape for ours, theirs in pairs):
            return None
        return torch.cat([(theirs - ours).flatten() for ours, theirs in pairs])

    def does_something(self, weights: Weights, before: Hypothesis, change: Change) -> bool:
        """Whether a change can be made here, and has an effect."""
        try:
            plain, changed = self.reference(weights, before), self.reference(weights, (*before, change))
        except _SENSELESS:
            return False
        pairs = _pairs(changed, plain)
        return any(a.shape != b.shape or not torch.equal(a, b) for a, b in pairs)

    def fits(self, weights: Weights, changes: Hypothesis = ()) -> bool:
        return self.error(weights, changes) <= self.tolerance.outputs

    def fitting(self, many: Weights, changes: Hypothesis = ()) -> list[int]:
        """Of weights with a leading dimension, N variants of them, those that fit."""
        try:
            expected = self.reference(many, changes)
        except _SENSELESS:
            return []
        worst: Tensor | None = None
        for k, (ours, theirs) in enumerate(_pairs(self.outcome, expected)):
            is_output = k == 0 and self.outcome.output is not None
            if theirs.shape == ours.shape:  # what does not depend on the weights
                theirs = theirs.expand(len(next(iter(many.values()))), *ours.shape)
            elif is_output and theirs.dim() > ours.dim():
                theirs = theirs.movedim(1, 0)
            if theirs.shape[1:] != ours.shape or (worst is not None and len(theirs) != len(worst)):
                return []
            error = (theirs - ours).abs().flatten(1).amax(1) / theirs.abs().flatten(1).amax(1).clamp_min(1e-300)
            worst = error if worst is None else torch.maximum(worst, error)
        assert worst is not None
        return [int(n) for n in (worst <= self.tolerance.outputs).nonzero()]

    # --------------------------------------------------------------------------------------------- gradients

    def _leaves(self) -> dict[str, Tensor]:
        states = dict(zip([f"{s}_0" for s in self.configuration.twin.cell.states], self.states or (), strict=False))
        return {"input": self.x, **states}

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """The subject's own, of the input, the states and its parameters; zero where there are none."""
        leaves = self._leaves() | {f"parameter {n}": p for n, p in self.instance.parameters.items()}
        try:
            found = _backward(self.returned, self.upstream, list(leaves.values()))
        except Exception as error:  # the subject's own backward
            raise Unjudged(f"{self.subject.name} raises in its backward pass: {short(error)}") from error
        return dict(zip(leaves, map(_double, found), strict=True))

    def expected_gradients(self, reading: Reading, changes: Hypothesis = ()) -> dict[str, Tensor]:
        """The reference's, by the same names: through the reading, so that what is read twice has the sum."""
        parameters = {n: p.detach().double().requires_grad_() for n, p in self.instance.parameters.items()}
        x, *states = (t.detach().double().requires_grad_() for t in (self.x, *(self.states or ())))
        reference = Reference(self.configuration.twin.cell, changes)
        weights = self._read(reading, parameters)
        outcome = reference(self.configuration, weights, x, tuple(states) or None, self.lengths)
        mine = self.outcome
        outcome = Outcome(
            None if mine.output is None else outcome.output,
            tuple(None if own is None else s for own, s in zip(mine.states, outcome.states, strict=False)),
        )
        leaves = dict(zip(self._leaves(), (x, *states), strict=True))
        leaves |= {f"parameter {n}": p for n, p in parameters.items()}
        return dict(zip(leaves, _backward(outcome, self.upstream, list(leaves.values())), strict=True))

    def by_place(self, reading: Reading, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The gradients with a parameter's pieces by the places that they stand for: `weight_hh_l0 f`."""
        found = {n: g for n, g in gradients.items() if not n.startswith("parameter ")}
        if not reading.judged:
            return found
        for piece in reading.pieces:
            name = f"{piece.place.name} {piece.place.gate}".strip()
            found[name] = piece.view(gradients[f"parameter {piece.parameter}"])
        return found | {name: gradients[f"parameter {name}"] for name in reading.unexplained}

    def differing_gradients(self, reading: Reading, changes: Hypothesis = ()) -> dict[str, tuple[Tensor, Tensor]]:
        """Those that do not agree, the subject's and the reference's."""
        try:
            expected = self.by_place(reading, self.expected_gradients(reading, changes))
        except _SENSELESS:
            return {"input": (self.x, self.x)}
        own = self.by_place(reading, self.gradients)
        largest = max((g.abs().max().item() for g in expected.values() if g.numel()), default=1.0)
        return {
            name: (own[name], g)
            for name, g in expected.items()
            if not _error(own[name], g, floor=max(1e-3 * largest, 1e-300)) <= self.tolerance.gradients
        }


def _double(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(map(_double, x))
    return None if x is None else x.detach().double()


def _pairs(ours: Outcome, theirs: Outcome) -> list[tuple[Tensor, Tensor]]:
    """What both returned, side by side."""
    mine, other = (ours.output, *ours.states), (theirs.output, *theirs.states)
    return [(a, b) for a, b in zip(mine, other, strict=False) if a is not None and b is not None]


def _error(ours: Tensor, theirs: Tensor, floor: float = 1e-300) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    error = (ours - theirs).abs().max() / theirs.abs().max().clamp_min(floor) if ours.numel() else torch.zeros(())
    return float("inf") if error.isnan() else error.item()


def _backward(outcome: Outcome, upstream: Sequence[Tensor | None], leaves: Sequence[Tensor]) -> list[Tensor]:
    """Of one loss: every output and state times its upstream gradient."""
    returned = (outcome.output, *outcome.states)
    pairs = [(y, u) for y, u in zip(returned, upstream, strict=False) if y is not None and u is not None]
    if not any(y.requires_grad for y, _ in pairs):
        return [torch.zeros_like(leaf) for leaf in leaves]
    ys, us = zip(*((y, u.to(y.dtype)) for y, u in pairs if y.requires_grad), strict=True)
    return list(torch.autograd.grad(ys, leaves, us, allow_unused=True, materialize_grads=True))
