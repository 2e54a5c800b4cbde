"""A cell's lines as data: read from its own functions, differentiated, evaluated, counted, typeset and explained."""

from .equations import Equations
from .exercises import Exercise, exercises
from .explain import explain
from .judgement import Verdict, judge
from .lines import Line, line
from .without import without

__all__ = ["Equations", "Exercise", "Line", "Verdict", "exercises", "explain", "judge", "line", "without"]
