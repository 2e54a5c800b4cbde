"""torch.nn's function, written out step by step with places at which it can be changed.

Without changes it computes what the twin in torch.nn does; a test holds it to that. A change is a function of what
flows through one place:

    weights     Weights, Configuration -> Weights
    input       x [T, B, I], Configuration -> x
    initial     states, Configuration -> states              (h_0,) or (h_0, c_0), each [L * D, B, .]
    lines       (line, ...) -> (line, ...)                   the equations of one step
    split       stacked [B, G * H], G -> G tensors [B, H]    a product's gates
    order       steps, is it the reverse direction -> steps  in which order a direction takes them
    carried     state, step, T -> state                      as a step gets it; T behind the last one
    read        weights of a direction, step, T -> weights   as one step reads them
    moves       alive [T, B], is it the reverse -> alive     whose state a step changes
    shows       alive [T, B], is it the reverse -> alive     whose output is not zero
    projected   W_hr h, h -> h                               the state that is emitted
    shown       h, h_prev, is it the reverse -> h            [T, B, R] of one direction, zero where a row has ended
    above       x of a layer, Configuration, what entered the stack -> x
    dropped     zeros, or x in eval; x, Configuration -> x   between two layers: in training everything is dropped
    output      output, Record -> output                     [T, B, D * R]
    last        (h_n,) or (h_n, c_n), Record -> the same
    when        Configuration -> bool                        whether the change is made at all

A vector of the subject's own that torch.nn has not comes in with the weights, as `Place(name, "own")`, and lines call
those of one layer and direction `own_0`, `own_1`, ... The weights may have a further leading dimension, for many
variants of them in one run: [N, H, I] and [N, 1, H].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import CodeType
from typing import Any

import torch
from torch import Tensor

from ...cells.cell import Cell
from ...equations.equations import Equations
from ...equations.lines import Line
from ...equations.operations import OPERATIONS
from .configuration import Configuration, Outcome, Place, Weights

Change = Mapping[str, Callable[..., Any]]
"""What is done at which places."""


@dataclass(frozen=True)
class Run:
    """One direction of one layer through time: what each state was after every step, in the order of time."""

    initial: tuple[Tensor, ...]
    states: tuple[Tensor, ...]
    """`h` [T, B, R] and, of an LSTM, `c` [T, B, H]."""
    shown: Tensor
    """`h`, zero where a row has ended."""
    last: tuple[Tensor, ...]
    """After the last step in this direction, of each row."""
    alive: Tensor
    """[T, B], True up to a row's length."""
    reverse: bool

    @property
    def at_end(self) -> tuple[Tensor, ...]:
        """After the forward step that is the last of a row's own."""
        rows = self.alive.sum(0) - 1
        return tuple(s[rows, torch.arange(len(rows))] for s in self.states)


@dataclass(frozen=True)
class Record:
    """All that happened in a call."""

    configuration: Configuration
    layers: tuple[tuple[Run, ...], ...]
    """A run for each layer and direction."""

    @property
    def runs(self) -> list[Run]:
        """In the order of h_n: layer by layer, forward before reverse."""
        return [run for layer in self.layers for run in layer]

    def each(self, of: Callable[[Run], Sequence[Tensor]]) -> tuple[Tensor, ...]:
        """Something of every run, stacked as h_n and c_n are."""
        return tuple(torch.stack(s, -3) for s in zip(*map(of, self.runs), strict=True))


class Reference:
    """The function of a twin under some changes."""

    def __init__(self, cell: Cell, changes: Iterable[Change] = ()) -> None:
        self.cell = cell
        self.changes = tuple(changes)

    def at(self, place: str, value: Any, *more: Any) -> Any:
        """What becomes of `value` at a place."""
        for change in self.changes:
            if place in change:
                value = change[place](value, *more)
        return value

    def changed(self, place: str) -> bool:
        return any(place in change for change in self.changes)

    # -------------------------------------------------------------------------------------------------- run

    def __call__(
        self,
        configuration: Configuration,
        weights: Weights,
        x: Tensor,
        states: tuple[Tensor, ...] | None,
        lengths: Tensor | None = None,
    ) -> Outcome:
        """What a call returns, as the subject's does: see `Outcome`."""
        c = configuration
        self.changes = tuple(change for change in self.changes if change.get("when", _always)(c))
        weights = self.at("weights", weights, c)
        x = self.at("input", x[None] if c.step else x, c)
        if states is None:
            sizes = [c.output_size, c.hidden_size][: len(self.cell.states)]
            states = tuple(x.new_zeros(c.num_layers * c.directions, x.shape[1], size) for size in sizes)
        elif c.step:
            states = tuple(s[None] for s in states)
        states = self.at("initial", states, c)
        alive = torch.ones(x.shape[:2], dtype=torch.bool)
        if lengths is not None:
            alive = torch.arange(len(x))[:, None] < lengths
        if c.layout == "packed":  # there is no padding in it: where it is filled up, zeros are
            x = x.masked_fill(~alive[..., None], 0.0)
        own = [value for place, value in weights.items() if place.gate == "own"]
        per_run = len(own) // (c.num_layers * c.directions)
        layers: list[tuple[Run, ...]] = []
        entered = x
        for layer in range(c.num_layers):
            runs = []
            for direction in range(c.directions):
                k = layer * c.directions + direction
                initial = tuple(s[..., k, :, :] for s in states)
                mine = _of_direction(weights, layer, direction)
                mine_own = {f"own_{j}": v for j, v in enumerate(own[k * per_run : (k + 1) * per_run])}
                runs.append(self._direction(mine, mine_own, x, initial, alive, bool(direction)))
            layers.append(tuple(runs))
            x = self.at("above", torch.cat([run.shown for run in runs], -1), c, entered)
            if c.dropout and layer + 1 < c.num_layers:
                x = self.at("dropped", x * 0 if c.training else x, x, c)
        record = Record(c, tuple(layers))
        last = self.at("last", record.each(lambda run: run.last), record)
        if c.step:
            return Outcome(None, tuple(s[..., 0, :, :] for s in last))
        output = torch.cat([run.shown for run in record.layers[-1]], -1)
        output = self.at("output", output, record)
        if c.layout == "packed":
            output = output.masked_fill(~(alive[..., None] if output.dim() == 3 else alive[:, None, :, None]), 0.0)
        return Outcome(output, last)

    def _direction(
        self,
        weights: dict[str, Tensor],
        own: dict[str, Tensor],
        x: Tensor,
        initial: tuple[Tensor, ...],
        alive: Tensor,
        reverse: bool,
    ) -> Run:
        T = len(x)
        moves, shows = (self.at(place, alive, reverse) for place in ("moves", "shows"))
        steps = range(T - 1, -1, -1) if reverse else range(T)
        order = list(self.at("order", steps, reverse))
        state, before, after = initial, [], []
        named = _named(weights, self.cell.gates) | own
        for step, t in enumerate(order):
            state = self.at("carried", state, step, T)
            read = self.at("read", weights, step, T)
            new = self._step(read, named if read is weights else _named(read, self.cell.gates) | own, x[t], state)
            if not alive.all():
                row = moves[t][:, None]
                new = tuple(torch.where(row, n, s) for n, s in zip(new, state, strict=True))
            before.append(state[0])
            state = new
            after.append(state)
        state = self.at("carried", state, T, T)
        states = tuple(torch.stack([after[order.index(t)][k] for t in range(T)]) for k in range(len(initial)))
        h, h_prev = states[0], torch.stack([before[order.index(t)].expand_as(states[0][0]) for t in range(T)])
        if not alive.all():
            mask = shows[..., None] if h.dim() == 3 else shows[:, None, :, None]
            h, h_prev = (s.masked_fill(~mask, 0.0) for s in (h, h_prev))
        return Run(initial, states, self.at("shown", h, h_prev, reverse), state, alive, reverse)

    def _step(
        self, weights: dict[str, Tensor], named: dict[str, Any], x: Tensor, state: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        cell, G = self.cell, len(self.cell.gates)
        of_x = x @ weights["weight_ih"].mT + weights["bias_ih"]
        of_h = state[0] @ weights["weight_hh"].mT + weights["bias_hh"]
        values = dict(named)
        for gate, g_x, g_h in zip(cell.gates, self._split(of_x, G), self._split(of_h, G), strict=True):
            values |= {f"{gate}_x": g_x, f"{gate}_h": g_h, f"{gate}_pre": g_x + g_h}
        values |= {f"{s}_prev": value for s, value in zip(cell.states, state, strict=True)}
        exec(self._code, _FUNCTIONS, values)
        new = tuple(values[s] for s in cell.states)
        if "weight_hr" in weights:
            h = self.at("projected", new[0] @ weights["weight_hr"].mT, new[0])
            new = (h, *new[1:])
        return new

    def _split(self, stacked: Tensor, G: int) -> Sequence[Tensor]:
        parts: Sequence[Tensor] = stacked.chunk(G, -1)
        return self.at("split", parts, stacked) if self.changed("split") else parts

    @cached_property
    def _code(self) -> CodeType:
        return _compiled(self.at("lines", Equations(self.cell).forward))


@lru_cache(2**14)
def _written(each: Line) -> str:
    return f"{each.target} = {each.code}"


@lru_cache(2**14)
def _compiled(lines: tuple[Line, ...]) -> CodeType:
    return compile("\n".join(map(_written, lines)), "<equations>", "exec")


def _always(_: Configuration) -> bool:
    return True


def graft(value: Tensor, of: Tensor, derivative: Tensor) -> Tensor:
    """`value`, with another derivative by `of` than its own."""
    return value.detach() + derivative.detach() * (of - of.detach())


def _hard_sigmoid_of_keras(x: Tensor) -> Tensor:
    return (0.2 * x + 0.5).clamp(0, 1)


_FUNCTIONS: dict[str, Any] = {name: row.function for name, row in OPERATIONS.items()} | {
    "graft": graft,
    "detach": torch.detach,
    "identity": lambda x: x,
    "hard_sigmoid": torch.nn.functional.hardsigmoid,
    "hard_sigmoid_of_keras": _hard_sigmoid_of_keras,
    "softsign": torch.nn.functional.softsign,
    "gelu": torch.nn.functional.gelu,
    "silu": torch.nn.functional.silu,
    "elu": torch.nn.functional.elu,
    "hardtanh": torch.nn.functional.hardtanh,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "softplus": torch.nn.functional.softplus,
}


# ---------------------------------------------------------------------------------------------------- weights


def _of_direction(weights: Weights, layer: int, direction: int) -> dict[str, Tensor]:
    """A direction's parameters, stacked, by their names without layer and direction."""
    suffix = f"_l{layer}{'_reverse' if direction else ''}"
    gates: dict[str, list[Tensor]] = {}
    for place, value in weights.items():
        if place.gate != "own" and place.name.endswith(suffix):
            gates.setdefault(place.name.removesuffix(suffix), []).append(value)
    return {name: torch.cat(rows, -2 if name.startswith("weight") else -1) for name, rows in gates.items()}


def _named(weights: dict[str, Tensor], gates: tuple[str, ...]) -> dict[str, Tensor]:
    """`W_if`, `W_hf`, `b_if`, `b_hf`: as the lines of linear algebra call them."""
    letters = {"weight_ih": "W_i", "weight_hh": "W_h", "bias_ih": "b_i", "bias_hh": "b_h"}
    return {
        f"{letter}{gate}": rows
        for name, letter in letters.items()
        for gate, rows in zip(gates, weights[name].chunk(len(gates), -2 if letter[0] == "W" else -1), strict=True)
    }


def places(configuration: Configuration) -> Iterable[tuple[Place, tuple[int, ...]]]:
    """Every place of a configuration's twin and its shape, in the order of stacking; biases even where it has none."""
    c, H, R = configuration, configuration.hidden_size, configuration.output_size
    for layer in range(c.num_layers):
        wide = c.input_size if layer == 0 else R * c.directions
        for suffix in [f"_l{layer}", f"_l{layer}_reverse"][: c.directions]:
            for gate in c.twin.cell.gates:
                yield Place(f"weight_ih{suffix}", gate), (H, wide)
                yield Place(f"weight_hh{suffix}", gate), (H, R)
                yield Place(f"bias_ih{suffix}", gate), (H,)
                yield Place(f"bias_hh{suffix}", gate), (H,)
            if c.proj_size:
                yield Place(f"weight_hr{suffix}", ""), (R, H)


def complete(weights: Weights, configuration: Configuration) -> Weights:
    """The weights in the order of stacking, zero where there are none."""
    like = next(iter(weights.values()))
    all_places = {p: weights[p] if p in weights else like.new_zeros(shape) for p, shape in places(configuration)}
    return all_places | {p: value for p, value in weights.items() if p.gate == "own"}
