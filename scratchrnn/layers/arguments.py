"""What a layer refuses, and how it says so. Where torch.nn raises, the type is its own, mostly with its words."""

from __future__ import annotations

import numbers
import operator
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..cells.cell import State
from .precision import agree


def check_constructor(
    input_size: Any,
    hidden_size: Any,
    num_layers: Any,
    bias: Any,
    batch_first: Any,
    dropout: Any,
    bidirectional: Any,
    proj_size: Any,
    stacklevel: int,
) -> None:
    """Raise TypeError or ValueError for an unfit argument; warn where dropout has nothing to act on."""
    if not isinstance(dropout, numbers.Number) or isinstance(dropout, bool) or not 0 <= float(dropout) <= 1:  # type: ignore[arg-type]
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
        )
    if float(dropout) > 0 and num_layers == 1:  # type: ignore[arg-type]
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
            f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
            stacklevel=stacklevel + 1,
        )
    for name, flag in (("bias", bias), ("batch_first", batch_first), ("bidirectional", bidirectional)):
        if not isinstance(flag, bool):
            raise TypeError(f"{name} should be of type bool, got: {type(flag).__name__}")
    for name, size in (("input_size", input_size), ("hidden_size", hidden_size)):
        if not isinstance(size, int):
            raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
        if size <= 0:
            raise ValueError(f"{name} must be greater than zero")
    _check_integer("num_layers", num_layers)
    if num_layers <= 0:
        raise ValueError("num_layers must be greater than zero")
    _check_integer("proj_size", proj_size)
    if proj_size < 0:
        raise ValueError("proj_size should be a positive integer or zero to disable projections")
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")


def _check_integer(name: str, value: Any) -> None:
    """Raise TypeError unless Python takes it for an integer, as it does numpy's."""
    try:
        operator.index(value)
    except TypeError:
        raise TypeError(f"{name} should be of type int, got: {type(value).__name__}") from None


def check_checkpoint_every(steps: Any) -> None:
    """Raise TypeError or ValueError unless it is None or a positive integer."""
    if steps is not None and (not isinstance(steps, int) or isinstance(steps, bool)):
        raise TypeError(f"checkpoint_every should be None or of type int, got: {type(steps).__name__}")
    if steps is not None and steps <= 0:
        raise ValueError(f"checkpoint_every must be greater than zero, got: {steps}")


def check_dimensions(kind: str, input: Tensor, tensor: str) -> None:
    """Raise ValueError unless `input` is [T, I] or [T, B, I]."""
    if input.dim() not in (2, 3):
        raise ValueError(f"{kind}: Expected input to be 2D or 3D, got {input.dim()}D{tensor} instead")


def given_states(kind: str, names: Sequence[str], hx: Any) -> State:
    """`hx` as a tuple with a tensor for each of the states `names`."""
    if len(names) == 1:
        if isinstance(hx, (tuple, list)):
            raise TypeError(f"{kind}: Expected hx to be one tensor, {names[0]}, got a {type(hx).__name__}")
        states: State = (hx,)
    else:
        states = tuple(hx)
        if len(states) != len(names):
            raise RuntimeError(f"{kind}: Expected hx to be ({', '.join(names)}), got {len(states)} state(s)")
    return states


def check_state_dimensions(names: Sequence[str], states: State, unbatched: bool) -> None:
    """Raise RuntimeError unless the states have 3 dimensions, or 2 for unbatched input."""
    wanted = 2 if unbatched else 3
    if [s for s in states if s.dim() != wanted]:
        batched = f"For {'un' if unbatched else ''}batched {wanted}-D input,"
        came = [f"{s.dim()}-D" for s in states]
        if len(states) == 1:
            raise RuntimeError(f"{batched} hx should also be {wanted}-D but got {came[0]} tensor")
        called = "hx and cx" if tuple(names) == ("h", "c") else "all states of hx"
        raise RuntimeError(f"{batched} {called} should also be {wanted}-D but got ({', '.join(came)}) tensors")


def check_input(input: Tensor, expected_dim: int, input_size: int, weight: Tensor) -> None:
    """Raise ValueError for another dtype than the weights', RuntimeError for a wrong size."""
    if input.dtype != weight.dtype and not torch._C._is_any_autocast_enabled():
        raise ValueError(
            f"RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). "
            f"Convert input: input.to({weight.dtype}), or convert model: model.to({input.dtype})"
        )
    if input.dim() != expected_dim:
        raise RuntimeError(f"input must have {expected_dim} dimensions, got {input.dim()}")
    if input.size(-1) != input_size:
        raise RuntimeError(f"input.size(-1) must be equal to input_size. Expected {input_size}, got {input.size(-1)}")


def check_places(input: Tensor, states: State, weights: Sequence[Tensor], name: Callable[[int], str]) -> None:
    """Raise RuntimeError unless input, states and weights lie on one device and agree in their dtype.

    `name` tells what the k-th weight is called, if that has to be said.
    """
    device, dtype = input.device, input.dtype
    for s in states:
        if s.device != device:
            raise RuntimeError(
                "Input and hidden tensors are not at the same device, "
                f"found input tensor at {input.device} and hidden tensor at {s.device}"
            )
        if s.dtype is not dtype and not agree(input, s):
            raise RuntimeError(f"Input and hidden tensors are not of the same dtype, found {input.dtype} and {s.dtype}")
    for k, weight in enumerate(weights):
        if weight.device != device:
            raise RuntimeError(
                "Input and parameter tensors are not at the same device, "
                f"found input tensor at {input.device} and parameter tensor at {weight.device}"
            )
        if weight.dtype is not dtype and not agree(input, weight):
            raise other_dtype(input, name(k), weight)


def unfit_weight(name: str, shape: tuple[int, ...], found: Tensor | None) -> Exception:
    """What to raise for a parameter that is no longer what the layer made it."""
    if found is None:
        return TypeError(f"Expected {name} to be a tensor of shape {list(shape)}, got None")
    return RuntimeError(f"Expected {name} to have the shape {list(shape)}, got {list(found.shape)}")


def other_dtype(input: Tensor, name: str, weight: Tensor) -> RuntimeError:
    """What to raise where the two do not agree in their dtype."""
    return RuntimeError(f"Expected {name} to have the dtype of input, {input.dtype}, got {weight.dtype}")


def check_traced(kind: str, in_torch_nn: bool, tensors: Sequence[Tensor]) -> None:
    """Raise RuntimeError where torch.jit.trace would have to follow a layer with its gradient."""
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        raise no_torchscript(kind, in_torch_nn)


def no_torchscript(kind: str, in_torch_nn: bool) -> RuntimeError:
    """What to raise under torch.jit and what is built on it; what torch.nn has too can take its place there."""
    instead = "use torch.export, torch.nn has no layer to put in its place"
    if in_torch_nn:
        instead = (
            "give it scratchrnn.to_torch(model), which has torch.nn's layers with the same weights, or use torch.export"
        )
    return RuntimeError(f"TorchScript (torch.jit, torch.onnx) cannot follow scratchrnn's {kind}: {instead}")
