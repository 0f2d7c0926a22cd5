"""The chi-square test of users a share, by hand."""

import pytest

from genrec.experiments.statistics.sample_ratio import check_sample_ratio


def test_the_statistic_is_that_worked_by_hand():
    """(520 - 500)^2 / 500 twice is 1.6; P(chi-square of 1 above 1.6) = .2059."""
    found = check_sample_ratio({"a": 520, "b": 480}, {"a": 0.5, "b": 0.5})
    assert found.p_value == pytest.approx(0.2059, abs=1e-4) and found.matches
    assert found.expected == {"a": 500.0, "b": 500.0}


def test_unequal_shares_are_what_is_expected():
    assert check_sample_ratio({"a": 900, "b": 100}, {"a": 0.9, "b": 0.1}).p_value == 1
    assert not check_sample_ratio({"a": 500, "b": 500}, {"a": 0.9, "b": 0.1}).matches


def test_an_arm_without_users_is_a_mismatch():
    assert not check_sample_ratio({"a": 60, "b": 60, "c": 0}, {"a": 0.4, "b": 0.4, "c": 0.2}).matches
