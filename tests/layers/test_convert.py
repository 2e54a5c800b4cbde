"""`from_torch` and `to_torch`: the same weights, structure and settings in the other package's modules."""

import copy
import re

import pytest
import torch
from running import close_in_float32, equal, printed
from table import TWINNED, mgu
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.utils._pytree import tree_leaves

import scratchrnn as sr

OPTIONS = [
    {},
    {"num_layers": 2, "bias": False, "batch_first": True, "dropout": 0.25, "bidirectional": True},
    {"num_layers": 3, "dtype": torch.float64},
]


def conversions():
    """Our class, torch.nn's and options for them, and whether it is a single cell."""
    for row in TWINNED:
        projected = [{"num_layers": 2, "bidirectional": True, "proj_size": 2}] if row.projects else []
        for options in OPTIONS + projected:
            yield row, row.layer, row.twin, options, False
        for options in ({}, {"bias": False}, {"dtype": torch.float64}):
            yield row, row.single, row.single_twin, options, True


CONVERSIONS = [
    pytest.param(convert, source, target, row, options, single, id=f"{name}-{row}{'Cell' * single}-{options}")
    for row, ours, theirs, options, single in conversions()
    for name, convert, source, target in [("from", sr.from_torch, theirs, ours), ("to", sr.to_torch, ours, theirs)]
]
every_conversion = pytest.mark.parametrize(("convert", "source", "target", "row", "options", "single"), CONVERSIONS)
both_ways = pytest.mark.parametrize(
    ("convert", "source", "target"), [(sr.from_torch, nn, sr), (sr.to_torch, sr, nn)], ids=["from_torch", "to_torch"]
)


def example(row, options, single):
    """Random input and states."""
    dtype = options.get("dtype", torch.float32)
    if single:
        return torch.randn(2, 3, dtype=dtype), states(row, (2, 4), 4, dtype)
    count = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    return torch.randn(2, 2, 3, dtype=dtype), states(row, (count, 2, options.get("proj_size", 4)), 4, dtype)


def states(row, shape, width, dtype):
    hx = [torch.randn(shape, dtype=dtype)]
    hx += [torch.randn(*shape[:-1], width, dtype=dtype) for _ in row.cell.states[1:]]
    return hx[0] if len(hx) == 1 else tuple(hx)


# ------------------------------------------------------------------------------------------- a single module


@every_conversion
def test_a_converted_module_is_the_twin_with_equal_outputs(convert, source, target, row, options, single):
    module, inputs = source(3, 4, **options).eval(), example(row, options, single)
    converted = convert(module)
    assert type(converted) is type(target(3, 4, **options))
    assert printed(converted) == printed(module)
    assert list(converted.state_dict()) == list(module.state_dict())
    equal(converted.state_dict(), module.state_dict())
    close_in_float32(converted(*inputs), module(*inputs))


@every_conversion
def test_there_and_back_nothing_has_changed(convert, source, target, row, options, single):
    module, inputs = source(3, 4, **options).eval(), example(row, options, single)
    back = {sr.from_torch: sr.to_torch, sr.to_torch: sr.from_torch}[convert](convert(module))
    assert type(back) is type(module)
    assert repr(back) == repr(module)
    equal(back(*inputs), module(*inputs))


@every_conversion
def test_a_converted_module_trains_without_touching_the_original(convert, source, target, row, options, single):
    module, inputs = source(3, 4, **options).eval(), example(row, options, single)
    before = copy.deepcopy(module.state_dict())
    answer = module(*inputs)
    converted = convert(module)
    sum(y.sum() for y in tree_leaves(converted(*inputs))).backward()
    with torch.no_grad():
        for p in converted.parameters():
            assert p.grad is not None
            p.add_(1)
    assert all(p.grad is None for p in module.parameters())
    equal(module.state_dict(), before)
    equal(module(*inputs), answer)
    assert not any(map(torch.equal, tree_leaves(converted(*inputs)), tree_leaves(answer)))


@both_ways
@pytest.mark.parametrize("training", [True, False])
def test_the_training_flag_and_requires_grad_go_over(convert, source, target, training):
    module = source.LSTM(3, 4, 2).train(training)
    module.weight_ih_l0.requires_grad_(False)
    module.bias_hh_l1.requires_grad_(False)
    converted = convert(module)
    assert converted.training is training
    expected = {name: p.requires_grad for name, p in module.named_parameters()}
    assert {name: p.requires_grad for name, p in converted.named_parameters()} == expected
    assert all(type(p) is nn.Parameter for p in converted.parameters())


@both_ways
def test_settings_changed_after_construction_go_over(convert, source, target):
    module = source.GRU(3, 4, 2)
    module.dropout, module.batch_first = 0.5, True
    assert printed(convert(module)) == "GRU(3, 4, num_layers=2, batch_first=True, dropout=0.5)"


class Mine(sr.GRU):
    pass


def test_where_a_model_is_printed_one_sees_which_layers_are_ours():
    parts = {"rnn": nn.LSTM(3, 4, 2, batch_first=True), "cells": nn.ModuleList([nn.GRUCell(4, 4), nn.GRUCell(4, 4)])}
    model = nn.ModuleDict(parts)
    assert "scratchrnn" not in repr(model)
    assert repr(sr.from_torch(model)).splitlines() == [
        "ModuleDict(",
        "  (rnn): scratchrnn.LSTM(3, 4, num_layers=2, batch_first=True)",
        "  (cells): ModuleList(",
        "    (0-1): 2 x scratchrnn.GRUCell(4, 4)",
        "  )",
        ")",
    ]
    assert repr(sr.to_torch(sr.from_torch(model))) == repr(model)
    assert repr(sr.RecurrentLayer(mgu, 3, 4, bias=False)) == "scratchrnn.RecurrentLayer(MGU, 3, 4, bias=False)"
    assert repr(Mine(3, 4)) == "Mine(3, 4)"  # what it computes is its author's


@both_ways
def test_the_dropout_of_a_single_layer_is_not_warned_of_again(convert, source, target):
    with pytest.warns(UserWarning, match="dropout option"):
        module = source.RNN(3, 4, dropout=0.5)
    assert convert(module).dropout == 0.5


@both_ways
def test_any_truthy_bias_of_a_cell_goes_over(convert, source, target):
    assert printed(convert(source.GRUCell(3, 4, "relu"))) == "GRUCell(3, 4, bias=relu)"


@both_ways
def test_hooks_go_over(convert, source, target):
    seen = []
    module = source.LSTM(3, 4)
    module.register_forward_pre_hook(lambda m, args: seen.append(("before", type(m))))
    module.register_forward_hook(lambda m, args, kwargs, out: seen.append(("after", type(m), kwargs)), with_kwargs=True)
    module.register_full_backward_hook(lambda m, d_input, d_output: seen.append(("backward", type(m))))
    module.register_state_dict_pre_hook(lambda m, prefix, keep: seen.append(("state_dict", type(m))))
    converted = convert(module)
    assert seen == []
    x = torch.randn(2, 2, 3, requires_grad=True)
    converted(x, hx=None)[0].sum().backward()
    converted.state_dict()
    kind = target.LSTM
    assert seen == [("before", kind), ("after", kind, {"hx": None}), ("backward", kind), ("state_dict", kind)]


# ------------------------------------------------------------------------------------------------ whole models


class Tower(nn.Module):
    """Recurrent modules of `package` at several depths, one of them in two places, two of them with tied weights."""

    def __init__(self, package):
        super().__init__()
        self.embed = nn.Linear(3, 4)
        self.first = package.LSTM(4, 4, 2, bidirectional=True)
        self.inner = nn.ModuleDict({"list": nn.ModuleList([package.GRU(8, 4), package.RNN(4, 4, nonlinearity="relu")])})
        self.again = self.inner["list"][0]
        self.cell = package.LSTMCell(4, 4)
        self.other = package.GRUCell(4, 4)
        self.tied = package.GRUCell(4, 4)
        self.tied.weight_hh = self.other.weight_hh
        self.missing = None
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x):
        x = self.first(self.embed(x))[0] * self.scale
        x, _ = self.inner["list"][1](self.again(x)[0])
        h, c = self.cell(x[-1])
        return self.tied(self.other(h), c)


@both_ways
def test_a_whole_model_is_converted_in_place_of_its_parts(convert, source, target):
    model, x = Tower(source), torch.randn(5, 2, 3)
    expected = model(x)
    converted = convert(model)
    assert type(converted) is Tower
    own = {name: type(m) for name, m in Tower(target).named_modules(remove_duplicate=False)}
    assert {name: type(m) for name, m in converted.named_modules(remove_duplicate=False)} == own
    assert list(converted.state_dict()) == list(model.state_dict())
    close_in_float32(converted(x), expected)


@both_ways
def test_shared_modules_and_tied_weights_stay_shared(convert, source, target):
    converted = convert(Tower(source))
    assert converted.again is converted.inner["list"][0]
    assert converted.tied.weight_hh is converted.other.weight_hh
    assert converted.missing is None
    assert len(list(converted.parameters())) == len(list(Tower(source).parameters()))


@both_ways
def test_the_original_model_is_left_alone(convert, source, target):
    model, x = Tower(source), torch.randn(5, 2, 3)
    modules, parameters, before = list(model.modules()), list(model.parameters()), copy.deepcopy(model.state_dict())
    answer = model(x)
    with torch.no_grad():
        for tensor in convert(model).state_dict().values():
            tensor.fill_(0.5)
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    equal(model.state_dict(), before)
    equal(model(x), answer)


@both_ways
def test_weights_tied_within_a_layer_stay_tied(convert, source, target):
    layer, x = source.GRU(3, 4, bidirectional=True), torch.randn(5, 2, 3)
    layer.weight_hh_l0_reverse = layer.weight_hh_l0
    converted = convert(layer)
    assert converted.weight_hh_l0_reverse is converted.weight_hh_l0
    close_in_float32(converted(x), layer(x))


def test_one_recurrent_module_twice_in_a_list_stays_one():
    lstm = nn.LSTM(3, 3)
    converted = sr.from_torch(nn.ModuleList([lstm, nn.Linear(3, 3), lstm]))
    assert converted[0] is converted[2]
    assert type(converted[0]) is sr.LSTM


@both_ways
def test_a_converted_model_trains_as_the_original(convert, source, target):
    model, x = Tower(source), torch.randn(5, 2, 3)
    converted = convert(model)
    for m in (model, converted):
        (m(x) * torch.arange(8.0).view(2, 4)).sum().backward()
    gradients = [{name: p.grad for name, p in m.named_parameters()} for m in (model, converted)]
    close_in_float32(*gradients)


# ---------------------------------------------------------------------------------------------------- refusals


class Derived(nn.LSTM): ...


class DerivedOfOurs(sr.GRU): ...


class DerivedCell(nn.RNNCell): ...


class DerivedCellOfOurs(sr.LSTMCell): ...


def parametrized(package):
    return parametrizations.weight_norm(package.LSTM(3, 4), "weight_hh_l0")


NOT_EXACTLY = [
    (sr.from_torch, lambda: Derived(3, 4), "Derived", "torch.nn's"),
    (sr.from_torch, lambda: DerivedCell(3, 4), "DerivedCell", "torch.nn's"),
    (sr.from_torch, lambda: parametrized(nn), "ParametrizedLSTM", "torch.nn's"),
    (sr.to_torch, lambda: DerivedOfOurs(3, 4), "DerivedOfOurs", "scratchrnn's"),
    (sr.to_torch, lambda: DerivedCellOfOurs(3, 4), "DerivedCellOfOurs", "scratchrnn's"),
    (sr.to_torch, lambda: parametrized(sr), "ParametrizedLSTM", "scratchrnn's"),
]


@pytest.mark.parametrize(("convert", "make", "kind", "whose"), NOT_EXACTLY)
def test_what_may_compute_something_else_is_refused_by_name(convert, make, kind, whose):
    reason = (
        f"a {kind} is not exactly one of {whose} RNN, LSTM, GRU, RNNCell, LSTMCell, GRUCell and may compute something "
        "else (parametrized modules: torch.nn.utils.parametrize.remove_parametrizations first)"
    )
    for model, where in [(make(), "the module"), (nn.ModuleDict({"a": nn.Sequential(make())}), "submodule 'a.0'")]:
        with pytest.raises(TypeError, match=re.escape(f"cannot convert {where}: {reason}")):
            convert(model)


@both_ways
def test_where_there_is_nothing_to_convert_that_is_said(convert, source, target):
    whose = {nn: "torch.nn's", sr: "scratchrnn's"}[source]
    for model in (
        nn.Linear(3, 4),
        nn.Sequential(nn.Linear(3, 4)),
        target.LSTM(3, 4),
        nn.ModuleList([target.GRU(3, 4)]),
    ):
        text = f"nothing to convert: no RNN, LSTM, GRU or cell of {whose} in this {type(model).__name__}"
        with pytest.raises(ValueError, match=re.escape(text)):
            convert(model)


def with_old_weight_norm(module, name):
    nn.utils.weight_norm(module, name)


def pruned(module, name):
    prune.random_unstructured(module, name, amount=0.5)


def without_a_weight(module, name):
    delattr(module, name)


def with_a_further_one(module, name):
    module.extra = nn.Parameter(torch.ones(1))


def of_another_shape(module, name):
    setattr(module, name, nn.Parameter(torch.ones(2, 2)))


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
@both_ways
@pytest.mark.parametrize(
    "spoil", [with_old_weight_norm, pruned, without_a_weight, with_a_further_one, of_another_shape]
)
@pytest.mark.parametrize(("kind", "weight"), [("GRU", "weight_hh_l0"), ("LSTMCell", "weight_ih")])
def test_parameters_that_are_not_the_usual_ones_are_refused_by_name(convert, source, target, spoil, kind, weight):
    module = getattr(source, kind)(3, 4)
    spoil(module, weight)
    for model, where in [(module, "the module"), (nn.ModuleDict({"a": nn.Sequential(module)}), "submodule 'a.0'")]:
        with pytest.raises(ValueError, match=f"^cannot convert {where}: expected the parameters .*{weight}.*, got "):
            convert(model)


@both_ways
def test_a_refusal_leaves_the_model_alone(convert, source, target):
    model = nn.ModuleList([source.LSTM(3, 4), source.GRU(3, 4)])
    with_a_further_one(model[1], "")
    modules = list(model.modules())
    with pytest.raises(ValueError, match="submodule '1'"):
        convert(model)
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))


def test_a_layer_that_holds_more_than_its_parameters_is_refused_by_name():
    model = nn.ModuleDict({"lstm": nn.LSTM(3, 4)})
    model.lstm = model["lstm"]
    model["lstm"].register_buffer("mask", torch.ones(4))
    with pytest.raises(ValueError, match=r"cannot convert submodule 'lstm': it holds more than its parameters: mask"):
        sr.from_torch(model)


def test_a_cell_that_torch_does_not_have_is_said_to_be_that():
    model = nn.ModuleDict({"own": sr.RecurrentLayer(mgu, 3, 4)})
    with pytest.raises(TypeError, match=r"cannot convert submodule 'own': torch.nn has no layer of the cell 'MGU'"):
        sr.to_torch(model)


@pytest.mark.parametrize(
    ("cell", "instead", "made"),
    [
        (sr.cells.lstm, "LSTM(...)", sr.LSTM(3, 4, 2)),
        (sr.cells.gru, "GRU(...)", sr.GRU(3, 4, 2)),
        (sr.cells.elman, "RNN(..., nonlinearity='tanh')", sr.RNN(3, 4, 2, nonlinearity="tanh")),
        (sr.cells.elman_relu, "RNN(..., nonlinearity='relu')", sr.RNN(3, 4, 2, nonlinearity="relu")),
    ],
)
def test_for_a_layer_of_a_cell_of_torchs_the_class_that_is_converted_is_named(cell, instead, made):
    layer = sr.RecurrentLayer(cell, 3, 4, 2)
    said = "cannot convert the module: a RecurrentLayer is converted to none of torch.nn's, whatever its cell; make a"
    with pytest.raises(TypeError, match=re.escape(f"{said} scratchrnn.{instead} instead, which loads its state dict")):
        sr.to_torch(layer)
    made.load_state_dict(layer.state_dict())
    x = torch.randn(5, 3)
    assert torch.equal(layer(x)[0], made(x)[0])


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match=r"module should be a torch.nn.Module, got: int"):
        sr.from_torch(3)
