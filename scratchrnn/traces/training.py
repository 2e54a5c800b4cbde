"""A small model of characters to look into: trained once, then kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import torch
from torch import Tensor, nn

from ..cells import TWINS, elman, gru, lstm
from ..engine.native.build import Unavailable, folder
from ..layers.characters import CharacterModel, Characters
from ..layers.convert import from_torch
from .reading import Reading, looked_up

KINDS = {twin.word: twin for cell in (lstm, gru, elman) for twin in TWINS if twin.cell is cell}
"""What can be trained here, the default first."""
INPUT_SIZE, HIDDEN_SIZE = 32, 100
STEPS = 1000
_BATCH, _LENGTH, _RATE = 16, 256, 1e-2  # stretches of a step, characters of each, Adam's learning rate at first
_RECIPE = 1  # one more wherever the training changes: what was kept is then trained anew
_DIGITS = 32  # of a file's name, hexadecimal ones


@dataclass(frozen=True)
class Trained:
    """A model that predicts the next character, and how it came to do so."""

    kind: str
    model: CharacterModel
    alphabet: str
    steps: int
    losses: tuple[float, float]
    """Of the first step and the last, nats for each character."""

    def reads(self, text: str) -> Reading:
        """The model before a text of characters that it has learnt."""
        places = {character: k for k, character in enumerate(self.alphabet)}
        name = f"{KINDS[self.kind].case} trained to predict the next character"
        vectors = looked_up(self.model.embedding.weight.detach(), places)
        return Reading(name, self.model.layer, [list(text)], vectors, readout=(self.model.fc, self.alphabet))


def train(
    kind: str, text: str, steps: int = STEPS, at_step: Callable[[int, float], None] = lambda step, loss: None
) -> Trained:
    """Teach a new model this text by Adam, and keep it for `kept`, where there is a cache folder.

    Each step is on 16 stretches of 256 characters, with gradients clipped to a norm of 1, at a learning rate that
    rises to 0.01 in the first 50 steps and falls to a tenth of that.

    Args:
        kind: "lstm", "gru" or "rnn".
        text: what it is trained on.
        steps: how long.
        at_step: called with the number of each step and its loss.

    Raises:
        ValueError: `kind` is none of these.
    """
    _check(kind)
    characters = Characters(text)
    model = _model(kind, characters)
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE)

    def clip(*_: Any) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)

    optimizer.register_step_pre_hook(clip)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: min(1.0, (n + 1) / 50) * (1 - 0.9 * n / steps))
    losses = []
    length = min(_LENGTH, len(characters.ids) - 2)
    for step, loss in enumerate(model.learn(characters, optimizer, steps, _BATCH, length), start=1):
        rate.step()
        losses.append(loss)
        at_step(step, loss)
    if (path := _path(kind, text, steps)) is not None:
        _save(path, {"weights": model.state_dict(), "losses": (losses[0], losses[-1])})
    return Trained(kind, model.eval(), characters.alphabet, steps, (losses[0], losses[-1]))


def kept(kind: str, text: str, steps: int = STEPS) -> Trained | None:
    """The model that was trained so before by this user; None where there is none, or it is not whole.

    Raises:
        ValueError: `kind` is none of those of `train`.
    """
    _check(kind)
    path = _path(kind, text, steps)
    if path is None or not path.exists():
        return None
    characters = Characters(text)
    model = _model(kind, characters)
    try:
        found = torch.load(path, weights_only=True)
        model.load_state_dict(found["weights"])
        first, last = found["losses"]
    except Exception:  # whatever a file that is not ours, or not whole, makes the unpickler stumble over
        return None
    return Trained(kind, model.eval(), characters.alphabet, steps, (first, last))


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind should be one of {', '.join(KINDS)}, got {kind!r}")


def _model(kind: str, characters: Characters) -> CharacterModel:
    twin = KINDS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer: Any = from_torch(twin.layer(INPUT_SIZE, HIDDEN_SIZE, batch_first=True, **twin.options))
        remember_long(layer, _LENGTH)
        return CharacterModel(len(characters.alphabet), layer)


def remember_long(layer: Any, longest: int) -> None:
    """Let the units begin with time constants from one step to `longest` of them, each its own.

        b_f = log(u),  b_i = -b_f  of an LSTM;    b_z = log(u)  of a GRU;    u drawn evenly from [1, longest - 1]

    "Chrono initialisation" (Tallec & Ollivier 2018, arXiv:1804.11188); without it no unit here learns to hold a thing
    for a sentence. An Elman layer has no such bias.
    """
    gates, H = layer.cell.gates, layer.hidden_size
    bias: Tensor = layer.bias_ih_l0
    with torch.no_grad():
        layer.bias_hh_l0.zero_()
        for keeping, writing in (("f", "i"), ("z", None)):
            if keeping in gates:
                spread = bias.new_empty(H).uniform_(1, longest - 1).log()
                bias.view(-1, H)[gates.index(keeping)] = spread
                if writing is not None:
                    bias.view(-1, H)[gates.index(writing)] = -spread


# ---------------------------------------------------------------------------------------------------- kept


def files() -> list[Path]:
    """Those of the cache folder in which a model is kept.

    Raises:
        Unavailable: there is no cache folder.
    """
    return sorted(folder().glob(_named("*", "[0-9a-f]" * _DIGITS)))


def _path(kind: str, text: str, steps: int) -> Path | None:
    """Where the model is kept, or none where there is no cache folder."""
    told = "\0".join([str(_RECIPE), str(steps), text])
    try:
        return folder() / _named(kind, hashlib.sha256(told.encode()).hexdigest()[:_DIGITS])
    except Unavailable:
        return None


def _named(kind: str, digest: str) -> str:
    return f"explored_{kind}-{digest}.pt"


def _save(path: Path, content: Any) -> None:
    """There in one go, or, as on a full disk, not at all: the model can be trained again."""
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=".unfinished-", delete=False) as file:
            try:
                torch.save(content, file)
                file.close()
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise
