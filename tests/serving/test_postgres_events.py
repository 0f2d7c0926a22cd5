"""What PostgreSQL adds to the promises of every store: durable whatever its setting, found after a restart."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from genrec.errors import ArtifactError
from genrec.serving.events import StoreUnavailable
from genrec.serving.postgres_events import PostgresEvents, hide_password


@pytest.mark.slow
def test_a_database_that_crashes_loses_nothing_and_is_found_again(postgres, monkeypatch):
    monkeypatch.setattr("genrec.serving.postgres_events.BUSY", 1)
    store = PostgresEvents(postgres.url)
    with store.transaction() as cursor:
        assert cursor.execute("SHOW synchronous_commit").fetchone() == ("on",), "the server's own is off"
    assert store.append("crash", ["a", "b"]) == 2
    postgres.stop("immediate")
    with pytest.raises(StoreUnavailable, match="the events cannot be reached"):
        store.past("crash")
    postgres.start()
    assert ask_until_there(store, "crash").items == ["a", "b"]
    store.close()


def ask_until_there(store, user):
    for _ in range(10):
        with suppress(StoreUnavailable):
            return store.past(user)
    raise AssertionError("the database is there and the store does not find it")


@pytest.mark.slow
def test_servers_that_start_at_once_make_the_tables_once(postgres):
    url = postgres.empty()
    with ThreadPoolExecutor(3) as pool:
        stores = list(pool.map(PostgresEvents, [url] * 3))
    assert [store.append("u", ["x"]) for store in stores] == [1, 2, 3]
    for store in stores:
        store.close()


def test_a_database_that_is_not_there_is_one_line_without_the_password(tmp_path):
    with pytest.raises(ArtifactError, match="cannot be used for events: ") as said:
        PostgresEvents(f"postgresql://shop:s3cret@/postgres?host={tmp_path}")
    assert "s3cret" not in str(said.value) and "***" in str(said.value) and "\n" not in str(said.value)
    assert hide_password("bad postgresql://a:b@[x", "postgresql://a:b@[x") == "bad postgresql://..."
