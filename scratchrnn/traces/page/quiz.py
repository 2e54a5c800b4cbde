"""What a page has to know to ask for a cell's lines: the questions, their hints, and the mistakes with what they say.

`quiz.js` evaluates what the reader types, and the mistakes, beside the lines that `script.py` writes as JavaScript.
"""

from __future__ import annotations

import ast
from typing import Any

from ...cells.cell import Cell
from ...equations.answers import ALSO, LONGEST, SPELLINGS
from ...equations.equations import Equations
from ...equations.exercises import Exercise, exercises
from ...equations.judgement import unknown
from ...equations.mistakes import mistakes
from ...equations.replies import REPLIES
from .script import FUNCTIONS, parameters, update


def answers() -> dict[str, Any]:
    """How an answer is read, and what is said to it, of whatever cell."""
    return {
        "replies": REPLIES,
        "longest": LONGEST,
        "spellings": SPELLINGS,
        "also": ALSO,
        "parameters": {name: parameters(name) for name in FUNCTIONS},
    }


def quiz(cell: Cell) -> dict[str, Any] | None:
    """The lines of `update` as questions, and steps for which an answer is evaluated; None as for `script.update`.

    Of the linear part, in which a unit is not alone, nothing is asked on a page.
    """
    if update(cell) is None:
        return None
    of, asked = Equations(cell), [each for each in exercises(cell).values() if not each.linear]
    given = [*of.pre_activations, *(f"{state}_prev" for state in cell.states)]
    drawn = {name: [round(x, 6) for x in asked[0].known[name].flatten().tolist()] for name in given}
    return {"given": drawn, "numbers": of.numbers, "lines": [_question(each) for each in asked]}


def _question(exercise: Exercise) -> dict[str, Any]:
    later = [exercise.line.target, *(each.target for each in exercise.after)]
    return {
        "target": exercise.line.target,
        "text": exercise.line.text,
        "known": exercise.names,
        "unknown": {name: unknown(exercise, name) for name in later},
        "hints": exercise.hints,
        "mistakes": [[ast.unparse(each.expression), each.says] for each in mistakes(exercise)],
    }
