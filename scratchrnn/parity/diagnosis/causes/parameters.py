"""Causes in the parameters: rows in another order, matrices exchanged or transposed, biases lost or counted twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import combinations, permutations
from typing import Any

import torch
from torch import Tensor

from ..configuration import Configuration, Place, Weights
from ..reference import Change
from .variant import Facts, Variant, Variants

_ALL = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_SIDES = (("", _ALL), ("in W_hh and b_hh ", ("weight_hh", "bias_hh")), ("in W_ih and b_ih ", ("weight_ih", "bias_ih")))
_BIASES = (("b_ih", ("bias_ih",)), ("b_hh", ("bias_hh",)), ("both biases", ("bias_ih", "bias_hh")))


def _read(of: Callable[[Weights, Place], Any], names: Iterable[str] = _ALL) -> Change:
    """A change that reads each place of those parameters as `of` says."""
    mine = tuple(names)

    def weights(given: Weights, _: Configuration) -> Weights:
        return {p: of(given, p) if p.name.startswith(mine) else value for p, value in given.items()}

    return {"weights": weights}


def _from(gate: Mapping[str, str], names: Iterable[str] = _ALL) -> Change:
    """Each gate's rows are those that torch.nn has for another."""
    return _read(lambda w, p: w[Place(p.name, gate.get(p.gate, p.gate))], names)


def gate_order(facts: Facts) -> Variants:
    gates, H, G = facts.gates, facts.configuration.hidden_size, len(facts.gates)
    for side, names in _SIDES:
        for order in permutations(gates):
            if order == gates:
                continue
            k = next(k for k in range(G) if order[k] != gates[k])
            rows = f"rows {k * H}:{k * H + H} of {'weight_hh' if 'hh' in side else 'weight_ih'}"
            said = f"{side}reads its gates as {', '.join(order)}: {rows} are {facts.name(order[k])} where torch.nn has "
            index = ", ".join(str(gates.index(g)) for g in order)
            fix = f"stack the gates as {', '.join(gates)}, or load torch.cat([w.chunk({G})[k] for k in ({index})])"
            source = dict(zip(gates, (gates[order.index(g)] for g in gates), strict=True))
            yield Variant(said + facts.name(gates[k]), _from(source, names), fix)
    if G > 1:
        said = f"reads its gates interleaved: every {G}th row of a weight is one gate's, where torch.nn has blocks"
        fix = f"stack the gates in blocks of H rows, or load w.unflatten(0, ({G}, -1)).transpose(0, 1).flatten(0, 1)"
        yield Variant(said, _stacked(lambda rows, G: rows.unflatten(-2, (-1, G)).movedim(-2, -3)), fix)


def _stacked(blocks: Callable[[Tensor, int], Tensor], names: Iterable[str] = _ALL) -> Change:
    """A change of what a stacked parameter's gates are: `[G * H, n]` to `[G, H, n]`; of a bias n is 1."""

    def of(w: Weights, p: Place) -> Tensor:
        mine = [q for q in w if q.name == p.name]
        column = p.name.startswith("bias")
        rows = [
            w[q][..., 0, :, None] if column and w[q].dim() > 1 else w[q][..., None] if column else w[q] for q in mine
        ]
        found = blocks(torch.cat(rows, -2), len(mine))[..., mine.index(p), :, :]
        return found[..., 0].reshape(w[p].shape) if column else found

    return _read(of, names)


def weights_swapped(facts: Facts) -> Variants:
    other = {"weight_ih": "weight_hh", "weight_hh": "weight_ih", "bias_ih": "bias_hh", "bias_hh": "bias_ih"}

    def swap(w: Weights, p: Place) -> Tensor:
        kind, _, suffix = p.name.partition("_l")
        there = w[Place(f"{other[kind]}_l{suffix}", p.gate)]
        return there if there.shape == w[p].shape else w[p]

    yield Variant("multiplies x by W_hh and h by W_ih", _read(swap, ("weight",)))
    yield Variant("takes W_hh and b_hh for x, and W_ih and b_ih for h", _read(swap))
    yield Variant("takes b_hh for x and b_ih for h", _read(swap, ("bias",)))


def weights_transposed(facts: Facts) -> Variants:
    def turned(w: Weights, p: Place) -> Tensor:
        return w[p].mT if w[p].shape[-1] == w[p].shape[-2] else w[p]

    def reshaped(rows: Tensor, G: int) -> Tensor:
        *more, stacked, n = rows.shape
        return rows.reshape(*more, n, G, stacked // G).movedim(-2, -3).mT

    def reshaped_back(rows: Tensor, G: int) -> Tensor:
        *more, stacked, n = rows.shape
        return rows.mT.reshape(*more, G, stacked // G, n)

    both = ("weight_ih", "weight_hh")
    for what, names in (("W_hh", both[1:]), ("W_ih", both[:1]), ("W_ih and W_hh", both)):
        yield Variant(
            f"multiplies by {what} of each gate where torch.nn multiplies by the transpose", _read(turned, names)
        )
        detail = f"reshapes {what} to [inputs, gates * H], which does not transpose it"
        yield Variant(detail, _stacked(reshaped, names), "use weight.T, not weight.reshape or weight.view")
        detail = f"reshapes {what} of [inputs, gates * H] to [gates * H, inputs], which does not transpose it"
        yield Variant(detail, _stacked(reshaped_back, names), "use weight.T, not weight.reshape or weight.view")


def bias_missing(facts: Facts) -> Variants:
    for what, names in reversed(_BIASES):
        yield Variant(f"never adds {what}", _read(lambda w, p: w[p] * 0, names))
    if len(facts.gates) == 1:
        return
    for what, names in reversed(_BIASES):
        for gate in facts.gates:
            yield Variant(
                f"never adds {what} of {facts.name(gate)}",
                _read(lambda w, p, gate=gate: w[p] * (p.gate != gate), names),  # type: ignore[misc]
            )


def bias_doubled(facts: Facts) -> Variants:
    for what, names in reversed(_BIASES):
        yield Variant(f"adds {what} twice", _read(lambda w, p: w[p] * 2, names))
    for gate in facts.gates if len(facts.gates) > 1 else ():
        for what, names in _BIASES:
            yield Variant(
                f"adds {what} of {facts.name(gate)} twice",
                _read(lambda w, p, gate=gate: w[p] * (1 + (p.gate == gate)), names),  # type: ignore[misc]
            )


def bias_shared(facts: Facts) -> Variants:
    def as_ih(w: Weights, p: Place) -> Tensor:
        return w[Place(p.name.replace("bias_hh", "bias_ih"), p.gate)]

    def as_hh(w: Weights, p: Place) -> Tensor:
        return w[Place(p.name.replace("bias_ih", "bias_hh"), p.gate)]

    yield Variant("adds b_ih in the place of b_hh", _read(as_ih, ("bias_hh",)))
    yield Variant("adds b_hh in the place of b_ih", _read(as_hh, ("bias_ih",)))
    for source in facts.gates:
        others = [g for g in facts.gates if g != source]
        for many in range(1, len(others) + 1):
            for taking in combinations(others, many):
                for what, names in reversed(_BIASES):
                    used = f"uses {what} of {facts.name(source)} for {' and '.join(map(facts.name, taking))}, too"
                    yield Variant(used, _from(dict.fromkeys(taking, source), names))


def directions_share_weights(facts: Facts) -> Variants:
    def forward(w: Weights, p: Place) -> Tensor:
        return w[Place(p.name.removesuffix("_reverse"), p.gate)]

    yield Variant("runs the reverse direction with the weights of the forward one", _read(forward))
    yield Variant("has the forward direction's biases in both", _read(forward, ("bias",)))
    yield Variant("has the forward direction's matrices in both", _read(forward, ("weight",)))


def layer_order(facts: Facts) -> Variants:
    L = facts.configuration.num_layers

    def reading(source: Mapping[int, int]) -> Change:
        def of(w: Weights, p: Place) -> Tensor:
            name, _, rest = p.name.partition("_l")
            layer, _, reverse = rest.partition("_")
            there = Place(f"{name}_l{source.get(int(layer), layer)}{'_' if reverse else ''}{reverse}", p.gate)
            return w[there] if there in w and w[there].shape == w[p].shape else w[p]

        return _read(of, (*_ALL, "weight_hr"))

    if L > 1:
        yield Variant("uses the layers' weights from the last to the first", reading({k: L - 1 - k for k in range(L)}))
    for a, b in permutations(range(L), 2):
        yield Variant(f"runs layer {a} with the weights of layer {b}", reading({a: b}))
        if a < b:
            yield Variant(f"exchanges the weights of the layers {a} and {b}", reading({a: b, b: a}))
    if L > 2:
        yield Variant(
            "runs every layer above the first with the weights of layer 1", reading(dict.fromkeys(range(1, L), 1))
        )


def projection_transposed(facts: Facts) -> Variants:
    def turned(w: Weights, p: Place) -> Tensor:
        return w[p].reshape(w[p].shape[::-1]).mT

    if facts.configuration.proj_size:
        yield Variant("reshapes W_hr where it has to be transposed", _read(turned, ("weight_hr",)))
