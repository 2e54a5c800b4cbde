"""How measured speeds are shown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from ..bench import results as records
from ..bench.implementations import THEIRS
from ..bench.results import Change, Result


def show(results: Sequence[Result], console: Any, markdown: bool = False) -> None:
    """A table for each case, the means of all, how far they can be trusted, and what was skipped, and why."""
    best = records.best_gemms(results)
    cases = {case: [r for r in results if r.case == case] for case in dict.fromkeys(r.case for r in results)}
    if markdown:
        rows = [["case", "implementation", *_HEADINGS]]
        rows += [[case.title, r.implementation, *_cells(r, best)] for case, found in cases.items() for r in found]
        print("\n".join([*markdown_table(rows), "", *markdown_table(summary(results))]))
    else:
        for case, found in cases.items():
            console.print(case.title, style="bold")
            console.print(
                _table(
                    [["", *_HEADINGS], *([f"  {r.implementation}", *_cells(r, best)] for r in found)], widths=_WIDTHS
                )
            )
        console.print()
        console.print(_table(means := summary(results), widths=[24, *[10] * (len(means[0]) - 1)]))
    for line in _notes(results, best):
        console.print(line)
    skipped: dict[tuple[str, str], list[Result]] = {}
    for r in results:
        if r.skipped:
            what = r.skipped.partition("DIFFERS")[0]  # the numbers behind it are others in each case
            skipped.setdefault((r.implementation, what), []).append(r)
    for first, *others in skipped.values():
        more = f" and {len(others)} more" if others else ""
        console.print(f"skipped: {first.implementation}: {first.skipped} ({first.case.title}{more})")


def _notes(results: Sequence[Result], best: dict[tuple[str, ...], float]) -> list[str]:
    others = [r.other_order for r in results if r.other_order and r.implementation != THEIRS]
    notes = []
    if best:
        speeds = [f"{flops / 1e9:.0f} GFLOP/s{', '.join(['', *setting])}" for setting, flops in best.items()]
        notes.append(f"best GEMM: {'; '.join(speeds)}")
    if others:
        spread = f", spread {_spread(others)}" if len(others) > 1 else ""
        notes.append(f"in the other order the ratios are {statistics.median(others):.2f} times these{spread}")
    return notes


_HEADINGS = ("ms", "spread", "ratio", "spread", "GFLOP/s", "of GEMMs", "of best", "peak MiB")
_WIDTHS = (24, 10, 10, 7, 6, 8, 8, 7, 8)


def _table(rows: Sequence[Sequence[str]], widths: Sequence[int | None] = ()) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for k, heading in enumerate(rows[0]):
        longest = max(len(row[k]) for row in rows if k < len(row))
        width = max(longest, (widths[k] if widths else None) or 0)  # or rich cuts what is too wide for the terminal
        table.add_column(heading, justify="right" if k else "left", min_width=width, no_wrap=k == 0)
    for row in rows[1:]:
        table.add_row(*row)
    return table


def markdown_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first row is the heading."""
    head, *rest = rows
    filled = [[*row, *[""] * (len(head) - len(row))] for row in rest]
    return [_line(head), "|---|" + "---:|" * (len(head) - 1), *map(_line, filled)]


def _line(row: Sequence[str]) -> str:
    return f"| {' | '.join(row)} |"


def _cells(result: Result, best: dict[tuple[str, ...], float]) -> list[str]:
    if not result.times:
        return ["differs" if (result.skipped or "").startswith("differs") else "skipped"]
    noisy = " noisy" if result.noisy else ""
    memory = "" if result.memory is None else f"{result.memory / 2**20:.1f}"
    speed, peak = result.flops_per_second, best.get(result.case.setting)
    known = [f"{speed / 1e9:.1f}", f"{result.gemm_share:.2f}", f"{speed / peak:.2f}" if peak else ""]
    return [
        f"{result.time * 1e3:.3f}",
        f"{_spread(result.times)}{noisy}",
        f"{result.ratio:.2f}x",
        _spread(result.ratios),
        *(["", "", ""] if result.other_work else known),
        memory,
    ]


def _spread(numbers: Sequence[float]) -> str:
    """Of a single one there is none."""
    return f"{records.spread(numbers):.0%}" if len(numbers) > 1 else ""


def summary(results: Sequence[Result]) -> list[list[str]]:
    """Geometric means of the ratios: cell and implementation one way, work and group the other; the longer way down."""
    means = records.geometric_means(results)
    columns = sorted(dict.fromkeys((training, group) for _, _, training, group in means), key=lambda c: c[0])
    titles = [f"{'train' if training else 'infer'} {group}" for training, group in columns]
    rows = [["geometric mean of the ratios", *titles]]
    for cell, name in dict.fromkeys((cell, name) for cell, name, _, _ in means):
        values = [means.get((cell, name, *column)) for column in columns]
        rows.append([f"{cell}: {name}", *("" if v is None else f"{v:.2f}" for v in values)])
    return rows if len(rows) >= len(rows[0]) else [[*row] for row in zip(*rows, strict=True)]


def show_changes(changes: Sequence[Change], console: Any) -> None:
    """What got faster or slower, and by how much in the middle; of one round alone nobody knows whether it did."""
    moved = sorted((c for c in changes if c.beyond_noise), key=lambda c: c.ratio)
    for change in moved:
        console.print(_change(change))
    middle = statistics.geometric_mean(c.ratio for c in changes)
    known = [c.beyond_noise for c in changes if c.noise is not None]
    said = [f"{sum(known)} of {len(known)} beyond the noise"] if known else []
    said += [f"{unknown} of one round, of unknown noise"] if (unknown := len(changes) - len(known)) else []
    console.print("; ".join([*said, f"all together {middle:.2f}x as fast"]))


def _change(change: Change) -> str:
    how = "faster" if change.ratio > 1 else "slower"
    times = f"{change.before * 1e3:.3f} -> {change.after * 1e3:.3f} ms"
    factor = max(change.ratio, 1 / change.ratio)
    noise = "one round" if change.noise is None else f"noise {change.noise:4.0%}"
    return f"{how} {factor:5.2f}x  {times:26} {noise:10}  {change.case.title}, {change.implementation}"
