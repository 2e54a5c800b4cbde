"""The table of laws, and the judgement by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import nn

from ....cells.cell import Cell
from .gradients import gradients
from .held import batch_independence, causality, finite, packed, precision, repeatable, reverse, split
from .layer import B, Judged, Layer, RaisesError, T, digits_of
from .subjects import layers_of


class Law(NamedTuple):
    """One law: a new one is a new row."""

    name: str
    sentence: str
    """What it says."""
    meaning: str
    """What a layer does that breaks it, and what to look at."""
    broken: Callable[[Judged], str | None]
    """Where it does not hold."""
    applies: Callable[[Judged], bool] = lambda judged: True
    first: bool = False
    """Whether nothing further can be said of a layer that breaks it."""


LAWS = (
    Law(
        "finite",
        "From finite numbers come finite numbers.",
        "a division by zero, the logarithm or the exponential of a number out of range, or memory that is read before "
        "it is written (torch.empty)",
        finite,
        first=True,
    ),
    Law(
        "repeatable",
        "The same call gives the same numbers, and changes nothing that it was given.",
        "dropout is active (call eval()), the layer draws random numbers, it keeps a state from one call to the next, "
        "or it writes into its arguments (h *= ..., where h is what it was given: h = h * ...)",
        repeatable,
        first=True,
    ),
    Law(
        "precision",
        "What is computed from float64 is float64.",
        "a tensor is made in a dtype of its own (write torch.zeros(..., dtype=x.dtype, device=x.device), or "
        "x.new_zeros(...)), or the layer casts",
        precision,
    ),
    Law(
        "batch-independence",
        "A row of a batch is as that row alone.",
        "rows are mixed: a normalisation, sum or softmax over the batch, gates split along the batch (chunk without "
        "dim), a view where a transpose is needed, or batch and time exchanged (batch_first)",
        batch_independence,
    ),
    Law(
        "causality",
        "The output up to a step ignores what comes behind it; in reverse, what comes before it.",
        "an output reads other steps: an index off by one, an input that was flipped, a normalisation or sum over "
        "time, or the two directions' outputs added or exchanged",
        causality,
        lambda judged: judged.layer.num_layers == 1 or not judged.layer.bidirectional,
    ),
    Law(
        "split",
        "A sequence can be cut in two, and the second part continued from the states that the first returned.",
        "the given states are ignored, or those of a wrong step, layer or order are returned; a state is kept that is "
        "not among them; or a step depends on its number (a position, a time step, the length)",
        split,
        lambda judged: judged.start is not None and not judged.layer.bidirectional,
    ),
    Law(
        "packed",
        "A sequence of a packed batch is as that sequence alone.",
        "the last states are those of the longest sequence's last step, rows move on beyond their ends, the reverse "
        "direction starts in the padding, or sorted and given order are mixed up (sorted_indices, unsorted_indices)",
        packed,
        lambda judged: judged.layer.takes_packed,
    ),
    Law(
        "reverse",
        "The reverse direction is: flip in time, run, flip back.",
        "the input or the output of the reverse direction is not flipped, the flip is along the batch, a direction "
        "reads parameters or states of the other, or the returned states are in another order than l0, l0_reverse, l1",
        reverse,
        lambda judged: judged.layer.bidirectional,
    ),
    Law(
        "gradients",
        "Autograd's derivative along any direction is the one that finite differences measure.",
        "a detach(), .data, .item() or no_grad() on the way, an adjoint (autograd.Function) with a wrong line, or a "
        "gradient that is assigned where it should be added; a straight-through estimator differs on purpose",
        gradients,
        lambda judged: judged.digits == torch.float64,
    ),
)


class Broken(NamedTuple):
    """A law that does not hold."""

    law: str
    """Its name: `causality`."""
    detail: str
    """Where it does not, with the numbers."""
    meaning: str
    """What such a layer does, and what to look at."""


Subject = Layer | Cell | nn.Module | type[nn.Module]


def laws(subject: Subject, input_size: int | None = None) -> tuple[Broken, ...]:
    """The laws that `subject` breaks, each once: see `judged_by`."""
    return tuple(broken for broken in judged_by(subject, input_size).values() if broken)


def judged_by(subject: Subject, input_size: int | None = None) -> dict[Law, Broken | None]:
    """Every law that can be held to `subject`, and how it breaks it; None where it does not.

    Args:
        subject: a `Layer`; or a Cell, a recurrent module, or a class of such: see `layers_of`.
        input_size: I, where the subject does not say.

    A layer whose numbers are not finite, or no two runs of which agree, is told so and judged no further.
    """
    judged: dict[Law, Broken | None] = {}
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        for layer in [subject] if isinstance(subject, Layer) else layers_of(subject, input_size):
            for law, broken in _judged(layer):
                judged[law] = judged.get(law) or broken
    return judged


def _judged(layer: Layer) -> Iterator[tuple[Law, Broken | None]]:
    x = torch.randn(T, B, layer.input_size, dtype=torch.float64)
    with torch.no_grad():  # what the layer raises here is no law's business
        output, state = layer.run(torch.randn_like(x), None)
        start = tuple(s.to(x.dtype) for s in state) if layer.takes_state and state else None
        output, state = layer.run(x.clone(), None if start is None else tuple(s.clone() for s in start))
    for name, y in layer.named(output, state).items():
        if y.dim() < 2 or y.shape[-2] != B:
            raise ValueError(f"{name} of {B} rows should be [.., {B}, .], got {list(y.shape)}")
    for name, s in layer.starts(state).items() if layer.bidirectional else ():
        if s.dim() < 3 or len(s) % 2:
            raise ValueError(f"{name} of both directions should be [L * D, {B}, .], got {list(s.shape)}")
    digits = max((digits_of(y) for y in (output, *state)), key=lambda dtype: torch.finfo(dtype).eps)
    judged = Judged(layer, x, start, digits)
    for law in LAWS:
        if not law.applies(judged):
            continue
        try:
            detail = law.broken(judged)
        except RaisesError as error:
            detail = str(error)
        yield law, Broken(law.name, detail, law.meaning) if detail else None
        if detail and law.first:
            return
