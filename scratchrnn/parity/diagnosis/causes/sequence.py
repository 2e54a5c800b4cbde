"""Causes between the steps, layers and directions, and at the border: states, order, layout, padding, dropout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from ..configuration import Configuration
from ..reference import Change, Record, Run
from .variant import Facts, Variant, Variants


def _last(of: Callable[[Record], tuple[Tensor, ...]], which: Sequence[int] = (0, 1)) -> Change:
    """A change of h_n (0), c_n (1) or both to what `of` says of the record."""

    def last(given: tuple[Tensor, ...], record: Record) -> tuple[Tensor, ...]:
        if record.configuration.step:
            return given
        found = of(record)
        return tuple(found[k] if k in which else s for k, s in enumerate(given))

    return {"last": last}


def state_order(facts: Facts) -> Variants:
    if len(facts.states) < 2:
        return
    taken: Change = {"initial": lambda states, _: _same_widths(states)}
    returned: Change = {"last": lambda states, _: states[::-1]}
    yield Variant("takes and returns (c, h)", {**taken, **returned})
    yield Variant("takes (c, h), and returns (h, c)", taken)
    yield Variant("takes (h, c), and returns (c, h)", returned)


def _same_widths(states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return states[::-1] if states[0].shape == states[-1].shape else states


def initial_state_ignored(facts: Facts) -> Variants:
    c = facts.configuration

    def zeroed(which: Sequence[int], at: Callable[[int, int], bool]) -> Change:
        def initial(states: tuple[Tensor, ...], c: Configuration) -> tuple[Tensor, ...]:
            zero = [at(*divmod(k, c.directions)) for k in range(len(states[0]))]
            keep = (~torch.tensor(zero))[:, None, None].to(states[0].dtype)
            return tuple(s * keep if k in which else s for k, s in enumerate(states))

        return {"initial": initial}

    names = [f"{s}_0" for s in facts.states]
    whats: list[tuple[str, Sequence[int]]] = [(" and ".join(names), range(len(names)))]
    whats += [(name, [k]) for k, name in enumerate(names)] if len(names) > 1 else []
    for what, which in whats:
        yield Variant(f"starts from zeros whatever {what} is", zeroed(which, lambda layer, direction: True))
        said = f"from zeros whatever {what} is"
        if c.directions > 1:
            yield Variant(
                f"starts the reverse direction {said}", zeroed(which, lambda layer, direction: direction == 1)
            )
        if c.num_layers > 1:
            yield Variant(
                f"starts the layers above the first {said}", zeroed(which, lambda layer, direction: layer > 0)
            )

    def taking(source: Callable[[int, int, Configuration], int]) -> Change:
        def initial(states: tuple[Tensor, ...], c: Configuration) -> tuple[Tensor, ...]:
            D = c.directions
            return tuple(s[[source(k // D, k % D, c) for k in range(len(s))]] for s in states)

        return {"initial": initial}

    if c.num_layers > 1:
        yield Variant("starts every layer from the first layer's part of h_0", taking(lambda _, d, __: d))
    if c.num_layers > 1 and c.directions > 1:
        yield Variant("starts every layer and direction from the first part of h_0", taking(lambda *_: 0))
    if c.directions > 1:
        yield Variant(
            "starts both directions from the forward one's part of h_0", taking(lambda k, _, c: k * c.directions)
        )


def states_order(facts: Facts) -> Variants:
    """Of `layer-order`: the parts of h_0 or h_n, where the layers' weights are in order."""
    if facts.configuration.num_layers == 1:
        return

    def turned(s: Tensor, c: Configuration) -> Tensor:
        return s.unflatten(0, (c.num_layers, c.directions)).flip(0).flatten(0, 1)

    def by_direction(s: Tensor, c: Configuration) -> Tensor:
        return s.unflatten(0, (c.num_layers, c.directions)).transpose(0, 1).flatten(0, 1)

    def from_direction(s: Tensor, c: Configuration) -> Tensor:
        return s.unflatten(0, (c.directions, c.num_layers)).transpose(0, 1).flatten(0, 1)

    def flipped(s: Tensor, c: Configuration) -> Tensor:
        return s.flip(0)

    for how, into, out in (
        ("from the last layer to the first", turned, turned),
        ("from the last layer and direction to the first", flipped, flipped),
        ("with all forward directions before the reverse ones", from_direction, by_direction),
    ):
        takes: Change = {"initial": lambda states, c, f=into: tuple(f(s, c) for s in states)}
        returns: Change = {"last": lambda states, r, f=out: tuple(f(s, r.configuration) for s in states)}
        yield Variant(f"stacks h_0 and h_n {how}", {**takes, **returns})
        yield Variant(f"takes h_0 {how}", takes)
        yield Variant(f"stacks h_n {how}", returns)


def layers_fed(facts: Facts) -> Variants:
    """Of `layer-order`: what a layer above the first gets."""

    def entered(x: Tensor, _: Configuration, first: Tensor) -> Tensor:
        return first if first.shape == x.shape else x

    if facts.configuration.num_layers > 1:
        yield Variant("gives x to every layer, not the output of the layer below", {"above": entered})


def last_state(facts: Facts) -> Variants:
    both = [([0, 1], "h_n and c_n"), ([0], "h_n"), ([1], "c_n")] if len(facts.states) > 1 else [([0], "h_n")]
    D, L = facts.configuration.directions, facts.configuration.num_layers
    for which, what in both:
        at = [
            (f"returns as {what} what was there before the first step", lambda r: r.each(lambda run: run.initial)),
            (f"returns as {what} the state at t = 0", lambda r: r.each(lambda run: [s[0] for s in run.states])),
            (f"returns as {what} the state of the step before the last", lambda r: r.each(_before_last)),
        ]
        if D > 1:
            at.append(
                (f"returns as {what} of the reverse direction its state at t = T - 1, where it has begun", _at_end)
            )
            at.append((f"returns as {what} of the reverse direction the forward one's", _forward))
        if L > 1:
            at.append((f"returns as {what} the last layer's in every place", lambda r: _of_layer(r, -1, L)))
            at.append((f"returns as {what} the first layer's in every place", lambda r: _of_layer(r, 0, L)))
            at.append((f"returns as {what} the last layer's alone", lambda r: _of_layer(r, -1, 1)))
            at.append((f"returns as {what} the first layer's alone", lambda r: _of_layer(r, 0, 1)))
        yield from (Variant(said, _last(of, which)) for said, of in at)
    if len(facts.states) > 1:
        yield Variant("returns c_n as h_n, too", _last(lambda r: r.each(lambda run: run.last)[::-1], [0]))
        yield Variant("returns h_n as c_n, too", _last(lambda r: r.each(lambda run: run.last)[::-1], [1]))


def _before_last(run: Any) -> tuple[Tensor, ...]:
    return tuple(s[-2] if len(s) > 1 else first for s, first in zip(run.states, run.initial, strict=True))


def _at_end(record: Record) -> tuple[Tensor, ...]:
    def at_end(run: Run) -> Sequence[Tensor]:
        return [run.shown[-1], *(s[-1] for s in run.states[1:])] if run.reverse else run.last  # as output[-1] is

    return record.each(at_end)


def _forward(record: Record) -> tuple[Tensor, ...]:
    D = record.configuration.directions
    return tuple(s[..., ::D, :, :].repeat_interleave(D, -3) for s in record.each(lambda run: run.last))


def _of_layer(record: Record, layer: int, times: int) -> tuple[Tensor, ...]:
    c = record.configuration
    per_layer = (s.unflatten(-3, (c.num_layers, c.directions)) for s in record.each(lambda run: run.last))
    return tuple(torch.cat([s[..., layer, :, :, :]] * min(times, c.num_layers), -3) for s in per_layer)


def reverse_not_flipped(facts: Facts) -> Variants:
    if facts.configuration.directions == 1:
        return

    def forward(steps: range, reverse: bool) -> range:
        return range(len(steps)) if reverse else steps

    def unflipped(h: Tensor, _: Tensor, reverse: bool) -> Tensor:
        return h.flip(0) if reverse else h

    yield Variant("takes the steps of the reverse direction from the first to the last", {"order": forward})
    yield Variant("leaves the output of the reverse direction in the order in which it was made", {"shown": unflipped})
    said = "takes the steps of the reverse direction from the first to the last, and turns their output round"
    yield Variant(said, {"order": forward, "shown": unflipped})

    def rows(states: tuple[Tensor, ...], c: Any) -> tuple[Tensor, ...]:
        D = (c if isinstance(c, Configuration) else c.configuration).directions
        keep = torch.arange(states[0].shape[-3]) % D == 0
        return tuple(torch.where(keep[:, None, None], s, s.flip(-2)) for s in states)

    said = "turns x round along the batch, not along time, for the reverse direction"
    yield Variant(said, {"order": forward, "initial": rows, "last": rows})


def direction_order(facts: Facts) -> Variants:
    if facts.configuration.directions == 1:
        return

    def halves(x: Tensor, record: Record) -> Tensor:
        return torch.cat(x.chunk(2, -1)[::-1], -1) if record.configuration.directions > 1 else x

    def above(x: Tensor, c: Configuration, _: Tensor) -> Tensor:
        return torch.cat(x.chunk(2, -1)[::-1], -1) if c.directions > 1 else x

    def last(states: tuple[Tensor, ...], record: Record) -> tuple[Tensor, ...]:
        c = record.configuration
        return tuple(s.unflatten(-3, (c.num_layers, c.directions)).flip(-4).flatten(-4, -3) for s in states)

    every: Change = {"output": halves, "above": above}
    yield Variant("puts the reverse direction before the forward one in the output", every)
    yield Variant("puts the reverse direction before the forward one in the output and in h_n", {**every, "last": last})
    yield Variant("puts the reverse direction before the forward one in h_n", {"last": last})
    yield Variant("puts the reverse direction before the forward one in the last layer's output", {"output": halves})


def batch_first(facts: Facts) -> Variants:
    def turn(x: Tensor, *_: Any) -> Tensor:
        return x.transpose(0, -2)

    def states(given: tuple[Tensor, ...], *_: Any) -> tuple[Tensor, ...]:
        return tuple(s.transpose(-3, -2) for s in given)

    if facts.configuration.batch_first:

        def only(change: Change) -> Change:
            return {**change, "when": lambda c: c.batch_first}

        yield Variant(
            "runs along the batch: batch_first is accepted and ignored", only({"input": turn, "output": turn})
        )
        yield Variant("returns the output time first though batch_first is set", only({"output": turn}))
        yield Variant("takes x time first though batch_first is set", only({"input": turn}))
        yield Variant("returns the states batch first, where torch.nn never does", only({"last": states}))

    def viewed(x: Tensor, *_: Any) -> Tensor:
        T, B = x.shape[0], x.shape[-2]
        rows = x.movedim(0, -3).flatten(-3, -2).unflatten(-2, (B, T))  # [.., B, T, n], read from [T, B, n]
        return rows.transpose(-3, -2).movedim(-3, 0)

    def viewed_as_time_first(x: Tensor, *_: Any) -> Tensor:
        T, B = x.shape[0], x.shape[-2]
        return x.transpose(0, 1).flatten(0, 1).unflatten(0, (T, B))

    yield Variant("reshapes the output to [B, T, H] with view, which does not transpose it", {"output": viewed})
    yield Variant("reshapes x to [T, B, I] with view, which does not transpose it", {"input": viewed_as_time_first})
    yield Variant("returns the states as [B, layers, H], where torch.nn has [layers, B, H]", {"last": states})
    yield Variant("runs along the batch, taking x as [B, T, I]", {"input": turn, "output": turn})


def dropout(facts: Facts) -> Variants:
    """Seen where everything that is dropped is all there is: zeros."""
    if not facts.configuration.dropout:
        return

    def never(_: Tensor, x: Tensor, __: Configuration) -> Tensor:
        return x

    def always(_: Tensor, x: Tensor, __: Configuration) -> Tensor:
        return x * 0

    def at_the_end(y: Tensor, record: Record) -> Tensor:
        return y * 0 if record.configuration.dropout and record.configuration.training else y

    def at_the_end_always(y: Tensor, record: Record) -> Tensor:
        return y * 0 if record.configuration.dropout else y

    yield Variant("drops the output of the last layer, too", {"output": at_the_end})
    yield Variant("never drops anything in training", {"dropped": never})
    yield Variant("drops the last layer's output, and nothing between layers", {"output": at_the_end, "dropped": never})
    yield Variant("drops between the layers in eval(), too", {"dropped": always})
    yield Variant("drops the last layer's output, in eval(), too", {"output": at_the_end_always})
    yield Variant(
        "drops the last layer's output, in eval(), too, and nothing between layers",
        {"output": at_the_end_always, "dropped": never},
    )
    yield Variant(
        "drops in eval(), too, and the last layer's output as well", {"output": at_the_end_always, "dropped": always}
    )


def projection(facts: Facts) -> Variants:
    if not facts.configuration.proj_size:
        return
    yield Variant("never applies W_hr", {"projected": lambda projected, h: h[..., : projected.shape[-1]]})
    yield Variant("applies tanh to W_hr h", {"projected": lambda projected, h: projected.tanh()})


def time_shift(facts: Facts) -> Variants:
    def later(x: Tensor, *_: Any) -> Tensor:
        return torch.cat([torch.zeros_like(x[:1]), x[:-1]])

    def sooner(x: Tensor, *_: Any) -> Tensor:
        return torch.cat([x[1:], torch.zeros_like(x[:1])])

    def computed_before(h: Tensor, _: Tensor, reverse: bool) -> Tensor:
        return sooner(h) if reverse else later(h)

    yield Variant("gives as output the state before each step, h_(t-1)", {"shown": lambda _, h_prev, __: h_prev})
    yield Variant("gives the output of the step before, and zeros at the first", {"shown": computed_before})
    yield Variant("gives the output of the step before, and zeros at t = 0", {"shown": later})
    yield Variant("gives the output of the step after", {"shown": sooner})
    yield Variant("reads x of the step before, and zeros at the first", {"input": later, "above": later})
    yield Variant("reads x of the step after, and zeros at the last", {"input": sooner, "above": sooner})
    if facts.configuration.num_layers > 1:
        yield Variant("reads in the first layer x of the step before, and zeros at the first", {"input": later})
        yield Variant("reads in the first layer x of the step after, and zeros at the last", {"input": sooner})
    yield Variant("returns the output from the last step to the first", {"output": lambda y, _: y.flip(0)})
    yield Variant("reads x rolled by a step", {"input": lambda x, _: x.roll(1, 0)})
    yield Variant("reads x rolled back by a step", {"input": lambda x, _: x.roll(-1, 0)})
    yield Variant(
        "goes through time from the last step to the first", {"order": lambda steps, _: range(len(steps))[::-1]}
    )


def split_axis(facts: Facts) -> Variants:
    if len(facts.gates) > 1:

        def along_batch(parts: Sequence[Tensor], stacked: Tensor) -> Sequence[Tensor]:
            G = len(parts)
            return stacked.reshape(*stacked.shape[:-2], G, stacked.shape[-2], -1).unbind(-3)

        said = "cuts the gates along the batch: it reads [B, gates * H] as [gates, B, H]"
        yield Variant(said, {"split": along_batch})
        for order in permutations(range(len(facts.gates))) if not facts.promised else ():

            def reordered(parts: Any, stacked: Tensor, order: tuple[int, ...] = order) -> Sequence[Tensor]:
                cut = along_batch(parts, stacked)
                return [cut[k] for k in order]

            yield Variant(said, {"split": reordered})


def packed_last_state(facts: Facts) -> Variants:
    def forward(alive: Tensor, reverse: bool) -> Tensor:
        return alive if reverse else torch.ones_like(alive)

    def at_end(record: Record) -> tuple[Tensor, ...]:
        return record.each(lambda run: run.last if run.reverse else [run.shown[-1], *run.last[1:]])

    def at_both_ends(record: Record) -> tuple[Tensor, ...]:
        return record.each(lambda run: [run.shown[0 if run.reverse else -1], *run.last[1:]])

    said = "returns the states after the last step of the batch, whatever a row's length"
    yield Variant(said, {"moves": forward})
    if facts.configuration.layout == "packed":  # in whose output no padding can be seen
        yield Variant(said, {"moves": forward, "shows": forward})
    yield Variant("returns as h_n the output at the last step of the batch, zero for shorter rows", _last(at_end, [0]))
    yield Variant("returns as h_n the last step of the output, and the first in reverse", _last(at_both_ends, [0]))


def _of_each_row(_: tuple[Tensor, ...], record: Record) -> tuple[Tensor, ...]:
    """The states where each row ends, though the steps went on."""
    return record.each(lambda run: run.at_end)


def packed_padding(facts: Facts) -> Variants:
    def everywhere(alive: Tensor, _: bool) -> Tensor:
        return torch.ones_like(alive)

    def reverse_only(alive: Tensor, reverse: bool) -> Tensor:
        return torch.ones_like(alive) if reverse else alive

    def forward_only(alive: Tensor, reverse: bool) -> Tensor:
        return alive if reverse else torch.ones_like(alive)

    blind: Change = {"moves": everywhere, "shows": everywhere}
    yield Variant("takes no account of the lengths", blind)
    said = "takes no account of the lengths that are given beside the input"
    yield Variant(said, {**blind, "when": lambda c: c.layout == "lengths"})
    yield Variant(
        "leaves in the output what it computed of the padding",
        {"moves": everywhere, "shows": everywhere, "last": _of_each_row},
    )
    yield Variant("repeats a row's last state in the padding of the output", {"shows": everywhere})
    if facts.configuration.directions > 1:
        yield Variant("begins the reverse direction in the padding, not at a row's last step", {"moves": reverse_only})
        yield Variant("runs through the padding in both directions", {"moves": everywhere})
        yield Variant(
            "runs through the padding in both directions, and shows that of the forward one",
            {"moves": everywhere, "shows": forward_only},
        )
