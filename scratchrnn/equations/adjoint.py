"""The adjoint that a cell is differentiated by: its own, or the one that its lines give, as a function."""

from __future__ import annotations

import ast
import copy
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from ..cells.cell import Cell, step
from ..cells.probe import some_arguments
from ..cells.registry import find_cell
from .equations import Equations
from .lines import Line
from .operations import operation

_log = logging.getLogger("scratchrnn")


class Pair(NamedTuple):
    """One step, and its adjoint: `step(*pre_activations, *state_prev) -> (state, tape)`, and of that tape

    `adjoint(tape, *d_state) -> (d_pre_activations, d_state_prev)`.
    """

    step: Callable[..., tuple[tuple[Tensor, ...], Any]]
    adjoint: Callable[..., tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]]


def adjoint_of(cell: Cell) -> Pair | None:
    """The pair that gives the gradient of `cell`: by hand where it has an adjoint, else derived from its lines.

    None where autograd has to walk through the steps: see `why_walked`.
    """
    if cell.walk:
        return None
    if cell.adjoint is not None:
        return Pair(partial(step, cell), cell.adjoint)
    found = _derived(cell)
    return None if isinstance(found, str) else found


def seen(cell: Cell, *arguments: Tensor) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """One step's state, and what it shows of itself by name: the fields of the tape, or without one every line.

    The state is that of the lines then: what is shown is what it was computed of. Of a cell without a tape whose lines
    cannot be read nothing is shown.
    """
    state, tape = step(cell, *arguments)
    shown = tape._asdict() if hasattr(tape, "_asdict") else {}
    if tape is None and not isinstance(_derived(cell), str):
        of = Equations(cell)
        values = of.values(*arguments)
        shown = {each.target: values[each.target] for each in of.forward}
        state = tuple(shown[s] for s in cell.states)
    return state, shown


def why_walked(cell: Cell) -> str | None:
    """Why autograd walks through the steps of `cell`, in one sentence; None where an adjoint gives the gradient."""
    if cell.walk:
        return f"cell {cell.name!r} has walk=True"
    if cell.adjoint is not None:
        return None
    found = _derived(cell)
    return found if isinstance(found, str) else None


def say_if_walked(cell: Cell) -> None:
    """Log, once for each cell, why its adjoint cannot be derived."""
    kept = Equations(cell).__dict__
    if not cell.walk and "_said" not in kept and (why := why_walked(cell)) is not None:
        kept["_said"] = True
        _log.warning("no adjoint is derived, autograd walks through the steps: %s (walk=True says so)", why)


def walked(key: str) -> bool:
    """Whether autograd walks through the steps of the cell with this key."""
    return adjoint_of(find_cell(key)) is None


# While torch.compile captures, it asks once and takes the answer for a constant: what is read here is not for a graph.
walked._dynamo_marked_constant = True  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------------ derived


def _derived(cell: Cell) -> Pair | str:
    """The pair by the chain rule, or why there is none."""
    of = Equations(cell)
    kept = of.__dict__  # as long as what `update` means stays the same
    if "_derived" not in kept:
        try:
            namespace: dict[str, Any] = {}
            exec(compile(python(cell), f"<the derived adjoint of {cell.name}>", "exec"), namespace)
        except ValueError as error:
            kept["_derived"] = str(error), {}
        else:
            name = identifier(cell.name.lower())
            pair = Pair(namespace[f"{name}_update"], namespace[f"{name}_adjoint"])
            kept["_derived"] = _disproof(cell, pair) or pair, namespace
    found, namespace = kept["_derived"]
    if namespace:
        namespace.update(of.numbers)  # as they are now
    return found  # type: ignore[no-any-return]


def python(cell: Cell) -> str:
    """The derived adjoint of a cell as Python: the tape, `update` with it, and `adjoint`, to be pasted.

    Raises:
        ValueError: `update` cannot be read, or the derivative of something in it is not known.
    """
    of, name = Equations(cell), identifier(cell.name.lower())
    made_by = f"{identifier(cell.name)}Tape"
    computed = {each.target for each in of.derived}
    tape = of.derived_tape
    before = [f"{s}_prev" for s in cell.states]
    renamed = by_the_gates_name(cell, of.named, tape)
    kept_apart = [
        (p, g) for p, g in zip(of.pre_activations, cell.pre_activations, strict=True) if renamed.get(p, g) != g
    ]
    update = [
        *(f"{pre} = {given}" for pre, given in kept_apart),
        *(f"{target} = {code(value, renamed)}" for target, value in of.named),
        f"return {_tuple(cell.states)}, {made_by}({', '.join(tape)})",
    ]
    d_prev = [g if (g := of.gradient(n)) in computed else "None" for n in before]
    adjoint = [
        *([f"{_tuple(tape)[1:-1]} = tape"] if tape else []),
        *(f"{target} = {code(value)}" for target, value in of.derived),
        f"return {_tuple([f'd{n}' for n in of.pre_activations])}, {_tuple(d_prev)}",
    ]
    head = ["from typing import NamedTuple", "", "import torch", "from torch import Tensor"]
    head += [f"\n{number} = {_number(value)}" for number, value in of.numbers.items()]
    parts = [
        (f"class {made_by}(NamedTuple):", [f"{n}: Tensor" for n in tape] or ["pass"]),
        (f"def {name}_update({', '.join([*cell.pre_activations, *before])}):", update),
        (f"def {name}_adjoint(tape, {', '.join(of.arriving)}):", adjoint),
    ]
    return "\n\n\n".join(["\n".join(head), *("\n".join([d, *(f"    {t}" for t in body)]) for d, body in parts)])


def _number(value: float) -> str:
    """As Python reads it: `inf` and `nan` are no literals."""
    return repr(value) if math.isfinite(value) else f'float("{value}")'


def by_the_gates_name(cell: Cell, lines: Sequence[Line], tape: Sequence[str] = ()) -> dict[str, str]:
    """What the code calls each pre-activation: as the gate, `f = sigmoid(f)`, if nobody asks for it after that line."""
    found = {}
    for pre, gate in zip(Equations(cell).pre_activations, cell.pre_activations, strict=True):
        assigned = [k for k, each in enumerate(lines) if each.target == gate]
        used = [k for k, each in enumerate(lines) if pre in each.names]
        free = pre not in tape and (not assigned or not used or max(used) <= assigned[0])
        found[pre] = gate if free else pre
    return found


class _Python(ast.NodeTransformer):
    """Functions by their whole names, other names renamed."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.names.get(node.id, node.id))

    def visit_Call(self, node: ast.Call) -> ast.Call:
        row = operation(node)
        name = row.functions[0] if row else f"torch.{ast.unparse(node.func)}"
        keywords = [ast.keyword(k.arg, self.visit(k.value)) for k in node.keywords]
        return ast.Call(ast.Name(name), [self.visit(a) for a in node.args], keywords)


def code(value: ast.expr, names: Mapping[str, str] = MappingProxyType({})) -> str:
    """The expression of a line as Python that calls torch."""
    return ast.unparse(_Python(names).visit(copy.deepcopy(value)))


def _tuple(names: Sequence[str]) -> str:
    return f"({', '.join(names)}{',' * (len(names) == 1)})"


def identifier(name: str) -> str:
    """A cell's name as one that Python takes."""
    name = re.sub(r"\W", "_", name)
    return name if name.isidentifier() else f"cell_{name}"


# -------------------------------------------------------------------------------------------------------- held


def _disproof(cell: Cell, pair: Pair) -> str | None:
    """In what the lines are not `update`, or the derived adjoint not its derivative, in float64; None: in nothing."""
    with torch.inference_mode(False), torch.enable_grad(), torch.device("cpu"), _disable_current_modes():
        leaves = [a.requires_grad_() for a in some_arguments(cell, 5, torch.float64)]
        expected, _ = step(cell, *leaves)
        with torch.no_grad():
            state, tape = pair.step(*leaves)
        for name, came, should_be in zip(cell.states, state, expected, strict=True):
            if not _close(came, should_be):
                return f"update of cell {cell.name!r} gives another {name} than its lines do"
        d_state = [torch.cos(s.detach() + k) for k, s in enumerate(expected)]
        followed = [(s, ds) for s, ds in zip(expected, d_state, strict=True) if s.requires_grad]
        sums = torch.stack([*(0 * a.sum() for a in leaves), *((s * ds).sum() for s, ds in followed)]).sum()
        exact = torch.autograd.grad(sums, leaves)
        with torch.no_grad():
            d_pre, d_prev = pair.adjoint(tape, *d_state)
        names = [*cell.pre_activations, *(f"{s}_prev" for s in cell.states)]
        for name, d, d_exact in zip(names, (*d_pre, *d_prev), exact, strict=True):
            if not _close(torch.zeros_like(d_exact) if d is None else d, d_exact):
                return f"autograd of update of cell {cell.name!r} has another d{name} than the chain rule of its lines"
    return None


def _close(a: Tensor, b: Tensor) -> bool:
    # torch's own gradient of hardsigmoid is no nearer
    return torch.allclose(a.expand_as(b), b, rtol=1e-7, atol=1e-7, equal_nan=True)
