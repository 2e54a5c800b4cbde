"""The small model that `scratchrnn explore` trains: what it learns, that it is kept, and what it reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from running import close
from torch import nn

import scratchrnn as sr
from scratchrnn.engine.native.build import Unavailable
from scratchrnn.traces import training

TEXT = "to be, or not to be; " * 60


@pytest.mark.parametrize(("kind", "layer"), [("lstm", sr.LSTM), ("gru", sr.GRU), ("rnn", sr.RNN)])
def test_a_model_learns_and_reads(models: Path, kind: str, layer: type[nn.Module]) -> None:
    losses: list[float] = []
    model = training.train(kind, TEXT, 60, lambda step, loss: losses.append(loss))
    assert len(losses) == 60
    assert losses[-1] < 0.6 * losses[0]
    assert model.losses == (losses[0], losses[-1])
    reading = model.reads("not to be")
    assert isinstance(reading.layer, layer)
    assert reading.name == f"{kind.upper()} trained to predict the next character"
    assert reading.tokens == list("not to be")
    record = reading.trace().layer(0)
    assert record.h.shape == (9, 1, 100)
    output, _ = reading.layer(reading.vectors(reading.tokens).unsqueeze(0))
    close(record.h[:, 0], output[0].detach(), rtol=1e-4, atol=1e-5)
    assert reading.readout is not None
    fc, vocabulary = reading.readout
    ids = torch.tensor([[vocabulary.index(c) for c in "not to be"]])
    close(fc(output), model.model(ids).detach(), rtol=1e-4, atol=1e-5)


def test_a_model_is_kept_and_is_the_same_again(models: Path) -> None:
    assert training.kept("gru", TEXT, 3) is None
    model = training.train("gru", TEXT, 3)
    again = training.kept("gru", TEXT, 3)
    assert again is not None
    assert (again.kind, again.alphabet, again.steps, again.losses) == ("gru", model.alphabet, 3, model.losses)
    for name, weight in model.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], weight)
    for other in [("lstm", TEXT, 3), ("gru", f"{TEXT} ", 3), ("gru", TEXT, 4)]:
        assert training.kept(*other) is None


@pytest.mark.parametrize("call", [training.train, training.kept])
def test_another_kind_is_refused(models: Path, call: Callable[[str, str], object]) -> None:
    with pytest.raises(ValueError, match=r"^kind should be one of lstm, gru, rnn, got 'LSTM'$"):
        call("LSTM", TEXT)


def test_what_is_not_whole_or_not_ours_is_as_if_it_were_not_there(models: Path) -> None:
    training.train("gru", TEXT, 1)
    (path,) = models.iterdir()
    whole = path.read_bytes()
    other: dict[str, Any] = {"weights": {}, "losses": (1.0, 1.0)}
    for content in (b"", whole[: len(whole) // 2], b"hello"):
        path.write_bytes(content)
        assert training.kept("gru", TEXT, 1) is None
    torch.save(other, path)
    assert training.kept("gru", TEXT, 1) is None
    path.write_bytes(whole)
    assert training.kept("gru", TEXT, 1) is not None


def test_where_nothing_can_be_kept_the_model_is_trained_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(training, "folder", lambda: tmp_path / "file" / "cache")
    assert training.train("rnn", TEXT, 1).steps == 1

    def nowhere() -> Path:
        raise Unavailable("HOME is not set")

    monkeypatch.setattr(training, "folder", nowhere)
    assert training.train("rnn", TEXT, 1).steps == 1
    assert training.kept("rnn", TEXT, 1) is None


@pytest.mark.parametrize(("kind", "keeping"), [("lstm", "f"), ("gru", "z")])
def test_units_begin_with_time_constants_up_to_the_longest(kind: str, keeping: str) -> None:
    twin = training.KINDS[kind]
    layer: Any = sr.from_torch(twin.layer(3, 500))
    training.remember_long(layer, 1000)
    gates = dict(zip(layer.cell.gates, layer.bias_ih_l0.detach().chunk(len(layer.cell.gates)), strict=True))
    taus = gates[keeping].exp() + 1  # where the gate is sigmoid(b), 1 / (1 - gate)
    assert 2 <= taus.min() < 30
    assert 950 < taus.max() <= 1000
    assert abs(taus.mean() - 500) < 50
    assert not layer.bias_hh_l0.any()
    if kind == "lstm":
        assert torch.equal(gates["i"], -gates["f"])


def test_a_character_that_was_not_learnt_is_not_read_as_another(models: Path) -> None:
    reading = training.train("rnn", TEXT, 1).reads("to, by")
    with pytest.raises(KeyError):
        reading.trace()
