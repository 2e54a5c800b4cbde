"""One colour for one thing, in the pictures and on the page: gates, states, and the sign of a number."""

from __future__ import annotations

from ..cells.cell import Cell

LINES = {
    "light": ("#0b66b0", "#b04a00", "#1d7a4a", "#7a3e9d", "#856000", "#00708a", "#5a616c"),
    "dark": ("#6cb4ff", "#ff9d4d", "#5fd39a", "#cf9bf0", "#e0bd4f", "#5cc8dc", "#a3abb6"),
}
"""On a light and on a dark ground, each readable there as text."""
SIGNED = {
    "light": ("#b2500a", "#f6f6f4", "#1658a0"),
    "dark": ("#f6923e", "#22262e", "#56a6fa"),
}
"""The least value that can be shown, 0, the largest; those between are mixed."""
# What does the same work has the same colour: a candidate, the gate that keeps.
_PLACES = {"h": 0, "c": 1, "f": 2, "z": 2, "g": 3, "n": 3, "i": 4, "r": 4, "o": 5}


def places(cell: Cell) -> dict[str, int]:
    """Of each gate and state the place of its colour in `LINES`; what has no colour of its own takes a free one."""
    names = [*cell.states, *cell.gates]
    found = {name: _PLACES[name] for name in names if name in _PLACES}
    count = len(LINES["light"])
    free = [place for place in range(count) if place not in found.values()] or [count - 1]
    others = [name for name in names if name not in found]
    return found | {name: free[k % len(free)] for k, name in enumerate(others)}
