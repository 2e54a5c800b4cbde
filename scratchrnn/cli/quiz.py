"""`scratchrnn quiz`: its arguments, what it asks and says, and where it keeps how far one has come."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..cells.cell import Cell
from ..equations import Equations, Exercise, exercises, judge
from ..equations.replies import REPLIES
from .explain import CELLS, named_cell, word_of
from .files import check_writable, write_json
from .terminal import coloured, count

_HOW = f"""Type the right side: {REPLIES["rule"]}.
?: a hint    skip: the next line    quit: the end for now"""
_HINTS = 3  # the last is the line

Kept = dict[str, dict[str, Any]]
"""Of every line that was asked for, by its text: how many `tries`, how many `hints`, and how it `ended`, if it did."""


def add_parser(commands: Any) -> None:
    """The subcommand and its arguments."""
    what = "ask for a cell's equations, line by line, and say of a wrong one what is wrong"
    command = commands.add_parser(
        "quiz",
        help=what,
        description=f"{what[0].upper()}{what[1:]}. It goes on where it was stopped. Answers may come from a pipe, too.",
        epilog="Exit status: 0 every line was right in the end, 1 some were skipped or shown, or it has stopped before "
        "the end, 2 bad usage, 3 an error in the program, 130 stopped by Ctrl-C.",
    )
    add = command.add_argument
    add("cell", metavar="CELL", type=word_of, help=f"{', '.join(CELLS)}, or a Cell of your own as my.module:name")
    add("--adjoint", action="store_true", help="the gradients, not the step forward")
    add("--restart", action="store_true", help="begin with the first line again")


def run(options: argparse.Namespace, console: Any) -> int:
    """Run the subcommand and return its exit status."""
    cell = named_cell(options.cell)
    asked = exercises(cell, options.adjoint)
    path = state_folder() / f"{quote(options.cell, safe='')}{'-adjoint' * options.adjoint}.json"
    keeps = _keeps(path)
    if keeps and options.restart:
        path.unlink(missing_ok=True)
    kept = _kept(path) if keeps else {}
    again = f"scratchrnn quiz {options.cell}{' --adjoint' * options.adjoint}"
    stopped = f"Kept: {again} goes on here." if keeps else "Not kept: it begins with the first line again."
    _introduce(cell, asked, options.adjoint, console)
    try:
        for number, exercise in enumerate(asked.values(), 1):
            of_line = kept.setdefault(exercise.line.text, {"tries": 0, "hints": 0})
            if "ended" in of_line:
                console.print(f"{number} of {len(asked)}   {_line(exercise, of_line)}")
                continue
            space = "\n" * (number > 1)
            console.print(coloured((f"{space}{number} of {len(asked)}   {exercise.line.target} = ?", "bold")))
            console.print(_aside(exercise))
            while "ended" not in of_line:
                typed = _typed(console)
                if typed is None or typed in ("quit", "exit"):
                    console.print(stopped)
                    return 1
                _answer(exercise, typed, of_line, console)
                if keeps:
                    write_json(str(path), kept)
    except KeyboardInterrupt:
        console.print(f"\n{stopped}")
        raise
    if keeps:
        path.unlink(missing_ok=True)
    endings = {name: kept[exercise.line.text] for name, exercise in asked.items()}
    _score(endings, console)
    right = all(each["ended"] == "right" for each in endings.values())
    if right and not options.adjoint:
        console.print(f"And the way back: {again} --adjoint")
    return 0 if right else 1


# ----------------------------------------------------------------------------------------------- what is said


def _introduce(cell: Cell, asked: Mapping[str, Exercise], adjoint: bool, console: Any) -> None:
    of = Equations(cell)
    console.print(
        coloured((f"{cell.name}, {'backward' if adjoint else 'forward'}, {count(len(asked), 'line')}", "bold"))
    )
    console.print(_HOW)
    if adjoint:
        console.print("dX is the gradient of the loss by X. The step forward:\n")
        for each in of.named:
            console.print(f"  {each.text}")
        verb = "arrives" if len(of.arriving) == 1 else "arrive"
        console.print(f"\n{' and '.join(of.arriving)} {verb} from the loss and the later steps.")
        console.print("W x, W^T x and x y^T are matrix products; of one gate you are asked for its weights.")
        if of.direct_gradient in asked:
            whole = f"d{cell.states[0]}_prev"
            console.print(f"{of.direct_gradient} is the part of {whole} that does not come through W_hh.")
    else:
        console.print(f"x is the input, {cell.states[0]}_prev the hidden state before the step.")
        console.print(
            "* is the Hadamard product, W x a matrix product. What goes into a gate's function is called as the"
        )
        console.print("gate with _pre: two products with weights, and two biases. Of one gate you are asked for it.")
    console.print()


def _aside(exercise: Exercise) -> str:
    """What the question is about: the line that is differentiated, or what may be used."""
    if exercise.through is not None:
        of_all = sum(name.startswith("W_") for name in exercise.line.names) > 1
        return f"through {exercise.through.text}{', and the lines of the other gates' * of_all}"
    return REPLIES["known"].format(", ".join(exercise.names))


def _line(exercise: Exercise, of_line: Mapping[str, Any]) -> str:
    return exercise.line.text if of_line["ended"] != "skipped" else f"{exercise.line.target}: skipped"


def _typed(console: Any) -> str | None:
    """The next line of the terminal or the pipe, which is shown, too; None at the end."""
    if sys.stdin.isatty():
        with suppress(ImportError):  # where there is none, a line is typed without its keys
            import readline  # noqa: F401
        try:
            return input("> ").strip()
        except EOFError:
            console.print()
            return None
    typed = sys.stdin.readline()
    if typed:
        console.print(f"> {typed.strip()}")
    return typed.strip() if typed else None


def _answer(exercise: Exercise, typed: str, of_line: dict[str, Any], console: Any) -> None:
    """Say what there is to say to what was typed, and note it."""
    if typed in ("?", "hint", "help"):
        console.print(exercise.hints[of_line["hints"]])
        of_line["hints"] += 1
        if of_line["hints"] == _HINTS:
            of_line["ended"] = "shown"
    elif typed == "skip":
        of_line["ended"] = "skipped"
    else:
        try:
            verdict = judge(exercise, typed)
        except ValueError as error:
            console.print(coloured((REPLIES["refused"], "yellow"), str(error)))
            return
        of_line["tries"] += 1
        if verdict:
            of_line["ended"] = "right"
            console.print(coloured((REPLIES["right"], "green"), exercise.line.text))
        else:
            console.print(coloured((REPLIES["wrong"], "red"), verdict.reason))


def _score(endings: Mapping[str, Mapping[str, Any]], console: Any) -> None:
    right = [each for each in endings.values() if each["ended"] == "right"]
    at_once = sum(each["tries"] == 1 and each["hints"] == 0 for each in right)
    console.print("\n" + REPLIES["score"].format(len(right), len(endings), at_once))
    for ended in ("skipped", "shown"):
        if names := [name for name, each in endings.items() if each["ended"] == ended]:
            console.print(f"{ended}: {', '.join(names)}")


# ----------------------------------------------------------------------------------------------- what is kept


def state_folder() -> Path:
    """Where the user's programs keep what they go on with, and of that what is the quiz's.

    Raises:
        ValueError: the user has no home.
    """
    if os.path.isabs(states := os.environ.get("XDG_STATE_HOME", "")):
        return Path(states, "scratchrnn", "quiz")
    windows = os.environ.get("LOCALAPPDATA") if os.name == "nt" else None
    home = os.path.expanduser("~")
    if not windows and home == "~":
        raise ValueError("there is no home to keep the state in: set XDG_STATE_HOME to a folder")
    usual = "Library/Application Support" if sys.platform == "darwin" else ".local/state"
    return Path(windows or Path(home, usual), "scratchrnn", "quiz")


def _keeps(path: Path) -> bool:
    """Whether a state can be kept there; if not, that is said, and the quiz does without."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        check_writable(str(path))
    except OSError as error:
        print(
            f"how far you come is not kept: {error}; set XDG_STATE_HOME to a folder that can be written to",
            file=sys.stderr,
        )
        return False
    return True


def _kept(path: Path) -> Kept:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        found = json.loads(text)
        kept: Kept = {str(line): {"tries": 0, "hints": 0} | of_line for line, of_line in found.items()}
        if all(map(_is_of_a_line, kept.values())):
            return kept
    except (ValueError, TypeError, AttributeError):
        pass  # said below
    raise ValueError(f"{path} is no state of a quiz: --restart begins anew")


def _is_of_a_line(of_line: Mapping[str, Any]) -> bool:
    """Whether it is what is noted of a line: after the last hint the line has ended."""
    tries, hints = of_line["tries"], of_line["hints"]
    return (
        (type(tries), type(hints)) == (int, int)
        and tries >= 0
        and 0 <= hints < _HINTS + ("ended" in of_line)
        and of_line.get("ended", "right") in ("right", "skipped", "shown")
    )
