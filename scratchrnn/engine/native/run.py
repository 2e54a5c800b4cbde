"""The native engine: what it takes, and one scan by it, forward and back."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from ...cells.cell import Cell
from ...equations.equations import Equations
from .. import backward, forward
from ..columns import Columns, Operands, Weights
from ..forward import Kept, Run, Setting, state_shapes
from .build import Unavailable
from .choice import enabled, refused
from .library import Dtypes, Functions, compiled, crew, team
from .scratch import borrow, give_back

_compiling = Lock()


def _after_fork() -> None:
    """Another thread of the parent may have been compiling, and is not here to end it."""
    global _compiling
    _compiling = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

ONE_THREAD, ROWS_ALONE, PANELS = range(3)
"""How the work of a scan is divided, as in scan.c."""

_PIECE = 2e10  # operations of one call into C, which no Ctrl-C interrupts: some tenths of a second
_TINY = 4e4  # of a step: a second thread would take as long to be told
_LARGE = 1e7  # of the products outside the loop: several threads for them alone
_CACHED = 1 << 17  # bytes of weights of which each thread may have all
_NO_GRADIENTS = [0] * 13  # the last fields of `scan`, which only the way back has

# ---------------------------------------------------------------------------------------------------- what it takes


def runs(cell: Cell, tensors: Sequence[Tensor]) -> Dtypes | None:
    """The functions by which the native engine runs this call; where it is wanted and does not, the reason is said.

    Raises:
        Unavailable: it does not, and is required.
    """
    if not enabled():
        return None
    found = refused_tensors(tensors) or _of_cell(cell)
    if isinstance(found, dict):
        return found
    refused(found)
    return None


def refused_cell(cell: Cell) -> str | Unavailable | None:
    """Why not this cell: its lines cannot be read, or have no C, or the compiler fails."""
    found = _of_cell(cell)
    return None if isinstance(found, dict) else found


def _of_cell(cell: Cell) -> Dtypes | str | Unavailable:
    """What was compiled of a cell, kept with what was read of it, for as long as that stays what its functions mean.

    Before its first use it is held to the torch engine.
    """
    kept = Equations(cell).__dict__
    if "_native" not in kept:
        with _compiling:
            if "_native" not in kept:
                found = compiled(cell)
                kept["_native"] = _tested(cell, found) if isinstance(found, dict) else found
    return kept["_native"]  # type: ignore[no-any-return]


def status(cell: Cell) -> str | None:
    """Why the native engine does not run this cell; None where it does."""
    if not enabled():
        return "it is switched off, by SCRATCHRNN_NATIVE=0, native.enable or native.flags"
    reason = refused_cell(cell)
    return None if reason is None else str(reason)


def _tested(cell: Cell, functions: Dtypes) -> Dtypes | Unavailable:
    """The functions, once one small scan by them is what the torch engine makes of it, forward and back."""
    columns = Columns.of(cell)
    G, T, B, I, H = len(cell.gates), 3, 2, 3, 19  # noqa: E741
    shapes = [(T, B, I), (G * H, I), (G * H, H), (G * H,), (G * H,)]
    with torch.no_grad():
        for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-10)):
            x, ih, hh, bias_ih, bias_hh = (
                (torch.arange(math.prod(s)) + k).sin().to(dtype).view(s) for k, s in enumerate(shapes)
            )
            operands = Operands(x, Weights(ih, hh, bias_ih, bias_hh, None), (None,) * len(cell.states))
            setting = Setting(cell, columns, [B] * T, reverse=False, native=functions)
            ours, theirs = steps(setting, operands, True), forward.steps(setting, operands, keep=True)
            assert ours.kept is not None  # it was asked for
            wanted = Operands.of([t is not None for t in operands.flat()])
            upstream = Run(theirs.output.cos(), tuple(s.cos() for s in theirs.state))
            given = setting, operands, ours.kept, wanted, upstream
            pairs = [(ours.output, theirs.output), *zip(ours.state, theirs.state, strict=True)]
            pairs += zip(gradients(*given).flat(), backward.gradients(*given).flat(), strict=True)
            for a, b in pairs:
                if a is not None and not torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True):
                    return Unavailable(
                        f"what was compiled of cell {cell.name!r} computes something else than the torch engine: "
                        "name another compiler in SCRATCHRNN_CC"
                    )
    return functions


def refused_tensors(tensors: Sequence[Tensor]) -> str | None:
    """Why not these tensors: C sees addresses, so each must be what it seems."""
    if (
        torch._C._len_torch_dispatch_stack() > 0
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None
    ):
        return "a mode or a transform of torch has to see every operation"
    dtype = tensors[0].dtype
    if dtype is not torch.float32 and dtype is not torch.float64:
        return f"float32 and float64 alone, not {dtype}"
    dual = forward_ad._current_level >= 0
    for t in tensors:
        if type(t) is not Tensor and type(t) is not nn.Parameter:
            return f"a {type(t).__name__} is no plain tensor"
        if t.dtype is not dtype:
            return f"tensors of two dtypes, {dtype} and {t.dtype}"
        if not t.is_cpu or t.layout is not torch.strided:
            return f"the CPU's dense tensors alone, not {t.layout} on {t.device}"
        if t.is_neg():
            return "a tensor whose sign is kept apart from its values"
        if torch._is_functional_tensor(t) or (dual and forward_ad.unpack_dual(t).tangent is not None):
            return "a mode or a transform of torch has to see every operation"
    return None


# ---------------------------------------------------------------------------------------------------- one scan


def divided(batch: int, weights: int, itemsize: int, threads: int) -> int:
    """How the work of steps of so many rows and so many weights is divided among threads."""
    if threads == 1 or 2 * batch * weights < _TINY:
        return ONE_THREAD
    if batch >= 4 * threads and weights * itemsize <= _CACHED:
        return ROWS_ALONE
    return PANELS


def steps(
    setting: Setting, operands: Operands, keep: bool = False, division: int | None = None, threads: int | None = None
) -> Run:
    """The loop over time, as `engine.forward.steps`. Division and threads are the shape's and torch's if not given."""
    of, x, weights = _functions(setting, operands), operands.x, operands.weights
    shapes, N = state_shapes(setting, operands), x.numel() // x.shape[-1]
    (B, R), H = shapes[0], weights.ih.shape[0] // len(setting.cell.gates)
    width = len(setting.columns.places) * H
    output = x.new_empty(*x.shape[:-1], R)
    state = tuple([x.new_empty(shape) for shape in shapes])
    kept = Kept(x.new_empty(N, width), tuple([x.new_empty(N, k) for _, k in shapes])) if keep else None
    room = [of.panels_of_gates(H, x.shape[-1]), of.panels_of_gates(H, R), width]
    if kept is None:
        room += [min(N, of.chunk + B) * width, *(2 * B * k for _, k in shapes)]
    if weights.hr is not None:
        room += [of.panels(R, H), B * H]
    scratch, at = borrow(room, x)
    panels_ih, panels, bias = at[:3]
    pre, *prev = at[3 : 4 + len(state)] if kept is None else [t.data_ptr() for t in kept.flat()]
    panels_hr, unprojected = (0, 0) if weights.hr is None else at[-2:]
    bias = 0 if weights.bias_ih is None else bias
    rooms = panels_ih, panels, panels_hr, bias, keep, pre, output.data_ptr(), unprojected, *prev
    last = [t.data_ptr() for t in state]
    _call(of, of.forward, setting, operands, operands.state, division, threads, (*rooms, *last, *_NO_GRADIENTS))
    give_back(scratch)
    return Run(output, state, kept)


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
    of, x, weights = _functions(setting, operands), operands.x, operands.weights
    pre, *prev = (t.contiguous() for t in kept.flat())
    shapes, I, (N, width) = state_shapes(setting, operands), x.shape[-1], pre.shape  # noqa: E741
    (B, R), outputs = shapes[0], weights.ih.shape[0]
    H = outputs // len(setting.cell.gates)
    d_output = None if upstream.output is None else upstream.output.contiguous()
    d_state = tuple([x.new_empty(shape) for shape in shapes])
    dx, *d_weights = [
        t.new_empty(t.shape) if n and t is not None else None
        for t, n in zip((x, *weights), (needed.x, *needed.weights), strict=True)
    ]
    rows, threads = min(N, of.chunk_back + B), team() if threads is None else threads
    room = [of.panels(I, outputs), of.panels(R, outputs), rows * width, B * width]
    room += [of.panels(max(I, R, H), rows), threads * of.block, width, width]
    if weights.hr is not None:
        room += [of.panels(H, R), N * R, N * H]
    scratch, at = borrow(room, x)
    panels_ih, panels, d_pre, d_carry, panels_x, blocks, d_bias, lost = at[:8]
    panels_hr, d_emitted, unprojected = (0, 0, 0) if weights.hr is None else at[8:]
    rooms = panels_ih, panels, panels_hr, 0, 1, pre.data_ptr(), _address(d_output), unprojected
    states = [t.data_ptr() for t in (*prev, *d_state)]
    d_bias = d_bias if needed.weights.bias_ih or needed.weights.bias_hh else 0
    found = *map(_address, (dx, *d_weights)), panels_x, blocks, d_bias, lost
    tail = *rooms, *states, d_pre, d_carry, d_emitted, *found
    _call(of, of.backward, setting, operands, upstream.state, division, threads, tail)
    give_back(scratch)
    return Operands(dx, Weights(*d_weights), d_state)  # type: ignore[arg-type]


def _functions(setting: Setting, operands: Operands) -> Functions:
    found = setting.native or _of_cell(setting.cell)
    assert isinstance(found, dict)
    return found[operands.x.dtype]


def _address(t: Tensor | None) -> int:
    return 0 if t is None else t.data_ptr()


def _numbers(cell: Cell) -> Tensor:
    """Those that the lines have from outside, as they are now."""
    return torch.tensor([*Equations(cell).numbers.values()], dtype=torch.float64)


def _call(
    of: Functions,
    function: Any,
    setting: Setting,
    operands: Operands,
    given: Sequence[Tensor | None],
    division: int | None,
    threads: int | None,
    rooms: Sequence[int],
) -> None:
    """Run all steps in C, some at a time, so that Ctrl-C is answered between: the fields of `scan`, in their order."""
    dense = [None if t is None else t.contiguous() for t in (operands.x, *operands.weights, *given)]
    x, weights, backward = operands.x, operands.weights, function is of.backward
    (B, R), (outputs, I), T = state_shapes(setting, operands)[0], weights.ih.shape, len(setting.sizes)  # noqa: E741
    threads = team() if threads is None else threads
    if division is None:
        division = divided(B, outputs * R, x.itemsize, threads)
    if division == ONE_THREAD and not (backward and x.numel() * outputs > _LARGE):
        threads = 1
    numbers = _numbers(setting.cell) if of.numbers else None
    packed = torch.tensor(setting.sizes) if x.dim() == 2 else None
    sizes = setting.reverse, B, I, outputs // len(setting.cell.gates), R, _address(packed), _address(numbers)
    tail = *sizes, *map(_address, dense), *rooms
    length = max(1, int(_PIECE / max(1, 2 * B * outputs * (I + R))))
    pieces = range(0, T, length)
    for start in reversed(pieces) if backward else pieces:
        end = min(start + length, T)
        row = _first_row(setting, end if backward else start)
        function(of.pack(*crew(threads), division, T, start, end, row, *tail))


def _first_row(setting: Setting, k: int) -> int:
    """Where the rows of the k-th step that is taken begin, behind the last one too."""
    sizes, t = setting.sizes, len(setting.sizes) - 1 - k if setting.reverse else k
    return sum(sizes[: max(t, 0)])
