"""New values from the values the analysed run had."""

import pytest

from genrec.advice.changes import enlarge_codebooks, raise_balance, raise_task_shares
from genrec.advice.plan import (
    make_plan,
)
from genrec.advice.strategies import STRATEGIES, make_advice
from tests.advice.reports import config, report


def test_every_strategy_of_a_language_model_has_something_to_change():
    for name in STRATEGIES:
        assert make_advice(report(), name).changes, name


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


def test_more_beams_where_beams_lose_the_truth():
    lost = {"says": "", "finding": "describes the miss", "count": 20, "share": {"mean": 0.2}}
    beams = config()["evaluation"]["num_beams"]
    assert make_plan(report(beam_loss=lost), ["hyperparameter"]).values["evaluation.num_beams"] == 2 * beams
    assert "evaluation.num_beams" not in make_plan(report(), ["hyperparameter"]).values


@pytest.mark.parametrize(
    ("best_at", "tuned"),
    [
        (1.0, {"sft": {"num_epochs"}, "rl": {"num_epochs"}, "sasrec": {"num_epochs"}}),
        (
            0.5,
            {
                "sft": {"learning_rate", "warmup_ratio"},
                "rl": {"learning_rate", "beta", "num_generations"},
                "sasrec": {"learning_rate", "dropout"},
            },
        ),
    ],
)
def test_training_is_made_longer_while_it_helps_and_slower_where_it_was_best_before(best_at, tuned):
    for model, keys in tuned.items():
        planted = report(model)
        planted["training"] = {"best_at": best_at}
        plan = make_plan(planted, ["hyperparameter"])
        assert {key.split(".")[1] for key in plan.values} == keys
        assert "its training was best" in plan.advice[0].evidence.reason


@pytest.mark.parametrize(("had", "advised"), [(0, 1e-3), (0.01, 0.02), (1, 2), (3, 4), (4, None), (9, None)])
def test_rl_is_never_advised_further_from_the_sft_model(had, advised):
    planted = report("rl")
    planted["config"]["rl"]["beta"], planted["training"] = had, {"best_at": 0.2}
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
