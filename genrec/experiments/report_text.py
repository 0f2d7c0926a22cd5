"""An A/B report as text: what may be said, in words first, and the numbers behind it."""

from __future__ import annotations

from datetime import UTC, datetime

from genrec.experiments.report import AbReport, GuardrailReading, Reading
from genrec.experiments.statistics.always_valid import LEAST
from genrec.experiments.statistics.guardrails import Verdict
from genrec.experiments.statistics.interleaving import Preference
from genrec.experiments.statistics.off_policy import OffPolicy, Overlap
from genrec.experiments.statistics.sample_ratio import ALPHA
from genrec.tables import fold_lines, render_table

VERDICTS: dict[Verdict, str] = {
    "holds": "holds",
    "violated": "VIOLATED",
    "not shown": "not shown to hold; more users are needed",
}


MISMATCH = (
    "the arms did not get the users they should. Something other than the deal takes users out of an arm, or puts them "
    "in, and any difference may be that; nothing more is read. Look for answers that are not logged (errors, timeouts, "
    "robots), an arm that began later, and shares that were changed."
)


def describe_report(report: AbReport) -> str:
    """The whole text, 80 columns wide."""
    parts = [fold_lines(describe_head(report)), render_table(arm_rows(report)), *describe_ratio(report)]
    if report.readings:
        parts += describe_readings(report)
    if report.guardrails:
        parts += [f"guardrails, each one-sided at {percent(report.alpha)}; between brackets the bounds of either side"]
        parts += [render_table(guardrail_rows(report), ("arm", "verdict"))]
    if report.preference:
        parts += [fold_lines(describe_preference(report, report.preference))]
    if report.off_policy:
        parts += describe_policy(report, report.off_policy)
    parts += ["\n".join(fold_lines(f"note: {note}", "  ") for note in report.notes)] if report.notes else []
    return "\n\n".join(parts) + "\n"


def describe_head(report: AbReport) -> str:
    users, answers = (sum(column) for column in zip(*report.arms.values(), strict=True))
    begin, end = (datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M") for moment in report.span)
    return f"experiment {report.experiment}: {users:,} users, {answers:,} answers, {begin} to {end} UTC"


def arm_rows(report: AbReport) -> list[list[str]]:
    expected = report.sample_ratio.expected if report.sample_ratio else {}
    rows = [
        [arm, f"{users:,}", f"{expected[arm]:,.0f}" if arm in expected else "-", f"{answers:,}"]
        for arm, (users, answers) in report.arms.items()
    ]
    return [["arm", "users", "expected", "answers"], *rows]


def describe_ratio(report: AbReport) -> list[str]:
    if report.sample_ratio is None:
        return []
    p_value = p_text(report.sample_ratio.p_value)
    if report.stops:
        return [fold_lines(f"SAMPLE RATIO MISMATCH (chi-square, p = {p_value}, below {ALPHA:g}): {MISMATCH}")]
    return [f"sample ratio: as dealt out (chi-square, p = {p_value}; a mismatch is below {ALPHA:g})"]


# Readings


def describe_readings(report: AbReport) -> list[str]:
    lines = [fold_lines(describe_reading(report, reading), "  ") for reading in report.readings]
    level = percent(1 - report.alpha)
    together = f" together over {report.comparisons} comparisons (Bonferroni)" if report.comparisons > 1 else ""
    return [
        "\n".join(lines),
        f"with {level} intervals{together}; control {report.control}",
        render_table(reading_rows(report)),
    ]


def describe_reading(report: AbReport, reading: Reading) -> str:
    """What may be said, and when."""
    difference, name = reading.difference, f"{reading.metric}, {reading.arm} - {report.control}"
    share = f" ({difference.relative:+.1%})" if difference.control.mean else ""
    change = f"{difference.value:+.4g}{share}"
    if reading.always is None:
        return f"{name}: {change}. Too early to say: an arm has fewer than {LEAST} users, or no user differs."
    if reading.always.low > 0 or reading.always.high < 0:
        return f"{name}: {change}. Shown, at whatever moment one looks."
    if corrected(report, difference.p_value) < report.alpha:
        return f"{name}: {change}. Shown only if this is the one look, planned beforehand; those who look often wait."
    return f"{name}: {change}. Not shown."


def reading_rows(report: AbReport) -> list[list[str]]:
    head = ["metric and arm", "control's", "arm's", "difference", "one look", "p", "any look", "always-valid p"]
    cuped = any(reading.kept is not None for reading in report.readings)
    return [head + ["variance kept (CUPED)"] * cuped, *(reading_row(report, each, cuped) for each in report.readings)]


def reading_row(report: AbReport, reading: Reading, cuped: bool) -> list[str]:
    difference, always = reading.difference, reading.always
    return [
        f"{reading.metric}, {reading.arm}",
        f"{difference.control.mean:.4g}",
        f"{difference.treatment.mean:.4g}",
        f"{difference.value:+.4g}",
        interval(difference.low, difference.high),
        p_text(corrected(report, difference.p_value)),
        interval(always.low, always.high) if always else "-",
        p_text(corrected(report, always.p_value)) if always else "-",
        *([f"{reading.kept:.0%}" if reading.kept is not None else "-"] if cuped else []),
    ]


def corrected(report: AbReport, p_value: float) -> float:
    return min(1.0, p_value * report.comparisons)


def guardrail_rows(report: AbReport) -> list[list[str]]:
    return [["guardrail", "arm", "relative change", "verdict"], *(guardrail_row(each) for each in report.guardrails)]


def guardrail_row(reading: GuardrailReading) -> list[str]:
    difference = reading.difference
    bounds = f"{difference.relative:+.1%} [{difference.relative_low:+.1%}, {difference.relative_high:+.1%}]"
    return [str(reading.guardrail), reading.arm, bounds, VERDICTS[reading.verdict]]


# Interleaving and other models


def describe_preference(report: AbReport, preference: Preference) -> str:
    first, second = split_teams(report)
    if not preference.first + preference.second:
        return f"interleaved: nobody clicked more on what {first} or {second} brought"
    said = "is preferred" if preference.p_value < report.alpha else "is not shown to be preferred"
    better = second if preference.second >= preference.first else first
    return (
        f"interleaved: {preference.second:,} users clicked more on what {second} brought, {preference.first:,} on what "
        f"{first} brought, {preference.ties:,} on both alike. {second}'s share {preference.share:.1%} "
        f"[{preference.low:.1%}, {preference.high:.1%}], sign test p = {p_text(preference.p_value)}: {better} {said}. "
        "(For one look; by how much a metric would move an A/B test says.)"
    )


def split_teams(report: AbReport) -> tuple[str, str]:
    """The control, and the other arm of 'a+b'."""
    both = next(iter(report.arms))
    other = both.removeprefix(f"{report.control}+").removesuffix(f"+{report.control}")
    return report.control, other


def describe_policy(report: AbReport, policy: OffPolicy | str) -> list[str]:
    head = "the other policy, from logged propensities"
    if isinstance(policy, str):
        return [fold_lines(f"{head}: refused. {policy}")]
    return [head, render_table(policy_rows(report, policy)), fold_lines(describe_overlap(policy.overlap))]


def policy_rows(report: AbReport, policy: OffPolicy) -> list[list[str]]:
    estimates = {"as logged": policy.logged, **policy.estimates}
    rows = [[name, f"{each.value:.4g}", f"[{each.low:.4g}, {each.high:.4g}]"] for name, each in estimates.items()]
    return [["estimate", "a request", f"{percent(1 - report.alpha)} interval"], *rows]


def describe_overlap(overlap: Overlap) -> str:
    return (
        f"{overlap.answers:,} sampled answers, worth {overlap.effective:,.0f} of the other policy's; mean weight "
        f"{overlap.mean_weight:.3f}, largest share of one answer {overlap.largest:.2%}"
    )


def interval(low: float, high: float) -> str:
    return f"[{low:+.4g}, {high:+.4g}]"


def p_text(p_value: float) -> str:
    return f"{p_value:.4f}" if p_value >= 1e-4 else f"{p_value:.0e}"


def percent(share: float) -> str:
    return f"{share * 100:g}%"
