"""What a parameter's name says: of which layer, direction and gate it is, and whether it meets the input or h."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

Label = tuple[str, ...]
"""A name's words, without what says the layer and the direction."""

_SAID = {  # what people call the gates; the letter of this project first
    "LSTM": {
        "i": "i input in inp ingate u update write",
        "f": "f forget forgetgate keep",
        "g": "g c candidate cand cell new ctilde z a n k memory block modulation",
        "o": "o output out outgate",
    },
    "GRU": {
        "r": "r reset",
        "z": "z u update",
        "n": "n h c g new candidate cand hidden ctilde htilde hh",
    },
}
GATE_OF = {
    mode: {word: gate for gate, words in gates.items() for word in words.split()} for mode, gates in _SAID.items()
}
"""For `cell.name`, which gate a word means; a cell of one gate needs none."""


def word_set(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


_REVERSE = word_set("reverse reversed rev bwd backward backwards bw back")
_FORWARD = word_set("forward forwards fwd fw")
_INPUT = word_set("x xs input inputs inp in i")
_HIDDEN = word_set("h hh hidden hid recurrent recur rec state prev")
_BIAS = word_set("b bias biases offset")
_NORM = word_set("ln norm layernorm bn batchnorm rmsnorm gamma beta scale")
_NUMBERS = {"first": "1", "second": "2", "third": "3", "fourth": "4"}
_NOISE = word_set(
    "gate gates linear lin linears layer layers fc dense l tilde hat bar map transform matrix mat param params net"
    " to cells lstm gru rnn elman stack weights the"
)
_SHORT = word_set("in inp out fc lin rec new fwd bwd rev fw bw cat net mat hid ln bn rnn gru to bar hat map the")


def words(name: str) -> Label:
    """`cells.0.W_xf` is cells, 0, w, x, f; short words are taken letter by letter."""
    name = re.sub(r"(?<=[a-zA-Z])2(?=[a-zA-Z])", "_", name)  # x2h
    found: list[str] = []
    for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name):
        word = _NUMBERS.get(word.lower(), word.lower())
        if word.isdigit() or word in _SHORT or len(word) == 1:
            found.append(word)
        elif len(word) <= 3:
            found.extend(word)
        elif word[0] in "wub" and any(word[1:] in said for said in GATE_OF.values()):  # Wforget
            found.extend((word[0], word[1:]))
        else:
            found.append(word)
    return tuple(found)


def is_bias(label: Label) -> bool:
    """Whether the name says bias, and not that of a normalisation."""
    return bool(_BIAS & set(label)) and not _NORM & set(label)


def side(label: Label) -> str:
    """What a name says it is multiplied with: "x", "h", or "" where it says nothing."""
    told = [word for word in label if word in _INPUT | _HIDDEN]
    if "x" in told or (told and told[0] in _INPUT):
        return "x"
    if told:
        return "h"
    if "u" in label or "r" in label:  # W x + U h, and the R of cuDNN and ONNX
        return "h"
    return "x" if "w" in label and "weight" not in label else ""


def says_h_first(label: Label) -> bool:
    """`W_hx` of one matrix on both."""
    return "x" in label and "h" in label and label.index("h") < label.index("x")


def extents(names: Collection[str]) -> list[tuple[int, int]]:
    """How many layers and directions the names may speak of, the likeliest first."""
    directions = 2 if any(_REVERSE & set(words(name)) for name in names) else 1
    counts = [len(values) for values in _numbers(names).values() if len(values) > 1]
    found = [(n, directions) for n in counts]
    if directions == 1:
        found += [(n // 2, 2) for n in counts if n % 2 == 0]
        found += [(n, 2) for n in counts if len(counts) > 1]
    return list(dict.fromkeys([*found, (1, directions)]))


def placed(names: Collection[str], layers: int, directions: int) -> dict[tuple[int, int], dict[str, Label]]:
    """The names of each layer and direction, with what else they say; a name that tells neither is left out."""
    numbers = _numbers(names)
    told = any(_REVERSE & set(words(name)) for name in names)
    by_layer = next((p for p, values in numbers.items() if len(values) == layers), None) if layers > 1 else None
    both = by_direction = None
    if directions == 2 and not told:
        both = next((p for p, values in numbers.items() if len(values) == 2 * layers), None)
        by_direction = next((p for p, values in numbers.items() if len(values) == 2 and p != by_layer), None)
    where: dict[tuple[int, int], list[str]] = {}
    for name in names:
        said = words(name)
        digits = [int(word) for word in said if word.isdigit()]

        def index(position: int | None, digits: list[int] = digits) -> int | None:
            if position is None or position >= len(digits):
                return None
            return numbers[position].index(digits[position])

        layer: int | None = 0 if layers == 1 else index(by_layer)
        direction: int | None = 1 if _REVERSE & set(said) else 0
        if both is not None:
            k = index(both)
            layer, direction = (None, None) if k is None else divmod(k, 2)
        elif directions == 2 and not told:
            direction = index(by_direction)
        if layer is not None and direction is not None and layer < layers and direction < directions:
            where.setdefault((layer, direction), []).append(name)
    consumed = {p for p in (by_layer, both, by_direction) if p is not None}
    return {place: _labels(group, consumed) for place, group in sorted(where.items())}


def families(
    labels: Mapping[str, Label], mode: str, numbered: Collection[str] = ()
) -> list[tuple[Label, dict[str, str]]]:
    """Names that differ in the word for the gate alone: what they share, and the name of each gate.

    `numbered` are the gates' letters where a number may stand for them.
    """
    found: dict[Label, dict[str, str]] = {}
    for name, label in labels.items():
        label = _once(label, mode)
        for k, word in enumerate(label):
            gate = GATE_OF[mode].get(word)
            if numbered and word.isdigit() and int(word) < len(numbered):
                gate = list(numbered)[int(word)]
            if gate:
                found.setdefault((*label[:k], "*", *label[k + 1 :]), {}).setdefault(gate, name)
    taken: set[str] = set()
    kept = []
    for shared, gates in sorted(found.items(), key=lambda item: -len(item[1])):
        free = {gate: name for gate, name in gates.items() if name not in taken}
        if len(free) == len(gates) and len(gates) > 1:
            taken |= set(free.values())
            kept.append((shared, gates))
    return kept


def gate_named(label: Label, mode: str) -> str | None:
    """The gate that the last word for one means."""
    return next((GATE_OF[mode][word] for word in reversed(label) if word in GATE_OF.get(mode, {})), None)


def _numbers(names: Collection[str]) -> dict[int, list[int]]:
    """For the first number in a name, the second, ...: the values that it has."""
    values: dict[int, set[int]] = {}
    for name in names:
        for position, word in enumerate(word for word in words(name) if word.isdigit()):
            values.setdefault(position, set()).add(int(word))
    return {position: sorted(found) for position, found in values.items()}


def _labels(names: list[str], consumed: Collection[int]) -> dict[str, Label]:
    """The words behind the modules that all names share, without numbers that said the layer or direction."""
    paths = [name.split(".")[:-1] for name in names]
    shared = 0
    while len(names) > 1 and all(len(path) > shared and path[shared] == paths[0][shared] for path in paths):
        shared += 1
    labels = {}
    for name in names:
        before = sum(word.isdigit() for word in words(".".join(name.split(".")[:shared])))
        label: list[str] = []
        position = before - 1
        for word in words(".".join(name.split(".")[shared:])):
            position += word.isdigit()
            if not (word.isdigit() and position in consumed) and word not in _NOISE | _REVERSE | _FORWARD:
                label.append(word)
        labels[name] = tuple(label)
    return labels


def _once(label: Label, mode: str) -> Label:
    """`cell_candidate` says one gate twice."""
    gates = [GATE_OF[mode].get(word) if len(word) > 1 else None for word in label]
    return tuple(w for k, w in enumerate(label) if not (k and gates[k] and gates[k] == gates[k - 1]))
