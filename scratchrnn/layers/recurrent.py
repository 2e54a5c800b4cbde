"""Recurrent layers of any cell: parameters, stacking, directions, dropout."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .. import engine
from ..cells.cell import Cell, State
from ..cells.probe import probe
from ..cells.twins import BUILT_IN
from ..engine.autocast import without_autocast
from ..engine.columns import Weights
from . import arguments
from .precision import Precision, precision
from .sequences import Layout, permute_rows

ScanFunction = Callable[..., tuple[Tensor, State]]


class RecurrentLayer(nn.Module):
    """A stack of recurrent layers of one cell, called as torch.nn's are.

        h_t of layer k, direction d  =  scan of `cell` over the output of layer k - 1

    Args:
        cell: the equations of one step.
        input_size, hidden_size: I and H.
        num_layers: L, layers on top of each other.
        bias: whether there are `bias_ih_l*` and `bias_hh_l*`.
        batch_first: input and output are [B, T, .] instead of [T, B, .]; the states stay [L * D, B, .].
        dropout: in training, the probability of zeroing each element of every layer's output but the last's.
        bidirectional: D = 2, a second direction that runs from the end of each sequence to its beginning.
        proj_size: P > 0 projects the emitted state, h = W_hr h', to R = P; otherwise R = H.
        device, dtype: of the parameters.

    Parameters, for layer k and, with `_reverse` behind the name, for its second direction; G gates in the order
    `cell.gates`: `weight_ih_l{k}` [G * H, I or D * R], `weight_hh_l{k}` [G * H, R], `bias_ih_l{k}`, `bias_hh_l{k}`
    [G * H], `weight_hr_l{k}` [P, H]. All start uniform in (-1 / sqrt(H), 1 / sqrt(H)).

    Called with `input`, [T, B, I], [T, I] or a PackedSequence, and optionally the states before the first step, `hx`
    (zeros if left out): one tensor [L * D, B, R], or for a cell of several states a tuple with [L * D, B, H] for each
    further one; without B for unbatched input. Returns `output` [T, B, D * R], laid out as the input, and the states
    after the last step of each sequence, shaped as `hx`.

    bfloat16 and float16 are computed in float32 and rounded once for each layer.

    Raises:
        TypeError, ValueError: an argument of the constructor is unfit; ValueError: the input has not 2 or 3
            dimensions, or a dtype other than the weights'. RuntimeError: a wrong size, dtype or device of the states
            or the input, weights of several dtypes, or an empty sequence.
    """

    _checkpoint_every: int | None = None
    weight_ih_l0: Tensor

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
        for k in range(self.num_layers):
            for names in self._all_weights[k * self._directions : (k + 1) * self._directions]:
                for name in names:
                    shape = self._shape(name.split("_l")[0], first=k == 0)
                    self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        if BUILT_IN.get(cell.name) is not cell:
            probe(cell, hidden_size, proj_size > 0, self.weight_ih_l0)
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _shape(self, kind: str, first: bool) -> tuple[int, ...]:
        G, H, R = len(self.cell.gates), self.hidden_size, self.proj_size or self.hidden_size
        return {
            "weight_ih": (G * H, self.input_size if first else self._directions * R),
            "weight_hh": (G * H, R),
            "bias_ih": (G * H,),
            "bias_hh": (G * H,),
            "weight_hr": (self.proj_size, H),
        }[kind]

    def reset_parameters(self) -> None:
        """Every parameter uniform in (-k, k), k = 1 / sqrt(hidden_size)."""
        k = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0.0
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -k, k)

    def extra_repr(self) -> str:
        shown = [f"{self.input_size}, {self.hidden_size}"]
        if type(self) is RecurrentLayer:
            shown.insert(0, self.cell.name)
        defaults = {
            "proj_size": 0,
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0,
            "bidirectional": False,
        }
        shown += [f"{name}={getattr(self, name)}" for name, usual in defaults.items() if getattr(self, name) != usual]
        return ", ".join(shown)

    # ----------------------------------------------------------------------------------------------- memory

    @property
    def checkpoint_every(self) -> int | None:
        """k: in training, keep every k-th state and run the steps between again in the backward pass.

        Memory then grows with T / k + k instead of T, beside input and output, and a step of training takes 1.3 to 1.5
        times as long, more for k below 100. None, as a new layer has it, keeps all. Set it at any time; the cell needs
        an adjoint.

        Raises, when it is set: TypeError or ValueError, it is neither None nor a positive integer.
        """
        return self._checkpoint_every

    @checkpoint_every.setter
    def checkpoint_every(self, steps: int | None) -> None:
        arguments.check_checkpoint_every(steps)
        self._checkpoint_every = steps

    # ---------------------------------------------------------------------------------------------- weights

    @property
    def _all_weights(self) -> list[list[str]]:
        """The parameters' names, a list for each layer and direction."""
        kinds = ["weight_ih", "weight_hh"]
        kinds += ["bias_ih", "bias_hh"] if self.bias else []
        kinds += ["weight_hr"] if self.proj_size > 0 else []
        suffixes = ["", "_reverse"][: self._directions]
        return [[f"{kind}_l{k}{s}" for kind in kinds] for k in range(self.num_layers) for s in suffixes]

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The weights, a list for each layer and direction, in the order of `state_dict`."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> tuple[Tensor | None, ...]:
        """What torch.nn's layers run on, here to be read: a tuple, made anew each time from the parameters."""
        return tuple(getattr(self, name, None) for name in self._flat_weights_names)

    @_flat_weights.setter
    def _flat_weights(self, weights: Any) -> None:
        raise AttributeError(
            f"_flat_weights of {type(self).__name__} cannot be set: its weights are looked up by name at each call. To "
            "run with other weights use torch.nn.utils.parametrize (recurrent dropout: register_parametrization(layer, "
            "'weight_hh_l0', nn.Dropout(0.5))) or torch.func.functional_call"
        )

    def _weights_have_changed(self) -> bool:
        return False

    def _update_flat_weights(self) -> None:
        """Nothing to do: the weights are looked up by name at each call, and no list of them is kept."""

    def flatten_parameters(self) -> None:
        """Nothing to do: there is no cuDNN buffer. Here because code written for torch.nn calls it."""

    def _weights(self, k: int, d: int) -> Weights:
        suffix = f"l{k}_reverse" if d else f"l{k}"
        return Weights(
            getattr(self, f"weight_ih_{suffix}"),
            getattr(self, f"weight_hh_{suffix}"),
            getattr(self, f"bias_ih_{suffix}") if self.bias else None,
            getattr(self, f"bias_hh_{suffix}") if self.bias else None,
            getattr(self, f"weight_hr_{suffix}") if self.proj_size > 0 else None,
        )

    def __prepare_scriptable__(self) -> nn.Module:
        """Called by torch.jit.script."""
        raise arguments.no_torchscript(type(self).__name__)

    def __setstate__(self, d: dict[str, Any]) -> None:
        """From a pickled module's `__dict__`, also an old one: without `proj_size`, with lists of its weights."""
        derived = ("all_weights", "_all_weights", "_flat_weights", "_flat_weights_names", "_flat_weight_refs")
        d = {"proj_size": 0, "cell": BUILT_IN.get(d["mode"])} | {k: v for k, v in d.items() if k not in derived}
        super().__setstate__(d)

    # ----------------------------------------------------------------------------------------------- checks

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """Raise unless `input`, batched or the rows of packed sequences, fits the weights."""
        arguments.check_input(input, 2 if batch_sizes is not None else 3, self.input_size, self.weight_ih_l0)

    def get_expected_hidden_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """[L * D, B, R], the shape of h."""
        return self._expected_size(input, batch_sizes, self.proj_size or self.hidden_size)

    def _expected_size(self, input: Tensor, batch_sizes: Tensor | None, width: int) -> tuple[int, int, int]:
        if batch_sizes is not None:
            batch = int(batch_sizes[0]) if batch_sizes.numel() else 0
        else:
            batch = input.size(0 if self.batch_first else 1)
        return self.num_layers * self._directions, batch, width

    def check_hidden_size(
        self, hx: Tensor, expected_hidden_size: tuple[int, int, int], msg: str = "Expected hidden size {}, got {}"
    ) -> None:
        """Raise unless `hx` has just that shape."""
        if hx.size() != expected_hidden_size:
            raise RuntimeError(msg.format(expected_hidden_size, list(hx.size())))

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        """Raise unless the batched input and states, one tensor or for several states a tuple, fit the layer."""
        self.check_input(input, batch_sizes)
        states = (hidden,) if len(self.cell.states) == 1 else hidden
        expected = self.get_expected_hidden_size(input, batch_sizes)
        for k, s in enumerate(states):
            msg = "Expected hidden size {}, got {}" if len(states) == 1 else f"Expected hidden[{k}] size {{}}, got {{}}"
            self.check_hidden_size(s, expected if k == 0 else (*expected[:2], self.hidden_size), msg)

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        """The states with their sequences in another order."""
        if isinstance(hx, (tuple, list)):
            return tuple(permute_rows(s, permutation) for s in hx)
        return permute_rows(hx, permutation)

    def _permuted(self, states: State, indices: Tensor | None) -> State:
        if indices is None:
            return states
        hidden = self.permute_hidden(states[0] if len(states) == 1 else states, indices)
        return (hidden,) if len(states) == 1 else tuple(hidden)

    # ---------------------------------------------------------------------------------------------- forward

    def forward(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        """The whole sequence: see the class."""
        return self.run(input, hx, partial(engine.scan, checkpoint_every=self.checkpoint_every))

    def run(self, input: Tensor | PackedSequence, hx: Any, scan: ScanFunction) -> tuple[Any, Any]:
        """`forward`, with another scan in the place of `engine.scan`: `trace` passes one that keeps the tapes."""
        kind = type(self).__name__
        if isinstance(input, PackedSequence):
            layout = Layout(self.batch_first, packed=input)
        else:
            arguments.check_dimensions(kind, input, " tensor" if self.mode in ("RNN_TANH", "RNN_RELU") else "")
            layout = Layout(self.batch_first, unbatched=input.dim() == 2)
        batched, batch_sizes = layout.batched(input), layout.batch_sizes
        if hx is None:
            self.check_input(batched, batch_sizes)
            states = self._zero_states(batched, batch_sizes)
        else:
            states = arguments.given_states(kind, self.cell.states, hx)
            if layout.packed is None:
                arguments.check_state_dimensions(self.cell.states, states, layout.unbatched)
            states = tuple(layout.batched_state(s) for s in states)
            self.check_forward_args(batched, states[0] if len(states) == 1 else states, batch_sizes)
            states = self._permuted(states, layout.sorted_indices)
        weights = [self._weights(k, d) for k in range(self.num_layers) for d in range(self._directions)]
        flat = [w for group in weights for w in group if w is not None]
        arguments.check_places(batched, states, flat, self)
        if torch.jit.is_tracing() and self.cell.adjoint is not None:
            arguments.check_traced(kind, [batched, *states, *flat])
        x = layout.enter(batched)
        if x.size(0) == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")

        added = states[-1].dtype if self._adds_to_state(batch_sizes is not None) else None
        dtypes = precision(x, added, self.proj_size > 0)
        with without_autocast(x):
            output, last = self._stack(x, batch_sizes, states, weights, dtypes, scan)
        last = tuple(layout.leave_state(s) for s in self._permuted(last, layout.unsorted_indices))
        return layout.leave(output), last[0] if len(last) == 1 else last

    def _zero_states(self, input: Tensor, batch_sizes: Tensor | None) -> State:
        widths = [self.proj_size or self.hidden_size] + [self.hidden_size] * (len(self.cell.states) - 1)
        shapes = [self._expected_size(input, batch_sizes, width) for width in widths]
        return tuple(torch.zeros(shape, dtype=input.dtype, device=input.device) for shape in shapes)

    def _adds_to_state(self, packed: bool) -> bool:
        """Whether torch.nn's twin adds products to the state before: it then keeps the dtype of hx under autocast."""
        return False

    def _stack(
        self,
        x: Tensor,
        batch_sizes: Tensor | None,
        states: State,
        weights: list[Weights],
        dtypes: Precision,
        scan: ScanFunction,
    ) -> tuple[Tensor, State]:
        """All layers and directions; layer k, direction d has index k * D + d in states and weights."""
        D = self._directions
        last: list[State] = []
        for k in range(self.num_layers):
            x = dtypes.enter(x)  # [T, B, I], or [N, I] packed
            halves = []
            for d in range(D):
                own = weights[k * D + d].map(dtypes.enter)
                state = tuple(s[k * D + d].to(dtypes.compute) for s in states)
                output, state = scan(self.cell, x, batch_sizes, state, own, reverse=d == 1)
                halves.append(output.to(dtypes.emitted))
                last.append((state[0].to(dtypes.emitted), *(s.to(dtypes.carried) for s in state[1:])))
            x = torch.cat(halves, -1) if D == 2 else halves[0]
            if k < self.num_layers - 1 and self.dropout > 0 and self.training:
                x = nn.functional.dropout(x, self.dropout)
        return x, tuple(torch.stack(s) for s in zip(*last, strict=True))
