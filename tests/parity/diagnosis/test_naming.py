"""How parameters are read, by shape and name."""

import pytest
import torch
from torch import nn

from scratchrnn.cells.twins import TWINS
from scratchrnn.parity.diagnosis.adapter import naming
from scratchrnn.parity.diagnosis.adapter.words import words
from scratchrnn.parity.diagnosis.configuration import Configuration, Place

I, H = 3, 4  # noqa: E741
TWIN = {twin.word: twin for twin in TWINS}
LSTM, GRU, RNN = (TWIN[word] for word in ("lstm", "gru", "rnn"))


def parameters(shapes):
    return {name: torch.rand(shape, dtype=torch.float64) for name, shape in shapes.items()}


def read(shapes, twin, linear=(), **options):
    held = parameters(shapes)
    return held, naming.readings(held, Configuration(twin, **options), linear)


def places(twin, *kinds, suffix="_l0"):
    return {Place(f"{kind}{suffix}", gate) for kind in kinds for gate in twin.cell.gates}


BOTH = ("weight_ih", "weight_hh")
ONE_BIAS = (*BOTH, "bias_ih")
ALL = (*ONE_BIAS, "bias_hh")


def per_gate(*forms):
    """`("W_x{}", (I, H), "ifco")`: one parameter for each gate."""
    return {form.format(g): shape for form, shape, gates in forms for g in gates}


def linears(names, entered, bias=True):
    return {f"{n}.weight": (H, entered) for n in names} | ({f"{n}.bias": (H,) for n in names} if bias else {})


SPELLINGS = {  # shapes, twin, what is read, Reading.order, how many readings
    "torch.nn's": ({n: p.shape for n, p in nn.LSTM(I, H).named_parameters()}, LSTM, ALL, "ifgo", 1),
    "a module inside": ({f"a.{n}": p.shape for n, p in nn.GRU(I, H).named_parameters()}, GRU, ALL, "rzn", 1),
    "two matrices": ({"W": (4 * H, I), "U": (4 * H, H), "b": (4 * H,)}, LSTM, ONE_BIAS, "ifgo", 1),
    "transposed": ({"W": (I, 4 * H), "U": (H, 4 * H), "b": (1, 4 * H)}, LSTM, ONE_BIAS, "ifgo", 1),
    "Keras": ({"kernel": (I, 4 * H), "recurrent_kernel": (H, 4 * H), "bias": (4 * H,)}, LSTM, ONE_BIAS, "ifgo", 1),
    "without a bias": ({"W": (3 * H, I), "R": (3 * H, H)}, GRU, BOTH, "rzn", 1),
    "one matrix on both": ({"W": (4 * H, I + H), "b": (4 * H,)}, LSTM, ONE_BIAS, "ifgo", 2),
    "one matrix, transposed": ({"W": (I + H, 4 * H), "b": (4 * H,)}, LSTM, ONE_BIAS, "ifgo", 2),
    "a dimension of gates": ({"Wx": (4, H, I), "Wh": (4, H, H), "bias": (4, H)}, LSTM, ONE_BIAS, "ifgo", 2),
    "pair and candidate": ({"g.weight": (2 * H, I + H), "c.weight": (H, I + H)}, GRU, BOTH, "rz", 2),
    "a b_hn apart": ({"W": (3 * H, I), "U": (3 * H, H), "b": (3 * H,), "b_hn": (H,)}, GRU, ONE_BIAS, "rzn", 1),
    "two nameless biases": ({"W": (3 * H, I), "U": (3 * H, H), "b1": (3 * H,), "b2": (3 * H,)}, GRU, ALL, "rzn", 2),
    "W_x and W_h": (
        per_gate(("W_x{}", (I, H), "zrh"), ("W_h{}", (H, H), "zrh"), ("b_{}", (H,), "zrh")), GRU, ONE_BIAS, "", 2,
    ),
    "x and h behind": (
        per_gate(("W_{}x", (H, I), "ifco"), ("W_{}h", (H, H), "ifco"), ("b_{}", (H,), "ifco")), LSTM, ONE_BIAS, "", 2,
    ),
    "torch.nn's equations": (
        per_gate(("W_i{}", (H, I), "ifgo"), ("W_h{}", (H, H), "ifgo"))
        | per_gate(("b_i{}", (H,), "ifgo"), ("b_h{}", (H,), "ifgo")),
        LSTM, ALL, "", 2,
    ),
    "W and U": (per_gate(("W{}", (H, I), "zrh"), ("U{}", (H, H), "zrh"), ("b{}", (H,), "zrh")), GRU, ONE_BIAS, "", 2),
    "glued": (
        per_gate(("Wx{}", (H, I), "ifgo"), ("Wh{}", (H, H), "ifgo"), ("b{}", (H,), "ifgo")), LSTM, ONE_BIAS, "", 2,
    ),
    "rows as biases": (per_gate(("W.{}", (I + H, H), "ifgo"), ("b.{}", (1, H), "ifgo")), LSTM, ONE_BIAS, "", 2),
    "Elman": ({"W_xh": (I, H), "W_hh": (H, H), "b_h": (H,)}, RNN, ONE_BIAS, "", 2),
}  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_covers_torch_nns_parameters(name):
    shapes, twin, kinds, order, count = SPELLINGS[name]
    held, found = read(shapes, twin)
    wanted = places(twin, *kinds) | ({Place("bias_hh_l0", "n")} if name == "a b_hn apart" else set())
    assert len(found) == count
    for reading in found:
        assert set(reading.weights(held)) == wanted
        assert all(w.shape in ((H, I), (H, H), (H,)) for w in reading.weights(held).values())
        assert "".join(reading.order) == order
        assert reading.promised == (name == "torch.nn's")
        assert reading.unexplained == ()
        assert bool(reading.assumed) != reading.promised
    assert len({tuple(reading.pieces) for reading in found}) == count


LINEARS = {
    "W and U of each gate": (
        linears([f"W_{g}" for g in "ifco"], I) | linears([f"U_{g}" for g in "ifco"], H, bias=False), LSTM, ONE_BIAS, 1,
    ),
    "gates by word": (linears([f"{g}_gate" for g in ("input", "forget", "cell", "output")], I + H), LSTM, ONE_BIAS, 2),
    "gates by number": (linears([f"gates.{k}" for k in range(4)], I + H), LSTM, ONE_BIAS, 2),
    "x and h of each gate": (
        linears(["reset_x", "update_x", "new_x"], I) | linears(["reset_h", "update_h", "new_h"], H),
        GRU, ALL, 1,
    ),
    "x2h and h2h": ({"x2h.weight": (H, I), "x2h.bias": (H,), "h2h.weight": (H, H), "h2h.bias": (H,)}, RNN, ALL, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", LINEARS)
def test_linears_are_never_read_transposed(name):
    shapes, twin, kinds, count = LINEARS[name]
    held, found = read(shapes, twin, [n for n in shapes if n.endswith("weight")])
    assert len(found) == count
    for reading in found:
        assert set(reading.weights(held)) == places(twin, *kinds)
        assert not any(piece.view.transposed for piece in reading.pieces)


def test_the_gates_of_flax_stand_where_they_belong():
    shapes = linears(["ir", "iz", "in"], I) | linears(["hr", "hz"], H, bias=False) | linears(["hn"], H)
    held, (reading,) = read(shapes, GRU, [n for n in shapes if n.endswith("weight")])
    weights = reading.weights(held)
    assert torch.equal(weights[Place("weight_ih_l0", "n")], held["in.weight"])
    assert torch.equal(weights[Place("weight_hh_l0", "z")], held["hz.weight"])
    assert torch.equal(weights[Place("bias_ih_l0", "n")], held["in.bias"])
    assert {place.gate for place in weights if place.name == "bias_hh_l0"} == {"n"}


def test_a_bias_beside_a_grus_matrix_of_h_is_b_hh_and_of_an_lstm_b_ih():
    gru = {"x2h.weight": (3 * H, I), "h2h.weight": (3 * H, H), "h2h.bias": (3 * H,)}
    lstm = {name: (4 * H, *shape[1:]) for name, shape in gru.items()}
    for shapes, twin, side in ((gru, GRU, "bias_hh"), (lstm, LSTM, "bias_ih")):
        held, found = read(shapes, twin)
        assert set(found[0].weights(held)) == places(twin, *BOTH, side)


def test_a_view_takes_the_rows_of_its_gate():
    held, (first, second) = read({"W": (I + H, 4 * H), "b": (4 * H,)}, LSTM)
    forget = held["W"].T[H : 2 * H]
    assert torch.equal(first.weights(held)[Place("weight_ih_l0", "f")], forget[:, :I])
    assert torch.equal(first.weights(held)[Place("weight_hh_l0", "f")], forget[:, I:])
    assert torch.equal(second.weights(held)[Place("weight_hh_l0", "f")], forget[:, :H])
    assert torch.equal(second.weights(held)[Place("weight_ih_l0", "f")], forget[:, H:])
    assert torch.equal(first.weights(held)[Place("bias_ih_l0", "f")], held["b"][H : 2 * H])
    named = per_gate(("W_x{}", (I, H), "zrh"), ("W_h{}", (H, H), "zrh"), ("b_{}", (H,), "zrh"))
    held, (first, second) = read(named, GRU)
    assert torch.equal(first.weights(held)[Place("weight_hh_l0", "n")], held["W_hh"].T)
    assert torch.equal(second.weights(held)[Place("weight_hh_l0", "n")], held["W_hh"])


def test_the_name_may_say_that_h_comes_first():
    held, found = read({"W_hx": (4 * H, I + H)}, LSTM)
    assert torch.equal(found[0].weights(held)[Place("weight_hh_l0", "i")], held["W_hx"][:H, :H])


def test_square_matrices_are_read_both_ways():
    _, found = read({"A": (H, H), "B": (H, H)}, RNN, input_size=H)
    views = [{p.place.name: (p.parameter, p.view.transposed) for p in reading.pieces} for reading in found]
    assert views[0] == {"weight_ih_l0": ("A", False), "weight_hh_l0": ("B", False)}
    assert {"weight_ih_l0": ("A", True), "weight_hh_l0": ("B", True)} in views
    assert {"weight_ih_l0": ("B", False), "weight_hh_l0": ("A", False)} in views
    _, (only,) = read({"weight_ih_l0": (H, H), "weight_hh_l0": (H, H)}, RNN, input_size=H)
    assert only.promised


@pytest.mark.parametrize(
    ("name", "shape"),
    [("w_ci", (H,)), ("gamma", (H,)), ("h0", (1, 1, H)), ("peephole", (3, H)), ("fc.weight", (7, H)), ("scale", (1,))],
)
def test_what_is_not_torch_nns_stays_unexplained(name, shape):
    _, found = read({"W": (4 * H, I), "U": (4 * H, H), "b": (4 * H,), name: shape}, LSTM)
    assert found[0].unexplained == (name,)
    assert name in found[0].assumed[-1]


def test_a_normalisations_bias_is_no_bias():
    shapes = {"W": (4 * H, I), "U": (4 * H, H), "norm_x.weight": (4 * H,), "norm_x.bias": (4 * H,), "b": (4 * H,)}
    _, found = read(shapes, LSTM)
    assert found[0].unexplained == ("norm_x.weight", "norm_x.bias")
    shapes["extra.weight"], shapes["extra.bias"] = shapes.pop("norm_x.weight"), shapes.pop("norm_x.bias")
    _, found = read(shapes, LSTM)
    assert found[0].unexplained == ("extra.weight", "extra.bias")


def stack(form, layers, directions):
    """Parameters of a stack of LSTMs: `form` takes l and d."""
    entered = [I, *[directions * H] * (layers - 1)]
    return {
        f"{form(layer, d)}.{name}": shape
        for layer in range(layers)
        for d in range(directions)
        for name, shape in (("W", (4 * H, entered[layer])), ("U", (4 * H, H)), ("b", (4 * H,)))
    }


STACKS = {
    "cells.0": (lambda layer, d: f"cells.{layer}", 3, 1),
    "layer1": (lambda layer, d: f"layer{layer + 1}", 2, 1),
    "layers.0.fwd": (lambda layer, d: f"layers.{layer}.{('fwd', 'bwd')[d]}", 2, 2),
    "forward_cells.0": (lambda layer, d: f"{('forward', 'backward')[d]}_cells.{layer}", 2, 2),
    "cells.3 for both": (lambda layer, d: f"cells.{2 * layer + d}", 2, 2),
    "layers.0.1": (lambda layer, d: f"layers.{layer}.{d}", 3, 2),
    "fw and bw": (lambda layer, d: ("fw", "bw")[d], 1, 2),
}


@pytest.mark.parametrize("name", STACKS)
def test_layers_and_directions_are_told_by_their_names(name):
    form, layers, directions = STACKS[name]
    held = parameters(stack(form, layers, directions))
    found = naming.layout(held, Configuration(LSTM))
    assert (found.num_layers, found.directions, found.bias) == (layers, directions, True)
    weights = naming.readings(held, found)[0].weights(held)
    for layer in range(layers):
        for d in range(directions):
            place = Place(f"weight_hh_l{layer}{'_reverse' * d}", "f")
            assert torch.equal(weights[place], held[f"{form(layer, d)}.U"][H : 2 * H])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("options", [{"num_layers": 3, "bidirectional": True}, {"num_layers": 2, "bias": False}, {}])
def test_torch_nns_names_promise_its_order(kind, options):
    held = dict(kind(I, H, **options).named_parameters())
    twin = {nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN}[kind]
    found = naming.layout(held, Configuration(twin))
    assert found == Configuration(twin, **options)
    (reading,) = naming.readings(held, found)
    assert reading.promised
    assert reading.assumed == ()
    for name, p in held.items():
        rows = [w for place, w in reading.weights(held).items() if place.name == name]
        assert torch.equal(torch.cat(rows), p)


def test_a_projection_is_read_too():
    held = dict(nn.LSTM(I, H, 2, proj_size=2).named_parameters())
    (reading,) = naming.readings(held, Configuration(LSTM, num_layers=2, proj_size=2))
    assert reading.promised
    assert torch.equal(reading.weights(held)[Place("weight_hr_l1", "")], held["weight_hr_l1"])
    _, found = read({"W": (4 * H, I), "U": (4 * H, 2), "proj": (H, 2)}, LSTM, proj_size=2)
    assert [p.view.transposed for p in found[0].pieces if p.parameter == "proj"] == [True]


def test_a_cells_names_promise_too():
    held = dict(nn.GRUCell(I, H).named_parameters())
    for step in (True, False):
        (reading,) = naming.readings(held, Configuration(GRU, step=step))
        assert reading.promised
        assert set(reading.weights(held)) == places(GRU, *ALL)


def test_both_directions_may_read_one_set_of_parameters():
    held, (reading,) = read({"W": (4 * H, I), "U": (4 * H, H)}, LSTM, bidirectional=True)
    weights = reading.weights(held)
    assert torch.equal(weights[Place("weight_hh_l0", "o")], weights[Place("weight_hh_l0_reverse", "o")])


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"W": (5, 3)},
        {"W": (4 * H, I)},
        {"W": (4 * H, I), "u": (H,)},
        {"weight_ih_l0": (3 * H, I), "weight_hh_l0": (3 * H, H)},
    ],
)
def test_what_does_not_add_up_has_no_reading(shapes):
    held, found = read(shapes, LSTM)
    assert found == ()
    assert naming.layout(held, Configuration(LSTM)) is None


@pytest.mark.parametrize(
    ("shapes", "twin", "entered", "hidden"),
    [
        ({"W": (256, 3), "U": (256, 64), "b": (256,)}, LSTM, 3, 64),
        ({"gates.weight": (40, 28), "gates.bias": (40,), "cand.weight": (20, 28), "cand.bias": (20,)}, GRU, 8, 20),
        ({"W_xh": (8, 20), "W_hh": (20, 20)}, RNN, 8, 20),
        ({"W": (19, 28), "b": (28,)}, LSTM, 12, 7),
    ],
)
def test_sizes_are_told_by_shapes(shapes, twin, entered, hidden):
    found = naming.sizes(parameters(shapes), Configuration(twin))
    assert (found.input_size, found.hidden_size) == (entered, hidden)
    assert found.bias == any("b" in name.split(".")[-1][:1] for name in shapes)


def test_without_a_reading_there_are_no_sizes():
    assert naming.sizes(parameters({"W": (5, 3)}), Configuration(LSTM)) is None


def test_readings_stay_the_same_in_other_sizes():
    def shapes(entered):
        return parameters(per_gate(("W_x{}", (entered, H), "zrh"), ("W_h{}", (H, H), "zrh"), ("b_{}", (H,), "zrh")))

    like = naming.readings(shapes(I), Configuration(GRU))
    square = naming.readings(shapes(H), Configuration(GRU, input_size=H), like=like)
    by_itself = naming.readings(shapes(H), Configuration(GRU, input_size=H))

    def turned(found):
        return [{p.place.name: p.view.transposed for p in each.pieces if p.view.columns} for each in found]

    assert turned(like) == [{"weight_ih_l0": True, "weight_hh_l0": True}, {"weight_ih_l0": True, "weight_hh_l0": False}]
    assert turned(square) == turned(like)
    assert turned(by_itself) != turned(like)


def test_what_was_assumed_is_said():
    _, found = read({"W": (I + H, 4 * H), "b": (4 * H,)}, LSTM)
    assert found[0].assumed == (
        "read: W [7, 16] as weight_ih and weight_hh in one, on [x, h], transposed, gates in the order i, f, g, o; "
        "b [16] as bias_ih, gates in the order i, f, g, o; no second bias beside b",
    )
    _, found = read({f"a.{n}": p.shape for n, p in nn.GRU(I, H).named_parameters()}, GRU)
    assert found[0].assumed == ("read by torch.nn's names, which are those of a module inside",)
    assert naming.shapes_of({}) == "none (weights should be torch tensors)"
    assert naming.shapes_of(parameters({"W": (2, 3)})) == "W [2, 3]"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cells.0.W_xf", "cells 0 w x f"),
        ("x2h.weight", "x h weight"),
        ("forgetGate.weight", "forget gate weight"),
        ("Wforget", "w forget"),
        ("weightIH", "weight i h"),
        ("in_proj", "in proj"),
        ("bwd.b_o", "bwd b o"),
    ],
)
def test_names_are_read_word_by_word(name, said):
    assert words(name) == tuple(said.split())
