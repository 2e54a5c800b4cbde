"""Copied, pickled and saved, a module goes on as it was."""

import copy
import gc
import importlib
import io
import os
import pickle
import subprocess
import sys

import pytest
import table
import torch
from running import equal
from table import ROWS, TWINNED, mgu_adjoint, mgu_update
from torch import nn
from torch.utils._pytree import tree_leaves

import scratchrnn as sr
from scratchrnn import cells
from scratchrnn.cells.registry import find_cell

STACKED = {"num_layers": 2, "bidirectional": True}


def saved_and_loaded(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def pickled(thing):
    return pickle.loads(pickle.dumps(thing))


COPIES = [copy.deepcopy, copy.copy, pickled, saved_and_loaded]
every_copy = pytest.mark.parametrize("copied", COPIES, ids=lambda way: way.__name__)
every_module = pytest.mark.parametrize(
    ("row", "single"),
    [*((row, False) for row in ROWS), *((row, True) for row in TWINNED)],
    ids=lambda value: ("layer", "cell")[value] if isinstance(value, bool) else str(value),
)


def make(row, single=False, **options):
    return row.single(3, 4, **options) if single else row.layer(3, 4, **STACKED | options)


def example(row, single=False):
    """Random input and states."""
    x = torch.randn((2, 3) if single else (5, 2, 3))
    hx = tuple(torch.randn((2, 4) if single else (4, 2, 4)) for _ in row.cell.states)
    return x, hx[0] if len(hx) == 1 else hx


# ---------------------------------------------------------------------------------------------------- modules


@every_module
@every_copy
def test_a_copy_gives_the_same_outputs(row, single, copied):
    module, inputs = make(row, single), example(row, single)
    module.eval()
    other = copied(module)
    assert type(other) is type(module)
    assert repr(other) == repr(module)
    assert other.training is False
    equal(other(*inputs), module(*inputs))


@every_module
@pytest.mark.parametrize("copied", [copy.deepcopy, pickled, saved_and_loaded])
def test_a_copy_has_its_own_weights(row, single, copied):
    module, inputs = make(row, single), example(row, single)
    before = module(*inputs)
    other = copied(module)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(1)
    equal(module(*inputs), before)
    assert not any(map(torch.equal, tree_leaves(other(*inputs)), tree_leaves(before)))


@pytest.mark.parametrize("row", ROWS, ids=str)
@every_copy
def test_the_flat_weights_of_a_copy_are_its_own(row, copied):
    other = copied(make(row))
    assert len(other._flat_weights) == 16
    assert all(w is p for w, p in zip(other._flat_weights, other.parameters(), strict=True))


@every_copy
def test_a_copy_keeps_what_was_changed_after_construction(copied):
    layer = sr.LSTM(3, 4, 2)
    layer.dropout, layer.batch_first = 0.5, True
    layer.weight_ih_l0.requires_grad_(False)
    other = copied(layer)
    assert (other.dropout, other.batch_first) == (0.5, True)
    assert [p.requires_grad for p in other.parameters()] == [False] + [True] * 7


@every_copy
def test_a_copy_keeps_tied_weights_tied(copied):
    layer = sr.GRU(3, 4, bidirectional=True)
    layer.weight_hh_l0_reverse = layer.weight_hh_l0
    other = copied(layer)
    assert other.weight_hh_l0_reverse is other.weight_hh_l0


@every_module
@every_copy
def test_a_copy_has_the_very_cell(row, single, copied):
    module = make(row, single)
    assert copied(module).cell is module.cell


@pytest.mark.parametrize("name", sorted(sr.__all__))
def test_what_is_exported_can_be_imported_under_its_own_name(name):
    thing = getattr(sr, name)
    found = importlib.import_module(thing.__module__)
    for part in thing.__qualname__.split("."):
        found = getattr(found, part)
    assert found is thing


@every_module
def test_a_state_dict_loads_with_weights_only(row, single):
    module, other, inputs = make(row, single), make(row, single), example(row, single)
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    equal(other(*inputs), module(*inputs))


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_replica_for_data_parallel_uses_its_own_tensors(row):
    layer, inputs = make(row), example(row)
    twin = make(row)
    replica = layer._replicate_for_data_parallel()
    for name, value in twin.state_dict().items():
        setattr(replica, name, value)
    equal(replica(*inputs), twin(*inputs))


# ------------------------------------------------------------------------------------------------- old pickles


def without_projection(state):
    del state["proj_size"]


def with_names_under_another_key(state):
    state["all_weights"] = state.pop("_all_weights")


def with_weights_in_the_place_of_names(state):
    state["_all_weights"] = [[state["_parameters"][name] for name in names] for names in state["_all_weights"]]


def with_all_of_that(state):
    with_weights_in_the_place_of_names(state)
    with_names_under_another_key(state)
    without_projection(state)


def as_it_is(state): ...


@pytest.mark.parametrize("row", TWINNED, ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "age",
    [as_it_is, without_projection, with_names_under_another_key, with_weights_in_the_place_of_names, with_all_of_that],
)
def test_the_dict_of_an_old_torch_layer_is_taken(row, bias, age):
    theirs, inputs = row.twin(3, 4, bias=bias, **STACKED), example(row)
    state = theirs.__getstate__()
    age(state)
    made = make(row)
    ours = type(made).__new__(type(made))
    ours.__setstate__(state)
    torch.testing.assert_close(ours(*inputs), theirs(*inputs), rtol=1e-5, atol=1e-6)
    assert ours.proj_size == 0
    assert not [name for name in vars(ours) if "weight" in name], "lists of weights that would go stale"
    assert ours._all_weights == theirs._all_weights
    assert ours._flat_weights_names == theirs._flat_weights_names
    assert all(w is p for w, p in zip(ours._flat_weights, theirs.parameters(), strict=True))
    equal(pickled(ours)(*inputs), ours(*inputs))


@pytest.mark.parametrize("age", [as_it_is, with_names_under_another_key, with_weights_in_the_place_of_names])
def test_the_dict_of_an_old_projected_lstm_is_taken(age):
    theirs = nn.LSTM(3, 4, proj_size=2, **STACKED)
    inputs = torch.randn(5, 2, 3), (torch.randn(4, 2, 2), torch.randn(4, 2, 4))
    state = theirs.__getstate__()
    age(state)
    ours = sr.LSTM.__new__(sr.LSTM)
    ours.__setstate__(state)
    torch.testing.assert_close(ours(*inputs), theirs(*inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_our_own_dict_without_a_projection_is_taken(row):
    layer, inputs = make(row), example(row)
    state = dict(vars(layer))
    without_projection(state)
    other = type(layer).__new__(type(layer))
    other.__setstate__(state)
    equal(other(*inputs), layer(*inputs))


# ---------------------------------------------------------------------------------------------- a new process

IN_A_NEW_PROCESS = """
import pickle, sys
with open(sys.argv[1], "rb") as file:
    saved = pickle.load(file)
found = {name: (layer(*inputs), layer.cell) for name, (layer, inputs) in saved.items()}
import table
same = {row.name: found[row.name][1] is row.cell for row in table.ROWS}
outputs = {name: output for name, (output, _) in found.items()}
with open(sys.argv[2], "wb") as file:
    pickle.dump((outputs, same), file)
"""
# A cell that no module makes: in a new process it is there only by being loaded.
own = sr.Cell("OWN", ("f", "n"), mgu_update, mgu_adjoint, split=("n",))


def test_layers_of_any_cell_go_on_in_a_new_process(tmp_path):
    layers = {row.name: (make(row), example(row)) for row in ROWS}
    layers["own"] = sr.RecurrentLayer(own, 3, 4, **STACKED), example(ROWS[0])
    there, back = tmp_path / "there", tmp_path / "back"
    there.write_bytes(pickle.dumps(layers))
    run = subprocess.run(
        [sys.executable, "-c", IN_A_NEW_PROCESS, there, back],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    outputs, same = pickle.loads(back.read_bytes())
    assert same == {row.name: True for row in ROWS}
    for name, (layer, inputs) in layers.items():
        torch.testing.assert_close(outputs[name], layer(*inputs))


# ------------------------------------------------------------------------------------------------------- cells


@pytest.mark.parametrize("cell", [*cells.BUILT_IN.values(), table.mgu, table.mgu_walked, table.pair, own])
@every_copy
def test_a_copy_of_a_living_cell_is_that_cell(cell, copied):
    assert copied(cell) is cell


def test_a_pickled_cell_is_made_again_where_it_is_gone():
    cell = sr.Cell("GONE", ("f", "n"), mgu_update, split=("n",))
    dumped, shown = pickle.dumps(cell), repr(cell)
    del cell
    gc.collect()
    with pytest.raises(KeyError):
        find_cell("GONE")
    again = pickle.loads(dumped)
    assert repr(again) == shown
    assert (again.name, again.gates, again.update, again.adjoint, again.split) == (
        *("GONE", ("f", "n"), mgu_update),
        *(None, ("n",)),
    )
    assert again.pre_activations == ("f", "n_x", "n_h")
    assert again.states == ("h",)
    assert find_cell(again.key) is again


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_cell_is_found_by_its_key(row):
    assert find_cell(row.cell.key) is row.cell


def test_the_built_in_cells_have_their_names_for_keys():
    assert {cell.key: cell for cell in cells.BUILT_IN.values()} == cells.BUILT_IN


def test_two_cells_of_one_name_have_two_keys_and_a_dropped_one_frees_its_own():
    def twice(f, n_x, n_h, h_prev):
        return ((2 * mgu_update(f, n_x, n_h, h_prev)[0][0],), None)

    first = sr.Cell("SAME", ("f", "n"), mgu_update, split=("n",))
    second = sr.Cell("SAME", ("f", "n"), twice, split=("n",))
    third = sr.Cell("SAME", ("f", "n"), mgu_update, split=("n",))
    assert first == third != second
    assert len({first.key, second.key, third.key}) == 3
    assert [find_cell(cell.key) for cell in (first, second, third)] == [first, second, third]
    assert find_cell(third.key) is third
    freed = second.key
    del second
    gc.collect()
    with pytest.raises(KeyError):
        find_cell(freed)
    assert sr.Cell("SAME", ("f", "n"), twice, split=("n",)).key == freed


def test_a_refused_cell_takes_no_key():
    with pytest.raises(ValueError, match="gates"):
        sr.Cell("REFUSED", (), mgu_update)
    with pytest.raises(KeyError):
        find_cell("REFUSED")


def test_a_layer_keeps_its_cell_alive():
    layer = sr.RecurrentLayer(sr.Cell("KEPT", ("f", "n"), mgu_update, split=("n",)), 3, 4)
    gc.collect()
    assert find_cell(layer.cell.key) is layer.cell
