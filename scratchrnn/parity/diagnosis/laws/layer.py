"""A recurrent layer as the laws see it, and the runs of it that they compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

State = tuple[Tensor, ...]
Run = Callable[[Any, State | None], tuple[Any, State]]

T, B = 6, 3  # what a layer is judged by


@dataclass(frozen=True)
class Layer:
    """A recurrent layer as the laws see it: a function, and what it is said to do."""

    run: Run
    """`run(x, state) -> (output, state)`: x [T, B, I], output [T, B, D * R], each state [.., B, .]; None is zeros."""
    input_size: int
    parameters: Mapping[str, Tensor] = field(default_factory=dict)
    """The leaves that `run` reads: they are changed in place, and left as they were."""
    states: tuple[str, ...] = ("h", "c")
    """What the states are called, as far as they have names."""
    gates: tuple[str, ...] = ()
    """What is stacked in the rows of each parameter, if that is known."""
    takes_state: bool = True
    takes_packed: bool = False
    """Whether x may be a PackedSequence; the output is then one."""
    bidirectional: bool = False
    num_layers: int = 1
    mirrored: Run | None = None
    """Of a bidirectional layer: `run` with the parameters of the two directions exchanged."""

    def named(self, output: Tensor, state: State) -> dict[str, Tensor]:
        """What a run returns, by name: `output`, `h_n`, `c_n`."""
        return {"output": output} | {self._name(k, "n"): s for k, s in enumerate(state)}

    def _name(self, k: int, when: str) -> str:
        return f"{self.states[k] if k < len(self.states) else f'state {k}'}_{when}"

    def starts(self, state: State) -> dict[str, Tensor]:
        """The states before the first step, by name: `h_0`."""
        return {self._name(k, "0"): s for k, s in enumerate(state)}


@dataclass(frozen=True)
class Judged:
    """A layer with a random input [T, B, I], and the states [.., B, .] from which it is run on that."""

    layer: Layer
    x: Tensor
    start: State | None
    digits: torch.dtype
    """The narrowest dtype that holds the numbers which the layer returns."""

    def run(self, x: Tensor, state: State | None) -> dict[str, Tensor]:
        with torch.no_grad():
            return self.layer.named(*call(self.layer.run, x, state))

    def parted(self, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> tuple[str, float, float] | None:
        """Of the first tensor that is not the same, where: `output[2, 0, 1]`, the first step, and both numbers."""
        for name, y in expected.items():
            x = found[name]
            if x.shape != y.shape:
                raise ValueError(f"{name} should be {list(y.shape)}, as in another run, got {list(x.shape)}")
            if not y.numel():
                continue
            deviation = (x - y).abs()
            same = deviation <= torch.finfo(self.digits).eps ** 0.5 * y.abs().max()  # nan is the same as no number
            if not same.all():
                index = tuple((~same).nonzero()[0].tolist())
                return f"{name}{list(index)}", x[index].item(), y[index].item()
        return None


class RaisesError(Exception):
    """A call that a law says is as good as another raised."""


def call(run: Run, x: Any, state: State | None) -> tuple[Any, State]:
    """`run` on tensors of its own, so that what it writes into them reaches nobody."""
    own = None if state is None else tuple(s.clone() for s in state)
    packed = isinstance(x, PackedSequence)
    try:
        output, last = run(x._replace(data=x.data.clone()) if packed else x.clone(), own)
    except Exception as error:
        given = "a PackedSequence" if packed else f"an input {list(x.shape)}"
        given += "" if own is None else f" and states {', '.join(str(list(s.shape)) for s in own)}"
        raise RaisesError(f"a call with {given} raises {type(error).__name__}: {error}") from error
    return output, tuple(last)


def digits_of(y: Tensor) -> torch.dtype:
    """The narrowest dtype that holds `y`; of whole numbers and simple fractions, which show nothing, their own."""
    if torch.equal(y * 64, (y * 64).round()):
        return y.dtype
    dtypes = (torch.bfloat16, torch.float16, torch.float32)
    return next((dtype for dtype in dtypes if torch.equal(y.to(dtype).double(), y.double())), y.dtype)


def listed(words: list[str]) -> str:
    """`i, f and g`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
