"""A small model with its vocabulary, as `scratchrnn explore` reads them from files."""

from __future__ import annotations

from pathlib import Path

from torch import nn

LETTERS = ["<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz"]


class Speller(nn.Module):
    """An encoder and a decoder with an embedding each."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"emb": nn.Embedding(29, 5), "gru": nn.GRU(5, 6, batch_first=True)})
        self.decoder = nn.ModuleDict({"emb": nn.Embedding(40, 5), "gru": nn.GRU(5, 6)})


def vocabulary(path: str, tokens: list[str]) -> None:
    Path(path).write_text("".join(f"{token}\n" for token in tokens), encoding="utf-8")
