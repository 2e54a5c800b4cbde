"""Recurrent layers of any cell: stacking, directions, dropout."""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .. import engine
from ..cells.cell import Cell, State
from ..cells.probe import WrongAdjointError, probe
from ..cells.twins import BUILT_IN
from ..engine.autocast import without_autocast
from ..equations.adjoint import say_if_walked
from ..equations.departure import departure
from . import arguments, border
from .parameters import RecurrentParameters
from .precision import cast, precision
from .shown import name_of

ScanFunction = Callable[..., tuple[Tensor, State]]


class RecurrentLayer(RecurrentParameters):
    """A stack of recurrent layers of one cell, called as torch.nn's are.

        h_t of layer k, direction d  =  scan of `cell` over the output of layer k - 1

    Args:
        cell: the equations of one step.
        input_size: I, how many numbers x_t has.
        hidden_size: H, the units of a layer.
        num_layers: L, layers on top of each other, each reads the output of the one below. Default: 1.
        bias: False leaves out `bias_ih_l*` and `bias_hh_l*`. Default: True.
        batch_first: input and output are [B, T, .] instead of [T, B, .]; the states stay [L * D, B, .]. Default: False.
        dropout: in training, the probability of zeroing each element of every layer's output but the last's; what is
            left is divided by 1 - dropout. Default: 0.
        bidirectional: D = 2, a second direction that runs from the end of each sequence to its beginning; otherwise
            D = 1. Default: False.
        proj_size: P > 0 projects the emitted state, h = W_hr h', to R = P; otherwise R = H. Default: 0.
        device, dtype: of the parameters. Default: torch's own defaults.

    Parameters, for layer k and, with `_reverse` behind the name, for its second direction; G gates in the order
    `cell.gates`: `weight_ih_l{k}` [G * H, I or D * R], `weight_hh_l{k}` [G * H, R], `bias_ih_l{k}`, `bias_hh_l{k}`
    [G * H], `weight_hr_l{k}` [P, H]. All start uniform in (-1 / sqrt(H), 1 / sqrt(H)).

    Called with `input`, [T, B, I], [T, I] or a PackedSequence, and optionally the states before the first step, `hx`
    (zeros if left out): one tensor [L * D, B, R], or for a cell of several states a tuple with [L * D, B, H] for each
    further one; without B for unbatched input. Returns `output` [T, B, D * R], laid out as the input, and the states
    after the last step of each sequence, shaped as `hx`: entry k * D + d is of layer k, direction d.

    bfloat16 and float16 are computed in float32 and rounded once for each layer.

    Raises:
        TypeError, ValueError: an argument of the constructor is unfit; ValueError: the input has not 2 or 3
            dimensions, or a dtype other than the weights'. RuntimeError: a wrong size, dtype or device of the states
            or the input, weights of several dtypes, or an empty sequence.
    """

    _checkpoint_every: int | None = None
    _scan: ScanFunction = staticmethod(engine.scan)

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if not isinstance(cell, Cell):
            raise TypeError(f"cell should be of type Cell, got: {type(cell).__name__}")
        self.cell = cell
        self.mode = cell.name
        self.input_size, self.hidden_size = input_size, hidden_size
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.dropout = float(dropout)
        caller = 2 if type(self).__init__ is RecurrentLayer.__init__ else 3  # the frame that a warning points at
        arguments.check_constructor(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, caller
        )
        self.num_layers, self.proj_size = operator.index(num_layers), operator.index(proj_size)
        self._make_parameters(device, dtype)
        if BUILT_IN.get(cell.name) is not cell:
            self._probe()
        self.reset_parameters()

    def _probe(self) -> None:
        """Refuse a cell that would run wrongly."""
        try:
            probe(self.cell, self.hidden_size, self.proj_size > 0, self.weight_ih_l0)
        except WrongAdjointError as error:
            where = departure(self.cell)
            raise ValueError(f"{error}; it {where}" if where else str(error)) from None
        say_if_walked(self.cell)

    def _get_name(self) -> str:
        return name_of(self)

    def extra_repr(self) -> str:
        own = f"{self.cell.name}, " if type(self) is RecurrentLayer else ""
        return own + super().extra_repr()

    def running_by(self, scan: ScanFunction) -> RecurrentLayer:
        """The same layer, of the very same parameters, with another scan in the place of `engine.scan`."""
        view = type(self).__new__(type(self))
        view.__dict__ = self.__dict__ | {"_scan": scan}
        return view

    # ----------------------------------------------------------------------------------------------- memory

    @property
    def checkpoint_every(self) -> int | None:
        """k: in training, keep every k-th state and run the steps between again in the backward pass.

        Memory then grows with T / k + k instead of T, beside input and output, and a step of training takes at k = 100
        1.2 to 1.6 times as long; more for smaller k.
        None, as a new layer has it, keeps all. Set it at any time; the cell needs an adjoint, its own or a derived one.

        Raises, when it is set: TypeError or ValueError, it is neither None nor a positive integer.
        """
        return self._checkpoint_every

    @checkpoint_every.setter
    def checkpoint_every(self, steps: int | None) -> None:
        arguments.check_checkpoint_every(steps)
        self._checkpoint_every = steps

    @property
    def _in_torch_nn(self) -> bool:
        """Whether torch.nn has such a layer; a RecurrentLayer is converted to none, whatever its cell."""
        return type(self) is not RecurrentLayer and BUILT_IN.get(self.cell.name) is self.cell

    def __prepare_scriptable__(self) -> nn.Module:
        """Called by torch.jit.script."""
        raise arguments.no_torchscript(type(self).__name__, self._in_torch_nn)

    # ---------------------------------------------------------------------------------------------- forward

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        """The whole sequence: see the class."""
        x, states, weights, layout = border.enter(self, input, hx)
        if torch.jit.is_tracing():
            operands = [x, *(states or ()), *(w for group in weights for w in group if w is not None)]
            arguments.check_traced(type(self).__name__, self._in_torch_nn, operands)
        further = x.dtype if states is None else states[-1].dtype
        dtypes = precision(x, further if self._adds_to_state(layout.packed is not None) else None, self.proj_size > 0)
        D, zeros = self._directions, (None,) * len(self.cell.states)
        one = D == self.num_layers == 1
        last: list[State] = []
        with contextlib.nullcontext() if dtypes is None else without_autocast(x):
            for k in range(self.num_layers):
                x = x if dtypes is None else dtypes.enter(x)  # [T, B, I], or [N, I] packed
                halves = []
                for d in range(D):
                    n = k * D + d
                    own, first = weights[n], states if one or states is None else tuple([s[n : n + 1] for s in states])
                    if dtypes is not None:
                        own, first = own.map(dtypes.enter), first and tuple([cast(s, dtypes.compute) for s in first])
                    output, state = self._scan(
                        self.cell, x, layout.batch_sizes, first or zeros, own, d == 1, self._checkpoint_every
                    )
                    halves.append(output if dtypes is None else cast(output, dtypes.emitted))
                    last.append(state if dtypes is None else dtypes.leave(state))
                x = torch.cat(halves, -1) if D == 2 else halves[0]
                if k < self.num_layers - 1 and self.dropout > 0 and self.training:
                    x = nn.functional.dropout(x, self.dropout)
            stacked = last[0] if one else tuple([torch.cat(s) for s in zip(*last, strict=True)])
        return border.leave(self, layout, x, stacked)

    def _adds_to_state(self, packed: bool) -> bool:
        """Whether torch.nn's twin adds products to the state before: it then keeps the dtype of hx under autocast."""
        return False
