"""torch.nn's own module beside the reference: what a subject is held against must not be ours alone."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .adapter import Reading
from .case import Case
from .configuration import Outcome


def hold_to_torch(case: Case, reading: Reading) -> None:
    """Run torch.nn's module with the weights and numbers of a case.

    Raises:
        RuntimeError: the reference without changes returns something else: nothing can be said of the subject.
    """
    weights = case.weights(reading)
    module = replace(case.configuration, bias=True, batch_first=False).module()
    for name, p in module.named_parameters():
        rows = [w for place, w in weights.items() if place.name in (name, f"{name}_l0")]
        p.data.copy_(torch.cat(rows))
    found, expected = case.reference(weights), _called(module, case)
    pairs = zip((found.output, *found.states), (expected.output, *expected.states), strict=True)
    error = max(((a - b).abs().max().item() for a, b in pairs if a is not None and b is not None), default=0.0)
    if not error <= case.tolerance.outputs:
        what = f"the reference is {error:.1g} apart from torch.nn's own {case.configuration}"
        raise RuntimeError(f"{what}: scratchrnn or torch is broken here; see scratchrnn verify")


def _called(module: torch.nn.Module, case: Case) -> Outcome:
    x: Tensor = case.x.detach().double()
    state = None if case.states is None else tuple(s.detach().double() for s in case.states)
    given = [] if state is None else [state[0] if len(state) == 1 else state]
    with torch.no_grad():
        if case.lengths is None:
            returned = module(x, *given)
        else:
            returned = module(pack_padded_sequence(x, case.lengths, enforce_sorted=False), *given)
    if case.configuration.step:
        return Outcome(None, returned if isinstance(returned, tuple) else (returned,))
    output, last = returned
    output = output if case.lengths is None else pad_packed_sequence(output)[0]
    return Outcome(output, last if isinstance(last, tuple) else (last,))
