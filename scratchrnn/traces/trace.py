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
from typing import Any, NamedTuple, TypeVar, overload

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence
from torch.utils._pytree import tree_map_only

from ..cells.cell import TAKEN, Cell, State
from ..engine import segments
from ..engine.columns import Operands, Weights
from ..engine.forward import Run, Setting, initial, replay, step_sizes, steps
from ..engine.native.takes import functions_for
from ..equations.adjoint import seen
from ..layers.one_step import RNNCellBase
from ..layers.recurrent import RecurrentLayer
from .diversion import diverted
from .record import Nodes, Record, Records
from .run_by import LAYER, ONE_STEP, own_forward, run_by, weights_of
from .steps import Step, Steps
from .traced import ModelTrace, Trace

Of = TypeVar("Of")


@overload
def trace(
    module: nn.RNNBase | RecurrentLayer | nn.RNNCellBase | RNNCellBase,
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
    """Run a layer, or a model with recurrent layers or cells in it, and return every gate and state of every step.

        trace(nn.LSTM(3, 4), x).layer(0).f              # [T, B, H]
        trace(model, x)["encoder.lstm"].layer(0).f      # by the layer's name in the model

    Of a loop over a cell each call is a step:

        >>> import torch, scratchrnn as sr
        >>> class Tagger(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.cell = torch.nn.LSTMCell(3, 4)
        ...     def forward(self, x):
        ...         state, output = None, []
        ...         for x_t in x:
        ...             state = self.cell(x_t, state)
        ...             output.append(state[0])
        ...         return torch.stack(output)
        >>> sr.trace(Tagger(), torch.randn(5, 2, 3))["cell"].layer(0).f.shape
        torch.Size([5, 2, 4])

    Args:
        module: a `RecurrentLayer` (RNN, LSTM, GRU, or one with your cell) or torch.nn's RNN, LSTM or GRU, to be called
            with `(input, state=None)`; RNNCell, LSTMCell or GRUCell of either; or a model that holds some, called once
            with whatever it takes. Its recurrent layers and cells, torch.nn's too, then run by scratchrnn, with their
            own weights. Their hooks run as well, but the trace shows what the layer itself takes and gives. They may
            be of classes derived from these, without a `forward` of their own.
        halves: give the two terms of every pre-activation too, for the price of another pass of products.
        differentiable: leave the tensors in autograd's graph, for a loss made of them and for `gradients`. Autograd
            then walks the loop, several times slower in long sequences. Otherwise all is detached.

    Calls of a cell are joined where one is given the state that an earlier one has returned, be it detached, cloned or
    masked; `Steps` in `traces/steps.py` has the rule. A batch of sequences is one trace in `ModelTrace.calls`, of
    `output` [T, B, H] and the `state` that the cell returned at the end of each. If fewer rows go on, as in
    `h[:batch_sizes[t]]`, the others have ended, as in packed sequences. `h` is what the cell returned and `h_prev` what
    it was given, which is another h where the loop does something to it.

    Only the calls that the model makes in this thread and context are traced: other threads may call, train, copy and
    trace the same layers meanwhile. What the model itself hands to a thread is traced if the thread runs it in a copy
    of the context. A trace that the model takes within its call has the calls made in it for itself.

    Compiled code is traced as it was written, wherever the model has it. Where PyTorch's compiler is loaded, compiled
    code of other threads runs as it was written, too, as long as a trace takes: PyTorch raises in one of
    `fullgraph=True` that still runs when the trace ends.

    A detached trace takes 1.0 to 2.2 times as long as a forward pass in training (`benchmarks/tracing.py`), and holds
    what it returns, all tensors at once: 13 numbers for each unit and step of an LSTM, 9 of a GRU, 3 of an RNN.

    Raises:
        TypeError: `module` is no module; or a layer or cell, or its class derived from one of torch.nn's or ours, has a
            `forward` of its own.
        ValueError: it has no recurrent layer and no cell; `differentiable`, and a cell's adjoint departs from its
            update on purpose. RuntimeError: `differentiable` where gradients are switched off. And whatever the module
            raises for its input.
    """
    if differentiable and not torch.is_grad_enabled():
        raise RuntimeError("differentiable=True needs gradients, which are switched off here (torch.no_grad)")
    if not isinstance(module, nn.Module):
        raise TypeError(f"module should be a torch.nn.Module, got: {type(module).__name__}")
    if alone := isinstance(module, LAYER + ONE_STEP):
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
    parts = {name: m for name, m in model.named_modules() if isinstance(m, LAYER + ONE_STEP)}
    if not parts:
        raise ValueError(
            f"no RNN, LSTM, GRU or cell of torch.nn or scratchrnn in this {type(model).__name__}; give equations of "
            "your own as a RecurrentLayer(Cell(...), ...)"
        )
    for part in parts.values():
        if "forward" in part.__dict__:
            raise own_forward(part)
    calls: dict[str, list[Trace]] = {name: [] for name in parts}
    of_cells: dict[str, Steps] = {}

    def traced(name: str, part: Any, input: Any, hx: Any = None) -> Any:
        by = run_by(part)
        with torch.set_grad_enabled(differentiable and torch.is_grad_enabled()):  # whatever the model switches on
            if isinstance(by, RNNCellBase):
                step = _trace_step(by, halves, differentiable, input, hx)
                of_cells.setdefault(name, Steps(by.cell, bool(by.bias), name)).take(step)
                return step.returned if len(step.returned) > 1 else step.returned[0]
            calls[name].append(_trace_layer(name, by, halves, differentiable, input, hx))
        return calls[name][-1].output, calls[name][-1].state

    with diverted({part: functools.partial(traced, name, part) for name, part in parts.items()}):
        output = model(*arguments, **keywords)
    return ModelTrace(output, calls | {name: steps.traces() for name, steps in of_cells.items()})


def _trace_step(module: RNNCellBase, halves: bool, differentiable: bool, input: Tensor, hx: Any) -> Step:
    taken: list[dict[str, Tensor]] = []

    def step(cell: Cell, *arguments: Tensor) -> tuple[State, None]:
        state, rows = _taken(cell, *arguments)
        taken.append(rows)
        return tuple(s.clone() for s in state), None  # a loop may write into it

    def own(t: Tensor) -> Tensor:
        t = t.clone()
        return t.requires_grad_() if differentiable and not t.requires_grad else t

    cell = module.cell
    x, state = tree_map_only(Tensor, own, (input, hx))
    returned = module.running_by(step).forward(x, state)
    (rows,) = taken
    nodes = _nodes(cell, rows) if differentiable else {}
    if halves:
        rows = rows | _halves(cell, x.reshape(-1, x.shape[-1]), rows[f"{cell.states[0]}_prev"], weights_of(module))
    given, returned = [(s,) if len(cell.states) == 1 else s for s in (hx, returned)]
    return Step(None if hx is None else tuple(given), returned, rows, nodes)


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
        start: Sequence[Tensor | None],
        weights: Weights,
        reverse: bool,
        _: int | None,  # a trace keeps every step
    ) -> tuple[Tensor, State]:
        padded = x.shape[:-1]

        def time_major(rows: Tensor) -> Tensor:
            """[T, B, width], the sequences in the caller's order."""
            return rows.unflatten(0, padded) if packed is None else pad_packed_sequence(packed._replace(data=rows))[0]

        setting = Setting(cell, step_sizes(x, batch_sizes), reverse)
        operands = Operands(x, weights, tuple(start))
        if differentiable:  # a gradient by each of them is given, too, whether or not it flows on to something
            operands = operands._replace(state=initial(setting, operands))
            x, *state = [s if s.requires_grad else s.detach().requires_grad_() for s in (x, *operands.state)]
            operands = Operands(x, weights, tuple(state))
        found = (_watched if differentiable else _replayed)(setting, operands)
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
    cell, given = setting.cell, [t for t in operands.flat() if t is not None]
    native = functions_for(cell, given)  # by the engine of the layer's own calls
    run = segments.steps(setting._replace(native=native), operands, keep=True)
    kept = run.kept
    assert kept is not None and kept.pre is not None  # noqa: PT018 - one thought
    (_, *others), shown = replay(setting, kept, functools.partial(seen, cell))
    emitted = run.output.flatten(0, -2)
    pre = setting.columns().pre_activations(kept.pre)
    return _Seen(run, _named(cell, pre, shown, (emitted, *others), kept.state_prev), {})


def _watched(setting: Setting, operands: Operands) -> _Seen:
    """From the loop that autograd follows: a cell with the same `update` and a projection in it tells of every step."""
    cell, W_hr = setting.cell, operands.weights.hr
    if not cell.check:
        raise ValueError(
            "differentiable=True gives gradients by autograd, and "
            f"cell {cell.name!r} has others on purpose (check=False)"
        )
    taken: list[dict[str, Tensor]] = []

    @functools.wraps(cell.update)
    def update(*arguments: Tensor) -> tuple[State, Any]:
        state, rows = _taken(cell, *arguments, W_hr=W_hr)
        taken.append(rows)
        return state, None

    watched = setting._replace(cell=replace(cell, update=update, adjoint=None))
    run = steps(watched, operands._replace(weights=operands.weights._replace(hr=None)), functional=True)
    order = [taken[k] for k in watched.order()]  # as they were taken, or the other way round
    by_name = {name: [step[name] for step in order] for name in order[0]}
    rows = {name: torch.cat(of_steps) for name, of_steps in by_name.items()}
    return _Seen(run, rows, _nodes(cell, by_name))


def _taken(cell: Cell, *arguments: Tensor, W_hr: Tensor | None = None) -> tuple[State, dict[str, Tensor]]:
    """A step of the cell, and what is to be seen of it."""
    pre, state_prev = arguments[: len(cell.pre_activations)], arguments[len(cell.pre_activations) :]
    state, shown = seen(cell, *arguments)
    if W_hr is not None:
        state = (state[0] @ W_hr.T, *state[1:])
    return state, _named(cell, pre, shown, state, state_prev)


def _nodes(cell: Cell, by_name: dict[str, Of]) -> dict[str, Of]:
    """What a gradient is given by.

    A state before is the state of the step before, or, where rows begin to wait, a slice of it: no node of its own.
    """
    states_prev = {f"{name}_prev" for name in cell.states}
    return {name: of_steps for name, of_steps in by_name.items() if name not in states_prev}


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
