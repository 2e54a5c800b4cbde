"""The first line in which an adjoint departs from the chain rule, and the term or factor that is missing there."""

from __future__ import annotations

import pytest

import scratchrnn as sr
from scratchrnn.cells import gru, lstm
from scratchrnn.equations.departure import departure


def mutant(tmp_path, monkeypatch, cell, old, new):
    """The cell with a piece of its adjoint's text changed."""
    import importlib.util
    import inspect

    source = inspect.getsource(cell.adjoint)
    assert source.count(old) == 1
    file = tmp_path / "mutant.py"
    head = f"from __future__ import annotations\nfrom {cell.adjoint.__module__} import *\n"
    file.write_text(head + source.replace(old, new))
    spec = importlib.util.spec_from_file_location("mutant", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    adjoint = getattr(module, cell.adjoint.__name__)
    return sr.Cell("MUTANT", cell.gates, cell.update, adjoint, split=cell.split)


@pytest.mark.parametrize(
    ("cell", "old", "new", "line", "lacking"),
    [
        (lstm, "dc = dc + dh * o", "dc = dh * o", "dc", "it lacks the term `+ dc_next`"),
        (lstm, "dc = dc + dh * o * (1 - tanh_c * tanh_c)", "dc = dc + 0 * dh", "dc", "it lacks the term `+ dtanh_c * "),
        (
            lstm,
            "dc = dc + dh",
            "dc = dc - dh",
            "dc",
            "it has the term `+ dtanh_c * (1 - tanh_c * tanh_c)` with the other",
        ),
        (lstm, " * (1 - tanh_c * tanh_c)", "", "dc", "it lacks the factor `1 - tanh_c * tanh_c`"),
        (lstm, "df * f * (1 - f)", "df * (1 - f)", "df_pre", "it lacks the factor `f`"),
        (lstm, "do = dh * tanh_c", "do = -dh * tanh_c", "do", "it has the other sign"),
        (gru, "dh * (h_prev - n)", "dh * h_prev", "dz", "multiplied out, it lacks the term `- dh * n`"),
        (gru, "dh * (1 - z), dh", "dh * (1 + z), dh", "dn", ""),
    ],
)
def test_what_is_missing_is_named(tmp_path, monkeypatch, cell, old, new, line, lacking):
    found = departure(mutant(tmp_path, monkeypatch, cell, old, new))
    assert found.line.target == line
    assert found.expected.target == line
    assert found.lacking.startswith(lacking)
    assert bool(found.lacking) == bool(lacking)
    assert str(found).startswith(
        f"departs first in `{found.line.text}`, where the chain rule has `{found.expected.text}`"
    )


def test_a_result_that_is_not_given_is_named(tmp_path, monkeypatch):
    found = departure(mutant(tmp_path, monkeypatch, gru, "(dh_prev,)\n", "(None,)\n"))
    assert found.line is None
    assert str(found) == "gives no dh_direct, where the chain rule has `dh_direct = dh * z`"


def test_none_departs_of_adjoints_that_are_right_or_not_there():
    assert departure(lstm) is None
    assert departure(gru) is None
    assert departure(sr.Cell("NONE", lstm.gates, lstm.update)) is None
