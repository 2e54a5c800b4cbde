"""The cells that the tests run over: a new cell is tested everywhere by adding a row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import scratchrnn as sr
from scratchrnn.cells.twins import TWINS, Twin


class MGUTape(NamedTuple):
    f: Tensor
    n: Tensor
    n_h: Tensor
    h_prev: Tensor


def mgu_update(f: Tensor, n_x: Tensor, n_h: Tensor, h_prev: Tensor) -> tuple[tuple[Tensor], MGUTape]:
    """f = sigmoid(f);  n = tanh(n_x + f * n_h);  h = (1 - f) * h_prev + f * n (arXiv:1603.09420, f after W_hn)."""
    f = torch.sigmoid(f)
    n = torch.tanh(n_x + f * n_h)
    h = (1 - f) * h_prev + f * n
    return (h,), MGUTape(f, n, n_h, h_prev)


def mgu_adjoint(tape: MGUTape, dh: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor]]:
    f, n, n_h, h_prev = tape
    dn_x = dh * f * (1 - n * n)
    df = dh * (n - h_prev) + dn_x * n_h
    return (df * f * (1 - f), dn_x, dn_x * f), (dh * (1 - f),)


class PairTape(NamedTuple):
    a: Tensor
    b: Tensor
    m_prev: Tensor


def pair_update(
    a_x: Tensor, a_h: Tensor, u: Tensor, b_x: Tensor, b_h: Tensor, h_prev: Tensor, m_prev: Tensor, k_prev: Tensor
) -> tuple[tuple[Tensor, Tensor, Tensor], PairTape]:
    """Three states, two split gates that are not neighbours: whatever the engine could assume of the usual cells."""
    a = torch.tanh(a_x * torch.sigmoid(a_h))
    b = torch.tanh(b_x - 0.5 * b_h)
    m = 0.5 * m_prev + torch.tanh(u)
    k = 0.9 * k_prev + a * m
    h = b * torch.tanh(k) + 0.1 * h_prev
    return (h, m, k), PairTape(a, b, m_prev)


class CoupledTape(NamedTuple):
    f: Tensor
    g: Tensor
    o: Tensor
    c_prev: Tensor
    tanh_c: Tensor


def coupled_update(
    f: Tensor, g: Tensor, o: Tensor, h_prev: Tensor, c_prev: Tensor
) -> tuple[tuple[Tensor, Tensor], CoupledTape]:
    """An LSTM whose input gate is 1 - f (Greff et al. 2017, arXiv:1503.04069)."""
    f, g, o = torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    c = f * c_prev + (1 - f) * g
    tanh_c = torch.tanh(c)
    return (o * tanh_c, c), CoupledTape(f, g, o, c_prev, tanh_c)


def coupled_adjoint(
    tape: CoupledTape, dh: Tensor, dc: Tensor
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[None, Tensor]]:
    f, g, o, c_prev, tanh_c = tape
    dc = dc + dh * o * (1 - tanh_c * tanh_c)
    df, dg, do = dc * (c_prev - g), dc * (1 - f), dh * tanh_c
    return (df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)), (None, dc * f)


class Stabilised(NamedTuple):
    i: Tensor
    f: Tensor
    z: Tensor
    o: Tensor


def stabilised_update(
    i: Tensor, f: Tensor, z: Tensor, o: Tensor, h_prev: Tensor, c_prev: Tensor, n_prev: Tensor, m_prev: Tensor
) -> tuple[tuple[Tensor, ...], Stabilised]:
    """sLSTM (Beck et al. 2024, arXiv:2405.04517), its gates as they are after the stabiliser m."""
    m = torch.maximum(f + m_prev, i)
    i = torch.exp(i - m)
    f = torch.exp(f + m_prev - m)
    z = torch.tanh(z)
    o = torch.sigmoid(o)
    c = f * c_prev + i * z
    n = f * n_prev + i
    h = o * c / n
    return (h, c, n, m), Stabilised(i, f, z, o)


# ------------------------------------------------------------------------------------ cells that are their equations


def mgu_equations(f: Tensor, n_x: Tensor, n_h: Tensor, h_prev: Tensor) -> Tensor:
    """MGU, as it stands in the README."""
    f = torch.sigmoid(f)
    n = torch.tanh(n_x + f * n_h)
    return (1 - f) * h_prev + f * n


def cifg_equations(f: Tensor, g: Tensor, o: Tensor, h_prev: Tensor, c_prev: Tensor) -> tuple[Tensor, Tensor]:
    """An LSTM with coupled input and forget gates (Greff et al. 2017, arXiv:1503.04069)."""
    f, g, o = torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    c = torch.lerp(g, c_prev, f)
    return o * torch.tanh(c), c


def slstm_equations(
    i: Tensor, f: Tensor, z: Tensor, o: Tensor, h_prev: Tensor, c_prev: Tensor, n_prev: Tensor, m_prev: Tensor
) -> tuple[Tensor, ...]:
    """sLSTM (Beck et al. 2024, arXiv:2405.04517): exponential gates, four states."""
    m = torch.maximum(torch.nn.functional.logsigmoid(f) + m_prev, i)
    i, f = torch.exp(i - m), torch.exp(torch.nn.functional.logsigmoid(f) + m_prev - m)
    c = f * c_prev + i * torch.tanh(z)
    n = f * n_prev + i
    return torch.sigmoid(o) * c / n, c, n, m


def mingru_equations(z_x: Tensor, z_h: Tensor, n_x: Tensor, n_h: Tensor, h_prev: Tensor) -> Tensor:
    """minGRU (Feng et al. 2024, arXiv:2410.01201): gates of x alone."""
    z = torch.sigmoid(z_x)
    return (1 - z) * h_prev + z * n_x


def janet_equations(f: Tensor, g: Tensor, h_prev: Tensor, c_prev: Tensor) -> tuple[Tensor, Tensor]:
    """JANET (van der Westhuizen & Lasenby 2018, arXiv:1804.04849): the forget gate alone, less sure of what is new."""
    c = torch.sigmoid(f) * c_prev + (1 - torch.sigmoid(f - BETA)) * torch.tanh(g)
    return c, c


BETA, LEAK = 1.0, 0.3


def leaky_equations(n: Tensor, h_prev: Tensor) -> Tensor:
    """A leaky unit (Jaeger et al. 2007, doi:10.1016/j.neunet.2007.04.016)."""
    return (1 - LEAK) * h_prev + LEAK * n.tanh()


def clipped_equations(a: Tensor, b: Tensor, h_prev: Tensor, c_prev: Tensor) -> tuple[Tensor, Tensor]:
    """Ties and thresholds wherever its pre-activations are whole."""
    a = torch.nn.functional.hardtanh(torch.maximum(a, b)) + torch.where(a > b, a, b.abs())
    c = torch.clamp(a, min=-1.0) + torch.minimum(c_prev, b) + torch.relu(b) + torch.nn.functional.softplus(10 * a)
    return torch.clamp(0.5 * c, -1.0, 1.0) * torch.nn.functional.leaky_relu(b, 0.2) + torch.sign(b) * h_prev, c


EQUATIONS = [
    sr.Cell("MGU_DERIVED", ("f", "n"), mgu_equations, split=("n",)),
    sr.Cell("CIFG", ("f", "g", "o"), cifg_equations),
    sr.Cell("sLSTM", ("i", "f", "z", "o"), slstm_equations),
    sr.Cell("minGRU", ("z", "n"), mingru_equations, split=("z", "n")),
    sr.Cell("JANET", ("f", "g"), janet_equations),
    sr.Cell("LEAKY", ("n",), leaky_equations),
    sr.Cell("CLIPPED", ("a", "b"), clipped_equations),
]

mgu = sr.Cell("MGU", ("f", "n"), mgu_update, mgu_adjoint, split=("n",))
mgu_walked = sr.Cell("MGU_WALKED", ("f", "n"), mgu_update, split=("n",), walk=True)
coupled = sr.Cell("COUPLED", ("f", "g", "o"), coupled_update, coupled_adjoint)
pair = sr.Cell("PAIR", ("a", "u", "b"), pair_update, split=("a", "b"))
slstm = sr.Cell("STABILISED", ("i", "f", "z", "o"), stabilised_update)
mgu_derived, _, slstm_derived, *_ = EQUATIONS


@dataclass(frozen=True)
class Row:
    """A cell, its layer `layer(input_size, hidden_size, **options)`, and torch.nn's twins where there are any."""

    name: str
    cell: sr.Cell
    layer: Callable[..., Any]
    twin: Callable[..., Any] | None = None
    single: Callable[..., Any] | None = None
    single_twin: Callable[..., Any] | None = None
    projects: bool = False

    def __str__(self) -> str:
        return self.name


def built_in(twin: Twin) -> Row:
    made = [
        partial(getattr(package, theirs.__name__), **twin.options)
        for theirs in (twin.layer, twin.step)
        for package in (sr, nn)
    ]
    return Row(twin.case, twin.cell, *made, projects=twin.layer is nn.LSTM)


ROWS = [
    *map(built_in, TWINS),
    Row("MGU", mgu, partial(sr.RecurrentLayer, mgu)),
    Row("MGU_walked", mgu_walked, partial(sr.RecurrentLayer, mgu_walked)),
    Row("COUPLED", coupled, partial(sr.RecurrentLayer, coupled), projects=True),
    Row("PAIR", pair, partial(sr.RecurrentLayer, pair)),
    Row("MGU_derived", mgu_derived, partial(sr.RecurrentLayer, mgu_derived)),
    Row("sLSTM", slstm_derived, partial(sr.RecurrentLayer, slstm_derived)),
]
BY_NAME = {row.name: row for row in ROWS}
TWINNED = [row for row in ROWS if row.twin is not None]
BY_ADJOINT = [row for row in ROWS if not row.cell.walk]
PROJECTED = [(row, P) for row in ROWS for P in (0, 2) if row.projects or P == 0]
