"""`scratchrnn verify`: its arguments, and how its results are shown."""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import nn

from ..cells.twins import LAYERS
from ..engine import native
from ..layers.characters import TALE, Characters, read_text
from ..layers.checkpoint import load_recurrent
from ..parity import verify
from ..parity.compare import Report
from .files import check_writable, write_json
from .terminal import coloured, count, progress


def add_parser(commands: Any) -> None:
    """The subcommand and its arguments."""
    what = "compare every cell and layer with torch.nn on real text, and train with both"
    command = commands.add_parser(
        "verify",
        help=what,
        description=f"{what[0].upper()}{what[1:]}. Outputs, last states and every gradient are held "
        "against torch.nn in float64: ours may be off by twice what torch.nn itself is, plus 4 eps. "
        "What is wrong with a layer of your own, `scratchrnn diagnose` says.",
        epilog="Exit status: 0 all agree, 1 something differs, 2 bad usage, 3 an error in the program.",
    )
    command.add_argument("--text", metavar="FILE", help=f"a UTF-8 text to run on; default: {TALE}")
    command.add_argument("--quick", action="store_true", help="float32 only, and fewer cases")
    command.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="verify with trained weights: a state dict that holds an RNN, LSTM, GRU or cell somewhere, "
        "or such a module of torch.nn, as torch.save wrote it",
    )
    command.add_argument(
        "--trust", action="store_true", help="let --checkpoint unpickle a whole model, which runs code from the file"
    )
    command.add_argument("--json", metavar="FILE", help="write all numbers there")


def run(options: argparse.Namespace, console: Any) -> int:
    """Run the subcommand and return its exit status."""
    if options.trust and not options.checkpoint:
        raise ValueError("--trust goes with --checkpoint")
    if options.quick and options.checkpoint:
        raise ValueError("--quick does not go with --checkpoint, which is quick")
    characters = Characters(read_text(options.text))
    if options.checkpoint:
        modules = load_recurrent(options.checkpoint, options.trust)
        cases = [verify.checkpoint_case(name, module) for name, module in modules]
        kinds: tuple[type[nn.Module], ...] = ()
    else:
        cases, kinds = list(verify.cases(options.quick)), LAYERS
    if options.json:
        check_writable(options.json)
    source = options.text or TALE
    here = native.enabled() and native.is_available()
    engines = "the native engine, and the torch engine" if here else "the torch engine alone: see scratchrnn doctor"
    text = f"{count(len(cases), 'comparison')} on {source}, {len(characters.ids):,} characters"
    console.print(f"{text}; torch {torch.__version__}; {engines}")
    width = console.width if console.is_terminal else _FULL
    console.print(_header(width))
    reports: list[tuple[verify.Case, Report]] = []
    trainings: list[verify.Training] = []
    with progress(console, len(cases) + len(kinds)) as update:
        for case in cases:
            update(description=case.title)
            report = case.run(characters)
            reports.append((case, report))
            console.print(*_case_lines(case, report, width), sep="\n")
            update(advance=1)
        for kind in kinds:
            update(description=f"training {kind.__name__}")
            trainings.append(verify.train(kind, characters, steps=30 if options.quick else 100))
            console.print(*_training_lines(trainings[-1]), sep="\n")
            update(advance=1)
    agree = all(report for _, report in reports) and all(t.parted is None for t in trainings)
    console.print(*_summary(reports, trainings), sep="\n")
    if options.json:
        write_json(options.json, _content(agree, source, reports, trainings))
    return 0 if agree else 1


# ----------------------------------------------------------------------------------------------------- show

_FULL = 116  # columns of a line with all numbers


def _header(width: int) -> str:
    errors = f" {'our error':>9} {'torch.nn':>9}" if width >= _FULL else ""
    return f"{'':7} {'case':{_title_width(width)}} {'dtype':8} {'nearest its bound':22}{errors} {'of bound':>8}"


def _title_width(width: int) -> int:
    return 47 if width >= _FULL else max(width - 49, 20)


_OK, _DIFFERS, _NOTHING = ("ok", "green"), ("DIFFERS", "red"), ("NOTHING", "red")


def _case_lines(case: verify.Case, report: Report, width: int) -> list[Any]:
    d, dtype, space = report.worst, str(case.dtype).removeprefix("torch."), _title_width(width)
    title = case.title if len(case.title) <= space else f"{case.title[: space - 1]}…"
    errors = f" {d.error:9.1e} {d.torch_error:9.1e}" if width >= _FULL else ""
    verdict = _OK if report else _DIFFERS if report.failed else _NOTHING
    below = [*case.notes, *map(str, report.failed)]
    if report.finite < report.numbers:
        below.append(report.verdict)
    line = _judged(verdict, f"{title:{space}} {dtype:8} {d.name:22}{errors} {d.share:8.2f}")
    return [line, *(f"        {text}" for text in below)]


def _judged(verdict: tuple[str, str], text: str) -> Any:
    return coloured(verdict, f"{'':{7 - len(verdict[0])}} {text}")


def _training_lines(training: verify.Training) -> list[Any]:
    steps, digits = len(training.ours), training.digits
    shown = [0, *range(steps // 5 - 1, steps, steps // 5)]

    def curve(losses: list[float]) -> str:
        return " ".join(f"{losses[k]:.{digits}f}" for k in shown)

    parted = training.parted
    where = f"agree to {max(training.gaps):.1e}" if parted is None else f"part at step {parted + 1}"
    done = f"training {training.title}, {steps} steps of SGD: the losses {where}"
    return [
        _judged(_OK if parted is None else _DIFFERS, done),
        f"        step     {' '.join(f'{k + 1:<{digits + 2}}' for k in shown)}",
        f"        ours     {curve(training.ours)}",
        f"        torch.nn {curve(training.theirs)}",
    ]


def _summary(reports: list[tuple[verify.Case, Report]], trainings: list[verify.Training]) -> list[Any]:
    failed = [case.title for case, report in reports if report.failed]
    nothing = [case.title for case, report in reports if not report and not report.failed]
    parted = [t.title for t in trainings if t.parted is not None]
    tensors = sum(d.finite > 0 for _, report in reports for d in report.differences)
    case, report = max(reports, key=lambda pair: pair[1].worst.share)
    trained = f", and {len(trainings)} models train to the same losses" if trainings else ""
    if not failed and not parted and not nothing:
        near = f"the nearest to its bound, {report.worst.name} of {case.title}, at {report.worst.share:.2f} of it"
        done = f"{count(tensors, 'tensor')} in {count(len(reports), 'comparison')}{trained}"
        return [coloured(("all agree", "green"), f": {done}; {near}")]
    differing = [*failed, *(f"training {title}" for title in parted)]
    total = len(reports) + len(trainings)
    said = [coloured((f"{len(differing)} of {total} differ", "red"), f": {'; '.join(differing)}")] if differing else []
    if nothing:
        said.append(coloured(("nothing to compare", "red"), f" in {len(nothing)} of {total}: {'; '.join(nothing)}"))
    return said


def _content(
    agree: bool, source: str, reports: list[tuple[verify.Case, Report]], trainings: list[verify.Training]
) -> dict[str, Any]:
    return {
        "agrees": agree,
        "text": source,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cases": [
            {"title": c.title, "dtype": str(c.dtype), "layout": c.layout, "notes": c.notes} | r.to_dict()
            for c, r in reports
        ],
        "trainings": [t.to_dict() for t in trainings],
    }
