"""Rounds of the loop: what to try next, what may be kept of the run before, and whether the advice held.

A round is judged on valid rows alone; what it is worth on test rows is reported and decides nothing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genrec.advice.changes import Changes
from genrec.advice.plan import Plan, make_plan
from genrec.advice.strategies import FAMILY, current, recommended
from genrec.config import Config
from genrec.config_checks import validate
from genrec.evaluation.comparison import HEADLINE, Difference, check_same_rows, differences, plain_rows
from genrec.evaluation.metrics import CUTOFFS
from genrec.evaluation.report import Report, align
from genrec.pipeline import affected
from genrec.presets import merge


@dataclass(frozen=True)
class Round:
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


def next_plan(report: dict[str, Any], rejected: set[str], how_many: str) -> Plan | None:
    """What to try on a run, of advice that no earlier round rejected; None where none is left."""
    names = [name for name in recommended(report) if name not in rejected]
    plan = make_plan(report, names[:1] if how_many == "first" else names)
    return plan if plan.values else None


def rejected(rounds: list[Round]) -> set[str]:
    return {name for each in rounds if not each.kept for name in each.names}


def round_config(base: Config, plan: Plan, directory: Path) -> Config:
    """The base with the advice laid over, as a run of its own that trains and scores the analysed model alone."""
    tree = merge(base.model_dump(mode="json"), copy.deepcopy(plan.overlay))
    tree["run"]["dir"] = str(directory)
    tree["evaluation"]["models"] = scored(base)
    if FAMILY[base.analysis.model] == "sequential" and "sequential" in affected(plan.values):
        tree["sequential"]["models"] = [base.analysis.model]
    return validate(tree)


def scored(config: Config) -> list[str]:
    """The analysed model, with its exact twin where the run ranks by that too."""
    model = config.analysis.model
    return [name for name in config.evaluation.models if name in (f"{model}_exact", model)]


def judge(
    number: int, plan: Plan, report: dict[str, Any], runs: tuple[str, str], reports: dict[str, list[Report]], seed: int
) -> Round:
    """`reports` are those of both runs, the base first, by split."""
    measured = {}
    hr = f"hr@{max(k for k in CUTOFFS if k <= report['top_k'])}"
    for split, (base, tried) in reports.items():
        check_same_rows(base, tried, runs)
        measured[split] = differences(base, tried, (HEADLINE, hr), np.ones(len(base.user), dtype=bool), seed)
    before = {key: current(report, key) for key in plan.values}
    return Round(number, *runs, plan, before, measured["valid"], measured["test"])


def as_json(rounds: list[Round], best: str) -> dict[str, Any]:
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
                "valid": plain_rows(each.valid),
                "test": plain_rows(each.test),
                "held": each.held,
                "kept": each.kept,
            }
            for each in rounds
        ],
    }


def show(rounds: list[Round], best: str) -> str:
    """What each round tried and what came of it, then the numbers of all rounds in one table."""
    if not rounds:
        return f"No round was run.\n\nbest: {best}\n"
    hr = rounds[0].valid[1].metric.upper()
    ndcg = HEADLINE.upper()
    head = ["round", "advice", f"{hr} at most", f"{hr} valid", f"{ndcg} valid", "change  [95% interval]"]
    head += [f"{ndcg} test", "change  [95% interval]", "advice held", "kept"]
    blocks = []
    for each in rounds:
        lines = [f"round {each.number}, on {each.base}, from stage {each.plan.first_stage}"]
        lines += [f"  {advice.name}: {advice.evidence.reason}" for advice in each.plan.advice]
        lines += [f"  {key}: {each.before[key]} -> {value}" for key, value in each.plan.values.items()]
        blocks.append("\n".join(lines))
    return "\n\n".join([*blocks, align([head, *map(cells, rounds)]), f"best on valid: {best}"]) + "\n"


def cells(each: Round) -> list[str]:
    ndcg, hr = each.valid
    test = each.test[0]
    return [
        str(each.number),
        ", ".join(each.names),
        f"+{each.expected:.4f}",
        f"{hr.difference.mean:+.4f}",
        f"{ndcg.baseline:.4f} -> {ndcg.optimized:.4f}",
        change(ndcg),
        f"{test.baseline:.4f} -> {test.optimized:.4f}",
        change(test),
        each.held,
        "yes" if each.kept else "no",
    ]


def change(found: Difference) -> str:
    return f"{found.difference.mean:+.4f}  [{found.difference.low:+.4f}, {found.difference.high:+.4f}]"
