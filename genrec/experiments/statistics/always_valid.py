"""Numbers that may be looked at as often as one likes, and acted on at any look.

A p-value of a fixed size holds at one look, chosen beforehand; stopping when it is small finds a difference where there
is none, the more surely the more often one looks. The mixture sequential probability ratio test (mSPRT) holds at all
looks together: Johari, Pekelis, Walsh, "Always valid inference" (arXiv 1512.04922); Robbins (1970).

A look at a difference d with variance V, against a mixture N(0, tau^2) over effects:

    ratio = sqrt(V / (V + tau^2)) exp(tau^2 d^2 / (2 V (V + tau^2)))        p = min(1, 1 / ratio)

The confidence sequence is all effects that this would not reject. V is estimated, so both hold for means of many
users: nothing is said below LEAST an arm. tau must be the same at every look.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from genrec.experiments.statistics.differences import Difference

LEAST = 100  # users an arm before the first look; until then the variance and normality of a mean are not to be trusted
TAU = 0.1  # of a user's standard deviation, where no effect is named; narrowest near 1,600 users an arm


@dataclass(frozen=True)
class Look:
    """What may be said at this look, and at every other one."""

    p_value: float
    low: float
    high: float
    tau: float


def look(difference: Difference, tau: float, alpha: float = 0.05) -> Look | None:
    """None where an arm has fewer than LEAST users, or nobody differs from anybody."""
    if min(difference.control.users, difference.treatment.users) < LEAST or not difference.error:
        return None
    reach = float(sequence_reach(np.array(difference.error), tau, alpha))
    p_value = float(always_valid_p(np.array(difference.value), np.array(difference.error), tau))
    return Look(p_value, difference.value - reach, difference.value + reach, tau)


def default_tau(difference: Difference) -> float:
    """TAU standard deviations of one user."""
    control, treatment = difference.control, difference.treatment
    return TAU * math.sqrt((control.variance + treatment.variance) / 2)


def always_valid_p(value: np.ndarray, error: np.ndarray, tau: float) -> np.ndarray:
    """Differences and their variances, of any shape -> min(1, 1 / mixture likelihood ratio)."""
    exponent = tau**2 * value**2 / (2 * error * (error + tau**2))
    return np.minimum(1.0, np.exp(np.minimum(0.5 * np.log1p(tau**2 / error) - exponent, 0.0)))


def sequence_reach(error: np.ndarray, tau: float, alpha: float) -> np.ndarray:
    """Half the width of the confidence sequence at variance `error`: where the ratio is 1 / alpha."""
    needed = math.log(1 / alpha) + 0.5 * np.log1p(tau**2 / error)
    return np.sqrt(2 * error * (error + tau**2) / tau**2 * needed)
