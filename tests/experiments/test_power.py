"""Sample sizes by the textbook, by simulation, and back."""

import math

import numpy as np
import pytest
from scipy import stats

from genrec.experiments.statistics.always_valid import always_valid_p
from genrec.experiments.statistics.power import (
    detectable_lift,
    mean_effect,
    power_of,
    rate_effect,
    sample_size,
    sample_size_always_valid,
)


def test_the_textbooks_sixty_four_an_arm():
    """Half a standard deviation at 80%: (1.960 + .842)^2 * 2 / .25 = 62.8 an arm, 125.6 in both."""
    assert sample_size(mean_effect(0.5, 1.0), 0.8) == 126


def test_a_rate_is_worked_by_hand():
    """5% to 6%: 7.8489 * (.0475 + .0564) / .0001 = 8,155 an arm."""
    assert sample_size(rate_effect(0.05, 0.01), 0.8) == pytest.approx(2 * 8155, abs=2)
    with pytest.raises(ValueError, match="must both lie between 0 and 1"):
        rate_effect(0.5, 0.5)


def test_size_power_and_lift_are_inverse_to_one_another():
    effect = mean_effect(0.1, 2.0)
    users = sample_size(effect, 0.9, alpha=0.01, treatment_share=0.2)
    assert power_of(effect, users, 0.01, 0.2) == pytest.approx(0.9, abs=1e-4)
    assert detectable_lift(2.0, users, 0.9, 0.01, 0.2) == pytest.approx(0.1, rel=1e-3)
    assert users > sample_size(effect, 0.9, alpha=0.01)  # halves are best


def test_planned_power_is_what_comes_out():
    effect = rate_effect(0.2, 0.05)
    users = sample_size(effect, 0.8) // 2
    random = np.random.default_rng(0)
    rates = [random.binomial(users, rate, 4000) / users for rate in (0.2, 0.25)]
    error = sum(rate * (1 - rate) / users for rate in rates)
    found = (2 * stats.norm.sf(abs(rates[1] - rates[0]) / np.sqrt(error)) < 0.05).mean()
    assert found == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / 4000))


def test_a_sequence_of_the_planned_size_excludes_zero_as_often_as_planned():
    effect = mean_effect(0.1, 1.0)
    users = sample_size_always_valid(effect, 0.8)
    assert users > sample_size(effect, 0.8)
    error = 4 / users
    values = np.random.default_rng(0).normal(0.1, math.sqrt(error), 4000)
    assert (always_valid_p(values, np.full(4000, error), 0.1) < 0.05).mean() == pytest.approx(0.8, abs=0.026)
