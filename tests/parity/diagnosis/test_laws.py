"""The laws in the place of a twin: correct layers keep them all, and each mistake breaks the one that is its own."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from table import ROWS
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import scratchrnn as sr
from scratchrnn.parity.diagnosis.laws import LAWS, Layer, laws, layers_of
from scratchrnn.parity.diagnosis.laws.layer import B


class Own(nn.Module):
    """A recurrent layer that torch.nn does not have; each method is a place for a mistake."""

    def __init__(self, input_size: int = 3, hidden_size: int = 4) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.w = nn.Parameter(torch.randn(2 * hidden_size, input_size))
        self.u = nn.Parameter(torch.randn(2 * hidden_size, hidden_size))
        self.peephole = nn.Parameter(torch.zeros(hidden_size))

    def start(self, x: Tensor, state: Any) -> tuple[Tensor, Tensor]:
        if state is None:
            return x.new_zeros(x.shape[1], self.hidden_size), x.new_zeros(x.shape[1], self.hidden_size)
        return state[0], state[1]

    def step(self, x_t: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        f, g = (x_t @ self.w.T + h @ self.u.T).chunk(2, 1)
        f = torch.sigmoid(f + self.peephole * c)
        c = f * c + (1 - f) * torch.tanh(g)
        return torch.tanh(c), c

    def forward(self, x: Tensor, state: Any = None) -> Any:
        h, c = self.start(x, state)
        output = []
        for x_t in x:
            h, c = self.step(x_t, h, c)
            output.append(h)
        return torch.stack(output), (h, c)


class BatchFirst(Own):
    batch_first = True

    def forward(self, x: Tensor, state: Any = None) -> Any:
        output, last = super().forward(x.transpose(0, 1), state)
        return output.transpose(0, 1), last


class OneState(Own):
    """One state that is a tensor [1, B, H]."""

    def forward(self, x: Tensor, h_0: Any = None) -> Any:
        h = x.new_zeros(x.shape[1], self.hidden_size) if h_0 is None else h_0[0]
        output = []
        for x_t in x:
            h = self.step(x_t, h, h)[0]
            output.append(h)
        return torch.stack(output), h[None]


class InATuple(OneState):
    """One state in a tuple."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        output, h = super().forward(x, None if state is None else state[0])
        return output, (h,)


class OutputAlone(Own):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x)[0]


class Both(nn.Module):
    """Two layers of both directions, by torch.nn's names."""

    bidirectional = True

    def __init__(self, input_size: int = 3, hidden_size: int = 4, num_layers: int = 1) -> None:
        super().__init__()
        self.input_size, self.num_layers = input_size, num_layers
        for k in range(num_layers):
            for suffix in ("", "_reverse"):
                I = input_size if k == 0 else 2 * hidden_size  # noqa: E741
                self.register_parameter(f"weight_ih_l{k}{suffix}", nn.Parameter(torch.randn(hidden_size, I)))
                self.register_parameter(f"weight_hh_l{k}{suffix}", nn.Parameter(torch.randn(hidden_size, hidden_size)))

    def run(self, k: int, suffix: str, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        output = []
        for x_t in x:
            w, u = getattr(self, f"weight_ih_l{k}{suffix}"), getattr(self, f"weight_hh_l{k}{suffix}")
            h = torch.tanh(x_t @ w.T + h @ u.T)
            output.append(h)
        return torch.stack(output), h

    def layer(self, k: int, x: Tensor, h_0: Tensor) -> tuple[Tensor, list[Tensor]]:
        forward, h = self.run(k, "", x, h_0[2 * k])
        backward, h_back = self.run(k, "_reverse", x.flip(0), h_0[2 * k + 1])
        return torch.cat([forward, backward.flip(0)], 2), [h, h_back]

    def forward(self, x: Tensor, h_0: Any = None) -> Any:
        if h_0 is None:
            h_0 = x.new_zeros(2 * self.num_layers, x.shape[1], self.weight_hh_l0.shape[1])
        last: list[Tensor] = []
        for k in range(self.num_layers):
            x, both = self.layer(k, x, h_0)
            last += both
        return x, torch.stack(last)


class Packing(Own):
    """Takes a PackedSequence, too."""

    def forward(self, x: Any, state: Any = None) -> Any:
        if not isinstance(x, PackedSequence):
            return super().forward(x, state)
        padded, lengths = pad_packed_sequence(x)
        output, last = self.padded(padded, lengths, state)
        return pack_padded_sequence(output, lengths, enforce_sorted=False), last

    def padded(self, x: Tensor, lengths: Tensor, state: Any) -> Any:
        h, c = self.start(x, state)
        output = []
        for t, x_t in enumerate(x):
            moves = (lengths > t).unsqueeze(1)
            h, c = (torch.where(moves, new, old) for new, old in zip(self.step(x_t, h, c), (h, c), strict=True))
            output.append(h)
        return torch.stack(output), (h, c)


# --------------------------------------------------------------------------------------------- what is right


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_every_cell_keeps_the_laws(row: Any) -> None:
    assert laws(row.cell) == ()


class Subclass(sr.RecurrentLayer):
    def __init__(self, input_size: int, hidden_size: int, **options: Any) -> None:
        super().__init__(ROWS[-1].cell, input_size, hidden_size, **options)


@pytest.mark.parametrize(
    "subject",
    [Own, BatchFirst, OneState, InATuple, OutputAlone, Packing, Both, Subclass, sr.GRU, nn.LSTM],
    ids=lambda subject: subject.__name__,
)
def test_a_correct_class_keeps_the_laws(subject: type[nn.Module]) -> None:
    assert laws(subject) == ()


@pytest.mark.parametrize(
    "module",
    [
        nn.LSTM(3, 4, 2, bidirectional=True, proj_size=2),
        nn.GRU(2, 5, batch_first=True, bidirectional=True),
        nn.RNN(1, 1, nonlinearity="relu"),
        sr.LSTM(3, 4, 3, bidirectional=True),
        Own(2, 3).eval(),
    ],
    ids=lambda module: type(module).__name__,
)
def test_a_correct_instance_keeps_the_laws(module: nn.Module) -> None:
    assert laws(module) == ()


@pytest.mark.parametrize("seed", range(20))
def test_no_seed_accuses_a_correct_layer(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seeded = torch.manual_seed
    monkeypatch.setattr(torch, "manual_seed", lambda _: seeded(seed))
    for subject in (Own, Packing, Both, Both(2, 3, 2), sr.RNN(2, 3, 2, nonlinearity="relu"), ROWS[-1].cell):
        assert laws(subject) == ()


def count_update(n: Tensor, h_prev: Tensor) -> Tensor:
    return h_prev + 1


def test_whole_numbers_are_not_taken_for_a_narrow_dtype() -> None:
    assert laws(sr.Cell("COUNT", ("n",), count_update, walk=True)) == ()


def test_which_laws_are_asked_follows_from_what_the_layer_is() -> None:
    (own,), (packing,), (both,) = (list(layers_of(kind)) for kind in (Own, Packing, Both()))
    assert (own.takes_state, own.takes_packed, own.bidirectional, own.mirrored) == (True, False, False, None)
    assert packing.takes_packed
    assert both.bidirectional
    assert both.mirrored is not None
    one, two = layers_of(ROWS[0].cell)
    assert (one.bidirectional, one.num_layers, two.bidirectional, two.num_layers) == (False, 1, True, 2)
    assert one.gates == ROWS[0].cell.gates
    assert [layer.num_layers for layer in layers_of(Both)] == [1, 2]
    assert [layer.bidirectional for layer in layers_of(Subclass)] == [False, True]


def test_nothing_of_the_callers_is_changed() -> None:
    module = Own().float()
    before = {name: (p, p.detach().clone()) for name, p in module.named_parameters()}
    state = torch.random.get_rng_state()
    with torch.no_grad():
        assert laws(module) == ()
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, p in module.named_parameters():
        assert p is before[name][0]
        assert torch.equal(p, before[name][1])
        assert p.dtype == torch.float32


def test_a_function_is_judged_with_the_parameters_it_is_said_to_read() -> None:
    module = Own().double()
    layer = Layer(module, 3, dict(module.named_parameters()))
    values = [p.detach().clone() for p in module.parameters()]
    assert laws(layer) == ()
    assert all(torch.equal(p, v) for p, v in zip(module.parameters(), values, strict=True))
    assert laws(Layer(lambda x, state: (x.cumsum(0), ()), 3)) == ()


# --------------------------------------------------------------------------------------------- what is wrong


def changed(kind: type[nn.Module], method: str, old: str, new: str) -> type[nn.Module]:
    """The class with one line of one method written in another way."""
    source = inspect.cleandoc("\n" + inspect.getsource(getattr(kind, method)))
    assert source.count(old) == 1
    scope: dict[str, Any] = {**globals(), "__class__": kind}
    source = source.replace("super()", f"super({kind.__name__}, self)")
    exec(source.replace(old, new), scope)
    return type(f"Wrong{kind.__name__}", (kind,), {method: scope[method]})


class Wrong(torch.autograd.Function):
    """Tanh with the derivative 1 - y."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = torch.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:  # type: ignore[override]
        (y,) = ctx.saved_tensors
        return dy * (1 - y)


KEPT: list[Tensor] = []


def kept(h: Tensor) -> Tensor:
    KEPT[:] = [h + (KEPT[0] if KEPT and KEPT[0].shape == h.shape else 0)]
    return KEPT[0]


PLANTED: list[tuple[str, type[nn.Module], str, str, str, str]] = [
    ("finite", Own, "step", "torch.tanh(g)", "torch.log(g)", r"output has \d+ of 72 numbers that are not finite"),
    ("repeatable", Own, "step", "torch.tanh(g)", "nn.functional.dropout(torch.tanh(g))", "in one call and .* in the"),
    ("repeatable", Own, "forward", "h, c = self.start(x, state)", "h, c = self.start(x, state); h = kept(h)", "next"),
    (
        "repeatable",
        Own,
        "forward",
        "h, c = self.start(x, state)",
        "h, c = self.start(x, state); c *= 2",
        r"writes into what it is given: c_0 is off by",
    ),
    ("precision", Own, "forward", "torch.stack(output)", "torch.stack(output).float()", "of output has .* float32"),
    ("precision", Own, "step", "torch.tanh(c), c", "torch.tanh(c).bfloat16().double(), c", "bfloat16 alone"),
    ("batch-independence", Own, "step", "torch.tanh(g)", "torch.tanh(g - g.mean(0))", r"within the batch and .* alone"),
    ("batch-independence", Own, "step", ".chunk(2, 1)", ".view(2, x_t.shape[0], -1)", "for row 0 of 3, output"),
    ("batch-independence", OneState, "step", "self.peephole * c", "self.peephole * c.roll(1, 0)", "for row 0"),
    ("causality", Own, "forward", "in x:", "in torch.cat([x[1:], x[:1]]):", r"another input from step 1 output\[0:1\]"),
    ("causality", Own, "forward", "in x:", "in x - x.mean(0):", "is .* and not "),
    ("causality", Both, "layer", "[forward, backward", "[forward + backward, backward", "another input from step 1"),
    ("causality", Both, "layer", "backward.flip(0)]", "backward]", "before step 1 .* of the reverse direction is"),
    ("split", Own, "start", "state is None", "True", "the first 1 and then, from the states that returned"),
    ("split", Own, "forward", "(h, c)", "(c, h)", r"output\[1, "),
    ("split", Own, "forward", "(h, c)", "(output[0], c)", r"h_n\["),
    ("split", Own, "forward", "self.step(x_t, h, c)", "self.step(x_t + len(output), h, c)", r"output\[\d, "),
    ("packed", Packing, "padded", "lengths > t", "lengths > -1", "of length 3 beside 3, 6, 1, h_n"),
    (
        "packed",
        Packing,
        "forward",
        "pack_padded_sequence(output, lengths, enforce_sorted=False)",
        "output",
        "is no Pack",
    ),
    ("packed", Packing, "padded", "self.start(x, state)", "self.start(x, None)", "packed and .* alone"),
    ("reverse", Both, "layer", '"_reverse", x.flip(0)', '"", x.flip(0)', "the directions exchange their parameters"),
    ("reverse", Both, "layer", "[h, h_back]", "[h_back, h]", r"with other states for .* h_n\[0, "),
    ("reverse", Both, "layer", "h_0[2 * k + 1]", "h_0[2 * k]", r"output\[\d, "),
    ("reverse", Both, "layer", "h_0[2 * k])", "h_0[2 * k + 1])", r"output\[\d, "),
    ("gradients", Own, "step", "torch.tanh(c), c", "Wrong.apply(c), c", "by autograd and .* by central differences"),
    ("gradients", Own, "step", "(1 - f) *", "(1 - f).detach() *", "of input .* of w .* of u .* of peephole "),
    ("gradients", Own, "forward", "self.step(x_t, h, c)", "self.step(x_t, h.detach(), c)", "of h_0, which has none, "),
    (
        "gradients",
        Own,
        "forward",
        "self.step(x_t, h, c)",
        "self.step(x_t, *((h, c) if len(output) != 2 else (h.detach(), c.detach())))",
        "of input \\(wrong at steps 0 and 1 of 6\\) the derivative",
    ),
    ("gradients", Own, "step", "x_t @ self.w.T", "x_t @ self.w.detach().T", "of w, which has none, the derivative"),
]


@pytest.mark.parametrize(
    ("law", "kind", "method", "old", "new", "said"), PLANTED, ids=[f"{p[0]}: {p[4]}" for p in PLANTED]
)
def test_a_mistake_breaks_its_law(law: str, kind: type[nn.Module], method: str, old: str, new: str, said: str) -> None:
    KEPT.clear()
    found = laws(changed(kind, method, old, new)())
    assert law in [broken.law for broken in found]
    (broken,) = (broken for broken in found if broken.law == law)
    assert re.search(said, broken.detail), broken.detail
    assert broken.meaning == next(row.meaning for row in LAWS if row.name == law)


ALONE = ("repeatable", "finite", "precision", "gradients")


@pytest.mark.parametrize("planted", [p for p in PLANTED if p[0] in ALONE], ids=lambda p: f"{p[0]}: {p[4]}")
def test_a_mistake_of_one_kind_breaks_no_other_law(planted: tuple[str, type[nn.Module], str, str, str, str]) -> None:
    KEPT.clear()
    law, kind, method, old, new, _ = planted
    assert [broken.law for broken in laws(changed(kind, method, old, new)())] == [law]


def test_every_law_has_a_planted_mistake() -> None:
    assert {p[0] for p in PLANTED} == {law.name for law in LAWS}


def test_the_reverse_law_sees_through_a_stack() -> None:
    wrong = changed(Both, "layer", "[h, h_back]", "[h_back, h]")
    assert [broken.law for broken in laws(wrong(3, 4, 2))] == ["reverse"]


def test_a_norm_of_the_batch_that_refuses_one_row_breaks_a_law() -> None:
    class Normed(Own):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4, momentum=0.0)

        def step(self, x_t: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
            h, c = super().step(x_t, h, c)
            return self.norm(h), c

    found = laws(Normed())
    assert [broken.law for broken in found] == ["batch-independence"]
    assert re.search(r"^a call with an input \[6, 1, 3\] and states .* raises ValueError: Expected", found[0].detail)


def straight_update(n: Tensor, h_prev: Tensor) -> Any:
    h = torch.sign(n) * torch.exp(-n * n)
    return (h,), (n,)


def straight_adjoint(tape: Any, dh: Tensor) -> Any:
    return (dh,), (None,)


@pytest.mark.parametrize(
    ("gates", "said"),
    [(("f", "g"), "the rows of gate g"), ((), "rows 4, 5, 6 and 7 of 8"), (("i", "f", "g"), "rows 4, ")],
)
def test_the_rows_of_a_parameter_whose_gradient_is_wrong_are_named(gates: tuple[str, ...], said: str) -> None:
    class Half(Own):
        def step(self, x_t: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
            w = torch.cat([self.w[:4], self.w[4:].detach()])
            f, g = (x_t @ w.T + h @ self.u.T).chunk(2, 1)
            c = torch.sigmoid(f) * c + torch.tanh(g)
            return torch.tanh(c), c

    module = Half().double()
    (broken,) = laws(Layer(module, 3, dict(module.named_parameters()), gates=gates))
    assert broken.law == "gradients"
    assert broken.detail.startswith(f"of w (wrong in {said}")
    assert "; " not in broken.detail


def test_an_adjoint_that_is_another_on_purpose_is_told() -> None:
    cell = sr.Cell("STRAIGHT", ("n",), straight_update, straight_adjoint, check=False)
    (broken,) = laws(cell)
    assert broken.law == "gradients"
    assert broken.meaning.endswith("a straight-through estimator differs on purpose")


# -------------------------------------------------------------------------------------------------- errors


class Sizeless(nn.Module):
    def forward(self, x: Tensor, state: Any = None) -> Any:
        return x.cumsum(0), ()


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: laws(3), TypeError, "subject should be a Layer, a Cell, a module or a class of modules, got: 3"),
        (lambda: laws(Sizeless()), ValueError, "input_size should be given: Sizeless has no attribute of that name"),
        (
            lambda: laws(Layer(lambda x, state: (x[:, 0], ()), 3)),
            ValueError,
            "output of 3 rows should be [.., 3, .], got [6, 3]",
        ),
        (
            lambda: laws(Layer(lambda x, state: (x, (x[0, 0],)), 3)),
            ValueError,
            "h_n of 3 rows should be [.., 3, .], got [3]",
        ),
        (
            lambda: laws(Layer(lambda x, state: (x, (x[:1],)), 3, bidirectional=True)),
            ValueError,
            "h_0 of both directions should be [L * D, 3, .], got [1, 3, 3]",
        ),
    ],
)
def test_what_cannot_be_judged_is_an_error(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message


def test_the_size_of_the_input_can_be_given() -> None:
    assert laws(Sizeless(), 2) == ()


def test_what_the_layer_raises_is_not_swallowed() -> None:
    class Raises(Own):
        def forward(self, x: Tensor, state: Any = None) -> Any:
            raise ZeroDivisionError("theirs")

    with pytest.raises(ZeroDivisionError, match="theirs"):
        laws(Raises())


def test_outputs_of_another_shape_are_told() -> None:
    def run(x: Tensor, state: Any) -> Any:
        return (x if x.shape[1] == B else x[:, :, :1]), ()

    with pytest.raises(ValueError, match=re.escape("output should be [6, 1, 1], as in another run, got [6, 1, 3]")):
        laws(Layer(run, 3))
