"""What a call of a layer takes, returns, refuses and differentiates, next to torch.nn's layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from running import (
    Tagged,
    Wrapped,
    assert_as_accurate,
    close,
    each_projecting,
    each_row,
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
    unwrap,
    upstream,
    words_of_torch,
)
from table import ROWS, TWINNED, Row
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence
from torch.utils._pytree import tree_map

pytestmark = pytest.mark.usefixtures("engine")

T, B, I, H, L = 5, 3, 4, 6, 2  # noqa: E741 - input_size


# ----------------------------------------------------------------------------------------- shapes and layouts

OPTIONS: list[dict[str, Any]] = [
    {},
    {"bidirectional": True, "bias": False},
    {"batch_first": True, "num_layers": 3, "bidirectional": True},
]


@pytest.mark.parametrize("given", [True, False], ids=["states", "no_states"])
@pytest.mark.parametrize("batch", [B, 1, 0, None])
@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "bidirectional", "batch_first"])
@each_twin
def test_outputs_states_and_all_gradients_equal_torch_nn(
    row: Row, options: dict[str, Any], batch: int | None, given: bool
) -> None:
    ours, theirs = layers(row, I, H, **options)
    shape = [T] if batch is None else [batch, T] if ours.batch_first else [T, batch]
    hx = [states(row, ours, *([] if batch is None else [batch]))] if given else []
    x = leaf(*shape, I)
    close(run(ours, x, *hx), run(theirs, x, *hx))


@each_projecting
def test_projection_equals_torch_nn(row: Row) -> None:
    ours, theirs = layers(row, I, H, L, bidirectional=True, proj_size=2)
    arguments = leaf(T, B, I), states(row, ours, B)
    close(run(ours, *arguments), run(theirs, *arguments))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("row", "proj_size"), [(row, P) for row in ROWS for P in (0, 2) if row.projects or P == 0])
def test_shapes_of_output_and_states_for_every_layout(row: Row, proj_size: int, bidirectional: bool) -> None:
    layer = row.layer(I, H, L, bidirectional=bidirectional, **({"proj_size": proj_size} if proj_size else {}))
    D, R = 1 + bidirectional, proj_size or H
    widths = [R] + [H] * (len(row.cell.states) - 1)
    batched_states = [(L * D, B, w) for w in widths]
    unbatched = [(T, D * R), *((L * D, w) for w in widths)]

    def shapes(*shape: int) -> list[tuple[int, ...]]:
        return [tuple(t.shape) for t in tensors(layer(torch.randn(shape)))]

    assert shapes(T, B, I) == [(T, B, D * R), *batched_states]
    assert shapes(T, I) == unbatched
    layer.batch_first = True
    assert shapes(B, T, I) == [(B, T, D * R), *batched_states]
    assert shapes(T, I) == unbatched


@each_row
def test_the_last_states_are_where_each_direction_ends(row: Row) -> None:
    layer = row.layer(I, H, L, bidirectional=True, dtype=torch.float64)
    output, h_n, *_ = tensors(layer(leaf(T, B, I), states(row, layer, B)))
    equal(h_n[2 * L - 2], output[-1, :, :H])
    equal(h_n[2 * L - 1], output[0, :, H:])


@pytest.mark.parametrize("shape", [(T, B, I), (T, I)], ids=["batched", "unbatched"])
@each_row
def test_no_states_are_zeros_and_a_list_is_a_tuple_and_names_are_positions(row: Row, shape: tuple[int, ...]) -> None:
    layer = row.layer(I, H, L, bidirectional=True, dtype=torch.float64)
    x, hx = leaf(*shape), states(row, layer, *shape[1:-1])
    equal(layer(x), layer(x, tree_map(torch.zeros_like, hx)))
    equal(layer(hx=hx, input=x), layer(x, hx))
    if isinstance(hx, tuple):
        equal(layer(x, list(hx)), layer(x, hx))


@each_row
def test_an_empty_batch_gives_zero_gradients_to_the_weights(row: Row) -> None:
    layer = row.layer(I, H, L, bidirectional=True)
    outputs, found = run(layer, leaf(T, 0, I, dtype=torch.float32), states(row, layer, 0, dtype=torch.float32))
    assert [tuple(y.shape) for y in outputs] == [(T, 0, 2 * H)] + [(2 * L, 0, H)] * len(row.cell.states)
    assert all(not d.any() for d in found)


@pytest.mark.parametrize("shape", [(T, B, I), (T, I)], ids=["batched", "unbatched"])
@pytest.mark.parametrize("bidirectional", [False, True])
@each_row
def test_time_major_outputs_states_and_gradients_are_contiguous(
    row: Row, bidirectional: bool, shape: tuple[int, ...]
) -> None:
    outputs, found = run(row.layer(I, H, L, bidirectional=bidirectional, dtype=torch.float64), leaf(*shape))
    assert all(t.is_contiguous() for t in [*outputs, found[0]])


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "strided": lambda t: torch.stack([t, -t], -1)[..., 0],
    "transposed": lambda t: t.transpose(0, -1).contiguous().transpose(0, -1),
    "expanded": lambda t: t[..., :1].expand_as(t),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
@each_row
def test_noncontiguous_inputs_states_and_upstream_gradients_change_nothing(
    row: Row, view: Callable[[Tensor], Tensor]
) -> None:
    layer = row.layer(I, H, L, bidirectional=True, dtype=torch.float64)

    def results(form: Callable[[Tensor], Tensor]) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        x, hx = tree_map(lambda t: form(t.detach()).requires_grad_(), (given_x, given_hx))
        outputs = tensors(layer(x, hx))
        d_outputs = [form(d) for d in upstream(outputs)]
        return outputs, torch.autograd.grad(outputs, [x, *tensors(hx), *layer.parameters()], d_outputs)

    given_x, given_hx = leaf(T, B, I), states(row, layer, B)
    close(results(view), results(lambda t: view(t).contiguous()))


# ------------------------------------------------------------------------------------------------------ errors


def hx_of(row: Row, *shapes: tuple[int, ...] | None) -> Any:
    """States of these shapes; the last shape serves for all further states."""
    if shapes[0] is None:
        return None
    several = [torch.randn(shapes[min(k, len(shapes) - 1)] or (), dtype=torch.float64) for k in range(2)]
    return tuple(several) if len(row.cell.states) == 2 else several[0]


D2, X, S = 2 * L, (T, B, I), (2 * L, B, H)  # layers times directions; the right shapes of input and state
FAULTS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...] | None]] = {
    "1-D input": ("Expected input to be 2D or 3D, got 1D", (I,), None),
    "4-D input": ("Expected input to be 2D or 3D, got 4D", (1, *X), None),
    "2-D states with batch": ("For batched 3-D input", X, (D2, H)),
    "4-D states with batch": ("For batched 3-D input", X, (1, *S)),
    "3-D states without batch": ("For unbatched 2-D input", (T, I), S),
    "1-D states without batch": ("For unbatched 2-D input", (T, I), (H,)),
    "features": ("input.size(-1) must be equal to input_size. Expected 4, got 7", (T, B, 7), None),
    "features without batch": ("input.size(-1) must be equal to input_size. Expected 4, got 7", (T, 7), None),
    "features with states": ("input.size(-1) must be equal to input_size. Expected 4, got 7", (T, B, 7), S),
    "number of layers": ("size (4, 3, 6), got [2, 3, 6]", X, (L, B, H)),
    "states of one layer": ("size (4, 3, 6), got [1, 3, 6]", X, (1, B, H)),
    "batch": ("size (4, 3, 6), got [4, 2, 6]", X, (D2, 2, H)),
    "batch of one": ("size (4, 3, 6), got [4, 1, 6]", X, (D2, 1, H)),
    "width": ("size (4, 3, 6), got [4, 3, 5]", X, (D2, B, 5)),
    "width of one": ("size (4, 3, 6), got [4, 3, 1]", X, (D2, B, 1)),
    "layers without batch": ("size (4, 1, 6), got [3, 1, 6]", (T, I), (3, H)),
    "width without batch": ("size (4, 1, 6), got [4, 1, 5]", (T, I), (D2, 5)),
    "no time steps": ("Expected sequence length to be larger than 0 in RNN", (0, B, I), None),
    "no time steps without batch": ("Expected sequence length to be larger than 0 in RNN", (0, I), None),
    "no time steps with states": ("Expected sequence length to be larger than 0 in RNN", (0, B, I), S),
    "input's dimensions before states'": ("Expected input to be 2D or 3D", (1, *X), (D2, H)),
    "states' dimensions before features": ("For batched 3-D input", (T, B, 7), (D2, H)),
    "features before states' sizes": ("input.size(-1)", (T, B, 7), (D2, 2, H)),
    "features before no time steps": ("input.size(-1)", (0, B, 7), None),
    "states' sizes before no time steps": ("size (4, 3, 6), got [4, 1, 6]", (0, B, I), (D2, 1, H)),
}


@pytest.mark.parametrize("fault", FAULTS)
@each_twin
def test_a_wrong_shape_fails_as_in_torch_nn(row: Row, fault: str) -> None:
    text, x, s = FAULTS[fault]
    pair = layers(row, I, H, L, bidirectional=True)
    same_error(text, pair, torch.randn(x, dtype=torch.float64), hx_of(row, s))


CELL_STATE_FAULTS = {
    "4-D": ("should also be 3-D but got (3-D, 4-D)", S, (1, *S)),
    "number of layers": ("Expected hidden[1] size (4, 3, 6), got [3, 3, 6]", S, (3, B, H)),
    "batch of one": ("Expected hidden[1] size (4, 3, 6), got [4, 1, 6]", S, (D2, 1, H)),
    "width": ("Expected hidden[1] size (4, 3, 6), got [4, 3, 5]", S, (D2, B, 5)),
    "h before c": ("Expected hidden[0] size (4, 3, 6), got [4, 3, 4]", (D2, B, 4), (D2, B, 5)),
}
TWO_STATES = [row for row in TWINNED if len(row.cell.states) == 2]


@pytest.mark.parametrize("fault", CELL_STATE_FAULTS)
@pytest.mark.parametrize("row", TWO_STATES, ids=str)
def test_a_wrong_shape_of_the_cell_state_alone_fails_as_in_torch_nn(row: Row, fault: str) -> None:
    text, h, c = CELL_STATE_FAULTS[fault]
    same_error(text, layers(row, I, H, L, bidirectional=True), torch.randn(X, dtype=torch.float64), hx_of(row, h, c))


@pytest.mark.parametrize(
    ("text", "h", "c"),
    [("hidden[0] size (1, 3, 2), got [1, 3, 6]", H, H), ("hidden[1] size (1, 3, 6), got [1, 3, 2]", 2, 2)],
)
@pytest.mark.parametrize("row", TWO_STATES, ids=str)
def test_with_a_projection_h_and_c_have_their_own_widths_as_in_torch_nn(row: Row, text: str, h: int, c: int) -> None:
    pair = layers(row, I, H, proj_size=2)
    same_error(text, pair, torch.randn(X, dtype=torch.float64), hx_of(row, (1, B, h), (1, B, c)))


@each_twin
def test_batch_first_input_is_checked_along_its_own_dimensions_as_in_torch_nn(row: Row) -> None:
    pair = layers(row, I, H, batch_first=True)
    x = torch.randn(B, T, I, dtype=torch.float64)
    same_error("size (1, 3, 6), got [1, 5, 6]", pair, x, hx_of(row, (1, T, H)))
    same_error("larger than 0 in RNN", pair, x[:, :0], None)


DTYPE_FAULTS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...] | None]] = {
    "alone": ("RNN input dtype (torch.float32) does not match weight dtype (torch.float64). Convert input", X, None),
    "without batch": ("RNN input dtype", (T, I), None),
    "after the states' dimensions": ("For batched 3-D input", X, (D2, H)),
    "before features": ("RNN input dtype", (T, B, 7), None),
    "before the states' sizes": ("RNN input dtype", X, (D2, 1, H)),
}


@words_of_torch
@pytest.mark.parametrize("fault", DTYPE_FAULTS)
@each_twin
def test_another_dtype_than_the_weights_fails_as_in_torch_nn(row: Row, fault: str) -> None:
    text, x, s = DTYPE_FAULTS[fault]
    same_error(text, layers(row, I, H, L, bidirectional=True), torch.randn(x), hx_of(row, s))


@each_row
def test_states_of_another_dtype_are_a_runtime_error(row: Row) -> None:
    layer = row.layer(I, H)
    with pytest.raises(RuntimeError, match="dtype"):
        layer(torch.randn(T, B, I), states(row, layer, B, dtype=torch.float64))


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
@each_twin
def test_under_autocast_no_dtype_of_the_input_is_refused(row: Row, weights: torch.dtype) -> None:
    ours, theirs = layers(row, I, H, dtype=weights)
    x = torch.randn(T, B, I)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = tensors(ours(x)), tensors(theirs(x))
    assert [y.dtype for y in found] == [y.dtype for y in expected]
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)  # a few roundings to the 8 bits of bfloat16


HIDDEN, PARAMETER = "Input and hidden tensors are not at the same device", "Input and parameter tensors are not at the"
PLACES: dict[str, tuple[str, bool, list[int], list[int]]] = {  # text; on the meta device: input, states, parameters
    "states": (f"{HIDDEN}, found input tensor at cpu and hidden tensor at meta", False, [0, -1], []),
    "last state": (f"{HIDDEN}, found input tensor at cpu and hidden tensor at meta", False, [-1], []),
    "input": (f"{HIDDEN}, found input tensor at meta and hidden tensor at cpu", True, [], []),
    "input and states": (f"{PARAMETER} same device, found input tensor at meta and parameter", True, [0, -1], []),
    "first weight": (f"{PARAMETER} same device, found input tensor at cpu and parameter", False, [], [0]),
    "last bias": (f"{PARAMETER} same device, found input tensor at cpu and parameter", False, [], [-1]),
    "states and weights": (f"{HIDDEN}, found input tensor at cpu and hidden", False, [0, -1], [0, -1]),
}


@pytest.mark.parametrize("which", PLACES)
@each_twin
def test_tensors_on_several_devices_are_refused_as_in_torch_nn(row: Row, which: str) -> None:
    text, x_away, states_away, parameters_away = PLACES[which]
    pair = layers(row, I, H, L)
    for module in pair:
        for k in parameters_away:
            name = list(module.state_dict())[k]
            setattr(module, name, nn.Parameter(getattr(module, name).to("meta")))
    hx = tensors(states(row, pair[0], B))
    for k in states_away:
        hx[k] = hx[k].to("meta")
    same_error(text, pair, leaf(T, B, I).to("meta" if x_away else "cpu"), tuple(hx) if len(hx) > 1 else hx[0])


@each_twin
def test_states_left_out_lie_where_the_input_does_and_sizes_are_checked_before_devices(row: Row) -> None:
    pair = layers(row, I, H)
    same_error(f"{PARAMETER} same device, found input tensor at meta", pair, leaf(T, B, I).to("meta"))
    elsewhere = tree_map(lambda s: s[:, :1].to("meta"), states(row, pair[0], B))
    same_error("size (1, 3, 6), got [1, 1, 6]", pair, leaf(T, B, I), elsewhere)


@each_row
def test_a_wrong_number_of_states_is_refused_with_the_names_of_the_right_ones(row: Row) -> None:
    layer, count = row.layer(I, H), len(row.cell.states)
    hx = states(row, layer, B, dtype=torch.float32)
    expected = (TypeError, "one tensor, h") if count == 1 else (RuntimeError, f"({', '.join(row.cell.states)})")
    kind, text = error(lambda: layer(torch.randn(T, B, I), (hx,) if count == 1 else hx[:1]))
    assert kind is expected[0]
    assert f"Expected hx to be {expected[1]}, got" in text


# ----------------------------------------------------------------------------------------------------- dropout


def packed(lengths: Sequence[int], dtype: torch.dtype = torch.float64) -> PackedSequence:
    x = torch.randn(max(lengths), len(lengths), I, dtype=dtype)
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    return packed._replace(data=packed.data.detach().requires_grad_())


INPUTS: dict[str, tuple[bool, Callable[[], Any]]] = {
    "time_major": (False, lambda: leaf(T, B, I)),
    "batch_first": (True, lambda: leaf(B, T, I)),
    "unbatched": (False, lambda: leaf(T, I)),
    "packed": (False, lambda: packed([3, 5, 2])),
}


@pytest.mark.parametrize("layout", INPUTS)
@each_twin
def test_dropout_draws_the_masks_that_torch_nn_draws(row: Row, layout: str) -> None:
    batch_first, make = INPUTS[layout]
    ours, theirs = layers(row, I, H, 3, bidirectional=True, batch_first=batch_first, dropout=0.4)
    x, results = make(), []
    for module in (ours, theirs, ours):
        torch.manual_seed(3)
        results.append(run(module, x))
    torch.manual_seed(4)
    close(results[0], results[1])
    equal(results[0], results[2])
    assert not torch.equal(ours(x)[1][-1], results[0][0][-1][-1])


@each_row
def test_dropout_of_one_zeroes_what_goes_between_layers_and_nothing_else(row: Row) -> None:
    layer = row.layer(I, H, L, bidirectional=True, dropout=1.0, dtype=torch.float64)
    second = row.layer(2 * H, H, bidirectional=True, dtype=torch.float64)
    second.load_state_dict({k.replace("l1", "l0"): w for k, w in layer.state_dict().items() if "l1" in k})
    x, hx = leaf(T, B, I), states(row, layer, B)
    output, *last = tensors(layer(x, hx))
    zeros = torch.zeros(T, B, 2 * H, dtype=torch.float64)
    upper = tensors(second(zeros, tree_map(lambda s: s[2:], hx)))
    lower = tensors(layer.eval()(x, hx))
    close([output, *(s[2:] for s in last)], upper)
    close([s[:2] for s in last], [s[:2] for s in lower[1:]])


@each_row
def test_dropout_acts_in_training_only_and_is_read_at_each_call(row: Row) -> None:
    layer = row.layer(I, H, L, dtype=torch.float64)
    x = leaf(T, B, I)
    without = layer(x)
    layer.dropout = 0.5
    assert not torch.allclose(layer(x)[0], without[0])
    equal(layer.eval()(x), without)
    layer.train().dropout = 0.0
    equal(layer(x), without)


@each_row
def test_without_the_attribute_training_a_layer_names_it_or_does_not_need_it(row: Row) -> None:
    layer = row.layer(I, H, L, dropout=0.5)
    del layer.training
    with pytest.raises(AttributeError, match="training"):
        layer(torch.randn(T, B, I))


# --------------------------------------------------------------------------------- modes, dtypes, other tensors


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@each_row
def test_without_gradients_the_outputs_are_the_same(row: Row, mode: Callable[[], Any]) -> None:
    layer = row.layer(I, H, L, bidirectional=True, dtype=torch.float64)
    x, hx = leaf(T, B, I), states(row, layer, B)
    expected = tensors(layer(x, hx))
    with mode():
        found = tensors(layer(x, hx))
    assert not any(y.requires_grad for y in found)
    assert all(y.is_inference() == (mode is torch.inference_mode) for y in found)
    equal(found, [y.detach() for y in expected])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@each_twin
def test_lower_precisions_are_as_accurate_as_torch_nn(row: Row, dtype: torch.dtype) -> None:
    ours, theirs = layers(row, I, H, L, bidirectional=True, dtype=dtype)
    _, exact = layers(row, I, H, L, bidirectional=True)
    exact.load_state_dict(ours.state_dict())
    arguments = leaf(T, B, I, dtype=dtype), states(row, ours, B, dtype=dtype)
    in_double = tree_map(lambda t: t.detach().double().requires_grad_(), arguments)
    results = [[*outputs, *d] for outputs, d in (run(ours, *arguments), run(theirs, *arguments))]
    outputs, d = run(exact, *in_double)
    assert_as_accurate(*results, [*outputs, *d])


@pytest.mark.parametrize("row", [row for row in TWINNED if row.name != "RNN_relu"], ids=str)
def test_complex_numbers_give_what_torch_nn_gives(row: Row) -> None:
    dtype = torch.complex128
    ours, theirs = layers(row, I, H, L, bidirectional=True, dtype=dtype)
    arguments = leaf(T, B, I, dtype=dtype), states(row, ours, B, dtype=dtype)
    close(run(ours, *arguments), run(theirs, *arguments))


@each_row
def test_an_object_with_torch_function_goes_through_a_layer(row: Row) -> None:
    layer = row.layer(I, H, L, bidirectional=True)
    x = torch.randn(T, B, I)
    found = layer(Wrapped(x))
    assert all(isinstance(y, Wrapped) for y in torch.utils._pytree.tree_leaves(found))
    torch.testing.assert_close(unwrap(found), layer(x))


@each_row
def test_a_tensor_subclass_in_gives_that_subclass_out(row: Row) -> None:
    layer = row.layer(I, H, L, dtype=torch.float64)
    x = leaf(T, B, I)
    found = tensors(layer(x.detach().as_subclass(Tagged)))
    assert [type(y) for y in found] == [Tagged] * len(found)
    close([y.as_subclass(Tensor) for y in found], tensors(layer(x)))


# --------------------------------------------------------------------------------------------------- gradients


@each_row
def test_each_tensor_gets_its_gradient_though_all_others_are_frozen(row: Row) -> None:
    layer = row.layer(I, H, L, bidirectional=True, dtype=torch.float64)
    x, hx = leaf(T, B, I), states(row, layer, B)
    _, expected = run(layer, x, hx)
    leaves = [x, *tensors(hx), *layer.parameters()]
    for t in leaves:
        t.requires_grad_(False)
    assert not any(y.requires_grad for y in tensors(layer(x, hx)))
    for t, d in zip(leaves, expected, strict=True):
        t.requires_grad_(True)
        outputs = tensors(layer(x, hx))
        live = [(y, dy) for y, dy in zip(outputs, upstream(outputs), strict=True) if y.requires_grad]
        (found,) = torch.autograd.grad([y for y, _ in live], [t], [dy for _, dy in live])
        close(found, d)
        t.requires_grad_(False)


@each_row
def test_gradients_through_one_output_alone_add_up_to_those_through_all(row: Row) -> None:
    layer = row.layer(I, H, L, bidirectional=True, dtype=torch.float64)
    arguments = leaf(T, B, I), states(row, layer, B)
    leaves = [*tensors(arguments), *layer.parameters()]
    _, expected = run(layer, *arguments)
    outputs = tensors(layer(*arguments))
    alone = [
        torch.autograd.grad(y, leaves, dy, retain_graph=True, materialize_grads=True)
        for y, dy in zip(outputs, upstream(outputs), strict=True)
    ]
    assert all(d.any() for found in alone for d in found[:1])
    close([sum(ds) for ds in zip(*alone, strict=True)], expected)


@each_row
def test_going_back_twice_through_a_retained_graph_gives_the_same_gradients(row: Row) -> None:
    layer = row.layer(I, H, L, bidirectional=True, dtype=torch.float64)
    x, hx = leaf(T, B, I), states(row, layer, B)
    outputs, leaves = tensors(layer(x, hx)), [x, *tensors(hx), *layer.parameters()]
    first = [d.clone() for d in gradients(outputs, leaves, retain_graph=True)]
    equal(gradients(outputs, leaves, retain_graph=True), first)
    equal(gradients(outputs, leaves), first)


@each_twin
def test_hooks_fire_with_what_torch_nn_hands_them(row: Row) -> None:
    pair = layers(row, I, H, L)
    x, hx = leaf(T, B, I), states(row, pair[0], B)

    def calls(module: nn.Module) -> dict[str, list[Any]]:
        seen: dict[str, list[Any]] = {}

        def note(name: str, *values: Any) -> None:
            seen.setdefault(name, []).append(tensors(values))

        module.register_forward_pre_hook(lambda _, args: note("before", args))
        module.register_forward_hook(lambda _, args, out: note("after", args, out))
        module.register_full_backward_hook(lambda _, dx, dy: note("backward", dx, dy))
        for name, p in module.named_parameters():
            p.register_hook(partial(note, name))
        outputs = tensors(module(x, hx))
        torch.autograd.backward(outputs, upstream(outputs))
        return seen

    ours, theirs = map(calls, pair)
    assert len(ours) == 3 + len(list(pair[0].parameters()))
    close(ours, theirs)


@each_row
def test_a_forward_hook_replaces_the_result(row: Row) -> None:
    layer = row.layer(I, H)
    layer.register_forward_hook(lambda module, args, out: out[0].sum())
    assert layer(torch.randn(T, B, I)).dim() == 0
