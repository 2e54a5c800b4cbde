"""`scratchrnn doctor`: what the native engine has found on this machine, and which engine runs each cell."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch

from ..bench.results import machine
from ..cells.twins import TWINS
from ..engine import native
from ..engine.native import build
from ..engine.native.probe import probe
from ..traces import training
from .explain import named_cell, word_of
from .terminal import coloured, count

Part = str | tuple[str, str]
Row = tuple[str, Sequence[Part]]


def add_parser(commands: Any) -> None:
    """The subcommand and its arguments."""
    what = "show what the native engine has found here, and which engine runs each cell"
    command = commands.add_parser(
        "doctor",
        help=what,
        description=f"{what[0].upper()}{what[1:]}, and why not the other.",
        epilog="Exit status: 0 the native engine can run, 1 it cannot, 2 bad usage, 3 an error in the program.",
    )
    command.add_argument(
        "cell", metavar="CELL", type=word_of, nargs="*", help="also a Cell of your own, as my.module:name"
    )
    command.add_argument(
        "--clear",
        action="store_true",
        help="first remove what is kept in the cache folder: libraries, and what explore has trained",
    )


def run(options: argparse.Namespace, console: Any) -> int:
    """Run the subcommand and return its exit status."""
    cells = {word: named_cell(word) for word in [*(twin.word for twin in TWINS), *options.cell]}
    if options.clear:
        removed, size = _kept()
        build.clear()
        for path in training.files():
            path.unlink(missing_ok=True)
        console.print(f"removed {removed}, {size}\n")
    engines = [(word, _engine(native.status(cell))) for word, cell in cells.items()]
    for title, rows in (("native engine", _native()), ("torch", _torch()), ("which engine runs a cell", engines)):
        console.print(title, style="bold")
        for name, text in rows:
            console.print(coloured(f"{name:14} ", *text))
        console.print()
    return 0 if native.is_available() else 1


def _native() -> Iterator[Row]:
    """Why a row is missing says the self-test."""
    command: list[str] = []
    with suppress(native.Unavailable):
        command, version = build.compiler()
        yield "compiler", [f"{shlex.join(command)}: {version.splitlines()[0] if version else 'no version'}"]
    try:
        library = probe()
        yield "flags", [shlex.join(build.built_with(library)[len(command) :])]
        yield "vector width", [f"{library.vector_bits()} bits"]
        yield "self-test", [("passed", "green")]
    except native.Unavailable as error:
        yield "self-test", [("failed", "red"), f": {error}"]
    with suppress(native.Unavailable):
        yield "cache folder", [f"{build.folder()}: {', '.join(_kept())}"]
    yield "switched on", ["yes" if native.enabled() else "no"]


def _torch() -> Iterator[Row]:
    here = machine()
    yield "processor", [f"{here['processor']}, {count(here['cores'], 'core')}, {here['cpu_capability']}"]
    yield "version", [here["torch"]]
    yield "threads", [str(torch.get_num_threads())]
    built = torch.__config__.show()
    for title, name in (("oneDNN", r"MKL-DNN v(\S+)"), ("MKL", r"Math Kernel Library Version (\S+)")):
        found = re.search(name, built)
        yield title, [(found[1] if found else "yes") if here[title] else "no"]
    yield "CUDA", [torch.cuda.get_device_name() if torch.cuda.is_available() else "no"]


def _engine(reason: str | None) -> Sequence[Part]:
    return [("native", "green")] if reason is None else [("torch", "yellow"), f": {reason}"]


def _kept() -> tuple[str, str]:
    """How many files, and how large."""
    files = [*build.kept(), *training.files()]
    return count(len(files), "file"), f"{sum(path.stat().st_size for path in files) / 1024:.1f} KiB"
