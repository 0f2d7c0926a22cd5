"""New values from the values the analysed run had."""

import numpy as np
import pytest

from genrec.advice.changes import enlarge_codebooks, raise_balance, raise_task_shares
from genrec.advice.plan import (
    make_plan,
)
from genrec.advice.strategies import STRATEGIES, make_advice, recommend_strategies
from tests.advice.reports import config, pattern, report, trained

QUIET_ONES = {"decoding", "long_history", "seen_items", "teacher", "ties"}  # nothing is wrong there in a healthy run


def test_every_strategy_of_a_language_model_has_something_to_change():
    for name in STRATEGIES.keys() - QUIET_ONES:
        assert make_advice(report(), name).changes, name


PLANTED = {
    "decoding": (report(flags=("--evaluation.normalization", "trie")), {"evaluation.normalization": "vocab"}),
    "seen_items": (report(), {"evaluation.filter_seen": True}),
    "ties": (report(), {"data.ties": "random"}),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_strategy_for_what_can_be_right_mends_what_is_wrong(name):
    planted, changes = PLANTED[name]
    assert make_advice(planted, name).changes == changes


def test_prompts_grow_to_the_longest_and_histories_where_that_holds_something():
    cut = report() | {"prompts": {"cutoff_len": 16, "cut": 0.4, "longest": 37}}
    assert make_advice(cut, "long_history").changes == {"sft.cutoff_len": 37}
    gain = {"mean": 0.02, "low": 0.01, "high": 0.03}
    short = report() | {"history": {"kept": 2, "longer": 4, "cut": 0.9, "gain": gain}}
    assert make_advice(short, "long_history").changes == {"data.max_history": 4}
    assert make_advice(report(), "long_history").changes == {}


def test_twice_the_same_advice_does_not_run_away():
    planted = report()
    for _ in range(6):
        plan = make_plan(planted, ["long_tail", "cold_start", "sid_quality", "recency_bias"])
        for key, value in plan.values.items():
            *parents, last = key.split(".")
            section = planted["config"]
            for parent in parents:
                section = section[parent]
            section[last] = value
    assert max(planted["config"]["sft"]["tasks"].values()) == 3
    assert planted["config"]["sids"]["num_levels"] == 4 and planted["config"]["data"]["max_history"] == 3
    assert planted["config"]["sft"]["balance"] == 1 and planted["config"]["sft"]["half_life"] == 0.1


def test_more_beams_where_beams_lose_the_truth_or_are_few():
    lost = {"says": "", "finding": "describes the miss", "count": 20, "share": {"mean": 0.2}}
    beams = config()["evaluation"]["num_beams"]
    assert make_plan(report(beam_loss=lost), ["decoding"]).values["evaluation.num_beams"] == 2 * beams
    assert make_plan(report(flags=("--evaluation.num_beams", "10")), ["decoding"]).values == {
        "evaluation.num_beams": 50
    }
    assert "evaluation.num_beams" not in make_plan(report(), ["decoding"]).values


RISING, LEVEL, FALLING = (0.1, 0.2, 0.3, 0.4), (0.1, 0.3, 0.4, 0.41, 0.4, 0.41, 0.4), (0.1, 0.4, 0.41, 0.3, 0.2)


@pytest.mark.parametrize(
    ("scores", "tuned"),
    [
        (RISING, {"sft": {"num_epochs"}, "rl": {"num_epochs"}, "sasrec": {"num_epochs"}}),
        (
            FALLING,
            {
                "sft": {"num_epochs", "weight_decay", "scratch", "rdrop"},
                "rl": {"learning_rate", "beta", "num_generations"},
                "sasrec": {"learning_rate", "dropout"},
            },
        ),
        (
            LEVEL,
            {
                "sft": {"num_epochs"},
                "rl": {"learning_rate", "beta", "num_generations"},
                "sasrec": {"learning_rate", "dropout"},
            },
        ),
    ],
)
def test_training_is_made_longer_while_it_helps_and_slower_where_it_was_best_before(scores, tuned):
    for model, keys in tuned.items():
        plan = make_plan(report(model) | {"training": trained(*scores, best_at=0.4)}, ["hyperparameter"])
        assert {key.split(".")[1] for key in plan.values} == keys
        assert "valid NDCG@10 was" in plan.advice[0].evidence.reason


def losses(*values: float) -> list[dict]:
    return [{"step": i, "loss": value, "learning_rate": 1e-3} for i, value in enumerate(values)]


STUCK = losses(2.4, 2.0, 1.6, *[1.5] * 10, *[1.4] * 7)
SLOW = losses(*np.linspace(2.2, 1.3, 20))


@pytest.mark.parametrize(
    ("steps", "curve", "key", "value"),
    [
        (40, SLOW, "sft.num_epochs", 24),  # few steps: as many times as it takes to a hundred, three at least
        (700, STUCK, "sft.learning_rate", 1e-3),
        (700, SLOW, "sft.learning_rate", 0.02),  # five times, as far as the highest
    ],
)
def test_below_the_last_item_a_model_is_undertrained_before_anything_else(steps, curve, key, value):
    behind = {"last_item": {"ahead": {"mean": -0.1, "low": -0.12, "high": -0.08}}}
    training = trained(0.05, 0.1, 0.12, 0.13) | {"length": steps, "losses": curve}
    planted = report(long_tail=pattern(0.9, 0.1)) | {"training": training}
    planted["baselines"] = {"valid": behind, "test": {}}
    assert recommend_strategies(planted)[:2] == ["hyperparameter", "long_tail"]
    advice = make_advice(planted, "hyperparameter")
    assert advice.changes[key] == value and "against last_item on valid" in advice.evidence.reason


def test_no_knob_of_rl_is_turned_for_a_model_that_rl_left_as_it_was():
    everything = ["long_tail", "cold_start", "short_history", "sid_quality", "recency_bias", "hyperparameter"]
    rejected = report("rl") | {"rl_kept": False, "training": trained(*RISING)}
    plan = make_plan(rejected, everything)
    assert plan.values and not any(key.startswith("rl.") for key in plan.values)
    assert any(key.startswith("rl.") for key in make_plan(report("rl"), everything).values)


@pytest.mark.parametrize(("had", "advised"), [(0, 1e-3), (0.01, 0.02), (1, 2), (3, 4), (4, None), (9, None)])
def test_rl_is_never_advised_further_from_the_sft_model(had, advised):
    planted = report("rl")
    planted["config"]["rl"]["beta"], planted["training"] = had, trained(*FALLING)
    assert make_plan(planted, ["hyperparameter"]).values.get("rl.beta") == advised


def test_an_index_grows_a_level_first_then_codes_as_long_as_a_level_can_use_them():
    assert enlarge_codebooks({"num_levels": 3, "codebook_size": 64}, {"items": 100}) == {"sids.num_levels": 4}
    four = {"num_levels": 4, "codebook_size": 64}
    assert enlarge_codebooks(four, {"items": 128}) == {"sids.codebook_size": 128}
    assert enlarge_codebooks(four, {"items": 127}) == {}


def test_a_share_rises_by_one_pass_up_to_three():
    shares = {"config": {"sft": {"tasks": {"title_to_sid": 2.5}}}}
    raised = raise_task_shares(shares, "title_to_sid", "sid_to_title")
    assert raised == {"sft.tasks.title_to_sid": 3.0, "sft.tasks.sid_to_title": 1.0}
    assert [raise_balance({"balance": balance}) for balance in (0.0, 0.5, 0.8)] == [0.5, 1.0, 1.0]
