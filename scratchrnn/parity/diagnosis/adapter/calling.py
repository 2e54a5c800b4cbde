"""Calls a subject: which of its arguments is the input, which the states, and what it returns."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from ..configuration import Outcome
from .making import Unjudged, is_ready, name_of, plain
from .words import word_set

_INPUT = word_set(
    "x xs xt xseq input inputs inp inputt inputseq seq sequence sequences data emb embedded embeddings feats features"
)
_LENGTHS = word_set("lengths length lens seqlengths seqlens xlengths xlens inputlengths sequencelengths")
_WEIGHTS = word_set("weights weight params parameters param w ws p statedict sd theta")
_BEFORE, _AFTER = (
    "(prev|previous|init|initial|last|old|past)?",
    "(x|0|t|t1|tm1|prev|previous|init|initial|in|old|s|tensor)?",
)
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
    if callable(made):
        return made
    for name in ("forward", "step", "run"):
        if callable(getattr(made, name, None)):
            return getattr(made, name)
    raise Unjudged(f"{name_of(made)} cannot be called: it has no __call__ and no forward")


def arguments_of(made: Any, states: int) -> tuple[Argument, ...]:
    """What the call takes, in its order; optional parameters that are none of these are left as they are.

    Raises:
        Unjudged: it needs another argument.
    """
    call = made.forward if isinstance(made, nn.Module) else called(made)
    schema = getattr(call, "schema", None)
    if schema is not None:  # TorchScript
        kind, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
        parameters = [
            inspect.Parameter(a.name, kind, default=a.default_value if a.has_default_value() else empty)
            for a in schema.arguments
            if a.name != "self"
        ]
    else:
        try:
            parameters = list(inspect.signature(call).parameters.values())
        except (TypeError, ValueError):
            parameters = [inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)]
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    roles = roles_of(named, states)
    found = []
    for p in named:
        if p.name in roles:
            found.append(Argument(p.name, roles[p.name], p.kind is p.POSITIONAL_ONLY, p.default is p.empty))
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        had = {argument.role for argument in found}
        if "x" not in had:
            found.append(Argument("x", "x", True, True))
        if not had & {"state", "h"}:
            found = [argument._replace(by_position=True) for argument in found]
            found += [
                Argument("", "state", True, False),
                Argument("", "h", True, False),
                Argument("", "c", True, False),
            ]
    needed = [p.name for p in named if p.name not in roles and p.default is p.empty]
    if needed:
        raise Unjudged(
            f"{name_of(made)} cannot be called: it should need no more than input, states, lengths and weights, and "
            f"it needs {', '.join(needed)}"
        )
    return tuple(found)


def roles_of(named: Sequence[inspect.Parameter], states: int) -> dict[str, str]:
    """What each parameter is for: see `Argument.role`."""
    roles: dict[str, str] = {}

    def take(role: str, known: Callable[[str], Any]) -> None:
        if role not in roles.values():
            p = next((p for p in named if p.name not in roles and known(plain(p.name))), None)
            if p is not None:
                roles[p.name] = role

    take("x", _INPUT.__contains__)
    take("lengths", _LENGTHS.__contains__)
    take("weights", _WEIGHTS.__contains__)
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
        roles = {name: "state" if role == "h" else role for name, role in roles.items()}
    elif "h" not in roles.values():
        roles = {name: role for name, role in roles.items() if role != "c"}
    return roles


def is_given_weights(subject: Any, states: int) -> bool:
    """Whether it is a function with a parameter for the weights."""
    if isinstance(subject, (type, nn.Module)) or not callable(subject) or is_ready(subject):
        return False
    try:
        roles = roles_of(list(inspect.signature(subject).parameters.values()), states).values()
    except (TypeError, ValueError):
        return False
    return any(role == "weights" or role.startswith(("weight_", "bias_")) for role in roles)


def ways(arguments: Sequence[Argument], states: int, step: bool, stacked: int) -> list[Way]:
    """The ways to give states that are tried, torch.nn's first; `stacked` is L * D."""
    roles = {argument.role for argument in arguments}
    forms: list[tuple[str, Callable[[Tensor], Any]]] = [("", lambda s: s)]
    if not step:
        forms += [(" [batch, hidden_size]", lambda s: s[0])] if stacked == 1 else []
        forms += [(", a list", lambda s: list(s.unbind(0)))]
    found: list[Way] = []
    for said, form in forms:
        if "state" in roles:
            if states == 1:
                found.append(Way(f"h{said}", lambda s, form=form: {"state": form(s[0])}))  # type: ignore[misc]
                found.append(Way(f"(h,){said}", lambda s, form=form: {"state": (form(s[0]),)}))  # type: ignore[misc]
            else:
                found.append(Way(f"(h, c){said}", lambda s, form=form: {"state": tuple(map(form, s))}))  # type: ignore[misc]
        if {"h", "c"} <= roles and states > 1:
            found.append(Way(f"h, c{said}", lambda s, form=form: dict(zip("hc", map(form, s), strict=True))))  # type: ignore[misc]
    if "state" in roles and states > 1 and not step:
        pairs = Way("[(h, c), ...]", lambda s: {"state": list(zip(*(x.unbind(0) for x in s), strict=True))})
        found.append(pairs)
    return found


def call(made: Any, arguments: Sequence[Argument], values: Mapping[str, Any]) -> Any:
    """What the subject returns for values by role."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for argument in arguments:
        if argument.role not in values:
            continue
        if argument.by_position:
            positional.append(values[argument.role])
        else:
            named[argument.name] = values[argument.role]
    return called(made)(*positional, **named)


@contextmanager
def apart(dtype: torch.dtype) -> Iterator[None]:
    """Autograd records and `dtype` is the default one; what the subject changes of them and the seed is put back."""
    before = torch.get_default_dtype()
    with (
        torch.random.fork_rng(devices=range(torch.cuda.device_count())),
        torch.enable_grad(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


# ------------------------------------------------------------------------------------------------- what is returned


class Expected(NamedTuple):
    """How many of what a call should return."""

    states: int
    length: int
    batch: int
    stacked: int
    """L * D."""
    batch_first: bool = False
    unbatched: bool = False

    @property
    def leading(self) -> tuple[int, ...]:
        if self.unbatched:
            return (self.length,)
        return (self.batch, self.length) if self.batch_first else (self.length, self.batch)


def stepped(returned: Any, states: int) -> tuple[tuple[Tensor | None, ...], str]:
    """The states that a step returns, behind an output or alone."""
    flat = list(_flat(returned))
    if not flat or len(flat) > states + 1 or not all(isinstance(part, Tensor) for part in flat):
        raise Unjudged(
            f"a step should return {'h' if states == 1 else 'h, c'}, alone or behind an output, got {kind(returned)}"
        )
    names = ("h", "c")[:states]
    if len(flat) > states:
        return tuple(flat[1:]), f"output, {', '.join(names)}"
    return (*flat, *[None] * (states - len(flat))), ", ".join(names[: len(flat)])


def outcome(returned: Any, expected: Expected) -> tuple[Outcome, str]:
    """What a layer returned, time-major and batched, and the same in words: `output, (h, c)`.

    Raises:
        Unjudged: it is none of output, (output, h), (output, (h, c)), (output, h, c), and the states alone.
    """
    output, states, said = _taken(returned, expected)
    if isinstance(output, PackedSequence):
        output = pad_packed_sequence(output, total_length=expected.length)[0]
    elif output is not None:
        if output.dim() != len(expected.leading) + 1:
            wanted = ", ".join(map(str, expected.leading))
            raise Unjudged(f"a layer should return an output of the shape [{wanted}, ...], got {list(output.shape)}")
        if expected.unbatched:
            output = output.unsqueeze(1)
        elif expected.batch_first:
            output = output.transpose(0, 1)
    return Outcome(output, tuple(_batched(state, expected) for state in states)), said


def _taken(returned: Any, expected: Expected) -> tuple[Any, tuple[Tensor | None, ...], str]:
    n = expected.states
    names = ("h", "c")[:n]
    none: tuple[Tensor | None, ...] = (None,) * n
    if isinstance(returned, PackedSequence):
        return returned, none, "output"
    if isinstance(returned, Tensor):
        if _is_state(returned, expected):
            return None, (returned, *none[1:]), "the last h"
        return returned, none, "output"
    if _is_steps(returned, expected):
        return _stack(returned, expected), none, "a list of outputs"
    if not isinstance(returned, (tuple, list)) or not returned:
        raise Unjudged(_refusal(returned, names))
    if n > 1 and len(returned) == n and all(isinstance(s, Tensor) and _is_state(s, expected) for s in returned):
        return None, tuple(returned), ", ".join(names)
    output, *rest = returned
    if _is_steps(output, expected):
        output = _stack(output, expected)
    if not isinstance(output, (Tensor, PackedSequence)):
        raise Unjudged(_refusal(returned, names))
    nested = len(rest) == 1 and isinstance(rest[0], (tuple, list))
    parts = list(rest[0]) if nested else rest
    states = _states(parts, n, expected.stacked)
    if states is None:
        raise Unjudged(_refusal(returned, names))
    had = ", ".join(name for name, state in zip(names, states, strict=True) if state is not None)
    if nested:
        return output, states, f"output, ({had}{',' if n == 1 else ''})"
    return output, states, f"output, {had}" if had else "output"


def _states(parts: list[Any], n: int, stacked: int) -> tuple[Tensor | None, ...] | None:
    """The states of torch.nn's shape; of what is a list for each layer, or for each state, too."""
    if all(part is None for part in parts):
        return (None,) * n
    if all(isinstance(part, Tensor) for part in parts):
        if len(parts) <= n:
            return (*parts, *[None] * (n - len(parts)))
        if n == 1 and len(parts) == stacked:
            return (torch.stack(parts),)
        return None
    if not all(isinstance(part, (tuple, list)) and all(isinstance(s, Tensor) for s in part) for part in parts):
        return None
    if (
        len(parts) == stacked
        and all(len(part) == n for part in parts)
        and not (stacked == n and type(parts[0]) is list)
    ):
        return tuple(torch.stack(column) for column in zip(*parts, strict=True))
    if len(parts) <= n and all(len(part) == stacked for part in parts):
        return (*(torch.stack(list(part)) for part in parts), *[None] * (n - len(parts)))
    return None


def _is_state(x: Tensor, expected: Expected) -> bool:
    """Whether a tensor returned without an output is a state and no output: by its shape."""
    flat = 1 if expected.unbatched else 2
    if x.dim() == flat:
        return x.shape[0] == expected.batch or expected.unbatched
    return x.dim() == flat + 1 and x.shape[0] == expected.stacked and tuple(x.shape[:flat]) != expected.leading


def _is_steps(returned: Any, expected: Expected) -> bool:
    steps = isinstance(returned, (list, tuple)) and len(returned) == expected.length
    return steps and all(isinstance(x, Tensor) and x.dim() == 1 + (not expected.unbatched) for x in returned)


def _stack(steps: Sequence[Tensor], expected: Expected) -> Tensor:
    return torch.stack(list(steps), dim=1 if expected.batch_first and not expected.unbatched else 0)


def _batched(state: Tensor | None, expected: Expected) -> Tensor | None:
    if state is None:
        return None
    if expected.unbatched:
        state = state.unsqueeze(-2)
        return state.unsqueeze(0) if state.dim() == 2 and expected.stacked == 1 else state
    one = state.dim() == 2 and expected.stacked == 1
    return state.unsqueeze(0) if one else state


def _refusal(returned: Any, names: Sequence[str]) -> str:
    h = names[0] if len(names) == 1 else f"({', '.join(names)})"
    return f"a layer should return output, or output and {h}, or {h} alone, got {kind(returned)}"


def kind(returned: Any) -> str:
    """What was returned, in short: `(Tensor [5, 2, 4], dict)`."""
    if isinstance(returned, Tensor):
        return f"Tensor {list(returned.shape)}"
    if type(returned) in (tuple, list):
        inner = ", ".join(kind(part) for part in returned[:4])
        return f"({inner}{', ...' if len(returned) > 4 else ''})"
    return "None" if returned is None else type(returned).__name__


def _flat(x: Any) -> Iterator[Any]:
    if isinstance(x, (tuple, list)):
        for part in x:
            yield from _flat(part)
    else:
        yield x
