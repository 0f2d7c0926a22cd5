"""Items that nobody bought in training, listed by how near their texts are to the history's.

A language model has learned that the codes of such an item do not follow, so its lists hold none. Here

    p(i) = (1 - s) p_model(i)    i was bought in training
    p(i) = s q(i)                i was not (cold)
    q    = softmax of cos(x_i, x_history) / T over all items outside the history, cold or not

where x_i is an item's text vector and x_history the mean of the history's, each weighing half of the one after it. Cold
items have of q what they are worth beside all others, so a history whose neighbours are known keeps its list. The sum
is at most 1: what the model gives cold items is left out, and what q gives others.

N items, C cold ones, D width of a text vector, B examples, H history, k items a list
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from genrec.data.lists import drop_impossible, find_cold
from genrec.data.sequences import Examples
from genrec.data.vectors import scale_to_unit
from genrec.errors import ConfigError
from genrec.evaluation.metrics import Recommendations
from genrec.models.knn import weighted_history

if TYPE_CHECKING:
    from genrec.store import RunStore

TEMPERATURE = 0.03  # T; docs/results/cold.md has others beside it
BLOCK = 1 << 16  # items that are looked at at once


@dataclass(frozen=True)
class ColdItems:
    vector: np.ndarray  # (N, D) float32 of length 1
    item: np.ndarray  # (C,) numbers of the cold items
    share: float  # s in (0, 1)

    def mix(self, lists: Recommendations, examples: Examples, allowed: np.ndarray | None) -> Recommendations:
        """Lists (B, k) of a model with the cold items that belong in them, ties by item number.

        `allowed` (N,) bool: what anyone may get; rows without a history stay.
        """
        known = (examples.history >= 0).any(axis=1)
        if not known.any() or not len(self.item):
            return lists
        rows = np.flatnonzero(known)
        item, score, bound = lists.item.copy(), lists.score.copy(), lists.bound
        item[rows], score[rows] = self.mix_rows(item[rows], score[rows], examples.take(rows), allowed)
        if bound is not None:
            bound = bound.copy()
            bound[rows] += np.float32(np.log1p(-self.share))
        return Recommendations(item, score, bound)

    def mix_rows(
        self, item: np.ndarray, score: np.ndarray, examples: Examples, allowed: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        k = item.shape[1]
        is_cold = np.isin(item, self.item)
        warm = np.where(is_cold, -np.inf, score + np.log1p(-self.share))  # (B, k)
        cold = self.log_probabilities(examples, allowed)  # (B, C)
        best = np.argsort(-cold, axis=1, kind="stable")[:, :k]
        items = np.concatenate([item, self.item[best]], axis=1)
        scores = np.concatenate([warm, np.take_along_axis(cold, best, axis=1)], axis=1).astype(np.float32)
        order = np.lexsort((items, -scores), axis=1)[:, :k]
        scores = np.take_along_axis(scores, order, axis=1)
        return drop_impossible(np.take_along_axis(items, order, axis=1).astype(np.int32), scores), scores

    def log_probabilities(self, examples: Examples, allowed: np.ndarray | None) -> np.ndarray:
        """(B, C) log of s q; -inf of what the row may not get."""
        wanted = scale_to_unit(weighted_history(examples.history, len(self.vector)) @ self.vector) / TEMPERATURE
        logs = wanted @ self.vector[self.item].T - self.measure_all(wanted, examples.history) + np.log(self.share)
        if allowed is not None:
            logs[:, ~allowed[self.item]] = -np.inf
        logs[find_places(self.item, *pairs_of(examples.history))] = -np.inf
        if examples.excluded is not None:
            logs[find_places(self.item, *examples.excluded.pairs())] = -np.inf
        return logs

    def measure_all(self, wanted: np.ndarray, history: np.ndarray) -> np.ndarray:
        """(B, D) / T -> (B, 1) log of the sum of exp over all items outside the history (B, H)."""
        total = np.full(len(wanted), -np.inf)
        for start in range(0, len(self.vector), BLOCK):
            block = wanted @ self.vector[start : start + BLOCK].T
            row, item = pairs_of(history)
            here = (item >= start) & (item < start + BLOCK)
            block[row[here], item[here] - start] = -np.inf
            top = np.maximum(block.max(axis=1), np.finfo(np.float32).min)
            with np.errstate(divide="ignore"):
                total = np.logaddexp(total, top + np.log(np.exp(block - top[:, None]).sum(axis=1)))
        return total[:, None]


def pairs_of(history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(B, H) padded with -1 -> row and item of each place that holds one."""
    row, column = np.nonzero(history >= 0)
    return row, history[row, column]


def find_places(sought: np.ndarray, row: np.ndarray, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of row and item -> row and place in `sought` (C,) ascending, of those that stand there."""
    place = np.minimum(np.searchsorted(sought, item), len(sought) - 1)
    found = sought[place] == item
    return row[found], place[found]


def load_cold_items(store: RunStore, num_items: int, train_count: np.ndarray, share: float) -> ColdItems:
    """What a run knows of items without a train event; (n,) `train_count`, new items come after them."""
    store.manifest("embeddings")
    old = len(train_count)
    vector = store.vectors(old)
    if num_items > old:
        vector = np.concatenate([vector, store.new_vectors(num_items - old)])
    return ColdItems(scale_to_unit(vector), np.flatnonzero(find_cold(train_count, num_items)), share)


def refuse_cold_share(place: object, share: float) -> None:
    """Of a model without its run."""
    if share:
        raise ConfigError(
            f"cold_share {share} lists items by their text vectors, which {place} does not hold; name the run, "
            "or leave cold_share 0"
        )
