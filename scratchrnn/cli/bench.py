"""`scratchrnn bench`: its arguments, and how its results are shown and kept."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from ..bench import results as records
from ..bench.cases import CELLS, Case, load_suite, suites
from ..bench.implementations import IMPLEMENTATIONS, OURS, THEIRS
from ..bench.measure import measure, refusal
from ..bench.results import Result
from ..bench.subject import COMPILED, SUBJECT, WALKED, others, subject
from ..cells.cell import Cell
from .files import check_writable, replacing, write_json
from .speeds import show, show_changes
from .terminal import count, progress

_USUAL = (OURS, "cell loop")


def add_parser(commands: Any) -> None:
    """The subcommand and its arguments."""
    what = "time cells and layers against torch.nn, after comparing them"
    command = commands.add_parser(
        "bench",
        help=what,
        description=f"{what[0].upper()}{what[1:]}: all implementations in turn, in one process, every other round in "
        "the other order; before each call all parameters are changed. Medians, spreads, and ratios to torch.nn in the "
        "same round. Run it alone on the machine.",
        epilog="Exit status: 0 done, 1 the subject differs from torch.nn or was not timed, 2 bad usage, 130 "
        "interrupted (what was measured is shown and kept).",
    )
    add = command.add_argument
    add("--suite", metavar="NAME", default="quick", help=f"{', '.join(suites())}, or a table; default: quick")
    add("--full", action="store_true", help="also the cases that take more than 40 GFLOP a call")
    add(
        "--subject",
        metavar="MODULE:NAME",
        help="a Cell of your own, or a class called and made as torch.nn's layers, NAME(input_size, hidden_size), and "
        "num_layers where there are several; compared before all else",
    )
    add("--against", metavar="CELL", type=_cell, help="with --subject: run the cases of this cell; default: LSTM")
    add("--unchecked", action="store_true", help="with --subject: time it though it computes something else")
    names = "; ".join(name for name in IMPLEMENTATIONS if name != THEIRS)
    add(
        "--implementations",
        metavar="LIST",
        help=f"separated by ';', or all; default: {'; '.join(_USUAL)}; of: {names}; with a Cell as --subject also "
        f"{WALKED} (by autograd) and {COMPILED} (that by torch.compile)",
    )
    add("--rounds", type=int, default=7, help="how often each is timed; default: 7")
    add("--threads", type=int, help=f"of torch, where the suite does not say; default: {torch.get_num_threads()}")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: cpu")
    add("--compile-limit", metavar="SECONDS", type=float, default=60.0, help="for each to get ready; default: 60")
    add("--json", metavar="FILE", help="write all times there, with machine and versions")
    add("--markdown", action="store_true", help="print the table as Markdown")
    add("--plot", metavar="FILE", help="draw ratio against size there (.png, .svg, .pdf)")
    add("--compare", nargs=2, metavar=("A", "B"), help="show what got faster or slower from one --json file to another")
    add("--show", metavar="FILE", help="show the results in a --json file, and measure nothing")


def _cell(name: str) -> str:
    """As a suite writes it, of capital or small letters."""
    return next((cell for cell in CELLS if cell.lower() == name.lower()), name)


def run(options: argparse.Namespace, console: Any) -> int:
    """Run the subcommand and return its exit status."""
    if options.compare:
        before, after = options.compare
        return _compare(before, after, console)
    if options.plot:
        _check_plot(options.plot)
    if options.show:
        _tell(_read(options.show), options, console)
        return 0
    _check(options)
    ways = _implementations(options)
    cases, left_out = load_suite(options.suite, options.full)
    if not cases:
        too_large = " of at most 40 GFLOP a call: --full runs the others" if left_out else ""
        raise ValueError(f"suite {options.suite!r} has no case{too_large}")
    if options.subject:
        cell, found = options.against or "LSTM", dict.fromkeys(case.cell for case in cases)
        if cell not in found:
            raise ValueError(f"suite {options.suite!r} has no case of {cell}: --against should be {' or '.join(found)}")
        cases = [case for case in cases if case.cell == cell]
    threads = options.threads or torch.get_num_threads()
    machine = records.machine(options.device)
    engine = f"scratchrnn's {machine['engine']} engine"
    console.print(f"{machine['processor']}, torch {machine['torch']}, {engine}, {count(threads, 'thread')}")
    if left_out:
        console.print(f"{left_out} cases of more than 40 GFLOP left out: --full runs them")
    refused = _refused(ways, cases, options, console)
    if refused == {case.form for case in cases}:
        return 1
    results: list[Result] = []
    interrupted = False
    with progress(console, len(cases)) as update:
        for case in cases:
            update(description=case.title)
            try:
                results += measure(
                    case,
                    {name: way for name, way in ways.items() if name != SUBJECT or case.form not in refused},
                    options.rounds,
                    threads,
                    options.device,
                    options.compile_limit,
                    unchecked=[SUBJECT] if options.unchecked else [],
                )
            except KeyboardInterrupt:
                if not results:
                    raise
                interrupted = True
                break
            update(advance=1)
            if options.json:
                _write(options, threads, results)  # after each case: whatever ends this, what was measured is there
    _tell(results, options, console)
    if interrupted:
        console.print("interrupted: what was measured until then is above")
        return 130
    return int(bool(refused) or any(r.implementation == SUBJECT and r.skipped for r in results))


def _refused(ways: dict[str, Any], cases: Sequence[Case], options: argparse.Namespace, console: Any) -> set[str]:
    """The forms in which the subject cannot be timed: tried before all else, and told once."""
    refused: dict[str, str] = {}
    forms = sorted({case.form for case in cases}) if options.subject else []
    for form in forms:
        case = min((c for c in cases if c.form == form), key=lambda c: c.work.flops)
        reason = refusal(case, ways[SUBJECT], options.device, options.compile_limit, options.unchecked)
        if reason is not None:
            refused[form] = f"made as {ways[SUBJECT].call(case.theirs())}: {reason}"
    for form, reason in refused.items() if len(refused) < len(forms) else [*refused.items()][:1]:
        left_out = f"; left out of the cases of {form}" if len(refused) < len(forms) else ""
        console.print(f"subject {options.subject}, {reason}{left_out}")
    return {*refused}


def _check(options: argparse.Namespace) -> None:
    for name, least in (("rounds", 1), ("threads", 1), ("compile_limit", 0.001)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')} should be at least {least}, got {value}")
    if not options.subject and (options.unchecked or options.against):
        raise ValueError("--unchecked and --against are for a --subject")
    if options.against and options.against not in CELLS:
        raise ValueError(f"--against should be one of {', '.join(CELLS)}, got {options.against!r}")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: this torch finds no CUDA device")
    if options.json:
        check_writable(options.json)


def _check_plot(path: str) -> None:
    endings = _plotting().endings()
    if Path(path).suffix.removeprefix(".") not in endings:
        raise ValueError(f"--plot should end in .{', .'.join(endings)}, got {path!r}")
    check_writable(path)


def _implementations(options: argparse.Namespace) -> dict[str, Any]:
    own = subject(options.subject, options.unchecked) if options.subject else None
    known = IMPLEMENTATIONS | (others(own.what) if own and isinstance(own.what, Cell) else {})
    chosen = options.implementations
    named = [*_USUAL] if chosen is None else [n.strip() for n in chosen.split(";") if n.strip()]
    if named == ["all"]:
        named = [*known]
    unknown = [name for name in named if name not in known]
    if unknown or not named:
        raise ValueError(f"--implementations should be of {'; '.join(known)}; got {'; '.join(unknown) or repr(chosen)}")
    ways = {name: known[name] for name in named if name != THEIRS}
    return {SUBJECT: own, **ways} if own else ways


# ------------------------------------------------------------------------------------------------------- keep


def _write(options: argparse.Namespace, threads: int, results: Iterable[Result]) -> None:
    content = {
        "machine": records.machine(options.device),
        "threads": threads,
        "suite": options.suite,
        "rounds": options.rounds,
        "results": [records.to_dict(r) for r in results],
    }
    write_json(options.json, content)


def _read(path: str) -> list[Result]:
    with open(path, encoding="utf-8") as file:
        try:
            return [records.from_dict(row) for row in json.load(file)["results"]]
        except UnicodeDecodeError:
            reason = "it is no text"
        except json.JSONDecodeError as error:
            reason = f"it is no JSON, or cut off: {error}"
        except (KeyError, TypeError, AttributeError):
            reason = "it is JSON of something else"
    raise ValueError(f"{path} is no file that --json has written: {reason}; write one by scratchrnn bench --json FILE")


def _compare(first: str, second: str, console: Any) -> int:
    changes = records.changes(_read(first), _read(second))
    if not changes:
        raise ValueError(f"{first} and {second} have no case in common")
    show_changes(changes, console)
    return 0


def _tell(results: Sequence[Result], options: argparse.Namespace, console: Any) -> None:
    show(results, console, options.markdown)
    if options.plot:
        with replacing(options.plot) as unfinished:
            _plotting().figure(results).savefig(unfinished, dpi=150)


def _plotting() -> Any:
    try:
        from ..plot import bench as bench_plot
    except ModuleNotFoundError as error:
        raise ValueError(f"--plot needs matplotlib: pip install 'scratchrnn[plot]' ({error})") from None
    return bench_plot
