"""What in a report of bad cases speaks for a strategy, and how strongly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from genrec.diagnosis.badcase_text import format_lift, format_percent
from genrec.evaluation.report import MIN_ROWS

BAD_FAILURE_RATE = 0.30
TUNE_NEAR_MISSES = 0.20  # share of bad cases just below the cut-off from which tuning is worth it
AT_THE_END = 0.9  # of the training


@dataclass(frozen=True)
class Evidence:
    applies: bool
    weight: float  # order of advice
    reason: str  # a sentence with the numbers
    reach: float = 0.0  # share of all rows that it can turn into hits, at most: HR@k cannot gain more


def weigh_patterns(*limits: tuple[str, float]) -> Callable[[dict[str, Any]], Evidence]:
    """The strongest pattern that applies, else the first; each with the share of bad cases from which to act."""

    def evidence(report: dict[str, Any]) -> Evidence:
        weighed = [weigh_pattern(report, name, least) for name, least in limits]
        return max([each for each in weighed if each.applies], key=lambda each: each.weight, default=weighed[0])

    return evidence


def weigh_pattern(report: dict[str, Any], name: str, least: float) -> Evidence:
    pattern, text = report["failure_patterns"][name], name.replace("_", " ")
    rate = report["summary"]["failure_rate"]
    if pattern["finding"] == "not measured":
        return Evidence(False, 0.0, f"{text} was not measured: {pattern['why']}")
    share, hits = pattern["share"]["mean"], pattern["share_among_hits"]["mean"]
    if share is None:
        return Evidence(False, 0.0, "there are no bad cases")
    if has_few_rows(report):
        return Evidence(False, 0.0, explain_few_rows(report))
    covers = (
        f"{text} in {format_percent(share)} of {report['summary']['bad_cases_count']:,} bad cases ({pattern['says']})"
    )
    if hits is None:
        return Evidence(share > least, share, f"{covers}; there are no hits to compare with", share * rate)
    compared = f"{covers}, {format_percent(hits)} of hits, lift {format_lift(pattern)}"
    if share <= least:
        return Evidence(False, share - hits, f"{compared}; worth acting from {format_percent(least)} on")
    if pattern["finding"] != "more often among misses":
        return Evidence(False, share - hits, f"{compared}; a large group, but not shown to be a cause")
    reason = f"{compared}; more than the {format_percent(least)} from which it is worth acting"
    return Evidence(True, share - hits, reason, (share - hits) * rate)


def weigh_sids(report: dict[str, Any]) -> Evidence:
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
        f"every item has its own semantic ID; {format_percent(before['share'])} of the items were moved to get there",
    )


def weigh_tuning(report: dict[str, Any]) -> Evidence:
    """Failing often, or often by little."""
    rate = report["summary"]["failure_rate"]
    near = report["failure_patterns"]["near_miss"].get("share", {}).get("mean") or 0.0
    if has_few_rows(report):
        return Evidence(False, 0.0, explain_few_rows(report))
    learning = {True: "; its training was best at the end", False: "; its training was best before the end", None: ""}
    reason = (
        f"failure rate {format_percent(rate)} (bad above {format_percent(BAD_FAILURE_RATE)}), {format_percent(near)} "
        f"of bad cases are near misses (tuning is worth it above {format_percent(TUNE_NEAR_MISSES)})"
        f"{learning[is_still_learning(report)]}"
    )
    return Evidence(rate > BAD_FAILURE_RATE or near > TUNE_NEAR_MISSES, -1.0, reason, near * rate)


def has_few_rows(report: dict[str, Any]) -> bool:
    return report["summary"]["total_samples"] < MIN_ROWS


def explain_few_rows(report: dict[str, Any]) -> str:
    return f"{report['summary']['total_samples']} rows are too few to tell; it takes {MIN_ROWS}"


def is_still_learning(report: dict[str, Any]) -> bool | None:
    """Whether the model was still getting better when its training ended; None where that is not known."""
    training = report.get("training")  # reports of a model trained elsewhere, or made before this was written, lack it
    return None if training is None else training["best_at"] > AT_THE_END
