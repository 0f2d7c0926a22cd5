"""How many users before one begins: so many that a difference that matters is seen, should it be there.

Normal approximation of the two-sample test: n an arm = (z_{1 - alpha / 2} + z_power)^2 (Var control + Var treatment) /
lift^2. Rates have the variance p (1 - p). Cohen, "Statistical power analysis for the behavioral sciences" (1988).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from genrec.experiments.statistics.always_valid import TAU, sequence_reach

MOST = 10**12  # users an arm, beyond which there is no plan


@dataclass(frozen=True)
class Effect:
    """What one wants to see: a lift of a mean, and the variance of a user's value in either arm."""

    lift: float
    control: float
    treatment: float


def rate_effect(baseline: float, lift: float) -> Effect:
    """Of users who do it or do not."""
    after = baseline + lift
    if not (0 < baseline < 1 and 0 < after < 1):
        raise ValueError(f"a rate of {baseline:g} and one of {after:g} after the lift must both lie between 0 and 1")
    return Effect(lift, baseline * (1 - baseline), after * (1 - after))


def mean_effect(lift: float, deviation: float) -> Effect:
    return Effect(lift, deviation**2, deviation**2)


def sample_size(effect: Effect, power: float, alpha: float = 0.05, treatment_share: float = 0.5) -> int:
    """Users in both arms together for one look at the end; `treatment_share` of them in the treatment."""
    from scipy.stats import norm

    reach = float(norm.ppf(1 - alpha / 2) + norm.ppf(power))
    return math.ceil(reach**2 * spread(effect, treatment_share) / effect.lift**2)


def spread(effect: Effect, treatment_share: float) -> float:
    """n times the variance of the difference of means with n users in both arms together."""
    return effect.control / (1 - treatment_share) + effect.treatment / treatment_share


def power_of(effect: Effect, users: int, alpha: float = 0.05, treatment_share: float = 0.5) -> float:
    """The chance that one look at the end, with so many users in both arms together, finds the effect."""
    from scipy.stats import norm

    shift = abs(effect.lift) / math.sqrt(spread(effect, treatment_share) / users)
    edge = float(norm.ppf(1 - alpha / 2))
    return float(norm.sf(edge - shift) + norm.cdf(-edge - shift))


def detectable_lift(deviation: float, users: int, power: float, alpha: float = 0.05, share: float = 0.5) -> float:
    """The least lift of a mean that so many users in both arms together show with this power."""
    from scipy.stats import norm

    reach = float(norm.ppf(1 - alpha / 2) + norm.ppf(power))
    return reach * math.sqrt(spread(mean_effect(1.0, deviation), share) / users)


def sample_size_always_valid(effect: Effect, power: float, alpha: float = 0.05, treatment_share: float = 0.5) -> int:
    """Users until the confidence sequence excludes 0 with this power, looked at as often as one likes.

    At one look of n users: P(|d| > reach(V)) = power, V = spread / n, found by bisection. Earlier looks can only add to
    the power, so this many are enough; most experiments end sooner.
    """
    from scipy.stats import norm

    tau = TAU * math.sqrt((effect.control + effect.treatment) / 2)
    quantile, total = float(norm.ppf(power)), spread(effect, treatment_share)

    def is_enough(users: int) -> bool:
        error = total / users
        reach = float(sequence_reach(np.array(error), tau, alpha))
        return abs(effect.lift) - reach >= quantile * math.sqrt(error)

    low, high = 1, sample_size(effect, power, alpha, treatment_share)
    while not is_enough(high):
        low, high = high, 2 * high
        if high > MOST:
            raise ValueError(f"a lift of {effect.lift:g} needs more than {MOST:,} users")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high
