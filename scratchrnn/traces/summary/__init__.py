"""What a trace says in a few numbers: a report of all its layers, and each measure by itself."""

from .layer_report import Gate, GradientNorms, LayerReport, Span
from .measures import (
    Saturation,
    carried,
    contributions,
    dead,
    gate_shares,
    gradient_norms,
    roads,
    saturable,
    saturation,
    span,
    spectral_radius,
    stuck,
    time_constants,
)
from .report import TraceReport, report

__all__ = [
    "Gate",
    "GradientNorms",
    "LayerReport",
    "Saturation",
    "Span",
    "TraceReport",
    "carried",
    "contributions",
    "dead",
    "gate_shares",
    "gradient_norms",
    "report",
    "roads",
    "saturable",
    "saturation",
    "span",
    "spectral_radius",
    "stuck",
    "time_constants",
]
