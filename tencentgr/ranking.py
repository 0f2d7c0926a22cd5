"""Every item scored for every user, in bounded memory, and what the lists are worth.

E rows, N items, w widened width, L tokens, k list length
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genrec.data.catalog import Catalog
from genrec.data.lists import pad_lists
from genrec.data.sequences import Examples, Sequences
from genrec.evaluation.metrics import CUTOFFS, ListSettings, Recommendations, check_recommendations
from genrec.evaluation.report import Report, describe_rows, make_report, make_slices, write_report
from tencentgr.dataset import SequenceDataset, SequenceRows, TencentGRData, collate, cut_batches
from tencentgr.model import TencentGR, item_rows

BATCH = 512  # sequences encoded at once
SCORES = 1 << 24  # scores held at once
HISTORY = 50  # interactions of a row that slices look at
SCORE_WEIGHTS = {"hr": 0.31, "ndcg": 0.69}  # of the competition's score, over the first 10


@dataclass(frozen=True)
class Ranking:
    """Items are numbered 0..N-1 (re-id minus one), as everywhere in genrec.evaluation."""

    listed: Recommendations
    auc: np.ndarray  # (E,) share of the other items that score below the target, ties by half


def batches(dataset: SequenceDataset, size: int = BATCH, least: int = 1) -> Iterator[dict[str, Tensor]]:
    """The rows in order, each batch without the columns that are padding in all of it."""
    for rows in cut_batches(np.arange(len(dataset)), size, least):
        yield trim(collate(dataset.__getitems__(rows)))


def trim(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the columns on the left that are padding in every row; (B, L) -> (B, T)."""
    used = (batch["token_type"] > 0).any(dim=0)
    first = int(used.int().argmax()) if used.any() else used.shape[0] - 1
    return {name: values[:, first:] if values.dim() == 2 else values for name, values in batch.items()}


@torch.no_grad()
def encode_queries(model: TencentGR, dataset: SequenceDataset) -> Tensor:
    """What each row asks for: the query of its last token, (E, w) on the model's device."""
    device = next(model.parameters()).device
    queries = []
    for batch in batches(dataset):
        batch = {name: values.to(device) for name, values in batch.items()}
        states = model.encode(batch, model.item_vectors(item_rows(batch))[0])
        queries.append(model.similarity.query(states[:, -1]).float())
    return torch.cat(queries)


@torch.no_grad()
def encode_items(model: TencentGR, rows: Tensor) -> Tensor:
    """Item rows (N,) -> (N, w), the other side of the inner product."""
    blocks = [model.similarity.item(model.item_vectors(block)[0]).float() for block in rows.split(8192)]
    return torch.cat(blocks)


@torch.no_grad()
def rank_items(queries: Tensor, items: Tensor, target: Tensor, k: int) -> Ranking:
    """(E, w), (N, w), targets (E,) in 0..N-1 -> the first k items of each row and where its target stands.

    Never more than SCORES scores at once, whatever E and N are.
    """
    N, best, auc = len(items), [], []
    for query, wanted in zip(*(block.split(max(1, SCORES // N)) for block in (queries, target)), strict=True):
        scores = query @ items.T  # (e, w) @ (w, N)
        best.append(scores.topk(min(k, N), dim=1))
        ahead = scores.sub_(scores.gather(1, wanted[:, None])).sign_().sum(dim=1)  # items above less items below
        auc.append((N - 1 - ahead) / (2 * max(N - 1, 1)))
    item = torch.cat([block.indices for block in best]).cpu().numpy().astype(np.int32)
    score = torch.cat([block.values for block in best]).cpu().numpy()
    return Ranking(Recommendations(*pad_lists(item, score, k)), torch.cat(auc).cpu().numpy())


def rank_rows(
    model: TencentGR, data: TencentGRData, rows: SequenceRows, time_features: bool, k: int = max(CUTOFFS)
) -> Ranking:
    """Each row's last interaction is asked of the whole catalogue of training."""
    model.eval()
    device = next(model.parameters()).device
    queries = encode_queries(model, SequenceDataset(data, rows, model.shape.max_history, time_features))
    items = encode_items(model, torch.arange(1, data.schema.num_items + 1, device=device))
    return rank_items(queries, items, torch.from_numpy(targets(data, rows)).to(device), k)


def targets(data: TencentGRData, rows: SequenceRows) -> np.ndarray:
    """(E,) int64 the last interaction of each row, as item number."""
    return data.sequences.item[rows.stop - 1].astype(np.int64) - 1


def with_trained_target(data: TencentGRData, rows: SequenceRows) -> SequenceRows:
    """The rows whose target training has a row for."""
    trained = data.sequences.item[rows.stop - 1] <= data.schema.num_items
    return SequenceRows(rows.sequence[trained], rows.stop[trained])


def make_ranking_report(
    name: str, data: TencentGRData, rows: SequenceRows, split: str, ranking: Ranking, counts: np.ndarray
) -> Report:
    """The shared evaluator's report, with AUC and the competition's score beside HR, NDCG and MRR."""
    examples = as_examples(data, rows)
    catalog, sequences = as_catalog(data), as_sequences(data)
    check_recommendations(ranking.listed, len(examples), ranking.listed.item.shape[1], len(catalog))
    described = describe_rows(examples, catalog, sequences, split, len(rows))
    slices = make_slices(examples, catalog, counts[1:])
    lists = ListSettings(min(ranking.listed.item.shape[1], len(catalog)))
    report = make_report(name, described, examples, ranking.listed, slices, counts[1:], lists)
    report.scores["auc"] = ranking.auc.astype(float)
    k = min(10, lists.length)  # a shorter list holds the whole catalogue, so nothing stands behind it
    report.scores["score"] = sum(weight * report.scores[f"{name}@{k}"] for name, weight in SCORE_WEIGHTS.items())
    return report


def as_examples(data: TencentGRData, rows: SequenceRows) -> Examples:
    back = rows.stop[:, None] - 1 - np.arange(HISTORY, 0, -1)  # (E, HISTORY) interactions before the target
    inside = back >= data.sequences.offset[rows.sequence][:, None]
    history = np.where(inside, data.sequences.item[np.maximum(back, 0)].astype(np.int64) - 1, -1)
    return Examples(rows.sequence.astype(np.int32), history.astype(np.int32), targets(data, rows).astype(np.int32))


def as_catalog(data: TencentGRData) -> Catalog:
    names = data.creative_id[1 : data.schema.num_items + 1].astype(object)
    nothing = np.full(len(names), "", dtype=object)
    return Catalog(item_id=names, title=names, text=nothing, brand=nothing, categories=nothing)


def as_sequences(data: TencentGRData) -> Sequences:
    events = data.sequences
    return Sequences(events.item - 1, events.time, events.offset, data.user_id.astype(object))


def write_evaluation(report: Report, directory: Path, seed: int) -> None:
    """results.json and per_example.npz, as compare_results.py reads them."""
    directory.mkdir(parents=True, exist_ok=True)
    write_report(report, directory, seed)
