"""Look inside a layer, or every layer of a model: gates, pre-activations and states at every step, and their gradients.

torch.nn's layers return none of these. Here they come out of the layer's own run: where no gradient is asked for, from
what BPTT would keep and one call of the cell's `update` for all steps; where one is, from the loop that
autograd can follow, with its `update` watched.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from ..cells.cell import TAKEN, Cell, State
from ..engine import segments
from ..engine.columns import Columns, Operands, Weights
from ..engine.forward import Run, Setting, replay, step_sizes, steps
from ..engine.native.run import runs
from ..equations.adjoint import seen
from ..layers.recurrent import RecurrentLayer
from .diversion import diverted
from .record import Nodes, Record, Records
from .run_by import run_by
from .traced import ModelTrace, Trace


@overload
def trace(
    module: nn.RNNBase | RecurrentLayer,
    *arguments: Any,
    halves: bool = ...,
    differentiable: bool = ...,
    **keywords: Any,
) -> Trace: ...
@overload
def trace(
    module: nn.Module, *arguments: Any, halves: bool = ..., differentiable: bool = ..., **keywords: Any
) -> ModelTrace: ...
def trace(
    module: nn.Module, *arguments: Any, halves: bool = False, differentiable: bool = False, **keywords: Any
) -> Trace | ModelTrace:
    """Run a layer, or a model with recurrent layers in it, and return every gate and state of every step.

        trace(nn.LSTM(3, 4), x).layer(0).f              # [T, B, H]
        trace(model, x)["encoder.lstm"].layer(0).f      # by the layer's name in the model

    Args:
        module: a `RecurrentLayer` (RNN, LSTM, GRU, or one with your cell) or torch.nn's RNN, LSTM or GRU, to be called
            with `(input, state=None)`; or a model that holds some, called once with whatever it takes. Its recurrent
            layers, torch.nn's too, then run by scratchrnn, with their own weights. Their hooks run as well, but the
            trace shows what the layer itself takes and gives.
        halves: give the two terms of every pre-activation too, for the price of another pass of products.
        differentiable: leave the tensors in autograd's graph, for a loss made of them and for `gradients`. Autograd
            then walks the loop, several times slower in long sequences. Otherwise all is detached.

    Only the calls that the model makes in this thread and context are traced: other threads may call, train, copy and
    trace the same layers meanwhile. What the model itself hands to a thread is traced if the thread runs it in a copy
    of the context. A trace that the model takes within its call has the calls made in it for itself.

    Compiled code is traced as it was written, wherever the model has it. Where PyTorch's compiler is loaded, compiled
    code of other threads runs as it was written, too, as long as a trace takes: PyTorch raises in one of
    `fullgraph=True` that still runs when the trace ends.

    A detached trace takes 1.0 to 2.2 times as long as a forward pass in training (`benchmarks/tracing.py`), and holds
    what it returns, all tensors at once: 13 numbers for each unit and step of an LSTM, 9 of a GRU, 3 of an RNN.

    Raises:
        TypeError: `module` is no module; or a layer is of a class derived from one of torch.nn's, or from one of ours
            with a `forward` of its own, or has a `forward` of its own itself.
        ValueError: it has no recurrent layer; `differentiable`, and a cell's adjoint departs from its update on
            purpose. RuntimeError: `differentiable` where gradients are switched off. And
        whatever the module raises for its input.
    """
    if differentiable and not torch.is_grad_enabled():
        raise RuntimeError("differentiable=True needs gradients, which are switched off here (torch.no_grad)")
    if not isinstance(module, nn.Module):
        raise TypeError(f"module should be a torch.nn.Module, got: {type(module).__name__}")
    if alone := isinstance(module, (nn.RNNBase, RecurrentLayer)):
        arguments, keywords = _as_the_layer_takes_them(*arguments, **keywords)
    # What is called by compiled code, PyTorch compiles too, and that is not diverted: not here.
    run = torch.compiler.disable(_trace_model) if "torch._dynamo" in sys.modules else _trace_model
    with torch.set_grad_enabled(differentiable):
        found = run(module, halves, differentiable, arguments, keywords)
    return found[""] if alone else found


def _as_the_layer_takes_them(input: Any, state: Any = None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (input, state), {}


def _trace_model(
    model: nn.Module, halves: bool, differentiable: bool, arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> ModelTrace:
    """Call the model, with its recurrent layers diverted to where they are traced."""
    layers = {name: m for name, m in model.named_modules() if isinstance(m, (nn.RNNBase, RecurrentLayer))}
    if not layers:
        raise ValueError(f"no RNN, LSTM, GRU or layer of scratchrnn in this {type(model).__name__}")
    for layer in layers.values():
        if "forward" in layer.__dict__:
            raise TypeError(f"cannot trace a {type(layer).__name__}: it has a forward of its own")
    calls: dict[str, list[Trace]] = {name: [] for name in layers}

    def traced(name: str, layer: Any, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        with torch.set_grad_enabled(differentiable and torch.is_grad_enabled()):  # whatever the model switches on
            calls[name].append(_trace_layer(name, run_by(layer), halves, differentiable, input, hx))
        return calls[name][-1].output, calls[name][-1].state

    with diverted({layer: functools.partial(traced, name, layer) for name, layer in layers.items()}):
        output = model(*arguments, **keywords)
    return ModelTrace(output, calls)


def _trace_layer(
    name: str, layer: RecurrentLayer, halves: bool, differentiable: bool, input: Tensor | PackedSequence, state: Any
) -> Trace:
    packed = input if isinstance(input, PackedSequence) else None
    lengths = None if packed is None else _lengths(packed)
    records: Records = {}

    def scan(
        cell: Cell,
        x: Tensor,
        batch_sizes: Tensor | None,
        start: State,
        weights: Weights,
        reverse: bool,
        _: int | None,  # a trace keeps every step
    ) -> tuple[Tensor, State]:
        padded = x.shape[:-1]

        def time_major(rows: Tensor) -> Tensor:
            """[T, B, width], the sequences in the caller's order."""
            return rows.unflatten(0, padded) if packed is None else pad_packed_sequence(packed._replace(data=rows))[0]

        if differentiable:  # a gradient by each of them is given, too, whether or not it flows on to something
            x, *start_ = [s if s.requires_grad else s.detach().requires_grad_() for s in (x, *start)]
            start = tuple(start_)
        columns = Columns.of(cell)
        setting = Setting(cell, columns, step_sizes(x, batch_sizes), reverse)
        found = (_watched if differentiable else _replayed)(setting, columns.arrange(x, start, weights))
        rows = found.rows
        if halves:
            rows = rows | _halves(cell, x.flatten(0, -2), rows[f"{cell.states[0]}_prev"], weights)
        tensors = {name: time_major(values) for name, values in rows.items()}
        bias = weights.bias_ih is not None
        join = (lambda steps: time_major(torch.cat(steps))) if differentiable else torch.stack
        k = len(records) // (1 + layer.bidirectional)
        records[k, reverse] = Record(tensors, cell, lengths, bias, found.nodes, join, name, k, reverse)
        return found.run.output, found.run.state

    output, last = layer.running_by(scan).forward(input, state)
    return Trace(output, last, records)


def _lengths(packed: PackedSequence) -> Tensor:
    """[B], in the caller's order."""
    sequences = torch.arange(int(packed.batch_sizes[0]))
    lengths = (packed.batch_sizes.unsqueeze(1) > sequences).sum(0)
    return lengths if packed.unsorted_indices is None else lengths[packed.unsorted_indices.cpu()]


class _Seen(NamedTuple):
    """One scan, and what is to be seen of it."""

    run: Run
    rows: dict[str, Tensor]  # [N, width]
    nodes: Nodes


def _replayed(setting: Setting, operands: Operands) -> _Seen:
    """From what BPTT would keep, by one call of `update` for all steps."""
    cell = setting.cell
    native = runs(cell, [t for t in operands.flat() if t is not None])  # by the engine of the layer's own calls
    run = segments.steps(setting._replace(native=native), operands, keep=True)
    kept = run.kept
    assert kept is not None and kept.pre is not None  # noqa: PT018 - one thought
    (_, *others), shown = replay(setting, kept, functools.partial(seen, cell))
    emitted = run.output.flatten(0, -2)
    pre = setting.columns.pre_activations(kept.pre)
    return _Seen(run, _named(cell, pre, shown, (emitted, *others), kept.state_prev), {})


def _watched(setting: Setting, operands: Operands) -> _Seen:
    """From the loop that autograd follows: a cell with the same `update` and a projection in it tells of every step."""
    cell, W_hr = setting.cell, operands.W_hr
    if not cell.check:
        raise ValueError(
            "differentiable=True gives gradients by autograd, and "
            f"cell {cell.name!r} has others on purpose (check=False)"
        )
    taken: list[dict[str, Tensor]] = []

    @functools.wraps(cell.update)
    def update(*arguments: Tensor) -> tuple[State, Any]:
        pre, state_prev = arguments[: len(cell.pre_activations)], arguments[len(cell.pre_activations) :]
        state, shown = seen(cell, *arguments)
        if W_hr is not None:
            state = (state[0] @ W_hr.T, *state[1:])
        taken.append(_named(cell, pre, shown, state, state_prev))
        return state, None

    watched = setting._replace(cell=replace(cell, update=update, adjoint=None))
    run = steps(watched, operands._replace(W_hr=None), functional=True)
    order = [taken[k] for k in watched.order()]  # as they were taken, or the other way round
    by_name = {name: [step[name] for step in order] for name in order[0]}
    rows = {name: torch.cat(of_steps) for name, of_steps in by_name.items()}
    # A state before is the state of the step before, or, where rows begin to wait, a slice of it: no node of its own.
    states_prev = {f"{name}_prev" for name in cell.states}
    nodes = {name: of_steps for name, of_steps in by_name.items() if name not in states_prev}
    return _Seen(run, rows, nodes)


def _named(
    cell: Cell, pre: Sequence[Tensor], shown: dict[str, Tensor], state: State, state_prev: State
) -> dict[str, Tensor]:
    """What the step shows, states, pre-activations, states before. A field of such a name, as GRU's `n_h`, stays.

    A line that is called like something else of a trace is left out.
    """
    halves = {f"{g}_{half}" for g in cell.gates if g not in cell.split for half in "xh"}
    fields = {name: t for name, t in shown.items() if name not in halves and name not in TAKEN}
    found = {name: t for name, t in fields.items() if isinstance(t, Tensor) and t.dim() == 2}  # not a number it holds
    found |= zip(cell.states, state, strict=True)
    for name, values in zip(cell.pre_activations, pre, strict=True):
        found.setdefault(f"{name}_pre" if name in cell.gates else name, values)
    for name, values in zip(cell.states, state_prev, strict=True):
        found.setdefault(f"{name}_prev", values)
    return found


def _halves(cell: Cell, x: Tensor, h_prev: Tensor, weights: Weights) -> dict[str, Tensor]:
    """f_x = W_if x + b_if and f_h = W_hf h_prev + b_hf, of every gate that is not split."""
    halves = {
        "x": nn.functional.linear(x, weights.ih, weights.bias_ih),
        "h": nn.functional.linear(h_prev, weights.hh, weights.bias_hh),
    }
    blocks = {half: zip(cell.gates, rows.chunk(len(cell.gates), 1), strict=True) for half, rows in halves.items()}
    return {f"{gate}_{half}": b for half, of_gates in blocks.items() for gate, b in of_gates if gate not in cell.split}
