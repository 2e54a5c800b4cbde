"""What torch.nn promises of a recurrent module: the names and shapes of its parameters, its methods for subclasses."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
        for k, names in enumerate(self._all_weights):
            for name, (_, shape) in zip(names, self._shapes(first=k < self._directions), strict=True):
                self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _shapes(self, first: bool) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Those of a layer's parameters, the first or one above, in the order of `Weights`."""
        rows, R = len(self.cell.gates) * self.hidden_size, self.proj_size or self.hidden_size
        yield "weight_ih", (rows, self.input_size if first else self._directions * R)
        yield "weight_hh", (rows, R)
        if self.bias:
            yield "bias_ih", (rows,)
            yield "bias_hh", (rows,)
        if self.proj_size > 0:
            yield "weight_hr", (self.proj_size, self.hidden_size)

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
        kinds = [kind for kind, _ in self._shapes(first=True)]
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
        """A layer's and direction's; raise unless each, which anybody may have replaced, has its shape: C sees none."""
        suffix, registered, own = f"_l{k}_reverse" if d else f"_l{k}", self._parameters, self.__dict__
        found: dict[str, Any] = {}
        for kind, shape in self._shapes(first=k == 0):
            name = kind + suffix
            # As `getattr` finds it, in a tenth of the time where it is simply a parameter.
            weight = registered[name] if name in registered and name not in own else getattr(self, name)
            if weight is None or weight.shape != shape:
                raise arguments.unfit_weight(name, shape, weight)
            found[kind] = weight
        get = found.get
        return Weights(get("weight_ih"), get("weight_hh"), get("bias_ih"), get("bias_hh"), get("weight_hr"))  # type: ignore[arg-type]

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
