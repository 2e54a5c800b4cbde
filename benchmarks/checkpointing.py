"""What `checkpoint_every` costs and saves in one step of training over a long sequence.

    python benchmarks/checkpointing.py

Medians of rounds in turn, after the gradients have been compared; the time by that of the same round without it.
"""

import statistics

import torch
from torch import Tensor, nn
from torch.utils.benchmark import Timer

import scratchrnn as sr
from scratchrnn.bench.memory import peak_memory

T, B, H, ROUNDS = 10_000, 8, 64, 5
EVERY = (None, 1000, 100, 10)


def main() -> None:
    torch.manual_seed(0)
    print(f"training, T={T} B={B} I=H={H}, {torch.get_num_threads()} threads\n")
    print("| cell | checkpoint_every | peak MiB | torch.nn's | time |")
    print("|---|---:|---:|---:|---:|")
    for kind in ("LSTM", "GRU", "RNN"):
        theirs = getattr(nn, kind)(H, H)
        x, upstream = torch.randn(T, B, H), torch.randn(T, B, H)
        layers = [sr.from_torch(theirs) for _ in EVERY]
        for layer, every in zip(layers, EVERY, strict=True):
            layer.checkpoint_every = every
        runs = [_training(layer, x, upstream) for layer in layers]
        _compare(layers, x, upstream)
        timers = [Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads()) for run in runs]
        rounds = [[timer.timeit(1).mean for timer in timers] for _ in range(ROUNDS)]
        by_torch = peak_memory(_training(theirs, x, upstream)) / 2**20
        for k, every in enumerate(EVERY):
            ratio = statistics.median(r[k] / r[0] for r in rounds)
            memory = peak_memory(runs[k]) / 2**20
            print(f"| {kind} | {every} | {memory:.1f} | {by_torch:.1f} | {ratio:.2f} |", flush=True)


def _training(layer: nn.Module, x: Tensor, upstream: Tensor):
    def run() -> None:
        layer(x)[0].backward(upstream)
        layer.zero_grad()

    return run


def _compare(layers: list[nn.Module], x: Tensor, upstream: Tensor) -> None:
    """With the first, by the largest entry of each gradient: the sums are the same but for their order."""
    found = [torch.autograd.grad(layer(x)[0], list(layer.parameters()), upstream) for layer in layers]
    for gradients in found[1:]:
        for d, d_first in zip(gradients, found[0], strict=True):
            torch.testing.assert_close(d, d_first, rtol=0, atol=float(d_first.abs().max()) * 1e-5)


if __name__ == "__main__":
    main()
