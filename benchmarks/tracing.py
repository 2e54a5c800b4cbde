"""What a trace costs by a forward pass of the same layer in training, in time and memory.

    python benchmarks/tracing.py

Medians of rounds in turn; the time by that of the forward pass in the same round.
"""

import statistics
from functools import partial

import torch
from torch import nn
from torch.utils.benchmark import Timer

import scratchrnn as sr
from scratchrnn.bench.memory import peak_memory

SHAPES = ((50, 1, 20), (100, 1, 128), (50, 32, 128), (100, 32, 256), (25, 16, 1024), (50, 64, 512))
ROUNDS = 9
OPTIONS = ({}, {"halves": True}, {"differentiable": True})


def main() -> None:
    torch.manual_seed(0)
    print(f"forward pass in training = 1, {torch.get_num_threads()} threads\n")
    print("| cell | T, B, I = H | trace | with halves | differentiable | trace, MiB | forward, MiB |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for kind in (nn.LSTM, nn.GRU, nn.RNN):
        for T, B, H in SHAPES:
            layer, x = sr.from_torch(kind(H, H)), torch.randn(T, B, H)
            ways = [partial(layer, x), *(partial(sr.trace, layer, x, **o) for o in OPTIONS)]
            timers = [Timer("run()", globals={"run": way}, num_threads=torch.get_num_threads()) for way in ways]
            repeats = max(1, int(0.05 / timers[0].timeit(3).mean))
            rounds = [[timer.timeit(repeats).mean for timer in timers] for _ in range(ROUNDS)]
            ratios = " | ".join(f"{statistics.median(r[k] / r[0] for r in rounds):.2f}" for k in (1, 2, 3))
            memory = " | ".join(f"{peak_memory(ways[k]) / 2**20:.1f}" for k in (1, 0))
            print(f"| {kind.__name__} | {T}, {B}, {H} | {ratios} | {memory} |", flush=True)


if __name__ == "__main__":
    main()
