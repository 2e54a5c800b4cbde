"""The native engine: what it takes, and one scan by it, forward and back."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from struct import pack
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from ...cells.cell import Cell
from ...equations.equations import Equations
from ..columns import Operands
from ..forward import Kept, Run, Setting
from . import build, emit, products

ONE_THREAD, ROWS_ALONE, PANELS = range(3)
"""How the work of a scan is divided, as scan.c calls it."""

_PIECE = 2e10  # floating-point operations of one call into C, which no Ctrl-C interrupts: some tenths of a second
_TINY = 2e5  # of a step: a second thread would take as long to be told

# ---------------------------------------------------------------------------------------------------- what it takes


def refusal(cell: Cell, tensors: Sequence[Tensor]) -> str | None:
    """Why the native engine does not run this cell on these tensors; None where it does."""
    return refused_tensors(tensors) or refused_cell(cell)


def refused_tensors(tensors: Sequence[Tensor]) -> str | None:
    """Why not on these tensors: C sees addresses, so each must be what it seems."""
    if (
        torch._C._len_torch_dispatch_stack() > 0
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None
    ):
        return "a mode or a transform of torch has to see every operation"
    dtype = tensors[0].dtype
    if dtype is not torch.float32 and dtype is not torch.float64:
        return f"float32 and float64 alone, not {dtype}"
    for t in tensors:
        if type(t) is not Tensor and type(t) is not nn.Parameter:
            return f"a {type(t).__name__} is no plain tensor"
        if t.dtype is not dtype:
            return f"tensors of two dtypes, {dtype} and {t.dtype}"
        if not t.is_cpu or t.layout is not torch.strided:
            return f"the CPU's dense tensors alone, not {t.layout} on {t.device}"
        if t.is_neg():
            return "a tensor whose sign is kept apart from its values"
        if torch._is_functional_tensor(t):
            return "a transform of torch has to see every operation"
        if forward_ad._current_level >= 0 and forward_ad.unpack_dual(t).tangent is not None:
            return "forward-mode AD has to see every operation"
    return None


def refused_cell(cell: Cell) -> str | None:
    """Why not this cell: its lines cannot be read, or have no C."""
    found = _compiled(cell)
    return found if isinstance(found, str) else None


# ---------------------------------------------------------------------------------------------------- the library


class Functions(NamedTuple):
    """The scan of one cell in one dtype."""

    forward: Any
    backward: Any
    multiply: Any
    lanes: int  # V
    units: int  # vectors of units in a panel of gates
    columns: int  # vectors in it
    wide: int  # vectors in a panel without gates


_compiled_scans: WeakKeyDictionary[Any, dict[Any, dict[torch.dtype, Functions] | str]] = WeakKeyDictionary()


def _compiled(cell: Cell) -> dict[torch.dtype, Functions] | str:
    """A cell's functions by dtype, or why there are none. They go by the cell's function: cells may share it."""
    of_update = _compiled_scans.setdefault(cell.update, {})
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


# ---------------------------------------------------------------------------------------------------- threads


@cache
def _openmp() -> tuple[int, int, int]:
    """GOMP_parallel, omp_get_thread_num and omp_get_num_threads of the OpenMP that torch has loaded; zeros for none."""
    names = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
    for library in Path(torch.__file__).with_name("lib").glob("libtorch_cpu.*"):
        loaded = ctypes.CDLL(str(library))
        if all(hasattr(loaded, name) for name in names):
            addresses = [ctypes.cast(getattr(loaded, name), ctypes.c_void_p).value or 0 for name in names]
            return addresses[0], addresses[1], addresses[2]
    return 0, 0, 0


_process = os.getpid()


def _team() -> int:
    """So many threads torch would use, but not more than there are processors; in a forked child the caller's alone."""
    if os.getpid() != _process or not _openmp()[0]:
        return 1
    return min(torch.get_num_threads(), _processors())


def _processors() -> int:
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, _quota())


@cache
def _quota() -> int:
    """Of processors, of this process's control group."""
    try:
        most, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return 1 << 30
    return 1 << 30 if most == "max" else max(1, -(-int(most) // int(period)))


def divided(batch: int, H: int, R: int, gates: int, itemsize: int, threads: int) -> int:
    """How the work of steps of this shape is divided among threads."""
    if threads == 1 or 2 * batch * gates * H * R < _TINY:
        return ONE_THREAD
    if batch >= 4 * threads and gates * H * R * itemsize <= 1 << 18:
        return ROWS_ALONE  # each thread has all weights in its own cache
    return PANELS


# ---------------------------------------------------------------------------------------------------- one scan


def steps(
    setting: Setting, operands: Operands, keep: bool = False, division: int | None = None, threads: int | None = None
) -> Run:
    """The loop over time, as `engine.forward.steps`; division and threads are the shape's and torch's if not given."""
    columns, sizes, W_hr = setting.columns, setting.sizes, operands.W_hr
    state = [s.clone(memory_format=torch.contiguous_format) for s in operands.state]
    found = _compiled(setting.cell)
    assert not isinstance(found, str)
    functions = found[operands.x.dtype]
    times = _multiplier(functions, threads)
    pre = products.input_product(times, columns, operands)
    rows, (batch, R), H = pre.shape[0], state[0].shape, pre.shape[1] // len(columns.places)
    output = pre.new_empty(*operands.x.shape[:-1], R)
    kept_rows = rows if keep else 2 * batch
    before = [pre.new_empty(kept_rows, s.shape[1]) for s in state]
    panel = functions.units * functions.lanes
    room = -(-H // panel) * functions.columns * functions.lanes * R
    room_hr = 0 if W_hr is None else -(-R // (functions.wide * functions.lanes)) * functions.wide * functions.lanes * H
    scratch = pre.new_empty(room + room_hr + (0 if W_hr is None else batch * H))
    W_hh, W_hr = operands.W_hh.contiguous(), None if W_hr is None else W_hr.contiguous()
    at, size = scratch.data_ptr(), pre.itemsize
    addresses = [
        W_hh.data_ptr(),
        0 if W_hr is None else W_hr.data_ptr(),
        at,
        at + room * size,
        pre.data_ptr(),
        keep,
        output.data_ptr(),
        at + (room + room_hr) * size,
        0,
        0,
        *(t.data_ptr() for t in before),
        *(t.data_ptr() for t in state),
    ]
    for _ in _pieces(functions.forward, setting, operands, H, addresses, division, threads, False):
        pass
    kept = Kept(pre, tuple(before)) if keep else None
    return Run(output, tuple(state), kept)


def gradients(
    setting: Setting,
    operands: Operands,
    kept: Kept,
    needed: Operands,
    upstream: Run,
    division: int | None = None,
    threads: int | None = None,
) -> Operands:
    """The gradients of the operands, as `engine.backward.gradients`."""
    pre, (h_prev, *_), columns = kept.pre, kept.state_prev, setting.columns
    assert pre is not None
    rows, R, H, W_hr = pre.shape[0], h_prev.shape[1], pre.shape[1] // len(columns.places), operands.W_hr
    d_output = None if upstream.output is None else upstream.output.reshape(rows, R).contiguous()
    d_state = [
        torch.zeros_like(s, memory_format=torch.contiguous_format)
        if d is None
        else d.clone(memory_format=torch.contiguous_format)
        for s, d in zip(operands.state, upstream.state, strict=True)
    ]
    found = _compiled(setting.cell)
    assert not isinstance(found, str)
    functions = found[pre.dtype]
    times = _multiplier(functions, threads)
    panel = functions.wide * functions.lanes
    room = -(-R // panel) * panel * len(columns.gates) * H
    room_hr = 0 if W_hr is None else -(-H // panel) * panel * R
    scratch = pre.new_empty(room + room_hr)
    d_pre = torch.empty_like(pre)
    d_emitted = None if W_hr is None else pre.new_empty(rows, R)
    unprojected = None if W_hr is None else pre.new_empty(rows, H)
    W_hh, W_hr = operands.W_hh.contiguous(), None if W_hr is None else W_hr.contiguous()
    addresses = [
        W_hh.data_ptr(),
        0 if W_hr is None else W_hr.data_ptr(),
        scratch.data_ptr(),
        scratch.data_ptr() + room * pre.itemsize,
        pre.data_ptr(),
        1,
        0 if d_output is None else d_output.data_ptr(),
        0 if unprojected is None else unprojected.data_ptr(),
        d_pre.data_ptr(),
        0 if d_emitted is None else d_emitted.data_ptr(),
        *(t.data_ptr() for t in kept.state_prev),
        *(t.data_ptr() for t in d_state),
    ]
    for _ in _pieces(functions.backward, setting, operands, H, addresses, division, threads, True):
        pass
    x = operands.x.flatten(0, -2)
    d_input, d_hidden = columns.input_side(d_pre), columns.hidden_side(d_pre)
    return Operands(
        products.input_gradient(times, d_input, operands.W_ih).view_as(operands.x) if needed.x else None,
        d_pre.sum(0) if needed.bias else None,
        products.weight_gradient(times, d_input, x) if needed.W_ih else None,
        products.weight_gradient(times, d_hidden, h_prev) if needed.W_hh else None,
        products.weight_gradient(times, d_emitted, unprojected) if needed.W_hr and d_emitted is not None else None,
        tuple(d_state),
    )


def _multiplier(functions: Functions, threads: int | None) -> products.Multiplier:
    threads = _team() if threads is None else threads
    return products.Multiplier(functions.multiply, functions.wide * functions.lanes, _openmp(), threads)


def _pieces(
    function: Any,
    setting: Setting,
    operands: Operands,
    H: int,
    addresses: Sequence[int],
    division: int | None,
    threads: int | None,
    backward: bool,
) -> Iterator[None]:
    """Call C for some steps at a time, so that Ctrl-C is answered between."""
    sizes, reverse, T = setting.sizes, setting.reverse, len(setting.sizes)
    batch, R = operands.state[0].shape
    gates = len(setting.cell.gates)
    threads = _team() if threads is None else threads
    if division is None:
        division = divided(batch, H, R, gates, operands.x.itemsize, threads)
    if division == ONE_THREAD or not _openmp()[0]:
        threads = 1
    packed = operands.x.dim() == 2
    on_disk = torch.tensor(sizes, dtype=torch.int64) if packed else None
    length = max(1, int(_PIECE / max(1, 2 * batch * gates * H * R)))
    order = [*setting.order()]
    starts = range(0, T, length)
    where = _first_rows(setting)
    for start in reversed(starts) if backward else starts:
        end = min(start + length, T)
        # forward: where the piece's first step begins; backward: where the step behind its last does
        k = end if backward else start
        row = where[order[k]] if k < T else (0 if reverse else where[-1])
        function(
            pack(
                f"{15 + len(addresses)}q",
                *_openmp(),
                threads,
                division,
                T,
                start,
                end,
                row,
                reverse,
                batch,
                H,
                R,
                0 if on_disk is None else on_disk.data_ptr(),
                0,
                *addresses,
            )
        )
        yield


def _first_rows(setting: Setting) -> list[int]:
    first = [0]
    for n in setting.sizes:
        first.append(first[-1] + n)
    return first
