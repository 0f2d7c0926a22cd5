"""Ranked lists and what they are worth: one score per example first, means and intervals derived from those.

E examples, k cut-off, N items
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from genrec.errors import ArtifactError
from genrec.plugins import METRIC, call_plugin, load_plugin, take_numbers

CUTOFFS = (1, 3, 5, 10, 20, 50)
MISSED = -1  # rank of a target that is not in the list


@dataclass(frozen=True)
class TargetRanks:
    """Where each example's target stands among all items that may be listed; of equal scores by number."""

    rank: np.ndarray  # (E,) int64 from 1; 0 where the list may not hold it
    exact: np.ndarray  # (E,) bool; elsewhere the rank is at least this


@dataclass(frozen=True)
class Recommendations:
    """What a model family returns for E examples.

    A family that answers in semantic IDs lists all items of a shared SID next to each other, with the SID's score.
    """

    item: np.ndarray  # (E, k) int32, best first, -1 = none
    score: np.ndarray  # (E, k) float32, non-increasing
    bound: np.ndarray | None = None  # (E,) float32, of a frontier: what an item not listed may score; -inf where proven
    targets: TargetRanks | None = None  # where they were looked for beyond the list

    @property
    def exact(self) -> np.ndarray | None:
        """(E,) bool, whether a frontier proved the list; None where none searched."""
        return None if self.bound is None else np.isneginf(self.bound)

    def __len__(self) -> int:
        return len(self.item)


@dataclass(frozen=True)
class ListSettings:
    """How lists came about, as far as it bears on their scores."""

    length: int  # places that are ranked; no metric exists beyond
    ranking: str = "all items"  # of a language model: "beam" or "exact"
    num_beams: int | None = None
    normalization: str | None = None  # of a language model's scores
    filter_seen: bool = False  # no list holds an item that the user had before


def cutoffs_within(length: int) -> tuple[int, ...]:
    """The cut-offs that lists of this length have, their end always among them."""
    return tuple(sorted({k for k in CUTOFFS if k <= length} | {min(length, max(CUTOFFS))}))


# What a target at position p (0-based, inside the cut-off) is worth.
GAINS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hr": lambda position: np.ones(len(position)),
    "ndcg": lambda position: 1 / np.log2(position + 2),
    "mrr": lambda position: 1 / (position + 1),
}


def check_recommendations(recommendations: Recommendations, num_examples: int, k: int, num_items: int) -> None:
    """Every family's answer: the right shape, items of the catalogue, each once, scores non-increasing."""
    item, score = recommendations.item, recommendations.score
    if item.shape != (num_examples, k) or score.shape != item.shape:
        raise ValueError(f"recommendations have shapes {item.shape} and {score.shape}, expected {(num_examples, k)}")
    if item.min(initial=0) < -1 or item.max(initial=-1) >= num_items:
        raise ValueError(f"recommended items reach from {item.min()} to {item.max()} in a catalogue of {num_items}")
    ordered = np.sort(item, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise ValueError("an item is recommended twice in one list")
    filled = (item >= 0)[:, 1:]
    if ((item < 0)[:, :-1] & filled).any() or ((score[:, 1:] > score[:, :-1]) & filled).any():
        raise ValueError("a list of recommendations has a gap or an increasing score")


def join_recommendations(parts: list[Recommendations]) -> Recommendations:
    item, score = (np.concatenate([getattr(part, name) for part in parts]) for name in ("item", "score"))
    bounds = [part.bound for part in parts if part.bound is not None]
    targets = [part.targets for part in parts if part.targets is not None]
    return Recommendations(
        item, score, np.concatenate(bounds) if bounds else None, join_targets(targets) if targets else None
    )


def join_targets(parts: Sequence[TargetRanks]) -> TargetRanks:
    return TargetRanks(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("rank", "exact")))


def ranks(listed: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """0-based position of the first match, MISSED where there is none; (E, k), (E,) -> (E,)."""
    matches = listed == wanted[:, None]  # (E, k)
    return np.where(matches.any(axis=1), matches.argmax(axis=1), MISSED)


def item_scores(
    recommendations: Recommendations,
    target: np.ndarray,
    item_to_sid: np.ndarray | None = None,
    cutoffs: Sequence[int] = CUTOFFS,
) -> dict[str, np.ndarray]:
    """{"ndcg@10": (E,), ...} by item; items that share the target's SID and score count as in random order.

    With a run of g tied items at positions a .. a+g-1 the score is mean_{p in run} gain(p): a model that answers with
    the shared SID did not say which of the items it meant.
    """
    rank = ranks(recommendations.item, target)
    if item_to_sid is None:
        return scores_at(rank, rank, recommendations.item.shape[1], cutoffs)
    run = tie_runs(recommendations, item_to_sid)  # (E, k)
    same = run == np.take_along_axis(run, np.maximum(rank, 0)[:, None], axis=1)  # (E, k)
    first, last = same.argmax(axis=1), same.shape[1] - 1 - same[:, ::-1].argmax(axis=1)
    missed = rank == MISSED
    return scores_at(np.where(missed, MISSED, first), np.where(missed, MISSED, last), same.shape[1], cutoffs)


def sid_scores(
    recommendations: Recommendations, target: np.ndarray, item_to_sid: np.ndarray, cutoffs: Sequence[int] = CUTOFFS
) -> dict[str, np.ndarray]:
    """{"sid_ndcg@10": (E,), ...} by SID, as MiniOneRec's calc.py counts: any item of the target's SID is a hit.

    Rank r of the first SID equal to the target's in the list of SIDs; HR = r < k, NDCG = 1 / log2(r + 2). The list
    of SIDs has one entry a run of tied items; duplicates with other scores stand as they are.
    """
    listed = np.where(recommendations.item >= 0, item_to_sid[recommendations.item], -1)
    rank = ranks(listed, item_to_sid[target])
    run = np.take_along_axis(tie_runs(recommendations, item_to_sid), np.maximum(rank, 0)[:, None], axis=1)[:, 0]
    position = np.where(rank == MISSED, MISSED, run)
    scores = scores_at(position, position, listed.shape[1], cutoffs)
    return {f"sid_{name}": score for name, score in scores.items()}


def tie_runs(recommendations: Recommendations, item_to_sid: np.ndarray) -> np.ndarray:
    """(E, k) number of the run each position belongs to: neighbours of equal SID and equal score share one."""
    sid = np.where(recommendations.item >= 0, item_to_sid[recommendations.item], -1)
    score = recommendations.score
    tied = (sid[:, 1:] == sid[:, :-1]) & (score[:, 1:] == score[:, :-1]) & (sid[:, 1:] >= 0)  # (E, k - 1)
    return np.pad(np.cumsum(~tied, axis=1), ((0, 0), (1, 0)))


def scores_at(first: np.ndarray, last: np.ndarray, k: int, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, np.ndarray]:
    """Each metric at each cut-off, averaged over positions first..last; MISSED scores 0. (E,), (E,) -> {name: (E,)}."""
    position = np.arange(k)
    size = last - first + 1
    scores = {}
    for cutoff in cutoffs:
        for name, gain in GAINS.items():
            summed = np.concatenate([[0.0], np.cumsum(gain(position) * (position < cutoff))])  # (k + 1,)
            mean = (summed[last + 1] - summed[first]) / size
            scores[f"{name}@{cutoff}"] = np.where(first == MISSED, 0.0, mean)
    return scores


def own_scores(name: str, rank: np.ndarray, cutoffs: Sequence[int]) -> dict[str, np.ndarray]:
    """{"function@10": (E,), ...} of a metric of the user's own: (rank (E,) from 0 or MISSED, k) -> (E,) in 0..1."""
    function, scores = load_plugin(name, METRIC), {}
    for cutoff in cutoffs:
        value = take_numbers(f"metric {name}", call_plugin(name, function, rank, cutoff))
        if value.shape != rank.shape or not ((value >= 0) & (value <= 1)).all():
            shown = f"{value.shape}, from {value.min(initial=np.inf):g} to {value.max(initial=-np.inf):g}"
            raise ArtifactError(f"metric {name} gave {shown} at {cutoff}; it must give {rank.shape} numbers in 0..1")
        scores[f"{name.rpartition(':')[2]}@{cutoff}"] = value
    return scores


def sid_groups(codes: np.ndarray) -> np.ndarray:
    """(N, L) codes -> (N,) number of each item's SID; items with equal codes share one."""
    return np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)


# Beyond accuracy: what the lists are like, whatever the targets.


def exposure(recommendations: Recommendations, k: int, num_items: int) -> np.ndarray:
    """(N,) how often each item stands in a top k."""
    top = recommendations.item[:, :k]
    return np.bincount(top[top >= 0], minlength=num_items)


def coverage(shown: np.ndarray) -> float:
    """Share of the catalogue that is recommended to anyone; exposure (N,) -> 0..1."""
    return float((shown > 0).mean())


def gini(shown: np.ndarray) -> float:
    """Inequality of exposure, 0 equal .. 1 one item: sum_i (2i - N - 1) x_(i) / (N sum x), x ascending, i from 1."""
    ordered = np.sort(shown)
    number = np.arange(1, len(ordered) + 1)
    total = ordered.sum()
    return float(((2 * number - len(ordered) - 1) * ordered).sum() / (len(ordered) * total)) if total else 0.0


def novelty(shown: np.ndarray, train_count: np.ndarray) -> float:
    """Mean of -log2 p(item) over recommended items, p the share of training events (one event added to every item)."""
    share = (train_count + 1) / (train_count.sum() + len(train_count))
    return float(-(shown * np.log2(share)).sum() / max(shown.sum(), 1))


def popularity_bias(shown: np.ndarray, train_count: np.ndarray, target: np.ndarray) -> float:
    """Mean training events of recommended items over that of the targets; 1 is neutral, above is towards the head."""
    recommended = (shown * train_count).sum() / max(shown.sum(), 1)
    return float(recommended / max(train_count[target].mean(), 1e-9))


def beyond_accuracy(
    recommendations: Recommendations, target: np.ndarray, train_count: np.ndarray, k: int = 10
) -> dict[str, float]:
    shown = exposure(recommendations, k, len(train_count))
    return {
        f"coverage@{k}": coverage(shown),
        f"gini@{k}": gini(shown),
        f"novelty@{k}": novelty(shown, train_count),
        f"popularity_bias@{k}": popularity_bias(shown, train_count, target),
    }
