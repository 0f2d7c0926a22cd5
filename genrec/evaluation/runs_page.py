"""A page of several runs: their scores, paired differences, learning curves, and what they were made with."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO
from itertools import combinations
from typing import Any

from genrec.artifacts import TRAINING, read_json
from genrec.errors import ArtifactError
from genrec.evaluation.comparison import check_same_rows, format_change, measure_differences, shared_cutoff
from genrec.evaluation.page_style import wrap_page
from genrec.evaluation.report import read_report
from genrec.evaluation.runs import RunSummary, choose_rows, make_cells, make_difference_rows

Shown = tuple[RunSummary, str]  # a run and the row that is shown of it


def render_runs(runs: Sequence[RunSummary], models: Sequence[str], seed: int) -> str:
    """The whole page; `seed` is that of the paired tests."""
    shown = [(run, name) for run in runs for name in choose_rows(run, models)]
    head = ["run", "data", "model", "HR@10", "NDCG@10 [95%]"]
    return wrap_page(
        f"{len(runs)} runs",
        [
            f"<h1>{len(runs)} runs</h1>",
            render_table(head, [make_cells(*each, gap=" ")[:-1] for each in shown]),
            "<h2>Paired differences</h2>",
            render_pairs(shown, seed),
            "<h2>How they learned</h2>",
            render_curves(shown),
            "<h2>What differs</h2>",
            render_differences(runs),
        ],
    )


def render_differences(runs: Sequence[RunSummary]) -> str:
    rows = make_difference_rows(runs)
    if not rows:
        return "<p>Nothing differs in what they were made with.</p>"
    return render_table(["", *(str(run.directory) for run in runs)], rows)


def render_table(head: list[str], rows: Any) -> str:
    body = "".join(f"<tr>{render_cells(*row)}</tr>" for row in rows)
    titles = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f'<div class="wide"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def render_cells(first: str, *others: str) -> str:
    """A row's name stays in one line."""
    return f'<td class="name">{escape(first)}</td>' + "".join(f"<td>{escape(cell)}</td>" for cell in others)


def render_pairs(shown: list[Shown], seed: int) -> str:
    """Every two that were scored on the same rows; the others cannot be compared, and that is said."""
    rows, apart = [], []
    for one, other in combinations(shown, 2):
        first, second = (read_report(run.directory / "evaluation" / name) for run, name in (one, other))
        names = [f"{run.directory}: {name}" for run, name in (one, other)]
        try:
            check_same_rows(first, second, (names[0], names[1]))
        except ArtifactError:
            apart.append(f"{names[0]} and {names[1]}")
            continue
        metric = f"ndcg@{shared_cutoff(first, second)}"
        [change] = measure_differences(first, second, (metric,), first.user >= 0, seed)
        rows.append([names[0], names[1], metric.upper(), format_change(change), f"{change.p_value:.4f}"])
    head = ["from", "to", "metric", "difference [95%]", "p"]
    table = render_table(head, rows) if rows else "<p>There is no pair.</p>"
    return table + "".join(f"<p>Other rows: {escape(pair)}.</p>" for pair in apart)


def render_curves(shown: list[Shown]) -> str:
    """Valid scores over the training, each run from its beginning to its end."""
    curves = {f"{run.directory}: {name}": read_curve(run, name) for run, name in shown}
    curves = {label: curve for label, curve in curves.items() if curve}
    if not curves:
        return "<p>None of the models shown was trained in its run.</p>"
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
    for label, curve in curves.items():
        axis.plot(*zip(*curve, strict=True), marker="o", markersize=3, label=label.replace("$", r"\$"))
    axis.set_xlabel("share of the training")
    axis.set_ylabel("on valid")
    axis.legend(frameon=False, fontsize=8)
    held = BytesIO()
    figure.savefig(held, format="png", dpi=150)
    plt.close(figure)
    picture = base64.b64encode(held.getvalue()).decode()
    return f'<div class="curves"><img alt="learning curves" src="data:image/png;base64,{picture}"></div>'


def read_curve(run: RunSummary, name: str) -> list[tuple[float, float]]:
    """[(share of the training, score on valid)] of the model of a row; empty where it was not trained in this run."""
    places = (run.directory / name / TRAINING, run.directory / "sequential" / name / TRAINING)
    path = next((path for path in places if path.exists()), None)
    if path is None:
        return []
    record = read_json(path)
    unit, metric = record["unit"].removesuffix("s"), record["metric"]
    return [
        (entry[unit] / max(record["length"], 1), entry[metric])
        for entry in record["curve"]
        if isinstance(entry.get(metric), float) and unit in entry
    ]
