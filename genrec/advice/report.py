"""What advice reads of a report of bad cases, checked before anything rests on it: the part that valid rows gave.

Test rows stand in a report to be read; nothing is decided by them.

A report of an older version, or one that was written by hand, is refused by the key that it lacks: a value that the
analysed run had cannot be guessed.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from genrec.config import all_paths
from genrec.config_checks import validate
from genrec.errors import ArtifactError, ConfigError
from genrec.presets import has_path

Bound = Annotated[float | None, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    model_config = ConfigDict(strict=True)  # other keys are the page's


class Mean(Part):
    mean: Bound


class Interval(Mean):
    low: Bound
    high: Bound


class Pattern(Part):
    """A cause: not measured, a description of the miss with its share, or a condition that is held against the hits."""

    says: str
    finding: str
    why: str = ""
    count: Count = 0
    share: Mean | None = None
    share_among_hits: Mean | None = None
    lift: Interval | None = None
    excess: Mean | None = None

    @model_validator(mode="after")
    def hold_what_the_finding_needs(self) -> Pattern:
        of_condition = (self.share_among_hits, self.lift, self.excess)
        if self.finding == "not measured":
            needed = (self.why or None,)
        elif self.finding == "describes the miss":
            needed = (self.share,)
        else:
            needed = (self.share, *of_condition)
        if None in needed:
            raise ValueError(f"'{self.finding}' needs share, share_among_hits, lift and excess, or why there is none")
        return self


class Patterns(Part):
    long_tail: Pattern
    popularity_bias: Pattern
    cold_item: Pattern
    short_history: Pattern
    recent_preference_ignored: Pattern
    sid_collision: Pattern
    tied_target: Pattern
    repeat_purchase_missed: Pattern
    category_mismatch: Pattern
    near_miss: Pattern
    beam_loss: Pattern


class Summary(Part):
    total_samples: Count
    bad_cases_count: Count
    failure_rate: Annotated[float, Field(ge=0, le=1)]
    interval: Annotated[list[Bound], Field(min_length=2, max_length=2)]


class Colliding(Part):
    items: Count
    share: Annotated[float, Field(ge=0, le=1)]
    sharing: Count
    largest: Count


class Collisions(Part):
    before: Colliding
    after: Colliding


class SidQuality(Part):
    items: Count
    collision: Collisions


class NoSids(Part):
    not_measured: str


class TrainingPart(Part):
    stage: str
    best_at: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    unit: str
    length: Count
    metric: str
    curve: list[dict[str, Any]]
    losses: list[dict[str, Any]]
    rejected_rl: dict[str, Any] | None = None


class SeenItems(Part):
    filtered: bool
    listed: float
    repeats: float
    gain: Interval


class ValidPart(Part):
    """The measured part of a report, of valid rows."""

    split: Literal["valid"]
    top_k: Annotated[int, Field(ge=1)]
    summary: Summary
    failure_patterns: Patterns
    metrics: dict[str, Interval]
    seen_items: SeenItems


class NoValid(Part):
    not_measured: str


class Baseline(Part):
    ahead: Interval


class Baselines(Part):
    valid: dict[str, Baseline]


class History(Part):
    kept: Count
    longer: Count
    cut: float
    gain: Interval | None


class Prompts(Part):
    cutoff_len: Count
    cut: float
    longest: Count


class BadcaseReport(Part):
    model: str
    split: Literal["valid", "test"]
    valid: ValidPart | NoValid
    baselines: Baselines
    history: History | None
    prompts: Prompts | None
    ties: dict[str, Any] | None
    sid_quality: SidQuality | NoSids
    training: TrainingPart | None
    rl_kept: bool | None
    config: dict[str, Any]


def take_valid(report: dict[str, Any]) -> dict[str, Any]:
    """The report with what valid rows gave in the place of what test rows gave; ArtifactError where there is none."""
    if reason := report["valid"].get("not_measured"):
        raise ArtifactError(
            f"advice rests on valid rows, and {reason}; score them (--evaluation.split valid) and analyse anew"
        )
    return report | report["valid"]


def check_report(report: Any, name: str, analyze: str) -> None:
    """ArtifactError with the first key that is missing or of another kind; `analyze` is the command that writes one."""
    way_on = f"run `{analyze}` and pass its badcase_report.json"
    try:
        BadcaseReport.model_validate(report)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole"
        value = "" if first["type"] == "missing" else f" (found {first['input']!r:.80})"
        raise ArtifactError(f"{name} is not a report of `{analyze}`: {key}: {first['msg']}{value}; {way_on}") from None
    if missing := [key for key in all_paths() if not has_path(report["config"], key)]:
        raise ArtifactError(
            f"{name} is not a report of `{analyze}` as it is now: config.{missing[0]} is missing; {way_on}"
        )
    try:
        validate(report["config"])
    except ConfigError as error:
        raise ArtifactError(f"{name} is not a report of `{analyze}` as it is now: config: {error}; {way_on}") from None
