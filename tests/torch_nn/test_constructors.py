"""Layers and cells are built, and refuse to be built, as torch.nn's are."""

import inspect
import pydoc
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from running import outcome, printed, words_of_torch
from table import ROWS, TWINNED, mgu, mgu_update, mgu_walked, pair
from torch import nn

import scratchrnn as sr

LAYERS = ["RNN", "LSTM", "GRU"]
CELLS = ["RNNCell", "LSTMCell", "GRUCell"]
DROPOUT = "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
NO_PROJECTION = "proj_size argument is only supported for LSTM, not RNN or GRU"

layers = pytest.mark.parametrize("kind", LAYERS)
every_kind = pytest.mark.parametrize("kind", LAYERS + CELLS)


def build(package, kind, *args, **options):
    return getattr(package, kind)(*args, **options)


def layout(module):
    """Names, shapes, strides and dtypes of the parameters."""
    return [(name, p.shape, p.stride(), p.dtype) for name, p in module.named_parameters()]


# ------------------------------------------------------------------------------------------------- signatures

SIGNATURES = {
    "RNN": "input_size hidden_size num_layers=1 nonlinearity=tanh bias=True batch_first=False dropout=0.0 "
    "bidirectional=False device=None dtype=None",
    "LSTM": "input_size hidden_size num_layers=1 bias=True batch_first=False dropout=0.0 bidirectional=False "
    "proj_size=0 device=None dtype=None",
    "GRU": "input_size hidden_size num_layers=1 bias=True batch_first=False dropout=0.0 bidirectional=False "
    "device=None dtype=None",
    "RNNCell": "input_size hidden_size bias=True nonlinearity=tanh device=None dtype=None",
    "LSTMCell": "input_size hidden_size bias=True device=None dtype=None",
    "GRUCell": "input_size hidden_size bias=True device=None dtype=None",
}


@every_kind
def test_signature_has_the_names_order_and_defaults_of_torch(kind):
    parameters = inspect.signature(getattr(sr, kind)).parameters.values()
    shown = [p.name if p.default is p.empty else f"{p.name}={p.default}" for p in parameters]
    assert " ".join(shown) == SIGNATURES[kind]
    assert "<object" not in pydoc.render_doc(getattr(sr, kind), renderer=pydoc.plaintext)


POSITIONAL = [
    ("RNN", (2, 3, 1, "relu")),
    ("RNN", (2, 3, 2, "relu", False, True, 0.25, True)),
    ("LSTM", (2, 3, 1, False)),
    ("LSTM", (2, 3, 2, False, True, 0.25, True, 2, "cpu", torch.float64)),
    ("GRU", (2, 3, 1, False)),
    ("GRU", (2, 3, 2, False, True, 0.25, True)),
    ("RNNCell", (2, 3, False, "relu", "cpu", torch.float64)),
    ("LSTMCell", (2, 3, False, "cpu", torch.float64)),
    ("GRUCell", (2, 3, False, "cpu", torch.float64)),
]


@pytest.mark.parametrize(("kind", "args"), POSITIONAL)
def test_positional_arguments_mean_what_they_mean_in_torch(kind, args):
    ours, theirs = build(sr, kind, *args), build(nn, kind, *args)
    assert printed(ours) == printed(theirs)
    assert layout(ours) == layout(theirs)
    assert getattr(ours, "nonlinearity", None) == getattr(theirs, "nonlinearity", None)


@pytest.mark.parametrize(("kind", "args"), POSITIONAL)
def test_every_argument_can_be_a_keyword(kind, args):
    by_name = dict(zip(inspect.signature(getattr(sr, kind)).parameters, args, strict=False))
    ours, theirs = build(sr, kind, **by_name), build(nn, kind, **by_name)
    assert printed(ours) == printed(theirs)
    assert layout(ours) == layout(theirs)


WRONG_CALLS = [
    *[(kind, (2, 3), {"size": 1}, "unexpected keyword argument 'size'") for kind in LAYERS + CELLS],
    *[(kind, (2,), {}, "hidden_size") for kind in LAYERS + CELLS],
    *[(kind, (), {"hidden_size": 3}, "input_size") for kind in LAYERS + CELLS],
    ("RNN", (2, 3, 1, "relu"), {"nonlinearity": "tanh"}, "multiple values for argument 'nonlinearity'"),
    ("LSTM", (2, 3), {"nonlinearity": "tanh"}, "unexpected keyword argument 'nonlinearity'"),
    ("GRU", (2, 3), {"nonlinearity": "tanh"}, "unexpected keyword argument 'nonlinearity'"),
]


@pytest.mark.parametrize(("kind", "args", "options", "text"), WRONG_CALLS)
def test_arguments_that_do_not_fit_the_signature_are_a_type_error_as_in_torch(kind, args, options, text):
    assert outcome(build, nn, kind, *args, **options)[0] is TypeError
    with pytest.raises(TypeError, match=text):
        build(sr, kind, *args, **options)


@pytest.mark.parametrize(("kind", "extra"), [("GRU", 0), ("GRU", 2), ("RNN", 0), ("RNN", 2)])
def test_a_positional_projection_is_refused_where_there_is_none(kind, extra):
    args = (2, 3, 1, *(("tanh",) if kind == "RNN" else ()), True, False, 0.0, False)
    build(sr, kind, *args)
    with pytest.raises(TypeError, match="positional argument"):
        build(sr, kind, *args, extra)


# --------------------------------------------------------------------------------------------------- refusals

USUAL = {"input_size": 3, "hidden_size": 4, "num_layers": 2}


def of_layers(options, error, text):
    return [(kind, options, error, text) for kind in LAYERS]


def is_type(name, wanted, value):
    return of_layers({name: value}, TypeError, f"{name} should be of type {wanted}, got: {type(value).__name__}")


REFUSED = [
    *[(kind, {"proj_size": p}, ValueError, NO_PROJECTION) for kind in ("RNN", "GRU") for p in (0, 2, None)],
    *[
        ("RNN", {"nonlinearity": n}, ValueError, f"Unknown nonlinearity '{n}'. Select from 'tanh' or 'relu'.")
        for n in ("garbage", "Tanh", None)
    ],
    *of_layers({"dropout": "x"}, ValueError, "could not convert string to float: 'x'"),
    *of_layers({"dropout": None}, TypeError, "float() argument must be a string or a real number, not 'NoneType'"),
    *[
        case
        for p in ("0.5", True, False, -0.1, 1.01, float("nan"), torch.tensor(0.5))
        for case in of_layers({"dropout": p}, ValueError, DROPOUT)
    ],
    *is_type("bias", "bool", 1),
    *is_type("bias", "bool", None),
    *is_type("batch_first", "bool", 0),
    *is_type("batch_first", "bool", "yes"),
    *[
        case
        for size in ("input_size", "hidden_size")
        for case in (
            *is_type(size, "int", 2.0),
            *is_type(size, "int", "2"),
            *is_type(size, "int", np.int64(2)),
            *of_layers({size: 0}, ValueError, f"{size} must be greater than zero"),
            *of_layers({size: -1}, ValueError, f"{size} must be greater than zero"),
        )
    ],
    *of_layers({"num_layers": 0}, ValueError, "num_layers must be greater than zero"),
    *of_layers({"num_layers": -1}, ValueError, "num_layers must be greater than zero"),
    ("LSTM", {"proj_size": -1}, ValueError, "proj_size should be a positive integer or zero to disable projections"),
    ("LSTM", {"proj_size": 4}, ValueError, "proj_size has to be smaller than hidden_size"),
    ("LSTM", {"proj_size": 5}, ValueError, "proj_size has to be smaller than hidden_size"),
]


@words_of_torch
@pytest.mark.parametrize(("kind", "options", "error", "text"), REFUSED)
def test_an_unfit_argument_is_refused_with_the_type_and_text_of_torch(kind, options, error, text):
    assert outcome(build, sr, kind, **USUAL | options) == (error, text)
    assert outcome(build, nn, kind, **USUAL | options) == (error, text)


@layers
@pytest.mark.parametrize("value", [1.5, "2", None])
def test_a_number_of_layers_that_is_none_is_a_type_error_as_in_torch(kind, value):
    text = f"num_layers should be of type int, got: {type(value).__name__}"
    assert outcome(build, sr, kind, 3, 4, value) == (TypeError, text)
    assert outcome(build, nn, kind, 3, 4, value)[0] is TypeError


@pytest.mark.parametrize("value", [1.5, "2", None])
def test_a_projection_that_is_no_integer_is_a_type_error(value):
    text = f"proj_size should be of type int, got: {type(value).__name__}"
    assert outcome(sr.LSTM, 3, 4, proj_size=value) == (TypeError, text)


# Each rung is an unfit argument; rungs further down are checked later.
LADDER = [
    ("RNN GRU", {"proj_size": 9}, NO_PROJECTION),
    ("RNN", {"nonlinearity": "x"}, "Unknown nonlinearity 'x'. Select from 'tanh' or 'relu'."),
    ("RNN LSTM GRU", {"dropout": "x"}, "could not convert string to float: 'x'"),
    ("RNN LSTM GRU", {"dropout": 2}, DROPOUT),
    ("RNN LSTM GRU", {"bias": 1}, "bias should be of type bool, got: int"),
    ("RNN LSTM GRU", {"batch_first": 1}, "batch_first should be of type bool, got: int"),
    ("RNN LSTM GRU", {"input_size": 2.5}, "input_size should be of type int, got: float"),
    ("RNN LSTM GRU", {"input_size": 0}, "input_size must be greater than zero"),
    ("RNN LSTM GRU", {"hidden_size": 2.5}, "hidden_size should be of type int, got: float"),
    ("RNN LSTM GRU", {"hidden_size": 0}, "hidden_size must be greater than zero"),
    ("RNN LSTM GRU", {"num_layers": 0}, "num_layers must be greater than zero"),
    ("LSTM", {"proj_size": -1}, "proj_size should be a positive integer or zero to disable projections"),
    ("LSTM", {"proj_size": 9}, "proj_size has to be smaller than hidden_size"),
]


@words_of_torch
@layers
def test_the_checks_come_in_the_order_of_torch(kind):
    rungs = [(options, text) for kinds, options, text in LADDER if kind in kinds.split()]
    for k, (first, text) in enumerate(rungs):
        later = {name: value for options, _ in reversed(rungs[k:]) for name, value in options.items()}
        options = USUAL | later | first
        for package in (sr, nn):
            found = outcome(build, package, kind, **options)
            assert found is not None
            assert found[1] == text, f"{package.__name__}.{kind}(**{options})"


@layers
def test_dropout_of_a_single_layer_warns_and_builds(kind):
    match = "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers"
    for package in (sr, nn):
        with pytest.warns(UserWarning, match=match) as caught:
            module = build(package, kind, 3, 4, dropout=0.5)
        assert module.dropout == 0.5
        assert str(caught[0].message).endswith("greater than 1, but got dropout=0.5 and num_layers=1")


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_dropout_warning_points_at_the_line_that_builds_the_layer(row):
    here = inspect.currentframe().f_lineno
    with pytest.warns(UserWarning, match="dropout option") as caught:
        row.layer(3, 4, dropout=0.5)
    assert (caught[0].filename, caught[0].lineno) == (__file__, here + 2)


@words_of_torch
@layers
def test_the_dropout_warning_comes_before_the_check_of_bias(kind):
    for package in (sr, nn):
        with pytest.warns(UserWarning, match="dropout option"), pytest.raises(TypeError, match="bias should be"):
            build(package, kind, 3, 4, bias=1, dropout=0.5)


@layers
@pytest.mark.parametrize(("num_layers", "dropout"), [(1, 0), (1, 0.0), (2, 0.5), (2, 1), (2, 1.0)])
def test_a_fit_dropout_is_kept_as_a_float_without_a_warning(kind, num_layers, dropout):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = build(sr, kind, 3, 4, num_layers, dropout=dropout)
    assert type(module.dropout) is float
    assert module.dropout == dropout


@layers
def test_what_torch_does_not_check_is_taken(kind):
    ours, theirs = (build(package, kind, **USUAL | {"input_size": True}) for package in (sr, nn))
    assert layout(ours) == layout(theirs)


@layers
@pytest.mark.parametrize("value", [1, 0, 2, "False", "", None, np.bool_(True), torch.tensor(True)], ids=repr)
def test_a_bidirectional_that_torch_takes_and_cannot_run_is_refused_at_once(kind, value):
    text = f"bidirectional should be of type bool, got: {type(value).__name__}"
    assert outcome(build, sr, kind, 3, 4, bidirectional=value) == (TypeError, text)
    theirs = build(nn, kind, 3, 4, bidirectional=value)
    assert outcome(theirs, torch.randn(5, 2, 3))[0] is TypeError


INTEGERS = [np.int64(2), np.int8(2), np.uint8(2), torch.tensor(2)]


@layers
@pytest.mark.parametrize("value", INTEGERS, ids=repr)
def test_the_number_of_layers_may_be_an_integer_of_numpy_or_torch_as_in_torch(kind, value):
    ours, theirs = (build(package, kind, 3, 4, num_layers=value) for package in (sr, nn))
    assert layout(ours) == layout(theirs)
    assert printed(ours) == printed(theirs)
    assert type(ours.num_layers) is int
    assert ours(torch.randn(5, 2, 3))[1][0].shape == theirs(torch.randn(5, 2, 3))[1][0].shape


@pytest.mark.parametrize("value", [*INTEGERS, np.int64(0)], ids=repr)
def test_a_projection_may_be_an_integer_of_numpy_or_torch_as_in_torch(value):
    ours, theirs = (build(package, "LSTM", 3, 4, proj_size=value) for package in (sr, nn))
    assert layout(ours) == layout(theirs)
    assert printed(ours) == printed(theirs)
    assert type(ours.proj_size) is int
    assert ours(torch.randn(5, 2, 3))[0].shape == (5, 2, value or 4)


# ------------------------------------------------------------------------------------------- device and dtype


@every_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
def test_dtype_reaches_every_parameter(kind, dtype):
    ours, theirs = (build(package, kind, 3, 4, dtype=dtype) for package in (sr, nn))
    assert {p.dtype for p in ours.parameters()} == {dtype}
    assert layout(ours) == layout(theirs)


@every_kind
def test_an_integer_dtype_is_refused_as_in_torch(kind):
    ours, theirs = (outcome(build, package, kind, 3, 4, dtype=torch.int32) for package in (sr, nn))
    assert ours == theirs
    assert ours[0] is RuntimeError


@every_kind
def test_the_default_dtype_is_taken(kind):
    torch.set_default_dtype(torch.float64)
    try:
        assert {p.dtype for p in build(sr, kind, 3, 4).parameters()} == {torch.float64}
    finally:
        torch.set_default_dtype(torch.float32)


def in_context(kind, package, **options):
    with torch.device("meta"):
        return build(package, kind, 3, 4, **options)


def by_keyword(kind, package, **options):
    return build(package, kind, 3, 4, device="meta", **options)


@every_kind
@pytest.mark.parametrize("make", [in_context, by_keyword])
def test_meta_parameters_have_the_shapes_and_strides_of_torch(kind, make):
    options = {"num_layers": 2, "bidirectional": True} if kind in LAYERS else {}
    ours, theirs = (make(kind, package, **options) for package in (sr, nn))
    assert {p.device.type for p in ours.parameters()} == {"meta"}
    assert layout(ours) == layout(theirs)


@pytest.mark.parametrize(
    "make",
    [
        *[pytest.param(row.layer, id=row.name) for row in ROWS],
        *[pytest.param(row.single, id=f"{row.name}Cell") for row in TWINNED],
    ],
)
def test_skip_init_builds_on_the_cpu_and_draws_no_random_numbers(make):
    before = torch.get_rng_state()
    make = make if isinstance(make, partial) else partial(make)  # skip_init wants the class itself
    skipped = nn.utils.skip_init(make.func, *make.args, 3, 4, **make.keywords)
    assert torch.equal(torch.get_rng_state(), before)
    assert {p.device.type for p in skipped.parameters()} == {"cpu"}
    assert layout(skipped) == layout(make(3, 4))


# ------------------------------------------------------------------------------------------------------ cells


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("bias", ["relu", 1, [0], 0, None, ""])
def test_a_cell_takes_any_bias_for_its_truth(kind, bias):
    ours, theirs = (build(package, kind, 10, 20, bias) for package in (sr, nn))
    assert layout(ours) == layout(theirs)
    assert ours.bias == theirs.bias
    assert printed(ours) == printed(theirs)


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_of_hidden_size_zero_builds_and_runs(kind):
    ours, theirs = (build(package, kind, 3, 0) for package in (sr, nn))
    x = torch.randn(2, 3)
    shapes = [[s.shape for s in cell(x)] if kind == "LSTMCell" else cell(x).shape for cell in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert layout(ours) == layout(theirs)


def test_rnn_cell_takes_any_nonlinearity_and_refuses_it_in_the_call():
    for package in (sr, nn):
        cell = package.RNNCell(3, 4, nonlinearity="garbage")
        assert outcome(cell, torch.randn(2, 3)) == (RuntimeError, "Unknown nonlinearity: garbage")


# ------------------------------------------------------------------------------------------ layers of any cell


@pytest.mark.parametrize(
    "cell",
    [None, "LSTM", 3, sr.LSTM, nn.LSTMCell(3, 4), mgu_update],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_recurrent_layer_wants_a_cell(cell):
    text = f"cell should be of type Cell, got: {type(cell).__name__}"
    assert outcome(sr.RecurrentLayer, cell, 3, 4) == (TypeError, text)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_recurrent_layer_of_any_cell_refuses_what_the_built_in_ones_refuse(row):
    for options, text in [(options, text) for kinds, options, text in LADDER if kinds == "RNN LSTM GRU"]:
        assert outcome(sr.RecurrentLayer, row.cell, **USUAL | options)[1] == text


@pytest.mark.parametrize("cell", [mgu, mgu_walked, pair], ids=lambda cell: cell.name)
def test_a_cell_that_computes_with_h_prev_cannot_be_projected(cell):
    with pytest.raises(
        ValueError, match=f"proj_size needs a cell that reads h_prev through .* but '{cell.name}' computes"
    ):
        sr.RecurrentLayer(cell, 3, 4, proj_size=1)
