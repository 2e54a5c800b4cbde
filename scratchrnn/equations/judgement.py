"""Whether an answer to an exercise is right, as any algebra is that gives the same numbers, and if not, why."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from .answers import read, value
from .exercises import Exercise
from .lines import Line, called
from .mistakes import close, explained
from .operations import OPERATIONS
from .replies import REPLIES


class Verdict(NamedTuple):
    """Whether an answer is right; true and false are its truth value, too."""

    right: bool
    reason: str = ""
    """Why it is not."""

    def __bool__(self) -> bool:
        return self.right


def judge(exercise: Exercise, answer: str) -> Verdict:
    """Whether `answer`, a right side as a person types it, or the whole line, gives what the exercise's line gives.

    Raises:
        ValueError: it cannot be read, has a name that is not known here, or shapes in it do not fit.
    """
    line = re.match(r"\s*(\w+)\s*=(?!=)", answer)
    if line and line[1] != exercise.line.target:
        raise ValueError(REPLIES["another line"].format(exercise.line.target, line[1]))
    expression = read(answer[line.end() :] if line else answer, called(exercise.line.expression), exercise.linear)
    for name in Line("", expression).names:
        if name not in exercise.known:
            raise ValueError(unknown(exercise, name))
    true, found = value(exercise.line.expression, exercise.known), value(expression, exercise.known)
    if found.dim() and found.shape != true.shape:
        kind = "a vector as long as" if true.shape[1] == 1 else f"a matrix of shape {[*true.shape]}, as"
        raise ValueError(f"it should be {kind} {exercise.line.target}, got one of shape {[*found.shape]}")
    if close(found, true):
        return Verdict(True)
    if not (found.isfinite() | ~true.isfinite()).all():
        return Verdict(False, REPLIES["not finite"])
    typed_first = {**{name: exercise.known[name] for name in Line("", expression).names}, **exercise.known}
    says = explained(exercise._replace(known=typed_first), found)  # of names that are equal, the one that was typed
    return Verdict(False, says or _counterexample(exercise, expression, true, found))


def unknown(exercise: Exercise, name: str) -> str:
    """What there is to say to an answer with a name that has no meaning here."""
    if name == exercise.line.target:
        others = [n for n in (f"{name}_next", f"{name}_pre", f"{name}_prev") if n in exercise.known]
        return f"{name} is what this line computes{'; ' if others else ''}{_meant(others)}"
    if any(name == later.target for later in exercise.after):
        return f"{name} is not known yet here: its line comes later"
    if name in OPERATIONS:
        return REPLIES["a function"].format(name, name)

    def nearness(known: str) -> tuple[float, bool]:  # of names that are as near, one of the line
        return difflib.SequenceMatcher(None, known, name).ratio(), known in exercise.line.names

    near = sorted(difflib.get_close_matches(name, exercise.names, len(exercise.names)), key=nearness, reverse=True)
    return REPLIES["unknown"].format(name, _meant(near) or REPLIES["all known"].format(", ".join(exercise.names)))


def _meant(names: Sequence[str]) -> str:
    return REPLIES["meant"].format(names[0]) if names else ""


def _counterexample(exercise: Exercise, expression: ast.expr, true: Tensor, found: Tensor) -> str:
    """Both numbers for the unit for which they differ most, and what the names in the answer are there."""
    true, found = true.flatten(), found.expand_as(true).flatten()
    unit = int((found - true).abs().argmax())
    known = {name: exercise.known[name] for name in Line("", expression).names}
    vectors = all(number.numel() in (1, true.numel()) for number in known.values())
    numbers = [f"{n} = {float(number.flatten().expand_as(true)[unit]):.4f}" for n, number in known.items() if vectors]
    where = REPLIES["where"].format(", ".join(numbers)) if numbers else ""
    yours, its = (f"{float(number[unit]):.4f}" for number in (found, true))
    return where + REPLIES["gives"].format(yours, exercise.line.target, its)
