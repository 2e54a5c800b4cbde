"""A text as numbers: its parts, its characters, windows and vectors."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from scratchrnn.layers.characters import CharacterModel, Characters, held_out, passage, read_text


def test_characters_are_their_place_in_the_alphabet() -> None:
    characters = Characters("banana" * 200)
    assert characters.alphabet == "abn"
    assert characters.ids[:6].tolist() == [1, 0, 2, 0, 2, 0]
    generator = torch.Generator().manual_seed(0)
    windows = characters.windows(4, 6, generator)
    assert windows.shape == (4, 6)
    assert all("".join("abn"[k] for k in window) in "banana" * 3 for window in windows.tolist())
    vectors = characters.vectors(windows, 5, generator)
    assert vectors.shape == (4, 6, 5)
    assert torch.equal(vectors[windows == 2].unique(dim=0), vectors[windows == 2][:1])


def test_the_text_without_a_file_is_english() -> None:
    text = read_text()
    assert len(text) > 100_000
    assert " the " in text


def test_two_models_learn_from_the_same_stretches_of_a_text() -> None:
    text = Characters("to be, or not to be; " * 60)
    torch.manual_seed(0)
    models = [CharacterModel(len(text.alphabet), nn.GRU(4, 8, batch_first=True))]
    models.append(copy.deepcopy(models[0]))
    ids = text.windows(3, 11, torch.Generator().manual_seed(0))
    first = nn.functional.cross_entropy(models[0](ids[:, :-1]).transpose(1, 2), ids[:, 1:])
    curves = [list(m.learn(text, torch.optim.Adam(m.parameters(), 0.03), 40, 3, 10)) for m in models]
    assert curves[0] == curves[1]
    assert len(curves[0]) == 40
    assert curves[0][0] == pytest.approx(first.item())
    assert curves[0][-1] < 0.7 * curves[0][0]


def test_the_passage_is_the_one_with_most_brackets_and_quotation_marks() -> None:
    text = "plain words\n\nf(x) = [1]\n\n“a b”"
    assert passage(text, 10) == "f(x) = [1]"
    assert len(passage(read_text(), 120)) == 120
    assert passage("short", 120) == "short"


def test_the_last_tenth_is_not_learnt_from() -> None:
    learnt, rest = held_out(read_text())
    assert learnt + rest == read_text()
    assert 0.09 < len(rest) / len(read_text()) < 0.12
    assert learnt.endswith("\n\n")
    assert set(rest) <= set(Characters(learnt).alphabet)
    quoted = passage(rest, 400)
    assert quoted.count("“") > 5
