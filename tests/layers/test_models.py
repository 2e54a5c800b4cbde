"""The sequence classifiers next to the same models written with torch.nn."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from running import close, error, leaf, run
from torch import Tensor, nn

import scratchrnn as sr

INPUT, HIDDEN, LAYERS, OUTPUT = 10, 20, 2, 5
SIZES = INPUT, HIDDEN, LAYERS, OUTPUT


class LastStep(nn.Module):
    """A layer of torch.nn and a linear readout of the last step."""

    def __init__(self, name: str, layer: nn.Module) -> None:
        super().__init__()
        self.add_module(name, layer)
        self.fc = nn.Linear(HIDDEN, OUTPUT)
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        output, _ = getattr(self, self.name)(x)
        return self.fc(output[:, -1, :])


class Stepped(nn.Module):
    """torch.nn's cells, stepped over time, and a linear readout of the last step of the topmost."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn_cells = nn.ModuleList(nn.RNNCell(INPUT if k == 0 else HIDDEN, HIDDEN) for k in range(LAYERS))
        self.fc = nn.Linear(HIDDEN, OUTPUT)

    def forward(self, x: Tensor) -> Tensor:
        ys = list(x.unbind(1))
        for cell in self.rnn_cells:
            h = None
            for t, y in enumerate(ys):
                ys[t] = h = cell(y, h)
        return self.fc(ys[-1])


def last_step(name: str, layer: Callable[..., nn.Module], **options: str) -> Callable[[], nn.Module]:
    return lambda: LastStep(name, layer(INPUT, HIDDEN, LAYERS, batch_first=True, **options))


TWINS: dict[type[nn.Module], Callable[[], nn.Module]] = {
    sr.RNNModel: last_step("rnn", nn.RNN, nonlinearity="relu"),
    sr.LSTMModel: last_step("lstm", nn.LSTM),
    sr.GRUModel: last_step("gru", nn.GRU),
    sr.MultiLayerRNN: Stepped,
}
each_model = pytest.mark.parametrize("model", TWINS)


@each_model
def test_three_sequences_of_four_steps_give_three_rows_of_five(model: type[nn.Module]) -> None:
    layers = "num_layers" if model is sr.MultiLayerRNN else "layer_dim"
    y = model(input_dim=10, hidden_dim=20, output_dim=5, **{layers: 2})(torch.randn(3, 4, 10))
    assert y.shape == torch.Size([3, 5])


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (0, 4)], ids=["3_of_4", "1_of_1", "none"])
@each_model
def test_outputs_and_all_gradients_equal_the_torch_nn_model_that_its_state_dict_fits(
    model: type[nn.Module], shape: tuple[int, int]
) -> None:
    ours, theirs = model(*SIZES).double(), TWINS[model]().double()
    x = leaf(*shape, INPUT)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    close(run(ours, x), run(theirs, x))
    other = model(*SIZES).double()
    theirs.load_state_dict(other.state_dict(), strict=True)
    close(run(other, x), run(theirs, x))
    assert list(ours.state_dict()) == list(theirs.state_dict())


@each_model
def test_one_seed_gives_the_weights_of_the_torch_nn_model(model: type[nn.Module]) -> None:
    pair = []
    for make in (lambda: model(*SIZES), TWINS[model]):
        torch.manual_seed(7)
        pair.append(make().state_dict())
    torch.testing.assert_close(*pair, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@each_model
def test_the_output_has_the_dtype_of_the_model(model: type[nn.Module], dtype: torch.dtype) -> None:
    assert model(*SIZES).to(dtype)(torch.randn(3, 4, INPUT, dtype=dtype)).dtype == dtype


@each_model
def test_on_the_meta_device_the_output_has_its_shape(model: type[nn.Module]) -> None:
    with torch.device("meta"):
        y = model(*SIZES)(torch.randn(3, 4, INPUT))
    assert (y.shape, y.device.type) == ((3, OUTPUT), "meta")


FAULTS: dict[str, tuple[int, ...]] = {
    "features": (3, 4, INPUT + 1),
    "no time steps": (3, 0, INPUT),
    "no batch": (4, INPUT),
    "no batch and as many steps as hidden units": (HIDDEN, INPUT),
    "one dimension too many": (1, 3, 4, INPUT),
}


@pytest.mark.parametrize("fault", FAULTS)
@each_model
def test_an_unfit_input_is_refused(model: type[nn.Module], fault: str) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        model(*SIZES)(torch.randn(FAULTS[fault]))


@each_model
def test_less_than_one_layer_is_refused(model: type[nn.Module]) -> None:
    kind, text = error(lambda: model(INPUT, HIDDEN, 0, OUTPUT))
    assert kind is ValueError
    assert "num_layers must be greater than zero" in text


def test_the_stack_of_cells_says_what_input_it_expects() -> None:
    for x in (torch.randn(3, 0, INPUT), torch.randn(4, INPUT)):
        expected = f"x should be [B, T, input_dim] with at least one time step, got {list(x.shape)}"
        assert error(lambda x=x: sr.MultiLayerRNN(*SIZES)(x)) == (ValueError, expected)
