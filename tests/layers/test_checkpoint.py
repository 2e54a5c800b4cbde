"""Recurrent modules out of files that torch.save has written."""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from table import mgu
from torch import nn

import scratchrnn as sr
from scratchrnn.layers.checkpoint import load_recurrent


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
    asks = f"it asks for {Speaker.__module__}.Speaker, more than tensors and torch.nn's recurrent modules"
    reason = rf"{asks}; if .* --trust; "
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
            r"weight_hh_l0 \[8, 4\] should have 1, 3 or 4 times as many rows as columns, for an RNN, a GRU or an LSTM",
        ),
        (
            {"a.weight_ih_l0": torch.ones(12, 3), "a.weight_hh_l0": torch.ones(12, 5)},
            r"file\.pt: the weights of a are of no layer of torch\.nn: weight_hh_l0 \[12, 5\] should have 1, 3 or",
        ),
        (
            {"weight_ih_l0": torch.ones(12, 3)},
            "the weights of the state dict are of no layer .*: it has no weight_hh_l0",
        ),
        (
            {"weight_ih_l0": torch.ones(12, 3), "weight_hh_l0": torch.ones(12, 4), "weight_hh_l1": torch.ones(12, 4)},
            r"as GRU\(3, 4, num_layers=2, bias=False\) it has no weight_ih_l1; .*save a module's state_dict\(\)",
        ),
        (
            {"d.weight_ih": torch.ones(16, 3), "d.weight_hh": torch.ones(16, 4), "d.bias_ih": torch.ones(5)},
            r"the weights of d .*: as LSTMCell\(3, 4\) bias_ih should be \[16\], it is \[5\]; save a module's state_",
        ),
        (
            {"weight_ih": torch.ones(16, 3), "weight_hh": torch.ones(16, 4), "weight_ih_l0": torch.ones(5, 5)},
            r"as LSTMCell\(3, 4, bias=False\) it has weight_ih_l0 beside its own; ",
        ),
        (
            {"weight_ih_l0": torch.ones(12, 3), "weight_hh_l0": torch.ones(12)},
            r"weight_hh_l0 \[12\] should be a matrix",
        ),
        (
            {"weight_ih_l0": torch.ones(12, 3).int(), "weight_hh_l0": torch.ones(12, 4).int()},
            "weight_ih_l0 should be of floating point, it is torch.int32",
        ),
        (
            nn.GRU(3, 4).state_dict() | {"bias_hh_l0": torch.ones(12).cfloat()},
            r"file\.pt: bias_hh_l0 should be of floating point, it is torch\.complex64$",
        ),
        (
            {"a": nn.GRU(3, 4).state_dict() | {"weight_hh_l0": torch.ones(12, 4).to_sparse()}},
            r"file\.pt: a\.weight_hh_l0 should be dense, torch\.strided, its layout is torch\.sparse_coo$",
        ),
        (
            nn.GRU(3, 4, device="meta").state_dict(),
            r"file\.pt: weight_ih_l0 should hold numbers, it is on the meta device$",
        ),
        (nn.LSTM(3, 4, device="meta"), r"file\.pt: weight_ih_l0 should hold numbers, it is on the meta device$"),
        (
            {"weight_ih_l0": torch.ones(0, 3), "weight_hh_l0": torch.ones(0, 0)},
            r"weight_hh_l0 \[0, 0\] should have 1, 3",
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


class Runs:
    """What a malicious file holds: unpickled, it calls a function."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __reduce__(self) -> Any:
        return self.function, ("echo it runs",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")
def test_what_a_file_is_is_said_and_what_to_do(tmp_path: Path) -> None:
    def refusal(content: bytes, trust: bool = False) -> str:
        (tmp_path / "a.pt").write_bytes(content)
        with pytest.raises(ValueError, match=r"^cannot load .*a\.pt: ") as caught:
            load_recurrent(str(tmp_path / "a.pt"), trust)
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith("torch.save(model.state_dict(), FILE)")
        return str(caught.value).partition("a.pt: ")[2].rpartition("; expected ")[0]

    def written(content: Any, zipped: bool = True) -> bytes:
        torch.save(content, tmp_path / "b.pt", _use_new_zipfile_serialization=zipped)
        return (tmp_path / "b.pt").read_bytes()

    for zipped in (True, False):
        blocked = refusal(written({"a": Runs(os.system)}, zipped))
        assert blocked.startswith("unpickled, it would run ")
        assert blocked.endswith(".system, which no model needs: it may be malicious, do not load it")
        assert refusal(written({"a": Runs(shutil.which)}, zipped)).startswith("it asks for shutil.which, ")
        whole = written(nn.GRU(30, 40).state_dict(), zipped)
        for size, trust in itertools.product(
            (100, 141, 200, 9000, 20000), (False, True)
        ):  # 141, 200: in a class's name
            assert refusal(whole[:size], trust) == "it is cut off or damaged, copy or download it again"
    for protocol in (2, 4):
        assert refusal(pickle.dumps({"a": [1.0]}, protocol)) == "it is a pickle that torch.save has not written"
    for other in (b"", b"hello", b"<!DOCTYPE html>", b"\x00\x01\x02"):
        assert refusal(other) == "it is no file that torch.save has written"
    numpy.savez(tmp_path / "b.npz", a=numpy.ones(3))
    assert refusal((tmp_path / "b.npz").read_bytes()) == "it is no file that torch.save has written"


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_a_torchscript_archive_is_said_to_be_one(tmp_path: Path) -> None:
    path = str(tmp_path / "a.pt")
    torch.jit.trace(nn.Linear(2, 3), torch.ones(1, 2)).save(path)
    with pytest.raises(
        ValueError, match=r"it is a TorchScript archive, which torch\.jit\.load loads; expected a state dict"
    ):
        load_recurrent(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_on_trust_a_class_that_is_not_there_is_named(zipped: bool, tmp_path: Path) -> None:
    torch.save(Gone(), tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    content = (tmp_path / "a.pt").read_bytes().replace(b"Gone", b"Lost")
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"AttributeError: .*'Lost'.*, run it where its classes can be imported; expected"
    ):
        load_recurrent(str(tmp_path / "a.pt"), trust=True)


class Gone(nn.Module):
    pass


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("zipped", [True, False])
def test_of_a_class_of_a_script_it_is_said_to_save_the_state_dict(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = type("Own", (nn.LSTM,), {"__module__": "__main__"})
    with monkeypatch.context() as script:
        script.setattr(sys.modules["__main__"], "Own", own, raising=False)
        torch.save(own(3, 4), tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
    where = "it asks for __main__.Own, defined in the script that saved it and found nowhere else: save the state dict"
    for trust in (False, True):
        with pytest.raises(ValueError, match=rf"a\.pt: {where} there; expected a state dict, as of \S+\(\), FILE\)$"):
            load_recurrent(str(tmp_path / "a.pt"), trust)


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
@pytest.mark.parametrize("zipped", [True, False])
def test_within_the_script_that_defines_the_class_trust_is_what_helps(
    zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = type("Own", (nn.Module,), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "Own", own, raising=False)
    model, path = own(), str(tmp_path / "a.pt")
    model.lstm = nn.LSTM(3, 4)
    torch.save(model, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"it asks for __main__\.Own, more than .*, load it with trust=True; "):
        load_recurrent(path)
    ((_, found),) = load_recurrent(path, trust=True)
    assert_same_weights(found, model.lstm)


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
