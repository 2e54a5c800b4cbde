"""`scratchrnn explore`: the page that it writes, what it says, its options and errors."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from speller import LETTERS, Speller, vocabulary

from scratchrnn import cli
from scratchrnn.traces import reading as explore
from scratchrnn.traces.page.page import page


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


def test_without_a_checkpoint_a_model_is_trained_on_the_text(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("long.txt").write_text("(to be), or not [to be]; " * 60)
    options = ["--text", "long.txt", "--cell", "gru", "--steps", "3", "--tokens", "11"]
    assert cli.main(["explore", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "training GRU(32, 64) for 3 steps on long.txt"
    assert lines[1] == "the first 11 of 1,500 tokens: more with --tokens"
    assert re.fullmatch(
        r"scratchrnn\.GRU\(32, 64, batch_first=True\): 3 steps of Adam on long.txt, loss \d\.\d+ to \d\.\d+", lines[2]
    )
    data = data_of("page.html")
    assert data["notes"] == [lines[2]]
    assert data["tokens"] == list("(to be), or")
    assert data["layers"][0]["cell"] == "GRU"


def test_a_short_text_is_read_by_a_model_of_the_help_texts(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("short.txt").write_text("print([1])")
    assert cli.main(["explore", "--text", "short.txt", "--steps", "1"]) == 0
    assert "1 steps of Adam on Python's help texts" in capsys.readouterr().out
    assert data_of("page.html")["tokens"] == list("print([1])")
    assert cli.main(["explore", "--steps", "1", "--tokens", "50"]) == 0
    assert len(data_of("page.html")["tokens"]) == 50


def test_how_long_the_usual_training_takes_is_said_before_it(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(explore, "train_reading", interrupted)
    assert cli.main(["explore", "--tokens", "5"]) == 130
    said = r"training LSTM\(32, 64\) for \d+ steps on Python's help texts, about half a minute; fewer with --steps\n"
    assert re.fullmatch(said, capsys.readouterr().out)


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
            "greek.txt has 'λ', which the text to train on (Python's help texts) lacks; "
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
    reading = explore.load_reading("speller.pt", "cat", "encoder.gru", "letters.txt")
    trace = reading.trace()
    Path("page.html").write_text(page({"": trace.records}, reading.tokens))
    tensors = data_of("page.html")["layers"][0]["tensors"]
    for name, expected in trace.layer(0).tensors.items():
        found = torch.frombuffer(bytearray(base64.b64decode(tensors[name]["data"])), dtype=torch.float32)
        assert torch.equal(found.view(expected.shape), expected)
