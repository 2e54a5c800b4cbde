"""Ctrl-C ends the `scratchrnn` command in one line, also in the seconds in which it only imports torch.

The package imports this first: Python enters a package before a command in it, so what the command could catch comes
too late. A program that imports scratchrnn for itself is left alone.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any


def end_at_once() -> None:
    """From here on Ctrl-C ends the command: there is nothing to put away."""
    _set(signal.default_int_handler, _end)


def raise_interrupts() -> None:
    """From here on Ctrl-C is a KeyboardInterrupt, so that what has been begun is put away."""
    _set(_end, signal.default_int_handler)


def _set(before: Any, after: Any) -> None:
    if _IS_THE_COMMAND and signal.getsignal(signal.SIGINT) is before:  # else it is ignored, or somebody else's
        signal.signal(signal.SIGINT, after)


def _end(*_: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)


def _is_the_command() -> bool:
    """Whether Python was started as `scratchrnn` or `python -m scratchrnn`."""
    if not sys.argv:  # a program that has Python inside
        return False
    started = sys.argv[0]
    if started == "-m":  # Python is looking for the module still, whose name stands before the arguments
        started = sys.orig_argv[-len(sys.argv)].removeprefix("-m")
    return Path(started).stem == "scratchrnn"


_IS_THE_COMMAND = _is_the_command()
end_at_once()
