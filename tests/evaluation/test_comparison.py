"""Two models on the same rows: p-values and intervals against exact enumeration and simulation."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from genrec.errors import ArtifactError
from genrec.evaluation import comparison
from genrec.evaluation.metrics import ListSettings
from tests.evaluation.scores import cut_lists, make_report

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
    halves = comparison.draw_halves(by_user, np.ones(6), seed=0)
    assert comparison.find_p_values(halves)[0] == pytest.approx(exact, abs=0.005)


def test_an_interval_holds_what_the_exact_test_of_a_small_sample_does_not_reject(monkeypatch):
    """All 2^8 halves by hand: a difference is rejected when at most 2.5% of them lie at or beyond it on one side."""
    monkeypatch.setattr(comparison, "ROUNDS", 100_000)
    random = np.random.default_rng(5)
    by_user, rows = random.normal(0.3, 0.5, (8, 1)), random.integers(1, 4, 8).astype(float)
    halves = [np.array(each, bool) for each in itertools.product([False, True], repeat=8)]
    means = np.sort([by_user[half].sum() / rows[half].sum() for half in halves if half.any()])
    estimate = comparison.estimate_intervals(by_user, rows, comparison.draw_halves(by_user, rows, seed=1))[0]
    assert estimate.mean == pytest.approx(by_user.sum() / rows.sum())
    # of 256 halves 6 are 2.3% (the empty one counts on both sides) and 7 are 2.7%: the end is the sixth mean
    assert (estimate.low, estimate.high) == pytest.approx((means[5], means[-6]))


def test_users_without_a_difference_count_by_their_rows(monkeypatch):
    """Drawn as numbers of users, they make what one coin each makes."""
    monkeypatch.setattr(comparison, "ROUNDS", 20_000)
    by_user, rows = np.array([[0.5], [0.0], [0.0], [0.0]]), np.array([1.0, 2.0, 2.0, 3.0])
    halves = comparison.draw_halves(by_user, rows, seed=0)
    assert (halves.rows_inside + halves.rows_outside == 8).all()
    values, counts = np.unique(halves.rows_inside, return_counts=True)
    sums = [sum(each) for each in itertools.product((0, 1), (0, 2), (0, 2), (0, 3))]
    expected = [sums.count(value) / 16 for value in values]
    assert set(values) == set(sums) and counts / 20_000 == pytest.approx(expected, abs=0.015)


def test_no_interval_excludes_zero_with_a_p_above_5_percent_nor_the_other_way_round(monkeypatch):
    monkeypatch.setattr(comparison, "ROUNDS", 1000)
    random, excluded = np.random.default_rng(0), 0
    for trial in range(120):
        users = int(random.integers(1, 40))
        by_user, rows = random.normal(0.25, 0.6, (users, 3)), random.integers(1, 5, users).astype(float)
        by_user[random.random((users, 3)) < 0.3] = 0
        halves = comparison.draw_halves(by_user, rows, seed=trial)
        estimates = comparison.estimate_intervals(by_user, rows, halves)
        for estimate, p_value in zip(estimates, comparison.find_p_values(halves), strict=True):
            outside = estimate.low > 0 or estimate.high < 0
            assert outside == (p_value <= 0.05), (trial, estimate, p_value)
            excluded += outside
    assert 60 < excluded < 300


def test_the_interval_holds_the_truth_in_95_of_100_experiments(monkeypatch):
    monkeypatch.setattr(comparison, "ROUNDS", 1000)
    random, inside = np.random.default_rng(2), 0
    for trial in range(300):
        rows = random.integers(1, 5, 25).astype(float)
        by_user = (rows * 0.1 + np.sqrt(rows) * random.normal(0, 0.3, 25))[:, None]
        halves = comparison.draw_halves(by_user, rows, seed=trial)
        estimate = comparison.estimate_intervals(by_user, rows, halves)[0]
        inside += estimate.low <= 0.1 <= estimate.high
    assert 0.92 <= inside / 300 <= 0.98


def test_five_users_give_no_interval_and_no_verdict():
    five, better = make_report(0, users=5), make_report(0, lift=0.2, users=5)
    compared = comparison.compare_reports(five, better, NAMES, seed=0)
    headline = compared.overall[5]
    assert headline.metric == "ndcg@10" and np.isnan(headline.difference.low) and headline.p_value > 0.05
    text = comparison.describe_comparison(compared)
    assert "no difference shown: ndcg@10 +0.2000 -, p = 0.0" in text and "too few users for an interval" in text
    assert comparison.comparison_to_json(compared)["overall"][5]["difference"]["low"] is None


def test_p_values_are_uniform_when_there_is_no_difference(monkeypatch):
    monkeypatch.setattr(comparison, "ROUNDS", 400)
    random = np.random.default_rng(0)
    halves = comparison.draw_halves(random.standard_normal((80, 500)), np.ones(80), seed=1)
    p_values = comparison.find_p_values(halves)
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


def test_other_splits_rows_and_users_are_refused_with_both_values():
    one = make_report()
    other = replace(one, rows=replace(one.rows, split="valid"))
    with pytest.raises(ArtifactError, match="test rows, .* valid rows"):
        comparison.compare_reports(one, other, NAMES, seed=0)
    user = one.user.copy()
    user[7] = 0  # the fingerprint knows nothing of it
    with pytest.raises(ArtifactError, match=f"row 7 first: user {one.user[7]} in a, user 0 in b"):
        comparison.compare_reports(one, replace(one, user=user), NAMES, seed=0)


def test_users_may_be_numbered_in_another_way():
    one = make_report()
    compared = comparison.compare_reports(one, replace(one, user=1000 - one.user), NAMES, seed=0)
    assert compared.overall[0].p_value == 1


def test_identical_weights_at_10_and_50_beams_are_compared_as_far_as_both_go():
    long, short = make_report(), cut_lists(make_report(), 10, num_beams=10, ranking="beam")
    compared = comparison.compare_reports(short, long, NAMES, seed=0)
    assert [each.metric for each in compared.overall] == ["hr@1", "hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr@10"]
    assert all(each.difference.mean == 0 for each in compared.overall)
    text = comparison.describe_comparison(compared)
    assert "length 10 against 50" in text and "num_beams 10 against None" in text
    assert comparison.comparison_to_json(compared)["lists"]["baseline"]["num_beams"] == 10
    assert "made in other ways" not in comparison.describe_comparison(comparison.compare_reports(long, long, NAMES, 0))


def test_lists_of_five_items_are_decided_at_five():
    compared = comparison.compare_reports(cut_lists(make_report(), 5), make_report(1, 0.05), NAMES, seed=0)
    assert compared.headline == "ndcg@5" and "ndcg@5" in comparison.make_verdict(compared)
    assert [each.metric for each in compared.slices["tail target"]] == ["hr@5", "ndcg@5"]


def test_treatment_of_seen_items_is_said():
    one = make_report()
    other = replace(one, lists=ListSettings(50, filter_seen=True))
    text = comparison.describe_comparison(comparison.compare_reports(one, other, NAMES, seed=0))
    assert "filter_seen False against True" in text


def test_a_slice_of_few_rows_shows_its_count_and_no_claim():
    one = make_report()
    rare = np.zeros(len(one.user), dtype=bool)
    rare[:29] = True
    one = replace(one, slices=one.slices | {"category: \x1b[2Jrare": rare})
    compared = comparison.compare_reports(one, make_report(1, lift=0.05), NAMES, seed=0)
    assert compared.small_slices == {"category: \x1b[2Jrare": 29} and list(compared.slices) == ["tail target"]
    text = comparison.describe_comparison(compared)
    row = next(line for line in text.splitlines() if "rare" in line)
    assert row.split()[2:] == ["29", "-", "-", "-"] and "\x1b" not in text
    assert comparison.comparison_to_json(compared)["too_few_rows"] == compared.small_slices
