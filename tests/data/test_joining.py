"""New events join a run's data: worked by hand, and row by row by the shop's own ids."""

from pathlib import Path

import numpy as np
import pytest

from genrec.data.joining import KNOWN, LATE, NEWCOMERS, join_events
from genrec.data.prepared import Prepared, check_pointers
from genrec.data.sequences import Sequences, Split
from genrec.errors import ArtifactError
from tests.data.later_events import (
    EARLIER,
    LATER,
    dated_shop,
    later_shop,
    later_walks,
    make_events,
    make_items,
    read_later,
    rules,
)
from tests.small_shop import small_catalog

RUN = Path("outputs/before")


def two_users() -> Prepared:
    """a took B000 B001 B002 at 1, 2, 3; b took B002 B000 at 5, 6."""
    user_id, offset = np.array(["a", "b"]), np.array([0, 3, 5])
    sequences = Sequences(np.array([0, 1, 2, 2, 0], np.int32), LATER + np.array([1, 2, 3, 5, 6]), offset, user_id)
    ends = {"train": (0, 1), "valid": (0, 2), "test": (1, 4)}
    splits = {name: Split(np.array([user], np.int32), np.array([end])) for name, (user, end) in ends.items()}
    return Prepared(small_catalog(3), sequences, splits, 5)


def rows_by_id(data: Prepared, split: Split) -> list[tuple[str, tuple[str, ...], str]]:
    """(user, whole past, target) of each row, by the shop's ids."""
    items = data.catalog.item_id[data.sequences.item]
    return [
        (str(data.sequences.user_id[user]), tuple(items[data.sequences.offset[user] : end]), str(items[end]))
        for user, end in zip(split.user, split.end, strict=True)
    ]


def test_what_joins_stands_behind_what_was_there():
    later = [("b", "N0", 9), ("c", "B001", 7), ("c", "N0", 8), ("a", "B000", 7), ("c", "N0", 10), ("b", "B001", 11)]
    later += [("a", "B001", 12 + step) for step in range(6)]
    later = [(user, item, LATER + time) for user, item, time in later]
    found = join_events(two_users(), read_later(make_events(*later), make_items("N0")), rules(), RUN)
    data, sequences = found.data, found.data.sequences
    assert sequences.user_id.tolist() == ["a", "b", "c"] and data.catalog.item_id.tolist() == [
        "B000",
        "B001",
        "B002",
        "N0",
    ]
    assert np.split(sequences.item, sequences.offset[1:-1])[1].tolist() == [2, 0, 3, 1]
    assert np.split(sequences.item, sequences.offset[1:-1])[2].tolist() == [1, 3, 3]
    assert data.catalog.title[3] == "Later N0" and found.ledger.kept == len(later) == found.fresh.sum()
    rows = {name: rows_by_id(data, split) for name, split in data.splits.items()}
    assert rows["train"][:2] == [("a", ("B000",), "B001"), ("a", ("B000", "B001"), "B002")]
    assert rows["valid"][0][2] == rows["test"][0][2] == "B001" and len(rows["valid"]) == 1 and len(rows["test"]) == 2
    assert found.updated.learned.tolist() == [True, *[False] * 9] and found.updated.num_learned_items == 3
    assert rows_by_id(data, found.updated.earlier) == [("b", ("B002",), "B000")]


def test_old_rows_keep_past_and_target_and_no_test_row_is_trained_on():
    old, later = later_shop()
    found = join_events(old, later, rules(), RUN)
    data = found.data
    check_pointers(len(data.catalog), data.sequences, data.splits, RUN)
    before = {name: rows_by_id(old, split) for name, split in old.splits.items()}
    after = {name: rows_by_id(data, split) for name, split in data.splits.items()}
    count = len(before["train"]) + len(before["valid"])
    assert after["train"][:count] == before["train"] + before["valid"]
    assert rows_by_id(data, found.updated.earlier) == before["test"]
    held_out = {*data.splits["valid"].end, *data.splits["test"].end, *found.updated.earlier.end}
    assert not held_out & set(data.splits["train"].end.tolist())
    times = [data.sequences.time[data.splits[name].end] for name in ("train", "valid", "test")]
    assert times[0][count:].max() <= times[1].min() and times[1].max() <= times[2].min()
    assert (data.sequences.time[found.fresh] >= LATER).all() and (data.sequences.time[~found.fresh] < LATER).all()


def test_what_does_not_join_is_counted_by_its_reason():
    old = dated_shop()
    known = (str(old.sequences.user_id[0]), str(old.catalog.item_id[old.sequences.item[1]]), EARLIER + 1)
    late = (str(old.sequences.user_id[5]), "B003", EARLIER)
    extra = make_events(known, late, ("once", "B001", LATER), ("v0", "rare", LATER + 1), ("v0", "bare", LATER))
    walks = later_walks(old, LATER)
    events = walks.vstack(extra).vstack(walks[:1])
    shop = read_later(events, make_items("N0", "N1", "rare"), rules(untitled="drop"))
    found = join_events(old, shop, rules(untitled="drop"), RUN)
    lost = {KNOWN: 1, LATE: 1, NEWCOMERS: 2, "repeating a user, item and time": 1, "of items without a record": 1}
    assert found.ledger.dropped == lost and found.ledger.kept == len(walks)


def test_a_second_update_keeps_the_test_rows_of_all_runs_before():
    old, later = later_shop()
    first = join_events(old, later, rules(), RUN).data
    again = read_later(later_walks(first, LATER + 10_000, seed=4))
    second = join_events(first, again, rules(), RUN)
    expected = rows_by_id(old, old.splits["test"]) + rows_by_id(first, first.splits["test"])
    assert rows_by_id(second.data, second.updated.earlier) == expected
    assert second.updated.learned.sum() == len(first.splits["train"])
    assert second.updated.num_learned_items == len(first.catalog)


def test_refusals_say_both_sides_and_the_way_on():
    old = dated_shop()
    with pytest.raises(ArtifactError, match=r"none of the 1 items of events \(X1\).*B000.*another shop's ids"):
        join_events(old, read_later(make_events(("u1", "X1", LATER))), rules(), RUN)
    item = str(old.catalog.item_id[old.sequences.item[0]])
    known = read_later(make_events((str(old.sequences.user_id[0]), item, EARLIER)))
    with pytest.raises(ArtifactError, match="all 1 events of events are in outputs/before already; name a table with"):
        join_events(old, known, rules(), RUN)
    with pytest.raises(ArtifactError, match=r"no event of events can join outputs/before: 1 read, 1 older than their"):
        join_events(old, read_later(make_events(("u5", "B003", EARLIER))), rules(), RUN)
    with pytest.raises(ArtifactError, match=r"2 new events are too few .* \{'train': 1, 'valid': 0, 'test': 1\}"):
        join_events(old, read_later(make_events(("u1", "B001", LATER), ("u1", "B002", LATER + 1))), rules(), RUN)
    ordered = read_later(make_events(*((user, "B001", place) for user in ("u1", "u2") for place in range(3))))
    with pytest.raises(ArtifactError, match="events has order numbers within each user in place of times"):
        join_events(old, ordered, rules(), RUN)
