"""The table of causes, a row each. A new cause is a new row.

The order is that of precedence: of two rows that say the same of everything that was tried, the first is told.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import NamedTuple

from . import equations, gradients, parameters, sequence
from .variant import Facts, Variant, Variants


class Row(NamedTuple):
    """A cause: how it is called, in which ways it can be there, and how it is mended."""

    slug: str
    variants: Callable[[Facts], Variants]
    says: str
    """One line for the guide."""
    fix: str
    over: tuple[str, ...] = ()
    """Causes of which this is the more specific: where both fit, they are not told."""


def _both(*of: Callable[[Facts], Variants]) -> Callable[[Facts], Variants]:
    return lambda facts: chain.from_iterable(each(facts) for each in of)


OUTPUTS = (
    Row(
        "reset-before-product",
        equations.reset_before_product,
        "the GRU of the paper's third version, with the reset gate before the product with W_hn",
        "write n = tanh(W_in x + b_in + r * (W_hn h + b_hn)); no reordering of weights turns one GRU into the other",
    ),
    Row(
        "update-flipped",
        equations.update_flipped,
        "z and 1 - z exchanged in a GRU's last line",
        "write h = (1 - z) * n + z * h_prev, or negate the rows of z in both weights and biases when you load",
    ),
    Row(
        "candidate-bias",
        equations.candidate_bias,
        "a GRU's b_hn outside of the reset gate, or no b_hn at all",
        "keep b_hn by itself, inside the bracket: n = tanh(W_in x + b_in + r * (W_hn h + b_hn))",
        over=("bias-missing", "bias-shared", "bias-doubled"),
    ),
    Row(
        "output-activation",
        equations.output_activation,
        "an LSTM's output is not o * tanh(c)",
        "write h = o * tanh(c)",
    ),
    Row(
        "activation",
        equations.activation,
        "a gate has another nonlinearity",
        "use sigmoid for the gates and tanh for the candidate, as torch.nn does",
    ),
    Row(
        "forget-bias",
        equations.forget_bias,
        "a constant is added to the forget gate at run time",
        "add the constant to the rows of f in bias_ih once, when the layer is made, and not in every call",
    ),
    Row(
        "operator",
        equations.operator,
        "one +, - or * is another",
        "write the line as it stands in torch.nn's documentation",
    ),
    Row(
        "peephole",
        equations.peephole,
        "the gates see the cell state, too",
        "set the peephole weights to 0 to compare with nn.LSTM, which has none",
    ),
    Row(
        "gate-order",
        parameters.gate_order,
        "the rows of the gates are stacked in another order",
        "stack the gates in torch.nn's order, or reorder the rows when you load",
    ),
    Row(
        "split-axis",
        sequence.split_axis,
        "the gates are cut along the batch and not along the features",
        "cut the last dimension: gates.chunk(4, dim=-1)",
    ),
    Row(
        "weights-swapped",
        parameters.weights_swapped,
        "W_ih and W_hh, or their biases, are exchanged",
        "multiply x by weight_ih and h by weight_hh",
    ),
    Row(
        "weights-transposed",
        parameters.weights_transposed,
        "a matrix is not transposed, or reshaped where it has to be transposed",
        "multiply x @ weight.T: torch.nn keeps [outputs, inputs]",
    ),
    Row(
        "bias-missing",
        parameters.bias_missing,
        "a bias is never added",
        "add b_ih and b_hh, both",
    ),
    Row(
        "bias-doubled",
        parameters.bias_doubled,
        "a bias is added twice",
        "add b_ih and b_hh once each",
        over=("bias-shared",),
    ),
    Row(
        "bias-shared",
        parameters.bias_shared,
        "a bias is used in the place of another, too",
        "give every gate its own rows of the bias, and x and h their own bias",
    ),
    Row(
        "projection",
        _both(sequence.projection, parameters.projection_transposed),
        "W_hr is not applied, or not as torch.nn does",
        "emit and feed back W_hr h, with no bias and no function of it",
    ),
    Row(
        "directions-share-weights",
        parameters.directions_share_weights,
        "both directions run with the same weights",
        "use the parameters that end in _reverse for the reverse direction",
    ),
    Row(
        "reverse-not-flipped",
        sequence.reverse_not_flipped,
        "the reverse direction runs forward, or its output is not turned back",
        "flip x in time, run, and flip the output in time",
    ),
    Row(
        "direction-order",
        sequence.direction_order,
        "the halves of the output, or of h_n, are exchanged",
        "concatenate [forward, reverse], and stack h_n so in each layer",
    ),
    Row(
        "layer-order",
        _both(parameters.layer_order, sequence.layers_fed, sequence.states_order),
        "the layers, or their parts of h_0 and h_n, are taken in another order",
        "run layer 0 first, and index h_0 and h_n by layer * directions + direction",
        over=("last-state", "direction-order"),
    ),
    Row(
        "initial-state-ignored",
        sequence.initial_state_ignored,
        "h_0 or c_0 is not used",
        "start each layer and direction from its own part of the state that is given",
    ),
    Row(
        "state-order",
        sequence.state_order,
        "(c, h) for (h, c)",
        "take and return (h, c), in this order",
    ),
    Row(
        "last-state",
        sequence.last_state,
        "h_n or c_n is of another step, layer or direction",
        "return each layer's and direction's state after the last step that it took",
        over=("packed-last-state",),
    ),
    Row(
        "packed-last-state",
        sequence.packed_last_state,
        "the last states of shorter rows are taken where the longest ends",
        "return each row's state at its own length",
        over=("packed-padding",),
    ),
    Row(
        "packed-padding",
        sequence.packed_padding,
        "the padding is computed with, or shown",
        "let a row that has ended keep its state and show zeros; begin the reverse direction at its last step",
    ),
    Row(
        "batch-first",
        sequence.batch_first,
        "the batch and time dimensions are exchanged",
        "transpose x and the output if batch_first is set, and never the states",
    ),
    Row(
        "time-shift",
        sequence.time_shift,
        "a step reads or gives what belongs to another step",
        "output[t] is h after x[t]",
    ),
    Row(
        "dropout",
        sequence.dropout,
        "something is dropped in eval(), after the last layer, or nothing at all",
        "drop the output of each layer but the last, and in training only",
    ),
)

GRADIENTS = (
    Row(
        "gradient-initial-state",
        gradients.initial_state,
        "the first state has no gradient",
        "do not detach the state that is given; return dh_0 and dc_0 from your backward",
    ),
    Row(
        "gradient-detached",
        gradients.detached,
        "the gradient does not reach the step before",
        "carry h and c on without detach(), .data, .item() or no_grad(), and add what comes from the step after",
    ),
    Row(
        "gradient-truncated",
        gradients.truncated,
        "the gradient is carried back through some steps only",
        "detach between batches if you must, not within a sequence",
    ),
    Row(
        "gradient-overwritten",
        gradients.overwritten,
        "a gradient is assigned where it has to be added",
        "sum over all steps: dW += ...",
    ),
    Row(
        "gradient-bias",
        gradients.bias,
        "a bias has the gradient of something else",
        "db is the sum of that gate's pre-activation gradient over steps and batch",
    ),
    Row(
        "gradient-gate",
        gradients.gate,
        "one gate's derivative is wrong",
        "sigmoid' = s * (1 - s) and tanh' = 1 - t * t, of the gate's value",
    ),
)

OTHERS = {
    "precision": (
        "something is computed in a narrower dtype",
        "compute in the dtype of the input: no .float(), no half(), no numpy float32 on the way",
    ),
    "not-deterministic": (
        "two calls with the same input differ",
        "draw nothing in eval(); what is random belongs into training and dropout",
    ),
    "state-kept": (
        "a call remembers the one before",
        "start from zeros when no state is given: keep no state on the module",
    ),
}
"""Causes that are no change of the reference: what they say, and the fix."""


def variants(row: Row, facts: Facts) -> list[Variant]:
    """A row's, with the row's fix where it has none of its own."""
    return [v if v.fix else v._replace(fix=row.fix) for v in row.variants(facts)]
