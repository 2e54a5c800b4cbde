"""`trace` next to a layer's equations stepped by hand, one sequence at a time."""

from __future__ import annotations

import copy
import inspect
import pickle
import threading
import warnings
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from running import close, each_row, each_twin, equal, error, leaf, states, tensors
from table import PROJECTED, ROWS, TWINNED, Row
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils._pytree import tree_map

import scratchrnn as sr
from scratchrnn.cells.cell import step
from scratchrnn.equations.equations import Equations

T, B, I, H, L = 5, 3, 4, 6, 2  # noqa: E741 - input_size
LENGTHS = [3, 5, 1]
FIELDS = {
    "RNN_TANH": "h n_pre h_prev",
    "LSTM": "i f g o c_prev tanh_c h c i_pre f_pre g_pre o_pre h_prev",
    "GRU": "r z n n_h h_prev h r_pre z_pre n_x",
    "MGU": "f n n_h h_prev h f_pre n_x",
    "PAIR": "a b m_prev h m k a_x a_h u_pre b_x b_h h_prev k_prev",
}


Steps = list[dict[str, Tensor]]


def lines_by_hand(cell: sr.Cell, arguments: list[Tensor]) -> Steps:
    """Of a cell without a tape: its lines, one after the other."""
    of = Equations(cell)
    names = (*of.pre_activations, *(f"{s}_prev" for s in cell.states))
    values = dict(zip(names, arguments, strict=True)) | of.numbers
    for each in of.forward:
        values[each.target] = each.evaluate(values)
    return {each.target: values[each.target] for each in of.forward}


def step_by_hand(row: Row, layer: Any, suffix: str, x: Tensor, state: list[Tensor]) -> tuple[Steps, list[Tensor]]:
    """Everything in every step of one sequence [T, I] in one layer and direction, and the last state."""
    cell, weights = row.cell, dict(layer.named_parameters())
    count = len(cell.gates)
    zeros = torch.zeros(count * layer.hidden_size, dtype=x.dtype)
    steps: Steps = []
    for x_t in x.flip(0) if "reverse" in suffix else x:
        from_x = weights[f"weight_ih{suffix}"] @ x_t + weights.get(f"bias_ih{suffix}", zeros)
        from_h = weights[f"weight_hh{suffix}"] @ state[0] + weights.get(f"bias_hh{suffix}", zeros)
        pre: dict[str, Tensor] = {}
        halves: dict[str, Tensor] = {}
        for gate, a, b in zip(cell.gates, from_x.chunk(count), from_h.chunk(count), strict=True):
            halves |= {f"{gate}_x": a, f"{gate}_h": b}
            pre |= {f"{gate}_x": a, f"{gate}_h": b} if gate in cell.split else {f"{gate}_pre": a + b}
        state_prev = {f"{name}_prev": s for name, s in zip(cell.states, state, strict=True)}
        lines = lines_by_hand(cell, [*pre.values(), *state])
        state, tape = step(cell, *pre.values(), *state)
        state = list(state) if tape else [lines[name] for name in cell.states]
        if f"weight_hr{suffix}" in weights:
            state[0] = weights[f"weight_hr{suffix}"] @ state[0]
        steps.append(
            {
                **state_prev,
                **halves,
                **pre,
                **(tape._asdict() if tape else lines),
                **dict(zip(cell.states, state, strict=True)),
            }
        )
    return steps[::-1] if "reverse" in suffix else steps, state


def stacked(steps: Steps) -> dict[str, Tensor]:
    return {name: torch.stack([step[name] for step in steps]) for name in steps[0]}


def records_by_hand(
    row: Row, layer: Any, x: Tensor, hx: list[Tensor]
) -> tuple[dict[tuple[int, bool], Steps], Tensor, list[list[Tensor]]]:
    """The same for all layers and directions of one sequence, the output, and the last states."""
    records, last, D = {}, [], 1 + layer.bidirectional
    for k in range(layer.num_layers):
        for d in range(D):
            suffix = f"_l{k}" + ("_reverse" if d else "")
            records[k, bool(d)], after = step_by_hand(row, layer, suffix, x, [s[k * D + d] for s in hx])
            last.append(after)
        x = torch.cat([torch.stack([step["h"] for step in records[k, bool(d)]]) for d in range(D)], -1)
    return records, x, last


LAYOUTS = ["time_major", "batch_first", "unbatched", "packed"]


def inputs(layout: str) -> tuple[Any, list[Tensor]]:
    """What the layer is given, and the sequences in it."""
    sequences = [leaf(n, I).detach() for n in (LENGTHS if layout == "packed" else [T] * B)]
    if layout == "packed":
        return pack_sequence(sequences, enforce_sorted=False), sequences
    if layout == "unbatched":
        return sequences[0], sequences[:1]
    return torch.stack(sequences, 0 if layout == "batch_first" else 1), sequences


@pytest.mark.parametrize("with_states", [True, False], ids=["states", "no_states"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("row", "proj_size"), PROJECTED, ids=str)
def test_every_gate_and_state_is_what_stepping_each_sequence_by_hand_gives(
    row: Row, proj_size: int, layout: str, bidirectional: bool, with_states: bool
) -> None:
    options = {"proj_size": proj_size} if proj_size else {}
    layer = row.layer(
        I, H, L, bidirectional=bidirectional, batch_first=layout == "batch_first", dtype=torch.float64, **options
    )
    x, sequences = inputs(layout)
    hx = states(row, layer, *([] if layout == "unbatched" else [B]))
    start = hx if with_states else tree_map(torch.zeros_like, hx)
    traced = sr.trace(layer, x, *([hx] if with_states else []), halves=True)
    assert set(traced.records) == {(k, r) for k in range(L) for r in ((False, True) if bidirectional else (False,))}
    for b, sequence in enumerate(sequences):
        of_sequence = [s if layout == "unbatched" else s[:, b] for s in tensors(start)]
        expected, _, _ = records_by_hand(row, layer, sequence, of_sequence)
        for (k, reverse), steps in expected.items():
            record, by_name = traced.layer(k, reverse), stacked(steps)
            assert set(record) == set(by_name)
            for name, values in by_name.items():
                close(record[name][: len(sequence), b], values.detach())
                assert record[name].shape[:2] == (T, len(sequences))
                assert not record[name][len(sequence) :, b].any()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("row", "proj_size"), PROJECTED, ids=str)
def test_every_gradient_is_what_autograd_gives_for_each_sequence_stepped_by_hand(
    row: Row, proj_size: int, layout: str, bidirectional: bool
) -> None:
    options = {"proj_size": proj_size} if proj_size else {}
    layer = row.layer(
        I, H, L, bidirectional=bidirectional, batch_first=layout == "batch_first", dtype=torch.float64, **options
    )
    x, sequences = inputs(layout)
    hx = states(row, layer, *([] if layout == "unbatched" else [B]))
    if "n" in row.cell.states:
        with torch.no_grad():
            hx[row.cell.states.index("n")].abs_().add_(1)  # sLSTM divides by it
    traced = sr.trace(layer, x, hx, differentiable=True)
    d = traced.gradients(smooth(traced.output) + smooth(traced.state))
    before = {f"{name}_prev" for name in row.cell.states}
    assert set(d.layer(0)) == set(traced.layer(0)) - before
    for b, sequence in enumerate(sequences):
        of_sequence = [s if layout == "unbatched" else s[:, b] for s in tensors(hx)]
        records, output, last = records_by_hand(row, layer, sequence, of_sequence)
        loss = smooth(output) + smooth(last)
        for (k, reverse), steps in records.items():
            record = d.layer(k, reverse)
            for name in record:
                nodes = [step[name] for step in steps]
                expected = torch.autograd.grad(
                    loss, nodes, retain_graph=True, allow_unused=True, materialize_grads=True
                )
                close(record[name][: len(sequence), b], torch.stack(expected))
                assert not record[name][len(sequence) :, b].any()


def smooth(value: Any) -> Tensor:
    """A loss of every number in `value`, the same for sequences one at a time as for all together."""
    return torch.stack([(t * t).sum() + t.sum() for t in tensors(value)]).sum()


@each_row
def test_a_differentiable_trace_has_the_same_numbers_and_leaves_the_gradients_of_the_weights_as_they_are(
    row: Row,
) -> None:
    layer = row.layer(I, H, L, bidirectional=True, dtype=torch.float64)
    x, _ = inputs("packed")
    hx = states(row, layer, B)
    plain, traced = (sr.trace(layer, x, hx, halves=True, differentiable=d) for d in (False, True))
    for key, record in plain.records.items():
        assert list(record) == list(traced.records[key])
        close({n: t.detach() for n, t in traced.records[key].tensors.items()}, record.tensors)
    weights = [*layer.parameters()]
    expected = torch.autograd.grad(smooth(layer(x, hx)), weights)
    loss = smooth((traced.output, traced.state))
    traced.gradients(loss)
    close(torch.autograd.grad(loss, weights), expected)


def test_a_loss_of_a_gate_reaches_the_weights() -> None:
    lstm = nn.LSTM(I, H)
    traced = sr.trace(lstm, torch.randn(T, B, I), differentiable=True)
    traced.layer(0).f.mean().backward()
    i, f, g, o = lstm.bias_ih_l0.grad.chunk(4)
    assert f.all()
    last = sr.trace(lstm, torch.randn(1, B, I), differentiable=True)
    lstm.zero_grad()
    last.layer(0).f.mean().backward()  # in a single step nothing but f itself
    i, f, g, o = lstm.bias_ih_l0.grad.chunk(4)
    assert f.all()
    assert not torch.cat([i, g, o]).any()


class Tagger(nn.Module):
    """Two recurrent layers inside a model, one of them called once for each step, and one never."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, I)
        self.encoder = nn.ModuleDict({"rnn": encoder})
        self.decoder = decoder
        self.spare = nn.RNN(I, H)
        self.fc = nn.Linear(H, 2)

    def forward(self, ids: Tensor, steps: int = 3) -> dict[str, Tensor]:
        output, state = self.encoder["rnn"](self.embedding(ids))
        x, seen = output[-1:], []
        for _ in range(steps):
            x, state = self.decoder(x, hx=state)
            seen.append(x)
        return {"scores": self.fc(torch.cat(seen))}


@pytest.mark.parametrize("differentiable", [False, True])
@pytest.mark.parametrize("ours", [False, True])
def test_every_layer_of_a_model_is_traced_in_one_call_of_it(ours: bool, differentiable: bool) -> None:
    kind = sr.GRU if ours else nn.GRU
    model = Tagger(kind(I, H, dtype=torch.float64), kind(H, H, dtype=torch.float64)).double()
    seen: list[Any] = []
    model.encoder["rnn"].register_forward_hook(lambda module, given, returned: seen.append(returned))
    ids = torch.randint(7, (T, B))
    expected = model(ids, steps=4)
    traced = sr.trace(model, ids, steps=4, differentiable=differentiable)
    close(traced.output, expected if differentiable else {k: v.detach() for k, v in expected.items()})
    assert list(traced) == ["encoder.rnn", "decoder", "spare"]
    assert "decoder" in traced
    assert "fc" not in traced
    assert len(seen) == 2
    assert traced["encoder.rnn"].output is seen[1][0]
    equal(traced["encoder.rnn"].layer(0).h, traced["encoder.rnn"].output)
    state = traced["encoder.rnn"].state
    for call in traced.calls["decoder"]:
        equal(call.layer(0).h_prev, state)
        state = call.state
    assert len(traced.calls["decoder"]) == 4
    assert traced.output["scores"].requires_grad == differentiable
    assert error(lambda: traced["decoder"]) == (
        ValueError,
        "'decoder' has 4 traces, one for each call, or of a cell for each sequence: take one of .calls['decoder']",
    )
    assert error(lambda: traced["spare"]) == (KeyError, "\"'spare' was not called\"")
    assert (
        error(lambda: traced["fc"])[1].strip('"') == "'fc' is no recurrent layer or cell; encoder.rnn, decoder, spare"
    )
    equal([*tensors(list(model(ids, steps=4).values()))], [*expected.values()])  # and is itself again


def test_the_gradients_of_a_model_reach_from_its_loss_into_every_call() -> None:
    model = Tagger(nn.GRU(I, H), nn.GRU(H, H))
    traced = sr.trace(model, torch.randint(7, (T, B)), differentiable=True)
    loss = traced.output["scores"].sum()
    d = traced.gradients(loss)
    assert list(d) == list(traced)
    first = traced.calls["decoder"][0]
    expected = torch.autograd.grad(loss, [first.state, first.output], retain_graph=True)  # h goes on by both
    close(d.calls["decoder"][0].layer(0).h, sum(expected), rtol=1e-5, atol=1e-6)
    assert d["encoder.rnn"].layer(0).r_pre.abs().amin() > 0
    loss.backward()
    assert model.encoder["rnn"].weight_hh_l0.grad.any()


def test_a_part_of_a_model_that_switches_gradients_off_has_none() -> None:
    class Frozen(Tagger):
        def forward(self, ids: Tensor, steps: int = 3) -> dict[str, Tensor]:
            with torch.no_grad():
                output, state = self.encoder["rnn"](self.embedding(ids))
            with torch.enable_grad():
                return {"scores": self.fc(self.decoder(output, state)[0])}

    model, ids = Frozen(nn.GRU(I, H), nn.GRU(H, H)), torch.randint(7, (T, B))
    traced = sr.trace(model, ids, differentiable=True)
    d = traced.gradients(traced.output["scores"].sum())
    assert d["decoder"].layer(0).r_pre.any()
    assert not d["encoder.rnn"].layer(0).r_pre.any()
    plain = sr.trace(model, ids)
    assert not plain["decoder"].output.requires_grad
    close(plain["decoder"].output, traced["decoder"].output.detach(), rtol=1e-5, atol=1e-6)


def test_hooks_of_a_layer_run() -> None:
    layer, x = sr.LSTM(I, H), torch.randn(T, B, I)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.nn.utils.weight_norm(layer, "weight_hh_l0")  # computes the weight in a hook
    layer.weight_hh_l0_g.data.mul_(3)
    equal(sr.trace(layer, x).output, layer(x)[0].detach())
    theirs = nn.LSTM(I, H)
    theirs.register_forward_pre_hook(lambda module, given: (2 * given[0], *given[1:]))
    close(sr.trace(theirs, x).output, theirs(x)[0].detach(), rtol=1e-5, atol=1e-6)


OWN_FORWARD = (
    ": it has a forward of its own. Let a module hold the layer or cell instead of being one, "
    "or give equations of your own as a RecurrentLayer(Cell(...), ...)"
)


def test_a_layer_with_a_forward_of_its_own_is_refused() -> None:
    class Mine(sr.LSTM):
        def forward(self, input: Tensor, hx: Any = None) -> Any:
            return super().forward(3 * input, hx)

    for module in (Mine(I, H), nn.Sequential(Mine(I, H))):
        assert error(lambda module=module: sr.trace(module, torch.randn(T, B, I))) == (
            TypeError,
            "cannot trace a Mine" + OWN_FORWARD,
        )


def test_a_detached_trace_holds_no_more_than_its_tensors() -> None:
    x = torch.randn(T, B, I)
    gone = weakref.ref(x)
    traced = sr.trace(nn.LSTM(I, H, 2), x)
    del x
    assert gone() is None
    equal(pickle.loads(pickle.dumps(traced)).layer(1).f, traced.layer(1).f)


def test_a_tape_may_hold_numbers_which_are_no_part_of_a_trace() -> None:
    class Tape(NamedTuple):
        f: Tensor
        half: float
        mean: Tensor

    def update(n: Tensor, h_prev: Tensor) -> tuple[tuple[Tensor], Tape]:
        f = torch.sigmoid(n)
        return (f * h_prev,), Tape(f, 0.5, f.mean())

    layer = sr.RecurrentLayer(sr.Cell("NUMBERS", ("n",), update), I, H)
    assert list(sr.trace(layer, torch.randn(T, B, I)).layer(0)) == ["f", "h", "n_pre", "h_prev"]


def test_a_layer_with_a_forward_in_its_own_dict_is_refused_and_keeps_it() -> None:
    for layer in (nn.GRU(I, H), sr.GRU(I, H)):
        layer.forward = mine = lambda input, hx=None: (input, hx)  # type: ignore[method-assign]
        for module, x in ((layer, torch.randn(T, B, I)), (Tagger(nn.GRU(I, H), layer), torch.randint(7, (T, B)))):
            assert error(lambda module=module, x=x: sr.trace(module, x)) == (
                TypeError,
                "cannot trace a GRU" + OWN_FORWARD,
            )
        assert layer.__dict__["forward"] is mine


# ------------------------------------------------------------------------------------- a trace and other calls


CLASSES = (nn.RNN, nn.LSTM, nn.GRU, sr.RecurrentLayer)


@pytest.fixture
def untouched() -> Any:
    """After the test the classes of layers are as they were before."""
    before = [inspect.getattr_static(kind, "forward") for kind in CLASSES]
    yield
    assert [inspect.getattr_static(kind, "forward") for kind in CLASSES] == before


class Gated(nn.Module):
    """A recurrent layer behind whatever `before` does."""

    def __init__(self, layer: nn.Module, before: Callable[[], Any] = lambda: None) -> None:
        super().__init__()
        self.layer = layer
        self.before = before

    def forward(self, x: Tensor) -> Tensor:
        self.before()
        return self.layer(x)[0]


class Holding(nn.Module):
    """A recurrent layer as a submodule, which TorchScript wants it to be."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return self.layer(x)


def in_threads(*calls: Callable[[], Any]) -> list[Any]:
    """What the calls return, each in a thread of its own; a call that waits for another ends with it."""
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def is_itself(layer: nn.Module, x: Tensor) -> bool:
    return "forward" not in layer.__dict__ and layer(x)[0].requires_grad


each_layer = pytest.mark.parametrize("kind", [nn.LSTM, sr.LSTM, nn.GRU, sr.RNN])


@each_layer
def test_traces_of_one_layer_that_overlap_leave_it_as_it_was(kind: Any, untouched: None) -> None:
    layer, x = kind(I, H), torch.randn(T, B, I)
    second_runs, first_has_ended = threading.Event(), threading.Event()

    def in_the_second() -> None:
        second_runs.set()
        assert first_has_ended.wait(60)

    def first() -> Any:
        found = sr.trace(Gated(layer, lambda: second_runs.wait(60)), x)
        first_has_ended.set()
        return found

    traces = in_threads(first, lambda: sr.trace(Gated(layer, in_the_second), x))
    for found in traces:
        assert len(found.calls["layer"]) == 1
        equal(found["layer"].output, found.output)
    assert is_itself(layer, x)
    assert all(len(found.calls["layer"]) == 1 for found in traces)


@each_layer
def test_a_call_beside_a_trace_is_none_of_the_traces(kind: Any) -> None:
    layer, x, other = kind(I, H), torch.randn(T, B, I), torch.randn(T, B, I)
    trace_runs, done = threading.Event(), threading.Event()

    def before() -> None:
        trace_runs.set()
        assert done.wait(60)

    def beside() -> Any:
        assert trace_runs.wait(60)
        try:
            return layer(other)[0], copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))
        finally:
            done.set()

    found, (output, copied, pickled) = in_threads(lambda: sr.trace(Gated(layer, before), x), beside)
    assert len(found.calls["layer"]) == 1
    equal(output, layer(other)[0])
    assert output.requires_grad
    for other_layer in (copied, pickled):
        assert is_itself(other_layer, x)
        equal(other_layer(x)[0], layer(x)[0])


@pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated:DeprecationWarning")
def test_layers_are_compiled_and_scripted_beside_a_trace() -> None:
    class Doubling(sr.LSTM):
        def forward(self, input: Tensor, hx: Any = None) -> Any:
            return super().forward(2 * input, hx)

    x, trace_runs, done = torch.randn(T, B, I), threading.Event(), threading.Event()
    layers = nn.ModuleList([sr.LSTM(I, H), Doubling(I, H), nn.LSTM(I, H)])
    torch.compiler.reset()

    class Waiting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self) -> None:
            trace_runs.set()
            assert done.wait(100)

    def beside() -> list[Any]:
        assert trace_runs.wait(60)
        try:
            with torch.compiler.set_stance("default"):  # as if the trace had begun before the compiler was loaded
                compiled = [torch.compile(layer, backend="eager", fullgraph=True)(x) for layer in layers[:2]]
            return [*compiled, torch.jit.script(Holding(layers[2]))(x)]
        finally:
            done.set()

    found, outputs = in_threads(lambda: sr.trace(Waiting()), beside)
    assert list(found.calls.values()) == [[], [], []]
    for layer, (output, _) in zip(layers, outputs, strict=True):
        close(output, layer(x)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("differentiable", [False, True])
@each_layer
def test_a_model_may_trace_its_own_layer_while_it_is_traced(kind: Any, differentiable: bool, untouched: None) -> None:
    class Looking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = kind(I, H)

        def forward(self, x: Tensor) -> tuple[Tensor, sr.Trace]:
            inner = sr.trace(self.layer, 2 * x, differentiable=differentiable)
            return self.layer(x)[0], inner

    model, x = Looking(), torch.randn(T, B, I)
    outer = sr.trace(model, x, differentiable=True)
    output, inner = outer.output
    equal(outer["layer"].output, output)  # its only call: the other is the inner trace's
    close(output, model.layer(x)[0], rtol=1e-5, atol=1e-6)
    close(inner.output, model.layer(2 * x)[0], rtol=1e-5, atol=1e-6, check_stride=False)
    assert inner.output.requires_grad == differentiable
    assert is_itself(model.layer, x)


def test_a_model_may_trace_itself(untouched: None) -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.GRU(I, I)
            self.inner: list[Any] = []

        def forward(self, x: Tensor, depth: int) -> Tensor:
            y = self.layer(x)[0]
            if depth:
                self.inner.append(sr.trace(self, y, depth - 1))
            return self.layer(y)[0]

    model, x = Deep(), torch.randn(T, B, I)
    outermost = sr.trace(model, x, 3)
    for found in (outermost, *model.inner):
        assert len(found.calls["layer"]) == 2
    assert len(model.inner) == 3
    equal(model.inner[-1].calls["layer"][0].output, outermost.calls["layer"][1].output)
    assert is_itself(model.layer, x)


def test_plain_training_beside_eight_threads_of_traces_is_training_alone(untouched: None) -> None:
    x = torch.randn(T, B, I)

    def train(layer: nn.Module, steps: int = 30) -> list[Tensor]:
        optimizer = torch.optim.SGD(layer.parameters(), 0.1)
        seen = []
        for _ in range(steps):
            optimizer.zero_grad()
            layer(x)[0].square().sum().backward()
            seen += [p.grad.clone() for p in layer.parameters()]
            optimizer.step()
        return seen

    for kind in (nn.LSTM, sr.LSTM):
        layer = kind(I, H)
        alone = train(copy.deepcopy(layer))
        ended = threading.Event()

        def trace_on(layer: nn.Module = layer, ended: threading.Event = ended) -> int:
            model, count = Gated(layer), 0
            while not ended.is_set() or count == 0:
                assert len(sr.trace(model, x, differentiable=count % 2 == 0).calls["layer"]) == 1
                count += 1
            return count

        def training(layer: nn.Module = layer, ended: threading.Event = ended) -> list[Tensor]:
            try:
                return train(layer)
            finally:
                ended.set()

        beside, *_ = in_threads(training, *[trace_on] * 8)
        equal(beside, alone)
        assert is_itself(layer, x)


def test_a_trace_that_fails_beside_another_leaves_the_other_and_the_layer_alone(untouched: None) -> None:
    layer, x = nn.LSTM(I, H), torch.randn(T, B, I)
    other_runs, failed = threading.Event(), threading.Event()

    def in_the_other() -> None:
        other_runs.set()
        assert failed.wait(60)

    def failing() -> tuple[type[BaseException], str]:
        assert other_runs.wait(60)
        try:
            return error(lambda: sr.trace(Gated(layer, lambda: 1 / 0), x))
        finally:
            failed.set()

    found, (kind, _) = in_threads(lambda: sr.trace(Gated(layer, in_the_other), x), failing)
    assert kind is ZeroDivisionError
    assert len(found.calls["layer"]) == 1
    assert is_itself(layer, x)


def test_what_goes_on_in_the_context_of_a_trace_that_has_ended_is_none_of_it(untouched: None) -> None:
    layer, x = nn.LSTM(I, H), torch.randn(T, B, I)
    contexts: list[Any] = []
    found = sr.trace(Gated(layer, lambda: contexts.append(copy_context())), x)
    later = sr.trace(Gated(nn.LSTM(I, H), lambda: contexts[0].run(layer, x)), x)
    assert len(found.calls["layer"]) == len(later.calls["layer"]) == 1


def test_what_a_model_hands_to_a_thread_is_traced_in_a_copy_of_its_context() -> None:
    layer, x = nn.GRU(I, H), torch.randn(T, B, I)
    for run, calls in ((lambda: copy_context().run, 2), (lambda: lambda layer, x: layer(x), 1)):
        found = sr.trace(Gated(layer, lambda run=run: in_threads(partial(run(), layer, x))), x)
        assert len(found.calls["layer"]) == calls


def test_what_a_model_writes_and_shares_is_the_models_own() -> None:
    class Busy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(I)
            self.first = nn.GRU(I, I)
            self.second = self.first
            self.plain = [self.first]
            self.call = lambda x: self.first(x)[0]

        def forward(self, x: Tensor) -> Tensor:
            self.seen = self.norm(x.flatten(0, 1)).view(x.shape)
            y = self.second(self.first(self.seen)[0])[0]
            return self.call(self.plain[0](y)[0])

    model, x = Busy(), torch.randn(T, B, I)
    modules = []
    model.first.register_forward_hook(lambda module, *_: modules.append(module))
    before = model.norm.running_mean.clone()
    found = sr.trace(model, x)
    assert list(found) == ["first"]
    assert len(found.calls["first"]) == 4
    assert all(module is model.first for module in modules)
    assert len(modules) == 4
    assert not model.norm.running_mean.equal(before)
    close(found.calls["first"][0].layer(0).h, model.first(model.seen)[0].detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [nn.LSTM, sr.LSTM])
def test_a_compiled_function_may_trace(kind: Any) -> None:
    torch.compiler.reset()
    layer, x = kind(I, H), torch.randn(T, B, I)
    layer.compile(backend="eager")
    forget = torch.compile(lambda x: 1 - sr.trace(layer, x).layer(0).f, backend="eager")
    for _ in range(2):
        equal(forget(x), 1 - sr.trace(layer, x).layer(0).f)


def test_traces_in_several_threads_leave_the_filters_of_warnings_alone() -> None:
    before = list(warnings.filters)
    layer, x = nn.LSTM(I, H), torch.randn(1, 1, I)
    in_threads(*[lambda: [sr.trace(layer, x) for _ in range(30)]] * 8)
    assert warnings.filters == before


@pytest.mark.parametrize("how", ["torch.compile", "compile", "compile of the layer"])
@pytest.mark.parametrize("kind", [nn.GRU, sr.GRU])
def test_a_compiled_model_is_traced_and_goes_on_compiled(kind: Any, how: str) -> None:
    torch.compiler.reset()
    graphs: list[Any] = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    model, x = Gated(kind(I, H)), torch.randn(T, B, I)
    module: Any = torch.compile(model, backend=backend) if how == "torch.compile" else model
    if how != "torch.compile":
        (model if how == "compile" else model.layer).compile(backend=backend)
    with torch.no_grad():
        expected = module(x)
        compiled = len(graphs)
        for _ in range(10):  # more often than PyTorch would compile one function anew
            (found,) = sr.trace(module, x).calls.values()
            close(found[0].output, expected, rtol=1e-5, atol=1e-6)
        module(x)
        assert len(graphs) == compiled
        module.train(not module.training)
        module(torch.randn(T + 1, B, I))
    assert len(graphs) > compiled or kind is nn.GRU  # which PyTorch does not compile


@pytest.mark.parametrize("kind", [nn.GRU, sr.GRU])
def test_compiled_code_wherever_a_model_has_it_is_traced_as_it_was_written(kind: Any) -> None:
    torch.compiler.reset()
    compiled = torch.compile(backend="eager")

    @compiled
    def function(layer: nn.Module, x: Tensor) -> Tensor:
        return layer(x)[0]

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = kind(I, I)
            self.functions = [compiled(lambda x: self.layer(x)[0])]

        @compiled
        def method(self, x: Tensor) -> Tensor:
            return self.layer(x)[0]

        def forward(self, x: Tensor) -> Tensor:
            return self.functions[0](self.method(function(self.layer, x)))

    model, x = Model(), torch.randn(T, B, I)
    found = sr.trace(model, x)
    assert len(found.calls["layer"]) == 3
    with torch.no_grad():
        close(found.output, model(x), rtol=1e-5, atol=1e-6)


def test_whatever_a_model_holds_is_not_asked_for_attributes() -> None:
    class Settings(dict[str, int]):
        __getattr__ = dict.__getitem__  # a KeyError where an AttributeError belongs

    model, x = Gated(nn.LSTM(I, H)), torch.randn(T, B, I)
    model.settings = Settings(a=1)
    assert len(sr.trace(model, x).calls["layer"]) == 1


@pytest.mark.parametrize("layout", LAYOUTS)
@each_row
def test_output_and_state_are_the_layers_own(row: Row, layout: str) -> None:
    layer = row.layer(I, H, L, bidirectional=True, batch_first=layout == "batch_first", dtype=torch.float64)
    x, _ = inputs(layout)
    hx = states(row, layer, *([] if layout == "unbatched" else [B]))
    traced, (output, last) = sr.trace(layer, x, hx), layer(x, hx)
    assert type(traced.output) is type(output)
    equal([*tensors(traced.output), *tensors(traced.state)], [y.detach() for y in (*tensors(output), *tensors(last))])
    if layout == "packed":
        assert all(a is b for a, b in zip(traced.output[1:], x[1:], strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
@each_twin
def test_a_layer_of_torch_nn_is_traced_as_ours_is(row: Row, layout: str) -> None:
    assert row.twin is not None
    theirs = row.twin(I, H, L, bidirectional=True, batch_first=layout == "batch_first", dtype=torch.float64)
    ours = row.layer(I, H, L, bidirectional=True, batch_first=layout == "batch_first", dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    x, _ = inputs(layout)
    traced, expected = sr.trace(theirs, x), sr.trace(ours, x)
    close([*tensors(traced.output), *tensors(traced.state)], [y.detach() for part in theirs(x) for y in tensors(part)])
    for key, record in expected.records.items():
        equal(traced.records[key].tensors, record.tensors)


@pytest.mark.parametrize(("name", "fields"), FIELDS.items())
def test_a_record_has_the_names_of_the_tape_and_the_states_in_that_order(name: str, fields: str) -> None:
    row = next(row for row in ROWS if row.cell.name == name)
    record = sr.trace(row.layer(I, H), torch.randn(T, B, I)).layer(0)
    assert " ".join(record) == fields
    assert all(getattr(record, field) is record[field] for field in record)


def test_the_names_of_an_lstm_and_a_gru_mean_the_gates_of_the_documented_equations() -> None:
    x = torch.randn(T, B, I, dtype=torch.float64)
    lstm, gru = nn.LSTM(I, H, dtype=torch.float64), nn.GRU(I, H, dtype=torch.float64)

    def blocks(layer: Any, h_prev: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        count = len(layer.weight_ih_l0) // H
        from_x = x @ layer.weight_ih_l0.T + layer.bias_ih_l0
        from_h = h_prev @ layer.weight_hh_l0.T + layer.bias_hh_l0
        return from_x.detach().chunk(count, -1), from_h.detach().chunk(count, -1)

    def shifted(h: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(h[:1]), h[:-1]])

    r = sr.trace(lstm, x).layer(0)
    i, f, g, o = (a + b for a, b in zip(*blocks(lstm, shifted(lstm(x)[0])), strict=True))
    close([r.i, r.f, r.g, r.o], [i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()])
    close([r.c_prev, r.c, r.tanh_c, r.h], [shifted(r.c), r.f * r.c_prev + r.i * r.g, r.c.tanh(), r.o * r.tanh_c])

    r = sr.trace(gru, x).layer(0)
    from_x, from_h = blocks(gru, shifted(gru(x)[0]))
    close([r.r, r.z, r.n_h], [(from_x[0] + from_h[0]).sigmoid(), (from_x[1] + from_h[1]).sigmoid(), from_h[2]])
    close([r.n, r.h_prev, r.h], [(from_x[2] + r.r * r.n_h).tanh(), shifted(r.h), (1 - r.z) * r.n + r.z * r.h_prev])


@each_row
def test_nothing_in_a_trace_requires_a_gradient(row: Row) -> None:
    layer = row.layer(I, H, L, bidirectional=True, dtype=torch.float64)
    traced = sr.trace(layer, leaf(T, B, I), states(row, layer, B))
    found = [record[name] for record in traced.records.values() for name in record]
    assert not any(t.requires_grad for t in (*found, *tensors(traced.output), *tensors(traced.state)))
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("row", [TWINNED[0]], ids=str)
def test_a_layer_in_training_is_traced_with_its_dropout_and_left_as_it_was(row: Row) -> None:
    layer = row.layer(I, H, L, dropout=1.0, dtype=torch.float64)
    traced = sr.trace(layer, leaf(T, B, I))
    expected, _ = step_by_hand(row, layer, "_l1", torch.zeros(T, H, dtype=torch.float64), [torch.zeros(H).double()])
    close(traced.layer(1).h[:, 0], stacked(expected)["h"].detach())
    assert layer.training


def shift_update(n: Tensor, h_prev: Tensor) -> tuple[tuple[Tensor], tuple[()]]:
    return (torch.tanh(n) + h_prev,), ()


def test_a_cell_without_a_tape_is_traced_by_its_states_and_pre_activations() -> None:
    layer = sr.RecurrentLayer(sr.Cell("SHIFT", ("n",), shift_update), I, H)
    x = torch.randn(T, B, I)
    traced = sr.trace(layer, x)
    assert list(traced.layer(0)) == ["h", "n_pre", "h_prev"]
    equal(traced.layer(0).h, layer(x)[0].detach())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@each_twin
def test_a_trace_on_a_gpu_is_that_on_the_cpu(row: Row) -> None:
    layer, (x, _) = row.layer(I, H, L, bidirectional=True, dtype=torch.float64), inputs("packed")
    expected = sr.trace(layer, x, halves=True)
    traced = sr.trace(layer.to("cuda"), x.to("cuda"), halves=True, differentiable=True)
    d = traced.gradients(smooth(traced.output))
    for key, record in expected.records.items():
        close({n: t.detach().cpu() for n, t in traced.records[key].tensors.items()}, record.tensors)
        assert d.records[key].h.cpu()[record.valid()].any()


def test_unfit_arguments_and_unknown_names_are_refused_with_what_there_is() -> None:
    lstm = sr.LSTM(I, H, bidirectional=True)
    traced = sr.trace(lstm, torch.randn(T, B, I))
    assert error(lambda: sr.trace(nn.Linear(I, H), torch.randn(T, B, I))) == (
        ValueError,
        "no RNN, LSTM, GRU or cell of torch.nn or scratchrnn in this Linear; give equations of your own as a "
        "RecurrentLayer(Cell(...), ...)",
    )
    assert error(lambda: sr.trace(lstm.forward, torch.randn(T, B, I))) == (
        TypeError,
        "module should be a torch.nn.Module, got: method",
    )
    with torch.no_grad():
        assert error(lambda: sr.trace(lstm, torch.randn(T, B, I), differentiable=True)) == (
            RuntimeError,
            "differentiable=True needs gradients, which are switched off here (torch.no_grad)",
        )
    assert error(lambda: traced.gradients(torch.ones(()))) == (
        ValueError,
        "gradients need a trace that was taken with differentiable=True",
    )
    assert error(lambda: traced.layer(0).f_x)[1].endswith("; halves of pre-activations with trace(..., halves=True)")
    assert error(lambda: traced.layer(1)) == (
        IndexError,
        "no layer(1, reverse=False) in this trace, only layer(0), layer(0, reverse=True)",
    )
    assert error(lambda: traced.layer("0"))[1].startswith("no layer('0', reverse=False) in this trace, only layer(0)")
    assert error(lambda: traced.layer(0).z) == (
        AttributeError,
        "no 'z' in this trace, only i, f, g, o, c_prev, tanh_c, h, c, i_pre, f_pre, g_pre, o_pre, h_prev",
    )
    assert error(lambda: traced.layer(0)["z"])[0] is KeyError
    for x, hx in ((torch.randn(T, B, I + 1), None), (torch.randn(T, B, I), (torch.randn(1, B, H),) * 2)):
        expected = error(lambda x=x, hx=hx: lstm(x, hx))
        assert error(lambda x=x, hx=hx: sr.trace(lstm, x, hx)) == expected
