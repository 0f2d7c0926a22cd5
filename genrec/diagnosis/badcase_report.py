"""The content of badcase_report.json, from which the page, the plots and the advice are made.

E examples, k cut-off, L levels
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from genrec.data.catalog import Catalog
from genrec.data.sequences import Sequences
from genrec.diagnosis.causes import CAUSES, NOT_KNOWN, Cases, Cause
from genrec.diagnosis.lift import Finding
from genrec.evaluation.predictions import describe_row
from genrec.evaluation.report import MIN_ROWS, Estimate, estimate_means, estimate_slice, estimate_to_json

RANK_EDGES = (1, 2, 4, 6, 11, 21, 51)  # rank groups 1, 2-3, 4-5, 6-10, 11-20, 21-50, then not listed


@dataclass(frozen=True)
class CaseSampling:
    """Which bad cases are shown."""

    seed: int
    examples: int  # a pattern
    sample: int  # overall


def make_badcase_report(reader: CaseReader, slices: dict[str, np.ndarray], sampling: CaseSampling) -> dict[str, Any]:
    """What is measured of all rows, and some of them to read."""
    cases, findings = reader.cases, reader.findings
    random = np.random.default_rng(sampling.seed)
    return measure_cases(cases, findings, slices, sampling.seed) | {
        "bad_cases_sample": reader.describe_rows(draw_rows(cases.miss, sampling.sample, random)),
        "examples": {
            name: reader.describe_rows(draw_rows(finding.rows, sampling.examples, random))
            for name, finding in findings.items()
            if finding is not None
        },
    }


def measure_cases(
    cases: Cases, findings: dict[str, Finding | None], slices: dict[str, np.ndarray], seed: int
) -> dict[str, Any]:
    """The numbers of one split."""
    list_length = int((cases.recommendations.item >= 0).sum(axis=1).max(initial=0))
    return {
        "top_k": cases.limits.top_k,
        "limits": asdict(cases.limits),
        "list_length": list_length,
        "summary": summarize_cases(cases, findings, seed),
        "failure_patterns": {name: describe_pattern(name, finding, cases) for name, finding in findings.items()},
        "failure_rate_by_slice": measure_failure_rates(cases, slices, seed),
        "rank_distribution": count_ranks(cases.rank, list_length),
        "levels": count_levels(cases),
    }


def summarize_cases(cases: Cases, findings: dict[str, Finding | None], seed: int) -> dict[str, Any]:
    failure = estimate_means(cases.examples.user, {"failure": cases.miss.astype(float)}, seed)["failure"]
    explained = np.any([finding.rows for finding in findings.values() if finding is not None], axis=0)
    return {
        "total_samples": len(cases),
        "users": len(np.unique(cases.examples.user)),
        "bad_cases_count": int(cases.miss.sum()),
        "failure_rate": estimate_to_json(failure)["mean"],
        "interval": [estimate_to_json(failure)["low"], estimate_to_json(failure)["high"]],
        "without_a_cause": int((cases.miss & ~explained).sum()),
    }


def describe_pattern(name: str, finding: Finding | None, cases: Cases) -> dict[str, Any]:
    cause = CAUSES[name]
    if finding is None:
        return {"says": cause.says, "finding": "not measured", "why": NOT_KNOWN[cause.needs]}
    content = {
        "says": cause.says,
        "finding": judge_finding(cause, finding, cases),
        "count": int(finding.rows.sum()),
        "share": finite_to_json(finding.misses),
    }
    if cause.condition:
        content |= {
            "share_among_hits": finite_to_json(finding.hits),
            "lift": finite_to_json(finding.lift),
            "excess": finite_to_json(finding.excess),
        }
    return content


def judge_finding(cause: Cause, finding: Finding, cases: Cases) -> str:
    if not cause.condition:
        return "describes the miss"
    if cases.miss.all() or not cases.miss.any():
        return "nothing to compare with"
    if min(cases.miss.sum(), (~cases.miss).sum()) < MIN_ROWS:
        return f"fewer than {MIN_ROWS} rows"
    if finding.misses.mean == finding.hits.mean == 0:
        return "does not occur"
    if finding.excess.low > 0:
        return "more often among misses"
    return "less often among misses" if finding.excess.high < 0 else "no difference shown"


def finite_to_json(estimate: Estimate) -> dict[str, float | None]:
    """For JSON: null where there is no number, as for a lift over no hit at all."""
    return {name: round(value, 6) if np.isfinite(value) else None for name, value in asdict(estimate).items()}


def measure_failure_rates(cases: Cases, slices: dict[str, np.ndarray], seed: int) -> dict[str, dict[str, Any]]:
    """The share of bad cases in each slice of the test rows."""
    failed = cases.miss.astype(float)
    rates = {}
    for name, inside in slices.items():
        rate = estimate_slice(cases.examples.user[inside], {"failure": failed[inside]}, seed)["failure"]
        rates[name] = {"rows": int(inside.sum()), **estimate_to_json(rate)}
    return rates


def count_ranks(rank: np.ndarray, list_length: int) -> dict[str, int]:
    """Rows by rank of the truth, as far as lists go: {"1": 12, "2-3": 20, ..., "not listed": 300}."""
    counts, edges = {}, [*(edge for edge in RANK_EDGES if edge <= list_length), list_length + 1]
    for first, after in pairwise(edges):
        name = str(first) if after == first + 1 else f"{first}-{after - 1}"
        counts[name] = int(((rank >= first) & (rank < after)).sum())
    return counts | {"not listed": int((rank == 0).sum())}


def count_levels(cases: Cases) -> dict[str, list[int]] | None:
    """Bad cases by the level (1 .. L, then none) at which the whole list, and its best item, left the truth's codes."""
    if cases.codes is None:
        return None
    depth = cases.codes.shape[1] + 2
    best = cases.shared_codes[:, 0] + 1
    return {
        "list": np.bincount(cases.left_at[cases.miss], minlength=depth)[1:].tolist(),
        "best_item": np.bincount(best[cases.miss], minlength=depth)[1:].tolist(),
    }


def draw_rows(rows: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Up to `count` of the rows, in order."""
    where = np.flatnonzero(rows)
    return np.sort(random.choice(where, size=min(count, len(where)), replace=False))


@dataclass(frozen=True)
class CaseReader:
    """Rows as people read them."""

    cases: Cases
    findings: dict[str, Finding | None]
    catalog: Catalog
    sequences: Sequences

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every line of eval_results.jsonl."""
        return map(self.describe_line, range(len(self.cases)))

    def describe_rows(self, rows: np.ndarray) -> list[dict[str, Any]]:
        return [self.describe_row(int(row)) for row in rows]

    def describe_row(self, row: int) -> dict[str, Any]:
        """A line of eval_results.jsonl with the titles of the first k and the causes; lists cut at k."""
        line, top_k = self.describe_line(row), self.cases.limits.top_k
        predictions = line["predictions"][:top_k]
        return line | {
            "truth_bought_in_training": int(self.cases.train_count[line["truth"]]),
            "predictions": predictions,
            "prediction_titles": self.catalog.title[predictions].tolist(),
            "scores": line["scores"][:top_k],
        }

    def describe_line(self, row: int) -> dict[str, Any]:
        """What evaluation writes of the row, whether it is a bad case, and why."""
        cases = self.cases
        rank = int(cases.rank[row]) - 1
        line = describe_row(row, cases.examples, cases.recommendations, rank, self.catalog, self.sequences)
        return line | {"bad_case": bool(cases.miss[row]), "causes": self.causes_of(row)}

    def causes_of(self, row: int) -> list[str]:
        return [name for name, finding in self.findings.items() if finding is not None and finding.rows[row]]


def summarize_sid_quality(quality: dict[str, Any] | None) -> dict[str, Any]:
    """The seed's three numbers from quality.json, and the codes in use.

    semantic_gap = 1 - share of an item's nearest neighbours by text that have its first code; code_imbalance = the
    largest code of a level over an even share.
    """
    if quality is None:
        return {"not_measured": "no quality.json of semantic IDs"}
    return {
        "items": quality["items"],
        "collision": quality["collisions"],
        "semantic_gap": round(1 - quality["neighbours"][0]["share"], 6),
        "code_imbalance": [level["imbalance"] for level in quality["levels"]],
        "codes_used": [[level["used"], level["codes"]] for level in quality["levels"]],
    }
