"""Packed against padded: lengths drawn from [T/2, T] should cost no more than the whole batch.

    python benchmarks/packed.py

Forward, median of rounds in turn, ours and torch.nn's; the ratio of packed to padded time, of the same round.
"""

import statistics

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.benchmark import Timer

import scratchrnn as sr

B, H, ROUNDS = 32, 128, 9


def main() -> None:
    torch.manual_seed(0)
    print(f"forward, B={B} I=H={H}, {torch.get_num_threads()} threads: packed time by padded time\n")
    print("| cell | T | scratchrnn | torch.nn | scratchrnn's packed ms | torch.nn's |")
    print("|---|---:|---:|---:|---:|---:|")
    for kind in ("LSTM", "GRU", "RNN"):
        theirs = getattr(nn, kind)(H, H)
        ours = sr.from_torch(theirs)
        for T in (10, 100, 1000):
            padded = torch.randn(T, B, H)
            lengths = torch.randint(T // 2, T + 1, (B,))
            packed = pack_padded_sequence(padded, lengths, enforce_sorted=False)
            report = sr.compare(ours, theirs, packed)
            if not report:
                raise SystemExit(f"{kind}, T={T}: packed differs\n{report}")
            timers = [_timer(layer, x) for layer in (ours, theirs) for x in (padded, packed)]
            repeat = max(1, 1000 // T)
            rounds = [[timer.timeit(repeat).mean for timer in timers] for _ in range(ROUNDS)]
            ratios = [statistics.median(r[k + 1] / r[k] for r in rounds) for k in (0, 2)]
            times = [statistics.median(r[k] for r in rounds) * 1e3 for k in (1, 3)]
            print(f"| {kind} | {T} | {ratios[0]:.2f} | {ratios[1]:.2f} | {times[0]:.2f} | {times[1]:.2f} |", flush=True)


def _timer(layer: nn.Module, x: object) -> Timer:
    def run() -> None:
        with torch.no_grad():
            layer(x)

    run()
    return Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())


if __name__ == "__main__":
    main()
