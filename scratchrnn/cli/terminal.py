"""What the commands show in the same way: numbers of things, lines of several colours, a bar while they work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any


def count(n: int, what: str) -> str:
    """`1 thread`, `2 threads`."""
    return f"{n} {what}{'' if n == 1 else 's'}"


def coloured(*parts: str | tuple[str, str]) -> Any:
    """A line for the console; a part `(text, style)` is coloured. Brackets are brackets: nothing is read as markup."""
    from rich.text import Text

    return Text.assemble(*parts)


@contextmanager
def progress(console: Any, total: int) -> Iterator[Callable[..., None]]:
    """A bar below the lines on a terminal, nothing elsewhere; `update(description=..., advance=1)` moves it on."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield partial(bar.update, bar.add_task("", total=total))
