"""Reads a subject's parameters by shape and name: which part of which stands where torch.nn has its own.

A matrix tells by its shape with what it is multiplied, how many gates it stacks, and whether it is transposed; its name
says the rest: the gate, where each has its own, and the side, where shapes leave it open. All ways to cover torch.nn's
matrices exactly are tried, and the likeliest kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from ..configuration import Configuration, Place
from .matching import Choice, Group, Unit
from .reading import Piece, Reading, View
from .words import Label, extents, placed

_MOST = 4  # readings that are offered
_OPEN = 1.5  # by how much less likely a reading may be than the likeliest


class _Decided(NamedTuple):
    """What a reading rests on."""

    choices: Mapping[Label, Choice]
    """What each matrix of the first layer is taken for, by its name."""
    numbered: bool
    """Numbers in names stand for gates."""
    swapped: bool
    """The first of two biases that nothing tells apart is b_hh."""


def readings(
    parameters: Mapping[str, Tensor],
    configuration: Configuration,
    linear: Collection[str] = (),
    like: Sequence[Reading] = (),
) -> tuple[Reading, ...]:
    """The ways to read the parameters, the likeliest first; none where they do not add up to torch.nn's.

    `linear` are the weights of `nn.Linear`s, which are [out, in] for certain. With the readings of another
    configuration, `like`, the same ones in the same order.
    """

    def whole(numbered: bool, choices: Mapping[Label, Choice]) -> list[tuple[float, Reading]]:
        groups = _groups(parameters, configuration, linear, numbered)
        return sorted(_whole(groups, choices) if groups else (), key=lambda pair: pair[0])

    again = []
    for rests_on in (each.rests_on for each in like):
        same = (r for _, r in whole(rests_on.numbered, rests_on.choices) if r.rests_on.swapped == rests_on.swapped)
        again.append(next(same, None))
    known = next((each for each in again if each is not None), None)
    if known is not None:
        return tuple(each or known for each in again)
    found = whole(False, {}) or whole(True, {})
    if not found and configuration.proj_size:
        without = readings(parameters, replace(configuration, proj_size=0), linear, like)
        return tuple(_projected(each, parameters, configuration) for each in without)
    likely = [reading for cost, reading in found if cost <= found[0][0] + _OPEN]
    distinct = {reading.pieces: reading for reading in reversed(likely)}
    kept = tuple(reversed(distinct.values()))[:_MOST]
    return kept[:1] if kept and kept[0].promised else kept


def _projected(each: Reading, parameters: Mapping[str, Tensor], configuration: Configuration) -> Reading:
    """A reading where h is not projected before it recurs, so that W_hh is [H, H]; W_hr is read if it is there."""
    P, H = configuration.proj_size, configuration.hidden_size
    one = configuration.num_layers * configuration.directions == 1
    pieces = list(each.pieces)
    for name in each.unexplained:
        last = name.rpartition(".")[2]
        place = last if last.startswith("weight_hr_l") else "weight_hr_l0" if one else ""
        if place and sorted(parameters[name].shape) == sorted((P, H)):
            view = View((0, P), (0, H), tuple(parameters[name].shape) != (P, H))
            pieces.append(Piece(name, Place(place, ""), view))
    left = tuple(name for name in each.unexplained if name not in {piece.parameter for piece in pieces})
    said = (*each.assumed, "read with a W_hh of [H, H], as if without proj_size")
    return each._replace(pieces=tuple(pieces), unexplained=left, assumed=said)


def layout(
    parameters: Mapping[str, Tensor], configuration: Configuration, linear: Collection[str] = ()
) -> Configuration | None:
    """The configuration with as many layers and directions, and biases or none, as the parameters have."""
    return min(_fitting(parameters, configuration, linear), key=lambda each: each[0], default=(0, None))[1]


def sizes(
    parameters: Mapping[str, Tensor], configuration: Configuration, linear: Collection[str] = ()
) -> Configuration | None:
    """The same with the sizes, too: those under which the fewest parameters stay unexplained."""
    gates = len(configuration.twin.cell.gates)
    edges = {n for p in parameters.values() for n in p.shape if n > 1}
    widths = sorted(edges | {n // k for n in edges for k in range(2, gates + 1) if n % k == 0}, reverse=True)
    found = (
        fitting
        for hidden in widths
        for entered in sorted(edges | {n - hidden for n in edges if n > hidden})
        for fitting in _fitting(parameters, replace(configuration, input_size=entered, hidden_size=hidden), linear)
    )
    return min(found, key=lambda each: each[0], default=(0, None))[1]


def _fitting(
    parameters: Mapping[str, Tensor], configuration: Configuration, linear: Collection[str]
) -> Iterator[tuple[int, Configuration]]:
    for layers, directions in extents(parameters):
        held = replace(configuration, num_layers=layers, bidirectional=directions == 2)
        if layers * directions == 1 or not configuration.step:
            for read in readings(parameters, held, linear)[:1]:
                yield len(read.unexplained), with_bias(held, read)


def with_bias(configuration: Configuration, reading: Reading) -> Configuration:
    """The configuration with a bias or none, as it was read."""
    return replace(configuration, bias=any(p.place.name.startswith("bias") for p in reading.pieces))


def shapes_of(parameters: Mapping[str, Tensor]) -> str:
    """For a message: the names with their shapes."""
    said = ", ".join(f"{name} {list(p.shape)}" for name, p in parameters.items())
    return said or "none (weights should be torch tensors)"


# -------------------------------------------------------------------------------------------------------- all groups


def _groups(
    parameters: Mapping[str, Tensor], configuration: Configuration, linear: Collection[str], numbered: bool
) -> list[Group]:
    """The parameters of each layer and direction; none where names do not tell as many."""
    L, D, H, R = (
        configuration.num_layers,
        configuration.directions,
        configuration.hidden_size,
        configuration.output_size,
    )
    places = placed(parameters, L, D)
    if D == 2 and len(places) < L * D:  # one set of parameters for both
        places = {(k, d): names for (k, _), names in placed(parameters, L, 1).items() for d in (0, 1)}
    groups = []
    for (layer, direction), labels in places.items():
        entered = configuration.input_size if layer == 0 else D * R
        suffix = f"_l{layer}{'_reverse' if direction else ''}"
        groups.append(Group(labels, parameters, configuration.twin, entered, H, R, suffix, linear, numbered))
    return groups if len(groups) == L * D else []


def _whole(groups: Sequence[Group], decided: Mapping[Label, Choice]) -> Iterator[tuple[float, Reading]]:
    """Readings of all layers and directions: what a name was taken for in the first, it is in the others."""
    units = [group.units() for group in groups]
    for cost, taken in groups[0].covers(units[0][0], decided):
        here = {unit.key: choice for unit, choice in zip(units[0][0], taken, strict=True) if choice}
        covers: list[Sequence[Choice | None]] = [taken]
        for group, (matrices, _) in zip(groups[1:], units[1:], strict=True):
            others = min(group.covers(matrices, here), key=lambda each: each[0], default=None)
            if others is None:
                break
            covers.append(others[1])
        for swapped in (False, True) if len(covers) == len(groups) else ():
            reading, is_open = _reading(groups, units, covers, swapped)
            if not swapped or is_open:
                rests_on = _Decided(here, groups[0].numbered, swapped)
                yield cost + 0.5 * swapped, reading._replace(rests_on=rests_on)


def _reading(
    groups: Sequence[Group],
    units: Sequence[tuple[list[Unit], list[Unit]]],
    covers: Sequence[Sequence[Choice | None]],
    swapped: bool,
) -> tuple[Reading, bool]:
    """What was taken, as a reading, and whether its biases could as well be exchanged."""
    pieces: list[Piece] = []
    order: tuple[str, ...] = ()
    said: list[str] = []
    is_open = False
    for k, (group, (matrices, biases), taken) in enumerate(zip(groups, units, covers, strict=True)):
        roles: dict[str, str] = {}
        for unit, choice in zip(matrices, taken, strict=True):
            if choice is not None:
                pieces += group.pieces(unit, choice)
                roles |= dict.fromkeys(unit.names, choice.role)
                stacks = (not unit.gates or group.numbered) and len(choice.gates) > max(1, len(order))
                order = choice.gates if stacks else order
                said += [_said(unit, choice)] * (k == 0)
        chosen, left_open = group.biases(biases, roles, swapped)
        is_open |= left_open
        for unit, role, gates in chosen:
            pieces += group.bias_pieces(unit, role, gates)
            order = gates if not unit.gates and len(gates) > max(1, len(order)) else order
            said += [f"{_listed(unit)} as bias_{role}{_of(unit, gates)}"] * (k == 0)
        if k == 0 and chosen and len({role for _, role, _ in chosen}) == 1:
            said.append(f"no second bias beside {chosen[0][0].names[0]}")
    read = {piece.parameter for piece in pieces}
    unexplained = tuple(name for name in groups[0].parameters if name not in read)
    promised = all(_is_torchs(piece, piece.parameter, groups[0]) for piece in pieces)
    assumed = []
    if not promised and all(_is_torchs(piece, piece.parameter.rpartition(".")[2], groups[0]) for piece in pieces):
        assumed.append("read by torch.nn's names, which are those of a module inside")
    elif not promised:
        assumed.append(f"read: {'; '.join(said)}")
    if unexplained:
        assumed.append(f"not torch.nn's, and drawn at random: {', '.join(unexplained)}")
    return Reading(tuple(pieces), order, promised, unexplained, tuple(assumed)), is_open


def _is_torchs(piece: Piece, name: str, group: Group) -> bool:
    """Whether torch.nn has that part under this name."""
    (_, gate), view = piece.place, piece.view
    rows = group.hidden if gate else group.output
    start = group.gates.index(gate) * rows if gate else 0
    named = name in (piece.place.name, piece.place.name.removesuffix("_l0"))  # the second of a cell
    return named and not view.transposed and view.gate is None and view.rows == (start, start + rows)


def _said(unit: Unit, choice: Choice) -> str:
    on = {"xh": "weight_ih and weight_hh in one, on [x, h]", "hx": "weight_hh and weight_ih in one, on [h, x]"}
    text = f"{_listed(unit)} as {on.get(choice.role, f'weight_{choice.role}')}"
    text += ", transposed" * choice.transposed
    return text + (_of(unit, choice.gates) if choice.role != "hr" else "")


def _of(unit: Unit, gates: tuple[str, ...]) -> str:
    if unit.gates:
        return f", the gates {', '.join(unit.gates)}"
    return f", gates in the order {', '.join(gates)}" if len(gates) > 1 else ""


def _listed(unit: Unit) -> str:
    return f"{', '.join(unit.names)} {list(unit.shape)}"
