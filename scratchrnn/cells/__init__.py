"""What a recurrent cell is, and the gate math of each: a cell is only its equations.

A `Cell` holds `update`, from the pre-activations and the previous state to the next state, and `adjoint`, its
derivative written by hand. The products with weight matrices are the engine's, which computes them for all steps, and
`layers.one_step` writes them out for one.
"""

from .cell import Cell, State
from .elman import elman, elman_adjoint, elman_relu, elman_relu_adjoint, elman_relu_update, elman_update
from .gru import gru, gru_adjoint, gru_update
from .lstm import lstm, lstm_adjoint, lstm_update
from .registry import find_cell
from .twins import BUILT_IN, TWINS, find_twin

__all__ = [
    "BUILT_IN",
    "TWINS",
    "Cell",
    "State",
    "elman",
    "elman_adjoint",
    "elman_relu",
    "elman_relu_adjoint",
    "elman_relu_update",
    "elman_update",
    "find_cell",
    "find_twin",
    "gru",
    "gru_adjoint",
    "gru_update",
    "lstm",
    "lstm_adjoint",
    "lstm_update",
]
