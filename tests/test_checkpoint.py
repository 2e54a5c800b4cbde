"""Recurrent modules out of files that torch.save has written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from table import mgu
from torch import nn

import scratchrnn as sr
from scratchrnn.checkpoint import load_recurrent


class Speaker(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 8, num_layers=3, bidirectional=True, proj_size=2)
        self.linear = nn.Linear(4, 3)
        self.decoder = nn.ModuleList([nn.GRUCell(3, 4)])


def saved(tmp_path: Path, content: Any) -> str:
    torch.save(content, tmp_path / "file.pt")
    return str(tmp_path / "file.pt")


def assert_same_weights(found: nn.Module, module: nn.Module) -> None:
    assert repr(found) == repr(module)
    for (name, a), (other, b) in zip(found.named_parameters(), module.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "module",
    [
        nn.LSTM(3, 4, num_layers=2, bias=False),
        nn.GRU(3, 4, bidirectional=True, dtype=torch.float64),
        nn.LSTM(3, 4, proj_size=2),
        nn.LSTMCell(3, 4),
        nn.GRUCell(3, 4, bias=False),
    ],
    ids=str,
)
def test_a_module_comes_back_from_itself_and_from_its_state_dict(module: nn.Module, tmp_path: Path) -> None:
    for content in (module, module.state_dict()):
        ((name, found),) = load_recurrent(saved(tmp_path, content))
        assert name == type(module).__name__
        assert_same_weights(found, module)


@pytest.mark.parametrize("module", [nn.RNN(3, 4), nn.RNNCell(3, 4)], ids=str)
def test_an_elman_state_dict_is_taken_as_tanh_and_as_relu(module: nn.Module, tmp_path: Path) -> None:
    found = load_recurrent(saved(tmp_path, module.state_dict()))
    kind = type(module).__name__
    assert [name for name, _ in found] == [f"{kind} as tanh", f"{kind} as relu"]
    assert [m.nonlinearity for _, m in found] == ["tanh", "relu"]


def test_weights_inside_a_bigger_state_dict_are_found_by_name(tmp_path: Path) -> None:
    model = Speaker()
    found = load_recurrent(saved(tmp_path, {"step": 3, "state": {"model": model.state_dict()}}))
    assert [name for name, _ in found] == ["state.model.lstm", "state.model.decoder.0"]
    assert_same_weights(found[0][1], model.lstm)
    assert_same_weights(found[1][1], model.decoder[0])


def test_a_whole_model_is_unpickled_only_on_trust(tmp_path: Path) -> None:
    path = saved(tmp_path, Speaker())
    reason = "it holds more than tensors and torch.nn's recurrent modules; if it is a whole model .* --trust"
    with pytest.raises(ValueError, match=rf"cannot load .*file\.pt: {reason}"):
        load_recurrent(path)
    assert [name for name, _ in load_recurrent(path, trust=True)] == ["lstm", "decoder.0"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"fc.weight": torch.ones(3, 3)},
            "should hold an RNN, LSTM, GRU or cell of torch.nn, or its state dict; found",
        ),
        (
            {"a.weight_ih_l0": torch.ones(8, 3), "a.weight_hh_l0": torch.ones(8, 4)},
            r"the weights of a do not fit together: weight_ih_l0 \[8, 3\], weight_hh_l0 \[8, 4\] \(2 gates; 1, 3 and 4",
        ),
        ({"weight_ih_l0": torch.ones(12, 3)}, "the weights of the state dict do not fit together: .*'weight_hh_l0'"),
        (
            {"weight_ih_l0": torch.ones(12, 3), "weight_hh_l0": torch.ones(12, 4), "weight_hh_l1": torch.ones(12, 4)},
            "do not fit together: .*Missing key",
        ),
    ],
)
def test_unfit_contents_are_named(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_recurrent(saved(tmp_path, content))


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no checkpoint")
    with pytest.raises(ValueError, match=r"cannot load .*text\.pt"):
        load_recurrent(str(tmp_path / "text.pt"))
    with pytest.raises(FileNotFoundError):
        load_recurrent(str(tmp_path / "nothing.pt"))


def test_our_own_layers_and_lists_of_state_dicts_are_found(tmp_path: Path) -> None:
    module = nn.GRU(3, 4)
    ((_, found),) = load_recurrent(saved(tmp_path, [1, {"gru": module.state_dict()}]))
    assert_same_weights(found, module)
    model = nn.Sequential(sr.from_torch(module))
    ((_, found),) = load_recurrent(saved(tmp_path, model), trust=True)
    assert_same_weights(found, module)
    path = saved(tmp_path, sr.RecurrentLayer(mgu, 3, 4))
    with pytest.raises(
        ValueError, match=r"file\.pt: cannot convert the module: torch.nn has no layer of the cell 'MGU'"
    ):
        load_recurrent(path, trust=True)


def test_on_trust_the_reason_is_the_loaders(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("<html>")
    with pytest.raises(ValueError, match=r"cannot load .*text\.pt: UnpicklingError: "):
        load_recurrent(str(tmp_path / "text.pt"), trust=True)
    with pytest.raises(ValueError, match=r"cannot load .*text\.pt: it is no file that torch.save has written"):
        load_recurrent(str(tmp_path / "text.pt"))
