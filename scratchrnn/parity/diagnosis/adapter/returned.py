"""What a subject returned, as torch.nn would have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from ..configuration import Configuration, Outcome
from .tensors import Unjudged

States = tuple[Tensor | None, ...]
UNSTACKED = ("[hidden_size]", "[batch, hidden_size]")
"""What is said of states without torch.nn's first dimension, L * D: of unbatched input, and of a batch."""


def shapes_of_states(configuration: Configuration, batch: int) -> tuple[tuple[int, ...], ...]:
    """Of `(h,)` or `(h, c)`: [L * D, B, R] and [L * D, B, H], without L * D for a cell."""
    rows = (batch,) if configuration.step else (stacked(configuration), batch)
    widths = configuration.output_size, configuration.hidden_size
    return tuple((*rows, width) for width in widths[: len(configuration.twin.cell.states)])


def stacked(configuration: Configuration) -> int:
    """L * D."""
    return configuration.num_layers * configuration.directions


def step_outcome(returned: Any, names: Sequence[str]) -> tuple[States, str]:
    """The states that a step returns, behind an output or alone, and the same in words.

    Raises:
        Unjudged: it returns something else.
    """
    match returned:
        case ((*_,) as states, Tensor() as output) if len(states) == len(names):
            returned = (output, *states)  # as JAX has it
    flat = list(_flat(returned))
    if not flat or len(flat) > len(names) + 1 or not all(isinstance(part, Tensor) for part in flat):
        raise Unjudged(f"a step should return {', '.join(names)}, alone or behind an output, got {kind(returned)}")
    if len(flat) > len(names):
        return tuple(flat[1:]), f"output, {', '.join(names)}"
    return (*flat, *[None] * (len(names) - len(flat))), ", ".join(names[: len(flat)])


def outcome(returned: Any, c: Configuration) -> tuple[Outcome, str]:
    """What a layer returned, time-major and batched, and the same in words: `output, (h, c) [batch, hidden_size]`.

    A shape stands there where the states are without torch.nn's first dimension, L * D.

    Raises:
        Unjudged: it is none of output, (output, h), (output, (h, c)), (output, h, c), and the states alone.
    """
    names = ("h", "c")[: len(c.twin.cell.states)]
    found = _parts(returned, c, names)
    if found is None:
        h = "h" if len(names) == 1 else "(h, c)"
        raise Unjudged(f"a layer should return output, or output and {h}, or {h} alone, got {kind(returned)}")
    output, states, said = found
    if isinstance(output, PackedSequence):
        output = pad_packed_sequence(output, total_length=c.length)[0]
    elif output is not None:
        leading = _leading(c)
        if output.dim() != len(leading) + 1:
            wanted = ", ".join(map(str, leading))
            raise Unjudged(f"a layer should return an output of the shape [{wanted}, ...], got {list(output.shape)}")
        if len(leading) == 1:
            output = output.unsqueeze(1)
        elif c.batch_first:
            output = output.transpose(0, 1)
    if any(state is not None and state.dim() == len(_leading(c)) for state in states):
        said += f" {UNSTACKED[c.layout != 'unbatched']}"
    return Outcome(output, tuple(None if state is None else _batched(state, c) for state in states)), said


def _leading(c: Configuration) -> tuple[int, ...]:
    if c.layout == "unbatched":
        return (c.length,)
    return (c.batch, c.length) if c.batch_first else (c.length, c.batch)


def _parts(returned: Any, c: Configuration, names: Sequence[str]) -> tuple[Any, States, str] | None:
    """The output, the states of torch.nn's shape, and what was returned in words; None for anything else."""
    n = len(names)
    if isinstance(returned, Tensor) and _is_state(returned, c):
        return None, (returned, *[None] * (n - 1)), "the last h"
    if isinstance(returned, (Tensor, PackedSequence)):
        return returned, (None,) * n, "output"
    if _is_steps(returned, c):
        return _stack(returned, c), (None,) * n, "a list of outputs"
    if not isinstance(returned, (tuple, list)) or not returned:
        return None
    if len(returned) == n > 1 and all(isinstance(s, Tensor) and _is_state(s, c) for s in returned):
        return None, tuple(returned), ", ".join(names)
    output, *rest = returned
    said, order = "output", "{0}, {1}"
    if _is_steps(output, c):
        output, said = _stack(output, c), "a list of outputs"
    elif type(output) in (tuple, list) and len(rest) == 1 and isinstance(rest[0], Tensor):
        output, rest, order = rest[0], [output], "{1}, {0}"  # as JAX has it
    nested = len(rest) == 1 and isinstance(rest[0], (tuple, list))
    found = _states(list(rest[0]) if nested else rest, names, stacked(c))
    if found is None or not isinstance(output, (Tensor, PackedSequence)):
        return None
    states, had = found
    if nested and had:
        had = f"[{had}]" if had.endswith(", ...") else f"({had}{',' * (n == 1)})"
    return output, states, order.format(said, had) if had else said


def _states(parts: list[Any], names: Sequence[str], stacked: int) -> tuple[States, str] | None:
    """The states of torch.nn's shape, and how they came: each, or a list for each of them, or one for each layer."""
    n = len(names)
    if all(part is None for part in parts):
        return (None,) * n, ""
    if n == 1 and len(parts) == stacked > 1 and all(isinstance(part, Tensor) for part in parts):
        return (torch.stack(parts),), f"{names[0]}, ..."
    said = "{}"
    if all(isinstance(part, (tuple, list)) and all(isinstance(s, Tensor) for s in part) for part in parts):
        a_list_for_each = len(parts) <= n and all(len(part) == stacked for part in parts)
        a_pair_for_each = len(parts) == stacked and all(len(part) == n for part in parts)
        if a_pair_for_each and not (a_list_for_each and type(parts[0]) is list):
            pair = f"({', '.join(names)}{',' * (n == 1)})"
            return tuple(torch.stack(column) for column in zip(*parts, strict=True)), f"{pair}, ..."
        if not a_list_for_each:
            return None
        parts, said = [torch.stack(list(part)) for part in parts], "[{}, ...]"
    if len(parts) > n or not all(isinstance(part, Tensor) for part in parts):
        return None
    return (*parts, *[None] * (n - len(parts))), ", ".join(map(said.format, names[: len(parts)]))


PAIRS = "[(h, c), ...]"
"""How states are called that are a pair for each layer."""


def _is_state(x: Tensor, c: Configuration) -> bool:
    """Whether a tensor returned without an output is a state and no output: by its shape."""
    leading = _leading(c)
    if x.dim() == len(leading):
        return len(leading) == 1 or x.shape[0] == c.batch
    return x.dim() == len(leading) + 1 and x.shape[0] == stacked(c) and tuple(x.shape[:-1]) != leading


def _is_steps(returned: Any, c: Configuration) -> bool:
    steps = isinstance(returned, (list, tuple)) and len(returned) == c.length
    return steps and all(isinstance(x, Tensor) and x.dim() == len(_leading(c)) for x in returned)


def _stack(steps: Sequence[Tensor], c: Configuration) -> Tensor:
    return torch.stack(list(steps), dim=1 if c.batch_first and c.layout != "unbatched" else 0)


def _batched(state: Tensor, c: Configuration) -> Tensor:
    state = state.unsqueeze(-2) if c.layout == "unbatched" else state
    return state.unsqueeze(0) if state.dim() == 2 and stacked(c) == 1 else state


def kind(returned: Any) -> str:
    """What was returned, in short: `(Tensor [5, 2, 4], dict)`."""
    if isinstance(returned, Tensor):
        return f"Tensor {list(returned.shape)}"
    if type(returned) in (tuple, list):
        inner = ", ".join(kind(part) for part in returned[:4])
        return f"({inner}{', ...' if len(returned) > 4 else ''})"
    return "None" if returned is None else type(returned).__name__


def _flat(x: Any) -> Iterator[Any]:
    if isinstance(x, (tuple, list)):
        for part in x:
            yield from _flat(part)
    else:
        yield x
