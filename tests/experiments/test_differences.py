"""Welch as scipy has it, the delta method and CUPED by their formulas, coverage by simulation."""

import numpy as np
import pytest
from scipy import stats

from genrec.experiments.statistics.differences import (
    Sample,
    adjust_by_before,
    compare_means,
    compare_samples,
    describe_sample,
    linearize_ratio,
)

RANDOM = np.random.default_rng(0)
CONTROL, TREATMENT = RANDOM.gamma(2, 1, 80), RANDOM.gamma(2, 1.4, 130)


def test_welch_is_scipys():
    found = compare_means(CONTROL, TREATMENT, alpha=0.1)
    known = stats.ttest_ind(TREATMENT, CONTROL, equal_var=False)
    interval = known.confidence_interval(0.9)
    assert found.p_value == pytest.approx(known.pvalue, rel=1e-9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.value == pytest.approx(TREATMENT.mean() - CONTROL.mean())


def test_the_relative_change_has_the_interval_worked_by_hand():
    """Means 10 and 11, each with error .04 of a huge sample: ratio 1.1, error sqrt(.04 + 1.21 * .04) / 10 = .029732."""
    found = compare_samples(Sample(10**6, 10.0, 4e4), Sample(10**6, 11.0, 4e4))
    assert found.relative == pytest.approx(0.1)
    assert found.relative_high - found.relative == pytest.approx(1.959964 * 0.029732, rel=1e-4)


def test_users_who_are_all_alike_differ_surely_or_not_at_all():
    same, other = np.ones(5), np.full(5, 2.0)
    assert compare_means(same, same).p_value == 1 and compare_means(same, other).p_value == 0
    assert (compare_means(same, other).low, compare_means(same, other).high) == (1, 1)
    with pytest.raises(ValueError, match="at least two users, found 1"):
        describe_sample(np.ones(1))


def test_a_linearized_ratio_has_the_delta_methods_variance():
    clicks, shown = RANDOM.poisson(3, 200).astype(float), RANDOM.poisson(20, 200).astype(float) + 1
    found = describe_sample(linearize_ratio(clicks, shown))
    ratio, covariance = clicks.sum() / shown.sum(), np.cov(clicks, shown)
    by_hand = covariance[0, 0] - 2 * ratio * covariance[0, 1] + ratio**2 * covariance[1, 1]
    assert found.mean == pytest.approx(ratio) and found.variance == pytest.approx(by_hand / shown.mean() ** 2)
    with pytest.raises(ValueError, match="denominator"):
        linearize_ratio(clicks, np.zeros(200))


def test_the_delta_method_covers_where_requests_as_units_would_not():
    """A/A of users with clicks of their own rate over many requests: 5% of errors, and far more by requests."""
    errors = {"users": 0, "requests": 0}
    for seed in range(300):
        random = np.random.default_rng(seed)
        requests = random.geometric(0.1, 400).astype(float)
        clicks = random.binomial(requests.astype(int), random.beta(1, 3, 400)).astype(float)
        arms = [linearize_ratio(clicks[half], requests[half]) for half in (slice(0, 200), slice(200, 400))]
        errors["users"] += compare_means(*arms).p_value < 0.05
        rates = [
            Sample(int(n), c / n, c / n * (1 - c / n))
            for c, n in ((clicks[:200].sum(), requests[:200].sum()), (clicks[200:].sum(), requests[200:].sum()))
        ]
        errors["requests"] += compare_samples(*rates).p_value < 0.05
    assert errors["users"] <= 27 and errors["requests"] > 60


def test_cuped_takes_out_what_was_known_before_and_keeps_the_difference():
    """Y = X + noise / 2 + effect: a fifth of the variance is left, and the difference is closer to the truth."""
    random = np.random.default_rng(3)
    before = [random.normal(5, 1, 4000) for _ in range(2)]
    values = [x + random.normal(0, 0.5, 4000) + effect for x, effect in zip(before, (0, 0.1), strict=True)]
    adjusted = adjust_by_before(values, before)
    plain, better = compare_means(*values), compare_means(*adjusted.arms)
    assert adjusted.kept == pytest.approx(0.2, abs=0.02)
    assert better.error / plain.error == pytest.approx(0.2, abs=0.02)
    assert better.low < 0.1 < better.high and better.p_value < plain.p_value
    assert np.corrcoef(adjusted.arms[0], before[0])[0, 1] == pytest.approx(0, abs=0.05)


def test_cuped_of_nothing_known_changes_nothing():
    values = [CONTROL, TREATMENT]
    adjusted = adjust_by_before(values, [np.ones(80), np.ones(130)])
    assert adjusted.kept == 1 and all(np.array_equal(*pair) for pair in zip(adjusted.arms, values, strict=True))
