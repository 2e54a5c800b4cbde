"""What a user's call of a layer meets: which tensors it takes, what a graph keeps, odd numbers, long and wide input."""

import copy
import time

import pytest
import torch
from running import Tagged, equal, tensors
from table import BY_NAME
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils._python_dispatch import TorchDispatchMode

import scratchrnn as sr
from scratchrnn.bench.measure import peak_memory

pytestmark = pytest.mark.compiled


# ---------------------------------------------------------------------------------------------- which tensors it takes


class Watching(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


def negated(x):
    """The same numbers, with their signs apart."""
    return torch.complex(torch.zeros_like(x), -x).conj().imag


def in_a_mode(layer, x):
    with Watching():
        return layer(x)


def of_a_fake_tensor(layer, x):
    return layer(FakeTensorMode(allow_non_fake_inputs=True).from_tensor(x))


def in_a_fake_mode(layer, x):
    with FakeTensorMode(allow_non_fake_inputs=True):
        return layer(x)


def with_a_tangent(layer, x):
    with forward_ad.dual_level():
        return tuple(map(torch.clone, tensors(layer(forward_ad.make_dual(x, x)))))


def with_the_tangent_of_a_weight(layer, x):
    weights = dict(layer.named_parameters())
    with forward_ad.dual_level():
        weights["weight_hh_l0"] = forward_ad.make_dual(weights["weight_hh_l0"].detach(), torch.ones(15, 5))
        return torch.func.functional_call(layer, weights, (x,))


MODE = "a mode or a transform of torch has to see every operation"
NOT_TAKEN = {
    "a subclass": ("a Tagged is no plain tensor", lambda layer, x: layer(x.as_subclass(Tagged))),
    "a state of a subclass": ("a Tagged is no", lambda layer, x: layer(x, torch.ones(1, 2, 5).as_subclass(Tagged))),
    "complex": ("float32 and float64 alone, not torch.complex64", lambda layer, x: layer.to(torch.complex64)(x + 0j)),
    "meta": ("not torch.strided on meta", lambda layer, x: layer.to("meta")(x.to("meta"))),
    "fake": ("a FakeTensor is no plain tensor", of_a_fake_tensor),
    "in a fake mode": (MODE, in_a_fake_mode),
    "functional": (MODE, lambda layer, x: layer(torch._to_functional_tensor(x))),
    "in a dispatch mode": (MODE, in_a_mode),
    "vmap": (MODE, lambda layer, x: torch.func.vmap(layer, 1, (1, 0))(x)),
    "grad": (MODE, lambda layer, x: torch.func.grad(lambda x: layer(x)[0].sum())(x)),
    "a tangent": (MODE, with_a_tangent),
    "a weight's tangent": (MODE, with_the_tangent_of_a_weight),
    "traced": (MODE, lambda layer, x: torch.jit.trace(layer.requires_grad_(False), x)),
    "signs apart": ("a tensor whose values are not all in memory", lambda layer, x: layer(negated(x))),
    "zeros that nobody wrote": (
        "a tensor whose values are not all in memory",
        lambda layer, x: layer(torch._efficientzerotensor(x.shape)),
    ),
}


@pytest.mark.filterwarnings("ignore")  # torch's own, of tracing, complex modules and forward-mode AD
@pytest.mark.parametrize("name", NOT_TAKEN)
def test_what_it_does_not_take_the_torch_engine_does_and_require_names_the_reason(name):
    reason, call = NOT_TAKEN[name]
    layer, x = sr.GRU(3, 5), torch.randn(4, 2, 3)
    with sr.native.flags(enabled="require"), pytest.raises(sr.native.Unavailable, match=f"does not run: .*{reason}"):
        call(copy.deepcopy(layer), x)
    results = []
    for enabled in (True, False):
        with sr.native.flags(enabled=enabled):
            results.append(call(copy.deepcopy(layer), x))
    if name not in ("meta", "fake", "in a fake mode", "functional", "traced"):
        equal(*map(tensors, results))


TAKEN = {
    "a parameter": torch.nn.Parameter,
    "one that asks for its gradient": lambda x: x.clone().requires_grad_(),
    "of inference mode": torch.inference_mode()(torch.clone),
    "signs together again": lambda x: negated(x).resolve_neg(),
    "transposed": lambda x: x.transpose(0, 2).contiguous().transpose(0, 2),
    "every second": lambda x: torch.stack([x, -x], -1)[..., 0],
    "backward": lambda x: x.flip(0)[torch.arange(len(x) - 1, -1, -1)],
    "in shared memory": lambda x: x.clone().share_memory_(),
    "numpy's": lambda x: torch.from_numpy(x.numpy().copy()),
    "at an odd address": lambda x: torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape),
}


@pytest.mark.parametrize("form", TAKEN.values(), ids=TAKEN)
def test_what_it_takes_counts_by_its_numbers(form):
    layer, x, h_0 = sr.GRU(3, 5), torch.randn(4, 2, 3), torch.randn(1, 2, 5)
    with sr.native.flags(enabled="require"), torch.no_grad():
        equal(layer(form(x), form(h_0)), layer(x, h_0))


def test_expanded_tensors_are_taken_as_what_they_show():
    layer, x, h_0 = sr.GRU(3, 5), torch.randn(4, 1, 3), torch.randn(1, 1, 5)
    leaves = [x.expand(4, 6, 3).requires_grad_(), h_0.expand(1, 6, 5).requires_grad_()]
    dense = [t.detach().contiguous().requires_grad_() for t in leaves]
    with sr.native.flags(enabled="require"):
        results = [layer(*leaves), layer(*dense)]
        ones = torch.ones(()).expand(4, 6, 5)
        found = torch.autograd.grad(results[0][0], leaves, ones)
        equal(found, torch.autograd.grad(results[1][0], dense, ones.contiguous()))
    equal(*results)


# ------------------------------------------------------------------------------------------------- what a graph keeps


@pytest.mark.parametrize("forward", [True, False], ids=["native", "torch"])
@pytest.mark.parametrize("row", [BY_NAME["LSTM"], BY_NAME["GRU"]], ids=str)
def test_the_way_back_takes_the_engine_of_the_way_there_whatever_is_chosen_by_then(row, forward):
    layer, x = row.layer(30, 90), torch.randn(20, 5, 30, requires_grad=True)
    leaves, upstream = [x, *layer.parameters()], torch.randn(20, 5, 90)

    def gradients(back):
        with sr.native.flags(enabled=forward):
            output, _ = layer(x)
        with sr.native.flags(enabled=back):
            return torch.autograd.grad(output, leaves, upstream)

    expected, found = gradients(forward), gradients("require" if not forward else False)
    equal(found, expected)
    with sr.native.flags(enabled=not forward):
        other = torch.autograd.grad(layer(x)[0], leaves, upstream)
    assert not all(map(torch.equal, other, expected))  # or no engine could be told from the other


def test_twice_through_one_graph_is_the_same_to_the_last_bit():
    layer, x = sr.LSTM(30, 90, 2, bidirectional=True), torch.randn(20, 5, 30, requires_grad=True)
    with sr.native.flags(enabled="require"):
        output, (h_n, c_n) = layer(x)
        outputs, leaves = [output, h_n, c_n], [x, *layer.parameters()]
        upstream = [torch.randn_like(y) for y in outputs]
        first = torch.autograd.grad(outputs, leaves, upstream, retain_graph=True)
        kept = [d.clone() for d in first]
        [d.zero_() for d in first]
        [y.detach().zero_() for y in outputs]
        equal(torch.autograd.grad(outputs, leaves, upstream), kept)


# ------------------------------------------------------------------------------------------------------ odd numbers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", ["RNN", "RNN_relu", "LSTM", "GRU"])
def test_numbers_below_the_smallest_normal_one_are_zero(name, dtype):
    row, tiny = BY_NAME[name], torch.finfo(dtype).tiny
    layer = row.layer(3, 18, bias=False, dtype=dtype)
    x = (tiny / 8 * torch.randn(5, 2, 3, dtype=dtype)).requires_grad_()
    leaves, upstream = [x, *layer.parameters()], tiny / 8 * torch.randn(5, 2, 18, dtype=dtype)
    found = {}
    for engine in ("require", False):
        with sr.native.flags(enabled=engine):
            output, state = layer(x)
            found[engine] = [output, *tensors(state), *torch.autograd.grad(output, leaves, upstream)]
    for ours, theirs in zip(*found.values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=8 * tiny)
        assert not ((ours != 0) & (ours.abs() < tiny)).any()


@pytest.mark.parametrize("flushed", [False, True])
def test_only_inside_a_call_are_they_zero(flushed):
    small, before = torch.full((1 << 17,), 1e-40), torch.get_num_threads()
    torch.set_num_threads(2)
    torch.set_flush_denormal(flushed)
    try:
        expected = small.mul(1.0).view(torch.int32)  # in each of torch's threads; the bits, which show what is compared
        assert (expected[0] == 0) == flushed
        with sr.native.flags(enabled="require"):
            sr.LSTM(64, 128)(torch.randn(50, 8, 64))[0].sum().backward()
        equal(small.mul(1.0).view(torch.int32), expected)
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)


# ------------------------------------------------------------------------------------------------ long and wide input


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def alternating(*runs, rounds=5):
    """The least seconds of each, taken in turn: other programs can only add to them."""
    return [min(times) for times in zip(*([seconds(run) for run in runs] for _ in range(rounds)), strict=True)]


@pytest.mark.parametrize("packed", [False, True])
def test_time_and_memory_grow_no_faster_than_the_sequence(packed):
    layer, x = sr.GRU(4, 20), torch.randn(100_000, 2, 4)

    def given(T):
        return pack_padded_sequence(x[:T], torch.tensor([T, T // 2])) if packed else x[:T]

    def inference(T):
        with torch.no_grad():
            return layer(given(T))

    def training(T):
        return layer(given(T))[1].sum().backward()

    with sr.native.flags(enabled="require"):
        inference(100), training(100)
        for run in (inference, training):
            short, long = alternating(lambda run=run: run(10_000), lambda run=run: run(100_000), rounds=3)
            assert long < 25 * short
            short, long = (peak_memory(lambda run=run, T=T: run(T)) for T in (10_000, 100_000))
            assert long < 10.5 * short
        output, state = inference(100_000)
        if packed:
            return
        with torch.no_grad():
            first, between = layer(x[:60_000])
            second, last = layer(x[60_000:], between)
    equal([output, state], [torch.cat([first, second]), last])


def test_time_and_memory_grow_no_faster_than_the_batch():
    layer, x = sr.LSTM(4, 20), torch.randn(5, 20_000, 4)

    def training(B):
        layer(x[:, :B])[0].sum().backward()

    with sr.native.flags(enabled="require"):
        training(20_000)
        short, long = alternating(lambda: training(2000), lambda: training(20_000))
        assert long < 25 * short
        short, long = (peak_memory(lambda B=B: training(B)) for B in (2000, 20_000))
        assert long < 10.5 * short


def test_without_gradients_memory_is_that_of_the_output():
    layer, x = sr.LSTM(64, 64), torch.randn(2000, 4, 64)

    def inference():
        with torch.no_grad():
            layer(x)

    with sr.native.flags(enabled="require"):
        inference()
        assert peak_memory(inference) < 1.5 * 4 * 2000 * 4 * 64  # bytes
