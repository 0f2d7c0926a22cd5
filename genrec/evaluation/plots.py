"""Pictures of evaluations: dark on white, readable in print."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

from genrec.artifacts import whole_path  # noqa: E402
from genrec.evaluation.comparison import Comparison, Difference, make_verdict  # noqa: E402
from genrec.evaluation.predictions import shorten  # noqa: E402

BETTER, WORSE, OPEN = "#1b6e3c", "#b3261e", "#5f6368"  # interval above zero, below zero, across it


def plot_comparison(comparison: Comparison, path: Path) -> None:
    """Differences with their intervals: left every metric, right the headline metric by slice."""
    overall = [(each.metric, each) for each in comparison.overall]
    sliced = [
        (f"{escape_label(name)} ({each.rows:,})", each)
        for name, differences in comparison.slices.items()
        for each in differences
        if each.metric == comparison.headline
    ]
    height = 1.6 + 0.36 * max(len(overall), len(sliced), 4)
    figure, axes = plt.subplots(1, 2, figsize=(12, height), layout="constrained", facecolor="white")
    draw_differences(axes[0], overall, "all rows")
    draw_differences(axes[1], sliced, f"{comparison.headline} by slice (rows)")
    figure.suptitle(make_verdict(comparison), fontsize=12)
    with whole_path(path) as beside:
        figure.savefig(beside, dpi=120, format="png")
    plt.close(figure)


def escape_label(name: str) -> str:
    """A shop's own words: short, and without what matplotlib takes for a formula."""
    return shorten(name, 40).replace("$", r"\$")


def draw_differences(axis: Axes, rows: list[tuple[str, Difference]], title: str) -> None:
    """One line a difference, the first on top."""
    for place, (_, each) in enumerate(rows):
        change = each.difference
        colour = BETTER if change.low > 0 else WORSE if change.high < 0 else OPEN
        if not np.isnan(change.low):
            axis.plot([change.low, change.high], [place, place], color=colour, linewidth=2.5, solid_capstyle="butt")
        axis.plot(change.mean, place, "o", color=colour, markersize=6)
    axis.axvline(0, color="black", linewidth=1)
    axis.set_yticks(range(len(rows)), [name for name, _ in rows])
    axis.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    axis.set_xlabel("optimized - baseline, 95% interval")
    axis.set_title(title, fontsize=11)
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
