"""What a recurrent cell is to the rest of the package: a frozen value of gate names and two functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from .registry import cells, keys

State = tuple[Tensor, ...]


TAKEN = frozenset(
    (
        *("bias", "cell", "join", "is_real", "lengths", "nodes", "of_a_run", "tensors", "valid"),
        *("name", "call", "layer", "reverse", "sequence", "step", "unit"),
    )
)
"""Names that a trace has for something else, as an attribute or as a column, beside those of gates and states."""


@dataclass(frozen=True)
class Cell:
    """A recurrent cell: its gates, and the equations of one step.

    Args:
        name: what the cell is called, in messages and as a layer's `mode`.
        gates: names of the gates in the order in which their rows are stacked in the weights.
        update: `update(*pre_activations, *state_prev) -> state`, pure and row by row. Its arguments are named after the
            gates and then the states (`h_prev`, ...). It returns its states in their order, `return h, c`, or its one
            state; the first is what the cell emits and what recurs through the weights. With an adjoint it returns
            `(state, tape)`: the tuple of states, and a NamedTuple of what the adjoint needs, the gates usually.
        adjoint: `adjoint(tape, *d_state) -> (d_pre_activations, d_state_prev)`: two tuples. `d_state_prev` is what
            reaches the previous state directly, not through a weight; None stands for a state that is reached through
            the weights alone. It must be pure and act unit by unit (Hadamard products only), because the engine asks
            for the local derivatives of many steps in one call. Without one it is derived from the lines of `update`,
            by the chain rule; where those cannot be read, autograd walks through the steps.
        split: gates whose two halves `W x + b` and `W h + b` are not summed before `update` sees them: gate `n` then
            arrives as two arguments, `n_x` and `n_h`.
        check: hold the adjoint to autograd of `update` when a layer is made. False for one that is another on purpose,
            as a straight-through estimator: it is then used as written, in second derivatives too.
        walk: let autograd walk through the steps of `update`, whatever adjoint there is or could be derived: slow, and
            independent of both, the reference to hold them to.

    What the functions hold themselves, a number or a tensor without a gradient, is read at each call, and stays where
    it is when a layer moves to another device or dtype; `torch.export` writes it into the program where autograd walks
    and the layer trains. A tensor that requires a gradient is refused, as it would be no parameter of the
    layer.

    Raises:
        TypeError: `update` or `adjoint` cannot be called, or takes the wrong number of arguments; `check` or `walk` is
            no bool.
        ValueError: the gates' or states' names are unfit, or `update`'s arguments are not named after them; `check` is
            False without an adjoint, or with `walk`.
    """

    name: str
    gates: tuple[str, ...]
    update: Callable[..., Any]
    adjoint: Callable[..., tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]] | None = None
    split: tuple[str, ...] = ()
    check: bool = True
    walk: bool = False

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
        for option in ("check", "walk"):
            if not isinstance(came := getattr(self, option), bool):
                raise TypeError(f"{option} of cell {self.name!r} should be of type bool, got: {type(came).__name__}")
        if not self.check and self.adjoint is None:
            raise ValueError(f"check=False of cell {self.name!r} goes with an adjoint, and it has none")
        if not self.check and self.walk:
            raise ValueError(
                f"check=False of cell {self.name!r} asks for its adjoint as it is written, walk=True for autograd of "
                "its update: only one can be"
            )
        values: dict[str, Any] = {"gates": gates, "split": split, "pre_activations": pre_activations}
        values["states"] = tuple(s.removesuffix("_prev") for s in states)
        if collisions := [name for name in (*gates, *values["states"]) if name in TAKEN]:
            raise ValueError(
                f"gates and states of cell {self.name!r} should not be called {', '.join(collisions)}: "
                "a trace has something else under that name"
            )
        values["key"] = key = next(k for k in keys(self.name, self.update, self.adjoint) if k not in cells)
        for name, value in values.items():
            object.__setattr__(self, name, value)
        cells[key] = self

    def __reduce__(self) -> tuple[Any, ...]:
        # By its fields, so that __post_init__ runs where it is loaded; a cell that is there already is taken instead.
        return _restore, (self.name, self.gates, self.update, self.adjoint, self.split, self.check, self.walk)

    def __deepcopy__(self, memo: dict[int, Any]) -> Cell:
        return self


def step(cell: Cell, *arguments: Tensor) -> tuple[State, Any]:
    """One step: state and tape, None where `update` returns its states alone, or its one state.

    Whatever calls `update` calls it by this.
    """
    returned = cell.update(*arguments)
    if isinstance(returned, tuple):
        if len(returned) == 2 and isinstance(returned[0], tuple):
            return returned
        return returned, None
    return (returned,), None


def _restore(*fields: Any) -> Cell:
    wanted = Cell(*fields)
    return next((cell for cell in list(cells.values()) if cell == wanted), wanted)


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
