"""The ways to run a layer: what each needs, and how long it is waited for."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest
import torch
from timed import case, ways
from torch import nn

from scratchrnn.bench import implementations
from scratchrnn.bench.cases import Case
from scratchrnn.bench.implementations import IMPLEMENTATIONS, OURS, Unavailable, time_limit
from scratchrnn.bench.measure import measure
from scratchrnn.bench.subject import subject


def test_what_cannot_run_here_says_why() -> None:
    results = measure(case(cell="GRU"), ways("torch.nn, no oneDNN", "torch.nn, no cuDNN", "scratchrnn, CUDA graph"), 1)
    assert [r.skipped for r in results] == [
        None,
        "torch.nn runs this cell without oneDNN anyway",
        "cuDNN needs CUDA",
        "CUDA graphs need CUDA",
    ]
    assert all(not r.times for r in results[1:])


def test_torch_nn_without_onednn_takes_another_road(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = nn.LSTM(4, 5)
    layer: Any = IMPLEMENTATIONS["torch.nn, no oneDNN"](theirs)
    seen: list[bool] = []
    monkeypatch.setattr(theirs, "forward", lambda x, hx=None: seen.append(torch.backends.mkldnn.enabled))
    layer(torch.randn(3, 2, 4))
    assert seen == [False]
    assert torch.backends.mkldnn.enabled


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_implementations_are_timed() -> None:
    names = [OURS, "torch.nn, no cuDNN", "scratchrnn, CUDA graph", "cell loop"]
    for training in (False, True):
        results = measure(Case("small", "LSTM", training, 1, 8, 4, 16, 32), ways(*names), rounds=2, device="cuda")
        assert all(r.times for r in results), [r.skipped for r in results]


def test_what_is_not_ready_in_time_is_skipped() -> None:
    waited: list[str] = []

    def slow(theirs: nn.RNNBase) -> nn.Module:
        waited.append("begun")
        time.sleep(600)
        waited.append("to the end")
        return theirs

    _, late = measure(case(), {"slow": slow}, rounds=1, compile_limit=0.3)
    assert late.skipped == "not ready to run within 0.3 s"
    assert waited == ["begun"]


def test_a_time_limit_leaves_other_errors_alone() -> None:
    with pytest.raises(ZeroDivisionError), time_limit(600):
        _ = 1 / 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)  # the alarm is off
    with time_limit(600):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("math", "subject should be of the form my.module:Name, got 'math'"),
        ("no_such_module:Cell", "subject 'no_such_module:Cell' cannot be imported: "),
        ("math:Missing", "subject 'math:Missing' cannot be imported: "),
        (
            "math:pi",
            "subject 'math:pi' should be a scratchrnn.Cell or a class of torch.nn.Module, got 3.14",
        ),
    ],
)
def test_a_subject_that_is_none_is_refused(path: str, text: str) -> None:
    with pytest.raises(ValueError, match=text.replace("(", r"\(")):
        subject(path)


def test_what_a_loop_keeps_are_torch_nns_parameters() -> None:
    theirs = nn.LSTM(3, 4, 2)
    for kind in (implementations.CellLoop, implementations.PythonLoop):
        assert [n for n, _ in kind(theirs).named_parameters()] == [n for n, _ in theirs.named_parameters()]
    with pytest.raises(NotImplementedError):
        implementations._Loop(theirs)(torch.randn(2, 1, 3))
    with pytest.raises(Unavailable, match="CUDA graphs need CUDA"):
        IMPLEMENTATIONS["scratchrnn, CUDA graph"](theirs)
