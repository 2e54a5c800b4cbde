"""A `Cell` is a frozen value that refuses what the engine could not run."""

import dataclasses
import functools
import re
import subprocess
import sys
from collections import namedtuple

import pytest
import torch
from running import outcome
from table import ROWS, mgu, mgu_adjoint, mgu_update, pair, pair_update

from scratchrnn import Cell, RecurrentLayer, cells
from scratchrnn.cell import find_cell


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
    ],
)
def test_another_field_makes_another_cell(change):
    base = {"update": mine} if "update" not in change else {}
    assert cell(**base | change) != cell(**base)


def test_repr_shows_the_fields_that_were_given():
    shown = repr(mgu)
    assert shown.startswith("Cell(name='MGU', gates=('f', 'n'), update=<function mgu_update")
    assert shown.endswith("split=('n',))")


# ------------------------------------------------------------------------------ what update and adjoint return

Tape = namedtuple("Tape", "f")


def keep(f, h_prev):
    return (torch.tanh(f + h_prev),), Tape(f)


def two(f, h_prev, c_prev):
    return (torch.tanh(f + c_prev), f * c_prev), Tape(f)


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
        (lambda f, h_prev: f, None, TypeError, "update of cell 'OWN' should return (state, tape), got Tensor"),
        (
            lambda f, h_prev: (f, f, f),
            None,
            TypeError,
            "update of cell 'OWN' should return (state, tape), got 3 values",
        ),
        (lambda f, h_prev: (f, None), None, TypeError, f"{STATE}; got Tensor"),
        (lambda f, h_prev: ((f, f), None), None, TypeError, f"{STATE}; got 2 values"),
        (lambda f, h_prev: ((f[:1],), None), None, TypeError, f"{STATE} of the gates' shape; h came as [1, 4]"),
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


def test_an_adjoint_may_return_what_it_gets_write_into_it_or_keep_a_mask():
    def linear(f, h_prev):
        return (f,), Tape(f)

    def masked(f, h_prev):
        return (torch.relu(f),), Tape(f > 0)

    def halved(f, h_prev):
        return (0.5 * f,), Tape(f)

    for update, adjoint in (
        (linear, lambda tape, dh: ((dh,), (None,))),
        (masked, lambda tape, dh: ((dh * tape.f,), (None,))),
        (halved, lambda tape, dh: ((dh.mul_(0.5),), (None,))),
    ):
        by_hand, walked = own(update, adjoint, dtype=torch.float64), own(update, dtype=torch.float64)
        walked.load_state_dict(by_hand.state_dict())
        x = torch.randn(5, 2, 3, dtype=torch.float64)
        for a, b in zip(
            *(torch.autograd.grad(m(x)[0].sin().sum(), m.parameters()) for m in (by_hand, walked)), strict=True
        ):
            torch.testing.assert_close(a, b)


def test_making_a_layer_draws_no_random_numbers_beside_its_weights():
    torch.manual_seed(3)
    layer = own(two, lambda tape, dh, dc: ((dh,), (None, dc)))
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
