"""Events in PostgreSQL, for servers on several machines: the same promises as those of the SQLite file.

store = PostgresEvents("postgresql://shop@db.example/genrec")     the password from ~/.pgpass or PGPASSWORD

Two tables, `genrec_event` and `genrec_deleted`, are made where they are missing. A connection that broke is replaced,
so the database may be restarted; while it is away requests for users are refused.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from genrec.errors import ArtifactError, first_line
from genrec.serving.events import BUSY, Past, StoreUnavailable, hash_user

MAKING = 7_306_318  # of the lock under which one server at a time makes the tables
AGAIN = 1  # seconds of attempts to connect, ever rarer ones; the next request begins anew
SCHEMA = """
CREATE TABLE IF NOT EXISTS genrec_event (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id text NOT NULL, item text NOT NULL
);
CREATE INDEX IF NOT EXISTS genrec_event_of_user ON genrec_event (user_id, number);
CREATE TABLE IF NOT EXISTS genrec_deleted (user_hash text PRIMARY KEY);
"""
DURABLE = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
"""
PAST = """
SELECT array(SELECT item FROM genrec_event WHERE user_id = %s ORDER BY number),
       EXISTS (SELECT FROM genrec_deleted WHERE user_hash = %s)
"""


class PostgresEvents:
    """One database. A commit is on the server's disk when it returns, whatever the server's own setting."""

    def __init__(self, url: str):
        self.url = url
        try:
            with psycopg.connect(url, connect_timeout=BUSY) as connection:
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (MAKING,))
                connection.execute(SCHEMA)
        except psycopg.Error as error:
            raise ArtifactError(
                f"{hide_password(url, url)} cannot be used for events: {hide_password(first_line(error), url)}"
            ) from None
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # every request that is refused is logged itself
        self.pool = ConnectionPool(
            url,
            min_size=1,
            max_size=4,
            timeout=BUSY,
            reconnect_timeout=AGAIN,
            check=ConnectionPool.check_connection,
            configure=make_durable,
            open=True,
        )

    def append(self, user: str, items: Sequence[str]) -> int:
        with self.transaction() as cursor:
            rows = [(user, item) for item in items]
            cursor.executemany("INSERT INTO genrec_event (user_id, item) VALUES (%s, %s)", rows)
            return count_rows(cursor.execute("SELECT count(*) FROM genrec_event WHERE user_id = %s", (user,)))

    def past(self, user: str) -> Past:
        with self.transaction() as cursor:
            row = cursor.execute(PAST, (user, hash_user(user))).fetchone()  # both answers of one moment
            assert row is not None, "a row of two answers"
            return Past(*row)

    def delete(self, user: str) -> int:
        """From the tables; the database's own journal, copies and unused space are its administrator's."""
        with self.transaction() as cursor:
            removed = cursor.execute("DELETE FROM genrec_event WHERE user_id = %s", (user,)).rowcount
            cursor.execute("INSERT INTO genrec_deleted VALUES (%s) ON CONFLICT DO NOTHING", (hash_user(user),))
            return removed

    def close(self) -> None:
        self.pool.close()

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Cursor]:
        """Committed at the end; StoreUnavailable where the database is away, or does not take it."""
        try:
            with self.pool.connection() as connection, connection.cursor() as cursor:
                yield cursor
        except (psycopg.Error, PoolTimeout) as error:
            reason = hide_password(first_line(error), self.url)
            raise StoreUnavailable(f"the events cannot be reached: {reason}") from error


def make_durable(connection: psycopg.Connection) -> None:
    connection.execute(DURABLE)
    connection.commit()


def count_rows(cursor: psycopg.Cursor) -> int:
    row = cursor.fetchone()
    assert row is not None, "a count is one row"
    return row[0]


def hide_password(text: str, url: str) -> str:
    """A library may repeat the URL in what it says."""
    try:
        password = urlsplit(url).password
    except ValueError:  # no URL that can be taken apart: then nothing of it is repeated
        return text.replace(url, "postgresql://...")
    return text.replace(password, "***") if password else text
