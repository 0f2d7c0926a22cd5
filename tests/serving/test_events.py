"""Events are kept in order, outlive the process, and are gone when a user is deleted."""

import sqlite3

import pytest

from genrec.errors import ArtifactError
from genrec.serving.events import SqliteEvents


def test_events_are_kept_in_order_and_found_again(tmp_path):
    store = SqliteEvents(tmp_path / "new" / "events.sqlite")
    assert store.append("u1", ["b", "a"]) == 2 and store.append("u2", ["c"]) == 1 and store.append("u1", ["b"]) == 3
    store.close()
    again = SqliteEvents(tmp_path / "new" / "events.sqlite")
    assert again.past("u1").items == ["b", "a", "b"] and not again.past("u1").deleted
    assert again.past("nobody").items == []


def test_a_deleted_user_is_in_no_file_and_older_data_are_not_used(tmp_path):
    path = tmp_path / "events.sqlite"
    store = SqliteEvents(path)
    store.append("a-person-with-a-name", ["item-of-that-person"])
    assert store.delete("a-person-with-a-name") == 1 and store.delete("a-person-with-a-name") == 0
    assert store.past("a-person-with-a-name").items == [] and store.past("a-person-with-a-name").deleted
    for file in tmp_path.iterdir():
        assert b"person" not in file.read_bytes(), file
    store.append("a-person-with-a-name", ["x"])
    assert store.past("a-person-with-a-name").items == ["x"] and store.past("a-person-with-a-name").deleted


def test_a_commit_is_on_the_disk_when_it_returns(tmp_path):
    store = SqliteEvents(tmp_path / "events.sqlite")
    assert store.connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    store.append("u", ["a"])
    with sqlite3.connect(tmp_path / "events.sqlite") as other:  # another reader, with nothing closed
        assert other.execute("SELECT user, item FROM event").fetchall() == [("u", "a")]


def test_a_file_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / "events.sqlite").write_text("these are no events, and this text is long enough to be read" * 20)
    with pytest.raises(ArtifactError, match="cannot be used for events: file is not a database; name another"):
        SqliteEvents(tmp_path / "events.sqlite")
