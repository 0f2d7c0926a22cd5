"""An A/B report as one page that works offline: the sentences, the intervals drawn, the tables."""

from __future__ import annotations

import math
from html import escape

from genrec.evaluation.page_style import wrap_page
from genrec.experiments.report import AbReport, Reading
from genrec.experiments.report_text import (
    arm_rows,
    describe_head,
    describe_overlap,
    describe_preference,
    describe_ratio,
    describe_reading,
    guardrail_rows,
    policy_rows,
    reading_rows,
)
from genrec.experiments.statistics.off_policy import OffPolicy

WIDTH, ROW = 700, 46  # of the picture, in pixels


def render_report(report: AbReport) -> str:
    """The whole page; every name in it may be anybody's text and is escaped."""
    parts = [f"<h1>{escape(report.experiment)}</h1>", paragraph(describe_head(report)), render_rows(arm_rows(report))]
    parts += [paragraph(text, "truth" if not report.stops else "tag cause") for text in describe_ratio(report)]
    if report.readings:
        parts += ["<h2>Against the control</h2>"]
        parts += [paragraph(describe_reading(report, reading)) for reading in report.readings]
        parts += [draw_readings(report), render_rows(reading_rows(report))]
    if report.guardrails:
        parts += ["<h2>Guardrails</h2>", render_rows(guardrail_rows(report), ("arm", "verdict"))]
    if report.preference:
        parts += ["<h2>Interleaved</h2>", paragraph(describe_preference(report, report.preference))]
    if report.off_policy:
        parts += ["<h2>Another policy</h2>", *render_policy(report, report.off_policy)]
    parts += [paragraph(f"Note: {note}", "soft") for note in report.notes]
    return wrap_page(f"A/B: {report.experiment}", parts)


def paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def render_policy(report: AbReport, policy: OffPolicy | str) -> list[str]:
    if isinstance(policy, str):
        return [paragraph(f"Refused. {policy}", "tag cause")]
    return [render_rows(policy_rows(report, policy)), paragraph(describe_overlap(policy.overlap), "soft")]


def render_rows(rows: list[list[str]], words: tuple[str, ...] = ()) -> str:
    """A table; the first column and those named in `words` are words, the others numbers."""
    head, *body = rows
    kinds = ["name" if place == 0 or name in words else "number" for place, name in enumerate(head)]
    titles = "".join(f'<th class="{kind}">{escape(cell)}</th>' for kind, cell in zip(kinds, head, strict=True))
    lines = "".join(f"<tr>{render_cells(kinds, row)}</tr>" for row in body)
    table = f'<table class="scores"><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def render_cells(kinds: list[str], row: list[str]) -> str:
    return "".join(f'<td class="{kind}">{escape(cell)}</td>' for kind, cell in zip(kinds, row, strict=True))


def draw_readings(report: AbReport) -> str:
    """Relative to the control: a thick line for one look, a thin one for any look, upright where nothing moved."""
    shown = [reading for reading in report.readings if reading.difference.control.mean]
    if not shown:
        return ""
    reach = max(abs(bound) for reading in shown for bound in relative_bounds(reading)) * 1.05 or 1.0
    rows = "".join(draw_reading(reading, place, reach) for place, reading in enumerate(shown))
    height = ROW * len(shown) + 24
    axis = "".join(
        f'<text x="{place:.0f}" y="{height - 4}" text-anchor="{anchor}" font-size="11" fill="currentColor">'
        f"{text}</text>"
        for place, anchor, text in (
            (0, "start", f"{-reach:+.1%}"), (WIDTH / 2, "middle", "no change"), (WIDTH, "end", f"{reach:+.1%}"),
        )
    )  # fmt: skip
    zero = f'<line x1="{WIDTH / 2}" x2="{WIDTH / 2}" y1="0" y2="{height - 18}" stroke="currentColor" stroke-width="1"/>'
    return (
        f'<figure class="curves"><svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="relative differences with their intervals">{zero}{rows}{axis}</svg></figure>'
        '<p class="soft">Relative to the control. Thick: for one look. Thin: for any look.</p>'
    )


def relative_bounds(reading: Reading) -> tuple[float, float, float, float]:
    """Of one look, then of any look; absolute ones over the control's mean."""
    base, always = abs(reading.difference.control.mean), reading.always
    bounds = [reading.difference.low / base, reading.difference.high / base]
    bounds += [always.low / base, always.high / base] if always else bounds
    assert all(map(math.isfinite, bounds)), bounds
    return bounds[0], bounds[1], bounds[2], bounds[3]


def draw_reading(reading: Reading, row: int, reach: float) -> str:
    low, high, always_low, always_high = (WIDTH / 2 * (1 + bound / reach) for bound in relative_bounds(reading))
    middle, y = (low + high) / 2, ROW * row + 30
    name = escape(f"{reading.metric}: {reading.arm}")
    return (
        f'<text x="0" y="{y - 14}" font-size="12" fill="currentColor">{name}</text>'
        f'<line x1="{always_low:.1f}" x2="{always_high:.1f}" y1="{y}" y2="{y}" stroke="var(--plain)" stroke-width="2"/>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="var(--plain)" stroke-width="8"/>'
        f'<circle cx="{middle:.1f}" cy="{y}" r="5" fill="currentColor"/>'
    )
