"""torch.compile, torch.export, torch.fx and tensors without data: the scan as one opaque operator."""

import io
import shutil
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch._inductor.config
from running import TORCH, each_by_adjoint, each_row, equal, tensors
from table import BY_ADJOINT, ROWS, mgu_walked
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.func import functional_call, grad, vmap
from torch.nn.utils.rnn import PackedSequence, pack_sequence
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

import scratchrnn as sr

T, B, IN, H = 3, 2, 3, 4
OPERATORS = torch.ops.scratchrnn


def stack(row, **options):
    return row.layer(IN, H, num_layers=2, bidirectional=True, **({"proj_size": 2} if row.projects else {}), **options)


def states(layer, batch=(B,), **options):
    """`hx` with random numbers."""
    places = layer.num_layers * (2 if layer.bidirectional else 1)
    widths = [layer.proj_size or H] + [H] * (len(layer.cell.states) - 1)
    made = tuple(torch.randn(places, *batch, width, **options) for width in widths)
    return made[0] if len(made) == 1 else made


def results(call, module, arguments):
    """Outputs, and the gradients of all arguments and parameters for a random loss."""
    leaves = [t.requires_grad_() for t in tree_leaves(arguments)]
    outputs = tree_leaves(call(*arguments))
    generator = torch.Generator().manual_seed(1)
    upstream = [torch.randn(y.shape, generator=generator).to(y.dtype) for y in outputs]
    return outputs, torch.autograd.grad(outputs, [*leaves, *module.parameters()], upstream)


def compiled(module, backend="aot_eager", fullgraph=True):
    return torch.compile(module, backend=backend, fullgraph=fullgraph)


def assert_compiles(module, arguments, **options):
    torch.testing.assert_close(
        results(compiled(module, **options), module, arguments), results(module, module, arguments)
    )


@each_row
def test_a_compiled_stack_agrees_with_eager(row):
    layer = stack(row) if row in BY_ADJOINT else row.layer(IN, H)
    assert_compiles(layer, (torch.randn(T, B, IN), states(layer)))


@pytest.mark.parametrize(
    ("options", "shape", "batch"),
    [
        ({"batch_first": True}, (B, T, IN), (B,)),
        ({}, (T, IN), ()),
        ({"num_layers": 2, "dropout": 0.5}, (T, B, IN), (B,)),
        ({"bias": False}, (1, B, IN), (B,)),
        ({}, (T, 0, IN), (0,)),
    ],
    ids=["batch_first", "unbatched", "dropout in eval", "one step without bias", "empty batch"],
)
@pytest.mark.parametrize("layer", [sr.LSTM, sr.GRU])
def test_a_compiled_layer_agrees_with_eager(layer, options, shape, batch):
    module = layer(IN, H, **options).eval()
    assert_compiles(module, (torch.randn(shape), states(module, batch)))


@pytest.mark.parametrize("layer", [sr.RNN, sr.LSTM, sr.GRU])
def test_a_compiled_layer_agrees_with_eager_without_states(layer):
    module = layer(IN, H)
    assert_compiles(module, (torch.randn(T, B, IN),))


@pytest.mark.parametrize("layer", [sr.RNN, sr.LSTM, sr.GRU])
def test_a_compiled_layer_agrees_with_eager_under_autocast(layer):
    module = layer(IN, H)
    arguments = (torch.randn(T, B, IN), states(module))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = (results(call, module, arguments) for call in (compiled(module), module))
    assert [t.dtype for t in tree_leaves(found)] == [t.dtype for t in tree_leaves(expected)]
    torch.testing.assert_close(found, expected)


@each_by_adjoint
def test_compiled_inference_agrees_with_eager_and_keeps_nothing_for_backward(row):
    layer, graphs = row.layer(IN, H, bidirectional=True), []

    def inspect(graph, example_inputs):
        graphs.append(graph)
        return make_boxed_func(graph.forward)

    arguments = (torch.randn(T, B, IN), states(layer))
    with torch.no_grad():
        found = torch.compile(layer, backend=aot_autograd(fw_compiler=inspect), fullgraph=True)(*arguments)
        torch.testing.assert_close(found, layer(*arguments))
    (graph,) = graphs
    scans = [node for node in graph.graph.nodes if node.target is OPERATORS.scan.default]
    assert len(scans) == 2
    assert not any(node.args[-1] for node in scans)  # `keep`


@pytest.mark.filterwarnings("ignore:Skipping serialization of skipfiles:UserWarning")  # torch 2.6's own
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # inductor's own
@pytest.mark.compiled
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_inductor_agrees_with_eager(layout):
    module = sr.LSTM(IN, H)
    hx = states(module) if layout == "contiguous" else tuple(torch.randn(1, H, B).mT for _ in range(2))
    with torch._inductor.config.patch(fx_graph_cache=False):  # what is cached outlives a change of the operators
        assert_compiles(module, (torch.randn(T, B, IN), hx), backend="inductor")


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # dynamo's own
@pytest.mark.parametrize("layer", [sr.RNN, sr.LSTM, sr.GRU])
def test_a_compiled_layer_takes_packed_sequences(layer):
    module = layer(IN, H, bidirectional=True)
    hx = states(module, (3,))
    packed = pack_sequence([torch.randn(n, IN) for n in (2, 4, 1)], enforce_sorted=False)

    def run(data, *hx):
        output, last = module(PackedSequence(data, *packed[1:]), *hx)
        return output.data, last

    whole = TORCH >= (2, 7)  # before, dynamo breaks the graph to read the number of sequences
    for arguments, fullgraph in (((packed.data, hx), False), ((packed.data,), whole)):
        found = results(compiled(run, fullgraph=fullgraph), module, arguments)
        torch.testing.assert_close(found, results(run, module, arguments))


@pytest.mark.parametrize("row", [row for row in ROWS if row.single is not None], ids=str)
def test_a_compiled_cell_agrees_with_eager(row):
    cell = row.single(IN, H)
    made = tuple(torch.randn(B, H) for _ in row.cell.states)
    assert_compiles(cell, (torch.randn(B, IN), made[0] if len(made) == 1 else made))


def nodes(layer, steps):
    """The number of nodes of the captured graphs, forward and backward."""
    counts = []

    def count(graph, example_inputs):
        counts.append(len(graph.graph.nodes))
        return make_boxed_func(graph.forward)

    torch._dynamo.reset()
    call = torch.compile(layer, backend=aot_autograd(fw_compiler=count, bw_compiler=count), fullgraph=True)
    results(call, layer, (torch.randn(steps, B, IN), states(layer)))
    return counts


@each_by_adjoint
def test_the_graph_does_not_grow_with_time(row):
    layer = row.layer(IN, H)
    short, long = nodes(layer, 16), nodes(layer, 1024)
    assert len(short) == 2
    assert short == long


def test_the_work_of_compiling_does_not_grow_with_time():
    """Counted in calls of Python functions: seconds depend on what else the machine does."""

    def calls(layer, steps):
        torch._dynamo.reset()
        call, arguments, counts = compiled(layer), (torch.randn(steps, B, IN), states(layer)), []
        for _ in range(2):  # with and without compilation
            seen = []
            sys.setprofile(lambda frame, event, _, seen=seen: seen.append(None) if event == "call" else None)
            try:
                results(call, layer, arguments)
            finally:
                sys.setprofile(None)
            counts.append(len(seen))
        return counts[0] - counts[1]

    layer = sr.LSTM(IN, H)
    calls(layer, 8)
    assert calls(layer, 1024) <= 1.2 * calls(layer, 16)
    walked = sr.RecurrentLayer(mgu_walked, IN, H)  # is unrolled: what the count would see
    assert calls(walked, 8) > 1.2 * calls(walked, 2)


@pytest.mark.parametrize("layer", [sr.LSTM, sr.GRU])
def test_per_sample_gradients_can_be_compiled(layer):
    module = layer(IN, H)
    weights = {name: p.detach() for name, p in module.named_parameters()}

    def loss(weights, x):
        output, _ = functional_call(module, weights, (x,))
        return output.sin().sum()

    per_sample, x = vmap(grad(loss), in_dims=(None, 1)), torch.randn(T, B, IN)
    torch.testing.assert_close(compiled(per_sample)(weights, x), per_sample(weights, x))


@pytest.mark.parametrize(
    ("row", "strict"),
    [(row, strict) for row in BY_ADJOINT for strict in (False, True) if not strict or row.name in ("LSTM", "GRU")],
    ids=lambda value: {True: "strict", False: "non-strict"}.get(value) or str(value),
)
def test_an_exported_layer_runs_at_other_lengths_and_batch_sizes(row, strict):
    layer = row.layer(IN, H, bidirectional=True, **({"proj_size": 2} if row.projects else {}))
    time_steps, batch = torch.export.Dim("time_steps"), torch.export.Dim("batch")
    shapes = ({0: time_steps, 1: batch}, tree_map(lambda _: {1: batch}, states(layer)))
    program = torch.export.export(
        layer, (torch.randn(5, 4, IN), states(layer, (4,))), dynamic_shapes=shapes, strict=strict
    )
    assert not program.constants
    assert {spec.kind.name for spec in program.graph_signature.input_specs} == {"PARAMETER", "USER_INPUT"}
    stored = io.BytesIO()
    torch.export.save(program, stored)
    stored.seek(0)
    for exported in (program, torch.export.load(stored)):
        for steps, sequences in ((2, 3), (9, 7)):
            arguments = (torch.randn(steps, sequences, IN), states(layer, (sequences,)))
            torch.testing.assert_close(exported.module()(*arguments), layer(*arguments))
    assert not any(isinstance(v, torch.Tensor) for v in vars(layer).values())


def constant_update(n, h_prev, k_prev):
    """A state that never changes, and so is the very tensor that came in."""
    h = torch.tanh(n + k_prev)
    return (h, k_prev), (h,)


def constant_adjoint(tape, dh, dk):
    dn = dh * (1 - tape[0] * tape[0])
    return (dn,), (None, dk + dn)


def test_a_compiled_layer_agrees_with_eager_for_a_state_that_passes_through():
    cell = sr.Cell("CONSTANT", ("n",), constant_update, constant_adjoint)
    module = sr.RecurrentLayer(cell, IN, H)
    assert_compiles(module, (torch.randn(T, B, IN), states(module)))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # of opcheck, torch 2.14
@pytest.mark.parametrize("every", [None, 2])
@pytest.mark.parametrize("case", ["padded", "packed without bias", "transposed states"])
@pytest.mark.parametrize("row", [row for row in BY_ADJOINT if row.name in ("LSTM", "GRU", "MGU")], ids=str)
def test_the_operators_keep_the_rules_of_custom_operators(row, case, every):
    packed, transposed = case == "packed without bias", case == "transposed states"
    layer = row.layer(IN, H, bias=not packed)
    state = [
        (torch.randn(1, H, B).mT if transposed else torch.randn(1, B, H)).requires_grad_() for _ in row.cell.states
    ]
    sizes, shape = (torch.tensor([2, 2, 1]), (5, IN)) if packed else (None, (T, B, IN))
    tensors = [t if t is None else t.detach().requires_grad_() for t in (torch.randn(shape), *layer._weights(0, 0))]
    arguments = (row.cell.key, sizes, packed, every, *tensors, state)
    torch.library.opcheck(OPERATORS.scan.default, (*arguments, True))
    detached = tree_map_only(torch.Tensor, torch.Tensor.detach, arguments)
    torch.library.opcheck(OPERATORS.scan.default, (*detached, False))

    output, *rest = OPERATORS.scan(*detached, True)
    d_outputs = [torch.randn_like(t) for t in (output, *rest[: len(state)])]
    kept = rest[len(state) :]
    needed = [t is not None and not packed for t in tensors] + [True] * len(state)
    # Not with requires_grad: the gradient has no gradient under the compiler, second derivatives are taken without it.
    torch.library.opcheck(OPERATORS.scan_backward.default, (*detached, kept, d_outputs, needed))


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("every", [None, 2])
@pytest.mark.parametrize("native", [False, True])
def test_a_gradient_is_laid_out_as_a_compiled_graph_expects_it(native, every):
    """Of an input that is dense in another order than that of its dimensions; inductor checks strides."""
    layer = sr.LSTM(IN, H)
    layer.checkpoint_every = every
    x = torch.randn(IN, T, B).permute(1, 2, 0).requires_grad_()
    with sr.native.flags(native):
        found, expected = (
            torch.autograd.grad(f(x)[0].sin().sum(), [x, *layer.parameters()])
            for f in (torch.compile(layer, backend="inductor"), layer)
        )
    torch.testing.assert_close(found, expected)


@each_row
def test_forward_and_backward_run_on_fake_tensors(row):
    with FakeTensorMode():
        layer = stack(row)
        arguments = (torch.randn(T, B, IN), states(layer))
        gradients = torch.autograd.grad(
            sum(y.sum() for y in tree_leaves(layer(*arguments))), tree_leaves([list(layer.parameters())])
        )
    assert [g.shape for g in gradients] == [p.shape for p in layer.parameters()]


@each_row
def test_forward_and_backward_run_on_the_meta_device(row):
    layer = stack(row, device="meta")
    x, hx = torch.randn(T, B, IN, device="meta", requires_grad=True), states(layer, device="meta")
    outputs = tree_leaves(layer(x, hx))
    gradients = torch.autograd.grad(outputs, [x, *layer.parameters()], [torch.empty_like(y) for y in outputs])
    assert [g.shape for g in gradients] == [x.shape, *(p.shape for p in layer.parameters())]
    assert all(t.is_meta for t in (*outputs, *gradients))


def test_fx_traces_a_model_that_has_the_layers_as_leaves():
    class Tracer(torch.fx.Tracer):
        def is_leaf_module(self, module, name):
            return isinstance(module, (sr.RecurrentLayer, sr.RNNCellBase)) or super().is_leaf_module(module, name)

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.cell = sr.LSTM(IN, H), sr.GRUCell(H, H)

        def forward(self, x):
            output, (h, _) = self.layer(x)
            return self.cell(output[-1], h[0])

    model = Model()
    traced = torch.fx.GraphModule(model, Tracer().trace(model))
    assert sum(node.op == "call_module" for node in traced.graph.nodes) == 2
    x = torch.randn(T, B, IN)
    torch.testing.assert_close(results(traced, traced, (x,)), results(model, model, (x,)))


def test_a_cell_without_an_adjoint_is_one_node_where_no_gradient_is_asked_for():
    layer = sr.RecurrentLayer(mgu_walked, IN, H)
    with torch.no_grad():
        program = torch.export.export(
            layer, (torch.randn(4, 2, IN),), dynamic_shapes=({0: torch.export.Dim("T", min=2, max=64)},)
        )
        x = torch.randn(9, 2, IN)
        torch.testing.assert_close(program.module()(x), layer(x))


def test_a_graph_captured_without_gradients_says_so_when_asked_for_them():
    layer = sr.GRU(IN, H)
    with torch.no_grad():
        program = torch.export.export(layer, (torch.randn(4, 2, IN),))
    x = torch.randn(4, 2, IN, requires_grad=True)
    with pytest.raises(
        RuntimeError, match="captured without gradients, so it has kept nothing for them: capture it with"
    ):
        program.module()(x)[0].sum().backward()


def test_a_profiler_shows_the_layer_and_packed_outputs_are_mapped():
    layer = sr.GRU(IN, H)
    packed = pack_sequence([torch.randn(n, IN) for n in (3, 2)])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        output, _ = layer(packed)
    shown = {"BPTT", "aten::addmm_"}  # the native engine's calls, and those of the torch engine
    assert any(event.key in shown for event in profiler.key_averages())
    seen = []
    torch.distributed.utils._apply_to_tensors(lambda t: seen.append(t) or t, output)
    assert any(t is output.data for t in seen)


@pytest.mark.parametrize("symbolic", [False, True])
def test_aot_function_differentiates_a_functional_call(symbolic):
    from functorch.compile import aot_function, nop

    layer, x = sr.LSTM(IN, H), torch.randn(4, 2, IN)
    weights = {name: p.detach().clone().requires_grad_() for name, p in layer.named_parameters()}

    def call(weights, x):
        return functional_call(layer, weights, (x,))[0]

    captured = aot_function(call, fw_compiler=nop, bw_compiler=nop, dynamic=symbolic)
    found = [torch.autograd.grad(f(weights, x).sin().sum(), weights.values()) for f in (captured, call)]
    torch.testing.assert_close(*found)


# ------------------------------------------------------------------------ a capture in one thread, a run in another


# By `forward`: torch's export puts another `nn.Module.__call__` in place for the whole process while it traces.


def double_backward(layer, x):
    (dx,) = torch.autograd.grad(layer.forward(x)[0].sin().sum(), x, create_graph=True)
    return torch.autograd.grad(dx.square().sum(), [x, *layer.parameters()])


def forward_mode(layer, x):
    return torch.func.jvp(lambda x: layer.forward(x)[0], (x,), (torch.ones_like(x),))


def dual(layer, x):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(layer.forward(forward_ad.make_dual(x, torch.ones_like(x)))[0])


def checkpointed(layer, x):
    output = torch.utils.checkpoint.checkpoint(lambda x: layer.forward(x)[0], x, use_reentrant=False)
    return torch.autograd.grad(output.sin().sum(), [x, *layer.parameters()])


of_jvp = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script:DeprecationWarning"
)  # torch's own: `script`, `script_method`
BESIDE = pytest.mark.parametrize("call", [double_backward, forward_mode, dual, checkpointed])


class Waiting(nn.Module):
    """Says when it is being captured, and goes on when it may."""

    def __init__(self):
        super().__init__()
        self.layer = sr.GRU(3, 4)
        self.inside, self.done = threading.Event(), threading.Event()

    def forward(self, x):
        output, _ = self.layer(x)
        self.inside.set()
        assert self.done.wait(600)
        return output


@of_jvp
@BESIDE
def test_an_export_in_another_thread_changes_nothing_here(call):
    layer, x = sr.LSTM(3, 4, num_layers=2), torch.randn(5, 2, 3, requires_grad=True)
    expected = call(layer, x)
    waiting = Waiting()
    with ThreadPoolExecutor() as threads:
        exported = threads.submit(torch.export.export, waiting, (torch.randn(5, 2, 3),), strict=False)
        assert waiting.inside.wait(600)
        try:
            assert torch.compiler.is_compiling()
            found = call(layer, x)
        finally:
            waiting.done.set()
        x = torch.randn(5, 2, 3)
        equal(exported.result(600).module()(x), waiting(x))
    equal(tensors(found), tensors(expected))


def test_an_exported_layer_may_be_checkpointed():
    layer, x = sr.LSTM(3, 4), torch.randn(5, 2, 3, requires_grad=True)
    exported = torch.export.export(layer, (x,)).module()
    found = checkpointed(exported, x)
    output, _ = layer(x)
    equal(found, torch.autograd.grad(output.sin().sum(), [x, *layer.parameters()]))


def test_forward_mode_in_another_thread_changes_nothing_in_a_compiled_layer():
    layer, x = sr.LSTM(3, 4), torch.randn(5, 2, 3)
    compiled = torch.compile(layer, backend="aot_eager")
    with torch.no_grad():
        expected = layer(x)
        inside, over = threading.Event(), threading.Event()

        def other():
            with forward_ad.dual_level():  # there is one for all threads
                inside.set()
                assert over.wait(600)

        with ThreadPoolExecutor() as threads:
            done = threads.submit(other)
            assert inside.wait(600)
            try:
                equal(compiled(x), expected)
            finally:
                over.set()
            done.result(600)


@of_jvp
def test_a_captured_layer_refuses_a_dual_tensor_and_takes_the_others():
    """Compiled before, or for the first time: an operator would lose the tangent and say nothing."""
    layer, x = sr.LSTM(3, 4), torch.randn(5, 2, 3)
    with torch.no_grad():
        expected, exported = layer(x), torch.export.export(layer, (x,)).module()
        for captured in (exported, torch.compile(layer, backend="aot_eager"), torch.compile(layer, backend="eager")):
            for _ in range(2):
                with forward_ad.dual_level():
                    with pytest.raises(NotImplementedError, match=r"AD cannot follow a captured scan .*jvp"):
                        captured(forward_ad.make_dual(x, torch.ones_like(x)))
                    equal(captured(x), expected)
                equal(captured(x), expected)
        compiled = torch.compile(lambda x: forward_mode(layer, x)[1], backend="aot_eager")
        torch.testing.assert_close(compiled(x), dual(layer, x).tangent)


def unraced(call, *arguments):
    """The call, made again where torch's own lost a race: `annotate`, under its decompositions, has no lock."""
    while True:
        try:
            return call(*arguments)
        except KeyError as error:
            if traceback.extract_tb(error.__traceback__)[-1].name != "annotate":
                raise


@of_jvp
def test_threads_that_export_and_compile_in_a_loop_change_nothing_here():
    layer, x = sr.LSTM(3, 4), torch.randn(5, 2, 3, requires_grad=True)
    calls = [double_backward, forward_mode, dual]  # torch's own checkpoint is not safe beside torch's own export
    expected = [tensors(call(layer, x)) for call in calls]
    over = threading.Event()

    def capture():
        count = 0
        while not over.is_set() or count < 4:
            other, strict = sr.GRU(3, 4), count % 2 == 1
            exported = torch.export.export(other, (torch.randn(5, 2, 3),), strict=strict).module()
            compiled = torch.compile(other, backend="eager")
            y = torch.randn(5, 2, 3)
            equal(exported(y), other(y))
            equal(compiled(y), other(y))
            count += 1
        return count

    with ThreadPoolExecutor() as threads:
        captures = threads.submit(capture)
        try:
            for _ in range(8):
                for call, values in zip(calls, expected, strict=True):
                    equal(tensors(unraced(call, layer, x)), values)
        finally:
            over.set()
        assert captures.result(600) >= 4
