"""`checkpoint_every`: the same numbers, from fewer that were kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from running import close, each_row, leaf, run, states, tensors
from table import BY_ADJOINT, Row, mgu_walked
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import scratchrnn as sr

pytestmark = pytest.mark.usefixtures("engine")


@pytest.mark.parametrize("row", BY_ADJOINT, ids=str)
@given(T=st.integers(1, 9), every=st.integers(1, 11), data=st.data())
def test_outputs_and_gradients_are_the_same(row: Row, T: int, every: int, data: st.DataObject) -> None:
    options: dict[str, Any] = {"proj_size": 2} if row.projects and data.draw(st.booleans()) else {}
    layer = row.layer(3, 4, 2, bidirectional=True, dtype=torch.float64, **options)
    x, hx = leaf(T, 3, 3), states(row, layer, 3)
    lengths = data.draw(st.none() | st.lists(st.integers(1, T), min_size=3, max_size=3).map(lambda n: [*n[1:], T]))
    input = x if lengths is None else pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    expected = run(layer, input, hx)
    layer.checkpoint_every = every
    close(run(layer, input, hx), expected)
    with torch.no_grad():
        close(run_forward(layer, input, hx), expected[0])


def run_forward(layer: nn.Module, input: Any, hx: Any) -> list[Tensor]:
    from running import tensors

    return tensors(layer(input, hx))


@pytest.mark.parametrize("needs_input", [False, True])
def test_gradients_that_are_not_wanted_are_left_out(needs_input: bool) -> None:
    layer = sr.LSTM(3, 4, dtype=torch.float64)
    layer.weight_hh_l0.requires_grad_(False)
    layer.checkpoint_every = 2
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=needs_input)
    layer(x)[0].sum().backward()
    assert layer.weight_hh_l0.grad is None
    assert (x.grad is not None) == needs_input
    expected = sr.LSTM(3, 4, dtype=torch.float64)
    expected.load_state_dict(layer.state_dict())
    expected(x.detach())[0].sum().backward()
    close(layer.weight_ih_l0.grad, expected.weight_ih_l0.grad)


def test_it_agrees_with_torch_nn_in_float32() -> None:
    theirs = nn.LSTM(5, 16, 2)
    ours = sr.from_torch(theirs)
    ours.checkpoint_every = 7
    report = sr.compare(ours, theirs, torch.randn(40, 3, 5))
    assert report, str(report)


def test_less_is_saved_for_the_gradient() -> None:
    def saved(every: int | None) -> int:
        layer = sr.LSTM(4, 8)
        layer.checkpoint_every = every
        sizes: dict[int, int] = {}

        def pack(t: Tensor) -> Tensor:
            sizes[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            layer(torch.randn(400, 2, 4))
        return sum(sizes.values())

    assert (
        saved(20) < saved(None) / 6
    )  # (4 + 2) * 8 numbers a row, against 2 * 8 for every twentieth and 4 of the input


def test_it_works_under_torch_compile() -> None:
    layer = sr.GRU(3, 4, dtype=torch.float64)
    x = leaf(7, 2, 3)
    expected = run(layer, x)
    layer.checkpoint_every = 3
    close(run(torch.compile(layer, backend="aot_eager", fullgraph=True), x), expected)


def test_a_second_derivative_is_the_same() -> None:
    def second(every: int | None) -> Tensor:
        torch.manual_seed(0)
        layer = sr.LSTM(2, 3, dtype=torch.float64)
        layer.checkpoint_every = every
        x = leaf(5, 2, 2)
        (dx,) = torch.autograd.grad(layer(x)[0].pow(2).sum(), x, create_graph=True)
        return torch.autograd.grad(dx.pow(2).sum(), x)[0]

    close(second(2), second(None))


def test_a_cell_without_an_adjoint_can_run_but_not_train_with_it() -> None:
    layer = sr.RecurrentLayer(mgu_walked, 3, 4)
    layer.checkpoint_every = 2
    with torch.no_grad():
        layer(torch.randn(5, 2, 3))
    message = "checkpoint_every needs a cell with an adjoint to train: cell 'MGU_WALKED' has walk=True"
    with pytest.raises(ValueError, match=message):
        layer(torch.randn(5, 2, 3))


@pytest.mark.parametrize("value", [2.0, True, "3"])
def test_what_is_no_integer_is_a_type_error(value: Any) -> None:
    message = f"checkpoint_every should be None or of type int, got: {type(value).__name__}"
    with pytest.raises(TypeError, match=message):
        sr.GRU(3, 4).checkpoint_every = value


@pytest.mark.parametrize("value", [0, -3])
def test_what_is_not_positive_is_a_value_error(value: int) -> None:
    with pytest.raises(ValueError, match=f"checkpoint_every must be greater than zero, got: {value}"):
        sr.GRU(3, 4).checkpoint_every = value


@each_row
def test_a_new_layer_keeps_everything_and_a_copy_keeps_the_setting(row: Row) -> None:
    import copy
    import pickle

    layer = row.layer(3, 4)
    assert layer.checkpoint_every is None
    layer.checkpoint_every = 5
    assert copy.deepcopy(layer).checkpoint_every == 5
    assert pickle.loads(pickle.dumps(layer)).checkpoint_every == 5


@pytest.mark.parametrize("layer", [sr.LSTM, sr.GRU])
def test_a_captured_layer_takes_any_number_of_steps(layer: Any) -> None:
    made = layer(3, 4, num_layers=2, dtype=torch.float64)
    made.checkpoint_every = 4
    graphs = []

    def counted(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    compiled = torch.compile(made, backend=counted, fullgraph=True, dynamic=True)
    T = torch.export.Dim("T", min=5, max=1000)  # two segments at least: torch tells 1 from all other numbers
    exported = torch.export.export(made, (leaf(9, 2, 3),), dynamic_shapes={"input": {0: T}}).module()
    for steps in (7, 9, 16, 30):
        x = leaf(steps, 2, 3)
        expected = run(made, x)
        close(run(compiled, x), expected)
        close(tensors(exported(x)), expected[0])
    assert len(graphs) == 1


def test_an_empty_batch_has_no_segments_to_speak_of() -> None:
    layer = sr.LSTM(3, 4)
    layer.checkpoint_every = 2
    output, (h_n, c_n) = layer(torch.randn(5, 0, 3))
    assert (output.shape, h_n.shape, c_n.shape) == ((5, 0, 4), (1, 0, 4), (1, 0, 4))
    output.sum().backward()
    assert layer.weight_hh_l0.grad is not None
    assert layer.weight_hh_l0.grad.count_nonzero() == 0


def test_without_states_it_begins_with_zeros() -> None:
    layer = sr.LSTM(3, 4, dtype=torch.float64)
    layer.checkpoint_every = 2
    x = pack_padded_sequence(leaf(5, 3, 3), torch.tensor([5, 3, 1]))
    zeros = tuple(leaf(1, 3, 4).detach().zero_().requires_grad_() for _ in range(2))
    outputs, found = run(layer, x)
    expected_outputs, expected = run(layer, x, zeros)
    close((outputs, found), (expected_outputs, [expected[0], *expected[3:]]))
