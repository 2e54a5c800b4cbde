"""What an explanation is made of: sections of prose, equations and tables. The command prints them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from torch import Tensor

from .lines import Line

SHOWN = 8
"""The most numbers that are printed of a row or a column; of more, the first and the last, and … between them."""


class Equation(NamedTuple):
    """A line, and what it gives where numbers are asked for."""

    line: Line
    value: Tensor | None = None


Entry: TypeAlias = str | Equation | Tensor | None


class Table(NamedTuple):
    """Headings and rows. A row of one entry stands for itself: the rows that follow belong to it."""

    head: tuple[str, ...]
    rows: list[tuple[Entry, ...]]


Part: TypeAlias = str | list[Equation] | Table


class Section(NamedTuple):
    """A heading and what stands below it: prose, equations under each other, tables."""

    title: str
    parts: list[Part]


def with_values(lines: Sequence[Line], values: Mapping[str, Tensor] | None = None) -> list[Equation]:
    """Each line with its number, if there are numbers."""
    return [Equation(each, None if values is None else values[each.target]) for each in lines]
