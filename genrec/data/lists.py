"""Recommendation lists of one length: what a small catalogue cannot fill is padding.

k list length
"""

from __future__ import annotations

import numpy as np

NO_ITEM = -1  # at a place that no item takes; its score is -inf


def drop_impossible(item: np.ndarray, score: np.ndarray) -> np.ndarray:
    """The items (..., w), none where the score is -inf."""
    return np.where(np.isneginf(score), NO_ITEM, item).astype(item.dtype)


def pad_lists(item: np.ndarray, score: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Items and scores (..., w), w <= k, best first -> (..., k) of the same types."""
    missing = [(0, 0)] * (item.ndim - 1) + [(0, k - item.shape[-1])]
    return np.pad(item, missing, constant_values=NO_ITEM), np.pad(score, missing, constant_values=-np.inf)
