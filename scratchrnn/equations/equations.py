"""A cell's equations as data: the lines of `update` and `adjoint`, and the adjoint that the chain rule gives."""

from __future__ import annotations

import ast
import weakref
from collections.abc import Mapping
from functools import cached_property
from itertools import count
from typing import Any, NamedTuple

from torch import Tensor

from ..cells.cell import Cell
from .derivation import Step, derivation, one_at_a_time
from .lines import Line, line
from .reading import Reading
from .source import Path, Unreadable, at, unchanged

_read: dict[int, dict[str, Any]] = {}
"""For each living cell, by its `id`, what its equations have found. It holds no cell and no function, or no cell would
be freed."""


class Equations:
    """The lines of a cell, each name assigned once: `Equations(lstm).forward[4].text` is `c = f * c_prev + i * g`.

    Each part is read when it is first asked for, and then kept as long as the cell lives, whoever asks; it is read anew
    where something that the functions use, and do not define themselves, has become something else. A number from
    outside stands in the lines by its name: `numbers` has its value now.

    A pre-activation is called as in a trace: where the function has `f = torch.sigmoid(f)`, the line is
    `f = sigmoid(f_pre)`, and every name of the forward lines is a name of a `Record` or an earlier line's target.
    dX is the gradient of the loss by X.
    """

    __slots__ = ("__dict__", "cell")

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        kept = _read.get(id(cell))
        if kept is None:
            weakref.finalize(cell, _read.pop, id(cell), None).atexit = False
        if kept is None or not _still(cell, kept):
            codes = [getattr(function, "__code__", None) for function in (cell.update, cell.adjoint)]
            kept = _read[id(cell)] = {"_codes": codes, "_outside": {}}
        self.__dict__: dict[str, Any] = kept  # what `cached_property` writes to; the cell has a slot beside it

    # ------------------------------------------------------------------------------------------------- names

    @property
    def pre_activations(self) -> tuple[str, ...]:
        """What the lines call the arguments of `update` before the states: `f_pre`, of a split gate `n_x`, `n_h`."""
        return tuple(f"{p}_pre" if p in self.cell.gates else p for p in self.cell.pre_activations)

    @property
    def direct_gradient(self) -> str:
        """`dh_direct`: the part of `dh_prev`, the emitted state's gradient, that does not come through W_hh."""
        return f"d{self.cell.states[0]}_direct"

    def gradient(self, name: str) -> str:
        """What the lines of an adjoint call the gradient of a name: dX, and of `h_prev` what is theirs, `dh_direct`."""
        return self.direct_gradient if name == f"{self.cell.states[0]}_prev" else f"d{name}"

    @property
    def arriving(self) -> tuple[str, ...]:
        """Names of the gradients that reach a step from outside, one for each state.

        `dc_next` where lines of `update` use the state that they compute, and the whole `dc` is therefore more than
        what arrives; `dh` where none does.

        Raises:
            ValueError: as for `forward`.
        """
        used = {name for of_update in self.forward for name in of_update.names}
        return tuple(f"d{s}_next" if s in used else f"d{s}" for s in self.cell.states)

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers from outside that the forward lines use, by their names there, as they are now.

        Raises:
            ValueError: as for `forward`.
        """
        self.forward  # noqa: B018 - what was read of `update`, or why it was not
        return {name: at(self.cell.update, path) for name, path in self._update.numbers.items()}

    @property
    def tape(self) -> tuple[str, ...]:
        """The names of what the cell's tape keeps; none of a tape that is no NamedTuple.

        Raises:
            ValueError: as for `forward`.
        """
        self.forward  # noqa: B018
        return self._update.tape

    # ------------------------------------------------------------------------------------------------- lines

    @property
    def forward(self) -> tuple[Line, ...]:
        """The lines of `update`, as they are written there.

        Raises:
            ValueError: `update` cannot be read: the text has the line of the file and the reason, and what comes before
                it is `readable`. The guide says what can.
        """
        if self._update.error is not None:
            raise ValueError(self._update.error)
        return self._update.lines

    def values(self, *arguments: Tensor) -> dict[str, Tensor]:
        """What every forward line gives at these arguments of `update`, and the arguments, by their names.

        Raises:
            ValueError: as for `forward`.
        """
        names = (*self.pre_activations, *(f"{s}_prev" for s in self.cell.states))
        found = dict(zip(names, arguments, strict=True))
        numbers = self.numbers
        for each in self.named:
            found[each.target] = each.evaluate({**numbers, **found})
        return found

    @property
    def readable(self) -> tuple[Line, ...]:
        """The lines of `update`, up to the first place that cannot be read."""
        return self._update.lines

    @cached_property
    def _update(self) -> _Update:
        cell, what = self.cell, f"update of cell {self.cell.name!r}"
        names = dict(zip(cell.pre_activations, self.pre_activations, strict=True))
        names |= {f"{s}_prev": f"{s}_prev" for s in cell.states}
        try:
            read = Reading(cell.update, what)
        except Unreadable as error:
            return _Update(error=str(error))
        given = dict(zip(read.source.parameters, map(ast.Name, names.values()), strict=True))
        stopped = read.read(given, tape=True)
        self._depends_on("update", read)
        results: list[tuple[str, ast.expr]] = []
        if read.returned is not None:
            state = read.returned.elts if isinstance(read.returned, ast.Tuple) else [read.returned]
            if len(state) != len(cell.states):
                stopped = read.source.unreadable(read.last, f"it should return {', '.join(cell.states)}")
            else:
                results = [*zip(cell.states, state, strict=True), *read.tape.items()]
        assigned = read.assigned()
        gradients = [f"d{name}" for name in ("x", *names.values(), *cell.states, *read.tape, *assigned)]
        gradients += [f"d{name}_{k}" for name in assigned for k in range(1, assigned.count(name))]
        gradients += [self.direct_gradient, *(f"d{s}_next" for s in cell.states)]
        reserved = {"x", *gradients}
        numbers = read.numbers({*names, *names.values(), *cell.gates, *(name for name, _ in results), *reserved})
        lines = read.lines(results, numbers, {*names.values()}, reserved)
        return _Update(tuple(lines), tuple(read.tape), numbers, None if stopped is None else str(stopped))

    def _depends_on(self, which: str, read: Reading) -> None:
        """What was found outside of a function is looked at whenever the equations are asked for; not of our own."""
        if not read.source.function.__module__.startswith(Cell.__module__.rpartition(".")[0]):
            self.__dict__["_outside"][which] = read.outside

    @cached_property
    def adjoint(self) -> tuple[Line, ...]:
        """The lines of the cell's own `adjoint`; none where it has none.

        A gradient that is returned has the name of what it is the gradient of: `df_pre`, `dn_h`, `dc_prev`; see
        `gradient`, and for what arrives `arriving`.

        Raises:
            ValueError: as for `forward`.
        """
        cell = self.cell
        if cell.adjoint is None:
            return ()
        try:
            return self._adjoint_lines(Reading(cell.adjoint, f"adjoint of cell {cell.name!r}"))
        except Unreadable as error:
            raise ValueError(str(error)) from None

    def _adjoint_lines(self, read: Reading) -> tuple[Line, ...]:
        cell, (tape, *d_state) = self.cell, read.source.parameters
        fields: list[ast.expr] = [ast.Name(field) for field in self.tape]
        given: dict[str, ast.expr] = dict(zip(d_state, map(ast.Name, self.arriving), strict=True))
        given |= {tape: ast.Tuple(fields), **{f"{tape}.{n}": f for n, f in zip(self.tape, fields, strict=True)}}
        given |= {f"{tape}[{k}]": f for k, f in enumerate(fields)}
        stopped = read.read(given)
        self._depends_on("adjoint", read)
        if stopped is not None:
            raise stopped
        d_pre, d_prev = [f"d{n}" for n in self.pre_activations], [self.gradient(f"{s}_prev") for s in cell.states]
        match read.returned:
            case ast.Tuple(elts=[ast.Tuple(elts=of_pre), ast.Tuple(elts=of_prev)]) if len(of_pre) == len(d_pre) and len(
                of_prev
            ) == len(d_prev):
                results = [*zip(d_pre, of_pre, strict=True), *zip(d_prev, of_prev, strict=True)]
            case _:
                expected = f"it should return two tuples of {len(d_pre)} and {len(d_prev)} gradients"
                raise read.source.unreadable(read.last, expected)
        results = [(n, e) for n, e in results if not (isinstance(e, ast.Constant) and e.value is None)]
        taken = {*self.tape, *self.arriving}
        return tuple(read.lines(results, read.numbers(taken | {n for n, _ in results}), taken))

    # ------------------------------------------------------------------------------------------------- derived

    @cached_property
    def named(self) -> tuple[Line, ...]:
        """The forward lines, with a line of its own for each operation within one that the adjoint needs again.

        Raises:
            ValueError: as for `forward`.
        """
        taken = {name for each in self.forward for name in (each.target, *each.names)}
        taken |= {f"d{name}" for name in taken} | {self.direct_gradient, *self.arriving}

        def free(name: str) -> str:
            found = next(n for n in (f"{name}_{k}" if k else name for k in count()) if not {n, f"d{n}"} & taken)
            taken.update((found, f"d{found}"))
            return found

        return tuple(one_at_a_time(self.forward, {*self.numbers}, free))

    @property
    def added(self) -> tuple[Line, ...]:
        """The lines of `named` that are parts of one of `forward`.

        Raises:
            ValueError: as for `forward`.
        """
        there = {each.target for each in self.forward}
        return tuple(each for each in self.named if each.target not in there)

    @cached_property
    def derivation(self) -> tuple[Step, ...]:
        """The adjoint by the chain rule: the forward lines in reverse order, each with the gradients it completes.

        The forward lines are those of `named`. A pre-activation without influence on the states has the gradient 0.

        Raises:
            ValueError: as for `forward`; or the derivative of something in a line is not known.
        """
        what = f"update of cell {self.cell.name!r}"
        arriving = dict(zip(self.cell.states, self.arriving, strict=True))
        steps = derivation(self.named, arriving, self.gradient, {*self.numbers}, what)
        there = {each.target for step in steps for each in step.gradients}
        none = [line(f"d{name} = 0 * {self.arriving[0]}") for name in self.pre_activations if f"d{name}" not in there]
        if none:
            last = steps[-1]
            steps[-1] = Step(last.line, (*last.gradients, *none))
        return tuple(steps)

    @property
    def derived(self) -> tuple[Line, ...]:
        """The lines of the adjoint that the chain rule gives, in the order in which they are computed.

        Raises:
            ValueError: as for `derivation`.
        """
        return tuple(each for step in self.derivation for each in step.gradients)

    @property
    def derived_tape(self) -> tuple[str, ...]:
        """What the derived lines read of the step: names of `named` lines and of what those are given.

        Raises:
            ValueError: as for `derivation`.
        """
        computed = {each.target for each in self.derived}
        others = {*computed, *self.arriving, *self.numbers}
        return tuple(dict.fromkeys(n for each in self.derived for n in each.names if n not in others))


class _Update(NamedTuple):
    """What was read of `update`."""

    lines: tuple[Line, ...] = ()
    tape: tuple[str, ...] = ()
    numbers: Mapping[str, Path] = {}
    error: str | None = None
    """Why there are no more lines."""


def _still(cell: Cell, kept: Mapping[str, Any]) -> bool:
    """Whether a cell's functions mean what they meant when they were read."""
    update, adjoint = kept["_codes"]
    outside = kept["_outside"]
    return (
        getattr(cell.update, "__code__", None) is update
        and getattr(cell.adjoint, "__code__", None) is adjoint
        and all(unchanged(getattr(cell, which), found) for which, found in outside.items() if found)
    )
