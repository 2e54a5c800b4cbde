"""How an explanation is printed: on a terminal, as Markdown, as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby, zip_longest
from typing import Any

from torch import Tensor

from ..equations.latex import TILDE
from ..equations.sections import SHOWN, Entry, Equation, Section, Table


def show(sections: Iterable[Section], form: str, console: Any) -> None:
    """Print each as soon as it is made: `form` is "markdown", "latex", or "" for a terminal."""
    for k, section in enumerate(sections):
        if form == "markdown":
            console.print("\n".join(_markdown(section, k)))
        elif form == "latex":
            console.print("\n".join(_latex(section, k)))
        else:
            _on_terminal(section, k, console)


# ------------------------------------------------------------------------------------------------- terminal

_MARGIN = 2
_BESIDE = 48  # columns: a value stands beside its line, below one that is longer


def _on_terminal(section: Section, k: int, console: Any) -> None:
    if k:
        console.print("\n")
    console.print(section.title, style="bold")
    for part in section.parts:
        console.print()
        if isinstance(part, str):
            color = "red" if part.startswith("DIFFERS") else None
            console.print(part, style=color, soft_wrap=False)
        else:
            for row in _columns(part) if isinstance(part, Table) else _aligned(part):
                console.print(f"{' ' * _MARGIN}{row}")


def _aligned(equations: Sequence[Equation]) -> list[str]:
    """A line each, the value behind it; the rows of a matrix below each other."""
    texts = [equation.line.text for equation in equations]
    width = max((len(text) for text in texts if len(text) <= _BESIDE), default=0)
    lines = []
    for text, equation in zip(texts, equations, strict=True):
        values = [] if equation.value is None else _bracketed(equation.value)
        behind = ["", *values] if values and len(text) > width else values
        lines += [f"{a:{width}}   {b}" for a, b in zip_longest([text], behind, fillvalue="")]
    return [line.rstrip() for line in lines]


def _columns(table: Table) -> list[str]:
    """The columns below their headings; a row of one entry stands before those that follow it, which are set in."""
    grouped = any(len(row) == 1 for row in table.rows)
    blocks = [[[heading] for heading in table.head], *([_plain(entry) for entry in row] for row in table.rows)]
    full = [block for block in blocks if len(block) == len(table.head)]
    widths = [max(len(text) for block in full for text in block[k]) for k in range(len(table.head))]
    lines = []
    for block in blocks if any(table.head) else blocks[1:]:
        rows = zip_longest(*block, fillvalue="")
        indent = "  " if grouped and len(block) > 1 else ""
        lines += [indent + "   ".join(f"{text:{w}}" for text, w in zip(row, widths, strict=False)) for row in rows]
    return [line.rstrip() for line in lines]


def _plain(entry: Entry) -> list[str]:
    if entry is None or isinstance(entry, str):
        return [entry or ""]
    if isinstance(entry, Equation):
        return [entry.line.text, *([] if entry.value is None else _bracketed(entry.value))]
    return _bracketed(entry)


def _bracketed(value: Tensor) -> list[str]:
    return [f"[{' '.join(f'{number:>8}' for number in row)}]" for row in _digits(value)]


def _digits(value: Tensor) -> list[list[str]]:
    """Four digits, and no -0; a column is written as a row; what is cut out is one `…`."""
    rows = value.T if value.shape[1] == 1 else value
    shown = _cut(rows.tolist(), ["…"] * rows.shape[1])
    return [[n if isinstance(n, str) else f"{n + 0.0:.4f}" for n in _cut(row, "…")] for row in shown]


def _cut(items: list[Any], between: Any) -> list[Any]:
    return items if len(items) <= SHOWN else [*items[: SHOWN - 2], between, items[-1]]


# ------------------------------------------------------------------------------------------------- Markdown


def _markdown(section: Section, k: int) -> list[str]:
    lines = [*[""] * bool(k), f"{'##' if k else '#'} {section.title}"]
    for part in section.parts:
        lines.append("")
        if isinstance(part, str):
            lines.append(_escaped(part, r"\*_[]<>", "\\"))
        elif isinstance(part, Table):
            lines += [_row([_in_markdown(heading) for heading in part.head]), "|" + "---|" * len(part.head)]
            lines += [_row(_filled(row, part)) for row in part.rows]
        else:
            lines += ["```text", *_aligned(part), "```"]
    return lines


def _filled(row: Sequence[Entry], table: Table) -> list[str]:
    """A row of one entry is bold, and the other columns are empty."""
    entries = [_in_markdown(entry) for entry in row]
    return entries if len(row) == len(table.head) else [f"**{entries[0]}**", *[""] * (len(table.head) - 1)]


def _row(entries: Sequence[str]) -> str:
    return f"| {' | '.join(entries)} |"


def _in_markdown(entry: Entry) -> str:
    if entry is None or isinstance(entry, str):
        return _escaped(entry or "", r"\*_[]<>|", "\\")
    return "<br>".join(f"`{text}`" for text in _plain(entry))


def _escaped(text: str, special: str, by: str) -> str:
    return "".join(by + c if c in special else c for c in text)


# ---------------------------------------------------------------------------------------------------- LaTeX


def _latex(section: Section, k: int) -> list[str]:
    lines = [] if k else [r"% needs \usepackage{amsmath}"]
    lines += ["", rf"\section*{{{_in_latex(section.title)}}}"]
    for part in section.parts:
        lines.append("")
        if isinstance(part, str):
            lines.append(_in_latex(part))
        elif not isinstance(part, Table):
            lines += _align([[equation] for equation in part])
        elif any(isinstance(entry, Equation) for row in part.rows for entry in row):
            lines += _derived(part)
        else:
            body = [" & ".join(map(_in_latex, row)) + r" \\" for row in part.rows]
            head = [" & ".join(map(_in_latex, part.head)) + r" \\"] if any(part.head) else []
            lines += [rf"\begin{{tabular}}{{{'l' * len(part.head)}}}", *head, *body, r"\end{tabular}"]
    return lines


def _derived(table: Table) -> list[str]:
    """A table of equations: an align environment for the rows behind each row of one entry."""
    lines = [_in_latex(f"Left to right: {', '.join(filter(None, table.head))}.")]
    for single, rows in groupby(table.rows, key=lambda row: len(row) == 1):
        block = list(rows)
        lines += ["", f"{_heading(block[-1][0])}:"] if single else _align(block)
    return lines


def _heading(entry: Entry) -> str:
    return f"From {_in_latex(entry)}" if isinstance(entry, Equation) else _in_latex(entry)


def _align(rows: Sequence[Sequence[Entry]]) -> list[str]:
    """Equations below and beside each other, a value below its equation."""
    body = []
    for row in rows:
        body.append(" & ".join(map(_in_align, row)))
        equations = [entry if isinstance(entry, Equation) else None for entry in row]
        if any(e is not None and e.value is not None for e in equations):
            body.append(
                " & ".join("&" if e is None or e.value is None else f"&= {_matrix(e.value)}" for e in equations)
            )
    return [r"\begin{align*}", *(line + r" \\" for line in body[:-1]), body[-1], r"\end{align*}"]


def _in_align(entry: Entry) -> str:
    if isinstance(entry, Equation):
        return entry.line.latex().replace(" = ", " &= ", 1)
    return rf"& \text{{{_in_latex(entry)}}}" if isinstance(entry, str) else "&"


def _matrix(value: Tensor) -> str:
    rows = [[r"\dots" if number == "…" else number for number in row] for row in _digits(value)]
    if value.shape[1] == 1:
        return rf"({', '.join(rows[0])})^\top"
    joined = r" \\ ".join(" & ".join(row) for row in rows)
    return rf"\begin{{pmatrix}} {joined} \end{{pmatrix}}"


_IN_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
    | {"[": "{[}"}  # which \\\\ would take for its option
)


def _in_latex(entry: Entry) -> str:
    if entry is None or isinstance(entry, str):
        return re.sub(f"(.){TILDE}", r"\\~{\1}", (entry or "").translate(_IN_LATEX))
    return f"${entry.line.latex() if isinstance(entry, Equation) else _matrix(entry)}$"
