"""Modules and cells of the caller's own, by `my.module:Name`."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any


def imported(argument: str, path: str) -> Any:
    """What is at `my.module:Name`, looked for in the working directory too; `argument` is what messages call it.

    Raises:
        ValueError: the path is not of that form, or leads nowhere.
    """
    module, _, name = path.partition(":")
    if not module or not name:
        raise ValueError(f"{argument} should be of the form my.module:Name, got {path!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{argument} {path!r} cannot be imported: {error}") from error
