"""`compile_cell`: the compiled steps give the numbers of the equations they were made of."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from running import leaf, run, states, tensors
from table import ROWS, Row
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import scratchrnn as sr
from scratchrnn import compiled

CHOSEN = [
    row for row in ROWS if row.name in ("RNN", "LSTM", "GRU", "PAIR")
]  # no direct road, one, one to h, no adjoint
each_chosen = pytest.mark.parametrize("row", CHOSEN, ids=str)
close = torch.testing.assert_close


def pair(row: Row, dtype: torch.dtype = torch.float64, **options: Any) -> list[Any]:
    """A layer, and its copy with a compiled cell; always of the same sizes, so that what is compiled is on the disk."""
    layer = row.layer(3, 4, 2, bidirectional=True, dtype=dtype, **options)
    return [layer, copy.deepcopy(layer).compile_cell()]


@each_chosen
@pytest.mark.parametrize("B", [1, 3])
def test_outputs_and_gradients_are_the_same(row: Row, B: int) -> None:
    plain, fast = pair(row)
    x, hx = leaf(6, B, 3), states(row, plain, B)
    close(run(fast, x, hx), run(plain, x, hx), rtol=1e-12, atol=1e-13)
    with torch.no_grad():
        close(tensors(fast(x, hx)), tensors(plain(x, hx)), rtol=1e-12, atol=1e-13)


@each_chosen
def test_packed_sequences_are_the_same(row: Row) -> None:
    plain, fast = pair(row)
    x = pack_padded_sequence(leaf(6, 3, 3), torch.tensor([2, 6, 4]), enforce_sorted=False)
    hx = states(row, plain, 3)
    close(run(fast, x, hx), run(plain, x, hx), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("B", [1, 3])
def test_a_projection_is_the_same(B: int) -> None:
    row = next(row for row in ROWS if row.name == "LSTM")
    plain, fast = pair(row, proj_size=2)
    x, hx = leaf(6, B, 3), states(row, plain, B)
    close(run(fast, x, hx), run(plain, x, hx), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("B", [1, 5])
def test_float32_agrees_with_torch_nn(kind: str, B: int) -> None:
    theirs = getattr(nn, kind)(3, 4, 2, bidirectional=True)
    report = sr.compare(sr.from_torch(theirs).compile_cell(), theirs, torch.randn(12, B, 3))
    assert report, str(report)


def test_any_layout_of_states_and_upstream_gradients_is_taken() -> None:
    plain, fast = pair(next(row for row in ROWS if row.name == "LSTM"))
    x, hx = leaf(6, 3, 3), tuple(torch.randn(3, 4, 4, dtype=torch.float64).transpose(0, 1) for _ in range(2))

    def last_alone(layer: nn.Module) -> Any:
        _, (h, c) = layer(x, hx)
        return torch.autograd.grad(h.sum() + c.sum(), [x, *layer.parameters()])  # gradients that are expanded

    close(last_alone(fast), last_alone(plain), rtol=1e-12, atol=1e-13)


def test_a_state_that_is_a_view_of_a_pre_activation_is_carried_right() -> None:
    def update(a: Any, o: Any, h_prev: Any, c_prev: Any) -> Any:
        return (o * (a + 0.5 * c_prev), a), (a, o, c_prev)

    def adjoint(tape: Any, dh: Any, dc: Any) -> Any:
        a, o, c_prev = tape
        return (dh * o + dc, dh * (a + 0.5 * c_prev)), (None, 0.5 * dh * o)

    plain = sr.RecurrentLayer(sr.Cell("VIEW", ("a", "o"), update, adjoint), 3, 4, dtype=torch.float64)
    x = leaf(6, 3, 3)
    expected = run(plain, x)
    close(run(plain.compile_cell(), x), expected, rtol=1e-12, atol=1e-13)


def test_weights_that_lie_otherwise_in_memory_are_compiled_for() -> None:
    plain, fast = pair(next(row for row in ROWS if row.name == "LSTM"))
    for layer in (plain, fast):
        layer.weight_hh_l0 = nn.Parameter(layer.weight_hh_l0.detach().T.contiguous().T)
    x = leaf(6, 1, 3)
    close(run(fast, x), run(plain, x), rtol=1e-12, atol=1e-13)


def test_a_copy_is_compiled_and_a_pickled_layer_is_not() -> None:
    layer = sr.GRU(3, 4)
    fast = layer.compile_cell()
    assert fast is layer
    assert layer.cell == sr.cells.gru
    assert layer.cell is not sr.cells.gru
    assert layer.cell.compiled_steps is not None
    assert layer.compile_cell().cell is layer.cell
    assert copy.deepcopy(layer).cell is layer.cell
    assert pickle.loads(pickle.dumps(layer)).cell is sr.cells.gru
    assert sr.cells.gru.compiled_steps is None


def test_the_meta_device_and_torch_compile_go_without() -> None:
    plain, fast = pair(next(row for row in ROWS if row.name == "GRU"))
    output, _ = fast.to("meta")(torch.empty(6, 3, 3, dtype=torch.float64, device="meta"))
    assert output.shape == (6, 3, 8)
    _, fast = pair(next(row for row in ROWS if row.name == "GRU"))
    fast.load_state_dict(plain.state_dict())
    x = leaf(6, 3, 3)
    captured = torch.compile(fast, backend="aot_eager", fullgraph=True)
    close(run(captured, x), run(plain, x), rtol=1e-12, atol=1e-13)


def test_what_was_compiled_is_loaded_from_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(row for row in ROWS if row.name == "GRU")
    run(pair(row)[1], leaf(6, 3, 3))
    monkeypatch.setattr(compiled, "_write", lambda *_: pytest.fail("compiled again"))
    run(pair(row)[1], leaf(6, 3, 3))


def held(activation: Any, factor: float) -> Any:
    """An update that calls a function and uses a number, neither of which stands in it."""

    def update(n: Any, h_prev: Any) -> Any:
        return (activation(n) * factor,), ()

    return update


def test_another_equation_is_another_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also where what differs is a function that the update calls, or a number that it holds."""
    places = []
    monkeypatch.setattr(compiled, "_write", lambda program, package, *_: places.append(package) or 1 / 0)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    for activation in (torch.tanh, torch.sigmoid):
        for factor in (0.5, 0.25):
            update = held(activation, factor)
            layer = sr.RecurrentLayer(sr.Cell("OWN", ("n",), update), 3, 4).compile_cell()
            with torch.no_grad(), pytest.raises(RuntimeError, match="division by zero"):
                layer(torch.randn(5, 2, 3))
    assert len(set(places)) == 4
    assert all(place.parent == tmp_path / "scratchrnn" for place in places)


def test_without_a_compiler_the_call_says_what_is_missing(tmp_path: Path) -> None:
    program = "import torch, scratchrnn as sr; sr.LSTM(3, 5).compile_cell()(torch.randn(5, 2, 3))"
    environment = os.environ | {"CXX": "/no/such/compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert "RuntimeError: PyTorch's compiler could not compile the cell 'LSTM' (it needs a C++ compiler" in done.stderr
    assert not list(tmp_path.rglob("*.pt2"))


def test_it_keeps_the_number_of_threads_that_is_set() -> None:
    """The compiled loop over rows asks OpenMP how many there are when it runs."""
    _, fast = pair(next(row for row in ROWS if row.name == "LSTM"))
    x = torch.randn(6, 3, 3, dtype=torch.float64)
    before = torch.get_num_threads()
    with torch.no_grad():
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(fast(x)[0])
            assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    close(*results)
