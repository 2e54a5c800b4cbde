"""`scratchrnn diagnose`: its statuses, what it prints and writes, and that no subject reaches the command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import scratchrnn as sr
from scratchrnn import cli
from scratchrnn.cli import diagnose as room
from scratchrnn.parity.diagnosis import Cause, Diagnosis

KEYS = [
    "agrees",
    "twin",
    "assumed",
    "configurations",
    "causes",
    "alternatives",
    "first_difference",
    "error",
]

SUBJECTS = """
import os, re, signal, subprocess, sys, threading, time
import torch
from torch import nn

class Right(nn.GRU):
    pass

class Wrong(nn.GRU):
    def forward(self, x, h_0=None):
        output, h_n = super().forward(x, h_0)
        return output, torch.zeros_like(h_n) if h_0 is None else h_0

class Loud(nn.GRU):
    def forward(self, *given):
        print("printed")
        os.write(1, b"written\\n")
        subprocess.run(["echo", "echoed"])
        return super().forward(*given)

def what(): pass

def asked(*_):
    return nn.GRU(3, int(input("how many units? ")))

def sleeps(*_):
    while True:
        time.sleep(0.01)

def keeps_the_lock(*_):
    re.match("(a+)+$", "a" * 64 + "b")

def leaves(*_): sys.exit(0)

def interrupts(*_): raise KeyboardInterrupt

def leaves_at_once(*_): os._exit(0)

def crashes(*_): os.kill(os.getpid(), signal.SIGSEGV)

def closes_all(*_):
    os.closerange(3, 99)
    time.sleep(600)
"""

STUB = """
import scratchrnn.cli.diagnose as room
from scratchrnn.parity.diagnosis import Cause, Diagnosis

def by(found):
    def diagnosed(subject, kind, load_weights=None, beside=None):
        return found(subject, kind, beside)
    room.diagnosed = diagnosed

def subject(): pass
"""


@pytest.fixture
def diagnose(here: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command on a file: status and both outputs."""
    (here / "subjects.py").write_text(SUBJECTS)

    def diagnose(*arguments: str, stub: str | None = None) -> tuple[int, str, str]:
        if stub is not None:
            (here / "stubbed.py").write_text(f"{STUB}\n{stub}\n")
            arguments = ("stubbed.py:subject", *arguments)
        capfd.readouterr()
        status = cli.main(["diagnose", *arguments])
        return status, *capfd.readouterr()

    return diagnose


def known(said: str) -> dict[str, Any]:
    return json.loads(said, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


# ---------------------------------------------------------------------------------------------------- results


def test_a_right_layer_agrees(diagnose: Callable[..., tuple[int, str, str]]) -> None:
    status, out, err = diagnose("subjects.py:Right", "--as", "gru")
    assert (status, err) == (0, "")
    assert "agrees with nn.GRU" in out


def test_a_wrong_layer_gets_its_cause(diagnose: Callable[..., tuple[int, str, str]], here: Path) -> None:
    status, out, err = diagnose("subjects:Wrong", "--as", "gru", "--json", "out.json")
    assert (status, err) == (1, "")
    content = known((here / "out.json").read_text())
    assert [*content] == KEYS
    assert content["agrees"] is False
    assert content["twin"] == "nn.GRU"
    assert [cause["slug"] for cause in content["causes"]] == ["last-state"]
    assert all(cause.keys() == {"slug", "detail", "fix"} for cause in content["causes"])
    assert content["causes"][0]["fix"] in out


def test_standard_output_is_json_alone_whatever_is_printed(diagnose: Callable[..., tuple[int, str, str]]) -> None:
    status, out, err = diagnose("subjects.py:Loud", "--as", "gru", "--json", "-")
    assert status == 0
    assert known(out)["agrees"] is True
    assert set(err.splitlines()) == {"printed", "written", "echoed"}


PARTED = "{'configuration': 'nn.LSTM(3, 4)', 'tensor': 'output', 'yours': float('nan'), 'theirs': 0.5}"
RESULTS = [
    (0, "Diagnosis('nn.LSTM', assumed=('made as subject()',))"),
    (1, "Diagnosis('nn.LSTM', causes=(Cause('gate-order', 'i and f are exchanged', 'exchange them'),))"),
    (2, "Diagnosis('nn.LSTM', error='subject() needs an argument')"),
    (3, f"Diagnosis('nn.LSTM', first_difference={PARTED})"),
]


@pytest.mark.parametrize(("status", "result"), RESULTS)
def test_each_result_has_a_status_and_is_written(
    status: int, result: str, diagnose: Callable[..., tuple[int, str, str]], here: Path
) -> None:
    found, out, err = diagnose("--json", "out.json", stub=f"by(lambda *_: {result})")
    expected: Diagnosis = eval(result, {"Diagnosis": Diagnosis, "Cause": Cause})
    assert found == status
    if status == 2:
        assert (out, err) == ("", "scratchrnn diagnose: subject() needs an argument\n")
    else:
        assert (out, err) == (f"{expected}\n", "")
    content = known((here / "out.json").read_text())
    assert [*content] == KEYS
    if status == 3:
        lost = {"configuration": "nn.LSTM(3, 4)", "tensor": "output", "yours": None, "theirs": 0.5}
        lost |= {"not_finite": {"yours": "nan"}}
        assert content == expected.to_dict() | {"first_difference": lost}
    else:
        assert content == expected.to_dict()


def test_the_subject_and_its_kind_are_handed_on(diagnose: Callable[..., tuple[int, str, str]]) -> None:
    stub = "by(lambda *given: Diagnosis('', assumed=tuple(map(repr, given[:2]))))"
    for kind, arguments in (("None", []), ("'lstm-cell'", ["--as", "lstm-cell"])):
        status, out, _ = diagnose("--json", "-", *arguments, stub=stub)
        assert status == 0
        subject, handed = known(out)["assumed"]
        assert subject.startswith("<function subject at")
        assert handed == kind


LOADED = """
import torch
from torch import nn

class Turned(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.inner = nn.RNN(input_size, hidden_size)
        self.of_all = nn.Parameter(torch.zeros(2, hidden_size, input_size + hidden_size + 2))

    def forward(self, x, h_0=None):
        W, U, b, d = self.of_all[0].split([self.input_size, self.hidden_size, 1, 1], 1)
        weights = {"weight_ih_l0": W, "weight_hh_l0": U, "bias_ih_l0": b[:, 0], "bias_hh_l0": d[:, 0]}
        return torch.func.functional_call(self.inner, weights, (x, h_0))

def load_weights(module, weights):
    columns = [weights["weight_ih_l0"], weights["weight_hh_l0"]]
    columns += [weights[f"bias_{side}_l0"][:, None] for side in ("ih", "hh")]
    module.of_all.data[0] = torch.cat(columns, 1)
"""


def test_weights_are_loaded_as_the_file_says(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "loaded.py").write_text(LOADED)
    status = cli.main(["diagnose", "loaded.py:Turned", "--as", "rnn"])
    out, err = capfd.readouterr()
    assert status == 0, out + err
    assert out.startswith("agrees with nn.RNN in ")
    assert "load_weights sets its weights, so their gradients cannot be judged" in out


def test_weights_are_loaded_as_the_named_file_says(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    layer, _, load = LOADED.partition("def load_weights")
    (here / "layers_of_mine.py").write_text(layer + "def load_weights(module, weights): weights['weight_ih']\n")
    (here / "loaded.py").write_text(f"import torch\nfrom layers_of_mine import Turned\ndef load_weights{load}")
    with (here / "loaded.py").open("a") as file:
        file.write("\ndef made(input_size, hidden_size):\n    return Turned(input_size, hidden_size)\n")
    for name in ("Turned", "made"):
        assert cli.main(["diagnose", f"loaded.py:{name}", "--as", "rnn"]) == 0, capfd.readouterr()


LOAD_RAISES = """
import torch
from torch import nn

class Flat(nn.Module):
    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.of_all = nn.Parameter(torch.zeros(36))

    def forward(self, x, h_0=None):
        return x

def load_weights(module, weights):
    module.of_all.data[:12] = weights["weight_ih"].flatten()
"""


def test_that_load_weights_raises_is_told(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    has = "weight_ih_l0 [4, 3], weight_hh_l0 [4, 4], bias_ih_l0 [4], bias_hh_l0 [4]"
    told = f"load_weights raises KeyError: 'weight_ih', where weights has {has}"
    (here / "raises.py").write_text(f"{LOAD_RAISES}\n{LOADED.partition('def load_weights')[0]}")
    assert cli.main(["diagnose", "raises.py:Flat", "--as", "rnn"]) == 2
    err = capfd.readouterr().err
    assert err.startswith(f"scratchrnn diagnose: {told}; without load_weights: the parameters of Flat should be those ")
    assert cli.main(["diagnose", "raises.py:Turned", "--as", "rnn"]) == 3  # which can be read, in another way
    assert f"  assumed: read without load_weights: {told}\n" in capfd.readouterr().out


def test_the_verdict_is_coloured(
    diagnose: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    for colour, result in (("\x1b[32m", RESULTS[0]), ("\x1b[31m", RESULTS[1])):
        assert diagnose(stub=f"by(lambda *_: {result[1]})")[1].startswith(colour)


# -------------------------------------------------------------------------------------------- cannot be judged


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("leaves", "SystemExit: 0"),
        ("interrupts", "left the interpreter: KeyboardInterrupt, in interrupts (subjects.py:N)"),
        ("leaves_at_once", "SUBJECT 'subjects.py:leaves_at_once' left the interpreter with status 0, as os._exit does"),
        ("crashes", "SUBJECT 'subjects.py:crashes' was ended by signal 11 (Segmentation fault)"),
        ("sleeps", "SUBJECT 'subjects.py:sleeps' was still running after 1.5 s (--limit), in sleeps (subjects.py:N)"),
        ("keeps_the_lock", "SUBJECT 'subjects.py:keeps_the_lock' was still running after 1.5 s (--limit)"),
        ("closes_all", "SUBJECT 'subjects.py:closes_all' was still running after 1.5 s (--limit)"),
        ("asked", "EOFError"),
    ],
)
def test_a_subject_that_does_not_come_back_is_an_error(
    name: str, error: str, diagnose: Callable[..., tuple[int, str, str]]
) -> None:
    status, out, err = diagnose(f"subjects.py:{name}", "--as", "gru", "--limit", "1.5", "--json", "-")
    content = known(out)
    assert status == 2
    assert error in re.sub(r"py:\d+", "py:N", content["error"])
    assert content["agrees"] is False
    assert err.endswith(f"scratchrnn diagnose: {content['error']}\n")


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (
            "raise RuntimeError('no licence')",
            "cannot be imported: it raises RuntimeError: no licence, in <module> (broken.py:1)",
        ),
        ("import sys\nsys.exit(3)", "cannot be imported: SystemExit: 3, in <module> (broken.py:2)"),
        ("def wrong(:", "cannot be imported: "),
        ("import not_there", "cannot be imported: No module named 'not_there', in <module> (broken.py:1)"),
        (
            "while True: pass",
            "SUBJECT 'broken.py:Mine' was still running after 1.5 s (--limit), in <module> (broken.py:1)",
        ),
    ],
)
def test_a_file_that_cannot_be_imported_is_an_error(
    content: str, error: str, diagnose: Callable[..., tuple[int, str, str]], here: Path
) -> None:
    (here / "broken.py").write_text(content)
    status, out, err = diagnose("broken.py:Mine", "--as", "gru", "--limit", "1.5")
    assert (status, out) == (2, "")
    assert err.startswith("scratchrnn diagnose: SUBJECT 'broken.py:Mine' ")
    assert error in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["subjects.py"], "scratchrnn diagnose: SUBJECT should be of the form"),
        (["subjects.py:Nothing"], "scratchrnn diagnose: SUBJECT 'subjects.py:Nothing' cannot be imported: "),
        (["nowhere.py:Mine"], "scratchrnn diagnose: SUBJECT 'nowhere.py:Mine' cannot be imported: "),
        (["subjects:what"], "scratchrnn diagnose: --as should be given, one of rnn, rnn-relu, lstm, gru, "),
        (["subjects.py:Right", "--limit", "0"], "scratchrnn diagnose: --limit should be a positive number of seconds"),
        (
            ["subjects.py:Right", "--limit", "nan"],
            "scratchrnn diagnose: --limit should be a positive number of seconds",
        ),
        (
            ["subjects.py:Right", "--limit", "inf"],
            "scratchrnn diagnose: --limit should be a positive number of seconds",
        ),
        (
            ["subjects.py:Right", "--json", "no/where"],
            "scratchrnn diagnose: [Errno 2] No such file or directory: 'no/w",
        ),
    ],
)
def test_bad_usage_exits_2_and_says_why(
    arguments: list[str], message: str, diagnose: Callable[..., tuple[int, str, str]]
) -> None:
    status, out, err = diagnose(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: SUBJECT"),
        (["a.py:A", "--as", "elman"], "argument --as: invalid choice: 'elman' (choose from "),
        (["a.py:A", "--limit", "long"], "argument --limit: invalid float value: 'long'"),
    ],
)
def test_an_unfit_option_exits_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["diagnose", *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- the program fails


@pytest.mark.parametrize(
    ("stub", "said"),
    [
        ("by(lambda *_: 1 / 0)", "ZeroDivisionError: division by zero"),
        ("by(lambda *_: int('x'))", "ValueError: invalid literal"),
        ("by(lambda *_: Diagnosis(object()))", "TypeError: Object of type object is not JSON serializable"),
    ],
)
def test_an_error_in_the_program_is_status_4(
    stub: str, said: str, diagnose: Callable[..., tuple[int, str, str]], here: Path
) -> None:
    status, out, err = diagnose("--json", "out.json", stub=stub)
    assert (status, out) == (4, "")
    assert err.startswith("Traceback (most recent call last):")
    assert said in err
    assert err.endswith("scratchrnn diagnose: the program itself failed, and the subject was not judged\n")
    assert not (here / "out.json").exists()


def test_a_process_that_does_not_start_is_status_4(
    diagnose: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert diagnose("subjects.py:Right")[0] == 4
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    status, _, err = diagnose("subjects.py:Right")
    assert status == 4
    assert "FileNotFoundError" in err


def test_a_closed_pipe_is_no_result(here: Path) -> None:
    (here / "stubbed.py").write_text(f"{STUB}\nby(lambda *_: Diagnosis('nn.GRU'))\n")
    line = f"{sys.executable} -m scratchrnn diagnose stubbed.py:subject --json - | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=600, env=environment())
    assert (done.returncode, done.stderr) == (141, "")


# ------------------------------------------------------------------------------------------- its own process


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sr.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path}


WRITES_ITS_ID = """
import os, time
from pathlib import Path

def subject(*_): pass

Path("new").write_text(str(os.getpid()))
os.rename("new", "id")
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_the_subject_ends_with_the_command(number: signal.Signals, here: Path) -> None:
    (here / "waiting.py").write_text(WRITES_ITS_ID)
    command = [sys.executable, "-m", "scratchrnn", "diagnose", "waiting.py:subject", "--limit", "600"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while not (here / "id").exists():
            assert process.poll() is None
            time.sleep(0.01)
        theirs = int((here / "id").read_text())
        process.send_signal(number)
        out, err = process.communicate(timeout=600)
    finally:
        process.kill()
    if number == signal.SIGINT:
        assert (process.returncode, out, err) == (130, "", "interrupted\n")
    for _ in range(1000):
        if not alive(theirs):
            return
        time.sleep(0.01)
    pytest.fail("the subject's process is still there")


def alive(process: int) -> bool:
    """Whether it is there, and not merely waited for by nobody."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        pass
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return not Path("/proc/self").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_the_subject_leaves_behind_holds_nothing_up_and_is_ended(
    diagnose: Callable[..., tuple[int, str, str]], here: Path
) -> None:
    stub = """
import os, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
if not (child := os.fork()):
    time.sleep(600)
by(lambda *_: Diagnosis("", assumed=(str(child),)))
"""
    start = time.monotonic()
    status, out, _ = diagnose("--json", "-", "--limit", "300", stub=stub)
    assert status == 0
    assert time.monotonic() - start < 200
    for _ in range(1000):
        if not alive(int(known(out)["assumed"][0])):
            return
        time.sleep(0.01)
    pytest.fail("the process that the subject started is still there")


def test_it_is_started_anew_and_shares_nothing(diagnose: Callable[..., tuple[int, str, str]]) -> None:
    stub = """
import sys
import torch
torch.set_default_dtype(torch.float64)
by(lambda *_: Diagnosis("", assumed=(str("pytest" in sys.modules), str(sys.argv))))
"""
    status, out, _ = diagnose("--json", "-", stub=stub)
    assert status == 0
    assert known(out)["assumed"] == ["False", "['-c']"]
    assert torch.get_default_dtype() == torch.float32


# --------------------------------------------------------------------------------------------------- help


def test_the_help_documents_statuses_the_schema_and_that_code_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["diagnose", "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    words = " ".join(shown.split())
    for status in ("0 it agrees", "1 something is wrong", "2 it cannot be judged", "3 it differs", "4 an error in the"):
        assert f" {status}" in words
    for key in (*KEYS, '"slug"', '"detail"', '"fix"'):
        assert key in words
    for option in ("--as KIND", "--json FILE", "--limit SECONDS", "my_file.py:MyLSTM", "load_weights(module, weights)"):
        assert option in words
    assert "SUBJECT is imported, so its code runs" in words
    assert "Nothing is downloaded, and nothing is loaded or executed from a checkpoint" in words
    assert all(kind in words.replace("- ", "-") for kind in room.KINDS)  # which may stand in two lines
    assert max(map(len, shown.splitlines())) <= 80
