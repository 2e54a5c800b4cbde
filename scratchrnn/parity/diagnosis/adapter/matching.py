"""The parameters of one layer and direction, taken for torch.nn's: every way in which they cover those exactly."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from torch import Tensor

from ....cells.twins import Twin
from ..configuration import Place
from .reading import Piece, View
from .words import Label, families, gate_named, is_bias, is_letter_alone, says_h_first, side

_TORCHS = re.compile(r"(weight|bias)_(ih|hh|hr)(_l\d+(_reverse)?)?")


class Unit(NamedTuple):
    """A parameter, or one for each of several gates, of the same shape."""

    key: Label
    names: tuple[str, ...]
    gates: tuple[str, ...]
    """Of the parameters, in that order; empty for a single one."""
    shape: tuple[int, ...]
    side: str
    single: str | None = None
    """The gate that a single one's name says."""

    @property
    def torchs(self) -> str:
        """What torch.nn has by this name: "ih", "hh", "hr", or nothing."""
        found = _TORCHS.fullmatch(self.names[0].rpartition(".")[2])
        return found[2] if found else ""


class Choice(NamedTuple):
    """What a matrix is taken for."""

    role: str
    """"ih", "hh", "hr", or both in one: "xh", "hx"."""
    transposed: bool
    gates: tuple[str, ...]
    cost: float
    """How unlikely it is."""

    @property
    def sides(self) -> tuple[str, ...]:
        return {"xh": ("ih", "hh"), "hx": ("hh", "ih")}.get(self.role, (self.role,))


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
    """Weights of `nn.Linear`s, which are [out, in] for certain."""
    numbered: bool
    """Numbers in names stand for gates."""

    @property
    def gates(self) -> tuple[str, ...]:
        return self.twin.cell.gates

    @property
    def candidate(self) -> str:
        return "g" if self.twin.cell.name == "LSTM" else "n"

    @property
    def projected(self) -> bool:
        return self.output != self.hidden

    def units(self) -> tuple[list[Unit], list[Unit]]:
        """The matrices and the biases."""
        matrices, biases = {}, {}
        for name, label in self.labels.items():
            shape = tuple(self.parameters[name].shape)
            if is_bias(label):
                shape = tuple(n for n in shape if n != 1) or (1,)  # written as a row, [1, H], it is a vector
            stacks = len(self.gates), self.hidden
            if len(shape) >= 2 and not (is_bias(label) and shape in (stacks, (2, len(self.gates) * self.hidden))):
                matrices[name] = shape
            elif is_bias(label) and not self._normalises(name):
                biases[name] = shape
        return self._collected(matrices), self._collected(biases)

    def _normalises(self, name: str) -> bool:
        """Whether it is the bias of a module whose weight is a vector: a normalisation's."""
        beside = self.parameters.get(re.sub(r"bias$", "weight", name)) if name.endswith("bias") else None
        return beside is not None and beside.dim() < 2

    def _collected(self, shapes: Mapping[str, tuple[int, ...]]) -> list[Unit]:
        units, mode = [], self.twin.cell.name
        rest = dict.fromkeys(shapes)
        if len(self.gates) > 1:
            labels = {name: self.labels[name] for name in shapes}
            for key, gates in families(labels, mode, self.gates if self.numbered else ()):
                names = tuple(gates.values())
                if self.hidden in shapes[names[0]] and len({shapes[name] for name in names}) == 1:
                    said = side(tuple(word for word in key if word != "*"))
                    units.append(Unit(key, names, tuple(gates), shapes[names[0]], said))
                    rest = {name: None for name in rest if name not in names}
        for name in rest:
            label = self.labels[name]
            units.append(Unit(label, (name,), (), shapes[name], side(label), gate_named(label, mode)))
        return sorted(units, key=lambda unit: list(shapes).index(unit.names[0]))

    # ------------------------------------------------------------------------------------------------- matrices

    def covers(
        self, units: Sequence[Unit], decided: Mapping[Label, Choice]
    ) -> Iterator[tuple[float, list[Choice | None]]]:
        """Every way to take the matrices for torch.nn's, each of those once, with its cost."""
        wanted = set(product(("ih", "hh"), self.gates)) | ({("hr", "")} if self.projected else set())
        silent = next((unit for unit in units if not unit.side), None)
        options: list[list[Choice | None]] = []
        for unit in units:
            possible = self._choices(unit, first=unit is silent)
            before = _before(unit, decided)
            options.append([c for c in possible if before is None or c[:3] == before[:3]])
            options[-1].append(None)

        def extend(left: set[tuple[str, str]], taken: list[Choice | None]) -> Iterator[list[Choice | None]]:
            if len(taken) < len(units):
                for choice in options[len(taken)]:
                    covered = set(product(choice.sides, choice.gates)) if choice else set()
                    if covered <= left:
                        yield from extend(left - covered, [*taken, choice])
            elif not left:
                yield taken

        for taken in extend(wanted, []):
            used = [(choice, unit) for choice, unit in zip(taken, units, strict=True) if choice]
            cost = sum(choice.cost for choice, _ in used) + 3 * (len(units) - len(used))
            turned = {choice.transposed for choice, unit in used if unit.names[0] not in self.linear}
            cost += 1.0 * (len(turned) > 1) + 3.0 * ({"xh", "hx"} <= {choice.role for choice, _ in used})
            yield cost, taken

    def _choices(self, unit: Unit, first: bool) -> Iterator[Choice]:
        """What a matrix can be taken for by its shape; `first` of those whose names say no side."""
        if len(unit.shape) > 3 or (len(unit.shape) == 3 and unit.shape[0] != len(self.gates)):
            return
        torchs = "" if unit.gates else unit.torchs
        both = self.input + self.output
        widths = {"ih": self.input, "hh": self.output, "xh": both, "hx": both}
        upright = False
        for transposed, (out, entered) in ((False, unit.shape[-2:]), (True, unit.shape[:-3:-1])):
            if transposed and (unit.names[0] in self.linear or (torchs and upright)):
                continue
            cost = 0.1 * transposed
            if self.projected and not unit.gates and (out, entered) == (self.output, self.hidden):
                named = torchs == "hr" if torchs else bool({"hr", "proj", "r", "p", "projection"} & set(unit.key))
                yield Choice("hr", transposed, ("",), cost + 2 * (not named))
                upright = True
            gates = self._gates(unit, out)
            for role, width in widths.items():
                if gates and width == entered and torchs in ("", role):
                    upright = True
                    yield Choice(role, transposed, gates, cost + _unlikely(unit, role, first))

    def _gates(self, unit: Unit, out: int) -> tuple[str, ...]:
        """What so many rows stack, or numbers of a bias."""
        count, rest = divmod(out, self.hidden)
        if rest or count < 1:
            return ()
        if unit.gates or len(unit.shape) == 3:
            return (unit.gates or self.gates) if count == 1 else ()
        one = (unit.single or self.candidate,)
        others = tuple(gate for gate in self.gates if gate != self.candidate)
        return next((gates for gates in (self.gates, one, others) if len(gates) == count), ())

    def pieces(self, unit: Unit, choice: Choice) -> Iterator[Piece]:
        """The parts of a matrix."""
        width = {"ih": self.input, "hh": self.output, "hr": self.hidden}
        height = self.output if choice.role == "hr" else self.hidden
        left = 0
        for role in choice.sides:
            for k, gate in enumerate(choice.gates):
                counted = k if len(unit.shape) == 3 else None
                start = 0 if unit.gates or counted is not None else k * height
                columns = left, left + width[role]
                view = View((start, start + height), columns, choice.transposed, counted)
                yield Piece(unit.names[k if unit.gates else 0], Place(f"weight_{role}{self.suffix}", gate), view)
            left += width[role]

    # --------------------------------------------------------------------------------------------------- biases

    def biases(
        self, units: Sequence[Unit], roles: Mapping[str, str], swapped: bool
    ) -> tuple[list[tuple[Unit, str, tuple[str, ...]]], bool]:
        """Which bias is which of torch.nn's two, and whether their names leave it open.

        A bias beside a matrix of h is b_hh; one alone is b_ih but for a GRU, in which the two are not the same.
        """
        split = bool(self.twin.cell.split)
        told: list[tuple[Unit, str]] = []
        for unit in units:
            beside = roles.get(re.sub(r"bias$", "weight", unit.names[0]))
            by_name = {"x": "ih", "h": "hh"}.get(unit.side, "")
            told.append((unit, unit.torchs or (("hh" if beside == "hh" else "ih") if beside else by_name)))
        taken: set[tuple[str, str]] = set()
        chosen = []
        for unit, said in sorted(told, key=lambda each: not each[1]):
            gates = self._bias_gates(unit)
            sides = ["hh", "ih"] if said == "hh" or (not said and swapped) else ["ih", "hh"]
            free = [s for s in sides if not taken & set(product([s], gates))]
            sides = ["ih", "hh"] if self._holds_both(unit) else free[:1]
            taken |= set(product(sides, gates))
            chosen += [(unit, side, gates) for side in sides if gates]
        if {side for _, side, _ in chosen} == {"hh"} and not split and not any(unit.torchs for unit, _, _ in chosen):
            chosen = [(unit, "ih", gates) for unit, _, gates in chosen]
        return chosen, split and len(chosen) > 1 and any(not said for _, said in told)

    def _holds_both(self, unit: Unit) -> bool:
        return unit.shape == (2, len(self.gates) * self.hidden)

    def _bias_gates(self, unit: Unit) -> tuple[str, ...]:
        if self._holds_both(unit) or unit.shape == (len(self.gates), self.hidden):
            return self.gates
        return self._gates(unit, math.prod(unit.shape))

    def bias_pieces(self, unit: Unit, role: str, gates: tuple[str, ...]) -> Iterator[Piece]:
        """The parts of a bias."""
        before = len(gates) * self.hidden if role == "hh" and self._holds_both(unit) else 0
        for k, gate in enumerate(gates):
            start = before + (0 if unit.gates else k * self.hidden)
            place = Place(f"bias_{role}{self.suffix}", gate)
            yield Piece(unit.names[k if unit.gates else 0], place, View((start, start + self.hidden)))


def _before(unit: Unit, decided: Mapping[Label, Choice]) -> Choice | None:
    """What a matrix of that name was taken for; where there is one layer, its number is a word of the name."""

    def bare(label: Label) -> Label:
        return tuple(word for word in label if not word.isdigit())

    if unit.key in decided:
        return decided[unit.key]
    same = [choice for key, choice in decided.items() if bare(key) == bare(unit.key)]
    return same[0] if len(same) == 1 else None


def _unlikely(unit: Unit, role: str, first: bool) -> float:
    if role in ("xh", "hx"):
        return 0.5 * ((role == "hx") != says_h_first(unit.key))
    if unit.side:
        return (0.4 if is_letter_alone(unit.key) else 3.0) * ((unit.side == "x") != (role == "ih"))
    return 0.5 * ((role == "ih") != first)
