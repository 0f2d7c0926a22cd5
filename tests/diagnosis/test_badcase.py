"""Bad cases whose class is known get that class, and a cause is told from a big group."""

import json
from dataclasses import replace

import numpy as np
import pytest

from genrec.data.catalog import Catalog
from genrec.data.sequences import Examples, Sequences
from genrec.diagnosis.badcase_page import Remedy, render_page
from genrec.diagnosis.badcase_report import (
    CaseReader,
    CaseSampling,
    count_levels,
    make_badcase_report,
    summarize_sid_quality,
)
from genrec.diagnosis.badcase_text import describe_report
from genrec.diagnosis.causes import CAUSES, CaseLimits, Cases
from genrec.diagnosis.lift import compare_rates, diagnose_cases
from genrec.diagnosis.plots import BADCASE_PLOTS
from genrec.evaluation.metrics import Recommendations
from genrec.evaluation.report import estimate_means

# Items 0-3 are category 0, 4-7 category 1, 8-11 category 2; the SID is (category, pair, place in the pair).
NUM_ITEMS = 12
CATEGORY = np.arange(NUM_ITEMS) // 4
CODES = np.stack([CATEGORY, np.arange(NUM_ITEMS) // 2 % 2, np.arange(NUM_ITEMS) % 2], axis=1)
COUNT = np.array([100, 90, 80, 0, 10, 10, 10, 10, 10, 10, 10, 1])
LIMITS = CaseLimits(top_k=2, near_miss=4, short_history=2, recent_items=2)
REMEDIES = [Remedy("long_tail", "rare items weigh more", "40% <of> misses")]


def cases(*rows: tuple[list[int], int, list[int]], **known) -> Cases:
    """Rows of (history, target, recommended items), each of its own user."""
    history = np.full((len(rows), 5), -1, dtype=np.int32)
    listed = np.full((len(rows), 4), -1, dtype=np.int32)
    for row, (bought, _, items) in enumerate(rows):
        history[row, 5 - len(bought) :] = bought
        listed[row, : len(items)] = items
    examples = Examples(np.arange(len(rows), dtype=np.int32), history, np.array([target for _, target, _ in rows]))
    score = -np.arange(4, dtype=np.float32) * np.ones((len(rows), 1), dtype=np.float32)
    tail = np.arange(NUM_ITEMS) == 11
    given = {"category": CATEGORY, "codes": CODES} | known
    return Cases(LIMITS, examples, Recommendations(listed, score), COUNT, tail, **given)


def causes_of(made: Cases) -> set[str]:
    found = diagnose_cases(made, seed=0)
    return {name for name, finding in found.items() if finding is not None and finding.rows[0]}


HIT = ([4, 5, 6], 7, [7, 6])

# One bad case each, with all the causes it should get and none besides.
KNOWN = {
    "cold item": (([0, 1, 2], 3, [2, 1]), {"cold_item", "wrong_at_level_3"}),
    "long tail": (([8, 9, 10], 11, [10, 9]), {"long_tail", "wrong_at_level_3"}),
    "short history": (([4, 5], 7, [6, 5]), {"short_history", "wrong_at_level_3"}),
    "nothing known of the user": (([], 7, [6, 5]), {"short_history", "wrong_at_level_3"}),
    "right category, wrong at level 2": (([4, 5, 6], 7, [5, 4]), {"wrong_at_level_2"}),
    "near miss": (([4, 5, 6], 7, [5, 4, 7]), {"wrong_at_level_2", "near_miss"}),
    "repeat purchase": (([4, 7, 5], 7, [5, 6]), {"repeat_purchase_missed", "wrong_at_level_3"}),
    "last items ignored, truth like them": (
        ([8, 4, 5], 7, [8, 9]),
        {"recent_preference_ignored", "category_mismatch", "wrong_at_level_1"},
    ),
    "truth unlike the last items": (([4, 5, 6], 9, [4, 5]), {"category_mismatch", "wrong_at_level_1"}),
    "popular items instead of the user's": (
        ([4, 5, 6], 7, [0, 1]),
        {"popularity_bias", "recent_preference_ignored", "category_mismatch", "wrong_at_level_1"},
    ),
    "an empty list": (
        ([4, 5, 6], 7, []),
        {"recent_preference_ignored", "category_mismatch", "wrong_at_level_1"},
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_case_of_known_class_gets_that_class(name):
    row, expected = KNOWN[name]
    assert causes_of(cases(row, HIT)) == expected


def test_an_item_that_shares_its_sid_is_a_collision_and_right_at_every_level():
    codes = CODES.copy()
    codes[6] = codes[7]
    assert causes_of(cases(([4, 5, 6], 7, [6, 5]), HIT, codes=codes)) == {"sid_collision"}


def test_a_fourth_level_is_wrong_deeper():
    codes = np.concatenate([CODES // 2 * 0, CODES], axis=1)
    assert "wrong_deeper" in causes_of(cases(([4, 5, 6], 7, [6, 5]), HIT, codes=codes))


def test_levels_are_the_first_at_which_the_list_and_its_best_item_left_the_truth():
    made = cases(([4, 5, 6], 7, [5, 6]), ([4, 5, 6], 7, [0, 4]), HIT)
    assert count_levels(made) == {"list": [0, 1, 1, 0], "best_item": [1, 1, 0, 0]}
    level_counts = [diagnose_cases(made, 0)[f"wrong_at_level_{level}"].rows.sum() for level in (1, 2, 3)]
    assert sum(level_counts) == made.miss.sum() == 2


def test_beam_loss_needs_an_exact_ranking_and_is_not_measured_without_one():
    row = ([4, 5, 6], 7, [6, 5])
    assert diagnose_cases(cases(row, HIT), 0)["beam_loss"] is None
    exact = Recommendations(np.array([[6, 7, 5, 4], [7, 6, 5, 4]]), np.zeros((2, 4), np.float32))
    made = cases(row, HIT, exact=exact)
    assert diagnose_cases(made, 0)["beam_loss"].rows.tolist() == [True, False]
    report = make(cases(row, HIT))
    assert report["failure_patterns"]["beam_loss"]["finding"] == "not measured"
    assert "count" not in report["failure_patterns"]["beam_loss"]


def test_what_the_run_does_not_know_is_not_measured_and_never_zero():
    found = diagnose_cases(cases(KNOWN["near miss"][0], HIT, category=None, codes=None), 0)
    unmeasured = {name for name, finding in found.items() if finding is None}
    assert unmeasured == {name for name, cause in CAUSES.items() if cause.needs}
    assert diagnose_cases(cases(KNOWN["near miss"][0], HIT, category=None), 0)["recent_preference_ignored"] is not None


def test_lift_by_hand():
    """8 misses of which 6 have the cause, 4 hits of which 1 has it: 0.75 / 0.25 = 3, excess 0.5."""
    found = np.array([1, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0], dtype=bool)[:, None]
    miss = np.arange(12) < 8
    misses, hits, lift, excess = compare_rates(np.arange(12), found, miss, seed=0)[0]
    assert (misses.mean, hits.mean, lift.mean, excess.mean) == (0.75, 0.25, 3.0, 0.5)
    assert misses.low < 0.75 < misses.high and lift.low < 3 < lift.high


def test_intervals_of_a_share_are_those_of_the_evaluation():
    random = np.random.default_rng(0)
    user, found = random.integers(0, 40, 200), random.random(200) < 0.3
    misses = compare_rates(user, found[:, None], np.ones(200, bool), seed=3)[0][0]
    known = estimate_means(user, {"x": found.astype(float)}, seed=3)["x"]
    assert misses.mean == pytest.approx(known.mean)
    assert (misses.low, misses.high) == pytest.approx((known.low, known.high), abs=0.01)


def many(share_missed_of_tail: float, share_missed: float, num_rows: int = 600) -> Cases:
    """Half of the rows want the tail item 11; misses are drawn with the two shares."""
    random = np.random.default_rng(0)
    rows = []
    for row in range(num_rows):
        tail = row % 2 == 0
        target = 11 if tail else 7
        missed = random.random() < (share_missed_of_tail if tail else share_missed)
        rows.append(([4, 5, 8], target, [5, 8] if missed else [target, 5]))
    return cases(*rows)


def test_a_big_group_is_not_a_cause_and_a_true_cause_is():
    big = make(many(0.5, 0.5))["failure_patterns"]["long_tail"]
    assert big["share"]["mean"] > 0.4 and big["finding"] == "no difference shown"
    assert big["excess"]["low"] < 0 < big["excess"]["high"]
    true = make(many(0.8, 0.3))["failure_patterns"]["long_tail"]
    assert true["finding"] == "more often among misses" and true["lift"]["low"] > 1
    spared = make(many(0.2, 0.7))["failure_patterns"]["long_tail"]
    assert spared["finding"] == "less often among misses"


def test_intervals_are_by_user():
    """Ten equal rows a user tell no more than one: the interval is about sqrt(10) as wide as over rows."""
    random = np.random.default_rng(0)
    taste, failed = random.random(60) < 0.5, random.random(60) < 0.5
    found, miss = np.repeat(taste, 10)[:, None], np.repeat(failed, 10)
    by_user = compare_rates(np.repeat(np.arange(60), 10), found, miss, 0)[0][3]
    by_row = compare_rates(np.arange(600), found, miss, 0)[0][3]
    assert by_user.high - by_user.low > 2.5 * (by_row.high - by_row.low)


def catalog(title: str = "Item") -> Catalog:
    text = np.array([f"{title} {item}" for item in range(NUM_ITEMS)], dtype=object)
    return Catalog(text, text, text, text, np.array([f"Shop,c{c}" for c in CATEGORY], dtype=object))


def make(made: Cases, title: str = "Item") -> dict:
    users = np.array([f"u{user}" for user in range(len(made))])
    sequences = Sequences(np.zeros(0), np.zeros(0), np.zeros(len(made) + 1), users)
    shown = CaseReader(made, diagnose_cases(made, 0), catalog(title), sequences)
    slices = {
        "category: under $5 & $_{x": made.target > 0,
        "tail target": made.tail[made.target],
        "cold target": made.train_count[made.target] == 0,
    }
    quality = {
        "items": NUM_ITEMS,
        "collisions": {name: {"items": 1, "share": 0.08, "sharing": 2, "largest": 2} for name in ("before", "after")},
        "levels": [{"codes": 3, "used": 3, "imbalance": 1.0}] * 3,
        "neighbours": [{"share": 0.7}],
    }
    report = make_badcase_report(shown, slices, CaseSampling(seed=0, examples=2, sample=5))
    extra = {"model": "sft", "split": "test", "sid_quality": summarize_sid_quality(quality), "config": config()}
    return extra | report


def config() -> dict:
    from genrec.config import Config

    return Config().model_dump(mode="json")


@pytest.mark.parametrize(
    "rows", [[HIT] * 5, [HIT] * 4 + [KNOWN["near miss"][0]], [KNOWN["long tail"][0]] * 5], ids=["none", "one", "all"]
)
def test_no_one_and_all_bad_cases_make_report_page_and_pictures(rows, tmp_path):
    made = cases(*rows)
    report = make(made)
    json.dumps(report, allow_nan=False)
    bad = int(made.miss.sum())
    assert report["summary"]["bad_cases_count"] == bad == len(report["bad_cases_sample"])
    assert report["summary"]["failure_rate"] == pytest.approx(bad / 5) and report["summary"]["without_a_cause"] == 0
    for name, plot in BADCASE_PLOTS.items():
        plot(report, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    plots = {name: tmp_path / f"{name}.png" for name in BADCASE_PLOTS}
    text = render_page(report, plots, REMEDIES, "genrec advise")
    assert ("There are no bad cases" in text) == (bad == 0)
    assert f"in {bad} of 5 rows" in describe_report(report)


def test_the_page_escapes_titles_and_links_nowhere(tmp_path):
    report = make(cases(KNOWN["near miss"][0], HIT), title="<script>alert('x')</script> & co")
    for name, plot in BADCASE_PLOTS.items():
        plot(report, tmp_path / f"{name}.png")
    plots = {name: tmp_path / f"{name}.png" for name in BADCASE_PLOTS}
    text = render_page(report, plots, REMEDIES, "genrec advise")
    assert "<script" not in text and "&lt;script&gt;" in text
    assert "http://" not in text and "https://" not in text and 'src="data:image/png;base64,' in text
    assert "default-src 'none'" in text


def test_the_report_has_the_keys_of_the_seed_and_names_titles_ranks_and_predictions():
    report = make(cases(KNOWN["near miss"][0], HIT))
    assert {"total_samples", "bad_cases_count", "failure_rate"} <= set(report["summary"])
    assert {"collision", "semantic_gap", "code_imbalance"} <= set(report["sid_quality"])
    row = report["bad_cases_sample"][0]
    assert row["truth_title"] == "Item 7" and row["rank"] == 3 and row["predictions"] == [5, 4]
    assert row["prediction_titles"] == ["Item 5", "Item 4"] and row["causes"] == ["wrong_at_level_2", "near_miss"]
    assert report["rank_distribution"]["1"] == 1 and report["rank_distribution"]["2-3"] == 1
    assert sum(report["rank_distribution"].values()) == 2


def test_the_same_seed_shows_the_same_cases():
    made = many(0.6, 0.4)
    assert make(made) == make(replace(made))
