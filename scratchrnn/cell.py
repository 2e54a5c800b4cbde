"""What a recurrent cell is to the rest of the package: a frozen value of gate names and two functions."""

from __future__ import annotations

import hashlib
import inspect
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor

_cells: weakref.WeakValueDictionary[str, Cell] = weakref.WeakValueDictionary()


@dataclass(frozen=True)
class Cell:
    """A recurrent cell: its gates, and the equations of one step.

    Args:
        name: what the cell is called, in messages and as a layer's `mode`.
        gates: names of the gates in the order in which their rows are stacked in the weights.
        update: `update(*pre_activations, *state_prev) -> (state, tape)`, pure and row by row. Its arguments are named
            after the gates and then the states (`h_prev`, ...). `state` is a tuple; `state[0]` is what the cell emits
            and what recurs through the weights. `tape` is a NamedTuple of what the adjoint needs: the gates, usually.
        adjoint: `adjoint(tape, *d_state) -> (d_pre_activations, d_state_prev)`: two tuples. `d_state_prev` is what
            reaches the previous state directly, not through a weight; None stands for a state that is reached through
            the weights alone. It must act unit by unit (Hadamard products only), because the engine asks for the
            local derivatives of many steps in one call, and tensors that the functions hold themselves get no gradient.
            Without an adjoint autograd walks through the steps.
        split: gates whose two halves `W x + b` and `W h + b` are not summed before `update` sees them: gate `n` then
            arrives as two arguments, `n_x` and `n_h`.

    Raises:
        TypeError: `update` or `adjoint` cannot be called, or takes the wrong number of arguments.
        ValueError: the gates' names are unfit, or `update`'s arguments are not named after them.
    """

    name: str
    gates: tuple[str, ...]
    update: Callable[..., tuple[tuple[Tensor, ...], Any]]
    adjoint: Callable[..., tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]] | None = None
    split: tuple[str, ...] = ()

    pre_activations: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The names of `update`'s leading arguments: the gates, a split gate `n` as `n_x` and `n_h`."""
    states: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """The names of the states, the emitted one first: `("h", "c")` for an LSTM."""
    key: str = field(init=False, repr=False, compare=False)
    """The name under which `find_cell` finds this very cell: a compiled graph can hold a string but no function."""
    compiled_steps: Any = field(init=False, repr=False, compare=False, default=None)
    """The compiled steps (`compiled.CompiledSteps`) of a cell that `compiled` has made."""

    def __post_init__(self) -> None:
        gates, split = tuple(self.gates), tuple(self.split)
        if not gates or len(set(gates)) < len(gates) or not all(isinstance(g, str) and g.isidentifier() for g in gates):
            raise ValueError(f"gates of cell {self.name!r} should be distinct identifiers, got {gates}")
        if len(set(split)) < len(split) or not set(split) <= set(gates):
            raise ValueError(
                f"split of cell {self.name!r} should name some of its gates {gates}, each once, got {split}"
            )
        pre_activations = tuple(p for g in gates for p in ((f"{g}_x", f"{g}_h") if g in split else (g,)))
        arguments = _argument_names(self, "update")
        leading, states = arguments[: len(pre_activations)], arguments[len(pre_activations) :]
        expected = f"({', '.join(pre_activations)}, h_prev, ...)"
        if not states:
            raise TypeError(f"update of cell {self.name!r} should take {expected}, got ({', '.join(arguments)})")
        if leading != pre_activations or not all(s.endswith("_prev") for s in states):
            raise ValueError(
                f"update of cell {self.name!r} should name its arguments {expected}: "
                f"the pre-activations in the order of gates, then the states; got ({', '.join(arguments)})"
            )
        if self.adjoint is not None:
            taken = _argument_names(self, "adjoint")
            if len(taken) != 1 + len(states):
                raise TypeError(
                    f"adjoint of cell {self.name!r} should take the tape and the gradients of its {len(states)} "
                    f"state(s), got ({', '.join(taken)})"
                )
        values: dict[str, Any] = {"gates": gates, "split": split, "pre_activations": pre_activations}
        values["states"] = tuple(s.removesuffix("_prev") for s in states)
        values["key"] = key = next(k for k in _keys(self.name, self.update, self.adjoint) if k not in _cells)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        _cells[key] = self

    def __reduce__(self) -> tuple[Any, ...]:
        # By its fields, so that __post_init__ runs where it is loaded; a cell that is there already is taken instead.
        return _restore, (self.name, self.gates, self.update, self.adjoint, self.split)

    def __deepcopy__(self, memo: dict[int, Any]) -> Cell:
        return self


def find_cell(key: str) -> Cell:
    """The living cell whose `key` this is.

    Raises:
        KeyError: there is none, as where a program that was exported in another process is run.
    """
    if key not in _cells:
        raise KeyError(f"no cell with the key {key!r} here: make the cell, with the very same update, before this runs")
    return _cells[key]


def probe(cell: Cell, hidden_size: int, projected: bool, like: Tensor) -> None:
    """Take one step with `cell`, of two rows in the dtype and on the device of `like`, and raise for what is unfit.

    Raises:
        TypeError: `update` or `adjoint` returns something else than it should.
        ValueError: the adjoint does not act unit by unit; the tape has under a name of a trace another
            tensor; the cell computes with h_prev, which cannot be where it is `projected`.
    """
    arguments = len(cell.pre_activations) + len(cell.states)
    numbers = torch.arange(1, 2 * hidden_size * arguments + 1, dtype=like.dtype, device=like.device)
    pre_and_state = list(numbers.sin().view(arguments, 2, hidden_size).unbind())
    _expect_pair(cell, "update", "(state, tape)", returned := cell.update(*pre_and_state))
    state, tape = returned
    _expect(cell, "update's state", cell.states, state, hidden_size)
    _expect_names(cell, tape, state, pre_and_state)
    if projected:
        h_prev = len(cell.pre_activations)
        wider = [t.new_zeros(2, hidden_size + 1) if k == h_prev else t for k, t in enumerate(pre_and_state)]
        try:
            cell.update(*wider)
        except RuntimeError as error:
            reads = "proj_size needs a cell that reads h_prev through the weights alone"
            raise ValueError(f"{reads}, but {cell.name!r} computes with it: {error}") from None
    if cell.adjoint is None:
        return
    d_state = [numbers[: 2 * hidden_size].cos().view(2, hidden_size) / k for k in range(1, len(state) + 1)]
    found = _derivatives(cell, tape, d_state, hidden_size)
    by_units = [
        _derivatives(cell, tape, [numbers.new_full((), float(k == s)) for k in range(len(state))], hidden_size)
        for s in range(len(state))
    ]
    for name, d, *by_unit in zip((*cell.pre_activations, *cell.states), found, *by_units, strict=True):
        terms = [0.0 if A is None else A * ds for A, ds in zip(by_unit, d_state, strict=True)]
        if d is not None and not _close(d, sum(terms) + 0 * d):
            raise ValueError(
                f"adjoint of cell {cell.name!r} should act unit by unit, by Hadamard products: its d{name} at dh = 1 "
                "does not say what it is at another dh"
            )


def _expect_names(cell: Cell, tape: Any, state: tuple[Tensor, ...], arguments: list[Tensor]) -> None:
    """Raise where a field of the tape has the name by which a trace calls another tensor."""
    pre_activations = [f"{p}_pre" if p in cell.gates else p for p in cell.pre_activations]
    known = dict(zip([*pre_activations, *(f"{s}_prev" for s in cell.states)], arguments, strict=True))
    known |= zip(cell.states, state, strict=True)
    halves = {f"{g}_{half}" for g in cell.gates if g not in cell.split for half in "xh"}
    for name, value in tape._asdict().items() if hasattr(tape, "_asdict") else ():
        if name in halves or known.get(name, value) is not value:
            raise ValueError(
                f"the tape of cell {cell.name!r} has another tensor under the name {name!r} than a trace would have"
            )


def _close(a: Tensor, b: Tensor) -> bool:
    try:
        return torch.allclose(a, b, rtol=0.02, atol=0.01)  # half precision, too
    except RuntimeError:  # meta and fake tensors hold no numbers
        return True


def _derivatives(cell: Cell, tape: Any, d_state: list[Tensor], hidden_size: int) -> list[Tensor | None]:
    assert cell.adjoint is not None
    returned = cell.adjoint(tape, *(d.clone() for d in d_state))  # it may write into them
    _expect_pair(cell, "adjoint", "(d_pre_activations, d_state_prev)", returned)
    d_pre, d_prev = returned
    _expect(cell, "adjoint's d_pre_activations", cell.pre_activations, d_pre, hidden_size)
    _expect(cell, "adjoint's d_state_prev", cell.states, d_prev, hidden_size, or_none=True)
    return [*d_pre, *d_prev]


def _expect_pair(cell: Cell, which: str, pair: str, returned: Any) -> None:
    if not isinstance(returned, tuple) or len(returned) != 2:
        came = f"{len(returned)} values" if isinstance(returned, tuple) else type(returned).__name__
        raise TypeError(f"{which} of cell {cell.name!r} should return {pair}, got {came}")


def _expect(cell: Cell, what: str, names: tuple[str, ...], came: Any, hidden_size: int, or_none: bool = False) -> None:
    """Raise unless `came` is a tuple with a tensor [2, H], or one that broadcasts to it, for each of the names."""
    expected = f"{what} of cell {cell.name!r} should be a tuple of {len(names)}: ({', '.join(names)})"
    if not isinstance(came, tuple) or len(came) != len(names):
        raise TypeError(f"{expected}; got {f'{len(came)} values' if isinstance(came, tuple) else type(came).__name__}")
    for name, value in zip(names, came, strict=True):
        if value is None and or_none:
            continue
        if not isinstance(value, Tensor) or value.shape not in ((2, hidden_size), ()):
            shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise TypeError(f"{expected} of the gates' shape; {name} came as {shape}")


def _restore(*fields: Any) -> Cell:
    wanted = Cell(*fields)
    return next((cell for cell in list(_cells.values()) if cell == wanted and cell.compiled_steps is None), wanted)


def _keys(name: str, *functions: Callable[..., Any] | None) -> Iterator[str]:
    """Candidates for a key. It tells cells of one name apart by their code, so that no other is taken for it."""
    if getattr(functions[0], "__module__", "") != "scratchrnn.cells":
        name = f"{name}-{hashlib.sha256(repr(_content(functions)).encode()).hexdigest()[:8]}"
    yield name
    for n in count(2):
        yield f"{name}#{n}"


def _content(value: Any) -> Any:
    """What a function computes by, as plain values, the same in every process: code, defaults, what it encloses."""
    if isinstance(value, CodeType):
        return value.co_code, value.co_names, _content(value.co_consts)
    if isinstance(value, FunctionType):
        try:
            enclosed = tuple(cell.cell_contents for cell in value.__closure__ or ())
        except ValueError:  # something that it encloses is defined later
            enclosed = ()
        inner = tuple(v.__code__ if isinstance(v, FunctionType) else v for v in enclosed)
        return _content((value.__code__, value.__defaults__, inner))
    if isinstance(value, tuple):
        return tuple(_content(part) for part in value)
    return value if value is None or isinstance(value, (bool, int, float, str, bytes)) else type(value).__name__


def _argument_names(cell: Cell, which: str) -> tuple[str, ...]:
    function = getattr(cell, which)
    if not callable(function):
        raise TypeError(f"{which} of cell {cell.name!r} should be a function, got {type(function).__name__}")
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a builtin
        raise TypeError(f"{which} of cell {cell.name!r} should be a Python function, got {function!r}") from None
    for p in parameters:
        if p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            raise TypeError(f"{which} of cell {cell.name!r} should take positional arguments only, got {p}")
    return tuple(p.name for p in parameters)
