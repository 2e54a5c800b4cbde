"""A cell's compiled functions, and the threads that they may have."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from struct import Struct
from typing import Any

import torch

from ...cells.cell import Cell
from ...equations.adjoint import why_walked
from ...equations.equations import Equations
from . import emit
from .build import Unavailable, load


@dataclass(frozen=True, eq=False, slots=True)
class Functions:
    """The scan of one cell in one dtype."""

    run: Any  # `run_scan`
    pack: Callable[..., bytes]  # the fields of `scan`
    numbers: bool  # whether the lines have some from outside


ByDtype = dict[torch.dtype, Functions]


def compiled(cell: Cell) -> ByDtype | str | Unavailable:
    """A cell's functions by dtype; or why it has none, or what stands in the way of the compiler here."""
    if (why := why_walked(cell)) is not None:
        return why
    if not cell.check:
        return f"the adjoint of cell {cell.name!r} is another than its update's"
    try:
        of = Equations(cell)
        library = load(emit.source(of), cell.name)
    except ValueError as error:
        return str(error)
    except Unavailable as error:
        return error
    dtypes = {torch.float32: "float", torch.float64: "double"}
    return {dtype: _functions(library, real, bool(of.numbers)) for dtype, real in dtypes.items()}


def _functions(library: ctypes.CDLL, real: str, numbers: bool) -> Functions:
    run, whole = getattr(library, f"run_scan_{real}"), ctypes.c_int64
    run.argtypes, run.restype = [ctypes.c_char_p, ctypes.c_void_p, whole, whole, ctypes.c_double], whole
    fields = ctypes.c_int64.in_dll(library, f"fields_{real}").value
    return Functions(run, Struct(f"{fields}q").pack, numbers)


@cache
def openmp() -> tuple[int, int, int]:
    """GOMP_parallel, omp_get_thread_num and omp_get_num_threads of the OpenMP that torch has loaded; zeros for none."""
    names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
    for library in Path(torch.__file__).with_name("lib").glob("libtorch_cpu.*"):
        loaded = ctypes.CDLL(str(library))
        if all(hasattr(loaded, name) for name in names):
            first, second, third = (ctypes.cast(getattr(loaded, name), ctypes.c_void_p).value or 0 for name in names)
            return first, second, third
    return 0, 0, 0


_process = os.getpid()


def available_threads() -> int:
    """So many threads as torch would use and processors are there; in a forked child the one that calls."""
    if os.getpid() != _process or not openmp()[0]:
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
