"""torch.func and forward-mode differentiation: layers and cells under every transform."""

import io
from functools import partial

import pytest
import torch
from table import ROWS, TWINNED
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vmap
from torch.nn.utils.rnn import PackedSequence

import scratchrnn as sr

# torch's own, when it first loads its forward-mode formulas, and of TorchScript
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.* is deprecated:DeprecationWarning")

T, B = 3, 4


class Subject:
    """A module with random inputs; `outputs(weights, x, *states)` is a function of tensors to a tuple of tensors."""

    def __init__(self, row, make, places, **options):
        self.make = partial(make, 3, 3, dtype=torch.float64, **options)
        self.module = self.make()
        lead = (T, B) if places else (B,)
        widths = [options.get("proj_size", 3)] + [3] * (len(row.cell.states) - 1)
        shapes = [(*lead, 3), *((places, B, w) if places else (B, w) for w in widths)]
        self.inputs = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
        self.batch_dims = [len(lead) - 1, *[1 if places else 0] * len(widths)]
        self.upstream = [torch.randn_like(y) for y in self.outputs(self.weights, *self.inputs)]

    @property
    def weights(self):
        return {name: p.detach() for name, p in self.module.named_parameters()}

    def outputs(self, weights, x, *states):
        """For a single sequence or a batch."""
        y = functional_call(self.module, weights, (x, states[0] if len(states) == 1 else states))
        return tuple(
            t for part in (y if isinstance(y, tuple) else (y,)) for t in (part if type(part) is tuple else [part])
        )

    def loss(self, weights, *inputs_and_upstream):
        inputs, upstream = inputs_and_upstream[: len(self.inputs)], inputs_and_upstream[len(self.inputs) :]
        return sum((y * d).sum() for y, d in zip(self.outputs(weights, *inputs), upstream, strict=True))

    def reverse_gradients(self, tensors, upstream=None):
        """By plain autograd, so by hand where the cell has an adjoint."""
        weights, *inputs = tensors
        leaves = [t.detach().clone().requires_grad_() for t in (*weights.values(), *inputs)]
        outputs = self.outputs(dict(zip(weights, leaves, strict=False)), *leaves[len(weights) :])
        return torch.autograd.grad(outputs, leaves, self.upstream if upstream is None else upstream)

    def flat(self):
        """One vector of all inputs and weights, and the function of it to one vector of all outputs."""
        tensors = [*self.inputs, *self.weights.values()]

        def function(vector):
            parts = [p.view(t.shape) for p, t in zip(vector.split([t.numel() for t in tensors]), tensors, strict=True)]
            weights = dict(zip(self.weights, parts[len(self.inputs) :], strict=True))
            return torch.cat([y.flatten() for y in self.outputs(weights, *parts[: len(self.inputs)])])

        return function, torch.cat([t.flatten() for t in tensors])


LAYERS = {str(row): partial(Subject, row, row.layer, 1) for row in ROWS}
STACKS = {
    f"{row} stack": partial(
        Subject, row, row.layer, 4, num_layers=2, bidirectional=True, **({"proj_size": 2} if row.projects else {})
    )
    for row in ROWS
}
CELLS = {f"{row} cell": partial(Subject, row, row.single, 0) for row in ROWS if row.single is not None}


def over(*subjects):
    makers = {name: make for group in subjects for name, make in group.items()}
    return pytest.mark.parametrize("make", makers.values(), ids=makers)


def assert_same(ours, expected):
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)


@over(STACKS, CELLS)
def test_per_sample_gradients_equal_a_loop(make):
    subject = make()
    dims = subject.batch_dims
    output_dims = dims if len(dims) == len(subject.upstream) else dims[1:]  # a cell's outputs are its states
    per_sample = vmap(grad(subject.loss), in_dims=(None, *dims, *output_dims))
    found = per_sample(subject.weights, *subject.inputs, *subject.upstream)
    for b in range(B):
        inputs = [x.select(dim, b) for x, dim in zip(subject.inputs, dims, strict=True)]
        upstream = [d.select(dim, b) for d, dim in zip(subject.upstream, output_dims, strict=True)]
        expected = subject.reverse_gradients((subject.weights, *inputs), upstream)
        for name, gradient in zip(found, expected, strict=False):
            assert_same(found[name][b], gradient)


@over(LAYERS, CELLS)
def test_an_ensemble_of_weights_equals_a_loop(make):
    subject = make()
    models = [subject.make() for _ in range(3)]
    stacked, buffers = stack_module_state(models)
    assert not buffers
    found = vmap(subject.outputs, in_dims=(0, *[None] * len(subject.inputs)))(stacked, *subject.inputs)
    for k, model in enumerate(models):
        assert_same(tuple(y[k] for y in found), subject.outputs(dict(model.named_parameters()), *subject.inputs))


@over(STACKS, CELLS)
def test_jvp_is_the_transpose_of_the_gradient(make):
    subject = make()
    primals = (subject.weights, *subject.inputs)
    tangents = torch.utils._pytree.tree_map(torch.randn_like, primals)
    outputs, moved = jvp(subject.outputs, primals, tangents)
    assert_same(outputs, subject.outputs(*primals))
    gradients = subject.reverse_gradients(primals)
    forward = sum((d * v).sum() for d, v in zip(subject.upstream, moved, strict=True))
    flat_tangents = (*tangents[0].values(), *tangents[1:])
    assert_same(forward, sum((g * v).sum() for g, v in zip(gradients, flat_tangents, strict=True)))


@over(LAYERS, CELLS)
def test_dual_tensors_give_the_tangents_of_jvp(make):
    subject = make()
    tangents = [torch.randn_like(x) for x in subject.inputs]
    _, expected = jvp(partial(subject.outputs, subject.weights), tuple(subject.inputs), tuple(tangents))
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(x, v) for x, v in zip(subject.inputs, tangents, strict=True)]
        found = [forward_ad.unpack_dual(y).tangent for y in subject.outputs(subject.weights, *duals)]
    assert_same(tuple(found), expected)


@over(LAYERS)
def test_a_dual_weight_alone_gives_a_tangent(make):
    subject = make()
    names, weights = list(subject.weights), subject.weights
    for name in names:
        tangent = torch.randn_like(weights[name])
        _, expected = jvp(
            lambda w, n=name: subject.outputs(weights | {n: w}, *subject.inputs), (weights[name],), (tangent,)
        )
        with forward_ad.dual_level():
            dual = weights | {name: forward_ad.make_dual(weights[name], tangent)}
            found = tuple(forward_ad.unpack_dual(y).tangent for y in subject.outputs(dual, *subject.inputs))
        assert_same(found, expected)


@over(LAYERS, CELLS)
def test_jacobians_forward_and_reverse_equal_autograds(make):
    function, vector = make().flat()
    expected = torch.autograd.functional.jacobian(function, vector)
    assert_same(jacrev(function)(vector), expected)
    assert_same(jacfwd(function)(vector), expected)


@over(LAYERS, CELLS)
def test_the_hessian_equals_autograds(make):
    function, vector = make().flat()
    weights = torch.randn_like(function(vector))

    def loss(v):
        return function(v) @ weights

    assert_same(hessian(loss)(vector), torch.autograd.functional.hessian(loss, vector))


@over(STACKS)
def test_grad_of_packed_sequences_equals_autograds(make):
    subject = make()
    sizes = torch.tensor([4, 3, 1])
    rows = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)

    def loss(rows):
        output, _ = subject.module(PackedSequence(rows, sizes))
        return output.data.sin().sum()

    assert_same(grad(loss)(rows), torch.autograd.grad(loss(rows), rows)[0])


@over(STACKS, CELLS)
def test_functional_call_uses_the_given_weights_in_that_call_alone(make):
    subject = make()
    other = subject.make()
    own = subject.outputs(subject.weights, *subject.inputs)
    given = dict(other.named_parameters())
    found = subject.outputs(given, *subject.inputs)
    subject.module, module = other, subject.module
    assert_same(found, subject.outputs({}, *subject.inputs))
    subject.module = module
    assert_same(subject.outputs({}, *subject.inputs), own)
    gradients = torch.autograd.grad(found, list(given.values()), subject.upstream)
    assert_same(gradients, subject.reverse_gradients((given, *subject.inputs))[: len(given)])
    assert all(p.grad is None for p in module.parameters())


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_dropout_under_vmap_follows_its_randomness(row):
    layer = row.layer(3, 8, num_layers=2, dropout=0.5)
    x = torch.randn(T, 3).expand(5, T, 3)

    def outputs(randomness):
        return vmap(lambda x: layer(x)[0], randomness=randomness)(x)

    same, different = outputs("same"), outputs("different")
    torch.testing.assert_close(same, same[:1].expand_as(same))
    assert all(not torch.allclose(different[0], other) for other in different[1:])
    with pytest.raises(RuntimeError, match="randomness"):
        outputs("error")
    layer.eval()
    torch.testing.assert_close(outputs("error"), layer(x.transpose(0, 1))[0].transpose(0, 1))


@pytest.mark.parametrize("model", [sr.RNNModel, sr.MultiLayerRNN, sr.LSTMModel, sr.GRUModel])
def test_models_without_given_states_have_per_sample_gradients(model):
    module = model(3, 4, 2, 5).double()
    weights = {name: p.detach() for name, p in module.named_parameters()}
    x, target = torch.randn(B, T, 3, dtype=torch.float64), torch.tensor([0, 4, 2, 2])

    def loss(weights, x, target):
        return nn.functional.cross_entropy(functional_call(module, weights, (x[None],)), target[None])

    found = vmap(grad(loss), in_dims=(None, 0, 0))(weights, x, target)
    for b in range(B):
        expected = torch.autograd.grad(loss({}, x[b], target[b]), list(module.parameters()))
        assert_same(tuple(g[b] for g in found.values()), expected)


# ------------------------------------------------------------------------------------------------ TorchScript


class Model(nn.Module):
    """A recurrent layer, a cell of the same kind for one more step, and a readout."""

    def __init__(self, row):
        super().__init__()
        self.layer, self.single, self.readout = row.layer(3, 4), row.single(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        output, _ = self.layer(x)
        h = self.single(output[-1])
        return self.readout(h[0] if isinstance(h, tuple) else h)


def traced(model, x):
    return torch.jit.trace(model, (x,))


def scripted(model, x):
    return torch.jit.script(model)


def to_onnx(model, x):
    torch.onnx.export(model, (x,), io.BytesIO(), dynamo=False)


torchs_own_warnings = pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
FOLLOWED = {"trace": traced, "script": scripted, "ONNX": to_onnx}
instead = r"cannot follow scratchrnn's \w+: give it scratchrnn.to_torch\(model\).*or use torch.export$"
without_a_twin = r"cannot follow scratchrnn's \w+: use torch.export, torch.nn has no layer to put in its place$"


@torchs_own_warnings
@pytest.mark.parametrize("how", FOLLOWED)
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_torchscript_of_a_layer_is_refused_with_what_to_use_instead(row, how):
    layer, x = row.layer(3, 4), torch.randn(T, B, 3)
    for model in (layer, nn.Sequential(layer)):
        with pytest.raises(RuntimeError, match=instead if row in TWINNED else without_a_twin):
            FOLLOWED[how](model, x)


@pytest.mark.parametrize("row", TWINNED, ids=str)
def test_torchscript_of_a_cell_that_is_compiled_is_refused_with_what_to_use_instead(row):
    with pytest.raises(RuntimeError, match=instead):
        torch.jit.script(row.single(3, 4))


@torchs_own_warnings
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_without_gradients_a_layer_can_be_traced_for_the_shapes_it_saw(row):
    layer, x = row.layer(3, 4), torch.randn(T, B, 3)
    with torch.no_grad():
        again = torch.jit.trace(layer, (x,))
        x = torch.randn(T, B, 3)
        torch.testing.assert_close(again(x), layer(x))


@torchs_own_warnings
@pytest.mark.parametrize("follow", [traced, scripted])
@pytest.mark.parametrize("row", TWINNED, ids=str)
def test_what_to_use_instead_is_followed_by_torchscript_for_any_shape(row, follow):
    model = Model(row).eval()
    followed = follow(sr.to_torch(model), torch.randn(T, B, 3))
    x = torch.randn(T + 2, B + 1, 3)
    torch.testing.assert_close(followed(x), model(x))


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_quantize_dynamic_finds_the_layers_of_to_torch_and_none_of_ours():
    model = nn.Sequential(sr.LSTM(3, 4))
    ours, theirs = (
        torch.ao.quantization.quantize_dynamic(m, {nn.LSTM}, dtype=torch.qint8) for m in (model, sr.to_torch(model))
    )
    assert type(ours[0]) is sr.LSTM
    assert "DynamicQuantized" in repr(theirs)
