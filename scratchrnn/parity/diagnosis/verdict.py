"""What a diagnosis says, for a person and as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

LAWS = "the laws of any recurrent layer"
"""The twin of what torch.nn has not."""


class Cause(NamedTuple):
    """One thing that is wrong."""

    slug: str
    """Its name in the guide, as `gate-order`."""
    detail: str
    """What is wrong, in terms of the subject."""
    fix: str
    """How to mend it, in one line."""


@dataclass(frozen=True)
class Diagnosis:
    """Whether a subject computes what torch.nn computes, and if not, why. It is true when it does."""

    twin: str
    """What it was held against, as `nn.LSTM`; "" if it came to none."""
    assumed: tuple[str, ...] = ()
    """How the subject was made, called and read, where that was not plain."""
    configurations: tuple[str, ...] = ()
    """What was tried."""
    causes: tuple[Cause, ...] = ()
    """The smallest set that makes the two agree."""
    alternatives: tuple[tuple[Cause, ...], ...] = ()
    """Other sets of the same size that no input told from `causes`."""
    first_difference: Mapping[str, Any] | None = None
    """Where the two part first, if no known cause explains it."""
    error: str | None = None
    """Why the subject could not be judged."""

    @property
    def agrees(self) -> bool:
        return not (self.causes or self.first_difference or self.error)

    def __bool__(self) -> bool:
        return self.agrees

    def __str__(self) -> str:
        """The verdict in the first line; below it each cause with its fix, or where the two part."""
        if self.error is not None:
            return f"cannot be judged{f' against {self.twin}' if self.twin else ''}: {self.error}"
        if self.twin == LAWS:
            return "\n".join(self._by_laws())
        if self.agrees:
            lines = [f"agrees with {self.twin} in {_tried(self.configurations)}"]
        elif self.first_difference:
            lines = [f"differs from {self.twin}, and no known cause explains it", *_parting(self.first_difference)]
            lines += [f"  what is known: {cause.slug}: yours {cause.detail}" for cause in self.causes]
        else:
            lines = [f"differs from {self.twin}: {', '.join(c.slug for c in self.causes)}"]
            for cause in self.causes:
                lines += [f"  {cause.slug}: yours {cause.detail}", f"  {'fix:':>{len(cause.slug) + 1}} {cause.fix}"]
            if self.configurations:
                lines.append(f"  That accounts for all: {_tried(self.configurations)}")
        for other in self.alternatives:
            slugs = "; ".join(f"{cause.slug}: yours {cause.detail}" for cause in other)
            lines.append(f"  or, which no input tells from it: {slugs}")
        lines += [f"  assumed: {sentence}" for sentence in self.assumed]
        if self.causes:
            lines.append('  More in the guide: "What is wrong with my LSTM?"')
        return "\n".join(lines)

    def _by_laws(self) -> list[str]:
        broken = ", ".join(cause.slug for cause in self.causes)
        lines = [f"breaks {self.twin}: {broken}" if broken else f"keeps {self.twin}"]
        for cause in self.causes:
            lines += [f"  {cause.slug}: {cause.detail}", f"  {'look for:':>{len(cause.slug) + 1}} {cause.fix}"]
        return lines + [f"  holds: {sentence}" for sentence in self.configurations]

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the fields, and `agrees`."""
        return {
            "agrees": self.agrees,
            "twin": self.twin,
            "assumed": list(self.assumed),
            "configurations": list(self.configurations),
            "causes": [cause._asdict() for cause in self.causes],
            "alternatives": [[cause._asdict() for cause in other] for other in self.alternatives],
            "first_difference": None if self.first_difference is None else dict(self.first_difference),
            "error": self.error,
        }


def _tried(configurations: tuple[str, ...]) -> str:
    """`12 configurations, to 3e-16`: how many, and the largest error of them that say one."""
    errors = [float(said[1]) for c in configurations if (said := re.search(r": (\d+e[-+]\d+)$", c))]
    to = f", to {max(errors):.0e}".replace("0e+00", "0") if errors else ""
    return f"{len(configurations)} configuration{'' if len(configurations) == 1 else 's'}{to}"


def _parting(difference: Mapping[str, Any]) -> list[str]:
    """Where the two part first, in lines."""
    words = [
        f"{name} {difference[name]}" for name in ("layer", "direction", "step", "row", "unit") if name in difference
    ]
    at = f" at {', '.join(words)}" if words else f" at {difference['index']}" if "index" in difference else ""
    most = "most" if "index" in difference else "first"
    lines = [f"  with {difference['configuration']} {most} in {difference['tensor']}{at}:"]
    lines.append(f"  yours {_number(difference['yours'])}, torch.nn {_number(difference['theirs'])}")
    if difference.get("gate"):
        gates = " or ".join(difference["gate"])
        lines.append(f"  Another value of {gates} alone would give what yours gives after one step.")
    return lines


def _number(x: Any) -> str:
    return f"{x:.7g}" if isinstance(x, float) else f"has shape {x}"
