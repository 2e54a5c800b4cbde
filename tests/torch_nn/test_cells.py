"""One step: the cell modules next to torch.nn's, and the equations next to their hand-derived adjoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from running import (
    Wrapped,
    assert_as_accurate,
    close,
    each_twin,
    equal,
    error,
    gradients,
    layers,
    leaf,
    run,
    same_error,
    states,
    tensors,
    twins,
    unwrap,
)
from table import BY_ADJOINT, TWINNED, Row
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from scratchrnn.cells.cell import step
from scratchrnn.equations.adjoint import adjoint_of

B, I, H = 3, 4, 5  # noqa: E741 - input_size
each_by_hand = pytest.mark.parametrize("row", BY_ADJOINT, ids=str)


def cells(row: Row, input_size: int = I, hidden_size: int = H, **options: Any) -> list[nn.Module]:
    assert row.single is not None
    return twins(row.single, row.single_twin, input_size, hidden_size, **options)


def hx_of(row: Row, *shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Any:
    """A random state; the last shape serves for all further states."""
    given = tuple(leaf(*shapes[min(k, len(shapes) - 1)], dtype=dtype) for k in range(len(row.cell.states)))
    return given if len(given) > 1 else given[0]


# --------------------------------------------------------------------------------------------- the cell modules


@pytest.mark.parametrize("with_states", [True, False], ids=["states", "no_states"])
@pytest.mark.parametrize("batch", [(B,), (1,), (0,), ()], ids=["batch", "batch_of_one", "empty_batch", "1-D"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@each_twin
def test_outputs_and_all_gradients_equal_torch_nn(
    row: Row, bias: bool, batch: tuple[int, ...], with_states: bool
) -> None:
    ours, theirs = cells(row, bias=bias)
    arguments = [leaf(*batch, I)] + ([hx_of(row, (*batch, H))] if with_states else [])
    close(run(ours, *arguments), run(theirs, *arguments))


@each_twin
def test_a_hidden_size_of_zero_works_as_in_torch_nn(row: Row) -> None:
    ours, theirs = (make(I, 0, dtype=torch.float64) for make in (row.single, row.single_twin))
    arguments = leaf(B, I), hx_of(row, (B, 0))
    equal(run(ours, *arguments), run(theirs, *arguments))


@each_twin
def test_no_states_are_zeros_and_a_list_is_a_tuple_and_names_are_positions(row: Row) -> None:
    cell, _ = cells(row)
    x, hx = leaf(B, I), hx_of(row, (B, H))
    equal(cell(x), cell(x, tree_map(torch.zeros_like, hx)))
    equal(cell(hx=hx, input=x), cell(x, hx))
    if isinstance(hx, tuple):
        equal(cell(x, list(hx)), cell(x, hx))


@each_twin
def test_each_output_alone_can_be_differentiated(row: Row) -> None:
    pair = cells(row)
    x, hx = leaf(B, I), hx_of(row, (B, H))
    for k in range(len(row.cell.states)):
        ours, theirs = (
            gradients([tensors(module(x, hx))[k]], [x, *tensors(hx), *module.parameters()]) for module in pair
        )
        close(ours, theirs)


@each_twin
def test_the_attribute_training_is_not_read(row: Row) -> None:
    cell, _ = cells(row)
    x = leaf(B, I)
    expected = cell(x)
    del cell.training
    equal(cell(x), expected)


@each_twin
def test_an_object_with_torch_function_goes_through_a_cell(row: Row) -> None:
    cell, _ = cells(row)
    x = leaf(B, I)
    close(unwrap(cell(Wrapped(x))), cell(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@each_twin
def test_lower_precisions_are_as_accurate_as_torch_nn(row: Row, dtype: torch.dtype) -> None:
    ours, theirs = cells(row, dtype=dtype)
    _, exact = cells(row)
    exact.load_state_dict(ours.state_dict())
    arguments = leaf(B, I, dtype=dtype), hx_of(row, (B, H), dtype=dtype)
    in_double = tree_map(lambda t: t.detach().double().requires_grad_(), arguments)
    found, expected, right = (
        [*outputs, *d] for outputs, d in (run(ours, *arguments), run(theirs, *arguments), run(exact, *in_double))
    )
    assert_as_accurate(found, expected, right)


@pytest.mark.parametrize("with_states", [True, False], ids=["states", "no_states"])
@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("input", [torch.float32, torch.bfloat16], ids=str)
@each_twin
def test_under_autocast_the_outputs_have_the_dtypes_that_torch_nn_gives(
    row: Row, input: torch.dtype, weights: torch.dtype, with_states: bool
) -> None:
    pair = cells(row, dtype=weights)
    arguments = [leaf(B, I, dtype=input)] + ([hx_of(row, (B, H), dtype=input)] if with_states else [])
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = (tensors(cell(*arguments)) for cell in pair)
    assert [y.dtype for y in ours] == [y.dtype for y in theirs]
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.02)  # a few roundings to the 8 bits of bfloat16


@each_twin
def test_float64_input_under_autocast_is_a_runtime_error(row: Row) -> None:
    for cell in cells(row, dtype=torch.float32):
        with torch.autocast("cpu", torch.bfloat16):
            assert error(lambda cell=cell: cell(leaf(B, I)))[0] is RuntimeError


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@each_twin
def test_each_gate_of_the_weights_can_be_read_and_written_by_its_name(row: Row, bias: bool) -> None:
    cell, _ = cells(row, bias=bias)
    for prefix, parameter in {"W_i": "weight_ih", "W_h": "weight_hh", "b_i": "bias_ih", "b_h": "bias_hh"}.items():
        for k, gate in enumerate(row.cell.gates):
            if "bias" in parameter and not bias:
                assert getattr(cell, prefix + gate) == 0
                continue
            rows = getattr(cell, parameter)[k * H : (k + 1) * H]
            with torch.no_grad():
                getattr(cell, prefix + gate).fill_(k + 2)
            assert (rows == k + 2).all()


# ------------------------------------------------------------------------------------------------------ errors

X, S = (B, I), (B, H)
FAULTS: dict[str, tuple[str, tuple[int, ...], list[tuple[int, ...]]]] = {
    "0-D input": ("Expected input to be 1D or 2D, got 0D instead", (), []),
    "3-D input": ("Expected input to be 1D or 2D, got 3D instead", (1, *X), []),
    "3-D state": ("to be 1D or 2D, got 3D instead", X, [(1, *S)]),
    "4-D state": ("to be 1D or 2D, got 4D instead", X, [(1, 1, *S)]),
    "features": ("input has inconsistent input_size: got 7 expected 4", (B, 7), []),
    "features with a state": ("input has inconsistent input_size: got 7 expected 4", (B, 7), [S]),
    "features, 1-D": ("input has inconsistent input_size: got 7 expected 4", (7,), []),
    "batch": ("Input batch size 3 doesn't match hidden0 batch size 2", X, [(2, H)]),
    "batch of one": ("Input batch size 3 doesn't match hidden0 batch size 1", X, [(1, H)]),
    "width": ("hidden0 has inconsistent hidden_size: got 6, expected 5", X, [(B, 6)]),
    "width of one": ("hidden0 has inconsistent hidden_size: got 1, expected 5", X, [(B, 1)]),
    "width, 1-D": ("hidden0 has inconsistent hidden_size: got 6, expected 5", (I,), [(6,)]),
    "input's dimensions before the state's": ("Expected input", (1, *X), [(1, *S)]),
    "dimensions before features": ("to be 1D or 2D, got 3D instead", (B, 7), [(1, *S)]),
    "features before batch": ("input has inconsistent input_size", (B, 7), [(2, H)]),
    "batch before width": ("Input batch size 3 doesn't match hidden0 batch size 2", X, [(2, 6)]),
}


@pytest.mark.parametrize("fault", FAULTS)
@each_twin
def test_a_wrong_shape_fails_as_in_torch_nn(row: Row, fault: str) -> None:
    text, x, shapes = FAULTS[fault]
    same_error(text, cells(row), leaf(*x), *([hx_of(row, *shapes)] if shapes else []))


CELL_STATE_FAULTS = {
    "dimensions": ("LSTMCell: Expected hx[1] to be 1D or 2D, got 3D instead", [S, (1, *S)]),
    "dimensions of h first": ("LSTMCell: Expected hx[0] to be 1D or 2D, got 3D instead", [(1, *S), (1, 1, *S)]),
    "batch of one": ("Input batch size 3 doesn't match hidden1 batch size 1", [S, (1, H)]),
    "width": ("hidden1 has inconsistent hidden_size: got 6, expected 5", [S, (B, 6)]),
    "h before c": ("hidden0 has inconsistent hidden_size: got 7, expected 5", [(B, 7), (2, 6)]),
}
two_states = pytest.mark.parametrize("row", [row for row in TWINNED if len(row.cell.states) == 2], ids=str)


@pytest.mark.parametrize("fault", CELL_STATE_FAULTS)
@two_states
def test_a_wrong_shape_of_the_cell_state_alone_fails_as_in_torch_nn(row: Row, fault: str) -> None:
    text, shapes = CELL_STATE_FAULTS[fault]
    same_error(text, cells(row), leaf(*X), hx_of(row, *shapes))


@pytest.mark.parametrize("count", [1, 3])
@two_states
def test_a_wrong_number_of_states_is_a_runtime_error_as_in_torch_nn(row: Row, count: int) -> None:
    hx = tuple(leaf(*S) for _ in range(count))
    for cell in cells(row):
        assert error(lambda cell=cell: cell(leaf(*X), hx))[0] is RuntimeError


@pytest.mark.parametrize(("x", "s"), [(X, (H,)), ((I,), S), ((I,), (1, H))], ids=str)
@each_twin
def test_a_state_with_another_number_of_dimensions_than_the_input_is_a_runtime_error_as_in_torch_nn(
    row: Row, x: tuple[int, ...], s: tuple[int, ...]
) -> None:
    ours, theirs = (error(lambda cell=cell: cell(leaf(*x), hx_of(row, s))) for cell in cells(row))
    assert (ours[0], theirs[0]) == (RuntimeError, RuntimeError)
    assert f"as many dimensions as input, got {len(s)}-D beside {len(x)}-D input" in ours[1]


@each_twin
def test_another_dtype_than_the_weights_is_a_runtime_error(row: Row) -> None:
    cell, _ = cells(row)
    for x, s in ((torch.float32, torch.float64), (torch.float64, torch.float32)):
        assert error(lambda x=x, s=s: cell(leaf(*X, dtype=x), hx_of(row, S, dtype=s)))[0] is RuntimeError


def test_an_unknown_nonlinearity_is_refused_in_the_call_as_in_torch_nn() -> None:
    row = TWINNED[0]
    same_error("Unknown nonlinearity: gelu", cells(row, nonlinearity="gelu"), leaf(*X))


# --------------------------------------------------------------------------------------------------- equations


@each_by_hand
@given(B=st.integers(1, 4), H=st.integers(1, 4), seed=st.integers(0, 999))
def test_the_adjoint_is_the_transpose_of_the_derivative_of_update(row: Row, B: int, H: int, seed: int) -> None:
    """<adjoint(w), v> = <w, J v> for random directions v of the arguments and w of the states."""
    torch.manual_seed(seed)

    def draw(count: int) -> list[Tensor]:
        return list(2 * torch.randn(count, B, H, dtype=torch.float64))

    count = len(row.cell.pre_activations) + len(row.cell.states)
    arguments, v, w = draw(count), draw(count), draw(len(row.cell.states))
    state, J_v = torch.autograd.functional.jvp(lambda *a: step(row.cell, *a)[0], tuple(arguments), tuple(v))
    pair = adjoint_of(row.cell)
    d_pre, d_direct = pair.adjoint(pair.step(*arguments)[1], *w)
    assert (len(d_pre), len(d_direct), len(state)) == (count - len(w), len(w), len(w))
    left = sum((d * v_k).sum() for d, v_k in zip((*d_pre, *d_direct), v, strict=True) if d is not None)
    close(left, sum((w_k * J_v_k).sum() for w_k, J_v_k in zip(w, J_v, strict=True)))


@each_by_hand
@given(seed=st.integers(0, 999))
def test_saturated_gates_give_finite_states_and_the_gradients_of_autograd(row: Row, seed: int) -> None:
    torch.manual_seed(seed)
    pre = [100.0 * torch.randn(B, H).sign() for _ in row.cell.pre_activations]
    arguments = [t.requires_grad_() for t in (*pre, *torch.randn(len(row.cell.states), B, H))]
    d_state = torch.randn(len(row.cell.states), B, H).unbind()
    state, _ = step(row.cell, *arguments)
    expected = torch.autograd.grad(state, arguments, d_state, materialize_grads=True)
    pair = adjoint_of(row.cell)
    with torch.no_grad():
        d_pre, d_direct = pair.adjoint(pair.step(*arguments)[1], *d_state)
    found = [torch.zeros(B, H) if d is None else d for d in (*d_pre, *d_direct)]
    assert all(t.isfinite().all() for t in (*state, *found))
    torch.testing.assert_close(found, list(expected))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@each_twin
def test_inputs_of_a_hundred_times_the_usual_size_give_finite_gradients(row: Row, dtype: torch.dtype) -> None:
    for module, shape in ((cells(row, dtype=dtype)[0], (B, I)), (layers(row, I, H, dtype=dtype)[0], (6, B, I))):
        x = (100 * torch.randn(shape)).to(dtype).requires_grad_()
        outputs, found = run(module, x)
        assert all(t.isfinite().all() for t in (*outputs, *found))


# ------------------------------------------------------------------------------------------------ cell and layer


def walk(cell: Callable[..., Any], x: Tensor, hx: Any) -> tuple[Tensor, Any]:
    """A cell module stepped over time, as a layer would be called."""
    hx, emitted = tree_map(lambda s: s[0], hx), []
    for x_t in x:
        hx = cell(x_t, hx)
        emitted.append(hx[0] if isinstance(hx, tuple) else hx)
    return torch.stack(emitted), tree_map(lambda s: s.unsqueeze(0), hx)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("T", [1, 2, 6])
@each_twin
def test_a_cell_stepped_over_time_is_the_layer(row: Row, T: int, bias: bool) -> None:
    layer, cell = row.layer(I, H, bias=bias, dtype=torch.float64), cells(row, bias=bias)[0]
    cell.load_state_dict({name.removesuffix("_l0"): w for name, w in layer.state_dict().items()})
    x, hx = leaf(T, B, I), states(row, layer, B)
    ours, stepped = tensors(layer(x, hx)), tensors(walk(cell, x, hx))
    close(ours, stepped)
    close(
        gradients(ours, [x, *tensors(hx), *layer.parameters()]),
        gradients(stepped, [x, *tensors(hx), *cell.parameters()]),
    )
