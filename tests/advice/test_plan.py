"""Strategies together: conflicts are said, and what is written loads."""

import copy
import json

import pytest

from genrec.advice.plan import (
    describe_plan,
    evidence_to_json,
    find_first_stage,
    make_plan,
)
from genrec.advice.strategies import STRATEGIES, recommend_strategies
from genrec.config import all_paths, result_knobs
from genrec.data.tasks import TASKS
from genrec.errors import ArtifactError, ConfigError
from genrec.pipeline import STAGES
from genrec.stage import Job
from tests import parse_flags
from tests.advice.reports import TINY, report


def test_a_healthy_run_gets_no_advice_and_an_empty_overlay_that_loads(tmp_path):
    plan = make_plan(report(), recommend_strategies(report()))
    assert recommend_strategies(report()) == [] and plan.overlay == {} and plan.first_stage is None
    (tmp_path / "empty.json").write_text(json.dumps(plan.overlay))
    parse_flags(["--config", TINY, "--config", str(tmp_path / "empty.json")])


VARIANTS = [
    ("sft", ()),
    ("sft", ("--sids.collisions", "keep", "--sids.codebook_size", "64")),
    ("sft", ("--sids.method", "imported", "--sids.num_levels", "4", "--sft.train_from_scratch", "False")),
    ("sft", ("--sids.alpha", "0.3", "--sft.sid_init", "random", "--sft.train_from_scratch", "False")),
    ("rl", ()),
    ("rl", ("--rl.reward_type", "{ranking: 1, diversity: 0.2}", "--rl.num_generations", "16")),
    ("sasrec", ()),
    ("sasrec_bce", ()),
]


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize(("model", "flags"), VARIANTS)
def test_each_key_is_in_the_schema_loads_and_makes_its_stage_run_again(model, flags, name, tmp_path):
    planted = report(model, flags, collisions=7, beam_loss={"finding": "x", "share": {"mean": 0.2}})
    plan = make_plan(planted, [name])
    known = set(all_paths()) | {f"sft.tasks.{task}" for task in TASKS} | {"rl.reward_type.diversity"}
    assert set(plan.values) <= known
    if not plan.values:
        return
    path = tmp_path / "optimized_config.json"
    path.write_text(json.dumps(plan.overlay))
    parse_flags(["--config", str(path)])  # alone, on the defaults
    (tmp_path / "base.json").write_text(json.dumps(planted["config"]))
    base = ["--config", str(tmp_path / "base.json")]
    before, after = (parse_flags(base + more).config for more in ([], ["--config", str(path)]))
    for section in {key.partition(".")[0] for key in plan.values}:
        assert result_knobs(getattr(before, section)) != result_knobs(getattr(after, section)), section
    stage = plan.first_stage
    assert config_of(before, stage) != config_of(after, stage)
    for earlier in list(STAGES)[: list(STAGES).index(stage)]:
        assert config_of(before, earlier) == config_of(after, earlier)


def config_of(config, stage: str) -> dict:
    """The knobs that a stage's artifact would carry."""
    return Job(stage, config, build=lambda config, directory: {}).identity["config"]


def test_an_overlay_keeps_the_whole_task_mixture():
    mixture = report()["config"]["sft"]["tasks"]
    tasks = make_plan(report(), ["cold_start", "long_tail", "short_history"]).overlay["sft"]["tasks"]
    assert set(mixture) <= set(tasks) and tasks["sid_to_sid"] == mixture["sid_to_sid"]
    assert tasks["description_to_sid"] == 1 and tasks["title_history_to_sid"] == 1
    assert tasks["title_to_sid"] == mixture["title_to_sid"] + 1


def test_a_conflict_is_kept_by_the_first_and_said():
    planted = report(flags=("--sids.alpha", "0.3"))
    for names, alpha in ((["cold_start", "short_history"], 0.0), (["short_history", "cold_start"], "auto")):
        plan = make_plan(planted, names)
        assert plan.values["sids.alpha"] == alpha
        assert [(each.key, each.kept, each.dropped) for each in plan.conflicts] == [("sids.alpha", *names)]
        assert f"{names[0]} comes first and keeps it" in describe_plan(planted, plan)
        json.dumps(evidence_to_json(planted, plan))


def test_the_first_stage_is_the_earliest_that_changes():
    assert find_first_stage({"sft.learning_rate": 1, "data.max_history": 5}) == "data"
    assert find_first_stage({"evaluation.num_beams": 100}) == "evaluation" and find_first_stage({}) is None


def test_a_plan_that_the_config_cannot_hold_is_refused(monkeypatch):
    broken = report()
    broken["config"]["sft"]["batch_size"] = 15
    with pytest.raises(ConfigError, match="15 is not a multiple"):
        make_plan(broken, ["hyperparameter"])
    with pytest.raises(ArtifactError, match="unknown strategy"):
        make_plan(copy.deepcopy(report()), ["speed"])
