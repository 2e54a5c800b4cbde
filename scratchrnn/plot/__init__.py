"""Pictures of traces, gradients, weights, cells and benchmarks, by matplotlib: the only room that has it.

Each function returns the figure. It draws into `ax`, an Axes of yours, or into a figure of its own; what has several
panels divides the axes, and the panels are then its `child_axes`. Nothing global changes: pyplot is not used. Colours
are for every eye, and lines differ in their style, too, for print without colour.
"""

try:
    import matplotlib  # noqa: F401 - what is missing is said before anything else
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("scratchrnn.plot needs matplotlib: pip install 'scratchrnn[plot]'") from error

from .diagram import diagram
from .gates import gates, gradient_norms, histograms, unit
from .svg import save_svg
from .unrolled import unrolled
from .weights import weights

__all__ = ["diagram", "gates", "gradient_norms", "histograms", "save_svg", "unit", "unrolled", "weights"]
