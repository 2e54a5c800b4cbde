"""Finds how a subject is called: a sequence or a step at a time, which axis is the batch, how states are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..configuration import Configuration, Outcome
from .calling import NO_STATES, Way, ways
from .instance import Form, Instance, shapes_of_states
from .making import Unjudged

_PROBED = 6  # steps, and rows, of the input that tells the axes apart


class Probe:
    """What calls have shown so far of a subject that `make` makes."""

    without: bool
    """It can be called without states."""

    def __init__(self, make: Callable[[Configuration], Any], form: Form, states: int, promises: bool) -> None:
        self._make, self._form, self._promises = make, form, promises
        self._states = states
        self._ways: dict[bool, Way] = {}
        self.without = False
        self.failed: list[str] = []

    @property
    def stepped(self) -> bool:
        """Whether it takes one step."""
        return self._form.stepped

    @property
    def needs_states(self) -> bool:
        """Whether it fails without them."""
        return self._form.needs_states

    @property
    def takes_lengths(self) -> bool:
        """Whether there is an argument for the lengths of rows."""
        return any(argument.role == "lengths" for argument in self._form.arguments)

    def instance(self, configuration: Configuration) -> Instance:
        """The subject, to be called in the way that was found."""
        return self._as(configuration, self.way(configuration))

    def way(self, configuration: Configuration) -> Way:
        """How it is given states, which may differ where there are several layers or directions."""
        one = _one(configuration)
        if one not in self._ways:
            without = self.without
            self._find_way(configuration, {})
            self.without = without
        return self._ways[one]

    def returned(self, configuration: Configuration) -> Outcome:
        """What it returns for random input, with states if it takes them."""
        way = self.way(configuration)
        return self.drawn(configuration, way, way is not NO_STATES)[1]

    def _as(self, configuration: Configuration, way: Way) -> Instance:
        return Instance(self._make(configuration), configuration, self._form, way)

    def find(self, candidates: Sequence[Configuration]) -> Configuration:
        """The first candidate under which a call returns torch.nn's shapes, else the first that works.

        Raises:
            Unjudged: no call works, with all that was tried.
        """
        works: list[Configuration] = []
        errors: list[Unjudged] = []
        for candidate in candidates:
            self._ways = {}
            try:
                found = self._find_form(candidate)
            except Unjudged as error:
                errors.append(error)
                continue
            if self._shaped(self.returned(found), found) >= 3 or len(candidates) == 1:
                return self._settled(found)
            works.append(candidate)
        if not works:
            raise errors[0]
        self._ways = {}
        return self._settled(self._find_form(works[0]))

    def _settled(self, base: Configuration) -> Configuration:
        """From here on parameters are read as in the base, and zeros given where states are needed."""
        needs = self.way(base) is not NO_STATES and not self.without
        like = self.instance(base).interpretations
        self._form = replace(self._form, needs_states=needs, like=like)
        self.without = True
        return base

    def _find_form(self, base: Configuration) -> Configuration:
        """Whether it takes a sequence or a step, which axis is the batch, and how states are given."""
        tried: dict[str, str] = {}
        for stepped in (True,) if base.step else (False, True):
            self._take(stepped)
            axes = (False, True) if stepped or self._promises else self._independent(base)
            held = replace(base, batch_first=True) if axes == (True, False) else base
            if self._find_way(held, tried):
                if axes == (True, True) and self._repeats(held):
                    self._take(True)
                    tried = {}
                    if not self._find_way(base, tried):
                        raise Unjudged(f"{self._form.name} cannot be called as a step: {_told(tried)}")
                return held
        what = "step" if base.step else "layer"
        raise Unjudged(f"{self._form.name} cannot be called as a {what}: {_told(tried)}")

    def _take(self, stepped: bool) -> None:
        self._form = replace(self._form, stepped=stepped)

    def _repeats(self, base: Configuration) -> bool:
        """Whether it is a cell that takes any leading axes: then the states meet the last step, too."""
        way = self._ways[_one(base)]
        if way is NO_STATES:
            return False
        x, states = entered(base, torch.Generator().manual_seed(1))
        instances = [self.drawn(base, way, True)[0] for _ in range(2)]
        before, after = (
            instance(x, tuple(sign * s for s in states)).output
            for instance, sign in zip(instances, (1, -1), strict=True)
        )
        return before is not None and after is not None and not torch.equal(before[-1], after[-1])

    def _find_way(self, base: Configuration, tried: dict[str, str]) -> bool:
        """How states are given, if they are: the way with which all shapes are torch.nn's, or most."""
        before = self._ways.get(not _one(base))
        possible = ways(self._form.arguments, self._states, self.stepped, base.num_layers * base.directions)
        possible.sort(key=lambda way: before is not None and way.said != before.said)
        best, most = NO_STATES, -1

        def score(way: Way, said: str, given: bool) -> int:
            try:
                return self._shaped(self.drawn(base, way, given)[1], base)
            except Unjudged as error:
                tried.setdefault(f"subject({said})", str(error))
                self.failed.append(str(error))
                return -1

        for way in possible:
            found = score(way, f"x, {way.said}", True)
            if found > most:
                best, most = way, found
        self.without = score(best, "x", False) >= 0
        self._ways[_one(base)] = best
        return best is not NO_STATES or (self.without and not (self.stepped and not base.step))

    def drawn(self, configuration: Configuration, way: Way, given: bool) -> tuple[Instance, Outcome]:
        """An instance with random weights, and what it returns for random input, with states `given` or not."""
        instance = self._as(configuration, way)
        generator = torch.Generator().manual_seed(0)
        instance.draw(generator)
        x, states = entered(configuration, generator)
        return instance, instance(x, states if given else None)

    def _shaped(self, found: Outcome, base: Configuration) -> int:
        """How many of the tensors have torch.nn's shape; the output counts three times."""
        wanted = shapes_of_states(base, base.batch)
        score = sum(s is not None and tuple(s.shape) == w for s, w in zip(found.states, wanted, strict=True))
        whole = (base.length, base.batch, base.directions * base.output_size)
        return score + 3 * (found.output is None or tuple(found.output.shape) == whole)

    def _independent(self, base: Configuration) -> tuple[bool, bool]:
        """For each of the first two axes of the input, whether its entries have no effect on each other."""
        square = replace(base, length=_PROBED, batch=_PROBED, batch_first=False)
        for way in [NO_STATES, *ways(self._form.arguments, self._states, False, base.num_layers * base.directions)]:
            try:
                return self._effects(square, way)
            except Unjudged:
                continue
        return False, True

    def _effects(self, square: Configuration, way: Way) -> tuple[bool, bool]:
        x, states = entered(square, torch.Generator().manual_seed(1))

        def shown(x: Tensor) -> Tensor:
            instance = self._as(square, way)  # a new one, which remembers no call before
            instance.draw(torch.Generator().manual_seed(0))
            found = instance(x, states if way is not NO_STATES else None)
            y = found.output if found.output is not None else found.states[0]
            return torch.empty(0) if y is None else y.detach()

        before, middle = shown(x), _PROBED // 2
        others = torch.arange(_PROBED) != middle
        found = []
        for axis in (0, 1):
            changed = x.clone()
            changed.select(axis, middle).neg_().add_(0.5)
            after = shown(changed)
            if before.dim() != 3 or before.shape[1] != _PROBED:
                return False, True
            moved, nothing = (before - after).abs(), 1e-6 * before.abs().max()
            along = [k for k in (0, 1) if before.shape[k] == _PROBED]  # a list of outputs has the steps first
            found.append(any(bool(moved.movedim(k, 0)[others].max() <= nothing) for k in along))
        return (False, True) if found == [False, False] else (found[0], found[1])

    def tried(self, configuration: Configuration) -> int | str:
        """How many of the tensors have torch.nn's shape, the output counted three times, or why it fails."""
        one = _one(configuration)
        try:
            if one not in self._ways:
                self._as(configuration, NO_STATES)  # whether it can be made at all
                without, tried = self.without, dict[str, str]()
                found = self._find_way(configuration, tried)
                self.without = without
                if not found:
                    del self._ways[one]
                    return _told(tried)
            return self._shaped(self.drawn(configuration, self._ways[one], configuration.states)[1], configuration)
        except Unjudged as error:
            self.failed.append(str(error))
            return str(error)


def entered(configuration: Configuration, generator: torch.Generator) -> tuple[Tensor, tuple[Tensor, ...]]:
    """An input and states as torch.nn has them."""
    T, B = configuration.length, configuration.batch

    def drawn(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1

    x = drawn(*(() if configuration.step else (T,)), B, configuration.input_size)
    return x, tuple(drawn(*shape) for shape in shapes_of_states(configuration, B))


def _one(configuration: Configuration) -> bool:
    return configuration.num_layers * configuration.directions == 1


def _told(tried: dict[str, str]) -> str:
    """The calls that were tried, with the exception of each; those that fail alike together."""
    errors = {error: [call for call, other in tried.items() if other == error] for error in tried.values()}
    return "; ".join(f"{', '.join(calls)}: {error}" for error, calls in errors.items())
