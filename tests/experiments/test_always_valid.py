"""The mixture ratio by numerical integration, interval and p-value as one, and the error over all looks."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from genrec.experiments.statistics.always_valid import always_valid_p, default_tau, look, sequence_reach
from genrec.experiments.statistics.differences import Sample, compare_means, compare_samples


def test_the_ratio_is_the_likelihood_mixed_over_effects():
    value, error, tau = 0.3, 0.01, 0.2

    def mixed(effect):
        return stats.norm.pdf(value, effect, math.sqrt(error)) * stats.norm.pdf(effect, 0, tau)

    ratio = integrate.quad(mixed, -2, 2, points=[value])[0] / stats.norm.pdf(value, 0, math.sqrt(error))
    assert float(always_valid_p(np.array(value), np.array(error), tau)) == pytest.approx(1 / ratio, rel=1e-6)


def test_the_sequence_ends_where_the_p_value_is_alpha():
    error, tau = np.array([1e-4, 0.01, 1.0]), 0.1
    assert always_valid_p(sequence_reach(error, tau, 0.05), error, tau) == pytest.approx(0.05)
    assert (always_valid_p(np.zeros(3), error, tau) == 1).all()


def test_a_look_is_wider_than_one_at_the_end_and_silent_below_a_hundred_users():
    small, large = Sample(99, 1.0, 1.0), Sample(10_000, 1.1, 1.0)
    difference = compare_samples(Sample(10_000, 1.0, 1.0), large)
    found = look(difference, default_tau(difference))
    assert found.low < difference.low < difference.high < found.high and found.tau == pytest.approx(0.1)
    assert found.p_value > difference.p_value and found.p_value < 0.05
    assert look(compare_samples(small, large), 0.1) is None
    assert look(compare_means(np.ones(200), np.ones(200)), 0.1) is None


def test_equal_arms_are_hardly_ever_called_different_at_any_of_a_hundred_looks():
    random = np.random.default_rng(1)
    steps = random.exponential(1, (300, 2, 40, 100))  # experiments, arms, looks, users a look
    users = 100 * np.arange(1, 41)
    sums, squares = steps.sum(-1).cumsum(-1), (steps**2).sum(-1).cumsum(-1)
    means = sums / users
    variance = (squares - users * means**2) / (users - 1)
    value, error = means[:, 1] - means[:, 0], (variance / users).sum(1)
    always = (always_valid_p(value, error, 0.1) < 0.05).any(1).mean()
    naive = (2 * stats.norm.sf(abs(value) / np.sqrt(error)) < 0.05).any(1).mean()
    assert always <= 0.05 and naive > 0.2
