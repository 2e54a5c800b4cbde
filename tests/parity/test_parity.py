"""The comparison with torch.nn: the tolerance rule, what the report says, and what is refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from table import TWINNED, Row, mgu, mgu_walked, pair
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

import scratchrnn as sr
from scratchrnn.parity.compare import Difference, Report, compare, for_json, tolerance


class Scaled(nn.Module):
    """A layer whose results are off by a factor, with the layer's own parameters."""

    def __init__(self, layer: nn.Module, factor: float) -> None:
        super().__init__()
        for name, parameter in layer.named_parameters():
            self.register_parameter(name, parameter)
        self.layer, self.factor = [layer], factor

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        output, last = self.layer[0](input, hx)
        return output * self.factor, last


class Tagger(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.embedding, self.layer, self.fc = nn.Embedding(11, 3), layer, nn.Linear(8, 5)

    def forward(self, ids: Tensor) -> Tensor:
        return self.fc(self.layer(self.embedding(ids))[0])


def test_the_rule_is_twice_torch_and_four_eps() -> None:
    assert tolerance(1e-6, torch.float32) == 2e-6 + 4 * torch.finfo(torch.float32).eps


@given(
    row=st.sampled_from(TWINNED),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    T=st.integers(1, 12),
    B=st.integers(1, 9),
    I=st.integers(1, 9),
    H=st.integers(2, 9),
    L=st.integers(1, 3),
    bidirectional=st.booleans(),
    bias=st.booleans(),
    batch_first=st.booleans(),
    project=st.booleans(),
    packed=st.booleans(),
    given_state=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_every_layer_agrees_with_torch_nn(
    row: Row,
    dtype: torch.dtype,
    T: int,
    B: int,
    I: int,  # noqa: E741
    H: int,
    L: int,
    bidirectional: bool,
    bias: bool,
    batch_first: bool,
    project: bool,
    packed: bool,
    given_state: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    assert row.twin is not None
    options = {"bidirectional": bidirectional, "bias": bias, "batch_first": batch_first, "dtype": dtype}
    P = H // 2 if project and row.projects else 0
    theirs = row.twin(I, H, L, **options, **({"proj_size": P} if P else {}))
    D = 2 if bidirectional else 1
    states = [torch.randn(L * D, B, P or H, dtype=dtype)]
    states += [torch.randn(L * D, B, H, dtype=dtype) for _ in row.cell.states[1:]]
    state = (tuple(states) if len(states) > 1 else states[0]) if given_state else None
    if packed:
        lengths = torch.randint(1, T + 1, (B,)).tolist()
        input = pack_sequence([torch.randn(n, I, dtype=dtype) for n in lengths], enforce_sorted=False)
    else:
        input = torch.randn(B, T, I, dtype=dtype) if batch_first else torch.randn(T, B, I, dtype=dtype)
    report = compare(sr.from_torch(theirs), theirs, input, state)
    assert report, str(report)


@pytest.mark.parametrize("row", TWINNED, ids=str)
def test_saturated_gates_agree_and_stay_finite(row: Row) -> None:
    assert row.twin is not None
    theirs = row.twin(3, 4, num_layers=2, bidirectional=True)
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if name.startswith("bias_ih"):
                p.copy_(torch.where(torch.rand(p.shape) < 0.5, -100.0, 100.0))
    report = compare(sr.from_torch(theirs), theirs, torch.randn(6, 5, 3))
    assert report, str(report)
    assert all(torch.isfinite(torch.tensor(d.ours)) for d in report.differences)


def test_a_report_names_tensors_as_the_layer_does() -> None:
    theirs = nn.LSTM(3, 4, proj_size=2)
    names = [d.name for d in compare(sr.from_torch(theirs), theirs, torch.randn(5, 2, 3)).differences]
    weights = [f"d{name}" for name, _ in theirs.named_parameters()]
    assert names == ["output", "h_n", "c_n", "dinput", *weights]
    state = torch.randn(1, 2, 2), torch.randn(1, 2, 4)
    names = [d.name for d in compare(sr.from_torch(theirs), theirs, torch.randn(5, 2, 3), state).differences]
    assert names == ["output", "h_n", "c_n", "dinput", "dh_0", "dc_0", *weights]
    cell = nn.LSTMCell(3, 4)
    names = [d.name for d in compare(sr.from_torch(cell), cell, torch.randn(2, 3)).differences]
    assert names[:3] == ["h", "c", "dinput"]


def test_a_small_error_is_named_with_place_and_size() -> None:
    theirs = nn.GRU(3, 4)
    x = torch.randn(5, 2, 3)
    report = compare(Scaled(sr.from_torch(theirs), 1.01), theirs, x)
    assert not report
    output = report.differences[0]
    assert output.name == "output"
    assert output.error == pytest.approx(0.01, rel=1e-3)
    exact = theirs(x)[0]
    assert output.index == tuple(int(k) for k in torch.unravel_index(exact.abs().argmax(), exact.shape))
    assert output.theirs == exact[output.index].item()
    assert output.ours == pytest.approx(1.01 * output.theirs)
    assert output.reference == pytest.approx(output.theirs)
    assert {d.name for d in report.failed} == {"output", "dinput", *(f"d{n}" for n, _ in theirs.named_parameters())}
    assert "DIFFERS output" in str(report)
    assert f"at {list(output.index)}: ours" in str(report)
    assert "\n6 of 7 differ\n" in str(report)
    assert compare(Scaled(sr.from_torch(theirs), 1 + 1e-8), theirs, x)


def test_the_gate_of_a_wrong_row_is_named() -> None:
    theirs = nn.LSTM(3, 4)
    ours = sr.from_torch(theirs)
    ours.bias_hh_l0.register_hook(lambda d: torch.cat([d[:4], d[4:8] * 2, d[8:]]))
    report = compare(ours, theirs, torch.randn(5, 2, 3))
    (wrong,) = report.failed
    assert (wrong.name, wrong.note) == ("dbias_hh_l0", "in the rows of gate f")
    assert 4 <= wrong.index[0] < 8
    assert report.worst is wrong


def test_a_nan_or_another_shape_or_dtype_differs() -> None:
    theirs, x = nn.GRU(3, 4), torch.randn(5, 2, 3)
    assert compare(Scaled(sr.from_torch(theirs), float("nan")), theirs, x).differences[0].error == float("inf")

    class Other(nn.Module):
        def __init__(self, layer: nn.Module, how: str) -> None:
            super().__init__()
            self.layer, self.how = layer, how

        def forward(self, input: Tensor) -> tuple[Tensor, Tensor]:
            output, last = self.layer(input)
            return (output[:3], last) if self.how == "shape" else (output, last.double())

    shape = compare(Other(sr.from_torch(theirs), "shape"), theirs, x, parameters=False)
    assert shape.differences[0].note == "torch.float32 [3, 2, 4], expected torch.float32 [5, 2, 4]"
    assert str(shape.differences[0]).endswith(f"bound 0.0e+00; {shape.differences[0].note}")
    assert shape.worst is shape.differences[0]
    assert shape.worst.share == float("inf")
    dtype = compare(Other(sr.from_torch(theirs), "dtype"), theirs, x, parameters=False)
    assert [d.name for d in dtype.failed] == ["h_n"]
    assert dtype.failed[0].note == "torch.float64 [1, 2, 4], expected torch.float32 [1, 2, 4]"


def test_a_report_is_ready_for_json() -> None:
    theirs = nn.GRU(3, 4)
    report = compare(sr.from_torch(theirs), theirs, torch.randn(5, 2, 3))
    content = json.loads(json.dumps(report.to_dict()))
    assert content["agrees"] is True
    assert [t["name"] for t in content["tensors"]] == [d.name for d in report.differences]
    assert content["tensors"][0]["error"] == report.differences[0].error
    assert str(report).endswith("all agree")
    assert not Report((Difference("output", 1.0, 0.0, 0.1, (0,), 1.0, 2.0, 2.0),))


def test_a_model_that_takes_integers_is_compared_by_its_parameters() -> None:
    theirs = Tagger(nn.GRU(3, 4, bidirectional=True))
    ids = torch.randint(11, (5, 2))
    report = compare(sr.from_torch(theirs), theirs, ids)
    assert report, str(report)
    assert "dlayer.weight_hh_l0_reverse" in [d.name for d in report.differences]
    assert "dinput" not in [d.name for d in report.differences]


def test_frozen_parameters_are_left_out() -> None:
    theirs = nn.GRU(3, 4)
    theirs.weight_hh_l0.requires_grad_(False)
    names = [d.name for d in compare(sr.from_torch(theirs), theirs, torch.randn(5, 2, 3)).differences]
    assert "dweight_hh_l0" not in names
    assert "dweight_ih_l0" in names


def test_an_empty_batch_agrees() -> None:
    theirs = nn.GRU(3, 4)
    assert compare(sr.from_torch(theirs), theirs, torch.randn(5, 0, 3))


def test_a_cell_of_ones_own_is_verified_with_and_without_its_adjoint() -> None:
    walked = sr.RecurrentLayer(mgu_walked, 3, 4, num_layers=2, bidirectional=True)
    by_hand = sr.RecurrentLayer(mgu, 3, 4, num_layers=2, bidirectional=True)
    by_hand.load_state_dict(walked.state_dict())
    report = compare(by_hand, walked, torch.randn(6, 5, 3), torch.randn(4, 5, 4))
    assert report, str(report)


def test_neither_module_nor_input_nor_random_numbers_are_touched() -> None:
    theirs, x = nn.GRU(3, 4), torch.randn(5, 2, 3)
    before, state = [p.clone() for p in theirs.parameters()], torch.get_rng_state()
    compare(sr.from_torch(theirs), theirs, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert not x.requires_grad
    assert all(p.grad is None and torch.equal(p, b) for p, b in zip(theirs.parameters(), before, strict=True))
    assert theirs.weight_ih_l0.dtype == torch.float32


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (sr.GRU(3, 4), nn.LSTM(3, 4), r"weight_ih_l0 has shape \[12, 3\] in ours and \[16, 3\] in theirs; names says"),
        (sr.GRU(3, 4, bias=False), nn.GRU(3, 4), r"same names; only in ours: \[\], only in theirs: \['bias_hh_l0', "),
        (sr.GRU(3, 4), nn.GRU(3, 4), r"same weights, but weight_ih_l0 differs by up to .*load_state_dict"),
        (sr.GRU(3, 4).double(), nn.GRU(3, 4), "weight_ih_l0 has dtype torch.float64 in ours and torch.float32"),
        (sr.GRU(3, 4, 2, dropout=0.5), nn.GRU(3, 4, 2), r"dropout is active in GRU, .*call eval\(\)"),
        (nn.Sequential(sr.GRU(3, 4), nn.Dropout()), nn.GRU(3, 4), "dropout is active in 1, "),
    ],
)
def test_what_cannot_be_compared_is_refused(ours: nn.Module, theirs: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare(ours, theirs, torch.randn(5, 2, 3))


def test_another_number_of_results_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ours should return 2 tensors \(output, h_n\), as theirs does, got 3"):
        compare(sr.LSTM(3, 4), nn.GRU(3, 4), torch.randn(5, 2, 3), parameters=False)


class Returning(nn.Module):
    """A layer whose results come in another form, and the output times a factor."""

    def __init__(self, layer: nn.Module, form: Callable[[Tensor, Tensor], Any], factor: float = 1.0) -> None:
        super().__init__()
        self.layer, self.form, self.factor = layer, form, factor

    def forward(self, input: Tensor) -> Any:
        output, last = self.layer(input)
        return self.form(output * self.factor, last)


@dataclass
class Results:
    output: Tensor
    last: Tensor


@pytest.mark.parametrize("form", [lambda y, h: {"a": y, "b": [h]}, Results], ids=["dict", "dataclass"])
def test_results_in_dicts_and_dataclasses_are_compared(form: Callable[[Tensor, Tensor], Any]) -> None:
    theirs = nn.GRU(3, 4)
    x = torch.randn(5, 2, 3)
    right, wrong = (Returning(sr.from_torch(theirs), form, factor) for factor in (1.0, 9.0))
    assert compare(right, Returning(theirs, form), x)
    assert {d.name for d in compare(wrong, Returning(theirs, form), x).failed} >= {"output", "dinput"}


def test_a_module_that_returns_no_tensor_is_refused() -> None:
    theirs = Returning(nn.GRU(3, 4), lambda y, h: None)
    with pytest.raises(ValueError, match="theirs should return tensors, alone or in tuples, dicts or dataclasses, got"):
        compare(theirs, theirs, torch.randn(5, 2, 3))


def test_where_torch_nn_itself_is_far_off_nothing_is_said_to_agree() -> None:
    theirs = nn.RNN(3, 4, nonlinearity="relu")
    with torch.no_grad():
        theirs.weight_hh_l0.fill_(1e6)
    report = compare(sr.from_torch(theirs), theirs, torch.rand(30, 2, 3))
    assert not report
    assert "torch.nn itself is too far from float64 for a verdict" in str(report)
    assert not report.worst.agrees


def test_a_module_that_draws_random_numbers_draws_the_same_in_each_run() -> None:
    def noisy(y: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return y + torch.rand(()).to(y.dtype), h

    theirs = nn.GRU(3, 4)
    assert compare(Returning(sr.from_torch(theirs), noisy), Returning(theirs, noisy), torch.randn(5, 2, 3))


def test_a_nan_in_the_input_is_a_nan_in_both() -> None:
    theirs = nn.GRU(3, 4)
    x = torch.randn(5, 2, 3)
    x[2, 1] = float("nan")
    report = compare(sr.from_torch(theirs), theirs, x)
    assert report, str(report)


def test_where_no_number_is_finite_there_is_nothing_to_compare() -> None:
    theirs = nn.GRU(3, 4)
    with torch.no_grad():
        for p in theirs.parameters():
            p.fill_(float("nan"))
    report = compare(sr.from_torch(theirs), theirs, torch.randn(5, 2, 3))
    assert not report
    assert report.failed == ()
    assert report.verdict == str(report).splitlines()[-1]
    assert report.verdict == "nothing to compare: none of the 186 numbers of the reference is finite"
    assert not Report(())


def test_of_numbers_that_are_partly_finite_it_is_said_how_many() -> None:
    theirs = nn.GRU(3, 4)
    x = torch.randn(5, 2, 3)
    x[2, 1] = float("nan")
    report = compare(sr.from_torch(theirs), theirs, x)
    finite = 5 * 4 + 2 * 4 + 4 + 5 * 3  # of output the whole first sequence and two steps, of h_n and dinput the first
    assert report.verdict == f"all agree, in the {finite} of 186 numbers that are finite in the reference"
    output, dweight = report.differences[0], report.differences[-1]
    assert (output.finite, output.numbers) == (28, 40)
    assert (dweight.finite, dweight.numbers) == (0, 12)
    wrong = compare(Scaled(sr.from_torch(theirs), 1.01), theirs, x)
    assert wrong.verdict.startswith("2 of 7 differ, in the ")


def test_numbers_that_are_not_finite_are_null_in_json_and_named() -> None:
    theirs = nn.GRU(3, 4)
    x = torch.randn(5, 2, 3)
    report = compare(Scaled(sr.from_torch(theirs), float("nan")), theirs, x)
    content = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert content["verdict"] == report.verdict
    output, last = content["tensors"][:2]
    assert output["error"] is output["ours"] is None
    assert output["not_finite"] == {"error": "inf", "ours": "nan"}
    assert output["theirs"] == report.differences[0].theirs
    assert last["not_finite"] == {}
    assert for_json({"loss": [1.0, float("-inf")], "step": 2}) == {
        "loss": [1.0, None],
        "step": 2,
        "not_finite": {"loss[1]": "-inf"},
    }


def test_states_are_named_as_the_cell_names_them() -> None:
    layer = sr.RecurrentLayer(pair, 3, 4)
    state = torch.randn(1, 2, 4), torch.randn(1, 2, 4), torch.randn(1, 2, 4)
    names = [d.name for d in compare(layer, copy.deepcopy(layer), torch.randn(5, 2, 3), state).differences]
    assert names[:8] == ["output", "h_n", "m_n", "k_n", "dinput", "dh_0", "dm_0", "dk_0"]


def test_everything_frozen_and_integer_input_leave_outputs_to_compare() -> None:
    theirs = Tagger(nn.GRU(3, 8)).requires_grad_(False)
    report = compare(sr.from_torch(theirs), theirs, torch.randint(11, (5, 2)))
    assert [d.name for d in report.differences] == ["output"]
    assert report


def test_complex_modules_and_other_things_are_refused() -> None:
    with pytest.raises(ValueError, match="ours is complex: compare takes real modules"):
        compare(sr.GRU(3, 4, dtype=torch.complex64), nn.GRU(3, 4), torch.randn(5, 2, 3))
    with pytest.raises(TypeError, match="theirs should be a module, got: int"):
        compare(sr.GRU(3, 4), 3, torch.randn(5, 2, 3))  # type: ignore[arg-type]


class PerGate(nn.Module):
    """A GRU whose every gate has a matrix of its own for x, and one matrix for h."""

    def __init__(self, theirs: nn.GRU) -> None:
        super().__init__()
        self.r, self.z, self.n = (nn.Parameter(w.detach().clone()) for w in theirs.weight_ih_l0.chunk(3))
        self.U = nn.Parameter(theirs.weight_hh_l0.detach().clone())
        self.bias_ih_l0, self.bias_hh_l0 = (
            nn.Parameter(b.detach().clone()) for b in (theirs.bias_ih_l0, theirs.bias_hh_l0)
        )

    def forward(self, x: Tensor, h_0: Tensor) -> tuple[Tensor, Tensor]:
        weights = {"weight_ih_l0": torch.cat([self.r, self.z, self.n]), "weight_hh_l0": self.U}
        weights |= {"bias_ih_l0": self.bias_ih_l0, "bias_hh_l0": self.bias_hh_l0}
        return torch.func.functional_call(nn.GRU(3, 4), weights, (x, h_0))


NAMES = {"weight_ih_l0": ("r", "z", "n"), "weight_hh_l0": "U"}


def test_parameters_of_another_layout_are_compared_by_their_names() -> None:
    theirs, given = nn.GRU(3, 4), (torch.randn(5, 2, 3), torch.randn(1, 2, 4))
    ours = PerGate(theirs)
    report = compare(ours, theirs, *given, names=NAMES)
    assert report
    assert {"dweight_ih_l0", "dweight_hh_l0"} <= {d.name for d in report.differences}
    ours.z.register_hook(lambda d: 2 * d)
    report = compare(ours, theirs, *given, names=NAMES)
    assert [d.name for d in report.failed] == ["dweight_ih_l0"]
    assert str(report).endswith("scratchrnn.diagnose(your_class) says what is wrong with a layer of your own")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({}, "names says which is which"),
        ({**NAMES, "weight_ih_l1": "U"}, "names should be of parameters of theirs, got weight_ih_l1"),
        ({**NAMES, "weight_hh_l0": "V"}, "names should lead to parameters of ours, which are r, z, n, U, .*, got V"),
        ({**NAMES, "weight_ih_l0": ("r", "z")}, r"weight_ih_l0 has shape \[8, 3\] in ours|only in ours: \['n'\]"),
    ],
)
def test_names_that_lead_nowhere_are_refused(names: Any, message: str) -> None:
    theirs = nn.GRU(3, 4)
    with pytest.raises(ValueError, match=message):
        compare(PerGate(theirs), theirs, torch.randn(5, 2, 3), torch.randn(1, 2, 4), names=names)


def test_names_go_with_parameters() -> None:
    theirs = nn.GRU(3, 4)
    with pytest.raises(ValueError, match="names goes with parameters=True"):
        compare(PerGate(theirs), theirs, torch.randn(5, 2, 3), torch.randn(1, 2, 4), names=NAMES, parameters=False)
