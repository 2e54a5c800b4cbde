"""What a recurrent cell is to the rest of the package: a frozen value of gate names and two functions."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

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
            local derivatives of many steps in one call. Without an adjoint autograd walks through the steps.
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
        values["key"] = key = next(k for k in _keys(self.name) if k not in _cells)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        _cells[key] = self

    def __reduce__(self) -> tuple[Any, ...]:
        # By its fields, so that __post_init__ runs where it is loaded; a cell that is there already is taken instead.
        return _restore, (self.name, self.gates, self.update, self.adjoint, self.split)

    def __deepcopy__(self, memo: dict[int, Any]) -> Cell:
        return self


def find_cell(key: str) -> Cell:
    """The living cell whose `key` this is."""
    return _cells[key]


def _restore(*fields: Any) -> Cell:
    wanted = Cell(*fields)
    return next((cell for cell in list(_cells.values()) if cell == wanted), wanted)


def _keys(name: str) -> Iterator[str]:
    yield name
    n = 2
    while True:
        yield f"{name}#{n}"
        n += 1


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
