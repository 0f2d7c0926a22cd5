"""What leaving out items that the user has seen would bring, from the ranked lists as they are: no list is made anew.

E examples, W list length, P past, k cut-off
"""

from __future__ import annotations

from typing import Any

import numpy as np

from genrec.diagnosis.causes import Cases
from genrec.evaluation.report import Estimate, estimate_ratios, estimate_to_json

BLOCK = 1024  # rows that are compared at once


def measure_seen_items(cases: Cases, filtered: bool, seed: int) -> dict[str, Any]:
    """How much of the lists the user has seen, how many truths are repeats, and what NDCG@k gains without seen items.

    `filtered` says whether the lists leave seen items out already.
    """
    had = cases.examples.history if cases.examples.past is None else cases.examples.past.items()  # (E, P)
    seen = mark_seen(cases.recommendations.item, had)  # (E, W)
    repeat = mark_seen(cases.target[:, None], had)[:, 0]  # (E,)
    listed = cases.top >= 0
    shares = seen[:, : cases.limits.top_k].sum(axis=1) / np.maximum(listed.sum(axis=1), 1)
    return {
        "filtered": filtered,
        "listed": round(float(shares.mean()), 6),
        "repeats": round(float(repeat.mean()), 6),
        "gain": estimate_to_json(estimate_change(cases.examples.user, change_of_ndcg(cases, seen, repeat), seed)),
    }


def mark_seen(item: np.ndarray, had: np.ndarray) -> np.ndarray:
    """(E, W) bool: the item is one of those that the row's user had, (E, P) with -1 where there is none."""
    blocks = [slice(begin, begin + BLOCK) for begin in range(0, len(item), BLOCK)]
    return np.concatenate([(item[rows, :, None] == had[rows, None]).any(axis=2) for rows in blocks]) & (item >= 0)


def change_of_ndcg(cases: Cases, seen: np.ndarray, repeat: np.ndarray) -> np.ndarray:
    """(E,) NDCG@k after the seen items have left the lists, minus before: what stands below them moves up."""
    place = np.arange(seen.shape[1])
    above = (seen & (place < cases.rank[:, None] - 1)).sum(axis=1)
    moved = np.where(repeat | (cases.rank == 0), 0, cases.rank - above)
    return gain_at(moved, cases.limits.top_k) - gain_at(cases.rank, cases.limits.top_k)


def gain_at(rank: np.ndarray, top_k: int) -> np.ndarray:
    """(E,) 1-based ranks, 0 not listed -> NDCG@k."""
    inside = (rank > 0) & (rank <= top_k)
    return np.where(inside, 1 / np.log2(np.maximum(rank, 1) + 1), 0.0)


def estimate_change(user: np.ndarray, change: np.ndarray, seed: int) -> Estimate:
    """The mean of one number a row with its interval, a bootstrap of users."""
    return estimate_ratios(user, change[:, None], np.ones((len(change), 1)), seed)[0]
