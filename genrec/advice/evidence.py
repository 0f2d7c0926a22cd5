"""What in a report of bad cases speaks for a strategy, and how strongly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from genrec.advice.learning import read_learning
from genrec.config import TeacherName
from genrec.diagnosis.badcase_text import format_lift, format_percent
from genrec.evaluation.report import MIN_ROWS

WORTH_ACTING = 0.20  # of the bad cases, or of the rows: a smaller group is left alone
BAD_FAILURE_RATE = 0.30
SMALLEST_GAIN = 0.001  # of NDCG that a probe must promise
BEAM_LOSSES = 0.05  # share of bad cases that more beams could cure
CUT_PROMPTS = 0.05  # share of prompts that lose items of their history
TEACHERS = get_args(TeacherName)
SOFTMAX = {"vocab": "all tokens", "trie": "the legal ones"}
FLOOR = "last_item"  # a language model below it has not learned yet

# The order of advice: what makes every number untrue, what costs no training, what no training can mend, what was not
# trained enough, or fell from its best; what others of the run know better; then causes by their excess, between 0 and
# 1; tuning of all else last.
UNTRUE, FREE, STRUCTURE, CUT, UNDERTRAINED, MISTRAINED, TAUGHT, TUNING = 6.0, 5.0, 4.0, 3.0, 2.0, 1.5, 1.25, -1.0


@dataclass(frozen=True)
class Evidence:
    applies: bool
    weight: float  # order of advice
    reason: str  # a sentence with the numbers
    reach: float = 0.0  # share of all rows that it can turn into hits, at most: HR@k cannot gain more


def weigh_patterns(*names: str) -> Callable[[dict[str, Any]], Evidence]:
    """The strongest pattern that applies, else the first."""
    return strongest(*(lambda report, name=name: weigh_pattern(report, name) for name in names))


def strongest(*weighs: Callable[[dict[str, Any]], Evidence]) -> Callable[[dict[str, Any]], Evidence]:
    """Of several pieces of evidence for one strategy the strongest that applies, else the first."""

    def evidence(report: dict[str, Any]) -> Evidence:
        weighed = [weigh(report) for weigh in weighs]
        return max([each for each in weighed if each.applies], key=lambda each: each.weight, default=weighed[0])

    return evidence


def weigh_pattern(report: dict[str, Any], name: str, least: float = WORTH_ACTING) -> Evidence:
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
    """Items of one semantic ID cannot be told apart by any training, so collisions come before training."""
    quality = report["sid_quality"]
    if "not_measured" in quality:
        return Evidence(False, 0.0, f"semantic IDs were not measured: {quality['not_measured']}")
    before, after = quality["collision"]["before"], quality["collision"]["after"]
    if after["items"]:
        shared = report["failure_patterns"]["sid_collision"].get("share", {}).get("mean")
        return Evidence(
            True,
            STRUCTURE,
            f"{after['sharing']:,} of {quality['items']:,} items share a semantic ID with another (up to "
            f"{after['largest']} items an ID); no model can tell those apart, so this comes before training",
            (shared or 0.0) * report["summary"]["failure_rate"],
        )
    return Evidence(
        False,
        0.0,
        f"every item has its own semantic ID; {format_percent(before['share'])} of the items were moved to get there",
    )


def weigh_ties(report: dict[str, Any]) -> Evidence:
    """Where a file's order stands in for times and hits lie there, the order tells the answer: scores are too good."""
    ties, pattern = report["ties"], report["failure_patterns"]["tied_target"]
    if ties is None or pattern["finding"] == "not measured":
        return Evidence(False, 0.0, f"events of one time were not measured: {pattern.get('why') or 'older data'}")
    share, hits = pattern["share"]["mean"], pattern["share_among_hits"]["mean"]
    if share is None or hits is None:
        return Evidence(False, 0.0, "there are no bad cases, or no hits, to compare")
    says = (
        f"targets with the time of the event before them: {format_percent(hits)} of hits, {format_percent(share)} of "
        f"bad cases; their order is {'that of the file' if ties['order'] == 'file' else 'drawn by seed'}"
    )
    leaks = ties["order"] == "file" and hits > WORTH_ACTING and pattern["finding"] == "less often among misses"
    return Evidence(leaks, UNTRUE, f"{says}{', which tells the answer' if leaks else ''}")


def weigh_decoding(report: dict[str, Any]) -> Evidence:
    """A model that is asked in another way than it was taught, or by too few beams."""
    taught, asked = taught_normalization(report), report["config"]["evaluation"]["normalization"]
    beams, lost = report["config"]["evaluation"]["num_beams"], report["failure_patterns"]["beam_loss"]
    share = lost.get("share", {}).get("mean") or 0.0
    if taught != asked:
        says = f"taught by a softmax over {SOFTMAX[taught]} and ranked over {SOFTMAX[asked]}"
        return Evidence(True, FREE, says)
    if lost["finding"] != "not measured" and share > BEAM_LOSSES:
        says = f"an exact ranking has {format_percent(share)} of the bad cases that {beams} beams lost"
        return Evidence(True, FREE, says, share * report["summary"]["failure_rate"])
    if beams < 2 * report["top_k"]:
        return Evidence(True, FREE, f"{beams} beams are few for the first {report['top_k']}; twice as many are usual")
    return Evidence(False, 0.0, f"taught and ranked over {SOFTMAX[asked]}, by {beams} beams")


def taught_normalization(report: dict[str, Any]) -> str:
    """The softmax that a language model was taught by; what decodes one from elsewhere is left as it is."""
    config = report["config"]
    if config["evaluation"]["base_model"] or config["rl"]["model_path"]:
        return config["evaluation"]["normalization"]
    return config["sft"]["normalization"]


def weigh_seen_items(report: dict[str, Any]) -> Evidence:
    """What leaving seen items out does to the very lists that were scored, or how many truths it costs."""
    seen = report["seen_items"]
    listed = f"{format_percent(seen['listed'])} of the listed items stand in the user's history, "
    listed += f"{format_percent(seen['repeats'])} of the truths do"
    if seen["filtered"]:
        return Evidence(seen["repeats"] > WORTH_ACTING, FREE, f"lists leave seen items out; {listed}", seen["repeats"])
    gain = seen["gain"]
    reason = f"{listed}; without seen items the same lists score {format_gain(gain)} NDCG@{report['top_k']}"
    worth = (gain["low"] or 0.0) > 0 and gain["mean"] > SMALLEST_GAIN
    return Evidence(worth, FREE, reason, max(gain["mean"] or 0.0, 0.0))


def format_gain(gain: dict[str, Any]) -> str:
    if gain["low"] is None:
        return f"{gain['mean']:+.4f}"
    return f"{gain['mean']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]"


def weigh_prompts(report: dict[str, Any]) -> Evidence:
    """Prompts that cutoff_len cuts lose the oldest items of their history."""
    prompts = report["prompts"]
    if prompts is None:
        return Evidence(False, 0.0, "this model reads no prompts of this run")
    reason = (
        f"{format_percent(prompts['cut'])} of the prompts are cut at {prompts['cutoff_len']} tokens, the longest has "
        f"{prompts['longest']}"
    )
    return Evidence(prompts["cut"] > CUT_PROMPTS, CUT, reason)


def weigh_history(report: dict[str, Any]) -> Evidence:
    """Where item-kNN, which learns nothing, ranks better by a longer history, there is something in it to learn."""
    history = report["history"]
    if history is None or history["gain"] is None:
        return Evidence(False, 0.0, "no history is longer than what is kept of it")
    gain = history["gain"]
    reason = (
        f"{format_percent(history['cut'])} of the users have more than the {history['kept']} events that are kept; "
        f"with {history['longer']} item-kNN scores {format_gain(gain)} NDCG@10"
    )
    worth = (gain["low"] or 0.0) > 0 and gain["mean"] > SMALLEST_GAIN
    return Evidence(history["cut"] > WORTH_ACTING and worth, CUT, reason)


def weigh_tuning(report: dict[str, Any]) -> Evidence:
    """Below the simplest baseline before anything else; else failing often, or often by little."""
    if has_few_rows(report):
        return Evidence(False, 0.0, explain_few_rows(report))
    rate = report["summary"]["failure_rate"]
    near = report["failure_patterns"]["near_miss"].get("share", {}).get("mean") or 0.0
    went = describe_training(report)
    if is_undertrained(report):
        ahead = report["baselines"]["valid"][FLOOR]["ahead"]
        reason = f"NDCG@10 {format_gain(ahead)} against {FLOOR} on valid: it has not learned what one rule knows{went}"
        return Evidence(True, UNDERTRAINED, reason, near * rate)
    reason = (
        f"failure rate {format_percent(rate)} (bad above {format_percent(BAD_FAILURE_RATE)}), {format_percent(near)} "
        f"of bad cases are near misses (tuning is worth it above {format_percent(WORTH_ACTING)}){went}"
    )
    learning = read_learning(report["training"])
    weight = MISTRAINED if learning is not None and learning.trend == "falling" else TUNING
    return Evidence(rate > BAD_FAILURE_RATE or near > WORTH_ACTING, weight, reason, near * rate)


def weigh_teacher(report: dict[str, Any]) -> Evidence:
    """A family that can teach and ranks better on the same rows, once the model has learned what one rule knows."""
    if has_few_rows(report):
        return Evidence(False, 0.0, explain_few_rows(report))
    taught, better = report["config"]["sft"]["teacher"], find_better_teachers(report)
    by = f"; it is taught by {', '.join(taught)}" if taught else ""
    if not better:
        return Evidence(False, 0.0, f"no family that could teach it is shown to rank better on valid{by}")
    name, ahead = better[0]
    reason = f"NDCG@10 {format_gain(ahead)} against {name} on valid, which can teach it{by}"
    if is_undertrained(report):
        return Evidence(False, 0.0, f"{reason}, but first it has to learn what {FLOOR} knows")
    return Evidence(name not in taught, TAUGHT, reason, report["summary"]["failure_rate"])


def find_better_teachers(report: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Teachers that the model is behind by an interval that excludes zero, and by how much; the best first."""
    ahead = {name: baseline["ahead"] for name, baseline in report["baselines"]["valid"].items() if name in TEACHERS}
    behind = [(name, of) for name, of in ahead.items() if of["high"] is not None and of["high"] < 0]
    return sorted(behind, key=lambda pair: pair[1]["mean"])


def is_undertrained(report: dict[str, Any]) -> bool:
    """A trained model behind the baseline that knows the last item alone."""
    floor = report["baselines"]["valid"].get(FLOOR)
    return floor is not None and (floor["ahead"]["mean"] or 0.0) < 0


def describe_training(report: dict[str, Any]) -> str:
    learning = read_learning(report["training"])
    return "" if learning is None else f"; {learning.describe(report['training']['metric'])}"


def has_few_rows(report: dict[str, Any]) -> bool:
    return report["summary"]["total_samples"] < MIN_ROWS


def explain_few_rows(report: dict[str, Any]) -> str:
    return f"{report['summary']['total_samples']} rows are too few to tell; it takes {MIN_ROWS}"
