"""Records as one HTML file to click through."""

from .page import page, write

__all__ = ["page", "write"]
