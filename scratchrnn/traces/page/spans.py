"""Stretches of a text that a unit might follow: what stands in quotation marks, in brackets, at the end of a line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...layers.characters import are_characters

Stretch = tuple[int, int]
"""The first and the last token, both within."""
_PAIRS = (("“", "”"), ("«", "»"), ("(", ")"), ("[", "]"), ("{", "}"), ('"', '"'))
_END_OF_LINE = 10  # characters


def spans(tokens: Sequence[str], lengths: Iterable[int]) -> list[tuple[str, list[Stretch]]]:
    """The spans that occur in these tokens, by what they are called; of single characters, not of words.

    A stretch begins with the mark that opens it and ends before the one that closes it, in one sequence.

    Args:
        tokens: of all sequences, one behind the other.
        lengths: how many each has.
    """
    if not are_characters(tokens):
        return []
    sequences, first = [], 0
    for length in lengths:
        sequences.append((first, tokens[first : first + length]))
        first += length
    found: list[tuple[str, list[Stretch]]] = []
    for opening, closing in _PAIRS:
        stretches = [s for first, sequence in sequences for s in _between(opening, closing, sequence, first)]
        found.append((f"between {opening} and {closing}", stretches))
    lines = [s for first, sequence in sequences for s in _ends_of_lines(sequence, first)]
    if len(lines) > 2:
        found.append((f"the last {_END_OF_LINE} characters of a line", lines))
    return [(name, stretches) for name, stretches in found if stretches]


def _ends_of_lines(sequence: Sequence[str], first: int) -> list[Stretch]:
    found, start = [], 0
    for k, token in enumerate(sequence):
        if token == "\n":
            if start < k:
                found.append((first + max(start, k - _END_OF_LINE), first + k - 1))
            start = k + 1
    return found


def _between(opening: str, closing: str, sequence: Sequence[str], first: int) -> list[Stretch]:
    found, start = [], None
    for k, token in enumerate(sequence):
        if start is None:
            start = k if token == opening else None
        elif token == closing:
            found.append((first + start, first + k - 1))
            start = None
    if start is not None and closing != opening:  # to the end of what is read; a lone `"` may as well close
        found.append((first + start, first + len(sequence) - 1))
    return found
