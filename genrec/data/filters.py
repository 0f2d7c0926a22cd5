"""Which events stay: known items with a readable title, rating, window, no repeats, k-core. Each drop is counted.

T events
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import polars as pl

from genrec.config import Data
from genrec.data.events import Events, Shop
from genrec.data.ledger import Ledger
from genrec.errors import ArtifactError

PUBLISHED_ITEMS = 3000  # compat: a window with fewer items starts a year earlier
PUBLISHED_FIRST_YEAR = 1996


class KCore(NamedTuple):
    """A k-core and how it was reached."""

    keep: np.ndarray  # (T,) bool
    rounds: list[dict[str, int]]  # users, items and events that stood before each round's removals


class FilteredEvents(NamedTuple):
    events: Events
    rounds: list[dict[str, int]]
    window: tuple[str, str]  # first and last month start; compat may have widened it


def filter_events(shop: Shop, data: Data) -> FilteredEvents:
    """Every filter in its order; nothing left is an error that says what each filter took, and what to change."""
    published = data.compat == "minionerec"
    events, ledger = shop.events, shop.event_ledger
    require_events(events, ledger, "the file holds no usable event; check --data.dataset and --data.raw_dir")
    events = drop_events(events, mark_among(events, shop.items["item"]), "of items without a record", ledger)
    titled = shop.items.filter(pl.col("title").is_not_null())["item"]
    events = drop_events(events, mark_among(events, titled), "of items without a usable title", ledger)
    require_events(events, ledger, "check that the item records belong to these events")
    if data.min_rating > 0:
        events = drop_events(
            events, events.rating >= data.min_rating, f"rated below {data.min_rating:g} or unrated", ledger
        )
        require_events(events, ledger, "lower --data.min_rating")
    year = find_published_start(events, data) if published else data.st_year
    months = (f"{year}-{data.st_month:02d}", f"{data.ed_year}-{data.ed_month:02d}")
    span = describe_span(events)
    events = drop_events(
        events, mark_inside(events, data, year), f"outside the window {months[0]}..{months[1]}", ledger
    )
    require_events(events, ledger, f"they run from {span}; move --data.st_year, --data.ed_year")
    if not published:
        events = drop_events(events, mark_first(events), "repeating a user, item and time", ledger)
    core = k_core(events.user, events.item, data.user_k, data.user_k if published else data.item_k)
    events = drop_events(events, core.keep, "outside the k-core", ledger)
    require_events(events, ledger, "lower --data.user_k or --data.item_k, or widen the window")
    ledger.check(len(events))
    return FilteredEvents(events, core.rounds, months)


def drop_events(events: Events, keep: np.ndarray, reason: str, ledger: Ledger) -> Events:
    ledger.drop(reason, int((~keep).sum()))
    return events if keep.all() else events.take(keep)


def require_events(events: Events, ledger: Ledger, way_on: str) -> None:
    if len(events) == 0:
        raise ArtifactError(f"no events are left: {ledger.trail()}; {way_on}")


def mark_among(events: Events, items: pl.Series) -> np.ndarray:
    """(T,) bool: the event's item is one of these."""
    return events.item_id.is_in(items.implode()).to_numpy()[events.item]


def month_start(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp())


def mark_inside(events: Events, data: Data, start_year: int) -> np.ndarray:
    """(T,) bool: from the first second of the start month to that of the end month, both inclusive, UTC."""
    start, end = month_start(start_year, data.st_month), month_start(data.ed_year, data.ed_month)
    return (events.time >= start) & (events.time <= end)


def describe_span(events: Events) -> str:
    """'2013-10-01 to 2018-09-30': what the events cover."""
    first, last = (datetime.fromtimestamp(int(t), UTC) for t in (events.time.min(), events.time.max()))
    return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"


def mark_first(events: Events) -> np.ndarray:
    """(T,) bool: no earlier row has the same user, item and time."""
    columns = (events.time, events.user.astype(np.int64) * len(events.item_id) + events.item)
    order = np.lexsort(columns)  # stable: of equal rows the earliest comes first
    repeats = np.logical_and.reduce([np.diff(column[order]) == 0 for column in columns])  # (T - 1,)
    first = np.ones(len(events), dtype=bool)
    first[order[1:][repeats]] = False
    return first


def find_published_start(events: Events, data: Data) -> int:
    """The start year that the published rule comes to: a year earlier while fewer than 3,000 items remain."""
    year = data.st_year
    while year > PUBLISHED_FIRST_YEAR:
        inside = events.take(mark_inside(events, data, year))
        core = k_core(inside.user, inside.item, data.user_k, data.user_k)
        if len(np.unique(inside.item[core.keep])) >= PUBLISHED_ITEMS:
            break
        year -= 1
    return year


def k_core(user: np.ndarray, item: np.ndarray, user_k: int, item_k: int) -> KCore:
    """The largest set of events where each user has user_k and each item item_k of them.

    repeat: count events a user and an item over what is left; drop events of a user or item with too few
    """
    left, rounds = np.arange(len(user)), []
    while True:
        users, items = user[left], item[left]
        per_user, per_item = np.bincount(users), np.bincount(items)
        rounds.append({"users": int((per_user > 0).sum()), "items": int((per_item > 0).sum()), "events": len(left)})
        enough = (per_user >= user_k)[users] & (per_item >= item_k)[items]
        if enough.all():
            break
        left = left[enough]
    keep = np.zeros(len(user), dtype=bool)
    keep[left] = True
    return KCore(keep, rounds)
