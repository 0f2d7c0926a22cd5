"""Ranked lists and what they are worth: one score per example first, means and intervals derived from those.

E examples, k cut-off
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Recommendations:
    """What a model family returns for E examples."""

    item: np.ndarray  # (E, k) int32, best first, -1 = none
    score: np.ndarray  # (E, k) float32, non-increasing
