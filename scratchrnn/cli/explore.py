"""`scratchrnn explore`: its arguments, and what it says."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..layers.characters import read_text
from ..traces import reading as explore
from ..traces.page.page import page, write
from ..traces.reading import Reading
from .files import check_writable, replacing
from .terminal import progress

_ENOUGH = 1000  # characters to train on
_STEPS = 400
_OF_CHECKPOINT = ("layer", "vocabulary", "embedding", "trust")
_OF_TRAINING = ("cell", "steps")


def add_parser(commands: Any) -> None:
    """The subcommand and its arguments."""
    what = "write a page to click through: a text, every gate of every unit, each equation with its numbers"
    command = commands.add_parser(
        "explore",
        help=what,
        description=f"{what[0].upper()}{what[1:]}; and of what each token wrote into a state, how much is left. "
        "Without --checkpoint a small model of characters is trained first, in about half a minute.",
        epilog="Exit status: 0 the page is written, 2 bad usage, 3 an error in the program.",
    )
    add = command.add_argument
    add(
        "--text",
        metavar="FILE",
        help="a UTF-8 text to read (and, from 1000 characters, to train on); default: Python's help texts",
    )
    add("-o", "--output", metavar="FILE", default="page.html", help="the page; default: page.html")
    add("--tokens", metavar="N", type=int, default=200, help="read at most so many; default: 200")
    add("--cell", choices=tuple(explore.KINDS), help="what to train; default: lstm")
    add("--steps", metavar="N", type=int, help=f"of training; default: {_STEPS}")
    add("--checkpoint", metavar="FILE", help="a state dict or module with a recurrent layer, as torch.save wrote it")
    add("--layer", metavar="NAME", help="which, if the checkpoint has several")
    add(
        "--vocabulary",
        metavar="FILE",
        help=r"the tokens of its embedding, one a line, a line break as \n, a tab as \t, or as they are; single "
        "characters, or words",
    )
    add("--embedding", metavar="NAME", help='its embedding; default: the matrix with "emb" in its name')
    add("--trust", action="store_true", help="let --checkpoint unpickle a whole model, which runs code from the file")


def run(options: argparse.Namespace, console: Any) -> int:
    """Run the subcommand and return its exit status."""
    _check(options)
    text = None if options.text is None else read_text(options.text, at_least=1)
    check_writable(options.output)
    _write(options, text, console)
    path = Path(options.output).resolve()
    size = path.stat().st_size / 2**20
    console.print(f"{options.output}, {size:.1f} MiB: open it in a browser, {path.as_uri()}")
    return 0


def _write(options: argparse.Namespace, text: str | None, console: Any) -> None:
    reading = (_of_checkpoint if options.checkpoint else _trained)(options, text, console)
    if len(reading.tokens) > options.tokens:
        console.print(f"the first {options.tokens} of {len(reading.tokens):,} tokens: more with --tokens")
        reading = reading.first(options.tokens)
    for note in reading.notes:
        console.print(note)
    title = f"{reading.name}, over {len(reading.tokens)} tokens"
    text = page({"": reading.trace().records}, reading.tokens, sequence=None, title=title, notes=reading.notes)
    with replacing(options.output) as unfinished:
        write(unfinished, text)


def _check(options: argparse.Namespace) -> None:
    for name in _OF_TRAINING if options.checkpoint else _OF_CHECKPOINT:
        if getattr(options, name):
            goes = "does not go" if options.checkpoint else "goes"
            raise ValueError(f"--{name} {goes} with --checkpoint")
    for name in ("tokens", "steps"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} should be at least 1, got {value}")


def _of_checkpoint(options: argparse.Namespace, text: str | None, console: Any) -> Reading:
    if text is None:
        text = explore.passage(read_text(), options.tokens)
    return explore.load_reading(
        options.checkpoint, text, options.layer, options.vocabulary, options.embedding, options.trust
    )


def _trained(options: argparse.Namespace, text: str | None, console: Any) -> Reading:
    learnt, source = read_text(), "Python's help texts"
    if text is not None and len(text) >= _ENOUGH:
        learnt, source = text, options.text
    if text is None:
        text = explore.passage(learnt, options.tokens)
    known = set(learnt)
    if unknown := [character for character in text if character not in known]:
        raise ValueError(
            f"{options.text} has {explore.named(unknown)}, which the text to train on ({source}) lacks; "
            f"a FILE of at least {_ENOUGH} characters is itself trained on"
        )
    kind, steps = options.cell or "lstm", options.steps or _STEPS
    size = f"{explore.INPUT_SIZE}, {explore.HIDDEN_SIZE}"
    duration = "" if options.steps else ", about half a minute; fewer with --steps"
    console.print(f"training {explore.KINDS[kind].case}({size}) for {steps} steps on {source}{duration}")
    losses: list[float] = []
    with progress(console, steps) as update:

        def at_step(step: int, loss: float) -> None:
            losses.append(loss)
            update(completed=step, description=f"loss {loss:.3f}")

        reading = explore.train_reading(kind, learnt, text, steps, at_step)
    fell = f"loss {losses[0]:.3f} to {losses[-1]:.3f}"
    return replace(reading, notes=(f"{reading.layer}: {steps} steps of Adam on {source}, {fell}",))
