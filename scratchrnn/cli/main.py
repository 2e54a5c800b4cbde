"""The `scratchrnn` command. It reads the arguments and shows results; what is done stands in the rooms it calls."""

from __future__ import annotations

import argparse
import difflib
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from .. import interruption
from ..engine.native import Unavailable
from ..parity.subjects import raised
from . import bench, diagnose, doctor, explain, explore, quiz, verify

_COMMANDS: dict[str, Any] = {
    "verify": verify,
    "diagnose": diagnose,
    "bench": bench,
    "explain": explain,
    "quiz": quiz,
    "explore": explore,
    "doctor": doctor,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: see its help."""
    try:
        interruption.raise_interrupts()
        return _main(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        interruption.end_at_once()


def _main(arguments: list[str]) -> int:
    parser = _parser()
    if not arguments:
        parser.print_help(sys.stderr)
        return 2
    if arguments[0] not in _COMMANDS and not arguments[0].startswith("-"):
        *others, last = _COMMANDS
        near = difflib.get_close_matches(arguments[0], _COMMANDS, 1)
        meant = f"; did you mean {near[0]}?" if near else ""
        parser.error(f"COMMAND should be {', '.join(others)} or {last}, got {arguments[0]!r}{meant}")
    options = parser.parse_args(arguments)
    try:
        from rich.console import Console
    except ModuleNotFoundError:
        print("scratchrnn: the command needs rich: pip install 'scratchrnn[cli]'", file=sys.stderr)
        return 2
    try:
        console = Console(  # text is printed as it is, in a notebook too
            highlight=False, soft_wrap=True, markup=False, emoji=False, force_jupyter=False
        )
        return _COMMANDS[options.command].run(options, console)
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # rich's answer to a closed pipe: its reader has had enough
            return 141
        print(f"scratchrnn {options.command}: what it runs left the interpreter: {raised(error)}", file=sys.stderr)
        return 2
    except (OSError, ValueError, Unavailable) as error:
        print(f"scratchrnn {options.command}: {error}", file=sys.stderr)
        return 2
    except Exception:  # 1 means that something differs, and nothing else
        traceback.print_exc()
        return 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scratchrnn",
        description="Elman, LSTM and GRU cells written out by hand, checked against torch.nn.",
    )
    parser.add_argument("--version", action="version", version=f"scratchrnn {version('scratchrnn')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for room in _COMMANDS.values():
        room.add_parser(commands)
    return parser
