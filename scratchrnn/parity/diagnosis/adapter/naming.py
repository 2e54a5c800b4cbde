"""Reads a subject's parameters by shape and name: which part of which stands where torch.nn has its own.

A matrix tells by its shape with what it is multiplied, how many gates it stacks, and whether it is transposed; its name
says the rest: the gate, where each has its own, and the side, where shapes leave it open. All ways to cover torch.nn's
matrices exactly are tried, and the likeliest kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from torch import Tensor

from ..configuration import Configuration, Place
from .matching import Choice, Group, Unit, View
from .reading import Piece, Reading
from .words import Label, extents, placed

MOST = 4
"""Readings that are offered."""

_OPEN = 1.5  # by how much less likely a reading may be than the likeliest


class Interpretation(NamedTuple):
    """A reading, and what it rests on, so that the same can be read from parameters of other sizes."""

    reading: Reading
    decided: Mapping[Label, Choice]
    """What each matrix of the first layer is taken for, by its name."""
    numbered: bool
    """Numbers in names stand for gates."""
    swapped: bool
    """The first of two biases that nothing tells apart is b_hh."""


def readings(
    parameters: Mapping[str, Tensor], configuration: Configuration, linear: Collection[str] = ()
) -> tuple[Reading, ...]:
    """The ways to read the parameters, the likeliest first; none where they do not add up to torch.nn's.

    `linear` are the weights of `nn.Linear`s, which are [out, in] for certain.
    """
    return tuple(each.reading for each in interpretations(parameters, configuration, linear))


def interpretations(
    parameters: Mapping[str, Tensor],
    configuration: Configuration,
    linear: Collection[str] = (),
    like: Sequence[Interpretation] = (),
) -> tuple[Interpretation, ...]:
    """As `readings`; with those of another configuration, `like`, the same ones in the same order."""
    L, D = configuration.num_layers, configuration.directions
    groups = placed(parameters, L, D)
    if D == 2 and len(groups) < L * D:  # one set of parameters for both
        groups = {(k, d): names for (k, _), names in placed(parameters, L, 1).items() for d in (0, 1)}
    if len(groups) < L * D:
        return ()
    if like:
        again = [_again(parameters, configuration, linear, groups, each) for each in like]
        known = next((each for each in again if each is not None), None)
        if known is not None:
            return tuple(each or known for each in again)
    found: list[tuple[float, Interpretation]] = []
    for numbered in (False, True):
        found = found or list(_whole(parameters, configuration, linear, groups, numbered, {}))
    if not found and configuration.proj_size:
        without = interpretations(parameters, replace(configuration, proj_size=0), linear, like)
        return tuple(_projected(each, parameters, configuration) for each in without)
    least = min((cost for cost, _ in found), default=0.0)
    likely = [each for cost, each in sorted(found, key=lambda pair: pair[0]) if cost <= least + _OPEN]
    distinct = {each.reading.pieces: each for each in reversed(likely)}
    kept = tuple(reversed(distinct.values()))[:MOST]
    return kept[:1] if kept and kept[0].reading.promised else kept


def _projected(each: Interpretation, parameters: Mapping[str, Tensor], configuration: Configuration) -> Interpretation:
    """A reading where h is not projected before it recurs, so that W_hh is [H, H]; W_hr is read if it is there."""
    P, H = configuration.proj_size, configuration.hidden_size
    one = configuration.num_layers * configuration.directions == 1
    pieces = []
    for name in each.reading.unexplained:
        last = name.rpartition(".")[2]
        place = last if last.startswith("weight_hr_l") else "weight_hr_l0" if one else ""
        if place and sorted(parameters[name].shape) == sorted((P, H)):
            turned = tuple(parameters[name].shape) != (P, H)
            pieces.append(Piece(name, Place(place, ""), View((0, P), (0, H), turned)))
    read = {piece.parameter for piece in pieces}
    left = tuple(name for name in each.reading.unexplained if name not in read)
    said = (*each.reading.assumed, "read with a W_hh of [H, H], as if without proj_size")
    return each._replace(
        reading=each.reading._replace(pieces=(*each.reading.pieces, *pieces), unexplained=left, assumed=said)
    )


def _again(
    parameters: Mapping[str, Tensor],
    configuration: Configuration,
    linear: Collection[str],
    groups: Mapping[tuple[int, int], Mapping[str, Label]],
    like: Interpretation,
) -> Interpretation | None:
    found = _whole(parameters, configuration, linear, groups, like.numbered, like.decided)
    same = [pair for pair in found if pair[1].swapped == like.swapped]
    return min(same, key=lambda pair: pair[0])[1] if same else None


def layout(
    parameters: Mapping[str, Tensor], configuration: Configuration, linear: Collection[str] = ()
) -> Configuration | None:
    """The configuration with as many layers and directions, and biases or none, as the parameters have."""
    found: list[tuple[int, Configuration]] = []
    for layers, directions in extents(parameters):
        if configuration.step and (layers, directions) != (1, 1):
            continue
        held = replace(configuration, num_layers=layers, bidirectional=directions == 2)
        read = readings(parameters, held, linear)
        if read:
            found.append((len(read[0].unexplained), with_bias(held, read[0])))
    return min(found, key=lambda each: each[0])[1] if found else None


def with_bias(configuration: Configuration, reading: Reading) -> Configuration:
    """The configuration with a bias or none, as it was read."""
    return replace(configuration, bias=any(p.place.name.startswith("bias") for p in reading.pieces))


def sizes(
    parameters: Mapping[str, Tensor], configuration: Configuration, linear: Collection[str] = ()
) -> Configuration | None:
    """The same with the sizes, too: those under which the fewest parameters stay unexplained."""
    gates = len(configuration.twin.cell.gates)
    edges = {n for p in parameters.values() for n in p.shape if n > 1}
    widths = sorted(edges | {n // k for n in edges for k in range(2, gates + 1) if n % k == 0}, reverse=True)
    found: list[tuple[int, Configuration]] = []
    for hidden in widths:
        for entered in sorted(edges | {n - hidden for n in edges if n > hidden}):
            held = layout(parameters, replace(configuration, input_size=entered, hidden_size=hidden), linear)
            if held is not None:
                found.append((len(readings(parameters, held, linear)[0].unexplained), held))
    return min(found, key=lambda each: each[0])[1] if found else None


def shapes_of(parameters: Mapping[str, Tensor]) -> str:
    """For a message: the names with their shapes."""
    said = ", ".join(f"{name} {list(p.shape)}" for name, p in parameters.items())
    return said or "none (weights should be torch tensors)"


# -------------------------------------------------------------------------------------------------------- all groups


def _whole(
    parameters: Mapping[str, Tensor],
    configuration: Configuration,
    linear: Collection[str],
    placed_names: Mapping[tuple[int, int], Mapping[str, Label]],
    numbered: bool,
    decided: Mapping[Label, Choice],
) -> Iterator[tuple[float, Interpretation]]:
    """Readings of all layers and directions: what a name was taken for in the first, it is in the others."""
    groups = []
    for (layer, direction), labels in placed_names.items():
        entered = configuration.input_size if layer == 0 else configuration.directions * configuration.output_size
        suffix = f"_l{layer}{'_reverse' if direction else ''}"
        sizes = entered, configuration.hidden_size, configuration.output_size
        groups.append(Group(labels, parameters, configuration.twin, *sizes, suffix, linear, numbered))
    units = [group.units() for group in groups]
    for cost, taken in groups[0].covers(units[0][0], decided):
        here = {unit.key: choice for unit, choice in zip(units[0][0], taken, strict=True) if choice}
        covers = [taken]
        for group, (matrices, _) in zip(groups[1:], units[1:], strict=True):
            others = sorted(group.covers(matrices, here), key=lambda each: each[0])
            if not others:
                break
            covers.append(others[0][1])
        if len(covers) < len(groups):
            continue
        for swapped in (False, True):
            reading, is_open = _reading(groups, units, covers, swapped, configuration)
            if not swapped or is_open:
                yield cost + 0.5 * swapped, Interpretation(reading, here, numbered, swapped)


def _reading(
    groups: Sequence[Group],
    units: Sequence[tuple[list[Unit], list[Unit]]],
    covers: Sequence[list[Choice | None]],
    swapped: bool,
    configuration: Configuration,
) -> tuple[Reading, bool]:
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
                stacks = (not unit.gates or group.numbered) and len(choice.gates) > 1
                order = choice.gates if stacks and len(choice.gates) > len(order) else order
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
    promised = all(_is_torchs(piece, groups[0]) for piece in pieces)
    inner = [piece._replace(parameter=piece.parameter.rpartition(".")[2]) for piece in pieces]
    if promised:
        assumed = []
    elif all(_is_torchs(piece, groups[0]) for piece in inner):
        assumed = ["read by torch.nn's names, which are those of a module inside"]
    else:
        assumed = [f"read: {'; '.join(said)}"]
    if unexplained:
        assumed.append(f"not torch.nn's, and drawn at random: {', '.join(unexplained)}")
    return Reading(tuple(pieces), order, promised, unexplained, tuple(assumed)), is_open


def _is_torchs(piece: Piece, group: Group) -> bool:
    view = piece.view
    torchs = piece.place.name, piece.place.name.removesuffix("_l0")  # the second of a cell
    if piece.parameter not in torchs or not isinstance(view, View) or view.transposed or view.gate is not None:
        return False
    k = group.gates.index(piece.place.gate) if piece.place.gate else 0
    rows = group.hidden if piece.place.gate else group.output
    return view.rows == (k * group.hidden, k * group.hidden + rows)


def _said(unit: Unit, choice: Choice) -> str:
    on = {"xh": "weight_ih and weight_hh in one, on [x, h]", "hx": "weight_hh and weight_ih in one, on [h, x]"}
    text = f"{_listed(unit)} as {on.get(choice.role, f'weight_{choice.role}')}"
    if choice.transposed:
        text += ", transposed"
    return text + (_of(unit, choice.gates) if choice.role != "hr" else "")


def _of(unit: Unit, gates: Iterable[str]) -> str:
    gates = tuple(gates)
    if unit.gates:
        return f", the gates {', '.join(gates)}"
    return f", gates in the order {', '.join(gates)}" if len(gates) > 1 else ""


def _listed(unit: Unit) -> str:
    return f"{', '.join(unit.names)} {list(unit.shape)}"
