"""What stands in titles: the names of tensors as a reader says them, and what they are."""

from __future__ import annotations

from ..cells.cell import Cell
from ..equations.operations import OPERATIONS
from ..traces.record import Record, place
from ..traces.words import words


def title(record: Record, *more: str) -> str:
    """Of a figure: `LSTM, encoder.lstm, layer 0, reverse` and whatever else, `sequence 2`."""
    return ", ".join([record.cell.name, place(record.name, record.layer, record.reverse), *more])


def panel_title(record: Record, name: str) -> str:
    """`f: forget gate: how much of the cell state is kept, 0 none, 1 all`; of gradients, `dL/df: ...`."""
    said = meaning(record.cell, name)
    called = f"dL/d{printed(name)}" if not record.of_a_run() else printed(name)
    return f"{called}: {said}" if said else called


def printed(name: str) -> str:
    """`tanh_c` as `tanh(c)`, every other as it is."""
    function, _, of = name.partition("_")
    return f"{function}({of})" if of and function in OPERATIONS else name


def meaning(cell: Cell, name: str) -> str:
    """What the tensor of that name is, as far as it is known."""
    known = words(cell)
    if name in known:
        return known[name]
    of, _, part = name.rpartition("_")
    if of in cell.gates:
        return {"pre": f"{of} before its nonlinearity", "x": f"what the input gives to {of}"}.get(
            part, f"what {cell.states[0]} of the step before gives to {of}" if part == "h" else ""
        )
    return f"{of} of the step before" if part == "prev" and of in cell.states else ""


def short(cell: Cell, name: str) -> str:
    """`f, forget gate`."""
    said = words(cell).get(name, "").split(":")[0]
    return f"{printed(name)}, {said}" if said else printed(name)


def thing(cell: Cell, name: str) -> str:
    """The gate or state that a tensor belongs to, and whose colour it has: c of `c_prev` and `tanh_c`, f of `f_pre`."""
    parts = name.split("_")
    return next((part for part in (name, *parts) if part in (*cell.gates, *cell.states)), name)
