"""`scratchrnn verify`: what it compares, prints, writes and returns."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from scratchrnn import cli, native
from scratchrnn.cli import verify as verify_command
from scratchrnn.layers.characters import Characters
from scratchrnn.parity import verify

torch.manual_seed(0)
FEW = [
    verify.Case("GRU", nn.GRU(4, 5), torch.float32),
    verify.Case("LSTM cell", nn.LSTMCell(4, 5), torch.float64, layout="step"),
]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two comparisons and six steps of training in the place of the whole table."""
    train = verify.train
    monkeypatch.setattr(verify, "cases", lambda quick: FEW)
    monkeypatch.setattr(verify, "train", lambda kind, characters, steps: train(kind, characters, steps=6))


def test_quick_verify_agrees_and_writes_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scratchrnn", "verify", "--quick", "--json", str(tmp_path / "out.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "" or not native.is_available()  # of which a warning tells
    lines = done.stdout.splitlines()
    comparisons = 22 if native.is_available() else 13  # the layers by both engines
    assert lines[0].startswith(f"{comparisons} comparisons on Alice's Adventures in Wonderland, ")
    assert sum(line.startswith("ok ") for line in lines) == comparisons + 3
    assert lines[-1].startswith("all agree: ")
    assert "\x1b" not in done.stdout
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["agrees"] is True
    assert [case["agrees"] for case in content["cases"]] == [True] * comparisons
    assert [len(t["ours"]) for t in content["trainings"]] == [30] * 3
    assert all(t["ours"][-1] < t["ours"][0] for t in content["trainings"])


def test_the_full_table_has_every_configuration() -> None:
    cases = list(verify.cases())
    titles = {case.title for case in cases}
    for kind in ("RNN tanh", "RNN relu", "LSTM", "GRU"):
        assert {f"{kind} cell", kind, f"{kind}, 3 layers, batch 128", f"{kind}, no bias"} <= titles
        assert {f"{kind}, both directions, unbatched", f"{kind}, 3 layers, batch-first"} <= titles
        assert f"{kind}, 3 layers, both directions, packed" in titles
    assert {"LSTM, projection, packed", "LSTM, 3 layers, both directions, projection"} <= titles
    assert {case.dtype for case in cases} == {torch.float64, torch.float32, torch.bfloat16}
    assert max(case.batch for case in cases) > 100


@pytest.mark.usefixtures("few")
def test_lines_show_case_dtype_tensor_and_curves(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("ok      GRU  ")
    assert "float32" in lines[2]
    assert "float64" in lines[3]
    assert re.fullmatch(r"ok      training RNN 32 -> 64, 6 steps of SGD: the losses agree to \d\.\de-\d\d", lines[4])
    assert lines[6].split()[1:] == lines[7].split()[1:]
    assert lines[-1].startswith("all agree: ")
    assert " in 2 comparisons, and 3 models train to the same losses; the nearest to its bound, " in lines[-1]


@pytest.mark.usefixtures("few")
def test_text_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("naïve café " * 100, encoding="utf-8")
    assert cli.main(["verify", "--text", str(tmp_path / "a.txt")]) == 0
    assert f"2 comparisons on {tmp_path / 'a.txt'}, 1,100 characters" in capsys.readouterr().out


def test_curves_that_part_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    training = verify.Training("GRU", [4.0, 3.0, 2.0, 1.5, 1.4], [4.0, 3.00003, 2.0002, 1.5, 1.4])
    assert training.parted == 2
    line = str(verify_command._training_lines(training)[0])
    assert line == "DIFFERS training GRU, 5 steps of SGD: the losses part at step 3"
    assert verify.Training("GRU", [float("nan")], [1.0]).parted == 0


def test_checkpoint_is_verified_with_its_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": {"lstm." + k: v for k, v in nn.LSTM(6, 7, 2).state_dict().items()}}, tmp_path / "c.pt")
    assert cli.main(["verify", "--checkpoint", str(tmp_path / "c.pt")]) == 0
    out = capsys.readouterr().out
    assert "ok      model.lstm: LSTM(6, 7, num_layers=2)" in out
    assert "training" not in out
    model = nn.ModuleDict({"gru": nn.GRU(6, 7, 2, batch_first=True, dropout=0.5), "cell": nn.RNNCell(3, 4)})
    torch.save(model, tmp_path / "whole.pt")
    assert cli.main(["verify", "--checkpoint", str(tmp_path / "whole.pt"), "--trust"]) == 0
    out = capsys.readouterr().out
    assert "ok      gru: GRU(6, 7, num_layers=2, " in out
    assert "ok      cell: RNNCell(3, 4)" in out


def strict(path: Path) -> Any:
    """JSON as parsers read it that know no NaN."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def checkpoint(path: Path, *fills: tuple[str, Any, float]) -> Path:
    """A GRU of two layers, some of its numbers replaced."""
    weights = nn.GRU(3, 4, 2).state_dict()
    for name, index, value in fills:
        weights[name][index] = value
    torch.save(weights, path)
    return path


def test_of_a_network_of_nans_there_is_nothing_to_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = [(name, ..., float("nan")) for name in nn.GRU(3, 4, 2).state_dict()]
    path, out = checkpoint(tmp_path / "nan.pt", *every), tmp_path / "out.json"
    assert cli.main(["verify", "--checkpoint", str(path), "--json", str(out)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("NOTHING GRU: GRU(3, 4, num_layers=2) ")
    note = (
        "weights that are not finite: weight_ih_l0 (36 of 36 numbers), weight_hh_l0 (48 of 48 numbers), "
        "bias_ih_l0 (12 of 12 numbers) and 5 more"
    )
    assert lines[3].strip() == note
    assert lines[-2].strip().startswith("nothing to compare: none of the ")
    assert lines[-1] == "nothing to compare in 1 of 1: GRU: GRU(3, 4, num_layers=2)"
    content = strict(out)
    assert content["agrees"] is False
    (case,) = content["cases"]
    assert case["verdict"].startswith("nothing to compare: ")
    assert case["notes"] == [note]
    output = case["tensors"][0]
    assert output["ours"] is None
    assert output["not_finite"] == {"ours": "nan", "theirs": "nan", "reference": "nan"}


@pytest.mark.parametrize(
    ("fills", "note"),
    [
        ([("weight_ih_l1", (0, 0), float("nan"))], "weights that are not finite: weight_ih_l1 (1 of 48 numbers)"),
        ([("weight_hh_l0", (0, 0), float("-inf"))], "weights that are not finite: weight_hh_l0 (1 of 48 numbers)"),
        ([(name, ..., 0.0) for name in nn.GRU(3, 4, 2).state_dict()], "all weights are 0, as in no trained network"),
    ],
)
def test_weights_that_show_little_are_said(
    fills: list[tuple[str, Any, float]], note: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = checkpoint(tmp_path / "c.pt", *fills), tmp_path / "out.json"
    assert cli.main(["verify", "--checkpoint", str(path), "--json", str(out)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[3] == note
    assert any(line.startswith("all agree, in the ") for line in lines) == ("finite" in note)
    assert lines[-1].startswith("all agree: ")
    assert strict(out)["cases"][0]["notes"] == [note]


def test_losses_that_are_no_numbers_are_null_in_json() -> None:
    content = verify.Training("GRU", [1.0, float("nan")], [1.0, 2.0]).to_dict()
    assert content["ours"] == [1.0, None]
    assert content["not_finite"] == {"ours[1]": "nan"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "nowhere.txt"], "scratchrnn verify: [Errno 2] No such file or directory: 'nowhere.txt'"),
        (["--text", "short.txt"], "scratchrnn verify: text should have at least 1000 characters, short.txt has 5"),
        (["--text", "latin.txt"], "scratchrnn verify: text should be a UTF-8 file, but latin.txt is not: "),
        (["--checkpoint", "nowhere.pt"], "scratchrnn verify: [Errno 2] No such file or directory: 'nowhere.pt'"),
        (["--checkpoint", "short.txt"], "scratchrnn verify: cannot load short.txt: "),
        (["--trust"], "scratchrnn verify: --trust goes with --checkpoint"),
        (["--quick", "--checkpoint", "x.pt"], "scratchrnn verify: --quick does not go with --checkpoint"),
        (
            ["--quick", "--json", "no/where.json"],
            "scratchrnn verify: [Errno 2] No such file or directory: 'no/where.json'",
        ),
    ],
)
def test_bad_usage_exits_2_and_says_why(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("short.txt").write_text("short")
    Path("latin.txt").write_bytes(b"caf\xe9 " * 300)
    assert cli.main(["verify", *arguments]) == 2
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.usefixtures("few")
def test_what_is_no_difference_has_an_exit_status_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(error: BaseException) -> None:
        def run(*_: object) -> None:
            raise error

        monkeypatch.setattr(verify.Case, "run", run)

    stop(KeyboardInterrupt())
    assert cli.main(["verify"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    stop(ZeroDivisionError("by zero"))
    assert cli.main(["verify"]) == 3
    assert "ZeroDivisionError: by zero" in capsys.readouterr().err


def test_a_closed_pipe_is_no_difference() -> None:
    command = f"{sys.executable} -m scratchrnn verify --quick | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=600)
    assert done.returncode == 141
    assert done.stderr == ""
    assert re.match("(22|13) comparisons", done.stdout)  # with a C compiler, by both engines


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_a_line_fits_its_terminal(width: int) -> None:
    title = "a checkpoint with a name: LSTM(40, 256, num_layers=3, batch_first=True, bidirectional=True)"
    case = verify.Case(title, nn.GRU(4, 5), torch.float32)
    report = case.run(Characters("banana" * 200))
    (line,) = verify_command._case_lines(case, report, width)
    assert len(line) == len(verify_command._header(width)) <= width
    assert ("torch.nn" in verify_command._header(width)) == (width > 110)


def test_a_bar_is_shown_on_a_terminal_only(
    few: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert cli.main(["verify"]) == 0
    assert "━" in capsys.readouterr().out
    monkeypatch.delenv("FORCE_COLOR")
    assert cli.main(["verify"]) == 0
    assert "━" not in capsys.readouterr().out


@pytest.mark.parametrize("terminal", [False, True])
def test_brackets_and_colons_in_names_are_shown_as_they_are(
    terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
    torch.save({"[bold]a[/x] :100:": nn.GRU(3, 4).state_dict()}, "file.pt")
    Path("[red]").mkdir()
    Path("[red]/a.txt").write_text("banana " * 200)
    assert cli.main(["verify", "--checkpoint", "file.pt", "--text", "[red]/a.txt"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("1 comparison on [red]/a.txt, 1,400 characters")
    assert shown.count("[bold]a[/x] :100:: GRU(3, 4)") >= 2
    assert ("\x1b[32mok" in shown) == terminal
