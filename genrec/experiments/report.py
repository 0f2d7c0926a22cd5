"""From a log and outcomes to what may be said: the sample ratio first, and nothing more where it does not match.

`analyze(question)` gives an AbReport; `report_text` and `report_page` show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from genrec.errors import ArtifactError
from genrec.experiments.assignment import Experiment, Experiments
from genrec.experiments.interleaved import judge_interleaving
from genrec.experiments.outcomes import (
    OF_THE_LOG,
    Metric,
    Outcomes,
    Users,
    add_before,
    add_outcomes,
    describe_users,
    parse_metric,
)
from genrec.experiments.policies import Policy, judge_policy
from genrec.experiments.statistics.always_valid import Look, default_tau, look
from genrec.experiments.statistics.differences import (
    Difference,
    adjust_by_before,
    compare_means,
    linearize_ratio,
)
from genrec.experiments.statistics.guardrails import Guardrail, Verdict, judge_guardrail
from genrec.experiments.statistics.interleaving import Preference
from genrec.experiments.statistics.off_policy import OffPolicy
from genrec.experiments.statistics.sample_ratio import SampleRatio, check_sample_ratio


@dataclass(frozen=True)
class Question:
    """What is asked of which data."""

    slates: pl.DataFrame  # as genrec.experiments.log reads them
    experiments: Experiments
    outcomes: Outcomes
    metrics: Sequence[Metric]
    experiment: str | None = None
    control: str | None = None  # an arm; the first of the experiment where none is named
    guardrails: Sequence[Guardrail] = ()
    before: Outcomes | None = None
    policy: Policy | None = None
    alpha: float = 0.05
    effect: float | None = None  # the scale of effects, tau of the mixture


@dataclass(frozen=True)
class Reading:
    """One arm against the control in one metric."""

    metric: Metric
    arm: str
    difference: Difference
    always: Look | None  # None below the least number of users
    kept: float | None  # share of the variance that the time before leaves; None without it


@dataclass(frozen=True)
class GuardrailReading:
    guardrail: Guardrail
    arm: str
    difference: Difference  # its interval is one-sided at alpha on either side
    verdict: Verdict


@dataclass(frozen=True)
class AbReport:
    """All that is shown. Without `readings` the sample ratio did not match, or lists were interleaved."""

    experiment: str
    control: str
    arms: dict[str, tuple[int, int]]  # users and answers
    span: tuple[float, float]  # time of the first and last answer
    alpha: float
    sample_ratio: SampleRatio | None  # None of interleaved lists: every user sees both
    notes: list[str] = field(default_factory=list)
    comparisons: int = 1  # that share alpha, by Bonferroni
    readings: list[Reading] = field(default_factory=list)
    guardrails: list[GuardrailReading] = field(default_factory=list)
    preference: Preference | None = None
    off_policy: OffPolicy | str | None = None  # a sentence where it was refused

    @property
    def stops(self) -> bool:
        return self.sample_ratio is not None and not self.sample_ratio.matches


def analyze(question: Question) -> AbReport:
    """ArtifactError, one line, where the data cannot be read at all."""
    name = choose_experiment(question)
    experiment = question.experiments.by_name[name]
    slates = question.slates.filter(pl.col("experiment") == name)
    users = describe_users(slates)
    arms = count_arms(users, experiment, name)
    control = choose_control(question.control, experiment)
    ratio = None if experiment.interleave else check_sample_ratio(users_of(arms), experiment.shares)
    span = (float(slates["time"][0]), float(slates["time"][-1]))
    report = AbReport(name, control, arms, span, question.alpha, ratio, users.notes)
    if report.stops:
        return report
    policy = judge_policy(question.policy, slates, question.outcomes, question.metrics[0], question.alpha)
    if not experiment.interleave:
        return replace(report, off_policy=policy, **read_arms(question, users, control, arms))
    teams = (control, next(arm for arm in experiment.arms if arm != control))
    preference = judge_interleaving(slates, teams, question.outcomes, question.metrics[0], question.alpha)
    return replace(report, off_policy=policy, preference=preference)


def users_of(arms: dict[str, tuple[int, int]]) -> dict[str, int]:
    return {arm: users for arm, (users, _) in arms.items()}


def choose_experiment(question: Question) -> str:
    """The one that is asked for, or the only one that has answers."""
    logged = question.slates["experiment"].unique(maintain_order=True).to_list()
    known = Experiments({name: each for name, each in question.experiments.by_name.items() if name in logged})
    if strange := [name for name in logged if name not in question.experiments.by_name]:
        raise ArtifactError(f"the log has answers of experiment '{strange[0]}', which its experiments.json lacks")
    return known.choose(question.experiment)


def choose_control(asked: str | None, experiment: Experiment) -> str:
    if asked is not None and asked not in experiment.arms:
        raise ArtifactError(f"--control {asked} is no arm; there are: {', '.join(experiment.arms)}")
    return asked or next(iter(experiment.arms))


def count_arms(users: Users, experiment: Experiment, name: str) -> dict[str, tuple[int, int]]:
    """arm -> its users and answers, in the order of the file; arms nobody is in too."""
    names = ["+".join(experiment.arms)] if experiment.interleave else list(experiment.arms)
    counts = {arm: (users, int(answers)) for arm, users, answers in
              users.frame.group_by("arm").agg(pl.len(), pl.col("requests").sum()).iter_rows()}  # fmt: skip
    if strange := sorted(set(counts) - set(names)):
        raise ArtifactError(f"the log has answers of arm '{strange[0]}', experiment '{name}' has: {', '.join(names)}")
    return {arm: counts.get(arm, (0, 0)) for arm in names}


def read_arms(question: Question, users: Users, control: str, arms: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """What an AbReport holds of arms that got the users they should."""
    if lonely := [arm for arm, (count, _) in arms.items() if count < 2]:
        having = ", ".join(f"{arm} {count:,}" for arm, count in users_of(arms).items())
        raise ArtifactError(f"arm '{lonely[0]}' has too few users, a comparison needs two an arm (users: {having})")
    rails = [parse_metric(rail.metric) for rail in question.guardrails]
    columns = list(dict.fromkeys(name for metric in [*question.metrics, *rails] for name in metric.columns))
    users = add_outcomes(users, question.outcomes, [name for name in columns if name not in OF_THE_LOG])
    others = [arm for arm in arms if arm != control]
    comparisons = len(question.metrics) * len(others)
    readings = [read_metric(question, users, metric, control, arm, comparisons)
                for metric in question.metrics for arm in others]  # fmt: skip
    guardrails = [read_guardrail(question, users, rail, control, arm) for rail in question.guardrails for arm in others]
    return {"notes": users.notes, "comparisons": comparisons, "readings": readings, "guardrails": guardrails}


def read_metric(question: Question, users: Users, metric: Metric, control: str, arm: str, comparisons: int) -> Reading:
    """Level alpha / comparisons, so that all readings of a report err together in alpha of the cases."""
    alpha, kept = question.alpha / comparisons, None
    values = [values_of(users.frame, metric, each) for each in (control, arm)]
    if question.before is not None:
        names = [name for name in metric.columns if name not in OF_THE_LOG]
        before = add_before(users, question.before, names[:1])[names[0]]
        halves = [before.filter(users.frame["arm"] == each).to_numpy() for each in (control, arm)]
        adjusted = adjust_by_before(values, halves)
        values, kept = adjusted.arms, adjusted.kept
    difference = compare_means(*values, alpha=alpha)
    tau = question.effect or default_tau(difference)
    return Reading(metric, arm, difference, look(difference, tau, alpha) if tau else None, kept)


def read_guardrail(question: Question, users: Users, rail: Guardrail, control: str, arm: str) -> GuardrailReading:
    values = [values_of(users.frame, parse_metric(rail.metric), each) for each in (control, arm)]
    difference = compare_means(*values, alpha=2 * question.alpha)
    return GuardrailReading(rail, arm, difference, judge_guardrail(rail, difference))


def values_of(frame: pl.DataFrame, metric: Metric, arm: str) -> np.ndarray:
    """(n,) values of an arm's users whose mean is the metric."""
    own = frame.filter(pl.col("arm") == arm)
    numerator = own[metric.numerator].to_numpy()
    if metric.denominator is None:
        return numerator
    denominator = own[metric.denominator].to_numpy()
    if not denominator.sum():
        raise ArtifactError(f"{metric}: {metric.denominator} is 0 for every user of arm '{arm}'")
    return linearize_ratio(numerator, denominator)
