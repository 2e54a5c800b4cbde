"""Backpropagation through time in numbers: some steps forward and back, every line with the step in its names.

`c_2 = f_2 * c_1 + i_2 * g_2` is the line of c at step 2. Back, the gradient by a state is the sum of what comes from
the loss and of what the next step hands on, by two roads: through W_hh, and directly, unit by unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..cells.cell import Cell, step
from .equations import Equations
from .explain import check
from .linear import linear_forward, linear_onward, linear_parameters
from .lines import Line, line
from .sections import Entry, Section, Table, with_values
from .worked_example import Deviation, agrees, walk

MOST = 5
"""So many steps are for reading: a weight's gradient has a term for each."""


class Back(NamedTuple):
    """One step of the backward pass, from what arrives to what is handed on."""

    arriving: list[Line]
    local: list[Line]
    through_weights: list[Line]
    direct: list[Line]


class Unrolled(NamedTuple):
    """The lines of all steps, in the order in which they are computed."""

    forward: list[list[Line]]
    """Of step 1, 2, ..."""
    back: list[Back]
    """Of the last step first."""
    before: list[Line]
    """The gradient by the emitted state before the first step."""
    terms: list[Line]
    """The outer product of each step that a gradient by W_hh is the sum of."""
    sums: list[Line]
    """The gradients of the parameters."""

    @property
    def lines(self) -> list[Line]:
        back = [each for of_step in self.back for part in of_step for each in part]
        return [*(each for of_step in self.forward for each in of_step), *back, *self.before, *self.terms, *self.sums]


def unrolled(cell: Cell, steps: int) -> Unrolled:
    """The lines of so many steps, forward and back.

    Given are `x_1`, ..., the states before, `h_0`, and what the loss gives to every emitted state, `dh_loss_1`, ...,
    and to the others after the last step.

    Raises:
        ValueError: as for `Equations.derivation`.
    """
    of, times = Equations(cell), range(1, steps + 1)
    forward = [*linear_forward(cell), *of.named]
    terms, sums = list[Line](), list[Line]()
    for each in linear_parameters(cell):
        parts = [each.renamed(_at(cell, t)) for t in times]
        sums.append(line(f"{each.target} = {' + '.join(part.code for part in parts)}"))
        if each.target.startswith("dW_h"):
            terms += [Line(f"{each.target}_{t}", part.expression) for t, part in zip(times, parts, strict=True)]
    return Unrolled(
        [[each.renamed(_at(cell, t)) for each in forward] for t in times],
        [_back(cell, t, steps) for t in reversed(times)],
        [line(f"d{cell.states[0]}_0 = {' + '.join(f'{road}_0' for road in _roads(cell))}")],
        terms,
        sums,
    )


def _roads(cell: Cell) -> list[str]:
    """What the gradients are called that reach the emitted state of a step from the next one."""
    of = Equations(cell)
    direct = [of.direct_gradient] if any(each.target == of.direct_gradient for each in of.derived) else []
    return [f"d{cell.states[0]}_W", *direct]


def _at(cell: Cell, t: int) -> dict[str, str]:
    """What every name of one step is called at step t; the parameters and the numbers from outside keep theirs."""
    of = Equations(cell)
    lines = [*linear_forward(cell), *of.named, *of.derived]
    parameters = {f"{p}{g}" for p in ("W_i", "W_h", "b_i", "b_h") for g in cell.gates}
    names = {"x", "dx", *of.arriving, *(n for each in lines for n in (each.target, *each.names))}
    found = {n: f"{n}_{t}" for n in names - parameters - {*of.numbers}}
    for s, arriving in zip(cell.states, of.arriving, strict=True):
        found[f"{s}_prev"] = f"{s}_{t - 1}"
        found[f"d{s}_prev"] = f"{arriving}_{t - 1}" if t > 1 else f"d{s}_0"
    found[of.direct_gradient] = f"{of.direct_gradient}_{t - 1}"
    return found


def _back(cell: Cell, t: int, steps: int) -> Back:
    of, at = Equations(cell), _at(cell, t)
    (h, *others), (arrives, *of_others) = cell.states, of.arriving
    roads = [f"d{h}_loss", *(_roads(cell) if t < steps else [])]
    before = [of.direct_gradient, *(f"d{s}_prev" for s in others)]
    dx, dh_prev = linear_onward(cell)
    through = line(f"d{h}_W_{t - 1} = {dh_prev.code.removesuffix(f' + {of.direct_gradient}')}")
    direct = [each.renamed(at) for each in of.derived if each.target in before]
    there = {each.target for each in direct}
    direct += [
        line(f"{at[f'd{s}_prev']} = 0 * {name}_{steps}")
        for s, name in zip(others, of_others, strict=True)
        if at[f"d{s}_prev"] not in there
    ]
    local = [each.renamed(at) for each in of.derived if each.target not in before]
    return Back(
        [line(f"{arrives}_{t} = {' + '.join(f'{road}_{t}' for road in roads)}")],
        [*local, dx.renamed(at)],
        [through.renamed(at)],
        direct,
    )


# --------------------------------------------------------------------------------------------------- numbers


def evaluated(cell: Cell, steps: int, I: int, H: int) -> dict[str, Tensor]:  # noqa: E741 - input_size
    """Every name of `unrolled` in numbers, as columns; what the first step is given is as in `worked_example`."""
    values = _given(cell, steps, I, H)
    for each in unrolled(cell, steps).lines:
        values[each.target] = each.evaluate({**Equations(cell).numbers, **values})
    return values


def _given(cell: Cell, steps: int, I: int, H: int) -> dict[str, Tensor]:  # noqa: E741
    of, first = Equations(cell), walk(cell, I, H).given
    seeded = torch.Generator().manual_seed(3)

    def drawn(n: int) -> Tensor:
        return torch.randn(n, 1, generator=seeded, dtype=torch.float64).round(decimals=2)

    found = {"x_1": first["x"]} | {f"x_{t}": drawn(I) for t in range(2, steps + 1)}
    found |= {f"{s}_0": first[f"{s}_prev"] for s in cell.states}
    found |= {f"{p}{g}": first[f"{p}{g}"] for p in ("W_i", "W_h", "b_i", "b_h") for g in cell.gates}
    found |= {f"d{cell.states[0]}_loss_{t}": drawn(H) for t in range(1, steps + 1)}
    return found | {f"{arriving}_{steps}": drawn(H) for arriving in of.arriving[1:]}


def _deviations(cell: Cell, steps: int, values: dict[str, Tensor]) -> Iterator[Deviation]:
    """From autograd, which follows calls of `update` through all the steps."""
    of, h = Equations(cell), cell.states[0]
    names = [*(f"x_{t}" for t in range(1, steps + 1)), *(f"{s}_0" for s in cell.states)]
    names += [f"{p}{g}" for p in ("W_i", "W_h", "b_i", "b_h") for g in cell.gates]
    leaves = {n: values[n].clone().requires_grad_() for n in names}
    state = tuple(leaves[f"{s}_0"].T for s in cell.states)
    loss, reached = torch.zeros((), dtype=torch.float64), dict[str, Tensor]()
    for t in range(1, steps + 1):
        arguments = []
        for g in cell.gates:
            by_x = nn.functional.linear(leaves[f"x_{t}"].T, leaves[f"W_i{g}"], leaves[f"b_i{g}"].flatten())
            by_h = nn.functional.linear(state[0], leaves[f"W_h{g}"], leaves[f"b_h{g}"].flatten())
            arguments += [by_x, by_h] if g in cell.split else [by_x + by_h]
        state, _ = step(cell, *arguments, *state)
        for k, (s, value) in enumerate(zip(cell.states, state, strict=True)):
            if not any(value is earlier for earlier in state[:k]):  # of one tensor autograd has one gradient
                reached[f"{s}_{t}"] = value
        loss = loss + (values[f"d{h}_loss_{t}"].T * state[0]).sum()
    for last, arriving in zip(state[1:], of.arriving[1:], strict=True):
        loss = loss + (values[f"{arriving}_{steps}"].T * last).sum()
    for name, value in reached.items():
        yield _deviation("forward", name, "calls of update", values[name], value)
    wanted = leaves | reached
    exact = torch.autograd.grad(loss, [*wanted.values()], allow_unused=True, materialize_grads=True)
    for name, gradient in zip(wanted, exact, strict=True):
        yield _deviation("backward", f"d{name}", "autograd", values[f"d{name}"], gradient)


def _deviation(lines: str, name: str, reference: str, value: Tensor, expected: Tensor) -> Deviation:
    return Deviation(lines, name, reference, float((value.flatten() - expected.detach().flatten()).abs().max()))


# -------------------------------------------------------------------------------------------------- sections


def through_time(cell: Cell, steps: int, I: int, H: int) -> tuple[list[Section], bool]:  # noqa: E741
    """The sections, with numbers, and whether all of these are what autograd has.

    Raises:
        ValueError: as for `unrolled`.
    """
    of, h = Equations(cell), cell.states[0]
    found, values = unrolled(cell, steps), evaluated(cell, steps, I, H)
    deviations = [*_deviations(cell, steps, values)]
    given = [n for n in values if n not in {each.target for each in found.lines}]
    last = "".join(f", {name}_{steps} to the other state after the last step" for name in of.arriving[1:])
    note = (
        f"{h}_{steps} is {h} at step {steps}, {h}_0 what a layer is given. The weights are the same at every step, and "
        "the lines back are those of the chain rule. "
        f"d{h}_loss_1, ...: what the loss gives to {h} at each step{last}."
    )
    sections = [
        Section(f"{cell.name}, {steps} steps, {I} inputs, {H} units", [note]),
        Section("Given", [Table(("name", "value"), [(name, values[name]) for name in given])]),
    ]
    for t, lines in enumerate(found.forward, 1):
        sections.append(Section(f"Forward, step {t}", [with_values(lines, values)]))
    for t, back in zip(range(steps, 0, -1), found.back, strict=True):
        sections.append(_back_section(cell, t, back, values))
    sections[-1].parts.extend([f"So {h}_0 has the gradient:", with_values(found.before, values)])
    sections += [_arriving(cell, steps, values), _sums(cell, steps, found, values), check(deviations)]
    return sections, agrees(deviations)


def _back_section(cell: Cell, t: int, back: Back, values: dict[str, Tensor]) -> Section:
    h = cell.states[0]
    where = f"step {t - 1}" if t > 1 else "the states before"
    direct = (
        [f"Handed to {where} directly, unit by unit:", with_values(back.direct, values)]
        if back.direct
        else [f"There is no direct road: {h} is reached through W_hh alone."]
    )
    return Section(
        f"Back, step {t}",
        [
            "What arrives:",
            with_values(back.arriving, values),
            "Through the lines of this step:",
            with_values(back.local, values),
            f"Handed to {where} through W_hh:",
            with_values(back.through_weights, values),
            *direct,
        ],
    )


def _arriving(cell: Cell, steps: int, values: dict[str, Tensor]) -> Section:
    """What arrives at each step, by each road, beside each other."""
    of = Equations(cell)
    h, arriving = cell.states[0], of.arriving
    columns = {"from the loss": f"d{h}_loss", "through W_hh": f"d{h}_W", "directly": of.direct_gradient}
    columns |= {f"d{s}, directly": name for s, name in zip(cell.states[1:], arriving[1:], strict=True)}
    times = range(steps, 0, -1)
    shown = {title: name for title, name in columns.items() if any(f"{name}_{t}" in values for t in times)}
    rows: list[tuple[Entry, ...]] = [
        (f"step {t}", *(values.get(f"{name}_{t}") for name in shown.values())) for t in times
    ]
    return Section("What arrives at each step", [Table(("", *shown), rows)])


def _sums(cell: Cell, steps: int, found: Unrolled, values: dict[str, Tensor]) -> Section:
    h, times = cell.states[0], range(1, steps + 1)
    of_hidden = [each for each in found.sums if each.target.startswith("dW_h")]
    rows: list[tuple[Entry, ...]] = [
        (n, *(values[f"{n}_{t}"] for t in times), values[n]) for n in (each.target for each in of_hidden)
    ]
    return Section(
        "The gradients of the parameters",
        [
            f"W_hh is used at every step: its gradient is a sum of outer products, each with {h} before that step.",
            with_values(of_hidden),
            "The same in numbers, step by step:",
            Table(("", *(f"step {t}" for t in times), "sum"), rows),
            "W_ih and the biases in the same way:",
            with_values([each for each in found.sums if each not in of_hidden], values),
        ],
    )
