"""What the gates and states of a cell are, in words: the same in the pictures and on the page."""

from __future__ import annotations

import inspect
import re

from ..cells.cell import Cell
from ..cells.twins import BUILT_IN

_WORDS = {
    "RNN_TANH": {"h": "hidden state: what the unit emits and feeds back, between -1 and 1"},
    "RNN_RELU": {"h": "hidden state: what the unit emits and feeds back, 0 or more"},
    "LSTM": {
        "i": "input gate: how much of the candidate is written, 0 none, 1 all",
        "f": "forget gate: how much of the cell state is kept, 0 none, 1 all",
        "g": "candidate: what could be written, between -1 and 1",
        "o": "output gate: how much of the cell state is shown, 0 none, 1 all",
        "c": "cell state: what the unit remembers",
        "tanh_c": "the cell state, brought between -1 and 1",
        "h": "hidden state: what the unit emits and feeds back",
    },
    "GRU": {
        "r": "reset gate: how much of the past the candidate sees, 0 none, 1 all",
        "z": "update gate: how much of the old state is kept, 0 none, 1 all",
        "n": "candidate: what could be written, between -1 and 1",
        "h": "hidden state: what the unit remembers, emits and feeds back",
    },
}


def words(cell: Cell) -> dict[str, str]:
    """What each name means, with a minus sign before numbers."""
    found = _WORDS[cell.name] if cell == BUILT_IN.get(cell.name) else _comments(cell)
    return {name: re.sub(r"-(?=\d)", "\u2212", text) for name, text in found.items()}


def _comments(cell: Cell) -> dict[str, str]:
    """What `update` says of a line behind it: `f = torch.sigmoid(f)  # forget gate`."""
    try:
        source = inspect.getsource(cell.update)
    except (OSError, TypeError):
        return {}
    source = re.sub(r"#\s*(?:noqa\b|type:|pragma\b)[^#\n]*", "", source, flags=re.IGNORECASE)  # said to tools
    return dict(re.findall(r"^[ \t]*(\w+) = .*?#[ \t]*(\S.*?)[ \t]*$", source, re.MULTILINE))
