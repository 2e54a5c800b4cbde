"""The counts of work: against torch's own counter of products, and by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from running import each_twin, states
from table import Row, mgu_walked
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.flop_counter import FlopCounterMode

import scratchrnn as sr
from scratchrnn import cells
from scratchrnn.equations.work import Product, work

L, T, B, I, H = 2, 7, 3, 5, 4  # noqa: E741 - input_size


@each_twin
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("directions", "lengths"), [(1, None), (2, None), (2, [7, 4, 4])])
def test_products_are_those_that_torch_counts(
    row: Row, training: bool, directions: int, lengths: list[int] | None
) -> None:
    # Autograd walks the loop, and torch's counter sees every product.
    layer = sr.RecurrentLayer(replace(row.cell, walk=True), I, H, L, bidirectional=directions == 2)
    hx = states(row, layer, B, dtype=torch.float32)
    x: Any = torch.randn(T, B, I)
    if lengths is not None:
        x = pack_padded_sequence(x, torch.tensor(lengths))
    with FlopCounterMode(display=False) as counter:
        output, _ = layer(x, hx)
        if training:
            (output if lengths is None else output.data).sum().backward()
    sizes = None if lengths is None else x.batch_sizes.tolist()
    products = work(row.cell, L, T, B, I, H, training, directions=directions, batch_sizes=sizes).products
    assert sum(p.flops for p in products) == counter.get_total_flops()


def test_a_product_counts_multiplications_and_additions() -> None:
    assert Product(times=3, rows=2, inner=5, columns=7).flops == 2 * 3 * 2 * 5 * 7


@pytest.mark.parametrize(
    ("cell", "forward", "backward"),
    [
        # 3 sums and tanh; dn = dh * (1 - h * h), the sum of dh, d bias
        (cells.elman, 3 + 1, 3 + 1 + 1),
        # 12 sums, 5 nonlinearities, 3 for c, 1 for h; 19 lines of the adjoint's arithmetic and 3 more, dh, 4 d biases
        (cells.lstm, 12 + 5 + 3 + 1, 22 + 1 + 4),
        # 8 sums, 3 nonlinearities, 2 for n, 4 for h; 16 of the adjoint, dh in three parts, 4 d biases
        (cells.gru, 8 + 3 + 2 + 4, 16 + 2 + 4),
        (mgu_walked, 5 + 2 + 2 + 4, 0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_elementwise_operations_of_a_unit(cell: object, forward: int, backward: int) -> None:
    assert work(cell, 1, T, B, I, H).elementwise == T * B * H * forward
    assert work(cell, 1, T, B, I, H, training=True).elementwise == T * B * H * (forward + backward)


def test_bytes_are_parameters_input_output_and_states_once() -> None:
    parameters = 4 * H * (I + H + 2) + 4 * H * (H + H + 2)
    assert work(cells.lstm, L, T, B, I, H).bytes == 4 * (parameters + T * B * (I + H) + 2 * L * 2 * B * H)
    assert work(cells.lstm, L, T, B, I, H, True).bytes == 4 * (2 * parameters + T * B * (I + H + H) + 2 * L * 2 * B * H)
    assert work(cells.lstm, L, T, B, I, H, itemsize=8).bytes == 2 * work(cells.lstm, L, T, B, I, H).bytes
    both, packed = {"directions": 2}, {"batch_sizes": [3, 2, 2]}
    parameters = 2 * (4 * H * (I + H + 2) + 4 * H * (2 * H + H + 2))
    assert work(cells.lstm, L, T, B, I, H, **both).bytes == 4 * (parameters + T * B * (I + 2 * H) + 8 * L * B * H)
    rows = work(cells.lstm, L, 3, B, I, H, **packed).bytes - work(cells.lstm, L, 2, B, I, H).bytes
    assert rows == 4 * (7 - 2 * B) * (I + H)
