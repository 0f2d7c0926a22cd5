import json

import numpy as np
import pytest
from scipy.stats import binomtest

from genrec.artifacts import RESULTS
from genrec.config import Analysis
from genrec.data.sequences import Examples
from genrec.errors import ArtifactError
from genrec.evaluation import report
from genrec.evaluation.metrics import ListSettings, Recommendations
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


@pytest.mark.parametrize("users", [2, 5, 30, 659])
def test_where_all_users_are_alike_the_interval_is_clopper_and_pearsons(users):
    user = np.repeat(np.arange(users), 3)  # three rows of a user tell no more than one
    for value in (0, 1):
        estimate = report.estimate_means(user, {"hr@10": np.full(len(user), float(value))}, 0)["hr@10"]
        exact = binomtest(users * value, users).proportion_ci(0.95, method="exact")
        assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((value, exact.low, exact.high))


def test_there_is_no_interval_from_one_user():
    one = report.estimate_means(np.zeros(40, int), {"x": np.arange(40) / 40, "y": np.zeros(40)}, 0)
    for estimate in one.values():
        assert np.isnan(estimate.low) and np.isnan(estimate.high)
    assert one["x"].mean == pytest.approx(39 / 80)
    # the second column has weight in one user alone
    weights = np.array([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    both, single = report.estimate_ratios(np.arange(3), np.array([[0.0, 1], [1, 1], [0, 1]]), weights, 0)
    assert both.low < both.high and np.isnan(single.low) and single.mean == 1


def test_a_slice_of_few_rows_has_no_interval():
    hit = np.arange(30) % 2.0
    assert np.isnan(report.estimate_slice(np.arange(29), {"x": hit[:29]}, 0)["x"].low)
    assert (
        report.estimate_slice(np.arange(30), {"x": hit}, 0)["x"]
        == report.estimate_means(np.arange(30), {"x": hit}, 0)["x"]
    )


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
    return report.Report("popular", rows, examples.user, scores, slices, {"coverage@10": 0.5}, ListSettings(50))


def test_a_report_comes_back_as_it_was_written(tmp_path):
    written = example_report(small_shop())
    report.write_report(written, tmp_path, seed=0)
    read = report.read_report(tmp_path)
    assert (
        read.lists == written.lists
        and read.rows == written.rows
        and read.model == "popular"
        and read.beyond == written.beyond
    )
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
    assert len(lines) == 6 and "SID" not in lines[0] and lines[4] == "rows: 60 (100% of test)"
    content["metrics"] |= {"sid_hr@10": {"mean": 0.5}, "sid_ndcg@10": {"mean": 0.25}}
    assert report.make_table([content]).splitlines()[3].split()[-2:] == ["0.5000", "0.2500"]


def test_the_table_says_whether_lists_hold_seen_items_and_how_many_targets_that_concerns():
    shop = small_shop()
    kept = report.summarize_report(example_report(shop), seed=0)
    rows = shop.examples("test")
    past = [shop.sequences.item[a:b] for a, b in zip(shop.sequences.offset, rows.past.split.end, strict=False)]
    repeats = sum(target in items for target, items in zip(rows.target, past, strict=True))
    assert repeats and kept["targets_that_repeat"] == {"rows": repeats, "share": round(repeats / 60, 6)}
    line = f"what the user had before; {repeats} targets ({repeats / 60:.1%}) are such items"
    assert report.make_table([kept, kept]).splitlines()[-1] == f"lists may hold {line}"
    out = kept | {"model": "sft", "lists": kept["lists"] | {"filter_seen": True}}
    assert report.make_table([out]).splitlines()[-1] == f"lists leave out {line} and can never be hit"
    assert report.make_table([kept, out]).splitlines()[-2:] == [
        f"popular: lists may hold {line}",
        f"sft: lists leave out {line} and can never be hit",
    ]


def recommend_ranked(num_rows: int, length: int) -> tuple[Examples, Recommendations]:
    """Row r wants item r, which stands at place r of lists of `length` items, 50 places wide."""
    item = np.full((num_rows, 50), -1, dtype=np.int32)
    item[:, :length] = np.arange(length)
    score = np.where(item >= 0, -np.arange(50, dtype=np.float32), -np.inf).astype(np.float32)
    users = np.arange(num_rows, dtype=np.int32)
    return Examples(users, np.zeros((num_rows, 1), np.int32), users), Recommendations(item, score)


def report_of_lists(length: int, model: str = "sft", item_to_sid: np.ndarray | None = None) -> report.Report:
    examples, lists = recommend_ranked(40, length)
    rows = report.ScoredRows("f00d", "test", 40, 40, 40, 60)
    settings = ListSettings(length, "beam", length, "vocab")
    slices = {"everything": np.ones(40, bool)}
    return report.make_report(model, rows, examples, lists, slices, np.ones(60, int), settings, item_to_sid)


@pytest.mark.parametrize(
    ("length", "cutoffs"),
    [(50, [1, 3, 5, 10, 20, 50]), (20, [1, 3, 5, 10, 20]), (15, [1, 3, 5, 10, 15]), (4, [1, 3, 4])],
)
def test_a_metric_exists_up_to_the_end_of_the_lists(length, cutoffs):
    ids = np.arange(60) // 2  # two items a SID, so scores by SID exist too
    scores = report_of_lists(length, item_to_sid=ids).scores
    assert set(scores) == {
        f"{kind}{name}@{k}" for kind in ("", "sid_") for name in ("hr", "ndcg", "mrr") for k in cutoffs
    }
    plain = report_of_lists(length)
    assert [plain.scores[f"hr@{k}"].sum() for k in cutoffs] == np.minimum(cutoffs, 40).tolist()
    assert plain.scores[f"mrr@{length}"].sum() == pytest.approx(sum(1 / r for r in range(1, min(length, 40) + 1)))
    assert list(plain.beyond) == [
        f"{name}@{min(length, 10)}" for name in ("coverage", "gini", "novelty", "popularity_bias")
    ]


def test_the_table_ends_where_the_shortest_lists_end_and_says_so():
    contents = [report.summarize_report(report_of_lists(k, f"m{k}"), 0) for k in (50, 20, 4)]
    both, short = report.make_table(contents[:2]), report.make_table(contents)
    assert "MRR@20" in both and "MRR@50" not in both and "MRR@50" in report.make_table(contents[:1])
    assert both.splitlines()[-2] == "lists of 'm20' end at 20 items, by 20 beams"
    row = short.splitlines()[4].split()
    assert row[:4] == ["m4", "-", "-", "-"] and "MRR@3" in short
    assert "MRR@4" in report.make_table(contents[2:])
    assert contents[2]["slices"]["everything"].keys() == {"rows", "share", "hr@4", "ndcg@4"}
    assert contents[1]["lists"] == {
        "length": 20,
        "ranking": "beam",
        "num_beams": 20,
        "normalization": "vocab",
        "filter_seen": False,
    }


def test_beams_lose_nothing_beyond_their_own_end():
    examples, exact = recommend_ranked(40, 50)
    _, beams = recommend_ranked(40, 20)
    loss = report.measure_beam_loss(examples, beams, exact, 20, 0)
    assert list(loss) == ["rows", "@1", "@3", "@5", "@10", "@20"] and all(loss[k]["lost"] == 0 for k in list(loss)[1:])
    assert "0 of the exact top 10 (0.00% [0.00%, 8.81%]), 0 of the exact top 20" in report.describe_beam_loss(
        "sft", loss
    )


def test_what_steers_a_terminal_is_escaped_in_tables():
    content = report.summarize_report(report_of_lists(50, "\x1b[31mred\u202e"), 0)
    assert report.make_table([content]).splitlines()[2].startswith(r"\x1b[31mred\u202e  ")


def test_results_that_do_not_say_how_long_lists_are_ask_for_a_new_evaluation(tmp_path):
    report.write_report(report_of_lists(20), tmp_path, seed=0)
    content = json.loads((tmp_path / RESULTS).read_text())
    del content["lists"]
    (tmp_path / RESULTS).write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match="does not say how long its lists are"):
        report.read_report(tmp_path)


def test_results_beside_other_rows_are_refused_with_both_counts(tmp_path):
    report.write_report(report_of_lists(20), tmp_path, seed=0)
    content = json.loads((tmp_path / RESULTS).read_text())
    content["rows"]["rows"] = 39
    (tmp_path / RESULTS).write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match="tells of 39 rows, per_example.npz beside it has 40"):
        report.read_report(tmp_path)


def test_a_broken_results_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match="results.json cannot be read"):
        report.read_results(tmp_path)
    (tmp_path / RESULTS).write_text('{"models": {}}')
    with pytest.raises(ArtifactError, match="is not the results.json of one model"):
        report.read_results(tmp_path)
