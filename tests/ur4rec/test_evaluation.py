import json

import numpy as np
import pytest
import torch

from genrec.evaluation.metrics import check_recommendations
from genrec.stages import compare as compare_results
from tests.ur4rec.small import film_id
from UR4Rec.data.multimodal_dataset import create_dataloaders
from UR4Rec.evaluation import as_catalog, candidate_ranks, evaluate_candidates, evaluate_full, write_full

NUM_ITEMS = 80


def metadata():
    return {
        n: {
            "title": f"T{n}",
            "genres": ["War" if n % 2 else "Drama"],
            "genres_str": "",
            "description": "",
            "original_id": film_id(n),
        }
        for n in range(1, NUM_ITEMS + 1)
    }


@pytest.fixture
def sequences():
    random = np.random.default_rng(0)
    ids = np.arange(1, NUM_ITEMS + 1)
    return {u: random.permutation(ids)[: random.integers(5, 15)].tolist() for u in range(100, 130)}


@pytest.fixture
def loader(sequences):
    return create_dataloaders(sequences, metadata(), batch_size=7, max_seq_len=4, num_candidates=20)[2]


def table_scorer(seed=0):
    """Scores (U, N + 1) drawn once, with many ties."""
    table = torch.from_numpy(np.random.default_rng(seed).integers(0, 30, size=(30, NUM_ITEMS + 1))).float()
    return table, lambda batch: table[batch["user_index"]].clone()


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_the_full_ranking_by_brute_force(loader, sequences, exclude_seen):
    table, score = table_scorer()
    ranking = evaluate_full("model", score, loader, metadata(), exclude_seen)
    check_recommendations(ranking.recommendations, 30, 50, NUM_ITEMS)
    for row, (_, items) in enumerate(sequences.items()):
        past, target = set(items[:-1]) if exclude_seen else set(), items[-1]
        better = sum(
            bool(table[row, other] >= table[row, target])  # an equal stands before the target
            for other in range(1, NUM_ITEMS + 1)
            if other != target and other not in past
        )
        assert ranking.report.scores["hr@10"][row] == (better < 10)
        assert ranking.report.scores["ndcg@10"][row] == pytest.approx(1 / np.log2(better + 2) if better < 10 else 0)
        assert not past & {int(i) + 1 for i in ranking.recommendations.item[row] if i >= 0}
    assert ranking.report.model == ("model" if exclude_seen else "model (seen items kept)")


def test_the_whole_past_is_left_out_not_only_the_models_input(loader, sequences):
    """Inputs hold 4 items; older ones are not recommended either."""
    long = [row for row, items in enumerate(sequences.values()) if len(items) > 8]
    oldest = torch.zeros(30, NUM_ITEMS + 1)
    for row, items in enumerate(sequences.values()):
        oldest[row, items[0]] = 9.0
    ranking = evaluate_full("model", lambda batch: oldest[batch["user_index"]], loader, metadata())
    first = {row: list(sequences.values())[row][0] - 1 for row in long}
    assert long and all(first[row] not in ranking.recommendations.item[row] for row in long)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_model_that_says_nothing_scores_nothing(loader, value):
    ranking = evaluate_full(
        "model", lambda b: torch.full((len(b["user_ids"]), NUM_ITEMS + 1), value), loader, metadata()
    )
    assert ranking.report.scores["hr@10"].max() == 0
    metrics = evaluate_candidates(lambda batch, items: torch.full(items.shape, value), loader)
    assert metrics["hit@10"] == 0 and metrics["avg_rank"] == 20 and metrics["mrr"] == pytest.approx(1 / 20)


def test_the_padding_column_is_not_read(loader):
    table, score = table_scorer()
    one = evaluate_full("model", score, loader, metadata()).report.scores["ndcg@10"]
    table[:, 0] = float("nan")
    assert np.array_equal(one, evaluate_full("model", score, loader, metadata()).report.scores["ndcg@10"])


def test_ranks_among_candidates_by_hand():
    """The target is first; what is not below it stands before it."""
    scores = np.array([[0.5, 0.1, 0.9, 0.5], [2, 1, 1, 1], [np.nan, 0, 0, 0], [0.0, np.nan, -1, -2]])
    assert candidate_ranks(scores).tolist() == [2, 0, 3, 1]


def test_candidate_metrics_by_hand(loader):
    """A model that puts the target of every other row first and of the others last."""

    def score(batch, items):
        scores = -torch.arange(20.0).repeat(len(items), 1)
        scores[batch["user_index"] % 2 == 1, 0] = -100
        return scores

    metrics = evaluate_candidates(score, loader)
    assert metrics["hit@10"] == metrics["ndcg@10"] == metrics["hit@5"] == 0.5
    assert metrics["hit@20"] == 1.0
    assert metrics["ndcg@20"] == pytest.approx((1 + 1 / np.log2(21)) / 2)
    assert metrics["mrr"] == pytest.approx((1 + 1 / 20) / 2) and metrics["avg_rank"] == 10.5


def test_results_can_be_compared_by_the_main_pipeline(loader, tmp_path):
    for seed in (0, 1):
        ranking = evaluate_full(f"model {seed}", table_scorer(seed)[1], loader, metadata())
        write_full(ranking, loader, metadata(), tmp_path / str(seed), seed=42)
    compare_results.write_comparison(tmp_path / "0" / "results.json", tmp_path / "1", tmp_path / "out", seed=42)
    assert "ndcg@10" in json.loads((tmp_path / "out" / "comparison.json").read_text())["verdict"]
    rows = [json.loads(line) for line in (tmp_path / "0" / "eval_results.jsonl").read_text().splitlines()]
    assert len(rows) == 30 and rows[0]["user"] == "100" and rows[0]["truth_title"] == f"T{rows[0]['truth'] + 1}"


def test_the_catalogue_has_the_collections_own_ids():
    catalog = as_catalog(metadata())
    assert catalog.item_id[:2].tolist() == ["3", "6"] and catalog.categories[0] == "War"
