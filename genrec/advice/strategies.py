"""From the report of bad cases to configuration: eleven strategies, each with its evidence and an overlay of real keys.

A strategy is advised when its pattern covers enough bad cases and is shown to be more frequent among them than among
hits. It changes keys of genrec/config.py only; which of them depends on the family of the model that was analysed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from genrec.advice.changes import (
    Changes,
    align_texts,
    balance_and_reward,
    balance_items,
    balance_targets,
    decode_as_taught,
    draw_ties,
    favour_recent,
    improve_sids,
    leave_out_seen,
    read_more,
    take_teacher,
    tune_language,
    tune_reinforced,
    tune_sequential,
    use_other_signals,
)
from genrec.advice.evidence import (
    Evidence,
    strongest,
    weigh_decoding,
    weigh_history,
    weigh_patterns,
    weigh_prompts,
    weigh_seen_items,
    weigh_sids,
    weigh_teacher,
    weigh_ties,
    weigh_tuning,
)
from genrec.diagnosis.badcase_page import Remedy

MIXTURES = ("sft.tasks", "rl.reward_type")  # keys of names with shares

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
class Strategy:
    says: str
    evidence: Callable[[dict[str, Any]], Evidence]
    changes: dict[str, Callable[[dict[str, Any]], Changes]]  # by family, from the report


STRATEGIES: dict[str, Strategy] = {
    "long_tail": Strategy(
        "rare items weigh more in training",
        weigh_patterns("long_tail", "popularity_bias"),
        {"language": balance_items, "reinforced": balance_and_reward, "sequential": balance_targets},
    ),
    "cold_start": Strategy("items are known by their texts", weigh_patterns("cold_item"), {"language": align_texts}),
    "short_history": Strategy(
        "more is made of few items", weigh_patterns("short_history"), {"language": use_other_signals}
    ),
    "sid_quality": Strategy("every item has its own, well-spread semantic ID", weigh_sids, {"language": improve_sids}),
    "recency_bias": Strategy(
        "the last items count for more",
        weigh_patterns("recent_preference_ignored"),
        {"language": favour_recent("sft"), "sequential": favour_recent("sequential")},
    ),
    "hyperparameter": Strategy(
        "longer training while it helps, else slower",
        weigh_tuning,
        {"language": tune_language, "reinforced": tune_reinforced, "sequential": tune_sequential},
    ),
    "decoding": Strategy(
        "a model is asked as it was taught, by enough beams", weigh_decoding, {"language": decode_as_taught}
    ),
    "seen_items": Strategy(
        "items that the user has seen are listed where users come back to them, and only there",
        weigh_seen_items,
        {"language": leave_out_seen},
    ),
    "long_history": Strategy(
        "more of a user's past is read",
        strongest(weigh_prompts, weigh_history),
        {"language": read_more, "sequential": read_more},
    ),
    "teacher": Strategy(
        "the model learns from the probabilities of one that ranks better", weigh_teacher, {"language": take_teacher}
    ),
    "ties": Strategy(
        "events of one time stand in an order that a seed draws",
        weigh_ties,
        {"language": draw_ties, "sequential": draw_ties},
    ),
}

CHANGE_THE_ROWS = ("ties",)  # what comes of them answers other questions, so no round can be held against its base

# Findings that a report has and no strategy acts on, and why.
WITHOUT_STRATEGY = {
    "category_mismatch": (
        "it describes a miss, no hit can have it, so nothing shows it to be a cause: what lowers misses lowers it"
    ),
}


@dataclass(frozen=True)
class Advice:
    name: str
    evidence: Evidence
    changes: Changes  # as far as they differ from the config of the run


def recommend_strategies(report: dict[str, Any]) -> list[str]:
    """The strategies that apply, most urgent first; those without a knob for the analysed model are left out."""
    advice_by_name = {name: make_advice(report, name) for name in STRATEGIES}
    names = [name for name, advice in advice_by_name.items() if advice.evidence.applies and advice.changes]
    return sorted(names, key=lambda name: -advice_by_name[name].evidence.weight)


def list_remedies(report: dict[str, Any]) -> list[Remedy]:
    """The same for the page of the report."""
    return [
        Remedy(name, STRATEGIES[name].says, STRATEGIES[name].evidence(report).reason)
        for name in recommend_strategies(report)
    ]


def make_advice(report: dict[str, Any], name: str) -> Advice:
    strategy = STRATEGIES[name]
    changes = choose_changes(strategy, family_of(report))(report)
    fresh = {
        key: value for key, value in changes.items() if can_act(report, key) and value != current_value(report, key)
    }
    return Advice(name, strategy.evidence(report), fresh)


def can_act(report: dict[str, Any], key: str) -> bool:
    """Whether a key can change the analysed model: one that was trained elsewhere keeps its training and its SIDs."""
    config = report["config"]
    given = {"language": config["evaluation"]["base_model"], "reinforced": config["rl"]["model_path"]}
    family = FAMILY.get(report["model"])
    return not (family and given.get(family) and key.startswith(("sft.", "sids.", "data.")))


def choose_changes(strategy: Strategy, family: str | None) -> Callable[[dict[str, Any]], Changes]:
    """What helps a language model helps the one that RL makes of it, unless RL has knobs of its own for it."""
    for name in (family, "language" if family == "reinforced" else None):
        if name in strategy.changes:
            return strategy.changes[name]
    return lambda report: {}


def family_of(report: dict[str, Any]) -> str | None:
    """Whose knobs can help. A model that RL left as it was is the SFT model: no knob of RL is turned for it."""
    family = FAMILY.get(report["model"])
    return "language" if family == "reinforced" and report["rl_kept"] is False else family


def current_value(report: dict[str, Any], key: str) -> Any:
    """The run's value of a dotted key; what is not in a mixture has share 0."""
    value: Any = report["config"]
    *parents, last = key.split(".")
    for name in parents:
        value = value[name]
    return value.get(last, 0.0) if ".".join(parents) in MIXTURES else value[last]
