"""Records as what is written and read: plain containers in a file, and a data frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from ..cells.cell import Cell
from ..cells.twins import BUILT_IN
from .record import Record, Records

if TYPE_CHECKING:
    import pandas


def read(path: str) -> Any:
    """The plain containers that were saved to a file, without running code of it.

    Raises:
        OSError: the file cannot be read.
        ValueError: nothing was saved to it by torch.save, or something else than plain containers.
    """
    try:
        with torch.serialization.safe_globals([PackedSequence]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a file of another kind makes the unpickler raise whatever it stumbles over
        raise ValueError(f"{path} should be a file that a trace was saved to: {error}") from None


def content(records: Records) -> list[dict[str, Any]]:
    """Records as plain containers: of a cell what names it, and whether it is a built-in one."""
    return [
        {
            "layer": k,
            "reverse": reverse,
            "cell": _signature(record.cell),
            "built_in": _is_built_in(record.cell),
            "lengths": record.lengths,
            "bias": record.bias,
        }
        | {"tensors": {name: t.detach().clone() for name, t in record.tensors.items()}}
        for (k, reverse), record in records.items()
    ]


def records_of(content: list[dict[str, Any]], known: Iterable[Cell], name: str = "") -> Records:
    """The records again, of the layer of that name.

    Raises:
        ValueError: the cell of one is none of the known ones, or is as several of them.
    """
    records = {}
    for kept in content:
        cell = _cell_of(kept["cell"], kept["built_in"], known)
        k, reverse = kept["layer"], kept["reverse"]
        records[k, reverse] = Record(
            kept["tensors"], cell, kept["lengths"], kept["bias"], name=name, layer=k, reverse=reverse
        )
    return records


def detached(x: Any) -> Any:
    """A layer's output or state without its graph."""
    if isinstance(x, PackedSequence):
        return x._replace(data=x.data.detach())
    return tuple(s.detach() for s in x) if isinstance(x, tuple) else x if x is None else x.detach()


def _signature(cell: Cell) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """What of a cell can be kept in a file."""
    return cell.name, cell.pre_activations, cell.states


def _is_built_in(cell: Cell) -> bool:
    return cell == BUILT_IN.get(cell.name)


def _cell_of(signature: tuple[str, tuple[str, ...], tuple[str, ...]], built_in: bool, known: Iterable[Cell]) -> Cell:
    alike = [cell for cell in known if _signature(cell) == signature]
    found = [cell for cell in alike if _is_built_in(cell) == built_in]
    if len(found) == 1:
        return found[0]
    name, pre_activations, states = signature
    whose = f"the trace is of a cell {name!r} of {', '.join(pre_activations)} and {', '.join(states)}"
    if found:
        raise ValueError(f"{whose}, and {len(found)} of cells are so called: give the one it is of")
    raise ValueError(f"{whose}{', not the built-in one' if alike else ''}: give it, load_trace(path, cells=[...])")


def to_dataframe(traces: Iterable[tuple[dict[str, Any], Records]]) -> pandas.DataFrame:
    """A row for each layer, direction, sequence, step and unit, a column for each tensor; see `Trace.to_dataframe`.

    Args:
        traces: records, and in what columns it stands what they are of.
    """
    import pandas

    frames = [_rows(of, k, r, record) for of, records in traces for (k, r), record in records.items()]
    return pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame()


def _rows(of: dict[str, Any], k: int, reverse: bool, record: Record) -> pandas.DataFrame:
    import pandas

    units = max(t.shape[-1] for t in record.tensors.values())
    valid = record.valid().cpu()
    step, sequence = valid.nonzero(as_tuple=True)
    places = of | {"layer": k, "reverse": reverse, "sequence": sequence.repeat_interleave(units)}
    places |= {"step": step.repeat_interleave(units), "unit": torch.arange(units).repeat(len(step))}
    columns = {}
    for name, t in record.tensors.items():
        padded = torch.nn.functional.pad(t.detach(), (0, units - t.shape[-1]), value=float("nan"))
        columns[name] = padded[valid.to(t.device)].flatten().cpu().numpy()
    numpy = {name: at.numpy() if isinstance(at, Tensor) else at for name, at in places.items()}
    return pandas.DataFrame(numpy | columns)
