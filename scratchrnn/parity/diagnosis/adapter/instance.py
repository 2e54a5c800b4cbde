"""A subject made for one configuration: its parameters, how they are read, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from ..configuration import Configuration, Outcome
from . import naming
from .calling import NO_STATES, Argument, Expected, Way, apart, call, kind, outcome, stepped
from .making import RAISES, Unjudged, leaves, linear_weights, short
from .reading import Reading

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
    like: tuple[naming.Interpretation, ...] = ()
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
        self._states = len(configuration.twin.cell.states)
        self.said = ""
        with apart(form.dtype):
            own = {} if form.is_function else leaves(made, form.dtype)
            self.parameters = own
            if form.is_function or form.load_weights is not None:
                named = configuration.module().named_parameters()
                self.parameters = {name: p.detach().to(form.dtype).requires_grad_() for name, p in named}
        self._drawn = [*own.values(), *self.parameters.values()] if self.parameters is not own else [*own.values()]
        linear = linear_weights(made)
        self.interpretations = naming.interpretations(self.parameters, configuration, linear, form.like)
        self.readings = tuple(each.reading for each in self.interpretations)
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
                    with torch.no_grad():
                        form.load_weights(self.made, {name: p.detach() for name, p in self.parameters.items()})
                if self._configuration.step:
                    return self._step(x, states)
                return self._steps(x, states) if form.stepped else self._sequence(x, states, lengths)
        except Unjudged:
            raise
        except RAISES as error:
            raise Unjudged(f"{form.name} raises {short(error)}") from error

    def _sequence(self, x: Tensor, states: tuple[Tensor, ...] | None, lengths: Tensor | None) -> Outcome:
        held = self._configuration
        T, B = x.shape[:2]
        full = torch.full((B,), T) if lengths is None else lengths
        entered: Tensor | PackedSequence = x
        if held.layout == "unbatched":
            entered, states = x[:, 0], None if states is None else tuple(s[:, 0] for s in states)
        elif held.layout == "packed":
            entered = pack_padded_sequence(x, full.cpu(), enforce_sorted=False)
        elif held.batch_first:
            entered = x.transpose(0, 1)
        values: dict[str, Any] = {}
        if any(a.role == "lengths" and (a.needed or held.layout == "lengths") for a in self._form.arguments):
            values["lengths"] = full
        returned = self._called(entered, states, values)
        if held.layout == "packed" and not _is_packed(returned, self._states):
            raise Unjudged(f"for a PackedSequence {self._form.name} should return one, got {kind(returned)}")
        stacked = held.num_layers * held.directions
        expected = Expected(self._states, T, B, stacked, held.batch_first, held.layout == "unbatched")
        found, self.said = outcome(returned, expected)
        return found

    def _step(self, x: Tensor, states: tuple[Tensor, ...] | None) -> Outcome:
        after, self.said = stepped(self._called(x, states, {}), self._states)
        if after[0] is None or after[0].dim() != 2 or after[0].shape[0] != x.shape[0]:
            raise Unjudged(f"a step should return h [{x.shape[0]}, hidden_size], got {kind(after[0])}")
        return Outcome(None, after)

    def _steps(self, x: Tensor, states: tuple[Tensor, ...] | None) -> Outcome:
        """A cell in the place of a layer: one step after the other."""
        held = None if states is None else tuple(s[0] for s in states)
        output = []
        for entered in x:
            after = self._step(entered, held).states
            held = tuple(s for s in after if s is not None)
            if len(held) < self._states:
                raise Unjudged(
                    f"a step should return the {self._states} states that the next one takes, got {self.said}"
                )
            output.append(held[0])
        return Outcome(torch.stack(output), tuple(s.unsqueeze(0) for s in held or ()))

    def _called(self, x: Any, states: tuple[Tensor, ...] | None, values: Mapping[str, Any]) -> Any:
        weights = self.parameters
        if self._form.stepped:
            weights = weights | {name.removesuffix("_l0"): p for name, p in weights.items()}
        values = {**values, "x": x, "weights": weights}
        if states is not None:
            if self._way is NO_STATES:
                raise Unjudged(f"{self._form.name} takes no states here")
            values |= self._way.values(states)
        for argument in self._form.arguments:
            if argument.role.startswith(("weight_", "bias_")):
                names = (name for name in self.parameters if name.startswith(argument.role))
                values[argument.role] = self.parameters[next(names)]
        return call(self.made, self._form.arguments, values)


def shapes_of_states(configuration: Configuration, batch: int) -> tuple[tuple[int, ...], ...]:
    """Of `(h,)` or `(h, c)`: [L * D, B, R] and [L * D, B, H], without L * D for a cell."""
    rows = (batch,) if configuration.step else (configuration.num_layers * configuration.directions, batch)
    widths = configuration.output_size, configuration.hidden_size
    return tuple((*rows, width) for width in widths[: len(configuration.twin.cell.states)])


def unreadable(name: str, parameters: Mapping[str, Tensor], configuration: Configuration) -> Unjudged:
    """The parameters do not add up to torch.nn's."""
    kind = configuration.twin.step if configuration.step else configuration.twin.layer
    sizes = {"input_size": configuration.input_size, "hidden_size": configuration.hidden_size}
    told = ", ".join(f"{option}={value}" for option, value in {**sizes, **configuration.options}.items())
    return Unjudged(
        f"the parameters of {name} should be those of nn.{kind.__name__}({told}) in some order, shape or spelling, got "
        f"{naming.shapes_of(parameters)}; load_weights(module, weights) can set them from torch.nn's"
    )


def _is_packed(returned: Any, states: int) -> bool:
    """Whether an output is packed, or there is none beside the states."""
    first = returned
    while isinstance(first, (tuple, list)) and not isinstance(first, PackedSequence) and first:
        first = first[0]
    return isinstance(first, PackedSequence) or (isinstance(returned, Tensor) and returned.dim() == 2)
