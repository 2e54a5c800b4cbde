"""Where the boxes and arrows of a diagram go, after Sugiyama, Tagawa & Toda 1981, doi:10.1109/TSMC.1981.4308636.

A box stands one column to the right of the last of its sources. What is needed further right keeps a lane of its own
through each column between, so that no arrow runs through a box. In a column boxes and lanes are ordered to cross
few arrows, then set as near to their neighbours' height as their order and sizes allow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate, combinations, islice, pairwise, permutations
from typing import NamedTuple

Sources = Mapping[str, Sequence[str]]
"""The boxes by name, and the names of those that each is made from; they come before it."""
Size = tuple[float, float]
Point = tuple[float, float]
Place = tuple[str, int]
"""A name in a column: its box in the column where it is made, its lane in a later one."""
_HEAD = 10  # so long an arrow is level before it reaches its box


class Diagram(NamedTuple):
    """Where the boxes stand, and the arrows between them."""

    centres: dict[str, Point]
    """The centre of each box; x goes to the right, y up."""
    routes: dict[tuple[str, str], list[Point]]
    """For each (source, target) the points of the arrow: level through a column, then to the next one, and so on."""
    size: Size


def lay_out(
    sources: Sources, sizes: Mapping[str, Size], last: Collection[str] = (), gaps: Size = (42, 16), lane: float = 6
) -> Diagram:
    """Place boxes of these sizes; those named in `last` stand in a column of their own at the right."""
    column = _columns(sources, last)
    arrows = _arrows(sources, column)
    rows = _rows(column, arrows)
    above = [sorted(row, key=lambda place: column[place[0]] > 0) for row in rows]  # the lanes from the left edge first
    rows = min(_ordered(rows, arrows), _ordered(above, arrows), key=lambda tried: _crossings(tried, arrows))
    height = {place: sizes[place[0]][1] if column[place[0]] == place[1] else lane for row in rows for place in row}
    y = _heights(rows, arrows, height, gaps[1])
    widths = [max(sizes[name][0] for name, c in row if column[name] == c) for row in rows]
    left = [sum(widths[:c]) + gaps[0] * c for c in range(len(rows))]
    lowest = min(y[place] - height[place] / 2 for place in y)
    highest = max(y[place] + height[place] / 2 for place in y)
    y = {place: at - lowest for place, at in y.items()}
    centres = {name: (left[c] + widths[c] / 2, y[name, c]) for name, c in column.items()}
    routes = {}
    for target, made_from in sources.items():
        arrives = {name: y[name, column[target] - 1] for name in made_from}
        upwards = sorted(made_from, key=arrives.__getitem__)
        for k, name in enumerate(upwards):
            offset = (k - (len(upwards) - 1) / 2) * min(lane, 0.7 * sizes[target][1] / len(upwards))
            start, end = centres[name][0] + sizes[name][0] / 2, centres[target][0] - sizes[target][0] / 2
            level = [(start, left[column[name]] + widths[column[name]], y[name, column[name]])]
            level += [(left[c], left[c] + widths[c], y[name, c]) for c in range(column[name] + 1, column[target])]
            level += [(left[column[target]] - _HEAD, end, centres[target][1] + offset)]
            routes[name, target] = [point for x0, x1, at in level for point in ((x0, at), (x1, at))]
    return Diagram(centres, routes, (left[-1] + widths[-1], highest - lowest))


def _columns(sources: Sources, last: Collection[str]) -> dict[str, int]:
    column: dict[str, int] = {}
    for name, made_from in sources.items():
        column[name] = 1 + max((column[source] for source in made_from), default=-1)
    rightmost = max((column[name] for name in last), default=0)
    rightmost = max(rightmost, 1 + max(c for name, c in column.items() if name not in last))
    return column | dict.fromkeys(last, rightmost)


def _arrows(sources: Sources, column: Mapping[str, int]) -> list[tuple[Place, Place]]:
    """From column to column: a lane is shared by all that go further."""
    found: dict[tuple[Place, Place], None] = {}
    for target, made_from in sources.items():
        for name in made_from:
            for c in range(column[name], column[target]):
                after = (name if c + 1 < column[target] else target, c + 1)
                found[(name, c), after] = None
    return list(found)


def _rows(column: Mapping[str, int], arrows: Iterable[tuple[Place, Place]]) -> list[list[Place]]:
    places = dict.fromkeys([*column.items(), *(place for arrow in arrows for place in arrow)])
    return [[place for place in places if place[1] == c] for c in range(max(column.values()) + 1)]


def _neighbours(arrows: Iterable[tuple[Place, Place]]) -> dict[Place, list[Place]]:
    found: dict[Place, list[Place]] = {}
    for a, b in arrows:
        found.setdefault(a, []).append(b)
        found.setdefault(b, []).append(a)
    return found


# ---------------------------------------------------------------------------------------------------- order


def _ordered(rows: list[list[Place]], arrows: Sequence[tuple[Place, Place]]) -> list[list[Place]]:
    """From each order of the last column sweep to the left and back, of the first to the right; keep the best seen."""
    best, neighbours = rows, _neighbours(arrows)
    starts = [([*rows[:-1], [*last]], -1) for last in islice(permutations(rows[-1]), 24)]
    starts += [([[*first], *rows[1:]], 1) for first in islice(permutations(rows[0]), 24)]
    for tried, step in starts:
        for sweep in range(8):
            tried = _swept(tried, neighbours, step if sweep % 2 == 0 else -step)
            if _crossings(tried, arrows) < _crossings(best, arrows):
                best = tried
    return best


def _swept(rows: list[list[Place]], neighbours: Mapping[Place, Sequence[Place]], step: int) -> list[list[Place]]:
    """Each column sorted by the mean place of its neighbours in the one before: from the left 1, from the right -1."""
    rows = [[*row] for row in rows]
    for c in range(len(rows))[::step]:
        at = {place: k for row in rows for k, place in enumerate(row)}
        beside = {p: [at[n] for n in neighbours.get(p, []) if n[1] == c - step] for p in rows[c]}
        means = {p: sum(found) / len(found) if found else at[p] for p, found in beside.items()}
        rows[c].sort(key=means.__getitem__)
    return rows


def _crossings(rows: Sequence[Sequence[Place]], arrows: Iterable[tuple[Place, Place]]) -> int:
    at = {place: k for row in rows for k, place in enumerate(row)}
    pairs = combinations([(a[1], at[a], at[b]) for a, b in arrows], 2)
    return sum(c == d and (a1 - a2) * (b1 - b2) < 0 for (c, a1, b1), (d, a2, b2) in pairs)


# --------------------------------------------------------------------------------------------------- height


def _heights(
    rows: Sequence[Sequence[Place]], arrows: Sequence[tuple[Place, Place]], height: Mapping[Place, float], gap: float
) -> dict[Place, float]:
    """The y of each place: as near to its neighbours as order and heights allow; the first of a column is on top.

    An arrow pulls the more, the fewer others leave its source and reach its target: those that stand alone are level.
    """
    leaving, reaching = Counter(a for a, _ in arrows), Counter(b for _, b in arrows)
    pulls: dict[Place, dict[Place, float]] = {place: {} for row in rows for place in row}
    for a, b in arrows:
        pulls[a][b] = pulls[b][a] = (leaving[a] * reaching[b]) ** -3.0
    y = {place: 0.0 for row in rows for place in row}
    for _ in range(200):
        for row in [*rows, *rows[::-1]]:
            strengths = [sum(pulls[place].values()) or 1.0 for place in row]
            wanted = [
                sum(pull * y[n] for n, pull in pulls[place].items()) / strength
                for place, strength in zip(row, strengths, strict=True)
            ]
            y |= zip(row, _apart([height[place] for place in row], wanted, strengths, gap), strict=True)
    return y


def _apart(heights: Sequence[float], wanted: Sequence[float], strengths: Sequence[float], gap: float) -> list[float]:
    """Where a column's places go: nearest to where they are wanted, in the weighted sum of squares, but for the gap.

    Less what must lie between it and the first, each is to be at most the one before: an isotonic regression, solved
    by pooling adjacent violators.
    """
    below = [0.0, *accumulate((a + b) / 2 + gap for a, b in pairwise(heights))]
    pools: list[tuple[float, float, int]] = []  # (mean, strength, how many)
    for want, offset, strength in zip(wanted, below, strengths, strict=True):
        mean, size = want + offset, 1
        while pools and pools[-1][0] < mean:
            other, by, count = pools.pop()
            mean, strength, size = (mean * strength + other * by) / (strength + by), strength + by, size + count
        pools.append((mean, strength, size))
    levels = [mean for mean, _, size in pools for _ in range(size)]
    return [level - offset for level, offset in zip(levels, below, strict=True)]
