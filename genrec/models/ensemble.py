"""Two families as one: their lists as probabilities, mixed.

    p(i) = w softmax(scores of the first list)_i + (1 - w) softmax(scores of the second)_i

An item that a list does not name has no probability there. Meant for families whose scores are log-probabilities up to
a constant: language models under `normalization: trie`, SASRec by its full softmax.

E examples, k items a list, w weight of the first
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec.data.sequences import Examples
from genrec.evaluation.metrics import Recommendations

if TYPE_CHECKING:
    from genrec.models.families import Recommender


@dataclass(frozen=True)
class Ensemble:
    first: Recommender
    second: Recommender
    weight: float

    def recommend(self, examples: Examples, k: int) -> Recommendations:
        return mix_lists(self.first.recommend(examples, k), self.second.recommend(examples, k), self.weight)


def mix_lists(first: Recommendations, second: Recommendations, weight: float) -> Recommendations:
    """The k most probable items of both lists together, ties by item number; scores are probabilities."""
    k = first.item.shape[1]
    item = np.concatenate([first.item, second.item], axis=1)  # (E, 2k), an item of both lists twice
    share = np.concatenate([weight * list_probabilities(first), (1 - weight) * list_probabilities(second)], axis=1)
    same = (item[:, :, None] == item[:, None, :]) & (item >= 0)[:, :, None]  # (E, 2k, 2k)
    total = np.where(same, share[:, None, :], 0).sum(axis=-1)
    repeated = np.triu(np.ones(same.shape[1:], dtype=bool), 1)[None] & same  # a later place of the same item
    total = np.where(repeated.any(axis=1) | (item < 0), -np.inf, total)
    best = np.lexsort((item, -total), axis=1)[:, :k]
    score = np.take_along_axis(total, best, axis=1).astype(np.float32)
    chosen = np.where(np.isfinite(score), np.take_along_axis(item, best, axis=1), -1)
    return Recommendations(chosen.astype(np.int32), score)


def list_probabilities(listed: Recommendations) -> np.ndarray:
    """(E, k) softmax over each list; 0 past its end."""
    score = np.where(listed.item >= 0, listed.score.astype(np.float64), -np.inf)
    power = np.exp(score - np.maximum(score.max(axis=1, keepdims=True), np.finfo(np.float64).min))
    return power / np.maximum(power.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
