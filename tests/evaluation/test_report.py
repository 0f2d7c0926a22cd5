import json

import numpy as np
import pytest

from genrec.artifacts import RESULTS
from genrec.config import Analysis
from genrec.data.sequences import Examples
from genrec.errors import ArtifactError
from genrec.evaluation import report
from tests.small_shop import small_shop


def test_interval_holds_the_truth_in_95_of_100_simulated_experiments():
    random = np.random.default_rng(1)
    inside, trials = 0, 200
    for trial in range(trials):
        user = np.repeat(np.arange(150), random.integers(1, 6, 150))
        taste = random.beta(1, 4, 150)  # rows of one user hang together; the mean over rows is 0.2
        hit = (random.random(len(user)) < taste[user]).astype(float)
        estimate = report.estimate_means(user, {"hr@10": hit}, seed=trial)["hr@10"]
        inside += estimate.low <= 0.2 <= estimate.high
    assert 0.89 <= inside / trials <= 0.99


def test_interval_by_user_is_wider_than_by_row_when_rows_of_a_user_agree():
    user = np.repeat(np.arange(50), 10)
    hit = np.repeat(np.random.default_rng(0).random(50) < 0.3, 10).astype(float)
    by_user = report.estimate_means(user, {"x": hit}, 0)["x"]
    by_row = report.estimate_means(np.arange(500), {"x": hit}, 0)["x"]
    assert by_user.mean == by_row.mean == pytest.approx(hit.mean())
    assert by_user.high - by_user.low > 2 * (by_row.high - by_row.low)


def test_draws_equal_a_loop_over_resamples(monkeypatch):
    monkeypatch.setattr(report, "RESAMPLES", 7)
    random = np.random.default_rng(3)
    user, value = np.array([4, 4, 9, 2, 9, 9]), random.random((6, 2))
    draws = report.draw_ratios(user, value, np.ones((6, 2)), seed=5)
    names = np.unique(user)
    drawn = np.random.default_rng(5).integers(3, size=(7, 3))
    for resample in range(7):
        rows = np.concatenate([np.flatnonzero(user == names[u]) for u in drawn[resample]])
        assert draws[resample] == pytest.approx(value[rows].mean(axis=0))


def test_no_rows_give_no_number():
    empty = report.estimate_means(np.zeros(0, np.int32), {"x": np.zeros(0)}, 0)["x"]
    assert report.estimate_to_json(empty) == {"mean": None, "low": None, "high": None}


def test_slices_by_hand():
    shop = small_shop()
    train_count = np.array([0, 1, 1, 8, 8] + [10] * 15)  # 168 events; items 0..5 hold 28, the rarest 20%
    examples = Examples(
        user=np.arange(4, dtype=np.int32),
        history=np.array([[-1, -1, 3], [-1, 3, 4], [5, 6, 7], [4, 0, 4]], dtype=np.int32),
        target=np.array([0, 1, 19, 4], dtype=np.int32),
    )
    slices = report.make_slices(examples, shop.catalog, train_count)
    assert slices["cold target"].tolist() == [True, False, False, False]
    assert slices["tail target"].tolist() == [False, True, False, True]
    assert slices["short history"].tolist() == [True, True, False, False]
    assert slices["repeat purchase"].tolist() == [False, False, False, True]
    assert slices["category: Toys"].tolist() == [True, False, False, True]  # the level below "Shop", which all share
    assert "category: Shop" not in slices


def test_slices_are_cut_where_the_analysis_cuts():
    assert (report.TAIL_SHARE, report.SHORT_HISTORY) == (Analysis().tail_share, Analysis().short_history)


def example_report(shop) -> report.Report:
    examples = shop.examples("test")
    rows = report.describe_rows(examples, shop.catalog, shop.sequences, "test", len(examples))
    random = np.random.default_rng(0)
    scores = {name: random.random(len(examples)).round(3) for name in ("hr@5", "hr@10", "ndcg@10", "mrr@50")}
    slices = report.make_slices(examples, shop.catalog, shop.train_count)
    return report.Report("popular", rows, examples.user, scores, slices, {"coverage@10": 0.5})


def test_a_report_comes_back_as_it_was_written(tmp_path):
    written = example_report(small_shop())
    report.write_report(written, tmp_path, seed=0)
    read = report.read_report(tmp_path)
    assert read.rows == written.rows and read.model == "popular" and read.beyond == written.beyond
    for name, score in written.scores.items():
        assert read.scores[name] == pytest.approx(score)
    assert all((read.slices[name] == inside).all() for name, inside in written.slices.items())
    content = json.loads((tmp_path / RESULTS).read_text())
    metric = content["metrics"]["ndcg@10"]
    assert metric["low"] < metric["mean"] < metric["high"]
    assert content["slices"]["cold target"] == {
        "rows": 0,
        "share": 0.0,
        "hr@10": {"mean": None, "low": None, "high": None},
        "ndcg@10": {"mean": None, "low": None, "high": None},
    }


def test_the_fingerprint_follows_users_targets_and_catalogue_but_not_history_length():
    shop, other = small_shop(), small_shop(seed=1)

    def fingerprint(shop, examples):
        return report.describe_rows(examples, shop.catalog, shop.sequences, "test", len(examples)).fingerprint

    whole = shop.examples("test")
    shorter = Examples(whole.user, whole.history[:, -2:], whole.target)
    assert fingerprint(shop, whole) == fingerprint(shop, shorter)
    assert fingerprint(shop, whole) != fingerprint(shop, whole.take(np.arange(5)))
    assert fingerprint(shop, whole) != fingerprint(other, other.examples("test"))


def test_the_table_has_a_line_a_model_and_sid_columns_only_when_needed(tmp_path):
    content = report.summarize_report(example_report(small_shop()), seed=0)
    lines = report.make_table([content, content]).splitlines()
    assert len(lines) == 4 and "SID" not in lines[0] and "60 (100% of test)" in lines[2]
    content["metrics"] |= {"sid_hr@10": {"mean": 0.5}, "sid_ndcg@10": {"mean": 0.25}}
    assert report.make_table([content]).splitlines()[2].endswith("0.5000       0.2500")


def test_a_broken_results_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="results.json cannot be read"):
        report.read_results(tmp_path)
    (tmp_path / RESULTS).write_text('{"models": {}}')
    with pytest.raises(ArtifactError, match="is not the results.json of one model"):
        report.read_results(tmp_path)
