"""Is it the same? Any module beside torch.nn's: outputs, states and every gradient, held to one tolerance rule."""

from .compare import Difference, Report, compare
from .diagnosis import Cause, Diagnosis, diagnose

__all__ = ["Cause", "Diagnosis", "Difference", "Report", "compare", "diagnose"]
