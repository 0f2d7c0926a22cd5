"""The floor every model must clear: popular items, recently popular items, and the last item with what follows it.

B examples, H history, N items, T events, k cut-off
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from genrec.data.lists import drop_impossible, pad_lists
from genrec.data.sequences import Examples, Past, Sequences
from genrec.errors import ConfigError
from genrec.evaluation.metrics import Recommendations


@dataclass(frozen=True)
class Popular:
    """The same list for everyone: items by training events, ties by item number. Score = share of the events."""

    count: np.ndarray  # (N,)

    def recommend(self, examples: Examples, k: int) -> Recommendations:
        share = (self.count / max(self.count.sum(), 1)).astype(np.float32)
        if examples.excluded is None:
            return take_top_k(np.broadcast_to(share, (1, len(share))), k, rows=len(examples))
        return take_top_k(leave_out(np.tile(share, (len(examples), 1)), examples.excluded), k)


@dataclass(frozen=True)
class LastItem:
    """The last item again, then the items that most often came right after it in training, then popular ones.

    Score of a follower: times it came right after, plus its popularity preference; the item itself 1 above the best.
    """

    followers: sp.csr_array  # (N, N) how often column came right after row
    preference: np.ndarray  # (N,) in (0, 1], by popularity; fills up and breaks ties

    def recommend(self, examples: Examples, k: int) -> Recommendations:
        last = examples.history[:, -1]  # (B,) -1 where there is no history
        scores = np.where(last[:, None] >= 0, self.followers[np.maximum(last, 0)].toarray(), 0) + self.preference
        rows = np.flatnonzero(last >= 0)
        scores[rows, last[rows]] = scores[rows].max(axis=1) + 1
        return take_top_k(leave_out(scores, examples.excluded), k)


def fit_popular(train_count: np.ndarray) -> Popular:
    return Popular(train_count)


def fit_popular_recent(sequences: Sequences, seen: np.ndarray, num_items: int, share: float) -> Popular:
    """Popularity in the latest `share` of the training events; seen (T,) bool marks those."""
    if sequences.is_order:
        raise ConfigError(
            "popular_recent counts the latest events, and this data has order numbers within each user, which no two "
            "users can be compared by; leave it out of evaluation.models"
        )
    start = np.quantile(sequences.time[seen], 1 - share, method="higher")
    return Popular(np.bincount(sequences.item[seen & (sequences.time >= start)], minlength=num_items))


def fit_last_item(sequences: Sequences, seen: np.ndarray, train_count: np.ndarray) -> LastItem:
    follows = seen.copy()  # (T,) events that have a predecessor in training
    follows[sequences.offset[:-1]] = False
    after = np.flatnonzero(follows)
    pairs = (np.ones(len(after)), (sequences.item[after - 1], sequences.item[after]))
    followers = sp.coo_array(pairs, shape=(len(train_count), len(train_count))).tocsr()
    return LastItem(followers, popularity_preference(train_count))


def popularity_preference(train_count: np.ndarray) -> np.ndarray:
    """(N,) -> (N,) in (0, 1], all different: the order by training events, ties by item number."""
    preference = np.empty(len(train_count))
    preference[np.argsort(-train_count, kind="stable")] = 1 - np.arange(len(train_count)) / len(train_count)
    return preference


def leave_out(scores: np.ndarray, excluded: Past | None) -> np.ndarray:
    """(B, N) scores, those of each row's excluded items -inf; in place."""
    if excluded is not None:
        scores[excluded.pairs()] = -np.inf
    return scores


def take_top_k(scores: np.ndarray, k: int, rows: int | None = None) -> Recommendations:
    """Best k items of each row, ties by item number; (B, N) -> (B, k), one row repeated when `rows` is given.

    An item of score -inf stands in no list.
    """
    width = min(k, scores.shape[1])
    order = np.argsort(-scores, axis=1, kind="stable")[:, :width]  # (B, width)
    score = np.take_along_axis(scores, order, axis=1)
    item, score = pad_lists(drop_impossible(order.astype(np.int32), score), score.astype(np.float32), k)
    if rows is not None:
        item, score = np.repeat(item, rows, axis=0), np.repeat(score, rows, axis=0)
    return Recommendations(item, score)
