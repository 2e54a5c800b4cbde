"""Which living cell a key stands for: a captured graph can hold a string, but no function."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Callable, Iterator
from itertools import count
from types import CodeType, FunctionType
from typing import Any

cells: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


def find_cell(key: str) -> Any:
    """The living cell whose `key` this is.

    Raises:
        KeyError: there is none, as where a program that was exported in another process is run.
    """
    if key not in cells:
        raise KeyError(f"no cell with the key {key!r} here: make the cell, with the very same update, before this runs")
    return cells[key]


def keys(name: str, *functions: Callable[..., Any] | None) -> Iterator[str]:
    """Candidates for a key. It tells cells of one name apart by their code, so that no other is taken for it."""
    if not str(getattr(functions[0], "__module__", "")).startswith("scratchrnn.cells."):
        name = f"{name}-{hashlib.sha256(repr(_content(functions)).encode()).hexdigest()[:8]}"
    yield name
    for n in count(2):
        yield f"{name}#{n}"


def _content(value: Any) -> Any:
    """What a function computes by, as plain values, the same in every process: code, defaults, what it encloses."""
    if isinstance(value, CodeType):
        return value.co_code, value.co_names, _content(value.co_consts)
    if isinstance(value, FunctionType):
        try:
            enclosed = tuple(cell.cell_contents for cell in value.__closure__ or ())
        except ValueError:  # something that it encloses is defined later
            enclosed = ()
        inner = tuple(v.__code__ if isinstance(v, FunctionType) else v for v in enclosed)
        return _content((value.__code__, value.__defaults__, inner))
    if isinstance(value, tuple):
        return tuple(_content(part) for part in value)
    return value if value is None or isinstance(value, (bool, int, float, str, bytes)) else type(value).__name__
