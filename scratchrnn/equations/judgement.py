"""Whether an answer to an exercise is right, as any algebra is that gives the same numbers, and if not, why."""

from __future__ import annotations

import ast
import difflib
import re
from typing import NamedTuple

from torch import Tensor

from .answers import read, value
from .exercises import Exercise
from .lines import Line, called
from .mistakes import close, explained
from .operations import OPERATIONS


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
        raise ValueError(f"asked for is {exercise.line.target}, got a line of {line[1]}")
    expression = read(answer[line.end() :] if line else answer, called(exercise.line.expression), exercise.linear)
    _expect_known(exercise, expression)
    true, found = value(exercise.line.expression, exercise.known), value(expression, exercise.known)
    if found.dim() and found.shape != true.shape:
        raise ValueError(f"it should be a vector as long as {exercise.line.target}, got one of shape {[*found.shape]}")
    if close(found, true):
        return Verdict(True)
    if not (found.isfinite() | ~true.isfinite()).all():
        return Verdict(
            False, "it is not finite: somewhere it divides by 0, or is the logarithm of what is not positive"
        )
    typed_first = {**{name: exercise.known[name] for name in Line("", expression).names}, **exercise.known}
    says = explained(exercise._replace(known=typed_first), found)  # of names that are equal, the one that was typed
    return Verdict(False, says or _counterexample(exercise, expression, true, found))


def _expect_known(exercise: Exercise, expression: ast.expr) -> None:
    """Raise for the first name that has no meaning here."""
    target = exercise.line.target
    for name in Line("", expression).names:
        if name in exercise.known:
            continue
        if name == target:
            others = [n for n in (f"{name}_next", f"{name}_pre", f"{name}_prev") if n in exercise.known]
            meant = f"; did you mean {others[0]}?" if others else ""
            raise ValueError(f"{name} is what this line computes{meant}")
        if any(name == later.target for later in exercise.after):
            raise ValueError(f"{name} is not known yet here: its line comes later")
        if name in OPERATIONS:
            raise ValueError(f"{name} is a function: write {name}(...)")
        near = difflib.get_close_matches(name, exercise.names, 1)
        meant = f"did you mean {near[0]}?" if near else f"known are {', '.join(exercise.names)}"
        raise ValueError(f"{name} is not known here: {meant}")


def _counterexample(exercise: Exercise, expression: ast.expr, true: Tensor, found: Tensor) -> str:
    """Both numbers for the unit for which they differ most, and what the names in the answer are there."""
    found = found.expand_as(true)
    unit = int((found - true).abs().argmax())
    known = {name: exercise.known[name] for name in Line("", expression).names}
    vectors = all(number.shape in (true.shape, ()) for number in known.values())
    numbers = [f"{n} = {float(number.expand_as(true)[unit]):.4f}" for n, number in known.items() if vectors]
    where = f"where {', '.join(numbers)}, " if numbers else ""
    return f"{where}yours gives {float(found[unit]):.4f}, and {exercise.line.target} is {float(true[unit]):.4f}"
