"""What is wrong with a recurrent layer? A subject is a black box, held against torch.nn under a table of causes."""

from .judge import KINDS, diagnose
from .verdict import Cause, Diagnosis

__all__ = ["KINDS", "Cause", "Diagnosis", "diagnose"]
