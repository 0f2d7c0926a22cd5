"""Strategies together: who keeps a key that two want, the overlay that is written, and why, for people to read."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from genrec.advice.changes import Changes
from genrec.advice.evidence import WORTH_ACTING
from genrec.advice.strategies import (
    FAMILY,
    MIXTURES,
    STRATEGIES,
    WITHOUT_STRATEGY,
    Advice,
    current_value,
    family_of,
    make_advice,
    recommend_strategies,
)
from genrec.config_checks import validate
from genrec.diagnosis.badcase_text import format_percent, make_headline
from genrec.errors import ArtifactError
from genrec.pipeline import affected
from genrec.presets import merge, set_path


@dataclass(frozen=True)
class Conflict:
    """Two strategies want different values of one key."""

    key: str
    kept: str
    kept_value: Any
    dropped: str
    dropped_value: Any


@dataclass(frozen=True)
class Plan:
    advice: list[Advice]  # most urgent first
    values: Changes  # what is left of all changes after conflicts
    conflicts: list[Conflict]
    overlay: dict[str, Any]  # the content of optimized_config.json
    first_stage: str | None  # everything from here on is to be run again


def make_plan(report: dict[str, Any], names: list[str]) -> Plan:
    """All strategies together. Where two want one key, the one named first keeps it; a test of the whole follows."""
    if unknown := [name for name in names if name not in STRATEGIES]:
        raise ArtifactError(f"unknown strategy '{unknown[0]}'; there are: {', '.join(STRATEGIES)}")
    advice = [make_advice(report, name) for name in dict.fromkeys(names)]
    values, owner, conflicts = {}, {}, []
    for each in advice:
        for key, value in each.changes.items():
            if key not in values:
                values[key], owner[key] = value, each.name
            elif values[key] != value:
                conflicts.append(Conflict(key, owner[key], values[key], each.name, value))
    overlay = nest_values(report, values)
    validate(merge(copy.deepcopy(report["config"]), copy.deepcopy(overlay)))
    return Plan(advice, values, conflicts, overlay, find_first_stage(values))


def nest_values(report: dict[str, Any], values: Changes) -> dict[str, Any]:
    """Dotted keys as sections. A mixture replaces the one before it, so it is written whole."""
    tree: dict[str, Any] = {}
    for mixture in MIXTURES:
        if any(key.startswith(f"{mixture}.") for key in values):
            set_path(tree, mixture, dict(current_value(report, mixture)))
    for key, value in values.items():
        set_path(tree, key, value)
    return tree


def find_first_stage(values: Changes) -> str | None:
    """The earliest stage whose artifact these keys change."""
    return next(iter(affected(values)), None)


def evidence_to_json(report: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """Why each key is what it is; written beside the overlay."""
    return {
        "analysed": make_headline(report),
        "first_stage": plan.first_stage,
        "strategies": {
            each.name: {
                "advised": each.evidence.applies,
                "reason": each.evidence.reason,
                "hr_gain_at_most": round(each.evidence.reach, 6),
                "changes": {
                    key: {"from": current_value(report, key), "to": value} for key, value in each.changes.items()
                },
            }
            for each in plan.advice
        },
        "conflict_rule": "the strategy named first keeps the key; --auto_recommend puts the strongest evidence first",
        "conflicts": [vars(conflict) for conflict in plan.conflicts],
    }


def describe_plan(report: dict[str, Any], plan: Plan) -> str:
    """What is changed and why, what conflicts, and why the other strategies are left out."""
    lines = [make_headline(report), ""]
    for each in plan.advice:
        lines += [f"{each.name}: {STRATEGIES[each.name].says}", f"  {each.evidence.reason}"]
        lines += [f"  {key}: {current_value(report, key)} -> {value}" for key, value in each.changes.items()]
        lines += [] if each.changes else [f"  nothing left to change for {report['model']}"]
    for each in plan.conflicts:
        lines.append(
            f"conflict: {each.kept} sets {each.key} to {each.kept_value}, {each.dropped} to {each.dropped_value}; "
            f"{each.kept} comes first and keeps it"
        )
    taken = {each.name for each in plan.advice}
    lines += ["", "left out:"] if len(taken) < len(STRATEGIES) else []
    lines += [f"  {name}: {explain_omission(report, name)}" for name in STRATEGIES if name not in taken]
    lines += list_findings_without_strategy(report)
    return "\n".join(lines)


def list_findings_without_strategy(report: dict[str, Any]) -> list[str]:
    """Large groups of bad cases that no strategy answers, each with why."""
    shares = {
        name: (report["failure_patterns"][name].get("share") or {}).get("mean") or 0.0 for name in WITHOUT_STRATEGY
    }
    return [
        f"  {name}, in {format_percent(share)} of bad cases, has no strategy: {WITHOUT_STRATEGY[name]}"
        for name, share in shares.items()
        if share > WORTH_ACTING
    ]


def explain_omission(report: dict[str, Any], name: str) -> str:
    if family_of(report) is None:
        return f"{report['model']} only counts, it has no knobs; analyse {', '.join(FAMILY)}"
    advice = make_advice(report, name)
    lacking = "" if advice.changes else f"; no knob of {report['model']} is left to turn"
    return advice.evidence.reason + lacking


def describe_choices(report: dict[str, Any]) -> str:
    """The numbered menu: every strategy, whether it is advised, and why."""
    advised = recommend_strategies(report)
    lines = [make_headline(report), ""]
    for number, (name, strategy) in enumerate(STRATEGIES.items(), start=1):
        mark = "advised" if name in advised else "not advised"
        lines += [f"{number}. {name} ({mark}): {strategy.says}", f"     {strategy.evidence(report).reason}"]
    return "\n".join(lines)
