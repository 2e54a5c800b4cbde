"""The native engine: the scan in C, generated from the cell's lines, compiled on first use; whether it is wanted."""

from .build import Unavailable
from .choice import enable, enabled, flags, is_available, refused
from .takes import status

__all__ = ["Unavailable", "enable", "enabled", "flags", "is_available", "refused", "status"]
