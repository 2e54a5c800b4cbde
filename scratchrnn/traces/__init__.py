"""What happened inside a layer: every gate and state at every step, kept, summed up, and shown as a page."""

from .record import ModelTrace, Record, Trace, load_trace
from .trace import trace

__all__ = ["ModelTrace", "Record", "Trace", "load_trace", "trace"]
