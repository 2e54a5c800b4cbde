"""What happened inside a layer: every gate and state at every step, kept, summed up, and shown as a page."""

from .record import Record
from .trace import trace
from .traced import ModelTrace, Trace, load_trace

__all__ = ["ModelTrace", "Record", "Trace", "load_trace", "trace"]
