"""Causes that outputs do not show: a gradient cut off, overwritten, or of another function."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from ....equations.lines import Line, line
from ..configuration import Configuration
from ..reference import Change, graft
from .equations import lines_of
from .variant import Facts, Variant, Variants


def _choices(facts: Facts) -> list[tuple[str, Sequence[int]]]:
    """All states, then each."""
    states = facts.states
    alone = [(s, [k]) for k, s in enumerate(states)] if len(states) > 1 else []
    return [(" and ".join(states), range(len(states))), *alone]


def _cut(which: Sequence[int], at: Callable[[int, int], bool]) -> Callable[..., tuple[Tensor, ...]]:
    """Of the states that a step gets: no gradient goes through from it to the step before."""

    def carried(state: tuple[Tensor, ...], step: int, T: int) -> tuple[Tensor, ...]:
        return tuple(s.detach() if k in which and at(step, T) else s for k, s in enumerate(state))

    return carried


def detached(facts: Facts) -> Variants:
    for what, which in _choices(facts):
        before: Change = {"carried": _cut(which, lambda step, T: 0 < step < T)}
        yield Variant(f"lets no gradient through {what} from a step to the one before", before)
        whole: Change = {"carried": _cut(which, lambda step, T: step < T)}
        yield Variant(f"lets no gradient through {what} into any step, the first included", whole)
        after: Change = {"carried": _cut(which, lambda step, T: step > 0)}
        yield Variant(f"detaches {what} in every step, also what it returns", after)
        last: Change = {"carried": _cut(which, lambda step, T: step == T)}
        yield Variant(f"returns the last {what} without a gradient", last)
    everything: Change = {"output": _first_detached, "last": _all_detached}
    yield Variant("returns everything without a gradient, as under no_grad()", everything)
    yield Variant("returns the output without a gradient", {"output": _first_detached})
    yield Variant("gives no gradient to the input", {"input": _first_detached})
    yield Variant("lets no gradient through the output of a step but the last", {"shown": _last_only})
    if facts.configuration.num_layers > 1:
        yield Variant("lets no gradient through from a layer to the one below", {"above": _first_detached})


def _first_detached(x: Tensor, *_: Any) -> Tensor:
    return x.detach()


def _all_detached(states: tuple[Tensor, ...], _: Any) -> tuple[Tensor, ...]:
    return tuple(s.detach() for s in states)


def _last_only(h: Tensor, _: Tensor, reverse: bool) -> Tensor:
    return torch.cat([h[:1], h[1:].detach()]) if reverse else torch.cat([h[:-1].detach(), h[-1:]])


def truncated(facts: Facts) -> Variants:
    T = facts.configuration.length

    def every(k: int, first: int, steps: Callable[[int], range]) -> Callable[[int, int], bool]:
        return lambda step, T: step in steps(T) and step % k == first

    def before_last(k: int) -> Callable[[int, int], bool]:
        return lambda step, T: step == T - k

    within: tuple[tuple[str, Callable[[int], range]], ...] = (
        ("lets no gradient of {what} through {at}", lambda T: range(1, T)),
        ("detaches {what} behind {at}, the last one too", lambda T: range(1, T + 1)),
        ("detaches {what} before {at}, the first one too", lambda T: range(T)),
    )
    for what, which in _choices(facts):
        for k in range(2, T):
            for first in range(k):
                at = f"every {k} steps, at t = {first or k}, {(first or k) + k}, ..."
                for said, steps in within:
                    change: Change = {"carried": _cut(which, every(k, first, steps))}
                    yield Variant(said.format(what=what, at=at), change)
        for k in range(2, T):
            said = f"carries the gradient of {what} back through the last {k} steps alone"
            yield Variant(said, {"carried": _cut(which, before_last(k))})


def overwritten(facts: Facts) -> Variants:
    groups = {
        "every weight and bias": ("weight", "bias"),
        "W_ih and W_hh": ("weight",),
        "the biases": ("bias",),
        "W_hh": ("weight_hh",),
        "W_ih": ("weight_ih",),
        "W_hh and b_hh": ("weight_hh", "bias_hh"),
        "W_ih and b_ih": ("weight_ih", "bias_ih"),
    }

    def of_step(names: tuple[str, ...], first: bool) -> Change:
        def read(weights: dict[str, Tensor], step: int, T: int) -> dict[str, Tensor]:
            keep = step == (0 if first else T - 1)
            return {n: w if keep or not n.startswith(names) else w.detach() for n, w in weights.items()}

        return {"read": read}

    for (what, names), first in product(groups.items(), (True, False)):
        which = "first" if first else "last"
        yield Variant(
            f"keeps the gradient of {what} from the {which} step alone: it assigns where it has to add",
            of_step(names, first),
        )


def initial_state(facts: Facts) -> Variants:
    def cut(which: Sequence[int]) -> Change:
        def initial(states: tuple[Tensor, ...], _: Configuration) -> tuple[Tensor, ...]:
            return tuple(s.detach() if k in which else s for k, s in enumerate(states))

        return {"initial": initial}

    for _, which in _choices(facts):
        what = " and ".join(f"d{facts.states[k]}_0" for k in which)
        yield Variant(f"gives no gradient to the first state: {what} is 0 or None", cut(which))


_SIGMOID = {  # of a function's value y: what people write in the place of its derivative
    "y": "the sigmoid itself, not s * (1 - s)",
    "1 + 0 * y": "1",
    "1 - y": "1 - s",
    "1 - y * y": "1 - s * s, as tanh has",
    "y * (1 + y)": "s * (1 + s)",
    "sigmoid(y) * (1 - sigmoid(y))": "that at the gate's value, which went through the sigmoid already",
    "0 * y": "0",
    "-y * (1 - y)": "-s * (1 - s)",
    "y * y * (1 - y)": "s * s * (1 - s)",
}
_TANH = {
    "y": "tanh itself, not 1 - t * t",
    "1 + 0 * y": "1",
    "1 - y": "1 - t",
    "y * (1 - y)": "t * (1 - t), as the sigmoid has",
    "1 + y * y": "1 + t * t",
    "1 - tanh(y) * tanh(y)": "that at the value, which went through tanh already",
    "0 * y": "0",
    "-(1 - y * y)": "-(1 - t * t)",
    "y * y": "t * t",
}
_RELU = {"1 + 0 * y": "1", "0 * y": "0", "y": "relu itself"}


def gate(facts: Facts) -> Variants:
    """One function's derivative written as another, in any of the lines."""
    wrong = {"sigmoid": _SIGMOID, "tanh": _TANH, "relu": _RELU}
    for each in lines_of(facts):
        match each.expression:
            case ast.Call(func=ast.Name(id=function), args=[of]) if function in wrong:
                inner = ast.unparse(of)
                target = "tanh(c)" if each.target == "tanh_c" else facts.name(each.target)
                for derivative, said in wrong[function].items():
                    value = f"{function}({inner})"
                    instead = re.sub(r"\by\b", value, derivative)
                    text = f"{each.target} = graft({value}, {inner}, {instead})"
                    yield Variant(f"takes as derivative of {target} {said}", _line(text))
    names = {name for each in lines_of(facts) for name in each.names}
    for each in lines_of(facts):
        for name in each.names:
            if name in names and not name.endswith("_pre") and name != each.target:
                yield Variant(
                    f"lets no gradient through {name} in {each.text.replace('tanh_c', 'tanh(c)')}",
                    {"lines": lambda lines, each=each, name=name: _detaching(lines, each, name)},
                )


def _line(text: str) -> Change:
    new = line(text)
    return {"lines": lambda lines: tuple(new if each.target == new.target else each for each in lines)}


def _detaching(lines: tuple[Line, ...], where: Line, name: str) -> tuple[Line, ...]:
    code = re.sub(rf"\b{name}\b", f"detach({name})", where.code)
    return tuple(line(f"{each.target} = {code}") if each == where else each for each in lines)


def bias(facts: Facts) -> Variants:
    """Biases whose gradient is another's: the outputs and every other gradient agree."""
    for what, names in (("b_hh", ("bias_hh",)), ("b_ih", ("bias_ih",)), ("both biases", ("bias",))):

        def read(weights: dict[str, Tensor], step: int, T: int, names: tuple[str, ...] = names) -> dict[str, Tensor]:
            return {n: w.detach() if n.startswith(names) else w for n, w in weights.items()}

        yield Variant(f"gives no gradient to {what}", {"read": read})
        yield Variant(f"doubles the gradient of {what}", {"read": _scaled(names, 2.0)})


def _scaled(names: tuple[str, ...], by: float) -> Callable[..., dict[str, Tensor]]:
    def read(weights: dict[str, Tensor], step: int, T: int) -> dict[str, Tensor]:
        return {n: graft(w, w, torch.full_like(w, by)) if n.startswith(names) else w for n, w in weights.items()}

    return read
