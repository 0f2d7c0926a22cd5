"""What came of the answers: a table of users and numbers, joined with the log to one row a user.

    user     request      item    time          clicks   revenue
    u17      8f3a...      B0012   1764576000    1        12.5

`user` and at least one number; `request` and `item` where interleaved lists or other models are to be judged; `time`
(seconds since 1970, or a datetime of Parquet) where rows may be older than the experiment. Rows of a user are summed; a
user without a row had nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from genrec.artifacts import read_bytes
from genrec.errors import ArtifactError, ConfigError, first_line, suggest
from genrec.experiments.assignment import hash_user

OF_THE_LOG = ("requests", "shown")  # numbers of a user that the log itself knows: answers, and items in them
MOST_MIXED = 0.01  # share of users in several arms, above which nobody was dealt out for good


@dataclass(frozen=True)
class Metric:
    """`clicks`: the mean over users of their sum; `clicks/requests`: the sum of all over the sum of all."""

    numerator: str
    denominator: str | None = None

    def __str__(self) -> str:
        return f"{self.numerator}/{self.denominator}" if self.denominator else self.numerator

    @property
    def columns(self) -> list[str]:
        return [self.numerator, self.denominator] if self.denominator else [self.numerator]


def parse_metric(text: str) -> Metric:
    parts = text.split("/")
    if len(parts) > 2 or not all(parts):
        raise ConfigError(f"a metric is a column, or a ratio of two such as clicks/requests; found '{text}'")
    return Metric(*parts)


@dataclass(frozen=True)
class Outcomes:
    """A table as it lies on disk, its users spelled as the log spells them."""

    name: str
    frame: pl.DataFrame


@dataclass(frozen=True)
class Users:
    """One row a user: user, arm, first (time of the first answer), requests, shown, and the sums of outcomes."""

    frame: pl.DataFrame
    notes: list[str] = field(default_factory=list)  # what was left out, a line each


def read_outcomes(path: Path, user_key: str | None = None) -> Outcomes:
    """CSV, TSV, JSON lines or Parquet; with a key users are hashed as in the log."""
    frame = read_frame(path)
    require_columns(Outcomes(str(path), frame), ["user"])
    users = frame["user"].cast(pl.String)
    if user_key is not None:
        known = {user: hash_user(user, user_key) for user in users.unique().drop_nulls()}
        users = users.replace_strict(known, return_dtype=pl.String)
    return Outcomes(str(path), frame.with_columns(users.alias("user")))


READERS = {
    ".csv": lambda content: pl.read_csv(content, infer_schema=False),
    ".tsv": lambda content: pl.read_csv(content, separator="\t", infer_schema=False),
    ".jsonl": lambda content: pl.read_ndjson(content, infer_schema_length=None),
    ".parquet": pl.read_parquet,
}


def read_frame(path: Path) -> pl.DataFrame:
    """Values of delimited text stay the strings they are, so that a user 007 is no user 7."""
    if path.suffix not in READERS:
        raise ConfigError(f"{path} ends in none of {', '.join(READERS)}")
    try:
        return READERS[path.suffix](read_bytes(path))
    except pl.exceptions.PolarsError as error:
        raise ArtifactError(f"{path} cannot be read: {first_line(error)}") from None


def require_columns(outcomes: Outcomes, names: Sequence[str]) -> None:
    """ArtifactError names the first that is not there, the nearest, and what there is."""
    columns = outcomes.frame.columns
    for name in names:
        if name not in columns:
            near = suggest(name, columns)
            raise ArtifactError(f"{outcomes.name} has no column '{name}'{near} (it has {', '.join(columns)})")


def read_numbers(outcomes: Outcomes, names: Sequence[str]) -> pl.DataFrame:
    """The same table with finite numbers in these columns; ArtifactError names the first row that has none."""
    require_columns(outcomes, names)
    frame = outcomes.frame.with_columns(pl.col(list(names)).cast(pl.Float64, strict=False))
    for name in names:
        wrong = ~frame[name].is_finite().fill_null(False)
        if wrong.any():
            row = int(wrong.arg_true()[0])
            found = outcomes.frame[name][row]
            raise ArtifactError(
                f"{outcomes.name}: row {row + 1} has {name} {found!r}, where a finite number is needed (0 for nothing)"
            )
    return frame


# Users of the log


def describe_users(slates: pl.DataFrame) -> Users:
    """All users of one experiment's answers; those who saw several arms tell nothing of either and are left out."""
    users = slates.group_by("user", maintain_order=True).agg(
        pl.col("arm").first(),
        pl.col("arm").n_unique().alias("arms"),
        pl.col("time").min().alias("first"),
        pl.len().cast(pl.Float64).alias("requests"),
        pl.col("items").list.len().sum().cast(pl.Float64).alias("shown"),
    )
    mixed = int((users["arms"] > 1).sum())
    if mixed > MOST_MIXED * len(users):
        raise ArtifactError(
            f"{mixed:,} of {len(users):,} users are in several arms, more than {MOST_MIXED:.0%}: users were not dealt "
            "out for good; pass each request's own user id to assign, and one salt on all servers"
        )
    notes = [f"{mixed:,} users were in several arms and are left out"] if mixed else []
    return Users(users.filter(pl.col("arms") == 1).drop("arms"), notes)


def add_outcomes(users: Users, outcomes: Outcomes, names: Sequence[str]) -> Users:
    """The sums of these columns beside each user; rows from before a user's first answer are no outcome of it."""
    rows = read_numbers(outcomes, names).join(users.frame.select("user", "first"), on="user", how="left")
    strangers = int(rows["first"].is_null().sum())
    if strangers == len(rows) > 0:
        raise ArtifactError(
            f"none of the {rows['user'].n_unique():,} users of {outcomes.name} was shown anything (a user of the log: "
            f"'{users.frame['user'][0]}', of the outcomes: '{rows['user'][0]}'); where the log hashes users, pass "
            "--user_key"
        )
    notes = [f"{strangers:,} rows of {outcomes.name} are of users who were shown nothing"] if strangers else []
    rows = rows.drop_nulls("first")
    if "time" in rows.columns:
        late = rows.filter(seconds_of(rows, outcomes.name) >= rows["first"])
        if len(late) < len(rows):
            notes.append(f"{len(rows) - len(late):,} rows of {outcomes.name} are older than their user's first answer")
        rows = late
    sums = rows.group_by("user").agg(pl.col(list(names)).sum())
    frame = users.frame.join(sums, on="user", how="left", maintain_order="left")
    return Users(frame.with_columns(pl.col(list(names)).fill_null(0.0)), [*users.notes, *notes])


def seconds_of(rows: pl.DataFrame, name: str) -> pl.Series:
    times = rows["time"]
    if times.dtype.is_temporal():
        return times.cast(pl.Datetime("us")).dt.timestamp("us") / 1e6
    return read_numbers(Outcomes(name, rows), ["time"])["time"]


def add_before(users: Users, before: Outcomes, names: Sequence[str]) -> pl.DataFrame:
    """(users, names) sums of the time before, rows as in `users`; a user it lacks had nothing."""
    rows = read_numbers(before, names)
    sums = rows.group_by("user").agg(pl.col(list(names)).sum())
    joined = users.frame.select("user").join(sums, on="user", how="left", maintain_order="left")
    if len(users.frame) and joined[names[0]].is_null().all():
        raise ArtifactError(f"none of the users of {before.name} is in the log; where it hashes users, pass --user_key")
    return joined.select(pl.col(list(names)).fill_null(0.0))
