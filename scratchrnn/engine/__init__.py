"""One sequence through time, forward and back: everything linear, the loop over the steps, and which road it takes."""

from .columns import Weights
from .scan import scan

__all__ = ["Weights", "scan"]
