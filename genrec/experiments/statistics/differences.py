"""How much better is one arm? Means and ratios of users, with intervals; less noise by what was known before.

A user is the unit that was dealt out, so a user is one number here, however many requests it made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sample:
    """One arm's users: how many, their mean, and the variance of one user's value (not of the mean)."""

    users: int
    mean: float
    variance: float

    @property
    def error(self) -> float:
        """Variance of the mean."""
        return self.variance / self.users


@dataclass(frozen=True)
class Difference:
    """Treatment minus control, with an interval; the relative one is of treatment / control - 1."""

    control: Sample
    treatment: Sample
    low: float
    high: float
    p_value: float
    relative_low: float  # nan where the control's mean is 0
    relative_high: float

    @property
    def value(self) -> float:
        return self.treatment.mean - self.control.mean

    @property
    def relative(self) -> float:
        return self.value / self.control.mean if self.control.mean else math.nan

    @property
    def error(self) -> float:
        """Variance of the difference."""
        return self.control.error + self.treatment.error


def describe_sample(values: np.ndarray) -> Sample:
    """(n,) values of users, at least two."""
    if len(values) < 2:
        raise ValueError(f"an arm needs at least two users, found {len(values)}")
    return Sample(len(values), float(np.mean(values)), float(np.var(values, ddof=1)))


def compare_means(control: np.ndarray, treatment: np.ndarray, alpha: float = 0.05) -> Difference:
    """(n,) and (m,) values of users -> their difference, by Welch's t test (Biometrika 1947)."""
    return compare_samples(describe_sample(control), describe_sample(treatment), alpha)


def compare_samples(control: Sample, treatment: Sample, alpha: float = 0.05) -> Difference:
    """The same of means and variances."""
    from scipy.stats import t

    value, error = treatment.mean - control.mean, math.sqrt(control.error + treatment.error)
    freedom = welch_freedom(control, treatment)
    reach = float(t.ppf(1 - alpha / 2, freedom)) * error
    p_value = float(2 * t.sf(abs(value) / error, freedom)) if error else float(value == 0)
    bounds = relative_bounds(control, treatment, float(t.ppf(1 - alpha / 2, freedom)))
    return Difference(control, treatment, value - reach, value + reach, p_value, *bounds)


def welch_freedom(control: Sample, treatment: Sample) -> float:
    """Satterthwaite's degrees of freedom; of two arms without any variance those of equal ones."""
    total = control.error + treatment.error
    if not total:
        return control.users + treatment.users - 2
    parts = [sample.error**2 / (sample.users - 1) for sample in (control, treatment)]
    return total**2 / sum(parts)


def relative_bounds(control: Sample, treatment: Sample, quantile: float) -> tuple[float, float]:
    """Of treatment / control - 1, by the delta method: Var(T / C) is about Var(T) / C^2 + T^2 Var(C) / C^4."""
    if control.mean == 0:
        return math.nan, math.nan
    ratio = treatment.mean / control.mean
    error = math.sqrt(treatment.error + ratio**2 * control.error) / abs(control.mean)
    return ratio - 1 - quantile * error, ratio - 1 + quantile * error


def linearize_ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """(n,) sums of users -> (n,) values whose mean is sum(numerator) / sum(denominator), with that ratio's variance.

    L = R + (x - R y) / mean(y); Var(mean L) is the delta method's (Var x - 2 R Cov(x, y) + R^2 Var y) / (n mean(y)^2).
    Deng et al., "Applying the delta method in metric analytics" (KDD 2018); Budylin et al., "Consistent transformation
    of ratio metrics" (WSDM 2018). One arm at a time: each has its own R.
    """
    mean = float(np.mean(denominator))
    if mean == 0:
        raise ValueError("the denominator of a ratio is 0 for every user of an arm")
    ratio = float(np.mean(numerator)) / mean
    return ratio + (numerator - ratio * denominator) / mean


@dataclass(frozen=True)
class Adjusted:
    """Values of each arm without the part that the time before predicts."""

    arms: list[np.ndarray]
    kept: float  # of the variance within arms, 1 - r^2


def adjust_by_before(values: Sequence[np.ndarray], before: Sequence[np.ndarray]) -> Adjusted:
    """(n_a,) values and (n_a,) values of before for each arm -> values of the same means but for chance, less noise.

    Y - theta (X - mean X), theta = Cov(X, Y) / Var(X) within arms; X was there before anybody was dealt out, so its
    mean is the same in all arms but for chance, which is what is taken out. CUPED: Deng et al. (WSDM 2013).
    """
    centred_x = np.concatenate([each - each.mean() for each in before])
    centred_y = np.concatenate([each - each.mean() for each in values])
    spread, total = float(centred_x @ centred_x), float(centred_y @ centred_y)
    if not spread or not total:  # nothing to predict by, or nothing to predict
        return Adjusted(list(values), 1.0)
    slope = float(centred_x @ centred_y) / spread
    centre = float(np.mean(np.concatenate(before)))
    arms = [y - slope * (x - centre) for x, y in zip(before, values, strict=True)]
    return Adjusted(arms, 1 - slope**2 * spread / total)
