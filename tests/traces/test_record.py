"""What a trace can be turned into: a dictionary, a data frame, a file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import grimp
import pytest
import torch
from running import equal, error, tensors
from table import mgu, pair
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import scratchrnn as sr
from scratchrnn.cells import elman
from scratchrnn.traces import Trace
from scratchrnn.traces.record import place

I, H, LENGTHS = 3, 4, [2, 4, 1]  # noqa: E741 - input_size


def packed() -> PackedSequence:
    return pack_sequence([torch.randn(n, I) for n in LENGTHS], enforce_sorted=False)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LSTM(I, H), nn.GRU(H, H, bidirectional=True)

    def forward(self, x: Tensor, again: bool = False) -> Tensor:
        h, _ = self.first(x)
        if again:
            self.second(h)
        return self.second(h)[0]


def assert_same(loaded: Trace, traced: Trace) -> None:
    assert loaded.records.keys() == traced.records.keys()
    for key, record in traced.records.items():
        assert list(loaded.records[key]) == list(record)
        equal(loaded.records[key].tensors, {name: t.detach() for name, t in record.tensors.items()})
        assert loaded.records[key].cell is record.cell
        for what in ("bias", "name", "layer", "reverse"):
            assert getattr(loaded.records[key], what) == getattr(record, what)
        assert (loaded.records[key].lengths is None) == (record.lengths is None)
        if record.lengths is not None:
            equal(loaded.records[key].lengths, record.lengths)
    equal(tensors((loaded.output, loaded.state)), [t.detach() for t in tensors((traced.output, traced.state))])
    assert type(loaded.output) is type(traced.output)


def test_a_trace_is_shown_in_a_line_for_each_layer_and_no_numbers() -> None:
    record = sr.trace(nn.LSTM(I, H), torch.randn(5, 2, I)).layer(0)
    assert repr(record) == "LSTM, T=5 B=2 H=4: i f g o h c ..."
    assert repr(sr.trace(nn.RNN(I, H), torch.randn(5, I))) == "RNN_TANH, T=5 B=1 H=4: h ..."
    traced = sr.trace(nn.LSTM(I, H, 2, proj_size=2, bidirectional=True), packed(), differentiable=True)
    assert repr(traced) == "LSTM, 2 layers, both directions, T=4 B=3 H=4 P=2: i f g o h c ..."
    assert repr(traced.gradients(traced.output.data.sum())) == repr(traced)
    assert repr(sr.trace(sr.RecurrentLayer(mgu, I, H), packed()).layer(0)) == "MGU, T=4 B=3 H=4: f n h ..."

    model = nn.ModuleDict({"encoder": Two(), "spare": nn.GRU(I, H)})
    model.forward = lambda x: model["encoder"](x, again=True)  # type: ignore[method-assign]
    found = sr.trace(model, torch.randn(5, 2, I))
    assert repr(found).splitlines() == [
        "encoder.first: LSTM, T=5 B=2 H=4: i f g o h c ...",
        "encoder.second, 2 traces: GRU, both directions, T=5 B=2 H=4: r z n h ...",
        "spare: not called",
    ]
    assert str(found) == repr(found)


@pytest.mark.parametrize("differentiable", [False, True])
@pytest.mark.parametrize(
    "layer", [nn.LSTM(I, H, 2, proj_size=2), nn.GRU(I, H, bidirectional=True, bias=False)], ids=["LSTM", "GRU"]
)
def test_a_saved_trace_is_loaded_as_it_was(layer: nn.Module, differentiable: bool, tmp_path: Path) -> None:
    for x in (packed(), torch.randn(5, 2, I), torch.randn(5, I)):
        traced = sr.trace(layer, x, halves=True, differentiable=differentiable)
        traced.save(str(tmp_path / "t"))
        assert_same(sr.load_trace(str(tmp_path / "t")), traced)


def test_a_saved_trace_of_a_model_is_loaded_with_every_call(tmp_path: Path) -> None:
    traced = sr.trace(Two(), torch.randn(5, 2, I), again=True)
    traced.save(str(tmp_path / "t"))
    loaded = sr.load_trace(str(tmp_path / "t"))
    assert list(loaded) == ["first", "second"]
    for name, calls in traced.calls.items():
        assert len(loaded.calls[name]) == len(calls)
        for a, b in zip(loaded.calls[name], calls, strict=True):
            assert_same(a, b)


def test_a_cell_of_the_users_own_is_found_among_those_given(tmp_path: Path) -> None:
    traced = sr.trace(sr.RecurrentLayer(mgu, I, H), torch.randn(5, 2, I))
    traced.save(path := str(tmp_path / "t"))
    assert_same(sr.load_trace(path, cells=[pair, mgu]), traced)
    assert error(lambda: sr.load_trace(path, cells=[pair])) == (
        ValueError,
        "the trace is of a cell 'MGU' of f, n_x, n_h and h: give it, load_trace(path, cells=[...])",
    )
    other = sr.Cell("GRU", ("n",), lambda n, h_prev: ((torch.tanh(n),), ()))  # with the name of a built-in cell
    sr.trace(sr.RecurrentLayer(other, I, H), torch.randn(5, 2, I)).save(path)
    assert error(lambda: sr.load_trace(path))[1].startswith("the trace is of a cell 'GRU' of n and h: give it")
    assert sr.load_trace(path, cells=[other]).layer(0).cell is other


def test_a_cell_that_looks_like_a_built_in_one_is_not_taken_for_it(tmp_path: Path) -> None:
    def update(n: Tensor, h_prev: Tensor) -> tuple[tuple[Tensor], tuple[()]]:
        return (torch.sin(n),), ()

    mine, path, x = sr.Cell("RNN_TANH", ("n",), update), str(tmp_path / "t"), torch.randn(5, 2, I)
    sr.trace(sr.RecurrentLayer(mine, I, H), x).save(path)
    assert error(lambda: sr.load_trace(path)) == (
        ValueError,
        "the trace is of a cell 'RNN_TANH' of n and h, not the built-in one: give it, load_trace(path, cells=[...])",
    )
    assert sr.load_trace(path, cells=[mine]).layer(0).cell is mine
    assert sr.load_trace(path, cells=[elman, mine]).layer(0).cell is mine
    for layer in (nn.RNN(I, H), sr.RNN(I, H)):
        sr.trace(layer, x).save(path)
        for cells in ([], [mine], [mine, elman]):
            assert sr.load_trace(path, cells=cells).layer(0).cell is elman


def test_of_two_cells_that_a_file_cannot_tell_apart_none_is_guessed(tmp_path: Path) -> None:
    path = str(tmp_path / "t")

    def own(scale: float) -> sr.Cell:
        return sr.Cell("OWN", ("n",), lambda n, h_prev: ((scale * n,), ()))

    first, second = own(1.0), own(2.0)
    sr.trace(sr.RecurrentLayer(second, I, H), torch.randn(5, 2, I)).save(path)
    assert error(lambda: sr.load_trace(path, cells=[first, second])) == (
        ValueError,
        "the trace is of a cell 'OWN' of n and h, and 2 of cells are so called: give the one it is of",
    )
    assert sr.load_trace(path, cells=[second, second, mgu]).layer(0).cell is second


class Touch:
    """What a pickle could do where it is loaded without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


def test_a_file_that_holds_no_trace_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    path = str(tmp_path / "t")
    for content in (torch.ones(2), {"weight": torch.ones(2)}, [1], {"trace": 5}, {"calls": {"a": [{"records": 3}]}}):
        torch.save(content, path)
        assert error(lambda: sr.load_trace(path)) == (
            ValueError,
            f"{path} should be a file that a trace was saved to, it holds something else",
        )
    Path(path).write_text("no trace")
    kind, text = error(lambda: sr.load_trace(path))
    assert kind is ValueError
    assert text.startswith(f"{path} should be a file that a trace was saved to: ")
    Path(path).write_bytes(pickle.dumps(Touch(tmp_path / "touched")))
    assert error(lambda: sr.load_trace(path))[0] is ValueError
    assert not (tmp_path / "touched").exists()
    assert error(lambda: sr.load_trace(str(tmp_path / "nowhere")))[0] is FileNotFoundError


def test_a_record_knows_its_place_in_the_model() -> None:
    model = nn.ModuleDict({"encoder": Two()})
    model.forward = lambda x: model["encoder"](x)  # type: ignore[method-assign]
    x = torch.randn(5, 2, I)
    for trace in (found := sr.trace(model, x, differentiable=True), found.gradients(found.output.sum())):
        records = [record for name in trace for record in trace[name].records.values()]
        assert [place(record.name, record.layer, record.reverse) for record in records] == [
            "encoder.first, layer 0",
            "encoder.second, layer 0",
            "encoder.second, layer 0, reverse",
        ]
        assert [record.of_a_run() for record in records] == [trace is found] * 3
    records = sr.trace(nn.LSTM(I, H, 2), x).records
    assert [place(record.name, record.layer, record.reverse) for record in records.values()] == ["layer 0", "layer 1"]


def test_a_dictionary_names_tensors_as_torch_names_weights() -> None:
    traced = sr.trace(nn.RNN(I, H, 2, bidirectional=True), torch.randn(5, 2, I))
    flat = traced.to_dict()
    assert [name for name in flat if name.endswith(".h")] == ["l0.h", "l0_reverse.h", "l1.h", "l1_reverse.h"]
    assert flat["l1_reverse.n_pre"] is traced.layer(1, reverse=True).n_pre
    assert len(flat) == 4 * 3

    traced = sr.trace(Two(), torch.randn(5, 2, I), again=True)
    flat = traced.to_dict()
    assert flat["first.l0.f"] is traced["first"].layer(0).f
    assert flat["second[1].l0_reverse.z"] is traced.calls["second"][1].layer(0, reverse=True).z


@pytest.mark.parametrize("differentiable", [False, True])
def test_a_data_frame_has_a_row_for_each_unit_and_step_there_is(differentiable: bool) -> None:
    pytest.importorskip("pandas")
    traced = sr.trace(nn.LSTM(I, H, 2, bidirectional=True), packed(), differentiable=differentiable)
    frame = traced.to_dataframe()
    assert list(frame.columns) == ["layer", "reverse", "sequence", "step", "unit", *traced.layer(0)]
    assert len(frame) == 2 * 2 * sum(LENGTHS) * H
    for row in frame.sample(40, random_state=0).itertuples():
        record = traced.layer(row.layer, row.reverse)
        assert row.step < LENGTHS[row.sequence]
        for name in record:
            assert getattr(row, name) == record[name][row.step, row.sequence, row.unit].item()
    assert not frame.duplicated(["layer", "reverse", "sequence", "step", "unit"]).any()


def test_under_a_projection_a_data_frame_has_no_h_for_the_other_units() -> None:
    pytest.importorskip("pandas")
    frame = sr.trace(sr.LSTM(I, H, proj_size=2), torch.randn(5, 2, I)).to_dataframe()
    assert frame.h.isna().tolist() == (frame.unit >= 2).tolist()
    assert not frame.c.isna().any()


def test_valid_tells_which_steps_a_sequence_has() -> None:
    x = packed()
    valid = sr.trace(nn.RNN(I, H), x).layer(0).valid()
    assert valid.sum(0).tolist() == LENGTHS
    assert all(valid[:n, b].all() for b, n in enumerate(LENGTHS))
    assert sr.trace(nn.RNN(I, H), torch.randn(5, 2, I)).layer(0).valid().shape == (5, 2)


# ---------------------------------------------------------------------------------------------- where it stands


def test_a_record_is_data_below_all_that_is_made_of_it() -> None:
    graph = grimp.build_graph("scratchrnn", cache_dir=None)
    assert graph.find_modules_directly_imported_by("scratchrnn.traces.record") == {"scratchrnn.cells.cell"}
    assert graph.nominate_cycle_breakers("scratchrnn.traces") == set()
