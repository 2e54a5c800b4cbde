"""Records as a page to click through: one HTML file, which holds its data, its code and its style, and loads nothing.

The file is `page.html` beside this one with its style, its code and the libraries of `vendor` put in. What needs
the cell is computed here; the page looks numbers up, multiplies, and computes a step anew where the reader sets a gate.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from string import Template
from typing import Any, TypeAlias

import torch
from torch import nn

from ...cells.cell import Cell
from ..palette import LINES, SIGNED
from ..record import Record, Records, place
from .content import content
from .packing import floats
from .quiz import answers, quiz
from .script import script
from .spans import spans

_LIBRARIES = ("preact.js", "hooks.js", "htm.js")
_CODE = ("numbers", "words", "parts", "colours", "algebra")
_PANELS = ("text", "quiz", "equations", "what-if", "units", "charts", "page")
Layers: TypeAlias = Mapping[str, Records]
"""`trace(...).records` by the name of the layer; "" needs none."""
Readout: TypeAlias = tuple[nn.Linear, Sequence[object]]
"""What reads the last layer's h at every step, and what each of its outputs stands for."""


def page(
    traces: Mapping[str, Layers],
    tokens: Sequence[object] | None = None,
    sequence: int | None = 0,
    title: str | None = None,
    notes: Sequence[str] = (),
    readouts: Mapping[str, Readout] | None = None,
    fragment: str = "",
) -> str:
    """The HTML of a page that shows all layers and directions of these traces over the tokens of one sequence.

    Args:
        traces: what to show, by name, each beside the others; one alone needs no name. Taken without `halves=True`, a
            pre-activation is shown without its two terms.
        tokens: one for each step, in the order of the text, shown as `str` has it; default: the numbers of the steps.
        sequence: which of the batch; None for all of them, one behind the other.
        title: default: the layers' kinds and the number of tokens.
        notes: sentences to stand under the title.
        readouts: for some of the traces, by name, what reads their last layer.
        fragment: where the page opens, as the end of its address has it: "token=12&unit=3".

    Raises:
        ValueError: there is no layer, no such sequence, not one token for each step, a trace is one of gradients, or a
            readout does not fit the last layer and its vocabulary.
    """
    layers: list[dict[str, Any]] = []
    cells: list[Cell] = []
    steps: dict[str, int] = {}
    for trace, named in traces.items():
        for name, records in named.items():
            for (k, reverse), record in records.items():
                called = place(name, k, reverse)
                where = f"{trace}: {called}" if len(traces) > 1 else called
                chosen, lengths = _choose(where, record, sequence)
                steps[where] = sum(lengths)
                stands = {"name": called, "module": name, "trace": trace, "index": len(layers)}
                layers.append(stands | content(chosen, lengths, reverse))
                cells.append(record.cell)
    shown = _tokens(tokens, steps)
    asked = [cell for k, cell in enumerate(cells) if cell not in cells[:k]]
    quizzes = [quiz(cell) for cell in asked]
    for layer, cell in zip(layers, cells, strict=True):
        layer["quiz"] = asked.index(cell)
    for trace, readout in (readouts or {}).items():
        layer = _read_out([layer for layer in layers if layer["trace"] == trace], *readout)
        layer["readout"] = _numbers(*readout)
    kinds = " and ".join(dict.fromkeys(str(layer["cell"]) for layer in layers))
    title = f"{kinds} over {len(shown)} tokens" if title is None else title
    data = {
        "title": title,
        "notes": list(notes),
        "tokens": shown,
        "spans": spans(shown, layers[0]["lengths"]),
        "layers": layers,
        "quizzes": quizzes,
        "answers": answers(),
        "palette": {"lines": LINES, "signed": SIGNED},
        "open": fragment,
    }
    return Template(_file("page.html")).substitute(
        title=html.escape(title),
        style=_file("page.css"),
        libraries="\n".join(_file("vendor", name) for name in _LIBRARIES),
        updates=script(cells),
        code="\n".join(_file(f"{name}.js") for name in (*_CODE, *_PANELS)),
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),  # no token can end the script element
    )


def frame(page: str) -> str:
    """The page as a part of another, such as a notebook, which it can neither read nor change."""
    text = page.encode("utf-8", "xmlcharrefreplace").decode()
    style = "width:100%;height:46rem;border:0"
    return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{html.escape(text)}"></iframe>'


def write(path: str, text: str) -> None:
    """Write a page; half a surrogate pair, which a token can be, as its number."""
    with open(path, "w", encoding="utf-8", errors="xmlcharrefreplace") as file:
        file.write(text)


def _file(*names: str) -> str:
    return resources.files(__package__).joinpath(*names).read_text(encoding="utf-8")


def _tokens(tokens: Sequence[object] | None, steps: Mapping[str, int]) -> list[str]:
    """One for each step; `steps` says how many each layer has read."""
    if not steps:
        raise ValueError("a page needs the trace of at least one layer")
    if tokens is None:
        if len(set(steps.values())) > 1:
            read = "; ".join(f"{called} {count}" for called, count in steps.items())
            raise ValueError(f"layers read different numbers of steps: {read}; a page shows one text")
        tokens = range(next(iter(steps.values())))
    for called, count in steps.items():
        if count != len(tokens):
            raise ValueError(f"tokens should be one for each of the {count} steps of {called}, got {len(tokens)}")
    return [str(token) for token in tokens]


def _choose(name: str, record: Record, sequence: int | None) -> tuple[Record, list[int]]:
    """The chosen sequence alone, [T, 1, H] without steps behind its end; and the length of each that it holds."""
    if not record.of_a_run():
        raise ValueError("a page needs a trace of gates and states, this is a trace of gradients")
    if not record.is_real():
        raise ValueError(f"a page needs a sequence of real numbers, {name} has none or complex ones")
    lengths = record.valid().sum(0).tolist()
    if sequence is not None and not 0 <= sequence < len(lengths):
        raise ValueError(
            f"sequence should be from 0 to {len(lengths) - 1}, as {name} was run on so many; got {sequence}"
        )
    those = range(len(lengths)) if sequence is None else [sequence]
    tensors = {
        key: torch.cat([t.detach()[: lengths[b], b : b + 1] for b in those]).cpu() for key, t in record.tensors.items()
    }
    if next(iter(tensors.values())).dtype.itemsize < 4:
        tensors = {key: t.float() for key, t in tensors.items()}
    return Record(tensors, record.cell, bias=record.bias), [lengths[b] for b in those]


def _read_out(layers: Sequence[dict[str, Any]], linear: nn.Linear, vocabulary: Sequence[object]) -> dict[str, Any]:
    """The layer whose h it reads: of each stack the last that reads forward, and of these the one that fits."""
    last = list({layer["module"]: layer for layer in layers if not layer["reverse"]}.values())
    widths = {layer["name"]: layer["tensors"][layer["emitted"]]["units"] for layer in last}
    fitting = [layer for layer in last if (widths[layer["name"]], len(vocabulary)) == tuple(linear.weight.shape[::-1])]
    if not fitting:
        wanted = " or ".join(f"Linear({width}, {len(vocabulary)}) for {name}" for name, width in widths.items())
        raise ValueError(f"readout should be a {wanted} and the entries of its vocabulary; got {linear}")
    if len(fitting) > 1:
        names = " and ".join(layer["name"] for layer in fitting)
        raise ValueError(f"readout fits {names}: write the page of that one, trace[{fitting[-1]['module']!r}].to_html")
    return fitting[0]


def _numbers(linear: nn.Linear, vocabulary: Sequence[object]) -> dict[str, Any]:
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias
    return {"weight": floats(linear.weight), "bias": floats(bias), "vocabulary": [str(entry) for entry in vocabulary]}
