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


mgu = sr.Cell("MGU", ("f", "n"), mgu_update, mgu_adjoint, split=("n",))
mgu_walked = sr.Cell("MGU_WALKED", ("f", "n"), mgu_update, split=("n",))
coupled = sr.Cell("COUPLED", ("f", "g", "o"), coupled_update, coupled_adjoint)
pair = sr.Cell("PAIR", ("a", "u", "b"), pair_update, split=("a", "b"))
slstm = sr.Cell("sLSTM", ("i", "f", "z", "o"), stabilised_update)


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
]
BY_NAME = {row.name: row for row in ROWS}
TWINNED = [row for row in ROWS if row.twin is not None]
BY_HAND = [row for row in ROWS if row.cell.adjoint is not None]
