"""What the laws are held to: a cell, a module or a class of such as a `Layer`."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from ....cells.cell import Cell
from ....layers.recurrent import RecurrentLayer
from .layer import B, Layer, Run, State, T


def layers_of(subject: Cell | nn.Module | type[nn.Module], input_size: int | None = None) -> Iterator[Layer]:
    """What the laws are held to: of a cell or a class, one direction, and then two of two layers if it has such.

    A module is called as `module(x, state)`, state as the module itself returns it, a tensor or a tuple, and x
    batch-first if it has a true attribute `batch_first`; a class is made as `Class(input_size, hidden_size)`. Of both
    there are copies in float64; parameters of one number throughout, which may hide what they do, are drawn anew.

    Raises:
        TypeError: the subject is none of these.
        ValueError: it does not say its `input_size`; or no layer can be made of the cell, which says why.
    """
    size = 3 if input_size is None else input_size
    both: dict[str, Any] = {"num_layers": 2, "bidirectional": True}
    if isinstance(subject, Cell):
        yield _layer(RecurrentLayer(subject, size, 4), size)
        yield _layer(RecurrentLayer(subject, size, 4, **both), size)
    elif isinstance(subject, type) and issubclass(subject, nn.Module):
        yield _layer(subject(size, 4), size)
        taken = inspect.signature(subject).parameters
        passed_on = issubclass(subject, RecurrentLayer) and any(p.kind is p.VAR_KEYWORD for p in taken.values())
        if options := {name: value for name, value in both.items() if passed_on or name in taken}:
            yield _layer(subject(size, 4, **options), size)
    elif isinstance(subject, nn.Module):
        yield _layer(copy.deepcopy(subject), input_size)
    else:
        raise TypeError(f"subject should be a Layer, a Cell, a module or a class of modules, got: {subject!r}")


def _layer(module: nn.Module, input_size: int | None) -> Layer:
    size = getattr(module, "input_size", None) if input_size is None else input_size
    if not isinstance(size, int):
        raise ValueError(f"input_size should be given: {type(module).__name__} has no attribute of that name")
    parameters = dict(module.double().named_parameters())
    with torch.no_grad():
        for p in parameters.values():
            if p.numel() and (p == p.flatten()[0]).all():
                p.add_(torch.randn_like(p) / 4)
        returned = module(torch.zeros(T, B, size, dtype=torch.float64))
    tupled = isinstance(returned, (tuple, list)) and len(returned) == 2 and isinstance(returned[1], (tuple, list))
    first = bool(getattr(module, "batch_first", False))
    bidirectional, num_layers = bool(getattr(module, "bidirectional", False)), getattr(module, "num_layers", 1)
    run = _run(module, first, tupled)
    cell = module.cell if isinstance(module, RecurrentLayer) else None
    others = _mirror(parameters, num_layers) if bidirectional else None
    mirrored = None
    if others is not None:

        def call_mirrored(*given: Any) -> Any:
            exchanged = {name: other() for name, other in others.items()}
            return torch.func.functional_call(module, exchanged, given)

        mirrored = _run(call_mirrored, first, tupled)
    return Layer(
        run,
        size,
        parameters,
        states=("h", "c") if cell is None else cell.states,
        gates=() if cell is None else cell.gates,
        takes_state=_takes_state(module),
        takes_packed=_takes_packed(run, size),
        bidirectional=bidirectional,
        num_layers=num_layers,
        mirrored=mirrored,
    )


def _run(call: Callable[..., Any], batch_first: bool, tupled: bool) -> Run:
    """A module's call as a `Run`; `tupled`: it takes and returns its states in a tuple, even if it is one."""

    def run(x: Any, state: State | None) -> tuple[Any, State]:
        turned = batch_first and not isinstance(x, PackedSequence)
        given = [x.transpose(0, 1) if turned else x]
        if state is not None:
            given.append(state if tupled else state[0])
        returned = call(*given)
        output, last = (returned, None) if isinstance(returned, (Tensor, PackedSequence)) else returned
        states = () if last is None else (last,) if isinstance(last, Tensor) else tuple(last)
        return output.transpose(0, 1) if isinstance(output, Tensor) and turned else output, states

    return run


def _mirror(parameters: Mapping[str, Tensor], num_layers: int) -> dict[str, Callable[[], Tensor]] | None:
    """For each parameter what stands in its place where the directions are exchanged, if the names tell.

    They do as torch.nn's do: `weight_ih_l1` and `weight_ih_l1_reverse`, whose columns are those of both directions.
    """
    pairs = {name: f"{name}_reverse" for name in parameters if f"{name}_reverse" in parameters}
    pairs |= {reverse: name for name, reverse in pairs.items()}
    if not pairs or pairs.keys() != parameters.keys():
        return None
    if num_layers > 1 and "weight_ih_l1" not in parameters:
        return None

    def other(name: str) -> Callable[[], Tensor]:
        p = parameters[pairs[name]]
        above = name.startswith("weight_ih_l") and not name.startswith("weight_ih_l0")
        return lambda: torch.cat(p.chunk(2, 1)[::-1], 1) if above else p

    return {name: other(name) for name in pairs}


def _takes_state(module: nn.Module) -> bool:
    taken = inspect.signature(module.forward).parameters.values()
    return len(taken) > 1 or any(p.kind is p.VAR_POSITIONAL for p in taken)


def _takes_packed(run: Run, input_size: int) -> bool:
    x = pack_padded_sequence(torch.zeros(2, 2, input_size, dtype=torch.float64), torch.tensor([2, 1]))
    try:
        with torch.no_grad():
            run(x, None)
    except Exception:  # a layer that takes none may say so in any way
        return False
    return True
