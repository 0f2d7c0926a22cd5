"""What another model would have earned on the logged answers, from a table of its probabilities.

    request    propensity    predicted    predicted_policy
    8f3a...    0.00021       0.08         0.11

`propensity`: the other model's probability of what the request was shown, the whole list or its first item. The last
two are optional and go together: a reward model's guess for what was shown, and its mean over what the other model
would show.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from genrec.errors import ArtifactError
from genrec.experiments.outcomes import Metric, Outcomes, read_numbers, require_columns
from genrec.experiments.statistics.off_policy import LoggedAnswers, OffPolicy, evaluate_policy

GUESSES = ("predicted", "predicted_policy")


@dataclass(frozen=True)
class Policy:
    """The table, and what its probabilities are of."""

    table: Outcomes
    of: Literal["list", "first"] = "list"


def judge_policy(
    policy: Policy | None, slates: pl.DataFrame, outcomes: Outcomes, metric: Metric, alpha: float
) -> OffPolicy | str | None:
    """The estimates; a sentence where the log does not overlap with the policy; None where none is asked for."""
    if policy is None:
        return None
    answers = join_answers(policy, slates, outcomes, metric)
    try:
        return evaluate_policy(answers, alpha)
    except ArtifactError as error:
        return str(error)


def join_answers(policy: Policy, slates: pl.DataFrame, outcomes: Outcomes, metric: Metric) -> LoggedAnswers:
    """Every sampled answer; a table with some of them would judge the policy on those alone."""
    if metric.denominator is not None:
        raise ArtifactError(f"another policy is judged by a column of outcomes, not by the ratio {metric}")
    guesses = [name for name in GUESSES if name in policy.table.frame.columns]
    if len(guesses) == 1:
        raise ArtifactError(f"{policy.table.name} has {guesses[0]} alone; {' and '.join(GUESSES)} go together")
    require_columns(policy.table, ["request"])
    table = read_numbers(policy.table, ["propensity", *guesses]).with_columns(pl.col("request").cast(pl.String))
    check_probabilities(policy.table.name, table)
    sampled = slates.drop_nulls("propensities").filter(pl.col("items").list.len() > 0)
    joined = sampled.join(table.unique("request"), on="request", maintain_order="left")
    if 0 < len(joined) < len(sampled):
        missing = sampled.join(table, on="request", how="anti")["request"]
        raise ArtifactError(
            f"{policy.table.name} lacks {len(missing):,} of {len(sampled):,} sampled answers (request {missing[0]}); "
            "give each a propensity, 0 where the model would never show it"
        )
    if not len(joined):
        raise ArtifactError(
            f"{policy.table.name} has no request that was sampled ({len(sampled):,} logged answers have propensities)"
        )
    columns = ["propensity", *guesses]
    values = {name: joined[name].to_numpy() for name in columns}
    rewards = joined.join(reward_of(policy, sampled, outcomes, metric), on="request", how="left", maintain_order="left")
    return LoggedAnswers(
        joined["user"].to_numpy(),
        rewards["reward"].fill_null(0.0).to_numpy(),
        logged_probability(policy, joined),
        *(values[name] for name in columns),
    )


def check_probabilities(name: str, table: pl.DataFrame) -> None:
    wrong = table.filter(~pl.col("propensity").is_between(0, 1))
    if len(wrong):
        request, share = wrong["request"][0], wrong["propensity"][0]
        raise ArtifactError(f"{name}: request {request} has propensity {share}, which is outside 0..1")


def logged_probability(policy: Policy, joined: pl.DataFrame) -> np.ndarray:
    places = pl.col("propensities")
    share = places.list.first() if policy.of == "first" else places.list.eval(pl.element().log()).list.sum().exp()
    return joined.select(share.alias("share"))["share"].to_numpy()


def reward_of(policy: Policy, sampled: pl.DataFrame, outcomes: Outcomes, metric: Metric) -> pl.DataFrame:
    """request -> reward: what the whole list earned, or its first item."""
    needed = ["request"] if policy.of == "list" else ["request", "item"]
    require_columns(outcomes, needed)
    rows = read_numbers(outcomes, [metric.numerator]).with_columns(pl.col(needed).cast(pl.String))
    if policy.of == "first":
        firsts = sampled.select("request", pl.col("items").list.first().alias("item"))
        rows = rows.join(firsts, on=["request", "item"])
    return rows.group_by("request").agg(pl.col(metric.numerator).sum().alias("reward"))
