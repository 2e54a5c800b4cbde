"""What a page has to know of one layer and direction: its lines, its numbers, and what they amount to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ...cells.cell import Cell
from ...equations.equations import Equations
from ...equations.linear import halves
from ...equations.lines import Line
from ..palette import places
from ..record import Record
from ..summary import dead, roads, saturation, span, stuck, time_constants
from ..words import words
from .packing import floats, packed


def content(record: Record, lengths: Sequence[int], reverse: bool) -> dict[str, Any]:
    """Of a record of [T, 1, H], the sequences one behind the other, each of so many steps."""
    cell, tensors = record.cell, dict(record.tensors)
    lines, reason = _update_lines(cell, tensors)
    gates = {g: span(record, g) for g in cell.gates if g in tensors}
    found = {
        "cell": cell.name,
        "reverse": reverse,
        "lengths": list(lengths),
        "units": _units(tensors),
        "emitted": cell.states[0],
        "inputs": [f"{p}_pre" if p in cell.gates else p for p in cell.pre_activations],
        "words": words(cell),
        "places": places(cell),
        "quantities": [
            *({"name": g, "gate": True, "range": bounds or _spread(tensors[g])} for g, bounds in gates.items()),
            *({"name": s, "gate": False, "range": _spread(tensors[s])} for s in cell.states),
        ],
        "lines": lines,
        "preActivations": _pre_activation_lines(record),
        "reason": reason,
        "saturation": {
            g: {"range": span(record, g), "low": floats(s.low), "high": floats(s.high)}
            for g, s in saturation(record).items()
        },
        "dead": dead(record).nonzero().flatten().tolist(),
        "stuck": stuck(record).nonzero().flatten().tolist(),
    }
    ways = []
    for state, kept in roads(record).items():
        gate = _keeping_gate(record, state, kept)
        key = gate or f"(kept {state})"
        tensors.setdefault(key, kept)
        way = {"state": state, "prev": f"{state}_prev", "kept": key, "gate": gate}
        ways.append(way | {"timeConstants": floats(time_constants(record, state))})
    found["roads"] = ways
    found["tensors"] = {key: _numbers(key, tensors, cell, lengths, reverse) for key in tensors}
    return found


def _units(tensors: Mapping[str, Tensor]) -> int:
    return max(t.shape[-1] for t in tensors.values())  # under a projection h has fewer


def _spread(values: Tensor) -> list[float]:
    """For the colours: as far below 0 as above, to the largest value."""
    limit = values.abs().nan_to_num(0.0, 0.0, 0.0).max().item() or 1.0
    return [-limit, limit]


def _numbers(
    key: str, tensors: Mapping[str, Tensor], cell: Cell, lengths: Sequence[int], reverse: bool
) -> dict[str, Any]:
    """The tensor, packed, or how the page makes it of others that are there."""
    rows = {name: t.flatten(0, 1) for name, t in tensors.items()}
    terms = [key.replace("_pre", "_x"), key.replace("_pre", "_h")]
    if key.endswith("_pre") and all(term in rows for term in terms):
        total = rows[terms[0]] + rows[terms[1]]
        if torch.allclose(total, rows[key], rtol=1e-4, atol=1e-5, equal_nan=True):
            return {"sum": terms}
    state = key.removesuffix("_prev")
    if state != key and state in cell.states:
        starts, others, before = _steps(lengths, reverse)
        if torch.equal(rows[key][others], rows[state][before]):
            return {"before": state, "starts": packed(rows[key][starts])}
    return packed(rows[key])


def _steps(lengths: Sequence[int], reverse: bool) -> tuple[list[int], list[int], list[int]]:
    """The row of each sequence's first step, all others, and for each of those the row of the step before it."""
    starts, others, before, first = [], [], [], 0
    for length in lengths:
        rows = list(range(first, first + length))
        order = rows[::-1] if reverse else rows
        starts.append(order[0])
        others += order[1:]
        before += order[:-1]
        first += length
    return starts, others, before


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
        symbol = f"{name} before W_hr" if projected else name
        lines.append(_line(symbol, keys[name], terms) | {"target": name})
        if projected:
            lines.append(_line(name, name, [["W_hr (h before W_hr)", None]]))
    return lines, None


def _evaluate(line: Line, values: Mapping[str, Tensor | float]) -> Tensor:
    some = next(value for value in values.values() if isinstance(value, Tensor))
    return line.evaluate(values) + torch.zeros_like(some)  # a line such as `a = 0.5` is one number


def _terms(line: Line, keys: Mapping[str, str]) -> list[list[str | None]]:
    """The right side, cut where a number takes the place of a name; numbers from outside stay names."""
    pieces = re.split(r"(?<![\w.])([^\W\d]\w*)(?![\w(])", line.right)
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
    return next((g for g in gates if torch.allclose(record[g], kept)), None)
