"""What reports of layers say, in sentences, and how their numbers are spelled."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .layer_report import LayerReport


def sentences(layers: Sequence[LayerReport]) -> list[str]:
    """What one wants to know first, a sentence each."""
    if not layers:
        return ["No recurrent layer was called."]
    parts = (_not_finite, _memory, _saturated, _lost, _faded)
    return [sentence for part in parts for sentence in part(layers)]


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
    rest = f"half of the units there take no more than {steps(span.median)}"
    return [f"{where} falls to 1/e in {steps(span.longest)} steps{beyond}; {rest}."]


def _saturated(layers: Sequence[LayerReport]) -> list[str]:
    found = []
    for layer in layers:
        ends = {name: (gate.low or 0.0, gate.high or 0.0) for name, gate in layer.gates.items()}
        much = [
            f"{n} ({percent(low)} low, {percent(high)} high)" for n, (low, high) in ends.items() if low + high > 0.5
        ]
        found += [f"Saturated in {layer.title}: {', '.join(much)}."][: len(much)]
    return found or ["Saturated: no gate in more than half of its values."]


def _lost(layers: Sequence[LayerReport]) -> list[str]:
    found = [
        f"{what} in {layer.title}: {len(units)} of {layer.units} units ({listed(units)})."
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


# ------------------------------------------------------------------------------------------------ numbers


def percent(share: float) -> str:
    """As `3.2 %`; what is not all and not nothing is not shown so."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.{0 if share in (0, 1) or 0.1 <= share < 0.99 else 1}f} %"


def steps(count: float) -> str:
    """As `2.3`, `83`, or `infinitely many`."""
    return "infinitely many" if math.isinf(count) else f"{count:.{1 if count < 9.95 else 0}f}"


def listed(units: Sequence[int], most: int = 12) -> str:
    """As `0, 1, 2, and 8 more`, or `none`."""
    more = [f"and {len(units) - most} more"] if len(units) > most else []
    return ", ".join([*map(str, units[:most]), *more]) or "none"
