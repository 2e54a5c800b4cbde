"""The report of a layer as a table: in text, and in HTML for a notebook."""

from __future__ import annotations

import html

from .layer_report import LayerReport
from .sentences import listed, percent, steps


def _header(layer: LayerReport) -> str:
    several = layer.sequences > 1
    calls = f" in {layer.calls} calls" if layer.calls > 1 else ""
    read = f"{layer.sequences} sequence{'s' * several} of {'up to ' * several}{layer.steps} steps{calls}"
    return f"{layer.title}: {layer.cell}, {layer.units} units, {read}"


def _gates(layer: LayerReport) -> list[list[str]]:
    """A row for each gate under one of headings, without the columns of which nothing is known."""
    columns = {"low": percent, "high": percent, "share": percent, "radius": "{:.2f}".format}
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
            f"{steps(span.median)} steps in the median unit, {steps(span.longest)} in unit {span.unit}",
        )
        for state, span in layer.spans.items()
    ]
    facts += [("dead units", listed(layer.dead)), ("stuck units", listed(layer.stuck))]
    if norms := layer.gradients:
        most = f"at most {norms.largest:.2g}"
        if norms.first is not None:
            ends = f"{norms.first:.2g} at the first step, {norms.last:.2g} at the last"
            most = f"{ends}, {most} at step {norms.step}"
        facts.append(("|dL/dh|", most))
    return facts


def in_text(layer: LayerReport) -> str:
    """For a terminal, its columns side by side."""
    table = _gates(layer)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in table]
    facts = _facts(layer)
    width = max(len(what) for what, _ in facts)
    lines += [f"{what.ljust(width)}  {fact}" for what, fact in facts]
    return "\n".join([_header(layer), *(f"  {line}".rstrip() for line in lines)])


def in_html(layer: LayerReport) -> str:
    """For a notebook."""
    headings, *rows = [[html.escape(cell) for cell in row] for row in _gates(layer)]
    head = "".join(f"<th>{cell}</th>" for cell in headings)
    body = "".join(f"<tr><th>{row[0]}</th>{''.join(f'<td>{cell}</td>' for cell in row[1:])}</tr>" for row in rows)
    wide = f'<td colspan="{len(headings)}" style="text-align: left">'
    facts = "".join(f"<tr><th>{html.escape(what)}</th>{wide}{html.escape(f)}</td></tr>" for what, f in _facts(layer))
    return f"<p><b>{html.escape(_header(layer))}</b></p><table><tr>{head}</tr>{body}{facts}</table>"
