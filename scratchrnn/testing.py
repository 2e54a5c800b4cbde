"""For tests of your own layers: an assertion whose failure says what is wrong, and strategies for hypothesis.

    @given(cases("gru"))                      # torch.nn's module, an input and a state that go together
    def test_mine(case): ...

    def test_mine_is_a_gru():
        assert_matches_torch(MyGRU, "gru")    # the failure is the diagnosis

A kind is `lstm`, `gru`, `rnn` (Elman) or `rnn-relu`, or with `-cell` behind it torch.nn's cell, which takes one step.
Every strategy draws small sizes, which shrink to 1, and a seed: the numbers are normal, from that seed, and none of
them is zero, since zeros hide mistakes. What was drawn leaves torch's own random numbers where they were.

    T, B, I, H: steps, batch, input_size, hidden_size; L layers of D directions; R the width of h, proj_size or H
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from .parity.diagnosis.adapter.returned import UNSTACKED
from .parity.diagnosis.judge import KINDS, diagnose

try:
    from hypothesis import strategies as st
except ModuleNotFoundError as error:
    if error.name != "hypothesis":
        raise
    raise ImportError("scratchrnn.testing needs hypothesis: pip install 'scratchrnn[testing]'") from error

__all__ = [
    "Case",
    "assert_matches_torch",
    "cases",
    "configurations",
    "inputs",
    "lengths",
    "packed_batches",
    "states",
]


def assert_matches_torch(
    subject: Any,
    kind: str | None = None,
    *,
    load_weights: Callable[[Any, Mapping[str, Tensor]], Any] | None = None,
) -> None:
    """Assert that `subject` computes what torch.nn computes; see `scratchrnn.diagnose`, whose arguments these are.

    States without torch.nn's first dimension, L * D, are a `UserWarning`: the numbers are right, but the layer cannot
    stand where torch.nn's stands.

    Raises:
        AssertionError: it does not, or cannot be judged; the text is the diagnosis.
        ValueError: `kind` is unknown, or None where it cannot be guessed.
    """
    __tracebackhide__ = True  # pytest then shows the caller's line
    diagnosis = diagnose(subject, kind, load_weights=load_weights)
    if not diagnosis:
        raise AssertionError(str(diagnosis))
    if unstacked := [said for said in diagnosis.assumed if any(shape in said for shape in UNSTACKED)]:
        lacking = f"its states lack the first dimension of {diagnosis.twin}'s, [num_layers * num_directions, ...]"
        warnings.warn(f"{lacking}: {'; '.join(unstacked)}", stacklevel=2)


# ----------------------------------------------------------------------------------------------- strategies


@dataclass(frozen=True, repr=False)
class Case:
    """A module of torch.nn, and what it can be called with."""

    kind: str
    options: dict[str, Any]
    """What the module's constructor was told, as `configurations` draws it."""
    module: nn.Module
    """In eval mode, with random weights and biases."""
    input: Any
    """As `inputs` or `packed_batches` draw it."""
    state: Any
    """As `states` draws it; None: left out."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What the module is called with, `case.module(*case.arguments)`: input and state, or the input alone."""
        return (self.input,) if self.state is None else (self.input, self.state)

    def __repr__(self) -> str:
        if isinstance(self.input, PackedSequence):
            x = f"packed, rows {list(self.input.data.shape)}, batch_sizes {self.input.batch_sizes.tolist()}"
        else:
            x = str(list(self.input.shape))
        given = self.state if isinstance(self.state, tuple) else () if self.state is None else (self.state,)
        state = " and ".join(str(list(s.shape)) for s in given) or "none"
        return f"<{self.kind} {self.options}, input {x}, state {state}>"


def configurations(
    kind: str, *, vary: Collection[str] | None = None, largest: int = 4
) -> st.SearchStrategy[dict[str, Any]]:
    """What the constructor of torch.nn's module of this kind may be told: `nn.LSTM(**drawn)`.

    Always `input_size` and `hidden_size`, from 1 to `largest`, and of the options that are named in `vary` those that
    the constructor has: `num_layers` (1 to 3), `bias`, `batch_first`, `bidirectional`, `dropout` (only beside several
    layers) and, of an LSTM, `proj_size` (0, or less than hidden_size). None varies all but `dropout`, under which no
    two runs in training agree. `nonlinearity` is not among them: the kind says it.

    Raises:
        ValueError: `kind`, `vary` or `largest` is none of what it may be.
    """
    has = _options(kind)
    chosen = [name for name in has if name != "dropout"] if vary is None else list(vary)
    if unknown := [name for name in chosen if name not in has]:
        raise ValueError(f"vary should name options of {kind} ({', '.join(has)}), got {', '.join(map(repr, unknown))}")
    _check_positive("largest", largest)
    return _configurations(frozenset(chosen), largest)


def inputs(
    kind: str,
    options: Mapping[str, Any],
    *,
    batch: int | None = None,
    unbatched: bool = False,
    longest: int = 6,
    dtype: torch.dtype = torch.float64,
) -> st.SearchStrategy[Tensor]:
    """The input of a module made with `options`: [T, B, I], [B, T, I] if it is batch-first, of a cell [B, I].

    `unbatched` is without B. T is drawn from 1 to `longest`, B from 1 to 4 unless `batch` says it.

    Raises:
        ValueError: `kind` is unknown, `options` has no input_size, `longest` or `batch` is not positive, or there is a
            `batch` of an unbatched input.
    """
    _check(kind, options)
    _check_positive("longest", longest)
    if batch is not None:
        _check_positive("batch", batch)
        if unbatched:
            raise ValueError(f"batch goes with a batch, and unbatched is True: got batch={batch}")
    return _inputs(kind, options, batch, unbatched, longest, dtype)


def lengths(batch: int | None = None, *, longest: int = 6) -> st.SearchStrategy[list[int]]:
    """The lengths of the sequences of a batch, [B], each from 1 to `longest`, in any order.

    B is drawn from 1 to 4 unless `batch` says it.

    Raises:
        ValueError: `batch` or `longest` is not positive.
    """
    _check_positive("longest", longest)
    if batch is not None:
        _check_positive("batch", batch)
    return st.lists(st.integers(1, longest), min_size=batch or 1, max_size=batch or _ROWS)


def packed_batches(
    kind: str,
    options: Mapping[str, Any],
    *,
    batch: int | None = None,
    longest: int = 6,
    dtype: torch.dtype = torch.float64,
) -> st.SearchStrategy[PackedSequence]:
    """A PackedSequence of sequences [T_b, I] for a layer made with `options`, of lengths in any order.

    Raises:
        ValueError: `kind` is unknown or a cell, `options` has no input_size, `batch` or `longest` is not positive.
    """
    _check(kind, options)
    if _is_cell(kind):
        raise ValueError(f"kind should be a layer, as a cell takes no PackedSequence, got {kind!r}")
    return _packed_batches(options["input_size"], lengths(batch, longest=longest), dtype)


def states(
    kind: str, options: Mapping[str, Any], batch: int | None, *, dtype: torch.dtype = torch.float64
) -> st.SearchStrategy[Any]:
    """The states before the first step: h_0 [L * D, B, R], of an LSTM `(h_0, c_0)`, c_0 [L * D, B, H].

    Of a cell [B, H]. `batch` None is of unbatched input: without B.

    Raises:
        ValueError: `kind` is unknown, `options` has no hidden_size, or `batch` is not positive.
    """
    _check(kind, options)
    if batch is not None:
        _check_positive("batch", batch)
    return _states(kind, options, batch, dtype)


def cases(
    kind: str,
    *,
    vary: Collection[str] | None = None,
    layouts: Collection[str] | None = None,
    largest: int = 4,
    longest: int = 6,
    dtype: torch.dtype = torch.float64,
) -> st.SearchStrategy[Case]:
    """A module of torch.nn with random weights, an input for it and, mostly, the states before the first step.

    `layouts` are of the input: some of `padded`, `unbatched` and, of a layer, `packed`; None: all of them. The other
    arguments are those of `configurations` and `inputs`.

    Raises:
        ValueError: an argument is none of what it may be.
    """
    has = ("padded", "unbatched") if _is_cell(kind) else ("padded", "unbatched", "packed")
    chosen = has if layouts is None else tuple(layouts)
    if not chosen or any(layout not in has for layout in chosen):
        raise ValueError(f"layouts of {kind} should be some of {', '.join(has)}, got {chosen}")
    _check_positive("longest", longest)
    return _cases(kind, configurations(kind, vary=vary, largest=largest), chosen, longest, dtype)


# ----------------------------------------------------------------------------------------- how they are drawn

_ROWS = 4  # B is at most


@st.composite
def _configurations(draw: st.DrawFn, vary: frozenset[str], largest: int) -> dict[str, Any]:
    sizes = st.integers(1, largest)
    drawn: dict[str, Any] = {"input_size": draw(sizes), "hidden_size": draw(sizes)}
    H = drawn["hidden_size"]
    values: dict[str, st.SearchStrategy[Any]] = {
        "num_layers": st.integers(1, 3),
        "bias": st.sampled_from([True, False]),
        "batch_first": st.booleans(),
        "bidirectional": st.booleans(),
        "proj_size": st.integers(0, H - 1),
    }
    drawn |= {name: draw(strategy) for name, strategy in values.items() if name in vary}
    if "dropout" in vary and drawn.get("num_layers", 1) > 1:
        drawn["dropout"] = draw(st.sampled_from([0.0, 0.25, 0.5]))
    return drawn


@st.composite
def _inputs(
    draw: st.DrawFn,
    kind: str,
    options: Mapping[str, Any],
    batch: int | None,
    unbatched: bool,
    longest: int,
    dtype: torch.dtype,
) -> Tensor:
    steps = [] if _is_cell(kind) else [draw(st.integers(1, longest))]
    rows = [] if unbatched else [draw(st.integers(1, _ROWS)) if batch is None else batch]
    leading = rows + steps if options.get("batch_first") else steps + rows
    return _random(draw(_seeds), _INPUT, dtype, *leading, options["input_size"])


@st.composite
def _packed_batches(
    draw: st.DrawFn, input_size: int, lengths: st.SearchStrategy[list[int]], dtype: torch.dtype
) -> PackedSequence:
    drawn = draw(lengths)
    padded = _random(draw(_seeds), _INPUT, dtype, max(drawn), len(drawn), input_size)
    return pack_padded_sequence(padded, torch.tensor(drawn), enforce_sorted=False)


@st.composite
def _states(draw: st.DrawFn, kind: str, options: Mapping[str, Any], batch: int | None, dtype: torch.dtype) -> Any:
    rows = [] if batch is None else [batch]
    stack = [] if _is_cell(kind) else [options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)]
    H = options["hidden_size"]
    widths = [options.get("proj_size") or H, H][: len(KINDS[kind][0].cell.states)]
    seed = draw(_seeds)
    drawn = tuple(_random(seed, _STATE + k, dtype, *stack, *rows, width) for k, width in enumerate(widths))
    return drawn if len(drawn) > 1 else drawn[0]


@st.composite
def _cases(
    draw: st.DrawFn,
    kind: str,
    configurations: st.SearchStrategy[dict[str, Any]],
    layouts: tuple[str, ...],
    longest: int,
    dtype: torch.dtype,
) -> Case:
    options, layout, (twin, step) = draw(configurations), draw(st.sampled_from(layouts)), KINDS[kind]
    made = twin.step if step else twin.layer
    with torch.random.fork_rng(devices=[]):  # the constructor draws weights, too
        module = made(**options, **twin.options, device="cpu", dtype=dtype).eval()
    seed = draw(_seeds)
    with torch.no_grad():
        for k, p in enumerate(module.parameters()):
            p.copy_(_random(seed, _WEIGHT + k, dtype, *p.shape) / 2)
    batch = None if layout == "unbatched" else draw(st.integers(1, _ROWS))
    if layout == "packed":
        input: Any = draw(packed_batches(kind, options, batch=batch, longest=longest, dtype=dtype))
    else:
        input = draw(inputs(kind, options, batch=batch, unbatched=batch is None, longest=longest, dtype=dtype))
    given = draw(st.sampled_from([True, True, True, False]))
    return Case(kind, options, module, input, draw(states(kind, options, batch, dtype=dtype)) if given else None)


_seeds = st.integers(0, 2**32 - 1)
_INPUT, _STATE, _WEIGHT = 0, 1, 10  # seeds shrink to 0, and what h_0 and c_0 do is not seen where they are the same


def _random(seed: int, what: int, dtype: torch.dtype, *shape: int) -> Tensor:
    """Normal numbers, none of them zero."""
    generator = torch.Generator("cpu").manual_seed(1000 * seed + what)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu").to(dtype)
    return drawn.masked_fill(drawn == 0, 1.0)


# ---------------------------------------------------------------------------------------------- what may be


def _is_cell(kind: str) -> bool:
    if kind not in KINDS:
        raise ValueError(f"kind should be one of {', '.join(KINDS)}, got {kind!r}")
    return KINDS[kind][1]


def _options(kind: str) -> tuple[str, ...]:
    """What a constructor may be told beside the sizes."""
    if _is_cell(kind):
        return ("bias",)
    of_all = ("num_layers", "bias", "batch_first", "bidirectional", "dropout")
    return (*of_all, "proj_size") if KINDS[kind][0].layer is nn.LSTM else of_all


def _check(kind: str, options: Mapping[str, Any]) -> None:
    _is_cell(kind)
    for name in ("input_size", "hidden_size"):
        if name not in options:
            raise ValueError(f"options should have {name}, as configurations({kind!r}) draws them, got {dict(options)}")


def _check_positive(name: str, value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} should be a positive integer, got {value!r}")
