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
from .library import Dtypes, Functions, Layout, compiled, crew, team
from .scratch import Sizes, borrow, give_back, room_back, room_forward

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
_TINY = 4e4  # operations of a step
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
            state = tuple(1 + (torch.arange(B * H) + k).cos().to(dtype).view(B, H) / 2 for k in range(len(cell.states)))
            operands = Operands(x, Weights(ih, hh, bias_ih, bias_hh, None), state)
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
    # Another thread may have opened the level: it is the process's. In an operator, below autograd, nothing is dual.
    below_autograd = torch._C._dispatch_tls_is_dispatch_key_excluded(torch._C.DispatchKey.ADInplaceOrView)
    dual = forward_ad._current_level >= 0 and not below_autograd
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


def _tiny(batch: int, weights: int) -> bool:
    """Whether a second thread would take as long to be told as a step by one takes."""
    return 2 * batch * weights < _TINY


def divided(batch: int, weights: int, itemsize: int, threads: int) -> int:
    """How the work of steps of so many rows and so many weights is divided among threads."""
    if threads == 1 or _tiny(batch, weights):
        return ONE_THREAD
    if batch >= 4 * threads and weights * itemsize <= _CACHED:
        return ROWS_ALONE
    return PANELS


def steps(
    setting: Setting, operands: Operands, keep: bool = False, division: int | None = None, threads: int | None = None
) -> Run:
    """The loop over time, as `engine.forward.steps`. Division and threads are the shape's and torch's if not given."""
    of, x, weights = _functions(setting, operands), operands.x, operands.weights
    shapes = state_shapes(setting, operands)
    sizes = _sizes(setting, operands, shapes)
    N, R, width = sizes.N, sizes.R, sizes.width
    output = x.new_empty(*x.shape[:-1], R)
    state = tuple([x.new_empty(shape) for shape in shapes])
    kept = Kept(x.new_empty(N, width), tuple([x.new_empty(N, s.shape[1]) for s in state])) if keep else None
    scratch, at = borrow(room_forward(of.layout, sizes, keep), x)
    panels_ih, panels, panels_hr, bias, unprojected = at[:5]
    if weights.bias_ih is None:
        bias = 0
    pre, *prev = at[5:] if kept is None else [t.data_ptr() for t in kept.flat()]
    rooms = panels_ih, panels, panels_hr, bias, keep, pre, output.data_ptr(), unprojected, *prev
    last = [t.data_ptr() for t in state]
    how = _how(sizes, of.layout, False, division, threads)
    _call(of, of.forward, setting, sizes, operands, operands.state, how, (*rooms, *last, *_NO_GRADIENTS))
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
    shapes, needed_x, needed_weights = state_shapes(setting, operands), needed.x, needed.weights
    sizes = _sizes(setting, operands, shapes)
    pre, *prev = [t.contiguous() for t in kept.flat()]
    d_output = None if upstream.output is None else upstream.output.contiguous()
    d_state = [x.new_empty(shape) if n else None for shape, n in zip(shapes, needed.state, strict=True)]
    dx, *d_weights = [
        t.new_empty(t.shape) if n and t is not None else None
        for t, n in zip((x, *weights), (needed_x, *needed_weights), strict=True)
    ]
    how = _how(sizes, of.layout, sizes.N * sizes.I * sizes.outputs > _LARGE, division, threads)
    scratch, at = borrow(room_back(of.layout, sizes, how[1]), x)
    panels_ih, panels, panels_hr, unprojected, d_pre, d_carry, d_emitted, panels_x, blocks, d_bias, lost, *running = at
    rooms = panels_ih, panels, panels_hr, 0, 1, pre.data_ptr(), _address(d_output), unprojected
    running = [place if d is None else d.data_ptr() for d, place in zip(d_state, running, strict=True)]
    if not (needed_weights.bias_ih or needed_weights.bias_hh):
        d_bias = 0
    found = *map(_address, (dx, *d_weights)), panels_x, blocks, d_bias, lost
    tail = *rooms, *[t.data_ptr() for t in prev], *running, d_pre, d_carry, d_emitted, *found
    _call(of, of.backward, setting, sizes, operands, upstream.state, how, tail)
    give_back(scratch)
    return Operands(dx, Weights(*d_weights), tuple(d_state))  # type: ignore[arg-type]


def _sizes(setting: Setting, operands: Operands, shapes: Sequence[tuple[int, int]]) -> Sizes:
    (outputs, I), (B, R) = operands.weights.ih.shape, shapes[0]  # noqa: E741
    H, N = outputs // len(setting.cell.gates), operands.x.numel() // I
    width = len(setting.columns.places) * H
    return Sizes(len(shapes), B, N, I, H, R, width, outputs, operands.weights.hr is not None)


def _how(sizes: Sizes, of: Layout, large: bool, division: int | None, threads: int | None) -> tuple[int, int]:
    """The division of work, and the threads; `large`: whether there are products outside the loop that want several."""
    weights = sizes.outputs * sizes.R
    if threads is None:
        threads = team() if large or not _tiny(sizes.B, weights) else 1
    if division is None:
        division = divided(sizes.B, weights, of.bytes, threads)
    return division, threads if large or division != ONE_THREAD else 1


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
    sizes: Sizes,
    operands: Operands,
    given: Sequence[Tensor | None],
    how: tuple[int, int],
    addresses: Sequence[int],
) -> None:
    """Run all steps in C, some at a time, so that Ctrl-C is answered between.

    `given` are the states before the first step, or on the way back the gradients of the last; `addresses` the fields
    of scan.c's `scan` behind those.
    """
    dense = [None if t is None else t.contiguous() for t in (operands.x, *operands.weights, *given)]
    _, B, _, I, H, R, _, outputs, _ = sizes  # noqa: E741
    x, T, (division, threads) = operands.x, len(setting.sizes), how
    numbers = _numbers(setting.cell) if of.numbers else None
    packed = torch.tensor(setting.sizes) if x.dim() == 2 else None
    tail = setting.reverse, B, I, H, R, _address(packed), _address(numbers), *map(_address, dense), *addresses
    length = max(1, int(_PIECE / max(1, 2 * B * outputs * (I + R))))
    pieces, back = range(0, T, length), function is of.backward
    for start in reversed(pieces) if back else pieces:
        end = min(start + length, T)
        row = _first_row(setting, end if back else start)
        function(of.pack(*crew(threads), division, T, start, end, row, *tail))


def _first_row(setting: Setting, k: int) -> int:
    """Where the rows of the k-th step that is taken begin, behind the last one too."""
    sizes, t = setting.sizes, len(setting.sizes) - 1 - k if setting.reverse else k
    return sum(sizes[: max(t, 0)])
