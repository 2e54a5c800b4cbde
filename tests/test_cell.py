"""A `Cell` is a frozen value that refuses what the engine could not run."""

import dataclasses
import functools
import re

import pytest
from running import outcome
from table import ROWS, mgu, mgu_adjoint, mgu_update, pair, pair_update

from scratchrnn import Cell, cells


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
