"""What `trace` returns: named tensors for each layer and direction of a layer or model; and how they are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ..cells.cell import Cell
from ..cells.twins import BUILT_IN

if TYPE_CHECKING:
    import pandas

Nodes = dict[str, list[Tensor]]


@dataclass(frozen=True)
class Record:
    """One layer and direction: `record.f` or `record["f"]` is gate f at every step, time-major [T, B, H].

    The names are the fields of the cell's tape, its states, its pre-activations, the states before: an LSTM's
    `i f g o c_prev tanh_c`, `h c`, `i_pre f_pre g_pre o_pre`, `h_prev`; a GRU's `r z n n_h h_prev`, `h`,
    `r_pre z_pre n_x`. Taken with `halves=True`, also
    the two terms of every pre-activation, `f_x = W_if x + b_if` and `f_h = W_hf h_prev + b_hf`. A sequence shorter than
    T has zeros behind its end. `h` is [T, B, P] under a projection.
    """

    tensors: dict[str, Tensor]
    cell: Cell
    lengths: Tensor | None = None
    """[B], the steps of each sequence; None where all have T."""
    bias: bool = True
    """Whether the layer has biases."""
    nodes: Nodes = field(default_factory=dict)
    """Of a differentiable trace: what the tensors were made of, step by step, for `Trace.gradients`."""
    join: Callable[[list[Tensor]], Tensor] = torch.stack

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __getitem__(self, name: str) -> Tensor:
        tensors = self.__dict__.get("tensors", {})
        if name not in tensors:
            hint = "; halves of pre-activations with trace(..., halves=True)" if name.endswith(("_x", "_h")) else ""
            raise KeyError(f"no {name!r} in this trace, only {', '.join(tensors)}{hint}")
        return tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __repr__(self) -> str:
        return f"{self.cell.name}, {_shown(self)}"

    def valid(self) -> Tensor:
        """[T, B]: whether the sequence has that step."""
        some = next(iter(self.tensors.values()))
        T, B = some.shape[:2]
        lengths = torch.full((B,), T) if self.lengths is None else self.lengths
        return (torch.arange(T).unsqueeze(1) < lengths).to(some.device)


@dataclass(frozen=True)
class Trace:
    """What a layer returned, and a `Record` for each of its layers and directions."""

    output: Any
    state: Any
    records: dict[tuple[int, bool], Record]

    def __repr__(self) -> str:
        some = next(iter(self.records.values()))
        layers = len({k for k, _ in self.records})
        stack = [f"{layers} layers"] if layers > 1 else []
        stack += ["both directions"] if len(self.records) > layers else []
        return ", ".join([some.cell.name, *stack, _shown(some)])

    def layer(self, k: int, reverse: bool = False) -> Record:
        """The record of layer k, forward or reverse direction.

        Raises:
            IndexError: there is no such layer or direction.
        """
        if (k, reverse) not in self.records:
            there = ", ".join(f"layer({n}{', reverse=True' if r else ''})" for n, r in self.records)
            raise IndexError(f"no layer({k}, reverse={reverse}) in this trace, only {there}")
        return self.records[k, reverse]

    def gradients(self, loss: Tensor) -> Trace:
        """dL/dX for gates, states and pre-activations, under the name of X: `gradients(loss).layer(0).f` is dL/df.

        The gradient of a state, `h` or `c` at step t, is the whole of it: by what the step emits and by all later ones.
        That of `h_prev` is that of `h` a step before, that of a half, `f_x` or `f_h`, is that of the sum `f_pre`: they
        are left out. The result has neither output nor state. The graph stays, for `loss.backward()`.

        Args:
            loss: a number that was computed from what the layer or model returned, or from the trace itself.

        Raises:
            ValueError: the trace was not taken with `differentiable=True`.
        """
        return _gradients([self], loss)[0]

    def to_dict(self) -> dict[str, Tensor]:
        """All tensors, flat: `{"l0.f": [T, B, H], "l0_reverse.f": ...}`, named as torch.nn names weights."""
        return {f"{_suffix(k, r)}.{n}": t for (k, r), record in self.records.items() for n, t in record.tensors.items()}

    def to_dataframe(self) -> pandas.DataFrame:
        """A row for each layer, direction, sequence, step and unit, a column for each tensor; needs pandas.

        Steps behind a sequence's end are left out; under a projection `h` has fewer units, and NaN for the others.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        import pandas

        return pandas.concat([_rows(k, r, record) for (k, r), record in self.records.items()], ignore_index=True)

    def save(self, path: str) -> None:
        """Write it to a file for `load_trace`: detached tensors in plain containers, by torch.save.

        Raises:
            OSError: the file cannot be written.
        """
        torch.save({"trace": _content(self)}, path)

    def to_html(
        self, path: str, tokens: Sequence[str] | None = None, sequence: int | None = 0, title: str | None = None
    ) -> None:
        """Write a page to click through: the text, every gate of every unit, and each equation with its numbers.

        One file, which needs no network and no server. Take the trace with `halves=True` to see how much of a
        pre-activation comes from the input.

        Args:
            path: the file, `.html`.
            tokens: what the steps are, one for each; default: their numbers.
            sequence: which of the batch; None for all of them, one behind the other.
            title: of the page; default: the kind of layer and the number of tokens.

        Raises:
            OSError: the file cannot be written.
            ValueError: there is no such sequence, or not one token for each of its steps.
        """
        from .page.page import page, write

        write(path, page({"": self}, tokens, sequence, title))


@dataclass(frozen=True)
class ModelTrace:
    """What a model returned, and the trace of each of its recurrent layers by its name: `trace["lstm"].layer(0).f`."""

    output: Any
    calls: dict[str, list[Trace]]
    """For each layer the traces of its calls in their order: a decoder may call its layer once for each step. A layer
    that stands at several places in the model has the name of the first."""

    def __getitem__(self, name: str) -> Trace:
        """The trace of the layer's only call.

        Raises:
            KeyError: the model has no recurrent layer of that name, or has not called it.
            ValueError: it was called several times: see `calls`.
        """
        if not (calls := self.calls.get(name, [])):
            what = "was not called" if name in self.calls else f"is no recurrent layer; {', '.join(self.calls)}"
            raise KeyError(f"{name!r} {what}")
        if len(calls) > 1:
            raise ValueError(f"{name!r} was called {len(calls)} times: take one of .calls[{name!r}]")
        return calls[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self.calls)

    def __repr__(self) -> str:
        several = {name: f", {len(calls)} calls" if len(calls) > 1 else "" for name, calls in self.calls.items()}
        return "\n".join(
            f"{name}{several[name]}: {calls[0] if calls else 'not called'}" for name, calls in self.calls.items()
        )

    def gradients(self, loss: Tensor) -> ModelTrace:
        """As `Trace.gradients`, of every layer: `gradients(loss)["lstm"].layer(0).h` is dL/dh_t."""
        found = iter(_gradients([call for calls in self.calls.values() for call in calls], loss))
        return ModelTrace(None, {name: [next(found) for _ in calls] for name, calls in self.calls.items()})

    def to_dict(self) -> dict[str, Tensor]:
        """All tensors, flat: `{"lstm.l0.f": ...}`, and of several calls `{"lstm[0].l0.f": ...}`."""
        return {
            f"{name}{f'[{n}]' if len(calls) > 1 else ''}.{key}": t
            for name, calls in self.calls.items()
            for n, call in enumerate(calls)
            for key, t in call.to_dict().items()
        }

    def save(self, path: str) -> None:
        """Write the layers' traces to a file for `load_trace`; the model's own output is not kept.

        Raises:
            OSError: the file cannot be written.
        """
        torch.save({"calls": {name: [_content(call) for call in calls] for name, calls in self.calls.items()}}, path)

    def to_html(
        self, path: str, tokens: Sequence[str] | None = None, sequence: int | None = 0, title: str | None = None
    ) -> None:
        """As `Trace.to_html`, of all layers that were called; each must have read the same tokens.

        Raises:
            ValueError: also where a layer was called several times: write a page of one of its calls.
        """
        from .page.page import page, write

        write(path, page({name: self[name] for name, calls in self.calls.items() if calls}, tokens, sequence, title))


def expect_record(given: Any, name: str = "record") -> None:
    """Raise TypeError unless the argument of that name is a record."""
    if not isinstance(given, Record):
        raise TypeError(f"{name} should be a Record, as trace(...).layer(k), got {type(given).__name__}")


def _shown(record: Record) -> str:
    """Sizes and the first names: `T=61 B=1 H=64: i f g o h c ...`."""
    widths = {name: t.shape[-1] for name, t in record.tensors.items()}
    T, B, _ = next(iter(record.tensors.values())).shape
    H, emitted = max(widths.values()), record.cell.states[0]
    P = f" P={widths[emitted]}" if widths.get(emitted, H) < H else ""
    names = [name for name in (*record.cell.gates, *record.cell.states) if name in widths]
    return f"T={T} B={B} H={H}{P}: {' '.join(names)}{' ...' if len(names) < len(widths) else ''}"


# ------------------------------------------------------------------------------------------------ gradients


def _gradients(traces: Sequence[Trace], loss: Tensor) -> list[Trace]:
    """One walk back through the graph for all of them."""
    records = [record for t in traces for record in t.records.values()]
    if not all(record.nodes for record in records):
        raise ValueError("gradients need a trace that was taken with differentiable=True")
    nodes = [node for record in records for of_steps in record.nodes.values() for node in of_steps]
    # Where a model switches gradients off, none arrive: zeros, as for what the loss does not depend on.
    followed = [node for node in nodes if node.requires_grad]
    reached = iter(torch.autograd.grad(loss, followed, retain_graph=True, materialize_grads=True, allow_unused=True))
    found = iter([next(reached) if node.requires_grad else torch.zeros_like(node) for node in nodes])

    def gradient(record: Record) -> Record:
        # A shorter sequence's rows are in fewer steps, so they are joined as they were before.
        tensors = {name: record.join([next(found) for _ in of_steps]) for name, of_steps in record.nodes.items()}
        return Record(tensors, record.cell, record.lengths, record.bias)

    return [Trace(None, None, {place: gradient(record) for place, record in t.records.items()}) for t in traces]


# ------------------------------------------------------------------------------------------------ elsewhere


def load_trace(path: str, cells: Iterable[Cell] = ()) -> Trace | ModelTrace:
    """Read what `Trace.save` or `ModelTrace.save` has written; the file cannot run code.

    Args:
        path: the file.
        cells: your own cells, if the traced layers had any: a file holds no functions, only their names, gates and
            states, and whether a cell was a built-in one. Such a one is never taken from here, nor one of yours from
            the built-in ones.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no trace, or one of a cell that is not among `cells`, or is as several of them.
    """
    known = list(dict.fromkeys([*cells, *BUILT_IN.values()]))
    try:
        with torch.serialization.safe_globals([PackedSequence]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a file of another kind makes the unpickler raise whatever it stumbles over
        raise ValueError(f"{path} should be a file that a trace was saved to: {error}") from None
    try:
        if "trace" in content:
            return _trace_of(content["trace"], known)
        calls = {name: [_trace_of(call, known) for call in calls] for name, calls in content["calls"].items()}
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError):
        raise ValueError(f"{path} should be a file that a trace was saved to, it holds something else") from None
    return ModelTrace(None, calls)


def _content(trace: Trace) -> dict[str, Any]:
    records = [
        {
            "layer": k,
            "reverse": reverse,
            "cell": _signature(record.cell),
            "built_in": _is_built_in(record.cell),
            "lengths": record.lengths,
            "bias": record.bias,
        }
        | {"tensors": {name: t.detach().clone() for name, t in record.tensors.items()}}
        for (k, reverse), record in trace.records.items()
    ]
    return {"output": _detached(trace.output), "state": _detached(trace.state), "records": records}


def _signature(cell: Cell) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """What of a cell can be kept in a file."""
    return cell.name, cell.pre_activations, cell.states


def _is_built_in(cell: Cell) -> bool:
    return cell == BUILT_IN.get(cell.name)


def _detached(x: Any) -> Any:
    if isinstance(x, PackedSequence):
        return x._replace(data=x.data.detach())
    return tuple(s.detach() for s in x) if isinstance(x, tuple) else x if x is None else x.detach()


def _trace_of(content: dict[str, Any], known: Iterable[Cell]) -> Trace:
    records = {}
    for kept in content["records"]:
        cell = _cell_of(kept["cell"], kept["built_in"], known)
        records[kept["layer"], kept["reverse"]] = Record(kept["tensors"], cell, kept["lengths"], kept["bias"])
    return Trace(content["output"], content["state"], records)


def _cell_of(signature: tuple[str, tuple[str, ...], tuple[str, ...]], built_in: bool, known: Iterable[Cell]) -> Cell:
    alike = [cell for cell in known if _signature(cell) == signature]
    found = [cell for cell in alike if _is_built_in(cell) == built_in]
    if len(found) == 1:
        return found[0]
    name, pre_activations, states = signature
    whose = f"the trace is of a cell {name!r} of {', '.join(pre_activations)} and {', '.join(states)}"
    if found:
        raise ValueError(f"{whose}, and {len(found)} of cells are so called: give the one it is of")
    raise ValueError(f"{whose}{', not the built-in one' if alike else ''}: give it, load_trace(path, cells=[...])")


def _suffix(k: int, reverse: bool) -> str:
    return f"l{k}_reverse" if reverse else f"l{k}"


def _rows(k: int, reverse: bool, record: Record) -> pandas.DataFrame:
    import pandas

    units = max(t.shape[-1] for t in record.tensors.values())
    valid = record.valid().cpu()
    step, sequence = valid.nonzero(as_tuple=True)
    places = {"layer": k, "reverse": reverse, "sequence": sequence.repeat_interleave(units)}
    places |= {"step": step.repeat_interleave(units), "unit": torch.arange(units).repeat(len(step))}
    columns = {}
    for name, t in record.tensors.items():
        padded = torch.nn.functional.pad(t.detach(), (0, units - t.shape[-1]), value=float("nan"))
        columns[name] = padded[valid.to(t.device)].flatten().cpu().numpy()
    numpy = {name: at.numpy() if isinstance(at, Tensor) else at for name, at in places.items()}
    return pandas.DataFrame(numpy | columns)
