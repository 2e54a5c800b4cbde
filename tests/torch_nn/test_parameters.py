"""Parameters and attributes are torch.nn's, and a weight that changes is seen by the next call."""

import copy
import gc
import itertools
import math
import re
from typing import NamedTuple

import pytest
import torch
from running import close, close_in_float32, printed, words_of_torch
from table import ROWS, TWINNED, Row, coupled
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.nn.utils.rnn import pack_sequence
from torch.utils._pytree import tree_leaves

import scratchrnn as sr

# --------------------------------------------------------------------------------- what is compared, and how


class Pair(NamedTuple):
    """One of our modules beside torch.nn's twin of it."""

    row: Row
    single: bool

    def make(self, **options):
        """Ours and torch.nn's, built from the same seed."""
        makers = (self.row.single, self.row.single_twin) if self.single else (self.row.layer, self.row.twin)
        stacked = {} if self.single else {"num_layers": 2, "bidirectional": True}
        return tuple(seeded(maker, 3, 4, **stacked | options) for maker in makers)

    @property
    def weight(self):
        return "weight_hh" if self.single else "weight_hh_l0"

    def example(self, dtype=torch.float32):
        """Input and states."""
        shapes = [(9, 3), (9, 4)] if self.single else [(5, 2, 3), (4, 2, 4)]
        draw = torch.Generator().manual_seed(1)
        x, *hx = (
            torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype)
            for shape in (shapes[0], *shapes[1:] * len(self.row.cell.states))
        )
        return x, hx[0] if len(hx) == 1 else tuple(hx)

    def answers(self, module, dtype=torch.float32):
        """Everything that `module` returns for the example."""
        return tree_leaves(module(*self.example(dtype)))

    def gradients(self, module, dtype=torch.float32):
        """The gradients of all parameters, for random gradients of all that is returned."""
        module.zero_grad()
        answers = self.answers(module, dtype)
        draw = torch.Generator().manual_seed(2)
        torch.autograd.backward(answers, [torch.randn(y.shape, generator=draw).to(dtype) for y in answers])
        return {name: p.grad for name, p in module.named_parameters()}


PAIRS = [Pair(row, single) for row in TWINNED for single in (False, True)]
pairs = pytest.mark.parametrize("pair", PAIRS, ids=lambda p: p.row.name + "Cell" * p.single)
layer_pairs = pytest.mark.parametrize("pair", [p for p in PAIRS if not p.single], ids=lambda p: p.row.name)


def seeded(make, *args, **options):
    torch.manual_seed(3)
    return make(*args, **options)


def answer(call, *args):
    """What `call` returns, or the type and text of what it raises."""
    try:
        return call(*args)
    except Exception as error:
        return type(error), str(error)


def new_value(tensor):
    """Another value for a weight, the same at each call."""
    return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(7), dtype=tensor.dtype)


def plain(module):
    return {name: value for name, value in vars(module).items() if not name.startswith("_")}


def configurations():
    flags = list(itertools.product([True, False], repeat=3))
    for row in TWINNED:
        for layers, dropout in [(1, 0.0), (3, 0), (3, 0.25)]:
            for bias, batch_first, bidirectional in flags:
                for proj_size in [0, 2] if row.projects else [0]:
                    options = {
                        "num_layers": layers,
                        "bias": bias,
                        "batch_first": batch_first,
                        "dropout": dropout,
                        "bidirectional": bidirectional,
                    } | ({"proj_size": proj_size} if proj_size else {})
                    shown = [f"{name}={value}" for name, value in options.items()]
                    yield pytest.param(row.layer, row.twin, options, id=",".join([row.name, *shown]))
        for bias in (True, False):
            yield pytest.param(row.single, row.single_twin, {"bias": bias}, id=f"{row.name}Cell,bias={bias}")


configured = pytest.mark.parametrize(("ours", "theirs", "options"), list(configurations()))

# ------------------------------------------------------------------------ names, numbers, attributes, repr


@configured
def test_the_same_seed_gives_the_names_order_shapes_and_numbers_of_torch(ours, theirs, options):
    ours, theirs = (seeded(make, 3, 4, **options) for make in (ours, theirs))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert list(ours._parameters) == list(theirs._parameters)
    assert list(ours.buffers()) == []
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    for module in (ours, theirs):
        seeded(module.reset_parameters)
    assert all(map(torch.equal, ours.parameters(), theirs.parameters()))


@configured
def test_the_attributes_of_torch_are_in_the_dict(ours, theirs, options):
    ours, theirs = plain(ours(3, 4, **options)), plain(theirs(3, 4, **options))
    assert {name: ours.get(name) for name in theirs} == theirs
    assert {name: type(ours[name]) for name in theirs} == {name: type(value) for name, value in theirs.items()}


@configured
def test_repr_is_that_of_torch(ours, theirs, options):
    ours, theirs = (make(3, 4, **options) for make in (ours, theirs))
    assert printed(ours) == printed(theirs)
    assert ours.extra_repr() == theirs.extra_repr()


@configured
def test_the_lists_of_weights_are_those_of_torch(ours, theirs, options):
    ours, theirs = (seeded(make, 3, 4, **options) for make in (ours, theirs))
    if not isinstance(ours, sr.RNNBase):
        return
    assert ours._all_weights == theirs._all_weights
    assert ours._flat_weights_names == theirs._flat_weights_names
    assert [len(weights) for weights in ours.all_weights] == [len(weights) for weights in theirs.all_weights]
    parameters = list(ours.parameters())
    for flat in (ours._flat_weights, list(itertools.chain(*ours.all_weights))):
        assert len(flat) == len(parameters)
        assert all(w is p for w, p in zip(flat, parameters, strict=True))


def test_a_layer_of_your_own_cell_has_the_same_layout():
    cell, G = coupled, 3
    layer = seeded(sr.RecurrentLayer, cell, 3, 4, 2, bidirectional=True, proj_size=2)
    first = {"weight_ih": (G * 4, 3), "weight_hh": (G * 4, 2), "bias_ih": (G * 4,), "bias_hh": (G * 4,)}
    first |= {"weight_hr": (2, 4)}
    second = first | {"weight_ih": (G * 4, 2 * 2)}
    expected = [
        (f"{kind}_l{k}{suffix}", shape)
        for k, shapes in enumerate((first, second))
        for suffix in ("", "_reverse")
        for kind, shape in shapes.items()
    ]
    assert [(name, tuple(p.shape)) for name, p in layer.named_parameters()] == expected
    torch.manual_seed(3)
    for name, p in layer.named_parameters():
        assert torch.equal(p, torch.empty(p.shape).uniform_(-1 / math.sqrt(4), 1 / math.sqrt(4))), name
    assert layer.mode == cell.name


def test_the_base_classes_are_exported():
    assert {"RNNBase", "RNNCellBase", "RecurrentLayer"} <= set(sr.__all__)
    for kind in ("RNN", "LSTM", "GRU"):
        assert isinstance(getattr(sr, kind)(3, 4), sr.RNNBase)
        assert isinstance(getattr(sr, kind + "Cell")(3, 4), sr.RNNCellBase)


# ---------------------------------------------------------------------------------- methods for subclasses

PACKED = pack_sequence([torch.ones(4, 3), torch.ones(2, 3)])
X, ROWS_OF_PACKED, SIZES = torch.ones(5, 2, 3), PACKED.data, PACKED.batch_sizes
H = torch.arange(4.0 * 2 * 4).reshape(4, 2, 4)
METHOD_CALLS = [
    *[("check_input", *args) for args in [(X, None), (ROWS_OF_PACKED, SIZES)]],
    *[("check_input", *args) for args in [(X[0], None), (X, SIZES), (X[..., :2], None), (X.double(), None)]],
    *[("get_expected_hidden_size", *args) for args in [(X, None), (ROWS_OF_PACKED, SIZES)]],
    ("check_hidden_size", H, (4, 2, 4)),
    ("check_hidden_size", H, (4, 3, 4)),
    ("check_hidden_size", H, (4, 3, 4), "wanted {}, not {}"),
    ("permute_hidden", H, None),
    ("flatten_parameters",),
    ("extra_repr",),
    ("_weights_have_changed",),
    ("_update_flat_weights",),
]
ONE_STATE = [
    *[("check_forward_args", X, h, None) for h in (H, H[:2], H[:, :1], H[..., :3])],
    ("check_forward_args", ROWS_OF_PACKED, H, SIZES),
    ("permute_hidden", H, torch.tensor([1, 0])),
]
TWO_STATES = [
    *[("get_expected_cell_size", *args) for args in [(X, None), (ROWS_OF_PACKED, SIZES)]],
    *[("check_forward_args", X, hc, None) for hc in [(H, H), (H[:2], H[:3]), (H, H[:, :1]), (H, H[..., :3])]],
    ("check_forward_args", ROWS_OF_PACKED, (H, H), SIZES),
    ("permute_hidden", (H, H + 1), torch.tensor([1, 0])),
]


@words_of_torch
@layer_pairs
@pytest.mark.parametrize("batch_first", [False, True])
def test_the_methods_for_subclasses_return_and_raise_what_those_of_torch_do(pair, batch_first):
    ours, theirs = pair.make(batch_first=batch_first)
    for method, *args in METHOD_CALLS + (ONE_STATE if len(pair.row.cell.states) == 1 else TWO_STATES):
        results = [answer(getattr(module, method), *args) for module in (ours, theirs)]
        leaves = [tree_leaves(result) for result in results]
        assert len(leaves[0]) == len(leaves[1]), (method, results)
        for mine, other in zip(*leaves, strict=True):
            assert torch.equal(mine, other) if isinstance(other, torch.Tensor) else mine == other, (method, results)


def test_the_expected_sizes_of_an_lstm_with_a_projection_are_those_of_torch():
    ours, theirs = (package.LSTM(3, 4, 2, bidirectional=True, proj_size=2) for package in (sr, nn))
    for method in ("get_expected_hidden_size", "get_expected_cell_size"):
        assert getattr(ours, method)(X, None) == getattr(theirs, method)(X, None)


class Careful(sr.GRU):
    def check_input(self, input, batch_sizes):
        raise LookupError("input seen")


class CarefulOfStates(sr.GRU):
    def check_forward_args(self, input, hidden, batch_sizes):
        raise LookupError("states seen")


def test_a_subclass_can_check_for_itself():
    with pytest.raises(LookupError, match="input seen"):
        Careful(3, 4)(X)
    with pytest.raises(LookupError, match="states seen"):
        CarefulOfStates(3, 4)(X, H[:1])


# -------------------------------------------------------------------------------------------- state dicts


@pairs
def test_state_dicts_go_both_ways(pair):
    for source, target in itertools.permutations((0, 1)):
        modules = pair.make()
        with torch.no_grad():
            for p in modules[source].parameters():
                p.copy_(new_value(p))
        is_different = [not torch.equal(a, b) for a, b in zip(*map(pair.answers, modules), strict=True)]
        assert all(is_different)
        assert str(modules[target].load_state_dict(modules[source].state_dict())) == "<All keys matched successfully>"
        close_in_float32(*map(pair.answers, modules))


@pairs
def test_missing_and_unexpected_keys_are_reported_as_by_torch(pair):
    for spoil in (lambda d: d.pop(pair.weight), lambda d: d.update(new=torch.ones(1)), lambda d: d.clear()):
        found = []
        for module in pair.make():
            state_dict = module.state_dict()
            spoil(state_dict)
            found.append(answer(module.load_state_dict, state_dict))
        assert found[0] == found[1]
        assert found[0][0] is RuntimeError
        assert found[0][1].startswith(f"Error(s) in loading state_dict for {type(module).__name__}:")


# ------------------------------------------------------------------------------------- weights that change


def in_place(module, name):
    with torch.no_grad():
        getattr(module, name).copy_(new_value(getattr(module, name)))


def through_data(module, name):
    getattr(module, name).data = new_value(getattr(module, name))


def loaded(module, name, **options):
    module.load_state_dict(module.state_dict() | {name: new_value(getattr(module, name))}, **options)


def assigned(module, name):
    loaded(module, name, assign=True)


def set_as_attribute(module, name):
    setattr(module, name, nn.Parameter(new_value(getattr(module, name))))


def registered(module, name):
    module.register_parameter(name, nn.Parameter(new_value(getattr(module, name))))


def as_plain_tensor(module, name):
    value = new_value(getattr(module, name))
    delattr(module, name)
    setattr(module, name, value)


def step_of(optimizer, **options):
    def stepped(module, name):
        made = optimizer(module.parameters(), **options)
        for p in module.parameters():
            p.grad = new_value(p)
        made.step()

    stepped.__name__ = optimizer.__name__
    return stepped


def old_weight_norm(module, name):
    nn.utils.weight_norm(module, name)
    with torch.no_grad():
        getattr(module, name + "_g").mul_(2)


def weight_norm(module, name):
    parametrizations.weight_norm(module, name)
    with torch.no_grad():
        getattr(module.parametrizations, name).original0.mul_(2)


def spectral_norm(module, name):
    in_place(module, name)
    seeded(parametrizations.spectral_norm, module, name)
    module.eval()  # in training each look at the weight goes one step of the power iteration


def orthogonal(module, name):
    seeded(parametrizations.orthogonal, module, name)


def pruned(module, name):
    seeded(prune.random_unstructured, module, name, amount=0.4)


REPARAMETRIZATIONS = [old_weight_norm, weight_norm, spectral_norm, orthogonal, pruned]
CHANGES = [
    *(in_place, through_data, loaded, assigned, set_as_attribute, registered, as_plain_tensor),
    step_of(torch.optim.SGD, lr=0.1),
    step_of(torch.optim.Adam, lr=0.1),
    *REPARAMETRIZATIONS,
]
reparametrized = pytest.mark.parametrize("change", REPARAMETRIZATIONS, ids=lambda change: change.__name__)
old_weight_norm_may_warn = pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")


@old_weight_norm_may_warn
@pairs
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_the_next_call_sees_a_changed_weight(pair, change):
    ours, theirs = pair.make()
    before = pair.answers(ours)
    for module in (ours, theirs):
        change(module, pair.weight)
    after = pair.answers(ours)
    close_in_float32(after, pair.answers(theirs))
    assert not any(map(torch.equal, before, after))


@old_weight_norm_may_warn
@pairs
@reparametrized
def test_gradients_reach_what_a_weight_is_computed_from(pair, change):
    gradients = []
    for module in pair.make():
        change(module, pair.weight)
        gradients.append(pair.gradients(module))
    assert list(gradients[0]) == list(gradients[1])
    assert pair.weight not in gradients[0]
    assert all(g is not None and g.abs().sum() > 0 for g in gradients[0].values())
    close_in_float32(*gradients)


REMOVALS = [
    pytest.param(old_weight_norm, nn.utils.remove_weight_norm, id="old_weight_norm"),
    pytest.param(pruned, prune.remove, id="pruned"),
    pytest.param(orthogonal, parametrize.remove_parametrizations, id="orthogonal"),
]


@old_weight_norm_may_warn
@layer_pairs
@pytest.mark.parametrize(("change", "remove"), REMOVALS)
def test_a_computed_weight_leaves_the_flat_weights_one_parameter_short_until_it_is_removed(pair, change, remove):
    ours, _ = pair.make()
    count = len(ours._flat_weights)
    change(ours, pair.weight)
    expected = pair.answers(ours)
    assert len(ours._flat_weights) == count
    assert sum(isinstance(w, nn.Parameter) for w in ours._flat_weights) == count - 1
    remove(ours, pair.weight)
    assert sum(isinstance(w, nn.Parameter) for w in ours._flat_weights) == count
    close_in_float32(pair.answers(ours), expected)


@layer_pairs
def test_the_flat_weights_follow_set_and_delete_at_once(pair):
    ours, _ = pair.make()
    place = ours._flat_weights_names.index(pair.weight)
    value = nn.Parameter(new_value(getattr(ours, pair.weight)))
    setattr(ours, pair.weight, value)
    assert ours._flat_weights[place] is value
    assert ours.all_weights[0][1] is value
    delattr(ours, pair.weight)
    assert not any(w is value for w in ours._flat_weights)
    tensor = value.detach() + 1
    setattr(ours, pair.weight, tensor)
    assert ours._flat_weights[place] is tensor


@layer_pairs
def test_the_flat_weights_can_neither_be_set_nor_written_into(pair):
    ours, _ = pair.make()
    before = pair.answers(ours)
    with pytest.raises(AttributeError, match=r"_flat_weights of \w+ cannot be set.*torch.nn.utils.parametrize"):
        ours._flat_weights = [torch.zeros_like(w) for w in ours._flat_weights]
    with pytest.raises(TypeError, match="does not support item assignment"):
        ours._flat_weights[1] = torch.zeros_like(ours._flat_weights[1])
    assert all(map(torch.equal, pair.answers(ours), before))


class Seen(nn.Dropout):
    """Dropout that keeps all that it has returned."""

    def forward(self, weight):
        self.returned = [*getattr(self, "returned", []), super().forward(weight)]
        return self.returned[-1]


@layer_pairs
def test_recurrent_dropout_by_a_parametrization_drops_once_for_a_whole_call(pair):
    ours, theirs = pair.make()
    for name in [name for name in ours._flat_weights_names if name.startswith("weight_hh")]:
        parametrize.register_parametrization(ours, name, Seen(0.5))
    for seen in ours.parametrizations.values():
        seen[0].returned = []
    found = pair.answers(ours)
    dropped = {name: seen[0].returned for name, seen in ours.parametrizations.items()}
    assert [len(returned) for returned in dropped.values()] == [1] * 4
    assert all((returned[0] == 0).any() for returned in dropped.values())
    weights = {name: returned[0] for name, returned in dropped.items()}
    close_in_float32(found, tree_leaves(torch.func.functional_call(theirs, weights, pair.example())))
    close_in_float32(pair.answers(ours.eval()), pair.answers(theirs))


@pairs
def test_a_plain_tensor_over_a_parameter_is_refused_as_by_torch(pair):
    found = [answer(setattr, module, pair.weight, torch.ones(4, 4)) for module in pair.make()]
    assert found[0] == found[1]
    assert found[0][0] is TypeError


@pairs
def test_a_missing_weight_is_no_error_in_a_move_and_is_named_in_the_call(pair):
    ours, _ = pair.make()
    delattr(ours, pair.weight)
    assert ours.to(torch.float64) is ours
    assert {p.dtype for p in ours.parameters()} == {torch.float64}
    with pytest.raises((AttributeError, RuntimeError), match=pair.weight):
        pair.answers(ours, torch.float64)


@pairs
@pytest.mark.parametrize(("optimizer", "options"), [(torch.optim.SGD, {"momentum": 0.9}), (torch.optim.Adam, {})])
def test_training_with_clipped_gradients_goes_as_with_torch(pair, optimizer, options):
    modules, norms = pair.make(), []
    for module in modules:
        made = optimizer(module.parameters(), lr=0.1, **options)
        for _ in range(3):
            pair.gradients(module)
            norms.append(nn.utils.clip_grad_norm_(module.parameters(), 0.5))
            made.step()
    assert min(norms) > 0.5
    close_in_float32(norms[:3], norms[3:])
    close_in_float32(*(module.state_dict() for module in modules))


# ----------------------------------------------------------------------------------------- moves and ties


@pytest.fixture(params=[False, True], ids=["set_data", "swap"])
def swap(request):
    """Whether a conversion swaps the parameters instead of setting their data."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(request.param)
    yield request.param
    torch.__future__.set_swap_module_params_on_conversion(before)


CONVERSIONS = {
    "to": (lambda m: m.to(torch.float64), torch.float64),
    "double": (nn.Module.double, torch.float64),
    "half": (nn.Module.half, torch.float16),
    "bfloat16": (nn.Module.bfloat16, torch.bfloat16),
    "cpu": (nn.Module.cpu, torch.float32),
    "share_memory": (nn.Module.share_memory, torch.float32),
}


@pairs
@pytest.mark.usefixtures("swap")
@pytest.mark.parametrize("conversion", CONVERSIONS)
def test_a_converted_module_answers_as_that_of_torch(pair, conversion):
    convert, dtype = CONVERSIONS[conversion]
    ours, theirs = pair.make()
    pair.answers(ours)
    assert convert(ours) is ours
    convert(theirs)
    answers = pair.answers(ours, dtype)
    assert {t.dtype for t in [*ours.parameters(), *answers]} == {dtype}
    rtol, atol = {torch.float16: (2e-3, 1e-3), torch.bfloat16: (1.6e-2, 8e-3)}.get(dtype, (1e-5, 1e-6))
    torch.testing.assert_close(answers, pair.answers(theirs, dtype), rtol=rtol, atol=atol)


@layer_pairs
@pytest.mark.usefixtures("swap")
@pytest.mark.parametrize("conversion", CONVERSIONS)
def test_the_flat_weights_are_the_parameters_after_a_conversion(pair, conversion):
    ours, _ = pair.make()
    CONVERSIONS[conversion][0](ours)
    assert all(w is p for w, p in zip(ours._flat_weights, ours.parameters(), strict=True))


@pairs
@pytest.mark.usefixtures("swap")
def test_a_meta_module_can_be_emptied_onto_the_cpu_and_filled(pair):
    ours, theirs = pair.make(device="meta")[0], pair.make()[1]
    ours.to_empty(device="cpu")
    with torch.no_grad():
        for p, value in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.copy_(value)
    close_in_float32(pair.answers(ours), pair.answers(theirs))


@pairs
@pytest.mark.usefixtures("swap")
def test_a_module_can_be_converted_between_two_training_steps(pair):
    ours, theirs = pair.make()
    for module in (ours, theirs):
        pair.gradients(module)
        module.zero_grad()
        module.double().float()
    close_in_float32(*map(pair.gradients, (ours, theirs)))


@pairs
def test_shared_memory_is_shared(pair):
    ours, _ = pair.make()
    assert not any(p.is_shared() for p in ours.parameters())
    assert all(p.is_shared() for p in ours.share_memory().parameters())


@layer_pairs
@pytest.mark.usefixtures("swap")
@pytest.mark.parametrize(
    "move", [copy.deepcopy, lambda m: m.to(torch.float64).float(), lambda m: copy.deepcopy(m.double()).float()]
)
def test_tied_weights_stay_tied(pair, move):
    modules = []
    for module in pair.make():
        module.weight_hh_l0_reverse, module.bias_ih_l0_reverse = module.weight_hh_l0, module.bias_ih_l0
        moved = move(module)
        assert moved.weight_hh_l0_reverse is moved.weight_hh_l0
        assert moved.bias_ih_l0_reverse is moved.bias_ih_l0
        in_place(moved, "weight_hh_l0_reverse")
        modules.append(moved.double())
    assert len(list(modules[0].parameters())) == len(list(modules[1].parameters())) == 14
    close(*(pair.answers(m, torch.float64) for m in modules))
    close(*(pair.gradients(m, torch.float64) for m in modules))


# --------------------------------------------------------------------------------------- reference cycles


def drop_a_deepcopy(module, answers):
    copied = copy.deepcopy(module)
    answers(copied)


def load_a_state_dict(module, answers):
    module.load_state_dict(module.state_dict())


def call_and_go_back(module, answers):
    sum(y.sum() for y in answers(module)).backward()


@pairs
@pytest.mark.parametrize("act", [drop_a_deepcopy, load_a_state_dict, call_and_go_back])
def test_no_reference_cycle_is_left_behind(pair, act):
    module = pair.make()[0]
    act(module, pair.answers)  # the first time may fill torch's own caches
    gc.disable()
    gc.freeze()  # what is there already is not looked at, which takes time
    try:
        act(module, pair.answers)
        assert gc.collect() == 0
    finally:
        gc.unfreeze()
        gc.enable()


# ------------------------------------------------------------------------------- the cells' named matrices

GATES = {"RNNCell": "n", "LSTMCell": "ifgo", "GRUCell": "rzn"}
BLOCKS = [
    pytest.param(kind, f"{letter}_{side}{gate}", f"{stack}_{side}h", k, id=f"{kind}.{letter}_{side}{gate}")
    for kind, gates in GATES.items()
    for letter, stack in (("W", "weight"), ("b", "bias"))
    for side in "ih"
    for k, gate in enumerate(gates)
]
blocks = pytest.mark.parametrize(("kind", "name", "parameter", "k"), BLOCKS)


@blocks
def test_a_named_matrix_is_a_view_of_its_rows(kind, name, parameter, k):
    cell = getattr(sr, kind)(3, 5)
    stacked, block = getattr(cell, parameter), getattr(cell, name)
    assert torch.equal(block, stacked[5 * k : 5 * (k + 1)])
    assert block.data_ptr() == stacked[5 * k].data_ptr()


@blocks
def test_writing_into_a_named_matrix_writes_into_the_parameter(kind, name, parameter, k):
    cell, other = (getattr(package, kind)(3, 5) for package in (sr, nn))
    other.load_state_dict(cell.state_dict())
    rows = slice(5 * k, 5 * (k + 1))
    value = new_value(getattr(cell, name))
    with torch.no_grad():
        getattr(cell, name).copy_(value)
        getattr(other, parameter)[rows] = value
    close_in_float32(cell.state_dict(), other.state_dict())
    x, h = torch.randn(2, 3), torch.randn(2, 5)
    hx = (h, torch.randn(2, 5)) if kind == "LSTMCell" else h
    close_in_float32(cell(x, hx), other(x, hx))


@blocks
def test_the_gradient_of_a_named_matrix_is_that_of_its_rows(kind, name, parameter, k):
    cell = getattr(sr, kind)(3, 5)
    (getattr(cell, name) * 2).sum().backward()
    expected = torch.zeros_like(getattr(cell, parameter))
    expected[5 * k : 5 * (k + 1)] = 2
    assert torch.equal(getattr(cell, parameter).grad, expected)


@pytest.mark.parametrize("kind", GATES)
def test_without_bias_the_named_biases_are_zero(kind):
    cell = getattr(sr, kind)(3, 5, bias=False)
    assert cell.bias_ih is None
    assert cell.bias_hh is None
    assert [getattr(cell, f"b_{side}{gate}") for side in "ih" for gate in GATES[kind]] == [0.0] * 2 * len(GATES[kind])


@pytest.mark.parametrize("row", [row for row in ROWS if row.twin is None], ids=str)
def test_a_layer_of_your_own_cell_sees_a_changed_weight(row):
    layer = row.layer(3, 4)
    before = layer(X)[0]
    in_place(layer, "weight_hh_l0")
    after = layer(X)[0]
    assert not torch.equal(before[1:], after[1:])


# --------------------------------------------------------------------------------- weights that are no longer fit


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l1_reverse", "bias_ih_l1", "bias_hh_l0", "weight_hr_l0"])
def test_a_weight_of_another_shape_is_named(name):
    layer = sr.LSTM(3, 4, 2, bidirectional=True, proj_size=2)
    shape = list(getattr(layer, name).shape)
    for other in ([shape[0] + 1, *shape[1:]], [*shape[:-1], shape[-1] * 2], [1] * len(shape)):
        setattr(layer, name, nn.Parameter(torch.randn(other)))
        with pytest.raises(RuntimeError, match=re.escape(f"Expected {name} to have the shape {shape}, got {other}")):
            layer(torch.randn(5, 2, 3))


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("name", ["weight_ih_l0", "bias_ih_l0", "bias_hh_l0"])
def test_a_weight_that_was_taken_away_is_named(name):
    layer = sr.GRU(3, 4)
    setattr(layer, name, None)
    shape = [12, 3] if name == "weight_ih_l0" else [12]
    with pytest.raises(
        (TypeError, AttributeError), match=re.escape(f"Expected {name} to be a tensor of shape {shape}")
    ):
        layer(torch.randn(5, 2, 3))


def test_a_weight_that_hides_a_parameter_is_what_runs():
    layer, x = sr.RNN(3, 4), torch.randn(5, 2, 3)
    layer.__dict__["weight_hh_l0"] = torch.zeros(4, 4)
    hidden = layer(x)[0]
    del layer.__dict__["weight_hh_l0"]
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
    torch.testing.assert_close(hidden, layer(x)[0], rtol=0, atol=0)
