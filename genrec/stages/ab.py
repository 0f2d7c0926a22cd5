"""What did an experiment show? From the server's log and a table of outcomes to a report that may be acted on.

Reads   the directory a server logs its answers to, and outcomes: user, numbers; perhaps request, item, time
Writes  nothing; with --html FILE a page

    genrec ab --logs logs --outcomes outcomes.csv --metric clicks
    genrec ab --logs logs --outcomes outcomes.csv --metric clicks/requests --guardrails revenue:-2% --html ab.html
    genrec ab plan --baseline 0.05 --lift 0.01     how many users, before one begins
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from genrec.artifacts import write_text
from genrec.commandline import options_program, parse
from genrec.config import Section, comma_list, knob
from genrec.errors import ArtifactError, ConfigError, exit_on_failure, exit_on_usage_error
from genrec.pipeline import AB, call_of

if TYPE_CHECKING:
    from genrec.experiments.report import AbReport, Question
    from genrec.experiments.statistics.power import Effect

PLAN = "plan"
PLAN_HELP = """How many users does an experiment need? Two arms, a test of both sides.

    genrec ab plan --baseline 0.05 --lift 0.01                     a rate of 5% that should rise to 6%
    genrec ab plan --baseline 3.2 --deviation 4 --lift 0.2         a mean, with the deviation of one user
    genrec ab plan --baseline 0.05 --lift 0.01 --users 10000       what so many users would show
"""


class AbOptions(Section):
    """Which answers, what came of them, and what is asked."""

    logs: Path | None = knob(None, "directory that the server logs its answers to")
    outcomes: Path | None = knob(None, "table of what came of them, .csv .tsv .jsonl .parquet: user and numbers")
    experiment: str | None = knob(None, "name of the experiment; needed where the log has several")
    metric: list[str] = knob(
        ["clicks"], "columns of the outcomes, or ratios such as clicks/requests; requests and shown are the log's own"
    )
    guardrails: list[str] = knob(
        [], "what must not get worse: revenue:-2% may fall by 2% of the control's at most, returns:+5% may rise by 5%"
    )
    before: Path | None = knob(None, "table of the same metrics from before the experiment, for less noise (CUPED)")
    control: str | None = knob(None, "arm that the others are held against; the experiment's first when empty")
    alpha: float = knob(0.05, "share of reports that may err", gt=0, lt=0.5)
    effect: float | None = knob(
        None,
        "size of effects that matter, in the metric's unit: there always-valid numbers are sharpest; a tenth of a "
        "user's deviation when empty",
        gt=0,
    )
    user_key: Path | None = knob(None, "file with the key by which the log hashes users, to find those of the outcomes")
    policy: Path | None = knob(
        None, "table of another model's probabilities of logged answers: request, propensity, perhaps guesses"
    )
    policy_of: Literal["list", "first"] = knob("list", "what the propensities of --policy are of")
    html: Path | None = knob(None, "a page to write")

    split_lists = field_validator("metric", "guardrails", mode="before")(comma_list)


class PlanOptions(Section):
    """What is there, what should be seen, and how surely."""

    baseline: float = knob(0.05, "the control's rate, or its mean where --deviation is given")
    lift: float = knob(0.01, "the difference that should be found, in the same unit")
    deviation: float | None = knob(None, "standard deviation of one user's value; of a rate it follows", gt=0)
    power: float = knob(0.8, "chance to find it", gt=0.05, lt=1)
    alpha: float = knob(0.05, "chance to find one where there is none", gt=0, lt=0.5)
    share: float = knob(0.5, "of the users who get the treatment", gt=0, lt=1)
    users: int | None = knob(None, "how many there will be: says the power and the least lift instead", ge=4)
    users_a_day: int | None = knob(None, "new users a day, for the length in days", ge=1)


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == [PLAN]:
        options = parse(options_program(f"{call_of(*AB)} plan", PLAN_HELP, PlanOptions), argv[1:]).config
        with exit_on_usage_error():
            print(plan(options), end="")
        return
    options = parse(options_program(call_of(*AB), __doc__, AbOptions), argv).config
    with exit_on_usage_error():
        check_options(options)
    with exit_on_failure(options.html or Path(".")):
        print(show_experiment(options))


def check_options(options: AbOptions) -> None:
    from genrec.experiments.outcomes import parse_metric
    from genrec.experiments.statistics.guardrails import parse_guardrail

    if options.logs is None or options.outcomes is None:
        lacking = "--logs DIR" if options.logs is None else "--outcomes FILE"
        raise ConfigError(f"{lacking} is needed; how many users an experiment needs says: {call_of(*AB)} plan")
    if not options.metric:
        raise ConfigError("--metric needs at least one column of the outcomes")
    for text in [*options.metric, *(parse_guardrail(text).metric for text in options.guardrails)]:
        parse_metric(text)


def show_experiment(options: AbOptions) -> str:
    """The text; where the sample ratio does not match, a failure behind it, so that no script reads on."""
    from genrec.experiments.report import analyze
    from genrec.experiments.report_text import describe_report

    report = analyze(ask(options))
    text = describe_report(report)
    if options.html is not None:
        from genrec.experiments.report_page import render_report

        write_text(options.html, render_report(report))
        text += f"\nwritten: {options.html}"
    if report.stops:
        print(text)
        raise ArtifactError(describe_stop(report))
    return text


def describe_stop(report: AbReport) -> str:
    found = ", ".join(f"{arm} {users:,}" for arm, (users, _) in report.arms.items())
    expected = report.sample_ratio.expected if report.sample_ratio else {}
    dealt = ", ".join(f"{arm} {count:,.0f}" for arm, count in expected.items())
    return f"sample ratio mismatch in {report.experiment}: users {found}; dealt out {dealt}"


def ask(options: AbOptions) -> Question:
    from genrec.experiments.log import read_experiments, read_slates
    from genrec.experiments.outcomes import parse_metric, read_outcomes
    from genrec.experiments.policies import Policy
    from genrec.experiments.report import Question
    from genrec.experiments.statistics.guardrails import parse_guardrail
    from genrec.launch import note

    assert options.logs and options.outcomes
    slates = read_slates(options.logs)
    if slates.torn:
        note("ab", f"{slates.torn} answers of the log were cut off by a kill and are left out")
    key = read_key(options.user_key)
    policy = Policy(read_policy(options.policy), options.policy_of) if options.policy else None
    return Question(
        slates.frame,
        read_experiments(options.logs),
        read_outcomes(options.outcomes, key),
        [parse_metric(text) for text in options.metric],
        options.experiment,
        options.control,
        [parse_guardrail(text) for text in options.guardrails],
        read_outcomes(options.before, key) if options.before else None,
        policy,
        options.alpha,
        options.effect,
    )


def read_policy(path: Path):
    from genrec.experiments.outcomes import Outcomes, read_frame

    return Outcomes(str(path), read_frame(path))


def read_key(path: Path | None) -> str | None:
    """The first line; a key on the command line would stand in every list of processes."""
    if path is None:
        return None
    from genrec.artifacts import read_bytes

    key = read_bytes(path).decode(errors="replace").strip()
    if not key:
        raise ArtifactError(f"{path} is empty; it must hold the key by which the log hashes users")
    return key


# Before one begins


def plan(options: PlanOptions) -> str:
    effect = effect_of(options)
    return plan_for_users(options, effect) if options.users else plan_for_lift(options, effect)


def effect_of(options: PlanOptions) -> Effect:
    from genrec.experiments.statistics.power import mean_effect, rate_effect

    if options.users and options.users_a_day:
        raise ConfigError("--users says what so many users show, --users_a_day how long a lift takes: pass one of them")
    if options.lift == 0:
        raise ConfigError("--lift 0 is no difference that could be found; name the least one that matters")
    if options.deviation is not None:
        return mean_effect(options.lift, options.deviation)
    try:
        return rate_effect(options.baseline, options.lift)
    except ValueError as error:
        raise ConfigError(f"{error}; for a mean add --deviation, one user's standard deviation") from None


def plan_for_lift(options: PlanOptions, effect: Effect) -> str:
    from genrec.experiments.statistics.power import sample_size, sample_size_always_valid
    from genrec.tables import render_table

    asked = (effect, options.power, options.alpha, options.share)
    try:
        sizes = {"once, at the end": sample_size(*asked), "as often as one likes": sample_size_always_valid(*asked)}
    except ValueError as error:
        raise ConfigError(str(error)) from None
    table = render_table([plan_head(options), *(plan_row(options, looked, users) for looked, users in sizes.items())])
    return (
        f"{describe_effect(options)}: found with chance {options.power:g}, level {options.alpha:g}\n\n{table}\n\n"
        "as often as one likes: users until the always-valid interval excludes 0 with\n"
        "that chance; most experiments that find something end sooner\n"
    )


def describe_effect(options: PlanOptions) -> str:
    after = options.baseline + options.lift
    if options.deviation is None:
        return f"a rate of {options.baseline:.4g} that becomes {after:.4g}"
    return f"a mean of {options.baseline:.4g} (deviation {options.deviation:.4g}) that becomes {after:.4g}"


def plan_head(options: PlanOptions) -> list[str]:
    return ["looked at", "users", "control", "treatment"] + ["days"] * (options.users_a_day is not None)


def plan_row(options: PlanOptions, looked: str, users: int) -> list[str]:
    import math

    treatment = math.ceil(users * options.share)
    control = math.ceil(users * (1 - options.share))
    days = [f"{math.ceil(users / options.users_a_day):,}"] if options.users_a_day else []
    return [looked, f"{control + treatment:,}", f"{control:,}", f"{treatment:,}", *days]


def plan_for_users(options: PlanOptions, effect: Effect) -> str:
    import math

    from genrec.experiments.statistics.power import detectable_lift, power_of

    assert options.users is not None
    power = power_of(effect, options.users, options.alpha, options.share)
    least = detectable_lift(math.sqrt(effect.control), options.users, options.power, options.alpha, options.share)
    return (
        f"{describe_effect(options)}: {options.users:,} users find it with chance {power:.2f}, level "
        f"{options.alpha:g}\n"
        f"the least lift that they find with chance {options.power:g}: {least:.4g}\n"
    )
