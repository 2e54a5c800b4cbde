"""Suites are tables of cases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from timed import case
from torch.nn.utils.rnn import PackedSequence

from scratchrnn.bench.cases import MODES, Case, load_suite, suites


def test_suites_are_tables_of_cases() -> None:
    assert set(suites()) >= {
        "quick",
        "regimes",
        "deepbench",
        "fastrnns",
        "haste",
        "flashrnn",
        "device",
        "scaling",
        "variants",
    }
    sizes = {name: len(load_suite(name, full=True)[0]) for name in suites()}
    assert sizes["deepbench"] == 41 + 33
    assert sizes["haste"] == 2 * 2 * 5 * 9 * 4
    assert sizes["device"] == 3
    assert sizes["regimes"] == 3 * 2 * 11


def test_large_cases_are_left_out_and_counted() -> None:
    kept, left_out = load_suite("deepbench")
    everything, none = load_suite("deepbench", full=True)
    assert none == 0
    assert left_out > 0
    assert len(kept) + left_out == len(everything)
    assert all(c.work.flops <= 40e9 for c in kept)


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("# a comment\ngroup,cell,works,layers,T,B,I,H\nmine,GRU,inference training,1,2,3,4,5\n")
    cases, _ = load_suite(str(path))
    assert cases == [Case("mine", "GRU", training, 1, 2, 3, 4, 5) for training in (False, True)]


def test_a_table_may_say_more_of_its_cases(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(
        "group,cell,works,layers,T,B,I,H,dtype,directions,layout,mode,threads\n"
        "a,GRU,inference training,3,2,3,4,5,float64,2,packed,,1\n"
        "b,LSTM,inference,1,2,3,4,5,,,,eval,\n"
        "c,LSTM,inference,1,2,3,4,5,,,,kept,2\n"
    )
    sizes = {"T": 2, "B": 3, "I": 4, "H": 5}
    (first, second, third, fourth), _ = load_suite(str(path))
    more = {"directions": 2, "layout": "packed", "dtype": "float64", "threads": 1}
    assert first == Case("a", "GRU", training=False, layers=3, **sizes, **more)
    assert second == replace(first, training=True)
    assert third == Case("b", "LSTM", training=False, layers=1, **sizes, mode="eval")
    assert fourth == Case("c", "LSTM", training=False, layers=1, **sizes, mode="kept", threads=2)
    assert [c.title.partition(", T=")[0] for c in (second, third, fourth)] == [
        "GRU training, 3 layers, both directions, packed, float64, 1 thread",
        "LSTM inference, eval with grad mode on",
        "LSTM inference, weights kept, 2 threads",
    ]
    assert [c.form for c in (second, third)] == ["3 layers, both directions, packed", "1 layer"]


def test_every_variant_is_in_the_suite_of_them() -> None:
    cases, _ = load_suite("variants")
    for column, choices in (
        ("cell", {"LSTM", "GRU", "RNN"}),
        ("directions", {1, 2}),
        ("layout", {"padded", "packed"}),
        ("dtype", {"float32", "float64"}),
        ("mode", set(MODES)),
        ("threads", {None, 1, 2}),
    ):
        assert {getattr(c, column) for c in cases} == choices
    assert len(load_suite("variants", full=True)[0]) == len(cases)  # none is too large


def test_a_packed_case_is_of_several_lengths_and_counts_its_rows_alone() -> None:
    packed = case(T=7, B=3)
    packed = replace(packed, layout="packed")
    x = packed.input()
    assert isinstance(x, PackedSequence)
    assert x.batch_sizes.tolist() == [3, 3, 3, 3, 2, 2, 1]
    assert x.unsorted_indices.tolist() == [2, 1, 0]
    first = packed.work.products[0]
    assert (first.times, first.rows) == (1, 17)
    assert replace(packed, B=1).input().batch_sizes.tolist() == [1] * 7
    assert replace(packed, dtype="float64").input().data.dtype == torch.float64


@pytest.mark.parametrize(
    "row",
    [
        "x,CNN,training,1,2,3,4,5",
        "x,GRU,training,1,2,3,4,5,1,ragged,float32,changed,1",
        "x,GRU,training,1,2,3,4,5,3,padded,float32,changed,1",
        "x,GRU,training,1,2,3,4,5,1,padded,float16,changed,1",
        "x,GRU,inference,1,2,3,4,5,1,padded,float32,loud,1",
        "x,GRU,inference,1,2,3,4,5,1,padded,float32,changed,0",
        "x,GRU,inference,1,2,3,4,5,1,padded,float32,changed,many",
        "x,GRU,training,1,2,3,4,5,1,padded,float32,eval,1",
        "x,GRU,inference,1,2,3,4,5,1,padded,float32,changed,1,more",
        "x,GRU,sleeping,1,2,3,4,5",
        "x,GRU,training,1,2,three,4,5",
        "x,GRU,training,1,0,3,4,5",
    ],
)
def test_a_table_with_a_wrong_row_is_refused(row: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    may = ",directions,layout,dtype,mode,threads" if row.count(",") > 8 else ""
    path.write_text(f"group,cell,works,layers,T,B,I,H{may}\n{row}\n")
    with pytest.raises(ValueError, match=WRONG_TABLE):
        load_suite(str(path))


def test_a_table_with_a_column_that_means_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text("group,cell,works,layers,T,B,I,H,direction\nx,GRU,training,1,2,3,4,5,2\n")
    with pytest.raises(ValueError, match=WRONG_TABLE + r"; got .*'direction': '2'"):
        load_suite(str(path))


WRONG_TABLE = (
    r"should have the columns group,cell,works,layers,T,B,I,H with cell one of RNN, RNN_relu, LSTM, GRU, and may have "
    r"directions \(1, 2\), layout \(padded, packed\), dtype \(float32, float64\), "
    r"mode \(changed, kept, eval, first\), threads"
)


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(ValueError, match=r"suite should be one of deepbench, .* or the path of a table, got 'slow'"):
        load_suite("slow")


def test_a_suite_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(b"\x80" * 3000)
    with pytest.raises(
        ValueError,
        match=r"suite '.*s\.csv' should be a table as text, with the columns group,cell,.* GRU, and may have ",
    ):
        load_suite(str(tmp_path / "s.csv"))
