"""The product with the recurrent weights: by oneDNN and by MKL, forced either way, and when which is taken."""

from __future__ import annotations

import pytest
import torch
from running import each_row, each_twin, leaf, run, states
from table import Row
from torch.nn.utils.rnn import pack_padded_sequence

import scratchrnn as sr
from scratchrnn.engine import gemm

needs_onednn = pytest.mark.skipif(not gemm._works(), reason="this torch has no oneDNN linear layer")


@pytest.fixture(params=[5, 384])
def terms(request: pytest.FixtureRequest) -> int:
    """Of a sum: several sums for each number, and one."""
    return request.param


@pytest.fixture
def forced(terms: int, monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """oneDNN for every size; the shapes of the weights that it was given."""
    for least in ("_LEAST_PART", "_LEAST_ROWS", "_LEAST_STEPS"):
        monkeypatch.setattr(gemm, least, 0)
    monkeypatch.setattr(gemm, "_TERMS", terms)
    taken: list[torch.Size] = []
    multiplier = gemm.multiplier

    def counted(W: torch.Tensor, rows: int, steps: int) -> object:
        product = multiplier(W, rows, steps)
        if product is not None:
            taken.append(W.shape)
        return product

    monkeypatch.setattr(gemm, "multiplier", counted)
    return taken


@needs_onednn
@each_twin
@pytest.mark.parametrize("packed", [False, True])
def test_layers_agree_with_torch_nn_by_onednn(row: Row, packed: bool, forced: list[torch.Size]) -> None:
    assert row.twin is not None
    theirs = row.twin(3, 16, 2, bidirectional=True, **({"proj_size": 6} if row.projects else {}))
    x = torch.randn(12, 5, 3)
    input = pack_padded_sequence(x, torch.tensor([2, 12, 1, 7, 7]), enforce_sorted=False) if packed else x
    report = sr.compare(sr.from_torch(theirs), theirs, input)
    assert report, str(report)
    assert len(forced) == 4  # of two layers and two directions


@needs_onednn
@each_row
def test_without_gradients_the_values_are_the_same(row: Row, forced: list[torch.Size]) -> None:
    layer = row.layer(3, 4)
    x, hx = torch.randn(9, 5, 3), states(row, layer, 5, dtype=torch.float32)
    with torch.no_grad():
        output, _ = layer(x, hx)
    assert forced
    expected, _ = layer.double()(x.double(), tuple(s.double() for s in hx) if isinstance(hx, tuple) else hx.double())
    torch.testing.assert_close(output.double(), expected, rtol=1e-5, atol=1e-5)


@needs_onednn
@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN:UserWarning")  # of the flags' own setter
def test_it_is_taken_for_large_float32_weights_on_the_cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(W: torch.Tensor, rows: int = 16, steps: int = 25) -> bool:
        return gemm.multiplier(W, rows, steps) is not None

    W = torch.randn(1024, 256)
    assert taken(W)
    assert taken(torch.nn.Parameter(W))
    assert taken(torch.randn(1024, 384))
    assert not taken(torch.randn(1024, 385))  # two sums for each number: it takes a larger matrix to pay
    assert not taken(W[:512])
    assert not taken(W, rows=3)
    assert not taken(W, steps=15)
    assert not taken(W.double())
    assert not taken(W.to("meta"))
    with torch.backends.mkldnn.flags(enabled=False):
        assert not taken(W)
    monkeypatch.setattr(gemm, "_works", lambda: False)
    assert not taken(W)


@needs_onednn
def test_the_product_keeps_the_values_it_was_made_with() -> None:
    W, x = torch.randn(1024, 256), torch.randn(16, 256)
    product, expected = gemm.multiplier(W, 16, 25), x @ W.T
    W.zero_()
    assert product is not None
    torch.testing.assert_close(product(x), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(product(x[:3]), expected[:3], rtol=1e-4, atol=1e-4)


def test_operators_that_are_missing_or_wrong_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        _reorder_linear_weight = staticmethod(lambda W, rows: W)

        class _linear_pointwise:  # noqa: N801
            def __new__(cls, x: torch.Tensor, W: torch.Tensor, *_: object) -> torch.Tensor:
                return x @ W.T

            binary = staticmethod(lambda x, other, W, *_: x @ W.T)

    for operators in (Wrong, object()):
        monkeypatch.setattr(torch.ops, "mkldnn", operators)
        assert not gemm._works.__wrapped__()


@needs_onednn
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_layer_large_enough_agrees_with_torch_nn(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    multiplier = gemm.multiplier
    monkeypatch.setattr(gemm, "multiplier", lambda *arguments: taken.append(multiplier(*arguments)) or taken[-1])
    theirs = getattr(torch.nn, kind)(8, 1024)
    report = sr.compare(sr.from_torch(theirs), theirs, torch.randn(16, 5, 8))
    assert report, str(report)
    assert taken[0] is not None


def test_double_precision_is_left_to_mkl(forced: list[torch.Size]) -> None:
    run(sr.GRU(3, 4, dtype=torch.float64), leaf(9, 2, 3))
    assert not forced
