"""The experiment that a server runs: which arms answer a question, and what is logged of the answer.

served = ServedExperiment(experiments, log)
assignment = served.assign(question)                  None: the question takes no part
questions = ask_arms(question, assignment)            one an arm; each becomes a list
given = served.conclude(assignment, answers, k)       the answer, marked with request, experiment, arm
served.record(user, given)                            a row of the log
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from genrec.errors import ConfigError, suggest
from genrec.experiments.assignment import Arm, Assignment, Experiment, Experiments
from genrec.experiments.log import Slate, SlateLog
from genrec.experiments.statistics.interleaving import draft_teams
from genrec.serving.answers import Answer, Draw, Question
from genrec.serving.catalogue import Version

HONOURED = ("k", "exclude_seen")  # of a question: what an arm may set


def read_experiment(path: Path) -> Experiments:
    """The one experiment of a file, with settings that this server honours; ConfigError says what it cannot."""
    experiments = Experiments.read(path)
    if len(experiments.by_name) > 1:
        there = ", ".join(experiments.by_name)
        raise ConfigError(
            f"{path} holds {len(experiments.by_name)} experiments ({there}), a server runs one; keep one in the file"
        )
    for name, experiment in experiments.by_name.items():
        for arm in experiment.arms:
            check_settings(f"{path}: {name}.arms.{arm}.settings", experiment, experiment.arms[arm].settings)
    return experiments


def check_settings(place: str, experiment: Experiment, settings: dict[str, Any]) -> None:
    for name in settings:
        if name not in HONOURED:
            near = suggest(name, HONOURED)
            raise ConfigError(f"{place} has '{name}'{near}; a server's arms may set {' and '.join(HONOURED)}")
    if experiment.interleave and "k" in settings:
        raise ConfigError(f"{place} has k, but an interleaved list is as long as its request says; take k out")
    try:
        Question.model_validate({"user": "-"} | settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{place}.{first['loc'][0]}: {first['msg']} (got {first['input']!r})") from None


def check_arms(experiments: Experiments, version: Version, max_k: int) -> None:
    """Whether a version can answer for every arm; ConfigError names the first for which it cannot."""
    for name, experiment in experiments.by_name.items():
        for word, arm in experiment.arms.items():
            check_arm(f"arm '{word}' of experiment '{name}'", arm, version, max_k)


def check_arm(which: str, arm: Arm, version: Version, max_k: int) -> None:
    if arm.model is not None and arm.model not in version.models:
        there = ", ".join(version.models)
        raise ConfigError(
            f"{which} names the model '{arm.model}', served are: {there}; serve it by --model or --also, or name one "
            "of these"
        )
    most = min(max_k, version.listable)
    if arm.settings.get("k", 1) > most:
        raise ConfigError(f"{which} has k {arm.settings['k']:,}, a list has at most {most:,} items here")


@dataclass(frozen=True)
class Conclusion:
    """The answer that is given, and of an interleaved one the arm that brought each item."""

    answer: Answer
    teams: list[str] | None


@dataclass(frozen=True)
class ServedExperiment:
    """The experiment and its log. `generator` tosses the coins of interleaved lists, and those that draw."""

    experiments: Experiments  # one
    log: SlateLog
    generator: np.random.Generator = field(default_factory=np.random.default_rng)
    drawing: np.random.Generator = field(default_factory=np.random.default_rng)  # of lists, in the decode thread

    def assign(self, question: Question) -> Assignment | None:
        """The arms of a question's user; None where there is no user, or the question names a model itself."""
        if question.user is None or question.model is not None:
            return None
        return self.experiments.assign(question.user)

    def choose_draw(self, assignment: Assignment) -> Draw | None:
        """For the share of requests whose lists are drawn; by the request, and so in all arms alike."""
        experiment = self.experiments.by_name[assignment.experiment]
        if not experiment.sampled or self.generator.random() >= experiment.sampled:
            return None
        return Draw(experiment.temperature, self.drawing)

    def conclude(self, assignment: Assignment, answers: Sequence[Answer], k: int) -> Conclusion:
        """An answer an arm -> the one that is given."""
        arms = list(assignment.arms)
        answer, teams = (answers[0], None) if len(arms) == 1 else self.interleave(answers, arms, k)
        marks = {"request": uuid.uuid4().hex, "experiment": assignment.experiment, "arm": assignment.arm}
        return Conclusion(answer.model_copy(update=marks), teams)

    def interleave(self, answers: Sequence[Answer], arms: Sequence[str], k: int) -> tuple[Answer, list[str]]:
        """Two lists -> one by team draft, and the arm that brought each item; a score is of the model that did."""
        listed = [{each.item: each for each in answer.items} for answer in answers]
        draft = draft_teams(list(listed[0]), list(listed[1]), k, self.generator)
        answer = Answer(
            items=[listed[team][item] for item, team in zip(draft.items, draft.teams, strict=True)],
            exact=all(answer.exact for answer in answers),
            model="+".join(answer.model for answer in answers),
            version=answers[0].version,
            cold=all(answer.cold for answer in answers),
        )
        return answer, [arms[team] for team in draft.teams]

    def record(self, user: str, given: Conclusion) -> None:
        """Append to the log; ArtifactError where it cannot be written, ValueError where an answer is no row of it."""
        answer = given.answer
        assert answer.request and answer.experiment and answer.arm, "an answer of an experiment"
        self.log.append(
            Slate(
                time.time(),
                answer.request,
                user,
                answer.experiment,
                answer.arm,
                answer.version,
                [each.id for each in answer.items],
                [each.score for each in answer.items],
                answer.propensities,
                given.teams,
            )
        )

    def describe(self) -> dict[str, Any]:
        """As the file holds it, without the salt: who knows it can choose a user id that falls into an arm."""
        return {name: each.model_dump(exclude={"salt"}) for name, each in self.experiments.by_name.items()}


def ask_arms(question: Question, assignment: Assignment | None) -> list[Question]:
    """One question an arm, in the arm's settings; without an assignment the question itself."""
    if assignment is None:
        return [question]
    return [question.model_copy(update={"model": arm.model} | arm.settings) for arm in assignment.arms.values()]
