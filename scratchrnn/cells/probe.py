"""One step with a user's cell, before a layer is made of it: what the engine would run wrongly is refused here."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from .cell import TAKEN, Cell, step

_ROWS = 3
_HALF = (torch.float16, torch.bfloat16)


def probe(cell: Cell, hidden_size: int, projected: bool, like: Tensor) -> None:
    """Take steps of a few rows with `cell`, as a layer with weights `like` would, and raise for what is unfit.

    Raises:
        TypeError: `update` or `adjoint` returns something else than it should.
        ValueError: one of them writes into what it is given; `update` mixes the rows of a batch, or holds a tensor that
            requires a gradient; the tape has under a name of a trace another tensor; the cell computes with h_prev,
            which cannot be where it is `projected`; the adjoint does not act unit by unit, or, unless
            `cell.check` is False, departs from the derivative of `update`.
    """
    device = torch.device("cpu") if like.device.type == "meta" else like.device  # meta has no numbers
    dtype = torch.float32 if like.dtype in _HALF else like.dtype  # as the engine computes
    with torch.inference_mode(False), torch.enable_grad(), device:  # wherever the layer is made
        arguments = some_arguments(cell, hidden_size, dtype)
        state, tape = _update(cell, arguments)
        _expect_names(cell, tape, state, arguments)
        _expect_row_by_row(cell, arguments, state)
        if projected:
            _expect_unread(cell, arguments)
        if cell.adjoint is not None:
            _expect_adjoint(cell, hidden_size, dtype)


def some_arguments(cell: Cell, hidden_size: int, dtype: torch.dtype) -> list[Tensor]:
    """Pre-activations, and states that the cell comes to from zeros: it need not know others."""
    gates = len(cell.pre_activations)
    pre = [2 * t for t in _numbers(gates, hidden_size, dtype)]
    state = [torch.zeros_like(pre[0]) for _ in cell.states]
    for k in range(1, 4):
        state = [*_update(cell, [*(t.roll(k, -1) for t in pre), *state])[0]]
    others = _numbers(len(state), hidden_size, dtype)
    resting = [_close(s, torch.zeros_like(s)) for s in state]
    return [*pre, *(o if r else s.clone() for s, o, r in zip(state, others, resting, strict=True))]


def _numbers(count: int, hidden_size: int, dtype: torch.dtype) -> list[Tensor]:
    """So many tensors [rows, H] of numbers from -1 to 1, always the same: no random numbers are drawn here."""
    numbers = torch.arange(1, count * _ROWS * hidden_size + 1, dtype=torch.float64).sin().to(dtype)
    return [t.clone() for t in numbers.view(count, _ROWS, hidden_size)]  # each with a version of its own


def _update(cell: Cell, arguments: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], Any]:
    """State and tape, once they are what they should be."""
    given = dict(zip((*cell.pre_activations, *(f"{s}_prev" for s in cell.states)), arguments, strict=True))
    try:
        with _unchanged(cell, "update", given):
            state, tape = step(cell, *arguments)
    except RuntimeError as error:
        if (name := next(_held(cell.update), None)) is not None:
            raise _untrained(cell, name) from error
        raise
    _expect(cell, "update's state", cell.states, state, arguments[0].shape)
    if any(t.requires_grad for t in [*state, *_tensors("tape", tape).values()]):  # none of the arguments does
        raise _untrained(cell, next(_held(cell.update), "a tensor"))
    return state, tape


def _untrained(cell: Cell, name: str) -> ValueError:
    return ValueError(
        f"update of cell {cell.name!r} holds {name}, which requires a gradient but would be no parameter of the layer, "
        "and so not be trained, saved or moved: hold a constant, as .detach() gives, or let a gate compute what is to "
        "be learned"
    )


@contextmanager
def _unchanged(cell: Cell, which: str, given: Mapping[str, Tensor]) -> Iterator[None]:
    """Raise ValueError if the block writes into one of the tensors."""
    before = [(t._version, t.detach().clone()) for t in given.values()]
    yield
    for (name, t), (version, values) in zip(given.items(), before, strict=True):
        if t._version != version or not _close(values, t):
            raise ValueError(
                f"{which} of cell {cell.name!r} should leave what it is given as it is, but it writes into {name}: "
                "the engine takes the same step again for the gradient"
            )


def _tensors(name: str, value: Any) -> dict[str, Tensor]:
    """Those in a tape, by the names that they have there."""
    if isinstance(value, Tensor):
        return {name: value}
    if isinstance(value, (tuple, list)):
        value = value._asdict() if hasattr(value, "_asdict") else dict(enumerate(value))
    parts = value.items() if isinstance(value, Mapping) else ()
    return {f"{field} of its {name}": part for field, part in parts if isinstance(part, Tensor)}


def _expect_names(cell: Cell, tape: Any, state: tuple[Tensor, ...], arguments: list[Tensor]) -> None:
    """Raise where a field of the tape has the name by which a trace calls another tensor, or something else."""
    pre_activations = [f"{p}_pre" if p in cell.gates else p for p in cell.pre_activations]
    known = dict(zip([*pre_activations, *(f"{s}_prev" for s in cell.states)], arguments, strict=True))
    known |= zip(cell.states, state, strict=True)
    halves = {f"{g}_{half}" for g in cell.gates if g not in cell.split for half in "xh"}
    for name, value in tape._asdict().items() if hasattr(tape, "_asdict") else ():
        if name in halves or name in TAKEN or known.get(name, value) is not value:
            raise ValueError(
                f"the tape of cell {cell.name!r} has another tensor under the name {name!r} than a trace would have"
            )


def _expect_row_by_row(cell: Cell, arguments: list[Tensor], state: tuple[Tensor, ...]) -> None:
    for row in range(_ROWS):
        try:
            alone, _ = _update(cell, [a[row : row + 1].clone() for a in arguments])
        except (ValueError, RuntimeError) as error:  # of more rows it raises nothing
            raise _mixes_rows(cell, "it refuses one row alone", f": {error}") from error
        for name, s, s_alone in zip(cell.states, state, alone, strict=True):
            if not _close(s[row : row + 1], s_alone):
                raise _mixes_rows(cell, f"{name} of a row is another alone than beside other rows")


def _mixes_rows(cell: Cell, how: str, more: str = "") -> ValueError:
    return ValueError(f"update of cell {cell.name!r} should be pure and work row by row, but {how}{more}")


def _expect_unread(cell: Cell, arguments: list[Tensor]) -> None:
    h_prev = len(cell.pre_activations)
    wider = [t.new_zeros(_ROWS, t.shape[1] + 1) if k == h_prev else t for k, t in enumerate(arguments)]
    try:
        step(cell, *wider)
    except RuntimeError as error:
        reads = "proj_size needs a cell that reads h_prev through the weights alone"
        raise ValueError(f"{reads}, but {cell.name!r} computes with it: {error}") from None


# ------------------------------------------------------------------------------------------------- the adjoint


def _expect_adjoint(cell: Cell, hidden_size: int, dtype: torch.dtype) -> None:
    """In float64, or where `update` cannot compute in that, as with float32 matrices that it holds, in `dtype`."""
    try:
        arguments = some_arguments(cell, hidden_size, torch.float64)
        state, tape = step(cell, *arguments)
    except RuntimeError:
        arguments = some_arguments(cell, hidden_size, dtype)
        state, tape = step(cell, *arguments)
    if any(s.is_complex() for s in state):  # autograd walks the loop then, and the adjoint has no part in it
        return
    d_state = [t.roll(1, 0) for t in _numbers(len(cell.states), hidden_size, arguments[0].dtype)]
    found = _expect_unit_by_unit(cell, tape, d_state)
    if cell.check:
        _expect_derivative(cell, arguments, d_state, found)


def _expect_unit_by_unit(cell: Cell, tape: Any, d_state: list[Tensor]) -> list[Tensor | None]:
    """The adjoint at `d_state`, once it is sure that its values at dh = 1, dc = 0 and dh = 0, dc = 1 say all."""
    shape, states = d_state[0].shape, range(len(d_state))
    found = _adjoint(cell, tape, d_state, shape)
    by_units = [_adjoint(cell, tape, [d_state[0].new_tensor(float(k == s)) for k in states], shape) for s in states]
    for name, d, *by_unit in zip((*cell.pre_activations, *cell.states), found, *by_units, strict=True):
        terms = [0.0 if A is None else A * ds for A, ds in zip(by_unit, d_state, strict=True)]
        if d is not None and not _close(d, sum(terms) + 0 * d):
            raise ValueError(
                f"adjoint of cell {cell.name!r} should act unit by unit, by Hadamard products: its d{name} at dh = 1 "
                "does not say what it is at another dh"
            )
    return found


def _adjoint(cell: Cell, tape: Any, d_state: list[Tensor], shape: torch.Size) -> list[Tensor | None]:
    """Gradients of the pre-activations and states, once they are what they should be."""
    assert cell.adjoint is not None
    given = _tensors("tape", tape) | {f"d{s}": d for s, d in zip(cell.states, d_state, strict=True)}
    with _unchanged(cell, "adjoint", given):
        returned = cell.adjoint(tape, *d_state)
    if not isinstance(returned, tuple) or len(returned) != 2:
        came = f"{len(returned)} values" if isinstance(returned, tuple) else type(returned).__name__
        expected = "(d_pre_activations, d_state_prev)"
        raise TypeError(f"adjoint of cell {cell.name!r} should return {expected}, got {came}")
    d_pre, d_prev = returned
    shapes = shape, shape[1:], torch.Size()  # a constant of the cell, of each unit or of all, may be a derivative
    _expect(cell, "adjoint's d_pre_activations", cell.pre_activations, d_pre, *shapes)
    _expect(cell, "adjoint's d_state_prev", cell.states, d_prev, *shapes, or_none=True)
    return [*d_pre, *d_prev]


def _expect_derivative(cell: Cell, arguments: list[Tensor], d_state: list[Tensor], found: list[Tensor | None]) -> None:
    leaves = [a.clone().requires_grad_() for a in arguments]
    try:
        state, _ = step(cell, *leaves)
        followed = [(s, ds) for s, ds in zip(state, d_state, strict=True) if s.requires_grad]
        exact = torch.autograd.grad(
            [s for s, _ in followed], leaves, [ds for _, ds in followed], allow_unused=True, materialize_grads=True
        )
    except RuntimeError as error:
        raise ValueError(
            f"adjoint of cell {cell.name!r} cannot be held to autograd of its update ({error}); "
            "Cell(..., check=False) takes it as it is"
        ) from error
    departs = [
        f"d{name}"
        for name, d, d_exact in zip((*cell.pre_activations, *cell.states), found, exact, strict=True)
        if not _close(torch.zeros_like(d_exact) if d is None else d.expand_as(d_exact), d_exact)
    ]
    if departs:
        raise WrongAdjointError(
            f"adjoint of cell {cell.name!r} departs from the derivative of its update, as autograd has it, in "
            f"{', '.join(departs)}; Cell(..., check=False) takes one that does so on purpose"
        )


class WrongAdjointError(ValueError):
    """An adjoint is not the derivative of its update."""


def _close(a: Tensor, b: Tensor) -> bool:
    rtol, atol = (1e-4, 1e-6) if a.dtype == torch.float64 else (1e-3, 1e-5)  # an update may round to float32
    try:
        return torch.allclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
    except RuntimeError:  # fake tensors hold no numbers
        return True


# ------------------------------------------------------------------------------------------- what is returned


def _expect(
    cell: Cell, what: str, names: tuple[str, ...], came: Any, *shapes: torch.Size, or_none: bool = False
) -> None:
    """Raise unless `came` is a tuple with a tensor of one of the shapes for each of the names."""
    expected = f"{what} of cell {cell.name!r} should be a tuple of {len(names)}: ({', '.join(names)})"
    if not isinstance(came, tuple) or len(came) != len(names):
        raise TypeError(f"{expected}; got {f'{len(came)} values' if isinstance(came, tuple) else type(came).__name__}")
    for name, value in zip(names, came, strict=True):
        if value is None and or_none:
            continue
        if not isinstance(value, Tensor) or value.shape not in shapes:
            shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{expected} of the gates' shape; {name} came as {shape}")


def _held(function: Any, seen: frozenset[int] = frozenset()) -> Iterator[str]:
    """The tensors that require a gradient among what a function holds, by their names there, with their shapes."""
    for name, value in (part for variable in _variables(function) for part in _parts(*variable, set())):
        if isinstance(value, Tensor) and value.requires_grad:
            yield f"the tensor {name} {list(value.shape)}"
        elif isinstance(value, nn.Module):
            yield from (
                f"the tensor {name}.{n} {list(p.shape)}" for n, p in value.named_parameters() if p.requires_grad
            )
        elif callable(value) and hasattr(value, "__dict__") and id(value) not in seen:
            yield from _held(value, seen | {id(value)})


def _parts(name: str, value: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Those of a list, tuple or dict, and of such in it, by their places; the value itself where it is none."""
    if not isinstance(value, (list, tuple, dict)):
        yield name, value
    elif id(value) not in seen:  # one may hold itself
        seen.add(id(value))
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _parts(f"{name}[{key!r}]", part, seen)


def _variables(function: Any) -> Iterator[tuple[str, Any]]:
    """What a function encloses, its globals and defaults; what an object that is called, or whose method is, holds."""
    if isinstance(function, functools.partial):
        yield from function.keywords.items()
        yield from (("its argument", a) for a in function.args)
        yield from _variables(function.func)
    elif isinstance(function, MethodType):
        yield from ((f"self.{name}", value) for name, value in getattr(function.__self__, "__dict__", {}).items())
        yield from _variables(function.__func__)
    elif isinstance(function, FunctionType):
        code = function.__code__
        for name, variable in zip(code.co_freevars, function.__closure__ or (), strict=True):
            with suppress(ValueError):  # not assigned yet
                yield name, variable.cell_contents
        yield from ((name, function.__globals__[name]) for name in code.co_names if name in function.__globals__)
        defaults = function.__defaults__ or ()
        yield from zip(code.co_varnames[code.co_argcount - len(defaults) : code.co_argcount], defaults, strict=True)
    elif not isinstance(function, type):
        yield from _variables(getattr(function, "__call__", None))  # noqa: B004 - an object that is called
