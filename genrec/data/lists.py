"""Recommendation lists of one length: what a small catalogue cannot fill is padding.

K leaves of a trie, k list length
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


def items_of_leaves(
    leaf: np.ndarray, score: np.ndarray, under: np.ndarray, item: np.ndarray, k: int, left_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Leaves (K,) -> the k items below them and their scores, ties by item number.

    The items of leaf i are item[under[i]:under[i + 1]]; those of `left_out` are not listed.
    """
    start, stop = under[leaf], under[leaf + 1]
    items = np.concatenate([item[a:b] for a, b in zip(start, stop, strict=True)] or [np.zeros(0, np.int64)])
    scores = np.repeat(score, stop - start)
    if len(left_out):
        open_ = ~np.isin(items, left_out)
        items, scores = items[open_], scores[open_]
    order = np.lexsort([items, -scores])[:k]
    return pad_lists(items[order], scores[order], k)


def find_cold(train_count: np.ndarray, num_items: int) -> np.ndarray:
    """(n,) train events of the items that training knew -> (N,) bool, items without any; new items come after."""
    cold = np.ones(num_items, dtype=bool)
    cold[: len(train_count)] = train_count == 0
    return cold


def order_longest_first(prompts: list[list[int]]) -> np.ndarray:
    """(E,) the order in which prompts are batched: what memory the run needs shows at once."""
    return np.argsort([-len(prompt) for prompt in prompts], kind="stable")
