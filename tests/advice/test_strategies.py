"""Advice follows evidence; planted faults get the right first advice."""

import numpy as np
import pytest

from genrec.advice.plan import (
    describe_plan,
    make_plan,
)
from genrec.advice.strategies import FAMILY, list_remedies, recommend_strategies
from genrec.data.sequences import count_train_events, cut_examples
from genrec.diagnosis.badcase_report import CaseReader, CaseSampling, make_badcase_report
from genrec.diagnosis.causes import CaseLimits, Cases, number_categories
from genrec.diagnosis.lift import diagnose_cases
from genrec.evaluation.metrics import Recommendations
from genrec.evaluation.report import mark_tail
from genrec.pipeline import STAGES
from tests.advice.reports import config, pattern, report
from tests.toy_store import make_toy_store

CASES = {
    "long_tail": {"long_tail": pattern(0.4, 0.1)},
    "cold_start": {"cold_item": pattern(0.3, 0.0)},
    "short_history": {"short_history": pattern(0.3, 0.1)},
    "recency_bias": {"recent_preference_ignored": pattern(0.3, 0.1)},
    "sid_quality": {"collisions": 7, "flags": ("--sids.collisions", "keep")},
}


@pytest.mark.parametrize("name", CASES)
def test_its_own_pattern_brings_a_strategy_and_no_other(name):
    planted = report(**CASES[name])
    assert recommend_strategies(planted) == [name]
    plan = make_plan(planted, [name])
    assert plan.values and plan.first_stage in STAGES
    assert any(character.isdigit() for character in plan.advice[0].evidence.reason)


def test_collisions_come_first_then_the_larger_excess_and_tuning_last():
    planted = report(
        collisions=7,
        flags=("--sids.collisions", "keep"),
        long_tail=pattern(0.5, 0.2),
        cold_item=pattern(0.5, 0.05),
    )
    planted["summary"]["failure_rate"] = 0.8
    assert recommend_strategies(planted) == ["sid_quality", "cold_start", "long_tail", "hyperparameter"]


def test_rl_gets_a_dearer_popular_miss_beside_the_reward_it_had():
    planted = report("rl", flags=("--rl.reward_type", "ranking"), long_tail=pattern(0.4, 0.1))
    plan = make_plan(planted, recommend_strategies(planted))
    assert plan.overlay["rl"] == {"reward_type": {"ranking": 1.0, "diversity": 0.1}}
    assert plan.values["sft.balance"] == 0.5 and plan.first_stage == "sft"
    assert make_plan(report("rl", cold_item=pattern(0.3, 0.0)), ["cold_start"]).values  # as for the model it began from


@pytest.mark.parametrize(("model", "flag"), [("sft", "--evaluation.base_model"), ("rl", "--rl.model_path")])
def test_a_model_from_elsewhere_is_not_trained_again(model, flag):
    elsewhere = report(model, flags=(flag, "models/other"), cold_item=pattern(0.3, 0.0))
    assert recommend_strategies(elsewhere) == [] and recommend_strategies(
        report(model, cold_item=pattern(0.3, 0.0))
    ) == ["cold_start"]


def test_a_model_that_only_counts_has_no_knobs():
    planted = report("popular", long_tail=pattern(0.9, 0.1))
    assert recommend_strategies(planted) == [] and "analyse sft" in describe_plan(planted, make_plan(planted, []))
    assert set(FAMILY.values()) == {"language", "reinforced", "sequential"}


def test_the_page_is_told_what_is_advised_and_why():
    remedies = list_remedies(report(cold_item=pattern(0.3, 0.0)))
    assert [each.name for each in remedies] == ["cold_start"] and "30.0% of 100 bad cases" in remedies[0].reason


TOP_K = 5


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return make_toy_store(tmp_path_factory.mktemp("toy"), num_users=300, max_history=10, split="leave_one_out")


def diagnosed(shop, fault: str) -> dict:
    """The report of lists of the truth's neighbours in random order, three of four times the truth among them."""
    random = np.random.default_rng(0)
    rows = cut_examples(shop.sequences, shop.splits["test"], 10)
    count = count_train_events(shop.sequences, shop.splits, len(shop.catalog))
    neighbours = np.arange(len(shop.catalog)) // 10 * 10
    items = np.stack([neighbours[target] + random.permutation(10)[:TOP_K] for target in rows.target])
    items = items % len(shop.catalog)
    hit = random.random(len(rows)) < 0.75
    place = random.integers(0, TOP_K, len(rows))
    items[np.arange(len(rows)), place] = np.where(hit, rows.target, items[np.arange(len(rows)), place])
    items, count = FAULTS[fault](shop, rows, items, count)
    cases = Cases(
        CaseLimits(top_k=TOP_K, near_miss=50, short_history=2, recent_items=1),
        rows,
        Recommendations(items.astype(np.int32), np.zeros(items.shape, np.float32)),
        count,
        mark_tail(count),
        number_categories(shop.catalog),
    )
    shown = CaseReader(cases, diagnose_cases(cases, 0), shop.catalog, shop.sequences)
    made = make_badcase_report(shown, {}, CaseSampling(0, 1, 1))
    quality = report(collisions=40 if fault == "duplicate SIDs" else 0)["sid_quality"]
    return (
        report()
        | made
        | {
            "sid_quality": quality,
            "config": config("--sids.collisions", "keep", "--evaluation.num_beams", "50"),
        }
    )


def nothing(shop, rows, items, count):
    return items, count


def cold_targets(shop, rows, items, count):
    """Every fifth item was never bought in training, and the model cannot say it."""
    cold = np.arange(len(count)) % 5 == 2
    return np.where(cold[items], (items + 1) % len(count), items), np.where(cold, 0, count)


def recency_shift(shop, rows, items, count):
    """For half of the users the list follows an item of long ago in another category."""
    category = number_categories(shop.catalog)
    moved = (category[rows.history[:, -1]] != category[(rows.target + 60) % len(count)]) & (rows.user % 2 == 0)
    return np.where(moved[:, None], (items + 60) % len(count), items), count


def head_heavy(shop, rows, items, count):
    """Only the popular half of the catalogue is ever recommended."""
    head = np.argsort(-count)[: len(count) // 2]
    swap = head[items % len(head)]
    return np.where(np.isin(items, head), items, swap), count


FAULTS = {
    "none": nothing,
    "duplicate SIDs": nothing,
    "cold targets": cold_targets,
    "recency shift": recency_shift,
    "head-heavy sampling": head_heavy,
}


@pytest.mark.parametrize(
    ("fault", "first"),
    [
        ("duplicate SIDs", "sid_quality"),
        ("cold targets", "cold_start"),
        ("recency shift", "recency_bias"),
        ("head-heavy sampling", "long_tail"),
    ],
)
def test_a_planted_fault_gets_the_right_first_advice(shop, fault, first):
    assert recommend_strategies(diagnosed(shop, fault))[0] == first


def test_no_fault_gets_no_advice_but_tuning(shop):
    assert set(recommend_strategies(diagnosed(shop, "none"))) <= {"hyperparameter"}


def behind(name: str, low: float, mean: float, high: float) -> dict:
    return {name: {"ahead": {"mean": mean, "low": low, "high": high}}}


def test_the_best_of_those_that_rank_better_is_made_the_teacher():
    planted = report(long_tail=pattern(0.4, 0.1))
    planted["baselines"]["valid"] |= behind("sasrec", -0.05, -0.03, -0.01) | behind("item_knn", -0.04, -0.02, -0.005)
    assert recommend_strategies(planted) == ["teacher", "long_tail"]
    plan = make_plan(planted, ["teacher"])
    assert plan.values == {"sft.teacher": {"sasrec": 1.0}} and plan.first_stage == "sft"
    assert "-0.0300 [-0.0500, -0.0100] against sasrec" in plan.advice[0].evidence.reason
    assert make_plan(planted | {"model": "rl", "rl_kept": True}, ["teacher"]).values == plan.values


@pytest.mark.parametrize("fault", ["not shown", "undertrained", "no such task", "no teacher", "taught by it"])
def test_no_teacher_is_advised_where_it_would_not_help(fault):
    flags = {
        "no such task": ("--sft.tasks", "{title_to_sid: 1}"),
        "taught by it": ("--sft.teacher", "item_knn"),
    }
    planted = report(flags=flags.get(fault, ()))
    name = "popular" if fault == "no teacher" else "item_knn"
    planted["baselines"]["valid"] |= behind(name, -0.05, -0.03, 0.01 if fault == "not shown" else -0.01)
    if fault == "undertrained":
        planted["baselines"]["valid"] |= behind("last_item", -0.05, -0.03, -0.01)
        assert recommend_strategies(planted)[0] == "hyperparameter"
    assert "teacher" not in recommend_strategies(planted)


def test_a_second_teacher_stands_beside_the_first():
    planted = report(flags=("--sft.teacher", "{item_knn: 2}"))
    planted["baselines"]["valid"] |= behind("sasrec", -0.05, -0.03, -0.01)
    assert make_plan(planted, recommend_strategies(planted)).values == {"sft.teacher": {"item_knn": 2.0, "sasrec": 2.0}}
