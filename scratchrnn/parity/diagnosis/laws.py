"""What holds for any recurrent layer: judged by these laws, a layer needs no twin in torch.nn.

Each law compares a layer with itself: run in another way it should give the same numbers. All is in float64, from
random inputs and from states that the layer itself has come to, so that a cell need not know others. Two numbers are
the same if they agree to half of the digits: in all that a law allows only the roundings differ, and what breaks one
is larger by far.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from ...cells.cell import Cell
from ...layers.recurrent import RecurrentLayer

State = tuple[Tensor, ...]
Run = Callable[[Any, State | None], tuple[Any, State]]


class Broken(NamedTuple):
    """A law that does not hold."""

    law: str
    """Its name: `causality`."""
    detail: str
    """Where it does not, with the numbers."""
    meaning: str
    """What such a layer does, and what to look at."""


@dataclass(frozen=True)
class Layer:
    """A recurrent layer as the laws see it: a function, and what it is said to do."""

    run: Run
    """`run(x, state) -> (output, state)`: x [T, B, I], output [T, B, D * R], each state [.., B, .]; None is zeros."""
    input_size: int
    parameters: Mapping[str, Tensor] = field(default_factory=dict)
    """The leaves that `run` reads: they are changed in place, and left as they were."""
    states: tuple[str, ...] = ("h", "c")
    """What the states are called, as far as they have names."""
    gates: tuple[str, ...] = ()
    """What is stacked in the rows of each parameter, if that is known."""
    takes_state: bool = True
    takes_packed: bool = False
    """Whether x may be a PackedSequence; the output is then one."""
    bidirectional: bool = False
    num_layers: int = 1
    mirrored: Run | None = None
    """Of a bidirectional layer: `run` with the parameters of the two directions exchanged."""

    def named(self, output: Tensor, state: State) -> dict[str, Tensor]:
        """What a run returns, by name: `output`, `h_n`, `c_n`."""
        return {"output": output} | {self._name(k, "n"): s for k, s in enumerate(state)}

    def _name(self, k: int, when: str) -> str:
        return f"{self.states[k] if k < len(self.states) else f'state {k}'}_{when}"

    def starts(self, state: State) -> dict[str, Tensor]:
        """The states before the first step, by name: `h_0`."""
        return {self._name(k, "0"): s for k, s in enumerate(state)}


def laws(subject: Layer | Cell | nn.Module | type[nn.Module], input_size: int | None = None) -> tuple[Broken, ...]:
    """The laws that `subject` breaks, each once.

    Args:
        subject: a `Layer`; or a Cell, a recurrent module, or a class of such: see `layers_of`.
        input_size: I, where the subject does not say.

    A layer whose numbers are not finite, or no two runs of which agree, is told so and judged no further.
    """
    broken: dict[str, Broken] = {}
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        for layer in [subject] if isinstance(subject, Layer) else layers_of(subject, input_size):
            for found in _broken(layer):
                broken.setdefault(found.law, found)
    return tuple(broken.values())


# ----------------------------------------------------------------------------------------------- the judgement


@dataclass(frozen=True)
class _Judged:
    """A layer with a random input [T, B, I], and the states [.., B, .] from which it is run on that."""

    layer: Layer
    x: Tensor
    start: State | None
    digits: torch.dtype
    """The narrowest dtype that holds the numbers which the layer returns."""

    def run(self, x: Tensor, state: State | None) -> dict[str, Tensor]:
        with torch.no_grad():
            return self.layer.named(*_call(self.layer.run, x, state))

    def parted(self, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> tuple[str, float, float] | None:
        """Of the first tensor that is not the same, where: `output[2, 0, 1]`, the first step, and both numbers."""
        for name, y in expected.items():
            x = found[name]
            if x.shape != y.shape:
                raise ValueError(f"{name} should be {list(y.shape)}, as in another run, got {list(x.shape)}")
            if not y.numel():
                continue
            deviation = (x - y).abs()
            same = deviation <= torch.finfo(self.digits).eps ** 0.5 * y.abs().max()  # nan is the same as no number
            if not same.all():
                index = tuple((~same).nonzero()[0].tolist())
                return f"{name}{list(index)}", x[index].item(), y[index].item()
        return None


T, B = 6, 3
_LENGTHS = (3, T, 1)


def _broken(layer: Layer) -> Iterator[Broken]:
    x = torch.randn(T, B, layer.input_size, dtype=torch.float64)
    with torch.no_grad():  # what the layer raises here is no law's business
        output, state = layer.run(torch.randn_like(x), None)
        start = tuple(s.to(x.dtype) for s in state) if layer.takes_state and state else None
        output, state = layer.run(x.clone(), None if start is None else tuple(s.clone() for s in start))
    for name, y in layer.named(output, state).items():
        if y.dim() < 2 or y.shape[-2] != B:
            raise ValueError(f"{name} of {B} rows should be [.., {B}, .], got {list(y.shape)}")
    for name, s in layer.starts(state).items() if layer.bidirectional else ():
        if s.dim() < 3 or len(s) % 2:
            raise ValueError(f"{name} of both directions should be [L * D, {B}, .], got {list(s.shape)}")
    digits = max((_digits(y) for y in (output, *state)), key=lambda dtype: torch.finfo(dtype).eps)
    judged = _Judged(layer, x, start, digits)
    for law in LAWS:
        if not law.applies(judged):
            continue
        try:
            detail = law.broken(judged)
        except _RaisesError as error:
            detail = str(error)
        if detail:
            yield Broken(law.name, detail, law.meaning)
            if law.first:
                return


class _RaisesError(Exception):
    """A call that a law says is as good as another raised."""


def _call(run: Run, x: Any, state: State | None) -> tuple[Any, State]:
    """`run` on tensors of its own, so that what it writes into them reaches nobody."""
    own = None if state is None else tuple(s.clone() for s in state)
    packed = isinstance(x, PackedSequence)
    try:
        output, last = run(x._replace(data=x.data.clone()) if packed else x.clone(), own)
    except Exception as error:
        given = "a PackedSequence" if packed else f"an input {list(x.shape)}"
        given += "" if own is None else f" and states {', '.join(str(list(s.shape)) for s in own)}"
        raise _RaisesError(f"a call with {given} raises {type(error).__name__}: {error}") from error
    return output, tuple(last)


def _digits(y: Tensor) -> torch.dtype:
    """The narrowest dtype that holds `y`; of whole numbers and simple fractions, which show nothing, their own."""
    if torch.equal(y * 64, (y * 64).round()):
        return y.dtype
    dtypes = (torch.bfloat16, torch.float16, torch.float32)
    return next((dtype for dtype in dtypes if torch.equal(y.to(dtype).double(), y.double())), y.dtype)


def _finite(judged: _Judged) -> str | None:
    for name, y in judged.run(judged.x, judged.start).items():
        if not y.isfinite().all():
            return f"{name} has {int((~y.isfinite()).sum())} of {y.numel()} numbers that are not finite"
    return None


def _repeatable(judged: _Judged) -> str | None:
    layer = judged.layer
    entered = {"the input": judged.x} | layer.starts(judged.start or ())
    given = [y.clone() for y in entered.values()]
    with torch.no_grad():
        first = layer.named(*layer.run(given[0], tuple(given[1:]) if judged.start is not None else None))
    for (name, y), after in zip(entered.items(), given, strict=True):
        if not torch.equal(y, after):
            return f"a call writes into what it is given: {name} is off by {(after - y).abs().max():.2g} behind it"
    first = {name: y.clone() for name, y in first.items()}
    if where := judged.parted(judged.run(judged.x, judged.start), first):
        return f"{where[0]} is {where[2]:.6g} in one call and {where[1]:.6g} in the next, on the same input"
    return None


def _precision(judged: _Judged) -> str | None:
    if judged.digits == torch.float64:
        return None
    named = [k for k, y in judged.run(judged.x, judged.start).items() if _digits(y) == judged.digits]
    return f"from an input in float64 each number of {_listed(named)} has the digits of {str(judged.digits)[6:]} alone"


def _batch_independence(judged: _Judged) -> str | None:
    whole = judged.run(judged.x, judged.start)
    for b in range(B):
        alone = judged.run(judged.x[:, [b]], _rows(judged.start, [b]))
        if where := judged.parted({name: y[..., [b], :] for name, y in whole.items()}, alone):
            return f"for row {b} of {B}, {where[0]} is {where[1]:.6g} within the batch and {where[2]:.6g} alone"
    return None


def _causality(judged: _Judged) -> str | None:
    whole = judged.run(judged.x, judged.start)["output"]
    width = whole.shape[-1] // (2 if judged.layer.bidirectional else 1)
    for t in range(1, T):
        parts = [("from", slice(t, T), slice(0, t), slice(0, width))]
        if judged.layer.bidirectional:
            parts.append(("before", slice(0, t), slice(t, T), slice(width, None)))
        for word, changed, kept, half in parts:
            other = judged.x.clone()
            other[changed] = torch.randn_like(other[changed])
            found = judged.run(other, judged.start)["output"]
            if where := judged.parted({"output": found[kept, :, half]}, {"output": whole[kept, :, half]}):
                of = " of the reverse direction" if word == "before" else ""
                at = f"{where[0].replace('output', f'output[{kept.start}:{kept.stop}]')}{of}"
                return f"with another input {word} step {t} {at} is {where[1]:.6g} and not {where[2]:.6g}"
    return None


def _split(judged: _Judged) -> str | None:
    whole = judged.run(judged.x, judged.start)
    for cut in range(1, T):
        with torch.no_grad():
            first, between = _call(judged.layer.run, judged.x[:cut], judged.start)
            second, last = _call(judged.layer.run, judged.x[cut:], between)
        if where := judged.parted(judged.layer.named(torch.cat([first, second]), last), whole):
            return (
                f"{where[0]} is {where[2]:.6g} in one run over {T} steps, and {where[1]:.6g} in a run over the first "
                f"{cut} and then, from the states that returned, over the others"
            )
    return None


def _packed(judged: _Judged) -> str | None:
    packed = pack_padded_sequence(judged.x, torch.tensor(_LENGTHS), enforce_sorted=False)
    with torch.no_grad():
        output, last = _call(judged.layer.run, packed, judged.start)
    if not isinstance(output, PackedSequence):
        return f"the output of a PackedSequence is no PackedSequence but {type(output).__name__}"
    padded, _ = pad_packed_sequence(output)
    for b, length in enumerate(_LENGTHS):
        alone = judged.run(judged.x[:length, [b]], _rows(judged.start, [b]))
        found = judged.layer.named(padded[:length, [b]], _rows(last, [b]) or ())
        if where := judged.parted(found, alone):
            return (
                f"for sequence {b}, of length {length} beside {', '.join(map(str, _LENGTHS))}, {where[0]} is "
                f"{where[1]:.6g} packed and {where[2]:.6g} alone"
            )
    return None


def _reverse(judged: _Judged) -> str | None:
    whole = judged.run(judged.x, judged.start)
    if judged.layer.mirrored is not None:
        with torch.no_grad():
            start = _exchanged(judged.start) if judged.start is not None else None
            output, last = _call(judged.layer.mirrored, judged.x.flip(0), start)
        halves = torch.cat(output.flip(0).chunk(2, -1)[::-1], -1)
        if where := judged.parted(whole, judged.layer.named(halves, _exchanged(last))):
            return (
                f"{where[0]} is {where[1]:.6g}, and {where[2]:.6g} where the input is flipped in time, the directions "
                "exchange their parameters and states, and the output is flipped back"
            )
    if judged.start is not None:
        other = judged.run(judged.x, tuple(torch.cat([s[:-1], torch.randn_like(s[-1:])]) for s in judged.start))
        forward = [
            {name: y[..., : y.shape[-1] // 2] if name == "output" else y[:-1] for name, y in run.items()}
            for run in (other, whole)
        ]
        if where := judged.parted(*forward):
            change = "with other states for the reverse direction of the last layer"
            return f"{change} {where[0]} is {where[1]:.6g} and not {where[2]:.6g}"
    return None


def _rows(state: State | None, rows: list[int]) -> State | None:
    return None if state is None else tuple(s[..., rows, :] for s in state)


def _exchanged(state: State) -> State:
    """The directions in the other order: [L * D, B, .]."""
    return tuple(s.unflatten(0, (-1, 2)).flip(1).flatten(0, 1) for s in state)


# ----------------------------------------------------------------------------------------------- gradients

_STEPS = (1e-5, 1e-6, 1e-7)  # a kink, as relu has, may lie within one of them


def _gradients(judged: _Judged) -> str | None:
    layer = judged.layer
    started = layer.starts(() if judged.start is None else judged.start)
    leaves = {"input": judged.x.clone()} | {name: s.clone() for name, s in started.items()}
    asked = {name: leaf.requires_grad_() for name, leaf in leaves.items()}
    asked |= {name: p for name, p in layer.parameters.items() if p.requires_grad and p.dtype == torch.float64}
    first = judged.run(judged.x, judged.start)
    upstream = {name: torch.randn_like(y) for name, y in first.items()}
    rounding = (
        100 * torch.finfo(torch.float64).eps * sum((u * first[k]).abs().sum().item() for k, u in upstream.items())
    )

    def loss() -> Tensor:
        x, *start = leaves.values()
        # no leaf itself: a layer may write into what it is given
        found = layer.named(*_call(layer.run, x, tuple(start) if judged.start is not None else None))
        return torch.stack([(found[name] * u).sum() for name, u in upstream.items()]).sum()

    total, wanted = loss(), [*asked.values()]
    found: Sequence[Tensor | None] = [None] * len(wanted)
    if total.requires_grad:
        found = torch.autograd.grad(total, wanted, allow_unused=True)

    def differs(leaf: Tensor, gradient: Tensor, rows: Any) -> tuple[float, float] | None:
        """Autograd's derivative along a random direction in some rows, and that by differences, if they differ."""
        direction = torch.zeros_like(leaf)
        direction[rows] = torch.randn_like(direction[rows])
        direction /= direction.norm()
        expected, before = (gradient * direction).sum().item(), leaf.detach().clone()
        for step in _STEPS:
            with torch.no_grad():
                ends = []
                for sign in (1, -1):
                    leaf.copy_(before + sign * step * direction)
                    ends.append(loss().item())
                leaf.copy_(before)
            measured = (ends[0] - ends[1]) / (2 * step)
            scale = max(gradient[rows].norm().item(), abs(measured))
            if abs(expected - measured) <= 1e-6 * scale + rounding / step:
                return None
        return expected, measured

    said = []
    for (name, leaf), gradient in zip(asked.items(), found, strict=True):
        g = torch.zeros_like(leaf) if gradient is None else gradient
        if not leaf.numel() or not (numbers := differs(leaf, g, ...)):
            continue
        wrong = [k for k in range(len(leaf) if leaf.dim() else 0) if differs(leaf, g, k)]
        where = _named_rows(name, wrong, leaf, layer.gates if name in layer.parameters else ())
        none = ", which has none," if gradient is None else ""
        said.append(
            f"of {name}{none}{where} the derivative along a random direction is {numbers[0]:.6g} by autograd and "
            f"{numbers[1]:.6g} by central differences"
        )
    return "; ".join(said)


def _named_rows(name: str, wrong: Sequence[int], leaf: Tensor, gates: tuple[str, ...]) -> str:
    """` (wrong at steps 0 and 1 of 6)`, ` (wrong in the rows of gate f)`: where it is not all of the leaf."""
    if not wrong or len(wrong) == len(leaf):
        return ""
    plural = "" if len(wrong) == 1 else "s"
    listed = _listed([str(k) for k in wrong])
    if name == "input":
        return f" (wrong at step{plural} {listed} of {len(leaf)})"
    if gates and len(leaf) % len(gates) == 0:
        height = len(leaf) // len(gates)
        named = [gate for k, gate in enumerate(gates) if any(row // height == k for row in wrong)]
        return f" (wrong in the rows of gate{'' if len(named) == 1 else 's'} {_listed(named)})"
    return f" (wrong in row{plural} {listed} of {len(leaf)})"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


# ---------------------------------------------------------------------------------------------------- table


class Law(NamedTuple):
    """One law: a new one is a new row."""

    name: str
    sentence: str
    """What it says."""
    meaning: str
    """What a layer does that breaks it, and what to look at."""
    broken: Callable[[_Judged], str | None]
    """Where it does not hold."""
    applies: Callable[[_Judged], bool] = lambda judged: True
    first: bool = False
    """Whether nothing further can be said of a layer that breaks it."""


LAWS = (
    Law(
        "finite",
        "From finite numbers come finite numbers.",
        "a division by zero, the logarithm or the exponential of a number out of range, or memory that is read before "
        "it is written (torch.empty)",
        _finite,
        first=True,
    ),
    Law(
        "repeatable",
        "The same call gives the same numbers, and changes nothing that it was given.",
        "dropout is active (call eval()), the layer draws random numbers, it keeps a state from one call to the next, "
        "or it writes into its arguments (h *= ..., where h is what it was given: h = h * ...)",
        _repeatable,
        first=True,
    ),
    Law(
        "precision",
        "What is computed from float64 is float64.",
        "a tensor is made in a dtype of its own (write torch.zeros(..., dtype=x.dtype, device=x.device), or "
        "x.new_zeros(...)), or the layer casts",
        _precision,
    ),
    Law(
        "batch-independence",
        "A row of a batch is as that row alone.",
        "rows are mixed: a normalisation, sum or softmax over the batch, gates split along the batch (chunk without "
        "dim), a view where a transpose is needed, or batch and time exchanged (batch_first)",
        _batch_independence,
    ),
    Law(
        "causality",
        "The output up to a step ignores what comes behind it; in reverse, what comes before it.",
        "an output reads other steps: an index off by one, an input that was flipped, a normalisation or sum over "
        "time, or the two directions' outputs added or exchanged",
        _causality,
        lambda judged: judged.layer.num_layers == 1 or not judged.layer.bidirectional,
    ),
    Law(
        "split",
        "A sequence can be cut in two, and the second part continued from the states that the first returned.",
        "the given states are ignored, or those of a wrong step, layer or order are returned; a state is kept that is "
        "not among them; or a step depends on its number (a position, a time step, the length)",
        _split,
        lambda judged: judged.start is not None and not judged.layer.bidirectional,
    ),
    Law(
        "packed",
        "A sequence of a packed batch is as that sequence alone.",
        "the last states are those of the longest sequence's last step, rows move on beyond their ends, the reverse "
        "direction starts in the padding, or sorted and given order are mixed up (sorted_indices, unsorted_indices)",
        _packed,
        lambda judged: judged.layer.takes_packed,
    ),
    Law(
        "reverse",
        "The reverse direction is: flip in time, run, flip back.",
        "the input or the output of the reverse direction is not flipped, the flip is along the batch, a direction "
        "reads parameters or states of the other, or the returned states are in another order than l0, l0_reverse, l1",
        _reverse,
        lambda judged: judged.layer.bidirectional,
    ),
    Law(
        "gradients",
        "Autograd's derivative along any direction is the one that finite differences measure.",
        "a detach(), .data, .item() or no_grad() on the way, an adjoint (autograd.Function) with a wrong line, or a "
        "gradient that is assigned where it should be added; a straight-through estimator differs on purpose",
        _gradients,
        lambda judged: judged.digits == torch.float64,
    ),
)

# --------------------------------------------------------------------------------------------------- makers


def layers_of(subject: Cell | nn.Module | type[nn.Module], input_size: int | None = None) -> Iterator[Layer]:
    """What the laws are held to: of a cell or a class, one direction, and then two of two layers if it has such.

    A module is called as `module(x, state)`, state as the module itself returns it, a tensor or a tuple, and x
    batch-first if it has a true attribute `batch_first`; a class is made as `Class(input_size, hidden_size)`. Of both
    there are copies in float64; parameters of one number throughout, which may hide what they do, are drawn anew.

    Raises:
        TypeError: the subject is none of these.
        ValueError: it does not say its `input_size`; or no layer can be made of the cell, which says why.
    """
    size = 3 if input_size is None else input_size
    both: dict[str, Any] = {"num_layers": 2, "bidirectional": True}
    if isinstance(subject, Cell):
        yield _layer(RecurrentLayer(subject, size, 4), size)
        yield _layer(RecurrentLayer(subject, size, 4, **both), size)
    elif isinstance(subject, type) and issubclass(subject, nn.Module):
        yield _layer(subject(size, 4), size)
        taken = inspect.signature(subject).parameters
        passed_on = issubclass(subject, RecurrentLayer) and any(p.kind is p.VAR_KEYWORD for p in taken.values())
        if options := {name: value for name, value in both.items() if passed_on or name in taken}:
            yield _layer(subject(size, 4, **options), size)
    elif isinstance(subject, nn.Module):
        yield _layer(copy.deepcopy(subject), input_size)
    else:
        raise TypeError(f"subject should be a Layer, a Cell, a module or a class of modules, got: {subject!r}")


def _layer(module: nn.Module, input_size: int | None) -> Layer:
    size = getattr(module, "input_size", None) if input_size is None else input_size
    if not isinstance(size, int):
        raise ValueError(f"input_size should be given: {type(module).__name__} has no attribute of that name")
    parameters = dict(module.double().named_parameters())
    with torch.no_grad():
        for p in parameters.values():
            if p.numel() and (p == p.flatten()[0]).all():
                p.add_(torch.randn_like(p) / 4)
        returned = module(torch.zeros(T, B, size, dtype=torch.float64))
    tupled = isinstance(returned, (tuple, list)) and len(returned) == 2 and isinstance(returned[1], (tuple, list))
    first = bool(getattr(module, "batch_first", False))
    bidirectional, num_layers = bool(getattr(module, "bidirectional", False)), getattr(module, "num_layers", 1)
    run = _run(module, first, tupled)
    cell = module.cell if isinstance(module, RecurrentLayer) else None
    others = _mirror(parameters, num_layers) if bidirectional else None
    mirrored = None
    if others is not None:

        def call_mirrored(*given: Any) -> Any:
            exchanged = {name: other() for name, other in others.items()}
            return torch.func.functional_call(module, exchanged, given)

        mirrored = _run(call_mirrored, first, tupled)
    return Layer(
        run,
        size,
        parameters,
        states=("h", "c") if cell is None else cell.states,
        gates=() if cell is None else cell.gates,
        takes_state=_takes_state(module),
        takes_packed=_takes_packed(run, size),
        bidirectional=bidirectional,
        num_layers=num_layers,
        mirrored=mirrored,
    )


def _run(call: Callable[..., Any], batch_first: bool, tupled: bool) -> Run:
    """A module's call as a `Run`; `tupled`: it takes and returns its states in a tuple, even if it is one."""

    def run(x: Any, state: State | None) -> tuple[Any, State]:
        turned = batch_first and not isinstance(x, PackedSequence)
        given = [x.transpose(0, 1) if turned else x]
        if state is not None:
            given.append(state if tupled else state[0])
        returned = call(*given)
        output, last = (returned, None) if isinstance(returned, (Tensor, PackedSequence)) else returned
        states = () if last is None else (last,) if isinstance(last, Tensor) else tuple(last)
        return output.transpose(0, 1) if isinstance(output, Tensor) and turned else output, states

    return run


def _mirror(parameters: Mapping[str, Tensor], num_layers: int) -> dict[str, Callable[[], Tensor]] | None:
    """For each parameter what stands in its place where the directions are exchanged, if the names tell.

    They do as torch.nn's do: `weight_ih_l1` and `weight_ih_l1_reverse`, whose columns are those of both directions.
    """
    pairs = {name: f"{name}_reverse" for name in parameters if f"{name}_reverse" in parameters}
    pairs |= {reverse: name for name, reverse in pairs.items()}
    if not pairs or pairs.keys() != parameters.keys():
        return None
    if num_layers > 1 and "weight_ih_l1" not in parameters:
        return None

    def other(name: str) -> Callable[[], Tensor]:
        p = parameters[pairs[name]]
        above = name.startswith("weight_ih_l") and not name.startswith("weight_ih_l0")
        return lambda: torch.cat(p.chunk(2, 1)[::-1], 1) if above else p

    return {name: other(name) for name in pairs}


def _takes_state(module: nn.Module) -> bool:
    taken = inspect.signature(module.forward).parameters.values()
    return len(taken) > 1 or any(p.kind is p.VAR_POSITIONAL for p in taken)


def _takes_packed(run: Run, input_size: int) -> bool:
    x = pack_padded_sequence(torch.zeros(2, 2, input_size, dtype=torch.float64), torch.tensor([2, 1]))
    try:
        with torch.no_grad():
            run(x, None)
    except Exception:  # a layer that takes none may say so in any way
        return False
    return True
