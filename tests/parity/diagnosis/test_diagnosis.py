"""What a diagnosis says beside its causes: alternatives, conventions, constants, laws, the place where two part."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import table
import torch
from parity.diagnosis.planted import loop
from parity.diagnosis.wrong import WRONG
from torch import Tensor, nn

import scratchrnn as sr
from scratchrnn.parity.diagnosis import causes, judge, reference


class Chunked(nn.Module):
    """An LSTM under names of its own, whose gates are stacked in some order, and f gets a constant."""

    order, constant = "ifgo", 0.0

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.x2h, self.h2h = nn.Linear(input_size, 4 * hidden_size), nn.Linear(hidden_size, 4 * hidden_size)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        (h, c), output = (s[0] for s in state), []
        for x_t in x:
            gates = dict(zip(self.order, (self.x2h(x_t) + self.h2h(h)).chunk(4, 1), strict=True))
            c = torch.sigmoid(gates["f"] + self.constant) * c + torch.sigmoid(gates["i"]) * torch.tanh(gates["g"])
            h = torch.sigmoid(gates["o"]) * torch.tanh(c)
            output.append(h)
        return torch.stack(output), (h[None], c[None])


def variant(**fields: Any) -> type[Chunked]:
    return type("Chunked", (Chunked,), fields)


def test_another_order_under_own_names_is_a_convention() -> None:
    diagnosis = sr.diagnose(variant(order="iofg"), "lstm")
    assert diagnosis
    assert diagnosis.causes == ()
    (said,) = [sentence for sentence in diagnosis.assumed if "i, o, f, g" in sentence]
    assert "rows 4:8 of weight_ih are the output gate o where torch.nn has the forget gate f" in said
    assert "torch.cat([w.chunk(4)[k] for k in (0, 3, 1, 2)])" in said


def test_the_load_that_it_gives_is_right() -> None:
    theirs, ours = nn.LSTM(3, 4), variant(order="iofg")(3, 4)
    with torch.no_grad():
        for mine, other in ((ours.x2h, "ih"), (ours.h2h, "hh")):
            for p, name in ((mine.weight, f"weight_{other}_l0"), (mine.bias, f"bias_{other}_l0")):
                w = getattr(theirs, name)
                p.copy_(torch.cat([w.chunk(4)[k] for k in (0, 3, 1, 2)]))
    x, state = torch.randn(5, 2, 3), (torch.randn(1, 2, 4), torch.randn(1, 2, 4))
    torch.testing.assert_close(ours(x, state)[0], theirs(x, state)[0])


@pytest.mark.parametrize("constant", [1.0, -0.37, 4.25])
def test_a_constant_is_found_whatever_it_is(constant: float) -> None:
    diagnosis = sr.diagnose(variant(constant=constant), "lstm")
    assert [cause.slug for cause in diagnosis.causes] == ["forget-bias"]
    assert f"adds {constant:g} to the forget gate" in diagnosis.causes[0].detail


def test_what_no_input_tells_apart_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = [row for row in causes.OUTPUTS if row.slug == "update-flipped"]
    monkeypatch.setattr(judge, "OUTPUTS", (*causes.OUTPUTS, row._replace(slug="the-same")))
    diagnosis = sr.diagnose(*loop("gru", "update-flipped"))
    assert [cause.slug for cause in diagnosis.causes] == ["update-flipped"]
    assert [[cause.slug for cause in other] for other in diagnosis.alternatives] == [["the-same"]]
    assert "or, which no input tells from it: the-same: yours" in str(diagnosis)


def test_a_diagnosis_reads_well() -> None:
    text = str(sr.diagnose(*loop("lstm", "gate-order")))
    first, cause, fix, *_, last = text.splitlines()
    assert first == "differs from nn.LSTM: gate-order"
    assert cause.startswith("  gate-order: yours reads its gates as i, f, o, g: rows 8:12 of weight_ih are the output")
    assert fix.strip().startswith("fix: stack the gates as i, f, g, o, or load torch.cat(")
    assert "What is wrong with my LSTM?" in last
    assert "That accounts for all: 17 configurations, to " in text


def test_where_it_parts_first_is_shown_with_both_numbers() -> None:
    diagnosis = sr.diagnose(*WRONG["ForgetOfInput"][:2])
    found = diagnosis.first_difference
    assert found is not None
    assert {*found} == {
        *("configuration", "tensor", "layer", "direction", "step", "row", "unit", "yours", "theirs", "gate")
    }
    assert (found["layer"], found["direction"], found["step"]) == (0, "forward", 0)
    assert found["yours"] != found["theirs"]
    assert {*found["gate"]} <= {"i", "f"}
    text = str(diagnosis).splitlines()
    assert text[0] == "differs from nn.LSTM, and no known cause explains it"
    assert text[1].startswith("  with nn.LSTM(3, 4) first in output at layer 0, direction forward, step 0, row ")


def test_a_cell_is_held_to_the_laws() -> None:
    assert sr.diagnose(table.mgu)
    assert sr.diagnose(table.mgu).twin == "the laws of any recurrent layer"

    def counting(n: Tensor, h_prev: Tensor) -> Tensor:
        return torch.tanh(n) + h_prev.mean(0, keepdim=True)

    diagnosis = sr.diagnose(sr.Cell("MIXED", ("n",), counting))
    assert diagnosis.error or "batch-independence" in [cause.slug for cause in diagnosis.causes]
    assert not diagnosis


def test_no_cause_is_told_twice() -> None:
    class FourTimes(nn.GRU):
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__(input_size, hidden_size)

        def forward(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
            gru, weights = nn.GRU(self.input_size, self.hidden_size), dict(self.named_parameters())
            more = {name: p * 4 if name.startswith("bias") else p for name, p in weights.items()}
            output, h_n = torch.func.functional_call(gru, more, (x, h_0))
            return output, h_n

    told = sr.diagnose(FourTimes, "gru")
    assert told.first_difference
    assert len({*told.causes}) == len(told.causes)


def test_the_fields_are_for_programs() -> None:
    diagnosis = sr.diagnose(*loop("gru", "update-flipped"))
    content = diagnosis.to_dict()
    assert content["causes"] == [dict(zip(("slug", "detail", "fix"), cause, strict=True)) for cause in diagnosis.causes]
    assert {*content} == {"agrees", *(field.name for field in dataclasses.fields(diagnosis))}


def test_states_without_the_first_dimension_are_told() -> None:
    class Squeezed(nn.LSTM):
        def forward(self, x: Any, hx: Any = None) -> Any:
            output, (h, c) = super().forward(x, hx)
            return output, (h.squeeze(0), c.squeeze(0)) if x.dim() in self.of else (h, c)

    Squeezed.of = (2, 3)  # type: ignore[attr-defined]
    in_all = sr.diagnose(Squeezed)
    assert in_all
    assert in_all.assumed[0] == "called as subject(x, (h, c)); returns output, (h, c) [batch, hidden_size]"
    Squeezed.of = (2,)  # type: ignore[attr-defined]
    assert sr.diagnose(Squeezed).assumed == (
        "called as subject(x, (h, c)); returns output, (h, c)",
        "returns output, (h, c) [hidden_size] in nn.LSTM(3, 4), unbatched",
    )


@pytest.mark.parametrize("kind", [None, "gru"])
def test_a_lazy_parameter_is_told_with_a_kind_and_without(kind: str | None) -> None:
    class Lazy(nn.Module):
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__()
            self.W, self.U = nn.LazyLinear(3 * hidden_size), nn.Linear(hidden_size, 3 * hidden_size)

    for subject in (Lazy, Lazy(3, 4)):
        diagnosis = sr.diagnose(subject, kind)
        said = "Lazy has a lazy parameter, W.weight: call it once first, and give the instance"
        assert diagnosis.error == said
        assert str(diagnosis) == f"cannot be judged{' against nn.GRU' if kind else ''}: {said}"


def test_a_weight_reshaped_back_is_one_cause() -> None:
    class Reshaped(nn.LSTMCell):
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__(input_size, hidden_size)
            self.weight_hh = nn.Parameter(self.weight_hh.detach().T.contiguous())

        def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            w_hh = self.weight_hh.reshape(-1, self.hidden_size)
            return torch.lstm_cell(x, state, self.weight_ih, w_hh, self.bias_ih, self.bias_hh)

    (cause,) = sr.diagnose(Reshaped, "lstm-cell").causes
    assert cause.slug == "weights-transposed"
    assert "reshapes W_hh of [inputs, gates * H] to [gates * H, inputs]" in cause.detail


def test_torch_nn_is_the_judge_and_not_our_equations(monkeypatch: pytest.MonkeyPatch) -> None:
    right = reference.Reference._step

    def wrong(*given: Any) -> tuple[Tensor, ...]:
        h, c = right(*given)
        return h, -c

    monkeypatch.setattr(reference.Reference, "_step", wrong)
    with pytest.raises(
        RuntimeError, match=r"the reference is .* apart from torch.nn's own nn.LSTM\(3, 4\): scratchrnn"
    ):
        sr.diagnose(nn.LSTM)
