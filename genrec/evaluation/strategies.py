"""From the report of bad cases to configuration: six strategies, each with its evidence and an overlay of real keys.

A strategy is advised when its pattern covers enough bad cases and is shown to be more frequent among them than among
hits. It changes keys of genrec/config.py only; which of them depends on the family of the model that was analysed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from genrec.artifacts import ArtifactError
from genrec.commandline import merge, set_path
from genrec.config import validate
from genrec.evaluation.badcase import headline, lift_text, percent
from genrec.stage import STAGES

BAD_FAILURE_RATE = 0.30
TUNE_NEAR_MISSES = 0.20  # share of bad cases just below the cut-off from which tuning is worth it
BEAM_LOSSES = 0.05  # share of bad cases that more beams could cure
CROWDED = 0.10  # share of items whose codes had to be changed, from which the index is too small
MOST_ROWS = 3.0  # largest share a task is raised to
MOST_DIVERSITY, MOST_GENERATIONS = 0.5, 64
MOST_DROPOUT = 0.5
AT_THE_END = 0.9  # of the training
SHORTEST_HALF_LIFE = 0.1  # of the training period

MIXTURES = ("sft.tasks", "rl.reward_type")  # keys of names with shares

Changes = dict[str, Any]  # {"sft.learning_rate": 3e-4, "sft.tasks.title_to_sid": 2.0}

# What was analysed -> whose knobs can help it. Baselines that only count have none.
FAMILY = {
    "sft": "language",
    "sft_exact": "language",
    "rl": "reinforced",
    "rl_exact": "reinforced",
    "sasrec": "sequential",
    "sasrec_bce": "sequential",
    "sasrec_text": "sequential",
}


@dataclass(frozen=True)
class Evidence:
    applies: bool
    weight: float  # order of advice
    reason: str  # a sentence with the numbers
    reach: float = 0.0  # share of all rows that it can turn into hits, at most: HR@k cannot gain more


@dataclass(frozen=True)
class Strategy:
    says: str
    evidence: Callable[[dict[str, Any]], Evidence]
    changes: dict[str, Callable[[dict[str, Any]], Changes]]  # by family, from the report


@dataclass(frozen=True)
class Conflict:
    """Two strategies want different values of one key."""

    key: str
    kept: str
    kept_value: Any
    dropped: str
    dropped_value: Any


@dataclass(frozen=True)
class Advice:
    name: str
    evidence: Evidence
    changes: Changes  # as far as they differ from the config of the run


@dataclass(frozen=True)
class Plan:
    advice: list[Advice]  # most urgent first
    values: Changes  # what is left of all changes after conflicts
    conflicts: list[Conflict]
    overlay: dict[str, Any]  # the content of optimized_config.json
    first_stage: str | None  # everything from here on is to be run again


# Evidence


def pattern_evidence(*limits: tuple[str, float]) -> Callable[[dict[str, Any]], Evidence]:
    """The strongest pattern that applies, else the first; each with the share of bad cases from which to act."""

    def evidence(report: dict[str, Any]) -> Evidence:
        found = [one_pattern(report, name, least) for name, least in limits]
        return max([each for each in found if each.applies], key=lambda each: each.weight, default=found[0])

    return evidence


def one_pattern(report: dict[str, Any], name: str, least: float) -> Evidence:
    found, text = report["failure_patterns"][name], name.replace("_", " ")
    rate = report["summary"]["failure_rate"]
    if found["finding"] == "not measured":
        return Evidence(False, 0.0, f"{text} was not measured: {found['why']}")
    share, hits = found["share"]["mean"], found["share_among_hits"]["mean"]
    if share is None:
        return Evidence(False, 0.0, "there are no bad cases")
    has = f"{text} in {percent(share)} of {report['summary']['bad_cases_count']:,} bad cases ({found['says']})"
    if hits is None:
        return Evidence(share > least, share, f"{has}; there are no hits to compare with", share * rate)
    compared = f"{has}, {percent(hits)} of hits, lift {lift_text(found)}"
    if share <= least:
        return Evidence(False, share - hits, f"{compared}; worth acting from {percent(least)} on")
    if found["finding"] != "more often among misses":
        return Evidence(False, share - hits, f"{compared}; a large group, but not shown to be a cause")
    reason = f"{compared}; more than the {percent(least)} from which it is worth acting"
    return Evidence(True, share - hits, reason, (share - hits) * rate)


def sid_evidence(report: dict[str, Any]) -> Evidence:
    """Items of one semantic ID cannot be told apart by any training, so collisions come first."""
    quality = report["sid_quality"]
    if "not_measured" in quality:
        return Evidence(False, 0.0, f"semantic IDs were not measured: {quality['not_measured']}")
    before, after = quality["collision"]["before"], quality["collision"]["after"]
    if after["items"]:
        shared = report["failure_patterns"]["sid_collision"].get("share", {}).get("mean")
        return Evidence(
            True,
            1.0,
            f"{after['sharing']:,} of {quality['items']:,} items share a semantic ID with another (up to "
            f"{after['largest']} items an ID); no model can tell those apart, so this comes first",
            (shared or 0.0) * report["summary"]["failure_rate"],
        )
    return Evidence(
        False,
        0.0,
        f"every item has its own semantic ID; {percent(before['share'])} of the items were moved to get there",
    )


def tuning_evidence(report: dict[str, Any]) -> Evidence:
    """Failing often, or often by little."""
    rate, near = report["summary"]["failure_rate"], report["failure_patterns"]["near_miss"]["share"]["mean"] or 0.0
    numbers = f"failure rate {percent(rate)} (bad above {percent(BAD_FAILURE_RATE)}), {percent(near)} of bad cases are "
    numbers += f"near misses (tuning is worth it above {percent(TUNE_NEAR_MISSES)})"
    learning = {True: "; its training was best at the end", False: "; its training was best before the end", None: ""}
    numbers += learning[still_learning(report)]
    return Evidence(rate > BAD_FAILURE_RATE or near > TUNE_NEAR_MISSES, -1.0, numbers, near * rate)


def still_learning(report: dict[str, Any]) -> bool | None:
    """Whether the model was still getting better when its training ended; None where that is not known."""
    training = report.get("training")  # reports of a model trained elsewhere, or made before this was written, lack it
    return None if training is None else training["best_at"] > AT_THE_END


# Changes: keys of the config and their new values, from the values the run had


def more_rows(report: dict[str, Any], *tasks: str) -> Changes:
    """One more pass over each of these tasks' rows an epoch. Rows of item tasks count each item once, however rare."""
    shares = report["config"]["sft"]["tasks"]
    return {f"sft.tasks.{name}": min(shares.get(name, 0.0) + 1, MOST_ROWS) for name in tasks}


def balance_items(report: dict[str, Any]) -> Changes:
    """Rare targets weigh more, and every item is seen by its title however rare."""
    return {"sft.balance": more_balance(report["config"]["sft"])} | more_rows(report, "title_to_sid", "sid_to_title")


def balance_and_reward(report: dict[str, Any]) -> Changes:
    """The same for the model RL begins from, and popular misses cost more in RL."""
    rewards = report["config"]["rl"]["reward_type"]
    dearer = round(min(rewards.get("diversity", 0.0) + 0.1, MOST_DIVERSITY), 4)
    return balance_items(report) | {"rl.reward_type.diversity": dearer}


def balance_targets(report: dict[str, Any]) -> Changes:
    """Rare targets weigh more; by the cosine, which sasrec alone has, popular items cannot win by longer vectors."""
    changes = {"sequential.balance": more_balance(report["config"]["sequential"])}
    return changes if report["model"] == "sasrec_bce" else changes | {"sequential.cosine": True}


def more_balance(knobs: dict[str, Any]) -> float:
    """0, a half, 1: from the frequencies as they are to items alike."""
    return min(knobs["balance"] + 0.5, 1.0)


def align_texts(report: dict[str, Any]) -> Changes:
    """What is known of an item nobody bought is its text: nearer to it by tasks, by the first SID rows, by the SIDs."""
    changes = more_rows(report, "title_to_sid", "sid_to_title", "description_to_sid") | {"sids.alpha": 0.0}
    return changes if report["config"]["sft"]["train_from_scratch"] else changes | {"sft.sid_init": "text"}


def use_other_signals(report: dict[str, Any]) -> Changes:
    """Few items say more by their titles, by what they have in common, and by who bought them with what."""
    return more_rows(report, "title_history_to_sid") | {"sids.alpha": "auto", "sft.profile": ["taste", "companions"]}


def better_sids(report: dict[str, Any]) -> Changes:
    sids, quality = report["config"]["sids"], report["sid_quality"]
    changes: Changes = {}
    if sids["method"] == "imported":
        changes["sids.method"] = "rqkmeans_plus"
    if sids["collisions"] == "keep" or sids["method"] == "imported":
        changes["sids.collisions"] = "reassign"
    crowded = quality.get("collision", {}).get("before", {}).get("share", 0.0) > CROWDED
    if crowded and sids["method"] == "rqkmeans":
        changes["sids.method"] = "rqkmeans_constrained"
    return changes | room_for_items(sids, quality) if crowded or not changes else changes


def room_for_items(sids: dict[str, Any], quality: dict[str, Any]) -> Changes:
    """A fourth level first, then twice the codes while a level can use them."""
    if sids["num_levels"] < 4:
        return {"sids.num_levels": sids["num_levels"] + 1}
    wider = 2 * sids["codebook_size"]
    return {"sids.codebook_size": wider} if wider <= quality.get("items", 0) else {}


def look_at_the_recent(section: str) -> Callable[[dict[str, Any]], Changes]:
    """Recent targets weigh more in training, and the old items of a history are left out."""

    def changes(report: dict[str, Any]) -> Changes:
        half_life, history = report["config"][section]["half_life"], report["config"]["data"]["max_history"]
        return {
            f"{section}.half_life": max(half_life / 2, SHORTEST_HALF_LIFE) if half_life else 0.5,
            "data.max_history": max(math.ceil(history / 2), 3),
        }

    return changes


def tune_language(report: dict[str, Any]) -> Changes:
    """Longer while it was still learning, else slower and more regular; both where that is not known."""
    sft, learning = report["config"]["sft"], still_learning(report)
    changes: Changes = {}
    if learning is not False:
        changes["sft.num_epochs"] = math.ceil(5 / 3 * sft["num_epochs"])
    if not learning:
        changes |= {
            "sft.learning_rate": round(0.6 * sft["learning_rate"], 10),
            "sft.warmup_ratio": max(sft["warmup_ratio"], 0.1),
            "sft.weight_decay": max(sft["weight_decay"], 0.01),
        }
    return changes | more_beams(report)


def tune_reinforced(report: dict[str, Any]) -> Changes:
    """Longer while it was still learning; else slower, nearer to the SFT model, in larger groups where they fit."""
    rl, learning = report["config"]["rl"], still_learning(report)
    if learning:
        return {"rl.num_train_epochs": 2 * rl["num_train_epochs"]} | more_beams(report)
    changes = {"rl.learning_rate": 0.5 * rl["learning_rate"], "rl.beta": min(max(2 * rl["beta"], 1e-3), 0.1)}
    larger = 2 * rl["num_generations"]
    if larger <= MOST_GENERATIONS and not (rl["train_batch_size"] % larger or rl["micro_batch_size"] % larger):
        changes["rl.num_generations"] = larger
    return changes | more_beams(report)


def more_beams(report: dict[str, Any]) -> Changes:
    """Where beams lose what an exact ranking has."""
    lost = report["failure_patterns"]["beam_loss"]
    if lost["finding"] == "not measured" or (lost["share"]["mean"] or 0) <= BEAM_LOSSES:
        return {}
    return {"evaluate.num_beams": 2 * report["config"]["evaluate"]["num_beams"]}


def tune_sequential(report: dict[str, Any]) -> Changes:
    knobs, learning = report["config"]["sequential"], still_learning(report)
    changes: Changes = {} if learning is False else {"sequential.epochs": 2 * knobs["epochs"]}
    if not learning:
        changes |= {
            "sequential.learning_rate": 0.5 * knobs["learning_rate"],
            "sequential.dropout": max(knobs["dropout"], min(round(knobs["dropout"] + 0.1, 4), MOST_DROPOUT)),
        }
    return changes


STRATEGIES: dict[str, Strategy] = {
    "long_tail": Strategy(
        "rare items weigh more in training",
        pattern_evidence(("long_tail", 0.30), ("popularity_bias", 0.30)),
        {"language": balance_items, "reinforced": balance_and_reward, "sequential": balance_targets},
    ),
    "cold_start": Strategy(
        "items are known by their texts", pattern_evidence(("cold_item", 0.20)), {"language": align_texts}
    ),
    "short_history": Strategy(
        "more is made of few items", pattern_evidence(("short_history", 0.25)), {"language": use_other_signals}
    ),
    "sid_quality": Strategy("every item has its own, well-spread semantic ID", sid_evidence, {"language": better_sids}),
    "recency_bias": Strategy(
        "the last items count for more",
        pattern_evidence(("recent_preference_ignored", 0.20)),
        {"language": look_at_the_recent("sft"), "sequential": look_at_the_recent("sequential")},
    ),
    "hyperparameter": Strategy(
        "longer training while it helps, else slower",
        tuning_evidence,
        {"language": tune_language, "reinforced": tune_reinforced, "sequential": tune_sequential},
    ),
}


# The plan


def recommended(report: dict[str, Any]) -> list[str]:
    """The strategies that apply, most urgent first; those without a knob for the analysed model are left out."""
    found = {name: advise(report, name) for name in STRATEGIES}
    names = [name for name, advice in found.items() if advice.evidence.applies and advice.changes]
    return sorted(names, key=lambda name: -found[name].evidence.weight)


def advise(report: dict[str, Any], name: str) -> Advice:
    strategy = STRATEGIES[name]
    changes = changes_for(strategy, family(report))(report)
    fresh = {key: value for key, value in changes.items() if acts(report, key) and value != current(report, key)}
    return Advice(name, strategy.evidence(report), fresh)


def acts(report: dict[str, Any], key: str) -> bool:
    """Whether a key can change the analysed model: one that was trained elsewhere keeps its training and its SIDs."""
    config = report["config"]
    given = {"language": config["evaluate"]["base_model"], "reinforced": config["rl"]["model_path"]}
    return not (given.get(family(report)) and key.startswith(("sft.", "sids.")))


def changes_for(strategy: Strategy, family: str | None) -> Callable[[dict[str, Any]], Changes]:
    """What helps a language model helps the one that RL makes of it, unless RL has knobs of its own for it."""
    known = strategy.changes
    plain = known.get("language") if family == "reinforced" else None
    return known.get(family) or plain or (lambda report: {})


def family(report: dict[str, Any]) -> str | None:
    return FAMILY.get(report["model"])


def current(report: dict[str, Any], key: str) -> Any:
    """The run's value of a dotted key; what is not in a mixture has share 0."""
    value: Any = report["config"]
    *parents, last = key.split(".")
    for name in parents:
        value = value[name]
    return value.get(last, 0.0) if ".".join(parents) in MIXTURES else value[last]


def make_plan(report: dict[str, Any], names: list[str]) -> Plan:
    """All strategies together. Where two want one key, the one named first keeps it; a test of the whole follows."""
    if unknown := [name for name in names if name not in STRATEGIES]:
        raise ArtifactError(f"unknown strategy '{unknown[0]}'; there are: {', '.join(STRATEGIES)}")
    advice = [advise(report, name) for name in dict.fromkeys(names)]
    values, owner, conflicts = {}, {}, []
    for each in advice:
        for key, value in each.changes.items():
            if key not in values:
                values[key], owner[key] = value, each.name
            elif values[key] != value:
                conflicts.append(Conflict(key, owner[key], values[key], each.name, value))
    overlay = nested(report, values)
    validate(merge(copy.deepcopy(report["config"]), copy.deepcopy(overlay)))
    return Plan(advice, values, conflicts, overlay, first_stage(values))


def nested(report: dict[str, Any], values: Changes) -> dict[str, Any]:
    """Dotted keys as sections. A mixture replaces the one before it, so it is written whole."""
    tree: dict[str, Any] = {}
    for mixture in MIXTURES:
        if any(key.startswith(f"{mixture}.") for key in values):
            set_path(tree, mixture, dict(current(report, mixture)))
    for key, value in values.items():
        set_path(tree, key, value)
    return tree


def first_stage(values: Changes) -> str | None:
    """The earliest stage whose section is changed."""
    changed = {key.partition(".")[0] for key in values}
    return next((name for name, (_, sections, _) in STAGES.items() if changed & set(sections)), None)


def evidence_json(report: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """Why each key is what it is; written beside the overlay."""
    return {
        "analysed": headline(report),
        "first_stage": plan.first_stage,
        "strategies": {
            each.name: {
                "advised": each.evidence.applies,
                "reason": each.evidence.reason,
                "hr_gain_at_most": round(each.evidence.reach, 6),
                "changes": {key: {"from": current(report, key), "to": value} for key, value in each.changes.items()},
            }
            for each in plan.advice
        },
        "conflict_rule": "the strategy named first keeps the key; --auto_recommend puts the strongest evidence first",
        "conflicts": [vars(conflict) for conflict in plan.conflicts],
    }


def show(report: dict[str, Any], plan: Plan) -> str:
    """What is changed and why, what conflicts, and why the other strategies are left out."""
    lines = [headline(report), ""]
    for each in plan.advice:
        lines += [f"{each.name}: {STRATEGIES[each.name].says}", f"  {each.evidence.reason}"]
        lines += [f"  {key}: {current(report, key)} -> {value}" for key, value in each.changes.items()]
        lines += [] if each.changes else [f"  nothing left to change for {report['model']}"]
    for each in plan.conflicts:
        lines.append(
            f"conflict: {each.kept} sets {each.key} to {each.kept_value}, {each.dropped} to {each.dropped_value}; "
            f"{each.kept} comes first and keeps it"
        )
    taken = {each.name for each in plan.advice}
    lines += ["", "left out:"] if len(taken) < len(STRATEGIES) else []
    lines += [f"  {name}: {why_not(report, name)}" for name in STRATEGIES if name not in taken]
    return "\n".join(lines)


def why_not(report: dict[str, Any], name: str) -> str:
    if family(report) is None:
        return f"{report['model']} only counts, it has no knobs; analyse {', '.join(FAMILY)}"
    advice = advise(report, name)
    lacking = "" if advice.changes else f"; no knob of {report['model']} is left to turn"
    return advice.evidence.reason + lacking


def show_choices(report: dict[str, Any]) -> str:
    """The numbered menu: every strategy, whether it is advised, and why."""
    advised = recommended(report)
    lines = [headline(report), ""]
    for number, (name, strategy) in enumerate(STRATEGIES.items(), start=1):
        mark = "advised" if name in advised else "not advised"
        lines += [f"{number}. {name} ({mark}): {strategy.says}", f"     {strategy.evidence(report).reason}"]
    return "\n".join(lines)
