"""Another `forward` for some layers, in the calls that one context makes and in no others.

Nothing is written on a layer. While any context diverts a layer, `forward` of its class looks who calls: in that
context it is the diversion, in all others, of other threads too, what it was. So calls, copies and pickles beside a
diversion know nothing of it, and any number of them can overlap.
"""

from __future__ import annotations

import sys
import threading
from collections import ChainMap
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any

import torch
from torch import nn

Forward = Callable[..., Any]

_here: ContextVar[ChainMap[nn.Module, Forward]] = ContextVar("_here", default=ChainMap())  # noqa: B039 - stays empty


def forwards_class(layer: nn.Module) -> type:
    """The class among those of the layer that has its `forward`."""
    return next(kind for kind in type(layer).__mro__ if "forward" in vars(kind))


@contextmanager
def diverted(forwards: Mapping[nn.Module, Forward]) -> Iterator[None]:
    """Let `forwards` take the place of the forward of these layers, in the calls made in this context.

    A diversion within a diversion has the calls that are made in it. Compiled code has the layers' own forward in it:
    where the compiler is loaded, without which there is none, PyTorch runs everything compiled as it was written, for
    the while. What a layer has as `forward` in its own `__dict__` is not diverted.
    """
    own = dict(forwards)
    with ExitStack() as stack:
        for kind in {forwards_class(layer) for layer in own}:
            stack.enter_context(_shared(kind, partial(_replaced, kind)))
        if "torch._dynamo" in sys.modules:
            stack.enter_context(_shared("uncompiled", partial(torch.compiler.set_stance, "force_eager")))
        stack.callback(_here.reset, _here.set(_here.get().new_child(own)))
        stack.callback(own.clear)  # for copies of this context that live on
        yield


def _diversion(layer: nn.Module) -> Forward | None:
    try:
        return _here.get()[layer]
    except KeyError:
        return None


class _Looking:
    """`forward` of a class of torch.nn: who reads it from the class, as TorchScript does, finds the one it was."""

    def __init__(self, forward: Any) -> None:
        self.forward = forward

    def __get__(self, layer: nn.Module | None, kind: type | None = None) -> Any:
        if layer is not None and torch.compiler.is_dynamo_compiling():
            return partial(self.forward, layer)  # dynamo of torch 2.6 cannot bind a method
        diversion = None if layer is None else _diversion(layer)
        return self.forward.__get__(layer, kind) if diversion is None else diversion


def _looking(forward: Any) -> Any:
    """`forward` of any other class: a function, as the compiler wants it to follow `super().forward`."""

    @wraps(forward)
    def looking(self: nn.Module, *arguments: Any, **keywords: Any) -> Any:
        # A context variable is nothing that the compiler can follow, and what it compiles is not diverted.
        diversion = None if torch.compiler.is_dynamo_compiling() else _diversion(self)
        return forward(self, *arguments, **keywords) if diversion is None else diversion(*arguments, **keywords)

    return looking


@contextmanager
def _replaced(kind: Any) -> Iterator[None]:
    forward = vars(kind)["forward"]
    kind.forward = _Looking(forward) if issubclass(kind, (nn.RNNBase, nn.RNNCellBase)) else _looking(forward)
    yield
    kind.forward = forward


_lock = threading.Lock()
_entered: dict[Hashable, AbstractContextManager[Any]] = {}
_users: dict[Hashable, int] = {}


@contextmanager
def _shared(what: Hashable, make: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
    """Be in the context manager that `make` gives: the first who wants it enters, the last leaves, of all threads."""
    with _lock:
        if what not in _entered:
            _entered[what], _users[what] = make(), 0
            _entered[what].__enter__()
        _users[what] += 1
    try:
        yield
    finally:
        with _lock:
            _users[what] -= 1
            if not _users[what]:
                del _users[what]
                _entered.pop(what).__exit__(None, None, None)
