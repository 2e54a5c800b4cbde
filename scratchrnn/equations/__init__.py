"""A cell's lines as data: read from its own functions, differentiated, evaluated, counted, typeset and explained."""

from .equations import Equations
from .explain import explain
from .lines import Line, line
from .without import without

__all__ = ["Equations", "Line", "explain", "line", "without"]
