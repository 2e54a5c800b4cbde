"""Records as a page to click through: one HTML file, which holds its data, its code and its style, and loads nothing.

The file is `page.html` beside this one with its style, its code and the libraries of `vendor` put in, and the
numbers as base64 of float32. All that needs the cell is computed here; the page only looks numbers up and multiplies.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template
from typing import Any

import torch
from torch import Tensor

from ...cells.cell import Cell
from ...equations.equations import Equations
from ...equations.linear import halves
from ...equations.lines import Line
from ..record import Record, Records
from ..summary import dead, roads, saturation, span, stuck, time_constants
from ..words import words

_LIBRARIES = ("preact.js", "hooks.js", "htm.js")


def page(
    named: Mapping[str, Records],
    tokens: Sequence[object] | None = None,
    sequence: int | None = 0,
    title: str | None = None,
    notes: Sequence[str] = (),
) -> str:
    """The HTML of a page that shows all layers and directions of these records over the tokens of one sequence.

    Args:
        named: `trace(...).records` by the name of the layer; "" needs none. Taken without `halves=True`, a
            pre-activation is shown without its two terms.
        tokens: one for each step, in the order of the text, shown as `str` has it; default: the numbers of the steps.
        sequence: which of the batch; None for all of them, one behind the other.
        title: default: the layers' kinds and the number of tokens.
        notes: sentences to stand under the title.

    Raises:
        ValueError: there is no layer, no such sequence, not one token for each step, or the trace is one of gradients.
    """
    layers, steps = [], {}
    for name, records in named.items():
        for (k, reverse), record in records.items():
            called = f"{f'{name}, ' if name else ''}layer {k}{', reverse' if reverse else ''}"
            chosen, lengths = _choose(called, record, sequence)
            steps[called] = sum(lengths)
            layers.append({"name": called, "reverse": reverse, "lengths": lengths} | _layer(chosen))
    shown = _tokens(tokens, steps)
    kinds = " and ".join(dict.fromkeys(str(layer["cell"]) for layer in layers))
    title = f"{kinds} over {len(shown)} tokens" if title is None else title
    data = {"title": title, "notes": list(notes), "tokens": shown, "layers": layers}
    return Template(_file("page.html")).substitute(
        title=html.escape(title),
        style=_file("page.css"),
        libraries="\n".join(_file("vendor", name) for name in _LIBRARIES),
        code="\n".join(_file(name) for name in ("numbers.js", "page.js")),
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),  # no token can end the script element
    )


def write(path: str, text: str) -> None:
    """Write a page; half a surrogate pair, which a token can be, as its number."""
    with open(path, "w", encoding="utf-8", errors="xmlcharrefreplace") as file:
        file.write(text)


def _file(*names: str) -> str:
    return resources.files(__package__).joinpath(*names).read_text(encoding="utf-8")


def _tokens(tokens: Sequence[object] | None, steps: Mapping[str, int]) -> list[str]:
    """One for each step; `steps` says how many each layer has read."""
    if not steps:
        raise ValueError("a page needs the trace of at least one layer")
    if tokens is None:
        if len(set(steps.values())) > 1:
            read = "; ".join(f"{called} {count}" for called, count in steps.items())
            raise ValueError(f"layers read different numbers of steps: {read}; a page shows one text")
        tokens = range(next(iter(steps.values())))
    for called, count in steps.items():
        if count != len(tokens):
            raise ValueError(f"tokens should be one for each of the {count} steps of {called}, got {len(tokens)}")
    return [str(token) for token in tokens]


def _choose(name: str, record: Record, sequence: int | None) -> tuple[Record, list[int]]:
    """The chosen sequence alone, [T, 1, H] without steps behind its end; and the length of each that it holds."""
    if any(f"{state}_prev" not in record.tensors for state in record.cell.states):
        raise ValueError("a page needs a trace of gates and states, this is a trace of gradients")
    lengths = record.valid().sum(0).tolist()
    if sequence is not None and not 0 <= sequence < len(lengths):
        raise ValueError(
            f"sequence should be from 0 to {len(lengths) - 1}, as {name} was run on so many; got {sequence}"
        )
    those = range(len(lengths)) if sequence is None else [sequence]
    tensors = {
        key: torch.cat([t.detach()[: lengths[b], b : b + 1] for b in those]).cpu() for key, t in record.tensors.items()
    }
    if next(iter(tensors.values())).dtype.itemsize < 4:
        tensors = {key: t.float() for key, t in tensors.items()}
    return Record(tensors, record.cell, bias=record.bias), [lengths[b] for b in those]


def _layer(record: Record) -> dict[str, Any]:
    """What the page has to know of one layer and direction."""
    cell, tensors = record.cell, dict(record.tensors)
    lines, reason = _update_lines(cell, tensors)
    gates = {g: span(record, g) for g in cell.gates if g in tensors}
    found = {
        "cell": cell.name,
        "units": _units(tensors),
        "words": words(cell),
        "quantities": [
            *({"name": g, "gate": True, "range": bounds or _spread(tensors[g])} for g, bounds in gates.items()),
            *({"name": s, "gate": False, "range": _spread(tensors[s])} for s in cell.states),
        ],
        "lines": lines,
        "preActivations": _pre_activation_lines(record),
        "reason": reason,
        "saturation": {
            g: {"range": span(record, g), "low": _base64(s.low), "high": _base64(s.high)}
            for g, s in saturation(record).items()
        },
        "dead": dead(record).nonzero().flatten().tolist(),
        "stuck": stuck(record).nonzero().flatten().tolist(),
    }
    ways = []
    for state, kept in roads(record).items():
        tensors[key := f"(kept {state})"] = kept
        way = {"state": state, "prev": f"{state}_prev", "kept": key, "gate": _keeping_gate(record, state, kept)}
        ways.append(way | {"timeConstants": _base64(time_constants(record, state))})
    found["roads"] = ways
    found["tensors"] = {key: {"units": t.shape[-1], "data": _base64(t)} for key, t in tensors.items()}
    return found


def _units(tensors: Mapping[str, Tensor]) -> int:
    return max(t.shape[-1] for t in tensors.values())  # under a projection h has fewer


def _spread(values: Tensor) -> list[float]:
    """For the colours: as far below 0 as above, to the largest value."""
    limit = values.abs().nan_to_num(0.0, 0.0).max().item() or 1.0
    return [-limit, limit]


def _base64(t: Tensor) -> str:
    return base64.b64encode(t.to(torch.float32).contiguous().numpy().astype("<f4").tobytes()).decode()


# --------------------------------------------------------------------------------------------- the equations


def _pre_activation_lines(record: Record) -> list[dict[str, Any]]:
    """`f_pre = (W_if x + b_if) + (W_hf h_prev + b_hf)`; of a split gate the halves stand alone."""
    lines = []
    for g in record.cell.gates:
        by_x, by_h = halves(g, record.bias, record.cell.states[0])
        if g in record.cell.split:
            lines += [_line(half.target, half.target, [[half.right, None]]) for half in (by_x, by_h)]
        elif by_x.target in record.tensors:
            terms = [[f"({by_x.right})", by_x.target], [" + ", None], [f"({by_h.right})", by_h.target]]
            lines.append(_line(f"{g}_pre", f"{g}_pre", terms))
        else:
            lines.append(_line(f"{g}_pre", f"{g}_pre", [[f"{by_x.right} + {by_h.right}", None]]))
    return lines


def _update_lines(cell: Cell, tensors: dict[str, Tensor]) -> tuple[list[dict[str, Any]], str | None]:
    """The lines of `update`, and why there are none; what a line gives and the trace has not is put into `tensors`."""
    try:
        of_cell, numbers = Equations(cell).forward, Equations(cell).numbers
    except ValueError as error:
        return [], str(error)
    lines = []
    values: dict[str, Tensor | float]
    values, keys = {**numbers, **tensors}, {name: name for name in tensors}
    for line in of_cell:
        name, terms = line.target, _terms(line, keys)
        projected = name in tensors and tensors[name].shape[-1] != _units(tensors)
        if name not in tensors or projected:
            keys[name] = f"({name})"
            values[name] = tensors[keys[name]] = _evaluate(line, values)
        lines.append(_line(f"{name} before W_hr" if projected else name, keys[name], terms))
        if projected:
            lines.append(_line(name, name, [["W_hr (h before W_hr)", None]]))
    return lines, None


def _evaluate(line: Line, values: Mapping[str, Tensor | float]) -> Tensor:
    some = next(value for value in values.values() if isinstance(value, Tensor))
    return line.evaluate(values) + torch.zeros_like(some)  # a line such as `a = 0.5` is one number


def _terms(line: Line, keys: Mapping[str, str]) -> list[list[str | None]]:
    """The right side, cut where a number takes the place of a name; numbers from outside stay names."""
    pieces = re.split(r"(?<![\w.])([A-Za-z_]\w*)(?![\w(])", line.right)
    return [[piece, keys.get(piece) if piece in line.names else None] for piece in pieces if piece]


def _line(symbol: str, key: str, terms: list[Any]) -> dict[str, Any]:
    return {"symbol": symbol, "key": key, "terms": terms}


def _keeping_gate(record: Record, state: str, kept: Tensor) -> str | None:
    """The gate that the state before is multiplied by, if its line shows one: f of an LSTM, z of a GRU."""
    try:
        names = {line.target: line.names for line in Equations(record.cell).forward}.get(state, ())
    except ValueError:
        return None
    gates = [g for g in record.cell.gates if g in names and g in record.tensors]
    return next((g for g in gates if torch.allclose(record[g], kept, equal_nan=True)), None)
