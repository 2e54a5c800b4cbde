"""A cell's compiled functions, and the threads that they may have."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch

from ...cells.cell import Cell
from ...equations.equations import Equations
from . import build, emit


class Functions(NamedTuple):
    """The scan of one cell in one dtype."""

    forward: Any
    backward: Any
    multiply: Any
    lanes: int  # V
    units: int  # vectors of units in a panel of gates
    columns: int  # vectors in it
    wide: int  # vectors in a panel without gates


_compiled: WeakKeyDictionary[Any, dict[Any, dict[torch.dtype, Functions] | str]] = WeakKeyDictionary()


def compiled(cell: Cell) -> dict[torch.dtype, Functions] | str:
    """A cell's functions by dtype, or why there are none. They go by the cell's function: cells may share it."""
    of_update = _compiled.get(cell.update)
    if of_update is None:
        of_update = _compiled[cell.update] = {}
    key = cell.gates, cell.split, cell.check
    if key not in of_update:
        of_update[key] = _compile(cell)
    return of_update[key]


def _compile(cell: Cell) -> dict[torch.dtype, Functions] | str:
    if not cell.check:
        return f"the adjoint of cell {cell.name!r} is another than its update's"
    try:
        text = emit.source(Equations(cell))
    except ValueError as error:
        return str(error)
    library = build.load(text)
    return {torch.float32: _functions(library, "float"), torch.float64: _functions(library, "double")}


def _functions(library: ctypes.CDLL, real: str) -> Functions:
    found = [getattr(library, f"{name}_{real}") for name in ("forward", "backward", "multiply")]
    for function in found:
        function.argtypes, function.restype = [ctypes.c_char_p], None
    return Functions(*found, *(ctypes.c_int64 * 4).in_dll(library, f"layout_{real}"))


def crew(threads: int) -> tuple[int, int, int, int]:
    """The fields of scan.c's `crew`."""
    return (*_openmp(), threads)


@cache
def _openmp() -> tuple[int, int, int]:
    """GOMP_parallel, omp_get_thread_num and omp_get_num_threads of the OpenMP that torch has loaded; zeros for none."""
    names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
    for library in Path(torch.__file__).with_name("lib").glob("libtorch_cpu.*"):
        loaded = ctypes.CDLL(str(library))
        if all(hasattr(loaded, name) for name in names):
            first, second, third = (ctypes.cast(getattr(loaded, name), ctypes.c_void_p).value or 0 for name in names)
            return first, second, third
    return 0, 0, 0


_process = os.getpid()


def team() -> int:
    """So many threads as torch would use and processors are there; in a forked child the one that calls."""
    if os.getpid() != _process or not _openmp()[0]:
        return 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(torch.get_num_threads(), allowed, _quota())


@cache
def _quota() -> int:
    """Of processors, of this process's control group."""
    try:
        most, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return 1 << 30
    return 1 << 30 if most == "max" else max(1, -(-int(most) // int(period)))
