"""Real input for a recurrent layer: English text, as characters; and a small model that learns to go on with it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

TALE = "Alice's Adventures in Wonderland"
"""What `read_text` reads without a file."""


def read_text(path: str | None = None, at_least: int = 1000) -> str:
    """The text in a UTF-8 file; without one, the tale that this package carries.

    That is `TALE` by Lewis Carroll, of 1865 and free of rights: Project Gutenberg's text of
    1991 in the form of the Canterbury corpus, its quotation marks as “ ”, one space where there were several.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not UTF-8, or holds fewer than `at_least` characters.
    """
    if path is None:
        return resources.files(__package__).joinpath("alice.txt").read_text(encoding="utf-8")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"text should be a UTF-8 file, but {path} is not: {error}") from None
    if len(text) < at_least:
        raise ValueError(f"text should have at least {at_least} characters, {path} has {len(text)}")
    return text


def held_out(text: str) -> tuple[str, str]:
    """What a model learns from, and the last tenth, which it has never seen: cut between paragraphs."""
    cut = text.rfind("\n\n", 0, len(text) - len(text) // 10) + 2
    return text[:cut], text[cut:]


def passage(text: str, length: int) -> str:
    """A stretch of the text in which there is something to remember: the most brackets and quotation marks."""
    starts = [0, *(m.end() for m in re.finditer("\n\n", text)), max(len(text) - length, 0)]
    whole = [s for s in starts if s + length <= len(text)] or [0]
    return max((text[s : s + length] for s in whole), key=lambda p: sum(map(p.count, '()[]{}"“”')))


def are_characters(tokens: Iterable[str]) -> bool:
    """Whether they are single ones, and not words; a token with a name, `<unk>` or `[PAD]`, may stand among them."""
    named = re.compile(r"<.*>|\[.*\]")
    return all(len(token) <= 1 or named.fullmatch(token) for token in tokens)


class Characters:
    """A text as numbers: `ids` [length], the place of each character in `alphabet`."""

    def __init__(self, text: str) -> None:
        self.alphabet = "".join(sorted(set(text)))
        place = {character: k for k, character in enumerate(self.alphabet)}
        self.ids = torch.tensor([place[character] for character in text])

    def windows(self, count: int, length: int, generator: torch.Generator) -> Tensor:
        """[count, length] ids: so many stretches of the text, drawn at random."""
        starts = torch.randint(len(self.ids) - length, (count,), generator=generator)
        return self.ids[starts.unsqueeze(1) + torch.arange(length)]

    def vectors(self, ids: Tensor, size: int, generator: torch.Generator) -> Tensor:
        """[..., size]: each character as a vector drawn at random, the same one wherever it occurs."""
        return torch.randn(len(self.alphabet), size, generator=generator)[ids]


class CharacterModel(nn.Module):
    """Predicts the next of so many characters: embedding, `layer` (batch-first), linear readout of every step."""

    def __init__(self, characters: int, layer: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, layer.input_size)
        self.layer = layer
        self.fc = nn.Linear(layer.hidden_size, characters)

    def forward(self, ids: Tensor) -> Tensor:
        output, _ = self.layer(self.embedding(ids))
        return self.fc(output)

    def learn(
        self, text: Characters, optimizer: torch.optim.Optimizer, steps: int, batch: int, length: int
    ) -> Iterator[float]:
        """Train for so many steps, each on `batch` stretches of `length` characters, and yield the loss of each.

        The stretches are drawn from a fixed seed: two models learn from the same ones.
        """
        generator = torch.Generator().manual_seed(0)
        for _ in range(steps):
            ids = text.windows(batch, length + 1, generator)
            loss = nn.functional.cross_entropy(self(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()
