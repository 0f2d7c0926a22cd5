"""What an update was worth: several models on the newest rows and on those held out before, each against doing nothing.

E rows
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from genrec.evaluation.comparison import (
    Difference,
    differences_to_json,
    format_change,
    measure_all_rows,
    shared_cutoff,
)
from genrec.evaluation.report import Report
from genrec.tables import render_table

ROW_NAMES = {"newest": "The newest rows", "earlier": "Test rows of before"}


@dataclass(frozen=True)
class Measured:
    """One model on one set of rows; the first of a list is what was there before the update."""

    model: str
    report: Report
    seconds: float = 0.0  # that its training took


@dataclass(frozen=True)
class Compared:
    rows: str  # of ROW_NAMES
    models: list[Measured]
    differences: list[list[Difference]]  # a list a model but the first: NDCG and HR


def compare_models(rows: str, models: list[Measured], seed: int) -> Compared:
    """Each model but the first against the first, row by row."""
    first, *others = models
    differences = []
    for other in others:
        pair, k = (first.report, other.report), shared_cutoff(first.report, other.report)
        differences.append(measure_all_rows(*pair, (first.model, other.model), (f"ndcg@{k}", f"hr@{k}"), seed))
    return Compared(rows, models, differences)


def describe_compared(compared: list[Compared]) -> str:
    """A table a set of rows."""
    return "\n\n".join(describe_rows(each) for each in compared)


def describe_rows(compared: Compared) -> str:
    first, *others = compared.models
    ndcg, hr = compared.differences[0]
    title = f"{ROW_NAMES[compared.rows]}, {ndcg.rows:,}; differences of NDCG are from '{first.model}', row by row"
    rows = [["model", ndcg.metric.upper(), hr.metric.upper(), "difference  [95% interval]", "p", "training s"]]
    rows.append([first.model, f"{ndcg.baseline:.4f}", f"{hr.baseline:.4f}", "-", "-", "-"])
    for model, (ndcg, hr) in zip(others, compared.differences, strict=True):
        values = [
            f"{ndcg.optimized:.4f}",
            f"{hr.optimized:.4f}",
            format_change(ndcg).replace(" ", "  ", 1),
            f"{ndcg.p_value:.4f}",
        ]
        rows.append([model.model, *values, f"{model.seconds:.0f}" if model.seconds else "-"])
    return f"{title}\n\n{render_table(rows)}"


def compared_to_json(compared: list[Compared]) -> dict[str, Any]:
    return {
        each.rows: {
            "rows": asdict(each.models[0].report.rows),
            "first": each.models[0].model,
            "models": {
                model.model: {"training_seconds": model.seconds, "differences": differences_to_json(differences)}
                for model, differences in zip(each.models[1:], each.differences, strict=True)
            },
        }
        for each in compared
    }
