"""Two models on the same rows: p-values and intervals against exact enumeration and simulation."""

import itertools

import numpy as np
import pytest

from genrec.errors import ArtifactError
from genrec.evaluation import comparison
from tests.evaluation.scores import make_report

NAMES = ("a", "b")


def test_a_run_against_itself_has_p_one_and_only_ties():
    found = comparison.compare_reports(make_report(), make_report(), NAMES, seed=0)
    for each in [*found.overall, *itertools.chain(*found.slices.values())]:
        assert each.p_value == 1 and each.wins == each.losses == 0
        assert (each.difference.mean, each.difference.low, each.difference.high) == (0, 0, 0)
    assert comparison.make_verdict(found).startswith("no difference shown")


def test_a_true_lift_is_found_with_its_size_and_sign():
    better = comparison.compare_reports(make_report(0, users=400), make_report(2, lift=0.05, users=400), NAMES, seed=0)
    each = next(each for each in better.overall if each.metric == "ndcg@10")
    assert 0.03 < each.difference.low < 0.05 < each.difference.high < 0.065 and each.p_value < 0.001
    assert each.wins + each.ties + each.losses == 400 and each.wins > each.losses
    assert comparison.make_verdict(better).startswith("optimized is better")
    assert comparison.make_verdict(
        comparison.compare_reports(make_report(1, 0.05), make_report(0), NAMES, 0)
    ).startswith("optimized is worse")


def test_randomisation_test_equals_all_sign_flips_of_a_small_sample(monkeypatch):
    monkeypatch.setattr(comparison, "ROUNDS", 40_000)
    by_user = np.array([[0.3], [0.5], [-0.1], [0.2], [0.0], [0.4]])
    flips = [abs(np.dot(signs, by_user[:, 0])) for signs in itertools.product([-1, 1], repeat=6)]
    exact = np.mean([flip >= 1.3 - 1e-9 for flip in flips])
    assert comparison.randomisation_test(by_user, seed=0)[0] == pytest.approx(exact, abs=0.005)


def test_p_values_are_uniform_when_there_is_no_difference(monkeypatch):
    monkeypatch.setattr(comparison, "ROUNDS", 400)
    random = np.random.default_rng(0)
    p_values = comparison.randomisation_test(random.standard_normal((80, 500)), seed=1)
    assert 0.02 < (p_values <= 0.05).mean() < 0.085 and abs(p_values.mean() - 0.5) < 0.05


def test_slices_count_their_own_rows_and_empty_ones_are_left_out():
    one, other = make_report(0), make_report(1)
    found = comparison.compare_reports(one, other, NAMES, seed=0)
    assert list(found.slices) == ["tail target"]
    inside, each = one.slices["tail target"], found.slices["tail target"][1]
    assert each.rows == inside.sum() and each.metric == "ndcg@10"
    assert each.difference.mean == pytest.approx((other.scores["ndcg@10"] - one.scores["ndcg@10"])[inside].mean())


def test_other_test_sets_are_refused_with_both_fingerprints():
    with pytest.raises(ArtifactError, match="test set f00d .* has test set beef"):
        comparison.compare_reports(make_report(), make_report(fingerprint="beef"), NAMES, seed=0)
