"""What a round tries, and whether it held."""

from types import SimpleNamespace

import numpy as np
import pytest

from genrec.advice.plan import (
    nest_values,
)
from genrec.advice.rounds import (
    LoopRound,
    describe_rounds,
    judge_round,
    list_rejected,
    list_scored_models,
    make_next_plan,
    make_round_config,
    rounds_to_json,
)
from genrec.evaluation.metrics import ListSettings
from genrec.evaluation.report import Report, ScoredRows
from tests import parse_flags
from tests.advice.reports import TINY, pattern, report


def plan_of(values: dict, overlay: dict | None = None) -> SimpleNamespace:
    evidence = SimpleNamespace(reach=0.05, reason="because")
    advice = [SimpleNamespace(name="long_tail", evidence=evidence)]
    return SimpleNamespace(values=values, overlay=overlay or {}, advice=advice, first_stage="sft")


def scores_of(score: list[float], split: str) -> Report:
    """One user a row, the same score by every metric."""
    user = np.arange(len(score), dtype=np.int32)
    rows = ScoredRows("f00d", split, len(score), len(score), len(score), 50)
    return Report("sft", rows, user, {"ndcg@10": np.array(score), "hr@5": np.array(score)}, {}, {}, ListSettings(50))


def judge(base: list[float], tried: list[float]) -> LoopRound:
    reports = {split: [scores_of(base, split), scores_of(tried, split)] for split in ("valid", "test")}
    analysis = report() | {"top_k": 7}  # 5 is the largest cut-off of the metrics within it
    return judge_round(1, plan_of({"sft.balance": 0.5}), analysis, ("base", "run"), reports, seed=0)


def test_a_round_is_kept_when_the_mean_rose_and_held_when_the_interval_excludes_zero():
    better, worse, same = (judge([0.2] * 40, [after] * 40) for after in (0.3, 0.1, 0.2))
    assert (better.kept, better.held) == (True, "yes") and better.valid[0].difference.mean == pytest.approx(0.1)
    assert (worse.kept, worse.held) == (False, "no") and (same.kept, same.held) == (False, "not shown")
    assert better.valid[1].metric == "hr@5" and better.before == {"sft.balance": 0.0} and better.expected == 0.05
    assert list_rejected([better, worse]) == {"long_tail"} and list_rejected([better]) == set()


def test_rounds_are_said_with_what_was_expected_and_what_came():
    one = judge([0.2] * 40, [0.3] * 40)
    text, content = describe_rounds([one], "run"), rounds_to_json([one], "run")
    assert "sft.balance: 0.0 -> 0.5" in text and "0.2000  0.3000" in text and "+0.0500" in text
    assert content["rounds"][0]["changes"] == {"sft.balance": {"from": 0.0, "to": 0.5}} and content["rounds"][0]["kept"]
    assert describe_rounds([], "base") == "No round was run.\n\nbest: base\n"


def test_the_next_plan_leaves_out_what_was_rejected():
    analysis = report(cold_item=pattern(0.4, 0.0), long_tail=pattern(0.4, 0.1))
    first, everything = make_next_plan(analysis, set(), "first"), make_next_plan(analysis, set(), "all")
    assert [advice.name for advice in first.advice] == ["cold_start"] and len(everything.advice) == 2
    assert [advice.name for advice in make_next_plan(analysis, {"cold_start"}, "first").advice] == ["long_tail"]
    assert make_next_plan(analysis, {"cold_start", "long_tail"}, "all") is None


def test_the_analysed_model_is_scored_with_its_exact_twin_alone():
    flags = ["--evaluation.models", "[popular, sft]", "--analysis.model", "sft"]
    assert list_scored_models(parse_flags(flags).config) == ["sft"]


def test_a_round_trains_and_scores_the_analysed_model_alone(tmp_path):
    both = ["--sequential.models", "[sasrec, sasrec_bce]", "--evaluation.models", "[popular, sasrec]"]
    base = parse_flags(["--config", TINY, *both]).config
    analysis = {"model": "sasrec", "config": base.model_dump(mode="json")}
    for values, trained in (
        ({"sequential.num_epochs": 2}, ["sasrec"]),
        ({"evaluation.limit": 9}, ["sasrec", "sasrec_bce"]),
    ):
        plan = SimpleNamespace(values=values, overlay=nest_values(analysis, values))
        config = make_round_config(base, plan, tmp_path / "1")
        assert (config.sequential.models, config.evaluation.models) == (trained, ["sasrec"])
        assert config.run.dir == tmp_path / "1" and config.analysis.model == "sasrec"
