"""What was measured: medians, means, changes, records."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from timed import case, result, ways

from scratchrnn.bench.implementations import OURS, THEIRS
from scratchrnn.bench.measure import measure
from scratchrnn.bench.results import Change, Result, changes, from_dict, geometric_means, to_dict


def test_median_spread_and_noise() -> None:
    calm, noisy = result([1.0, 1.01, 0.99, 1.0, 1.02]), result([1.0, 1.3, 0.8, 1.0, 1.2])
    assert calm.time == 1.0
    assert calm.spread == pytest.approx(0.01)
    assert not calm.noisy
    assert noisy.spread == pytest.approx(0.2)
    assert noisy.noisy
    assert result([1.0] * 3, ratios=[2.0, 2.2, 1.8]).ratio_spread == pytest.approx(0.1)
    assert result([2.0]).spread == 0
    assert calm.flops_per_second == case().work.flops


def test_geometric_means_are_by_cell_work_and_group() -> None:
    a, b, other = case(T=3), case(T=4), case(True)
    means = geometric_means(
        [result([1.0], of=a, ratios=[2.0]), result([1.0], of=b, ratios=[8.0]), result([1.0], of=other)]
    )
    assert means == pytest.approx({("LSTM", OURS, False, "small"): 4.0, ("LSTM", OURS, True, "small"): 1.0})
    assert geometric_means([result([1.0], THEIRS), Result(a, OURS, skipped="why")]) == {}


def test_changes_are_told_from_noise() -> None:
    a, b, c = case(T=3), case(T=4), case(T=5)
    before = [result([1.0, 1.0, 1.0], of=a), result([1.0, 1.5, 0.5], of=b)]
    after = [result([0.5, 0.5, 0.5], of=a), result([0.7, 0.7, 0.7], of=b), result([1.0], of=c)]
    first, second = changes(before, after)
    assert (first.ratio, first.beyond_noise) == (2.0, True)
    assert second.noise == pytest.approx(0.5)
    assert not second.beyond_noise
    assert not Change(a, OURS, 1.0, 1.01, 0.0).beyond_noise


def test_of_one_round_no_noise_is_known() -> None:
    one, more = result([1.0], of=case(T=3)), result([1.0, 1.0], of=case(T=3))
    assert [changes(*of)[0].noise for of in (([one], [more]), ([more], [one]), ([more], [more]))] == [None, None, 0]


def test_a_result_goes_through_json() -> None:
    for r in measure(case(True), ways(OURS, "torch.nn, no cuDNN"), rounds=2):
        assert from_dict(json.loads(json.dumps(to_dict(r)))) == r
        without = {k: v for k, v in to_dict(r).items() if k not in ("mode", "best_gemm", "other_order")}
        assert from_dict(without).case == replace(r.case, mode="kept")  # what does not say so did not change any
