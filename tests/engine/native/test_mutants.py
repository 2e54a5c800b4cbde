"""Bugs planted in the C of the native engine: the verifier must reject each, which it compares as a user's layer."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field

import pytest
from mutants import Flip, signs, verdict

from scratchrnn import native
from scratchrnn.cells import BUILT_IN, TWINS
from scratchrnn.engine.native import emit, takes
from scratchrnn.equations.derivation import Step
from scratchrnn.equations.equations import Equations
from scratchrnn.equations.lines import Line

pytestmark = pytest.mark.compiled
WORDS = {twin.word: twin for twin in TWINS}
FORWARD = {"output", "h_n", "c_n"}


@pytest.fixture(autouse=True)
def required(monkeypatch):
    """The native engine and no other, without its own test, which would refuse each of these libraries."""
    monkeypatch.setattr(takes, "_tested", lambda cell, functions: functions)
    with native.flags(enabled="require"):
        yield
    for cell in BUILT_IN.values():
        Equations(cell).__dict__.pop("_native", None)


def planted(monkeypatch, cell, **found):
    """Other equations of a cell, as if they had been read so."""
    kept = Equations(cell).__dict__
    kept.pop("_native", None)
    for name, value in found.items():
        monkeypatch.setitem(kept, name, value)


def flips(part):
    """For each twin those lines with one sign flipped, and which it is."""
    for twin in TWINS:
        lines = getattr(Equations(twin.cell), part)
        for i, line in enumerate(lines):
            for k in range(signs(line.expression)):
                other = Line(line.target, Flip(k).visit(copy.deepcopy(line.expression)))
                flipped = (*lines[:i], other, *lines[i + 1 :])
                yield pytest.param(twin, flipped, id=f"{twin.title}: {other.text}")


def failed(twin, **options):
    return {d.name for d in verdict(twin.layer.__name__, **twin.options, **options).failed}


@pytest.mark.parametrize(("twin", "lines"), [*flips("named")])
def test_a_flipped_sign_of_an_update_is_seen(twin, lines, monkeypatch):
    planted(monkeypatch, twin.cell, named=lines, derivation=Equations(twin.cell).derivation)
    assert "output" in failed(twin)


@pytest.mark.parametrize(("twin", "lines"), [*flips("derived")])
def test_a_flipped_sign_of_an_adjoint_is_seen(twin, lines, monkeypatch):
    planted(monkeypatch, twin.cell, derivation=(Step(lines[0], lines),))
    named = failed(twin)
    assert named
    assert not named & FORWARD


@dataclass(frozen=True)
class Bug:
    """Something else where a function of scan.c has `name` for the `k`-th time; `seen` are tensors that are named."""

    title: str
    function: str
    name: str
    k: int
    instead: str
    word: str
    seen: set[str]
    options: dict[str, int] = field(default_factory=dict)

    def planted(self, text):
        """The C with the bug in it."""
        (function,) = re.finditer(rf"^\S[^\n]*\b{self.function}\(.*?^}}", text, re.MULTILINE | re.DOTALL)
        found = [*re.finditer(rf"(?<!\w){re.escape(self.name)}(?!\w)", function[0])][self.k]
        start, end = (function.start() + at for at in found.span())
        return text[:start] + self.instead + text[end:]


BUGS = [
    Bug("the direct road of h lost", "backward_tile", "load_part", 0, "0 * load_part", "gru", {"dinput", "dh_0"}),
    Bug(
        "the gradient from outside overwrites what comes from later steps",
        "backward_tile",
        "+=",
        0,
        "=",
        "rnn",
        {"dinput", "dh_0"},
    ),
    Bug("the hidden product in the wrong window", "take", "pre[p]", 2, "pre[p - SPLIT]", "gru", {"output"}),
    Bug("waiting rows move", "take", "next[s]", 0, "row < t->next_n ? next[s] : splat(0)", "lstm", {"h_n", "c_n"}),
    Bug("the bias of a split gate forgotten", "take", "bias", 2, "0", "gru", {"output"}),
    Bug("the input's bias forgotten", "input_tile", "a->bias", 0, "0", "rnn", {"output"}),
    Bug("the gradient of a further state dropped", "pull", "d_prev[s]", 0, "splat(0)", "lstm", {"dinput", "dc_0"}),
    Bug(
        "the initial state ignored, and the gradient of the last one",
        "put_given",
        "a->given[s]",
        1,
        "0",
        "gru",
        {"output", "dh_0"},
    ),
    Bug("the state before read as zero", "take", "s == 0 && projected", 0, "1", "lstm", {"output", "c_n"}),
    Bug(
        "the gradient of a projection's input from its gradient",
        "pull",
        "emitted",
        2,
        "dh",
        "lstm",
        {"dweight_hr_l0"},
        {"proj_size": 2},
    ),
    Bug(
        "the gradient of a projection's output lost",
        "backward_tile",
        "dh",
        4,
        "splat(0)",
        "lstm",
        {"dweight_hr_l0", "dinput"},
        {"proj_size": 2},
    ),
    Bug("the gates' weights in the order of units", "pack_rows", "g", 4, "gates - 1 - g", "lstm", {"output"}),
    Bug("db_hh taken from db_ih", "part_bias", "SPLIT", 0, "0", "gru", {"dbias_hh_l0"}),
    Bug("the input's biases in the order of the columns", "begin", "INPUT_GATES", 0, "NULL", "gru", {"output"}),
    Bug("the gradient of the initial state forgotten", "backward", "rows_at(a, 0)", 0, "0", "gru", {"dh_0"}),
]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.title)
def test_a_bug_of_the_scan_is_seen(bug, monkeypatch):
    once, twice = emit._scan()
    monkeypatch.setattr(emit, "_scan", lambda: (once, bug.planted(twice)))
    twin = WORDS[bug.word]
    planted(monkeypatch, twin.cell)
    assert bug.seen <= failed(twin, **bug.options)


def test_without_a_bug_all_agree():
    for twin in TWINS:
        assert not failed(twin), twin.title
    assert not failed(WORDS["lstm"], proj_size=2)
