"""report.html of an analysis: one file that works offline, in light and dark, made from badcase_report.json.

First what was measured of which model on which data, against the baselines, how it learned and with what settings; then
why it missed.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import yaml

from genrec.diagnosis.badcase_text import describe_sids, format_lift, format_percent, make_headline, sort_by_weight
from genrec.evaluation.page_style import wrap_page
from genrec.pipeline import FAMILY_READS

SHOWN_HISTORY = 5  # last items of a history
CURVES = "learning_curves"
CAPTIONS = {
    CURVES: "Learning curves",
    "failure_patterns": "Causes, misses against hits",
    "failure_rate": "Failure rate by kind of row",
    "rank_distribution": "Where the truth stands",
    "sid_quality": "Semantic IDs",
}
SCORES = ("hr@10", "ndcg@10")
SETTINGS = {  # what one would change first
    "data": ("source", "dataset", "split", "user_k", "item_k", "max_history"),
    "sids": ("method", "num_levels", "codebook_size", "collisions", "alpha"),
    "sft": ("base_model", "train_from_scratch", "tasks", "num_epochs", "batch_size", "learning_rate", "normalization"),
    "rl": ("reward_type", "num_generations", "num_epochs", "sample_size", "batch_size", "learning_rate", "beta"),
    "sequential": ("models", "hidden_size", "num_layers", "num_epochs", "batch_size", "learning_rate"),
    "evaluation": ("num_beams", "ranking", "normalization", "filter_seen"),
}
PATTERN_COLUMNS = ("bad cases", "of misses", "of hits", "lift [95%]")
FIGURES = [name for name in CAPTIONS if name != CURVES]


@dataclass(frozen=True)
class Remedy:
    """One thing that would help: the name of a strategy, what it does, and why the report speaks for it."""

    name: str
    says: str
    reason: str


def render_page(report: dict[str, Any], plots: dict[str, Path], remedies: list[Remedy], advise: str) -> str:
    """The whole page; plots are put into it, `advise` is the command that makes a configuration of the remedies."""
    body = [
        render_title(report),
        render_headline(report),
        render_scores(report),
        "<h2>How it learned</h2>",
        render_learning(report, plots[CURVES]),
        "<h2>With what settings</h2>",
        render_settings(report["config"], report["model"]),
        "<h2>Why it missed</h2>",
        f"<p>{escape(make_headline(report))}.</p>",
        render_tiles(report),
        render_answer(report),
        render_remedies(remedies, advise),
        "<h2>What goes with a miss</h2>",
        render_patterns(report["failure_patterns"]),
        "<h2>Pictures</h2>",
        f'<div class="figures">{"".join(render_figure(name, plots[name]) for name in FIGURES)}</div>',
        "<h2>Semantic IDs</h2>",
        f"<p>{escape(describe_sids(report['sid_quality']))}.</p>",
        "<h2>Examples by cause</h2>",
        render_examples(report),
        "<h2>Bad cases drawn at random</h2>",
        "".join(map(render_case, report["bad_cases_sample"])) or "<p>There are no bad cases.</p>",
    ]
    title = f"{report['model']} on {report['config']['data']['dataset']}"
    return wrap_page(title, body)


def render_title(report: dict[str, Any]) -> str:
    data, counts = report["config"]["data"], report["summary"]
    says = f"{counts['total_samples']:,} {report['split']} rows of {counts['users']:,} users"
    return (
        f"<h1>{escape(report['model'])} on {escape(data['dataset'])}</h1>"
        f'<p class="soft">{says}; source {escape(data["source"])}, run {escape(report["config"]["run"]["dir"])}</p>'
    )


def render_headline(report: dict[str, Any]) -> str:
    """The two numbers that everybody asks for first."""
    metrics = report.get("metrics", {})
    cells = [
        f"<div><strong>{format_score(metrics[name])}</strong>{name.upper()} on {report['split']}</div>"
        for name in SCORES
        if name in metrics
    ]
    return f'<div class="numbers">{"".join(cells)}</div>' if cells else ""


def render_scores(report: dict[str, Any]) -> str:
    """HR and NDCG of the model and the baselines on both splits, as far as the report has them."""
    rows = {split: collect_scores(report, split) for split in ("test", "valid")}
    columns = [(split, name) for split in rows for name in SCORES if any(name in each for each in rows[split].values())]
    models = list(dict.fromkeys(model for scores in rows.values() for model in scores))
    if not columns:
        return "<p>HR and NDCG: the report has none.</p>"
    head = "".join(f'<th class="number">{name.upper()}<br>{split}</th>' for split, name in columns)
    body = ""
    for model in models:
        cells = "".join(
            f'<td class="number">{format_score(rows[split].get(model, {}).get(name))}</td>' for split, name in columns
        )
        own = ' class="own"' if model == report["model"] else ""
        body += f"<tr{own}><td>{escape(model)}</td>{cells}</tr>"
    note = "" if len(models) > 1 else '<p class="soft">No baseline was scored on these rows.</p>'
    head = f"<thead><tr><th>model</th>{head}</tr></thead>"
    return f'<div class="wide"><table class="scores">{head}<tbody>{body}</tbody></table></div>{note}'


def collect_scores(report: dict[str, Any], split: str) -> dict[str, dict[str, Any]]:
    """{model: {metric: number or estimate}}: the baselines, then the model itself."""
    own = report.get("metrics", {}) if split == report["split"] else report.get(split, {}).get("metrics", {})
    return report.get("baselines", {}).get(split, {}) | ({report["model"]: own} if own else {})


def format_score(score: dict[str, float | None] | float | None) -> str:
    """A mean, with its interval where there is one."""
    if score is None:
        return "-"
    if not isinstance(score, dict):
        return f"{score:.4f}"
    if score.get("low") is None:
        return f"{score['mean']:.4f}"
    return f'{score["mean"]:.4f} <span class="soft">[{score["low"]:.4f}, {score["high"]:.4f}]</span>'


def render_learning(report: dict[str, Any], curves: Path) -> str:
    training = report["training"]
    if not training:
        return "<p>No training of this model belongs to this run.</p>"
    if not training.get("curve"):
        return "<p>The report holds no learning curves.</p>"
    best = f"What was kept was best on valid after {training['best_at']:.0%} of the training."
    return f'<p>{best}</p><div class="curves">{render_figure(CURVES, curves)}</div>'


def render_settings(config: dict[str, Any], model: str) -> str:
    """What one would change first, a line a section, and everything below."""
    reads = ("sids", "sft", "rl") if model == "rl" else FAMILY_READS.get(model, ())  # RL goes on from SFT
    rows = ""
    for section in (name for name in SETTINGS if name in ("data", *reads, "evaluation")):
        knobs = config[section]
        unread = {"base_model"} if knobs.get("train_from_scratch") else set()
        shown = [key for key in SETTINGS[section] if key in knobs and key not in unread]
        values = [f"{key} {format_setting(knobs[key])}" for key in shown]
        rows += f"<tr><td>{section}</td><td>{escape('; '.join(values))}</td></tr>"
    whole = escape(yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100))
    return (
        f'<table class="settings">{rows}</table>'
        f"<details><summary>The whole configuration</summary><pre>{whole}</pre></details>"
    )


def format_setting(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each}" for name, each in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "-" if value is None else str(value)


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
        f"<h2>What would help</h2><ol>{items}</ol><p><code>{escape(advise)}</code> writes the configuration for it.</p>"
    )


def render_label(name: str) -> str:
    return escape(name.replace("_", " "))


def render_patterns(patterns: dict[str, dict[str, Any]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ("cause", "share", "")) + "".join(
        f'<th class="number">{name}</th>' for name in PATTERN_COLUMNS
    )
    rows = "".join(render_pattern(name, pattern) for name, pattern in sort_by_weight(patterns))
    note = (
        '<p class="soft">Bar: share of bad cases that have the cause. Thin line: share of hits that have it. A cause '
        "counts when the bar reaches beyond the line by more than chance among users would. Descriptions say how a "
        "miss looks; hits cannot have them.</p>"
    )
    head = f"<thead><tr>{head}<th>finding</th></tr></thead>"
    return f'{note}<div class="wide"><table class="causes">{head}<tbody>{rows}</tbody></table></div>'


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
    labelled = zip(PATTERN_COLUMNS, cells, strict=True)
    numbers = "".join(f'<td class="number" data-label="{name}">{escape(cell)}</td>' for name, cell in labelled)
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
