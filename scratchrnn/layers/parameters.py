"""What torch.nn promises of a recurrent module: the names and shapes of its parameters, its methods for subclasses."""

from __future__ import annotations

import math
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..cells.cell import Cell
from ..cells.twins import BUILT_IN
from ..engine.columns import Weights
from . import arguments
from .sequences import permute_rows


class RecurrentParameters(nn.Module):
    """The parameters of a stack of layers and directions, and what code that is written for torch.nn asks of them."""

    cell: Cell
    mode: str
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int
    weight_ih_l0: Tensor

    def _make_parameters(self, device: Any, dtype: Any) -> None:
        for name, shape in chain(*self._shapes):
            if name:
                self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @cached_property  # each call asks
    def _shapes(self) -> list[list[tuple[str, tuple[int, ...]]]]:
        """Names and shapes of each layer and direction, in the order of `Weights`; a name is empty where none is."""
        D, rows, R = self._directions, len(self.cell.gates) * self.hidden_size, self.proj_size or self.hidden_size
        bias, projection = self.bias, self.proj_size > 0
        return [
            [
                ("weight_ih" + suffix, (rows, D * R if k else self.input_size)),
                ("weight_hh" + suffix, (rows, R)),
                ("bias_ih" + suffix if bias else "", (rows,)),
                ("bias_hh" + suffix if bias else "", (rows,)),
                ("weight_hr" + suffix if projection else "", (self.proj_size, self.hidden_size)),
            ]
            for k in range(self.num_layers)
            for suffix in [f"_l{k}", f"_l{k}_reverse"][:D]
        ]

    def reset_parameters(self) -> None:
        """Every parameter uniform in (-k, k), k = 1 / sqrt(hidden_size)."""
        k = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0.0
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -k, k)

    def extra_repr(self) -> str:
        shown = [f"{self.input_size}, {self.hidden_size}"]
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

    # ---------------------------------------------------------------------------------------------- weights

    @property
    def _all_weights(self) -> list[list[str]]:
        """The parameters' names, a list for each layer and direction."""
        return [[name for name, _ in named if name] for named in self._shapes]

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
        """A layer's and direction's; raise unless each, which anybody may have replaced, has its shape: C sees none."""
        registered, own = self._parameters, self.__dict__
        found: list[Any] = []
        for name, shape in self._shapes[k * self._directions + d]:
            weight = None
            if name:  # found as `getattr` does, in a tenth of the time where it is simply a parameter
                weight = registered[name] if name in registered and name not in own else getattr(self, name)
                if weight is None or weight.shape != shape:
                    raise arguments.unfit_weight(name, shape, weight)
            found.append(weight)
        return Weights(*found)

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
