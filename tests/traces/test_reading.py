"""What `scratchrnn explore` reads: a layer and an embedding out of a file, a text as tokens, a model that it trains."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from running import close
from speller import LETTERS, Speller, vocabulary
from torch import Tensor, nn

from scratchrnn.traces import reading as explore


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


@pytest.mark.parametrize(
    ("written", "tokens"),
    [
        ("a\nb\n\n", "ab"),
        ("a\nb\n\n\n\n", "ab"),
        ("\\n\na\n\n", ["\n", "a", ""]),
        ("\n\na\n\n", ["\n", "a", ""]),
        ("\n\na\n\n", "\na"),
        ("\na\nb\n", ["", "a", "b"]),
        ("\n\n\na\n", ["\n", "", "a"]),
    ],
)
def test_blank_lines_at_the_end_of_a_vocabulary_are_a_token_where_a_row_is_there_for_it(
    here: Path, written: str, tokens: Any
) -> None:
    Path("tokens.txt").write_text(written)
    weights = torch.randn(len(tokens), 3)
    path = saved(prefixed("lm.rnn", nn.LSTM(3, 4)) | {"lm.emb.weight": weights})
    text = "".join(tokens) * 2
    reading = explore.load_reading(path, text, vocabulary="tokens.txt")
    assert reading.sequences == [[*text]]  # the empty token is in no text, and no word either
    assert torch.equal(reading.vectors(tokens), weights)
    assert reading.notes == ()


def test_an_empty_last_line_that_is_taken_for_a_line_break_is_said(here: Path) -> None:
    path = saved(prefixed("lm.rnn", nn.LSTM(3, 4)) | {"lm.emb.weight": torch.randn(3, 3)})
    for written, notes in (("a\nb\n\n", 1), ("a\nb\n\\n\n", 0), ("\n\na\nb\n", 0)):
        Path("tokens.txt").write_text(written)
        reading = explore.load_reading(path, "ab\nb", vocabulary="tokens.txt")
        assert reading.sequences == [[*"ab\nb"]]
        said = [r"The last line of tokens.txt is empty: taken for a line break, which is better written as \n."]
        assert list(reading.notes) == said * notes


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
