"""The `scratchrnn` command: its help, its version, and what becomes of it when it is interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import scratchrnn as sr
from scratchrnn import cli


@pytest.mark.parametrize("arguments", [["nothing"], ["verify", "--what"]])
def test_an_unknown_command_or_option_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "usage: scratchrnn" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "meant"), [("explian", "; did you mean explain?"), ("verfy", "; did you mean verify?"), ("train", "")]
)
def test_a_command_written_almost_right_is_guessed(word: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main([word, "lstm"])
    assert stopped.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    commands = "verify, diagnose, bench, explain, quiz, explore or doctor"
    assert last == f"scratchrnn: error: COMMAND should be {commands}, got '{word}'{meant}"


def test_without_arguments_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "COMMAND" in capsys.readouterr().err


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"scratchrnn {sr.__version__}\n"


SCRIPT = """
import argparse
import scratchrnn as sr
parser = argparse.ArgumentParser()
parser.add_argument("--size", type=int, default=3)
print(parser.parse_args().size)
mine = sr.Cell("MINE", ("f",), lambda f, h_prev: ((f.tanh(),), ()))
"""


@pytest.mark.parametrize("command", [["explain"], ["quiz"], ["doctor"], ["bench", "--subject"]], ids=lambda c: c[0])
def test_a_file_that_leaves_cannot_be_imported(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(0)\n")
    assert cli.main([*command, "leaves.py:mine"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(" 'leaves.py:mine' cannot be imported: SystemExit: 0, in <module> (leaves.py:2)\n")


def test_a_file_that_reads_a_command_line_is_not_given_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", ["scratchrnn", "doctor", "script_of_mine.py:mine"])
    (tmp_path / "script_of_mine.py").write_text(SCRIPT)
    assert cli.main() in (0, 1)
    assert capsys.readouterr().out.startswith("3\n")
    assert sys.argv == ["scratchrnn", "doctor", "script_of_mine.py:mine"]
    monkeypatch.delitem(sys.modules, "script_of_mine")


def test_a_cell_that_leaves_is_no_closed_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli.main.__globals__["explain"], "run", lambda options, console: sys.exit(3))
    assert cli.main(["explain", "lstm"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("scratchrnn explain: what it runs left the interpreter: SystemExit: 3, in <lambda> (")


def interrupted(start: str, moment: str, arguments: list[str], tmp_path: Path) -> tuple[int, list[str], list[str]]:
    """Send SIGINT as soon as `moment` is seen, the import of a module or a line of output; status and both outputs."""
    script = tmp_path / "bin" / "scratchrnn"  # as pip writes it
    script.parent.mkdir()
    script.write_text("import sys\nfrom scratchrnn.cli import main\nsys.exit(main())\n")
    started = ["-m", "scratchrnn"] if start == "module" else [str(script)]
    command = [sys.executable, "-u", "-X", "importtime", *started, *arguments]
    path = os.pathsep.join([str(Path(sr.__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=err, env=os.environ | {"PYTHONPATH": path})
    try:
        while not any(re.search(moment, (tmp_path / name).read_text()) for name in ("out", "err")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        status = process.wait(timeout=600)
        if status == -signal.SIGINT:  # what Python makes of it where the signal came within an exec, as of a namedtuple
            status = 128 + signal.SIGINT  # and what a shell makes of that
    finally:
        process.kill()
    lines = (tmp_path / "err").read_text().splitlines()
    return status, (tmp_path / "out").read_text().splitlines(), [x for x in lines if not x.startswith("import time:")]


@pytest.mark.parametrize(
    ("start", "module"),
    [
        ("module", "scratchrnn.interruption"),
        ("module", "torch.nn"),
        ("module", "scratchrnn.layers.one_step"),
        ("script", "torch.types"),
    ],
)
def test_an_interrupted_start_is_one_line(start: str, module: str, tmp_path: Path) -> None:
    moment = rf"\| +{re.escape(module)}\n"
    assert interrupted(start, moment, ["explain", "lstm"], tmp_path) == (130, [], ["interrupted"])


@pytest.mark.parametrize(
    ("arguments", "moment", "there"),
    [
        (["verify", "--json", "file"], r"\| +scratchrnn\.cli\n", False),
        (["verify", "--json", "file"], "ok ", False),
        (["verify", "--json", "file"], "ok ", True),
        (["bench", "--json", "file", "--threads", "1"], "1 thread", False),
        (["explore", "-o", "file"], "training", True),
    ],
)
def test_an_interrupted_command_is_one_line_and_leaves_files_as_they_were(
    arguments: list[str], moment: str, there: bool, tmp_path: Path
) -> None:
    if there:
        (tmp_path / "file").write_text("older")
    status, _, err = interrupted("module", moment, arguments, tmp_path)
    assert (status, err) == (130, ["interrupted"])
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "out", "err"} | ({"file"} if there else set())
    assert not there or (tmp_path / "file").read_text() == "older"


def test_a_program_that_imports_the_package_keeps_its_own_answer_to_ctrl_c() -> None:
    code = "import signal, scratchrnn; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout == "True\n"


def test_a_program_without_arguments_may_import_the_package() -> None:
    code = "import sys; sys.argv = []; import scratchrnn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_names_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["--help"], ["verify", "compare every cell and layer"]),
        (
            ["verify", "--help"],
            ["--text FILE", "--quick", "--checkpoint FILE", "--trust", "--json FILE", "Exit status: 0"],
        ),
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert stopped.value.code == 0
        shown = capsys.readouterr().out
        assert all(word in shown for word in words)


def test_without_rich_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert cli.main(["verify", "--quick"]) == 2
    assert capsys.readouterr().err == "scratchrnn: the command needs rich: pip install 'scratchrnn[cli]'\n"
