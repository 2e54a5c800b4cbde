"""A cell's equations compiled: one native function for a step forward and one for a step back, by PyTorch's compiler.

What is compiled is the cell's own `update` and `adjoint`. The loop over time stays as it is and calls them at each
step; the products with weights stay outside, but for one row alone, where W_hh h is part of the step. The functions are
made ahead of time (AOTInductor), for any number of rows, and kept on the disk.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from .cell import Cell
from .forward import columns, windows

Native = Callable[[list[Tensor]], list[Tensor]]

_ROWS = 1024  # of the example: enough for the compiler to share the work among threads
_SERIAL = 1 << 16  # entries of W_hh: with one row and no more than these, sharing costs more than it saves


def compiled(cell: Cell) -> Cell:
    """The same cell, with its steps compiled as they are needed."""
    if cell.compiled_steps is not None:
        return cell
    with_steps = replace(cell)
    object.__setattr__(with_steps, "compiled_steps", CompiledSteps(cell))
    return with_steps


class CompiledSteps:
    """The compiled steps of one cell, each made when it is first asked for."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self._native: dict[Any, Native] = {}

    def forward(self, W_hh: Tensor, rows: int) -> Native | None:
        """[pre_t [rows, (S + G) * H], *state_prev] -> state, after the product; None where nothing is computed.

        For one row [pre_t, *state_prev, W_hh] -> state: the product is a sum over each row of W_hh, and part of it.
        """
        return self._find(_Forward, W_hh, rows)

    def backward(self, W_hh: Tensor, rows: int) -> Native | None:
        """[pre_t, *state_prev, *d_state, d_pre_t] -> the gradients of the directly reached states; d_pre_t is filled.

        For one row [pre_t, *state_prev, *d_state, d_pre_t, W_hh] -> d_state_prev. None also without an adjoint.
        """
        return None if self.cell.adjoint is None else self._find(_Backward, W_hh, rows)

    def _find(self, kind: type[_Step], W_hh: Tensor, rows: int) -> Native | None:
        if rows == 0 or type(W_hh) not in (Tensor, nn.Parameter) or W_hh.device.type == "meta":
            return None
        key = kind, rows == 1, W_hh.shape, W_hh.stride(), W_hh.dtype, W_hh.device
        if key not in self._native:
            # In a thread of its own, which no mode or tracing of the caller's reaches: this may be a graph's first run.
            thread = ThreadPoolExecutor(1)
            made = thread.submit(_compile, kind(self.cell), W_hh.detach(), rows == 1)
            thread.shutdown(wait=False)  # whoever is interrupted does not wait for the compiler
            self._native[key] = made.result()
        return self._native[key]


class _Step(nn.Module):
    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell

    def example(self, W_hh: Tensor, rows: int) -> list[Tensor]:
        width = W_hh.shape[0] // len(self.cell.gates)
        widths = [width * len(self.cell.pre_activations), W_hh.shape[1], *[width] * (len(self.cell.states) - 1)]
        return [W_hh.new_zeros(rows, w) for w in widths]

    def blocks(self, pre: Tensor) -> list[Tensor]:
        """The pre-activations in the order of the update's arguments."""
        in_columns = pre.chunk(len(self.cell.pre_activations), 1)
        return [in_columns[k] for k in columns(self.cell)]


class _Forward(_Step):
    def forward(self, arguments: list[Tensor], W_hh: Tensor | None = None) -> tuple[Tensor, ...]:
        pre, *state_prev = arguments
        if W_hh is not None:
            pre[:, windows(self.cell, W_hh)[1]] += (W_hh * state_prev[0]).sum(1)
        # Contiguous, as the next step takes them: a state may be a view of the pre-activations.
        return tuple(s.contiguous() for s in self.cell.update(*self.blocks(pre), *state_prev)[0])


class _Backward(_Step):
    def example(self, W_hh: Tensor, rows: int) -> list[Tensor]:
        pre, *state_prev = super().example(W_hh, rows)
        width = W_hh.shape[0] // len(self.cell.gates)
        return [pre, *state_prev, *(pre.new_zeros(rows, width) for _ in state_prev), pre.clone()]

    def forward(self, arguments: list[Tensor], W_hh: Tensor | None = None) -> tuple[Tensor, ...]:
        cell, states = self.cell, len(self.cell.states)
        assert cell.adjoint is not None
        pre, d_pre = arguments[0], arguments[-1]
        state_prev, d_state = arguments[1 : 1 + states], arguments[1 + states : -1]
        _, tape = cell.update(*self.blocks(pre), *state_prev)
        d_blocks, d_state_prev = cell.adjoint(tape, *d_state)
        for target, d in zip(self.blocks(d_pre), d_blocks, strict=True):
            target.copy_(d)
        direct = [
            torch.zeros_like(d_state[s]) if d is None else d.expand_as(d_state[s]).contiguous()
            for s, d in enumerate(d_state_prev)
            if s > 0 or d is not None
        ]
        if W_hh is None:
            return tuple(direct)
        dh = (W_hh * d_pre[:, windows(cell, W_hh)[1]].T).sum(0, keepdim=True)
        return (dh if d_state_prev[0] is None else dh + direct[0], *direct[len(direct) - states + 1 :])


def _compile(step: _Step, W_hh: Tensor, alone: bool) -> Native:
    """The step as a function of a list of tensors, from the disk or from the compiler."""
    example = step.example(W_hh, 1 if alone else _ROWS)
    rows = {0: torch.export.Dim("rows", min=1, max=1 << 30)}
    shapes: dict[str, Any] = {} if alone else {"dynamic_shapes": ([rows] * len(example),)}
    options = {"cpp.threads": 1} if alone and W_hh.numel() <= _SERIAL else {"cpp.dynamic_threads": True}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's compiler warns of its own doings
        try:
            program = torch.export.export(step, (example, W_hh) if alone else (example,), strict=False, **shapes)
            package = _package(program, step.cell.name, options)
            if not package.exists():
                _write(program, package, options)
        except Exception as error:
            raise RuntimeError(
                f"PyTorch's compiler could not compile the cell {step.cell.name!r} (it needs a C++ compiler, g++ or "
                f"what the environment variable CXX names): {error}"
            ) from error
        return torch._inductor.aoti_load_package(str(package)).loader.run


def _package(program: Any, name: str, options: dict[str, Any]) -> Path:
    """Where the package of this very program lies: by its graph and its constants, the compiler and the machine."""
    from torch._inductor.codecache import cache_dir
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    constants = {k: v.tolist() if isinstance(v, Tensor) else repr(v) for k, v in program.constants.items()}
    inputs = [(str(v.device), v.dtype, v.stride()) for v in tree_leaves(program.example_inputs)]
    content = str(program.graph), repr((constants, inputs, options)), torch.__version__, str(pick_vec_isa())
    digest = hashlib.sha256("\n".join(content).encode()).hexdigest()[:32]
    stem = "".join(c if c.isalnum() else "_" for c in name)
    return Path(cache_dir()) / "scratchrnn" / f"{stem}-{digest}.pt2"


def _write(program: Any, package: Path, options: dict[str, Any]) -> None:
    package.parent.mkdir(parents=True, exist_ok=True)
    handle, unfinished = tempfile.mkstemp(suffix=".pt2", dir=package.parent)
    os.close(handle)
    try:
        with torch._inductor.config.patch(options):
            torch._inductor.aoti_compile_and_package(program, package_path=unfinished)
        os.replace(unfinished, package)  # in one go: another process may be looking for it
    finally:
        Path(unfinished).unlink(missing_ok=True)
