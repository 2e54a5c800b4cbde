"""Makes a subject for a configuration: what its constructor calls the sizes and options of torch.nn's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from ..configuration import Configuration
from .tensors import Unjudged, copied, name_of, tensors
from .words import CALLED, plain

VARIED: dict[str, Any] = {
    "num_layers": 2,
    "bias": False,
    "bidirectional": True,
    "batch_first": True,
    "dropout": 0.5,
    "proj_size": 2,
}
"""The options of torch.nn's constructors, each with what is tried of it."""


class Maker(NamedTuple):
    """How a class, a factory or a ready instance becomes an object for a configuration."""

    make: Callable[[Configuration], Any]
    said: str
    """For a person: `MyLSTM(input_size, hidden_size)`."""
    names: frozenset[str] = frozenset()
    """What the constructor has a keyword for: "sizes", "num_layers", ..."""
    maybe: frozenset[str] = frozenset()
    """What it may take, by `**options`."""
    square: bool = False
    """One size stands for both."""


def is_ready(subject: Any) -> bool:
    """Whether it is an instance to be called as it is, and no class or function."""
    if isinstance(subject, nn.Module):
        return True
    if isinstance(subject, type) or inspect.isroutine(subject) or hasattr(subject, "func"):
        return False
    return any(True for _ in tensors(subject))


def arguments(call: Any) -> list[inspect.Parameter]:
    """What a call takes; `*args` where Python cannot tell."""
    kind, empty = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    schema = getattr(call, "schema", None)
    if schema is not None:  # TorchScript
        return [
            inspect.Parameter(a.name, kind, default=a.default_value if a.has_default_value() else empty)
            for a in schema.arguments
            if a.name != "self"
        ]
    try:
        return list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):
        return [inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)]


def maker_of(subject: Any) -> Maker:
    """How the subject is made.

    Raises:
        Unjudged: it is nothing that can be made or called, or needs what cannot be guessed.
    """
    name = name_of(subject)
    if is_ready(subject):
        return Maker(lambda configuration: copied(subject), f"the given {name}")
    if not callable(subject):
        kind = type(subject).__name__
        raise Unjudged(f"subject should be a class, a factory, a layer or a function, got {kind}: {subject!r:.100}")
    parameters = arguments(subject)
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    spread = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    options = any(p.kind is p.VAR_KEYWORD for p in parameters)
    roles = (*VARIED, "nonlinearity", "batch", "length")
    known = {option: p for option in roles for p in named if plain(p.name) in CALLED[option]}
    sizes = _sizes([p for p in named if p not in known.values()])
    needed = [p.name for p in named if p.default is p.empty and p not in [*known.values(), *sizes]]
    if needed:
        raise Unjudged(
            f"{name} cannot be made: its constructor should need no more than sizes and options of torch.nn's, and it "
            f"needs {', '.join(needed)}; give a function without arguments that makes it"
        )

    def make(configuration: Configuration) -> Any:
        both = {size: getattr(configuration, size) for size in ("input_size", "hidden_size")}
        given: dict[str, Any] = dict(zip((p.name for p in sizes), [*both.values()][-len(sizes) :], strict=False))
        wanted = {option: getattr(configuration, option) for option in (*VARIED, "batch", "length")}
        wanted |= configuration.twin.options
        for option, p in known.items():
            value = wanted.get(option)
            if option == "nonlinearity" and value and callable(p.default):
                value = getattr(torch, value)
            differs = p.default is p.empty or (bool(p.default or value) and p.default != value)
            if option in wanted and differs:
                given[p.name] = value
        positional = [given.pop(p.name) for p in named if p.kind is p.POSITIONAL_ONLY and p.name in given]
        if options:
            more = configuration.options | (configuration.twin.options if "relu" in configuration.twin.word else {})
            given |= {option: value for option, value in more.items() if option not in known}
        if not sizes and spread:
            positional += both.values()
        elif not sizes and options:
            given |= both
        return _own(subject(*positional, **given))

    said = [p.name for p in sizes] or ["input_size", "hidden_size"] * (spread or options)
    takes = frozenset(VARIED) & known.keys() | ({"sizes"} if said else set())
    maybe = frozenset(VARIED) - known.keys() if options else frozenset()
    return Maker(make, f"{name}({', '.join(said)})", takes, maybe, len(sizes) == 1)


def ready_without_sizes(subject: Any) -> Maker:
    """One that is made without arguments, tried where sizes are not taken."""
    return Maker(lambda configuration: _own(subject()), f"{name_of(subject)}()")


def _own(made: Any) -> Any:
    """What is made; a copy where tensors in it may be others' too."""
    return made if isinstance(made, nn.Module) and any(True for _ in made.parameters()) else copied(made)


def _sizes(free: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """The constructor's parameters for input_size and hidden_size, or for both in one."""

    def named(*roles: str) -> inspect.Parameter | None:
        return next((p for role in roles for p in free if plain(p.name) in CALLED[role]), None)

    needed = [p for p in free if p.default is p.empty]
    entered, hidden, both = named("input_size"), named("hidden_size", "output_size"), named("size")
    if entered or hidden:
        others = [p for p in needed if p not in (entered, hidden)]
        if len(others) == 1:
            entered, hidden = entered or others[0], hidden or others[0]
        return [p for p in (entered, hidden) if p]
    if both and len(needed) <= 1:
        return [both]
    return needed if len(needed) == 2 else []


def sizes_said(made: Any) -> dict[str, Any]:
    """What an object's attributes say of its sizes and options, in torch.nn's words."""
    found: dict[str, Any] = {}
    said = {plain(key): value for key, value in getattr(made, "__dict__", {}).items()}
    for option in ("input_size", "hidden_size", *VARIED):
        kind = bool if option in ("bias", "bidirectional", "batch_first") else (int, float)
        for word in sorted(CALLED[option] - {"hidden", "h"}, key=len, reverse=True):
            value = said.get(word)
            if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
                found.setdefault(option, value)
    return found
