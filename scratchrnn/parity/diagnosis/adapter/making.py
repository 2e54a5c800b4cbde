"""Makes a subject for a configuration: what its constructor calls the sizes and options of torch.nn's."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..configuration import Configuration
from .words import word_set

RAISES = (Exception, SystemExit)
"""What a subject may raise that is its own."""


class Unjudged(Exception):  # noqa: N818
    """The subject cannot be judged; the text says why, and what was tried."""


class NotTaken(Exception):  # noqa: N818
    """The subject does not take this configuration."""


def plain(name: str) -> str:
    """A parameter's name as the tables below have it."""
    return name.lower().replace("_", "")


_INPUT = word_set(
    "inputsize inputdim inputdims indim indims nin ninput ninputs numinput numinputs infeatures inputfeatures"
    " inputchannels inchannels inchannel din insize inputsz xdim embeddim embsize featuresize featuredim"
    " nfeatures numfeatures i"
)
_HIDDEN = word_set(
    "hiddensize hiddendim hiddendims hiddim hidsize nhid nhidden numhidden hidden hiddenunits units"
    " nunits numunits hiddensz hiddenfeatures hiddenchannels hdim dhidden statesize statedim cellsize h"
)
_OUTPUT = word_set("outputsize outputdim outdim outsize outfeatures outchannels dout")
_BOTH = {"size", "dim", "dmodel", "width", "features", "n", "nfeat", "channels"}
_OPTIONS = {
    "num_layers": {"numlayers", "nlayers", "nlayer", "layers", "numlayer", "depth"},
    "bias": {"bias", "usebias", "withbias", "biases"},
    "batch_first": {"batchfirst"},
    "dropout": {"dropout", "dropoutprob", "dropoutp", "drop", "pdropout", "dropoutrate"},
    "bidirectional": {"bidirectional", "bidir", "bi", "birnn"},
    "proj_size": {"projsize", "projdim", "projectionsize", "proj"},
    "nonlinearity": {"nonlinearity", "activation", "act", "nonlin"},
    "batch": {"batchsize"},
    "length": {"seqlen", "seqlength", "sequencelength"},
}
_VARIED = ("num_layers", "bias", "bidirectional", "batch_first", "dropout", "proj_size")


@dataclass
class Maker:
    """How a class, a factory or a ready instance becomes an object for a configuration."""

    name: str
    make: Callable[[Configuration], Any]
    said: str
    """For a person: `MyLSTM(input_size, hidden_size)`."""
    names: frozenset[str] = frozenset()
    """What the constructor has a keyword for: "sizes", "num_layers", ..."""
    square: bool = False
    """One size stands for both."""
    maybe: frozenset[str] = field(default_factory=frozenset)
    """What it may take, by `**options`."""


def name_of(subject: Any) -> str:
    """What messages call it."""
    name = getattr(subject, "__name__", None)
    if name is None and hasattr(subject, "func"):  # functools.partial
        name = getattr(subject.func, "__name__", None)
    original = getattr(subject, "original_name", None)  # a scripted module's
    return str(name or original or type(subject).__name__)


def short(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def is_ready(subject: Any) -> bool:
    """Whether it is an instance to be called as it is, and no class or function."""
    if isinstance(subject, nn.Module):
        return True
    if isinstance(subject, type) or inspect.isroutine(subject) or hasattr(subject, "func"):
        return False
    return bool(dict(held(subject)))


def maker_of(subject: Any) -> Maker:
    """The ways to make the subject.

    Raises:
        Unjudged: it is nothing that can be made or called, or needs what cannot be guessed.
    """
    name = name_of(subject)
    if is_ready(subject):
        return Maker(name, lambda configuration: copied(subject), f"the given {name}")
    if not callable(subject):
        kind = type(subject).__name__
        raise Unjudged(f"subject should be a class, a factory, a layer or a function, got {kind}: {subject!r:.100}")
    try:
        parameters = list(inspect.signature(subject).parameters.values())
    except (TypeError, ValueError):
        kinds = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
        parameters = [inspect.Parameter(f"_{kind.name}", kind) for kind in kinds]
    return _constructor(subject, name, parameters)


def _constructor(subject: Any, name: str, parameters: list[inspect.Parameter]) -> Maker:
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    spread = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    options = any(p.kind is p.VAR_KEYWORD for p in parameters)
    known = {option: p for option, said in _OPTIONS.items() for p in named if plain(p.name) in said}
    sizes = _sizes(named, [p for p in named if p not in known.values()])
    needed = [p.name for p in named if p.default is p.empty and p not in [*known.values(), *sizes]]
    if needed:
        raise Unjudged(
            f"{name} cannot be made: its constructor should need no more than sizes and options of torch.nn's, and it "
            f"needs {', '.join(needed)}; give a function without arguments that makes it"
        )
    square = len(sizes) == 1
    by_position = not sizes and spread
    by_keyword = not sizes and options and not spread

    def make(configuration: Configuration) -> Any:
        values: dict[str, Any] = {}
        both = configuration.input_size, configuration.hidden_size
        entered: list[tuple[inspect.Parameter, Any]] = list(
            zip(sizes, both if len(sizes) == 2 else both[1:], strict=False)
        )
        wanted = {
            **{option: getattr(configuration, option) for option in (*_VARIED, "batch", "length")},
            **configuration.twin.options,
        }
        for option, p in known.items():
            value = wanted.get(option)
            if option == "nonlinearity" and value and callable(p.default):
                value = getattr(torch, value)
            if option in wanted and (p.default is p.empty or _differs(p.default, value)):
                entered.append((p, value))
        positional = [value for p in named for q, value in entered if q is p and p.kind is p.POSITIONAL_ONLY]
        values = {p.name: value for p, value in entered if p.kind is not p.POSITIONAL_ONLY}
        if options:
            more = configuration.options | (configuration.twin.options if "relu" in configuration.twin.word else {})
            values |= {option: value for option, value in more.items() if option not in known}
        if by_position:
            positional += both
        if by_keyword:
            values |= dict(zip(("input_size", "hidden_size"), both, strict=True))
        return subject(*positional, **values)

    said = [p.name for p in sizes] or ["input_size", "hidden_size"] * (by_position or by_keyword)
    takes = {option for option in _VARIED if option in known} | ({"sizes"} if said else set())
    may = frozenset(option for option in _VARIED if option not in known) if options else frozenset()
    return Maker(name, make, f"{name}({', '.join(said)})", frozenset(takes), square, may)


def _sizes(named: list[inspect.Parameter], free: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """The constructor's parameters for input_size and hidden_size, or for both in one."""
    needed = [p for p in free if p.default is p.empty]
    entered = next((p for p in free if plain(p.name) in _INPUT), None)
    hidden = next((p for p in free if plain(p.name) in _HIDDEN), None)
    hidden = hidden or next((p for p in free if plain(p.name) in _OUTPUT), None)
    both = next((p for p in free if plain(p.name) in _BOTH), None)
    if entered and hidden:
        return [entered, hidden]
    if entered or hidden:
        known = entered or hidden
        others = [p for p in needed if p is not known]
        if len(others) == 1:
            return [known, others[0]] if entered else [others[0], known]  # type: ignore[list-item]
        return [known]  # type: ignore[list-item]
    if both and len(needed) <= 1:
        return [both]
    return needed if len(needed) == 2 else []


def _differs(default: Any, value: Any) -> bool:
    return bool(default or value) and default != value


def ready_without_sizes(subject: Any) -> Maker:
    """One that is made without arguments, tried where sizes are not taken."""
    name = name_of(subject)
    return Maker(name, lambda configuration: subject(), f"{name}()")


# --------------------------------------------------------------------------------------------------- what it holds


def copied(subject: Any) -> Any:
    """A copy of an instance, so that the caller's stays as it is; what an earlier call left in it is detached."""
    memo: dict[int, Any] = {}
    for part in subject.modules() if isinstance(subject, nn.Module) else [subject]:
        for value in vars(part).values():
            for tensor in value if isinstance(value, (tuple, list)) else [value]:
                if isinstance(tensor, Tensor) and not tensor.is_leaf:
                    memo[id(tensor)] = tensor.detach().clone()
    try:
        return copy.deepcopy(subject, memo)
    except Exception as error:
        raise Unjudged(f"{name_of(subject)} cannot be copied: {short(error)}; give its class or a factory") from error


def held(made: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """The floating-point tensors in an object's attributes, and in lists, dicts and objects there."""
    for key, value in _entries(made):
        inner = f"{path}{'.' if path else ''}{key}"
        if isinstance(value, nn.Module):
            yield from ((f"{inner}.{name}", p) for name, p in value.named_parameters(remove_duplicate=False))
        elif isinstance(value, Tensor):
            if value.is_floating_point() and value.numel():
                yield inner, value
        elif depth < 3:
            yield from held(value, inner, depth + 1)


def _entries(made: Any) -> list[tuple[str, Any]]:
    if isinstance(made, Mapping):
        return [(str(key), value) for key, value in made.items()]
    if isinstance(made, (list, tuple)):
        return [(str(k), value) for k, value in enumerate(made)]
    if isinstance(made, nn.Module):  # what it keeps as plain tensors
        mine = {key: value for key, value in vars(made).items() if not key.startswith("_") and key != "training"}
        return [*mine.items(), *made.named_children()]
    if isinstance(made, type) or inspect.isroutine(made) or inspect.ismodule(made):
        return []
    return list(vars(made).items()) if hasattr(made, "__dict__") else []


def leaves(made: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    """Its parameters by name, in `dtype`, each a leaf that requires a gradient; a shared one by its first name."""
    if isinstance(made, nn.Module):
        made.to(dtype)
        found = {name: p.requires_grad_() for name, p in made.named_parameters()}
        if found:
            return found
    found = {}
    _replace(made, "", found, dtype, 0)
    return found


def linear_weights(made: Any, path: str = "") -> frozenset[str]:
    """The names of the weights of nn.Linear in it, which are [out, in]."""
    if isinstance(made, nn.Module):
        linears = (name for name, part in made.named_modules() if isinstance(part, nn.Linear))
        return frozenset(f"{path}{name}{'.' if name else ''}weight" for name in linears)
    found: frozenset[str] = frozenset()
    for key, value in _entries(made):
        if isinstance(value, (nn.Module, list, tuple, dict)):
            found |= linear_weights(value, f"{path}{key}.")
    return found


def _replace(made: Any, path: str, found: dict[str, Tensor], dtype: torch.dtype, depth: int) -> Any:
    """The same with leaves for the tensors in it."""
    if isinstance(made, Tensor):
        if not made.is_floating_point() or not made.numel():
            return made
        found[path] = made.detach().to(dtype).clone().requires_grad_()
        return found[path]
    if isinstance(made, nn.Module) and path and dict(made.named_parameters()):
        made.to(dtype)
        found.update({f"{path}.{name}": p.requires_grad_() for name, p in made.named_parameters()})
        return made
    if depth > 3:
        return made
    entries = {
        key: _replace(value, f"{path}{'.' if path else ''}{key}", found, dtype, depth + 1)
        for key, value in _entries(made)
    }
    if isinstance(made, dict):
        for key in list(made):
            made[key] = entries[str(key)]
    elif isinstance(made, list):
        made[:] = entries.values()
    elif type(made) is tuple:
        return tuple(entries.values())
    else:
        for key, value in entries.items():
            if value is not getattr(made, key, None):
                setattr(made, key, value)
    return made


def sizes_said(made: Any) -> dict[str, Any]:
    """What an object's attributes say of its sizes and options, in torch.nn's words."""
    found: dict[str, Any] = {}
    said = {plain(key): value for key, value in vars(made).items()} if hasattr(made, "__dict__") else {}
    tables: dict[str, Collection[str]] = {"input_size": _INPUT, "hidden_size": _HIDDEN - {"hidden", "h"}}
    tables |= {option: _OPTIONS[option] for option in _VARIED}
    for option, words in tables.items():
        kind = bool if option in ("bias", "bidirectional", "batch_first") else (int, float)
        for word in sorted(words, key=len, reverse=True):
            value = said.get(word)
            if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
                found.setdefault(option, value)
    return found
