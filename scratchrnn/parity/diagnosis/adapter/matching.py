"""The parameters of one layer and direction, taken for torch.nn's: every way in which they cover those exactly."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from torch import Tensor

from ....cells.twins import Twin
from ..configuration import Place
from .reading import Piece
from .words import Label, families, gate_named, is_bias, says_h_first, side

_TORCHS = re.compile(r"(weight|bias)_(ih|hh|hr)(_l\d+(_reverse)?)?")


@dataclass(frozen=True)
class View:
    """The part of a parameter that is one gate's, in torch.nn's orientation."""

    rows: tuple[int, int]
    columns: tuple[int, int] | None = None
    """None of a bias."""
    transposed: bool = False
    gate: int | None = None
    """Where the parameter counts gates in a dimension of its own, the first."""

    def __call__(self, parameter: Tensor) -> Tensor:
        part = parameter if self.gate is None else parameter[self.gate]
        if self.columns is None:
            return part.reshape(-1)[slice(*self.rows)]
        part = part.mT if self.transposed else part
        return part[slice(*self.rows), slice(*self.columns)]


class Unit(NamedTuple):
    """A parameter, or one for each of several gates, of the same shape."""

    key: Label
    names: tuple[str, ...]
    gates: tuple[str, ...]
    """Of the parameters, in that order; empty for a single one."""
    shape: tuple[int, ...]
    side: str
    single: str | None
    """The gate that a single one's name says."""


class Choice(NamedTuple):
    """What a unit is taken for."""

    role: str
    """"ih", "hh", "hr", or both in one: "xh", "hx"."""
    transposed: bool
    gates: tuple[str, ...]
    cost: float
    square: bool


@dataclass(frozen=True)
class Group:
    """The parameters of one layer and direction, and the sizes that they should have."""

    labels: Mapping[str, Label]
    parameters: Mapping[str, Tensor]
    twin: Twin
    input: int
    hidden: int
    output: int
    suffix: str
    linear: Collection[str]
    numbered: bool

    @property
    def gates(self) -> tuple[str, ...]:
        return self.twin.cell.gates

    @property
    def projected(self) -> bool:
        return self.output != self.hidden

    def units(self) -> tuple[list[Unit], list[Unit]]:
        """The matrices and the biases."""
        shapes = {name: _shape(self.parameters[name], is_bias(self.labels[name])) for name in self.labels}
        matrices = {name: self.labels[name] for name, shape in shapes.items() if not self._may_be_bias(name, shape)}
        biases = {name: self.labels[name] for name in self.labels if name not in matrices}
        biases = {name: label for name, label in biases.items() if is_bias(label) and not self._normalises(name)}
        return self._collected(matrices, shapes), self._collected(biases, shapes)

    def _may_be_bias(self, name: str, shape: tuple[int, ...]) -> bool:
        G, H = len(self.gates), self.hidden
        return len(shape) < 2 or (is_bias(self.labels[name]) and shape in ((G, H), (2, G * H)))

    def _normalises(self, name: str) -> bool:
        """Whether it is the bias of a module whose weight is a vector: a normalisation's."""
        beside = self.parameters.get(re.sub(r"bias$", "weight", name)) if name.endswith("bias") else None
        return beside is not None and beside.dim() < 2

    def _collected(self, labels: Mapping[str, Label], shapes: Mapping[str, tuple[int, ...]]) -> list[Unit]:
        units = []
        rest = dict(labels)
        if len(self.gates) > 1:
            one = {name: label for name, label in labels.items() if self._one_gate(shapes[name])}
            for key, gates in families(one, self.twin.cell.name, self.gates if self.numbered else ()):
                if len({shapes[name] for name in gates.values()}) == 1:
                    names = tuple(gates.values())
                    said = side(tuple(word for word in key if word != "*"))
                    units.append(Unit(key, names, tuple(gates), shapes[names[0]], said, None))
                    rest = {name: label for name, label in rest.items() if name not in names}
        for name, label in rest.items():
            units.append(Unit(label, (name,), (), shapes[name], side(label), gate_named(label, self.twin.cell.name)))
        order = list(labels)
        return sorted(units, key=lambda unit: order.index(unit.names[0]))

    def _one_gate(self, shape: tuple[int, ...]) -> bool:
        widths = {self.input, self.output, self.input + self.output}
        if len(shape) == 1:
            return shape[0] == self.hidden
        return len(shape) == 2 and self.hidden in shape and (shape[0] in widths or shape[1] in widths)

    # ------------------------------------------------------------------------------------------------- matrices

    def choices(self, unit: Unit, first: bool) -> Iterator[Choice]:
        """What a matrix can be taken for by its shape; `first` of those whose names say no side."""
        if len(unit.shape) not in (2, 3) or (len(unit.shape) == 3 and unit.shape[0] != len(self.gates)):
            return
        a, b = unit.shape[-2:]
        torchs = _TORCHS.fullmatch(unit.names[0].rpartition(".")[2]) if not unit.gates else None
        widths = {"ih": self.input, "hh": self.output, "xh": self.input + self.output}
        widths["hx"] = widths["xh"]
        plain = False
        for transposed, (out, entered) in ((False, (a, b)), (True, (b, a))):
            if transposed and (unit.names[0] in self.linear or (torchs and plain)):
                continue
            cost = 0.1 * transposed
            if self.projected and not unit.gates and (out, entered) == (self.output, self.hidden):
                named = torchs[2] == "hr" if torchs else bool({"hr", "proj", "r", "p", "projection"} & set(unit.key))
                yield Choice("hr", transposed, ("",), cost + 2 * (not named), a == b)
                plain = True
            gates = self._gates(unit, out)
            for role, width in widths.items():
                if gates and width == entered and (not torchs or torchs[2] == role):
                    plain = True
                    yield Choice(role, transposed, gates, cost + _unlikely(unit, role, first), a == b)

    def _gates(self, unit: Unit, out: int) -> tuple[str, ...]:
        stacked, rest = divmod(out, self.hidden)
        if rest or not 1 <= stacked <= len(self.gates) or (stacked > 1 and (unit.gates or len(unit.shape) == 3)):
            return ()
        if unit.gates or len(unit.shape) == 3:
            return unit.gates or self.gates
        if stacked == len(self.gates):
            return self.gates
        if stacked == 1:
            return (unit.single or self.candidate,)
        return tuple(g for g in self.gates if g != self.candidate) if stacked == len(self.gates) - 1 else ()

    @property
    def candidate(self) -> str:
        return {"LSTM": "g"}.get(self.twin.cell.name, "n")

    def covers(
        self, units: Sequence[Unit], decided: Mapping[Label, Choice]
    ) -> Iterator[tuple[float, list[Choice | None]]]:
        """Every way to take the matrices for torch.nn's, each of those once, with its cost."""
        wanted = {(role, gate) for role in ("ih", "hh") for gate in self.gates}
        wanted |= {("hr", "")} if self.projected else set()
        options: list[list[Choice | None]] = []
        silent = [unit for unit in units if not unit.side]
        for unit in units:
            possible = list(self.choices(unit, first=bool(silent) and unit is silent[0]))
            before = decided.get(unit.key)
            if before is not None:
                possible = [c for c in possible if (c.role, c.transposed, c.gates) == before[:3]]
            options.append([*possible, None])

        def extend(
            k: int, left: frozenset[tuple[str, str]], taken: list[Choice | None]
        ) -> Iterator[list[Choice | None]]:
            if k == len(units):
                if not left:
                    yield list(taken)
                return
            for choice in options[k]:
                covered = _covered(choice) if choice else frozenset()
                if covered <= left:
                    yield from extend(k + 1, left - covered, [*taken, choice])

        for taken in extend(0, frozenset(wanted), []):
            used = [choice for choice in taken if choice]
            cost = sum(choice.cost for choice in used)
            cost += sum(3 for unit, choice in zip(units, taken, strict=True) if choice is None)
            mixed = [c.transposed for c, u in zip(taken, units, strict=True) if c and u.names[0] not in self.linear]
            cost += 1.0 if len(set(mixed)) > 1 else 0.0
            cost += 3.0 if {"xh", "hx"} <= {c.role for c in used} else 0.0
            yield cost, taken

    def pieces(self, unit: Unit, choice: Choice) -> Iterator[Piece]:
        """The parts of a matrix."""
        H, X, R = self.hidden, self.input, self.output
        if choice.role == "hr":
            yield Piece(unit.names[0], Place(f"weight_hr{self.suffix}", ""), View((0, R), (0, H), choice.transposed))
            return
        columns = {
            "ih": {"ih": (0, X)},
            "hh": {"hh": (0, R)},
            "xh": {"ih": (0, X), "hh": (X, X + R)},
            "hx": {"hh": (0, R), "ih": (R, R + X)},
        }[choice.role]
        for role, between in columns.items():
            for k, gate in enumerate(choice.gates):
                counted = k if len(unit.shape) == 3 else None
                start = 0 if unit.gates or counted is not None else k * H
                name = unit.names[k] if unit.gates else unit.names[0]
                place = Place(f"weight_{role}{self.suffix}", gate)
                yield Piece(name, place, View((start, start + H), between, choice.transposed, counted))

    # --------------------------------------------------------------------------------------------------- biases

    def biases(
        self, units: Sequence[Unit], roles: Mapping[str, str], swapped: bool
    ) -> tuple[list[tuple[Unit, str, tuple[str, ...]]], bool]:
        """Which bias is which of torch.nn's two, and whether their names leave it open.

        A bias beside a matrix of h is b_hh; one alone is b_ih but for a GRU, in which the two are not the same.
        """
        told: list[tuple[Unit, str]] = []
        for unit in units:
            torchs = _TORCHS.fullmatch(unit.names[0].rpartition(".")[2])
            beside = roles.get(re.sub(r"bias$", "weight", unit.names[0]))
            if torchs:
                told.append((unit, torchs[2]))
            elif beside is not None:
                told.append((unit, "hh" if beside == "hh" else "ih"))
            else:
                told.append((unit, {"x": "ih", "h": "hh"}.get(unit.side, "")))
        taken: set[tuple[str, str]] = set()
        chosen = []
        for unit, said in sorted(told, key=lambda each: not each[1]):
            if self._holds_both(unit):
                chosen += [(unit, "ih", self.gates), (unit, "hh", self.gates)]
                taken |= set(product(("ih", "hh"), self.gates))
                continue
            gates = self._bias_gates(unit)
            sides = ("hh", "ih") if said == "hh" or (not said and swapped) else ("ih", "hh")
            free = next((s for s in sides if not any((s, gate) in taken for gate in gates)), None)
            if gates and free:
                taken |= {(free, gate) for gate in gates}
                chosen.append((unit, free, gates))
        fused = self.twin.cell.split and {side for _, side, _ in chosen} != {"ih"}
        if not fused and len({side for _, side, _ in chosen}) == 1:
            named = any(_TORCHS.fullmatch(u.names[0].rpartition(".")[2]) for u, _, _ in chosen)
            chosen = chosen if named else [(unit, "ih", gates) for unit, _, gates in chosen]
        return chosen, bool(self.twin.cell.split) and len(chosen) > 1 and any(not said for _, said in told)

    def _holds_both(self, unit: Unit) -> bool:
        return unit.shape == (2, len(self.gates) * self.hidden)

    def _bias_gates(self, unit: Unit) -> tuple[str, ...]:
        if unit.shape == (len(self.gates), self.hidden):
            return self.gates
        size = 1
        for n in unit.shape:
            size *= n
        return self._gates(unit, size)

    def bias_pieces(self, unit: Unit, role: str, gates: tuple[str, ...]) -> Iterator[Piece]:
        before = len(gates) * self.hidden if role == "hh" and self._holds_both(unit) else 0
        for k, gate in enumerate(gates):
            start = before + (0 if unit.gates else k * self.hidden)
            name = unit.names[k] if unit.gates else unit.names[0]
            yield Piece(name, Place(f"bias_{role}{self.suffix}", gate), View((start, start + self.hidden)))


def _shape(parameter: Tensor, bias: bool) -> tuple[int, ...]:
    """A bias written as a row, [1, H], is a vector."""
    shape = tuple(parameter.shape)
    return tuple(n for n in shape if n != 1) or (1,) if bias else shape


def _unlikely(unit: Unit, role: str, first: bool) -> float:
    if role in ("xh", "hx"):
        return 0.5 * ((role == "hx") != says_h_first(unit.key))
    if unit.side:
        return 3.0 * ((unit.side == "x") != (role == "ih"))
    return 0.5 * ((role == "ih") != first)


def _covered(choice: Choice) -> frozenset[tuple[str, str]]:
    roles = {"xh": ("ih", "hh"), "hx": ("ih", "hh")}.get(choice.role, (choice.role,))
    return frozenset(product(roles, choice.gates))
