"""A subject made for one configuration: its parameters, how they are read, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from ..configuration import Configuration, Outcome
from . import naming
from .calling import NO_STATES, Argument, Way, call
from .reading import Reading
from .returned import kind, outcome, shapes_of_states, step_outcome
from .tensors import RAISES, NotLoaded, Unjudged, apart, leaves, short

LoadWeights = Callable[[Any, Mapping[str, Tensor]], Any]


@dataclass(frozen=True)
class Form:
    """How a subject is called, whatever it is made for."""

    name: str
    arguments: tuple[Argument, ...]
    dtype: torch.dtype
    stepped: bool
    """It takes one step."""
    is_function: bool
    """It is given its weights."""
    load_weights: LoadWeights | None
    needs_states: bool = False
    """It fails without: zeros are given where torch.nn is given none."""
    like: tuple[Reading, ...] = ()
    """How the parameters are read in the simplest configuration: so in each."""


class Instance:
    """A subject made for one configuration, called as torch.nn's module is, time-major and batched."""

    parameters: dict[str, Tensor]
    """Leaves that require a gradient."""
    readings: tuple[Reading, ...]
    """How they may be read, the likeliest first: in every configuration the same ones in the same order."""
    said: str
    """What the last call returned: `output, (h, c)`."""

    def __init__(self, made: Any, configuration: Configuration, form: Form, way: Way) -> None:
        self.made, self._configuration, self._form, self._way = made, configuration, form, way
        self._states = configuration.twin.cell.states
        self.said = ""
        with apart(form.dtype):
            self.parameters, linear = ({}, frozenset()) if form.is_function else leaves(made, form.dtype)
            self._drawn = [*self.parameters.values()]
            if form.is_function or form.load_weights is not None:
                named = configuration.module().named_parameters()
                self.parameters = {name: p.detach().to(form.dtype).requires_grad_() for name, p in named}
                self._drawn += self.parameters.values()
        self.readings = naming.readings(self.parameters, configuration, linear, form.like)
        if not self.readings:
            raise unreadable(form.name, self.parameters, configuration)
        if form.load_weights is not None:
            note = "load_weights sets its weights, so their gradients cannot be judged"
            self.readings = (self.readings[0]._replace(judged=False, assumed=(note,)),)

    def draw(self, generator: torch.Generator) -> None:
        """Fill all parameters evenly from (-1, 1), or from less where sums are long and gates would be saturated."""
        bound = min(1.0, 3.0 / self._configuration.hidden_size**0.5)
        with torch.no_grad():
            for p in self._drawn:
                p.uniform_(-bound, bound, generator=generator)

    def __call__(self, x: Tensor, states: tuple[Tensor, ...] | None, lengths: Tensor | None = None) -> Outcome:
        """What it returns for `x` [T, B, I] and `states` [L * D, B, R], as torch.nn has them; of a cell [B, I], [B, R].

        Raises:
            Unjudged: it raises, or returns something else.
        """
        form = self._form
        x = x.to(form.dtype).clone()  # the caller's stay as they are, whatever is written into them
        if states is None and form.needs_states:
            states = tuple(x.new_zeros(shape) for shape in shapes_of_states(self._configuration, x.shape[-2]))
        states = None if states is None else tuple(s.to(form.dtype).clone() for s in states)
        try:
            with apart(form.dtype):
                if form.load_weights is not None:
                    self._load(form.load_weights)
                if self._configuration.step:
                    return self._step(x, states)
                return self._steps(x, states) if form.stepped else self._sequence(x, states, lengths)
        except Unjudged:
            raise
        except RAISES as error:
            raise Unjudged(f"{form.name} raises {short(error)}") from error

    def _load(self, load_weights: LoadWeights) -> None:
        weights = {name: p.detach() for name, p in self.parameters.items()}
        try:
            with torch.no_grad():
                load_weights(self.made, weights)
        except RAISES as error:
            given = naming.shapes_of(weights)
            raise NotLoaded(f"load_weights raises {short(error)}, where weights has {given}") from error

    def _sequence(self, x: Tensor, states: tuple[Tensor, ...] | None, lengths: Tensor | None) -> Outcome:
        held = replace(self._configuration, length=x.shape[0], batch=x.shape[1])
        full = torch.full((held.batch,), held.length) if lengths is None else lengths
        entered: Tensor | PackedSequence = x
        if held.layout == "unbatched":
            entered, states = x[:, 0], None if states is None else tuple(s[:, 0] for s in states)
        elif held.layout == "packed":
            entered = pack_padded_sequence(x, full.cpu(), enforce_sorted=False)
        elif held.batch_first:
            entered = x.transpose(0, 1)
        returned = self._called(entered, states, full)
        if held.layout == "packed" and not _is_packed(returned):
            raise Unjudged(f"for a PackedSequence {self._form.name} should return one, got {kind(returned)}")
        found, self.said = outcome(returned, held)
        return found

    def _step(self, x: Tensor, states: tuple[Tensor, ...] | None) -> Outcome:
        after, self.said = step_outcome(self._called(x, states), self._states)
        if after[0] is None or after[0].dim() != 2 or after[0].shape[0] != x.shape[0]:
            raise Unjudged(f"a step should return h [{x.shape[0]}, hidden_size], got {kind(after[0])}")
        return Outcome(None, after)

    def _steps(self, x: Tensor, states: tuple[Tensor, ...] | None) -> Outcome:
        """A cell in the place of a layer: one step after the other."""
        held = None if states is None else tuple(s[0] for s in states)
        output = []
        for entered in x:
            held = tuple(s for s in self._step(entered, held).states if s is not None)
            if len(held) < len(self._states):
                wanted = f"the {len(self._states)} states that the next one takes"
                raise Unjudged(f"a step should return {wanted}, got {self.said}")
            output.append(held[0])
        return Outcome(torch.stack(output), tuple(s.unsqueeze(0) for s in held or ()))

    def _called(self, x: Any, states: tuple[Tensor, ...] | None, lengths: Tensor | None = None) -> Any:
        form, weights = self._form, self.parameters
        if form.stepped:
            weights = weights | {name.removesuffix("_l0"): p for name, p in weights.items()}
        values = {"x": x, "weights": weights}
        if states is not None:
            if self._way is NO_STATES:
                raise Unjudged(f"{form.name} takes no states here")
            values |= self._way.values(states)
        for argument in form.arguments:
            if (
                argument.role == "lengths"
                and (argument.needed or self._configuration.layout == "lengths")
                and not form.stepped
            ):
                values["lengths"] = lengths
            if argument.role.startswith(("weight_", "bias_")):
                values[argument.role] = next(p for name, p in weights.items() if name.startswith(argument.role))
        return call(self.made, form.arguments, values)


def unreadable(name: str, parameters: Mapping[str, Tensor], configuration: Configuration) -> Unjudged:
    """The parameters do not add up to torch.nn's."""
    kind = configuration.twin.step if configuration.step else configuration.twin.layer
    sizes = {"input_size": configuration.input_size, "hidden_size": configuration.hidden_size}
    told = ", ".join(f"{option}={value}" for option, value in {**sizes, **configuration.options}.items())
    return Unjudged(
        f"the parameters of {name} should be those of nn.{kind.__name__}({told}) in some order, shape or spelling, got "
        f"{naming.shapes_of(parameters)}; load_weights(module, weights) can set them from torch.nn's"
    )


def _is_packed(returned: Any) -> bool:
    """Whether an output is packed, or there is none beside the states."""
    if isinstance(returned, Tensor):
        return returned.dim() == 2
    while isinstance(returned, (tuple, list)) and not isinstance(returned, PackedSequence) and returned:
        returned = returned[0]
    return isinstance(returned, PackedSequence)
