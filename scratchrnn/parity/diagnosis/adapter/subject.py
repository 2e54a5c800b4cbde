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
from .calling import NO_STATES, arguments_of, called, is_given_weights
from .instance import Form, Instance, LoadWeights, unreadable
from .making import VARIED, Maker, is_ready, maker_of, ready_without_sizes, sizes_said
from .probing import Probe
from .tensors import RAISES, NotTaken, Unjudged, apart, leaves, name_of, short

_SIZES = ("input_size", "hidden_size")


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
        self._is_function = is_given_weights(subject, len(twin.cell.states))
        if self._is_function and load_weights is not None:
            raise Unjudged(f"load_weights should be None for {self.name}, a function that is given its weights")
        self.dtype = dtype
        error = None
        try:
            self._look()
        except Unjudged as found:
            error = found
        if dtype != torch.float32 and (error or any(map(_speaks_of_dtypes, self._probe.failed))):
            with suppress(Unjudged):
                other = Subject(subject, twin, step, load_weights, torch.float32)
                if error or other.takes - self.takes or self._needs_states > other._needs_states:
                    vars(self).update(vars(other))
                    self.assumed += (f"computes in float32: it fails in {str(dtype).removeprefix('torch.')}",)
                    return
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
        for option in (*_SIZES, *VARIED, "training", "states", "layout"):
            wanted, has = getattr(configuration, option), getattr(base, option)
            by = "sizes" if option in _SIZES else wanted if option == "layout" else option
            if wanted != has and by not in self.takes:
                raise NotTaken(f"{self.name} should have {option}={has!r}, as it takes no other, got {wanted!r}")
        return self._probe.instance(configuration)

    # ---------------------------------------------------------------------------------------------- how it is made

    def _look(self) -> None:
        """Make it in its simplest form, find how it is called, and try what can be varied."""
        self._maker = self._find_maker()
        base = self._simplest(self._maker)
        square = replace(base, input_size=base.hidden_size)
        self._square = self._maker.square
        base = self._start(base)
        try:
            base = self._probe.find(list(self._layouts(base)))
        except Unjudged as error:  # what confuses W_ih with W_hh, or with its transpose, may work where both are square
            if self._square or "sizes" not in self._maker.names:
                raise
            base = self._start(square)
            try:
                base = self._probe.find(list(self._layouts(base)))
            except Unjudged:
                raise error from None
            self._square = True
        self.base = replace(base, states=self._probe.way(base) is not NO_STATES)
        instance, returned = self._probe.returned(self.base)
        output = returned.output
        if base.batch_first and output is not None:
            output = output.transpose(0, 1)  # as it came
        states = (name if self._step else f"{name}_n" for name in self._twin.cell.states)
        for name, y in zip(("output", *states), (output, *returned.states), strict=True):
            if y is not None and not y.isfinite().all():
                place = tuple((~y.isfinite()).nonzero()[0].tolist())
                got = f"{y[place].item()} in {name} at {list(place)}"
                raise Unjudged(f"{self.name} should return finite numbers, got {got} with {self.base}")
        said: list[str] = []
        self.takes = frozenset(self._varied(said))
        self.assumed = (*self._made_as(instance.said), *said)

    @property
    def _needs_states(self) -> bool:
        return self._probe.form.needs_states

    def _simplest(self, maker: Maker) -> Configuration:
        base = Configuration(self._twin, self._step)
        return replace(base, input_size=base.hidden_size) if maker.square else base

    def _find_maker(self) -> Maker:
        if self._is_function:
            return Maker(lambda configuration: self._subject, self.name, frozenset({"sizes"}))
        maker = maker_of(self._subject)
        if is_ready(self._subject) or "sizes" not in maker.names:
            return maker
        tried = []
        for form in (maker, ready_without_sizes(self._subject)):
            try:
                with apart(self.dtype):
                    form.make(self._simplest(maker))
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
        return made.train(configuration.training) if isinstance(made, nn.Module) else made

    def _start(self, base: Configuration) -> Configuration:
        """Make it for the base, which is returned with what the instance fixes."""
        made = self._make(base)
        base = self._structure(base, made)
        self._promises = "batch_first" in self._maker.names or "batch_first" in sizes_said(made)
        self._is_module = isinstance(made, nn.Module)
        arguments = arguments_of(made, len(self._twin.cell.states))
        form = Form(self.name, arguments, self.dtype, self._step, self._is_function, self._load_weights)
        self._probe = Probe(self._make, form, self._promises)
        return base

    def _structure(self, base: Configuration, made: Any) -> Configuration:
        """The base with what the instance fixes: sizes, layers, directions."""
        if self._is_function:
            return base
        sized = "sizes" in self._maker.names
        said = sizes_said(made)
        free = {*self._maker.names, *(_SIZES if sized else ())}
        if base.step:
            free |= set(VARIED) - {"bias"}
        base = replace(base, **{option: value for option, value in said.items() if option not in free})
        known = sized or said.keys() >= set(_SIZES)
        if self._load_weights is not None:
            if not known:
                raise Unjudged(f"{self.name} should have input_size and hidden_size, as its parameters are not read")
            return base
        with apart(self.dtype):
            parameters, linear = leaves(made, self.dtype)
        found = None
        if known and {"num_layers", "bidirectional"} <= {*free, *said}:
            found = next((naming.with_bias(base, r) for r in naming.readings(parameters, base, linear)), None)
        if known and found is None:
            found = naming.layout(parameters, base, linear)
        if found is None and not sized:
            found = naming.sizes(parameters, base, linear)
        if found is None:
            raise unreadable(self.name, parameters, base)
        return found

    def _layouts(self, base: Configuration) -> Iterator[Configuration]:
        """What the layers and directions may be: where parameters are not read, only shapes show them."""
        yield base
        if self._step:
            return
        if not base.bidirectional and "bidirectional" not in self._maker.names:
            yield replace(base, bidirectional=True)  # with one set of weights for both
        if self._is_function or self._load_weights is not None:
            layers = {base.num_layers, base.num_layers if "num_layers" in self._maker.names else 2}
            both = {base.bidirectional, base.bidirectional or "bidirectional" not in self._maker.names}
            yield from (replace(base, num_layers=n, bidirectional=d) for n in sorted(layers) for d in sorted(both))

    def _made_as(self, returned: str) -> Iterator[str]:
        """How it is made and called."""
        ready = is_ready(self._subject) or self._is_function
        if not ready and self._maker.said != f"{self.name}(input_size, hidden_size)":
            yield f"made as {self._maker.said}"
        way, form = self._probe.way(self.base), self._probe.form
        stepping = " step by step" if form.stepped and not self._step else ""
        yield f"called{stepping} as subject({', '.join(['x', *([way.said] if way.said else [])])}); returns {returned}"
        if self.base.batch_first and not self._promises:
            yield "takes the batch first"
        if way is NO_STATES and not self._step:
            yield "takes no states"
        if self._square and not self._maker.square:
            yield "fails where input_size is not hidden_size"
        if self._needs_states:
            yield "needs states: zeros are given where torch.nn is given none"

    # --------------------------------------------------------------------------------------------- what is varied

    def _varied(self, said: list[str]) -> Iterator[str]:
        base, maker = self.base, self._maker
        if "sizes" in maker.names and not self._square:
            yield "sizes"
        if self._is_module:
            yield "training"
        stepped, found = self._probe.form.stepped, {"states"} if base.states else set()
        for option in ("bias",) if stepped else VARIED:
            named = option in maker.names
            value: Any = not base.bias if option == "bias" else VARIED[option]
            if not (named or option in maker.maybe) or getattr(base, option) == value:
                continue
            if option == "proj_size" and len(self._twin.cell.states) == 1:
                continue
            changed = replace(base, **dict[str, Any]({option: value}))
            if option == "batch_first":  # what takes it and ignores it fails with other numbers of steps and rows
                changed = replace(changed, length=4, batch=4)
            shaped = self._probe.tried(changed)
            if isinstance(shaped, str):  # the option may be ignored, and states then have another shape
                without = self._probe.tried(replace(changed, states=False))
                shaped = shaped if isinstance(without, str) else without
            if isinstance(shaped, str):
                said += [f"not tried with {option}={value}: {shaped}"] * named
            elif named or (shaped >= 3 and self._knows(option, changed)):
                found.add(option)
        yield from found
        if stepped:
            return
        if any(argument.role == "lengths" for argument in self._probe.form.arguments):
            yield "lengths"
        richest: dict[str, Any] = {
            option: value
            for option, value in VARIED.items()
            if option in found & {"num_layers", "bidirectional", "batch_first"}
        }
        for layout, batch in (("packed", base.batch), ("unbatched", 1)):
            plain = replace(base, layout=layout, batch=batch)
            cases = [plain, replace(plain, **richest)]
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
