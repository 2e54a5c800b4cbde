"""`help(scratchrnn.LSTM)` says all: every argument with its default, every shape that goes in and comes out."""

from __future__ import annotations

import inspect
import re

import pytest
import torch

import scratchrnn as sr

LAYERS = [sr.RNN, sr.LSTM, sr.GRU, sr.RecurrentLayer]
CELLS = [sr.RNNCell, sr.LSTMCell, sr.GRUCell]


@pytest.mark.parametrize("kind", LAYERS + CELLS, ids=lambda kind: kind.__name__)
def test_every_argument_stands_there_with_its_default(kind: type) -> None:
    said = inspect.getdoc(kind)
    assert said is not None
    listed = re.search(r"\nArgs:\n(.+?)\n\n", said, re.DOTALL)
    assert listed is not None
    described = dict(re.findall(r"^    ([\w, ]+): (.+(?:\n     +.+)*)", listed[1], re.MULTILINE))
    of = {name.strip(): text for names, text in described.items() for name in names.split(",")}
    arguments = inspect.signature(kind).parameters
    assert list(of) == list(arguments)
    for name, argument in arguments.items():
        default = re.search(r"Default: (\S+?)[.,]", of[name] + ".")
        if argument.default is inspect.Parameter.empty:
            assert default is None
        elif argument.default is None:
            assert of[name].endswith("Default: torch's own defaults.")
        else:
            assert default is not None
            assert default[1].strip('"') in (
                str(argument.default),
                f"{argument.default:g}" if name == "dropout" else "",
            )


@pytest.mark.parametrize("kind", LAYERS[:3], ids=lambda kind: kind.__name__)
def test_every_shape_stands_there(kind: type) -> None:
    options = {"proj_size": 1} if kind is sr.LSTM else {}
    layer = kind(3, 4, num_layers=2, bidirectional=True, **options)
    sizes = {"T": 5, "B": 6, "I": 3, "H": 4, "L": 2, "D": 2, "R": options.get("proj_size", 4), **options}
    said = inspect.getdoc(kind) or ""

    def shapes(name: str) -> list[list[int]]:
        (row,) = re.findall(rf"^    .*(?<!\S){re.escape(name)}(?!\w).*?   (.+)", said, re.MULTILINE)
        return [[eval(n, dict(sizes)) for n in shape.split(",")] for shape in re.findall(r"(?<!\w)\[([^]]+)\]", row)]

    x = torch.randn(shapes("input")[0])
    states = [torch.randn(shape) for shape in shapes("h_0")[: 1 + (kind is sr.LSTM)]]
    output, last = layer(x, tuple(states) if kind is sr.LSTM else states[0])
    assert list(output.shape) == shapes("output")[0]
    assert [s.shape for s in (last if kind is sr.LSTM else [last])] == [s.shape for s in states]
    if kind is not sr.LSTM:
        assert shapes("h_n")[0] == shapes("h_0")[0]
    for name, parameter in layer.named_parameters():
        listed = shapes(re.sub(r"l\d.*", "l{k}", name))
        assert list(parameter.shape) == listed[-1 if "ih_l1" in name else 0]
