"""Anybody's layer as a black box: how it is made and called, and how its parameters are read."""

from .guessing import guess
from .making import NotTaken, Unjudged, short
from .reading import Piece, Reading
from .subject import Instance, Subject

__all__ = ["Instance", "NotTaken", "Piece", "Reading", "Subject", "Unjudged", "guess", "short"]
