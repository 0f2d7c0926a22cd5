"""What users did since the data were prepared: appended by the shop, read at the next request, deletable.

An append returns when its events are on the disk, so that what was acknowledged outlives a kill and a power cut.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from genrec.errors import ArtifactError

BUSY = 10  # seconds to wait for another process that writes
SCHEMA = """
CREATE TABLE IF NOT EXISTS event (number INTEGER PRIMARY KEY, user TEXT NOT NULL, item TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS event_of_user ON event (user, number);
CREATE TABLE IF NOT EXISTS deleted (user_hash TEXT PRIMARY KEY) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Past:
    """What is kept of a user."""

    items: list[str]  # ids, oldest first
    deleted: bool  # what the data artifact has of the user is not to be used


class StoreUnavailable(ArtifactError):
    """The store cannot be reached now; the same request may succeed later."""


class EventStore(Protocol):
    """Any database that keeps histories. Calls come from several threads."""

    def append(self, user: str, items: Sequence[str]) -> int:
        """Keep events, oldest first, durably; how many the user has now."""
        ...

    def past(self, user: str) -> Past: ...

    def delete(self, user: str) -> int:
        """Remove a user's events, and remember that nothing older may be used; how many were removed."""
        ...

    def close(self) -> None: ...


def open_store(place: str | Path) -> EventStore:
    """A file, or a database by its URL; ArtifactError where it cannot be used."""
    if not is_url(str(place)):
        return SqliteEvents(Path(place))
    missing = [name for name in ("psycopg", "psycopg_pool") if not find_spec(name)]
    if missing:
        raise ArtifactError(f"events in PostgreSQL need {', '.join(missing)}; run: pip install 'genrec[postgres]'")
    from genrec.serving.postgres_events import PostgresEvents

    return PostgresEvents(str(place))


def is_url(place: str) -> bool:
    return place.startswith(("postgresql://", "postgres://"))


class SqliteEvents:
    """One file, read by one connection while another writes. A deleted user is remembered by a hash of the id."""

    def __init__(self, path: Path):
        self.lock, self.reading = threading.Lock(), threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.connection = sqlite3.connect(path, check_same_thread=False, timeout=BUSY)
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = FULL")  # a commit is on the disk when it returns
            self.connection.execute("PRAGMA secure_delete = ON")
            self.connection.executescript(SCHEMA)
            self.reader = sqlite3.connect(path, check_same_thread=False, timeout=BUSY)
        except sqlite3.Error as error:
            raise ArtifactError(f"{path} cannot be used for events: {error}; name another file by --events") from None

    def append(self, user: str, items: Sequence[str]) -> int:
        with self.lock, self.connection:
            self.connection.executemany(
                "INSERT INTO event (user, item) VALUES (?, ?)", [(user, item) for item in items]
            )
            return self.connection.execute("SELECT count(*) FROM event WHERE user = ?", (user,)).fetchone()[0]

    def past(self, user: str) -> Past:
        with self.reading, self.reader:
            self.reader.execute("BEGIN")  # both answers of one moment
            rows = self.reader.execute("SELECT item FROM event WHERE user = ? ORDER BY number", (user,)).fetchall()
            query = "SELECT 1 FROM deleted WHERE user_hash = ?"
            deleted = self.reader.execute(query, (hash_user(user),)).fetchone() is not None
        return Past([item for (item,) in rows], deleted)

    def delete(self, user: str) -> int:
        with self.lock, self.connection:
            removed = self.connection.execute("DELETE FROM event WHERE user = ?", (user,)).rowcount
            self.connection.execute("INSERT OR IGNORE INTO deleted VALUES (?)", (hash_user(user),))
        with self.lock:
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the journal held the rows too
        return removed

    def close(self) -> None:
        with self.lock, self.reading:
            self.reader.close()
            self.connection.close()


def hash_user(user: str) -> str:
    return hashlib.sha256(user.encode()).hexdigest()
