"""What the native engine takes: which cells, once they are compiled and tried, and which tensors."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from threading import Lock

import torch
from torch import Tensor
from torch._C import _are_functorch_transforms_active, _get_tracing_state, _len_torch_dispatch_stack
from torch.autograd import forward_ad
from torch.nn import Parameter
from torch.utils._python_dispatch import _disable_current_modes

from ...cells.cell import Cell
from ...equations.equations import Equations
from .. import backward, forward
from ..columns import Operands, Weights
from ..forward import Run, Setting
from .build import Unavailable
from .choice import enabled, refused
from .library import ByDtype, compiled
from .run import gradients, steps

_compiling = Lock()


def _after_fork() -> None:
    """Another thread of the parent may have been compiling, and is not here to end it."""
    global _compiling
    _compiling = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def functions_for(cell: Cell, tensors: Sequence[Tensor]) -> ByDtype | None:
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


def _of_cell(cell: Cell) -> ByDtype | str | Unavailable:
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


def _tested(cell: Cell, functions: ByDtype) -> ByDtype | Unavailable:
    """The functions, once one small scan by them is what the torch engine makes of it, forward and back."""
    G, T, B, I, H = len(cell.gates), 3, 2, 3, 19  # noqa: E741
    shapes = [(T, B, I), (G * H, I), (G * H, H), (G * H,), (G * H,)]
    # Whatever device is the default where it is first called, and whatever else is on there.
    with _disable_current_modes(), torch.device("cpu"), torch.no_grad(), torch.autocast("cpu", enabled=False):
        for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-10)):
            x, ih, hh, bias_ih, bias_hh = (
                (torch.arange(math.prod(s)) + k).sin().to(dtype).view(s) for k, s in enumerate(shapes)
            )
            like = [(torch.arange(B * H) + k).cos().to(dtype).view(1, B, H) for k in range(len(cell.states))]
            state = tuple(1 + s / 2 for s in like)
            operands = Operands(x, Weights(ih, hh, bias_ih, bias_hh, None), state)
            setting = Setting(cell, [B] * T, reverse=False, native=functions)
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
    if _len_torch_dispatch_stack() > 0 or _are_functorch_transforms_active() or _get_tracing_state() is not None:
        return "a mode or a transform of torch has to see every operation"
    dtype = tensors[0].dtype
    if dtype is not torch.float32 and dtype is not torch.float64:
        return f"float32 and float64 alone, not {dtype}"
    # Another thread may have opened the level: it is the process's. In an operator, below autograd, nothing is dual.
    dual = forward_ad._current_level >= 0 and not torch._C._dispatch_tls_is_dispatch_key_excluded(
        torch._C.DispatchKey.ADInplaceOrView
    )
    strided, is_functional = torch.strided, torch._is_functional_tensor
    for t in tensors:
        if type(t) is not Parameter and type(t) is not Tensor:
            return f"a {type(t).__name__} is no plain tensor"
        if t.dtype is not dtype:
            return f"tensors of two dtypes, {dtype} and {t.dtype}"
        if not t.is_cpu or t.layout is not strided:
            return f"the CPU's dense tensors alone, not {t.layout} on {t.device}"
        if t.is_neg() or t._is_zerotensor():
            return "a tensor whose values are not all in memory"
        if is_functional(t) or (dual and forward_ad.unpack_dual(t).tangent is not None):
            return "a mode or a transform of torch has to see every operation"
    return None
