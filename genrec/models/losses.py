"""What smaller numbers cost: the lists of one model computed in two ways, held against each other.

E examples, k list length
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np

from genrec.data.sequences import Examples
from genrec.evaluation.comparison import Difference, measure_differences, shared_cutoff
from genrec.evaluation.metrics import ListSettings, Recommendations
from genrec.evaluation.report import ScoredRows, make_report
from genrec.models.families import Recommender

LENGTH = 10  # items of the lists that are compared
TIMED = 64  # rows that are answered for the time
ROUNDS = 3


@dataclass(frozen=True)
class Scored:
    """What the rows are, and how their lists are scored."""

    rows: ScoredRows
    examples: Examples
    train_count: np.ndarray  # (N,)
    item_to_sid: np.ndarray  # (N,) number of each item's SID
    lists: ListSettings


def compare_lists(scored: Scored, float32: Recommendations, other: Recommendations, seed: int) -> Difference:
    """NDCG@10 of the others minus that of float32, with its interval over users; @k where lists end at k < 10."""
    reports = [
        make_report(name, scored.rows, scored.examples, lists, {}, scored.train_count, scored.lists, scored.item_to_sid)
        for name, lists in (("float32", float32), ("other", other))
    ]
    everything = np.ones(len(scored.examples), dtype=bool)
    return measure_differences(*reports, (f"ndcg@{shared_cutoff(*reports)}",), everything, seed)[0]


def measure_overlap(one: Recommendations, other: Recommendations) -> float:
    """The mean share of a list's items that the other list has too, in any order."""
    pairs = zip(one.item, other.item, strict=True)
    return float(np.mean([np.isin(a[a >= 0], b).mean() if (a >= 0).any() else 1.0 for a, b in pairs]))


def time_in_turn(sides: Mapping[str, Recommender], examples: Examples) -> dict[str, float]:
    """The median CPU seconds a row of each side; rounds go from side to side, the first one is not timed."""
    rows = examples.take(np.arange(min(TIMED, len(examples))))
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(ROUNDS + 1):
        for name, side in sides.items():
            begin = time.process_time()
            side.recommend(rows, LENGTH)
            if number:
                seconds[name].append((time.process_time() - begin) / len(rows))
    return {name: median(values) for name, values in seconds.items()}
