"""The border of a layer, crossed once each way: what the caller gives becomes what the engine takes, and back."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..cells.cell import State
from ..cells.twins import TWINS
from ..engine.columns import Weights
from . import arguments
from .parameters import RecurrentParameters
from .sequences import Layout

_RNN_MODES = tuple(twin.cell.name for twin in TWINS if twin.layer is nn.RNN)


def enter(
    layer: RecurrentParameters, input: Tensor | PackedSequence, hx: Any
) -> tuple[Tensor, State | None, list[Weights], Layout]:
    """Raise what torch.nn raises, in its order, or give the call in the engine's layout, with the caller's own.

    x [T, B, I], or rows [N, I] of sorted packed sequences; the states [L * D, B, .], None for zeros; the weights of
    layer k, direction d at k * D + d.
    """
    kind, D = type(layer).__name__, layer._directions
    weights = [layer._weights(k, d) for k in range(layer.num_layers) for d in range(D)]
    if isinstance(input, PackedSequence):
        layout = Layout(layer.batch_first, packed=input)
    else:
        arguments.check_dimensions(kind, input, " tensor" if layer.mode in _RNN_MODES else "")
        layout = Layout(layer.batch_first, unbatched=input.dim() == 2)
    batched, states = layout.batched(input), None
    if hx is None:
        layer.check_input(batched, layout.batch_sizes)
    else:
        states = arguments.given_states(kind, layer.cell.states, hx)
        if layout.packed is None:
            arguments.check_state_dimensions(layer.cell.states, states, layout.unbatched)
        if layout.unbatched:
            states = tuple([s.unsqueeze(1) for s in states])
        layer.check_forward_args(batched, states[0] if len(states) == 1 else states, layout.batch_sizes)
        states = _permuted(layer, states, layout.sorted_indices)
    flat = [w for group in weights for w in group if w is not None]
    arguments.check_places(batched, states or (), flat, lambda k: layer._flat_weights_names[k])
    x = layout.enter(batched)
    if x.size(0) == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    return x, states, weights, layout


def leave(layer: RecurrentParameters, layout: Layout, output: Tensor, states: State) -> tuple[Any, Any]:
    """As the caller laid it out: the output, and one state or a tuple of several."""
    states = _permuted(layer, states, layout.unsorted_indices)
    if layout.unbatched:
        states = tuple([s.squeeze(1) for s in states])
    return layout.leave(output), states[0] if len(states) == 1 else states


def _permuted(layer: RecurrentParameters, states: State, indices: Tensor | None) -> State:
    if indices is None:
        return states
    hidden = layer.permute_hidden(states[0] if len(states) == 1 else states, indices)
    return (hidden,) if len(states) == 1 else tuple(hidden)
