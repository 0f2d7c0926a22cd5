"""What a strategy changes: keys of the configuration and their new values, from the values the analysed run had."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from genrec.advice.evidence import (
    BEAM_LOSSES,
    CUT_PROMPTS,
    find_better_teachers,
    is_undertrained,
    taught_normalization,
    weigh_history,
)
from genrec.advice.learning import Learning, read_learning, read_rate
from genrec.config_checks import asks_next_sid

CROWDED = 0.10  # share of items whose codes had to be changed, from which the index is too small
MOST_ROWS = 3.0  # largest share a task is raised to
MOST_DIVERSITY, MOST_GENERATIONS, MOST_BETA = 0.5, 64, 4.0
MOST_DROPOUT = 0.5
SHORTEST_HALF_LIFE = 0.1  # of the training period
FEW_STEPS, MOST_TIMES = 100, 10  # fewer steps teach little, whatever the rate; so many times as long at most
HIGHEST_RATE = 0.02
SHORTEST = 0.1  # of a training that fell from its best, however early that was
FEWEST_BEAMS = 50  # the schema's own

Changes = dict[str, Any]  # {"sft.learning_rate": 3e-4, "sft.tasks.title_to_sid": 2.0}


def raise_task_shares(report: dict[str, Any], *tasks: str) -> Changes:
    """One more pass over each of these tasks' rows an epoch. Rows of item tasks count each item once, however rare."""
    shares = report["config"]["sft"]["tasks"]
    return {f"sft.tasks.{name}": min(shares.get(name, 0.0) + 1, MOST_ROWS) for name in tasks}


def balance_items(report: dict[str, Any]) -> Changes:
    """Rare targets weigh more, and every item is seen by its title however rare."""
    return {"sft.balance": raise_balance(report["config"]["sft"])} | raise_task_shares(
        report, "title_to_sid", "sid_to_title"
    )


def balance_and_reward(report: dict[str, Any]) -> Changes:
    """The same for the model RL begins from, and popular misses cost more in RL."""
    rewards = report["config"]["rl"]["reward_type"]
    dearer = round(min(rewards.get("diversity", 0.0) + 0.1, MOST_DIVERSITY), 4)
    return balance_items(report) | {"rl.reward_type.diversity": dearer}


def balance_targets(report: dict[str, Any]) -> Changes:
    """Rare targets weigh more; by the cosine, which sasrec alone has, popular items cannot win by longer vectors."""
    changes = {"sequential.balance": raise_balance(report["config"]["sequential"])}
    return changes if report["model"] == "sasrec_bce" else changes | {"sequential.cosine": True}


def raise_balance(knobs: dict[str, Any]) -> float:
    """0, a half, 1: from the frequencies as they are to items alike."""
    return min(knobs["balance"] + 0.5, 1.0)


def align_texts(report: dict[str, Any]) -> Changes:
    """What is known of an item nobody bought is its text: nearer to it by tasks, by the first SID rows, by the SIDs."""
    changes = raise_task_shares(report, "title_to_sid", "sid_to_title", "description_to_sid") | {"sids.alpha": 0.0}
    return changes if report["config"]["sft"]["train_from_scratch"] else changes | {"sft.sid_init": "text"}


def use_other_signals(report: dict[str, Any]) -> Changes:
    """Few items say more by their titles, by what they have in common, and by who bought them with what."""
    return raise_task_shares(report, "title_history_to_sid") | {
        "sids.alpha": "auto",
        "sft.profile": ["taste", "companions"],
    }


def improve_sids(report: dict[str, Any]) -> Changes:
    sids, quality = report["config"]["sids"], report["sid_quality"]
    changes: Changes = {}
    if sids["method"] == "imported":
        changes["sids.method"] = "rqkmeans_plus"
    if sids["collisions"] == "keep" or sids["method"] == "imported":
        changes["sids.collisions"] = "reassign"
    crowded = quality.get("collision", {}).get("before", {}).get("share", 0.0) > CROWDED
    if crowded and sids["method"] != "rqkmeans_constrained":  # equal clusters left the fewest on every shop measured
        changes["sids.method"] = "rqkmeans_constrained"
    return changes | enlarge_codebooks(sids, quality) if crowded or not changes else changes


def enlarge_codebooks(sids: dict[str, Any], quality: dict[str, Any]) -> Changes:
    """A fourth level first, then twice the codes while a level can use them."""
    if sids["num_levels"] < 4:
        return {"sids.num_levels": sids["num_levels"] + 1}
    wider = 2 * sids["codebook_size"]
    return {"sids.codebook_size": wider} if wider <= quality.get("items", 0) else {}


def favour_recent(section: str) -> Callable[[dict[str, Any]], Changes]:
    """Recent targets weigh more in training, and the old items of a history are left out."""

    def changes(report: dict[str, Any]) -> Changes:
        half_life, history = report["config"][section]["half_life"], report["config"]["data"]["max_history"]
        return {
            f"{section}.half_life": max(half_life / 2, SHORTEST_HALF_LIFE) if half_life else 0.5,
            "data.max_history": max(math.ceil(history / 2), 3),
        }

    return changes


def tune_language(report: dict[str, Any]) -> Changes:
    """Longer while it was still learning or level; where it got worse, shorter and more regular."""
    sft, learning = report["config"]["sft"], read_learning(report["training"])
    if is_undertrained(report) and learning is not None:
        return train_until_it_learns(report, learning)
    if learning is not None and learning.trend == "falling":
        return regularize(sft, report["training"]["best_at"])
    changes: Changes = {"sft.num_epochs": math.ceil(5 / 3 * sft["num_epochs"])}
    if learning is None:
        changes["sft.learning_rate"] = scale_rate(sft["learning_rate"], 0.6)
        changes["sft.warmup_ratio"] = max(sft["warmup_ratio"], 0.1)
    if learning is None or learning.trend == "level":
        changes["sft.weight_decay"] = max(sft["weight_decay"], 0.01)
    return changes


def regularize(sft: dict[str, Any], best_at: float) -> Changes:
    """What fell from its best had learned its rows by heart.

    Twice the training up to the best, so that the rate has come down by then; more dropout in a model of our own, with
    two passes that should agree (R-Drop); a slower one where the model was there before.
    """
    changes: Changes = {
        "sft.num_epochs": min(round(2 * max(best_at, SHORTEST) * sft["num_epochs"], 2), sft["num_epochs"]),
        "sft.weight_decay": max(sft["weight_decay"], 0.1),
    }
    if not sft["train_from_scratch"]:
        return changes | {"sft.learning_rate": scale_rate(sft["learning_rate"], 0.6)}
    for name in ("embedding_dropout", "hidden_dropout"):
        had = sft["scratch"][name]
        changes[f"sft.scratch.{name}"] = max(had, min(round(had + 0.1, 4), MOST_DROPOUT))
    return changes | {"sft.rdrop": max(sft["rdrop"], 1.0)}


def take_teacher(report: dict[str, Any]) -> Changes:
    """The best of the families that rank better, beside the teachers that there are, as heavy as all of them."""
    sft, better = report["config"]["sft"], find_better_teachers(report)
    if not better or not any(share and asks_next_sid(name) for name, share in sft["tasks"].items()):
        return {}
    weight = sum(sft["teacher"].values()) or 1.0
    return {"sft.teacher": {**sft["teacher"], better[0][0]: weight}}


def train_until_it_learns(report: dict[str, Any], learning: Learning) -> Changes:
    """Slower where the rate was too high; else longer while it took few steps; else faster."""
    sft, training = report["config"]["sft"], report["training"]
    warm = {"sft.warmup_ratio": max(sft["warmup_ratio"], 0.1)}
    if read_rate(training) == "too high" or learning.trend == "falling":
        return {"sft.learning_rate": scale_rate(sft["learning_rate"], 0.2)} | warm
    if training["unit"] == "steps" and training["length"] < FEW_STEPS:
        times = min(max(FEW_STEPS / max(training["length"], 1), 3), MOST_TIMES)
        return {"sft.num_epochs": math.ceil(times * sft["num_epochs"])}
    faster = 5 if sft["train_from_scratch"] else 2
    return {"sft.learning_rate": min(scale_rate(sft["learning_rate"], faster), HIGHEST_RATE)} | warm


def scale_rate(rate: float, factor: float) -> float:
    return float(f"{factor * rate:.3g}")


def tune_reinforced(report: dict[str, Any]) -> Changes:
    """Longer while it was still learning; else slower, nearer to the SFT model, in larger groups where they fit."""
    rl, learning = report["config"]["rl"], read_learning(report["training"])
    if learning is not None and learning.trend == "rising":
        return {"rl.num_epochs": 2 * rl["num_epochs"]}
    beta = max(2 * rl["beta"], 1e-3)
    changes = {"rl.learning_rate": 0.5 * rl["learning_rate"], "rl.beta": max(min(beta, MOST_BETA), rl["beta"])}
    larger = 2 * rl["num_generations"]
    if larger <= MOST_GENERATIONS and not (rl["batch_size"] % larger or rl["micro_batch_size"] % larger):
        changes["rl.num_generations"] = larger
    return changes


def decode_as_taught(report: dict[str, Any]) -> Changes:
    """The softmax that taught ranks too; twice the beams where they are few or lose what an exact ranking has."""
    return {"evaluation.normalization": taught_normalization(report)} | widen_beams(report)


def widen_beams(report: dict[str, Any]) -> Changes:
    beams, lost = report["config"]["evaluation"]["num_beams"], report["failure_patterns"]["beam_loss"]
    loses = lost["finding"] != "not measured" and (lost["share"]["mean"] or 0) > BEAM_LOSSES
    wanted = max(2 * beams if loses else beams, FEWEST_BEAMS if beams < 2 * report["top_k"] else beams)
    return {"evaluation.num_beams": wanted}


def leave_out_seen(report: dict[str, Any]) -> Changes:
    return {"evaluation.filter_seen": not report["seen_items"]["filtered"]}


def read_more(report: dict[str, Any]) -> Changes:
    """Prompts as long as the longest, and twice the history where that holds something."""
    changes: Changes = {}
    prompts, history = report["prompts"], report["history"]
    longer = weigh_history(report).applies
    if prompts is not None and (longer or prompts["cut"] > CUT_PROMPTS):
        changes["sft.cutoff_len"] = max(prompts["cutoff_len"], (2 if longer else 1) * prompts["longest"])
    if longer:
        changes["data.max_history"] = history["longer"]
    return changes


def draw_ties(report: dict[str, Any]) -> Changes:
    return {"data.ties": "random"}


def tune_sequential(report: dict[str, Any]) -> Changes:
    knobs, learning = report["config"]["sequential"], read_learning(report["training"])
    longer = learning is None or learning.trend == "rising"
    changes: Changes = {"sequential.num_epochs": 2 * knobs["num_epochs"]} if longer else {}
    if learning is None or learning.trend != "rising":
        changes |= {
            "sequential.learning_rate": 0.5 * knobs["learning_rate"],
            "sequential.dropout": max(knobs["dropout"], min(round(knobs["dropout"] + 0.1, 4), MOST_DROPOUT)),
        }
    return changes
