"""A curve read: its rise against its noise, and what losses say of the rate."""

import numpy as np
import pytest

from genrec.advice.learning import measure_rise, noise_of, read_learning, read_rate
from tests.advice.reports import trained


def test_noise_is_that_of_the_points_whatever_the_slope():
    noise = np.random.default_rng(0).normal(0, 0.02, 4000)
    assert noise_of(np.linspace(0, 9, 4000) + noise) == pytest.approx(0.02, rel=0.1)
    assert noise_of(np.array([0.1, 0.2, 0.3])) == pytest.approx(0, abs=1e-12)


def test_the_rise_is_that_of_the_line_through_the_last_third():
    rise, error = measure_rise(np.array([0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.6, 0.7, 0.8]))
    assert rise == pytest.approx(0.2) and error == pytest.approx(2 * noise_of_nine() * np.sqrt(12 / 24))


def noise_of_nine() -> float:
    """Second differences -.5, 0, 0, 0, .1, 0, 0 of the scores above."""
    return np.sqrt((0.25 + 0.01) / 7 / 6)


@pytest.mark.parametrize(
    ("scores", "trend"),
    [
        ([0.1, 0.2, 0.3, 0.4], "rising"),
        ([0.3, 0.41, 0.4, 0.41, 0.4, 0.41, 0.4], "level"),
        ([0.3, 0.4, 0.41, 0.3, 0.2], "falling"),
        ([0.2, 0.3, 0.1], "level"),  # three points as wild as these tell nothing
    ],
)
def test_the_whole_curve_decides(scores, trend):
    assert read_learning(trained(*scores)).trend == trend
    assert "NDCG@10" in read_learning(trained(*scores)).describe("ndcg@10")


@pytest.mark.parametrize(("best_at", "trend"), [(1.0, "rising"), (0.9, "falling")])
def test_two_validations_tell_where_it_was_best_and_no_more(best_at, trend):
    assert read_learning(trained(0.1, 0.2, best_at=best_at)).trend == trend and read_learning(None) is None


def with_losses(*values: float) -> dict:
    return {"losses": [{"step": i, "loss": value} for i, value in enumerate(values)]}


@pytest.mark.parametrize(
    ("losses", "rate"),
    [
        ([2.2, 1.7, *[1.5] * 8, *[1.4] * 10], "too high"),  # a quick first fall, then next to nothing
        (np.linspace(2.2, 1.3, 20), "fits"),  # too low perhaps: it falls as it did
        (2.2 * 0.92 ** np.arange(20), "fits"),
        ([2.2, 1.3], None),
    ],
)
def test_losses_that_hardly_fall_at_the_highest_rate_say_that_it_is_too_high(losses, rate):
    assert read_rate(with_losses(*losses)) == rate and read_rate(None) is None
