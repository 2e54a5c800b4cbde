"""The table of causes: each row says something of its own, and its changes do what they say to the reference."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

import scratchrnn as sr
from scratchrnn.parity.diagnosis.adapter import Subject
from scratchrnn.parity.diagnosis.case import Case
from scratchrnn.parity.diagnosis.causes import GRADIENTS, OTHERS, OUTPUTS, Facts, Row, Variant, variants
from scratchrnn.parity.diagnosis.configuration import Configuration, tried
from scratchrnn.parity.diagnosis.judge import KINDS

AGAIN = ("has peepholes", "returns the states after the last step", "cuts the gates along")  # in more than one way
LAYERS = pytest.mark.parametrize("kind", [kind for kind, (_, step) in KINDS.items() if not step])
CAUSES = {row.slug: row for row in (*OUTPUTS, *GRADIENTS)}


@cache
def cases(kind: str) -> list[Case]:
    """torch.nn's own, in every configuration that is tried."""
    twin, step = KINDS[kind]
    subject = Subject(twin.step if step else twin.layer, twin, step)
    return [Case(subject, c, seed) for seed, c in enumerate(tried(subject.base, subject.takes))]


@pytest.mark.parametrize("kind", KINDS)
def test_without_changes_the_reference_is_torch_nn(kind: str) -> None:
    assert len(cases(kind)) >= (4 if kind.endswith("cell") else 14)
    for case in cases(kind):
        (reading,) = case.readings
        assert case.error(case.weights(reading)) < 1e-14, case.configuration
        assert not case.differing_gradients(reading), case.configuration


def richest(kind: str) -> Configuration:
    twin, _ = KINDS[kind]
    options: dict[str, Any] = {"num_layers": 3, "bidirectional": True, "batch_first": True, "dropout": 0.5}
    return Configuration(twin, layout="packed", proj_size=2 if twin.layer is nn.LSTM else 0, **options)


@cache
def found(kind: str, slug: str) -> list[Variant]:
    c = richest(kind)
    return variants(CAUSES[slug], Facts(c, own=(c.hidden_size,) * 3))


def with_own(case: Case, row: Row) -> Any:
    """The weights, beside three vectors of the subject's own for a row that needs them."""
    weights = case.weights(case.readings[0])
    if row.slug != "peephole":
        return weights
    runs = case.configuration.num_layers * case.configuration.directions
    place = next(iter(weights))
    return weights | {place._replace(name=f"p{k}", gate="own"): torch.rand(4).double() for k in range(3 * runs)}


@LAYERS
def test_every_variant_does_something_somewhere(kind: str) -> None:
    for row in OUTPUTS:
        for variant in found(kind, row.slug):
            done = any(case.does_something(with_own(case, row), (), variant.change) for case in cases(kind))
            seen_in_padding = row.slug == "packed-padding"  # which a PackedSequence has not
            assert done or seen_in_padding, f"{row.slug}: {variant.detail}"


@LAYERS
def test_what_is_wrong_with_gradients_alone_leaves_the_outputs(kind: str) -> None:
    for row in GRADIENTS:
        for variant in found(kind, row.slug):
            seen = False
            for case in cases(kind):
                assert case.fits(case.weights(case.readings[0]), (variant.change,)), f"{row.slug}: {variant.detail}"
                seen = seen or bool(case.differing_gradients(case.readings[0], (variant.change,)))
                if seen:
                    break
            assert seen, f"{row.slug}: {variant.detail}"


def test_every_cause_can_be_somewhere() -> None:
    for row in (*OUTPUTS, *GRADIENTS):
        assert any(found(kind, row.slug) for kind in ("rnn", "lstm", "gru")), row.slug


@LAYERS
def test_each_says_something_of_its_own_and_how_to_mend_it(kind: str) -> None:
    said = Counter(v.detail for row in (*OUTPUTS, *GRADIENTS) for v in found(kind, row.slug))
    assert [detail for detail, times in said.items() if times > 1 and not detail.startswith(AGAIN)] == []
    assert all(v.fix for row in (*OUTPUTS, *GRADIENTS) for v in found(kind, row.slug))


def test_slugs_are_words_of_their_own() -> None:
    slugs = [row.slug for row in (*OUTPUTS, *GRADIENTS)] + [*OTHERS]
    assert len(set(slugs)) == len(slugs) == 37
    assert all(slug == slug.lower() and " " not in slug for slug in slugs)
    assert {slug for row in OUTPUTS for slug in row.over} <= set(slugs)


@pytest.mark.parametrize("kind", ["LSTM", "gru_cell", ""])
def test_a_kind_that_is_none_is_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=f"kind should be rnn, rnn-relu, lstm, gru, .* or None, got {kind!r}"):
        sr.diagnose(nn.LSTM, kind)


def test_a_kind_that_cannot_be_guessed_is_asked_for() -> None:
    with pytest.raises(
        ValueError, match=r"kind should be one of .*: it cannot be guessed from this subject, and the laws"
    ):
        sr.diagnose(lambda x: x)
