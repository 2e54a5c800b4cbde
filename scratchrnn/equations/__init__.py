"""A cell's lines as data: read from its own functions, differentiated, evaluated, counted, typeset and explained."""

from .derivation import derivation
from .explain import explain
from .lines import Line, line
from .source import adjoint_equations, equations

__all__ = ["Line", "adjoint_equations", "derivation", "equations", "explain", "line"]
