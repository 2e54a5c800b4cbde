"""Loops over cells, which people write, next to the layers that run the same equations."""

from __future__ import annotations

import gc
import pickle
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from running import close, equal, error, tensors
from table import TWINNED, Row
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils.rnn import pack_sequence

import scratchrnn as sr

T, B, I, H = 5, 3, 4, 6  # noqa: E741 - input_size

drawn = st.fixed_dictionaries(
    {
        "row": st.sampled_from(TWINNED),
        "ours": st.booleans(),
        "T": st.integers(1, 6),
        "B": st.integers(1, 4),
        "L": st.integers(1, 3),
        "bias": st.booleans(),
        "started": st.booleans(),
    }
)


def h_of(state: Any) -> Tensor:
    return state if isinstance(state, Tensor) else state[0]


def each(function: Callable[[Tensor], Tensor], state: Any) -> Any:
    """Of every state of a cell."""
    return function(state) if isinstance(state, Tensor) else tuple(map(function, state))


class Loop(nn.Module):
    """Cells on top of each other, stepped by hand; `between` is done to each state after each step."""

    def __init__(self, *cells: nn.Module, between: Callable[..., Any] = lambda state: state) -> None:
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self.between = between

    def forward(self, x: Tensor, state: Any = None) -> Tensor:
        states, output = list(state) if state else [None] * len(self.cells), []
        for x_t in x:
            for k, cell in enumerate(self.cells):
                states[k] = cell(x_t, states[k])
                x_t = h_of(states[k]).clone()
                states[k] = self.between(states[k])
            output.append(x_t)
        return torch.stack(output)


def stack(row: Row, ours: bool, L: int, **options: Any) -> tuple[nn.Module, list[nn.Module]]:
    """A layer of torch.nn, and cells with its weights."""
    assert row.twin is not None
    assert row.single_twin is not None
    layer = row.twin(I, H, L, dtype=torch.float64, **options)
    cells = []
    for k in range(L):
        cell = (row.single if ours else row.single_twin)(I if k == 0 else H, H, dtype=torch.float64, **options)  # type: ignore[misc]
        own = {n.removesuffix(f"_l{k}"): w for n, w in layer.state_dict().items() if n.endswith(f"_l{k}")}
        cell.load_state_dict(own)
        cells.append(cell)
    return layer, cells


def random_state(row: Row, L: int, B: int) -> Any:
    """As the layer takes it, [L, B, H] each."""
    given = [torch.randn(L, B, H, dtype=torch.float64) for _ in row.cell.states]
    return tuple(given) if len(given) > 1 else given[0]


def of_layers(state: Any) -> list[Any]:
    """For each layer the state of its cell."""
    return [*state] if isinstance(state, Tensor) else [*zip(*state, strict=True)]


def lstm_cell() -> nn.LSTMCell:
    return nn.LSTMCell(I, H, dtype=torch.float64)


def gru_cell() -> nn.GRUCell:
    return nn.GRUCell(I, H, dtype=torch.float64)


def batch() -> Tensor:
    return torch.randn(T, B, I, dtype=torch.float64)


# ---------------------------------------------------------------------------------------------------- the laws


@given(drawn)
def test_a_loop_over_cells_is_traced_as_the_layer_of_the_same_weights(drawn: dict[str, Any]) -> None:
    row, L = drawn["row"], drawn["L"]
    layer, cells = stack(row, drawn["ours"], L, bias=drawn["bias"])
    x = torch.randn(drawn["T"], drawn["B"], I, dtype=torch.float64)
    state = random_state(row, L, drawn["B"]) if drawn["started"] else None
    expected = sr.trace(layer, x, state, halves=True)
    found = sr.trace(Loop(*cells), x, None if state is None else of_layers(state), halves=True)
    close(found.output, expected.output)
    assert list(found) == [f"cells.{k}" for k in range(L)]
    for k in range(L):
        of_cell = found[f"cells.{k}"]
        assert list(of_cell.layer(0)) == list(expected.layer(k))
        assert of_cell.layer(0).cell is expected.layer(k).cell
        assert of_cell.layer(0).bias == drawn["bias"]
        assert of_cell.layer(0).lengths is None
        close(of_cell.layer(0).tensors, expected.layer(k).tensors)
        close(tensors(of_cell.state), [s[k] for s in tensors(expected.state)])
    close(found[f"cells.{L - 1}"].output, expected.output)


@given(drawn)
def test_its_gradients_are_those_of_the_layer(drawn: dict[str, Any]) -> None:
    row, L = drawn["row"], drawn["L"]
    layer, cells = stack(row, drawn["ours"], L, bias=drawn["bias"])
    x = torch.randn(drawn["T"], drawn["B"], I, dtype=torch.float64)
    state = random_state(row, L, drawn["B"]) if drawn["started"] else None
    of_layer = sr.trace(layer, x, state, differentiable=True)
    model = Loop(*cells)
    of_loop = sr.trace(model, x, None if state is None else of_layers(state), differentiable=True)
    upstream = torch.randn_like(of_layer.output)
    expected = of_layer.gradients((of_layer.output * upstream).sum())
    found = of_loop.gradients(loss := (of_loop.output * upstream).sum())
    for k in range(L):
        assert list(found[f"cells.{k}"].layer(0)) == list(expected.layer(k))
        close(found[f"cells.{k}"].layer(0).tensors, expected.layer(k).tensors)
    last = of_loop[f"cells.{L - 1}"]
    close(last.gradients((last.output * upstream).sum()).layer(0).h, expected.layer(L - 1).h)
    loss.backward()
    close(model.cells[0].weight_hh.grad, torch.autograd.grad((of_layer.output * upstream).sum(), layer.weight_hh_l0)[0])


@given(drawn, st.data())
def test_a_batch_that_shrinks_is_one_of_packed_sequences(drawn: dict[str, Any], data: st.DataObject) -> None:
    """`cell(x_t[:b], h[:b])`, or the rows that are left in the middle, as where a decoder drops what has ended."""
    row = drawn["row"]
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=drawn["B"], max_size=drawn["B"]))
    layer, (cell,) = stack(row, drawn["ours"], 1)
    sequences = [torch.randn(n, I, dtype=torch.float64) for n in lengths]

    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell

        def forward(self) -> Tensor:
            state, there, output = None, list(range(len(lengths))), []
            for t in range(max(lengths)):
                left = [k for k, b in enumerate(there) if t < lengths[b]]
                there = [there[k] for k in left]
                x_t = torch.stack([sequences[b][t] for b in there])
                state = self.cell(x_t, state if state is None else each(lambda s, left=left: s[left], state))
                output.append(h_of(state))
            return torch.cat(output)

    for differentiable in (False, True):
        expected = sr.trace(layer, pack_sequence(sequences, enforce_sorted=False), differentiable=differentiable)
        found = sr.trace(Dropping(), differentiable=differentiable)
        record = found["cell"].layer(0)
        close(record.tensors, expected.layer(0).tensors)
        close(tensors(found["cell"].state), [s[0] for s in tensors(expected.state)])
        assert record.valid().equal(expected.layer(0).valid())
        assert (record.lengths is None) == (len(set(lengths)) == 1)
    d = found.gradients(found.output.square().sum())["cell"].layer(0)
    close(d.tensors, expected.gradients(expected.output.data.square().sum()).layer(0).tensors)


# ----------------------------------------------------------------------------------------- what goes on from what


def kept_elsewhere() -> Callable[..., Any]:
    """The states of a cell in one tensor that the loop writes into."""
    store = torch.zeros(2, B, H, dtype=torch.float64)

    def between(state: Any) -> Any:
        for k, s in enumerate(state if isinstance(state, tuple) else (state,)):
            store[k] = s
        return tuple(store) if isinstance(state, tuple) else store[0]

    return between


def with_one_row_put_back(state: Any) -> Any:
    """As a mask does for sequences that are over."""
    waits = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64).unsqueeze(1)
    return each(lambda s: waits * s + (1 - waits) * 0.5, state)


GOES_ON = {
    "detached": lambda state: each(Tensor.detach, state),
    "cloned": lambda state: each(Tensor.clone, state),
    "kept elsewhere": None,
    "some rows wait": with_one_row_put_back,
    "in another list": lambda state: list(state) if isinstance(state, tuple) else state,
    "halved in place": lambda state: each(lambda s: s.mul_(0.5), state),
}


@pytest.mark.parametrize("how", GOES_ON)
@pytest.mark.parametrize("make", [lstm_cell, gru_cell])
def test_whatever_the_loop_does_to_the_state_the_sequence_goes_on(make: Callable[[], nn.Module], how: str) -> None:
    cell, x = make(), batch()
    model = Loop(cell, between=GOES_ON[how] or kept_elsewhere())
    found = sr.trace(model, x)
    record = found["cells.0"].layer(0)
    assert record.h.shape == (T, B, H)
    model.between = GOES_ON[how] or kept_elsewhere()
    with torch.no_grad():
        close(found.output, model(x))
    equal(record.h, found.output)  # what the loop did to a state in place has not changed it
    with torch.no_grad():
        given = [
            h_of(model.between(each(lambda s, t=t: s[t].clone(), (record.h, record.h)))).clone() for t in range(T - 1)
        ]
    close(record.h_prev[1:], torch.stack(given))  # but it shows what the cell was given


def test_dropout_of_h_leaves_the_c_by_which_an_lstm_goes_on() -> None:
    model = Loop(lstm_cell(), between=lambda state: (nn.functional.dropout(state[0], 0.9), state[1]))
    record = sr.trace(model, batch())["cells.0"].layer(0)
    equal(record.c_prev[1:], record.c[:-1])
    assert not record.h_prev[1:].equal(record.h[:-1])


def test_a_unit_that_is_dead_goes_on_from_zeros() -> None:
    cell = nn.RNNCell(I, H, nonlinearity="relu")
    nn.init.constant_(cell.bias_ih, -99.0)
    record = sr.trace(Loop(cell), torch.randn(T, B, I))["cells.0"].layer(0)
    assert record.h.shape == (T, B, H)
    assert not record.h.any()


BEGINS = {
    "none": lambda state: None,
    "zeros": lambda state: each(torch.zeros_like, state),
    "zeros in place": lambda state: each(Tensor.zero_, state),
    "another": lambda state: each(torch.randn_like, state),
    "rows in another order": lambda state: each(lambda s: s[[1, 0, 2]], state),
    "one row for all": lambda state: each(lambda s: s[[0, 0, 0]], state),
    "more rows": lambda state: each(lambda s: torch.cat([s, s[:1]]), state),
}


@pytest.mark.parametrize("how", BEGINS)
@pytest.mark.parametrize("make", [lstm_cell, gru_cell])
def test_with_another_state_a_new_sequence_begins(make: Callable[[], nn.Module], how: str) -> None:
    class Twice(Loop):
        def forward(self, x: Tensor, _: Any = None) -> Tensor:
            (cell,) = self.cells
            state = None
            for x_t in x[:2]:
                state = cell(x_t, state)
            state = BEGINS[how](state)
            for x_t in x[2:]:
                x_t = torch.cat([x_t, x_t[:1]]) if how == "more rows" else x_t
                state = cell(x_t, state)
            return h_of(state)

    found = sr.trace(Twice(make()), batch())
    assert [len(call.layer(0).h) for call in found.calls["cells.0"]] == [2, T - 2]
    assert error(lambda: found["cells.0"]) == (
        ValueError,
        "'cells.0' has 2 traces, one for each call, or of a cell for each sequence: take one of .calls['cells.0']",
    )


def test_sequences_that_take_turns_and_directions_are_kept_apart() -> None:
    class Turns(Loop):
        def forward(self, x: Tensor, _: Any = None) -> None:
            (cell,), h, k = self.cells, None, torch.zeros(B, H, dtype=torch.float64)
            for x_t in x:
                h, k = cell(x_t, h), cell(2 * x_t, k)
            h = None
            for x_t in x.flip(0):
                h = cell(x_t, h)

    cell, x = gru_cell(), batch()
    layer = nn.GRU(I, H, dtype=torch.float64)
    layer.load_state_dict({f"{name}_l0": w for name, w in cell.state_dict().items()})
    calls = sr.trace(Turns(cell), x).calls["cells.0"]
    for call, read in zip(calls, (x, 2 * x, x.flip(0)), strict=True):
        close(call.layer(0).tensors, sr.trace(layer, read).layer(0).tensors)


def test_sequences_that_take_turns_are_kept_apart_where_their_numbers_are_equal() -> None:
    class Turns(Loop):
        def forward(self, a: Tensor, b: Tensor) -> None:
            (cell,), h, k = self.cells, None, None
            for a_t, b_t in zip(a, b, strict=True):
                h, k = cell(a_t, h), cell(b_t, k)
            self.ends = h, k

    a, b = batch(), batch()
    b[0] = a[0]
    model = Turns(gru_cell())
    calls = sr.trace(model, a, b).calls["cells.0"]
    assert [len(call.layer(0).h) for call in calls] == [T, T]
    for call, end in zip(calls, model.ends, strict=True):
        equal(call.layer(0).h[-1], end.detach())


def test_from_a_state_that_is_given_twice_one_goes_on_and_the_other_begins() -> None:
    class Fork(Loop):
        def forward(self, x: Tensor, _: Any = None) -> None:
            (cell,) = self.cells
            h = cell(x[0])
            self.ends = [cell(x[1], h), cell(x[2], h)]

    found = sr.trace(Fork(gru_cell()), batch())
    assert [len(call.layer(0).h) for call in found.calls["cells.0"]] == [2, 1]
    equal(found.calls["cells.0"][1].layer(0).h_prev[0], found.calls["cells.0"][0].layer(0).h[0])


def test_a_call_costs_no_more_where_many_others_went_before() -> None:
    class Apart(Loop):
        """Calls that have nothing to do with each other."""

        def forward(self, count: Any, _: Any = None) -> None:
            for _ in range(count):
                self.cells[0](batch()[0], (torch.randn(B, H).double(), torch.randn(B, H).double()))

    def functions_called(count: int) -> int:
        called, before = 0, sys.getprofile()

        def profile(frame: object, event: str, _: object) -> None:
            nonlocal called
            called += event == "call"

        sys.setprofile(profile)
        try:
            assert len(sr.trace(model, count).calls["cells.0"]) == count
        finally:
            sys.setprofile(before)
        return called

    model = Apart(lstm_cell())
    functions_called(1)  # makes what is made once
    assert functions_called(200) < 2.2 * functions_called(100)


# ----------------------------------------------------------------------------------------------------- the rest


def test_a_trace_of_a_loop_is_pickled_and_holds_nothing_of_the_model() -> None:
    x, model = batch(), Loop(lstm_cell())
    gone = [weakref.ref(model), weakref.ref(x)]
    found = sr.trace(model, x)["cells.0"]
    del x, model
    gc.collect()
    assert [ref() for ref in gone] == [None, None]
    equal(pickle.loads(pickle.dumps(found)).to_dict(), found.to_dict())


@pytest.mark.parametrize("row", TWINNED, ids=str)
@pytest.mark.parametrize("ours", [False, True])
def test_a_cell_alone_is_one_step(row: Row, ours: bool) -> None:
    _, (cell,) = stack(row, ours, 1)
    state = each(lambda s: s[0], random_state(row, 1, B))
    for x, hx in ((batch()[0], state), (batch()[0, 0], each(lambda s: s[0], state)), (batch()[0], None)):
        found, expected = sr.trace(cell, x, hx), cell(x, hx)
        assert type(found.state) is type(expected)
        close(tensors(found.state), [s.detach() for s in tensors(expected)])
        close(found.output, h_of(expected).detach().unsqueeze(0))
        assert found.layer(0).h.shape == (1, *x.shape[:-1], H)[-3:] if x.dim() == 2 else (1, 1, H)
    assert repr(found) == repr(sr.trace(row.twin(I, H), batch()[:1].float()))  # type: ignore[misc]


def test_what_a_cell_refuses_is_refused_in_its_own_words() -> None:
    for kind in (nn.LSTMCell, sr.LSTMCell, nn.GRUCell):
        cell, ours = kind(I, H), getattr(sr, kind.__name__)(I, H)
        for x, hx in ((torch.randn(T, B, I), None), (torch.randn(B, I + 1), None), (torch.randn(I), torch.randn(2, 9))):
            expected = error(lambda ours=ours, x=x, hx=hx: ours(x, hx))
            assert error(lambda cell=cell, x=x, hx=hx: sr.trace(cell, x, hx)) == expected


def test_a_loop_becomes_all_that_a_trace_can_become(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    found = sr.trace(Loop(lstm_cell(), nn.GRUCell(H, H, dtype=torch.float64)), batch(), halves=True)
    frame = found.to_dataframe()
    assert list(frame.columns[:7]) == ["name", "call", "layer", "reverse", "sequence", "step", "unit"]
    assert len(frame) == 2 * T * B * H
    assert frame.z.isna().tolist() == (frame.name == "cells.0").tolist()
    assert frame.f.isna().tolist() == (frame.name == "cells.1").tolist()
    for row in frame.sample(20, random_state=0).itertuples():
        assert row.h == found.calls[row.name][row.call].layer(row.layer).h[row.step, row.sequence, row.unit].item()
    found.save(str(tmp_path / "t"))
    loaded = sr.load_trace(str(tmp_path / "t"))
    equal(loaded.to_dict(), found.to_dict())
    found.to_html(str(tmp_path / "page.html"))
    assert "cells.1" in (tmp_path / "page.html").read_text()


class Uncalled(Loop):
    def forward(self, *_: Any) -> Tensor:
        return torch.zeros(())


def test_several_sequences_are_told_apart_in_a_data_frame_and_none_give_an_empty_one() -> None:
    pytest.importorskip("pandas")
    frame = sr.trace(Loop(gru_cell(), between=lambda state: None), batch()).to_dataframe()
    assert frame.groupby("call").size().tolist() == [B * H] * T
    assert not frame.duplicated(["name", "call", "layer", "reverse", "sequence", "step", "unit"]).any()
    assert sr.trace(Uncalled(gru_cell())).to_dataframe().empty


@pytest.mark.parametrize("row", TWINNED, ids=str)
def test_under_autocast_a_loop_has_the_dtypes_that_it_has_without_a_trace(row: Row) -> None:
    _, (cell,) = stack(row, False, 1)
    model, x = Loop(cell.float()), batch().float()
    with torch.autocast("cpu", torch.bfloat16):
        expected, found = model(x), sr.trace(model, x)
    assert found.output.dtype == expected.dtype
    close(found.output, expected.detach(), rtol=0.05, atol=0.05)
    assert len(found["cells.0"].layer(0).h) == T


def test_a_part_of_a_loop_that_switches_gradients_off_has_none() -> None:
    class Warm(Loop):
        def forward(self, x: Tensor, _: Any = None) -> Tensor:
            (cell,) = self.cells
            with torch.no_grad():
                state = cell(x[0])
            return h_of(cell(x[1], state)).sum()

    found = sr.trace(Warm(lstm_cell()), batch(), differentiable=True)
    d = found.gradients(found.output)["cells.0"].layer(0)
    assert d.f_pre.flatten(1).any(1).tolist() == [False, True]


# ------------------------------------------------------------------------------------- classes derived from these


class Initialised(nn.LSTM):
    """What people derive a class for: other weights to begin with, and something beside them."""

    def __init__(self, *sizes: int, **options: Any) -> None:
        super().__init__(*sizes, **options)
        nn.init.orthogonal_(self.weight_hh_l0)
        self.register_buffer("steps", torch.zeros(()))
        self.cell = "a name that ours have for something else"
        self.drop = nn.Dropout()


class InitialisedCell(nn.GRUCell):
    def reset_parameters(self) -> None:
        for w in self.parameters():
            nn.init.normal_(w)


class OursInitialised(sr.GRU):
    def reset_parameters(self) -> None:
        for w in self.parameters():
            nn.init.normal_(w)


def test_a_class_that_is_derived_without_a_forward_is_traced() -> None:
    x = torch.randn(T, B, I)
    for layer in (Initialised(I, H, 2), Initialised(I, H, proj_size=2, bidirectional=True), OursInitialised(I, H)):
        close(sr.trace(layer, x).output, layer(x)[0].detach(), rtol=1e-5, atol=1e-6)
        close(sr.trace(nn.Sequential(layer), x)["0"].output, layer(x)[0].detach(), rtol=1e-5, atol=1e-6)
    model = Loop(InitialisedCell(I, H))
    close(sr.trace(model, x)["cells.0"].output, model(x).detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "how"),
    [("layer", "weight_norm"), ("layer", "pruned"), ("cell", "weight_norm"), ("cell", "pruned"), ("cell", "dropout")],
)
def test_weights_that_something_computes_are_traced_as_they_are_at_the_call(kind: str, how: str) -> None:
    module, x = nn.LSTM(I, H) if kind == "layer" else Loop(nn.GRUCell(I, H)), torch.randn(T, B, I)
    part, name = (module, "weight_hh_l0") if isinstance(module, nn.LSTM) else (module.cells[0], "weight_hh")
    if how == "weight_norm":
        parametrizations.weight_norm(part, name)
        part.parametrizations[name].original0.data.mul_(3)
    elif how == "dropout":
        parametrize.register_parametrization(part, name, nn.Dropout(0.5))
    else:
        prune.l1_unstructured(part, name, amount=0.5)
    runs = []
    for run in (module, lambda x: sr.trace(module, x, differentiable=True).output):
        torch.manual_seed(0)
        output = run(x)
        runs.append(output[0] if isinstance(output, tuple) else output)
    close(runs[1], runs[0], rtol=1e-5, atol=1e-6)
    parameter = next(p for n, p in part.named_parameters() if "orig" in n)
    (d,) = torch.autograd.grad(runs[1].sum(), parameter)
    assert d.any()


class Tripled(nn.LSTMCell):
    def forward(self, input: Tensor, hx: Any = None) -> Any:
        return super().forward(3 * input, hx)


class OwnCell(nn.RNNCellBase):
    def forward(self, input: Tensor, hx: Tensor) -> Tensor:
        return input + hx


def test_a_cell_with_a_forward_of_its_own_is_refused_with_the_way_out() -> None:
    for cell in (Tripled(I, H), OwnCell(I, H, True, 1)):
        assert error(lambda cell=cell: sr.trace(Loop(cell), torch.randn(T, B, I))) == (
            TypeError,
            f"cannot trace a {type(cell).__name__}: it has a forward of its own. Let a module hold the layer or cell "
            "instead of being one, or give equations of your own as a RecurrentLayer(Cell(...), ...)",
        )


def test_hooks_of_a_cell_run() -> None:
    cell, seen = gru_cell(), []
    cell.register_forward_hook(lambda module, given, returned: seen.append(returned))
    found = sr.trace(Loop(cell), batch())
    equal(torch.stack(seen), found["cells.0"].layer(0).h)


@pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("kind", [nn.GRUCell, sr.GRUCell])
def test_cells_are_compiled_and_scripted_beside_a_trace(kind: Any) -> None:
    cell, x = kind(I, H), torch.randn(B, I)
    trace_runs, done = threading.Event(), threading.Event()
    torch.compiler.reset()

    class Waiting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = cell

        def forward(self) -> None:
            trace_runs.set()
            assert done.wait(100)

    def beside() -> list[Tensor]:
        assert trace_runs.wait(60)
        try:
            with torch.compiler.set_stance("default"):  # as if the trace had begun before the compiler was loaded
                found = [torch.compile(cell, backend="eager", fullgraph=True)(x)]
            return found + ([torch.jit.script(cell)(x)] if kind is nn.GRUCell else [])
        finally:
            done.set()

    with ThreadPoolExecutor(2) as pool:
        traced, outputs = pool.submit(sr.trace, Waiting()), pool.submit(beside)
        assert traced.result().calls == {"cell": []}
        for output in outputs.result():
            close(output, cell(x), rtol=1e-5, atol=1e-6)


def test_a_compiled_loop_is_traced_as_it_was_written() -> None:
    torch.compiler.reset()
    model, x = Loop(gru_cell()), batch()
    compiled = torch.compile(model, backend="eager")
    expected = compiled(x)
    (calls,) = sr.trace(compiled, x).calls.values()
    close(calls[0].output, expected.detach())
