"""The report of a trace: for each layer and direction one table, and above them in sentences what they say."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from ..record import Record, Records, place
from ..run_by import LAYER, ONE_STEP, run_by
from .measures import (
    dead,
    gradient_norms,
    into_weights,
    roads,
    saturation,
    spectral_radius,
    stuck,
    time_constants,
)

if TYPE_CHECKING:
    import pandas

Place: TypeAlias = tuple[str, int, bool]
"""The layer's name in the model, k, reverse."""


class OfLayer(Protocol):
    """A `Trace`."""

    @property
    def records(self) -> Records: ...


class OfModel(Protocol):
    """A `ModelTrace`."""

    @property
    def calls(self) -> Mapping[str, Sequence[OfLayer]]: ...


class Gate(NamedTuple):
    """A gate of one layer and direction, over all its units, steps and sequences; None is not known."""

    low: float | None = None
    """The share of its values within 5 % of its range from the lower bound: closed, or a candidate near -1."""
    high: float | None = None
    """From the upper bound: open, or near 1."""
    share: float | None = None
    """Of the squared gradient that goes back into the weights."""
    radius: float | None = None
    """The spectral radius of its block of `weight_hh`."""


class Span(NamedTuple):
    """For how many steps the units hold what a state has of them; infinite where all is kept."""

    median: float
    longest: float
    unit: int
    """The one that holds longest."""


class GradientNorms(NamedTuple):
    """||dL/dh_t||, in the order in which the direction reads.

    Calls of which each goes on from the state that the one before ended in are one sequence. Of other calls, and of
    several in the reverse direction, `first`, `last` and `step` are None: their steps have no order.
    """

    first: float | None
    last: float | None
    largest: float
    step: int | None
    """Where it is largest, a number of a step of the trace."""


@dataclass(frozen=True)
class LayerReport:
    """One layer and direction, over all calls that were traced."""

    name: str
    """Of the layer in the model; empty for a layer that was traced by itself."""
    layer: int
    reverse: bool
    cell: str
    units: int
    calls: int
    sequences: int
    steps: int
    """Of the longest sequence."""
    gates: dict[str, Gate]
    """Of a cell whose gates are not in the trace, an Elman cell, the emitted state, too."""
    spans: dict[str, Span]
    """Of each state that goes on past the weights, as an LSTM's c; none of an Elman cell."""
    dead: list[int]
    """Units that stay within 0.001 of 0."""
    stuck: list[int]
    """Units that keep another value, to 0.001."""
    gradients: GradientNorms | None
    not_finite: list[str]
    """Gates and states in which something is infinite or no number, as after a run that diverged; `dL/dh`, too."""

    @property
    def title(self) -> str:
        """Where it stands: `encoder.lstm, layer 0, reverse`."""
        return place(self.name, self.layer, self.reverse)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python, as JSON has it; None for what is not known, and for a span without end."""
        kept = {k: v for k, v in vars(self).items() if k not in ("gates", "spans", "gradients")}
        parts: dict[str, dict[str, Any]] = {"gates": dict(self.gates), "spans": dict(self.spans)}
        kept |= {part: {name: _finite(row._asdict()) for name, row in rows.items()} for part, rows in parts.items()}
        return kept | {"gradients": None if self.gradients is None else _finite(self.gradients._asdict())}


@dataclass(frozen=True, repr=False)
class TraceReport:
    """What `report` returns: it prints as text, and in a notebook as tables."""

    layers: tuple[LayerReport, ...]

    def __iter__(self) -> Iterator[LayerReport]:
        return iter(self.layers)

    @property
    def findings(self) -> list[str]:
        """What one wants to know first, a sentence each."""
        if not self.layers:
            return ["No recurrent layer was called."]
        parts = (_not_finite, _memory, _saturated, _lost, _faded)
        return [sentence for part in parts for sentence in part(self.layers)]

    def __repr__(self) -> str:
        return "\n\n".join(["\n".join(self.findings), *map(_text, self.layers)])

    def _repr_html_(self) -> str:
        """For a notebook."""
        findings = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self.findings)
        return f"<ul>{findings}</ul>" + "".join(map(_html, self.layers))

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
        found.append(_layer(where, calls, None if reached is None else reached[where], radii))
    return TraceReport(tuple(found))


# ------------------------------------------------------------------------------------------------- numbers


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


def _layer(
    where: Place, calls: list[Record], gradients: list[Record] | None, radii: Mapping[str, float]
) -> LayerReport:
    name, k, reverse = where
    cell, valid = calls[0].cell, [record.valid() for record in calls]
    rows = {n: torch.cat([r[n].detach()[v] for r, v in zip(calls, valid, strict=True)]) for n in calls[0].tensors}
    every = Record({n: t.unsqueeze(1) for n, t in rows.items()}, cell)  # of all calls and sequences, as of one
    ends = {g: {"low": s.low.mean().item(), "high": s.high.mean().item()} for g, s in saturation(every).items()}
    shares = {} if gradients is None else _shares(gradients)
    names = dict.fromkeys([*cell.gates, *ends])
    gates = {g: Gate(**ends.get(g, {}), share=shares.get(g), radius=radii.get(g)) for g in names}
    norms = None if gradients is None else _norms(gradients, not reverse and _go_on(calls), reverse)
    endless = [n for n in (*cell.gates, *cell.states) if n in rows and not rows[n].isfinite().all()]
    return LayerReport(
        *(name, k, reverse, cell.name, max(t.shape[-1] for t in rows.values())),
        calls=len(calls),
        sequences=sum(v.shape[1] for v in valid),
        steps=max(len(v) for v in valid),
        gates=gates,
        spans={state: _span(time_constants(every, state)) for state in roads(every)},
        dead=dead(every).nonzero().flatten().tolist(),
        stuck=stuck(every).nonzero().flatten().tolist(),
        gradients=norms,
        not_finite=endless + ["dL/dh"] * (norms is not None and not math.isfinite(norms.largest)),
    )


def _span(taus: Tensor) -> Span:
    return Span(taus.median().item(), taus.max().item(), int(taus.argmax()))


def _shares(gradients: list[Record]) -> dict[str, float]:
    """Of each gate, over all steps together."""
    squares = {
        g: sum(gradient_norms(record, name).square().sum().item() for record in gradients)
        for g, name in into_weights(gradients[0].cell).items()
    }
    total = sum(squares.values())
    return {g: square / total if total else 0.0 for g, square in squares.items()}


def _go_on(calls: list[Record]) -> bool:
    """Whether each call begins with the state in which the one before ended, so that all read one sequence."""
    return all(
        before.lengths is None and torch.equal(before[state][-1], after[f"{state}_prev"][0])
        for before, after in pairwise(calls)
        for state in before.cell.states
    )


def _norms(gradients: list[Record], go_on: bool, reverse: bool) -> GradientNorms:
    norms = torch.cat([gradient_norms(record) for record in gradients])
    if len(gradients) > 1 and not go_on:
        return GradientNorms(None, None, norms.max().item(), None)
    first, last = (-1, 0) if reverse else (0, -1)
    return GradientNorms(norms[first].item(), norms[last].item(), norms.max().item(), int(norms.argmax()))


def _finite(numbers: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in numbers.items()}


def _row(layer: LayerReport) -> dict[str, Any]:
    row = {n: getattr(layer, n) for n in ("name", "layer", "reverse", "cell", "units", "calls", "sequences", "steps")}
    row |= {"dead": len(layer.dead), "stuck": len(layer.stuck)}
    parts: list[tuple[str, Any]] = [("gradient", layer.gradients)] if layer.gradients else []
    parts += [*layer.spans.items(), *layer.gates.items()]
    return row | {f"{name}_{field}": v for name, part in parts for field, v in part._asdict().items()}


# --------------------------------------------------------------------------------------------- sentences


def _not_finite(layers: Sequence[LayerReport]) -> list[str]:
    return [f"Not finite: {', '.join(layer.not_finite)} in {layer.title}." for layer in layers if layer.not_finite]


def _memory(layers: Sequence[LayerReport]) -> list[str]:
    """How far back it remembers; nothing where that is no number."""
    spans = [(span, state, layer) for layer in layers for state, span in layer.spans.items()]
    if not spans:
        cells = " and ".join(dict.fromkeys(layer.cell for layer in layers))
        return [f"Memory: no state of {cells} goes on past the weights; how far back it remembers, gradients show."]
    spans = [found for found in spans if not math.isnan(found[0].longest)]
    if not spans:
        return []
    span, state, layer = max(spans, key=lambda found: found[0].longest)
    where = f"Longest memory: {state} of unit {span.unit} in {layer.title}"
    if math.isinf(span.longest):
        return [f"{where} keeps all."]
    beyond = f", more than the {layer.steps} traced" if layer.calls == 1 and span.longest > layer.steps else ""
    rest = f"half of the units there take no more than {_steps(span.median)}"
    return [f"{where} falls to 1/e in {_steps(span.longest)} steps{beyond}; {rest}."]


def _saturated(layers: Sequence[LayerReport]) -> list[str]:
    found = []
    for layer in layers:
        ends = {name: (gate.low or 0.0, gate.high or 0.0) for name, gate in layer.gates.items()}
        much = [
            f"{n} ({_percent(low)} low, {_percent(high)} high)" for n, (low, high) in ends.items() if low + high > 0.5
        ]
        found += [f"Saturated in {layer.title}: {', '.join(much)}."][: len(much)]
    return found or ["Saturated: no gate in more than half of its values."]


def _lost(layers: Sequence[LayerReport]) -> list[str]:
    found = [
        f"{what} in {layer.title}: {len(units)} of {layer.units} units ({_numbers(units)})."
        for layer in layers
        for what, units in (("Dead", layer.dead), ("Stuck", layer.stuck))
        if units
    ]
    return found or ["Dead or stuck: no unit."]


def _faded(layers: Sequence[LayerReport]) -> list[str]:
    """Where less than a thousandth of the gradient is left at the first step."""
    return [
        f"Gradient in {layer.title}: of its largest norm, at step {norms.step}, {norms.first / norms.largest:.0e} is "
        "left at the first step read."
        for layer in layers
        if (norms := layer.gradients)
        and norms.first is not None
        and math.isfinite(norms.largest)
        and norms.first < 1e-3 * norms.largest
    ]


# ---------------------------------------------------------------------------------------- text and tables


def _header(layer: LayerReport) -> str:
    several = layer.sequences > 1
    calls = f" in {layer.calls} calls" if layer.calls > 1 else ""
    read = f"{layer.sequences} sequence{'s' * several} of {'up to ' * several}{layer.steps} steps{calls}"
    return f"{layer.title}: {layer.cell}, {layer.units} units, {read}"


def _gates(layer: LayerReport) -> list[list[str]]:
    """A row for each gate under one of headings, without the columns of which nothing is known."""
    columns = {"low": _percent, "high": _percent, "share": _percent, "radius": "{:.2f}".format}
    headings = {
        "low": "at its low end",
        "high": "at its high end",
        "share": "of the gradient",
        "radius": "radius of W_h",
    }
    known = [c for c in columns if any(getattr(gate, c) is not None for gate in layer.gates.values())]
    rows = [
        [name, *("" if (v := getattr(gate, c)) is None else columns[c](v) for c in known)]
        for name, gate in layer.gates.items()
    ]
    return [["gate", *(headings[c] for c in known)], *rows]


def _facts(layer: LayerReport) -> list[tuple[str, str]]:
    facts = [
        (
            f"{state} remembers",
            f"{_steps(span.median)} steps in the median unit, {_steps(span.longest)} in unit {span.unit}",
        )
        for state, span in layer.spans.items()
    ]
    facts += [("dead units", _numbers(layer.dead)), ("stuck units", _numbers(layer.stuck))]
    if norms := layer.gradients:
        most = f"at most {norms.largest:.2g}"
        if norms.first is not None:
            ends = f"{norms.first:.2g} at the first step, {norms.last:.2g} at the last"
            most = f"{ends}, {most} at step {norms.step}"
        facts.append(("|dL/dh|", most))
    return facts


def _text(layer: LayerReport) -> str:
    table = _gates(layer)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in table]
    facts = _facts(layer)
    width = max(len(what) for what, _ in facts)
    lines += [f"{what.ljust(width)}  {fact}" for what, fact in facts]
    return "\n".join([_header(layer), *(f"  {line}".rstrip() for line in lines)])


def _html(layer: LayerReport) -> str:
    headings, *rows = [[html.escape(cell) for cell in row] for row in _gates(layer)]
    head = "".join(f"<th>{cell}</th>" for cell in headings)
    body = "".join(f"<tr><th>{row[0]}</th>{''.join(f'<td>{cell}</td>' for cell in row[1:])}</tr>" for row in rows)
    wide = f'<td colspan="{len(headings)}" style="text-align: left">'
    facts = "".join(f"<tr><th>{html.escape(what)}</th>{wide}{html.escape(f)}</td></tr>" for what, f in _facts(layer))
    return f"<p><b>{html.escape(_header(layer))}</b></p><table><tr>{head}</tr>{body}{facts}</table>"


def _percent(share: float) -> str:
    """As `3.2 %`; what is not all and not nothing is not shown so."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.{0 if share in (0, 1) or 0.1 <= share < 0.99 else 1}f} %"


def _steps(count: float) -> str:
    return "infinitely many" if math.isinf(count) else f"{count:.{1 if count < 9.95 else 0}f}"


def _numbers(units: Sequence[int], most: int = 12) -> str:
    more = [f"and {len(units) - most} more"] if len(units) > most else []
    return ", ".join([*map(str, units[:most]), *more]) or "none"
