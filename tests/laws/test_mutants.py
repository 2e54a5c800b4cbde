"""Bugs planted one at a time in the package: the verifier must reject each and name the tensor that differs."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
import torch
from mutants import Change, Exchange, Flip, Zero, install, plant, signs
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import scratchrnn as sr
from scratchrnn import cells, cli
from scratchrnn.engine import backward, columns, forward, kernels
from scratchrnn.layers import border, recurrent
from scratchrnn.parity import verify
from scratchrnn.parity.compare import Report, compare


def verdict(kind: str, packed: bool = True, **options: Any) -> Report:
    """Random everything: ragged lengths, both directions, biases, states, upstream gradients on outputs and states."""
    B, T, I, H = 5, 7, 3, 4  # noqa: E741
    theirs = getattr(nn, kind)(I, H, bidirectional=True, **options)
    x = torch.randn(B, T, I) if options.get("batch_first") else torch.randn(T, B, I)
    lengths = torch.tensor([3, 7, 1, 5, 5])
    input = pack_padded_sequence(x, lengths, enforce_sorted=False) if packed else x
    h = torch.randn(2, B, options.get("proj_size") or H)
    return compare(sr.from_torch(theirs), theirs, input, (h, torch.randn(2, B, H)) if kind == "LSTM" else h)


def test_without_a_bug_all_agree() -> None:
    for kind in ("RNN", "LSTM", "GRU"):
        assert verdict(kind), str(verdict(kind))
        assert verdict(kind, packed=False, batch_first=True)
    assert verdict("RNN", nonlinearity="relu")
    assert verdict("LSTM", proj_size=2)


# --------------------------------------------------------------------------------- in the equations and adjoints

CELLS = [
    ("RNN", {}, cells.elman),
    ("RNN", {"nonlinearity": "relu"}, cells.elman_relu),
    ("LSTM", {}, cells.lstm),
    ("GRU", {}, cells.gru),
]
FLIPS = [
    pytest.param(kind, options, function, k, id=f"{function.__name__}-sign-{k}")
    for kind, options, cell in CELLS
    for function in (cell.update, cell.adjoint)
    for k in range(signs(function))
]
OF_THE_FORWARD_PASS = {"output", "h_n", "c_n"}


@pytest.mark.parametrize(("kind", "options", "function", "sign"), FLIPS)
def test_a_flipped_sign_is_seen(
    kind: str, options: dict[str, Any], function: Callable[..., Any], sign: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, function, Flip(sign))
    named = {d.name for d in verdict(kind, **options).failed}
    if function.__name__.endswith("update"):
        assert "output" in named
    else:
        assert named
        assert not named & OF_THE_FORWARD_PASS


@pytest.mark.parametrize(("function", "outputs"), [(cells.lstm.update, True), (cells.gru.adjoint, False)])
def test_the_command_shows_a_flipped_sign(
    function: Callable[..., Any], outputs: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(monkeypatch, function, Flip(0))
    packed = [case for case in verify.cases(quick=True) if case.layout == "packed"]
    monkeypatch.setattr(verify, "cases", lambda quick: packed)
    monkeypatch.setattr(
        verify, "train", lambda kind, characters, steps: verify.Training(kind.__name__, [1.0] * 5, [1.0] * 5)
    )
    assert cli.main(["verify"]) == 1
    shown = capsys.readouterr().out
    assert ("DIFFERS output " in shown) == outputs
    assert "DIFFERS dweight_ih_l0 " in shown


IN_EQUATIONS: list[Any] = [
    pytest.param(
        cells.gru.adjoint,
        Zero("z", 1),
        "GRU",
        {"dh_0", "dinput", "dweight_hh_l0"},
        OF_THE_FORWARD_PASS,
        id="GRU's direct road to h_prev forgotten",
    ),
    pytest.param(
        cells.lstm.adjoint,
        Zero("dc", 0),
        "LSTM",
        {"dc_0", "dinput"},
        OF_THE_FORWARD_PASS,
        id="LSTM's dc reaches only through h",
    ),
    pytest.param(
        cells.lstm.update,
        Exchange("c", "i", "f"),
        "LSTM",
        {"output", "c_n"},
        set(),
        id="input and forget gate swapped",
    ),
    pytest.param(
        cells.gru.update,
        Exchange("n", "n_x", "n_h"),
        "GRU",
        {"output", "h_n", "dbias_hh_l0"},
        set(),
        id="GRU's reset gate acts on the input half",
    ),
    pytest.param(
        cells.gru.update,
        Exchange("h", "n", "h_prev"),
        "GRU",
        {"output", "h_n"},
        set(),
        id="GRU's update gate in the other sense",
    ),
]


@pytest.mark.parametrize(("function", "change", "kind", "seen", "unseen"), IN_EQUATIONS)
def test_a_wrong_equation_is_named(
    function: Callable[..., Any],
    change: Change,
    kind: str,
    seen: set[str],
    unseen: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch, function, change)
    named = {d.name for d in verdict(kind).failed}
    assert seen <= named
    assert not unseen & named


# ---------------------------------------------------------------------------------- in the engine and the layers


@dataclass(frozen=True)
class Bug:
    """In the function (or class) `name` of `module`, `old` written as `new`; `seen` are tensors that must be named."""

    title: str
    module: ModuleType
    name: str
    old: str
    new: str
    kind: str
    seen: set[str]
    unseen: set[str] = field(default_factory=set)
    options: dict[str, Any] = field(default_factory=dict)
    packed: bool = True


GRADIENTS_ONLY = OF_THE_FORWARD_PASS
BUGS = [
    Bug(
        "GRU's db_hh taken from db_ih",
        backward,
        "gradients",
        "d_bias = found.d_pre.sum(0) if d_bias is None else d_bias.add_(found.d_pre.sum(0))",
        "d_bias = torch.cat([d_input_side, found.d_pre[:, : kept.pre.shape[1] - operands.W_hh.shape[0]]], 1).sum(0)",
        "GRU",
        {"dbias_hh_l0", "dbias_hh_l0_reverse"},
        GRADIENTS_ONLY | {"dbias_ih_l0", "dweight_hh_l0", "dinput"},
    ),
    Bug(
        "dW_hh with h_t for h_{t-1}",
        backward,
        "gradients",
        "d_hidden_side, of_block.state_prev[0]",
        "d_hidden_side, replay(setting, of_block)[0][0]",
        "LSTM",
        {"dweight_hh_l0", "dweight_hh_l0_reverse"},
        GRADIENTS_ONLY | {"dweight_ih_l0", "dh_0"},
    ),
    Bug(
        "the gradient of the last state dropped",
        backward,
        "gradients",
        "torch.zeros_like(s) if d is None else d for",
        "torch.zeros_like(s) for",
        "LSTM",
        {"dh_0", "dc_0", "dinput"},
        GRADIENTS_ONLY,
    ),
    Bug(
        "the initial state ignored",
        columns,
        "Columns.arrange",
        "weights.hr, state)",
        "weights.hr, tuple(s * 0 for s in state))",
        "GRU",
        {"output", "h_n", "dh_0"},
    ),
    Bug(
        "waiting rows of a packed batch lose their state",
        forward,
        "move",
        "tuple(s[count:] for s in joined)",
        "tuple(s[count:] * 0 for s in joined)",
        "RNN",
        {"h_n"},
    ),
    Bug(
        "the second direction runs forward",
        forward,
        "Setting.order",
        "range(count - 1, -1, -1) if self.reverse else range(count)",
        "range(count)",
        "LSTM",
        {"output", "h_n", "c_n"},
    ),
    Bug(
        "GRU's gradient of h_prev assigned instead of added",
        backward,
        "_ByHand.__call__",
        "dh_prev += self.dh_direct[t]",
        "dh_prev = self.dh_direct[t]",
        "GRU",
        {"dh_0", "dinput"},
        GRADIENTS_ONLY,
    ),
    Bug(
        "GRU's update gate in the other sense, where the step is spelled again",
        kernels,
        "_gru_step",
        "lerp(n, h_prev,",
        "lerp(h_prev, n,",
        "GRU",
        {"output", "h_n"},
    ),
    Bug(
        "the second bias forgotten",
        columns,
        "Columns.arrange",
        "nn.functional.pad(bias_hh, (apart, 0))",
        "nn.functional.pad(bias_hh * 0, (apart, 0))",
        "RNN",
        {"output", "dbias_hh_l0"},
    ),
    Bug(
        "dW_hr from the cell state",
        backward,
        "_through_time",
        "(unprojected, *_), tape",
        "(_, unprojected), tape",
        "LSTM",
        {"dweight_hr_l0"},
        GRADIENTS_ONLY | {"dh_0", "dinput"},
        {"proj_size": 2},
    ),
    Bug(
        "upstream gradients in the other order of time",
        backward,
        "_through_time",
        "d_rows[t]",
        "d_rows[-1 - t]",
        "RNN",
        {"dinput", "dweight_ih_l0"},
        GRADIENTS_ONLY,
        packed=False,
    ),
    Bug(
        "the input's gradient through the hidden halves",
        backward,
        "gradients",
        "_input_gradient(d_input_side",
        "_input_gradient(d_hidden_side",
        "GRU",
        {"dinput"},
        GRADIENTS_ONLY | {"dh_0", "dweight_ih_l0"},
    ),
    Bug(
        "last states of packed sequences left in sorted order",
        border,
        "leave",
        "layout.unsorted_indices",
        "None",
        "GRU",
        {"h_n"},
        {"output"},
    ),
    Bug(
        "the cell state's gradient not carried through time",
        backward,
        "_ByHand.__call__",
        "(dh_prev, *self.d_others[t])",
        "(dh_prev, *(0 * d for d in self.d_others[t]))",
        "LSTM",
        {"dc_0", "dinput"},
        GRADIENTS_ONLY,
    ),
    Bug(
        "the two directions' outputs swapped",
        recurrent,
        "RecurrentLayer.forward",
        "torch.cat(halves, -1)",
        "torch.cat(halves[::-1], -1)",
        "RNN",
        {"output", "dinput"},
        {"h_n"},
    ),
]


def plant_line(monkeypatch: pytest.MonkeyPatch, bug: Bug) -> None:
    owner, _, name = bug.name.rpartition(".")
    holder: Any = getattr(bug.module, owner) if owner else bug.module
    original = vars(holder)[name]
    function = original.fget if isinstance(original, property) else original
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(bug.old) == 1, f"{bug.title}: {bug.old!r} should stand once in {bug.name}"
    namespace = dict(function.__globals__)
    exec(
        compile("from __future__ import annotations\n" + source.replace(bug.old, bug.new), bug.title, "exec"), namespace
    )
    if owner:
        monkeypatch.setattr(holder, name, namespace[name])
    else:
        install(monkeypatch, function, namespace[name])


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.title)
def test_a_planted_bug_is_named(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    plant_line(monkeypatch, bug)
    report = verdict(bug.kind, bug.packed, **bug.options)
    named = {d.name for d in report.failed}
    assert not report
    assert bug.seen <= named
    assert not bug.unseen & named


def test_the_command_exits_1_and_names_the_tensor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant_line(monkeypatch, next(b for b in BUGS if b.title == "GRU's db_hh taken from db_ih"))
    assert cli.main(["verify", "--quick"]) == 1
    shown = capsys.readouterr().out
    assert "DIFFERS dbias_hh_l0 " in shown
    assert "in the rows of gate n\n" in shown
    assert "DIFFERS dbias_ih_l0 " not in shown
    assert "DIFFERS training GRU" in shown
    assert "the losses part at step" in shown
    assert "ok      training LSTM 32 -> 64, 30 steps of SGD: the losses agree to " in shown
    assert "3 of 16 differ: GRU; GRU, 3 layers" in shown
