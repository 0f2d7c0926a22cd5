"""Advice follows evidence, changes real keys only and says its conflicts; planted faults get the right first advice."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest

from genrec.advice.evidence import one_pattern
from genrec.advice.plan import evidence_json, first_stage, make_plan, show, show_choices
from genrec.advice.strategies import FAMILY, STRATEGIES, advise, recommended
from genrec.config import all_paths, result_knobs
from genrec.data.sequences import examples, train_counts
from genrec.data.tasks import TASKS
from genrec.data.toy import toy_store
from genrec.diagnosis.badcase_report import Sampling, Shown, make_report
from genrec.diagnosis.causes import Cases, Limits, category_numbers
from genrec.diagnosis.lift import diagnose
from genrec.errors import ArtifactError, ConfigError
from genrec.evaluation.metrics import Recommendations
from genrec.evaluation.report import in_tail
from genrec.pipeline import STAGES
from genrec.stage import identity
from genrec.stages import advise as optimization_strategies
from tests import ROOT, parse_flags

TINY = str(ROOT / "config/tiny.yaml")
TOP_K = 5


# What the tests below count on, whatever the preset becomes.
RUN = {
    "data": {"max_history": 10},
    "sids": {"method": "rqkmeans", "num_levels": 3, "codebook_size": 16, "collisions": "reassign", "alpha": 0.0},
    "sft": {"train_from_scratch": True, "tasks": {"sid_to_sid": 1, "title_to_sid": 1, "sid_to_title": 1}},
    "sequential": {"cosine": True},
}


def config(*flags: str) -> dict:
    pinned = [
        word
        for section, keys in RUN.items()
        for key, value in keys.items()
        for word in (f"--{section}.{key}", json.dumps(value))
    ]
    return parse_flags(["--config", TINY, *pinned, *flags]).config.model_dump(mode="json")


def pattern(share: float, hits: float, finding: str = "more often among misses") -> dict:
    def estimate(mean):
        return {"mean": mean, "low": None if mean is None else 0.9 * mean, "high": None if mean is None else 1.1 * mean}

    return {
        "says": "it is so",
        "finding": finding,
        "count": int(100 * share),
        "share": estimate(share),
        "share_among_hits": estimate(hits),
        "lift": estimate(share / hits if hits else None),
        "excess": estimate(share - hits),
    }


def report(model: str = "sft", flags: tuple[str, ...] = (), collisions: int = 0, **patterns) -> dict:
    """A healthy run but for what is given."""
    quiet = dict.fromkeys(
        ["long_tail", "popularity_bias", "cold_item", "short_history", "recent_preference_ignored", "sid_collision"],
        pattern(0.02, 0.02, "no difference shown"),
    )
    near = {"says": "", "finding": "describes the miss", "count": 5, "share": {"mean": 0.05}}
    beam = {"says": "", "finding": "not measured", "why": "no exact ranking"}
    before, after = ({"items": n, "share": n / 200, "sharing": 2 * n, "largest": 2} for n in (4, collisions))
    return {
        "model": model,
        "split": "test",
        "top_k": 10,
        "summary": {"total_samples": 500, "bad_cases_count": 100, "failure_rate": 0.2, "interval": [0.17, 0.23]},
        "failure_patterns": quiet | {"near_miss": near, "beam_loss": beam} | patterns,
        "sid_quality": {"items": 200, "collision": {"before": before, "after": after}},
        "training": None,
        "config": config(*flags),
    }


CASES = {
    "long_tail": {"long_tail": pattern(0.4, 0.1)},
    "cold_start": {"cold_item": pattern(0.3, 0.0)},
    "short_history": {"short_history": pattern(0.3, 0.1)},
    "recency_bias": {"recent_preference_ignored": pattern(0.3, 0.1)},
    "sid_quality": {"collisions": 7, "flags": ("--sids.collisions", "keep")},
}


def test_a_healthy_run_gets_no_advice_and_an_empty_overlay_that_loads(tmp_path):
    plan = make_plan(report(), recommended(report()))
    assert recommended(report()) == [] and plan.overlay == {} and plan.first_stage is None
    (tmp_path / "empty.json").write_text(json.dumps(plan.overlay))
    parse_flags(["--config", TINY, "--config", str(tmp_path / "empty.json")])


@pytest.mark.parametrize("name", CASES)
def test_its_own_pattern_brings_a_strategy_and_no_other(name):
    found = report(**CASES[name])
    assert recommended(found) == [name]
    plan = make_plan(found, [name])
    assert plan.values and plan.first_stage in STAGES
    assert any(character.isdigit() for character in plan.advice[0].evidence.reason)


@pytest.mark.parametrize(("share", "applies"), [(0.31, True), (0.29, False)])
def test_the_threshold_is_the_seeds(share, applies):
    assert ("long_tail" in recommended(report(long_tail=pattern(share, 0.1)))) == applies


def test_a_big_group_that_hits_share_is_not_a_cause():
    found = report(long_tail=pattern(0.6, 0.58, "no difference shown"))
    assert recommended(found) == []
    assert "not shown to be a cause" in advise(found, "long_tail").evidence.reason


def test_without_any_hit_the_threshold_decides_and_the_reason_says_so():
    alone = pattern(0.6, 0.0, "nothing to compare with")
    alone["share_among_hits"]["mean"] = None
    evidence = one_pattern(report(long_tail=alone), "long_tail", 0.3)
    assert evidence.applies and "no hits to compare with" in evidence.reason


def test_collisions_come_first_then_the_larger_excess_and_tuning_last():
    found = report(
        collisions=7,
        flags=("--sids.collisions", "keep"),
        long_tail=pattern(0.5, 0.2),
        cold_item=pattern(0.5, 0.05),
    )
    found["summary"]["failure_rate"] = 0.8
    assert recommended(found) == ["sid_quality", "cold_start", "long_tail", "hyperparameter"]


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
    found = report(model, flags, collisions=7, beam_loss={"finding": "x", "share": {"mean": 0.2}})
    plan = make_plan(found, [name])
    known = set(all_paths()) | {f"sft.tasks.{task}" for task in TASKS} | {"rl.reward_type.diversity"}
    assert set(plan.values) <= known
    if not plan.values:
        return
    path = tmp_path / "optimized_config.json"
    path.write_text(json.dumps(plan.overlay))
    parse_flags(["--config", str(path)])  # alone, on the defaults
    (tmp_path / "base.json").write_text(json.dumps(found["config"]))
    base = ["--config", str(tmp_path / "base.json")]
    before, after = (parse_flags(base + more).config for more in ([], ["--config", str(path)]))
    for section in {key.partition(".")[0] for key in plan.values}:
        assert result_knobs(getattr(before, section)) != result_knobs(getattr(after, section)), section
    stage = plan.first_stage
    assert identity(before, stage, None)["config"] != identity(after, stage, None)["config"]
    for earlier in list(STAGES)[: list(STAGES).index(stage)]:
        assert identity(before, earlier, None)["config"] == identity(after, earlier, None)["config"]


def test_every_strategy_of_a_language_model_has_something_to_change():
    for name in STRATEGIES:
        assert advise(report(), name).changes, name


def test_an_overlay_keeps_the_whole_task_mixture():
    mixture = report()["config"]["sft"]["tasks"]
    tasks = make_plan(report(), ["cold_start", "long_tail", "short_history"]).overlay["sft"]["tasks"]
    assert set(mixture) <= set(tasks) and tasks["sid_to_sid"] == mixture["sid_to_sid"]
    assert tasks["description_to_sid"] == 1 and tasks["title_history_to_sid"] == 1
    assert tasks["title_to_sid"] == mixture["title_to_sid"] + 1


def test_rl_gets_a_dearer_popular_miss_beside_the_reward_it_had():
    found = report("rl", flags=("--rl.reward_type", "ranking"), long_tail=pattern(0.4, 0.1))
    plan = make_plan(found, recommended(found))
    assert plan.overlay["rl"] == {"reward_type": {"ranking": 1.0, "diversity": 0.1}}
    assert plan.values["sft.balance"] == 0.5 and plan.first_stage == "sft"
    assert make_plan(report("rl", cold_item=pattern(0.3, 0.0)), ["cold_start"]).values  # as for the model it began from


@pytest.mark.parametrize(("model", "flag"), [("sft", "--evaluation.base_model"), ("rl", "--rl.model_path")])
def test_a_model_from_elsewhere_is_not_trained_again(model, flag):
    elsewhere = report(model, flags=(flag, "models/other"), cold_item=pattern(0.3, 0.0))
    assert recommended(elsewhere) == [] and recommended(report(model, cold_item=pattern(0.3, 0.0))) == ["cold_start"]


def test_a_conflict_is_kept_by_the_first_and_said():
    found = report(flags=("--sids.alpha", "0.3"))
    for names, alpha in ((["cold_start", "short_history"], 0.0), (["short_history", "cold_start"], "auto")):
        plan = make_plan(found, names)
        assert plan.values["sids.alpha"] == alpha
        assert [(each.key, each.kept, each.dropped) for each in plan.conflicts] == [("sids.alpha", *names)]
        assert f"{names[0]} comes first and keeps it" in show(found, plan)
        json.dumps(evidence_json(found, plan))


def test_the_first_stage_is_the_earliest_that_changes():
    assert first_stage({"sft.learning_rate": 1, "data.max_history": 5}) == "data"
    assert first_stage({"evaluation.num_beams": 100}) == "evaluation" and first_stage({}) is None


def test_twice_the_same_advice_does_not_run_away():
    found = report()
    for _ in range(6):
        plan = make_plan(found, ["long_tail", "cold_start", "sid_quality", "recency_bias"])
        for key, value in plan.values.items():
            *parents, last = key.split(".")
            section = found["config"]
            for parent in parents:
                section = section[parent]
            section[last] = value
    assert max(found["config"]["sft"]["tasks"].values()) == 3
    assert found["config"]["sids"]["num_levels"] == 4 and found["config"]["data"]["max_history"] == 3
    assert found["config"]["sft"]["balance"] == 1 and found["config"]["sft"]["half_life"] == 0.1


def test_the_expected_gain_is_the_share_of_rows_that_the_cause_explains():
    tail = report(long_tail=pattern(0.4, 0.1))  # 20% of the rows are missed
    assert advise(tail, "long_tail").evidence.reach == pytest.approx((0.4 - 0.1) * 0.2)
    assert advise(tail, "hyperparameter").evidence.reach == pytest.approx(0.05 * 0.2)
    shared = report(collisions=7, sid_collision=pattern(0.3, 0.2))
    assert advise(shared, "sid_quality").evidence.reach == pytest.approx(0.3 * 0.2)
    assert evidence_json(tail, make_plan(tail, ["long_tail"]))["strategies"]["long_tail"]["hr_gain_at_most"] == 0.06


def test_a_model_that_only_counts_has_no_knobs():
    found = report("popular", long_tail=pattern(0.9, 0.1))
    assert recommended(found) == [] and "analyse sft" in show(found, make_plan(found, []))
    assert set(FAMILY.values()) == {"language", "reinforced", "sequential"}


def test_more_beams_where_beams_lose_the_truth():
    lost = {"says": "", "finding": "describes the miss", "count": 20, "share": {"mean": 0.2}}
    beams = config()["evaluate"]["num_beams"]
    assert make_plan(report(beam_loss=lost), ["hyperparameter"]).values["evaluation.num_beams"] == 2 * beams
    assert "evaluation.num_beams" not in make_plan(report(), ["hyperparameter"]).values


@pytest.mark.parametrize(
    ("best_at", "tuned"),
    [
        (1.0, {"sft": {"num_epochs"}, "rl": {"num_train_epochs"}, "sasrec": {"epochs"}}),
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
        found = report(model)
        found["training"] = {"best_at": best_at}
        plan = make_plan(found, ["hyperparameter"])
        assert {key.split(".")[1] for key in plan.values} == keys
        assert "its training was best" in plan.advice[0].evidence.reason


@pytest.mark.parametrize(("had", "advised"), [(0, 1e-3), (0.01, 0.02), (1, 2), (3, 4), (4, None), (9, None)])
def test_rl_is_never_advised_further_from_the_sft_model(had, advised):
    found = report("rl")
    found["config"]["rl"]["beta"], found["training"] = had, {"best_at": 0.2}
    assert make_plan(found, ["hyperparameter"]).values.get("rl.beta") == advised


# Planted faults in the toy shop: a model that ranks well but for one fault


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return toy_store(tmp_path_factory.mktemp("toy"), num_users=300, max_history=10, split="leave_one_out")


def diagnosed(shop, fault: str) -> dict:
    """The report of lists of the truth's neighbours in random order, three of four times the truth among them."""
    random = np.random.default_rng(0)
    rows = examples(shop.sequences, shop.splits["test"], 10)
    count = train_counts(shop.sequences, shop.splits, len(shop.catalog))
    neighbours = np.arange(len(shop.catalog)) // 10 * 10
    items = np.stack([neighbours[target] + random.permutation(10)[:TOP_K] for target in rows.target])
    items = items % len(shop.catalog)
    hit = random.random(len(rows)) < 0.75
    place = random.integers(0, TOP_K, len(rows))
    items[np.arange(len(rows)), place] = np.where(hit, rows.target, items[np.arange(len(rows)), place])
    items, count = FAULTS[fault](shop, rows, items, count)
    cases = Cases(
        Limits(top_k=TOP_K, near_miss=50, short_history=2, recent_items=1),
        rows,
        Recommendations(items.astype(np.int32), np.zeros(items.shape, np.float32)),
        count,
        in_tail(count),
        category_numbers(shop.catalog),
    )
    shown = Shown(cases, diagnose(cases, 0), shop.catalog, shop.sequences)
    made = make_report(shown, {}, Sampling(0, 1, 1))
    quality = report(collisions=40 if fault == "duplicate SIDs" else 0)["sid_quality"]
    return made | {
        "model": "sft",
        "split": "test",
        "sid_quality": quality,
        "training": None,
        "config": config("--sids.collisions", "keep"),
    }


def nothing(shop, rows, items, count):
    return items, count


def cold_targets(shop, rows, items, count):
    """Every fifth item was never bought in training, and the model cannot say it."""
    cold = np.arange(len(count)) % 5 == 2
    return np.where(cold[items], (items + 1) % len(count), items), np.where(cold, 0, count)


def recency_shift(shop, rows, items, count):
    """For half of the users the list follows an item of long ago in another category."""
    category = category_numbers(shop.catalog)
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
    assert recommended(diagnosed(shop, fault))[0] == first


def test_no_fault_gets_no_advice_but_tuning(shop):
    assert set(recommended(diagnosed(shop, "none"))) <= {"hyperparameter"}


# The command


def call(*arguments: str, tmp_path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "optimization_strategies.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, stdin=subprocess.DEVNULL)


def test_the_command_writes_overlay_and_evidence(tmp_path):
    (tmp_path / "badcase_report.json").write_text(json.dumps(report(cold_item=pattern(0.3, 0.0))))
    done = call("--badcase_report", "badcase_report.json", "--auto_recommend", tmp_path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "cold item in 30.0% of 100 bad cases" in done.stdout and "description_to_sid: 0.0 -> 1.0" in done.stdout
    overlay = json.loads((tmp_path / "optimized_config.json").read_text())
    assert overlay["sft"]["tasks"]["description_to_sid"] == 1.0
    evidence = json.loads((tmp_path / "optimized_config.evidence.json").read_text())
    assert evidence["first_stage"] == "sft" and evidence["strategies"]["cold_start"]["advised"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--badcase_report", "r.json", "--strategies", "long_tale"],
            "unknown strategy 'long_tale'; there are: long_tail",
        ),
        (["--badcase_report", "r.json"], "no terminal to ask on; pass --auto_recommend"),
        (["--badcase_report", "none.json", "--auto_recommend"], "none.json cannot be read"),
        (["--badcase_report", "bad.json", "--auto_recommend"], "is not valid JSON"),
        (["--badcase_report", "list.json", "--auto_recommend"], "is not a report of analyze_badcase.py"),
    ],
)
def test_misuse_is_one_line_with_the_way_on(arguments, message, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(report()))
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    done = call(*arguments, tmp_path=tmp_path)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1


def test_the_menu_takes_numbers_names_or_nothing_and_asks_again(monkeypatch, capsys):
    found = report(cold_item=pattern(0.3, 0.0))
    answers = iter(["9", "4, long_tail", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    assert optimization_strategies.ask(found) == ["sid_quality", "long_tail"]
    shown = capsys.readouterr().out
    assert "'9' is neither a number from 1 to 6" in shown and "2. cold_start (advised)" in shown
    assert optimization_strategies.ask(found) == ["cold_start"]
    assert show_choices(found).count("not advised") == 5


def test_a_plan_that_the_config_cannot_hold_is_refused(monkeypatch):
    broken = report()
    broken["config"]["sft"]["batch_size"] = 15
    with pytest.raises(ConfigError, match="15 is not a multiple"):
        make_plan(broken, ["hyperparameter"])
    with pytest.raises(ArtifactError, match="unknown strategy"):
        make_plan(copy.deepcopy(report()), ["speed"])
