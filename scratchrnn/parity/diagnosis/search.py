"""The smallest set of causes under which the reference does what the subject does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, islice
from typing import NamedTuple

import torch
from torch import Tensor

from .case import Case
from .causes import Facts, Row, Variant, variants
from .causes.equations import with_forget_bias
from .configuration import Place, Weights
from .reference import Change

_MOST = 8000
"""Pairs that are tried one by one: of one layer and direction all, and some seconds of a stack's."""


class Found(NamedTuple):
    """One variant of one cause."""

    row: Row
    variant: Variant

    @property
    def slug(self) -> str:
        return self.row.slug

    @property
    def is_order(self) -> bool:
        """Whether it is an order of the gates in all parameters alike, and not in W_ih or W_hh alone."""
        return self.slug == "gate-order" and not self.variant.detail.startswith("in W_")


class Hypothesis(NamedTuple):
    """What a subject may be: how its parameters are read, and what is wrong with it."""

    reading: int = 0
    causes: tuple[Found, ...] = ()

    @property
    def changes(self) -> tuple[Change, ...]:
        return tuple(cause.variant.change for cause in self.causes)

    def convention(self, promised: bool) -> tuple[Found, ...]:
        """An order of gates where nothing promised another: how the parameters are read, and no cause."""
        return () if promised else tuple(c for c in self.causes if c.is_order)

    def fits(self, case: Case) -> bool:
        return case.fits(_weights(case, self.reading), self.changes)


def explanations(cases: Sequence[Case], before: Hypothesis, rows: Sequence[Row], facts: Facts) -> list[Hypothesis]:
    """The hypotheses of the fewest causes that fit every case, in the order of precedence; none if there is none.

    `before` is what fitted all cases but the last. Where the names promise no order of the gates, an order is no
    cause, and may stand beside each.
    """
    newest, others = cases[-1], cases[:-1]
    found = [Found(row, v) for row in rows for v in variants(row, facts)]
    free = [] if facts.promised or before.causes else [f for f in found if f.is_order]
    levels = (
        _none(newest, before),
        _singles(newest, (), free),
        _singles(newest, before.convention(facts.promised), found),
        _beside(newest, free, [f for f in found if not f.is_order]),
        _exchanged(newest, before, found),
        _singles(newest, before.causes, found),
        _pairs(newest, others, before, found),
    )
    for level in levels:
        fitting = [h for h in level if all(h.fits(case) for case in others)]
        if fitting:
            return fitting
    return []


def _none(newest: Case, before: Hypothesis) -> Iterator[Hypothesis]:
    """No cause more, the parameters read in another way."""
    for k in range(len(newest.readings)):
        if (h := Hypothesis(k, before.causes)).fits(newest):
            yield h


def _singles(newest: Case, start: tuple[Found, ...], found: Sequence[Found]) -> Iterator[Hypothesis]:
    """One cause behind those."""
    for k in range(len(newest.readings)):
        for f in found:
            if (h := Hypothesis(k, (*start, f))).fits(newest):
                yield h


def _exchanged(newest: Case, before: Hypothesis, found: Sequence[Found]) -> Iterator[Hypothesis]:
    """One of the causes before in another way."""
    for old in before.causes if len(before.causes) > 1 else ():
        others = tuple(cause for cause in before.causes if cause is not old)
        yield from _singles(newest, others, [f for f in found if f.slug == old.slug])


def _beside(newest: Case, orders: Sequence[Found], found: Sequence[Found]) -> Iterator[Hypothesis]:
    """One cause, and the gates in another order: all orders at once."""
    for k in range(len(newest.readings)) if orders else ():
        many = _stacked(newest, _weights(newest, k), orders)
        for f in found:
            for n in newest.fitting(many, (f.variant.change,)):
                yield Hypothesis(k, (orders[n], f))


def _pairs(newest: Case, others: Sequence[Case], before: Hypothesis, found: Sequence[Found]) -> Iterator[Hypothesis]:
    """Two causes more. Each does something here and nothing in the other cases: no two undo each other exactly.

    Those that change the parameters alone are tried all at once beside each other one.
    """
    for k in range(len(newest.readings)):
        weights = _weights(newest, k)
        mine = [f for f in found if newest.does_something(weights, before.changes, f.variant.change)]
        mine = [f for f in mine if all(Hypothesis(k, (*before.causes, f)).fits(case) for case in others)]
        of_weights = [f for f in mine if set(f.variant.change) == {"weights"}]
        of_all_else = [f for f in mine if set(f.variant.change) != {"weights"}]
        if of_weights:
            many = _stacked(newest, weights, of_weights)
            for f in mine:
                for n in newest.fitting(many, (*before.changes, f.variant.change)):
                    if of_weights[n] is not f:  # biases four times are not twice and twice
                        yield Hypothesis(k, (*before.causes, of_weights[n], f))  # applied in this order
        for pair in islice(combinations(of_all_else, 2), _MOST):
            if (h := Hypothesis(k, (*before.causes, *pair))).fits(newest):
                yield h


def _stacked(case: Case, weights: Weights, causes: Sequence[Found]) -> Weights:
    """The weights under each of these causes, with a leading dimension for them."""
    each = [f.variant.change["weights"](weights, case.configuration) for f in causes]

    def wide(place: Place, value: Tensor) -> Tensor:
        return value[None] if place.name.startswith("bias") else value

    stacked = {p: torch.stack([wide(p, w[p]) for w in each]) for p in weights if p.gate != "own"} if each else {}
    return stacked | {p: w for p, w in weights.items() if p.gate == "own"}


def _weights(case: Case, reading: int) -> Weights:
    return case.weights(case.readings[min(reading, len(case.readings) - 1)])


def fitted(case: Case, known: Hypothesis) -> float | None:
    """The constant which, added to the forget gate, makes all agree, if there is one: by Newton's method."""
    weights, h = _weights(case, known.reading), 1e-6

    def residual(k: float) -> Tensor | None:
        return case.residual(weights, (*known.changes, with_forget_bias(k)))

    k = 1.0
    for _ in range(12):
        here, there = residual(k), residual(k + h)
        if here is None or there is None:
            return None
        slope = (there - here) / h
        k -= float((slope * here).sum() / (slope * slope).sum().clamp_min(1e-300))
        if not abs(k) < 50:
            return None
    k = round(k, 9)
    return k if case.fits(weights, (*known.changes, with_forget_bias(k))) else None


# ------------------------------------------------------------------------------------------------- gradients


def gradient_explanations(
    cases: Sequence[Case], known: Hypothesis, rows: Sequence[Row], facts: Facts
) -> list[Hypothesis]:
    """As `explanations`, of gradients: the outputs agree under `known`, and none of the causes here changes them.

    A pair is looked for where one of the two sets more gradients right than there were before.
    """
    found = [Found(row, v) for row in rows for v in variants(row, facts)]

    def wrong(h: Hypothesis, among: Sequence[Case]) -> int:
        return sum(len(case.differing_gradients(case.readings[h.reading], h.changes)) for case in among)

    def extended(h: Hypothesis, f: Found) -> Hypothesis:
        return Hypothesis(h.reading, (*h.causes, f))

    fewest, rest = cases[:1], cases[1:]
    counted = [(wrong(extended(known, f), fewest), f) for f in found]
    singles = [extended(known, f) for count, f in counted if count == 0]
    if fitting := [h for h in singles if not wrong(h, rest)]:
        return fitting
    before = wrong(known, fewest)
    for _, f in sorted(((count, f) for count, f in counted if 0 < count < before), key=lambda pair: pair[0])[:8]:
        pairs = [extended(extended(known, f), other) for other in found if other.slug != f.slug or other is not f]
        if fitting := [h for h in pairs if not wrong(h, fewest) and not wrong(h, rest)]:
            return fitting
    return []
