"""What a page has to know to ask for a cell's lines: the questions, their hints, and the mistakes with what they say.

`quiz.js` evaluates what the reader types, and the mistakes, beside the lines that `script.py` writes as JavaScript.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from ...cells.cell import Cell
from ...equations.answers import ALSO, LARGEST_EXPONENT, LONGEST, SPELLINGS
from ...equations.equations import Equations
from ...equations.exercises import Exercise, exercises
from ...equations.judgement import unknown
from ...equations.mistakes import Mistake, mistakes
from ...equations.replies import REPLIES
from .script import FUNCTIONS, parameters, update

_ROOM = 200_000  # characters, for the mistakes in all lines of a cell: twice what an sLSTM needs


def answers() -> dict[str, Any]:
    """How an answer is read, and what is said to it, of whatever cell."""
    return {
        "replies": REPLIES,
        "longest": LONGEST,
        "exponent": LARGEST_EXPONENT,
        "spellings": SPELLINGS,
        "also": ALSO,
        "parameters": {name: parameters(name) for name in FUNCTIONS},
    }


def quiz(cell: Cell) -> dict[str, Any] | None:
    """The lines of `update` as questions, and steps for which an answer is evaluated; None as for `script.update`.

    Of the linear part, in which a unit is not alone, nothing is asked on a page. Of a cell of very many lines each has
    its first mistakes alone; to an answer with another one the page says that it is wrong, and by how much.
    """
    if update(cell) is None:
        return None
    of, asked = Equations(cell), [each for each in exercises(cell).values() if not each.linear]
    given = [*of.pre_activations, *(f"{state}_prev" for state in cell.states)]
    drawn = {name: [round(x, 6) for x in asked[0].known[name].flatten().tolist()] for name in given}
    return {"given": drawn, "numbers": of.numbers, "lines": [_question(each, _ROOM // len(asked)) for each in asked]}


def _question(exercise: Exercise, room: int) -> dict[str, Any]:
    later = [exercise.line.target, *(each.target for each in exercise.after)]
    return {
        "target": exercise.line.target,
        "text": exercise.line.text,
        "known": exercise.names,
        "unknown": {name: unknown(exercise, name) for name in later},
        "hints": exercise.hints,
        "mistakes": _first(mistakes(exercise), room),
    }


def _first(found: Iterable[Mistake], room: int) -> list[list[str]]:
    """Those that the room suffices for, as code and what there is to say of it."""
    told: list[list[str]] = []
    for each in found:
        code = ast.unparse(each.expression)
        room -= len(code) + len(each.says)
        if room < 0:
            break
        told.append([code, each.says])
    return told
