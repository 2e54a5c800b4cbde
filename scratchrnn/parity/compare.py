"""Compare a recurrent module with torch.nn's: outputs, last states and every gradient, against a float64 reference.

The tolerance rule stands here once. An error is the largest deviation from torch.nn in float64, relative to the
largest entry of the tensor, and

    err(ours) <= 2 * err(torch.nn in the same dtype) + 4 * eps

with eps of that dtype: ours may round differently, not worse. In float64 torch.nn is itself the reference, so its own
error cannot be measured; there eps * sqrt(n) stands for it, n the number of terms in the longest sum (time steps times
batch, for a weight's gradient): rounding errors of sums grow so, Higham & Mary 2019, doi:10.1137/18M1226312.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ..cells.cell import Cell
from ..cells.twins import BUILT_IN
from ..layers.one_step import RNNCellBase
from ..layers.recurrent import RecurrentLayer


def tolerance(torch_error: float, dtype: torch.dtype) -> float:
    """The largest error that passes."""
    return 2 * torch_error + 4 * torch.finfo(dtype).eps


@dataclass(frozen=True)
class Difference:
    """How one tensor of ours compares: errors are relative to the tensor's largest entry."""

    name: str
    """`output`, `h_n`, `c_n`, or `d` and the name of what the gradient is of: `dinput`, `dh_0`, `dweight_hh_l0`."""
    error: float
    torch_error: float
    bound: float
    index: tuple[int, ...]
    """Where ours deviates most, with the three values there."""
    ours: float
    theirs: float
    reference: float
    note: str = ""
    """What is known beside the numbers: the gates in which it differs, or another shape or dtype."""
    numbers: int = 1
    finite: int = 1
    """How many numbers the reference has, and how many of them are neither NaN nor infinite: those show something."""

    @property
    def agrees(self) -> bool:
        return self.error <= self.bound and self.meaningful

    @property
    def meaningful(self) -> bool:
        """Whether torch.nn itself is near float64: a bound that lets anything pass shows nothing."""
        return self.bound < 0.5

    @property
    def share(self) -> float:
        """The error as a share of its bound; infinite where there is no verdict."""
        return self.error / self.bound if self.bound and self.meaningful else float("inf")

    def __str__(self) -> str:
        line = f"{self.name:<24} err {self.error:.1e}, torch.nn's {self.torch_error:.1e}, bound {self.bound:.1e}"
        if self.agrees:
            return f"ok      {line}"
        at = f" at {list(self.index)}: ours {self.ours:.7g}, torch.nn {self.theirs:.7g}, float64 {self.reference:.7g}"
        at = at if self.bound else ""  # of another shape or dtype no numbers are compared
        note = self.note if self.meaningful else "torch.nn itself is too far from float64 for a verdict"
        return f"DIFFERS {line}{at}{'; ' if note else ''}{note}"


@dataclass(frozen=True)
class Report:
    """All tensors of one comparison. It is true when all agree; `print(report)` shows a line for each.

    Where the reference has no finite number, as for a network of NaNs, there is nothing to compare, and it is false.
    """

    differences: tuple[Difference, ...]

    def __bool__(self) -> bool:
        return self.finite > 0 and not self.failed

    @property
    def numbers(self) -> int:
        """How many numbers were compared."""
        return sum(d.numbers for d in self.differences)

    @property
    def finite(self) -> int:
        """How many of them are neither NaN nor infinite in the reference."""
        return sum(d.finite for d in self.differences)

    @property
    def verdict(self) -> str:
        """Whether all agree, how many tensors differ, or that there was nothing to compare."""
        if self.failed:
            said = f"{len(self.failed)} of {len(self.differences)} differ"
        elif self.finite:
            said = "all agree"
        else:
            return f"nothing to compare: none of the {self.numbers} numbers of the reference is finite"
        partly = f", in the {self.finite} of {self.numbers} numbers that are finite in the reference"
        return said + (partly if self.finite < self.numbers else "")

    @property
    def failed(self) -> tuple[Difference, ...]:
        """Those that differ by more than the rule allows."""
        return tuple(d for d in self.differences if not d.agrees)

    @property
    def worst(self) -> Difference:
        """The one that comes nearest to its bound, or goes farthest beyond it."""
        return max(self.differences, key=lambda d: d.share)

    def __str__(self) -> str:
        more = ["scratchrnn.diagnose(your_class) says what is wrong with a layer of your own"] if self.failed else []
        return "\n".join([*map(str, self.differences), self.verdict, *more])

    def to_dict(self) -> dict[str, Any]:
        """For JSON: `agrees`, `verdict`, and for each tensor the fields of `Difference`, as `for_json` gives them."""
        tensors = [for_json(asdict(d)) | {"agrees": d.agrees} for d in self.differences]
        return {"agrees": bool(self), "verdict": self.verdict, "tensors": tensors}


def for_json(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, with None for each number that JSON has no word for; `not_finite` says where: `{"ours": "nan"}`."""
    lost: dict[str, str] = {}

    def known(value: Any, place: str) -> Any:
        if isinstance(value, list):
            return [known(each, f"{place}[{k}]") for k, each in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            lost[place] = str(value)
            return None
        return value

    return {name: known(value, name) for name, value in fields.items()} | {"not_finite": lost}


def compare(
    ours: nn.Module,
    theirs: nn.Module,
    input: Tensor | PackedSequence,
    state: Any = None,
    *,
    parameters: bool = True,
    names: Mapping[str, str | Sequence[str]] | None = None,
) -> Report:
    """Compare `ours` with `theirs`, torch.nn's, from the same weights, on `input`.

    Both run forward, and backward from random gradients of every output and every last state. A third run, `theirs` in
    float64, is what both are measured against.

    Args:
        ours: a layer, cell or model: anything called as `theirs` is.
        theirs: torch.nn's, or a model made of it.
        input: what both take, floating point in the modules' dtype, or integers for a model that takes those.
        state: the states before the first step, as both take them, or None.
        parameters: compare the gradients of the parameters too, matched by name. False for a module of your own whose
            parameters are laid out in another way.
        names: which of ours a parameter of `theirs` is called in `ours`, where that differs: `{"weight_ih_l0": "W"}`;
            several are stacked, as a matrix for each gate, `{"weight_ih_l0": ("W_i", "W_f", "W_g", "W_o")}`.

    `scratchrnn.diagnose` finds such names, and says what is wrong where the two differ.

    Raises:
        ValueError: the two have parameters of different names, shapes or values; or `names` has one that is not there;
            or dropout is active, so that no two runs can agree; or they do not return the same number of tensors, or
            none; or they are complex.
        TypeError: one of the two is no module.
    """
    for name, module in (("ours", ours), ("theirs", theirs)):
        if not isinstance(module, nn.Module):
            raise TypeError(f"{name} should be a module, got: {type(module).__name__}")
        if any(p.is_complex() for p in module.parameters()):
            raise ValueError(f"{name} is complex: compare takes real modules")
        _refuse_dropout(module)
    if names and not parameters:
        raise ValueError(f"names goes with parameters=True, which compares them, got names={dict(names)}")
    mine = _named(ours, theirs, names or {})
    if parameters:
        _check_parameters(mine, dict(theirs.named_parameters()))
    reference = copy.deepcopy(theirs).double()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        of_theirs = [{n: [p] for n, p in m.named_parameters()} if parameters else {} for m in (reference, theirs)]
        exact = _evaluate(reference, _cast(input, torch.float64), _cast(state, torch.float64), of_theirs[0])
        their_run = _evaluate(theirs, input, state, of_theirs[1])
        our_run = _evaluate(ours, input, state, mine if parameters else {})
    if not exact.outputs:
        raise ValueError("theirs should return tensors, alone or in tuples, dicts or dataclasses, got none")
    if our_run.outputs.keys() != exact.outputs.keys():
        raise ValueError(
            f"ours should return {len(exact.outputs)} tensors ({', '.join(exact.outputs)}), as theirs does, "
            f"got {len(our_run.outputs)} ({', '.join(our_run.outputs)})"
        )
    gates = dict(_gates_of_parameters(ours)) if parameters else {}
    unmeasured = torch.finfo(torch.float64).eps * _longest_sum(theirs, input) ** 0.5
    return Report(
        tuple(
            _difference(name, our_run.get(name), their_run.get(name), exact.get(name), unmeasured, gates.get(name, ()))
            for name in [*exact.outputs, *exact.gradients]
        )
    )


# ---------------------------------------------------------------------------------------------- both runs


@dataclass(frozen=True)
class _Run:
    outputs: dict[str, Tensor]
    gradients: dict[str, Tensor]

    def get(self, name: str) -> Tensor:
        return self.outputs[name] if name in self.outputs else self.gradients[name]


Parameters = dict[str, list[nn.Parameter]]
"""By torch.nn's names, each as what stands for it, to be stacked: one parameter, or one for each gate."""


def _evaluate(module: nn.Module, input: Any, state: Any, parameters: Parameters) -> _Run:
    """Outputs, and the gradients from random upstream gradients, the same ones in each call."""
    leaves: dict[str, Tensor] = {}
    cell = getattr(module, "cell", None)
    names = cell.states if isinstance(cell, Cell) else ("h", "c")

    def leaf(name: str, x: Any) -> Any:
        if isinstance(x, PackedSequence):
            return x._replace(data=leaf(name, x.data))
        if isinstance(x, (tuple, list)):
            return tuple(leaf(f"{names[k] if k < len(names) else k}_0", s) for k, s in enumerate(x))
        if x is None or not x.is_floating_point():
            return x
        leaves[name] = x.detach().clone().requires_grad_()
        return leaves[name]

    torch.manual_seed(0)  # what a module draws for itself is the same in each run, too
    entered = leaf("input", input), leaf(f"{names[0]}_0", state)
    returned = module(*entered) if state is not None else module(entered[0])
    outputs = _named_outputs(module, returned, names)
    wanted: dict[str, list[Tensor]] = {name: [x] for name, x in leaves.items()}
    wanted |= {name: [*parts] for name, parts in parameters.items() if all(p.requires_grad for p in parts)}
    if not wanted:
        return _Run({name: y.detach() for name, y in outputs.items()}, {})
    torch.manual_seed(0)
    upstream = [torch.randn(y.shape, dtype=torch.float64, device=y.device).to(y.dtype) for y in outputs.values()]
    flat = [x for parts in wanted.values() for x in parts]
    found = iter(torch.autograd.grad([*outputs.values()], flat, upstream, allow_unused=True, materialize_grads=True))
    gradients = {f"d{name}": _stacked([next(found) for _ in parts]) for name, parts in wanted.items()}
    return _Run({name: y.detach() for name, y in outputs.items()}, gradients)


def _named_outputs(module: nn.Module, returned: Any, states: tuple[str, ...]) -> dict[str, Tensor]:
    """What a layer returns as output, h_n, c_n; a cell as h, c; a model as output."""
    is_cell = isinstance(module, (nn.RNNCellBase, RNNCellBase))
    flat = list(_tensors(returned))
    names = [*states] if is_cell else ["output", *(f"{name}_n" for name in states)]
    names += [f"output_{k}" for k in range(len(names), len(flat))]
    return dict(zip(names, flat, strict=False))


def _tensors(x: Any) -> Iterable[Tensor]:
    if isinstance(x, PackedSequence):
        yield x.data
    elif isinstance(x, Tensor):
        yield x
    else:
        x = vars(x) if is_dataclass(x) else x
        for part in x.values() if isinstance(x, Mapping) else x if isinstance(x, (tuple, list)) else ():
            yield from _tensors(part)


def _cast(x: Any, dtype: torch.dtype) -> Any:
    if isinstance(x, PackedSequence):
        return x._replace(data=_cast(x.data, dtype))
    if isinstance(x, (tuple, list)):
        return tuple(_cast(part, dtype) for part in x)
    return x.to(dtype) if x is not None and x.is_floating_point() else x


# ------------------------------------------------------------------------------------------- what differs


def _difference(
    name: str, ours: Tensor, theirs: Tensor, exact: Tensor, unmeasured: float, gates: tuple[str, ...]
) -> Difference:
    counts = exact.numel(), int(exact.isfinite().sum())
    if ours.shape != exact.shape or ours.dtype != theirs.dtype:
        note = f"{ours.dtype} {list(ours.shape)}, expected {theirs.dtype} {list(theirs.shape)}"
        nan = float("nan")
        return Difference(name, float("inf"), 0.0, 0.0, (), nan, nan, nan, note, *counts)
    if not exact.numel():
        return Difference(name, 0.0, 0.0, tolerance(0.0, theirs.dtype), (), 0.0, 0.0, 0.0, "", *counts)
    # Below `floor` the dtype has fewer digits than eps says, and numbers may be flushed to zero.
    floor = torch.finfo(theirs.dtype).tiny / torch.finfo(theirs.dtype).eps
    scale = max(exact.abs().nan_to_num(nan=0.0, posinf=0.0).max().item(), floor)
    deviation = _deviation(ours, exact) / scale
    error, torch_error = deviation.max().item(), _deviation(theirs, exact).max().item() / scale
    if theirs.dtype == torch.float64:
        torch_error = unmeasured
    bound = tolerance(torch_error, theirs.dtype)
    index = tuple(int(k) for k in torch.unravel_index(deviation.argmax(), deviation.shape))
    there = ours[index].item(), theirs[index].item(), exact[index].item()
    note = _differing_gates(deviation, bound, gates) if error > bound else ""
    return Difference(name, error, torch_error, bound, index, *there, note, *counts)


def _longest_sum(module: nn.Module, input: Tensor | PackedSequence) -> int:
    x = input.data if isinstance(input, PackedSequence) else input
    rows = x.numel() // x.shape[-1] if x.is_floating_point() and x.numel() else x.numel()
    return max(rows, *(max(p.shape) for p in module.parameters()), 1)


def _deviation(x: Tensor, exact: Tensor) -> Tensor:
    """|x - exact|; infinite where only one of the two is a finite number."""
    same = (x == exact) | (x.isnan() & exact.isnan())
    return (x.double() - exact).abs().masked_fill(same, 0.0).nan_to_num(nan=float("inf"))


def _differing_gates(deviation: Tensor, bound: float, gates: tuple[str, ...]) -> str:
    if not gates:
        return ""
    differing = [g for g, block in zip(gates, deviation.chunk(len(gates)), strict=True) if block.max() > bound]
    return f"in the rows of gate{'s' if len(differing) > 1 else ''} {', '.join(differing)}"


def _gates_of_parameters(module: nn.Module) -> Iterable[tuple[str, tuple[str, ...]]]:
    """For the gradient of each parameter that stacks gates, their names."""
    for prefix, part in module.named_modules():
        cell = part.cell if isinstance(part, (RecurrentLayer, RNNCellBase)) else BUILT_IN.get(getattr(part, "mode", ""))
        if cell is None:
            continue
        for name, _ in part.named_parameters(recurse=False):
            if not name.startswith("weight_hr"):
                yield f"d{prefix}{'.' if prefix else ''}{name}", cell.gates


# ------------------------------------------------------------------------------------------------- checks


def _refuse_dropout(module: nn.Module) -> None:
    for name, part in module.named_modules():
        layered = isinstance(part, (nn.RNNBase, RecurrentLayer)) and part.num_layers > 1 and part.dropout > 0
        if part.training and (layered or (isinstance(part, nn.modules.dropout._DropoutNd) and part.p > 0)):
            raise ValueError(
                f"dropout is active in {name or type(part).__name__}, so no two runs agree: call eval(), or set it to 0"
            )


def _named(ours: nn.Module, theirs: nn.Module, names: Mapping[str, str | Sequence[str]]) -> Parameters:
    """The parameters of `ours` by the names of `theirs`."""
    own = dict(ours.named_parameters())
    given = {name: (there,) if isinstance(there, str) else tuple(there) for name, there in names.items()}
    if unknown := sorted(given.keys() - dict(theirs.named_parameters()).keys()):
        raise ValueError(f"names should be of parameters of theirs, got {', '.join(unknown)}")
    if unknown := sorted({name for there in given.values() for name in there} - own.keys()):
        raise ValueError(
            f"names should lead to parameters of ours, which are {', '.join(own)}, got {', '.join(unknown)}"
        )
    taken = {name for there in given.values() for name in there}
    return {name: [own[n] for n in there] for name, there in given.items()} | {
        name: [p] for name, p in own.items() if name not in taken
    }


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat([*parts])


def _check_parameters(ours: Parameters, theirs: dict[str, nn.Parameter]) -> None:
    hint = "; names says which is which, and parameters=False compares outputs, states and their gradients only"
    if ours.keys() != theirs.keys():
        raise ValueError(
            f"ours and theirs should have parameters of the same names; only in ours: {sorted(ours.keys() - theirs)}, "
            f"only in theirs: {sorted(theirs.keys() - ours)}{hint}"
        )
    mine = {name: _stacked(parts).detach() for name, parts in ours.items()}
    _all_equal(mine, theirs, lambda p: list(p.shape), "shape", hint)
    _all_equal(mine, theirs, lambda p: p.dtype, "dtype", "")
    for name, p in mine.items():
        if not torch.equal(p.nan_to_num(), theirs[name].nan_to_num()):
            raise ValueError(
                f"ours and theirs should have the same weights, but {name} differs by up to "
                f"{(p - theirs[name]).abs().max().item():.3g}: ours.load_state_dict(theirs.state_dict()) first"
            )


def _all_equal(
    mine: dict[str, Tensor], other: dict[str, nn.Parameter], of: Callable[[Tensor], Any], what: str, hint: str
) -> None:
    for name, p in mine.items():
        if of(p) != of(other[name]):
            raise ValueError(f"{name} has {what} {of(p)} in ours and {of(other[name])} in theirs{hint}")
