"""The main job: prove the cells and layers against torch.nn on real text, and train with both."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from ..cells import TWINS, elman_relu
from ..engine import native
from ..layers.characters import CharacterModel, Characters
from ..layers.convert import from_torch
from .compare import Report, compare, for_json

_DTYPES = (torch.float64, torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class Case:
    """One line of the table: a module of torch.nn, how its input is laid out, and its dtype."""

    title: str
    module: nn.Module
    dtype: torch.dtype
    batch: int = 8
    length: int = 30
    layout: str = "time-major"
    """"time-major", "batch-first", "unbatched", "packed", or "step" for a cell."""
    by_torch_engine: bool = False
    """Ours by the torch engine, where the native one would run."""

    def run(self, characters: Characters) -> Report:
        """Compare ours, made of the module's own weights, with the module, from states that are not zero."""
        generator = torch.Generator().manual_seed(0)
        module = self.module.to(self.dtype)
        input = self._input(characters, generator)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
            with native.flags(enabled=native.enabled() and not self.by_torch_engine):
                return compare(from_torch(module), module, input, self._state(generator))

    @property
    def notes(self) -> list[str]:
        """What of the weights leaves little to compare: numbers that are not finite, or zeros alone."""
        weights = {name: p.detach() for name, p in self.module.named_parameters()}
        if not any(w.any() for w in weights.values()):
            return ["all weights are 0, as in no trained network"]
        lost = {name: int((~w.isfinite()).sum()) for name, w in weights.items()}
        odd = [f"{name} ({n} of {weights[name].numel()} numbers)" for name, n in lost.items() if n]
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        return [f"weights that are not finite: {', '.join(odd[:3])}{more}"] if odd else []

    def _input(self, characters: Characters, generator: torch.Generator) -> Tensor | PackedSequence:
        steps = 1 if self.layout == "step" else self.length
        ids = characters.windows(self.batch, steps, generator)
        x = characters.vectors(ids, self.module.input_size, generator).to(self.dtype)  # type: ignore[arg-type]
        if self.layout == "packed":
            lengths = torch.randint(1, steps + 1, (self.batch,), generator=generator)
            return pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        if self.layout in ("step", "unbatched"):
            return x[:, 0] if self.layout == "step" else x[0]
        return x if self.layout == "batch-first" else x.transpose(0, 1)

    def _state(self, generator: torch.Generator) -> Tensor | tuple[Tensor, ...]:
        m: Any = self.module
        rows = () if self.layout == "unbatched" else (self.batch,)
        stack = () if self.layout == "step" else (m.num_layers * (2 if m.bidirectional else 1),)
        widths = [getattr(m, "proj_size", 0) or m.hidden_size]
        if isinstance(m, (nn.LSTM, nn.LSTMCell)):
            widths.append(m.hidden_size)
        states = [torch.randn(*stack, *rows, width, generator=generator).to(self.dtype) for width in widths]
        return states[0] if len(states) == 1 else tuple(states)


def cases(quick: bool = False) -> Iterator[Case]:
    """The table: every cell and layer over what can be set. `quick`: float32 only, and fewer of them.

    A layer stands there once for each engine that this machine has; a cell's one step needs none.
    """
    both = native.enabled() and native.is_available()
    for case in _cases(quick):
        yield case
        if both and case.layout != "step":
            yield replace(case, title=f"torch engine: {case.title}", by_torch_engine=True)


def _cases(quick: bool) -> Iterator[Case]:
    size = {"input_size": 20, "hidden_size": 32}
    for dtype in _DTYPES[1:2] if quick else _DTYPES:
        for twin in TWINS:
            if dtype == torch.bfloat16 and twin.cell is elman_relu:
                continue  # relu's gradient jumps at 0, and rounding decides on which side: no two runs are comparable
            name, layer, step, options = twin.title, twin.layer, twin.step, twin.options
            torch.manual_seed(0)
            yield Case(f"{name} cell", step(**size, **options), dtype, layout="step")
            yield Case(f"{name}", layer(**size, **options), dtype)
            both = layer(**size, num_layers=3, bidirectional=True, **options)
            yield Case(f"{name}, 3 layers, both directions, packed", both, dtype, layout="packed")
            if layer is nn.LSTM:
                projected = layer(**size, num_layers=3, bidirectional=True, proj_size=12)
                yield Case(f"{name}, 3 layers, both directions, projection", projected, dtype)
            if quick:
                continue
            yield Case(f"{name}, no bias", layer(**size, bias=False, **options), dtype)
            yield Case(
                f"{name} cell, no bias, batch 128", step(**size, bias=False, **options), dtype, 128, layout="step"
            )
            yield Case(f"{name}, 3 layers, batch 128", layer(**size, num_layers=3, **options), dtype, batch=128)
            both = layer(**size, bidirectional=True, **options)
            yield Case(f"{name}, both directions, unbatched", both, dtype, layout="unbatched")
            first = layer(**size, num_layers=3, batch_first=True, **options)
            yield Case(f"{name}, 3 layers, batch-first", first, dtype, layout="batch-first")
            if layer is nn.LSTM:
                yield Case(f"{name}, projection, packed", layer(**size, proj_size=12), dtype, layout="packed")


def checkpoint_case(name: str, module: nn.Module) -> Case:
    """The case of a module with weights of its own, in their dtype."""
    layout = "step" if isinstance(module, nn.RNNCellBase) else "time-major"
    if getattr(module, "batch_first", False):
        layout = "batch-first"
    return Case(f"{name}: {module}", module.eval(), next(module.parameters()).dtype, layout=layout)


# -------------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Training:
    """The losses of two models that started from the same weights, step by step."""

    title: str
    ours: list[float]
    theirs: list[float]
    digits: int = 4

    @property
    def gaps(self) -> list[float]:
        """How far apart the two losses are at each step."""
        return [abs(a - b) for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def parted(self) -> int | None:
        """The first step at which the losses are a unit of the last digit shown apart; None if at no step."""
        return next((k for k, gap in enumerate(self.gaps) if not gap < 10.0**-self.digits), None)

    def to_dict(self) -> dict[str, Any]:
        return for_json({"title": self.title, "ours": self.ours, "torch": self.theirs, "parted": self.parted})


def train(kind: type[nn.Module], characters: Characters, steps: int = 100) -> Training:
    """Train a small character model by SGD twice, with torch.nn's layer and with ours, from the same weights."""
    size, hidden_size, batch, length, rate = 32, 64, 16, 40, 1.0
    torch.manual_seed(0)
    layer = kind(size, hidden_size, batch_first=True)
    theirs = CharacterModel(len(characters.alphabet), layer)
    models: list[Any] = [from_torch(theirs), theirs]
    ours, of_torch = [
        list(m.learn(characters, torch.optim.SGD(m.parameters(), rate), steps, batch, length)) for m in models
    ]
    return Training(f"{kind.__name__} {size} -> {hidden_size}", ours, of_torch)
