"""Bugs planted in the package while a test runs."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from scratchrnn import cells


class Flip(ast.NodeTransformer):
    """Turn the `count`-th `+` into `-` or the reverse."""

    def __init__(self, count: int) -> None:
        self.left = count

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, (ast.Add, ast.Sub)):
            if self.left == 0:
                node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            self.left -= 1
        return node


def install(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, mutant: Callable[..., Any]) -> None:
    """Put `mutant` wherever the function is: in every module that has it, and in the cells, frozen as they are."""
    original = getattr(module, name)
    for there in [m for n, m in sys.modules.items() if n.startswith("scratchrnn")]:
        for attribute, value in list(vars(there).items()):
            if value is original:
                monkeypatch.setattr(there, attribute, mutant)
    for cell in cells.BUILT_IN.values():
        for part in ("update", "adjoint"):
            if getattr(cell, part) is original:
                monkeypatch.setitem(cell.__dict__, part, mutant)
