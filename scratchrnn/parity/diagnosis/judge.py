"""`diagnose`: a subject in every configuration that it takes, and what is wrong with it."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ...cells.cell import Cell
from ...cells.twins import TWINS, Twin
from .adapter import NotTaken, Subject, Unjudged, guess
from .adapter.calling import is_given_weights
from .case import Case, Tolerance
from .causes import GRADIENTS, OTHERS, OUTPUTS, Facts
from .configuration import Configuration, Place, tried
from .difference import first_difference, gradient_difference
from .habits import Habits
from .laws import judged_by
from .oracle import hold_to_torch
from .rules import by_rule
from .search import Hypothesis, explanations, fitted, gradient_explanations
from .verdict import LAWS, Cause, Diagnosis

KINDS: dict[str, tuple[Twin, bool]] = {twin.word.replace("_", "-"): (twin, False) for twin in TWINS}
KINDS |= {f"{word}-cell": (twin, True) for word, (twin, _) in list(KINDS.items())}


def diagnose(subject: Any, kind: str | None = None, *, load_weights: Any = None) -> Diagnosis:
    """Hold a recurrent layer against torch.nn's, and say what is wrong with it.

    The subject is made and called in every configuration that it takes (layers, directions, biases, batch first,
    dropout, projection, packed, with states and without), with random weights, states and upstream gradients. Where it
    departs from torch.nn, the smallest set of causes is looked for under which both agree in every output, state and
    gradient: the guide lists them. A `Cell`, and a layer whose kind torch.nn has not, is held to the laws of any
    recurrent layer instead, whose names the causes then have.

    It runs in this process: what it prints is printed, and default dtype, random state and grad mode are put back.

    Args:
        subject: a class, a function that makes one, an instance, or a function `(x, weights)` or `(x, state, weights)`,
            which gets the weights by torch.nn's names. An instance's parameters are written into and put back.
        kind: "lstm", "gru", "rnn", "rnn-relu", or with "-cell" what takes one step; None: guessed.
        load_weights: `load_weights(module, weights)` puts weights by torch.nn's names into a module that has them in a
            layout that cannot be guessed; None: where the subject cannot be read or differs, the function of that name
            in its own module is tried, if there is one. Gradients of weights are not judged then.

    Returns:
        A `Diagnosis`, true if the two agree. `print` shows it; `causes` and `to_dict()` are for programs.

    Raises:
        RuntimeError: what the subject is held against is not what torch.nn computes here, so that nothing can be said.
        ValueError: `kind` is none of those; or `UnknownKindError`, which is one: it is None, and cannot be guessed.
    """
    return diagnosed(subject, kind, load_weights)


def diagnosed(subject: Any, kind: str | None, load_weights: Any = None, beside: Any = None) -> Diagnosis:
    """As `diagnose`; `beside` is the `load_weights` of the file where the subject was found, if it has one."""
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind should be {', '.join(KINDS)} or None, got {kind!r}")
    if beside is None:
        beside = getattr(sys.modules.get(getattr(subject, "__module__", "")), "load_weights", None)
    with _put_back():
        if kind is not None:
            return _with_weights(subject, *KINDS[kind], load_weights, beside)
        try:
            found = None if isinstance(subject, Cell) else guess(subject)
        except Unjudged as error:
            return Diagnosis("", error=str(error))
        if found is None:
            return _by_laws(subject)
        twin, step = found
        first = _with_weights(subject, twin, step, load_weights, beside)
        if first.error is None or not step:
            return first
        # its name ends in Cell, and it may be a layer
        other = _with_weights(subject, twin, False, load_weights, beside)
        return first if other.error else other


def _with_weights(subject: Any, twin: Twin, step: bool, load_weights: Any, beside: Any) -> Diagnosis:
    """As its parameters are read; and where that does not do, as the `load_weights` beside it sets them."""
    first = _against(subject, twin, step, load_weights)
    if first or load_weights is not None or beside is None or is_given_weights(subject, len(twin.cell.states)):
        return first
    other = _against(subject, twin, step, beside)
    if other.error is None:
        return other if other or first.error else first
    if first.error is None:
        return replace(first, assumed=(*first.assumed, f"read without load_weights: {other.error}"))
    told = f"{other.error}; without load_weights: {first.error}"
    return first if first.error == other.error else replace(first, error=told)


def _by_laws(subject: Any) -> Diagnosis:
    """Of what torch.nn has not: whether it keeps the laws of any recurrent layer."""
    twin = LAWS
    try:
        judged = judged_by(subject)
    except (TypeError, ValueError) as error:
        if isinstance(subject, Cell):
            return Diagnosis(twin, error=str(error))
        raise UnknownKindError(
            f"kind should be one of {', '.join(KINDS)}: it cannot be guessed from this subject, and the laws of any "
            f"recurrent layer cannot be held to it: {error}"
        ) from error
    except Exception as error:  # whatever the subject raises
        return Diagnosis(twin, error=f"it raises {type(error).__name__}: {error}")
    causes = tuple(Cause(each.law, each.detail, each.meaning) for each in judged.values() if each)
    held = tuple(law.sentence for law, broken in judged.items() if not broken)
    return Diagnosis(twin, ("torch.nn has none of its kind",), held, causes)


class UnknownKindError(ValueError):
    """The kind of a subject was not given, and cannot be guessed."""


def _against(subject: Any, twin: Twin, step: bool, load_weights: Any) -> Diagnosis:
    name = f"nn.{(twin.step if step else twin.layer).__name__}"
    name += "(nonlinearity='relu')" if twin.options.get("nonlinearity") == "relu" else ""
    try:
        return _Judge(Subject(subject, twin, step, load_weights), name).judge()
    except Unjudged as error:
        return Diagnosis(name, error=str(error))


@contextmanager
def _put_back() -> Iterator[None]:
    """Leave default dtype, random state, grad mode and number of threads as they were."""
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)  # the tensors here are small
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_num_threads(threads)


class _Judge:
    """One subject, as far as it has been looked at."""

    def __init__(self, subject: Subject, twin: str) -> None:
        self.subject, self.twin = subject, twin
        self.cases: list[Case] = []
        self.known = Hypothesis()
        self.alternatives: list[Hypothesis] = []
        self.noted: list[str] = []
        self.configurations: list[str] = []
        self.tolerance = Tolerance()
        self.causes: list[Cause] = []
        self.first_error: Unjudged | None = None

    def judge(self) -> Diagnosis:
        """Habits first, then outputs, then gradients."""
        habits = Habits(self.subject)
        self.tolerance = habits.tolerance
        self.causes = [
            Cause(slug, detail, OTHERS[slug][1] if slug in OTHERS else fix) for slug, detail, fix in habits.found
        ]
        if habits.random:
            return self._diagnosis(None)
        for configuration in tried(self.subject.base, self.subject.takes):
            case = self._case(configuration)
            if case is None:
                continue
            self.cases.append(case)
            if configuration.proj_size and not case.computable(self.known.reading, self.known.changes):
                self.cases.pop()
                self._tell("projection", "takes proj_size, and has or returns something of another width than R or H")
                continue
            hold_to_torch(case, case.readings[self.known.reading])
            if not self.known.fits(case) and not self._explain(case):
                return self._diagnosis(first_difference(case, self.known))
            self.configurations.append(f"{configuration}: {self._error(case):.0e}")
            said, before = case.instance.said, {each.instance.said for each in self.cases[:-1]}
            if before and said not in before:
                self.noted.append(f"returns {said} in {configuration}")
        if not self.cases:
            raise self.first_error or Unjudged("it took no configuration that was tried")
        difference = self._gradients()
        self._structure()
        return self._diagnosis(difference)

    def _structure(self) -> None:
        """Parameters that are not there, which no input shows: a GRU's b_hn, and the reverse direction's own."""
        pieces = self.cases[0].readings[self.known.reading].pieces
        read = {
            reverse: {p.parameter for p in pieces if p.place.name.endswith("_reverse") == reverse} for reverse in (0, 1)
        }
        if read[0] & read[1]:
            self._tell("directions-share-weights", "has one set of parameters for both directions")
        names, places = {p.place.name for p in pieces}, {p.place for p in pieces}
        told = {cause.slug for cause in self.known.causes}
        is_gru = self.cases[0].configuration.twin.layer is nn.GRU and "bias_ih_l0" in names
        if is_gru and Place("bias_hh_l0", "n") not in places and "reset-before-product" not in told:
            self._tell("candidate-bias", "has no parameter for b_hn, the bias inside the reset gate")

    def _tell(self, slug: str, detail: str) -> None:
        """A cause that is seen without a search."""
        if slug not in {cause.slug for cause in self.causes} | {cause.slug for cause in self.known.causes}:
            fix = next(row.fix for row in OUTPUTS if row.slug == slug)
            self.causes.append(Cause(slug, detail, fix))

    def _case(self, configuration: Configuration) -> Case | None:
        try:
            return Case(self.subject, configuration, len(self.cases), self.tolerance)
        except NotTaken:
            return None
        except Unjudged as error:
            if not self.cases:
                self.first_error = self.first_error or error
                return None
            if configuration.proj_size:  # which it accepts, and has other parameters than torch.nn
                self._tell("projection", f"takes proj_size, and then cannot be read or called as torch.nn's: {error}")
            else:
                self.noted.append(f"not judged in {configuration}: {error}")
            return None

    def _error(self, case: Case) -> float:
        return case.error(case.weights(case.readings[self.known.reading]), self.known.changes)

    # ----------------------------------------------------------------------------------------------- outputs

    def _facts(self, case: Case) -> Facts:
        first = self.cases[0]
        reading = first.readings[self.known.reading]
        own = [first.instance.parameters[name].numel() for name in reading.unexplained]
        runs = first.configuration.num_layers * first.configuration.directions
        layers = max(each.configuration.num_layers for each in self.cases)
        both = any(each.configuration.bidirectional for each in self.cases)
        richest = replace(case.configuration, num_layers=layers, bidirectional=both)
        facts = Facts(richest, tuple(own[: len(own) // runs]), promised=reading.promised)
        constant = fitted(first, Hypothesis(self.known.reading)) if first.configuration.twin.layer is nn.LSTM else None
        return facts if constant is None else replace(facts, forget_bias=(*facts.forget_bias, constant))

    def _explain(self, case: Case) -> bool:
        """Add the causes that this case needs; False if there are none."""
        facts = self._facts(case)
        found = explanations(self.cases, self.known, OUTPUTS, facts)
        if not found:
            return False
        self.known, *self.alternatives = self._told_apart(found, case)
        return True

    def _told_apart(self, found: list[Hypothesis], case: Case) -> list[Hypothesis]:
        """Those that also fit other numbers and sizes; one of each set of causes."""
        for seed in (1001, 1002):
            more = Case(self.subject, case.configuration, seed, self.tolerance)
            found = [h for h in found if h.fits(more)] or found
        by_causes: dict[tuple[str, ...], Hypothesis] = {}
        for h in found:
            by_causes.setdefault(tuple(sorted(c.slug for c in h.causes)), h)
        told, *others = by_causes.values()
        return [told, *(h for h in others if not _less_specific(h, told))]

    # --------------------------------------------------------------------------------------------- gradients

    def _gradients(self) -> Mapping[str, Any] | None:
        """Name what is wrong with the gradients; the first that stays unexplained is returned."""
        seen: list[Case] = []
        outputs = self.known
        for case in self.cases:
            seen.append(case)
            if not self._differing(case):
                continue
            wrong = [c for c in seen if self._differing(c, outputs)]
            found = gradient_explanations(wrong, outputs, GRADIENTS, self._facts(case))
            found = [h for h in found if not any(self._differing(c, h) for c in seen)]
            if found:
                self.known = found[0]
            elif (cause := by_rule(case, outputs, self._differing(case, outputs))) is not None:
                self.causes.append(cause)
                return None
            else:
                return gradient_difference(case, self._differing(case))
        return None

    def _differing(self, case: Case, known: Hypothesis | None = None) -> dict[str, Any]:
        known = self.known if known is None else known
        return case.differing_gradients(case.readings[known.reading], known.changes)

    # ------------------------------------------------------------------------------------------------- result

    def _diagnosis(self, difference: Mapping[str, Any] | None) -> Diagnosis:
        readings = [case.readings[self.known.reading] for case in self.cases[:1]]
        convention = [f for reading in readings for f in self.known.convention(reading.promised)]
        alternatives = [h for h in self.alternatives if all(h.fits(case) for case in self.cases)]
        read = [sentence for reading in readings for sentence in reading.assumed]
        if convention:
            read = [re.sub(", gates in the order [^;]*", "", sentence) for sentence in read]
        order = [
            f"{f.variant.detail}, which its names leave open; {f.variant.fix.partition('or ')[2]}" for f in convention
        ]

        def told(h: Hypothesis) -> tuple[Cause, ...]:
            return tuple(Cause(f.slug, f.variant.detail, f.variant.fix) for f in h.causes if f not in convention)

        return Diagnosis(
            self.twin,
            assumed=(*self.subject.assumed, *read, *order, *self.noted),
            configurations=tuple(self.configurations),
            causes=(*self.causes, *told(self.known)),
            alternatives=tuple(map(told, alternatives)),
            first_difference=difference,
        )


def _less_specific(h: Hypothesis, than: Hypothesis) -> bool:
    """Whether each cause of `h` is one of the other's, or one that stands back behind one of those."""
    known = {slug for cause in than.causes for slug in (cause.slug, *cause.row.over)}
    return all(cause.slug in known for cause in h.causes)
