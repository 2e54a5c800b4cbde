"""Anybody's recurrent layer as a black box: how it is made and called, and what can be varied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ....cells.twins import Twin
from ..configuration import Configuration
from . import naming
from .calling import NO_STATES, apart, arguments_of, called, is_given_weights
from .instance import Form, Instance, LoadWeights, unreadable
from .making import (
    RAISES,
    Maker,
    NotTaken,
    Unjudged,
    is_ready,
    leaves,
    linear_weights,
    maker_of,
    name_of,
    ready_without_sizes,
    short,
    sizes_said,
)
from .probing import Probe

_SIZES = ("input_size", "hidden_size")
_VARIATIONS: dict[str, Any] = {
    "num_layers": 2,
    "bias": False,
    "bidirectional": True,
    "batch_first": True,
    "dropout": 0.5,
    "proj_size": 2,
}


class Subject:
    """A class, factory, instance or function as a black box.

    Args:
        subject: what makes the layer, or is it.
        twin: what it is held against.
        step: the twin is torch.nn's cell, which takes one step.
        load_weights: called as `load_weights(module, weights)` before each call, `weights` by torch.nn's names; the
            subject's own parameters are then not read.
        dtype: float32 is taken instead where the subject cannot compute in it.

    Raises:
        Unjudged: it cannot be made, called or read.
    """

    name: str
    base: Configuration
    """The simplest that it can be made for."""
    takes: frozenset[str]
    """What can be varied from `base`: "sizes", its options, "training", "states", "packed", "lengths", "unbatched"."""
    assumed: tuple[str, ...]
    """How it is made and called, in sentences for a person."""
    dtype: torch.dtype

    def __init__(
        self,
        subject: Any,
        twin: Twin,
        step: bool,
        load_weights: LoadWeights | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self._subject, self._twin, self._step, self._load_weights = subject, twin, step, load_weights
        self.name = name_of(subject)
        self._states = len(twin.cell.states)
        self._is_function = is_given_weights(subject, self._states)
        if self._is_function and load_weights is not None:
            raise Unjudged(f"load_weights should be None for {self.name}, a function that is given its weights")
        self.dtype = dtype
        error = self._looked()
        if dtype != torch.float32 and (error or any(_speaks_of_dtypes(text) for text in self._probe.failed)):
            before = dict(vars(self))
            self.dtype = torch.float32
            if self._looked() is None and (error or self._does_more(before["takes"], before["_probe"])):
                error = None
                self.assumed += (f"computes in float32: it fails in {str(dtype).removeprefix('torch.')}",)
            else:
                vars(self).update(before)
        if error:
            raise error

    def make(self, configuration: Configuration) -> Instance:
        """The subject for a configuration.

        Raises:
            NotTaken: it does not take this one.
            Unjudged: it fails with it.
        """
        base = self.base
        if (configuration.twin, configuration.step) != (base.twin, base.step):
            raise ValueError(f"configuration should be of {base.twin.title}, got {configuration.twin.title}")
        for option in (*_SIZES, *_VARIATIONS, "training", "states", "layout"):
            wanted, has = getattr(configuration, option), getattr(base, option)
            by = "sizes" if option in _SIZES else wanted if option == "layout" else option
            if wanted != has and by not in self.takes:
                raise NotTaken(f"{self.name} should have {option}={has!r}, as it takes no other, got {wanted!r}")
        return self._probe.instance(configuration)

    # ---------------------------------------------------------------------------------------------- how it is made

    def _looked(self) -> Unjudged | None:
        try:
            self._look()
        except Unjudged as error:
            return error
        return None

    def _does_more(self, takes: frozenset[str], probe: Probe) -> bool:
        return bool(self.takes - takes) or (probe.needs_states and not self._probe.needs_states)

    def _look(self) -> None:
        """Make it in its simplest form, find how it is called, and try what can be varied."""
        self._maker = self._find_maker()
        base = Configuration(self._twin, self._step)
        square = replace(base, input_size=base.hidden_size)
        self._square = self._maker.square
        base = self._start(square if self._square else base)
        try:
            base = self._probe.find(list(self._layouts(base)))
        except Unjudged:  # what confuses W_ih with W_hh, or with its transpose, may work where both are square
            if self._square or "sizes" not in self._maker.names:
                raise
            base = self._start(square)
            with suppress(Unjudged):
                base = self._probe.find(list(self._layouts(base)))
                self._square = True
            if not self._square:
                raise
        self.base = replace(base, states=self._probe.way(base) is not NO_STATES)
        returned = self._probe.returned(self.base)
        if any(y is not None and not y.isfinite().all() for y in (returned.output, *returned.states)):
            raise Unjudged(f"{self.name} should return finite numbers, got nan or inf")
        said: list[str] = []
        self.takes = frozenset(self._varied(said))
        self.assumed = (*self._made_as(), *self._called_as(), *said)

    def _start(self, base: Configuration) -> Configuration:
        """Make it for the base, which is returned with what the instance fixes."""
        made = self._make(base)
        base = self._structure(base, made)
        self._promises = "batch_first" in self._maker.names or "batch_first" in sizes_said(made)
        self._is_module = isinstance(made, nn.Module)
        arguments = arguments_of(made, self._states)
        form = Form(self.name, arguments, self.dtype, self._step, self._is_function, self._load_weights)
        self._probe = Probe(self._make, form, self._states, self._promises)
        return base

    def _find_maker(self) -> Maker:
        if self._is_function:
            return Maker(self.name, lambda configuration: self._subject, self.name, frozenset({"sizes"}))
        maker = maker_of(self._subject)
        if is_ready(self._subject) or "sizes" not in maker.names:
            return maker
        base = Configuration(self._twin, self._step)
        base = replace(base, input_size=base.hidden_size) if maker.square else base
        tried = []
        for form in (maker, ready_without_sizes(self._subject)):
            try:
                with apart(self.dtype):
                    form.make(base)
            except RAISES as error:
                tried.append(f"{form.said} raises {short(error)}")
            else:
                return form
        raise Unjudged(f"{self.name} cannot be made: {'; '.join(tried)}")

    def _make(self, configuration: Configuration) -> Any:
        try:
            with apart(self.dtype):
                made = self._maker.make(configuration)
        except Unjudged:
            raise
        except RAISES as error:
            raise Unjudged(f"{self.name} cannot be made: {self._maker.said} raises {short(error)}") from error
        called(made)
        if isinstance(made, nn.Module):
            made.train(configuration.training)
        return made

    def _structure(self, base: Configuration, made: Any) -> Configuration:
        """The base with what the instance fixes: sizes, layers, directions."""
        if self._is_function:
            return base
        sized = "sizes" in self._maker.names
        said = sizes_said(made)
        free = {*self._maker.names, *(_SIZES if sized else ())}
        if base.step:
            free |= set(_VARIATIONS) - {"bias"}
        base = replace(base, **{option: value for option, value in said.items() if option not in free})
        known = sized or said.keys() >= set(_SIZES)
        if self._load_weights is not None:
            if not known:
                raise Unjudged(f"{self.name} should have input_size and hidden_size, as its parameters are not read")
            return base
        with apart(self.dtype):
            parameters = leaves(made, self.dtype)
        linear = linear_weights(made)
        found = None
        if known:
            told = {"num_layers", "bidirectional"} <= {*free, *said}
            read = naming.readings(parameters, base, linear) if told else ()
            found = naming.with_bias(base, read[0]) if read else naming.layout(parameters, base, linear)
        if found is None and not sized:
            found = naming.sizes(parameters, base, linear)
        if found is None:
            raise unreadable(self.name, parameters, base)
        return found

    def _layouts(self, base: Configuration) -> Iterator[Configuration]:
        """What the layers and directions may be: where parameters are not read, only shapes show them."""
        yield base
        if not base.step and not base.bidirectional and "bidirectional" not in self._maker.names:
            yield replace(base, bidirectional=True)  # with one set of weights for both
        if (self._is_function or self._load_weights is not None) and not self._step:
            layers = {base.num_layers} if "num_layers" in self._maker.names else {base.num_layers, 2}
            both = {base.bidirectional} if "bidirectional" in self._maker.names else {base.bidirectional, True}
            yield from (replace(base, num_layers=n, bidirectional=d) for n in sorted(layers) for d in sorted(both))

    def _made_as(self) -> Iterator[str]:
        ready = is_ready(self._subject) or self._is_function
        if not ready and self._maker.said != f"{self.name}(input_size, hidden_size)":
            yield f"made as {self._maker.said}"

    def _called_as(self) -> Iterator[str]:
        base, way = self.base, self._probe.way(self.base)
        said = self._probe.drawn(base, way, base.states)[0].said
        stepping = " step by step" if self._probe.stepped and not self._step else ""
        yield f"called{stepping} as subject({', '.join(['x', *([way.said] if way.said else [])])}); returns {said}"
        if base.batch_first and not self._promises:
            yield "takes the batch first"
        if way is NO_STATES and not self._step:
            yield "takes no states"
        if self._square and not self._maker.square:
            yield "fails where input_size is not hidden_size"
        if self._probe.needs_states:
            yield "needs states: zeros are given where torch.nn is given none"

    # --------------------------------------------------------------------------------------------- what is varied

    def _varied(self, said: list[str]) -> Iterator[str]:
        base, maker = self.base, self._maker
        if "sizes" in maker.names and not self._square:
            yield "sizes"
        found = set()
        for option in ("bias",) if self._step or self._probe.stepped else _VARIATIONS:
            named = option in maker.names
            if not (named or option in maker.maybe) or (option == "proj_size" and self._states == 1):
                continue
            change: dict[str, Any] = {option: not base.bias if option == "bias" else _VARIATIONS[option]}
            changed = replace(base, **change)
            if changed == base:
                continue
            if option == "batch_first":  # what takes it and ignores it fails with other numbers of steps and rows
                changed = replace(changed, length=4, batch=4)
            shaped = self._probe.tried(changed)
            if isinstance(shaped, str):  # the option may be ignored, and states then have another shape
                without = self._probe.tried(replace(changed, states=False))
                shaped = shaped if isinstance(without, str) else without
            if isinstance(shaped, str):
                said += [f"not tried with {option}={change[option]}: {shaped}"] * named
            elif named or (shaped >= 3 and self._knows(option, changed)):
                found.add(option)
        if self._is_module:
            yield "training"
        if base.states:
            found.add("states")
        yield from found
        if self._step or self._probe.stepped:
            return
        if self._probe.takes_lengths:
            yield "lengths"
        more: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "batch_first": True, "states": False}
        taken = {option: value for option, value in more.items() if option in found and option != "states"}
        for layout, batch in (("packed", base.batch), ("unbatched", 1)):
            plain = replace(base, layout=layout, batch=batch)
            cases = [plain, replace(plain, **taken)]
            cases += [replace(case, states=False) for case in cases if "states" in found]
            if all(not isinstance(shaped, str) and shaped >= 3 for shaped in map(self._probe.tried, cases)):
                yield layout

    def _knows(self, option: str, configuration: Configuration) -> bool:
        """Whether `**options` did not swallow it."""
        instance = self._probe.instance(configuration)
        if option in ("batch_first", "dropout"):
            return bool(sizes_said(instance.made).get(option) == getattr(configuration, option))
        return option != "bias" or naming.with_bias(configuration, instance.readings[0]) == configuration


def _speaks_of_dtypes(text: str) -> bool:
    return "dtype" in text or ("Float" in text and "Double" in text)
