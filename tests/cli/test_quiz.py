"""`scratchrnn quiz`: what it asks, says, scores and keeps, from a pipe and on a terminal."""

from __future__ import annotations

import io
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

import scratchrnn as sr
from scratchrnn import cells, cli
from scratchrnn.cli.quiz import state_folder
from scratchrnn.equations import exercises

LSTM = ["W_ii x + b_ii + W_hi h_prev + b_hi", "sigmoid(i_pre)", "sigmoid(f_pre)", "tanh(g_pre)", "sigmoid(o_pre)"]
LSTM += ["i*g + f*c_prev", "tanh(c)", "o*tanh(c)"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "scratchrnn" / "quiz"


class Quiz:
    """The command with answers from a pipe: its status, and what it has said."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: str, answers: list[str]) -> tuple[int, str]:
        self.monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{answer}\n" for answer in answers)))
        status = cli.main(["quiz", *arguments])
        caught = self.capsys.readouterr()
        return status, caught.out + caught.err


@pytest.fixture
def quiz(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Quiz:
    return Quiz(monkeypatch, capsys)


def test_who_knows_all_lines_is_told_so(quiz: Quiz, folder: Path) -> None:
    status, shown = quiz("lstm", answers=LSTM)
    assert status == 0
    assert shown.startswith("LSTM, forward, 8 lines\n")
    assert "1 of 8   i_pre = ?\nknown: x, W_ii, " in shown
    assert "6 of 8   c = ?\nknown: h_prev, c_prev, i_pre, f_pre, g_pre, o_pre, i, f, g, o\n> i*g + f*c_prev\n" in shown
    assert "right: c = f * c_prev + i * g\n" in shown
    assert shown.endswith(
        "\n8 of 8, 8 of them at the first try and without a hint\nAnd the way back: scratchrnn quiz lstm --adjoint\n"
    )
    assert os.listdir(folder) == []  # the next starts from the first line


@pytest.mark.parametrize(("name", "cell"), [("rnn", cells.elman), ("rnn_relu", cells.elman_relu), ("gru", cells.gru)])
def test_the_way_back_of_every_cell_is_asked_for(name: str, cell: sr.Cell, quiz: Quiz) -> None:
    asked = exercises(cell, adjoint=True)
    status, shown = quiz(name, "--adjoint", answers=[each.line.code for each in asked.values()])
    assert status == 0
    assert "\ndh arrives from the loss and the later steps.\n" in shown
    assert ("dh_direct is the part of dh_prev that does not come through W_hh." in shown) == (name == "gru")
    assert "And the way back" not in shown
    for each in asked.values():
        others = ", and the lines of the other gates" if name == "gru" and each.line.target in ("dx", "dh_prev") else ""
        assert f"{each.line.target} = ?\nthrough {each.through.text}{others}\n" in shown
        assert f"right: {each.line.text}\n" in shown


def test_a_wrong_line_is_told_why_and_asked_for_again(quiz: Quiz) -> None:
    status, shown = quiz(
        "lstm", "--adjoint", answers=["dh*tanh_c", "dh*o", "dtanh_c*(1-tanh_c^2)", "import os", "9^99"]
    )
    assert status == 1
    assert "not yet: the term that arrives from the next step, dc_next, is not there\n" in shown
    assert "cannot be judged: `import os` cannot be read" in shown
    assert "cannot be judged: an exponent should be a number of at most 9, got `99`\n" in shown
    assert shown.endswith("Kept: scratchrnn quiz lstm --adjoint goes on here.\n")
    status, shown = quiz("lstm", "--adjoint", answers=["dtanh_c*(1-tanh_c^2)+dc_next"])
    assert "\n1 of 16   do = dh * tanh_c\n2 of 16   dtanh_c = dh * o\n\n3 of 16   dc = ?\n" in shown
    assert "right: dc = dc_next + " in shown


def test_hints_get_larger_and_the_line_itself_scores_nothing(quiz: Quiz) -> None:
    answers = [*LSTM[:2], "?", LSTM[2], "?", "?", "?", "skip", "f * g", *LSTM[5:]]
    status, shown = quiz("lstm", answers=answers)
    assert status == 1
    assert "> ?\nit has g_pre\n> ?\nit has the shape g = tanh(_)\n> ?\nit is g = tanh(g_pre)\n\n5 of 8" in shown
    assert shown.endswith("\n6 of 8, 4 of them at the first try and without a hint\nskipped: o\nshown: g\n")


def test_it_goes_on_where_it_was_stopped(quiz: Quiz, folder: Path) -> None:
    assert quiz("lstm", answers=[LSTM[0], "?"])[0] == 1
    kept = json.loads((folder / "lstm.json").read_text())
    assert kept == {
        "i_pre = W_ii x + b_ii + W_hi h_prev + b_hi": {"tries": 1, "hints": 0, "ended": "right"},
        "i = sigmoid(i_pre)": {"tries": 0, "hints": 1},
    }
    assert quiz("gru", answers=["quit", "never read"])[1].endswith("Kept: scratchrnn quiz gru goes on here.\n")
    status, shown = quiz("lstm", answers=["?", "skip", *LSTM[2:]])
    assert "\n1 of 8   i_pre = W_ii x + b_ii + W_hi h_prev + b_hi\n\n2 of 8   i = ?\n" in shown
    assert "it has the shape i = sigmoid(_)\n" in shown
    assert (status, "7 of 8, 7 of them" in shown) == (1, True)


def test_restart_begins_with_the_first_line(quiz: Quiz, folder: Path) -> None:
    quiz("lstm", answers=LSTM[:3])
    assert "\n1 of 8   i_pre = ?\n" in quiz("lstm", "--restart", answers=[])[1]
    assert "\n1 of 8   i_pre = ?\n" in quiz("lstm", "--restart", answers=[LSTM[0]])[1]
    assert [*json.loads((folder / "lstm.json").read_text())] == ["i_pre = W_ii x + b_ii + W_hi h_prev + b_hi"]


def test_what_was_kept_is_gone_with_restart_even_if_nothing_is_answered(quiz: Quiz) -> None:
    quiz("lstm", answers=["skip", "skip", "skip", "quit"])
    assert "\n4 of 8   g = ?\n" in quiz("lstm", answers=["quit"])[1]
    assert "\n1 of 8   i_pre = ?\n" in quiz("lstm", "--restart", answers=["quit"])[1]
    assert "\n1 of 8   i_pre = ?\n" in quiz("lstm", answers=["quit"])[1]


def test_a_state_that_is_none_is_an_error_that_says_how_to_go_on(quiz: Quiz, folder: Path) -> None:
    folder.mkdir(parents=True)
    of_line = [
        '"hints": 7',
        '"hints": 3',
        '"hints": -1',
        '"hints": "1"',
        '"tries": -1',
        '"tries": null',
        '"ended": "so"',
    ]
    for content in ("{", "[]", '{"i": 3}', *(f'{{"i = sigmoid(i_pre)": {{{each}}}}}' for each in of_line)):
        (folder / "lstm.json").write_text(content)
        status, shown = quiz("lstm", answers=LSTM)
        assert (status, shown.count("lstm.json is no state of a quiz: --restart begins anew")) == (2, 1)
    assert quiz("lstm", "--restart", answers=LSTM)[0] == 0


def test_a_cell_of_ones_own_is_asked_for_and_a_changed_line_again(
    quiz: Quiz, here: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
import torch
from scratchrnn import Cell

def update(f, n, h_prev):
    f, n = torch.sigmoid(f), torch.tanh(n)
    return f * h_prev + (1 - f) * n

leaky = Cell("LEAKY", ("f", "n"), update)
"""
    (here / "own.py").write_text(source)
    status, shown = quiz("own.py:leaky", answers=["skip", "sigmoid(f_pre)", "tanh(n_pre)"])
    assert (status, os.listdir(folder)) == (1, ["own.py%3Aleaky.json"])
    monkeypatch.delitem(sys.modules, "own")
    (here / "own.py").write_text(source.replace("tanh", "relu"))
    status, shown = quiz("own.py:leaky", answers=["tanh(n_pre)", "relu(n_pre)", "n + f*(h_prev - n)"])
    assert "\n2 of 4   f = sigmoid(f_pre)\n\n3 of 4   n = ?\n" in shown
    assert "not yet: tanh stands where relu should, of `n_pre`\n" in shown
    assert "right: h = f * h_prev + (1 - f) * n\n" in shown
    monkeypatch.delitem(sys.modules, "own")


def test_a_cell_that_is_none_is_bad_usage(quiz: Quiz) -> None:
    status, shown = quiz("lstn", answers=[])
    assert (status, "CELL should be rnn, rnn_relu, lstm, gru, or of the form my.module:name" in shown) == (2, True)


@pytest.mark.parametrize("arguments", [[], ["--restart"]], ids=["", "restart"])
def test_where_no_state_can_be_kept_it_asks_all_the_same(
    arguments: list[str], quiz: Quiz, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert quiz("lstm", *arguments, answers=LSTM)[0] == 0
    status, shown = quiz("lstm", *arguments, answers=[LSTM[0]])
    assert status == 1
    assert "1 of 8   i_pre = ?" in shown
    assert "how far you come is not kept: [Errno " in shown
    assert "; set XDG_STATE_HOME to a folder that can be written to\n" in shown
    assert "Not kept: it begins with the first line again.\n" in shown
    assert "goes on here" not in shown


def test_the_state_is_where_the_platform_keeps_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert state_folder() == tmp_path / "scratchrnn" / "quiz"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")  # which the convention says to ignore
    monkeypatch.setenv("HOME", "/home/her")
    monkeypatch.setattr(sys, "platform", "linux")
    assert state_folder() == Path("/home/her/.local/state/scratchrnn/quiz")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert state_folder() == Path("/home/her/Library/Application Support/scratchrnn/quiz")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(ValueError, match="there is no home to keep the state in: set XDG_STATE_HOME to a folder"):
        state_folder()


# ------------------------------------------------------------------------------------------------ on a terminal


def on_a_terminal(typed: list[tuple[str, bytes]]) -> tuple[int, str]:
    """Type each of the bytes when the text before it is there; status and all that was shown."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    path = os.pathsep.join([str(Path(sr.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "TERM": "dumb"}
    command = [sys.executable, "-m", "scratchrnn", "quiz", "lstm"]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True, preexec_fn=_own
    )
    os.close(theirs)
    shown, deadline = "", time.monotonic() + 600
    try:
        for awaited, answer in [*typed, ("no such text", b"")]:
            while awaited not in shown:
                assert time.monotonic() < deadline, shown
                if not select.select([ours], [], [], 1)[0]:
                    continue
                try:
                    shown += os.read(ours, 4096).decode()
                except OSError:  # it has ended
                    return process.wait(timeout=300), shown.replace("\r\n", "\n")
            time.sleep(1)  # as a person: Python does not see a Ctrl-C that comes before it waits for a key
            os.write(ours, answer)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    raise AssertionError(shown)


def _own() -> None:
    """Make the terminal that of the new process, so that its Ctrl-C is a signal there."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_on_a_terminal_ctrl_c_and_ctrl_d_leave_what_was_answered(folder: Path) -> None:
    status, shown = on_a_terminal([("c_prev\r\n> ", f"{LSTM[0]}\n".encode()), ("o_pre\r\n> ", b"\x03")])
    assert (status, "right: i_pre = W_ii x" in shown) == (130, True)
    assert shown.endswith("Kept: scratchrnn quiz lstm goes on here.\ninterrupted\n")
    assert len(json.loads((folder / "lstm.json").read_text())) == 1
    status, shown = on_a_terminal([("o_pre\r\n> ", b"sigmoid(i_pre)\n"), ("o_pre, i\r\n> ", b"\x04")])
    assert "1 of 8   i_pre = W_ii x" in shown
    assert (status, shown.endswith("\nKept: scratchrnn quiz lstm goes on here.\n")) == (1, True)
    assert len(json.loads((folder / "lstm.json").read_text())) == 2
