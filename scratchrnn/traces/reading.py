"""What `scratchrnn explore` looks into: a layer with trained weights, and a text as the vectors that it reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from ..cells import TWINS
from ..layers.characters import Characters, are_characters, read_text
from ..layers.checkpoint import RECURRENT_WEIGHT, load_recurrent, load_tensors
from ..layers.recurrent import RecurrentLayer
from .page.page import Readout
from .trace import trace
from .traced import Trace

END = "</s>"
UNKNOWN = "<unk>"
_ESCAPED = {r"\n": "\n", r"\t": "\t", r"\r": "\r"}


@dataclass(frozen=True)
class Reading:
    """A layer, and sequences of tokens, each of which it reads from a zero state."""

    name: str
    layer: nn.RNNBase | RecurrentLayer
    sequences: list[list[str]]
    vectors: Callable[[Sequence[str]], Tensor]
    """Tokens as what the layer takes, [T, I]."""
    notes: tuple[str, ...] = ()
    readout: Readout | None = None
    """What predicts the next token from what the layer emits, where that is known."""

    @property
    def tokens(self) -> list[str]:
        return [token for sequence in self.sequences for token in sequence]

    def first(self, count: int) -> Reading:
        """The first `count` tokens of it."""
        cut, left = [], count
        for sequence in self.sequences:
            cut.append(sequence[: max(left, 0)])
            left -= len(sequence)
        return replace(self, sequences=[sequence for sequence in cut if sequence])

    def trace(self) -> Trace:
        """Every gate and state of the layer as it reads them, the sequences as one batch."""
        packed = pack_sequence([self.vectors(sequence) for sequence in self.sequences], enforce_sorted=False)
        return trace(self.layer, packed, halves=True)


# ---------------------------------------------------------------------------------------------- a checkpoint


def load_reading(
    path: str,
    text: str,
    layer: str | None = None,
    vocabulary: str | None = None,
    embedding: str | None = None,
    trust: bool = False,
) -> Reading:
    r"""A layer out of a file that torch.save has written, and a text as its embedding has it.

    A vocabulary of single characters reads the text character by character; where it lacks white space, that ends a
    sequence, as between the words that a model of spelling reads. Another vocabulary reads words: one sequence, or one
    for each line if the vocabulary has `</s>`. Each sequence ends with `</s>` where there is one.

    Args:
        path: the file, see `load_recurrent`; a cell for single steps is run as a layer.
        text: what it reads.
        layer: the name of the layer, where the file holds several.
        vocabulary: a file with one token a line, line k for row k of the embedding; the line break as \n, or as it is.
            Empty lines at its end count where there is a row for a token there: a line break, or if it has one, "".
        embedding: the name of the matrix [tokens, input_size]; default: the one with "emb" in its name. Without one,
            every character enters as a random vector.
        trust: unpickle whatever the file holds, which runs code from it.

    Raises:
        OSError: a file cannot be read.
        ValueError: layer, embedding or vocabulary are not there, not the only one, or do not fit together; the text
            has no tokens, or some that the vocabulary lacks, and there is no `<unk>`.
    """
    name, module = _the_layer(path, layer, trust)
    found = _the_embedding(load_tensors(path, trust), name, module.input_size, embedding)
    called, dtype = f"{name} of {Path(path).name}", next(module.parameters()).dtype
    if found is None:
        if vocabulary is not None:
            raise ValueError(f"--vocabulary goes with an embedding, and {path} has none of width {module.input_size}")
        characters = Characters(text)
        vectors = characters.vectors(torch.arange(len(characters.alphabet)), module.input_size, torch.Generator())
        places = {character: k for k, character in enumerate(characters.alphabet)}
        note = "The file holds no embedding for this layer: each character enters as a random vector, always the same."
        return Reading(called, module, [list(text)], looked_up(vectors.to(dtype), places), (note,))
    key, weights = found
    if vocabulary is None:
        raise ValueError(f"{key} has {len(weights)} rows: give their tokens, one a line, as --vocabulary FILE")
    places, notes = _read_vocabulary(vocabulary, key, len(weights))
    sequences = _split(text, places)
    if not sequences:
        raise ValueError("the text to explore has no tokens")
    tokens = [token for sequence in sequences for token in sequence]
    unknown = [token for token in tokens if token not in places]
    if unknown and UNKNOWN not in places:
        raise ValueError(f"{vocabulary} has no {UNKNOWN} and lacks {named(unknown)}, which the text to explore has")
    notes += [f"Not in the vocabulary, read as {UNKNOWN}: {named(unknown)}."] if unknown else []
    return Reading(called, module, sequences, looked_up(weights.detach().to(dtype), places), tuple(notes))


def _the_layer(path: str, layer: str | None, trust: bool) -> tuple[str, Any]:
    modules = dict(load_recurrent(path, trust))
    if layer is None and len(modules) > 1:
        raise ValueError(f"{path} holds several layers, choose by --layer NAME: {', '.join(modules)}")
    name = next(iter(modules)) if layer is None else layer
    if name not in modules:
        raise ValueError(f"--layer should be one of {', '.join(modules)}; got {name!r}")
    module: Any = modules[name].eval()
    return name, _layer_of_cell(module) if isinstance(module, nn.RNNCellBase) else module


def _layer_of_cell(cell: Any) -> nn.RNNBase:
    """The layer that takes the cell's step again and again."""
    twin = next(twin for twin in TWINS if twin.step is type(cell))
    options = {name: getattr(cell, name) for name in twin.options}
    layer: Any = twin.layer(cell.input_size, cell.hidden_size, bias=cell.bias, dtype=cell.weight_ih.dtype, **options)
    layer.load_state_dict({f"{name}_l0": weight for name, weight in cell.state_dict().items()})
    return layer.eval()


def _the_embedding(
    tensors: dict[str, Tensor], layer: str, input_size: int, name: str | None
) -> tuple[str, Tensor] | None:
    others = {key: t for key, t in tensors.items() if not RECURRENT_WEIGHT.match(key)}
    fitting = {key: t for key, t in others.items() if t.dim() == 2 and t.shape[1] == input_size}
    if name is not None:
        if name not in fitting:
            raise ValueError(f"--embedding should be one of {', '.join(fitting) or 'none that fits'}; got {name!r}")
        return name, fitting[name]
    candidates = {key: t for key, t in fitting.items() if "emb" in key.lower()}
    near = max((_shared(key, layer) for key in candidates), default=0)
    candidates = {key: t for key, t in candidates.items() if _shared(key, layer) == near}
    if len(candidates) > 1:
        raise ValueError(f"several embeddings fit, choose by --embedding NAME: {', '.join(candidates)}")
    return next(iter(candidates.items()), None)


def _shared(a: str, b: str) -> int:
    """How many modules the names have in common: those of `enc.emb.weight` and `enc` one, `enc`."""
    pairs = list(zip(a.split("."), b.split("."), strict=False))
    return next((k for k, (x, y) in enumerate(pairs) if x != y), len(pairs))


# -------------------------------------------------------------------------------------------------- tokens


def _read_vocabulary(path: str, embedding: str, rows: int) -> tuple[dict[str, int], list[str]]:
    """The tokens' rows, and what is to be said about it."""
    text = read_text(path, at_least=1)
    body = text.rstrip("\n")
    as_it_is = re.compile(r"^\n\n", re.MULTILINE)  # a line that is a line break
    lines = as_it_is.sub(r"\\n\n", body).split("\n") if body else []
    tokens = [_ESCAPED.get(line, line) for line in lines]
    notes = []
    if len(tokens) == rows - 1 and len(text) - len(body) > bool(body):  # the last stands in the empty lines at the end
        if "\n" in tokens:
            tokens.append("")
        else:
            tokens.append("\n")
            notes = [rf"The last line of {path} is empty: taken for a line break, which is better written as \n."]
    if len(tokens) != rows:
        raise ValueError(
            f"--vocabulary should have a line for each of the {rows} rows of {embedding}, a line break in a token as "
            rf"\n, got {len(tokens)}"
        )
    places = {token: k for k, token in enumerate(tokens)}
    if len(places) < rows:
        twice = next(token for k, token in enumerate(tokens) if places[token] != k)
        raise ValueError(f"--vocabulary should have each token once, {path} has {twice!r} twice")
    return places, notes


def _split(text: str, vocabulary: dict[str, int]) -> list[list[str]]:
    if are_characters(vocabulary):
        ends = "".join(c for c in sorted(set(text)) if c.isspace() and c not in vocabulary)
        pieces = [list(piece) for piece in (re.split(f"[{re.escape(ends)}]", text) if ends else [text])]
    else:
        pieces = [line.split() for line in (text.split("\n") if END in vocabulary else [text])]
    end = [END] if END in vocabulary else []
    return [piece + end for piece in pieces if piece]


def looked_up(weights: Tensor, places: dict[str, int]) -> Callable[[Sequence[str]], Tensor]:
    """Tokens as the rows of an embedding, at the places that they have there, or at that of `<unk>`.

    Where there is neither, the function raises a KeyError: whoever has the text says before what is not known of it.
    """
    return lambda tokens: weights[[places[token if token in places else UNKNOWN] for token in tokens]]


def named(tokens: Sequence[str]) -> str:
    """Each once, the first ten."""
    distinct = [*dict.fromkeys(tokens)]
    more = f" and {len(distinct) - 10} more" if len(distinct) > 10 else ""
    return f"{', '.join(map(repr, distinct[:10]))}{more}"
