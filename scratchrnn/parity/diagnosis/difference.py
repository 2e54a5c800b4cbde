"""Where a subject and the reference part first, if nothing in the table says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...equations.equations import Equations
from .adapter import NotTaken, Unjudged
from .case import Case
from .configuration import Outcome
from .search import Hypothesis


def first_difference(case: Case, known: Hypothesis) -> Mapping[str, Any]:
    """The first layer, direction, step and unit that differ, both numbers, and the gates that could be wrong."""
    reading = case.readings[min(known.reading, len(case.readings) - 1)]
    expected = case.reference(case.weights(reading), known.changes)
    shapes = _shapes(case.outcome, expected)
    if shapes:
        return {"configuration": str(case.configuration)} | shapes
    return {"configuration": str(case.configuration), **_place(case, expected), "gate": _gates(case, known)}


def gradient_difference(case: Case, differing: Mapping[str, tuple[Tensor, Tensor]]) -> Mapping[str, Any]:
    """The gradient that differs most, and where."""

    def share(name: str) -> float:
        ours, theirs = differing[name]
        return ((ours - theirs).abs().max() / theirs.abs().max().clamp_min(1e-300)).item()

    name = max(differing, key=share)
    ours, theirs = differing[name]
    index = tuple(int(k) for k in torch.unravel_index((ours - theirs).abs().argmax(), ours.shape))
    return {
        "configuration": str(case.configuration),
        "tensor": f"gradient of {name}",
        "index": list(index),
        "yours": ours[index].item(),
        "theirs": theirs[index].item(),
    }


def _shapes(ours: Outcome, theirs: Outcome) -> dict[str, Any]:
    names = ("output", "h_n", "c_n")
    for name, a, b in zip(names, (ours.output, *ours.states), (theirs.output, *theirs.states), strict=False):
        if a is not None and b is not None and a.shape != b.shape:
            return {"tensor": name, "yours": list(a.shape), "theirs": list(b.shape)}
    return {}


def _place(case: Case, expected: Outcome) -> dict[str, Any]:
    """In the order in which a layer computes: h_n of the layers below, then the output step by step."""
    c = case.configuration
    of_states = _of_states(case, expected)
    if of_states and (c.step or of_states["layer"] < c.num_layers - 1):
        return of_states
    return _of_output(case, expected) or of_states


def _of_states(case: Case, expected: Outcome) -> dict[str, Any]:
    """The first entry of h_n, or else of c_n, that differs; {} if none does."""
    c = case.configuration
    for name, ours, theirs in zip(c.twin.cell.states, case.outcome.states, expected.states, strict=False):
        if ours is not None and theirs is not None and (wrong := _wrong(ours, theirs, case)):
            k = 0 if c.step else wrong[0][0]
            row, unit = wrong[0][-2:]
            found = {"tensor": name if c.step else f"{name}_n", "layer": k // c.directions}
            found |= {"direction": _SIDES[k % c.directions], "row": row, "unit": unit}
            return found | {"yours": ours[wrong[0]].item(), "theirs": theirs[wrong[0]].item()}
    return {}


def _of_output(case: Case, expected: Outcome) -> dict[str, Any]:
    """The first step of a direction, as that direction goes, whose output differs; {} if none does."""
    c, ours, theirs = case.configuration, case.outcome.output, expected.output
    if ours is None or theirs is None:
        return {}
    wide, wrong = theirs.shape[-1] // c.directions, _wrong(ours, theirs, case)
    for direction in range(c.directions):
        mine = [place for place in wrong if place[2] // wide == direction]
        if mine:
            t = mine[-1][0] if direction else mine[0][0]
            row, unit = next(place[1:] for place in mine if place[0] == t)
            found = {"tensor": "output", "layer": c.num_layers - 1, "direction": _SIDES[direction], "step": t}
            found |= {"row": row, "unit": unit % wide}
            return found | {"yours": ours[t, row, unit].item(), "theirs": theirs[t, row, unit].item()}
    return {}


_SIDES = ("forward", "reverse")


def _wrong(ours: Tensor, theirs: Tensor, case: Case) -> list[tuple[int, ...]]:
    """Every place where the two differ, in order."""
    bound = case.tolerance.outputs * theirs.abs().max()
    return [tuple(place) for place in (~((ours - theirs).abs() <= bound)).nonzero().tolist()]


def _gates(case: Case, known: Hypothesis) -> list[str]:
    """The gates one of which, with another value, would give what the subject gives after one step."""
    c = case.configuration
    if c.num_layers > 1 or c.bidirectional or c.proj_size or case.states is None:
        return []
    try:
        one = case if c.step else case.with_(length=1, layout="padded")
    except (NotTaken, Unjudged):
        return []
    reading = one.readings[min(known.reading, len(one.readings) - 1)]
    values = _values(one, reading)
    if not _of_states(one, one.reference(one.weights(reading), known.changes)):
        return []  # what is wrong is behind the step
    h = one.outcome.states[0] if one.outcome.states else None
    if h is None and one.outcome.output is not None:
        h = one.outcome.output[0]
    if h is None:
        return []
    h = h.reshape(values["h"].shape)
    match c.twin.layer.__name__:
        case "LSTM":
            c_n = one.outcome.states[1] if len(one.outcome.states) > 1 else None
            if c_n is None:
                return []
            c_n = c_n.reshape(values["c"].shape)
            if torch.allclose(c_n, values["c"], rtol=1e-9, atol=1e-12):
                return ["o"] if _within(h / c_n.tanh(), 0) else []
            follows = torch.allclose(h, values["o"] * c_n.tanh(), rtol=1e-9, atol=1e-12)
            return _possible(c_n, values) if follows else []
        case "GRU":
            n, z, h_prev = values["n"], values["z"], values["h_prev"]
            as_n, as_z = (h - z * h_prev) / (1 - z), (h - n) / (h_prev - n)
            return [g for g, v, low in (("r", as_n, -1), ("z", as_z, 0), ("n", as_n, -1)) if _within(v, low)]
    return []


def _possible(c: Tensor, v: Mapping[str, Tensor]) -> list[str]:
    as_i, as_g = (c - v["f"] * v["c_prev"]) / v["g"], (c - v["f"] * v["c_prev"]) / v["i"]
    as_f = (c - v["i"] * v["g"]) / v["c_prev"]
    return [g for g, value, low in (("i", as_i, 0), ("f", as_f, 0), ("g", as_g, -1)) if _within(value, low)]


def _within(values: Tensor, low: float) -> bool:
    return bool(((values >= low - 1e-9) & (values <= 1 + 1e-9)).all())


def _values(case: Case, reading: Any) -> dict[str, Tensor]:
    """Every line of the first step."""
    cell, weights = case.configuration.twin.cell, case.weights(reading)
    x = case.x.detach().double() if case.configuration.step else case.x.detach().double()[0]
    assert case.states is not None
    states = [s.detach().double() if case.configuration.step else s.detach().double()[0] for s in case.states]
    given = []
    for gate in cell.gates:
        suffix = "_l0"
        of = {p.name.removesuffix(suffix): w for p, w in weights.items() if p.gate == gate}
        g_x, g_h = x @ of["weight_ih"].T + of["bias_ih"], states[0] @ of["weight_hh"].T + of["bias_hh"]
        given += [g_x, g_h] if gate in cell.split else [g_x + g_h]
    return Equations(cell).values(*given, *states)
