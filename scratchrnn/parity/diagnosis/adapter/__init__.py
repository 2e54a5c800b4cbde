"""Anybody's layer as a black box: how it is made and called, and how its parameters are read."""

from .guessing import guess
from .instance import Instance
from .reading import Piece, Reading
from .subject import Subject
from .tensors import NotTaken, Unjudged, short

__all__ = ["Instance", "NotTaken", "Piece", "Reading", "Subject", "Unjudged", "guess", "short"]
