"""badcase_report.json in words: the summary, and the sentences and cells that the page and the advice share with it."""

from __future__ import annotations

from typing import Any

from genrec.data.texts import escape_controls
from genrec.evaluation.report import MIN_ROWS
from genrec.tables import fold_lines, render_table


def describe_report(report: dict[str, Any]) -> str:
    """summary_report.txt: the sentence, a table of causes for each finding, failure by slice, semantic IDs."""
    slices = [["slice", "rows", "failure rate  [95% interval]"]] + [
        [name, f"{rate['rows']:,}", "-" if rate["low"] is None else format_interval(rate, "{:.1%}")]
        for name, rate in report["failure_rate_by_slice"].items()
    ]
    few = any(0 < rate["rows"] < MIN_ROWS for rate in report["failure_rate_by_slice"].values())
    note = [f"-: fewer than {MIN_ROWS} rows, nothing is claimed of them"] if few else []
    sections = [
        fold_lines(make_headline(report)),
        *describe_patterns(report["failure_patterns"]),
        "\n".join([render_table(slices), *note]),
        fold_lines(describe_sids(report["sid_quality"])),
    ]
    return "\n\n".join(sections) + "\n"


def describe_patterns(patterns: dict[str, dict[str, Any]]) -> list[str]:
    """A table a finding, the weightiest first; below what was not measured, and why."""
    ordered = sort_by_weight(patterns)
    findings = list(dict.fromkeys(pattern["finding"] for _, pattern in ordered))
    tables = []
    for finding in (each for each in findings if each != "not measured"):
        rows = [make_pattern_cells(name, pattern) for name, pattern in ordered if pattern["finding"] == finding]
        columns = 3 if all(row[3:] == ["-", "-"] for row in rows) else 5  # hits cannot have a description
        head = [finding, "bad cases", "share", "among hits", "lift  [95% interval]"]
        tables.append(render_table([row[:columns] for row in [head, *rows]]))
    unmeasured = [
        f"not measured: {name}, {pattern['why']}" for name, pattern in ordered if pattern["finding"] == "not measured"
    ]
    return [*tables, *(["\n".join(map(fold_lines, unmeasured))] if unmeasured else [])]


def make_headline(report: dict[str, Any]) -> str:
    """One sentence, for every place that needs one."""
    counts = report["summary"]
    low, high = counts["interval"]
    interval = "- (no interval: all rows are of one user)" if low is None else f"[{low:.1%}, {high:.1%}]"
    return (
        f"{escape_controls(report['model'])} on {report['split']}: the truth is missing from the first "
        f"{report['top_k']} in {counts['bad_cases_count']:,} of {counts['total_samples']:,} rows, "
        f"failure rate {counts['failure_rate']:.1%} {interval}"
    )


def sort_by_weight(patterns: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Causes by how much more frequent they are among misses, descriptions by share, the rest, unmeasured last."""
    order = ("more often among misses", "describes the miss")

    def key(entry: tuple[str, dict[str, Any]]) -> tuple[int, float]:
        pattern = entry[1]
        if pattern["finding"] == "not measured":
            return len(order) + 1, 0.0
        weight = pattern["excess"]["mean"] if "excess" in pattern else pattern["share"]["mean"]
        place = order.index(pattern["finding"]) if pattern["finding"] in order else len(order)
        return place, -(weight or 0.0)

    return sorted(patterns.items(), key=key)


def make_pattern_cells(name: str, pattern: dict[str, Any]) -> list[str]:
    """Of a measured pattern."""
    among_hits = format_percent(pattern["share_among_hits"]["mean"]) if "excess" in pattern else "-"
    return [name, f"{pattern['count']:,}", format_percent(pattern["share"]["mean"]), among_hits, format_lift(pattern)]


def format_percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def format_lift(pattern: dict[str, Any]) -> str:
    """ "2.1x [1.8, 2.6]", "no hit has it", or "-" where there is nothing to compare, or no interval."""
    if "excess" not in pattern or pattern["excess"]["mean"] is None:
        return "-"
    if pattern["share_among_hits"]["mean"] == 0:
        return "no hit has it" if pattern["count"] else "-"
    lift = pattern["lift"]
    if lift["low"] is None:
        return f"{lift['mean']:.2f}x  -"
    high = "∞" if lift["high"] is None else f"{lift['high']:.2f}"
    return f"{lift['mean']:.2f}x  [{lift['low']:.2f}, {high}]"


def format_interval(estimate: dict[str, Any], form: str) -> str:
    if estimate["mean"] is None:
        return "-"
    mean, low, high = (form.format(estimate[side]) for side in ("mean", "low", "high"))
    return f"{mean}  [{low}, {high}]"


def describe_sids(quality: dict[str, Any]) -> str:
    if "not_measured" in quality:
        return f"Semantic IDs: not measured, {quality['not_measured']}"
    before, after = (quality["collision"][name]["items"] for name in ("before", "after"))
    used = ", ".join(f"{used} of {codes}" for used, codes in quality["codes_used"])
    return (
        f"Semantic IDs: {after} collisions ({before} before they were resolved); codes in use by level: {used}; "
        f"{quality['semantic_gap']:.0%} of nearest neighbours have another first code"
    )
