"""Events are kept in order, outlive the process, and are gone when a user is deleted; in a file and in a database."""

import sqlite3
import threading

import pytest
from pydantic import ValidationError

from genrec.errors import ArtifactError
from genrec.serving.events import SqliteEvents, open_store
from genrec.serving.settings import ServeOptions


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def place(request, tmp_path):
    """What --events says."""
    if request.param == "sqlite":
        return str(tmp_path / "new" / "events.sqlite")
    return request.getfixturevalue("postgres").empty()


def test_events_are_kept_in_order_and_found_again(place):
    store = open_store(place)
    assert store.append("u1", ["b", "a"]) == 2 and store.append("u2", ["c"]) == 1 and store.append("u1", ["b"]) == 3
    store.close()
    again = open_store(place)
    assert again.past("u1").items == ["b", "a", "b"] and not again.past("u1").deleted
    assert again.past("nobody").items == []
    again.close()


def test_a_deleted_user_has_no_events_and_older_data_are_not_used(place):
    store = open_store(place)
    store.append("'; DROP TABLE event; --\n", ["x", "é"])
    store.append("other", ["y"])
    assert store.delete("'; DROP TABLE event; --\n") == 2 and store.delete("'; DROP TABLE event; --\n") == 0
    past = store.past("'; DROP TABLE event; --\n")
    assert past.items == [] and past.deleted and not store.past("other").deleted
    store.append("'; DROP TABLE event; --\n", ["z"])
    assert store.past("'; DROP TABLE event; --\n").items == ["z"] and store.past("other").items == ["y"]
    store.close()


def test_two_servers_share_a_store(place):
    """What one acknowledged the other reads, and no event is lost between them."""
    stores = [open_store(place), open_store(place)]

    def send(store):
        for number in range(20):
            store.append("u", [str(number)])

    threads = [threading.Thread(target=send, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stores[0].past("u").items) == sorted(2 * [str(number) for number in range(20)])
    assert stores[1].delete("u") == 40 and stores[0].past("u").deleted
    for store in stores:
        store.close()


def test_a_deleted_user_is_in_no_file(tmp_path):
    store = SqliteEvents(tmp_path / "events.sqlite")
    store.append("a-person-with-a-name", ["item-of-that-person"])
    assert store.delete("a-person-with-a-name") == 1
    for file in tmp_path.iterdir():
        assert b"person" not in file.read_bytes(), file


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


def test_other_databases_are_refused_and_a_missing_package_is_named(monkeypatch):
    with pytest.raises(ValidationError, match="in PostgreSQL by postgresql://HOST/DATABASE"):
        ServeOptions(events="mysql://shop@db/genrec")
    monkeypatch.setattr("genrec.serving.events.find_spec", lambda name: None)
    with pytest.raises(ArtifactError, match=r"need psycopg, psycopg_pool; run: pip install 'genrec\[postgres\]'"):
        open_store("postgresql://shop@db/genrec")
