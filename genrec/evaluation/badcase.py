"""Why a model missed: every bad case gets its causes from data, and each cause is held against the hits.

A bad case is a row whose truth does not stand in the first k. A cause that is as frequent among hits explains nothing,
however many bad cases it covers; so every share stands beside the share among hits, with intervals over users.

E examples, N items, H history, k cut-off, W list length, L levels, C causes, B resamples
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from genrec.data.catalog import Catalog, telling_category
from genrec.data.sequences import Examples, Sequences
from genrec.evaluation.metrics import Recommendations, ranks, sid_groups
from genrec.evaluation.predictions import describe_row
from genrec.evaluation.report import LEVEL, Estimate, align, estimates, plain, ratio_draws

POPULAR = 2  # a list leans to the popular when its median item sold this many times the user's usual one
RANK_EDGES = (1, 2, 4, 6, 11, 21, 51)  # rank groups 1, 2-3, 4-5, 6-10, 11-20, 21-50, then not listed


@dataclass(frozen=True)
class Limits:
    """Where the lines between cases are drawn; the knobs of the section `analysis`."""

    top_k: int
    near_miss: int
    short_history: int
    recent_items: int


@dataclass(frozen=True)
class Cases:
    """All rows of one evaluation with what is known of their items; None where the run does not know it."""

    limits: Limits
    examples: Examples
    recommendations: Recommendations
    train_count: np.ndarray  # (N,) training events
    tail: np.ndarray  # (N,) bool, the rare items
    category: np.ndarray | None = None  # (N,) int, -1 = unknown
    codes: np.ndarray | None = None  # (N, L)
    exact: Recommendations | None = None  # the same rows ranked without a beam

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def target(self) -> np.ndarray:
        return self.examples.target

    @property
    def top(self) -> np.ndarray:
        """(E, k)"""
        return self.recommendations.item[:, : self.limits.top_k]

    @cached_property
    def rank(self) -> np.ndarray:
        """(E,) 1-based, 0 where the truth is not listed."""
        return ranks(self.recommendations.item, self.target) + 1

    @cached_property
    def miss(self) -> np.ndarray:
        """(E,) bool"""
        return (self.rank == 0) | (self.rank > self.limits.top_k)

    @cached_property
    def shared_codes(self) -> np.ndarray:
        """(E, k) how many first codes each recommended item shares with the truth."""
        equal = self.codes[self.top] == self.codes[self.target][:, None]  # (E, k, L)
        return np.where(self.top >= 0, np.cumprod(equal, axis=2).sum(axis=2), 0)

    @cached_property
    def left_at(self) -> np.ndarray:
        """(E,) the first level, from 1, at which the whole list has left the truth's codes; L + 1 where one has all."""
        return self.shared_codes.max(axis=1) + 1

    @cached_property
    def preference(self) -> np.ndarray | None:
        """(N,) what a user may like an item for: its category, or its first code where the category is unknown."""
        if self.category is None:
            return None if self.codes is None else self.codes[:, 0].astype(np.int64)
        if self.codes is None:
            return self.category
        return np.where(self.category >= 0, self.category, self.category.max() + 1 + self.codes[:, 0])


@dataclass(frozen=True)
class Cause:
    """One way to miss. A condition can be seen on hits too; a description is a property of the miss itself."""

    found: Callable[[Cases], np.ndarray]  # -> (E,) bool
    says: str
    condition: bool = False
    needs: str = ""  # what of Cases must be known


def cold_item(cases: Cases) -> np.ndarray:
    return cases.train_count[cases.target] == 0


def long_tail(cases: Cases) -> np.ndarray:
    return cases.tail[cases.target] & ~cold_item(cases)


def short_history(cases: Cases) -> np.ndarray:
    return (cases.examples.history >= 0).sum(axis=1) <= cases.limits.short_history


def repeat_purchase(cases: Cases) -> np.ndarray:
    return (cases.examples.history == cases.target[:, None]).any(axis=1)


def recent_preference_ignored(cases: Cases) -> np.ndarray:
    """The user has recent items of known preference, and nothing recommended is like any of them."""
    recent = look_up(cases.preference, cases.examples.history[:, -cases.limits.recent_items :])  # (E, n)
    listed = look_up(cases.preference, cases.top)  # (E, k)
    alike = (recent[:, :, None] == listed[:, None]) & (recent >= 0)[:, :, None]  # (E, n, k)
    return (recent >= 0).any(axis=1) & ~alike.any(axis=(1, 2))


def popularity_bias(cases: Cases) -> np.ndarray:
    """The list's median item is POPULAR times as popular as the user's usual item, and more popular than the truth."""
    history, truth = cases.examples.history, cases.train_count[cases.target]
    usual = np.where((history >= 0).any(axis=1), median_count(cases, history), truth)
    listed = median_count(cases, cases.top)
    return (listed > POPULAR * usual) & (listed > truth)


def sid_collision(cases: Cases) -> np.ndarray:
    group = sid_groups(cases.codes)
    return np.bincount(group)[group][cases.target] > 1


def category_mismatch(cases: Cases) -> np.ndarray:
    wanted = cases.category[cases.target]
    listed = look_up(cases.category, cases.top)
    return cases.miss & (wanted >= 0) & ~(listed == wanted[:, None]).any(axis=1)


def wrong_deeper(cases: Cases) -> np.ndarray:
    return cases.miss & (cases.left_at > 3) & (cases.left_at <= cases.codes.shape[1])


def near_miss(cases: Cases) -> np.ndarray:
    return cases.miss & (cases.rank > 0) & (cases.rank <= cases.limits.near_miss)


def beam_loss(cases: Cases) -> np.ndarray:
    rank = ranks(cases.exact.item, cases.target)
    return cases.miss & (rank >= 0) & (rank < cases.limits.top_k)


CAUSES: dict[str, Cause] = {
    "cold_item": Cause(cold_item, "the truth was never bought in training", condition=True),
    "long_tail": Cause(long_tail, "the truth is one of the rare items", condition=True),
    "short_history": Cause(short_history, "little is known of the user", condition=True),
    "recent_preference_ignored": Cause(
        recent_preference_ignored,
        "nothing in the list is like the user's last items",
        condition=True,
        needs="preference",
    ),
    "repeat_purchase_missed": Cause(repeat_purchase, "the user had bought the truth before", condition=True),
    "popularity_bias": Cause(popularity_bias, "the list is far more popular than what the user buys", condition=True),
    "sid_collision": Cause(
        sid_collision, "the truth shares its semantic ID with another item", condition=True, needs="codes"
    ),
    "category_mismatch": Cause(category_mismatch, "nothing in the list is of the truth's category", needs="category"),
    "wrong_at_level_1": Cause(
        lambda cases: cases.miss & (cases.left_at == 1), "no item shares the first code", needs="codes"
    ),
    "wrong_at_level_2": Cause(
        lambda cases: cases.miss & (cases.left_at == 2), "right first code, lost at the second", needs="codes"
    ),
    "wrong_at_level_3": Cause(
        lambda cases: cases.miss & (cases.left_at == 3), "right first two codes, lost at the third", needs="codes"
    ),
    "wrong_deeper": Cause(wrong_deeper, "right first three codes, lost after them", needs="codes"),
    "near_miss": Cause(near_miss, "the truth stands just below the cut-off"),
    "beam_loss": Cause(beam_loss, "an exact ranking has the truth, the beam lost it", needs="exact"),
}

NOT_KNOWN = {
    "preference": "neither categories nor semantic IDs are known",
    "category": "no categories are known that tell items apart",
    "codes": "this run has no semantic IDs",
    "exact": "no exact ranking; evaluate with --ranking exact",
}


@dataclass(frozen=True)
class Finding:
    """One cause over all rows. Estimates are NaN where they do not exist, infinite where no hit has the cause."""

    rows: np.ndarray  # (E,) bool, the bad cases that have it
    misses: Estimate  # share of bad cases
    hits: Estimate  # share of hits
    lift: Estimate  # misses / hits
    excess: Estimate  # misses - hits


def diagnose(cases: Cases, seed: int) -> dict[str, Finding | None]:
    """Every cause by name; None where it cannot be measured."""
    known = {name: cause for name, cause in CAUSES.items() if measurable(cause, cases)}
    found = np.stack([cause.found(cases) for cause in known.values()], axis=1)  # (E, C)
    rates = compare_rates(cases.examples.user, found, cases.miss, seed)
    findings = {name: Finding(rows & cases.miss, *rate) for name, rows, rate in zip(known, found.T, rates, strict=True)}
    return {name: findings.get(name) for name in CAUSES}


def measurable(cause: Cause, cases: Cases) -> bool:
    return not cause.needs or getattr(cases, cause.needs) is not None


def compare_rates(user: np.ndarray, found: np.ndarray, miss: np.ndarray, seed: int) -> list[tuple[Estimate, ...]]:
    """(misses, hits, lift, excess) of each column of found (E, C), under one bootstrap of users.

    misses = sum(found * miss) / sum(miss), hits the same over ~miss; lift = misses / hits, excess = misses - hits.
    """
    count = found.shape[1]
    weights = np.repeat(np.stack([miss, ~miss], axis=1).astype(float), count, axis=1)  # (E, 2C)
    values = np.concatenate([found, found], axis=1).astype(float)
    drawn = ratio_draws(user, values, weights, seed)  # (B, 2C)
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = (values * weights).sum(axis=0, keepdims=True) / weights.sum(axis=0)  # (1, 2C)
        samples = [derived(part[:, :count], part[:, count:]) for part in (whole, drawn)]
    return [
        tuple(estimate(mean[0, c], draws[:, c]) for mean, draws in zip(*samples, strict=True)) for c in range(count)
    ]


def derived(misses: np.ndarray, hits: np.ndarray) -> tuple[np.ndarray, ...]:
    return misses, hits, misses / hits, misses - hits


def estimate(mean: float, draws: np.ndarray) -> Estimate:
    """Percentile interval over the draws that have a value; the nearest ones, since a lift may be infinite."""
    draws = draws[~np.isnan(draws)]
    if np.isnan(mean) or not len(draws):
        return Estimate(np.nan, np.nan, np.nan)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
    return Estimate(float(mean), float(low), float(high))


def look_up(values: np.ndarray, items: np.ndarray) -> np.ndarray:
    """values[items], -1 where there is no item."""
    return np.where(items >= 0, values[items], -1)


def median_count(cases: Cases, items: np.ndarray) -> np.ndarray:
    """(E, n) items -> (E,) median of their training events, 0 where there are none."""
    counts = np.where(items >= 0, cases.train_count[items], np.nan)
    counts[~(items >= 0).any(axis=1)] = 0
    return np.nanmedian(counts, axis=1)


def category_numbers(catalog: Catalog) -> np.ndarray | None:
    """(N,) number of each item's category at the level that tells items apart, -1 unknown; None where there is none."""
    names = telling_category(catalog.categories)
    if not (names != "").any():
        return None
    known, number = np.unique(names, return_inverse=True)
    return number - 1 if known[0] == "" else number


# The report: the content of badcase_report.json, from which the page, the plots and the advice are made.


@dataclass(frozen=True)
class Sampling:
    """Which bad cases are shown."""

    seed: int
    examples: int  # a pattern
    sample: int  # overall


def make_report(shown: Shown, slices: dict[str, np.ndarray], sampling: Sampling) -> dict[str, Any]:
    cases, findings = shown.cases, shown.findings
    random = np.random.default_rng(sampling.seed)
    return {
        "top_k": cases.limits.top_k,
        "limits": asdict(cases.limits),
        "list_length": int((cases.recommendations.item >= 0).sum(axis=1).max(initial=0)),
        "summary": summary(cases, findings, sampling.seed),
        "failure_patterns": {name: pattern(name, finding, cases) for name, finding in findings.items()},
        "failure_rate_by_slice": failure_rates(cases, slices, sampling.seed),
        "rank_distribution": rank_distribution(cases.rank),
        "levels": levels(cases),
        "bad_cases_sample": shown.rows(drawn(cases.miss, sampling.sample, random)),
        "examples": {
            name: shown.rows(drawn(finding.rows, sampling.examples, random))
            for name, finding in findings.items()
            if finding is not None
        },
    }


def summary(cases: Cases, findings: dict[str, Finding | None], seed: int) -> dict[str, Any]:
    failure = estimates(cases.examples.user, {"failure": cases.miss.astype(float)}, seed)["failure"]
    explained = np.any([found.rows for found in findings.values() if found is not None], axis=0)
    return {
        "total_samples": len(cases),
        "users": len(np.unique(cases.examples.user)),
        "bad_cases_count": int(cases.miss.sum()),
        "failure_rate": plain(failure)["mean"],
        "interval": [plain(failure)["low"], plain(failure)["high"]],
        "without_a_cause": int((cases.miss & ~explained).sum()),
    }


def pattern(name: str, finding: Finding | None, cases: Cases) -> dict[str, Any]:
    cause = CAUSES[name]
    if finding is None:
        return {"says": cause.says, "finding": "not measured", "why": NOT_KNOWN[cause.needs]}
    content = {
        "says": cause.says,
        "finding": verdict(cause, finding, cases),
        "count": int(finding.rows.sum()),
        "share": finite(finding.misses),
    }
    if cause.condition:
        content |= {
            "share_among_hits": finite(finding.hits),
            "lift": finite(finding.lift),
            "excess": finite(finding.excess),
        }
    return content


def verdict(cause: Cause, finding: Finding, cases: Cases) -> str:
    if not cause.condition:
        return "describes the miss"
    if cases.miss.all() or not cases.miss.any():
        return "nothing to compare with"
    if finding.misses.mean == finding.hits.mean == 0:
        return "does not occur"
    if finding.excess.low > 0:
        return "more often among misses"
    return "less often among misses" if finding.excess.high < 0 else "no difference shown"


def finite(estimate: Estimate) -> dict[str, float | None]:
    """For JSON: null where there is no number, as for a lift over no hit at all."""
    return {name: round(value, 6) if np.isfinite(value) else None for name, value in asdict(estimate).items()}


def failure_rates(cases: Cases, slices: dict[str, np.ndarray], seed: int) -> dict[str, dict[str, Any]]:
    """The share of bad cases in each slice of the test rows."""
    failed = cases.miss.astype(float)
    found = {}
    for name, inside in slices.items():
        rate = estimates(cases.examples.user[inside], {"failure": failed[inside]}, seed)["failure"]
        found[name] = {"rows": int(inside.sum()), **plain(rate)}
    return found


def rank_distribution(rank: np.ndarray) -> dict[str, int]:
    """Rows by rank of the truth: {"1": 12, "2-3": 20, ..., "not listed": 300}."""
    found = {}
    for first, after in zip(RANK_EDGES, RANK_EDGES[1:], strict=False):
        name = str(first) if after == first + 1 else f"{first}-{after - 1}"
        found[name] = int(((rank >= first) & (rank < after)).sum())
    return found | {"not listed": int((rank == 0).sum())}


def levels(cases: Cases) -> dict[str, list[int]] | None:
    """Bad cases by the level (1 .. L, then none) at which the whole list, and its best item, left the truth's codes."""
    if cases.codes is None:
        return None
    depth = cases.codes.shape[1] + 2
    best = cases.shared_codes[:, 0] + 1
    return {
        "list": np.bincount(cases.left_at[cases.miss], minlength=depth)[1:].tolist(),
        "best_item": np.bincount(best[cases.miss], minlength=depth)[1:].tolist(),
    }


def drawn(rows: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Up to `count` of the rows, in order."""
    where = np.flatnonzero(rows)
    return np.sort(random.choice(where, size=min(count, len(where)), replace=False))


@dataclass(frozen=True)
class Shown:
    """Rows as people read them."""

    cases: Cases
    findings: dict[str, Finding | None]
    catalog: Catalog
    sequences: Sequences

    def rows(self, numbers: np.ndarray) -> list[dict[str, Any]]:
        return [self.row(int(number)) for number in numbers]

    def row(self, number: int) -> dict[str, Any]:
        """A line of eval_results.jsonl with the titles of the first k and the causes; lists cut at k."""
        line, top_k = self.line(number), self.cases.limits.top_k
        predictions = line["predictions"][:top_k]
        return line | {
            "truth_bought_in_training": int(self.cases.train_count[line["truth"]]),
            "predictions": predictions,
            "prediction_titles": self.catalog.title[predictions].tolist(),
            "scores": line["scores"][:top_k],
        }

    def line(self, number: int) -> dict[str, Any]:
        """What evaluation writes of the row, whether it is a bad case, and why."""
        cases = self.cases
        rank = int(cases.rank[number]) - 1
        line = describe_row(number, cases.examples, cases.recommendations, rank, self.catalog, self.sequences)
        return line | {"bad_case": bool(cases.miss[number]), "causes": self.causes(number)}

    def causes(self, number: int) -> list[str]:
        return [name for name, found in self.findings.items() if found is not None and found.rows[number]]


def sid_quality(quality: dict[str, Any] | None) -> dict[str, Any]:
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


def show(report: dict[str, Any]) -> str:
    """summary_report.txt: the sentence, the table of causes, failure by slice, semantic IDs."""
    rows = [["cause", "bad cases", "share", "among hits", "lift  [95% interval]", "finding"]]
    rows += [pattern_cells(name, found) for name, found in by_weight(report["failure_patterns"])]
    slices = [["slice", "rows", "failure rate  [95% interval]"]] + [
        [name, f"{found['rows']:,}", interval_text(found, "{:.1%}")]
        for name, found in report["failure_rate_by_slice"].items()
    ]
    return "\n\n".join([headline(report), align(rows), align(slices), sid_sentence(report["sid_quality"])]) + "\n"


def headline(report: dict[str, Any]) -> str:
    """One sentence, for every place that needs one."""
    counts = report["summary"]
    low, high = counts["interval"]
    return (
        f"{report['model']} on {report['split']}: the truth is missing from the first {report['top_k']} in "
        f"{counts['bad_cases_count']:,} of {counts['total_samples']:,} rows, "
        f"failure rate {counts['failure_rate']:.1%} [{low:.1%}, {high:.1%}]"
    )


def by_weight(patterns: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Causes by how much more frequent they are among misses, descriptions by share, the rest, unmeasured last."""
    order = ("more often among misses", "describes the miss")

    def key(entry: tuple[str, dict[str, Any]]) -> tuple[int, float]:
        found = entry[1]
        if found["finding"] == "not measured":
            return len(order) + 1, 0.0
        weight = found["excess"]["mean"] if "excess" in found else found["share"]["mean"]
        place = order.index(found["finding"]) if found["finding"] in order else len(order)
        return place, -(weight or 0.0)

    return sorted(patterns.items(), key=key)


def pattern_cells(name: str, found: dict[str, Any]) -> list[str]:
    if found["finding"] == "not measured":
        return [name, "", "", "", "", f"not measured: {found['why']}"]
    among_hits = percent(found["share_among_hits"]["mean"]) if "excess" in found else "-"
    return [
        name,
        f"{found['count']:,}",
        percent(found["share"]["mean"]),
        among_hits,
        lift_text(found),
        found["finding"],
    ]


def percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def lift_text(found: dict[str, Any]) -> str:
    """ "2.1x [1.8, 2.6]", "no hit has it", or "-" where there is nothing to compare."""
    if "excess" not in found or found["excess"]["mean"] is None:
        return "-"
    if found["share_among_hits"]["mean"] == 0:
        return "no hit has it" if found["count"] else "-"
    lift = found["lift"]
    high = "∞" if lift["high"] is None else f"{lift['high']:.2f}"
    return f"{lift['mean']:.2f}x  [{lift['low']:.2f}, {high}]"


def interval_text(estimate: dict[str, Any], form: str) -> str:
    if estimate["mean"] is None:
        return "-"
    mean, low, high = (form.format(estimate[part]) for part in ("mean", "low", "high"))
    return f"{mean}  [{low}, {high}]"


def sid_sentence(quality: dict[str, Any]) -> str:
    if "not_measured" in quality:
        return f"Semantic IDs: not measured, {quality['not_measured']}"
    before, after = (quality["collision"][name]["items"] for name in ("before", "after"))
    used = ", ".join(f"{used} of {codes}" for used, codes in quality["codes_used"])
    return (
        f"Semantic IDs: {after} collisions ({before} before they were resolved); codes in use by level: {used}; "
        f"{quality['semantic_gap']:.0%} of nearest neighbours have another first code"
    )
