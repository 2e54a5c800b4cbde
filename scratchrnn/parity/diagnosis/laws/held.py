"""The laws, each a function: where the layer that is judged breaks it, in a sentence with the numbers, or None.

Each compares a layer with itself: run in another way it should give the same numbers. All is in float64, from random
inputs and from states that the layer itself has come to, so that a cell need not know others. Two numbers are the same
if they agree to half of the digits: in all that a law allows only the roundings differ, and what breaks one is larger
by far.
"""

from __future__ import annotations

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from .layer import B, Judged, State, T, call, digits_of, listed

_LENGTHS = (3, T, 1)


def finite(judged: Judged) -> str | None:
    """Looks for nan and inf in what a run returns."""
    for name, y in judged.run(judged.x, judged.start).items():
        if not y.isfinite().all():
            return f"{name} has {int((~y.isfinite()).sum())} of {y.numel()} numbers that are not finite"
    return None


def repeatable(judged: Judged) -> str | None:
    """Calls it twice on the same input, and looks at that."""
    layer = judged.layer
    entered = {"the input": judged.x} | layer.starts(judged.start or ())
    given = [y.clone() for y in entered.values()]
    with torch.no_grad():
        first = layer.named(*layer.run(given[0], tuple(given[1:]) if judged.start is not None else None))
    for (name, y), after in zip(entered.items(), given, strict=True):
        if not torch.equal(y, after):
            return f"a call writes into what it is given: {name} is off by {(after - y).abs().max():.2g} behind it"
    first = {name: y.clone() for name, y in first.items()}
    if where := judged.parted(judged.run(judged.x, judged.start), first):
        return f"{where[0]} is {where[2]:.6g} in one call and {where[1]:.6g} in the next, on the same input"
    return None


def precision(judged: Judged) -> str | None:
    """Looks for numbers that a narrower dtype holds, too."""
    if judged.digits == torch.float64:
        return None
    named = [k for k, y in judged.run(judged.x, judged.start).items() if digits_of(y) == judged.digits]
    return f"from an input in float64 each number of {listed(named)} has the digits of {str(judged.digits)[6:]} alone"


def batch_independence(judged: Judged) -> str | None:
    """Runs each row alone."""
    whole = judged.run(judged.x, judged.start)
    for b in range(B):
        alone = judged.run(judged.x[:, [b]], _rows(judged.start, [b]))
        if where := judged.parted({name: y[..., [b], :] for name, y in whole.items()}, alone):
            return f"for row {b} of {B}, {where[0]} is {where[1]:.6g} within the batch and {where[2]:.6g} alone"
    return None


def causality(judged: Judged) -> str | None:
    """Changes the input from each step on; for the reverse direction, before it."""
    whole = judged.run(judged.x, judged.start)["output"]
    width = whole.shape[-1] // (2 if judged.layer.bidirectional else 1)
    for t in range(1, T):
        parts = [("from", slice(t, T), slice(0, t), slice(0, width))]
        if judged.layer.bidirectional:
            parts.append(("before", slice(0, t), slice(t, T), slice(width, None)))
        for word, changed, kept, half in parts:
            other = judged.x.clone()
            other[changed] = torch.randn_like(other[changed])
            found = judged.run(other, judged.start)["output"]
            if where := judged.parted({"output": found[kept, :, half]}, {"output": whole[kept, :, half]}):
                of = " of the reverse direction" if word == "before" else ""
                at = f"{where[0].replace('output', f'output[{kept.start}:{kept.stop}]')}{of}"
                return f"with another input {word} step {t} {at} is {where[1]:.6g} and not {where[2]:.6g}"
    return None


def split(judged: Judged) -> str | None:
    """Cuts the run at each step."""
    whole = judged.run(judged.x, judged.start)
    for cut in range(1, T):
        with torch.no_grad():
            first, between = call(judged.layer.run, judged.x[:cut], judged.start)
            second, last = call(judged.layer.run, judged.x[cut:], between)
        if where := judged.parted(judged.layer.named(torch.cat([first, second]), last), whole):
            return (
                f"{where[0]} is {where[2]:.6g} in one run over {T} steps, and {where[1]:.6g} in a run over the first "
                f"{cut} and then, from the states that returned, over the others"
            )
    return None


def packed(judged: Judged) -> str | None:
    """Runs each sequence of a packed batch alone."""
    x = pack_padded_sequence(judged.x, torch.tensor(_LENGTHS), enforce_sorted=False)
    with torch.no_grad():
        output, last = call(judged.layer.run, x, judged.start)
    if not isinstance(output, PackedSequence):
        return f"the output of a PackedSequence is no PackedSequence but {type(output).__name__}"
    padded, _ = pad_packed_sequence(output)
    for b, length in enumerate(_LENGTHS):
        alone = judged.run(judged.x[:length, [b]], _rows(judged.start, [b]))
        found = judged.layer.named(padded[:length, [b]], _rows(last, [b]) or ())
        if where := judged.parted(found, alone):
            return (
                f"for sequence {b}, of length {length} beside {', '.join(map(str, _LENGTHS))}, {where[0]} is "
                f"{where[1]:.6g} packed and {where[2]:.6g} alone"
            )
    return None


def reverse(judged: Judged) -> str | None:
    """Flips the time and exchanges the directions; then gives the reverse one other states."""
    whole = judged.run(judged.x, judged.start)
    if judged.layer.mirrored is not None:
        with torch.no_grad():
            start = _exchanged(judged.start) if judged.start is not None else None
            output, last = call(judged.layer.mirrored, judged.x.flip(0), start)
        halves = torch.cat(output.flip(0).chunk(2, -1)[::-1], -1)
        if where := judged.parted(whole, judged.layer.named(halves, _exchanged(last))):
            return (
                f"{where[0]} is {where[1]:.6g}, and {where[2]:.6g} where the input is flipped in time, the directions "
                "exchange their parameters and states, and the output is flipped back"
            )
    if judged.start is not None:
        other = judged.run(judged.x, tuple(torch.cat([s[:-1], torch.randn_like(s[-1:])]) for s in judged.start))
        forward = [
            {name: y[..., : y.shape[-1] // 2] if name == "output" else y[:-1] for name, y in run.items()}
            for run in (other, whole)
        ]
        if where := judged.parted(*forward):
            change = "with other states for the reverse direction of the last layer"
            return f"{change} {where[0]} is {where[1]:.6g} and not {where[2]:.6g}"
    return None


def _rows(state: State | None, rows: list[int]) -> State | None:
    return None if state is None else tuple(s[..., rows, :] for s in state)


def _exchanged(state: State) -> State:
    """The directions in the other order: [L * D, B, .]."""
    return tuple(s.unflatten(0, (-1, 2)).flip(1).flatten(0, 1) for s in state)
