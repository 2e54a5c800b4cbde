"""Drawn stacks beside torch.nn's on the native engine, each number within the tolerance rule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, note
from hypothesis import strategies as st
from running import each_twin
from table import Row
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import scratchrnn as sr

pytestmark = pytest.mark.compiled

# A single number of torch.nn's may be right by chance: of many the largest error says something.
sizes = {"T": (1, 60), "B": (4, 20), "I": (4, 40), "H": (16, 90), "num_layers": (1, 3)}
choices = ("bidirectional", "bias", "batch_first", "project", "packed", "double", "states")
drawn = st.fixed_dictionaries(
    {name: st.integers(*ends) for name, ends in sizes.items()}
    | {name: st.booleans() for name in choices}
    | {"threads": st.integers(1, 2), "seed": st.integers(0, 999)}
)


def called_with(threads: int, module: nn.Module) -> nn.Module:
    module.register_forward_pre_hook(lambda *_: torch.set_num_threads(threads))
    return module


@pytest.fixture(autouse=True, scope="module")
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    with sr.native.flags(enabled="require"):
        yield
    torch.set_num_threads(before)


@each_twin
@given(drawn)
def test_a_stack_is_as_near_to_float64_as_torch_nns(row: Row, drawn: dict[str, Any]) -> None:
    T, B, I, H, threads, seed = (drawn[name] for name in ("T", "B", "I", "H", "threads", "seed"))  # noqa: E741
    torch.manual_seed(seed)
    options = {name: drawn[name] for name in ("num_layers", "bidirectional", "bias", "batch_first")}
    if drawn["project"] and row.projects:
        options["proj_size"] = 4 + seed % (H - 4)
    # Of a relu that a rounding error switches the gradient is another: in float64 that hardly happens.
    dtype = torch.float64 if drawn["double"] or row.name == "RNN_relu" else torch.float32
    assert row.twin is not None
    theirs = row.twin(I, H, dtype=dtype, **options)
    x = torch.randn(B, T, I, dtype=dtype) if drawn["batch_first"] else torch.randn(T, B, I, dtype=dtype)
    state = None
    if drawn["states"]:
        widths = [options.get("proj_size", H)] + [H] * (len(row.cell.states) - 1)
        given = [torch.randn(options["num_layers"] * (1 + drawn["bidirectional"]), B, w, dtype=dtype) for w in widths]
        state = tuple(given) if len(given) > 1 else given[0]
    lengths = torch.randint(1, T + 1, (B,))
    packed = pack_padded_sequence(x, lengths, batch_first=drawn["batch_first"], enforce_sorted=False)
    ours = called_with(threads, sr.from_torch(theirs))
    report = sr.compare(ours, called_with(1, theirs), packed if drawn["packed"] else x, state)
    note(str(report))
    assert report
