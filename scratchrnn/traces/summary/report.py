"""The report of a trace: of each layer and direction what it is like, and above them in sentences what they say."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

from ..record import Record, Records, place
from ..run_by import LAYER, ONE_STEP, run_by
from .layer_report import LayerReport, Place, layer_report
from .measures import spectral_radius
from .sentences import sentences
from .tables import in_html, in_text

if TYPE_CHECKING:
    import pandas


class OfLayer(Protocol):
    """A `Trace`."""

    @property
    def records(self) -> Records: ...


class OfModel(Protocol):
    """A `ModelTrace`."""

    @property
    def calls(self) -> Mapping[str, Sequence[OfLayer]]: ...


@dataclass(frozen=True, repr=False)
class TraceReport:
    """What `report` returns: it prints as text, and in a notebook as tables."""

    layers: tuple[LayerReport, ...]

    def __iter__(self) -> Iterator[LayerReport]:
        return iter(self.layers)

    @property
    def findings(self) -> list[str]:
        """What one wants to know first, a sentence each."""
        return sentences(self.layers)

    def __repr__(self) -> str:
        return "\n\n".join(["\n".join(self.findings), *map(in_text, self.layers)])

    def _repr_html_(self) -> str:
        """For a notebook."""
        findings = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self.findings)
        return f"<ul>{findings}</ul>" + "".join(map(in_html, self.layers))

    def to_dict(self) -> dict[str, Any]:
        """Plain Python, as JSON has it: `{"findings": [...], "layers": [{"name": ..., "dead": [...], ...}, ...]}`.

        None for what is not known, and for a span without end.
        """
        return {"findings": self.findings, "layers": [layer.to_dict() for layer in self.layers]}

    def to_dataframe(self) -> pandas.DataFrame:
        """A row for each layer and direction; columns as `dead`, a count, `f_low`, `c_longest`, `gradient_first`.

        Raises:
            ModuleNotFoundError: pandas is not installed.
        """
        import pandas

        return pandas.DataFrame([_row(layer) for layer in self.layers])


def report(
    trace: OfLayer | OfModel, gradients: OfLayer | OfModel | None = None, model: nn.Module | None = None
) -> TraceReport:
    """What is inside a trained layer or model: saturated gates, how far back it remembers, dead units, gradients.

        >>> import torch, scratchrnn as sr
        >>> _ = torch.manual_seed(0)
        >>> lstm, x = torch.nn.LSTM(3, 4), torch.randn(50, 8, 3)
        >>> sr.summary.report(sr.trace(lstm, x), model=lstm)
        Longest memory: c of unit 2 in layer 0 falls to 1/e in 2.0 steps; half of the units there take no more than 1.5.
        Saturated: no gate in more than half of its values.
        Dead or stuck: no unit.
        <BLANKLINE>
        layer 0: LSTM, 4 units, 8 sequences of up to 50 steps
          gate  at its low end  at its high end  radius of W_h
          i                0 %              0 %           0.70
          f                0 %              0 %           0.49
          g              0.5 %            1.8 %           0.51
          o                0 %              0 %           0.69
          c remembers  1.5 steps in the median unit, 2.0 in unit 2
          dead units   none
          stuck units  none

    Several calls of a layer, and all sequences, count together; steps behind the end of a sequence do not. Each number
    by itself, for every unit, is what another function of this module returns.

    Args:
        trace: of a layer or of a model.
        gradients: `trace.gradients(loss)` of the same trace, for the norms and the gates' shares.
        model: the module that was traced, for the spectral radii: a trace holds no weights.

    Raises:
        TypeError: `trace` or `gradients` is no trace, or `model` no module.
        ValueError: `trace` is one of gradients, or `gradients` is not, or of other layers; or a layer read no
            sequence; or `model` does not hold the layers of the trace.
    """
    records, reached = _pooled("trace", trace), None if gradients is None else _pooled("gradients", gradients)
    if not all(calls[0].of_a_run() for calls in records.values()):
        raise ValueError("trace should be one of gates and states, this is one of gradients: give it as gradients=...")
    if reached is not None and any(calls[0].of_a_run() for calls in reached.values()):
        raise ValueError("gradients should be trace.gradients(loss), this is a trace of gates and states")
    if reached is not None and reached.keys() != records.keys():
        raise ValueError(f"gradients should be of the layers of the trace, {_places(records)}; got {_places(reached)}")
    if empty := {where: calls for where, calls in records.items() if not any(call.valid().any() for call in calls)}:
        raise ValueError(f"trace should have one sequence at least, got a batch of 0 in {_places(empty)}")
    found = []
    for where, calls in records.items():
        radii = {} if model is None else spectral_radius(_part(model, where[0], calls[0]), *where[1:])
        found.append(layer_report(where, calls, None if reached is None else reached[where], radii))
    return TraceReport(tuple(found))


def _pooled(argument: str, trace: OfLayer | OfModel) -> dict[Place, list[Record]]:
    """The records of each layer and direction, of all calls."""
    if isinstance(named := getattr(trace, "calls", None), dict):
        traces = [(name, call) for name, calls in named.items() for call in calls]
    elif isinstance(getattr(trace, "records", None), dict):
        traces = [("", trace)]
    else:
        raise TypeError(f"{argument} should be what trace(...) returns, got {type(trace).__name__}")
    found: dict[Place, list[Record]] = {}
    for name, call in traces:
        for (k, reverse), record in call.records.items():
            found.setdefault((name, k, reverse), []).append(record)
    return found


def _places(records: Mapping[Place, Any]) -> str:
    return "; ".join(place(*where) for where in records)


def _part(model: Any, name: str, record: Record) -> Any:
    """The layer or cell of that name.

    Raises:
        TypeError, ValueError: as `report`.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model should be a torch.nn.Module, got {type(model).__name__}")
    part: Any = dict(model.named_modules()).get(name)
    units = max(t.shape[-1] for t in record.tensors.values())
    if not isinstance(part, LAYER + ONE_STEP) or run_by(part).cell != record.cell or part.hidden_size != units:
        what = f"with a layer {name!r}, {record.cell.name}" if name else record.cell.name
        raise ValueError(
            f"model should be the module that was traced, {what} of {units} units, got {type(model).__name__}"
        )
    return part


def _row(layer: LayerReport) -> dict[str, Any]:
    row = {n: getattr(layer, n) for n in ("name", "layer", "reverse", "cell", "units", "calls", "sequences", "steps")}
    row |= {"dead": len(layer.dead), "stuck": len(layer.stuck)}
    parts: list[tuple[str, Any]] = [("gradient", layer.gradients)] if layer.gradients else []
    parts += [*layer.spans.items(), *layer.gates.items()]
    return row | {f"{name}_{field}": v for name, part in parts for field, v in part._asdict().items()}
