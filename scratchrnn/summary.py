"""What a trace says in a few numbers: saturated gates, how long a unit remembers, dead and stuck units, gradients.

Each function takes a `Record`, one layer and direction of a trace; steps behind the end of a sequence do not count.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .cell import Cell
from .record import Record
from .recurrent import RecurrentLayer
from .trace import run_by


class Saturation(NamedTuple):
    """Shares of a gate's values, for each unit [H]."""

    low: Tensor
    """Within 5 % of the gate's range from its lower bound: a closed gate, or a candidate near -1."""
    high: Tensor
    """Within 5 % of it from its upper bound: an open gate, or a candidate near 1."""


def saturation(record: Record) -> dict[str, Saturation]:
    """How often each gate is as good as closed or open: below 0.05 or above 0.95 for a sigmoid.

    A gate's bounds are what `update` gives for it where all pre-activations are far below or above 0: those of a tanh
    are -1 and 1, so it counts below -0.9 and above 0.9. What has no bounds, as relu, is left out. For a cell whose tape
    holds no gates, as Elman's, the emitted state stands for them.
    """
    found = {}
    for name in [g for g in record.cell.gates if g in record.tensors] or [record.cell.states[0]]:
        if (span := limits(record.cell, name)) is not None:
            low, high = span
            values, margin = record[name][record.valid()], 0.05 * (high - low)
            shares = [beyond.double().mean(0) for beyond in (values < low + margin, values > high - margin)]
            found[name] = Saturation(*shares)
    return found


def limits(cell: Cell, name: str) -> tuple[float, float] | None:
    """The least and the largest value that gate or state `name` can have from zero states; None where it is unbounded.

    They are looked for where the pre-activations are far from 0, each to one side or the other.
    """
    count = len(cell.pre_activations)
    sides = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * count).view(-1, count)

    def extremes(distance: float) -> tuple[float, float]:
        pre = (distance * sides).split(1, 1)
        state, tape = cell.update(*pre, *(torch.zeros(len(sides), 1, dtype=torch.float64) for _ in cell.states))
        found = getattr(tape, name) if hasattr(tape, name) else state[cell.states.index(name)]
        return round(found.min().item(), 9), round(found.max().item(), 9)

    low, high = extremes(50.0)
    return (low, high) if (low, high) == extremes(100.0) and low < high else None


def carried(record: Record) -> tuple[str, Tensor]:
    """The state that goes from step to step past the weights, and the share of it that each unit keeps, [T, B, H].

        kept_t = ds_t / ds_{t-1}  past the weights

    `("c", f)` of an LSTM, its forget gate; `("h", z)` of a GRU, its update gate; of a cell of your own what its
    `update` says, of the last state that has such a road.

    Raises:
        ValueError: no state has one, as in an Elman cell.
    """
    cell = record.cell
    pre = [record[f"{name}_pre" if name in cell.gates else name].detach() for name in cell.pre_activations]
    state_prev = [record[f"{name}_prev"].detach() for name in cell.states]
    for k, name in reversed([*enumerate(cell.states)]):
        with torch.enable_grad():
            prev = [s.requires_grad_() if j == k else s for j, s in enumerate(state_prev)]
            after = cell.update(*pre, *prev)[0][k]
            (kept,) = torch.autograd.grad(after.sum(), prev[k], allow_unused=True) if after.requires_grad else (None,)
        prev[k].requires_grad_(False)
        if kept is not None:
            return name, kept * record.valid().unsqueeze(-1)
    raise ValueError(f"no state of cell {cell.name!r} reaches the next step but through its weights")


def time_constants(record: Record) -> Tensor:
    """For how many steps each unit remembers, [H]: what it holds falls to 1 / e in so many.

        tau = -1 / ln(mean over steps and sequences of what is kept)

    For an LSTM that is its mean forget gate, for a GRU its mean update gate (Tallec & Ollivier 2018, arXiv:1804.11188).
    Infinite where all is kept; 0 where nothing is.

    Raises:
        ValueError: as `carried`.
    """
    kept = carried(record)[1][record.valid()].double().mean(0)
    return (1 / kept.clamp(0, 1).log()).abs()


def dead(record: Record, below: float = 1e-3) -> Tensor:
    """[H]: whether the unit's emitted state stays within `below` of 0 at all steps of all sequences."""
    return record[record.cell.states[0]][record.valid()].abs().amax(0) <= below


def stuck(record: Record, within: float = 1e-3) -> Tensor:
    """[H]: whether the unit's emitted state keeps one value, to `within`, at all steps, and is not dead."""
    h = record[record.cell.states[0]][record.valid()]
    return (h.amax(0) - h.amin(0) <= within) & ~dead(record, within)


def gradient_norms(gradients: Record, name: str = "h") -> Tensor:
    """||dL/dX_t|| at each step [T], over units and sequences, X the state or gate `name`.

    Args:
        gradients: a record of `Trace.gradients`, not of the trace itself.
    """
    return gradients[name].double().flatten(1).norm(dim=1)


def gate_shares(gradients: Record) -> dict[str, Tensor]:
    """Each gate's share [T] in the gradient that goes back into the weights at a step; together they are 1.

        share_g(t) = ||dL/dg_t||^2 / sum over gates,   g the gate's pre-activation, of a split gate its hidden half

    0 at a step that no gradient reaches.

    Args:
        gradients: a record of `Trace.gradients`.
    """
    cell = gradients.cell
    names = {g: f"{g}_h" if g in cell.split else f"{g}_pre" for g in cell.gates}
    squares = {g: gradient_norms(gradients, name).square() for g, name in names.items()}
    total = sum(squares.values(), torch.zeros(()))
    return {g: (square / total).nan_to_num(0.0) for g, square in squares.items()}


def spectral_radius(layer: nn.RNNBase | RecurrentLayer, k: int = 0, reverse: bool = False) -> dict[str, float]:
    """The largest absolute eigenvalue of each gate's block of `weight_hh`, of layer k and direction: `{"n": 0.97}`.

    Below 1, an Elman cell's gradient vanishes over long spans; above, it may explode (Pascanu et al. 2013,
    arXiv:1211.5063). Under a projection, of W_hg W_hr.
    """
    gates, weights = (
        run_by(layer).cell.gates,
        run_by(layer)._weights(k, int(reverse)).map(lambda w: w.detach().double()),
    )
    blocks = [W if weights.hr is None else W @ weights.hr for W in weights.hh.chunk(len(gates))]
    return {g: torch.linalg.eigvals(W).abs().max().item() for g, W in zip(gates, blocks, strict=True)}
