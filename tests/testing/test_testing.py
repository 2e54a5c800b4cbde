"""`scratchrnn.testing`: the assertion that is a diagnosis, and what the strategies draw."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st
from running import close, tensors
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, unpack_sequence

import scratchrnn as sr
from scratchrnn import testing
from scratchrnn.layers import from_torch
from scratchrnn.parity.diagnosis import Cause, Diagnosis
from scratchrnn.parity.diagnosis.judge import KINDS
from scratchrnn.testing import Case, cases, configurations, inputs, lengths, packed_batches, states

CLASSES = {kind: twin.step if step else twin.layer for kind, (twin, step) in KINDS.items()}
EXTRA = {kind: twin.options for kind, (twin, _) in KINDS.items()}
LAYERS = [kind for kind in KINDS if not kind.endswith("-cell")]
each_kind = pytest.mark.parametrize("kind", KINDS)
each_layer = pytest.mark.parametrize("kind", LAYERS)


# ---------------------------------------------------------------------------------------------- the assertion


def test_a_failure_is_the_diagnosis(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Diagnosis("nn.GRU", causes=(Cause("update-flipped", "z is where nn.GRU has 1 - z", "exchange them"),))
    asked: list[Any] = []

    def diagnose(subject: Any, kind: Any, *, load_weights: Any) -> Diagnosis:
        asked.append((subject, kind, load_weights))
        return wrong

    monkeypatch.setattr(testing, "diagnose", diagnose)
    with pytest.raises(AssertionError) as caught:
        testing.assert_matches_torch(nn.GRU, "gru", load_weights=print)
    assert str(caught.value) == str(wrong)
    assert asked == [(nn.GRU, "gru", print)]
    monkeypatch.setattr(testing, "diagnose", lambda *_, **__: Diagnosis("nn.GRU"))
    assert testing.assert_matches_torch(nn.GRU) is None


def test_what_cannot_be_judged_fails_too(monkeypatch: pytest.MonkeyPatch) -> None:
    error = Diagnosis("nn.GRU", error="MyGRU needs an argument that cannot be guessed: 'vocabulary'")
    monkeypatch.setattr(testing, "diagnose", lambda *_, **__: error)
    with pytest.raises(AssertionError, match="cannot be guessed: 'vocabulary'"):
        testing.assert_matches_torch(nn.GRU, "gru")


def test_torch_nns_own_and_ours_match() -> None:
    testing.assert_matches_torch(nn.GRU, "gru")
    testing.assert_matches_torch(sr.LSTMCell)


def test_states_without_their_first_dimension_are_warned_of() -> None:
    class Mine(nn.GRU):
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__(input_size, hidden_size)

        def forward(self, x: Tensor, h_0: Tensor | None = None) -> tuple[Tensor, Tensor]:
            output, h_n = super().forward(x, h_0)
            return output, h_n[0]

    with pytest.warns(UserWarning, match="its states lack") as caught:
        testing.assert_matches_torch(Mine, "gru")
    (warning,) = caught
    assert warning.filename == __file__
    assert str(warning.message) == (
        "its states lack the first dimension of nn.GRU's, [num_layers * num_directions, ...]: called as subject(x, h); "
        "returns output, h [batch, hidden_size]; returns output, h [hidden_size] in nn.GRU(3, 4), unbatched"
    )


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^kind should be rnn, rnn-relu, lstm, .* or None, got 'elman'$"):
        testing.assert_matches_torch(nn.RNN, "elman")


THREE_LINES = """
import torch
from hypothesis import given
from scratchrnn.testing import assert_matches_torch, cases

class Mine(torch.nn.GRU):
    def forward(self, x, h_0=None):
        output, h_n = super().forward(x, h_0)
        return output, torch.zeros_like(h_n) if h_0 is None else h_0

def test_mine():
    assert_matches_torch(Mine, "gru")

@given(cases("gru"))
def test_mine_by_cases(case):
    mine = Mine(**case.options, dtype=torch.float64)
    mine.load_state_dict(case.module.state_dict())
    torch.testing.assert_close(mine(*case.arguments), case.module(*case.arguments))
"""


UNEXPLAINED = """
from hypothesis import Phase, settings
settings.register_profile("quick", phases=[Phase.generate, Phase.shrink], derandomize=True)
settings.load_profile("quick")
"""


def test_both_are_three_lines_in_a_test_file(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(THREE_LINES)
    (tmp_path / "conftest.py").write_text(UNEXPLAINED)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", ".", "test_mine.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1, done.stderr
    assert "2 failed" in done.stdout
    assert 'assert_matches_torch(Mine, "gru")\nE       AssertionError: ' in done.stdout
    assert "last-state" in done.stdout
    assert re.search(r"case = <gru \{'input_size': 1, 'hidden_size': 1, .*\}, input .*, state ", done.stdout)


# ---------------------------------------------------------------------------------------------- hypothesis


def test_without_hypothesis_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import scratchrnn; import scratchrnn.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 1
    said = "ImportError: scratchrnn.testing needs hypothesis: pip install 'scratchrnn[testing]'"
    assert done.stderr.splitlines()[-1] == said


def test_what_hypothesis_itself_lacks_is_not_hidden(tmp_path: Path) -> None:
    (tmp_path / "hypothesis.py").write_text("import not_there")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import scratchrnn.testing"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=600)
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'not_there'"


def test_hypothesis_is_imported_by_nothing_else() -> None:
    root = Path(sr.__file__).parent
    importing = re.compile(r"^\s*(from|import) hypothesis\b", re.MULTILINE)
    found = [path.name for path in root.rglob("*.py") if importing.search(path.read_text(encoding="utf-8"))]
    assert found == ["testing.py"]


def test_every_strategy_is_public_and_says_its_shapes() -> None:
    for name in testing.__all__:
        assert inspect.getdoc(getattr(testing, name))
    for name in ("inputs", "packed_batches", "states", "lengths"):
        assert re.search(r"\[[A-Z]", inspect.getdoc(getattr(testing, name)) or ""), name


# ---------------------------------------------------------------------------------------------- strategies


@each_kind
@given(data=st.data())
def test_a_configuration_makes_a_module(kind: str, data: st.DataObject) -> None:
    options = data.draw(configurations(kind))
    module = CLASSES[kind](**options, **EXTRA[kind])
    assert {name: getattr(module, name) for name in options} == options
    assert "dropout" not in options
    assert 1 <= options["input_size"] <= 4
    assert 1 <= options["hidden_size"] <= 4


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("lstm", {"num_layers", "bias", "batch_first", "bidirectional", "proj_size"}),
        ("rnn-relu", {"num_layers", "bias", "batch_first", "bidirectional"}),
        ("gru-cell", {"bias"}),
    ],
)
def test_all_options_of_a_kind_are_varied(kind: str, names: set[str]) -> None:
    for name in names:
        values = {False, True} if name in ("bias", "batch_first", "bidirectional") else {0, 1} - {name == "num_layers"}
        for value in values - {0} if name == "num_layers" else values:
            found = find(configurations(kind), lambda drawn, name=name, value=value: drawn[name] == value)
            assert found.keys() == {"input_size", "hidden_size"} | names


def test_what_is_varied_can_be_said() -> None:
    assert find(configurations("lstm", vary=()), lambda _: True) == {"input_size": 1, "hidden_size": 1}
    found = find(configurations("gru", vary=["dropout", "num_layers"]), lambda drawn: drawn.get("dropout", 0) > 0)
    assert found == {"input_size": 1, "hidden_size": 1, "num_layers": 2, "dropout": 0.25}
    assert find(configurations("gru", vary=["bias"], largest=9), lambda drawn: drawn["hidden_size"] > 8)


@each_kind
@given(data=st.data())
def test_the_parts_fit_the_module(kind: str, data: st.DataObject) -> None:
    options = data.draw(configurations(kind))
    module = CLASSES[kind](**options, **EXTRA[kind], dtype=torch.float64)
    x = data.draw(inputs(kind, options))
    B = x.shape[0] if options.get("batch_first") or kind.endswith("-cell") else x.shape[1]
    module(x, data.draw(states(kind, options, B)))
    x = data.draw(inputs(kind, options, unbatched=True))
    module(x, data.draw(states(kind, options, None)))
    x = data.draw(inputs(kind, options, batch=3, longest=2))
    module(x, data.draw(states(kind, options, 3)))
    if not kind.endswith("-cell"):
        packed = data.draw(packed_batches(kind, options, batch=3))
        module(packed, data.draw(states(kind, options, 3)))


@each_kind
@given(data=st.data())
def test_a_case_runs_and_ours_agrees(kind: str, data: st.DataObject) -> None:
    case = data.draw(cases(kind))
    assert not case.module.training
    assert (case.state is None) == (len(case.arguments) == 1)
    close(tensors(from_torch(case.module)(*case.arguments)), tensors(case.module(*case.arguments)))


@each_kind
@given(data=st.data())
def test_no_number_is_zero_and_each_dtype_can_be_had(kind: str, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]))
    case = data.draw(cases(kind, dtype=dtype))
    for t in (*tensors(case.arguments), *case.module.parameters()):
        assert t.dtype == dtype
        assert (t != 0).all()
        assert t.isfinite().all()


@given(lengths())
def test_lengths_are_positive(drawn: list[int]) -> None:
    assert 1 <= len(drawn) <= 4
    assert all(1 <= length <= 6 for length in drawn)


def test_lengths_come_in_any_order_and_number() -> None:
    assert find(lengths(), lambda drawn: drawn != sorted(drawn, reverse=True)) == [1, 2]
    assert find(lengths(3, longest=2), lambda _: True) == [1, 1, 1]
    assert len(find(lengths(9), lambda _: True)) == 9


@each_layer
def test_packed_batches_are_ragged_and_unsorted(kind: str) -> None:
    options = {"input_size": 2, "hidden_size": 3}
    found = find(packed_batches(kind, options), lambda packed: packed.unsorted_indices.tolist() != [*range(99)])
    assert isinstance(found, PackedSequence)
    ragged = find(packed_batches(kind, options, batch=2), lambda p: len({len(s) for s in unpack_sequence(p)}) > 1)
    assert sorted(len(s) for s in unpack_sequence(ragged)) == [1, 2]


def test_a_case_shrinks_to_sizes_of_one() -> None:
    case = find(cases("lstm"), lambda case: True)
    assert re.fullmatch(
        r"<lstm \{'input_size': 1, 'hidden_size': 1, 'num_layers': 1, 'bias': True, 'batch_first': False, "
        r"'bidirectional': False, 'proj_size': 0\}, input \[1, 1, 1\], state \[1, 1, 1\] and \[1, 1, 1\]>",
        repr(case),
    )
    packed = find(cases("gru", vary=()), lambda case: isinstance(case.input, PackedSequence) and case.state is None)
    assert repr(packed) == (
        "<gru {'input_size': 1, 'hidden_size': 1}, input packed, rows [1, 1], batch_sizes [1], state none>"
    )


def test_every_layout_is_drawn_and_can_be_chosen() -> None:
    for layout, matches in (
        ("padded", lambda x: not isinstance(x, PackedSequence) and x.dim() == 3),
        ("unbatched", lambda x: not isinstance(x, PackedSequence) and x.dim() == 2),
        ("packed", lambda x: isinstance(x, PackedSequence)),
    ):
        find(cases("gru"), lambda case, matches=matches: matches(case.input))
        _each(cases("gru", layouts=[layout]), lambda case, matches=matches: matches(case.input))


def _each(strategy: st.SearchStrategy[Case], holds: Callable[[Case], bool]) -> None:
    @settings(max_examples=10, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def check(case: Case) -> None:
        assert holds(case)

    check()


@given(data=st.data())
def test_torchs_random_numbers_are_left_alone(data: st.DataObject) -> None:
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    data.draw(cases("lstm"))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_no_two_tensors_of_a_case_share_numbers() -> None:
    case = find(cases("lstm", vary=("num_layers",)), lambda case: case.options["num_layers"] > 1)
    drawn = [*tensors(case.arguments), *case.module.parameters()]
    numbers = [float(value) for t in drawn for value in t.detach().flatten()]
    assert len({*numbers, *(2 * value for value in numbers)}) == 2 * len(numbers)


def test_the_same_seed_gives_the_same_numbers() -> None:
    first, second = (find(cases("lstm"), lambda case: True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(tensors(first.arguments), tensors(second.arguments), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first.module.parameters(), second.module.parameters(), strict=True))


# -------------------------------------------------------------------------------------------------- errors

SIZES = {"input_size": 2, "hidden_size": 3}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cases("elman"), "kind should be one of rnn, rnn-relu, lstm, gru, rnn-cell, "),
        (lambda: inputs("elman", SIZES), "kind should be one of rnn, "),
        (lambda: states("elman", SIZES, 1), "kind should be one of rnn, "),
        (lambda: packed_batches("elman", SIZES), "kind should be one of rnn, "),
        (lambda: configurations("elman"), "kind should be one of rnn, "),
        (
            lambda: configurations("gru", vary=["proj_size", "bias", "x"]),
            "vary should name options of gru (num_layers, bias, batch_first, bidirectional, dropout), "
            "got 'proj_size', 'x'",
        ),
        (lambda: cases("lstm-cell", vary=["num_layers"]), "vary should name options of lstm-cell (bias), got"),
        (lambda: configurations("gru", largest=0), "largest should be a positive integer, got 0"),
        (lambda: cases("gru", largest=1.5), "largest should be a positive integer, got 1.5"),
        (lambda: cases("gru", longest=0), "longest should be a positive integer, got 0"),
        (
            lambda: cases("gru", layouts=["packed", "ragged"]),
            "layouts of gru should be some of padded, unbatched, packed, got ('packed', 'ragged')",
        ),
        (
            lambda: cases("gru-cell", layouts=["packed"]),
            "layouts of gru-cell should be some of padded, unbatched, got ('packed',)",
        ),
        (lambda: cases("gru", layouts=[]), "layouts of gru should be some of padded, unbatched, packed, got ()"),
        (lambda: inputs("gru", SIZES, batch=0), "batch should be a positive integer, got 0"),
        (lambda: inputs("gru", SIZES, longest=0), "longest should be a positive integer, got 0"),
        (
            lambda: inputs("gru", SIZES, batch=2, unbatched=True),
            "batch goes with a batch, and unbatched is True: got batch=2",
        ),
        (
            lambda: inputs("gru", {"hidden_size": 3}),
            "options should have input_size, as configurations('gru') draws them, got {'hidden_size': 3}",
        ),
        (lambda: states("gru", {"input_size": 3}, 1), "options should have hidden_size, as configurations('gru')"),
        (lambda: states("gru", SIZES, 0), "batch should be a positive integer, got 0"),
        (lambda: lengths(0), "batch should be a positive integer, got 0"),
        (lambda: lengths(2, longest=-1), "longest should be a positive integer, got -1"),
        (lambda: packed_batches("gru", SIZES, batch=0), "batch should be a positive integer, got 0"),
        (
            lambda: packed_batches("gru-cell", SIZES),
            "kind should be a layer, as a cell takes no PackedSequence, got 'gru-cell'",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said_at_once(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        call()
