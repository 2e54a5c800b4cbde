"""Modules, cells and functions of the caller's own, by `my.module:Name` or `path/to/my_file.py:Name`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any


def imported(argument: str, path: str) -> Any:
    """What is at `my.module:Name`, looked for in the working directory too, or at `path/to/my_file.py:Name`.

    `argument` is what messages call it. The module or file is imported, so its code runs.

    Raises:
        ValueError: the path is not of that form, or leads nowhere, or the module or file cannot be imported.
    """
    module, _, name = path.rpartition(":")
    if not module or not name:
        form = "my_file.py:Name" if path.rstrip(":").endswith(".py") else "my.module:Name"
        raise ValueError(f"{argument} should be of the form {form}, got {path!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    command_line = sys.argv
    sys.argv = command_line[:1]  # a script's own parse_args() is given no arguments
    try:
        return getattr(_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{argument} {path!r} cannot be imported: {error}{_within(error)}") from error
    except SystemExit as error:  # a script that leaves, or reads a command line
        raise ValueError(f"{argument} {path!r} cannot be imported: {raised(error)}") from error
    except Exception as error:  # whatever the code at its top raises
        raise ValueError(f"{argument} {path!r} cannot be imported: it raises {raised(error)}") from error
    finally:
        sys.argv = command_line


def beside(path: str, name: str) -> Any:
    """What else the module or file has that was imported by `path`; None if it has nothing of that name."""
    return getattr(_module(path.rpartition(":")[0]), name, None)


def _module(path: str) -> ModuleType:
    return _file(path) if path.endswith(".py") else importlib.import_module(path)


def _file(path: str) -> ModuleType:
    """The file as a module, as Python runs it: what lies beside it can be imported, and it runs once."""
    file = Path(path).resolve()
    if not file.is_file():
        raise ImportError(f"there is no file {path}")
    known = sys.modules.get(file.stem)
    if known is not None and _origin(known) == file:
        return known
    name = file.stem if known is None else str(file)  # an own random.py is not everybody's random
    if name in sys.modules:
        return sys.modules[name]
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no file of Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _origin(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file else None


def raised(error: BaseException) -> str:
    """An exception, and in which line of the caller's own code it was raised, if in any."""
    return f"{type(error).__name__}{': ' if str(error) else ''}{error}{_within(error)}"


def _within(error: BaseException) -> str:
    where = place(traceback.walk_tb(error.__traceback__))
    return f", in {where}" if where else ""


_NOT_THEIRS = (
    str(Path(__file__).parents[1]),
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    "<",  # <frozen importlib._bootstrap>
)


def place(frames: Iterable[tuple[FrameType, int]]) -> str:
    """The innermost line of the caller's own code: `forward (my_file.py:12)`; empty if there is none."""
    theirs = [(f.f_code, line) for f, line in frames if not f.f_code.co_filename.startswith(_NOT_THEIRS)]
    if not theirs:
        return ""
    code, line = theirs[-1]
    path = Path(code.co_filename)
    return f"{code.co_name} ({path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}:{line})"
