"""Estimates by hand, without bias and with honest intervals on a small world whose truth is known."""

import numpy as np
import pytest

from genrec.errors import ArtifactError
from genrec.experiments.statistics.off_policy import LoggedAnswers, evaluate_policy, measure_overlap, ratio_error


def world(random, answers=4000, actions=5):
    """Contexts of two kinds, two policies, rewards of 0 and 1 -> (what was logged, the target's true value)."""
    rates = np.array([[0.1, 0.2, 0.3, 0.4, 0.5], [0.5, 0.4, 0.3, 0.2, 0.1]])
    logging, target = np.full((2, actions), 1 / actions), np.array([[1, 1, 2, 3, 3], [3, 1, 2, 1, 3]]) / 10
    kind = random.integers(2, size=answers)
    shown = random.integers(actions, size=answers)
    reward = (random.random(answers) < rates[kind, shown]).astype(float)
    guess = rates + 0.05  # a model of the reward that is off
    logged = LoggedAnswers(
        np.arange(answers), reward, logging[kind, shown], target[kind, shown],
        guess[kind, shown], (target * guess).sum(1)[kind],
    )  # fmt: skip
    return logged, float((target * rates).sum(1).mean())


def test_estimates_are_those_worked_by_hand():
    """Weights 2 and .5 are worth 200 * 1.25^2 / 2.125 answers; weights 1.4 and .6, rewards 1 and 0 give 1.4 / 2."""
    overlap = measure_overlap(np.tile([2.0, 0.5], 100), np.arange(200))
    assert overlap.effective == pytest.approx(200 * 1.25**2 / 2.125) and overlap.mean_weight == 1.25
    target, logged = np.tile([0.7, 0.3], 100), np.full(200, 0.5)
    found = evaluate_policy(LoggedAnswers(np.arange(200), np.tile([1.0, 0.0], 100), logged, target))
    assert found.estimates["IPS"].value == pytest.approx(0.7) and found.estimates["SNIPS"].value == pytest.approx(0.7)
    assert found.logged.value == 0.5 and "DR" not in found.estimates


def test_intervals_hold_the_truth_as_often_as_they_say():
    hits = dict.fromkeys(("IPS", "SNIPS", "DR"), 0)
    errors = dict.fromkeys(hits, 0.0)
    for seed in range(200):
        answers, truth = world(np.random.default_rng(seed))
        for name, estimate in evaluate_policy(answers).estimates.items():
            hits[name] += estimate.low <= truth <= estimate.high
            errors[name] += (estimate.value - truth) / 200
    assert all(180 <= hit <= 200 for hit in hits.values()), hits
    assert all(abs(error) < 0.003 for error in errors.values()), errors


def test_the_same_policy_earns_what_was_earned():
    answers, _ = world(np.random.default_rng(0))
    same = LoggedAnswers(answers.user, answers.reward, answers.logged, answers.logged)
    found = evaluate_policy(same)
    assert found.estimates["IPS"] == found.estimates["SNIPS"] == found.logged
    assert found.overlap.effective == pytest.approx(4000)


def test_answers_to_one_user_count_as_one_draw():
    """Every answer doubled under its user's name: the same interval, not one narrower by sqrt(2)."""
    answers, _ = world(np.random.default_rng(0))
    ones = np.ones(4000)
    once = ratio_error(answers.reward, ones, answers.user)
    twice = ratio_error(np.tile(answers.reward, 2), np.ones(8000), np.tile(answers.user, 2))
    assert twice == pytest.approx(once)


def test_too_little_overlap_is_refused():
    users = np.arange(1000)
    target = np.where(users == 0, 1.0, 1e-6)
    with pytest.raises(ArtifactError, match="too little overlap: 1,000 answers are worth 1 of the other model's"):
        evaluate_policy(LoggedAnswers(users, np.ones(1000), np.full(1000, 0.01), target))
    with pytest.raises(ArtifactError, match="the weights have mean 0.500"):
        evaluate_policy(LoggedAnswers(users, np.ones(1000), np.full(1000, 0.2), np.full(1000, 0.1)))
