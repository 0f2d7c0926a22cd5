"""What in a report of bad cases speaks for a strategy, and how strongly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from genrec.diagnosis.badcase_text import lift_text, percent

BAD_FAILURE_RATE = 0.30
TUNE_NEAR_MISSES = 0.20  # share of bad cases just below the cut-off from which tuning is worth it
AT_THE_END = 0.9  # of the training


@dataclass(frozen=True)
class Evidence:
    applies: bool
    weight: float  # order of advice
    reason: str  # a sentence with the numbers
    reach: float = 0.0  # share of all rows that it can turn into hits, at most: HR@k cannot gain more


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
