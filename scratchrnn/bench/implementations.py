"""The ways to run one recurrent layer that the benchmark times against each other."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..cells.cell import step
from ..cells.twins import BUILT_IN, TWINS
from ..layers.convert import from_torch

Build = Callable[[nn.RNNBase], Callable[..., Any]]


class Unavailable(Exception):  # noqa: N818 - no error, a reason
    """This implementation cannot be run here, and why."""


class _Loop(nn.Module):
    """A loop over time in Python, with the parameters of `theirs` under their names."""

    def __init__(self, theirs: nn.RNNBase) -> None:
        super().__init__()
        if theirs.bidirectional:
            raise Unavailable("it is a loop in one direction")
        for name, parameter in theirs.named_parameters():
            self.register_parameter(name, nn.Parameter(parameter.detach().clone()))
        self.cell, self.layers, self.width = BUILT_IN[theirs.mode], theirs.num_layers, theirs.hidden_size

    def step(self, k: int, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def forward(self, x: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        _expect_padded(x)
        last = []
        for k in range(self.layers):
            state = tuple(x.new_zeros(x.shape[1], self.width) for _ in self.cell.states)
            emitted = []
            for x_t in x.unbind(0):
                state = self.step(k, x_t, state)
                emitted.append(state[0])
            x = torch.stack(emitted)
            last.append(state)
        states = tuple(torch.stack(s) for s in zip(*last, strict=True))
        return x, states if len(states) > 1 else states[0]


class PythonLoop(_Loop):
    """Both products and the cell's `update` at each step, under autograd: what one writes first."""

    def step(self, k: int, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        cell, w = self.cell, self._parameters
        input_side = nn.functional.linear(x, w[f"weight_ih_l{k}"], w[f"bias_ih_l{k}"]).chunk(len(cell.gates), 1)  # type: ignore[arg-type]
        hidden_side = nn.functional.linear(state[0], w[f"weight_hh_l{k}"], w[f"bias_hh_l{k}"]).chunk(len(cell.gates), 1)  # type: ignore[arg-type]
        pre_activations: list[Tensor] = []
        for gate, from_x, from_h in zip(cell.gates, input_side, hidden_side, strict=True):
            pre_activations += [from_x, from_h] if gate in cell.split else [from_x + from_h]
        return step(cell, *pre_activations, *state)[0]


class CellLoop(_Loop):
    """torch.nn's own cell at each step."""

    def __init__(self, theirs: nn.RNNBase) -> None:
        super().__init__(theirs)
        twin = next(twin for twin in TWINS if twin.cell.name == theirs.mode)
        self.cells = []  # a plain list: the parameters are registered already
        for k in range(self.layers):
            cell = twin.step(theirs.input_size if k == 0 else self.width, self.width, **twin.options)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                setattr(cell, name, getattr(self, f"{name}_l{k}"))
            self.cells.append(cell)

    def step(self, k: int, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        after = self.cells[k](x, state if len(state) > 1 else state[0])
        return after if len(state) > 1 else (after,)


class _WithFlags(nn.Module):
    """torch.nn's layer with one of torch's libraries switched off."""

    def __init__(self, theirs: nn.RNNBase, flags: Callable[[], Any]) -> None:
        super().__init__()
        for name, parameter in theirs.named_parameters():
            self.register_parameter(name, parameter)
        self.layer, self.flags = [theirs], flags

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        with self.flags():
            return self.layer[0](x, hx)


def _without_onednn(theirs: nn.RNNBase) -> nn.Module:
    _expect(theirs, "cpu", "oneDNN is the CPU's")
    if not isinstance(theirs, nn.LSTM):
        raise Unavailable("torch.nn runs this cell without oneDNN anyway")
    return _WithFlags(theirs, _onednn_off)


@contextmanager
def _onednn_off() -> Iterator[None]:
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)  # torch.backends.mkldnn.flags sets TF32 too, and warns of that
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


def _without_cudnn(theirs: nn.RNNBase) -> nn.Module:
    _expect(theirs, "cuda", "cuDNN needs CUDA")
    return _WithFlags(theirs, lambda: torch.backends.cudnn.flags(enabled=False))


def _in_a_cuda_graph(theirs: nn.RNNBase) -> Callable[..., Any]:
    _expect(theirs, "cuda", "CUDA graphs need CUDA")
    layer = from_torch(theirs)
    graphed: dict[torch.Size, Any] = {}

    def run(x: Tensor) -> Any:
        _expect_padded(x)
        if x.shape not in graphed:
            graphed[x.shape] = torch.cuda.make_graphed_callables(layer, (torch.zeros_like(x),))
        return graphed[x.shape](x)

    run.parameters = layer.parameters  # type: ignore[attr-defined]
    return run


def _expect(theirs: nn.RNNBase, device: str, reason: str) -> None:
    if theirs.weight_hh_l0.device.type != device:
        raise Unavailable(reason)


def _expect_padded(x: Any) -> None:
    if not isinstance(x, Tensor):
        raise Unavailable("it takes padded batches alone")


OURS, THEIRS = "scratchrnn", "torch.nn"
IMPLEMENTATIONS: dict[str, Build] = {
    THEIRS: lambda theirs: theirs,
    OURS: from_torch,
    "torch.nn, no oneDNN": _without_onednn,
    "torch.nn, no cuDNN": _without_cudnn,
    "scratchrnn, CUDA graph": _in_a_cuda_graph,
    "cell loop": CellLoop,
    "Python loop": PythonLoop,
    "Python loop, compiled": lambda theirs: torch.compile(PythonLoop(theirs)),
}
"""By name: each makes a callable `(x) -> (output, state)` that has `parameters()`, the given layer's weights, or raises
Unavailable."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Unavailable in the block after so many seconds, where the platform has alarms: it may be compiling."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: Any) -> None:
        raise _Late

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except BaseException as error:
        late: BaseException | None = error
        while late is not None and not isinstance(late, _Late):
            late = late.__cause__ or late.__context__
        if late is None:
            raise
        raise Unavailable(f"not ready to run within {seconds:g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Late(BaseException):
    pass
