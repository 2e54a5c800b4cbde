"""Two processes under DistributedDataParallel; and CUDA where there is one."""

import itertools

import pytest
import torch
import torch.distributed as dist
from table import TWINNED
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_leaves

import scratchrnn as sr

PROCESSES = 2
needs_gloo = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="needs torch.distributed with gloo"
)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


class Model(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer(3, 4, num_layers=2, batch_first=True, bidirectional=True)
        self.readout = nn.Linear(8, 2)

    def forward(self, x):
        output, _ = self.layer(x)
        return self.readout(output[:, -1])


def problem(layer):
    """The same model and data in every process."""
    torch.manual_seed(3)
    return Model(layer), torch.randn(4, 5, 3), torch.randn(4, 2)


def mean_gradients(model, x, target):
    nn.functional.mse_loss(model(x), target).backward()
    return {name.removeprefix("module."): p.grad for name, p in model.named_parameters()}


ENGINES = {"native": "require", "torch": False} if sr.native.is_available() else {"torch": False}


def work(rank, meeting_place, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting_place}", rank=rank, world_size=PROCESSES)
    found = {}
    for engine, layer in itertools.product(ENGINES, (sr.LSTM, sr.GRU)):
        model, x, target = problem(layer)
        own = slice(rank * 2, rank * 2 + 2)
        with sr.native.flags(enabled=ENGINES[engine]):
            found[engine, layer.__name__] = mean_gradients(DistributedDataParallel(model), x[own], target[own])
    torch.save(found, f"{results}/{rank}.pt")
    dist.destroy_process_group()


@needs_gloo
def test_two_processes_get_the_gradients_of_the_whole_batch(tmp_path):
    torch.multiprocessing.spawn(work, (tmp_path / "meeting", tmp_path), nprocs=PROCESSES)
    with sr.native.flags(enabled=False):
        expected = {layer.__name__: mean_gradients(*problem(layer)) for layer in (sr.LSTM, sr.GRU)}
    for rank in range(PROCESSES):
        for (_, layer), gradients in torch.load(tmp_path / f"{rank}.pt").items():
            torch.testing.assert_close(gradients, expected[layer])


def arguments(layer):
    options = {"device": "cuda", "dtype": torch.float64, "requires_grad": True}
    places, several = layer.num_layers * (2 if layer.bidirectional else 1), len(layer.cell.states) > 1
    states = [torch.randn(places, 3, 4, **options) for _ in layer.cell.states]
    return torch.randn(5, 3, 3, **options), tuple(states) if several else states[0]


def results(call, module, arguments):
    outputs = tree_leaves(call(*arguments))
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(y.shape, generator=generator).to(y) for y in outputs]
    return outputs, torch.autograd.grad(outputs, [*tree_leaves(arguments), *module.parameters()], upstream)


@needs_cuda
@pytest.mark.parametrize("row", TWINNED, ids=str)
def test_layers_on_cuda_agree_with_torch_nn(row):
    options = {"num_layers": 2, "bidirectional": True, "device": "cuda", "dtype": torch.float64}
    ours, theirs = row.layer(3, 4, **options), row.twin(3, 4, **options)
    theirs.load_state_dict(ours.state_dict())
    given = arguments(ours)
    torch.testing.assert_close(results(ours, ours, given), results(theirs, theirs, given))


@needs_cuda
@pytest.mark.parametrize("row", TWINNED, ids=str)
def test_a_cuda_graph_captures_forward_and_backward(row):
    layer = row.layer(3, 4, device="cuda", dtype=torch.float64)
    x, hx = arguments(layer)
    expected = results(layer, layer, (x, hx))

    class Flat(nn.Module):
        """A captured module takes tensors one by one."""

        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x, *states):
            return tuple(tree_leaves(self.layer(x, states if len(states) > 1 else states[0])))

    flat, tensors = Flat(), (x, *tree_leaves(hx))
    sample = tuple(torch.randn_like(t, requires_grad=True) for t in tensors)
    captured = torch.cuda.make_graphed_callables(flat, sample)
    torch.testing.assert_close(results(captured, flat, tensors), expected)
