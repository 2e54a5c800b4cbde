"""What `trace` returns: of a layer a `Trace`, of a model a `ModelTrace`; and what becomes of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..cells.cell import Cell
from ..cells.twins import BUILT_IN
from .as_page import AsPage
from .files import content, detached, read, records_of, to_dataframe
from .record import Record, Records, shown

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Trace(AsPage):
    """What a layer returned, or the calls of a cell, and a `Record` for each of its layers and directions."""

    output: Any
    state: Any
    records: Records

    def __repr__(self) -> str:
        some = next(iter(self.records.values()))
        layers = len({k for k, _ in self.records})
        stack = [f"{layers} layers"] if layers > 1 else []
        stack += ["both directions"] if len(self.records) > layers else []
        return ", ".join([some.cell.name, *stack, shown(some)])

    def layer(self, k: int, reverse: bool = False) -> Record:
        """The record of layer k, forward or reverse direction.

        Raises:
            IndexError: there is no such layer or direction.
        """
        if (k, reverse) not in self.records:
            there = ", ".join(f"layer({n}{', reverse=True' if r else ''})" for n, r in self.records)
            raise IndexError(f"no layer({k!r}, reverse={reverse}) in this trace, only {there}")
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
        return to_dataframe([({}, self.records)])

    def save(self, path: str) -> None:
        """Write it to a file for `load_trace`: detached tensors in plain containers, by torch.save.

        Raises:
            OSError: the file cannot be written.
        """
        torch.save({"trace": _content(self)}, path)

    def _layers(self) -> dict[str, Records]:
        return {"": self.records}


@dataclass(frozen=True)
class ModelTrace(AsPage):
    """What a model returned, and the trace of each of its recurrent layers by its name: `trace["lstm"].layer(0).f`."""

    output: Any
    calls: dict[str, list[Trace]]
    """For each layer the traces of its calls in their order: a decoder may call its layer once for each step. Calls of
    a cell that go on from each other are one trace. A layer that stands at several places in the model has the name of
    the first."""

    def __getitem__(self, name: str) -> Trace:
        """The only trace of the layer or cell.

        Raises:
            KeyError: the model has no recurrent layer or cell of that name, or has not called it.
            ValueError: there are several, of calls, or of a cell of sequences that do not go on from each other: see
                `calls`.
        """
        if not (calls := self.calls.get(name, [])):
            what = "was not called" if name in self.calls else f"is no recurrent layer or cell; {', '.join(self.calls)}"
            raise KeyError(f"{name!r} {what}")
        if len(calls) > 1:
            raise ValueError(
                f"{name!r} has {len(calls)} traces, one for each call, or of a cell for each sequence: "
                f"take one of .calls[{name!r}]"
            )
        return calls[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self.calls)

    def __repr__(self) -> str:
        several = {name: f", {len(calls)} traces" if len(calls) > 1 else "" for name, calls in self.calls.items()}
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

    def to_dataframe(self) -> pandas.DataFrame:
        """As `Trace.to_dataframe`, of all layers, with the columns `name` and `call`: it is of `calls[name][call]`.

        What a layer's cell does not have, as a GRU's `f`, is NaN.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        every = [
            ({"name": name, "call": n}, t.records) for name, calls in self.calls.items() for n, t in enumerate(calls)
        ]
        return to_dataframe(every)

    def save(self, path: str) -> None:
        """Write the layers' traces to a file for `load_trace`; the model's own output is not kept.

        Raises:
            OSError: the file cannot be written.
        """
        torch.save({"calls": {name: [_content(call) for call in calls] for name, calls in self.calls.items()}}, path)

    def _layers(self) -> dict[str, Records]:
        return {name: self[name].records for name, calls in self.calls.items() if calls}


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
        return replace(record, tensors=tensors, nodes={})

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
    kept = read(path)
    try:
        if "trace" in kept:
            return _trace_of(kept["trace"], known)
        calls = {name: [_trace_of(call, known, name) for call in calls] for name, calls in kept["calls"].items()}
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError):
        raise ValueError(f"{path} should be a file that a trace was saved to, it holds something else") from None
    return ModelTrace(None, calls)


def _content(trace: Trace) -> dict[str, Any]:
    return {
        "output": detached(trace.output),
        "state": detached(trace.state),
        "records": content(trace.records),
    }


def _trace_of(kept: dict[str, Any], known: Iterable[Cell], name: str = "") -> Trace:
    return Trace(kept["output"], kept["state"], records_of(kept["records"], known, name))


def _suffix(k: int, reverse: bool) -> str:
    return f"l{k}_reverse" if reverse else f"l{k}"
