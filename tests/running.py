"""How the tests run modules: twins with the same weights, random leaves, states and upstream gradients."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from table import BY_ADJOINT, ROWS, TWINNED, Row
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_map

TORCH = tuple(int(number) for number in torch.__version__.split(".")[:2])
words_of_torch = pytest.mark.skipif(TORCH < (2, 13), reason="torch.nn refused these with other words, or not at all")
each_row = pytest.mark.parametrize("row", ROWS, ids=str)
each_by_adjoint = pytest.mark.parametrize("row", BY_ADJOINT, ids=str)
each_twin = pytest.mark.parametrize("row", TWINNED, ids=str)
each_projecting = pytest.mark.parametrize("row", [row for row in TWINNED if row.projects], ids=str)
close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-12)
close_in_float32 = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-6)
equal = partial(torch.testing.assert_close, rtol=0, atol=0)


def tensors(value: Any) -> list[Tensor]:
    """The tensors in nested tuples and packed sequences, flat."""
    if value is None:
        return []
    if isinstance(value, Tensor):
        return [value]
    return tensors(value.data) if isinstance(value, PackedSequence) else [t for v in value for t in tensors(v)]


def twins(ours: Callable[..., Any], theirs: Callable[..., Any] | None, *sizes: int, **options: Any) -> list[nn.Module]:
    """Our module and torch.nn's, with the same random weights, float64 unless said otherwise."""
    assert theirs is not None
    options = {"dtype": torch.float64} | options
    pair = [ours(*sizes, **options), theirs(*sizes, **options)]
    pair[0].load_state_dict(pair[1].state_dict())
    return pair


def layers(row: Row, *sizes: int, **options: Any) -> list[nn.Module]:
    return twins(row.layer, row.twin, *sizes, **options)


def leaf(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=dtype, requires_grad=True)


def states(row: Row, layer: Any, *batch: int, dtype: torch.dtype = torch.float64) -> Any:
    """A random `hx` for `batch` sequences, or without a batch dimension."""
    widths = [layer.proj_size or layer.hidden_size] + [layer.hidden_size] * (len(row.cell.states) - 1)
    given = [leaf(layer.num_layers * (1 + layer.bidirectional), *batch, w, dtype=dtype) for w in widths]
    return tuple(given) if len(given) > 1 else given[0]


def printed(module: nn.Module) -> str:
    """As it is printed, without the package's name, which ours has before its own."""
    return repr(module).replace("scratchrnn.", "")


def upstream(outputs: Sequence[Tensor]) -> list[Tensor]:
    """Random gradients of `outputs`, the same at each call; quarters, so that every dtype holds them exactly."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(-8, 9, y.shape, generator=generator).to(y.dtype) / 4 for y in outputs]


def gradients(outputs: Sequence[Tensor], wanted: Sequence[Tensor], **options: Any) -> list[Tensor]:
    return list(torch.autograd.grad(outputs, wanted, upstream(outputs), materialize_grads=True, **options))


def run(module: nn.Module, *arguments: Any) -> tuple[list[Tensor], list[Tensor]]:
    """All outputs, and the gradients of all arguments and parameters."""
    outputs = tensors(module(*arguments))
    return outputs, gradients(outputs, [*tensors(arguments), *module.parameters()])


def error(call: Callable[[], Any]) -> tuple[type[BaseException], str]:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it is, is compared
        call()
    return caught.type, str(caught.value)


def outcome(call: Callable[..., Any], *args: Any, **options: Any) -> tuple[type[BaseException], str] | None:
    """The type and text of what `call` raises, None where it raises nothing."""
    try:
        call(*args, **options)
    except Exception as error:
        return type(error), str(error)
    return None


def same_error(text: str, pair: Sequence[nn.Module], *arguments: Any) -> None:
    """Both fail alike, and for the reason that is meant."""
    ours, theirs = [error(lambda module=module: module(*arguments)) for module in pair]
    assert text in theirs[1]
    assert ours == theirs


def assert_as_accurate(ours: Sequence[Tensor], theirs: Sequence[Tensor], exact: Sequence[Tensor]) -> None:
    """Beside the float64 result ours is off by not more than torch.nn's, but for a factor of two and four roundings."""
    for y, y_theirs, y_exact in zip(ours, theirs, exact, strict=True):
        assert y.dtype == y_theirs.dtype
        off, allowed = [(t.double() - y_exact).abs().max() / (1 + y_exact.abs().max()) for t in (y, y_theirs)]
        assert off <= 2 * allowed + 4 * torch.finfo(y.dtype).eps


class Wrapped:
    """No Tensor, but an object with `__torch_function__`."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.tensor, name)
        if not callable(value):
            return wrap(value)
        return lambda *args, **kwargs: type(self).__torch_function__(getattr(Tensor, name), (), (self, *args), kwargs)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return wrap(function(*unwrap(args), **unwrap(kwargs or {})))


def wrap(value: Any) -> Any:
    return tree_map(lambda v: Wrapped(v) if isinstance(v, Tensor) else v, value)


def unwrap(value: Any) -> Any:
    return tree_map(lambda v: v.tensor if isinstance(v, Wrapped) else v, value)


for _name in ("add", "sub", "mul", "matmul", "truediv", "getitem", "gt"):
    _function = getattr(operator, _name)
    setattr(Wrapped, f"__{_name}__", lambda a, b, f=_function: wrap(f(unwrap(a), unwrap(b))))
    setattr(Wrapped, f"__r{_name}__", lambda a, b, f=_function: wrap(f(unwrap(b), unwrap(a))))


class Tagged(Tensor):
    """A subclass that does nothing but be one."""
