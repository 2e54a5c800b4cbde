"""Anybody's layer as a black box: made, read and called in every form, its numbers held against torch.nn's."""

import itertools
import random
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from parity.diagnosis.spellings import CORRECT, LOADED
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import scratchrnn as sr
from scratchrnn.parity.diagnosis import KINDS
from scratchrnn.parity.diagnosis.adapter import NotTaken, Subject, Unjudged, guess
from scratchrnn.parity.subjects import imported


def subject(thing, kind="lstm", **options):
    twin, step = KINDS[kind]
    return Subject(thing, twin, step, **options)


# ------------------------------------------------------------------------------------------- held against torch.nn


def theirs(configuration, weights):
    """torch.nn's module with a reading's weights; what is not read is zero."""
    module = configuration.module()
    with torch.no_grad():
        for name, p in module.named_parameters():
            place = name if "_l" in name else f"{name}_l0"
            gates = ("",) if "_hr_" in name else configuration.twin.cell.gates
            for rows, gate in zip(p.chunk(len(gates)), gates, strict=True):
                rows.copy_(weights.get((place, gate), torch.zeros_like(rows)))
    return module


def returned(configuration, module, x, states, lengths):
    """`(output, h)` or `(output, h, c)` as an Instance gives them."""
    c = configuration
    hx = states if states is None or len(states) > 1 else states[0]
    if c.step:
        h = module(x, hx)
        return (None, *h) if isinstance(h, tuple) else (None, h)
    entered = x.transpose(0, 1) if c.batch_first else x
    if lengths is not None:
        entered = pack_padded_sequence(x, lengths, enforce_sorted=False)
    output, h = module(entered, hx)
    if lengths is not None:
        output = pad_packed_sequence(output, total_length=len(x))[0]
    elif c.batch_first:
        output = output.transpose(0, 1)
    return (output, *h) if isinstance(h, tuple) else (output, h)


def drawn(configuration, seed=0):
    """An input and states, lengths where they are taken."""
    c, generator = configuration, torch.Generator().manual_seed(seed)

    def leaf(*shape):
        return (torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1).requires_grad_()

    stack = () if c.step else (c.num_layers * c.directions,)
    x = leaf(c.batch, c.input_size) if c.step else leaf(c.length, c.batch, c.input_size)
    states = [leaf(*stack, c.batch, n) for n in (c.output_size, c.hidden_size)[: len(c.twin.cell.states)]]
    lengths = torch.tensor([c.length - 2, c.length, 1][: c.batch]) if c.layout in ("packed", "lengths") else None
    return x, tuple(states) if c.states else None, lengths


def apart(made, configuration):
    """How far the subject's outputs and states are from torch.nn's under the reading and gate order that fit best."""
    instance = made.make(configuration)
    instance.draw(torch.Generator().manual_seed(1))
    x, states, lengths = drawn(configuration)
    got = instance(x, states, lengths)
    errors = []
    for reading in instance.readings:
        orders = [()] if reading.promised or not reading.order else itertools.permutations(reading.order)
        for order in orders:
            renamed = dict(zip(reading.order, order, strict=False))
            held = {
                at._replace(gate=renamed.get(at.gate, at.gate)): p
                for at, p in reading.weights(instance.parameters).items()
            }
            expected = returned(configuration, theirs(configuration, held), x, states, lengths)
            pairs = [(a, b) for a, b in zip((got.output, *got.states), expected, strict=True) if a is not None]
            assert all(a.shape == b.shape for a, b in pairs)
            errors.append(max((a - b).abs().max().item() for a, b in pairs))
    return min(errors)


def variations(made):
    """The base, what can be varied of it alone, and all of it."""
    base = made.base
    one = {"num_layers": 3, "bidirectional": True, "bias": not base.bias, "batch_first": True, "proj_size": 2}
    one = {option: value for option, value in one.items() if option in made.takes}
    yield base
    yield from (replace(base, **{option: value}) for option, value in one.items())
    yield replace(base, **one)
    if "sizes" in made.takes:
        yield replace(base, input_size=5, hidden_size=6)
        yield replace(base, input_size=4)
    if "states" in made.takes:
        yield replace(base, states=False)
    if "unbatched" in made.takes:
        yield replace(base, layout="unbatched", batch=1)
    yield from (replace(base, layout=layout, batch=3) for layout in ("packed", "lengths") if layout in made.takes)


@pytest.mark.parametrize("name", CORRECT)
def test_a_right_layer_is_torch_nns_in_all_that_it_takes(name):
    thing, kind = CORRECT[name]
    made = subject(thing, kind, load_weights=LOADED.load_weights if name == "load_weights" else None)
    bound = 1e-12 if made.dtype == torch.float64 else 1e-5
    for configuration in variations(made):
        assert apart(made, configuration) < bound, configuration


LAYERS = {nn.LSTM: "lstm", nn.GRU: "gru", nn.RNN: "rnn", sr.LSTM: "lstm", sr.GRU: "gru", sr.RNN: "rnn"}
STEPS = {nn.LSTMCell: "lstm-cell", nn.GRUCell: "gru-cell", nn.RNNCell: "rnn-cell", sr.LSTMCell: "lstm-cell"}


@pytest.mark.parametrize(
    "thing", [*LAYERS, *STEPS], ids=lambda kind: f"{kind.__module__.split('.')[0]}.{kind.__name__}"
)
def test_torch_nns_own_and_ours_take_everything(thing):
    kind = (LAYERS | STEPS)[thing]
    made = subject(thing, kind)
    expected = {"sizes", "bias", "states", "training"}
    if thing in LAYERS:
        expected |= {"num_layers", "bidirectional", "batch_first", "dropout", "packed", "unbatched"}
    assert made.takes == expected | ({"proj_size"} if kind == "lstm" else set())
    assert made.base == replace(made.base, input_size=3, hidden_size=4, num_layers=1, states=True)
    for configuration in variations(made):
        instance = made.make(configuration)
        assert [reading.promised for reading in instance.readings] == [True]
        assert apart(made, configuration) < 1e-12, configuration
    assert made.name == thing.__name__
    if thing in LAYERS and kind == "rnn":
        assert apart(subject(thing, "rnn-relu"), replace(made.base, twin=KINDS["rnn-relu"][0])) < 1e-12


@pytest.mark.parametrize(
    "name", ["torch.nn's names, einsum", "a matrix a gate, transposed", "one Linear on [x, h]", "cell (x, h)"]
)
def test_gradients_reach_input_states_and_parameters(name):
    made = subject(*CORRECT[name])
    instance = made.make(made.base)
    instance.draw(torch.Generator().manual_seed(1))
    x, states, _ = drawn(made.base)
    reading = instance.readings[0]
    module = theirs(made.base, reading.weights(instance.parameters))
    upstream = torch.Generator().manual_seed(2)

    def gradients(outputs, leaves):
        ys = [y for y in outputs if y is not None]
        upstream.manual_seed(2)
        given = [torch.rand(y.shape, generator=upstream, dtype=torch.float64) for y in ys]
        return torch.autograd.grad(ys, leaves, given)

    output, *rest = instance(x, states)
    mine = gradients([output, *rest[0]], [x, *states, *instance.parameters.values()])
    expected = gradients(returned(made.base, module, x, states, None), [x, *states, *module.parameters()])
    torch.testing.assert_close(mine[: 1 + len(states)], expected[: 1 + len(states)])
    own = dict(zip(instance.parameters, mine[1 + len(states) :], strict=True))
    names = [name for name, _ in module.named_parameters()]
    of = dict(zip(names, expected[1 + len(states) :], strict=True))
    gates = made.base.twin.cell.gates
    for piece in reading.pieces:
        stacked = of[piece.place.name if "_l" in names[0] else piece.place.name.removesuffix("_l0")]
        rows = stacked.chunk(len(gates))[gates.index(piece.place.gate)]
        torch.testing.assert_close(piece.view(own[piece.parameter]), rows)


# -------------------------------------------------------------------------------------------------- how it is made


class Plain(nn.Module):
    """A GRU of any sizes."""

    def __init__(self, entered, hidden):
        super().__init__()
        self.cell = nn.GRUCell(entered, hidden)

    def forward(self, x, h=None):
        h = x.new_zeros(x.shape[1], self.cell.hidden_size) if h is None else h[0]
        ys = []
        for x_t in x:
            h = self.cell(x_t, h)
            ys.append(h)
        return torch.stack(ys), h[None]


def constructed(signature, call, **options):
    """A class with this constructor, around Plain."""
    namespace = {"Plain": Plain, **options}
    exec(f"class Layer(Plain):\n    def __init__(self, {signature}):\n        super().__init__({call})\n", namespace)
    return namespace["Layer"]


CONSTRUCTORS = {  # signature, what is given on, said
    "input_size, hidden_size": ("input_size, hidden_size", "Layer(input_size, hidden_size)"),
    "i, h": ("i, h", "Layer(i, h)"),
    "anything, whatever": ("anything, whatever", "Layer(anything, whatever)"),
    "hidden_dim, input_dim": ("input_dim, hidden_dim", "Layer(input_dim, hidden_dim)"),
    "*, n_in=7, n_hidden=9": ("n_in, n_hidden", "Layer(n_in, n_hidden)"),
    "in_features, out_features, /": ("in_features, out_features", "Layer(in_features, out_features)"),
    "input_size, output_size, device=None": ("input_size, output_size", "Layer(input_size, output_size)"),
    "units, data": ("data, units", "Layer(data, units)"),
    "**options": ("options['input_size'], options['hidden_size']", "Layer(input_size, hidden_size)"),
    "*sizes": ("*sizes", "Layer(input_size, hidden_size)"),
    "input_size, hidden_size, batch_size, seq_len=9": ("input_size, hidden_size", "Layer(input_size, hidden_size)"),
}


@pytest.mark.parametrize("signature", CONSTRUCTORS)
def test_sizes_are_given_under_many_names(signature):
    call, said = CONSTRUCTORS[signature]
    made = subject(constructed(signature, call), "gru")
    assert "sizes" in made.takes
    assert (made.base.input_size, made.base.hidden_size) == (3, 4)
    assert (f"made as {said}" in made.assumed) == (said != "Layer(input_size, hidden_size)")
    assert apart(made, replace(made.base, input_size=5, hidden_size=2)) < 1e-12


def test_one_size_may_stand_for_both():
    made = subject(constructed("size", "size, size"), "gru")
    assert (made.base.input_size, made.base.hidden_size) == (4, 4)
    assert "sizes" not in made.takes
    assert apart(made, made.base) < 1e-12
    with pytest.raises(NotTaken, match="Layer should have input_size=4, as it takes no other, got 3"):
        made.make(replace(made.base, input_size=3))


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (Plain(5, 7), ()),
        (lambda: Plain(5, 7), ("made as <lambda>()",)),
        (partial(Plain, 5, 7), ("made as Plain()",)),
        (constructed("", "5, 7"), ("made as Layer()",)),
        (nn.GRU(5, 7, 2, bidirectional=True, batch_first=True, dropout=0.5), ()),
    ],
    ids=["instance", "function", "partial", "class", "nn.GRU"],
)
def test_of_what_is_ready_the_sizes_are_read(thing, said):
    made = subject(thing, "gru")
    assert (made.base.input_size, made.base.hidden_size) == (5, 7)
    assert not made.takes & {"sizes", "num_layers", "bidirectional", "batch_first"}
    assert made.assumed[: len(said)] == said
    assert not made.assumed[len(said)].startswith("made")
    if isinstance(thing, nn.GRU):
        assert made.base.options == {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.5}
    assert apart(made, made.base) < 1e-12


def test_the_callers_instance_is_left_alone():
    thing = nn.LSTM(3, 4)
    thing.cache = thing.weight_ih_l0 * 2  # no leaf, which deepcopy refuses
    before = {name: p.clone() for name, p in thing.state_dict().items()}
    made = subject(thing)
    made.make(replace(made.base, training=False)).draw(torch.Generator())
    assert thing.training
    assert all(torch.equal(p, before[name]) for name, p in thing.state_dict().items())
    assert thing.weight_ih_l0.dtype == torch.float32


def test_options_are_given_where_the_constructor_has_them():
    class Layer(nn.GRU):
        def __init__(self, n_in, units, n_layers=2, use_bias=False, bidir=None):
            super().__init__(n_in, units, n_layers, use_bias, bidirectional=bool(bidir))

    made = subject(Layer, "gru")
    assert made.base.options == {}
    assert made.takes >= {"num_layers", "bias", "bidirectional", "sizes"}
    assert not made.takes & {"dropout", "batch_first"}
    for configuration in variations(made):
        assert apart(made, configuration) < 1e-12


def test_what_options_swallow_is_not_taken():
    made = subject(constructed("input_size, hidden_size, **options", "input_size, hidden_size"), "gru")
    assert made.takes == {"sizes", "states", "training"}

    class Fails(nn.GRU):
        def __init__(self, input_size, hidden_size, num_layers=1):
            if num_layers > 1:
                raise NotImplementedError("one layer")
            super().__init__(input_size, hidden_size)

    made = subject(Fails, "gru")
    assert "num_layers" not in made.takes
    why = "Fails cannot be made: Fails(input_size, hidden_size) raises NotImplementedError: one layer"
    assert made.assumed[-1] == f"not tried with num_layers=2: {why}"
    with pytest.raises(NotTaken, match="Fails should have num_layers=1, as it takes no other, got 3"):
        made.make(replace(made.base, num_layers=3))


def test_a_nonlinearity_is_given_where_it_is_taken():
    def relu(input_size, hidden_size, activation=torch.tanh):
        class Layer(nn.Module):
            def __init__(self):
                super().__init__()
                self.x, self.h = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

            def forward(self, x):
                h = x.new_zeros(x.shape[1], hidden_size)
                ys = []
                for x_t in x:
                    h = activation(self.x(x_t) + self.h(h))
                    ys.append(h)
                return torch.stack(ys)

        return Layer()

    for kind in ("rnn", "rnn-relu"):
        made = subject(relu, kind)
        assert apart(made, made.base) < 1e-12


def test_two_layers_or_directions_may_be_always_there():
    class Always(nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.rnn = nn.LSTM(input_size, hidden_size, 2, bidirectional=True, batch_first=True)

        def forward(self, x):
            return self.rnn(x)[0]

    made = subject(Always)
    assert (made.base.num_layers, made.base.bidirectional, made.base.batch_first) == (2, True, True)
    assert "takes the batch first" in made.assumed
    assert "takes no states" in made.assumed
    assert not made.base.states
    assert apart(made, made.base) < 1e-12


# ------------------------------------------------------------------------------------------------ how it is called


def equations(cell, x, h, c):
    i, f, g, o = (cell.x(x) + cell.h(h)).chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def lstm(forward):
    """A class with this `forward`, and `step(x, h, c)` and `zeros(B)` to write it with."""

    class Layer(nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.x, self.h = nn.Linear(input_size, 4 * hidden_size), nn.Linear(hidden_size, 4 * hidden_size)

        def zeros(self, rows):
            return (torch.zeros(rows, self.h.in_features),) * 2

        def scan(self, x, h, c):
            ys = []
            for x_t in x:
                h, c = equations(self, x_t, h, c)
                ys.append(h)
            return torch.stack(ys), h, c

    Layer.forward = forward
    return Layer


def alone(self, x):
    return self.scan(x, *self.zeros(x.shape[1]))[0]


def with_h(self, inputs):
    return self.scan(inputs, *self.zeros(inputs.shape[1]))[:2]


def nested(self, x, hx=None):
    y, h, c = self.scan(x, *(self.zeros(x.shape[1]) if hx is None else (hx[0][0], hx[1][0])))
    return y, (h[None], c[None])


def flat(self, x, init_states):
    y, h, c = self.scan(x, *init_states)
    return y, (h, c)


def separate(self, seq, h0, c0):
    y, h, c = self.scan(seq, h0.squeeze(0), c0.squeeze(0))
    return y, h, c


def h_before_x(self, prev_h, prev_c, x):
    return self.scan(x, prev_h[0], prev_c[0])


def by_layer(self, x, state=None):
    ((h, c),) = [self.zeros(x.shape[1])] if state is None else state
    y, h, c = self.scan(x, h, c)
    return y, [(h, c)]


def lists(self, x, hidden=None):
    (h,), (c,) = ([s] for s in self.zeros(x.shape[1])) if hidden is None else map(list, hidden)
    y, h, c = self.scan(x, h, c)
    return y, ([h], [c])


def spread(self, *arguments):
    x, *states = arguments
    y, h, c = self.scan(x, *(s[0] for s in states[0]) if states else self.zeros(x.shape[1]))
    return y, (h[None], c[None])


def last_alone(self, x):
    return self.scan(x, *self.zeros(x.shape[1]))[1]


def states_alone(self, x):
    return self.scan(x, *self.zeros(x.shape[1]))[1:]


def listed(self, x):
    return list(self.scan(x, *self.zeros(x.shape[1]))[0])


def listed_with_states(self, x):
    y, h, c = self.scan(x, *self.zeros(x.shape[1]))
    return list(y), (h[None], c[None])


def states_first(self, x):
    y, h, c = self.scan(x, *self.zeros(x.shape[1]))
    return (h[None], c[None]), y


def batch_first(self, x, state=None):
    y, h, c = self.scan(x.transpose(0, 1), *(self.zeros(len(x)) if state is None else state))
    return y.transpose(0, 1), (h, c)


def listed_batch_first(self, x):
    return list(self.scan(x.transpose(0, 1), *self.zeros(len(x)))[0]), None


def a_step(self, x, h_prev, c_prev):
    return equations(self, x, h_prev, c_prev)


def a_step_of_a_state(self, x, state=None):
    h, c = equations(self, x, *(self.zeros(x.shape[0]) if state is None else state))
    return h, (h, c)


BATCH, NONE, ZEROS = (
    "takes the batch first",
    "takes no states",
    "needs states: zeros are given where torch.nn is given none",
)
ROWS = "[batch, hidden_size]"
FORMS = [  # forward, how it is called, what else is said
    (alone, "called as subject(x); returns output", [NONE]),
    (with_h, f"called as subject(x); returns output, h {ROWS}", [NONE]),
    (nested, "called as subject(x, (h, c)); returns output, (h, c)", []),
    (flat, f"called as subject(x, (h, c) {ROWS}); returns output, (h, c) {ROWS}", [ZEROS]),
    (separate, f"called as subject(x, h, c); returns output, h, c {ROWS}", [ZEROS]),
    (h_before_x, f"called as subject(x, h, c); returns output, h, c {ROWS}", [ZEROS]),
    (by_layer, "called as subject(x, [(h, c), ...]); returns output, [(h, c), ...]", []),
    (lists, "called as subject(x, (h, c)); returns output, ([h, ...], [c, ...])", []),
    (spread, "called as subject(x, (h, c)); returns output, (h, c)", []),
    (last_alone, f"called as subject(x); returns the last h {ROWS}", [NONE]),
    (states_alone, f"called as subject(x); returns h, c {ROWS}", [NONE]),
    (listed, "called as subject(x); returns a list of outputs", [NONE]),
    (batch_first, f"called as subject(x, (h, c) {ROWS}); returns output, (h, c) {ROWS}", [BATCH]),
    (listed_with_states, "called as subject(x); returns a list of outputs, (h, c)", [NONE]),
    (states_first, "called as subject(x); returns (h, c), output", [NONE]),
    (listed_batch_first, "called as subject(x); returns a list of outputs", [BATCH, NONE]),
    (a_step, "called step by step as subject(x, h, c); returns h, c", [ZEROS]),
    (a_step_of_a_state, "called step by step as subject(x, (h, c)); returns output, h, c", []),
]


@pytest.mark.parametrize(("forward", "said", "more"), FORMS, ids=[forward.__name__ for forward, *_ in FORMS])
def test_states_go_in_and_come_out_in_many_forms(forward, said, more):
    made = subject(lstm(forward))
    assert made.assumed == (said, *more)
    assert ("states" in made.takes) == made.base.states == (NONE not in more)
    assert made.base.batch_first == (BATCH in more)
    for configuration in variations(made):
        assert apart(made, configuration) < 1e-12


@pytest.mark.parametrize("forward", [a_step, a_step_of_a_state])
def test_a_step_is_judged_as_one_too(forward):
    made = subject(lstm(forward), "lstm-cell")
    assert made.takes == {"sizes", "states", "training"}
    assert made.assumed[0].startswith("called as subject(x, ")
    assert apart(made, made.base) < 1e-12


def test_a_cell_may_take_any_leading_axes_and_have_no_telling_name():
    class Layer(nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.a, self.b = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

        def forward(self, x, h):
            return torch.tanh(self.a(x) + self.b(h))

    made = subject(Layer, "rnn")
    assert made.assumed[0] == "called step by step as subject(x, h); returns h"
    assert apart(made, made.base) < 1e-12


def test_a_layer_without_recurrence_is_no_cell():
    class Layer(nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.cell = nn.GRUCell(input_size, hidden_size)

        def forward(self, x, h0=None):
            return torch.stack(
                [self.cell(x_t, h0[0] if t == 0 and h0 is not None else None) for t, x_t in enumerate(x)]
            )

    made = subject(Layer, "gru")
    assert made.assumed[0] == "called as subject(x, h); returns output"
    assert apart(made, made.base) > 1e-3


def torchs(x, weights):
    h = x.new_zeros(x.shape[1], weights["weight_hh_l0"].shape[1])
    for x_t in x:
        h = torch.tanh(
            x_t @ weights["weight_ih_l0"].T
            + weights["bias_ih_l0"]
            + h @ weights["weight_hh_l0"].T
            + weights["bias_hh_l0"]
        )
    return h


def turned(params, x, state):
    h, ys = state[0], []
    for x_t in x:
        h = (
            nn._VF.rnn_tanh_cell
            if False
            else torch.tanh(
                x_t @ params["weight_ih_l0"].T
                + params["bias_ih_l0"]
                + h @ params["weight_hh_l0"].T
                + params["bias_hh_l0"]
            )
        )
        ys.append(h)
    return torch.stack(ys), h


def both_ways(x, weights):
    ys = []
    for end in ("", "_reverse"):
        w = {name.removesuffix(end): p for name, p in weights.items() if name.endswith(f"l0{end}")}
        h, mine = x.new_zeros(x.shape[1], w["weight_hh_l0"].shape[1]), []
        for x_t in x.flip(0) if end else x:
            h = torch.tanh(x_t @ w["weight_ih_l0"].T + w["bias_ih_l0"] + h @ w["weight_hh_l0"].T + w["bias_hh_l0"])
            mine.append(h)
        ys.append(torch.stack(mine[::-1] if end else mine))
    return torch.cat(ys, -1)


def rnn_cell(x, h, w_ih, w_hh, b_ih=None, b_hh=None):
    return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)


@pytest.mark.parametrize(
    ("thing", "kind", "said"),
    [
        (torchs, "rnn", "called as subject(x); returns the last h [batch, hidden_size]"),
        (turned, "rnn", "called as subject(x, h); returns output, h [batch, hidden_size]"),
        (both_ways, "rnn", "called as subject(x); returns output"),
        (rnn_cell, "rnn", "called step by step as subject(x, h); returns h"),
        (rnn_cell, "rnn-cell", "called as subject(x, h); returns h"),
    ],
)
def test_a_function_is_given_torch_nns_weights(thing, kind, said):
    made = subject(thing, kind)
    assert made.assumed[0] == said
    assert made.base.bidirectional == (thing is both_ways)
    assert made.takes <= {"sizes", "states", "unbatched"}
    for configuration in variations(made):
        assert apart(made, configuration) < 1e-12
    assert made.make(made.base).readings[0].promised


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_module_of_torchscript_is_called_too():
    made = subject(torch.jit.script(CORRECT["torch.nn's names, for TorchScript"][0](3, 5)))
    assert (made.base.hidden_size, made.name) == (5, "ScriptableLSTM")
    assert apart(made, made.base) < 1e-12


class NoModule:
    """Numbers in lists and dicts of a plain object."""

    def __init__(self, n_in=3, n_hidden=5):
        self.params = {
            "W": [torch.randn(n_in, n_hidden)],
            "U": (torch.randn(n_hidden, n_hidden),),
            "b": torch.zeros(n_hidden),
        }

    def forward(self, x):
        p = self.params
        h, ys = torch.zeros(x.shape[1], len(p["b"])), []
        for x_t in x:
            h = torch.tanh(x_t @ p["W"][0] + h @ p["U"][0] + p["b"])
            ys.append(h)
        return ys


@pytest.mark.parametrize("thing", [NoModule, NoModule()], ids=["class", "instance"])
def test_what_is_no_module_has_its_tensors_as_parameters(thing):
    made = subject(thing, "rnn")
    instance = made.make(made.base)
    assert list(instance.parameters) == ["params.W.0", "params.U.0", "params.b"]
    assert all(p.is_leaf and p.requires_grad and p.dtype == torch.float64 for p in instance.parameters.values())
    assert "training" not in made.takes
    assert apart(made, made.base) < 1e-12


# ------------------------------------------------------------------------------------------------- what is handed on


def test_lengths_go_in_beside_the_input():
    made = subject(CORRECT["lengths, gru"][0], "gru")
    assert "lengths" in made.takes
    assert apart(made, replace(made.base, layout="lengths", batch=3)) < 1e-12

    class Needs(nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.inner = CORRECT["lengths, gru"][0](input_size, hidden_size)

        def forward(self, x, seq_lengths):
            return self.inner(x, seq_lengths)

    made = subject(Needs, "gru")
    assert apart(made, made.base) < 1e-12


def test_unbatched_input_must_work_with_all_that_is_taken():
    assert "unbatched" in subject(nn.GRU, "gru").takes
    assert "unbatched" not in subject(Plain, "gru").takes


def test_a_subject_that_does_not_know_packed_sequences_takes_none():
    class Unpacks(nn.LSTM):
        def forward(self, x, hx=None):
            y, state = super().forward(x, hx)
            return y.data if isinstance(y, nn.utils.rnn.PackedSequence) else y, state

    assert "packed" not in subject(Unpacks).takes
    assert "packed" in subject(nn.LSTM).takes
    made = subject(Unpacks)
    with pytest.raises(NotTaken, match="Unpacks should have layout='padded', as it takes no other, got 'packed'"):
        made.make(replace(made.base, layout="packed"))


def test_wrong_states_are_handed_on_as_they_are():
    class Wrong(nn.LSTM):
        def forward(self, x, hx=None):
            y, (h, c) = super().forward(x, hx)
            return y, (c, h.transpose(0, 1))

    made = subject(Wrong)
    instance = made.make(made.base)
    x, states, _ = drawn(made.base)
    found = instance(x, states)
    assert [tuple(s.shape) for s in found.states] == [(1, 2, 4), (2, 1, 4)]


def test_what_batch_first_promises_is_believed():
    class Ignores(nn.GRU):
        def __init__(self, input_size, hidden_size, batch_first=False):
            super().__init__(input_size, hidden_size)

    made = subject(Ignores, "gru")
    assert "batch_first" in made.takes
    assert apart(made, replace(made.base, batch_first=True, length=4, batch=4)) > 1e-3


def test_readings_are_the_same_in_every_configuration():
    made = subject(CORRECT["a matrix a gate, transposed"][0])
    base = [reading.assumed[0].split(";")[1] for reading in made.make(made.base).readings]
    assert len(base) == 2
    square = made.make(replace(made.base, input_size=made.base.hidden_size)).readings
    assert [reading.assumed[0].split(";")[1] for reading in square] == base


def test_everything_is_drawn_the_unexplained_too():
    class Peephole(nn.LSTM):
        def __init__(self, input_size, hidden_size):
            super().__init__(input_size, hidden_size)
            self.peephole = nn.Parameter(torch.zeros(hidden_size), requires_grad=False)

    made = subject(Peephole)
    instance = made.make(made.base)
    instance.draw(torch.Generator().manual_seed(0))
    first = {name: p.clone() for name, p in instance.parameters.items()}
    assert instance.readings[0].unexplained == ("peephole",)
    assert instance.readings[0].assumed == ("not torch.nn's, and drawn at random: peephole",)
    assert all(p.requires_grad and 0.2 < p.abs().max() <= 1 for p in instance.parameters.values())
    instance.draw(torch.Generator().manual_seed(0))
    assert all(torch.equal(p, first[name]) for name, p in instance.parameters.items())
    wide = subject(nn.LSTM(3, 900)).make(replace(made.base, hidden_size=900))
    wide.draw(torch.Generator().manual_seed(0))
    assert wide.parameters["weight_hh_l0"].abs().max() <= 0.1


def test_one_set_of_parameters_may_serve_both_directions():
    class Shared(nn.Module):
        def __init__(self, input_size, hidden_size, bidirectional=False):
            super().__init__()
            self.forward_layer, self.bidirectional = Plain(input_size, hidden_size), bidirectional

        def forward(self, x):
            y = self.forward_layer(x)[0]
            return torch.cat([y, self.forward_layer(x.flip(0))[0].flip(0)], -1) if self.bidirectional else y

    made = subject(Shared, "gru")
    assert "bidirectional" in made.takes
    assert apart(made, replace(made.base, bidirectional=True)) < 1e-12


def test_weights_may_be_loaded():
    calls = []

    def load(module, weights):
        calls.append(sorted(weights))
        assert not any(p.requires_grad for p in weights.values())
        LOADED.load_weights(module, weights)

    made = subject(LOADED.Interleaved, load_weights=load)
    instance = made.make(made.base)
    assert list(instance.parameters) == [name for name, _ in nn.LSTM(3, 4).named_parameters()]
    assert instance.readings[0].assumed == ("load_weights sets its weights, so their gradients cannot be judged",)
    calls.clear()
    instance(*drawn(made.base)[:2])
    assert calls == [sorted(instance.parameters)]
    assert apart(made, made.base) < 1e-12


def test_loaded_weights_may_be_of_two_layers_and_directions():
    class Hidden(nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.inner = [nn.GRU(input_size, hidden_size, 2, bidirectional=True)]

        def forward(self, x):
            return self.inner[0].double()(x)

    made = subject(Hidden, "gru", load_weights=lambda module, weights: module.inner[0].load_state_dict(weights))
    assert (made.base.num_layers, made.base.bidirectional) == (2, True)
    assert apart(made, made.base) < 1e-12


@pytest.mark.parametrize(
    ("name", "dtype", "last"),
    [
        ("zeros in the default dtype", torch.float64, None),
        ("zeros in float32", torch.float32, "computes in float32: it fails in float64"),
    ],
)
def test_it_is_computed_in_float64_where_that_works(name, dtype, last):
    made = subject(*CORRECT[name])
    assert made.dtype == dtype
    assert (made.assumed[-1] == last) == (last is not None)
    instance = made.make(made.base)
    assert {p.dtype for p in instance.parameters.values()} == {dtype}
    assert instance(drawn(made.base)[0], None).output.dtype == dtype
    assert subject(nn.LSTM, dtype=torch.float32).dtype == torch.float32


def test_zeros_in_float32_where_no_state_is_given_are_seen():
    class Layer(Plain):
        def forward(self, x, h=None):
            h = torch.zeros(1, x.shape[1], self.cell.hidden_size, dtype=torch.float32) if h is None else h
            return super().forward(x, h)

    made = subject(Layer, "gru")
    assert made.dtype == torch.float32
    assert "needs states" not in " ".join(made.assumed)


def test_what_fails_unless_the_sizes_are_equal_is_judged_there():
    class Swapped(nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.weight_ih_l0 = nn.Parameter(torch.empty(hidden_size, input_size))
            self.weight_hh_l0 = nn.Parameter(torch.empty(hidden_size, hidden_size))

        def forward(self, x):
            h, ys = x.new_zeros(x.shape[1:]), []
            for x_t in x:
                h = torch.tanh(x_t @ self.weight_hh_l0.T + h @ self.weight_ih_l0.T)
                ys.append(h)
            return torch.stack(ys)

    made = subject(Swapped, "rnn")
    assert (made.base.input_size, made.base.hidden_size) == (4, 4)
    assert "sizes" not in made.takes
    assert made.assumed[-1] == "fails where input_size is not hidden_size"


@pytest.mark.parametrize("projects", [True, False])
def test_a_projection_that_does_not_recur_is_read_as_it_is(projects):
    class Layer(nn.Module):
        def __init__(self, input_size, hidden_size, proj_size=0):
            super().__init__()
            self.lstm = nn.LSTM(input_size, hidden_size)
            if proj_size and projects:
                self.weight_hr_l0 = nn.Parameter(torch.empty(proj_size, hidden_size))

        def forward(self, x, hx=None):
            y, state = self.lstm(x, hx)
            return y @ self.weight_hr_l0.T if hasattr(self, "weight_hr_l0") else y, state

    made = subject(Layer)
    assert "proj_size" in made.takes
    instance = made.make(replace(made.base, proj_size=2, states=False))
    weights = instance.readings[0].weights(instance.parameters)
    assert weights["weight_hh_l0", "f"].shape == (4, 4)
    assert (("weight_hr_l0", "") in weights) == projects
    assert instance.readings[0].assumed[-1] == "read with a W_hh of [H, H], as if without proj_size"


def test_nothing_of_the_callers_is_changed(capsys):
    class Rude(nn.LSTM):
        def forward(self, x, hx=None):
            print("hello")
            torch.manual_seed(5)
            torch.set_default_dtype(torch.float16)
            torch.set_grad_enabled(False)
            with torch.enable_grad():
                y, state = super().forward(x.clone(), hx)
            with torch.no_grad():
                x.zero_()
            return y, state

    torch.manual_seed(1)
    before = torch.get_rng_state()
    made = subject(Rude)
    x, states, _ = drawn(made.base)
    kept = x.clone()
    made.make(made.base)(x, states)
    assert torch.equal(x, kept)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_default_dtype() == torch.float32
    assert torch.is_grad_enabled()
    assert "hello" in capsys.readouterr().out
    with torch.no_grad():
        assert made.make(made.base)(x, states).output.requires_grad
    assert apart(made, made.base) < 1e-12


# ------------------------------------------------------------------------------------------------ what is refused


class Raises(nn.LSTM):
    def forward(self, x, hx=None):
        raise OSError("no\n  such file")


class Exits(nn.LSTM):
    def forward(self, x, hx=None):
        sys.exit(3)


class RaisesWhenMade(nn.LSTM):
    def __init__(self, input_size, hidden_size):
        raise OSError("no file")


class NeedsMore(nn.LSTM):
    def __init__(self, input_size, hidden_size, vocabulary):
        super().__init__(input_size, hidden_size)


class CalledWithMore(nn.LSTM):
    def forward(self, x, mask):
        return super().forward(x)


class GivesADict(nn.LSTM):
    def forward(self, x, hx=None):
        return {"output": super().forward(x, hx)[0]}


class GivesTooMuch(nn.LSTM):
    def forward(self, x, hx=None):
        y, (h, c) = super().forward(x, hx)
        return y, h, c, h


class GivesTwoDimensions(nn.LSTM):
    def forward(self, x, hx=None):
        return super().forward(x, hx)[0].sum(-1), None


class GivesNan(nn.LSTM):
    def forward(self, x, hx=None):
        y, states = super().forward(x, hx)
        return y.index_fill(0, torch.tensor([2]), float("nan")), states


class NoParameters:
    def __call__(self, x):
        return x


class Uncopied(nn.LSTM):
    def __deepcopy__(self, memo):
        raise TypeError("not this one")


def makes_a_number():
    return 3


REFUSED = [  # what, as what, and all that the message should hold
    (3, "lstm", ["subject should be a class, a factory, a layer or a function, got int: 3"]),
    (makes_a_number, "lstm", ["int cannot be called: it has no __call__ and no forward"]),
    (RaisesWhenMade, "lstm", [
        "RaisesWhenMade cannot be made: RaisesWhenMade(input_size, hidden_size) raises OSError: no file; ",
        "; RaisesWhenMade() raises TypeError: ",
    ]),
    (NeedsMore, "lstm", [
        "NeedsMore cannot be made: its constructor should need no more than sizes and options of torch.nn's, ",
        "and it needs vocabulary; give a function without arguments that makes it",
    ]),
    (CalledWithMore, "lstm", [
        "CalledWithMore cannot be called: it should need no more than input, states, lengths and weights, ",
        "and it needs mask",
    ]),
    (Raises, "lstm", [
        "Raises cannot be called as a layer: subject(x, (h, c)), ",
        ", subject(x): Raises raises OSError: no such file",
    ]),
    (Exits, "lstm", ["Exits cannot be called as a layer: ", ": Exits raises SystemExit: 3"]),
    (GivesADict, "lstm", ["a layer should return output, or output and (h, c), or (h, c) alone, got dict"]),
    (GivesTooMuch, "lstm", ["got (Tensor [5, 2, 4], Tensor [1, 2, 4], Tensor [1, 2, 4], Tensor [1, 2, 4])"]),
    (GivesTwoDimensions, "lstm", ["a layer should return an output of the shape [5, 2, ...], got [5, 2]"]),
    (GivesNan, "lstm", ["GivesNan should return finite numbers, got nan in output at [2, 0, 0] with nn.LSTM(3, 4)"]),
    (Uncopied(3, 4), "lstm", ["Uncopied cannot be copied: TypeError: not this one; give its class or a factory"]),
    (nn.LSTM, "gru", [
        "the parameters of LSTM should be those of nn.GRU(input_size=3, hidden_size=4) in some order, shape or ",
        "spelling, got weight_ih_l0 [16, 3], weight_hh_l0 [16, 4], ",
        "; load_weights(module, weights) can set them from torch.nn's",
    ]),
    (NoParameters, "lstm", ["got none (weights should be torch tensors)"]),
    (nn.LSTM, "lstm-cell", [
        "LSTM cannot be called as a step: ", "a step should return h [2, hidden_size], got Tensor [1, 4]",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("thing", "kind", "said"), REFUSED, ids=[getattr(r[0], "__name__", str(r[0])) for r in REFUSED]
)
def test_what_cannot_be_judged_is_told_why(thing, kind, said):
    with pytest.raises(Unjudged) as error:
        subject(thing, kind)
    assert all(part in str(error.value) for part in said), error.value


def test_a_step_that_forgets_c_cannot_go_on():
    def forgets(self, x, h, c):
        return equations(self, x, h, c)[0]

    with pytest.raises(Unjudged, match="a step should return the 2 states that the next one takes, got h"):
        subject(lstm(forgets))

    def talks(self, x, h, c):
        return {"h": h}

    with pytest.raises(Unjudged, match="a step should return h, c, alone or behind an output, got dict"):
        subject(lstm(talks), "lstm-cell")


def test_load_weights_needs_a_module_of_known_sizes():
    with pytest.raises(Unjudged, match="load_weights should be None for torchs, a function that is given its weights"):
        subject(torchs, "rnn", load_weights=print)

    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.GRU(3, 4)

        def forward(self, x):
            return self.inner(x)

    with pytest.raises(
        Unjudged, match=r"Hidden should have input_size and hidden_size, as its parameters are not read"
    ):
        subject(Hidden, "gru", load_weights=lambda module, weights: module.inner.load_state_dict(weights))

    def fails(module, weights):
        raise KeyError("weight")

    with pytest.raises(Unjudged, match=r"^load_weights raises KeyError: 'weight', where weights has weight_ih_l0 \[16"):
        subject(nn.LSTM, load_weights=fails)


def test_a_call_may_fail_later():
    class Later(nn.LSTM):
        def forward(self, x, hx=None):
            if x.shape[0] > 6:
                raise ValueError("too long")
            return super().forward(x, hx)

    made = subject(Later)
    with pytest.raises(Unjudged, match="Later raises ValueError: too long"):
        made.make(made.base)(torch.zeros(7, 2, 3), None)
    made = subject(lstm(alone))
    with pytest.raises(Unjudged, match="Layer takes no states here"):
        made.make(made.base)(*drawn(replace(made.base, states=True))[:2])
    with pytest.raises(ValueError, match="configuration should be of LSTM, got GRU"):
        made.make(replace(made.base, twin=KINDS["gru"][0]))
    with pytest.raises(NotTaken, match=r"Layer should have states=False, as it takes no other, got True"):
        made.make(replace(made.base, states=True))


# -------------------------------------------------------------------------------------------------- what it may be


def unnamed(rows):
    class Layer(nn.Module):
        def __init__(self, input_size, hidden_size):
            super().__init__()
            self.W = nn.Parameter(torch.empty(rows * hidden_size, input_size))
            self.U = nn.Parameter(torch.empty(rows * hidden_size, hidden_size))

        def forward(self, x):
            return x

    return Layer


def some_gru(x, weights):
    return x


def nothing(x, weights):
    return x


class MyReluRNN(unnamed(1)):
    pass


GUESSES = [
    (nn.LSTM, "lstm"), (nn.GRU(3, 4), "gru"), (nn.RNN, "rnn"), (nn.RNN(3, 4, nonlinearity="relu"), "rnn-relu"),
    (nn.GRUCell, "gru-cell"), (nn.RNNCell(3, 4), "rnn-cell"), (sr.LSTM, "lstm"), (sr.LSTMCell, "lstm-cell"),
    (partial(nn.LSTM, 3, 4), "lstm"), (lambda: nn.GRU(3, 4), "gru"), (lambda i, h: nn.RNN(i, h, 1, "relu"), "rnn-relu"),
    (unnamed(4), "lstm"), (unnamed(3), "gru"), (unnamed(1), "rnn"), (unnamed(3)(5, 6), "gru"),
    (unnamed(4)(5, 6), "lstm"),
    (MyReluRNN, "rnn-relu"), (some_gru, "gru"), (rnn_cell, "rnn-cell"), (nothing, None), (unnamed(2), None), (3, None),
]  # fmt: skip


@pytest.mark.parametrize(("thing", "kind"), GUESSES, ids=range(len(GUESSES)))
def test_what_it_is_can_be_guessed(thing, kind):
    found = guess(thing)
    assert (found and (found[0].word, found[1])) == (kind and (KINDS[kind][0].word, KINDS[kind][1]))


# ---------------------------------------------------------------------------------------------- where it comes from

FILE = """
import beside
from torch import nn

class Layer(nn.LSTM):
    there = beside.number
"""


def test_a_file_is_imported_by_its_path(here, monkeypatch):
    (here / "inner").mkdir()
    (here / "inner" / "layers_of_mine.py").write_text(FILE)
    (here / "inner" / "beside.py").write_text("number = 7\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    found = imported("SUBJECT", "inner/layers_of_mine.py:Layer")
    assert (found.__name__, found.there, found.__module__) == ("Layer", 7, "layers_of_mine")
    assert imported("SUBJECT", f"{here}/inner/layers_of_mine.py:Layer") is found
    assert imported("SUBJECT", "layers_of_mine:Layer") is found
    for name in ("layers_of_mine", "beside"):
        monkeypatch.delitem(sys.modules, name)


def test_a_file_may_be_called_like_a_module_that_is_there(here, monkeypatch):
    (here / "random.py").write_text("class Layer:\n    pass\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    found = imported("SUBJECT", "random.py:Layer")
    assert sys.modules["random"] is random
    assert imported("SUBJECT", "random.py:Layer") is found
    monkeypatch.delitem(sys.modules, str(here / "random.py"))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("my_file.py", "SUBJECT should be of the form my_file.py:Name, got 'my_file.py'"),
        ("my_file.py:", "SUBJECT should be of the form my_file.py:Name, got 'my_file.py:'"),
        ("my.module", "SUBJECT should be of the form my.module:Name, got 'my.module'"),
        (":Name", "SUBJECT should be of the form my.module:Name, got ':Name'"),
        ("my_file.py:Name", "SUBJECT 'my_file.py:Name' cannot be imported: there is no file my_file.py"),
        ("raises.py:Name", "SUBJECT 'raises.py:Name' cannot be imported: it raises OSError: no weights"),
        ("wrong.py:Name", "SUBJECT 'wrong.py:Name' cannot be imported: it raises SyntaxError: "),
        ("empty.py:Name", "SUBJECT 'empty.py:Name' cannot be imported: module 'empty' has no attribute 'Name'"),
        ("raises:Name", "SUBJECT 'raises:Name' cannot be imported: it raises OSError: no weights"),
    ],
)
def test_what_cannot_be_imported_is_told_why(path, said, here, monkeypatch):
    (here / "raises.py").write_text("raise OSError('no weights')\n")
    (here / "wrong.py").write_text("class Name(:\n")
    (here / "empty.py").write_text("")
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(ValueError, match=r"^SUBJECT") as error:
        imported("SUBJECT", path)
    assert str(error.value).startswith(said)
    sys.modules.pop("empty", None)
