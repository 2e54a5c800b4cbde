"""Every row of the operations is torch's: value and gradient, at ties, thresholds and edges, of nan and infinities."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from scratchrnn.equations.answers import read, value
from scratchrnn.equations.derivation import derivation, one_at_a_time
from scratchrnn.equations.lines import line
from scratchrnn.equations.operations import OPERATIONS, meant

NAN, INF = math.nan, math.inf
EDGES = [-INF, -30.0, -20.0, -7.5, -3.0, -2.0, -1.0, -0.5, -1e-300, -0.0, 0.0, 1e-300, 0.5, 1.0, 2.0, 3.0, 20.0]
EDGES += [20.0 + 1e-9, 30.0, 700.0, INF, NAN]

NUMBERS = {  # the arguments that have to be numbers
    "pow": [{"exponent": k} for k in (0, 1, 2, 3, -1, 0.5, 2.5)],
    "leaky_relu": [{}, {"negative_slope": 0.2}],
    "elu": [{}, {"alpha": 0.7}],
    "hardtanh": [{}, {"min_val": -2.0, "max_val": 0.5}],
    "softplus": [{}, {"beta": 2.0}, {"beta": 0.5, "threshold": 3.0}],
    "clamp": [{"min": -1.0, "max": 2.0}],
    "clamp_min": [{"min": -1.0}],
    "clamp_max": [{"max": 2.0}],
    "addcmul": [{}, {"value": 0.5}],
}
CASES = [(name, numbers) for name in OPERATIONS for numbers in NUMBERS.get(name, [{}])]


SIGNS = {"neg": "-", "add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}
SIGNS |= {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}
SELECTING = {"where", "relu", "maximum", "minimum", "hardtanh", "hardsigmoid", "clamp", "clamp_min", "clamp_max"}


def written(row, numbers):
    """`y = relu(input)`, `y = input + other`."""
    given = [repr(numbers[n]) if n in numbers else n for n in row.signature.parameters]
    if row.sign is None:
        shown = [f"{n}={numbers[n]}" if n in numbers else n for n in row.signature.parameters]
        given = [g for g, n in zip(shown, row.signature.parameters, strict=True) if n in numbers or n in tensors(row)]
        return line(f"y = {row.name}({', '.join(given)})")
    *left, right = given
    return line(f"y = {''.join(left)} {SIGNS[row.name]} ({right})")


def tensors(row):
    """The arguments that are tensors."""
    numbers = {name for options in NUMBERS.get(row.name, []) for name in options}
    return [n for n in row.signature.parameters if n not in numbers]


@pytest.mark.parametrize(("name", "numbers"), CASES, ids=lambda v: v if isinstance(v, str) else repr(v))
def test_value_and_gradient_are_torchs_everywhere(name, numbers):
    row = OPERATIONS[name]
    names = [n for n in tensors(row) if n != "condition"]
    grid = torch.tensor([*itertools.product(EDGES, repeat=len(names))], dtype=torch.float64)
    values = dict(zip(names, grid.unbind(1), strict=True))
    leaves = {n: v.clone().requires_grad_() for n, v in values.items()}
    if name == "where":
        values["condition"] = leaves["condition"] = values["input"] > 0
    theirs = row.function(**leaves, **numbers)

    lines = one_at_a_time([written(row, numbers)], (), lambda n: n)
    for each in lines:
        values[each.target] = each.evaluate(values)
    same(values["y"], theirs)
    if not theirs.requires_grad:  # a comparison
        return
    for upstream in (0.7, INF) if name in SELECTING else (0.7,):
        dy = values["dy"] = torch.full_like(grid[:, 0], upstream)
        wanted = [leaves[n] for n in names]
        exact = torch.autograd.grad(theirs, wanted, dy, True, allow_unused=True, materialize_grads=True)
        for step in derivation(lines, {"y": "dy"}, lambda n: f"d{n}", (), "this"):
            for gradient in step.gradients:
                values[gradient.target] = gradient.evaluate(values)
        for n, expected in zip(names, exact, strict=True):
            if name.startswith("clamp"):  # at a bound the gradient passes; since torch 2.14 it does not there
                at_bound = torch.isin(values["input"], torch.tensor([*numbers.values()], dtype=torch.float64))
                expected = torch.where(at_bound, dy, expected)
            # torch's gradient of hardsigmoid has the sixth in single precision
            same(values.get(f"d{n}", torch.zeros(())), expected, 1e-7 if name == "hardsigmoid" else 1e-12)


def same(ours, theirs, tolerance=1e-12):
    ours, theirs = ours.double().expand_as(theirs), theirs.detach().double()
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("row", OPERATIONS.values(), ids=OPERATIONS)
def test_every_name_that_a_row_has_in_torch_is_there_and_means_it(row):
    for name in row.functions:
        function = torch
        for part in name.split(".")[1:]:
            function = getattr(function, part)
        assert meant(function) is row
    assert row.cost >= 1
    assert set(row.gradients) <= set(row.signature.parameters)
    assert row.gradients or row.expansion


@pytest.mark.parametrize(("name", "numbers"), CASES, ids=lambda v: v if isinstance(v, str) else repr(v))
def test_what_is_typed_is_evaluated_as_a_line_is(name, numbers):
    row = OPERATIONS[name]
    values = {n: torch.tensor(EDGES, dtype=torch.float64).roll(k) for k, n in enumerate(tensors(row))}
    of_row = written(row, numbers)
    given = values | ({"condition": values["condition"] > 0} if "condition" in values else {})
    if "condition" in values:
        values["condition"] = given["condition"].double()
    expected = of_row.evaluate(given).double()
    torch.testing.assert_close(value(read(of_row.code), values), expected, rtol=0, atol=0, equal_nan=True)
