"""What `scratchrnn explore` reads: a layer and an embedding out of a file, a text as tokens, a model that it trains."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from running import close
from torch import Tensor, nn

import scratchrnn as sr
from scratchrnn import cli
from scratchrnn.cli import explore as explore_command
from scratchrnn.layers.characters import read_text
from scratchrnn.traces import reading as explore
from scratchrnn.traces.page.page import page

LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]


class Speller(nn.Module):
    """An encoder and a decoder with an embedding each."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"emb": nn.Embedding(29, 5), "gru": nn.GRU(5, 6, batch_first=True)})
        self.decoder = nn.ModuleDict({"emb": nn.Embedding(40, 5), "gru": nn.GRU(5, 6)})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def speller(here: Path) -> Speller:
    model = Speller()
    torch.save(model.state_dict(), "speller.pt")
    vocabulary("letters.txt", LETTERS)
    return model


def vocabulary(path: str, tokens: list[str]) -> None:
    Path(path).write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")


def saved(content: dict[str, Tensor], path: str = "file.pt") -> str:
    torch.save(content, path)
    return path


def prefixed(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": weight for name, weight in module.state_dict().items()}


# ---------------------------------------------------------------------------------------------- a checkpoint


def test_each_word_is_read_by_itself_from_a_zero_state(speller: Speller) -> None:
    reading = explore.load_reading("speller.pt", "cat owl\nat", "encoder.gru", "letters.txt")
    assert reading.sequences == [[*"cat", "</s>"], [*"owl", "</s>"], [*"at", "</s>"]]
    assert reading.name == "encoder.gru of speller.pt"
    record = reading.trace().layer(0)
    for b, word in enumerate(reading.sequences):
        ids = torch.tensor([[LETTERS.index(letter) for letter in word]])
        expected, _ = speller.encoder["gru"](speller.encoder["emb"](ids))
        close(record.h[: len(word), b], expected[0].detach(), rtol=1e-5, atol=1e-6)
        close(record.r_pre, record.r_x + record.r_h, rtol=1e-5, atol=1e-6)


def test_the_embedding_is_the_one_beside_the_layer_or_the_one_named(speller: Speller) -> None:
    near = explore.load_reading("speller.pt", "a", "encoder.gru", "letters.txt")
    assert torch.equal(near.vectors(["c"])[0], speller.encoder["emb"].weight[5])
    vocabulary("forty.txt", [chr(ord("a") + k) for k in range(40)])
    named = explore.load_reading("speller.pt", "c", "encoder.gru", "forty.txt", "decoder.emb.weight")
    assert torch.equal(named.vectors(["c"])[0], speller.decoder["emb"].weight[2])


def test_what_the_vocabulary_lacks_is_unknown_and_said(speller: Speller) -> None:
    reading = explore.load_reading("speller.pt", "Ça va?", "encoder.gru", "letters.txt")
    assert reading.notes == ("Not in the vocabulary, read as <unk>: 'Ç', '?'.",)
    assert torch.equal(reading.vectors(["Ç"])[0], speller.encoder["emb"].weight[1])


@pytest.mark.parametrize(
    ("tokens", "text", "sequences"),
    [
        ([*"ab ", r"\n"], "a b\nba", [["a", " ", "b", "\n", "b", "a"]]),
        ([*"ab "], "a b\nba", [["a", " ", "b"], ["b", "a"]]),
        (["<unk>", "the", "cat", "sat"], "the cat\nsat down", [["the", "cat", "sat", "down"]]),
        (["<unk>", "the", "cat", "</s>"], "the cat\n\nthe", [["the", "cat", "</s>"], ["the", "</s>"]]),
        (["[PAD]", *"ab"], "ab", [["a", "b"]]),
    ],
)
def test_characters_and_words(here: Path, tokens: list[str], text: str, sequences: list[list[str]]) -> None:
    vocabulary("tokens.txt", tokens)
    path = saved(prefixed("lm.rnn", nn.LSTM(3, 4)) | {"lm.Embedding.weight": torch.randn(len(tokens), 3)})
    assert explore.load_reading(path, text, vocabulary="tokens.txt").sequences == sequences


@pytest.mark.parametrize("tokens", ["\nab", "a\nb", "ab\n", "\n"])
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_line_break_may_stand_in_a_vocabulary_as_it_is(here: Path, tokens: str, end: str) -> None:
    Path("tokens.txt").write_text("\n".join(tokens) + end)  # as a program writes sorted(set(text))
    weights = torch.randn(len(tokens), 3)
    path = saved(prefixed("lm.rnn", nn.LSTM(3, 4)) | {"lm.emb.weight": weights})
    reading = explore.load_reading(path, f"{tokens}\n", vocabulary="tokens.txt")
    assert reading.sequences == [[*tokens, "\n"]]
    assert torch.equal(reading.vectors(["\n"])[0], weights[tokens.index("\n")])


def test_the_help_says_how_a_line_break_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["explore", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert r"one a line, a line break as \n, a tab as \t, or as they are" in shown


def test_without_an_embedding_characters_are_random_vectors(here: Path) -> None:
    path = saved(nn.LSTM(40, 4, dtype=torch.float64).state_dict())
    reading = explore.load_reading(path, "abca")
    assert reading.sequences == [["a", "b", "c", "a"]]
    assert "no embedding for this layer: each character enters as a random vector" in reading.notes[0]
    vectors = reading.vectors(["a", "b", "c", "a"])
    assert vectors.shape == (4, 40)
    assert vectors.dtype == torch.float64
    assert torch.equal(vectors[0], vectors[3])
    assert not torch.equal(vectors[0], vectors[1])
    assert reading.trace().layer(0).h.shape == (4, 1, 4)


@pytest.mark.parametrize(
    "cell", [nn.RNNCell(3, 4, nonlinearity="relu"), nn.LSTMCell(3, 4, bias=False), nn.GRUCell(3, 4)]
)
def test_a_cell_takes_its_steps_one_after_another(here: Path, cell: Any) -> None:
    torch.save(nn.ModuleDict({"cell": cell}).state_dict(), "cell.pt")
    layer = "cell as relu" if isinstance(cell, nn.RNNCell) else None
    reading = explore.load_reading("cell.pt", "abc", layer)
    state = None
    for t, x in enumerate(reading.vectors(list("abc"))):
        state = cell(x, state)
        h = state[0] if isinstance(state, tuple) else state
        close(reading.trace().layer(0).h[t, 0], h.detach(), rtol=1e-5, atol=1e-6)


def test_the_first_tokens_are_those_of_the_first_sequences(speller: Speller) -> None:
    reading = explore.load_reading("speller.pt", "cat owl at", "encoder.gru", "letters.txt")
    assert reading.first(6).sequences == [[*"cat", "</s>"], ["o", "w"]]
    assert reading.first(4).sequences == [[*"cat", "</s>"]]
    assert reading.first(99).sequences == reading.sequences


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "speller.pt holds several layers, choose by --layer NAME: encoder.gru, decoder.gru"),
        ({"layer": "gru"}, "--layer should be one of encoder.gru, decoder.gru; got 'gru'"),
        (
            {"layer": "encoder.gru"},
            "encoder.emb.weight has 29 rows: give their tokens, one a line, as --vocabulary FILE",
        ),
        (
            {"layer": "decoder.gru", "vocabulary": "letters.txt"},
            "--vocabulary should have a line for each of the 40 rows of decoder.emb.weight, a line break in a token as "
            r"\n, got 29",
        ),
        (
            {"layer": "encoder.gru", "vocabulary": "letters.txt", "embedding": "emb"},
            "--embedding should be one of encoder.emb.weight, decoder.emb.weight; got 'emb'",
        ),
        (
            {"layer": "encoder.gru", "vocabulary": "twice.txt"},
            "--vocabulary should have each token once, twice.txt has 'a' twice",
        ),
        (
            {"layer": "encoder.gru", "vocabulary": "known.txt"},
            "known.txt has no <unk> and lacks 'Z', '!', which the text",
        ),
        ({"layer": "encoder.gru", "vocabulary": "latin.txt"}, "text should be a UTF-8 file, but latin.txt is not"),
    ],
)
def test_what_does_not_fit_the_file_is_named(speller: Speller, options: dict[str, Any], message: str) -> None:
    vocabulary("twice.txt", ["a", *"abcdefghijklmnopqrstuvwxyz", "1", "2"])
    vocabulary("known.txt", [*"abcdefghijklmnopqrstuvwxyz123"])
    Path("latin.txt").write_bytes("é\n".encode("latin-1"))
    with pytest.raises(ValueError, match=re.escape(message)):
        explore.load_reading("speller.pt", "Za!", **options)


def test_several_embeddings_at_the_same_distance_are_a_question(here: Path) -> None:
    embeddings = {"enc.emb_a": torch.randn(2, 3), "enc.emb_b": torch.randn(2, 3), "dec.emb": torch.randn(2, 3)}
    path = saved(prefixed("enc.gru", nn.GRU(3, 4)) | embeddings)
    with pytest.raises(ValueError, match=r"several embeddings fit, choose by --embedding NAME: enc\.emb_a, enc\.emb_b"):
        explore.load_reading(path, "ab")


def test_the_weights_of_a_layer_are_no_embedding(here: Path) -> None:
    path = saved(prefixed("speaker_embedder.lstm", nn.LSTM(3, 4)))
    assert "no embedding for this layer" in explore.load_reading(path, "ab").notes[0]


def test_a_vocabulary_without_an_embedding_is_refused(here: Path) -> None:
    path = saved(nn.GRU(3, 4).state_dict())
    with pytest.raises(ValueError, match=r"--vocabulary goes with an embedding, and file\.pt has none of width 3"):
        explore.load_reading(path, "ab", vocabulary="letters.txt")


# ---------------------------------------------------------------------------------------- a model of our own


@pytest.mark.parametrize(("kind", "layer"), [("lstm", sr.LSTM), ("gru", sr.GRU), ("rnn", sr.RNN)])
def test_a_model_learns_and_reads(kind: str, layer: type[nn.Module]) -> None:
    losses: list[float] = []
    learnt = "to be, or not to be; " * 60
    reading = explore.train_reading(kind, learnt, "not to be", 25, lambda step, loss: losses.append(loss))
    assert isinstance(reading.layer, layer)
    assert reading.name == f"{kind.upper()} trained to predict the next character"
    assert len(losses) == 25
    assert losses[-1] < 0.5 * losses[0]
    assert reading.tokens == list("not to be")
    record = reading.trace().layer(0)
    assert record.h.shape == (9, 1, 64)
    output, _ = reading.layer(reading.vectors(reading.tokens).unsqueeze(0))
    close(record.h[:, 0], output[0].detach(), rtol=1e-4, atol=1e-5)


def test_characters_that_were_not_learnt_are_named_before_the_training() -> None:
    with pytest.raises(ValueError, match="the text to train on lacks 'c', 'd', which the text to explore has"):
        explore.train_reading("lstm", "ab" * 600, "acdc", 10**9)


def test_the_passage_is_the_one_with_most_brackets_and_quotes() -> None:
    text = "plain words\n\nf(x) = [1]\n\n'a b'"
    assert explore.passage(text, 10) == "f(x) = [1]"
    assert len(explore.passage(read_text(), 120)) == 120


# ----------------------------------------------------------------------------------------------- the command


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
        r"GRU\(32, 64, batch_first=True\): 3 steps of Adam on long.txt, loss \d\.\d+ to \d\.\d+", lines[2]
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
    monkeypatch.setattr(explore_command, "_STEPS", 2)
    assert cli.main(["explore", "--tokens", "5"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    how = "about half a minute; fewer with --steps"
    assert first == f"training LSTM(32, 64) for 2 steps on Python's help texts, {how}"


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
    Path("page.html").write_text(page({"": trace}, reading.tokens))
    tensors = data_of("page.html")["layers"][0]["tensors"]
    for name, expected in trace.layer(0).tensors.items():
        found = torch.frombuffer(bytearray(base64.b64decode(tensors[name]["data"])), dtype=torch.float32)
        assert torch.equal(found.view(expected.shape), expected)
