"""All events of a group of users: joined from the parts, filtered, and laid where they belong among all events.

An event's place is (ticks,) its row among the rows of all files: what has file order on one machine has this one. A
group is a directory of columns (T,) in that order, a directory further for what is left of them.

T events of the group, U users of the group, N items of all
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from genrec.config import Data
from genrec.data.events import encode_ids
from genrec.data.filters import mark_first, mark_inside
from genrec.data.repeats import mark_repeats
from genrec.data.sequences import Sequences
from genrec.data.shards.files import has_column, join_column, map_column, read_group, write_columns, write_texts
from genrec.data.shards.parsing import PART
from genrec.data.splits import rank_by_appearance
from genrec.data.ties import DAY, mark_tied_with_previous

USERS = "users.arrow"
CODES = "codes"  # item code of a part -> item code of all
STATE = "state"  # of an item of all
UNKNOWN, NAMELESS, KNOWN = 0, 1, 2  # states: without a record, without a usable title, with one


class PartOfAll(NamedTuple):
    """A part, and where it stands among all."""

    place: Path
    before: int  # rows of the parts before it
    has_ticks: bool


def join_group(
    group: int, parts: list[PartOfAll], items: Path, min_rating: float, ticks: int, place: Path
) -> dict[str, Any]:
    """Rows of known items, rated well enough. `ticks` make a second, where seconds do not order all; else 0."""
    batches = read_group([part.place / PART for part in parts], group)
    columns = {"time": join_column(batches, "time"), "row": number_rows(parts, batches)}
    if ticks:
        columns["ticks"] = join_ticks(parts, batches, ticks)
    if "weight" in batches[0].schema.names:
        columns["weight"] = join_column(batches, "weight")
    codes = [map_column(part.place, CODES) for part in parts]
    columns["item"] = np.concatenate(
        [code[batch.column("item").to_numpy()] for code, batch in zip(codes, batches, strict=True)]
    )
    columns["user"], names = encode_ids(pl.concat([pl.Series(pl.from_arrow(b.column("user"))) for b in batches]))
    state = map_column(items, STATE)[columns["item"]]
    rated = join_column(batches, "rating") >= min_rating if min_rating > 0 else np.ones(len(state), dtype=bool)
    kept = np.flatnonzero((state == KNOWN) & rated)
    if ticks:
        kept = kept[np.argsort(columns["ticks"][kept], kind="stable")]
    write_columns(place, **{name: values[kept] for name, values in columns.items()})
    write_texts(place / USERS, names)
    known = state == KNOWN
    return {
        "unknown": int((state == UNKNOWN).sum()),
        "nameless": int((state == NAMELESS).sum()),
        "unrated": int((known & ~rated).sum()),
        "events": len(kept),
    }


def number_rows(parts: list[PartOfAll], batches: list[Any]) -> np.ndarray:
    return np.concatenate(
        [part.before + batch.column("row").to_numpy() for part, batch in zip(parts, batches, strict=True)]
    )


def join_ticks(parts: list[PartOfAll], batches: list[Any], ticks: int) -> np.ndarray:
    """A part whose times are whole seconds has no column of its own."""
    return np.concatenate(
        [
            batch.column("ticks").to_numpy() if part.has_ticks else batch.column("time").to_numpy() * ticks
            for part, batch in zip(parts, batches, strict=True)
        ]
    )


# The window, repeated events and the k-core


def cut_group(rows: Path, data: Data, drop_repeats: bool, place: Path) -> dict[str, Any]:
    """Writes which rows are left, and what each item has of them."""
    time = map_column(rows, "time")
    left = np.flatnonzero(mark_inside(time, data))
    said = {"events": len(time), "outside": len(time) - len(left)}
    said |= {"first": int(time.min()), "last": int(time.max())} if len(time) else {}
    inside = len(left)
    if drop_repeats:
        weight = map_column(rows, "weight")[left] if has_column(rows, "weight") else None
        user, item = map_column(rows, "user")[left], map_column(rows, "item")[left]
        left = left[mark_first(user, item, time[left], weight)]
    write_columns(place, left=left, **count_items(map_column(rows, "item")[left]))
    return said | {"repeated": inside - len(left), **count_left(rows, left)}


def shrink_group(rows: Path, before: Path, enough: Path, user_k: int, place: Path) -> dict[str, Any]:
    """A round of the k-core: what stays of users and items with enough events. Writes what each item lost."""
    left, fit_items = map_column(before, "left"), map_column(enough, "enough")
    user, item = map_column(rows, "user")[left], map_column(rows, "item")[left]
    stays = (np.bincount(user) >= user_k)[user] & fit_items[item]
    write_columns(place, left=left[stays], **count_items(item[~stays]))
    return count_left(rows, left[stays])


def count_left(rows: Path, left: np.ndarray) -> dict[str, int]:
    return {"left": len(left), "users": int((np.bincount(map_column(rows, "user")[left]) > 0).sum())}


def count_items(item: np.ndarray) -> dict[str, np.ndarray]:
    """Items that occur, and how often."""
    items, counts = np.unique(item, return_counts=True)
    return {"items": items, "counts": counts}


# The order of all


def list_users(rows: Path, left: Path, place: Path) -> dict[str, Any]:
    """Writes the users that are left by their first event: codes, that event's place, and how many events they have."""
    kept = map_column(left, "left")
    user = map_column(rows, "user")[kept]
    rank, codes = rank_by_appearance(user)
    first = kept[np.unique(rank, return_index=True)[1]]  # (U,)
    columns = {name: map_column(rows, name)[first] for name in ("row", "ticks") if has_column(rows, name)}
    write_columns(place, code=codes, events=np.bincount(rank, minlength=len(codes)), rank=rank, **columns)
    return {"users": len(codes)}


def lay_group(rows: Path, left: Path, users: Path, place: Path) -> dict[str, Any]:
    """Each user's events by time, at their indices among all events. Writes the first index of each item too.

    `users` holds what list_users() wrote and two columns more: "begin" (U,), where each user's events begin among all;
    and "tie" (T,), what decides between events of one time, where that is not the file.
    """
    kept, rank = map_column(left, "left"), map_column(users, "rank")
    begin = map_column(users, "begin")
    time = map_column(rows, "time")[kept]
    tie = map_column(users, "tie") if has_column(users, "tie") else np.zeros(len(time), dtype=np.int64)
    order = np.lexsort((tie, time, rank))
    item = map_column(rows, "item")[kept][order]
    offset = np.concatenate([[0], np.cumsum(map_column(users, "events"))])
    index = np.repeat(begin - offset[:-1], np.diff(offset)) + np.arange(len(order))
    weights = {"weight": map_column(rows, "weight")[kept][order]} if has_column(rows, "weight") else {}
    ties = {"tie": tie[order]} if has_column(users, "tie") else {}
    first, items = find_first(item, index)
    write_columns(
        place, item=item, time=time[order], offset=offset, index=index, first=first, items=items, **weights, **ties
    )
    return describe_times(Sequences(item, time[order], offset, np.zeros(len(offset) - 1, dtype=np.str_)))


def find_first(item: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(first index of each item, the items), of rows in any order."""
    order = np.lexsort((index, item))
    items, where = np.unique(item[order], return_index=True)
    return index[order][where], items


def describe_times(sequences: Sequences) -> dict[str, Any]:
    """What the report says of ties between a user's successive events."""
    return {
        "followed": len(sequences.item) - len(sequences),
        "tied": int(mark_tied_with_previous(sequences).sum()),
        "whole_days": bool((sequences.time % DAY == 0).all()),
    }


def read_laid(place: Path) -> Sequences:
    """A group's events; users have no names here."""
    offset = map_column(place, "offset")
    weight = map_column(place, "weight") if has_column(place, "weight") else None
    names = np.zeros(len(offset) - 1, dtype=np.str_)
    return Sequences(map_column(place, "item"), map_column(place, "time"), offset, names, weight)


def mark_targets(sequences: Sequences) -> tuple[np.ndarray, np.ndarray]:
    """Of each event (T,): whether it is the item before it, and whether its user had it at any time before."""
    last = np.zeros(len(sequences.item), dtype=bool)
    last[1:] = sequences.item[1:] == sequences.item[:-1]
    last[sequences.offset[:-1]] = False
    return last, mark_repeats(sequences)
