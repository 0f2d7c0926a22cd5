"""Rounds of the loop: what to try next, what may be kept of the run before, and whether the advice held.

A round is judged on valid rows alone; what it is worth on test rows is reported and decides nothing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genrec.advice.changes import Changes
from genrec.advice.plan import Plan, make_plan
from genrec.advice.strategies import CHANGE_THE_ROWS, FAMILY, current_value, recommend_strategies
from genrec.config import Config
from genrec.config_checks import validate
from genrec.evaluation.comparison import (
    Difference,
    differences_to_json,
    format_change,
    measure_all_rows,
    shared_cutoff,
)
from genrec.evaluation.metrics import CUTOFFS
from genrec.evaluation.report import Report
from genrec.pipeline import affected
from genrec.presets import merge
from genrec.remote import inherit_remote
from genrec.tables import render_table


@dataclass(frozen=True)
class LoopRound:
    number: int
    base: str  # the run it was advised for
    run: str
    plan: Plan
    before: Changes  # what the changed keys were
    valid: list[Difference]  # NDCG@10 and HR@k, this run minus its base
    test: list[Difference]

    @property
    def names(self) -> list[str]:
        return [advice.name for advice in self.plan.advice]

    @property
    def expected(self) -> float:
        """The gain of HR@k that the causes leave room for; causes overlap, so that of several is no more than a sum."""
        return sum(advice.evidence.reach for advice in self.plan.advice)

    @property
    def kept(self) -> bool:
        return self.valid[0].difference.mean > 0

    @property
    def held(self) -> str:
        change = self.valid[0].difference
        if change.low > 0:
            return "yes"
        return "no" if change.high < 0 else "not shown"


def make_next_plan(report: dict[str, Any], rejected: set[str], how_many: str) -> Plan | None:
    """What to try on a run, of advice that no earlier round rejected; None where none is left.

    What would change the held-out rows is left to a person: its score could not be held against the run before.
    """
    names = [name for name in recommend_strategies(report) if name not in rejected and name not in CHANGE_THE_ROWS]
    plan = make_plan(report, names[:1] if how_many == "first" else names)
    return plan if plan.values else None


def list_rejected(rounds: list[LoopRound]) -> set[str]:
    return {name for each in rounds if not each.kept for name in each.names}


def make_round_config(base: Config, plan: Plan, directory: Path) -> Config:
    """The base with the advice laid over, as a run of its own that trains and scores the analysed model alone."""
    tree = merge(base.model_dump(mode="json"), copy.deepcopy(plan.overlay))
    remote = inherit_remote(base.run, directory)
    tree["run"] |= {"dir": str(directory), "from_run": str(base.run.dir), "remote": remote}
    tree["evaluation"]["models"] = list_scored_models(base)
    if FAMILY[base.analysis.model] == "sequential" and "sequential" in affected(plan.values):
        tree["sequential"]["models"] = [base.analysis.model]
    return validate(tree)


def list_scored_models(config: Config) -> list[str]:
    """The analysed model, with its exact twin where the run ranks by that too."""
    model = config.analysis.model
    return [name for name in config.evaluation.models if name in (f"{model}_exact", model)]


def judge_round(
    number: int, plan: Plan, report: dict[str, Any], runs: tuple[str, str], reports: dict[str, list[Report]], seed: int
) -> LoopRound:
    """`reports` are those of both runs, the base first, by split."""
    measured = {}
    hr = f"hr@{max(k for k in CUTOFFS if k <= report['top_k'])}"
    for split, (base, tried) in reports.items():
        metrics = (f"ndcg@{shared_cutoff(base, tried)}", hr)
        measured[split] = measure_all_rows(base, tried, runs, metrics, seed)
    before = {key: current_value(report, key) for key in plan.values}
    return LoopRound(number, *runs, plan, before, measured["valid"], measured["test"])


def rounds_to_json(rounds: list[LoopRound], best: str) -> dict[str, Any]:
    return {
        "best": best,
        "rounds": [
            {
                "round": each.number,
                "base": each.base,
                "run": each.run,
                "advice": {advice.name: advice.evidence.reason for advice in each.plan.advice},
                "changes": {key: {"from": each.before[key], "to": to} for key, to in each.plan.values.items()},
                "first_stage": each.plan.first_stage,
                "hr_gain_at_most": round(each.expected, 6),
                "valid": differences_to_json(each.valid),
                "test": differences_to_json(each.test),
                "held": each.held,
                "kept": each.kept,
            }
            for each in rounds
        ],
    }


def describe_rounds(rounds: list[LoopRound], best: str) -> str:
    """What each round tried and why, what came of it, and the numbers of all rounds on both splits."""
    if not rounds:
        return f"No round was run.\n\nbest: {best}\n"
    ndcg, hr = (each.metric.upper() for each in rounds[0].valid)
    blocks = []
    for each in rounds:
        lines = [f"round {each.number}, on {each.base}, from stage {each.plan.first_stage}"]
        lines += [f"  {advice.name}: {advice.evidence.reason}" for advice in each.plan.advice]
        lines += [f"  {key}: {each.before[key]} -> {value}" for key, value in each.plan.values.items()]
        blocks.append("\n".join(lines))
    head = ["round", "advice", f"{hr} at most", f"{hr} valid", "advice held", "kept"]
    tried = render_table([head, *map(make_round_cells, rounds)], words=("advice", "advice held", "kept"))
    head = ["round", "split", f"{ndcg} before", "after", "change  [95% interval]"]
    numbers = render_table([head, *(row for each in rounds for row in make_split_rows(each))], words=("split",))
    return "\n\n".join([*blocks, tried, numbers, f"best on valid: {best}"]) + "\n"


def make_round_cells(each: LoopRound) -> list[str]:
    change, kept = each.valid[1].difference.mean, "yes" if each.kept else "no"
    return [str(each.number), ", ".join(each.names), f"+{each.expected:.4f}", f"{change:+.4f}", each.held, kept]


def make_split_rows(each: LoopRound) -> list[list[str]]:
    """NDCG on valid, which decides, and on test."""
    rows = []
    for split, ndcg in (("valid", each.valid[0]), ("test", each.test[0])):
        change = format_change(ndcg).replace(" ", "  ", 1)
        rows.append([str(each.number), split, f"{ndcg.baseline:.4f}", f"{ndcg.optimized:.4f}", change])
    return rows
