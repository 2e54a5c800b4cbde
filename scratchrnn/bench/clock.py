"""How long a call takes: the rounds of a measurement."""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable
from typing import Any

Clock = Callable[[], float]
"""One round: the seconds of a call."""
_LEAST_TIME = 0.01  # seconds of one round: shorter calls are repeated


def clock(run: Callable[[], Any], change: Callable[[], Any] = lambda: None) -> Clock:
    """Rounds of `run`, each the median of calls of 10 ms in all; `change` runs before each call, outside the time."""
    timed = timeit.Timer(run, change, _timer())
    calls = max(1, min(1000, round(_LEAST_TIME / min(timed.repeat(2, 1)))))
    return lambda: statistics.median(timed.repeat(1 + calls, 1)[1:])  # the first comes after something else


def once(run: Callable[[], Any]) -> float:
    """The seconds of one call."""
    return timeit.timeit(run, number=1, timer=_timer())


def least(run: Callable[[], Any]) -> float:
    """The seconds of the shortest of some calls."""
    return min(timeit.repeat(run, number=1, repeat=7, timer=_timer()))


def _timer() -> Callable[[], float]:
    from torch.utils.benchmark import timer  # not before it is needed: on a CUDA build it looks for a compiler

    return timer
