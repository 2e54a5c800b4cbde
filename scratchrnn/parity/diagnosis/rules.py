"""Gradients that are wrong in a way that no variant has, but in one place only: that place is the cause."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .adapter import NotTaken, Unjudged
from .case import Case
from .causes import GRADIENTS
from .causes.variant import NAMES
from .search import Hypothesis
from .verdict import Cause

_FIX = {row.slug: row.fix for row in GRADIENTS}


def by_rule(case: Case, known: Hypothesis, differing: Mapping[str, object]) -> Cause | None:
    """The cause, if everything but one kind of gradient agrees, or one gate's alone is wrong in a single step."""
    if all(name.startswith("bias") for name in differing):
        said = f"gives {_listed(differing)} a gradient that is not theirs, where every other gradient is right"
        return Cause("gradient-bias", said, _FIX["gradient-bias"])
    if all(name.endswith("_0") for name in differing):
        said = f"gives {_listed(differing)} a wrong gradient, where every other gradient is right"
        return Cause("gradient-initial-state", said, _FIX["gradient-initial-state"])
    return _one_gate(case, known)


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(names)


def _one_gate(case: Case, known: Hypothesis) -> Cause | None:
    """In one step of one row db is the gradient of the pre-activations: in which gate it is wrong can be read off."""
    if case.configuration.num_layers > 1 or case.configuration.bidirectional:
        return None
    try:
        one = case.with_(batch=1) if case.configuration.step else case.with_(length=1, batch=1, layout="padded")
    except (NotTaken, Unjudged):
        return None
    reading, gates = one.readings[known.reading], one.configuration.twin.cell.gates
    own = one.by_place(reading, one.gradients)
    expected = one.by_place(reading, one.expected_gradients(reading, known.changes))
    names = {g: f"bias_ih_l0 {g}" for g in gates}
    if not all(name in own for name in names.values()):
        return None
    wrong = [g for g, name in names.items() if not torch.allclose(own[name], expected[name], rtol=1e-8, atol=1e-10)]
    of_input = own["input"], expected["input"]
    if len(wrong) != 1 or not _follows(one, own, wrong[0]) or torch.allclose(*of_input, rtol=1e-8, atol=1e-10):
        return None
    (gate,) = wrong
    ours, theirs = own[names[gate]], expected[names[gate]]
    unit = int((ours - theirs).abs().argmax())
    said = f"has a wrong derivative in the {NAMES[gate]} {gate}: after one step unit {unit} has the gradient "
    said += f"{ours[unit].item():.4g} before its nonlinearity, where torch.nn has {theirs[unit].item():.4g}"
    return Cause("gradient-gate", said, _FIX["gradient-gate"])


def _follows(one: Case, own: Mapping[str, Tensor], gate: str) -> bool:
    """Whether the weights' gradients are those of the wrong one: it is wrong before them, not they."""
    x = one.x.detach().double().reshape(-1)
    name = f"weight_ih_l0 {gate}"
    return name in own and torch.allclose(own[name], own[f"bias_ih_l0 {gate}"][:, None] * x, rtol=1e-8, atol=1e-10)
