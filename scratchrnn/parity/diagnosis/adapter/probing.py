"""Finds how a subject is called: a sequence or a step at a time, which axis is the batch, how states are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..configuration import Configuration, Outcome
from .calling import NO_STATES, Way, ways
from .instance import Form, Instance
from .returned import PAIRS, shapes_of_states, stacked
from .tensors import NotLoaded, Unjudged

_PROBED = 6  # steps, and rows, of the input that tells the axes apart


class Probe:
    """What calls have shown so far of a subject that `make` makes."""

    form: Form

    def __init__(self, make: Callable[[Configuration], Any], form: Form, promises: bool) -> None:
        self._make, self.form, self._promises = make, form, promises
        self._ways: dict[bool, Way] = {}  # by whether L * D is one
        self.failed: list[str] = []

    def instance(self, configuration: Configuration) -> Instance:
        """The subject, to be called in the way that was found."""
        return Instance(self._make(configuration), configuration, self.form, self.way(configuration))

    def way(self, configuration: Configuration) -> Way:
        """How it is given states, which may differ where there are several layers or directions."""
        one = stacked(configuration) == 1
        if one not in self._ways:
            self._ways[one] = (self._search(configuration, {}) or (NO_STATES,))[0]
        return self._ways[one]

    def drawn(self, configuration: Configuration, way: Way, given: bool) -> tuple[Instance, Outcome]:
        """An instance with random weights, and what it returns for random input, with states `given` or not."""
        instance = Instance(self._make(configuration), configuration, self.form, way)
        generator = torch.Generator().manual_seed(0)
        instance.draw(generator)
        x, states = _entered(configuration, generator)
        return instance, instance(x, states if given else None)

    def returned(self, configuration: Configuration) -> tuple[Instance, Outcome]:
        """As `drawn`, with states if it takes them."""
        way = self.way(configuration)
        return self.drawn(configuration, way, way is not NO_STATES)

    def tried(self, configuration: Configuration) -> int | str:
        """How many of the tensors have torch.nn's shape, the output counted three times, or why it fails."""
        one = stacked(configuration) == 1
        try:
            if one not in self._ways:
                self._make(configuration)  # whether it can be made at all
                tried: dict[str, str] = {}
                found = self._search(configuration, tried)
                if found is None:
                    return _told(tried)
                self._ways[one] = found[0]
            return _shaped(self.drawn(configuration, self._ways[one], configuration.states)[1], configuration)
        except Unjudged as error:
            self.failed.append(str(error))
            return str(error)

    def find(self, candidates: Sequence[Configuration]) -> Configuration:
        """The first candidate under which a call returns torch.nn's shapes, else the first that works.

        From there on parameters are read as in it, and zeros given where states are needed.

        Raises:
            Unjudged: no call works, with all that was tried.
        """
        works: list[Configuration] = []
        errors: list[Unjudged] = []
        for candidate in candidates:
            try:
                found, needs_states = self._find_form(candidate)
            except Unjudged as error:
                errors.append(error)
                continue
            works.append(candidate)
            if len(candidates) == 1 or _shaped(self.returned(found)[1], found) >= 3:
                break
        else:
            if not works:
                raise errors[0]
            found, needs_states = self._find_form(works[0])
        self.form = replace(self.form, needs_states=needs_states, like=self.instance(found).readings)
        return found

    def _find_form(self, base: Configuration) -> tuple[Configuration, bool]:
        """Whether it takes a sequence or a step, and which axis is the batch; and whether it needs states."""
        tried: dict[str, str] = {}
        for step in (True,) if base.step else (False, True):
            self.form = replace(self.form, stepped=step)
            axes = (False, True) if step or self._promises else self._independent(base)
            held = replace(base, batch_first=True) if axes == (True, False) else base
            found = self._search(held, tried)
            if found and axes == (True, True) and self._repeats(held, found[0]):
                self.form = replace(self.form, stepped=True)
                tried = {}
                found = self._search(held, tried)
                step = True
            if found:
                way, without = found
                self._ways = {stacked(held) == 1: way}
                return held, way is not NO_STATES and not without
        what = "step" if base.step else "layer"
        raise Unjudged(f"{self.form.name} cannot be called as a {what}: {_told(tried)}")

    def _search(self, base: Configuration, tried: dict[str, str]) -> tuple[Way, bool] | None:
        """How states are given: the way with which all shapes are torch.nn's, or most; and whether it works without."""
        possible = ways(self.form.arguments, len(base.twin.cell.states), self.form.stepped, stacked(base))

        def score(way: Way, said: str, given: bool) -> float:
            try:
                instance, returned = self.drawn(base, way, given)
                # as they return, so they come: as many layers as states would take either form
                return _shaped(returned, base) + 0.5 * ((way.said == PAIRS) == (PAIRS in instance.said))
            except NotLoaded:
                raise
            except Unjudged as error:
                tried.setdefault(f"subject({said})", str(error))
                self.failed.append(str(error))
                return -1

        scores = [(score(way, f"x, {way.said}", True), way) for way in possible]
        most, best = max(scores, key=lambda each: each[0], default=(-1, NO_STATES))
        best = best if most >= 0 else NO_STATES
        without = score(best, "x", False) >= 0
        return (best, without) if best is not NO_STATES or (without and self.form.stepped == base.step) else None

    def _repeats(self, base: Configuration, way: Way) -> bool:
        """Whether it is a cell that takes any leading axes: then the states meet the last step, too."""
        if way is NO_STATES:
            return False
        x, states = _entered(base, torch.Generator().manual_seed(1))
        before, after = (self.drawn(base, way, True)[0](x, tuple(sign * s for s in states)).output for sign in (1, -1))
        return before is not None and after is not None and not torch.equal(before[-1], after[-1])

    def _independent(self, base: Configuration) -> tuple[bool, bool]:
        """For each of the first two axes of the input, whether its entries have no effect on each other."""
        square = replace(base, length=_PROBED, batch=_PROBED, batch_first=False)
        for way in [NO_STATES, *ways(self.form.arguments, len(base.twin.cell.states), False, stacked(base))]:
            try:
                return self._effects(square, way)
            except Unjudged:
                continue
        return False, True

    def _effects(self, square: Configuration, way: Way) -> tuple[bool, bool]:
        x, states = _entered(square, torch.Generator().manual_seed(1))

        def shown(x: Tensor) -> Tensor:
            instance = Instance(self._make(square), square, self.form, way)  # a new one, which remembers no call before
            instance.draw(torch.Generator().manual_seed(0))
            found = instance(x, states if way is not NO_STATES else None)
            y = found.output if found.output is not None else found.states[0]
            return torch.empty(0) if y is None else y.detach()

        before, middle = shown(x), _PROBED // 2
        others = torch.arange(_PROBED) != middle
        if before.dim() != 3 or before.shape[1] != _PROBED:
            return False, True
        along = [k for k in (0, 1) if before.shape[k] == _PROBED]  # a list of outputs has the steps first
        found = []
        for axis in (0, 1):
            changed = x.clone()
            changed.select(axis, middle).neg_().add_(0.5)
            moved, nothing = (before - shown(changed)).abs(), 1e-6 * before.abs().max()
            found.append(any(bool(moved.movedim(k, 0)[others].max() <= nothing) for k in along))
        return (found[0], found[1]) if any(found) else (False, True)


def _shaped(found: Outcome, base: Configuration) -> int:
    """How many of the tensors have torch.nn's shape; the output counts three times."""
    wanted = shapes_of_states(base, base.batch)
    score = sum(s is not None and tuple(s.shape) == w for s, w in zip(found.states, wanted, strict=True))
    whole = (base.length, base.batch, base.directions * base.output_size)
    return score + 3 * (found.output is None or tuple(found.output.shape) == whole)


def _entered(configuration: Configuration, generator: torch.Generator) -> tuple[Tensor, tuple[Tensor, ...]]:
    """An input and states as torch.nn has them."""
    T, B = configuration.length, configuration.batch

    def drawn(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1

    x = drawn(*(() if configuration.step else (T,)), B, configuration.input_size)
    return x, tuple(drawn(*shape) for shape in shapes_of_states(configuration, B))


def _told(tried: dict[str, str]) -> str:
    """The calls that were tried, with the exception of each; those that fail alike together."""
    errors = {error: [call for call, other in tried.items() if other == error] for error in tried.values()}
    return "; ".join(f"{', '.join(calls)}: {error}" for error, calls in errors.items())
