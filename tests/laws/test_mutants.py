"""Bugs planted one at a time in the package: the verifier must reject each and name the tensor that differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from mutants import Assigned, Change, Exchange, Flip, Reading, Returning, parsed, plant, signs, verdict

from scratchrnn import cells, cli, native
from scratchrnn.cells.twins import Twin
from scratchrnn.engine import backward, columns, forward
from scratchrnn.engine.columns import Operands
from scratchrnn.layers import border, recurrent
from scratchrnn.parity import verify


@pytest.fixture(autouse=True)
def _torch_engine() -> Iterator[None]:
    """The bugs are planted in Python: the native engine's are in engine/native/test_mutants.py."""
    with native.flags(enabled=False):
        yield


def test_without_a_bug_all_agree() -> None:
    for kind in ("RNN", "LSTM", "GRU"):
        assert verdict(kind), str(verdict(kind))
        assert verdict(kind, packed=False, batch_first=True)
    assert verdict("RNN", nonlinearity="relu")
    assert verdict("LSTM", proj_size=2)


# --------------------------------------------------------------------------------- in the equations and adjoints

FLIPS = [
    pytest.param(twin, function, k, id=f"{function.__name__}-sign-{k}")
    for twin in cells.TWINS
    for function in (twin.cell.update, twin.cell.adjoint)
    for k in range(signs(parsed(function)))
]
OF_THE_FORWARD_PASS = {"output", "h_n", "c_n"}


@pytest.mark.parametrize(("twin", "function", "sign"), FLIPS)
def test_a_flipped_sign_is_seen(
    twin: Twin, function: Callable[..., Any], sign: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, function, Flip(sign))
    named = {d.name for d in verdict(twin.layer.__name__, **twin.options).failed}
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


# ------------------------------------------------------------------------------ in the engine and the layers, too


@dataclass(frozen=True)
class Bug:
    """A change of a function; `seen` are tensors that must be named, `unseen` those that must not."""

    title: str
    function: Callable[..., Any]
    change: Change | Returning
    kind: str
    seen: set[str]
    unseen: set[str] = field(default_factory=set)
    options: dict[str, Any] = field(default_factory=dict)
    packed: bool = True


def from_input_halves(found: Operands) -> Operands:
    """The gradient of the split gate's hidden bias, the last of three, is that of its input bias."""
    r_and_z = 2 * len(found.weights.bias_ih) // 3
    bias_hh = torch.cat([found.weights.bias_hh[:r_and_z], found.weights.bias_ih[r_and_z:]])
    return found._replace(weights=found.weights._replace(bias_hh=bias_hh))


HIDDEN_BIAS = Bug(
    "GRU's db_hh taken from db_ih",
    backward.gradients,
    Returning(from_input_halves),
    "GRU",
    {"dbias_hh_l0", "dbias_hh_l0_reverse"},
    OF_THE_FORWARD_PASS | {"dbias_ih_l0", "dweight_hh_l0", "dinput"},
)
BUGS = [
    HIDDEN_BIAS,
    Bug(
        "GRU's direct road to h_prev forgotten",
        cells.gru_adjoint,
        Reading("z", 1, "0 * z"),
        "GRU",
        {"dh_0", "dinput", "dweight_hh_l0"},
        OF_THE_FORWARD_PASS,
    ),
    Bug(
        "LSTM's dc reaches only through h",
        cells.lstm_adjoint,
        Reading("dc", 0, "0 * dc"),
        "LSTM",
        {"dc_0", "dinput"},
        OF_THE_FORWARD_PASS,
    ),
    Bug(
        "input and forget gate swapped",
        cells.lstm_update,
        Exchange("c", "i", "f"),
        "LSTM",
        {"output", "c_n"},
    ),
    Bug(
        "GRU's reset gate acts on the input half",
        cells.gru_update,
        Exchange("n", "n_x", "n_h"),
        "GRU",
        {"output", "h_n", "dbias_hh_l0"},
    ),
    Bug(
        "GRU's update gate in the other sense",
        cells.gru_update,
        Exchange("h", "n", "h_prev"),
        "GRU",
        {"output", "h_n"},
    ),
    Bug(
        "the initial state ignored",
        forward.initial,
        Returning(lambda states: tuple(0 * s for s in states)),
        "GRU",
        {"output", "h_n", "dh_0"},
    ),
    Bug(
        "the second bias forgotten",
        columns.Columns.arrange,
        Reading("bias_hh", 1, "0 * bias_hh"),
        "RNN",
        {"output", "h_n"},
    ),
    Bug(
        "waiting rows of a packed batch lose their state",
        forward.move,
        Returning(lambda found: (found[0], tuple(0 * s for s in found[1]))),
        "RNN",
        {"h_n"},
    ),
    Bug(
        "the second direction runs forward",
        forward.Setting.order,
        Returning(lambda steps: range(len(steps))),
        "LSTM",
        {"output", "h_n", "c_n"},
    ),
    Bug(
        "dW_hh with h_t for h_{t-1}",
        backward.gradients,
        Reading(
            "of_block", 1, "of_block._replace(state_prev=replay(setting, of_block, adjoint_of(setting.cell).step)[0])"
        ),
        "LSTM",
        {"dweight_hh_l0", "dweight_hh_l0_reverse"},
        OF_THE_FORWARD_PASS | {"dweight_ih_l0", "dh_0"},
    ),
    Bug(
        "the gradient of the last state dropped",
        backward.gradients,
        Reading("d", 0, "(0 * d)"),
        "LSTM",
        {"dh_0", "dc_0", "dinput"},
        OF_THE_FORWARD_PASS,
    ),
    Bug(
        "the input's gradient through the hidden halves",
        backward.gradients,
        Reading("d_input_side", 0, "d_hidden_side"),
        "GRU",
        {"dinput"},
        OF_THE_FORWARD_PASS | {"dh_0", "dweight_ih_l0"},
    ),
    Bug(
        "dW_hr from the cell state",
        backward._through_time,
        Reading("unprojected", 0, "replay(setting, kept, pair.step)[0][1]"),
        "LSTM",
        {"dweight_hr_l0"},
        OF_THE_FORWARD_PASS | {"dh_0", "dinput"},
        {"proj_size": 2},
    ),
    Bug(
        "upstream gradients in the other order of time",
        backward._through_time,
        Reading("t", 1, "-1 - t"),
        "RNN",
        {"dinput", "dweight_ih_l0"},
        OF_THE_FORWARD_PASS,
        packed=False,
    ),
    Bug(
        "GRU's gradient of h_prev assigned instead of added",
        backward._Pull.__call__,
        Assigned(),
        "GRU",
        {"dh_0", "dinput"},
        OF_THE_FORWARD_PASS,
    ),
    Bug(
        "the cell state's gradient not carried through time",
        backward._Pull.__call__,
        Returning(lambda d_state: (d_state[0], *(0 * d for d in d_state[1:]))),
        "LSTM",
        {"dc_0", "dinput"},
        OF_THE_FORWARD_PASS,
    ),
    Bug(
        "last states of packed sequences left in sorted order",
        border.leave,
        Reading("_permuted", 0, "(lambda layer, states, indices: states)"),
        "GRU",
        {"h_n"},
        {"output"},
    ),
    Bug(
        "the two directions' outputs swapped",
        recurrent.RecurrentLayer.forward,
        Reading("halves", 1, "halves[::-1]"),
        "RNN",
        {"output", "dinput"},
        {"h_n"},
    ),
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.title)
def test_a_planted_bug_is_named(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, bug.function, bug.change)
    named = {d.name for d in verdict(bug.kind, bug.packed, **bug.options).failed}
    assert bug.seen <= named
    assert not bug.unseen & named


def test_the_command_exits_1_and_names_the_tensor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(monkeypatch, HIDDEN_BIAS.function, HIDDEN_BIAS.change)
    assert cli.main(["verify", "--quick"]) == 1
    shown = capsys.readouterr().out
    assert "DIFFERS dbias_hh_l0 " in shown
    assert "in the rows of gate n\n" in shown
    assert "DIFFERS dbias_ih_l0 " not in shown
    assert "DIFFERS training GRU" in shown
    assert "the losses part at step" in shown
    assert "ok      training LSTM 32 -> 64, 30 steps of SGD: the losses agree to " in shown
    assert "3 of 16 differ: GRU; GRU, 3 layers" in shown
