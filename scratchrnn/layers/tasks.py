"""Two tasks that tell what a gate is for, learnt in seconds. Here, as `characters` is: a layer is trained, of any cell.

Every step shows a bit, -1 or 1, and whether it is marked. Asked is the bit that was marked last.

    recall    the first of 41 bits is marked, and asked for after the last: what was stored has to be kept
    stream    bits without an end, one in ten is marked, asked at each: what was stored has to be replaced

Recall has the long time lag of Hochreiter & Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735. For continual streams
Gers, Schmidhuber & Cummins 2000, doi:10.1162/089976600300015015, gave the LSTM its forget gate.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..cells.cell import Cell
from .recurrent import RecurrentLayer

_H = 12
_LEARNING_RATE = 0.02


@dataclass(frozen=True)
class Task:
    """One of the two: sequences of `length` steps, `rows` at a time, `steps` steps of Adam."""

    name: str
    says: str
    length: int
    rows: int
    steps: int
    endless: bool
    """The stream: it goes on in the next sequence, with the states, and every step is asked."""

    def right(self, cell: Cell, seed: int) -> float:
        """The share of right answers after training a layer of `cell` with 12 units; half of them can be guessed.

        The weights start as torch.nn's do. The seed gives these and the bits.

        Raises:
            ValueError, TypeError: no layer can be made of the cell.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layer, readout = RecurrentLayer(cell, 2, _H), nn.Linear(_H, 1)
        drawn = torch.Generator().manual_seed(seed)
        parameters = [*layer.parameters(), *readout.parameters()]
        optimizer = torch.optim.Adam(parameters, _LEARNING_RATE)
        states, answer = None, torch.ones(self.rows)
        for _ in range(self.steps):
            x, answers = self._sequence(self.length, answer, drawn)
            output, after = layer(x, states)
            logits = readout(output).squeeze(-1)  # [T, B]
            if self.endless:
                states, answer = _detached(after), answers[-1]
            else:
                logits, answers = logits[-1], answers[-1]
            loss = nn.functional.binary_cross_entropy_with_logits(logits, (answers > 0).to(logits.dtype))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
        return self._right(layer, readout, drawn)

    @torch.no_grad()
    def _right(self, layer: nn.Module, readout: nn.Module, drawn: torch.Generator) -> float:
        """On sequences that are new; of the stream on the second half of a thousand steps."""
        length, rows = (1000, 32) if self.endless else (self.length, 1000)
        x, answers = self._sequence(length, torch.ones(rows), drawn)
        asked = slice(length // 2 if self.endless else length - 1, None)
        output, _ = layer(x)
        return float(((readout(output[asked]).squeeze(-1) > 0) == (answers[asked] > 0)).float().mean())

    def _sequence(self, length: int, answer: Tensor, drawn: torch.Generator) -> tuple[Tensor, Tensor]:
        """Bits and marks [T, B, 2], and the answer at each step [T, B]; `answer` is the bit that was marked before."""
        shape = length, len(answer)
        bits = 2.0 * torch.randint(2, shape, generator=drawn) - 1
        marked = torch.rand(shape, generator=drawn) < 0.1 if self.endless else torch.zeros(shape, dtype=torch.bool)
        if not self.endless:
            marked[0] = True
        last = torch.where(marked, torch.arange(length).unsqueeze(1), -1).cummax(0).values
        answers = torch.where(last < 0, answer, bits.gather(0, last.clamp(min=0)))
        return torch.stack([bits, marked.to(bits.dtype)], -1), answers


def _detached(states: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    return tuple(s.detach() for s in states) if isinstance(states, tuple) else states.detach()


TASKS = (
    Task("recall", "the first bit, after 40 more", length=41, rows=128, steps=150, endless=False),
    Task("stream", "the bit marked last, in a stream without an end", length=20, rows=32, steps=120, endless=True),
)
