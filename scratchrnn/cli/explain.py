"""`scratchrnn explain`: its arguments, and which explanation they ask for."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from ..cells.cell import Cell
from ..cells.twins import TWINS
from ..engine.native.emit import with_cell
from ..equations.adjoint import python
from ..equations.difference import compared
from ..equations.equations import Equations
from ..equations.explain import explain
from ..equations.notation import NOTATIONS, in_notation
from ..equations.sections import Section
from ..equations.through_time import MOST, through_time
from ..equations.without import without
from ..equations.worked_example import agrees, walk
from ..parity.subjects import imported
from .effect import effect
from .printing import show

CELLS = {twin.word: twin.cell for twin in TWINS}
_SEEDS = 4
_INPUT_SIZE, _HIDDEN_SIZE = 3, 2


def add_parser(commands: Any) -> None:
    """The subcommand and its arguments."""
    what = "write out a cell: equations, shapes, counts, and the derivation of its gradient"
    command = commands.add_parser(
        "explain",
        help=what,
        description=f"{what[0].upper()}{what[1:]}. All of it is read from the code that runs.",
        epilog="Exit status: 0 done, 1 with --numbers or --steps: something differs from autograd or torch.nn, 2 bad "
        "usage, 3 an error in the program.",
    )
    add = command.add_argument
    own = f"{', '.join(CELLS)}, or a Cell of your own as my.module:name"
    add("cells", type=word_of, metavar="CELL", nargs="+", help=f"{own}; two with --diff")
    add("--input-size", metavar="I", type=int, help=f"default: {_INPUT_SIZE}")
    add("--hidden-size", metavar="H", type=int, help=f"default: {_HIDDEN_SIZE}")
    add(
        "--without",
        metavar="LINE",
        help="the cell without one of its lines: f holds a gate open, tanh_c leaves a function out, f=0 or f='1 - i' "
        "puts something else there. Shown are the lines that go and change, and what a layer of it learns; with one "
        "of the options below, that of the reduced cell",
    )
    add("--seeds", metavar="N", type=int, help=f"how often --without trains; default: {_SEEDS}, 0 for not at all")
    shown = command.add_argument_group("what is shown, one of").add_mutually_exclusive_group()
    add = shown.add_argument
    add("--numbers", action="store_true", help="one step forward and back with numbers, and check the results")
    add("--steps", metavar="N", type=int, help="N steps forward and back with numbers, and check the results")
    add("--diff", action="store_true", help="what two cells have in common, and what not")
    add("--notation", choices=NOTATIONS, help="the lines under the names that they have elsewhere; default: pytorch")
    add("--adjoint", action="store_true", help="the derived adjoint alone, as Python to paste")
    add("--c", action="store_true", help="the C that the native engine compiles of it")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print Markdown")
    form.add_argument("--latex", action="store_true", help="print LaTeX, to be included where amsmath is loaded")


def run(options: argparse.Namespace, console: Any) -> int:
    """Run the subcommand and return its exit status."""
    _check(options)
    given, *others = [named_cell(name) for name in options.cells]
    name, _, instead = (options.without or "").partition("=")
    cell = without(given, name.strip(), instead.strip() or None) if options.without else given
    if options.adjoint or options.c:
        text = python(cell) if options.adjoint else "".join(with_cell(Equations(cell)))
        console.print(text, soft_wrap=True, highlight=False, markup=False)
        return 0
    I = _INPUT_SIZE if options.input_size is None else options.input_size  # noqa: E741
    H = _HIDDEN_SIZE if options.hidden_size is None else options.hidden_size
    sections: Iterable[Section]
    agree = True
    if options.diff:
        sections = compared(given, others[0], I, H)
    elif options.steps is not None:
        sections, agree = through_time(cell, options.steps, I, H)
    elif options.notation not in (None, "pytorch"):
        sections = in_notation(cell, options.notation)
    elif options.without and not options.numbers and options.notation is None:
        sections = _reduced(given, cell, I, H, options.seeds, console)
    else:
        found = walk(cell, I, H) if options.numbers else None
        sections = explain(cell, I, H, found)
        agree = found is None or agrees(found.deviations)
    form = "markdown" if options.markdown else "latex" if options.latex else ""
    show(sections, form, console)
    other = options.notation not in (None, "pytorch")
    chosen = (form, options.numbers, options.steps, options.diff, options.without, other)
    if (name := options.cells[0]) in CELLS and not any(chosen):
        chapters = "0, 1 and 2" if name != "gru" else "0 to 3"
        console.print(f"\nThe guide's chapters {chapters} are about these lines; scratchrnn quiz {name} asks for them.")
    return int(not agree)


def _check(options: argparse.Namespace) -> None:
    """Raise ValueError for what does not go together, or makes no sense."""
    for name, least in (("input_size", 1), ("hidden_size", 1), ("seeds", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')} should be at least {least}, got {value}")
    if options.steps is not None and not 1 <= options.steps <= MOST:
        raise ValueError(f"--steps should be from 1 to {MOST}, got {options.steps}: small numbers are for reading")
    wanted = 2 if options.diff else 1
    if len(options.cells) != wanted:
        alone = "two cells are compared with --diff" if wanted == 1 else "--diff takes two, as in --diff lstm gru"
        raise ValueError(
            f"CELL should be given {'twice' if wanted == 2 else 'once'}, got {len(options.cells)}: {alone}"
        )
    shown = [n for n in ("numbers", "steps", "diff", "notation", "adjoint", "c") if getattr(options, n)]
    name, sign, instead = ("f" if options.without is None else options.without).partition("=")
    if not name.strip() or (sign and not instead.strip()):
        raise ValueError(f"--without should be a line, as f, f=0 or f='1 - i', got {options.without!r}")
    if options.without and options.diff:
        raise ValueError("--without does not go with --diff: it shows the difference itself")
    if shown and shown[0] in ("notation", "adjoint", "c") and options.notation != "pytorch":
        for name in ("input_size", "hidden_size"):
            if getattr(options, name) is not None:
                raise ValueError(f"--{name.replace('_', '-')} does not go with --{shown[0]}, which has no sizes")
    if options.seeds is not None and (not options.without or shown):
        raise ValueError("--seeds goes with --without alone, which trains")
    for form in ("markdown", "latex"):
        if getattr(options, form) and (options.adjoint or options.c):
            raise ValueError(f"--{form} does not go with {'--adjoint, which is Python' if options.adjoint else '--c'}")


def _reduced(cell: Cell, reduced: Cell, I: int, H: int, seeds: int | None, console: Any) -> Iterator[Section]:  # noqa: E741
    """The two cells beside each other, and, when these are shown, what each of them learns."""
    seeds = _SEEDS if seeds is None else seeds
    sections = compared(cell, reduced, I, H)
    sections[0].parts.insert(0, inspect.getdoc(reduced.update) or "")
    yield from sections
    if seeds:
        yield effect((cell, reduced), seeds, console)


def word_of(name: str) -> str:
    """A built-in cell's word, of capital or small letters; another name as it is."""
    return name.lower() if name.lower() in CELLS else name


def named_cell(name: str) -> Cell:
    """A built-in cell by its word, or one at `my.module:name`."""
    if name in CELLS:
        return CELLS[name]
    if ":" not in name:
        raise ValueError(f"CELL should be {', '.join(CELLS)}, or of the form my.module:name, got {name!r}")
    found = imported("CELL", name)
    if not isinstance(found, Cell):
        raise ValueError(f"CELL {name!r} should be a scratchrnn.Cell, got {found!r}")
    return found
