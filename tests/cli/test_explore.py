"""`scratchrnn explore`: the page that it writes, what it says, its options and errors."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from speller import LETTERS, Speller, vocabulary
from torch import Tensor

from scratchrnn import cli
from scratchrnn.traces import training
from scratchrnn.traces.page.packing import STEPS
from scratchrnn.traces.page.page import page
from scratchrnn.traces.reading import load_reading

pytestmark = pytest.mark.usefixtures("models")


def test_the_help_says_how_a_line_break_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["explore", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert r"one a line, a line break as \n, a tab as \t, or as they are" in shown


def data_of(path: str) -> dict[str, Any]:
    script = re.search(r'<script type="application/json" id="data">(.*?)</script>', Path(path).read_text(), re.DOTALL)
    assert script
    return json.loads(script[1])


def test_a_checkpoint_becomes_a_page(speller: Speller, capsys: pytest.CaptureFixture[str]) -> None:
    Path("words.txt").write_text("Cat owl")
    options = ["--checkpoint", "speller.pt", "--layer", "encoder.gru", "--vocabulary", "letters.txt"]
    assert cli.main(["explore", *options, "--text", "words.txt", "-o", "my page.html", "--tokens", "6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "the first 6 of 8 tokens: more with --tokens"
    assert lines[1] == "Not in the vocabulary, read as <unk>: 'C'."
    assert re.fullmatch(r"my page\.html, 0\.\d MiB: open it in a browser, file:///.*/my%20page\.html", lines[2])
    data = data_of("my page.html")
    assert data["title"] == "encoder.gru of speller.pt, over 6 tokens"
    assert data["tokens"] == ["C", "a", "t", "</s>", "o", "w"]
    assert data["notes"] == [lines[1]]
    assert data["layers"][0]["lengths"] == [4, 2]


def test_without_a_checkpoint_a_model_is_trained_on_the_text_and_kept(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("long.txt").write_text("(to be), or not [to be]; " * 60)
    options = ["--text", "long.txt", "--cell", "gru", "--steps", "3", "--tokens", "11"]
    assert cli.main(["explore", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "training GRU(32, 100) for 3 steps on long.txt"
    assert lines[1] == "the first 11 of 1,500 tokens: more with --tokens"
    assert re.fullmatch(
        r"scratchrnn\.GRU\(32, 100, batch_first=True\): 3 steps of Adam on long.txt, loss \d\.\d+ to \d\.\d+", lines[2]
    )
    first = data_of("page.html")
    assert first["notes"] == [lines[2]]
    assert first["tokens"] == list("(to be), or")
    assert first["layers"][0]["cell"] == "GRU"
    assert first["layers"][0]["readout"]["vocabulary"] == sorted(set("(to be), or not [to be]; "))
    assert cli.main(["explore", *options]) == 0
    again = capsys.readouterr().out.splitlines()
    assert again[0] == "GRU(32, 100), trained on long.txt for 3 steps and kept: anew with --retrain"
    assert again[1:3] == lines[1:3]
    assert data_of("page.html") == first
    assert cli.main(["explore", *options, "--retrain"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == lines[0]


def test_several_cells_stand_side_by_side(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explore", "--cell", "lstm", "gru", "lstm", "--steps", "1", "--tokens", "30"]) == 0
    out = capsys.readouterr().out
    assert out.count("training ") == 2
    data = data_of("page.html")
    assert [layer["cell"] for layer in data["layers"]] == ["LSTM", "GRU"]
    names = [f"{kind} trained to predict the next character" for kind in ("LSTM", "GRU")]
    assert [layer["trace"] for layer in data["layers"]] == names
    assert len(data["notes"]) == 2
    assert all("readout" in layer for layer in data["layers"])


def test_a_short_text_is_read_by_a_model_of_the_tale(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("short.txt").write_text("“Off with her head!”")
    assert cli.main(["explore", "--text", "short.txt", "--steps", "1"]) == 0
    assert "1 steps of Adam on Alice's Adventures in Wonderland, loss" in capsys.readouterr().out
    assert data_of("page.html")["tokens"] == list("“Off with her head!”")
    assert data_of("page.html")["spans"] == [["between “ and ”", [[0, 18]]]]
    assert cli.main(["explore", "--steps", "1", "--tokens", "50"]) == 0
    assert len(data_of("page.html")["tokens"]) == 50


def test_how_long_the_usual_training_takes_is_said_before_it(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", interrupted)
    assert cli.main(["explore", "--tokens", "5"]) == 130
    said = r"training LSTM\(32, 100\) for \d+ steps on Alice's .*, about half a minute; fewer with --steps\n"
    assert re.fullmatch(said, capsys.readouterr().out)


def test_while_it_trains_a_bar_has_the_loss_on_a_terminal_only(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for terminal in (True, False):
        monkeypatch.setenv("FORCE_COLOR", "1" if terminal else "")
        assert cli.main(["explore", "--retrain", "--steps", "2", "--tokens", "5"]) == 0
        out = capsys.readouterr().out
        shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", out)
        last = re.findall(r"loss \d\.\d+ to (\d\.\d+)", shown)[0]
        assert bool(re.search(rf"━ 2/2 \S+ loss {last}", shown)) == ("━" in shown) == terminal


@pytest.mark.parametrize("there", [False, True])
def test_no_empty_page_stays_behind_an_error(speller: Speller, there: bool) -> None:
    if there:
        Path("page.html").write_text("older")
    assert cli.main(["explore", "--checkpoint", "speller.pt", "--layer", "none"]) == 2
    assert Path("page.html").exists() == there
    assert not there or Path("page.html").read_text() == "older"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layer", "x"], "--layer goes with --checkpoint"),
        (["--vocabulary", "x"], "--vocabulary goes with --checkpoint"),
        (["--embedding", "x"], "--embedding goes with --checkpoint"),
        (["--trust"], "--trust goes with --checkpoint"),
        (["--checkpoint", "speller.pt", "--cell", "gru"], "--cell does not go with --checkpoint"),
        (["--checkpoint", "speller.pt", "--steps", "5"], "--steps does not go with --checkpoint"),
        (["--checkpoint", "speller.pt", "--retrain"], "--retrain does not go with --checkpoint"),
        (["--tokens", "0"], "--tokens should be at least 1, got 0"),
        (["--steps", "-1"], "--steps should be at least 1, got -1"),
        (["--text", "empty.txt"], "text should have at least 1 characters, empty.txt has 0"),
        (
            [
                "--text",
                "blank.txt",
                "--checkpoint",
                "speller.pt",
                "--layer",
                "encoder.gru",
                "--vocabulary",
                "letters.txt",
            ],
            "the text to explore has no tokens",
        ),
        (["--text", "nowhere.txt"], "No such file or directory: 'nowhere.txt'"),
        (
            ["--text", "greek.txt"],
            "greek.txt has 'λ', which the text to train on (Alice's Adventures in Wonderland) lacks; "
            "a FILE of at least 1000 characters is itself trained on",
        ),
        (["-o", "nowhere/page.html"], "No such file or directory: 'nowhere/page.html'"),
        (["--checkpoint", "nowhere.pt"], "No such file or directory: 'nowhere.pt'"),
    ],
)
def test_bad_usage_is_said_in_one_line(
    speller: Speller, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    Path("empty.txt").write_text("")
    Path("blank.txt").write_text(" \n ")
    Path("greek.txt").write_text("λ")
    assert cli.main(["explore", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("scratchrnn explore: ")
    assert error.endswith(f"{message}\n")


def test_a_whole_model_is_loaded_where_it_is_trusted(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(Speller(), "whole.pt")
    vocabulary("letters.txt", LETTERS)
    Path("word.txt").write_text("owl")
    options = [
        "--checkpoint",
        "whole.pt",
        "--layer",
        "encoder.gru",
        "--vocabulary",
        "letters.txt",
        "--text",
        "word.txt",
    ]
    assert cli.main(["explore", *options]) == 2
    assert "load it with --trust" in capsys.readouterr().err
    assert cli.main(["explore", *options, "--trust"]) == 0
    assert data_of("page.html")["tokens"] == [*"owl", "</s>"]


def test_the_page_holds_every_number_of_the_trace(speller: Speller) -> None:
    reading = load_reading("speller.pt", "cat", "encoder.gru", "letters.txt")
    trace = reading.trace()
    Path("page.html").write_text(page({"": {"": trace.records}}, reading.tokens))
    tensors = data_of("page.html")["layers"][0]["tensors"]

    def unpacked(found: dict[str, Any]) -> Tensor:
        units = found["units"]
        low, step = (
            torch.frombuffer(bytearray(base64.b64decode(found[key])), dtype=torch.float32) for key in ("low", "step")
        )
        codes = np.frombuffer(base64.b64decode(found["codes"]), dtype="<u2").astype("int64")
        return low.double() + torch.from_numpy(codes).view(-1, units) * step.double()

    record = trace.layer(0)
    for name, expected in record.tensors.items():
        rows = expected[:, 0].double()
        if "sum" in tensors[name]:
            shown = sum(unpacked(tensors[term]) for term in tensors[name]["sum"])
        elif "before" in tensors[name]:
            shown = torch.cat([unpacked(tensors[name]["starts"]), unpacked(tensors[tensors[name]["before"]])[:-1]])
        else:
            shown = unpacked(tensors[name])
        half = 0.5 * (rows.amax(0) - rows.amin(0)) / STEPS
        assert ((shown - rows).abs() <= 2.1 * half + 1e-6).all(), name
    assert sum("codes" in t for t in tensors.values()) == len(tensors) - 3  # h_prev, r_pre and z_pre follow
