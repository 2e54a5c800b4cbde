"""A text as numbers: its characters, windows and vectors."""

from __future__ import annotations

import torch

from scratchrnn.layers.characters import Characters, read_text


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
