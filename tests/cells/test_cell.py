"""A `Cell` is a frozen value that refuses what the engine could not run."""

import copy
import dataclasses
import functools
import pickle
import re
import subprocess
import sys
from collections import namedtuple

import pytest
import torch
from running import outcome
from table import ROWS, mgu, mgu_adjoint, mgu_update, pair, pair_update
from torch import nn

import scratchrnn as sr
from scratchrnn import Cell, RecurrentLayer, cells
from scratchrnn.cells.registry import find_cell
from scratchrnn.traces import trace


def cell(**changes):
    """A cell of one gate, with some of its fields changed."""
    return Cell(**{"name": "X", "gates": ("n",), "update": lambda n, h_prev: ((n + h_prev,), None)} | changes)


def fits(n, h_prev): ...
def mine(n, h_prev): ...
def with_more(n, *states_prev): ...
def with_keyword_only(n, h_prev, *, scale=1): ...
def with_keywords(n, h_prev, **options): ...
def without_state(n): ...
def without_anything(): ...
def state_first(h_prev, n): ...
def other_name(m, h_prev): ...
def unsplit(n, h_prev, c_prev): ...
def half_split(n_h, n_x, h_prev): ...
def no_prev(n, h): ...
def second_no_prev(n, h_prev, c): ...
def with_tape(tape, dh): ...


TAKEN = [
    *("bias", "cell", "join", "is_real", "lengths", "nodes", "of_a_run", "tensors", "valid"),
    *("name", "call", "layer", "reverse", "sequence", "step", "unit"),
]
BAD_GATES = [(), ("n", "n"), ("n", "1n"), ("n", ""), ("a b",), (None,), (1,)]
BAD_SPLITS = [("r",), ("n", "r"), ("n_x",)]
NAMES = "the pre-activations in the order of gates, then the states"


def named(cell_names, given):
    return f"update of cell 'X' should name its arguments ({cell_names}, h_prev, ...): {NAMES}; got ({given})"


UNFIT = [
    *[({"gates": g}, ValueError, f"gates of cell 'X' should be distinct identifiers, got {g}") for g in BAD_GATES],
    *[
        ({"split": s}, ValueError, f"split of cell 'X' should name some of its gates ('n',), each once, got {s}")
        for s in BAD_SPLITS
    ],
    ({"update": None}, TypeError, "update of cell 'X' should be a function, got NoneType"),
    ({"update": "tanh"}, TypeError, "update of cell 'X' should be a function, got str"),
    ({"update": with_more}, TypeError, "update of cell 'X' should take positional arguments only, got *states_prev"),
    ({"update": with_keyword_only}, TypeError, "update of cell 'X' should take positional arguments only, got scale=1"),
    ({"update": with_keywords}, TypeError, "update of cell 'X' should take positional arguments only, got **options"),
    ({"update": without_state}, TypeError, "update of cell 'X' should take (n, h_prev, ...), got (n)"),
    ({"update": without_anything}, TypeError, "update of cell 'X' should take (n, h_prev, ...), got ()"),
    (
        {"update": fits, "split": ("n",)},
        TypeError,
        "update of cell 'X' should take (n_x, n_h, h_prev, ...), got (n, h_prev)",
    ),
    ({"update": state_first}, ValueError, named("n", "h_prev, n")),
    ({"update": other_name}, ValueError, named("n", "m, h_prev")),
    ({"update": unsplit, "split": ("n",)}, ValueError, named("n_x, n_h", "n, h_prev, c_prev")),
    ({"update": half_split, "split": ("n",)}, ValueError, named("n_x, n_h", "n_h, n_x, h_prev")),
    ({"update": no_prev}, ValueError, named("n", "n, h")),
    ({"update": second_no_prev}, ValueError, named("n", "n, h_prev, c")),
    ({"adjoint": "by hand"}, TypeError, "adjoint of cell 'X' should be a function, got str"),
    ({"adjoint": with_more}, TypeError, "adjoint of cell 'X' should take positional arguments only, got *states_prev"),
    *[
        (
            {"adjoint": adjoint},
            TypeError,
            f"adjoint of cell 'X' should take the tape and the gradients of its 1 state(s), got ({taken})",
        )
        for adjoint, taken in [(lambda tape: (), "tape"), (lambda tape, dh, dc: (), "tape, dh, dc")]
    ],
    ({"check": False}, ValueError, "check=False of cell 'X' goes with an adjoint, and it has none"),
    ({"adjoint": with_tape, "check": 1}, TypeError, "check of cell 'X' should be of type bool, got: int"),
    (
        {"update": unsplit, "adjoint": lambda tape, dh: ()},
        TypeError,
        "adjoint of cell 'X' should take the tape and the gradients of its 2 state(s), got (tape, dh)",
    ),
]


@pytest.mark.parametrize(("changes", "error", "text"), UNFIT)
def test_an_unfit_field_is_refused_by_name(changes, error, text):
    assert outcome(cell) is None
    assert outcome(cell, **changes) == (error, text)


SOMETHING_ELSE = "a trace has something else under that name"


@pytest.mark.parametrize("name", TAKEN)
def test_a_gate_or_state_is_not_called_as_something_else_in_a_trace(name):
    text = f"gates and states of cell 'X' should not be called {name}: {SOMETHING_ELSE}"
    gate, state, field = {}, {}, {}
    exec(f"def update({name}, h_prev): ...", gate)
    exec(f"def update(n, h_prev, {name}_prev): ...", state)
    exec(f"def update(n, h_prev): return (n,), Tape({name}=n)", field | {"Tape": namedtuple("Tape", name)}, field)
    assert outcome(cell, gates=(name,), update=gate["update"]) == (ValueError, text)
    assert outcome(cell, update=state["update"]) == (ValueError, text)
    caught = outcome(RecurrentLayer, cell(update=field["update"]), 3, 4)
    assert caught[1] == f"the tape of cell 'X' has another tensor under the name {name!r} than a trace would have"


def test_every_attribute_and_column_of_a_trace_is_refused_as_a_gate():
    traced = trace(nn.Sequential(RecurrentLayer(mgu, 3, 4)), torch.randn(5, 2, 3))
    record = traced["0"].layer(0)
    attributes = {name for name in dir(record) if not name.startswith("_")}
    assert attributes | set(traced.to_dataframe()) - set(record) == set(TAKEN)


def test_a_gate_that_is_split_twice_is_refused():
    with pytest.raises(ValueError, match=re.escape("split of cell 'MGU' should")):
        Cell("MGU", ("f", "n"), mgu_update, split=("n", "n"))


@pytest.mark.parametrize(
    ("made", "pre_activations", "states"),
    [
        (cells.elman, "n", "h"),
        (cells.elman_relu, "n", "h"),
        (cells.lstm, "i f g o", "h c"),
        (cells.gru, "r z n_x n_h", "h"),
        (mgu, "f n_x n_h", "h"),
        (pair, "a_x a_h u b_x b_h", "h m k"),
        (Cell("P", ("a", "u", "b"), pair_update, split=("b", "a")), "a_x a_h u b_x b_h", "h m k"),
    ],
    ids=lambda value: value.name if isinstance(value, Cell) else None,
)
def test_pre_activations_and_states_are_read_from_gates_split_and_update(made, pre_activations, states):
    assert made.pre_activations == tuple(pre_activations.split())
    assert made.states == tuple(states.split())


def test_gates_and_split_may_be_lists_and_are_kept_as_tuples():
    made = Cell("MGU", ["f", "n"], mgu_update, mgu_adjoint, ["n"])
    assert (made.gates, made.split) == (("f", "n"), ("n",))
    assert made == mgu


class Scaled:
    def __init__(self, scale):
        self.scale = scale

    def __call__(self, n, h_prev):
        return (self.scale * n + h_prev,), None

    def method(self, n, h_prev):
        return self(n, h_prev)


@pytest.mark.parametrize("update", [Scaled(2.0), Scaled(2.0).method, functools.partial(Scaled.method, Scaled(2.0))])
def test_update_may_be_any_callable_with_named_arguments(update):
    made = cell(update=update)
    assert (made.pre_activations, made.states) == (("n",), ("h",))


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Cell)])
def test_a_cell_is_frozen(name):
    made = cell()
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{name}'"):
        setattr(made, name, getattr(mgu, name))
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot delete field '{name}'"):
        delattr(made, name)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_equal_fields_make_equal_cells_with_equal_hashes(row):
    again = dataclasses.replace(row.cell)
    assert again is not row.cell
    assert again == row.cell
    assert hash(again) == hash(row.cell)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"gates": ("n", "m"), "update": lambda n, m, h_prev: ...},
        {"update": fits},
        {"adjoint": lambda tape, dh: ()},
        {"split": ("n",), "update": lambda n_x, n_h, h_prev: ...},
        {"adjoint": with_tape, "check": False},
    ],
)
def test_another_field_makes_another_cell(change):
    base = {"update": mine} if "update" not in change else {}
    base |= {"adjoint": with_tape} if "check" in change else {}
    assert cell(**base | change) != cell(**base)


def test_repr_shows_the_fields_that_were_given():
    shown = repr(mgu)
    assert shown.startswith("Cell(name='MGU', gates=('f', 'n'), update=<function mgu_update")
    assert shown.endswith("split=('n',), check=True, walk=False)")


# ------------------------------------------------------------------------------ what update and adjoint return

Tape = namedtuple("Tape", "f")


def keep(f, h_prev):
    return (torch.tanh(f + h_prev),), Tape(f)


def own(update, adjoint=None, **options):
    return RecurrentLayer(Cell("OWN", ("f",), update, adjoint), 3, 4, **options)


STATE, D_PRE = "update's state of cell 'OWN' should be a tuple of 1: (h)", "adjoint's d_pre_activations of cell 'OWN'"
PAIR = "adjoint of cell 'OWN' should return (d_pre_activations, d_state_prev), got"


def taped(name):
    """An update whose tape has -f under that name."""
    tape = namedtuple("Tape", name)
    return lambda f, h_prev: ((torch.tanh(f),), tape(-f))


@pytest.mark.parametrize(
    ("update", "adjoint", "error", "text"),
    [
        (lambda f, h_prev: (f, f, f), None, TypeError, f"{STATE}; got 3 values"),
        (lambda f, h_prev: (f, None), None, TypeError, f"{STATE}; got 2 values"),
        (lambda f, h_prev: [f], None, TypeError, f"{STATE} of the gates' shape; h came as list"),
        (lambda f, h_prev: ((f, f), None), None, TypeError, f"{STATE}; got 2 values"),
        (lambda f, h_prev: ((f[:1],), None), None, TypeError, f"{STATE} of the gates' shape; h came as [1, 4]"),
        (
            lambda f, h_prev: ((torch.zeros((), dtype=f.dtype),), None),
            None,
            TypeError,
            f"{STATE} of the gates' shape; h came as []",
        ),
        (lambda f, h_prev: ((1.0,), None), None, TypeError, f"{STATE} of the gates' shape; h came as float"),
        (keep, lambda tape, dh: dh, TypeError, f"{PAIR} Tensor"),
        (keep, lambda tape, dh: (dh, dh), TypeError, f"{D_PRE} should be a tuple of 1: (f); got Tensor"),
        (keep, lambda tape, dh: ((dh, dh), (None,)), TypeError, f"{D_PRE} should be a tuple of 1: (f); got 2 values"),
        (
            keep,
            lambda tape, dh: ((None,), (dh,)),
            TypeError,
            f"{D_PRE} should be a tuple of 1: (f) of the gates' shape; f",
        ),
        (
            keep,
            lambda tape, dh: ((dh,), ()),
            TypeError,
            "adjoint's d_state_prev of cell 'OWN' should be a tuple of 1: (h); got 0 values",
        ),
        (
            keep,
            lambda tape, dh: ((dh - dh.mean(),), (None,)),
            ValueError,
            "adjoint of cell 'OWN' should act unit by unit, by Hadamard products: its df at dh = 1 does not say what",
        ),
        (
            lambda f, h_prev: ((torch.tanh(f),), namedtuple("Tape", "h")(f)),
            None,
            ValueError,
            "the tape of cell 'OWN' has another tensor under the name 'h' than a trace would have",
        ),
        *(
            (
                taped(name),
                None,
                ValueError,
                f"the tape of cell 'OWN' has another tensor under the name {name!r} than a trace would have",
            )
            for name in ("f_pre", "f_x", "f_h", "h_prev")
        ),
    ],
)
def test_what_update_and_adjoint_return_is_checked_with_the_layer(update, adjoint, error, text):
    caught = outcome(own, update, adjoint)
    assert caught[0] is error
    assert caught[1].startswith(text)


def test_an_adjoint_may_return_what_it_gets_or_keep_a_mask():
    def linear(f, h_prev):
        return (f,), Tape(f)

    def masked(f, h_prev):
        return (torch.relu(f),), Tape(f > 0)

    for update, adjoint in (
        (linear, lambda tape, dh: ((dh,), (None,))),
        (masked, lambda tape, dh: ((dh * tape.f,), (None,))),
    ):
        by_hand, walked = own(update, adjoint, dtype=torch.float64), own(update, dtype=torch.float64)
        walked.load_state_dict(by_hand.state_dict())
        x = torch.randn(5, 2, 3, dtype=torch.float64)
        for a, b in zip(
            *(torch.autograd.grad(m(x)[0].sin().sum(), m.parameters()) for m in (by_hand, walked)), strict=True
        ):
            torch.testing.assert_close(a, b)


WRITES = "of cell 'OWN' should leave what it is given as it is, but it writes into"


def add_to_gate(f, h_prev):
    f += 1.0
    return (torch.tanh(f),), Tape(f)


def clear_state(f, h_prev):
    return (torch.tanh(f) + h_prev.mul_(0.5),), Tape(f)


def tanh_of(f, h_prev):
    return (torch.tanh(f),), Tape(torch.tanh(f))


@pytest.mark.parametrize(
    ("update", "adjoint", "text"),
    [
        (add_to_gate, None, f"update {WRITES} f:"),
        (add_to_gate, lambda tape, dh: ((dh * (1 - torch.tanh(tape.f) ** 2),), (None,)), f"update {WRITES} f:"),
        (clear_state, None, f"update {WRITES} h_prev:"),
        (lambda f, h_prev: ((torch.tanh(f) + h_prev.clamp_(-3, 3),), None), None, f"update {WRITES} h_prev:"),
        (
            lambda f, h_prev: ((torch.tanh(f),), {"f": torch.tanh(f)}),
            lambda tape, dh: ((tape["f"].square_().neg_().add_(1) * dh,), (None,)),
            f"adjoint {WRITES} f of its tape:",
        ),
        (
            lambda f, h_prev: ((torch.tanh(f),), torch.tanh(f)),
            lambda tape, dh: ((tape.square_().neg_().add_(1) * dh,), (None,)),
            f"adjoint {WRITES} tape:",
        ),
        (tanh_of, lambda tape, dh: ((dh.mul_(1 - tape.f**2),), (None,)), f"adjoint {WRITES} dh:"),
        (tanh_of, lambda tape, dh: ((tape.f.square_().neg_().add_(1) * dh,), (None,)), f"adjoint {WRITES} f of its"),
    ],
)
def test_an_update_or_adjoint_that_writes_into_what_it_is_given_is_refused(update, adjoint, text):
    caught = outcome(own, update, adjoint)
    assert caught[0] is ValueError
    assert caught[1].startswith(text)
    assert caught[1].endswith(": the engine takes the same step again for the gradient")


# --------------------------------------------------------------------------------------------- laws of an update


@pytest.mark.parametrize(
    "update",
    [
        lambda f, h_prev: ((torch.tanh(f - f.mean(0)),), None),
        lambda f, h_prev: ((torch.tanh(f) + h_prev.flip(0),), None),
        lambda f, h_prev: ((torch.nn.functional.dropout(torch.tanh(f)),), None),
    ],
)
def test_an_update_that_mixes_rows_or_draws_numbers_is_refused(update):
    text = "update of cell 'OWN' should be pure and work row by row, but h of a row is another alone than beside other"
    assert outcome(own, update) == (ValueError, f"{text} rows")


def test_an_update_that_refuses_one_row_is_told_the_law():
    caught = outcome(own, lambda f, h_prev: ((torch.nn.functional.batch_norm(f, None, None, training=True),), None))
    assert caught[0] is ValueError
    text = "update of cell 'OWN' should be pure and work row by row, but it refuses one row alone: Expected more than 1"
    assert caught[1].startswith(text)


class Float32Only(torch.autograd.Function):
    @staticmethod
    def forward(ctx, f):
        if f.dtype != torch.float32:
            raise RuntimeError("only float32")
        ctx.save_for_backward(h := torch.tanh(f))
        return h

    @staticmethod
    def backward(ctx, dh):
        (h,) = ctx.saved_tensors
        return dh * (1 - h * h)


W = torch.randn(4, 4)
frozen, norm = torch.nn.Linear(4, 4).requires_grad_(False), torch.nn.LayerNorm(4).requires_grad_(False)
FLOAT32 = {
    "a matrix": lambda f, h_prev: f + h_prev @ W,
    "a frozen layer": lambda f, h_prev: frozen(f),
    "a frozen norm": lambda f, h_prev: norm(f),
    "a matrix made inside": lambda f, h_prev: f @ torch.eye(4),
    "a kernel": lambda f, h_prev: Float32Only.apply(f),
}


@pytest.mark.parametrize("kind", FLOAT32)
def test_an_update_may_work_in_float32_alone(kind):
    def update(f, h_prev):
        f = torch.tanh(FLOAT32[kind](f, h_prev))
        return (f,), Tape(f)

    layer = own(update)
    layer(torch.randn(5, 2, 3))[0].sum().backward()
    assert layer.weight_ih_l0.grad.abs().max() > 0


def test_an_adjoint_is_checked_in_float32_where_its_update_knows_nothing_else():
    def update(f, h_prev):
        f = Float32Only.apply(f)
        return (f,), Tape(f)

    own(update, lambda tape, dh: ((dh * (1 - tape.f**2),), (None,)))
    assert "in df; " in outcome(own, update, lambda tape, dh: ((dh * (1 + tape.f**2),), (None,)))[1]


def test_a_complex_layer_may_have_a_complex_update():
    def update(f, h_prev):
        return (torch.complex(f.real.tanh(), f.imag.tanh()),), Tape(f)

    layer = own(update, dtype=torch.complex64)
    assert layer(torch.randn(5, 2, 3, dtype=torch.complex64))[0].is_complex()
    own(lambda f, h_prev: ((f * 2j,), None), lambda tape, dh: ((dh * -2j,), (None,)), dtype=torch.complex64)


def test_an_update_may_make_tensors_wherever_the_layer_is_made():
    def update(f, h_prev):
        f = torch.where(f > 0, f * torch.tensor(2.0), torch.zeros(f.shape[-1])) + torch.ones(4)
        return (f,), Tape(f)

    with torch.device("meta"):
        assert own(update).weight_ih_l0.is_meta


def test_a_state_is_only_asked_for_where_it_can_come_to():
    Running = namedtuple("Running", "a s")

    def update(a, h_prev, v_prev):
        v = 0.9 * v_prev + 0.1 * a * a
        s = (v.clamp(min=0) + 1e-8).sqrt()
        return (a / s, v), Running(a, s)

    def adjoint(tape, dh, dv):
        dv = dv - 0.5 * dh * tape.a / tape.s**3
        return (dh / tape.s + 0.2 * dv * tape.a,), (None, 0.9 * dv)

    RecurrentLayer(Cell("OWN", ("a",), update, adjoint), 3, 4)


def test_an_update_that_autograd_cannot_follow_is_told_so():
    with torch.inference_mode():
        scale = torch.full((4,), 2.0)
    cannot = Cell("OWN", ("f",), lambda f, h_prev: ((scale * f,), None), lambda tape, dh: ((scale * dh,), (None,)))
    caught = outcome(RecurrentLayer, cannot, 3, 4)
    assert caught[0] is ValueError
    assert caught[1].startswith("adjoint of cell 'OWN' cannot be held to autograd of its update (Inference tensors")
    assert caught[1].endswith("; Cell(..., check=False) takes it as it is")
    RecurrentLayer(dataclasses.replace(cannot, check=False), 3, 4)


def test_an_update_may_mix_units_and_round_to_float32():
    own(lambda f, h_prev: ((torch.softmax(f, -1),), None))
    own(lambda f, h_prev: ((torch.tanh(f.float()).to(f.dtype),), None))


peephole = torch.zeros(4, requires_grad=True)
linear = torch.nn.Linear(4, 4)


def with_global(f, h_prev):
    return (torch.tanh(f + peephole),), None


class Holder:
    def __init__(self):
        self.scale = torch.ones(4, requires_grad=True)

    def __call__(self, f, h_prev):
        return (torch.tanh(f * self.scale),), None

    def method(self, f, h_prev):
        return self(f, h_prev)


def holding():
    """Updates that hold a tensor to be trained, in every way a function can, and how it is called."""
    p = torch.zeros(4, requires_grad=True)

    def enclosing(f, h_prev):
        return (torch.tanh(f + p),), None

    def inner(f):
        return f * p

    def calling(f, h_prev):
        return (torch.tanh(inner(f)),), None

    def of_module(f, h_prev):
        return (linear(f),), None

    def in_tape(f, h_prev):
        return (torch.tanh(f),), Tape(p * f)

    def partial(p, f, h_prev):
        return (p * f,), None

    def made(f, h_prev):
        return (torch.tanh(f) * torch.ones(4, requires_grad=True),), None

    several, by_name = [torch.ones(4), p], {"peephole": p}

    def of_list(f, h_prev):
        return (torch.tanh(f + several[1]),), None

    def of_dict(f, h_prev):
        return (torch.tanh(f + by_name["peephole"]),), None

    nested = {"gates": [{"f": (torch.ones(4), p)}]}
    nested["gates"].insert(0, nested)  # it holds itself

    def of_nested(f, h_prev):
        return (torch.tanh(f + nested["gates"][1]["f"][1]),), None

    return [
        (enclosing, "the tensor p [4]"),
        (calling, "the tensor p [4]"),
        (with_global, "the tensor peephole [4]"),
        (of_module, "the tensor linear.weight [4, 4]"),
        (in_tape, "the tensor p [4]"),
        (Holder(), "the tensor self.scale [4]"),
        (Holder().method, "the tensor self.scale [4]"),
        (functools.partial(partial, p), "the tensor its argument [4]"),
        (made, "a tensor"),
        (of_list, "the tensor several[1] [4]"),
        (of_dict, "the tensor by_name['peephole'] [4]"),
        (of_nested, "the tensor nested['gates'][1]['f'][1] [4]"),
    ]


@pytest.mark.parametrize(("update", "named"), holding(), ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("grad", [True, False])
def test_an_update_that_holds_a_tensor_to_be_trained_is_refused(update, named, grad):
    with torch.set_grad_enabled(grad):
        caught = outcome(own, update)
    assert caught[0] is ValueError
    assert caught[1].startswith(f"update of cell 'OWN' holds {named}, which requires a gradient but would be no param")


def test_what_an_update_holds_is_read_at_each_call():
    scale, shift = 1.0, torch.zeros(4)

    def update(f, h_prev):
        return (scale * f + shift,), None

    def adjoint(tape, dh):
        return (scale * dh,), (None,)

    for adjoint_ in (None, adjoint):
        layer = own(update, adjoint_)
        x = torch.randn(5, 2, 3)
        compiled = torch.compile(layer, backend="eager")
        with torch.no_grad():
            for scale, shift in ((1.0, torch.ones(4)), (2.0, torch.zeros(4)), (3.0, -torch.ones(4))):
                one = layer(x[:1])[0]
                expected = scale * (x[:1] @ layer.weight_ih_l0.T + layer.bias_ih_l0 + layer.bias_hh_l0) + shift
                torch.testing.assert_close(one, expected)
                torch.testing.assert_close(compiled(x[:1])[0], expected)


def test_a_number_that_an_update_holds_is_read_at_each_call_of_training():
    scale = 1.0

    def update(f, h_prev):
        return scale * f

    layer, x = own(update), torch.randn(1, 2, 3)
    for scale in (1.0, 2.0, 3.0):
        output, _ = layer(x)
        torch.testing.assert_close(output, scale * (x @ layer.weight_ih_l0.T + layer.bias_ih_l0 + layer.bias_hh_l0))
        (found,) = torch.autograd.grad(output.sum(), layer.weight_ih_l0)
        torch.testing.assert_close(found, scale * x.sum((0, 1)).expand(4, 3))


# ------------------------------------------------------------------------------- an adjoint beside its update

WRONG = {
    "df": lambda f, c_prev, tanh_f, dh, dc: ((dh * (1 + tanh_f**2) + dc * c_prev,), (None, dc * f)),
    "dc": lambda f, c_prev, tanh_f, dh, dc: ((dh * (1 - tanh_f**2) + dc * c_prev,), (None, dc)),
    "df, dc": lambda f, c_prev, tanh_f, dh, dc: ((dh * (1 - tanh_f**2),), (None, None)),
    "dh": lambda f, c_prev, tanh_f, dh, dc: ((dh * (1 - tanh_f**2) + dc * c_prev,), (1e-3 * dh, dc * f)),
}
Both = namedtuple("Both", "f c_prev tanh_f")


def both(f, h_prev, c_prev):
    tanh_f = torch.tanh(f)
    return (tanh_f, f * c_prev), Both(f, c_prev, tanh_f)


@pytest.mark.parametrize("departs", WRONG)
@pytest.mark.parametrize("options", [{}, {"device": "meta"}, {"dtype": torch.bfloat16}, {"dtype": torch.complex64}])
def test_a_wrong_adjoint_is_refused_with_the_gradients_in_which_it_departs(departs, options):
    def adjoint(tape, dh, dc):
        return WRONG[departs](*tape, dh, dc)

    text = (
        f"adjoint of cell 'OWN' departs from the derivative of its update, as autograd has it, in {departs}; "
        "Cell(..., check=False) takes one that does so on purpose"
    )
    assert outcome(own, both, adjoint, **options) == (ValueError, text)
    own(both, lambda tape, dh, dc: ((dh * (1 - tape[2] ** 2) + dc * tape[1],), (None, dc * tape[0])), **options)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_an_adjoint_is_checked_wherever_the_layer_is_made(mode):
    with mode():
        assert "in df; " in outcome(own, both, lambda tape, dh, dc: WRONG["df"](*tape, dh, dc))[1]
        own(both, lambda tape, dh, dc: ((dh * (1 - tape[2] ** 2) + dc * tape[1],), (None, dc * tape[0])))


def binary(f, h_prev):
    """A gate that is 0 or 1: its derivative is 0 everywhere."""
    f = torch.sigmoid(f)
    return (torch.round(f),), Tape(f)


def straight_through(tape, dh):
    (f,) = tape
    return (dh * f * (1 - f),), (None,)


def through(f, h_prev):
    """The same for autograd."""
    f = torch.sigmoid(f)
    return (f + (torch.round(f) - f).detach(),), None


def twice(layer, x):
    output, _ = layer(x)
    (dx,) = torch.autograd.grad(output.sin().sum(), x, create_graph=True)
    return torch.autograd.grad(dx.square().sum(), [x, *layer.parameters()])


ROADS = {
    "by hand": lambda layer, x: torch.autograd.grad(layer(x)[0].sin().sum(), [x, *layer.parameters()]),
    "checkpointed": lambda layer, x: (setattr(layer, "checkpoint_every", 2), ROADS["by hand"](layer, x))[1],
    "compiled": lambda layer, x: ROADS["by hand"](torch.compile(layer, backend="aot_eager"), x),
    "walked": lambda layer, x: torch.autograd.grad(
        layer(x)[0].sin().sum(), [x, *layer.parameters()], create_graph=True
    ),
    "twice": twice,
    "torch.func": lambda layer, x: [torch.func.grad(lambda x: layer(x)[0].sin().sum())(x)],
    "jacrev": lambda layer, x: [torch.func.jacrev(lambda x: layer(x)[0].sin().sum(1))(x)],
    "vmap": lambda layer, x: [
        torch.func.vmap(torch.func.grad(lambda x: layer(x)[0].sin().sum()), in_dims=1, out_dims=1)(x)
    ],
}


@pytest.mark.parametrize("road", ROADS)
def test_an_adjoint_that_departs_on_purpose_is_used_as_written_on_every_road(road):
    assert "in df; " in outcome(own, binary, straight_through)[1]
    written = Cell("BINARY", ("f",), binary, straight_through, check=False)
    ours = RecurrentLayer(written, 3, 4, num_layers=2, dtype=torch.float64)
    reference = own(through, num_layers=2, dtype=torch.float64)
    reference.load_state_dict(ours.state_dict())
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    found = ROADS[road](ours, x)
    exact = ROADS["by hand" if road == "checkpointed" else road](reference, x)
    assert any(d.abs().max() > 1e-3 for d in exact)
    for a, b in zip(found, exact, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own
def test_forward_mode_says_why_it_cannot_follow_an_adjoint_that_departs_on_purpose():
    layer = RecurrentLayer(Cell("BINARY", ("f",), binary, straight_through, check=False), 3, 4)
    x = torch.randn(5, 2, 3)
    caught = outcome(torch.func.jvp, lambda x: layer(x)[0], (x,), (x,))
    text = "forward-mode AD cannot follow cell 'BINARY': its adjoint departs from its update on purpose (check=False)"
    assert caught == (RuntimeError, f"{text}, and an adjoint works backward")


def test_a_gradient_that_is_one_number_has_the_shape_of_its_tensor_on_every_road():
    def adjoint(tape, dh):
        return (dh * 1,), (dh.new_zeros(()),)

    ours = RecurrentLayer(Cell("ONES", ("f",), binary, adjoint, check=False), 3, 4)
    x = torch.randn(5, 2, 3, requires_grad=True)
    (by_hand,) = torch.autograd.grad(ours(x)[0].sum(), x)
    torch.testing.assert_close(torch.func.grad(lambda x: ours(x)[0].sum())(x), by_hand)


def test_check_stays_with_a_cell_when_it_is_copied_pickled_or_moved():
    made = Cell("KEPT_BINARY", ("f",), binary, straight_through, check=False)
    for again in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made)), dataclasses.replace(made)):
        assert not again.check
        assert again == made
    layer = pickle.loads(pickle.dumps(RecurrentLayer(made, 3, 4)))
    assert layer.double().cell is made


def test_gradients_of_a_trace_are_not_those_of_an_adjoint_that_departs_on_purpose():
    layer = RecurrentLayer(Cell("BINARY", ("f",), binary, straight_through, check=False), 3, 4)
    assert sr.trace(layer, torch.randn(5, 2, 3)).layer(0).f.shape == (5, 2, 4)
    text = "differentiable=True gives gradients by autograd, and cell 'BINARY' has others on purpose (check=False)"
    assert outcome(sr.trace, layer, torch.randn(5, 2, 3), differentiable=True) == (ValueError, text)


def test_making_a_layer_draws_no_random_numbers_beside_its_weights():
    torch.manual_seed(3)
    layer = own(both, lambda tape, dh, dc: ((dh * (1 - tape[2] ** 2) + dc * tape[1],), (None, dc * tape[0])))
    torch.manual_seed(3)
    assert all(torch.equal(p, torch.empty(p.shape).uniform_(-0.5, 0.5)) for p in layer.parameters())


def test_cells_of_one_name_have_keys_of_their_own_code():
    def other(f, h_prev):
        return (torch.sigmoid(f + h_prev),), Tape(f)

    first, second = (Cell("OWN", ("f",), update) for update in (keep, other))
    assert first.key != second.key
    key = second.key
    del first, second
    assert Cell("OWN", ("f",), other).key == key
    with pytest.raises(KeyError, match="no cell with the key 'NONE' here: make the cell, with the very same update"):
        find_cell("NONE")


KEYS = """
from scratchrnn import Cell

def update(f, h_prev):
    return tuple(map(lambda v: v.tanh(), [f])), None

cells = [Cell("OWN", ("f",), update)]
def make(factor):
    def update(f, h_prev):
        return (factor * f,), None
    return Cell("OWN", ("f",), update)
cells += [make(0.1), make(0.9)]
print(*[cell.key for cell in cells])
"""


def test_an_update_may_enclose_itself_or_what_is_defined_later():
    def update(f, h_prev):
        return (later * f,), update

    assert Cell("OWN", ("f",), update).key
    later = 2.0
    assert Cell("OWN", ("f",), update).key
    assert later


def test_keys_are_the_same_in_every_process_and_differ_by_what_a_function_encloses():
    runs = [subprocess.run([sys.executable, "-c", KEYS], capture_output=True, text=True, check=True) for _ in range(2)]
    first, second = (run.stdout.split() for run in runs)
    assert first == second
    assert len(set(first)) == 3
    assert not any("#" in key for key in first)


# ---------------------------------------------------------------------------------------------- torch.nn's twins


@pytest.mark.parametrize("twin", cells.TWINS, ids=lambda twin: twin.case)
def test_each_row_of_the_table_of_twins_is_the_cell_that_its_classes_of_torch_nn_compute(twin):
    layer, step = (kind(3, 4, dtype=torch.float64, **twin.options) for kind in (twin.layer, twin.step))
    assert layer.mode == twin.cell.name
    x = torch.randn(1, 2, 3, dtype=torch.float64)
    layer.load_state_dict({f"{name}_l0": weight for name, weight in step.state_dict().items()})
    for theirs, given in ((layer, x), (step, x[0])):
        ours = sr.from_torch(theirs)
        assert ours.cell is twin.cell
        assert sr.compare(ours, theirs, given)
    torch.testing.assert_close(layer(x)[0][0], step(x[0])[0] if len(twin.cell.states) > 1 else step(x[0]))


def test_the_names_of_the_built_in_cells_are_theirs_alone():
    for field in ("case", "word", "title"):
        assert len({getattr(twin, field) for twin in cells.TWINS}) == len(cells.TWINS)
    assert [twin.cell for twin in cells.TWINS] == list(cells.BUILT_IN.values())
    assert [cells.find_twin(twin.cell) for twin in cells.TWINS] == list(cells.TWINS)
    assert cells.find_twin(mgu) is None
