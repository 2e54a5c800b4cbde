"""The tensors that a subject holds, and what it raises."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

RAISES = (Exception, SystemExit)
"""What a subject may raise that is its own."""
_LAZY = (nn.parameter.UninitializedParameter, nn.parameter.UninitializedBuffer)


class Unjudged(Exception):  # noqa: N818
    """The subject cannot be judged; the text says why, and what was tried."""


class NotLoaded(Unjudged):
    """`load_weights` raises: however the subject would be called, it does not come to that."""


class NotTaken(Exception):  # noqa: N818
    """The subject does not take this configuration."""


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


def tensors(made: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor, bool]]:
    """By name the parameters of a module that has any, else what lists, dicts and attributes hold.

    With each goes whether it is the weight of an nn.Linear, and so [out, in].
    """
    before = f"{path}." if path else ""
    if isinstance(made, Tensor):
        if isinstance(made, _LAZY) or (made.is_floating_point() and made.numel()):
            yield path, made, False
    elif isinstance(made, nn.Module) and any(True for _ in made.parameters()):
        for inner, part in made.named_modules():
            for name, p in part.named_parameters(recurse=False):
                yield f"{before}{inner}{'.' * bool(inner)}{name}", p, isinstance(part, nn.Linear) and name == "weight"
    elif depth <= 3:
        for key, value in _entries(made):
            yield from tensors(value, f"{before}{key}", depth + 1)


def _entries(made: Any) -> list[tuple[Any, Any]]:
    if isinstance(made, Mapping):
        return list(made.items())
    if isinstance(made, (list, tuple)):
        return list(enumerate(made))
    if isinstance(made, nn.Module):  # what it keeps as plain tensors
        mine = [(key, value) for key, value in vars(made).items() if not key.startswith("_")]
        return [*mine, *made.named_children()]
    if isinstance(made, type) or inspect.isroutine(made) or inspect.ismodule(made):
        return []
    return list(getattr(made, "__dict__", {}).items())


def copied(made: Any) -> Any:
    """A copy of an instance, so that the caller's stays as it is; what an earlier call left in it is detached."""
    memo: dict[int, Any] = {}
    for part in made.modules() if isinstance(made, nn.Module) else [made]:
        inside = tensors(dict(getattr(part, "__dict__", {})))
        memo |= {id(t): t.detach().clone() for _, t, _ in inside if not t.is_leaf}
    try:
        return copy.deepcopy(made, memo)
    except Exception as error:
        raise Unjudged(f"{name_of(made)} cannot be copied: {short(error)}; give its class or a factory") from error


def refuse_lazy(made: Any) -> None:
    """Raise `Unjudged` if it has a parameter whose shape only a first call shows."""
    for name, p, _ in tensors(made):
        if isinstance(p, _LAZY):
            raise Unjudged(f"{name_of(made)} has a lazy parameter, {name}: call it once first, and give the instance")


def leaves(made: Any, dtype: torch.dtype) -> tuple[dict[str, Tensor], frozenset[str]]:
    """Its parameters in `dtype`, each a leaf that requires a gradient, and which are weights of an nn.Linear.

    A shared one has its first name.
    """
    if isinstance(made, nn.Module):
        for name, part in made.named_modules():
            if parametrize.is_parametrized(part):
                where = f"{name_of(made)}.{name}" if name else name_of(made)
                raise Unjudged(f"{where} is parametrized: torch.nn.utils.parametrize.remove_parametrizations first")
        made.to(dtype)
    refuse_lazy(made)
    found: dict[str, Tensor] = {}
    linear = set()
    for name, p, is_linear in list(tensors(made)):
        if is_linear:
            linear.add(name)
        if not any(p is other for other in found.values()):
            if not isinstance(p, nn.Parameter):
                p.data = p.data.to(dtype).clone()
            elif p.dtype != dtype:
                p.data = p.data.to(dtype)
            found[name] = p.requires_grad_()
    return found, frozenset(linear)
