r"""A cell of one's own, as in the README: by the engine, walked by autograd, and that under torch.compile.

    scratchrnn bench --subject benchmarks.own_cell:mgu --against GRU --suite benchmarks/own_cell.csv \
        --implementations "subject, walked; subject, compiled" --compile-limit 600
"""

import torch
from torch import Tensor

import scratchrnn as sr


def update(f: Tensor, n_x: Tensor, n_h: Tensor, h_prev: Tensor) -> Tensor:
    f = torch.sigmoid(f)
    n = torch.tanh(n_x + f * n_h)
    return (1 - f) * h_prev + f * n


mgu = sr.Cell("MGU", gates=("f", "n"), update=update, split=("n",))
