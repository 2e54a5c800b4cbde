"""`scratchrnn explore`: its arguments, and what it says."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..layers.characters import TALE, held_out, passage, read_text
from ..traces import training
from ..traces.page.page import page, write
from ..traces.reading import Reading, load_reading, named
from ..traces.training import Trained
from .explain import word_of
from .files import check_writable, replacing
from .terminal import progress

_ENOUGH = 1000  # characters to train on
_OF_CHECKPOINT = ("layer", "vocabulary", "embedding", "trust")
_OF_TRAINING = ("cell", "steps", "retrain")


def add_parser(commands: Any) -> None:
    """The subcommand and its arguments."""
    what = "write a page to click through: a text, every gate of every unit, each equation with its numbers"
    command = commands.add_parser(
        "explore",
        help=what,
        description=f"{what[0].upper()}{what[1:]}; and of what each token wrote into a state, how much is left. "
        "Without --checkpoint a small model of characters is trained first, in about half a minute, and kept for the "
        "next time.",
        epilog="Exit status: 0 the page is written, 2 bad usage, 3 an error in the program.",
    )
    add = command.add_argument
    add(
        "--text",
        metavar="FILE",
        help=f"a UTF-8 text to read (and, from {_ENOUGH} characters, to train on); default: of {TALE} the last "
        "tenth is read, the rest is trained on",
    )
    add("-o", "--output", metavar="FILE", default="page.html", help="the page; default: page.html")
    add("--tokens", metavar="N", type=int, default=400, help="read at most so many; default: 400")
    add(
        "--cell",
        nargs="+",
        type=word_of,
        choices=tuple(training.KINDS),
        help="what to train; several stand side by side; default: lstm",
    )
    add("--steps", metavar="N", type=int, help=f"of training; default: {training.STEPS}")
    add("--retrain", action="store_true", help="train also what has been trained and kept")
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
    readings = [_of_checkpoint(options, text)] if options.checkpoint else _trained(options, text, console)
    count = len(readings[0].tokens)
    if count > options.tokens:
        console.print(f"the first {options.tokens} of {count:,} tokens: more with --tokens")
        readings = [reading.first(options.tokens) for reading in readings]
    notes = [note for reading in readings for note in reading.notes]
    for note in notes:
        console.print(note)
    several = len(readings) > 1
    shown = {reading.name if several else "": reading for reading in readings}
    tokens = readings[0].tokens
    text = page(
        {name: {"": reading.trace().records} for name, reading in shown.items()},
        tokens,
        sequence=None,
        title=f"{' and '.join(reading.name for reading in readings)}, over {len(tokens)} tokens",
        notes=notes,
        readouts={name: reading.readout for name, reading in shown.items() if reading.readout},
    )
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


def _of_checkpoint(options: argparse.Namespace, text: str | None) -> Reading:
    if text is None:
        text = passage(read_text(), options.tokens)
    return load_reading(options.checkpoint, text, options.layer, options.vocabulary, options.embedding, options.trust)


def _trained(options: argparse.Namespace, text: str | None, console: Any) -> list[Reading]:
    """A model of each kind, before the text."""
    learnt, rest = held_out(read_text())
    source = TALE
    if text is None:
        text = passage(rest, options.tokens)
    elif len(text) >= _ENOUGH:
        learnt, source = text, options.text
    known = set(learnt)
    if unknown := [character for character in text if character not in known]:
        raise ValueError(
            f"{options.text} has {named(unknown)}, which the text to train on ({source}) lacks; "
            f"a FILE of at least {_ENOUGH} characters is itself trained on"
        )
    kinds = dict.fromkeys(options.cell or ["lstm"])
    models = [_learnt(kind, learnt, source, options, console) for kind in kinds]
    return [replace(model.reads(text), notes=(_how(model, source),)) for model in models]


def _how(model: Trained, source: str) -> str:
    first, last = model.losses
    return f"{model.model.layer}: {model.steps} steps of Adam on {source}, loss {first:.3f} to {last:.3f}"


def _learnt(kind: str, text: str, source: str, options: argparse.Namespace, console: Any) -> Trained:
    """The model that is kept, or a new one."""
    steps = options.steps or training.STEPS
    called = f"{training.KINDS[kind].case}({training.INPUT_SIZE}, {training.HIDDEN_SIZE})"
    model = None if options.retrain else training.kept(kind, text, steps)
    if model is not None:
        console.print(f"{called}, trained on {source} for {steps} steps and kept: anew with --retrain")
        return model
    duration = "" if options.steps else ", about half a minute; fewer with --steps"
    console.print(f"training {called} for {steps} steps on {source}{duration}")
    with progress(console, steps) as update:
        return training.train(
            kind, text, steps, lambda step, loss: update(completed=step, description=f"loss {loss:.3f}")
        )
