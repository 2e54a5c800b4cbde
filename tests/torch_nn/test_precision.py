"""bfloat16, float16 and autocast: dtypes as torch.nn's, numbers at least as near to float64 as torch.nn's."""

import itertools

import pytest
import torch
from running import gradients, tensors, twins
from table import TWINNED
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils._pytree import tree_leaves

import scratchrnn as sr

pytestmark = pytest.mark.usefixtures("engine")

T, B, IN, H = 12, 4, 6, 8
twinned = pytest.mark.parametrize("row", TWINNED, ids=str)
LAYERS = {str(row): (row.layer, row.twin, {}) for row in TWINNED}
LAYERS["LSTM with projection"] = (sr.LSTM, torch.nn.LSTM, {"proj_size": 3})
CELLS = {f"{row} cell": (row.single, row.single_twin, {}) for row in TWINNED}
STACKED = {"num_layers": 2, "bidirectional": True}


def over(modules):
    return pytest.mark.parametrize(("ours", "theirs", "options"), modules.values(), ids=modules)


def both(ours, theirs, options, dtype):
    """Both modules in `dtype`, with the same weights."""
    modules = twins(ours, theirs, IN, H, dtype=dtype, **options)
    if getattr(modules[0], "nonlinearity", None) == "relu":
        for module in modules:
            keep_away_from_the_kink(module)
    return modules


@torch.no_grad()
def keep_away_from_the_kink(module):
    """Half the units of a relu layer on and half off, or a rounding error could switch one and change its gradient."""
    for name, parameter in module.named_parameters():
        parameter.mul_(0.25)
        if name.startswith("bias_ih"):
            parameter += 4 - 8 * (torch.arange(H) % 2)


def random_arguments(module, dtype):
    """Input and states, for a layer or a cell."""
    if isinstance(module, sr.RNNCellBase):
        x, widths, lead = torch.randn(B, IN), [H] * len(module.cell.states), ()
    else:
        widths = [module.proj_size or H] + [H] * (len(module.cell.states) - 1)
        x, lead = torch.randn(T, B, IN), (module.num_layers * (2 if module.bidirectional else 1),)
    hx = tuple(torch.randn(*lead, B, width, dtype=dtype) for width in widths)
    return x.to(dtype), hx[0] if len(hx) == 1 else hx


def results(module, arguments, dtype, autocast=None, backward_inside=False):
    """Outputs and the gradients of input, states and parameters, for copies of the arguments in `dtype`."""
    leaves = [t.detach().to(dtype).requires_grad_() for t in tree_leaves(arguments)]
    hx = leaves[1] if len(leaves) == 2 else tuple(leaves[1:])
    with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
        outputs = tree_leaves(module(leaves[0], hx))
        if backward_inside:
            return outputs, gradients(outputs, [*leaves, *module.parameters()])
    return outputs, gradients(outputs, [*leaves, *module.parameters()])


def assert_as_near(ours, theirs, exact, eps):
    """error <= 2 * torch's + 4 eps, relative to the tensor's scale."""
    for found, twin, true in zip(tree_leaves(ours), tree_leaves(theirs), tree_leaves(exact), strict=True):
        assert found.isfinite().all()
        error, allowed = ((t.double() - true).abs().max() for t in (found, twin))
        assert error <= 2 * allowed + 4 * eps * true.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@over({name: (*row[:2], row[2] | STACKED) for name, row in LAYERS.items()} | CELLS)
def test_outputs_and_gradients_are_as_near_to_float64_as_torch_nns(ours, theirs, options, dtype):
    module, twin = both(ours, theirs, options, dtype)
    arguments = random_arguments(module, dtype)
    found, expected = (results(m, arguments, dtype) for m in (module, twin))
    assert [t.dtype for t in tree_leaves(found)] == [dtype] * len(tree_leaves(expected))
    exact = results(twin.double(), arguments, torch.float64)
    assert_as_near(found, expected, exact, torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@over(LAYERS | CELLS)
def test_autocast_returns_the_dtypes_of_torch_nn(ours, theirs, options, dtype):
    module, twin = both(ours, theirs, options, dtype)
    arguments = random_arguments(module, torch.float32)
    found, expected = (results(m, arguments, torch.float32, torch.bfloat16) for m in (module, twin))
    assert [t.dtype for t in tree_leaves(found)] == [t.dtype for t in tree_leaves(expected)]


MIXED = [
    *[pytest.param(*row, False, id=name) for name, row in CELLS.items()],
    *[
        pytest.param(*row[:2], row[2] | more, packed, id=f"{name}{', stacked' * bool(more)}{', packed' * packed}")
        for name, row in LAYERS.items()
        for more in ({}, STACKED)
        for packed in (False, True)
    ],
]


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("ours", "theirs", "options", "packed"), MIXED)
def test_autocast_takes_every_mixture_of_dtypes_as_torch_nn_does(ours, theirs, options, packed, weights):
    module, twin = both(ours, theirs, options, weights)
    exact = both(ours, theirs, options, torch.float64)[1]
    exact.load_state_dict(module.state_dict())
    for input, hx in itertools.product((torch.float32, torch.bfloat16), (None, torch.float32, torch.bfloat16)):
        x, states = random_arguments(module, torch.float32)
        leaves = [x.to(input), *([] if hx is None else [s.to(hx) for s in tree_leaves(states)])]
        found, expected = (mixed_results(m, leaves, packed) for m in (module, twin))
        dtypes = [[t.dtype for t in tree_leaves(results)] for results in (found, expected)]
        assert dtypes[0] == dtypes[1], f"input {input}, hx {hx}"
        true = mixed_results(exact, [t.double() for t in leaves], packed, autocast=False)
        assert_as_near(found, expected, true, torch.finfo(torch.bfloat16).eps)


def mixed_results(module, leaves, packed, autocast=True):
    """Outputs and gradients, in the dtypes that `leaves`, input and perhaps states, have."""
    x, *states = (t.detach().requires_grad_() for t in leaves)
    input = pack_padded_sequence(x, [T, T - 1, 3, 1]) if packed else x
    hx = (states[0] if len(states) == 1 else tuple(states)) if states else None
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        outputs = tensors(module(input, hx))
    return outputs, gradients(outputs, [x, *states, *module.parameters()])


@pytest.mark.parametrize("backward_inside", [False, True], ids=["backward outside", "backward inside"])
@over({name: (*row[:2], row[2] | STACKED) for name, row in LAYERS.items()} | CELLS)
def test_under_autocast_all_is_as_near_to_float64_as_torch_nns(ours, theirs, options, backward_inside):
    module, twin = both(ours, theirs, options, torch.float32)
    arguments = random_arguments(module, torch.float32)
    found, expected = (results(m, arguments, torch.float32, torch.bfloat16, backward_inside) for m in (module, twin))
    assert all(gradient.dtype == torch.float32 for gradient in found[1])
    exact = results(twin.double(), arguments, torch.float64)
    assert_as_near(found, expected, exact, torch.finfo(torch.bfloat16).eps)


@over(LAYERS)
def test_backward_inside_autocast_is_backward_outside(ours, theirs, options):
    module = ours(IN, H, **options)
    arguments = random_arguments(module, torch.float32)
    inside, outside = (results(module, arguments, torch.float32, torch.bfloat16, where) for where in (True, False))
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)


@over(LAYERS | CELLS)
def test_autocast_leaves_float64_alone(ours, theirs, options):
    module, twin = both(ours, theirs, options, torch.float64)
    arguments = random_arguments(module, torch.float64)
    found = results(module, arguments, torch.float64, torch.bfloat16, backward_inside=True)
    for other, autocast in ((module, None), (twin, torch.bfloat16)):
        expected = results(other, arguments, torch.float64, autocast)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("which", ["input", "states", "weights"])
@over(LAYERS | CELLS)
def test_float64_beside_what_autocast_rounds_raises_as_in_torch_nn(ours, theirs, options, which):
    x, hx = random_arguments(ours(IN, H, **options), torch.float32)
    if which == "input":
        x = x.double()
    elif which == "states":
        hx = hx.double() if isinstance(hx, torch.Tensor) else (hx[0].double(), hx[1])
    for kind in (ours, theirs):
        module = kind(IN, H, **options, dtype=torch.float64 if which == "weights" else torch.float32)
        with torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError, match=r"dtype|data type"):
            module(x, hx)


@over(LAYERS | CELLS)
def test_a_weight_of_another_dtype_than_the_first_raises_as_in_torch_nn(ours, theirs, options):
    x, _ = random_arguments(ours(IN, H, **options), torch.float32)
    _, *others = ours(IN, H, **options).state_dict()
    for name in others:
        for kind in (ours, theirs):
            module = kind(IN, H, **options)
            setattr(module, name, torch.nn.Parameter(getattr(module, name).detach().double()))
            with pytest.raises(RuntimeError, match=r"dtype|data type"):
                module(x)


@over({name: (*row[:2], row[2] | STACKED) for name, row in LAYERS.items()})
def test_the_weight_of_another_dtype_is_named(ours, theirs, options):
    for name in list(ours(IN, H, **options).state_dict())[1:]:
        module = ours(IN, H, **options)
        setattr(module, name, torch.nn.Parameter(getattr(module, name).detach().double()))
        text = f"Expected {name} to have the dtype of input, torch.float32, got torch.float64"
        with pytest.raises(RuntimeError, match=text):
            module(torch.randn(T, B, IN))


@over(CELLS)
def test_the_bias_of_another_dtype_is_named(ours, theirs, options):
    for name in ("bias_ih", "bias_hh"):
        module = ours(IN, H, **options)
        setattr(module, name, torch.nn.Parameter(getattr(module, name).detach().double()))
        text = f"Expected {name} to have the dtype of input, torch.float32, got torch.float64"
        with pytest.raises(RuntimeError, match=text):
            module(torch.randn(B, IN))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@twinned
def test_long_sequences_stay_near_to_float64(row, dtype):
    module, twin = both(row.layer, row.twin, {}, dtype)
    x = torch.randn(300, B, IN).to(dtype)
    exact, _ = twin.double()(x.double())
    error = (module(x)[0].double() - exact).abs().max()
    assert error <= 2 * torch.finfo(dtype).eps * exact.abs().max()  # one rounding, for all the steps


@pytest.mark.parametrize("enabled", [False, True])
@twinned
def test_autocast_is_left_as_it_was_found(row, enabled):
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
        module = row.layer(IN, H)
        output, _ = module(torch.randn(T, B, IN))
        output.float().square().sum().backward()
        assert torch.is_autocast_enabled("cpu") == enabled


@pytest.mark.parametrize("kind", [sr.RNN, sr.LSTM, sr.GRU])
def test_create_graph_inside_autocast_gives_the_gradients_that_plain_backward_gives(kind):
    layer, x = kind(8, 16), torch.randn(12, 4, 8)
    found = []
    with torch.autocast("cpu", torch.bfloat16):
        for create_graph in (False, True):
            output = layer(x)[0].float()
            found.append(torch.autograd.grad(output.sin().sum(), layer.parameters(), create_graph=create_graph))
    for plain, graph in zip(*found, strict=True):
        torch.testing.assert_close(graph.detach(), plain, rtol=1e-5, atol=1e-5)
