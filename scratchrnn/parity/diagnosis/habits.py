"""What is seen of a subject without any reference: whether its calls repeat, and how finely it computes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .adapter import Subject
from .case import Case, Tolerance
from .configuration import Outcome

_STEP = 1e-9
"""A change of the input that float64 resolves, and float32 does not."""
_FLOAT32, _HALF = 1e-5, 0.03


class Habits:
    """Of one subject in its simplest configuration, where no state is given."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.found: list[tuple[str, str, str]] = []
        """Slug, detail, fix."""
        self.random = False
        """Two calls differ by chance: no more can be said."""
        self.tolerance = Tolerance() if subject.dtype == torch.float64 else Tolerance(2e-5, 2e-4)
        case = Case(subject, replace(subject.base, states=False), 0, self.tolerance)
        self._repeats(case)
        if not self.random and subject.dtype == torch.float64:
            self._resolves(case)

    def _repeats(self, case: Case) -> None:
        instance = case.fresh()
        first, again = (_called(case, instance, 0) for _ in range(2))
        other = _called(case, case.fresh(), 1)
        if not _same(first, other):
            self.random = True
            zeros = sum(int((y == 0).sum()) for y in other) / max(1, sum(y.numel() for y in other))
            if zeros > 0.02 and case.configuration.twin.word != "rnn_relu":
                detail = f"drops {100 * zeros:.0f} % of what it returns, in eval()"
                self.found.append(("dropout", detail, "pass training=self.training to F.dropout"))
            else:
                detail = (
                    f"returns other numbers in every call: the same input twice is {_apart(first, other):.1g} apart"
                )
                self.found.append(("not-deterministic", detail, ""))
        elif not _same(first, again):
            detail = f"returns other numbers in a second call with the same input, {_apart(first, again):.1g} apart"
            self.found.append(("state-kept", detail, ""))

    def _resolves(self, case: Case) -> None:
        """Compare the slope of the outputs over a step that only float64 resolves with those over larger ones."""
        generator = torch.Generator().manual_seed(2)
        of_x = torch.randn(case.x.shape, generator=generator, dtype=torch.float64)
        of_parameters = {n: torch.randn(p.shape, generator=generator) for n, p in case.instance.parameters.items()}

        def slope(step: float) -> list[Tensor]:
            ends = []
            for move in (step, -step):
                instance = case.fresh()
                with torch.no_grad():
                    for name, p in instance.parameters.items():
                        p += move * of_parameters[name]
                ends.append(_called(case, instance, 0, case.x.detach() + move * of_x))
            return [(a - b) / (2 * step) for a, b in zip(*ends, strict=True)]

        fine, coarse, coarsest = slope(_STEP), slope(1e-4), slope(1e-2)
        if _apart(fine, coarse) < 1e-3 and _apart(fine, coarsest) < 0.05:
            return
        if not any(y.any() for y in coarsest):  # nothing of it depends on the input
            return
        if self._is_slope(case, fine, of_x, of_parameters):  # what jumps or has a corner, as clamp
            return
        narrow = "float32" if _apart(coarse, coarsest) < 0.05 else "float16 or bfloat16"
        bound = _FLOAT32 if narrow == "float32" else _HALF
        self.tolerance = Tolerance(bound, 10 * bound)
        detail = f"computes in {narrow}: a change of {_STEP:g} does not reach the output as it should"
        self.found.append(("precision", detail, ""))

    def _is_slope(self, case: Case, fine: list[Tensor], of_x: Tensor, of_parameters: dict[str, Tensor]) -> bool:
        """Whether autograd says the same of a loss as the smallest step: then nothing is lost of that."""
        loss = sum((u * y).sum() for u, y in zip((u for u in case.upstream if u is not None), fine, strict=True))
        moved = {"input": of_x} | {f"parameter {n}": d for n, d in of_parameters.items()}
        expected = sum((g * moved[n]).sum() for n, g in case.gradients.items() if n in moved)
        return abs(float(loss - expected)) < 1e-4 * max(1.0, abs(float(expected)))


def _called(case: Case, instance: object, seed: int, x: Tensor | None = None) -> list[Tensor]:
    torch.manual_seed(seed)
    returned: Outcome = instance(case.x if x is None else x, case.states, case.lengths)  # type: ignore[operator]
    return [y.detach().double() for y in (returned.output, *returned.states) if y is not None]


def _apart(a: list[Tensor], b: list[Tensor]) -> float:
    """The largest difference, relative to the largest number."""
    largest = max((y.abs().max().item() for y in b), default=1.0) or 1.0
    return max(((y - z).abs().max().item() / largest for y, z in zip(a, b, strict=True)), default=0.0)


def _same(a: list[Tensor], b: list[Tensor]) -> bool:
    return _apart(a, b) < 1e-12
