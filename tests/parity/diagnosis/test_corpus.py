"""A diagnosis of every layer of the corpus: the right ones, those with a known cause, and those with another.

The thorough profile takes all of it, some minutes; else of what takes long there are a few of each kind.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from parity.diagnosis.planted import PAIRS, PLANTED, UNPLANTED
from parity.diagnosis.seen import SEEN, UNEXPLAINED
from parity.diagnosis.spellings import CORRECT, written
from parity.diagnosis.strangers import RIGHT as ALSO_RIGHT
from parity.diagnosis.strangers import WRONG as ALSO_WRONG
from parity.diagnosis.wrong import BROKEN, HARMLESS, RIGHT, WRONG

from scratchrnn.parity.diagnosis import diagnose
from scratchrnn.parity.diagnosis.verdict import Diagnosis

LIMIT = 10  # seconds of this process
THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
NOT_A_SUBJECT = {"raises when it is imported", "is not there", "cannot be parsed"}  # there is nothing to hand over


def some(table: dict[Any, Any], count: int) -> dict[Any, Any]:
    """So many, from everywhere in the table; thoroughly, all."""
    return table if THOROUGH else dict(list(table.items())[:: max(1, len(table) // count)])


def each(table: dict[Any, Any]) -> Callable[..., Any]:
    """The test once for each entry of a table, by its name."""
    names = [name if isinstance(name, str) else ": ".join(name) for name in table]
    return pytest.mark.parametrize("entry", table.values(), ids=names)


def slugs(d: Diagnosis) -> list[str]:
    return [cause.slug for cause in d.causes]


def timed(subject: Any, kind: str) -> Diagnosis:
    start = time.process_time()
    d = diagnose(subject, kind)
    took = time.process_time() - start
    assert took < LIMIT, f"{took:.1f} s"
    return d


def test_the_corpus_is_as_large_as_it_should_be() -> None:
    assert len(CORRECT) >= 40
    assert len(PAIRS) == 60
    assert len(WRONG) >= 20
    assert min(Counter(slug for slug, _ in PLANTED).values()) >= 3


@each(some(CORRECT | UNPLANTED | RIGHT, 20) | ALSO_RIGHT)
def test_a_right_layer_is_not_accused(entry: tuple[Any, str]) -> None:
    d = diagnose(*entry)
    assert d.agrees, str(d)
    assert not d.causes


ONE_OF_EACH = {slug: (slug, spelling) for slug, spelling in reversed(PLANTED)}.values()


@pytest.mark.parametrize(("slug", "spelling"), PLANTED if THOROUGH else ONE_OF_EACH)
def test_what_is_planted_is_named_alone(slug: str, spelling: str) -> None:
    d = timed(*PLANTED[slug, spelling])
    assert slugs(d) == [slug], str(d)
    assert d.error is None
    assert not d.agrees
    assert all(d.causes[0])  # a detail and a fix beside the slug


@each(ALSO_WRONG)
def test_what_a_stranger_got_wrong_is_named(entry: tuple[Any, str, str]) -> None:
    subject, kind, slug = entry
    d = timed(subject, kind)
    assert slugs(d) == [slug], str(d)


@cache
def of_pair(name: tuple[str, str, str]) -> Diagnosis:
    return diagnose(*PAIRS[name])


@pytest.mark.parametrize("name", some(PAIRS, 2), ids=": ".join)
def test_two_planted_together_are_named_or_honestly_unexplained(name: tuple[str, str, str]) -> None:
    d = of_pair(name)
    if d.causes:
        assert set(slugs(d)) == {*name[1:]}, str(d)
    else:
        assert d.first_difference is not None, str(d)


@pytest.mark.skipif(not THOROUGH, reason="takes the thorough profile")
def test_most_pairs_are_named() -> None:
    named = sum(set(slugs(of_pair(name))) == {*name[1:]} for name in PAIRS)
    assert named >= 50


@each(some(WRONG, 2))
def test_what_no_cause_explains_is_not_explained(entry: tuple[Any, str]) -> None:
    d = diagnose(*entry)
    assert not d.causes, str(d)
    assert not d.agrees
    assert str(d).startswith("differs from ")
    assert d.first_difference is not None, str(d)
    assert d.first_difference["tensor"]
    assert d.first_difference["yours"] != d.first_difference["theirs"]


@each(some(SEEN, 6))
def test_a_bug_that_was_seen_gets_its_cause(entry: tuple[Any, str, set[str | None]]) -> None:
    subject, kind, acceptable = entry
    d = timed(subject, kind)
    assert not d.agrees
    assert d.error is None, d.error
    if d.causes:
        assert set(slugs(d)) <= acceptable, str(d)
    else:
        assert UNEXPLAINED in acceptable, str(d)
        assert d.first_difference is not None


def layer_of(source: str) -> Any:
    return written("a_strangers_file", source).Layer


@each({name: entry for name, entry in BROKEN.items() if name not in NOT_A_SUBJECT})
def test_a_layer_that_cannot_be_judged_says_why(entry: tuple[str, str]) -> None:
    source, said = entry
    d = diagnose(layer_of(source), "lstm")
    assert d.error is not None, str(d)
    assert re.search(said, d.error), d.error
    assert not d.agrees
    assert not d.causes


@each(HARMLESS)
def test_a_layer_with_manners_of_its_own_is_judged_and_leaves_no_trace(entry: str) -> None:
    layer, random = layer_of(entry), torch.random.get_rng_state()
    d = diagnose(layer, "lstm")
    assert d.agrees, str(d)
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(torch.random.get_rng_state(), random)
    assert torch.is_grad_enabled()
