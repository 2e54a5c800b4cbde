"""How much memory a call takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


def peak_memory(run: Callable[[], None], device: str = "cpu") -> int:
    """The most bytes that are allocated at once by torch while `run` runs, beside what was there before."""
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with ThreadPoolExecutor(1) as threads:  # one that has kept no memory of earlier calls, which would not be counted
        return threads.submit(_peak_of_thread, run).result()


def _peak_of_thread(run: Callable[[], None]) -> int:
    from torch.profiler import ProfilerActivity, profile

    with _quiet(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    events = profiled.profiler.kineto_results.events()
    allocations = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    now = most = 0
    for _, count in allocations:
        now += count
        most = max(most, now)
    return most


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on the error stream: some builds of torch's profiler write there that they start and stop."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
