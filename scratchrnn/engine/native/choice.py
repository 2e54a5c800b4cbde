"""Whether the native engine is wanted: by `SCRATCHRNN_NATIVE`, for the process, in a block; what is said without it.

A choice is False for the torch engine; True for the native one wherever it can run, which is the default; "require" to
raise `Unavailable` where it cannot.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

from .build import Unavailable
from .probe import probe

Choice = bool | Literal["require"]

_IN_ENVIRONMENT: dict[str, Choice] = {"": True, "0": False, "1": True, "require": "require"}
_in_process: Choice | None = None  # None until it is asked for: an import does not fail by the environment
_in_block: ContextVar[Choice | None] = ContextVar("scratchrnn.native", default=None)
_said: dict[str, object] = {}


def is_available() -> bool:
    """Whether the native engine can run here: there is a compiler, and what it makes runs. The first call compiles."""
    try:
        probe()
    except Unavailable:
        return False
    return True


def enable(enabled: Choice = True) -> Choice:
    """Choose for the process, over `SCRATCHRNN_NATIVE`: False, True or "require". Returns what was chosen before."""
    global _in_process
    before, _in_process = _process(), _checked(enabled)
    return before


@contextmanager
def flags(enabled: Choice) -> Iterator[None]:
    """Choose for a block, over the process's choice: False, True or "require". Other threads do not see it."""
    token = _in_block.set(_checked(enabled))
    try:
        yield
    finally:
        _in_block.reset(token)


def enabled() -> bool:
    """Whether the native engine is to be tried.

    Raises:
        ValueError: `SCRATCHRNN_NATIVE` is none of 0, 1 and require.
    """
    return bool(_chosen())


def refused(reason: str | Unavailable) -> None:
    """Say, once for each reason, that the torch engine runs instead.

    An `Unavailable` has its cause in the machine, and somebody should know: a warning. Any other reason is a call's,
    for which the torch engine is there: an info.

    Raises:
        Unavailable: the native engine is required.
    """
    if _chosen() == "require":
        raise Unavailable(f"the native engine is required, and does not run: {reason}")
    mark = object()
    if _said.setdefault(str(reason), mark) is mark:
        logging.getLogger("scratchrnn").log(
            logging.WARNING if isinstance(reason, Unavailable) else logging.INFO,
            "the torch engine runs, not the faster native one: %s (`scratchrnn doctor` shows more, "
            "SCRATCHRNN_NATIVE=0 ends this message)",
            reason,
        )


def _chosen() -> Choice:
    chosen = _in_block.get()
    return _process() if chosen is None else chosen


def _process() -> Choice:
    global _in_process
    if _in_process is None:
        value = os.environ.get("SCRATCHRNN_NATIVE", "")
        if value not in _IN_ENVIRONMENT:
            raise ValueError(f"SCRATCHRNN_NATIVE should be 0, 1 or require, got {value!r}")
        _in_process = _IN_ENVIRONMENT[value]
    return _in_process


def _checked(enabled: Choice) -> Choice:
    if not (isinstance(enabled, bool) or enabled == "require"):
        raise ValueError(f"enabled should be True, False or 'require', got {enabled!r}")
    return enabled
