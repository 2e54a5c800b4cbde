"""How much work a recurrent layer is: floating-point operations and bytes, counted from its shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..cells.cell import Cell, step
from .adjoint import adjoint_of


class Product(NamedTuple):
    """`times` matrix products [rows, inner] x [inner, columns]."""

    times: int
    rows: int
    inner: int
    columns: int

    @property
    def flops(self) -> int:
        """A multiplication and an addition for each pair: 2 * rows * inner * columns, `times` over."""
        return 2 * self.times * self.rows * self.inner * self.columns


class Work(NamedTuple):
    """What one call does."""

    products: tuple[Product, ...]
    elementwise: int
    """Operations beside the products: one for each arithmetic operation or nonlinearity of a unit."""
    bytes: int
    """The least that has to be moved: parameters, input, states and output, each read or written once."""

    @property
    def flops(self) -> int:
        return sum(p.flops for p in self.products) + self.elementwise


def work(
    cell: Cell,
    layers: int,
    T: int,
    B: int,
    I: int,  # noqa: E741 - input_size
    H: int,
    training: bool = False,
    itemsize: int = 4,
    directions: int = 1,
    batch_sizes: Sequence[int] | None = None,
) -> Work:
    """The work of one call of a layer of `cell`, and in training of the gradients of its parameters too.

    With G gates, for each layer and direction with input width K (I, then D H of D directions):

        forward    W_ih x: 2 T B K G H    W_hh h: 2 T B H G H
        backward   W_hh^T dpre: as W_hh h    dW_ih, dW_hh: as W_ih x, W_hh h    W_ih^T dpre: as W_ih x, but for layer 0

    Of a packed batch `batch_sizes` are the rows of each step, and the sum of them stands in the place of T B. The input
    of layer 0 gets no gradient. No projection. Elementwise are the additions of the biases and of the halves, and the
    operations of `update`, in training of its adjoint and of the sums of gradients: as many as the cell's functions do,
    counted by running them.
    """
    GH, D = len(cell.gates) * H, directions
    steps = Counter([B] * T if batch_sizes is None else batch_sizes)
    N = sum(rows * times for rows, times in steps.items())
    products: list[Product] = []
    parameters = 0
    for k in range(layers):
        K = I if k == 0 else D * H
        own = [Product(1, N, K, GH), *(Product(times, rows, H, GH) for rows, times in steps.items())]
        if training:
            own += [Product(times, rows, GH, H) for rows, times in steps.items()]
            own += [Product(1, GH, N, K), Product(1, GH, N, H)]
            own += [Product(1, N, GH, K)] if k else []
        products += D * own
        parameters += D * GH * (K + H + 2)
    forward, backward = _of_a_unit(cell)
    elementwise = layers * D * N * H * (forward + (backward if training else 0))
    states = 2 * layers * D * len(cell.states) * B * H
    moved = parameters + N * (I + D * H) + states
    if training:  # the gradient of the output comes in, those of the parameters go out
        moved += parameters + N * D * H
    return Work(tuple(products), elementwise, moved * itemsize)


def _of_a_unit(cell: Cell) -> tuple[int, int]:
    """Elementwise operations of one unit in one step, forward and backward."""
    one = [torch.zeros(1, 1) for _ in (*cell.pre_activations, *cell.states)]
    with torch.no_grad(), _Counting() as forward:
        step(cell, *one)
    sums = 3 * len(cell.gates) - len(cell.split)  # W x + b + W h + b: three additions, two where they stay apart
    pair = adjoint_of(cell)
    if pair is None:
        return forward.count + sums, 0
    with torch.no_grad():
        _, tape = pair.step(*one)
    with torch.no_grad(), _Counting() as backward:
        _, d_prev = pair.adjoint(tape, *one[len(cell.pre_activations) :])
    direct = d_prev[0] is not None
    return forward.count + sums, backward.count + 1 + direct + len(cell.pre_activations)  # dh's parts; d bias


class _Counting(TorchDispatchMode):
    """Counts the operations that compute something."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if torch.Tag.pointwise in func.tags:
            self.count += 1
        return result
