"""How fast? Cases, the ways to run them, and what was measured."""

from .cases import Case, load_suite, suites
from .implementations import IMPLEMENTATIONS
from .measure import measure
from .results import Change, Result

__all__ = ["IMPLEMENTATIONS", "Case", "Change", "Result", "load_suite", "measure", "suites"]
