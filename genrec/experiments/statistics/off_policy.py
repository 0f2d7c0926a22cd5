"""What would another model have earned? From answers that were drawn with known probabilities, without showing it.

Per answer: the reward r, the logged probability of what was shown, the other model's probability of the same. With
weights w = target / logged:

    IPS    mean(w r)                      Horvitz and Thompson (1952)
    SNIPS  sum(w r) / sum(w)              Swaminathan and Joachims (NIPS 2015)
    DR     mean(q_target + w (r - q))     Dudik, Langford, Li (ICML 2011); q a model of the reward

Intervals are normal, over users: answers to one user are not independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from genrec.errors import ArtifactError

LEAST_EFFECTIVE = 100  # answers that the weighted ones are worth; below, an interval says nothing
LEAST_SHARE = 0.01  # of the answers
SUPPORT = 5  # standard errors by which the mean weight may miss 1


@dataclass(frozen=True)
class Estimate:
    """A mean reward, with an interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Overlap:
    """How much of what the target would show was shown."""

    answers: int
    effective: float  # (sum w)^2 / sum w^2, Kish (1965)
    mean_weight: float  # 1 but for chance where the log can show all that the target would
    weight_error: float
    largest: float  # share of one answer in the sum of weights


@dataclass(frozen=True)
class OffPolicy:
    """The estimates, by name: IPS, SNIPS, and DR where a model of the reward is given; and the log's own mean."""

    estimates: dict[str, Estimate]
    logged: Estimate
    overlap: Overlap


@dataclass(frozen=True)
class LoggedAnswers:
    """(n,) each."""

    user: np.ndarray  # any labels
    reward: np.ndarray
    logged: np.ndarray  # probability of what was shown, in (0, 1]
    target: np.ndarray  # the other model's probability of the same
    predicted: np.ndarray | None = None  # q of what was shown
    predicted_target: np.ndarray | None = None  # mean q over what the target would show


def evaluate_policy(answers: LoggedAnswers, alpha: float = 0.05) -> OffPolicy:
    """ArtifactError where the overlap is too small to say anything."""
    weight = answers.target / answers.logged
    overlap = measure_overlap(weight, answers.user)
    require_overlap(overlap)
    ones, reward = np.ones_like(weight), answers.reward
    parts = {"IPS": (weight * reward, ones), "SNIPS": (weight * reward, weight)}
    if answers.predicted is not None and answers.predicted_target is not None:
        parts["DR"] = (answers.predicted_target + weight * (reward - answers.predicted), ones)
    estimates = {name: estimate_ratio(*each, answers.user, alpha) for name, each in parts.items()}
    return OffPolicy(estimates, estimate_ratio(reward, ones, answers.user, alpha), overlap)


def measure_overlap(weight: np.ndarray, user: np.ndarray) -> Overlap:
    total = float(weight.sum())
    effective = total**2 / float(weight @ weight) if total else 0.0
    mean = total / len(weight)
    deviation = ratio_error(weight, np.ones_like(weight), user)
    return Overlap(len(weight), effective, mean, deviation, float(weight.max()) / total if total else math.nan)


def require_overlap(overlap: Overlap) -> None:
    least = max(LEAST_EFFECTIVE, LEAST_SHARE * overlap.answers)
    if overlap.effective < least:
        raise ArtifactError(
            f"too little overlap: {overlap.answers:,} answers are worth {overlap.effective:.0f} of the other model's, "
            f"at least {least:.0f} are needed; draw lists at a higher temperature, log longer, or run an A/B test"
        )
    if abs(overlap.mean_weight - 1) > SUPPORT * overlap.weight_error and abs(overlap.mean_weight - 1) > 1e-6:
        raise ArtifactError(
            f"the weights have mean {overlap.mean_weight:.3f} +- {overlap.weight_error:.3f} where it must be 1: the "
            "other model shows what the log never could, or the probabilities are not those of what was shown"
        )


def estimate_ratio(numerator: np.ndarray, denominator: np.ndarray, user: np.ndarray, alpha: float) -> Estimate:
    """sum(numerator) / sum(denominator) over (n,) answers, with a normal interval over users."""
    from scipy.stats import norm

    value = float(numerator.sum() / denominator.sum())
    reach = float(norm.ppf(1 - alpha / 2)) * ratio_error(numerator, denominator, user)
    return Estimate(value, value - reach, value + reach)


def ratio_error(numerator: np.ndarray, denominator: np.ndarray, user: np.ndarray) -> float:
    """Standard error of a ratio of sums, by the delta method over users."""
    _, number = np.unique(user, return_inverse=True)
    value = numerator.sum() / denominator.sum() if denominator.sum() else math.nan
    rest = np.bincount(number, weights=numerator - value * denominator)
    users = len(rest)
    if users < 2:
        return math.inf
    return float(math.sqrt(users / (users - 1) * float(rest @ rest)) / abs(denominator.sum()))
