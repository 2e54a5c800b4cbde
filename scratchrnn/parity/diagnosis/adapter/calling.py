"""Calls a subject: which of its arguments is the input, and which the states."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from typing import Any, NamedTuple

from torch import Tensor, nn

from .making import arguments, is_ready
from .returned import PAIRS, UNSTACKED
from .tensors import Unjudged, name_of
from .words import CALLED, plain

_BEFORE = "(prev|previous|init|initial|last|old|past)?"
_AFTER = "(x|0|t|t1|tm1|prev|previous|init|initial|in|old|s|tensor)?"
_STATE = re.compile(f"{_BEFORE}(h|a|s|hid|hidden|hiddenstate|hiddens|state|states|hc|h0c0|hxs|carry|rnnstate){_AFTER}")
_CELL_STATE = re.compile(f"{_BEFORE}(c|cell|cellstate|cells|cxs){_AFTER}")
_WEIGHT = re.compile("(w|weight|weights|b|bias)(ih|hh)(l0)?")


class Argument(NamedTuple):
    """A parameter of what is called."""

    name: str
    role: str
    """"x", "state" (all states in one), "h", "c", "lengths", "weights", or the name of a weight of torch.nn's cell."""
    by_position: bool
    needed: bool


class Way(NamedTuple):
    """How states are given."""

    said: str
    """For a person: `(h, c)`."""
    values: Callable[[Sequence[Tensor]], dict[str, Any]]
    """Of the states, the argument for each role."""


NO_STATES = Way("", lambda states: {})


def called(made: Any) -> Callable[..., Any]:
    """What is called of an object: itself, its `forward`, or its `step`."""
    for call in (made, *(getattr(made, name, None) for name in ("forward", "step", "run"))):
        if callable(call):
            return call
    raise Unjudged(f"{name_of(made)} cannot be called: it has no __call__ and no forward")


def arguments_of(made: Any, states: int) -> tuple[Argument, ...]:
    """What the call takes, in its order; optional parameters that are none of these are left as they are.

    Raises:
        Unjudged: it needs another argument.
    """
    parameters = arguments(made.forward if isinstance(made, nn.Module) else called(made))
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    roles = roles_of(named, states)
    needed = [p.name for p in named if p.name not in roles and p.default is p.empty]
    if needed:
        raise Unjudged(
            f"{name_of(made)} cannot be called: it should need no more than input, states, lengths and weights, and "
            f"it needs {', '.join(needed)}"
        )
    spread = any(p.kind is p.VAR_POSITIONAL for p in parameters) and not {"state", "h"} & set(roles.values())
    found = [
        Argument(p.name, roles[p.name], spread or p.kind is p.POSITIONAL_ONLY, p.default is p.empty)
        for p in named
        if p.name in roles
    ]
    if spread:
        more = ("state", "h", "c") if "x" in roles.values() else ("x", "state", "h", "c")
        found += [Argument("", role, by_position=True, needed=False) for role in more]
    return tuple(found)


def roles_of(named: Sequence[Parameter], states: int) -> dict[str, str]:
    """What each parameter is for: see `Argument.role`."""
    roles: dict[str, str] = {}

    def take(role: str, known: Callable[[str], Any]) -> None:
        p = next((p for p in named if p.name not in roles and known(plain(p.name))), None)
        if p is not None:
            roles[p.name] = role

    for role in ("x", "lengths", "weights"):
        take(role, CALLED[role].__contains__)
    for p in named:
        weight = _WEIGHT.fullmatch(plain(p.name))
        if weight and p.name not in roles:
            roles[p.name] = f"{'bias' if weight[1][0] == 'b' else 'weight'}_{weight[2]}"
    if states > 1:
        take("c", _CELL_STATE.fullmatch)
    take("h", _STATE.fullmatch)
    if "x" not in roles.values():  # under a name of its own
        take("x", lambda name: True)
    if "c" not in roles.values():
        return {name: "state" if role == "h" else role for name, role in roles.items()}
    return roles if "h" in roles.values() else {name: role for name, role in roles.items() if role != "c"}


def is_given_weights(subject: Any, states: int) -> bool:
    """Whether it is a function with a parameter for the weights."""
    if isinstance(subject, (type, nn.Module)) or not callable(subject) or is_ready(subject):
        return False
    roles = roles_of(arguments(subject), states).values()
    return any(role.startswith(("weight", "bias_")) for role in roles)


def ways(arguments: Sequence[Argument], states: int, step: bool, stacked: int) -> list[Way]:
    """The ways to give states that are tried, torch.nn's first; `stacked` is L * D."""
    roles = {argument.role for argument in arguments}
    found: list[Way] = []

    def give(said: str, form: Callable[[Tensor], Any]) -> None:
        if "state" in roles and states == 1:
            found.append(Way(f"h{said}", lambda s: {"state": form(s[0])}))
            found.append(Way(f"(h,){said}", lambda s: {"state": (form(s[0]),)}))
        elif "state" in roles:
            found.append(Way(f"(h, c){said}", lambda s: {"state": tuple(map(form, s))}))
        if {"h", "c"} <= roles and states > 1:
            found.append(Way(f"h, c{said}", lambda s: dict(zip("hc", map(form, s), strict=True))))

    give("", lambda s: s)
    if not step and stacked == 1:
        give(f" {UNSTACKED[1]}", lambda s: s[0])
    if not step:
        give(", a list", lambda s: list(s.unbind(0)))
        if "state" in roles and states > 1:
            found.append(Way(PAIRS, lambda s: {"state": list(zip(*(x.unbind(0) for x in s), strict=True))}))
    return found


def call(made: Any, arguments: Sequence[Argument], values: Mapping[str, Any]) -> Any:
    """What the subject returns for values by role."""
    given = [argument for argument in arguments if argument.role in values]
    positional = [values[argument.role] for argument in given if argument.by_position]
    return called(made)(*positional, **{a.name: values[a.role] for a in given if not a.by_position})
