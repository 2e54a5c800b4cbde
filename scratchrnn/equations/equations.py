"""A cell's equations as data: the lines of `update` and `adjoint`, and the adjoint that the chain rule gives."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from torch.utils.weak import WeakIdKeyDictionary

from ..cells.cell import Cell
from .derivation import Step, derivation
from .lines import Line
from .source import Source, fingerprint, is_none

_read: WeakIdKeyDictionary = WeakIdKeyDictionary()
"""For each living cell what its equations have found. It holds no cell and no function, or no cell would be freed."""


class Equations:
    """The lines of a cell, each name assigned once: `Equations(lstm).forward[4].text` is `c = f * c_prev + i * g`.

    Each part is read when it is first asked for, and then kept as long as the cell lives, whoever asks; it is read anew
    where a number that the functions use, and do not define themselves, has changed.

    A pre-activation is called as in a trace: where the function has `f = torch.sigmoid(f)`, the line is
    `f = sigmoid(f_pre)`, and every name of the forward lines is a name of a `Record` or an earlier line's target.
    dX is the gradient of the loss by X.
    """

    __slots__ = ("__dict__", "cell")

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        as_it_is = fingerprint(cell.update), fingerprint(cell.adjoint)
        if cell not in _read or _read[cell]["_as_it_is"] != as_it_is:
            _read[cell] = {"_as_it_is": as_it_is}
        self.__dict__: dict[str, Any] = _read[cell]  # what `cached_property` writes to; the cell has a slot beside it

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
    def tape(self) -> tuple[str, ...]:
        """The names of what the cell's tape keeps; none of a tape that is no NamedTuple.

        Raises:
            ValueError: as for `forward`.
        """
        return self._update[0]

    # ------------------------------------------------------------------------------------------------- lines

    @property
    def forward(self) -> tuple[Line, ...]:
        """The lines of `update`. What it returns has the name of the state or of the tape's field.

        Raises:
            ValueError: the source cannot be read, or holds something else than assignments of tensors' sums, products,
                comparisons and functions of torch, or its return statement does not name the tape's class.
        """
        return self._update[1]

    @cached_property
    def _update(self) -> tuple[tuple[str, ...], tuple[Line, ...]]:
        """The fields of the tape, and the lines."""
        cell = self.cell
        names = dict(zip(cell.pre_activations, self.pre_activations, strict=True))
        names |= {f"{s}_prev": f"{s}_prev" for s in cell.states}
        read = Source(cell.update, f"update of cell {cell.name!r}")
        state, tape = read.pair()
        fields = read.fields()
        results = list(zip(cell.states, read.elements(state, len(cell.states)), strict=True))
        if fields:
            results += zip(fields, read.arguments(tape, fields), strict=True)
        assigned = [target for group in read.groups for target, _ in group]
        gradients = [f"d{name}" for name in ("x", *names.values(), *cell.states, *fields, *assigned)]
        gradients += [f"d{name}_{k}" for name in assigned for k in range(1, assigned.count(name))]
        gradients += [self.direct_gradient, *(f"d{s}_next" for s in cell.states)]
        return fields, tuple(read.lines(names, results, {"x", *gradients}))

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
        read = Source(cell.adjoint, f"adjoint of cell {cell.name!r}")
        names = dict(zip(read.parameters[1:], self.arriving, strict=True))
        read.unpack(read.parameters[0], self.tape, names)
        d_pre, d_state = read.pair()
        targets = [f"d{name}" for name in self.pre_activations]
        results = list(zip(targets, read.elements(d_pre, len(targets)), strict=True))
        roads = [self.gradient(f"{s}_prev") for s in cell.states]
        results += zip(roads, read.elements(d_state, len(roads)), strict=True)
        return tuple(read.lines(names, [(name, e) for name, e in results if not is_none(e)]))

    @cached_property
    def derivation(self) -> tuple[Step, ...]:
        """The adjoint by the chain rule: the forward lines in reverse order, each with the gradients it completes.

        Raises:
            ValueError: as for `forward`; or a line has something else than + - * sigmoid tanh relu and numbers, or a
                pre-activation has no influence on the states.
        """
        what = f"update of cell {self.cell.name!r}"
        steps = derivation(self.forward, dict(zip(self.cell.states, self.arriving, strict=True)), self.gradient, what)
        there = {each.target for step in steps for each in step.gradients}
        for name in self.pre_activations:
            if f"d{name}" not in there:
                raise ValueError(f"{what} makes no use of {name}: there is no gradient to derive")
        return tuple(steps)

    @property
    def derived(self) -> tuple[Line, ...]:
        """The lines of the adjoint that the chain rule gives, in the order in which they are computed.

        Raises:
            ValueError: as for `derivation`.
        """
        return tuple(each for step in self.derivation for each in step.gradients)
