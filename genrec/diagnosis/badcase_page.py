"""report.html of an analysis: one file that works offline, in light and dark, made from badcase_report.json."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from genrec.diagnosis.badcase_text import describe_sids, format_lift, format_percent, make_headline, sort_by_weight

STYLE = """
:root { color-scheme: light dark; --ink: #1c1f23; --soft: #5b626b; --paper: #fbfaf7; --card: #ffffff; --line: #dcd9d2;
  --cause: #b3261e; --plain: #8a8f96; --good: #1b6e3c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e9e7e2; --soft: #a4a9b0; --paper: #17191c; --card: #1f2226;
  --line: #383c42; --cause: #ff8a7a; --plain: #7d838b; --good: #7fd19b; } }
body { margin: 0 auto; max-width: 1120px; padding: 32px 28px 64px; background: var(--paper); color: var(--ink);
  font: 16px/1.55 Georgia, "Times New Roman", serif; }
h1 { font-size: 28px; line-height: 1.3; margin: 0 0 8px; } h2 { font-size: 21px; margin: 44px 0 8px; }
p { max-width: 76ch; } .soft { color: var(--soft); }
table { border-collapse: collapse; width: 100%; font: 14px/1.4 system-ui, sans-serif; margin: 12px 0; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 2px solid var(--line); padding: 6px 10px; }
td:first-child { min-width: 250px; }
td { border-bottom: 1px solid var(--line); padding: 7px 10px; vertical-align: top; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.bar { position: relative; height: 9px; width: 130px; background: var(--line); margin-top: 5px; }
.bar i { position: absolute; inset: 0 auto 0 0; background: var(--plain); } .bar.cause i { background: var(--cause); }
.bar b { position: absolute; top: -4px; bottom: -4px; width: 3px; background: var(--ink); }
.tag { color: var(--soft); } .tag.cause { color: var(--cause); font-weight: 600; }
.numbers { display: flex; gap: 40px; flex-wrap: wrap; font-family: system-ui, sans-serif; margin: 20px 0; }
.numbers div { font-size: 13px; color: var(--soft); }
.numbers strong { display: block; font-size: 26px; color: var(--ink); }
.figures { display: grid; grid-template-columns: 1fr 1fr; gap: 18px; } figure { margin: 0; }
img { width: 100%; background: #fff; border: 1px solid var(--line); }
details { border-bottom: 1px solid var(--line); padding: 6px 0; } summary { cursor: pointer; padding: 4px 0; }
.case { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: 6px 24px; padding: 14px 0 18px;
  border-top: 1px dotted var(--line); font: 14px/1.45 system-ui, sans-serif; }
.case h4 { margin: 0 0 4px; font-size: 12px; color: var(--soft); font-weight: 600; }
.case ol, .case ul { margin: 0; padding-left: 20px; } .truth { color: var(--good); font-weight: 600; }
@media (max-width: 760px) { .figures, .case { grid-template-columns: 1fr; } }
@media print { body { max-width: none; } }
"""
SHOWN_HISTORY = 5  # last items of a history
CAPTIONS = {
    "failure_patterns": "Causes, misses against hits",
    "failure_rate": "Failure rate by kind of row",
    "rank_distribution": "Where the truth stands",
    "sid_quality": "Semantic IDs",
}


@dataclass(frozen=True)
class Remedy:
    """One thing that would help: the name of a strategy, what it does, and why the report speaks for it."""

    name: str
    says: str
    reason: str


def render_page(report: dict[str, Any], plots: dict[str, Path], remedies: list[Remedy], advise: str) -> str:
    """The whole page; plots are put into it, `advise` is the command that makes a configuration of the remedies.

    Nothing is fetched: the policy forbids it.
    """
    body = [
        f"<h1>{escape(make_headline(report))}</h1>",
        render_tiles(report),
        render_answer(report),
        render_remedies(remedies, advise),
        "<h2>What goes with a miss</h2>",
        render_patterns(report["failure_patterns"]),
        "<h2>Pictures</h2>",
        f'<div class="figures">{"".join(render_figure(name, plots[name]) for name in CAPTIONS)}</div>',
        "<h2>Semantic IDs</h2>",
        f"<p>{escape(describe_sids(report['sid_quality']))}.</p>",
        "<h2>Examples by cause</h2>",
        render_examples(report),
        "<h2>Bad cases drawn at random</h2>",
        "".join(map(render_case, report["bad_cases_sample"])) or "<p>There are no bad cases.</p>",
    ]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Bad cases of {escape(report['model'])}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def render_tiles(report: dict[str, Any]) -> str:
    counts, ranks = report["summary"], report["rank_distribution"]
    numbers = {
        "rows": f"{counts['total_samples']:,}",
        "users": f"{counts['users']:,}",
        "bad cases": f"{counts['bad_cases_count']:,}",
        "failure rate": f"{counts['failure_rate']:.1%}",
        "truth listed nowhere": f"{ranks['not listed']:,}",
        "bad cases without a cause": f"{counts['without_a_cause']:,}",
    }
    cells = "".join(f"<div><strong>{value}</strong>{name}</div>" for name, value in numbers.items())
    return f'<div class="numbers">{cells}</div>'


def render_answer(report: dict[str, Any]) -> str:
    """The first thing a reader wants: what is different about the misses."""
    causes = [
        entry
        for entry in sort_by_weight(report["failure_patterns"])
        if entry[1]["finding"] == "more often among misses"
    ]
    if not report["summary"]["bad_cases_count"]:
        return "<p>There are no bad cases: every truth stands in the list.</p>"
    if not causes:
        return "<p>No condition is shown to be more frequent among misses than among hits.</p>"
    sentences = [
        f"<strong>{render_label(name)}</strong>: {format_percent(pattern['share']['mean'])} of misses, "
        f"{format_percent(pattern['share_among_hits']['mean'])} of hits"
        for name, pattern in causes
    ]
    return f"<p>More frequent among misses than among hits: {'; '.join(sentences)}.</p>"


def render_remedies(remedies: list[Remedy], advise: str) -> str:
    """What the evidence advises, for models that have knobs."""
    if not remedies:
        return ""
    items = "".join(
        f"<li><strong>{render_label(remedy.name)}</strong>: {escape(remedy.says)}. "
        f'<span class="soft">{escape(remedy.reason)}.</span></li>'
        for remedy in remedies
    )
    return (
        f"<h2>What would help</h2><ol>{items}</ol><p><code>{escape(advise)} --auto_recommend</code> "
        "writes the configuration for it.</p>"
    )


def render_label(name: str) -> str:
    return escape(name.replace("_", " "))


def render_patterns(patterns: dict[str, dict[str, Any]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("cause", "share", "")) + "".join(
        f'<th class="number">{name}</th>' for name in ("bad cases", "of misses", "of hits", "lift [95%]")
    )
    rows = "".join(render_pattern(name, pattern) for name, pattern in sort_by_weight(patterns))
    note = (
        '<p class="soft">Bar: share of bad cases that have the cause. Thin line: share of hits that have it. A cause '
        "counts when the bar reaches beyond the line by more than chance among users would. Descriptions say how a "
        "miss looks; hits cannot have them.</p>"
    )
    return f"{note}<table><thead><tr>{head}<th>finding</th></tr></thead><tbody>{rows}</tbody></table>"


def render_pattern(name: str, pattern: dict[str, Any]) -> str:
    says = f'{render_label(name)}<div class="soft">{escape(pattern["says"])}</div>'
    if pattern["finding"] == "not measured":
        return (
            f'<tr><td>{says}</td><td colspan="6"></td><td class="tag">not measured: {escape(pattern["why"])}</td></tr>'
        )
    share = pattern["share"]["mean"]
    hits = pattern["share_among_hits"]["mean"] if "excess" in pattern else None
    kind = " cause" if pattern["finding"] == "more often among misses" else ""
    cells = [f"{pattern['count']:,}", format_percent(share), format_percent(hits), format_lift(pattern)]
    numbers = "".join(f'<td class="number">{escape(cell)}</td>' for cell in cells)
    return (
        f'<tr><td>{says}</td><td colspan="2">{render_bar(share, hits, kind)}</td>{numbers}'
        f'<td class="tag{kind}">{pattern["finding"]}</td></tr>'
    )


def render_bar(share: float | None, hits: float | None, kind: str) -> str:
    mark = f'<b style="left:{100 * hits:.1f}%"></b>' if hits is not None else ""
    return f'<div class="bar{kind}"><i style="width:{100 * (share or 0):.1f}%"></i>{mark}</div>'


def render_figure(name: str, path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<figure><img alt="{CAPTIONS[name]}" src="data:image/png;base64,{data}"></figure>'


def render_examples(report: dict[str, Any]) -> str:
    sections = [
        f'<details><summary><strong>{render_label(name)}</strong> <span class="soft">'
        f"{report['failure_patterns'][name]['count']:,} bad cases, {len(rows)} shown</span></summary>"
        f"{''.join(map(render_case, rows))}</details>"
        for name, rows in report["examples"].items()
        if rows
    ]
    return "".join(sections) or "<p>There are no bad cases.</p>"


def render_case(row: dict[str, Any]) -> str:
    """One bad case: what the user had, what was recommended, what was wanted."""
    history = row["history_titles"][-SHOWN_HISTORY:]
    earlier = len(row["history_titles"]) - len(history)
    history_items = "".join(f"<li>{escape(title)}</li>" for title in history) or "<li>nothing</li>"
    recommended = "".join(f"<li>{escape(title)}</li>" for title in row["prediction_titles"])
    place = f"rank {row['rank']}" if row["rank"] else "not listed"
    causes = ", ".join(map(render_label, row["causes"])) or "no cause found"
    return (
        f'<div class="case"><div><h4>user {escape(row["user"])}, last items'
        f"{f' ({earlier} earlier)' if earlier else ''}</h4><ul>{history_items}</ul></div>"
        f"<div><h4>recommended</h4><ol>{recommended}</ol></div>"
        f'<div><h4>wanted</h4><div class="truth">{escape(row["truth_title"])}</div>'
        f"<div>{place}; bought {row['truth_bought_in_training']:,} times in training</div>"
        f'<div class="soft">{causes}</div></div></div>'
    )
