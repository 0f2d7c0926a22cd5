"""What was shown to whom: every answer in a journal at once, and in Parquet by and by.

    DIR/experiments.json                 the experiments that these answers belong to
    DIR/journal-<writer>-<number>.jsonl  answers of the moment, a line each; on the disk a second after they were given
    DIR/part-<writer>-<number>.parquet   the same when a journal was full: written beside, renamed, the journal removed

    log = SlateLog(directory, experiments)
    log.append(Slate(time.time(), request, user, "rl_or_sft", "rl", version, items, scores))
    log.close()

Several processes may write to one directory; each holds a lock on its own journal. Journals without a living writer
become parts when the directory is next opened. `read_slates` reads both, whether or not a writer lives.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import polars as pl

from genrec.artifacts import read_json, whole_path, write_json
from genrec.errors import ArtifactError, first_line
from genrec.experiments.assignment import Experiments, hash_user

EXPERIMENTS = "experiments.json"
OPENING = ".opening"  # held by who opens the directory
FLUSH_SECONDS = 0.5  # between two writes of the journal; with the write itself well below a second
SCHEMA = pl.Schema(
    {
        "time": pl.Float64(),
        "request": pl.String(),
        "user": pl.String(),
        "experiment": pl.String(),
        "arm": pl.String(),
        "version": pl.String(),
        "items": pl.List(pl.String()),
        "scores": pl.List(pl.Float64()),
        "propensities": pl.List(pl.Float64()),
        "teams": pl.List(pl.String()),
    }
)


@dataclass(frozen=True)
class Slate:
    """One answer. `propensities[j]` is the probability of item j given the items above it, where the list was sampled.

    The first is that of the first item, their product that of the list. `teams[j]` is the arm that brought item j of
    an interleaved list.
    """

    time: float  # seconds since 1970
    request: str
    user: str
    experiment: str
    arm: str
    version: str  # of the model
    items: list[str]
    scores: list[float]
    propensities: list[float] | None = None
    teams: list[str] | None = None

    def __post_init__(self) -> None:
        for name in ("scores", "propensities", "teams"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.items):
                raise ValueError(f"a slate of {len(self.items)} items has {len(values)} {name}")
        if not all(map(math.isfinite, [self.time, *self.scores])):
            raise ValueError(f"time and scores of request {self.request} must be finite numbers")
        if wrong := [share for share in self.propensities or [] if not 0 < share <= 1]:
            raise ValueError(f"propensities of request {self.request} must lie in (0, 1], found {wrong[0]}")
        texts = (self.request, self.user, self.experiment, self.arm, self.version, *self.items, *(self.teams or []))
        try:
            "".join(texts).encode()
        except UnicodeEncodeError:
            raise ValueError(f"a text of request {self.request!r} is no Unicode that a file can hold") from None


class SlateLog:
    """Appends answers; safe from several threads. `append` hands over and returns, a thread of its own writes."""

    def __init__(
        self,
        directory: Path,
        experiments: Experiments,
        *,
        user_key: str | None = None,  # users are logged as hash_user(user, key)
        rows_a_part: int = 50_000,
        seconds_a_part: float = 3600,
    ):
        self.directory, self.user_key = directory, user_key
        self.rows_a_part, self.seconds_a_part = rows_a_part, seconds_a_part
        self.writer, self.number, self.rows = uuid.uuid4().hex[:12], 0, 0
        self.failure: Exception | None = None
        self.waiting: list[str] = []  # lines of the journal
        self.lock, self.ended = threading.Lock(), threading.Event()
        directory.mkdir(parents=True, exist_ok=True)
        with alone(directory):  # servers start their processes at once
            keep_experiments(directory, experiments)
            for journal in find_journals(directory):
                recover_journal(journal)
        self.journal = self.open_journal()
        self.thread = threading.Thread(target=self.write_on, name="slate log", daemon=True)
        self.thread.start()

    def append(self, slate: Slate) -> None:
        """ArtifactError where what came before could not be written, so that nobody counts on a log that is none."""
        if self.failure is not None:
            raise ArtifactError(f"the log in {self.directory} cannot be written: {first_line(self.failure)}")
        if self.ended.is_set():
            raise ArtifactError(f"the log in {self.directory} is closed")
        line = encode_slate(slate, self.user_key)
        with self.lock:
            self.waiting.append(line)

    def close(self) -> None:
        """Everything appended is on the disk after this, in Parquet."""
        self.ended.set()
        self.thread.join()
        if self.failure is not None:
            raise ArtifactError(f"the log in {self.directory} cannot be written: {first_line(self.failure)}")

    def write_on(self) -> None:
        try:
            while not self.ended.wait(FLUSH_SECONDS):
                self.flush()
                if self.is_full():
                    self.rotate()
            self.flush()
            self.finish_journal()
        except Exception as error:  # of a thread that nobody waits for; append and close raise it
            self.failure = error

    def flush(self) -> None:
        """Hand what waits to the disk."""
        with self.lock:
            lines, self.waiting = self.waiting, []
        if not lines:
            return
        self.journal.writelines(lines)
        self.journal.flush()
        os.fsync(self.journal.fileno())
        self.rows += len(lines)

    def is_full(self) -> bool:
        return self.rows >= self.rows_a_part or (self.rows > 0 and time.monotonic() - self.begun >= self.seconds_a_part)

    def rotate(self) -> None:
        self.finish_journal()
        self.number += 1
        self.journal = self.open_journal()

    def open_journal(self) -> IO[str]:
        """Empty and ours: the lock is held until the file is closed, by a kill too."""
        path = self.directory / f"journal-{self.writer}-{self.number:05d}.jsonl"
        self.rows, self.begun = 0, time.monotonic()
        while True:
            file = path.open("a", encoding="utf-8")
            fcntl.flock(file, fcntl.LOCK_EX)
            if path.exists():
                return file
            file.close()  # another process that was opening the directory took it for one without a writer

    def finish_journal(self) -> None:
        convert_journal(Path(self.journal.name))
        self.journal.close()


def encode_slate(slate: Slate, user_key: str | None) -> str:
    numbers = {  # those of numpy and whole ones too
        "time": float(slate.time),
        "scores": [float(score) for score in slate.scores],
        "propensities": None if slate.propensities is None else [float(share) for share in slate.propensities],
    }
    record = asdict(slate) | numbers
    if user_key is not None:
        record["user"] = hash_user(slate.user, user_key)
    return json.dumps(record, allow_nan=False) + "\n"


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Within: no other process opens this directory."""
    with (directory / OPENING).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def keep_experiments(directory: Path, experiments: Experiments) -> None:
    """What is measured under one name stays as it is: users of before and after other shares are no random halves."""
    path = directory / EXPERIMENTS
    before = read_experiments(directory).by_name if path.exists() else {}
    for name, experiment in experiments.by_name.items():
        if name in before and before[name] != experiment:
            raise ArtifactError(
                f"{path} holds experiment '{name}' with {describe_shares(before[name].shares)}, now it has "
                f"{describe_shares(experiment.shares)} or other settings; give it a new name (the same salt keeps "
                "users where they are), or log to another directory"
            )
    if before != (together := {**before, **experiments.by_name}):
        write_json(path, Experiments(together).dump())


def describe_shares(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:g}" for name, share in shares.items())


def read_experiments(directory: Path) -> Experiments:
    path = directory / EXPERIMENTS
    if not path.exists():
        raise ArtifactError(
            f"{directory} is no log of answers: it has no {EXPERIMENTS}; name the server's log directory"
        )
    return Experiments.check(read_json(path), str(path))


# Journals to parts


def find_journals(directory: Path) -> list[Path]:
    return sorted(directory.glob("journal-*.jsonl"))


def part_of(journal: Path) -> Path:
    return journal.with_name(journal.name.replace("journal-", "part-")).with_suffix(".parquet")


def recover_journal(journal: Path) -> None:
    """A journal whose writer is gone becomes a part; one that is being written, or was recovered just now, is left."""
    with suppress(FileNotFoundError), journal.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        convert_journal(journal)


def convert_journal(journal: Path) -> None:
    """A kill between the rename and the removal leaves both, of one name: then the part counts."""
    if not part_of(journal).exists():
        frame, _ = read_journal(journal)
        if len(frame):
            with whole_path(part_of(journal)) as beside:
                frame.write_parquet(beside)
    journal.unlink()


def read_journal(journal: Path) -> tuple[pl.DataFrame, int]:
    """(its answers, lines that a kill tore: the last one at most)."""
    *lines, last = journal.read_bytes().split(b"\n")
    records = [read_line(line, journal, number) for number, line in enumerate(lines, start=1)]
    return pl.DataFrame(records, schema=SCHEMA, orient="row"), int(bool(last))


def read_line(line: bytes, journal: Path, number: int) -> list[Any]:
    try:
        record = json.loads(line)
        return [record[name] for name in SCHEMA]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{journal}: line {number} is no answer ({first_line(error)}); take it out") from None


# Reading


@dataclass(frozen=True)
class Slates:
    """All answers of a directory, in the order of their time."""

    frame: pl.DataFrame  # of SCHEMA
    torn: int  # journal lines that a kill cut off


def read_slates(directory: Path) -> Slates:
    """Journals and parts; ArtifactError where no answer is in them. A request counts once, by its id."""
    read_experiments(directory)
    frames, torn = [], 0
    for journal in find_journals(directory):
        with suppress(FileNotFoundError):  # it became a part, which is read below
            frame, lines = read_journal(journal)
            frames, torn = [*frames, frame], torn + lines
    frames += [read_part(path) for path in sorted(directory.glob("part-*.parquet"))]
    frame = pl.concat(frames).sort("time", maintain_order=True) if frames else pl.DataFrame(schema=SCHEMA)
    if not len(frame):
        raise ArtifactError(f"{directory} holds no answer yet; let the server answer requests of the experiment first")
    return Slates(frame.unique("request", keep="first", maintain_order=True), torn)


def read_part(path: Path) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtifactError(f"{path} cannot be read: {first_line(error)}") from None
    if frame.schema != SCHEMA:
        differ = sorted(set(frame.schema.items()) ^ set(SCHEMA.items()), key=str)
        raise ArtifactError(f"{path} is no part of a log: {differ[0][0]} is not what this version writes")
    return frame
