"""Item-kNN: items bought by the same people as the history's items, by cosine of training co-occurrence.

B examples, H history, N items, U users, k cut-off
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from genrec.data.sequences import Examples, Sequences
from genrec.evaluation.metrics import Recommendations
from genrec.models.popular import leave_out, popularity_preference, take_top_k

DECAY = 0.5  # weight of a history item against the one after it


@dataclass(frozen=True)
class ItemKnn:
    """Score of j = sum over history items h of DECAY^age(h) * similarity(h, j); popularity breaks ties."""

    similarity: sp.csr_array  # (N, N)
    preference: np.ndarray  # (N,) in (0, 1]

    def recommend(self, examples: Examples, k: int) -> Recommendations:
        scores = self.scores(examples.history) + 1e-6 * self.preference
        return take_top_k(leave_out(scores, examples.excluded), k)

    def scores(self, history: np.ndarray) -> np.ndarray:
        """(B, H) -> (B, N), without what breaks ties."""
        return (weighted_history(history, len(self.preference)) @ self.similarity).toarray()


def fit_knn(sequences: Sequences, seen: np.ndarray, train_count: np.ndarray) -> ItemKnn:
    """similarity(i, j) = users of both / sqrt(users of i * users of j); of i with itself: users who bought it twice."""
    bought = count_purchases(sequences, seen, len(train_count))
    once, twice = (bought > 0).astype(float), (bought > 1).astype(float)
    together = once.T @ once  # (N, N)
    users = together.diagonal()
    together = together + sp.diags_array(twice.sum(axis=0) - users)
    scale = sp.diags_array(1 / np.sqrt(np.maximum(users, 1)))
    return ItemKnn((scale @ together @ scale).tocsr(), popularity_preference(train_count))


def count_purchases(sequences: Sequences, seen: np.ndarray, num_items: int) -> sp.csr_array:
    """(U, N) how often each user bought each item, of the events `seen` (T,) bool."""
    owner = np.repeat(np.arange(len(sequences)), np.diff(sequences.offset))[seen]
    shape = (len(sequences), num_items)
    return sp.coo_array((np.ones(len(owner)), (owner, sequences.item[seen])), shape=shape).tocsr()  # sums repeats


def weighted_history(history: np.ndarray, num_items: int) -> sp.csr_array:
    """(B, H) left-padded -> (B, N) with DECAY^age where an item stands, the last one of age 0."""
    row, column = np.nonzero(history >= 0)
    age = history.shape[1] - 1 - column
    return sp.coo_array((DECAY**age, (row, history[row, column])), shape=(len(history), num_items)).tocsr()
