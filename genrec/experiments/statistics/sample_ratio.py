"""Did the arms get the users they should? Where not, one arm loses users, and no other number can be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

ALPHA = 0.001  # a mismatch is a fault of the machinery: it must be rare by chance, and shows soon where it is real


@dataclass(frozen=True)
class SampleRatio:
    """Users an arm beside those expected."""

    users: Mapping[str, int]
    expected: Mapping[str, float]
    p_value: float

    @property
    def matches(self) -> bool:
        return self.p_value >= ALPHA


def check_sample_ratio(users: Mapping[str, int], shares: Mapping[str, float]) -> SampleRatio:
    """Chi-square test of users against shares, arm by arm; an arm nobody is in has to stand in `users` with 0.

    Fabijan et al., "Diagnosing sample ratio mismatch in online controlled experiments" (KDD 2019).
    """
    from scipy.stats import chisquare

    counts = np.array([users[arm] for arm in shares], dtype=float)
    weights = np.array(list(shares.values())) / sum(shares.values())
    expected = weights * counts.sum()
    p_value = float(chisquare(counts, expected).pvalue)
    return SampleRatio(dict(users), dict(zip(shares, expected.tolist(), strict=True)), p_value)
