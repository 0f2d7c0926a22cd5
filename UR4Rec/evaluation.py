"""Two protocols: the whole catalogue ranked, as everywhere in this project, and the target among 99 random items.

Numbers of the second are far higher, depend on the draw, and can be held against nothing but themselves; they are there
because this system's first publication used them. In both, items that score as high as the target stand before it.

B rows, E examples, N items, C candidates, k list length
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genrec.data.catalog import Catalog
from genrec.data.lists import pad_lists
from genrec.data.sequences import count_train_events
from genrec.data.splits import leave_one_out
from genrec.evaluation.metrics import CUTOFFS, ListSettings, Recommendations, join_recommendations, scores_at
from genrec.evaluation.predictions import write_predictions
from genrec.evaluation.report import Report, describe_rows, make_report, make_slices, write_report
from UR4Rec.data.batches import Batch, EpochLoader
from UR4Rec.data.dataset_loader import ItemMetadata

LIST_LENGTH = max(CUTOFFS)
RANK_CUTOFFS = (5, 10, 20)

ScoreAll = Callable[[Batch], Tensor]  # -> (B, N + 1), column = item id; column 0 is not read
ScoreSome = Callable[[Batch, Tensor], Tensor]  # batch, item ids (B, C) -> (B, C)


@dataclass(frozen=True)
class FullRanking:
    report: Report
    recommendations: Recommendations  # item numbers 0..N-1, an id less one


@torch.no_grad()
def evaluate_full(
    name: str, score: ScoreAll, loader: EpochLoader, item_metadata: ItemMetadata, exclude_seen: bool = True
) -> FullRanking:
    """HR, NDCG and MRR over the whole catalogue; with `exclude_seen` items of the user's past are not recommended.

    The past is everything the sequence holds before the target, also what is older than the model's input.
    """
    dataset = loader.dataset
    lists = [rank(score(batch), batch, dataset.seen if exclude_seen else None) for batch in loader]
    recommendations = join_recommendations(lists)
    examples, catalog = dataset.examples(), as_catalog(item_metadata)
    rows = describe_rows(examples, catalog, dataset.sequences, dataset.split, len(dataset))
    counts = count_train_events(dataset.sequences, leave_one_out(dataset.sequences), len(catalog))
    title = name if exclude_seen else f"{name} (seen items kept)"
    slices = make_slices(examples, catalog, counts)
    lists = ListSettings(min(LIST_LENGTH, len(catalog)), filter_seen=exclude_seen)
    return FullRanking(make_report(title, rows, examples, recommendations, slices, counts, lists), recommendations)


def write_full(
    ranking: FullRanking, loader: EpochLoader, item_metadata: ItemMetadata, directory: Path, seed: int
) -> None:
    """results.json and the files beside it, as evaluate.py writes them: compare_results.py takes the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    dataset, catalog = loader.dataset, as_catalog(item_metadata)
    write_predictions(directory, dataset.examples(), ranking.recommendations, catalog, dataset.sequences)
    write_report(ranking.report, directory, seed)


def rank(scores: Tensor, batch: Batch, seen: np.ndarray | None, k: int = LIST_LENGTH) -> Recommendations:
    """Scores (B, N + 1) -> the best k; NaN is last, and the target stands behind its equals."""
    values = np.nan_to_num(scores[:, 1:].float().cpu().numpy(), nan=-np.inf, neginf=-np.inf, posinf=np.inf)  # (B, N)
    target = batch["target_items"].cpu().numpy() - 1
    is_target = np.arange(values.shape[1]) == target[:, None]
    if seen is not None:
        values[seen[batch["user_index"].cpu().numpy(), 1:] & ~is_target] = -np.inf
    order = np.lexsort((is_target, -values))[:, :k]  # (B, k)
    best = np.take_along_axis(values, order, axis=1)
    items = np.where(best > -np.inf, order, -1).astype(np.int32)
    return Recommendations(*pad_lists(items, best.astype(np.float32), k))


@torch.no_grad()
def evaluate_candidates(score: ScoreSome, loader: EpochLoader) -> dict[str, float]:
    """rank_metrics of the target among the loader's candidates."""
    ranks, candidates = [], 0
    for batch in loader:
        items = batch["candidate_items"]
        candidates = items.shape[1]
        ranks.append(candidate_ranks(score(batch, items).float().cpu().numpy()))
    return rank_metrics(np.concatenate(ranks), candidates)


def rank_metrics(rank: np.ndarray, compared: int) -> dict[str, float]:
    """Ranks (E,), 0 the best of `compared` items -> {"hit@10", "ndcg@10", ..., "mrr", "avg_rank"}, there 1 the best."""
    scores = scores_at(rank, rank, compared)
    metrics = {
        f"{name}@{cutoff}": float(scores[f"{ours}@{cutoff}"].mean())
        for cutoff in RANK_CUTOFFS
        for name, ours in (("hit", "hr"), ("ndcg", "ndcg"))
    }
    return {**metrics, "mrr": float((1 / (rank + 1)).mean()), "avg_rank": float((rank + 1).mean())}


def candidate_ranks(scores: np.ndarray) -> np.ndarray:
    """(B, C), the target's score first -> (B,) others that are not below it; what is NaN is not below."""
    return (~(scores[:, 1:] < scores[:, :1])).sum(axis=1)


def full_ranks(scores: Tensor, batch: Batch, seen: np.ndarray | None) -> np.ndarray:
    """(B, N + 1) -> (B,) other items that are not below the target, leaving out `seen` (U, N + 1) where given."""
    values, target = scores.float().cpu().numpy(), batch["target_items"].cpu().numpy()[:, None]
    counts = np.ones(values.shape, dtype=bool) if seen is None else ~seen[batch["user_index"].cpu().numpy()]
    counts[:, 0] = False
    np.put_along_axis(counts, target, False, axis=1)
    return (counts & ~(values < np.take_along_axis(values, target, axis=1))).sum(axis=1)


def as_catalog(item_metadata: ItemMetadata) -> Catalog:
    """The main pipeline's catalogue; its item numbers are the ids less one."""

    def column(values) -> np.ndarray:
        return np.array(list(values), dtype=object)

    items = [item_metadata[number] for number in range(1, len(item_metadata) + 1)]
    return Catalog(
        item_id=column(str(item["original_id"]) for item in items),
        title=column(item["title"] for item in items),
        text=column(item["description"] for item in items),
        brand=column("" for _ in items),
        categories=column(",".join(item["genres"]) for item in items),
    )
