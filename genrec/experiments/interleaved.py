"""Which ranking users of interleaved lists prefer: clicks on what each brought, user by user."""

from __future__ import annotations

import polars as pl

from genrec.errors import ArtifactError
from genrec.experiments.outcomes import Metric, Outcomes, read_numbers, require_columns
from genrec.experiments.statistics.interleaving import Preference, measure_preference


def judge_interleaving(
    slates: pl.DataFrame, teams: tuple[str, str], outcomes: Outcomes, metric: Metric, alpha: float
) -> Preference:
    """An item with a metric above 0 in its request is a credit to the arm that brought it, once."""
    if metric.denominator is not None:
        raise ArtifactError(f"interleaved lists are judged by a column of outcomes, not by the ratio {metric}")
    if slates["teams"].is_null().any():
        missing = slates.filter(pl.col("teams").is_null())["request"][0]
        raise ArtifactError(f"the answer to request {missing} was logged without teams, the arm of each item")
    require_columns(outcomes, ["request", "item"])
    rows = read_numbers(outcomes, [metric.numerator]).filter(pl.col(metric.numerator) > 0)
    clicked = rows.select(pl.col("request", "item").cast(pl.String)).unique()
    shown = slates.select("user", "request", pl.col("items").alias("item"), "teams").explode("item", "teams")
    if not (credited := shown.join(clicked, on=["request", "item"])).height and clicked.height:
        raise ArtifactError(f"no row of {outcomes.name} is of an item that its request was shown")
    users = credited.group_by("user").agg(*((pl.col("teams") == team).sum().alias(team) for team in teams))
    first, second = (users[team].cast(pl.Int64).to_numpy() for team in teams)
    return measure_preference(first, second, alpha)
