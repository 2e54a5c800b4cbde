"""What a trace says in a few numbers: saturated gates, how long a unit remembers, dead and stuck units, gradients.

Each function takes a `Record`, one layer and direction of a trace, and raises TypeError for anything else; steps behind
the end of a sequence do not count.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...cells.cell import Cell, step
from ...equations.adjoint import seen
from ..record import Record, expect_record
from ..run_by import LAYER, Layer, OneStep, run_by, weights_of


class Saturation(NamedTuple):
    """Shares of a gate's values, for each unit [H]."""

    low: Tensor
    """Within 5 % of the gate's range from its lower bound: a closed gate, or a candidate near -1."""
    high: Tensor
    """Within 5 % of it from its upper bound: an open gate, or a candidate near 1."""


def saturation(record: Record) -> dict[str, Saturation]:
    """How often each gate is as good as closed or open: below 0.05 or above 0.95 for a sigmoid.

    "As good as" is within 5 % of its `span`: a tanh counts below -0.9 and above 0.9. What has no span, as relu, is left
    out.

    Example:
        >>> import torch, scratchrnn as sr
        >>> record = sr.trace(torch.nn.LSTM(3, 4), torch.zeros(5, 2, 3)).layer(0)
        >>> shares = sr.summary.saturation(record)["f"]
        >>> isinstance(shares, sr.summary.Saturation), shares.high
        (True, tensor([0., 0., 0., 0.], dtype=torch.float64))
    """
    expect_record(record)
    found = {}
    for name in saturable(record):
        if (limits := span(record, name)) is not None:
            low, high = limits
            values, margin = record[name][record.valid()], 0.05 * (high - low)
            shares = [beyond.double().mean(0) for beyond in (values < low + margin, values > high - margin)]
            found[name] = Saturation(*shares)
    return found


def saturable(record: Record) -> list[str]:
    """The gates on the record; for a cell whose tape holds none, the emitted state.

    Example:
        >>> import torch, scratchrnn as sr
        >>> record = sr.trace(torch.nn.LSTM(3, 4), torch.randn(5, 2, 3)).layer(0)
        >>> sr.summary.saturable(record)
        ['i', 'f', 'g', 'o']
    """
    expect_record(record)
    return [g for g in record.cell.gates if g in record.tensors] or [record.cell.states[0]]


def span(record: Record, name: str) -> tuple[float, float] | None:
    """The least and the largest value that one of `saturable` can have: (0, 1) of a sigmoid, (-1, 1) of a tanh.

    They are looked for in the cell's `update`, from zero states, where the pre-activations are far from 0, each to one
    side or the other. None where it has no such limits, where the record's values leave them, as gradients do under
    the gate's name, and for other tensors.

    Example:
        >>> import torch, scratchrnn as sr
        >>> record = sr.trace(torch.nn.LSTM(3, 4), torch.randn(5, 2, 3)).layer(0)
        >>> sr.summary.span(record, "f"), sr.summary.span(record, "g"), sr.summary.span(record, "c")
        ((0.0, 1.0), (-1.0, 1.0), None)
    """
    expect_record(record)
    cell = record.cell
    if name not in saturable(record):
        return None
    values = record[name][record.valid()].detach()
    sides = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * len(cell.pre_activations))
    sides = sides.view(-1, len(cell.pre_activations), 1).to(values).expand(-1, -1, values.shape[-1])

    def extremes(distance: float) -> tuple[float, float]:
        pre = [side.contiguous() for side in (distance * sides).unbind(1)]
        with torch.no_grad():
            state, shown = seen(cell, *pre, *(torch.zeros_like(pre[0]) for _ in cell.states))
        found = (shown | dict(zip(cell.states, state, strict=True)))[name]
        return round(found.min().item(), 6), round(found.max().item(), 6)

    low, high = extremes(50.0)
    if (low, high) != extremes(100.0) or not low < high or not len(values):
        return None
    return (low, high) if low <= values.min() and values.max() <= high else None


def roads(record: Record) -> dict[str, Tensor]:
    """The states that go from step to step past the weights, each with the share that every unit keeps, [T, B, H].

        kept_t = ds_t / ds_{t-1}  past the weights, all else before the step as it was

    `{"c": f}` of an LSTM, its forget gate; `{"h": z}` of a GRU, its update gate; of a cell of your own what its
    `update` says. Empty of an Elman cell.

    Example:
        >>> import torch, scratchrnn as sr
        >>> record = sr.trace(torch.nn.LSTM(3, 4), torch.randn(5, 2, 3)).layer(0)
        >>> {state: torch.allclose(kept, record.f) for state, kept in sr.summary.roads(record).items()}
        {'c': True}
    """
    expect_record(record)
    cell, valid = record.cell, record.valid().unsqueeze(-1)
    found: dict[str, Tensor] = {}
    with torch.inference_mode(False), torch.enable_grad():  # wherever it is called
        pre = [record[f"{p}_pre" if p in cell.gates else p].detach().clone() for p in cell.pre_activations]
        prev = [record[f"{s}_prev"].detach().clone().requires_grad_() for s in cell.states]
        state, _ = step(cell, *pre, *prev)
        for name, before, after in zip(cell.states, prev, state, strict=True):
            if not after.requires_grad:
                continue
            (kept,) = torch.autograd.grad(after.sum(), before, retain_graph=True, allow_unused=True)
            if kept is not None:
                found[name] = kept * valid
    return found


def carried(record: Record, state: str | None = None) -> tuple[str, Tensor]:
    """The state that remembers, and the share of it that each unit keeps at each step, [T, B, H]: one of `roads`.

    `("c", f)` of an LSTM, `("h", z)` of a GRU.

    Args:
        record: a layer and direction of a trace.
        state: which one; None where the cell has but one that goes on past the weights.

    Raises:
        ValueError: no state goes on past the weights, as in an Elman cell; several do, and none is chosen; or `state`
            does not, or is no state of the cell.

    Example:
        >>> import torch, scratchrnn as sr
        >>> record = sr.trace(torch.nn.GRU(3, 4), torch.randn(5, 2, 3)).layer(0)
        >>> state, kept = sr.summary.carried(record)
        >>> state, torch.allclose(kept, record.z)
        ('h', True)
    """
    found, cell = roads(record), record.cell
    if state is not None and state not in cell.states:
        raise ValueError(f"state should be one of cell {cell.name!r}, {', '.join(cell.states)}, got {state!r}")
    if not found:
        raise ValueError(f"no state of cell {cell.name!r} reaches the next step but through its weights")
    if state is None and len(found) > 1:
        raise ValueError(
            f"several states of cell {cell.name!r} reach the next step past its weights, {', '.join(found)}: "
            f"choose one, as state={next(iter(found))!r}"
        )
    name = next(iter(found)) if state is None else state
    if name not in found:
        raise ValueError(
            f"state {name!r} of cell {cell.name!r} reaches the next step but through its weights; "
            f"those past them: {', '.join(found)}"
        )
    return name, found[name]


def contributions(record: Record, unit: int, sequence: int = 0, state: str | None = None) -> Tensor:
    """What is left in a unit at each step of what every step before wrote, [T + 1, T]: rows wrote, columns read.

        w_s = state_s - kept_s * state_{s-1}            of an LSTM i * g, of a GRU (1 - z) * n
        left[s + 1, t] = w_s * kept_{s+1} * ... * kept_t

    Row 0 is what is left of the state before the first step. Each column adds up to the state. A reverse direction
    comes from the other end, so that the later steps are those that wrote before.

    Args:
        record: a layer and direction of a trace.
        unit, sequence: which one of H, and which of the batch; T is the length of that one.
        state: which, as of `carried`.

    Raises:
        IndexError: there is no such unit or sequence.
        ValueError: as of `carried`.

    Example:
        >>> import torch, scratchrnn as sr
        >>> record = sr.trace(torch.nn.LSTM(3, 4), torch.randn(5, 2, 3)).layer(0)
        >>> left = sr.summary.contributions(record, unit=2, sequence=1)
        >>> torch.allclose(left.sum(0), record.c[:, 1, 2].double())
        True
    """
    name, kept = carried(record, state)
    lengths = record.valid().sum(0)
    for what, chosen, size in [("unit", unit, kept.shape[-1]), ("sequence", sequence, len(lengths))]:
        if not 0 <= chosen < size:
            raise IndexError(f"{what} should be from 0 to {size - 1}, got {chosen}")
    T = int(lengths[sequence])
    order = range(T)[::-1] if record.reverse else range(T)
    after, before, share = (
        t[:T, sequence, unit].detach().double() for t in (record[name], record[f"{name}_prev"], kept)
    )
    left, column = after.new_zeros(T + 1, T), after.new_zeros(T + 1)
    column[0] = before[order[0]]
    for t in order:
        column = share[t] * column
        column[t + 1] = after[t] - share[t] * before[t]
        left[:, t] = column
    return left


def time_constants(record: Record, state: str | None = None) -> Tensor:
    """For how many steps each unit remembers, [H]: what it holds falls to 1 / e in so many.

        tau = -1 / ln(mean over steps and sequences of what is kept)

    For an LSTM that is its mean forget gate, for a GRU its mean update gate (Tallec & Ollivier 2018, arXiv:1804.11188).
    Infinite where all is kept; 0 where nothing is. Arguments and errors as of `carried`.

    Example:
        >>> import torch, scratchrnn as sr
        >>> lstm = torch.nn.LSTM(3, 1)
        >>> with torch.no_grad():
        ...     _ = lstm.weight_ih_l0.zero_(), lstm.weight_hh_l0.zero_(), lstm.bias_hh_l0.zero_()
        ...     _ = lstm.bias_ih_l0.copy_(torch.tensor([0.0, 4.0, 0.0, 0.0]))    # of i, f, g, o: f = sigmoid(4)
        >>> print(f"{sr.summary.time_constants(sr.trace(lstm, torch.randn(5, 3)).layer(0)).item():.1f} steps")
        55.1 steps
    """
    kept = carried(record, state)[1][record.valid()].double().mean(0)
    return (1 / kept.clamp(0, 1).log()).abs()


def dead(record: Record, below: float = 1e-3) -> Tensor:
    """[H]: whether the unit's emitted state stays within `below` of 0 at all steps of all sequences.

    Example:
        >>> import torch, scratchrnn as sr
        >>> layer = sr.LSTM(3, 4)
        >>> with torch.no_grad():
        ...     _ = layer.bias_ih_l0[-1:].fill_(-20)    # the output gate of unit 3 is shut
        >>> sr.summary.dead(sr.trace(layer, torch.randn(5, 2, 3)).layer(0))
        tensor([False, False, False,  True])
    """
    expect_record(record)
    return record[record.cell.states[0]][record.valid()].abs().amax(0) <= below


def stuck(record: Record, within: float = 1e-3) -> Tensor:
    """[H]: whether the unit's emitted state keeps one value, to `within`, at all steps, and is not dead.

    Example:
        >>> import torch, scratchrnn as sr
        >>> layer = sr.RNN(3, 4)
        >>> with torch.no_grad():
        ...     _ = layer.bias_ih_l0[0].fill_(20)
        >>> sr.summary.stuck(sr.trace(layer, torch.randn(5, 2, 3)).layer(0))
        tensor([ True, False, False, False])
    """
    expect_record(record)
    h = record[record.cell.states[0]][record.valid()]
    return (h.amax(0) - h.amin(0) <= within) & ~dead(record, within)


def gradient_norms(gradients: Record, name: str | None = None) -> Tensor:
    """||dL/dX_t|| at each step [T], over units and sequences, X the state or gate `name`.

    Args:
        gradients: a record of `Trace.gradients`, not of the trace itself.
        name: default: the emitted state, h.

    Example:
        >>> import torch, scratchrnn as sr
        >>> trace = sr.trace(torch.nn.LSTM(3, 4), torch.randn(5, 2, 3), differentiable=True)
        >>> gradients = trace.gradients(trace.output[2].sum()).layer(0)
        >>> sr.summary.gradient_norms(gradients) > 0    # nothing behind step 2 has a part in it
        tensor([ True,  True,  True, False, False])
    """
    expect_record(gradients, "gradients")
    return gradients[name or gradients.cell.states[0]].double().flatten(1).norm(dim=1)


def gate_shares(gradients: Record) -> dict[str, Tensor]:
    """Each gate's share [T] in the gradient that goes back into the weights at a step; together they are 1.

        share_g(t) = ||dL/dg_t||^2 / sum over gates,   g the gate's pre-activation, of a split gate its hidden half

    0 at a step that no gradient reaches.

    Args:
        gradients: a record of `Trace.gradients`.

    Example:
        >>> import torch, scratchrnn as sr
        >>> trace = sr.trace(torch.nn.LSTM(3, 4), torch.randn(5, 2, 3), differentiable=True)
        >>> shares = sr.summary.gate_shares(trace.gradients(trace.output.sum()).layer(0))
        >>> torch.allclose(sum(shares.values()), torch.ones(5, dtype=torch.float64))
        True
    """
    expect_record(gradients, "gradients")
    squares = {g: gradient_norms(gradients, name).square() for g, name in into_weights(gradients.cell).items()}
    total = sum(squares.values(), torch.zeros(()))
    return {g: (square / total).nan_to_num(0.0) for g, square in squares.items()}


def into_weights(cell: Cell) -> dict[str, str]:
    """Of each gate what of a record the gradient goes through into `weight_hh`."""
    return {g: f"{g}_h" if g in cell.split else f"{g}_pre" for g in cell.gates}


def spectral_radius(layer: Layer | OneStep, k: int = 0, reverse: bool = False) -> dict[str, float]:
    """The largest absolute eigenvalue of each gate's block of `weight_hh`, of layer k and direction: `{"n": 0.97}`.

    Below 1, an Elman cell's gradient vanishes over long spans; above, it may explode (Pascanu et al. 2013,
    arXiv:1211.5063): as a rule, as the tanh between has its part. Under a projection, of W_hg W_hr.

    Raises:
        IndexError: there is no such layer or direction; a cell is layer 0.
        TypeError: the layer has a `forward` of its own.

    Example:
        >>> import torch, scratchrnn as sr
        >>> layer = sr.RNN(3, 4)
        >>> with torch.no_grad():
        ...     _ = layer.weight_hh_l0.copy_(0.5 * torch.eye(4))
        >>> sr.summary.spectral_radius(layer)
        {'n': 0.5}
    """
    layers, bidirectional = (layer.num_layers, layer.bidirectional) if isinstance(layer, LAYER) else (1, False)
    if not 0 <= k < layers or reverse > bidirectional:
        raise IndexError(f"no layer {k}, reverse={reverse} in {layer}")
    ours = run_by(layer)
    gates, weights = ours.cell.gates, weights_of(ours, k, reverse).map(lambda w: w.detach().double())
    blocks = [W if weights.hr is None else W @ weights.hr for W in weights.hh.chunk(len(gates))]
    return {g: torch.linalg.eigvals(W).abs().max().item() for g, W in zip(gates, blocks, strict=True)}
