"""The `scratchrnn` command: it reads arguments and shows results; what is done stands in the rooms below."""

from .main import main

__all__ = ["main"]
