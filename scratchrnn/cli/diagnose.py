"""`scratchrnn diagnose`: its arguments, the process in which the subject runs, and how the result is shown.

A subject is anybody's code: it may hang, print, leave the interpreter, or change what all of torch sees. It is imported
and judged in a process of its own, which is started anew, never forked. Its standard output is a pipe, on which it says
a line of JSON that it is ready, and one with the result; what the subject prints goes to standard error from the first
import on. Its standard input is a pipe, too, by which it knows whether the command still lives.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

from ..parity.compare import for_json
from ..parity.diagnosis import Diagnosis
from ..parity.diagnosis.judge import KINDS, UnknownKindError, diagnosed
from ..parity.subjects import beside, imported, place, raised
from .files import check_writable, write_json
from .terminal import coloured

_LIMIT = 30.0
_AGREES, _WRONG, _UNJUDGED, _UNEXPLAINED, _FAILED = range(5)

_EPILOG = """\
SUBJECT is imported, so its code runs: in a process of its own, which ends with
the command. Nothing is downloaded, and nothing is loaded or executed from a
checkpoint. A function load_weights(module, weights) beside the subject, which
puts weights by torch.nn's names into a module of it, is used if there is one.

What --json writes:
  agrees            true or false: whether it computes what torch.nn computes
  twin              what it was held against: "nn.LSTM"; "" if it came to none
  assumed           how it was made, called and read, where that was not plain
  configurations    what was tried
  causes            what is wrong, the fewest causes that explain everything:
                    [{"slug": ..., "detail": ..., "fix": ...}, ...]
  alternatives      other such lists, which explain it as well
  first_difference  if no cause is known: where the two part first, with both
                    numbers; a number that is not finite is null, and
                    "not_finite" has its name; else null
  error             why the subject could not be judged; else null

Exit status:
  0  it agrees
  1  something is wrong, and named
  2  it cannot be judged: bad usage, or it cannot be imported, made or called,
     raises, runs longer than the limit, or leaves the interpreter
  3  it differs, and no cause is known
  4  an error in the program
"""


def add_parser(commands: Any) -> None:
    """The subcommand and its arguments."""
    what = "say what is wrong with anybody's recurrent layer, and how to mend it"
    command = commands.add_parser(
        "diagnose",
        help=what,
        description=f"{what[0].upper()}{what[1:]}. The layer\n"
        "is held against torch.nn's in every configuration that it takes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = command.add_argument
    add(
        "subject",
        metavar="SUBJECT",
        help="my_file.py:MyLSTM or package.module:MyLSTM: a class, a function that makes a layer, a layer, or a "
        "function of input and weights",
    )
    kinds = ", ".join(KINDS)
    add(
        "--as",
        dest="kind",
        metavar="KIND",
        type=str.lower,
        choices=tuple(KINDS),
        help=f"what it should be: {kinds} (rnn is Elman); default: guessed",
    )
    add("--json", metavar="FILE", help="write the diagnosis there; - for standard output, which is then that alone")
    add(
        "--limit",
        metavar="SECONDS",
        type=float,
        default=_LIMIT,
        help=f"end a subject that takes longer; default: {_LIMIT:g}",
    )


def run(options: argparse.Namespace, console: Any) -> int:
    """Run the subcommand and return its exit status."""
    if not 0 < options.limit < math.inf:
        raise ValueError(f"--limit should be a positive number of seconds, got {options.limit:g}")
    if options.json and options.json != "-":
        check_writable(options.json)
    try:
        said = _apart(options.subject, options.kind, options.limit)
    except Exception:  # 1 and 3 speak of the subject
        traceback.print_exc()
        return _FAILED
    if "diagnosis" not in said:
        print("scratchrnn diagnose: the program itself failed, and the subject was not judged", file=sys.stderr)
        return _FAILED
    diagnosis = said["diagnosis"]
    if diagnosis["error"] is not None:
        print(f"scratchrnn diagnose: {said['text']}", file=sys.stderr)
    elif options.json != "-":
        console.print(_shown(diagnosis, said["text"]))
    if options.json:
        try:
            write_json("/dev/stdout" if options.json == "-" else options.json, diagnosis)
        except BrokenPipeError:  # whoever reads has had enough
            return 141
    return _status(diagnosis)


def _status(diagnosis: dict[str, Any]) -> int:
    if diagnosis["error"] is not None:
        return _UNJUDGED
    if diagnosis["first_difference"] is not None:
        return _UNEXPLAINED
    return _AGREES if diagnosis["agrees"] else _WRONG


def _shown(diagnosis: dict[str, Any], text: str) -> Any:
    first, *others = text.splitlines(keepends=True)
    return coloured((first, "green" if diagnosis["agrees"] else "red"), *others)


# ---------------------------------------------------------------------------------------- the command's process

_START = """\
import sys
sys.path[:] = sys.argv[3:]
del sys.argv[3:]
from scratchrnn.cli.diagnose import judge
judge(*sys.argv[1:])
"""
_GRACE = 1.0  # seconds in which the subject's process answers where it is


def _apart(subject: str, kind: str | None, limit: float) -> dict[str, Any]:
    """What a process of its own says of the subject, or what is to be said of how that ended."""
    command = [sys.executable, "-c", _START, subject, kind or "", *sys.path]
    # in a session of its own: Ctrl-C reaches this process alone, which ends that one and all that it has started
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
    try:
        reader.start()
        if lines.get() is None:  # what it says when it is ready: the time that importing torch takes is no subject's
            return {}
        return _answer(process, lines, subject, limit)
    finally:
        _end(process)
        reader.join(_GRACE)


def _answer(
    process: subprocess.Popen[bytes], lines: queue.SimpleQueue[dict[str, Any] | None], subject: str, limit: float
) -> dict[str, Any]:
    end = time.monotonic() + limit
    try:
        if (said := lines.get(timeout=limit)) is not None:
            return said
        return _unjudged(f"SUBJECT {subject!r} {_left(process.wait(max(end - time.monotonic(), 0)))}")
    except (queue.Empty, subprocess.TimeoutExpired):
        running = f"SUBJECT {subject!r} was still running after {limit:g} s (--limit)"
    assert process.stdin is not None
    with suppress(OSError, queue.Empty):
        process.stdin.write(b"?")
        process.stdin.flush()
        said = lines.get(timeout=_GRACE) or {"place": ""}
        if "place" not in said:
            return said  # it came to its end just now
        running += f", in {said['place']}" if said["place"] else ""
    return _unjudged(running)


def _read(stream: IO[bytes], lines: queue.SimpleQueue[dict[str, Any] | None]) -> None:
    with stream, suppress(ValueError):  # the last line need not be whole
        for line in stream:
            lines.put(json.loads(line))
    lines.put(None)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it, and whatever it has started."""
    with suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
    assert process.stdin is not None
    with suppress(OSError):  # what is written, and read by nobody
        process.stdin.close()


def _left(status: int) -> str:
    if status < 0:
        return f"was ended by signal {-status} ({signal.strsignal(-status)})"
    return f"left the interpreter with status {status}, as os._exit does"


def _unjudged(error: str) -> dict[str, Any]:
    return _said(Diagnosis("", error=error))


def _said(diagnosis: Diagnosis) -> dict[str, Any]:
    content = diagnosis.to_dict()
    if (difference := content["first_difference"]) is not None:
        content["first_difference"] = for_json(difference)
    return {"diagnosis": content, "text": str(diagnosis) if diagnosis.error is None else diagnosis.error}


# ---------------------------------------------------------------------------------------- the subject's process


def judge(path: str, kind: str) -> None:
    """What runs there: judge the subject, say the result, and leave."""
    sys.argv[1:] = []
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the subject prints, by whatever means
    command = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def say(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=results, flush=True)

    faulthandler.enable(all_threads=False)  # a crash says where
    threading.Thread(target=_watch, args=(command, threading.get_ident(), say), daemon=True).start()
    say({"ready": True})
    try:
        said = _judged(path, kind or None)
        with suppress(Exception):  # the subject may have closed it, or put something in its place
            sys.stdout.flush()
        say(said)
    except Exception:
        traceback.print_exc()
        say({"failed": True})
    os._exit(0)  # threads that the subject has left behind are not waited for


def _judged(path: str, kind: str | None) -> dict[str, Any]:
    try:
        subject = imported("SUBJECT", path)
    except ValueError as error:
        return _unjudged(str(error))
    except BaseException as error:  # KeyboardInterrupt, mostly
        return _unjudged(f"SUBJECT {path!r} cannot be imported: {raised(error)}")
    try:
        return _said(diagnosed(subject, kind, beside=beside(path, "load_weights")))
    except UnknownKindError:
        return _unjudged(f"--as should be given, one of {', '.join(KINDS)}: SUBJECT {path!r} does not tell")
    except Exception:
        raise  # of ours
    except BaseException as error:  # SystemExit, mostly
        return _unjudged(f"SUBJECT {path!r} left the interpreter: {raised(error)}")


def _watch(command: int, thread: int, say: Callable[[dict[str, Any]], None]) -> None:
    """End with the command; asked by it, say first where the subject is."""
    if os.read(command, 1):
        frame = sys._current_frames().get(thread)
        say({"place": place(reversed([*traceback.walk_stack(frame)]))})
    os._exit(1)
