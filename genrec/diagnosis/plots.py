"""Pictures of bad cases, drawn from the content of badcase_report.json: dark on white, readable in print."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.artist import Artist  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.patches import Patch  # noqa: E402

from genrec.diagnosis.badcase_text import sort_by_weight  # noqa: E402
from genrec.evaluation.plots import BETTER, OPEN, escape_label  # noqa: E402

COUNTS = ("step", "steps", "epoch")  # what a curve is drawn over
NOT_DRAWN = ("learning_rate", "kl")  # of other sizes than a loss or a metric
CAUSE, PLAIN, HITS = "#b3261e", "#8a8f96", "#1c1f23"


def plot_failure_patterns(report: dict[str, Any], path: Path) -> None:
    """Share of bad cases with each cause, its interval, and a line where the hits stand."""
    patterns = [(name, pattern) for name, pattern in sort_by_weight(report["failure_patterns"]) if pattern.get("count")]
    figure, axis = plt.subplots(figsize=(7.4, 2.0 + 0.36 * len(patterns)), layout="constrained", facecolor="white")
    if not patterns:
        write_message(axis, "there are no bad cases")
    for place, (_, pattern) in enumerate(patterns):
        draw_pattern(axis, place, pattern)
    axis.set_yticks(range(len(patterns)), [name.replace("_", " ") for name, _ in patterns])
    axis.set_ylim(max(len(patterns), 1) - 0.5, -0.5)
    axis.set_xlim(0, 1.22)
    axis.set_xticks(np.linspace(0, 1, 6), [f"{share:.0%}" for share in np.linspace(0, 1, 6)])
    axis.set_xlabel("share of bad cases (bar, 95% interval); share of hits (black mark)")
    count, model = report["summary"]["bad_cases_count"], escape_label(report["model"])
    axis.set_title(f"Causes of {count:,} bad cases of {model}", fontsize=12)
    keys: list[Artist] = [
        Patch(color=CAUSE, label="more often among misses"),
        Patch(color=PLAIN, label="not shown, or a description"),
    ]
    keys.append(Line2D([], [], color=HITS, marker="|", markersize=12, markeredgewidth=3, linestyle="", label="hits"))
    figure.legend(handles=keys, loc="outside lower center", ncols=3, frameon=False)
    save_figure(figure, axis, path)


def draw_pattern(axis: Axes, place: int, pattern: dict[str, Any]) -> None:
    share = pattern["share"]
    if share["mean"] is None:
        return
    colour = CAUSE if pattern["finding"] == "more often among misses" else PLAIN
    axis.barh(place, share["mean"], height=0.62, color=colour)
    if share["low"] is not None:
        axis.plot([share["low"], share["high"]], [place, place], color="black", linewidth=1)
    axis.text(1.2, place, f"{pattern['count']:,}", ha="right", va="center", fontsize=9)
    if "excess" in pattern and pattern["share_among_hits"]["mean"] is not None:
        hits = pattern["share_among_hits"]["mean"]
        axis.plot([hits, hits], [place - 0.42, place + 0.42], color=HITS, linewidth=3, solid_capstyle="butt")


def plot_failure_rate(report: dict[str, Any], path: Path) -> None:
    """Failure rate of each slice that is large enough, with its interval, against the rate over all rows."""
    slices = [(name, rate) for name, rate in report["failure_rate_by_slice"].items() if rate["low"] is not None]
    overall = report["summary"]["failure_rate"]
    figure, axis = plt.subplots(figsize=(7.4, 1.7 + 0.36 * len(slices)), layout="constrained", facecolor="white")
    for place, (_, rate) in enumerate(slices):
        axis.plot([rate["low"], rate["high"]], [place, place], color=OPEN, linewidth=3, solid_capstyle="butt")
        axis.plot(rate["mean"], place, "o", color=HITS, markersize=7)
        axis.text(1.13, place, f"{rate['mean']:.0%}", ha="right", va="center", fontsize=9)
    axis.axvline(overall, color=CAUSE, linewidth=1.5, linestyle="--")
    axis.set_yticks(range(len(slices)), [f"{escape_label(name)} ({rate['rows']:,})" for name, rate in slices])
    axis.set_ylim(max(len(slices), 1) - 0.5, -0.5)
    axis.set_xlim(-0.02, 1.15)
    axis.set_xticks(np.linspace(0, 1, 6), [f"{share:.0%}" for share in np.linspace(0, 1, 6)])
    axis.set_xlabel(f"truth not in the first {report['top_k']}, 95% interval; dashed: all rows, {overall:.1%}")
    axis.set_title("Failure rate by kind of row (rows)", fontsize=12)
    save_figure(figure, axis, path)


def plot_rank_distribution(report: dict[str, Any], path: Path) -> None:
    """Rows by the rank of the truth; those beyond the cut-off are the bad cases."""
    counts = report["rank_distribution"]
    figure, axis = plt.subplots(figsize=(7.4, 4.4), layout="constrained", facecolor="white")
    colours = [BETTER if is_hit_group(name, report["top_k"]) else CAUSE for name in counts]
    bars = axis.bar(list(counts), list(counts.values()), color=colours, width=0.7)
    for bar in bars[[is_hit_group(name, report["top_k"]) for name in counts].count(True) :]:
        bar.set(hatch="//", edgecolor="white")
    total = max(report["summary"]["total_samples"], 1)
    axis.bar_label(bars, [f"{count:,}\n{count / total:.0%}" for count in counts.values()], fontsize=9, padding=2)
    axis.set_ylim(0, 1.22 * max(*counts.values(), 1))
    axis.set_ylabel("rows")
    axis.set_xlabel(f"rank of the truth; lists hold up to {report['list_length']} items")
    axis.set_title("Where the truth stands", fontsize=12)
    axis.legend(
        handles=[
            Patch(color=BETTER, label=f"in the first {report['top_k']}"),
            Patch(facecolor=CAUSE, edgecolor="white", hatch="//", label="bad case"),
        ]
    )
    save_figure(figure, axis, path, grid="y")


def is_hit_group(name: str, top_k: int) -> bool:
    """A group of ranks "6-10" lies inside the cut-off."""
    last = name.rpartition("-")[2]
    return last.isdigit() and int(last) <= top_k


def plot_sid_quality(report: dict[str, Any], path: Path) -> None:
    """Left collisions and code use of the index, right the level at which bad cases left the truth."""
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 4.4), layout="constrained", facecolor="white")
    draw_codes(axes[0], report["sid_quality"])
    draw_levels(axes[1], report["levels"])
    for axis in axes:
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
    figure.suptitle("Semantic IDs", fontsize=12)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_codes(axis: Axes, quality: dict[str, Any]) -> None:
    if "not_measured" in quality:
        return write_message(axis, f"not measured:\n{quality['not_measured']}")
    used = quality["codes_used"]
    bars = axis.bar([f"level {n + 1}" for n in range(len(used))], [count / whole for count, whole in used], color=PLAIN)
    labels = [
        f"{count} of {whole}\n{big:.1f}x" for (count, whole), big in zip(used, quality["code_imbalance"], strict=True)
    ]
    axis.bar_label(bars, labels, fontsize=9, padding=2)
    axis.set_ylim(0, 1.3)
    axis.set_yticks(np.linspace(0, 1, 6))
    axis.set_ylabel("share of codes in use")
    axis.set_xlabel("codes in use; largest code over an even share")
    before, after = (quality["collision"][name]["items"] for name in ("before", "after"))
    axis.set_title(f"collisions: {after:,} now, {before:,} before resolution", fontsize=11)


def draw_levels(axis: Axes, levels: dict[str, list[int]] | None) -> None:
    if levels is None:
        return write_message(axis, "not measured:\nthis run has no semantic IDs")
    names = [f"level {n + 1}" for n in range(len(levels["list"]) - 1)] + ["same ID"]
    where = np.arange(len(names))
    for side, (key, colour, text) in enumerate([("list", CAUSE, "whole list"), ("best_item", PLAIN, "best item")]):
        bars = axis.bar(where + 0.4 * side - 0.2, levels[key], 0.38, color=colour, label=text)
        axis.bar_label(bars, [f"{count:,}" for count in levels[key]], fontsize=9, padding=2)
    axis.set_xticks(where, names)
    axis.set_ylim(0, 1.2 * max(*levels["list"], *levels["best_item"], 1))
    axis.set_ylabel("bad cases")
    axis.set_title("level at which the truth's codes were left", fontsize=11)
    axis.legend()


def plot_learning_curves(report: dict[str, Any], path: Path) -> None:
    """Above what was minimised, below what valid rows said; dotted: what was kept."""
    figure, axes = plt.subplots(2, 1, figsize=(7.4, 5.2), sharex=True, layout="constrained", facecolor="white")
    training = report["training"] or {}
    curve = training.get("curve", [])
    losses = training.get("losses") or curve
    lost, scored = make_series(losses), make_series(curve)
    draw_curves(axes[0], {name: points for name, points in lost.items() if "loss" in name}, "loss")
    draw_curves(axes[1], {name: points for name, points in scored.items() if "loss" not in name}, "on valid")
    if curve and training["best_at"] and (last := max(count_of(row) for row in [*curve, *losses])):
        for axis in axes:
            axis.axvline(training["best_at"] * training.get("length", last), color=HITS, linewidth=1, linestyle=":")
    for axis in axes:
        axis.grid(axis="y", color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[1].set_xlabel(training.get("unit", ""))
    figure.savefig(path, dpi=120)
    plt.close(figure)


def make_series(rows: list[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """{name: points (step or epoch, value)} of the rows that have it."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in (*COUNTS, *NOT_DRAWN) and isinstance(value, int | float):
                series.setdefault(name, []).append((count_of(row), value))
    return series


def count_of(row: dict[str, Any]) -> float:
    return next(row[name] for name in COUNTS if name in row)


def draw_curves(axis: Axes, series: dict[str, list[tuple[float, float]]], title: str) -> None:
    axis.set_title(title, fontsize=11)
    if not series:
        return write_message(axis, f"{title}: not in the report")
    for (name, points), colour in zip(series.items(), (CAUSE, OPEN, BETTER, PLAIN) * len(series), strict=False):
        mark = "o" if len(points) < 30 else ""
        axis.plot(*zip(*points, strict=True), color=colour, linewidth=1.8, marker=mark, markersize=4, label=name)
    axis.legend(frameon=False, fontsize=9)
    axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))


def write_message(axis: Axes, text: str) -> None:
    axis.set_axis_off()
    axis.text(0.5, 0.5, text, ha="center", va="center", fontsize=11)


def save_figure(figure: Figure, axis: Axes, path: Path, grid: Literal["x", "y"] = "x") -> None:
    axis.grid(axis=grid, color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


BADCASE_PLOTS = {
    "learning_curves": plot_learning_curves,
    "failure_patterns": plot_failure_patterns,
    "failure_rate": plot_failure_rate,
    "sid_quality": plot_sid_quality,
    "rank_distribution": plot_rank_distribution,
}
