"""What people call things: a constructor's and a call's arguments, and in a parameter's name layer, side and gate."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

Label = tuple[str, ...]
"""A parameter's name word by word, without what says the layer and the direction."""


def word_set(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


CALLED = {
    role: word_set(said)
    for role, said in {
        "input_size": "inputsize inputdim inputdims indim indims nin ninput ninputs numinput numinputs infeatures"
        " inputfeatures inputchannels inchannels inchannel din insize inputsz xdim embeddim embsize featuresize"
        " featuredim nfeatures numfeatures i",
        "hidden_size": "hiddensize hiddendim hiddendims hiddim hidsize nhid nhidden numhidden hidden hiddenunits units"
        " nunits numunits hiddensz hiddenfeatures hiddenchannels hdim dhidden statesize statedim cellsize h",
        "output_size": "outputsize outputdim outdim outsize outfeatures outchannels dout",
        "size": "size dim dmodel width features n nfeat channels",  # both in one
        "num_layers": "numlayers nlayers nlayer layers numlayer depth",
        "bias": "bias usebias withbias biases",
        "batch_first": "batchfirst",
        "dropout": "dropout dropoutprob dropoutp drop pdropout dropoutrate",
        "bidirectional": "bidirectional bidir bi birnn",
        "proj_size": "projsize projdim projectionsize proj",
        "nonlinearity": "nonlinearity activation act nonlin",
        "batch": "batchsize",
        "length": "seqlen seqlength sequencelength",
        "x": "x xs xt xseq input inputs inp inputt inputseq seq sequence sequences data emb embedded embeddings feats"
        " features",
        "lengths": "lengths length lens seqlengths seqlens xlengths xlens inputlengths sequencelengths",
        "weights": "weights weight params parameters param w ws p statedict sd theta",
    }.items()
}
"""Of each argument of a constructor or a call the names, as `plain` has them."""

_GATES = {  # the letter of this project first
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
    mode: {word: gate for gate, words in gates.items() for word in words.split()} for mode, gates in _GATES.items()
}
"""For `cell.name`, which gate a word means; a cell of one gate needs none."""

_REVERSE = word_set("reverse reversed rev bwd backward backwards bw back")
_INPUT = word_set("x xs input inputs inp in i")
_HIDDEN = word_set("h hh hidden hid recurrent recur rec state prev")
_BIAS = word_set("b bias biases offset")
_NORM = word_set("ln norm layernorm bn batchnorm rmsnorm gamma beta scale")
_NUMBERS = {"first": "1", "second": "2", "third": "3", "fourth": "4"}
_NOISE = word_set(
    "forward forwards fwd fw gate gates linear lin linears layer layers fc dense l tilde hat bar map"
    " transform matrix mat param params net to cells lstm gru rnn elman stack weights the"
)
_SHORT = word_set("in inp out fc lin rec new fwd bwd rev fw bw cat net mat hid ln bn rnn gru to bar hat map the")


def plain(name: str) -> str:
    """An argument's name as `CALLED` has it."""
    return name.lower().replace("_", "")


def words(name: str) -> Label:
    """`cells.0.W_xf` is cells, 0, w, x, f; short words are taken letter by letter."""
    name = re.sub(r"(?<=[a-zA-Z])2(?=[a-zA-Z])", "_", name)  # x2h
    found: list[str] = []
    for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name):
        word = _NUMBERS.get(word.lower(), word.lower())
        if len(word) <= 3 and not word.isdigit() and word not in _SHORT:
            found.extend(word)
        elif len(word) > 3 and word[0] in "wub" and any(word[1:] in said for said in GATE_OF.values()):  # Wforget
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
    if told:
        return "x" if "x" in told or told[0] in _INPUT else "h"
    if "u" in label or "r" in label:  # W x + U h, and the R of cuDNN and ONNX
        return "h"
    return "x" if "w" in label and "weight" not in label else ""


def is_letter_alone(label: Label) -> bool:
    """Whether only a W or a U says the side, which some papers have the other way round."""
    return not set(label) & (_INPUT | _HIDDEN)


def says_h_first(label: Label) -> bool:
    """`W_hx` of one matrix on both."""
    return "x" in label and "h" in label and label.index("h") < label.index("x")


def extents(names: Collection[str]) -> list[tuple[int, int]]:
    """How many layers and directions the names may speak of, the likeliest first."""
    counts = [len(values) for values in _numbers(names).values() if len(values) > 1]
    if any(_REVERSE & set(words(name)) for name in names):
        return list(dict.fromkeys([*((n, 2) for n in counts), (1, 2)]))
    found = [(n, 1) for n in counts] + [(n // 2, 2) for n in counts if n % 2 == 0]
    found += [(n, 2) for n in counts if len(counts) > 1]
    return list(dict.fromkeys([*found, (1, 1)]))


def placed(names: Collection[str], layers: int, directions: int) -> dict[tuple[int, int], dict[str, Label]]:
    """The names of each layer and direction, with what else they say; a name that tells neither is left out."""
    numbers = _numbers(names)
    told = directions == 1 or any(_REVERSE & set(words(name)) for name in names)

    def counts(count: int, other: int | None = None) -> int | None:
        """Which of the numbers in a name has so many values."""
        return next((p for p, values in numbers.items() if len(values) == count and p != other), None)

    by_layer = counts(layers) if layers > 1 else None
    by_both = None if told else counts(2 * layers)
    by_direction = None if told else counts(2, by_layer)
    where: dict[tuple[int, int], list[str]] = {}
    for name in names:
        said = words(name)
        digits = [int(word) for word in said if word.isdigit()]
        index: dict[int | None, int] = {p: numbers[p].index(digit) for p, digit in enumerate(digits)}
        layer = 0 if layers == 1 else index.get(by_layer, -1)
        direction = int(bool(_REVERSE & set(said))) if told else index.get(by_direction, -1)
        if by_both is not None:
            layer, direction = divmod(index.get(by_both, -1), 2)
        if layer >= 0 and 0 <= direction < directions:
            where.setdefault((layer, direction), []).append(name)
    consumed = {by_layer, by_both, by_direction}
    return {place: _labels(group, consumed) for place, group in sorted(where.items())}


def families(
    labels: Mapping[str, Label], mode: str, numbered: Collection[str] = ()
) -> list[tuple[Label, dict[str, str]]]:
    """Names that differ in the word for the gate alone: what they share, and the name of each gate.

    `numbered` are the gates' letters where a number may stand for them.
    """
    found: dict[Label, dict[str, str]] = {}
    for name, label in labels.items():
        gates = [GATE_OF[mode].get(word) if len(word) > 1 else None for word in label]
        once = [word for k, word in enumerate(label) if not (k and gates[k] and gates[k] == gates[k - 1])]
        for k, word in enumerate(once):  # `cell_candidate` says one gate twice
            gate = GATE_OF[mode].get(word)
            if word.isdigit() and int(word) < len(numbered):
                gate = list(numbered)[int(word)]
            if gate:
                found.setdefault((*once[:k], "*", *once[k + 1 :]), {}).setdefault(gate, name)
    taken: set[str] = set()
    kept = []
    for shared, named in sorted(found.items(), key=lambda item: -len(item[1])):
        if len(named) > 1 and not taken & set(named.values()):
            taken |= set(named.values())
            kept.append((shared, named))
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


def _labels(names: list[str], consumed: Collection[int | None]) -> dict[str, Label]:
    """The words behind the modules that all names share, without numbers that said the layer or direction."""
    paths = [name.split(".")[:-1] for name in names]
    shared = 0
    while len(names) > 1 and all(len(path) > shared and path[shared] == paths[0][shared] for path in paths):
        shared += 1
    before = sum(word.isdigit() for word in words(".".join(paths[0][:shared])))
    labels = {}
    for name in names:
        label: list[str] = []
        position = before - 1
        for word in words(".".join(name.split(".")[shared:])):
            position += word.isdigit()
            if not (word.isdigit() and position in consumed) and word not in _NOISE | _REVERSE:
                label.append(word)
        labels[name] = tuple(label)
    return labels
