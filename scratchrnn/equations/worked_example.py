"""One step forward and one backward with numbers: every line evaluated, and held against autograd and torch.nn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..cells.cell import Cell, step
from ..cells.twins import find_twin
from .equations import Equations
from .linear import linear_backward, linear_forward
from .lines import Line

TOLERANCE = 1e-12


class Walk(NamedTuple):
    """One step forward and one backward, of one row, in float64; a vector is a column [n, 1]."""

    given: dict[str, Tensor]
    forward: dict[str, Tensor]
    parts: dict[str, Tensor]
    """Of the forward lines, those that `Equations.named` adds."""
    derived: dict[str, Tensor]
    by_hand: dict[str, Tensor]
    linear: dict[str, Tensor]
    deviations: list[Deviation]


class Deviation(NamedTuple):
    """How far the tensor `name`, as `lines` give it, is from the one of `reference`."""

    lines: str
    name: str
    reference: str
    value: float


def walk(cell: Cell, I: int, H: int) -> Walk:  # noqa: E741 - input_size
    """Evaluate every line on random numbers, and hold the results against autograd and torch.nn.

    Weights, biases, input and the gradients that arrive are normal, from a fixed seed; the states before are some that
    the cell reaches. All have two digits, the states rounded towards 0.
    """
    of = Equations(cell)
    given = _random(cell, I, H)
    numbers = of.numbers
    linear = _evaluate(linear_forward(cell), given)
    forward = linear | _evaluate(of.named, {**given, **linear, **numbers})
    derived = _evaluate(of.derived, {**given, **forward, **numbers})
    by_hand = _evaluate(of.adjoint, {**given, **forward, **numbers})
    linear = _evaluate(linear_backward(cell), given | derived)
    parts = {each.target: forward.pop(each.target) for each in of.added}
    found = Walk(given, forward, parts, derived, by_hand, linear, [])
    return found._replace(deviations=[*_from_autograd(cell, found), *_from_torch(cell, found)])


def _random(cell: Cell, I: int, H: int) -> dict[str, Tensor]:  # noqa: E741
    widths = {"W_i": I, "W_h": H, "b_i": 1, "b_h": 1}
    shapes = {"x": (I, 1)}
    shapes |= {f"{parameter}{g}": (H, width) for parameter, width in widths.items() for g in cell.gates}
    shapes |= dict.fromkeys(Equations(cell).arriving, (H, 1))
    seeded = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=seeded, dtype=torch.float64)

    drawn = {name: normal(*shape).round(decimals=2) for name, shape in shapes.items()}
    return {"x": drawn.pop("x")} | _reached(cell, H, normal) | drawn


def _reached(cell: Cell, H: int, normal: Callable[..., Tensor]) -> dict[str, Tensor]:
    """States after five steps from zeros, as a layer begins: |h| stays below 1 where it is made by tanh.

    Of some rows the first without a number near 0, which would hide a term: half of what a relu emits is 0.
    """
    state: tuple[Tensor, ...] = tuple(torch.zeros(64, H, dtype=torch.float64) for _ in cell.states)
    for _ in range(5):
        state, _tape = step(cell, *(2 * normal(64, H) for _ in cell.pre_activations), *state)
    rounded = [(100 * s).trunc() / 100 for s in state]
    row = torch.stack([s.abs().ge(0.1).all(1) for s in rounded]).all(0).int().argmax()
    return {f"{name}_prev": s[row].unsqueeze(1) for name, s in zip(cell.states, rounded, strict=True)}


def _evaluate(lines: Sequence[Line], values: Mapping[str, Tensor | float]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for each in lines:
        found[each.target] = each.evaluate({**values, **found})
    return found


def _from_autograd(cell: Cell, walk: Walk) -> Iterator[Deviation]:
    """Of `update` alone, whose pre-activations are leaves, and of the whole step."""
    of = Equations(cell)
    leaves = {n: t.T.clone().requires_grad_() for n, t in (walk.given | walk.forward).items()}
    pre, prev = of.pre_activations, [f"{s}_prev" for s in cell.states]
    state, _ = step(cell, *[leaves[n] for n in [*pre, *prev]])
    d_state = [walk.given[n].T for n in of.arriving]
    exact = _gradients(state, [leaves[n] for n in [*pre, *prev]], d_state)
    for name, expected in zip(cell.states, state, strict=True):
        yield _deviation("forward", name, "a call of update", walk.forward[name], expected)
    for lines, values in (("derivation", walk.derived), ("adjoint", walk.by_hand)):
        if values:
            for name, expected in zip([*pre, *prev], exact, strict=True):
                gradient = of.gradient(name)
                yield _deviation(lines, gradient, "autograd", values.get(gradient), expected)

    blocks = {n: t.clone().requires_grad_() for n, t in walk.given.items()}
    x, h = blocks["x"].T, blocks[prev[0]].T
    arguments = []
    for g in cell.gates:
        by_x = nn.functional.linear(x, blocks[f"W_i{g}"], blocks[f"b_i{g}"].flatten())
        by_h = nn.functional.linear(h, blocks[f"W_h{g}"], blocks[f"b_h{g}"].flatten())
        arguments += [by_x, by_h] if g in cell.split else [by_x + by_h]
    state, _ = step(cell, *arguments, *[blocks[n].T for n in prev])
    names = [name for name in blocks if f"d{name}" in walk.linear]
    for name, expected in zip(names, _gradients(state, [blocks[n] for n in names], d_state), strict=True):
        yield _deviation("linear part", f"d{name}", "autograd", walk.linear[f"d{name}"], expected)


def _from_torch(cell: Cell, walk: Walk) -> Iterator[Deviation]:
    """Of torch.nn's cell with the same weights, where there is one."""
    I, H = walk.given["x"].shape[0], walk.given[f"{cell.states[0]}_prev"].shape[0]  # noqa: E741
    twin = find_twin(cell)
    if twin is None:
        return
    theirs = twin.step(I, H, dtype=torch.float64, **twin.options)
    stacks = {"weight_ih": "W_i", "weight_hh": "W_h", "bias_ih": "b_i", "bias_hh": "b_h"}
    with torch.no_grad():
        for stack, block in stacks.items():
            parameter = getattr(theirs, stack)
            parameter.copy_(torch.cat([walk.given[f"{block}{g}"] for g in cell.gates]).view_as(parameter))
    given = [walk.given[n].T.clone().requires_grad_() for n in ("x", *(f"{s}_prev" for s in cell.states))]
    x, *prev = given
    state = theirs(x, tuple(prev)) if len(prev) > 1 else (theirs(x, *prev),)
    name = f"torch.nn.{type(theirs).__name__}"
    for s, expected in zip(cell.states, state, strict=True):
        yield _deviation("forward", s, name, walk.forward[s], expected)
    wanted = [*given, *theirs.parameters()]
    dx, *others = _gradients(state, wanted, [walk.given[n].T for n in Equations(cell).arriving])
    yield _deviation("linear part", "dx", name, walk.linear["dx"], dx)
    for s, expected in zip(cell.states, others, strict=False):
        value = (walk.derived | walk.linear).get(f"d{s}_prev")
        yield _deviation("linear part" if s == cell.states[0] else "derivation", f"d{s}_prev", name, value, expected)
    parameters = dict(zip((n for n, _ in theirs.named_parameters()), others[len(prev) :], strict=True))
    for stack, block in stacks.items():
        for g, expected in zip(cell.gates, parameters[stack].chunk(len(cell.gates)), strict=True):
            gradient = f"d{block}{g}"
            yield _deviation("linear part", gradient, name, walk.linear[gradient], expected)


def _gradients(state: Sequence[Tensor], wanted: Sequence[Tensor], d_state: Sequence[Tensor]) -> Sequence[Tensor]:
    pairs = [(s, d) for s, d in zip(state, d_state, strict=True) if s.requires_grad]
    outputs, upstream = zip(*pairs, strict=True)
    return torch.autograd.grad(outputs, wanted, upstream, allow_unused=True, materialize_grads=True)


def _deviation(lines: str, name: str, reference: str, value: Tensor | None, expected: Tensor) -> Deviation:
    """A gradient that the lines do not have is zero for them."""
    value = torch.zeros(expected.numel(), dtype=expected.dtype) if value is None else value
    off = (value.flatten() - expected.detach().flatten()).abs().max()
    return Deviation(lines, name, reference, float(off))


def agrees(deviations: Sequence[Deviation]) -> bool:
    """Whether every line gives what autograd and torch.nn give."""
    return all(d.value <= TOLERANCE for d in deviations)
