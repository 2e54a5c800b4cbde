"""bfloat16, float16 and autocast: dtypes as torch.nn's, numbers at least as near to float64 as torch.nn's."""

import pytest
import torch
from table import TWINNED
from torch.utils._pytree import tree_leaves

import scratchrnn as sr

T, B, IN, H = 12, 4, 6, 8
twinned = pytest.mark.parametrize("row", TWINNED, ids=str)
LAYERS = {str(row): (row.layer, row.twin, {}) for row in TWINNED}
LAYERS["LSTM with projection"] = (sr.LSTM, torch.nn.LSTM, {"proj_size": 3})
CELLS = {f"{row} cell": (row.single, row.single_twin, {}) for row in TWINNED}
STACKED = {"num_layers": 2, "bidirectional": True}


def over(modules):
    return pytest.mark.parametrize(("ours", "theirs", "options"), modules.values(), ids=modules)


def pair(ours, theirs, options, dtype):
    """Both modules in `dtype`, with the same weights."""
    modules = ours(IN, H, **options).to(dtype), theirs(IN, H, **options).to(dtype)
    if getattr(modules[0], "nonlinearity", None) == "relu":
        keep_away_from_the_kink(modules[0])
    modules[1].load_state_dict(modules[0].state_dict())
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


def gradients(outputs, tensors):
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(y.shape, generator=generator).bfloat16().to(y.dtype) for y in outputs]
    return torch.autograd.grad(outputs, tensors, upstream)


def assert_as_near(ours, theirs, exact, eps):
    """error <= 2 * torch's + 4 eps, relative to the tensor's scale."""
    for found, twin, true in zip(tree_leaves(ours), tree_leaves(theirs), tree_leaves(exact), strict=True):
        assert found.isfinite().all()
        error, allowed = ((t.double() - true).abs().max() for t in (found, twin))
        assert error <= 2 * allowed + 4 * eps * true.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@over({name: (*row[:2], row[2] | STACKED) for name, row in LAYERS.items()} | CELLS)
def test_outputs_and_gradients_are_as_near_to_float64_as_torch_nns(ours, theirs, options, dtype):
    module, twin = pair(ours, theirs, options, dtype)
    arguments = random_arguments(module, dtype)
    found, expected = (results(m, arguments, dtype) for m in (module, twin))
    assert [t.dtype for t in tree_leaves(found)] == [dtype] * len(tree_leaves(expected))
    exact = results(twin.double(), arguments, torch.float64)
    assert_as_near(found, expected, exact, torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@over(LAYERS | CELLS)
def test_autocast_returns_the_dtypes_of_torch_nn(ours, theirs, options, dtype):
    module, twin = pair(ours, theirs, options, dtype)
    arguments = random_arguments(module, torch.float32)
    found, expected = (results(m, arguments, torch.float32, torch.bfloat16) for m in (module, twin))
    assert [t.dtype for t in tree_leaves(found)] == [t.dtype for t in tree_leaves(expected)]


@pytest.mark.parametrize("backward_inside", [False, True], ids=["backward outside", "backward inside"])
@over({name: (*row[:2], row[2] | STACKED) for name, row in LAYERS.items()} | CELLS)
def test_under_autocast_all_is_as_near_to_float64_as_torch_nns(ours, theirs, options, backward_inside):
    module, twin = pair(ours, theirs, options, torch.float32)
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


@over(LAYERS)
def test_float64_under_autocast_raises(ours, theirs, options):
    module = ours(IN, H, **options).double()
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(RuntimeError):
        module(torch.randn(T, B, IN, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@twinned
def test_long_sequences_stay_near_to_float64(row, dtype):
    module, twin = pair(row.layer, row.twin, {}, dtype)
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
