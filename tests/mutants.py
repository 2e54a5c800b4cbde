"""Bugs planted in the package while a test runs: each is an operator or a name of a function, or its result."""

from __future__ import annotations

import ast
import copy
import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import scratchrnn as sr
from scratchrnn import cells
from scratchrnn.parity.compare import Report, compare


class Change(ast.NodeTransformer):
    """A change of one place in a function; `done` counts the places."""

    done = 0


class Flip(Change):
    """The `k`-th `+` as `-`, or the reverse."""

    def __init__(self, k: int) -> None:
        self.left = k

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, (ast.Add, ast.Sub)):
            if self.left == 0:
                node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
                self.done += 1
            self.left -= 1
        return node


class Exchange(Change):
    """In the line that assigns `target`, `a` in the place of `b`, and `b` in the place of `a`."""

    def __init__(self, target: str, a: str, b: str) -> None:
        self.target, self.other = target, {a: b, b: a}

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        if ast.unparse(node.targets[0]) == self.target:
            for name in ast.walk(node.value):
                if isinstance(name, ast.Name) and name.id in self.other:
                    name.id = self.other[name.id]
            self.done += 1
        return node


class Reading(Change):
    """Something else where `name` is read for the `k`-th time."""

    def __init__(self, name: str, k: int, instead: str) -> None:
        self.name, self.left, self.instead = name, k, instead

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id != self.name or not isinstance(node.ctx, ast.Load):
            return node
        self.left -= 1
        if self.left != -1:
            return node
        self.done += 1
        return ast.parse(self.instead, mode="eval").body


class Assigned(Change):
    """The one `+=` as `=`."""

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        self.done += 1
        return ast.Assign([node.target], node.value)


@dataclass(frozen=True)
class Returning:
    """`what(result)` in the place of the result."""

    what: Callable[[Any], Any]


def signs(tree: ast.AST) -> int:
    """How many `+` and `-` there are to flip."""
    return sum(isinstance(node, (ast.Add, ast.Sub)) for node in ast.walk(tree))


def parsed(function: Callable[..., Any]) -> ast.Module:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))


def changed(function: Callable[..., Any], change: Change) -> str:
    """The source of `function` with the change, which fits one place in it."""
    change = copy.copy(change)  # it counts from the start
    tree = change.visit(parsed(function))
    assert change.done == 1, f"{vars(change)} should fit one place in {function.__name__}, not {change.done}"
    return ast.unparse(ast.fix_missing_locations(tree))


def plant(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], change: Change | Returning) -> None:
    """Put the changed function in the place of `function`."""
    if isinstance(change, Returning):
        what = change.what
        return install(monkeypatch, function, lambda *arguments, **options: what(function(*arguments, **options)))
    namespace = dict(function.__globals__)
    exec("from __future__ import annotations\n" + changed(function, change), namespace)
    return install(monkeypatch, function, namespace[function.__name__])


def install(monkeypatch: pytest.MonkeyPatch, original: Callable[..., Any], mutant: Callable[..., Any]) -> None:
    """Put `mutant` wherever the original is: in its class, in every module that has it, and in the cells, frozen."""
    *classes, name = original.__qualname__.split(".")
    if classes:
        holder = reduce(getattr, classes, sys.modules[original.__module__])
        monkeypatch.setattr(holder, name, mutant)
    for there in [m for n, m in sys.modules.items() if n.startswith("scratchrnn")]:
        for attribute, value in list(vars(there).items()):
            if value is original:
                monkeypatch.setattr(there, attribute, mutant)
    for cell in cells.BUILT_IN.values():
        for part in ("update", "adjoint"):
            if getattr(cell, part) is original:
                monkeypatch.setitem(cell.__dict__, part, mutant)


def verdict(kind: str, packed: bool = True, **options: Any) -> Report:
    """Random everything: ragged lengths, both directions, biases, states, upstream gradients on outputs and states."""
    B, T, I, H = 5, 7, 3, 4  # noqa: E741
    theirs = getattr(nn, kind)(I, H, bidirectional=True, **options)
    x = torch.randn(B, T, I) if options.get("batch_first") else torch.randn(T, B, I)
    lengths = torch.tensor([3, 7, 1, 5, 5])
    input = pack_padded_sequence(x, lengths, enforce_sorted=False) if packed else x
    h = torch.randn(2, B, options.get("proj_size") or H)
    return compare(sr.from_torch(theirs), theirs, input, (h, torch.randn(2, B, H)) if kind == "LSTM" else h)
