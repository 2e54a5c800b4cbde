"""Guesses what a subject wants to be: which twin, and whether it takes one step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ....cells.twins import BUILT_IN, TWINS, Twin
from ..configuration import Configuration
from . import naming
from .calling import is_given_weights
from .making import is_ready, maker_of, sizes_said
from .tensors import RAISES, Unjudged, apart, copied, leaves, name_of, refuse_lazy


def guess(subject: Any) -> tuple[Twin, bool] | None:
    """What a subject wants to be, and whether it takes one step: by its name, else by its parameters.

    Raises:
        Unjudged: its name does not tell, and its parameters are lazy.
    """
    named = {twin.cell.name: twin for twin in TWINS}
    kinds = subject.__mro__ if isinstance(subject, type) else type(subject).__mro__ if is_ready(subject) else ()
    names = [name_of(subject), *(kind.__name__ for kind in kinds if kind not in (nn.Module, object))]
    words = " ".join(names).lower()
    made = _made(subject)
    mode = getattr(made, "mode", None)
    found: Twin | None
    if isinstance(mode, str) and mode in BUILT_IN:
        found = named[mode]
    elif "lstm" in words or "gru" in words:
        found = named["LSTM" if "lstm" in words else "GRU"]
    else:
        found = _by_parameters(subject, made)
        if found is None and ("rnn" in words or "elman" in words):
            found = named["RNN_TANH"]
    if found is None:
        return None
    if found.cell.name == "RNN_TANH" and ("relu" in words or getattr(made, "nonlinearity", None) == "relu"):
        found = named["RNN_RELU"]
    step = any(name.lower().endswith(("cell", "step")) for name in names)  # a layer of any other cell steps it, too
    return found, step


def _made(subject: Any) -> Any:
    if is_ready(subject) or is_given_weights(subject, 2):
        return subject if is_ready(subject) else None
    for twin in TWINS[2:]:
        try:
            with apart(torch.float64):
                return maker_of(subject).make(Configuration(twin, input_size=4))
        except RAISES:
            continue
    return None


def _by_parameters(subject: Any, made: Any) -> Twin | None:
    """The twin whose parameters these are, with the fewest left over; None if several have as few."""
    if made is None:
        return None
    refuse_lazy(made)
    try:
        with apart(torch.float64):
            parameters, linear = leaves(copied(made), torch.float64)
        sized = not is_ready(subject) and "sizes" in maker_of(subject).names
    except Unjudged:
        return None
    left = []
    for twin in (twin for twin in TWINS if twin.cell.name != "RNN_RELU"):
        base = Configuration(twin, input_size=4)
        said = {option: value for option, value in sizes_said(made).items() if option in ("input_size", "hidden_size")}
        held = naming.layout(parameters, replace(base, **said), linear)
        if held is None and not sized:
            held = naming.sizes(parameters, base, linear)
        if held is not None:
            unexplained = naming.readings(parameters, held, linear)[0].unexplained
            if 4 * sum(parameters[name].numel() for name in unexplained) < sum(p.numel() for p in parameters.values()):
                left.append((len(unexplained), twin))
    least = min((n for n, _ in left), default=0)
    fit = [twin for n, twin in left if n == least]
    return fit[0] if len(fit) == 1 else None
