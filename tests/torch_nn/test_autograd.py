"""Gradients of first and second order, and what autograd promises around them."""

import gc
import weakref

import pytest
import torch
from running import each_by_adjoint, each_row
from table import TWINNED
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.func import functional_call
from torch.nn.utils.rnn import PackedSequence
from torch.utils.checkpoint import checkpoint

import scratchrnn as sr

pytestmark = pytest.mark.usefixtures("engine")

STACKED = {"num_layers": 2, "bidirectional": True}


class Subject:
    """A layer with random input and states, and one function from all its differentiable tensors to all its outputs."""

    def __init__(self, row, steps=3, sizes=None, layer=None, training=True, project=False, **options):
        if row.projects and project:
            options["proj_size"] = 2
        self.layer = (layer or row.layer)(3, 3, dtype=torch.float64, **options).train(training)
        self.sizes = sizes if sizes is None else torch.tensor(sizes)
        batch = 2 if sizes is None else sizes[0]
        shape = (steps, batch, 3) if sizes is None else (sum(sizes), 3)
        places = self.layer.num_layers * (2 if self.layer.bidirectional else 1)
        widths = [self.layer.proj_size or 3] + [3] * (len(row.cell.states) - 1)
        data = [torch.randn(shape), *(torch.randn(places, batch, width) for width in widths)]
        self.states = len(widths)
        self.names = [name for name, _ in self.layer.named_parameters()]
        self.tensors = [t.double().requires_grad_() for t in data] + list(self.layer.parameters())

    def outputs(self, *tensors):
        x, states, weights = tensors[0], tensors[1 : 1 + self.states], tensors[1 + self.states :]
        if self.sizes is not None:
            x = PackedSequence(x, self.sizes)
        torch.manual_seed(1)  # the same dropout at each call
        hx = states[0] if len(states) == 1 else tuple(states)
        output, last = functional_call(self.layer, dict(zip(self.names, weights, strict=True)), (x, hx))
        output = output if self.sizes is None else output.data
        return output, *((last,) if len(states) == 1 else last)

    def loss(self, *tensors):
        """Random weights on the output and on every last state."""
        outputs = self.outputs(*tensors)
        generator = torch.Generator().manual_seed(2)
        return sum((y * torch.randn(y.shape, generator=generator, dtype=y.dtype)).sum() for y in outputs)

    def gradients(self, **options):
        return torch.autograd.grad(self.loss(*self.tensors), self.tensors, **options)


def second_order(loss, tensors, vectors):
    """Gradient of <vectors, gradient of loss>."""
    first = torch.autograd.grad(loss, tensors, create_graph=True)
    return torch.autograd.grad(sum((g * v).sum() for g, v in zip(first, vectors, strict=True)), tensors)


def randoms(tensors):
    return [torch.randn_like(t) for t in tensors]


def assert_same(ours, expected, **tolerance):
    torch.testing.assert_close(tuple(ours), tuple(expected), **({"rtol": 1e-9, "atol": 1e-11} | tolerance))


CONFIGURATIONS = {
    "plain": {},
    "training with dropout": STACKED | {"steps": 2, "dropout": 0.4, "project": True},
    "eval": {"num_layers": 2, "dropout": 0.4, "training": False},
    "packed": {"bidirectional": True, "project": True, "sizes": [3, 2, 1]},
    "one step without bias": {"bias": False, "steps": 1},
}


@pytest.mark.parametrize("options", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
@each_row
def test_derivatives_of_first_and_second_order_are_those_of_finite_differences(row, options):
    subject = Subject(row, **options)
    assert torch.autograd.gradcheck(subject.outputs, subject.tensors, fast_mode=True)
    assert torch.autograd.gradgradcheck(subject.outputs, subject.tensors, fast_mode=True)


@each_row
def test_each_entry_of_the_jacobian_is_that_of_finite_differences(row):
    subject = Subject(row, bidirectional=True, project=True, sizes=[2, 1])
    assert torch.autograd.gradcheck(subject.outputs, subject.tensors)


@pytest.mark.parametrize("layer", [sr.RNN, sr.LSTM, sr.GRU])
def test_complex_layers_have_the_derivatives_of_finite_differences(layer):
    module = layer(2, 3, dtype=torch.complex128)
    x = torch.randn(2, 2, 2, dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: module(x)[0], (x, *module.parameters()), fast_mode=True)


@pytest.mark.parametrize("sizes", [None, [3, 3, 1]], ids=["padded", "packed"])
@pytest.mark.parametrize("row", TWINNED, ids=str)
def test_second_derivatives_are_torch_nns(row, sizes):
    ours, theirs = (Subject(row, sizes=sizes, project=True, layer=layer, **STACKED) for layer in (row.layer, row.twin))
    theirs.layer.load_state_dict(ours.layer.state_dict())
    inputs = 1 + ours.states
    theirs.tensors[:inputs] = [t.detach().clone().requires_grad_() for t in ours.tensors[:inputs]]
    vectors = randoms(ours.tensors)
    found, expected = (second_order(s.loss(*s.tensors), s.tensors, vectors) for s in (ours, theirs))
    assert_same(found, expected)


@each_row
def test_first_derivatives_with_and_without_create_graph_are_the_same(row):
    subject = Subject(row, project=True, **STACKED)
    assert_same(subject.gradients(create_graph=True), subject.gradients())


@pytest.mark.parametrize("tie", ["weights", "biases", "input and state"])
@each_row
def test_a_tensor_that_comes_in_twice_gets_the_sum_of_both_gradients(row, tie):
    subject = Subject(row, steps=1)
    first = 1 + subject.states
    a, b = {"weights": (first, first + 1), "biases": (first + 2, first + 3), "input and state": (0, 1)}[tie]
    tensors = [t for k, t in enumerate(subject.tensors) if k != b]
    vectors = randoms(tensors)

    def loss(again):
        return subject.loss(*tensors[:b], again(tensors[a - (a > b)]), *tensors[b:])

    tied, apart = loss(lambda t: t), loss(lambda t: t.clone())
    assert_same(*(torch.autograd.grad(y, tensors, retain_graph=True) for y in (tied, apart)))
    assert_same(*(second_order(y, tensors, vectors) for y in (tied, apart)))


def test_weights_tied_on_the_module_get_the_sum_of_both_gradients():
    layer = sr.LSTM(3, 3, dtype=torch.float64)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    layer.load_state_dict(layer.state_dict() | {"weight_hh_l0": layer.weight_ih_l0})
    apart = torch.autograd.grad(layer(x)[0].square().sum(), list(layer.parameters()))
    layer.weight_hh_l0 = layer.weight_ih_l0
    tied = torch.autograd.grad(layer(x)[0].square().sum(), list(layer.parameters()))
    assert_same(tied, (apart[0] + apart[1], *apart[2:]))


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True:UserWarning")
@pytest.mark.parametrize("create_graph", [False, True], ids=["first order", "create_graph"])
@each_row
def test_exactly_those_tensors_that_ask_get_their_gradient(row, create_graph):
    subject = Subject(row, project=True, bidirectional=True)
    everything = subject.gradients()
    for asking in range(len(subject.tensors)):
        for k, t in enumerate(subject.tensors):
            t.requires_grad_(k == asking)
        subject.loss(*subject.tensors).backward(create_graph=create_graph)
        for k, t in enumerate(subject.tensors):
            assert (t.grad is not None) == (k == asking)
        assert_same([subject.tensors[asking].grad.detach()], [everything[asking]])
        subject.tensors[asking].grad = None


@each_row
def test_no_gradient_is_recorded_where_none_is_asked_for(row):
    subject = Subject(row, project=True)
    with torch.no_grad():
        assert not any(y.requires_grad for y in subject.outputs(*subject.tensors))
    assert not any(y.requires_grad for y in subject.outputs(*(t.detach() for t in subject.tensors)))


@each_row
def test_a_single_output_can_be_differentiated_alone(row):
    subject = Subject(row, project=True, **STACKED)
    upstream = randoms(subject.outputs(*subject.tensors))
    for k, d in enumerate(upstream):
        alone = torch.autograd.grad(subject.outputs(*subject.tensors)[k], subject.tensors, d)
        zeros = [d if j == k else torch.zeros_like(other) for j, other in enumerate(upstream)]
        assert_same(alone, torch.autograd.grad(subject.outputs(*subject.tensors), subject.tensors, zeros))


@each_row
def test_eval_mode_has_the_gradients_of_training_without_dropout(row):
    subject = Subject(row, project=True, **STACKED)
    training = subject.gradients()
    subject.layer.eval()
    assert_same(subject.gradients(), training, rtol=0, atol=0)


@each_row
def test_a_second_backward_needs_retain_graph_and_then_gives_the_same(row):
    subject = Subject(row, project=True, **STACKED)
    loss = subject.loss(*subject.tensors)
    first = torch.autograd.grad(loss, subject.tensors, retain_graph=True)
    assert_same(torch.autograd.grad(loss, subject.tensors), first, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(loss, subject.tensors)


@each_by_adjoint
def test_what_is_saved_passes_through_saved_tensors_hooks(row):
    subject = Subject(row, project=True, **STACKED)
    expected, packed, unpacked = subject.gradients(), [], []

    def pack(t):
        packed.append(t.shape)
        return t.clone()

    def unpack(t):
        unpacked.append(t.shape)
        return t.clone()

    with saved_tensors_hooks(pack, unpack):
        loss = subject.loss(*subject.tensors)
    assert_same(torch.autograd.grad(loss, subject.tensors), expected, rtol=0, atol=0)
    history = (6, 3 * len(row.cell.pre_activations))  # T * B rows of all pre-activations, for each of the four scans
    assert packed.count(history) >= 4
    assert sorted(packed) == sorted(unpacked)


@each_row
def test_what_is_saved_can_wait_on_the_cpu(row):
    subject = Subject(row, project=True, **STACKED)
    expected = subject.gradients()
    with save_on_cpu():
        loss = subject.loss(*subject.tensors)
    assert_same(torch.autograd.grad(loss, subject.tensors), expected, rtol=0, atol=0)


@each_row
def test_a_tensor_modified_before_backward_raises_or_does_not_matter(row):
    subject = Subject(row, project=True, bidirectional=True)
    expected, raised = subject.gradients(), []
    for k, t in enumerate(subject.tensors):
        loss = subject.loss(*subject.tensors)
        with torch.no_grad():
            t.add_(1)
        try:
            found = torch.autograd.grad(loss, subject.tensors)
        except RuntimeError:
            raised.append(k)
        else:
            assert_same(found, expected)
        with torch.no_grad():
            t.sub_(1)
    assert 0 in raised  # the input is saved as it is, so its change has to be noticed


@pytest.mark.parametrize("layer", [sr.RNN, sr.LSTM])
def test_a_weight_modified_before_backward_raises(layer):
    module = layer(3, 4)
    loss = module(torch.randn(5, 2, 3))[0].square().sum()
    with torch.no_grad():
        module.weight_hh_l0.mul_(0.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@each_row
def test_outputs_can_be_modified_in_place(row):
    subject = Subject(row, project=True, **STACKED)

    def gradients(activate):
        outputs = [activate(y) for y in subject.outputs(*subject.tensors)]
        return torch.autograd.grad(outputs, subject.tensors, [y.detach().cos() for y in outputs])

    assert_same(gradients(torch.Tensor.sigmoid_), gradients(torch.sigmoid), rtol=0, atol=0)


@pytest.mark.parametrize("every", [None, 2])
@pytest.mark.parametrize("layer", [sr.RNN, sr.LSTM, sr.GRU])
def test_the_output_of_one_direction_can_be_modified_in_place(layer, every):
    """It is what the scan gives, and no view of it."""
    module = layer(3, 4, batch_first=True)
    module.checkpoint_every = every
    x = torch.randn(2, 5, 3)
    wanted = [*module.parameters()]
    expected = torch.autograd.grad(module(x)[0].sigmoid().sum(), wanted)
    assert_same(torch.autograd.grad(module(x)[0].sigmoid_().sum(), wanted), expected, rtol=0, atol=0)


@pytest.mark.parametrize("create_graph", [False, True], ids=["first order", "create_graph"])
@each_row
def test_dropping_the_result_frees_everything_without_the_garbage_collector(row, create_graph):
    subject = Subject(row, project=True, **STACKED)

    def dropped():
        x = subject.tensors[0] * 2
        outputs = subject.outputs(x, *subject.tensors[1:])
        gradients = torch.autograd.grad(
            outputs, [x, *subject.tensors[1:]], randoms(outputs), create_graph=create_graph, retain_graph=True
        )
        return [weakref.ref(t) for t in (x, *outputs, *gradients)]

    dropped()  # the first call of a cell reads it, and the first of torch imports what it needs
    gc.freeze()  # what is there already is not looked at
    gc.disable()
    try:
        assert not [r for r in dropped() if r() is not None]
        assert gc.collect() == 0
    finally:
        gc.enable()
        gc.unfreeze()


@each_row
def test_many_iterations_leave_no_more_tensors_alive_than_a_few(row):
    subject = Subject(row, project=True, **STACKED)

    def alive_after(iterations):
        for _ in range(iterations):
            second_order(subject.loss(*subject.tensors), subject.tensors, subject.tensors)
            subject.loss(*subject.tensors).backward()
        return sum(type(o) in (torch.Tensor, torch.nn.Parameter) for o in gc.get_objects())

    gc.disable()
    try:
        assert alive_after(4) == alive_after(2)
    finally:
        gc.enable()


@pytest.mark.parametrize("reentrant", [False, True], ids=["non-reentrant", "reentrant"])
@each_row
def test_checkpoint_gives_the_same_gradients(row, reentrant):
    subject = Subject(row, project=True, dropout=0.5, **STACKED)
    outputs = checkpoint(subject.outputs, *subject.tensors, use_reentrant=reentrant)
    upstream = randoms(outputs)
    expected = torch.autograd.grad(subject.outputs(*subject.tensors), subject.tensors, upstream)
    torch.autograd.backward(outputs, upstream)
    assert_same([t.grad for t in subject.tensors], expected, rtol=0, atol=0)


@each_by_adjoint
def test_many_upstream_gradients_at_once_give_each_ones_gradient(row):
    layer = row.layer(3, 4, 2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)

    def output(x):
        return layer(x)[0][-1, 0]

    expected = torch.autograd.functional.jacobian(output, x)
    torch.testing.assert_close(torch.autograd.functional.jacobian(output, x, vectorize=True), expected)
    y = output(x)
    (batched,) = torch.autograd.grad(y, x, torch.eye(len(y), dtype=y.dtype), is_grads_batched=True)
    torch.testing.assert_close(batched, expected)
    y = output(x)
    one = torch.func.vmap(lambda d: torch.autograd.grad(y, x, d, retain_graph=True)[0])
    torch.testing.assert_close(one(torch.eye(len(y), dtype=y.dtype)), expected)
