"""What of a cell can be read, and what cannot: each named with its line and the reason."""

from __future__ import annotations

import functools
import importlib
import linecache
import math
import subprocess
import sys
from collections import namedtuple

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from running import equal, outcome
from torch import sigmoid
from torch.nn.functional import logsigmoid

import scratchrnn as sr
from scratchrnn.cells.cell import step
from scratchrnn.cells.probe import some_arguments
from scratchrnn.equations.adjoint import why_walked
from scratchrnn.equations.equations import Equations

S = torch.sigmoid
RATE = 0.25
Gates = namedtuple("Gates", "f h")


def gate(x):
    """A function of such lines."""
    return torch.sigmoid(2 * x)


def two(a, b, rate):
    a = a * rate
    return a, gate(b)


# --------------------------------------------------------------------------------------------------------- read


def aliases(f, n, h_prev):
    f = S(f)
    n = sigmoid(n)
    log = torch.log1p
    return f * h_prev + log(n)


def of_functional(f, n, h_prev):
    return F.softplus(f, beta=2.0) + F.silu(input=n) * logsigmoid(f) + torch.nn.functional.leaky_relu(n, 0.2) * h_prev


def methods(f, n, h_prev):
    f = f.sigmoid().mul(h_prev)
    return (f + n.square()).tanh().clamp(min=-0.5) - n.abs()


def keywords(f, n, h_prev):
    f = torch.clamp(f, max=0.5) + torch.clamp(n, -1.0, 0.25)
    return torch.addcmul(input=f, tensor1=n, tensor2=h_prev, value=0.5) + F.elu(n, alpha=0.3)


def comprehension(f, n, h_prev):
    f, n = (torch.sigmoid(a) for a in (f, n))
    gates = [torch.tanh(a) for a in (f, n)]
    f, n = gates
    return f * h_prev + n


def helpers(f, n, h_prev):
    f = gate(f)
    f, n = two(f, b=n, rate=RATE)
    return f * h_prev + (1 - f) * torch.tanh(n)


def numbers(f, n, h_prev):
    return RATE * f + math.pi * torch.tanh(n) + h_prev / sr.equations_test_rate


def unused(f, n, h_prev):
    return torch.tanh(f) + h_prev


def functions(f, n, h_prev):
    f = torch.add(torch.mul(f, 0.5), torch.neg(n))
    n = torch.pow(n, 2) + torch.sub(f, n) / torch.sqrt(1 + n.square())
    return torch.where(f > n, f, torch.minimum(n, h_prev)) + torch.lerp(f, n, 0.3) + abs_of(n)


def abs_of(x):
    return abs(x) + torch.abs(x)


def pair_by_name(f, n, h_prev):
    h = torch.tanh(f) * n + h_prev
    state = (h,)
    tape = Gates(f=f, h=h)
    return state, tape


sr.equations_test_rate = 2.0


@pytest.mark.parametrize(
    "update",
    [aliases, of_functional, methods, keywords, comprehension, helpers, numbers, unused, functions, pair_by_name],
    ids=lambda f: f.__name__,
)
def test_what_can_be_read_gives_what_update_gives_and_is_differentiated(update):
    cell = sr.Cell("OWN", ("f", "n"), update)
    assert why_walked(cell) is None
    arguments = some_arguments(cell, 4, torch.float64)
    state, _ = step(cell, *arguments)
    of = Equations(cell)
    torch.testing.assert_close(of.values(*arguments)["h"], state[0], rtol=1e-14, atol=1e-14)
    values = dict(zip(("f_pre", "n_pre", "h_prev"), arguments, strict=True)) | of.numbers
    for each in of.forward:
        values[each.target] = each.evaluate(values)
    torch.testing.assert_close(values["h"], state[0], rtol=1e-14, atol=1e-14)


def texts(update, gates=("f", "n"), split=()):
    return [each.text for each in Equations(sr.Cell("OWN", gates, update, split=split)).forward]


def test_lines_are_called_as_torch_calls_them_and_helpers_stand_before_the_line_that_calls_them():
    assert texts(aliases) == ["f = sigmoid(f_pre)", "n = sigmoid(n_pre)", "h = f * h_prev + log1p(n)"]
    assert texts(helpers) == [
        "f = sigmoid(2 * f_pre)",
        "a = f * RATE",
        "n = sigmoid(2 * n_pre)",
        "h = a * h_prev + (1 - a) * tanh(n)",
    ]
    assert texts(methods)[0] == "f = sigmoid(f_pre) * h_prev"
    assert texts(keywords)[0] == "f = clamp_max(f_pre, 0.5) + clamp(n_pre, -1.0, 0.25)"
    assert texts(comprehension)[:3] == ["f = sigmoid(f_pre)", "n = sigmoid(n_pre)", "gates_0 = tanh(f)"]
    assert [*Equations(sr.Cell("OWN", ("f", "n"), numbers)).numbers] == ["RATE", "pi", "equations_test_rate"]
    assert [each.text for each in Equations(sr.Cell("OWN", ("f", "n"), unused)).derived][-1] == "dn_pre = 0 * dh"


# ----------------------------------------------------------------------------------------------------- not read


def looped(f, h_prev):
    for _ in range(2):
        f = torch.tanh(f)
    return f


def branched(f, h_prev):
    return f if f.sum() > 0 else h_prev


def indexed(f, h_prev):
    return f[:, :1] * h_prev


def builtin(f, h_prev):
    return sum(f, h_prev)


def in_place(f, h_prev):
    f = f.clone()
    return f.sigmoid_()


def torch_in_place(f, h_prev):
    return torch.sigmoid_(f * 1)


def attribute(f, h_prev):
    return f.data * h_prev


def no_return(f, h_prev):
    h = torch.tanh(f)  # noqa: F841


def too_many(f, h_prev):
    return f, h_prev


def not_unpacked(f, h_prev):
    f, h_prev = torch.tanh(f)  # noqa: RUF059
    return f


def into_a_part(f, h_prev):
    f[0] = 1
    return f


WEIGHT = torch.ones(4)
NAME = "f"


def tensor_of_its_own(f, h_prev):
    return WEIGHT * f


def no_number(f, h_prev):
    return f * NAME


def not_there(f, h_prev):
    return f * nowhere  # noqa: F821


def other_arguments(f, h_prev):
    return F.silu(f, True)


def lacking_arguments(f, h_prev):
    return two(f, h_prev)


def recursive(f, h_prev):
    return recursive(f, h_prev)


def without_def(f, h_prev):
    return in_lambda(f)


in_lambda = lambda f: torch.tanh(f)  # noqa: E731


def of_a_sum(f, h_prev):
    return f - f.mean(1, keepdim=True)


def starred(f, h_prev):
    return torch.mul(*(f, h_prev))


def only_none(f, h_prev):
    nothing = None
    return f + nothing


def of_no_parts(f, h_prev):
    return torch.tanh((f, h_prev))


def over_rows(f, h_prev):
    (f,) = [torch.tanh(a) for a in f]
    return f


@pytest.mark.parametrize(
    ("update", "line", "shown", "why"),
    [
        (looped, 1, "for _ in range(2):", "only assignments and a return can, no control flow"),
        (branched, 1, "f if f.sum() > 0 else h_prev", "an expression of operations can, no control flow"),
        (indexed, 1, "f[:, :1]", "a cell works unit by unit, and no part of a tensor can"),
        (builtin, 1, "sum(f, h_prev)", "sum is no operation of tensors that can"),
        (in_place, 1, "f.clone()", "f.clone is no operation of tensors that can"),
        (torch_in_place, 1, "torch.sigmoid_(f * 1)", "torch.sigmoid_ is no operation of tensors that can"),
        (attribute, 1, "f.data", "no attribute of a tensor can"),
        (too_many, 1, "(f, h_prev)", "it should return h"),
        (not_unpacked, 1, "f, h_prev = torch.tanh(f)", "no tuple of 2 is written out there"),
        (into_a_part, 1, "f[0] = 1", "only assignments to names and a return can"),
        (tensor_of_its_own, 1, "WEIGHT", "it is a tensor that the function holds; only numbers can"),
        (no_number, 1, "NAME", "it is a str; of what a function holds only numbers and functions can"),
        (not_there, 1, "nowhere", "it is neither assigned before nor defined outside"),
        (other_arguments, 1, "True", "it is none of the operations of tensors that can"),
        (lacking_arguments, 1, "two(f, h_prev)", "it should give each of (a, b, rate) once"),
        (recursive, 1, "recursive(f, h_prev)", "it is 8 functions deep"),
        (of_a_sum, 1, "f.mean(1, keepdim=True)", "f.mean is no operation of tensors that can"),
        (starred, 1, "torch.mul(*(f, h_prev))", "arguments should be written out"),
        (only_none, 2, "nothing", "one tensor or number should stand there"),
        (of_no_parts, 1, "(f, h_prev)", "one tensor or number should stand there"),
        (over_rows, 1, "f", "only a comprehension over tensors that are written out can"),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_what_cannot_be_read_is_shown_with_its_line_and_the_reason(update, line, shown, why):
    said = outcome(lambda: Equations(sr.Cell("OWN", ("f",), update)).forward)
    assert said[0] is ValueError
    number = update.__code__.co_firstlineno + line
    of = ", in recursive" * 8 if update is recursive else ""
    assert said[1].startswith(f"update of cell 'OWN'{of}, line {number}: cannot read `{shown}`: ")
    assert said[1].endswith(f": {why}")
    assert why_walked(sr.Cell("OWN", ("f",), update)) == said[1]


def test_an_operation_that_writes_into_its_tensor_is_not_read():
    def update(f, h_prev):
        return f.sigmoid_()

    text = outcome(lambda: Equations(sr.Cell("OWN", ("f",), update)).forward)[1]
    assert text.endswith("cannot read `f.sigmoid_()`: sigmoid_ writes into its tensor")


def test_a_function_that_ends_nowhere_or_is_no_function_is_refused():
    cell = functools.partial(sr.Cell, "OWN", ("f",))

    def said(update):
        return outcome(lambda: Equations(cell(update)).forward)[1]

    assert said(no_return).endswith(f"line {no_return.__code__.co_firstlineno}: cannot read: it returns nothing")
    assert said(without_def).startswith("update of cell 'OWN', in in_lambda cannot be read: only a function written w")
    assert ", is none" in said(lambda f, h_prev: f)
    for function in (functools.partial(looped), Method().update, Called()):
        came = type(function).__name__
        assert (
            said(function) == f"update of cell 'OWN' cannot be read: only a function written with def can, got {came}"
        )
    namespace = {}
    exec("def update(f, h_prev):\n    return f", namespace)
    assert said(namespace["update"]) == (
        "update of cell 'OWN' cannot be read: its source, <string>, line 1, is not to be had"
    )


AT_THE_PROMPT = """import torch, scratchrnn as sr
from scratchrnn.equations.equations import Equations
def update(f, h_prev):
    h = torch.tanh(f)
    return h

print(*(line.text for line in Equations(sr.Cell("OWN", ("f",), update)).forward))
"""


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Python keeps no lines that are typed at its prompt")
def test_what_is_typed_at_the_prompt_is_read():
    run = subprocess.run([sys.executable, "-i"], input=AT_THE_PROMPT, capture_output=True, text=True, timeout=100)
    assert "h = tanh(f_pre)" in run.stdout, run.stderr


class Called:
    def __call__(self, f, h_prev):
        return torch.tanh(f)


class Method:
    def update(self, f, h_prev):
        return torch.tanh(f)


def test_what_comes_before_is_read():
    def update(f, h_prev):
        f = torch.sigmoid(f)
        f = 2 * f
        f.add_(1)
        return f

    of = Equations(sr.Cell("OWN", ("f",), update))
    assert [each.text for each in of.readable] == ["f = sigmoid(f_pre)", "f_1 = 2 * f"]


# --------------------------------------------------------------------------------- the source is not the function


def halved(function):
    @functools.wraps(function)
    def wrapper(f, h_prev):
        return function(f, h_prev) / 2

    return wrapper


@halved
def decorated(f, h_prev):
    return torch.tanh(f)


def registered(function):
    function.known = True
    return function


@registered
def kept(f, h_prev):
    return torch.tanh(f)


def test_a_decorator_that_puts_another_function_in_its_place_is_read_as_that_function():
    of = Equations(sr.Cell("OWN", ("f",), decorated))
    assert [each.text for each in of.forward] == ["h = tanh(f_pre) / 2"]
    assert texts(kept, ("f",)) == ["h = tanh(f_pre)"]


def test_a_file_that_was_edited_is_not_taken_for_the_function(tmp_path, monkeypatch):
    file = tmp_path / "edited_cell.py"
    file.write_text("import torch\ndef update(f, h_prev):\n    return torch.tanh(f)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("edited_cell")
    file.write_text("import torch\ndef update(f, h_prev):\n    return torch.sigmoid(f)\n\n")
    linecache.checkcache()
    cell = sr.Cell("OWN", ("f",), module.update)
    assert why_walked(cell) == (
        f"update of cell 'OWN' cannot be read: its source, {file}, line 2, is not what the function runs"
    )
    layer = sr.RecurrentLayer(cell, 3, 4)
    equal(layer(torch.zeros(2, 1, 3))[0].tanh().isfinite(), torch.ones(2, 1, 4, dtype=torch.bool))
    file.write_text("import torch\n\ndef update(f, h_prev:\n")
    assert "was never closed" in why_walked(sr.Cell("OWN", ("f",), module.update))
