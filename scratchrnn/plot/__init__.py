"""Pictures of traces, gradients, weights, cells and benchmarks, by matplotlib: the only room that has it.

Each function returns the figure. It draws into `ax`, an Axes of yours, or into a figure of its own; what has several
panels divides the axes, and the panels are then its `child_axes`. Nothing global changes: pyplot is not used. A
gate or state has one colour in every picture and on the page, and so has the sign of a number: 0 is pale, what is above
it blue, below orange. Lines of layers and models differ in their style, too, for print without colour.
"""

try:
    import matplotlib  # noqa: F401 - what is missing is said before anything else
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("scratchrnn.plot needs matplotlib: pip install 'scratchrnn[plot]'") from error

from .diagram import diagram
from .gates import gates, histograms, unit
from .gradients import gate_shares, gradient_norms
from .remembering import carried, time_constants
from .svg import save_svg
from .unrolled import unrolled
from .weights import weights

__all__ = [
    "carried",
    "diagram",
    "gate_shares",
    "gates",
    "gradient_norms",
    "histograms",
    "save_svg",
    "time_constants",
    "unit",
    "unrolled",
    "weights",
]
