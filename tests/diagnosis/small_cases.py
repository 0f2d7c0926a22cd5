"""Rows of an evaluation small enough to say by hand why each missed."""

import numpy as np

from genrec.config import Config
from genrec.data.catalog import Catalog
from genrec.data.sequences import Examples, Sequences
from genrec.diagnosis.badcase_report import (
    CaseReader,
    CaseSampling,
    make_badcase_report,
    summarize_sid_quality,
)
from genrec.diagnosis.causes import CaseLimits, Cases
from genrec.diagnosis.lift import diagnose_cases
from genrec.evaluation.metrics import Recommendations

# Items 0-3 are category 0, 4-7 category 1, 8-11 category 2; the SID is (category, pair, place in the pair).
NUM_ITEMS = 12
CATEGORY = np.arange(NUM_ITEMS) // 4
CODES = np.stack([CATEGORY, np.arange(NUM_ITEMS) // 2 % 2, np.arange(NUM_ITEMS) % 2], axis=1)
COUNT = np.array([100, 90, 80, 0, 10, 10, 10, 10, 10, 10, 10, 1])
LIMITS = CaseLimits(top_k=2, near_miss=4, short_history=2, recent_items=2)


def make_cases(*rows: tuple[list[int], int, list[int]], **knowledge) -> Cases:
    """Rows of (history, target, recommended items), each of its own user."""
    history = np.full((len(rows), 5), -1, dtype=np.int32)
    recommended = np.full((len(rows), 4), -1, dtype=np.int32)
    for row, (bought, _, items) in enumerate(rows):
        history[row, 5 - len(bought) :] = bought
        recommended[row, : len(items)] = items
    examples = Examples(np.arange(len(rows), dtype=np.int32), history, np.array([target for _, target, _ in rows]))
    score = -np.arange(4, dtype=np.float32) * np.ones((len(rows), 1), dtype=np.float32)
    tail = np.arange(NUM_ITEMS) == 11
    given = {"category": CATEGORY, "codes": CODES} | knowledge
    return Cases(LIMITS, examples, Recommendations(recommended, score), COUNT, tail, **given)


HIT = ([4, 5, 6], 7, [7, 6])

# One bad case each, with all the causes it should get and none besides.
KINDS = {
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


def make_many(share_missed_of_tail: float, share_missed: float, num_rows: int = 600) -> Cases:
    """Half of the rows want the tail item 11; misses are drawn with the two shares."""
    random = np.random.default_rng(0)
    rows = []
    for row in range(num_rows):
        tail = row % 2 == 0
        target = 11 if tail else 7
        missed = random.random() < (share_missed_of_tail if tail else share_missed)
        rows.append(([4, 5, 8], target, [5, 8] if missed else [target, 5]))
    return make_cases(*rows)


def make_catalog(title: str = "Item") -> Catalog:
    text = np.array([f"{title} {item}" for item in range(NUM_ITEMS)], dtype=object)
    return Catalog(text, text, text, text, np.array([f"Shop,c{c}" for c in CATEGORY], dtype=object))


def report_of(all_cases: Cases, title: str = "Item") -> dict:
    users = np.array([f"u{user}" for user in range(len(all_cases))])
    sequences = Sequences(np.zeros(0), np.zeros(0), np.zeros(len(all_cases) + 1), users)
    shown = CaseReader(all_cases, diagnose_cases(all_cases, 0), make_catalog(title), sequences)
    slices = {
        "category: under $5 & $_{x": all_cases.target > 0,
        "tail target": all_cases.tail[all_cases.target],
        "cold target": all_cases.train_count[all_cases.target] == 0,
    }
    quality = {
        "items": NUM_ITEMS,
        "collisions": {name: {"items": 1, "share": 0.08, "sharing": 2, "largest": 2} for name in ("before", "after")},
        "levels": [{"codes": 3, "used": 3, "imbalance": 1.0}] * 3,
        "neighbours": [{"share": 0.7}],
    }
    report = make_badcase_report(shown, slices, CaseSampling(seed=0, examples=2, sample=5))
    extra = {"model": "sft", "split": "test", "sid_quality": summarize_sid_quality(quality), "training": None}
    return extra | {"config": Config().model_dump(mode="json")} | report
