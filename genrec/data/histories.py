"""What users had, as a shop says it: lists of ids or a frame of events -> item numbers.

E histories, T items of all of them

A string is an id, always; a number in a list is refused, because the ids of some shops are numbers too. In a frame a
column of whole numbers holds ids.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from genrec.data.sequences import Examples, Past, Sequences, Split
from genrec.data.table_times import read_times
from genrec.errors import ConfigError

COLUMNS = {  # what a frame of events must or may have -> its names
    "user": ("user", "user_id"),
    "item": ("item", "item_id"),
    "time": ("time", "timestamp", "position"),
}
SHOWN = 3  # unknown ids that an error names


@dataclass(frozen=True)
class Histories:
    """Users one after another, each one's items oldest first."""

    name: np.ndarray  # (E,) str
    item: np.ndarray  # (T,) int32
    offset: np.ndarray  # (E + 1,) history e holds item[offset[e]:offset[e + 1]]
    user: np.ndarray  # (E,) int32, number of a user of the run, -1 for others

    def __len__(self) -> int:
        return len(self.name)

    def take(self, start: int, stop: int) -> Histories:
        begin, end = self.offset[start], self.offset[stop]
        rows = slice(start, stop)
        return Histories(self.name[rows], self.item[begin:end], self.offset[start : stop + 1] - begin, self.user[rows])

    def select(self, rows: np.ndarray) -> Histories:
        length = np.diff(self.offset)[rows]
        inside = ranges(self.offset[rows], length)
        return Histories(self.name[rows], self.item[inside], count_offsets(length), self.user[rows])

    def examples(self, max_history: int | None, excluded: Past | None) -> Examples:
        """The question "what next?" of each, by its latest items."""
        length = np.diff(self.offset)
        width = min(int(length.max(initial=1)), max_history or int(length.max(initial=1)))
        where = self.offset[1:, None] + np.arange(-width, 0)  # (E, H)
        inside = where >= self.offset[:-1, None]
        item = self.item if len(self.item) else np.zeros(1, dtype=np.int32)
        history = np.where(inside, item[np.maximum(where, 0)], -1).astype(np.int32)
        target = np.full(len(self), -1, dtype=np.int32)  # nobody knows it
        return Examples(self.user, history, target, excluded=excluded)


def exclude(rows: list[np.ndarray]) -> Past:
    """Items that each row's list may not hold, in the form that all families take."""
    length = np.array([len(items) for items in rows], dtype=np.int64)
    offset = count_offsets(length)
    item = np.concatenate([*rows, np.zeros(1, dtype=np.int32)]).astype(np.int32)  # one more, for the last end
    user = np.arange(len(rows), dtype=np.int32)
    return Past(
        Sequences(item, np.zeros(len(item), dtype=np.int64), offset, user.astype(np.str_)), Split(user, offset[1:])
    )


def count_offsets(length: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(length)]).astype(np.int64)


def ranges(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """The numbers start..start + length of each row, one row after another."""
    offset = count_offsets(length)
    return np.repeat(start - offset[:-1], length) + np.arange(offset[-1])


@dataclass(frozen=True)
class Ids:
    """The ids of a kind (items, users) and the numbers they stand for."""

    kind: str  # "item"
    table: pl.DataFrame  # id, number
    place: str  # where they are from, for messages

    def __len__(self) -> int:
        return len(self.table)

    def find(self, ids: pl.Series) -> np.ndarray:
        """(T,) numbers; -1 for an id that is not among them."""
        asked = pl.DataFrame({"id": ids})
        found = asked.join(self.table, on="id", how="left", maintain_order="left")["number"]
        return found.fill_null(-1).to_numpy()

    def require(self, ids: pl.Series) -> np.ndarray:
        """The same, ConfigError where one is unknown."""
        numbers = self.find(ids)
        if (numbers < 0).any():
            raise ConfigError(self.describe_unknown(ids.filter(pl.Series(numbers < 0)).unique(maintain_order=True)))
        return numbers

    def describe_unknown(self, ids: pl.Series) -> str:
        shown = ", ".join(map(repr, ids.head(SHOWN).to_list()))
        more = f" and {len(ids) - SHOWN:,} more" if len(ids) > SHOWN else ""
        known = self.table["id"].to_list()
        near = difflib.get_close_matches(ids[0], known, n=1)
        example = f"; its ids are such as {known[0]!r}" if known else ""
        which = f"; nearest to {ids[0]!r}: {near[0]!r}" if near else example
        return f"no {self.kind} {shown}{more} among the {len(self):,} {self.kind}s of {self.place}{which}"


def make_ids(kind: str, ids: np.ndarray, place: str) -> Ids:
    """Ids by number; of an id that stands twice the first."""
    texts = pl.Series("id", ids.tolist(), dtype=pl.String)
    table = pl.DataFrame({"id": texts, "number": np.arange(len(ids), dtype=np.int32)})
    return Ids(kind, table.unique("id", keep="first", maintain_order=True), place)


def read_ids(ids: Iterable[Any], what: str) -> pl.Series:
    """A flat list of ids as they are; numbers are refused."""
    words = list(ids)
    for word in words:
        if not isinstance(word, str):
            way_on = f"write {str(word)!r}, or pass row numbers by name: numbers=[[...]]"
            raise ConfigError(f"{what}: an id is a string, found {word!r} ({type(word).__name__}); {way_on}")
    return pl.Series("id", words, dtype=pl.String)


def read_lists(histories: Sequence[Any], items: Ids, users: Iterable[str] | None, skip: bool) -> Histories:
    """Lists of item ids, one a user; `users` are their names, in order."""
    lists = [read_ids(check_list(row, place), f"history {place}") for place, row in enumerate(histories)]
    names = [str(place) for place in range(len(lists))] if users is None else read_ids(users, "users").to_list()
    if len(names) != len(lists):
        raise ConfigError(f"{len(lists)} histories and {len(names)} users; there must be a name for each history")
    ids = pl.concat([pl.Series("id", [], dtype=pl.String), *lists])
    length = np.array([len(row) for row in lists], dtype=np.int64)
    return number_items(np.array(names, dtype=object), ids, length, items, skip)


def check_list(row: Any, place: int) -> Iterable[Any]:
    if isinstance(row, str) or not isinstance(row, Iterable):
        raise ConfigError(f"history {place} must be a list of item ids, found {row!r:.60}")
    return row


def number_items(name: np.ndarray, ids: pl.Series, length: np.ndarray, items: Ids, skip: bool) -> Histories:
    """Ids of all histories, `length` (E,) of each -> Histories; with `skip` unknown ids are left out."""
    number = items.find(ids) if skip else items.require(ids)
    owner = np.repeat(np.arange(len(length)), length)
    kept = number >= 0
    length = np.bincount(owner[kept], minlength=len(length))
    strangers = np.full(len(name), -1, dtype=np.int32)
    return Histories(name, number[kept].astype(np.int32), count_offsets(length), strangers)


def read_numbers(rows: Sequence[Any], num_items: int, users: Iterable[str] | None) -> Histories:
    """Lists of row numbers of the catalogue, one a user."""
    lists = [np.asarray(row, dtype=object) for row in rows]
    for place, row in enumerate(lists):
        for number in row:
            if isinstance(number, bool) or not isinstance(number, int | np.integer) or not 0 <= number < num_items:
                raise ConfigError(f"numbers, row {place}: an item is a number 0..{num_items - 1}, found {number!r:.40}")
    names = [str(place) for place in range(len(lists))] if users is None else read_ids(users, "users").to_list()
    if len(names) != len(lists):
        raise ConfigError(f"{len(lists)} histories and {len(names)} users; there must be a name for each history")
    item = np.concatenate([np.zeros(0, dtype=object), *lists]).astype(np.int32)
    length = np.array([len(row) for row in lists], dtype=np.int64)
    return Histories(np.array(names, dtype=object), item, count_offsets(length), np.full(len(lists), -1, np.int32))


def read_frame(frame: pl.DataFrame, items: Ids, skip: bool) -> Histories:
    """Events with user, item and perhaps time; users in the order they first stand in, their items oldest first."""
    user, item = (find_column(frame, kind) for kind in ("user", "item"))
    time = next((name for name in COLUMNS["time"] if name in frame.columns), None)
    events = pl.DataFrame({"user": read_column(frame, user), "item": read_column(frame, item)})
    if time is not None:
        if frame[time].null_count():
            raise ConfigError(
                f"the column '{time}' has {frame[time].null_count():,} empty places; fill or leave it out"
            )
        events = events.with_columns(order_times(frame[time]).alias("time")).sort("time", maintain_order=True)
    first = read_column(frame, user).unique(maintain_order=True)
    order = pl.DataFrame({"user": first, "place": np.arange(len(first))})
    events = events.join(order, on="user", how="left", maintain_order="left").sort("place", maintain_order=True)
    length = np.bincount(events["place"].to_numpy(), minlength=len(first))
    return number_items(first.to_numpy().astype(object), events["item"], length, items, skip)


def order_times(values: pl.Series) -> pl.Series:
    """A column of times -> numbers or times to sort events by; texts are read as those of `data.events`."""
    if values.dtype != pl.String:
        return values
    numbers = values.cast(pl.Float64, strict=False)
    if not numbers.null_count():
        return numbers
    times = read_times(values, f"the column '{values.name}'", 0)
    order = times.seconds if times.fine is None else times.fine
    if bad := values.filter(order.is_null()).to_list():
        raise ConfigError(f"the column '{values.name}' has {len(bad):,} values that are no time, as {bad[0]!r}")
    return order


def find_column(frame: pl.DataFrame, kind: str) -> str:
    name = next((name for name in COLUMNS[kind] if name in frame.columns), None)
    if name is None:
        near = difflib.get_close_matches(kind, frame.columns, n=1)
        nearest = f"; the nearest is '{near[0]}'" if near else ""
        raise ConfigError(
            f"events need a column '{kind}' (or '{COLUMNS[kind][1]}'); there are {', '.join(frame.columns) or 'none'}"
            f"{nearest}; rename it, and of a pandas frame with an index call reset_index()"
        )
    return name


def read_column(frame: pl.DataFrame, name: str) -> pl.Series:
    """A column of ids as strings."""
    column = frame[name]
    if column.null_count():
        raise ConfigError(f"the column '{name}' has {column.null_count():,} empty places; every event needs one")
    if not (
        column.dtype in (pl.String, pl.Categorical) or column.dtype.is_integer() or isinstance(column.dtype, pl.Enum)
    ):
        raise ConfigError(f"the column '{name}' must hold ids, strings or whole numbers; it holds {column.dtype}")
    return column.cast(pl.String)
