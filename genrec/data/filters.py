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


class WindowCut(NamedTuple):
    """What the window took of the events that came to it."""

    months: tuple[str, str]  # first and last month start, '' where open; compat may have widened it
    outside: int
    events: int  # inside and outside
    span: str  # of those events


class FilteredEvents(NamedTuple):
    events: Events
    rounds: list[dict[str, int]]
    window: WindowCut | None  # None where all times count


class TooFewEvents(ArtifactError):
    """The filters leave nothing, or too little for a split; what to change is for `genrec.data.changes` to find."""


UNRECORDED = "of items without a record"
UNTITLED = "of items without a usable title"
BELOW_RATING = "rated below"
OUTSIDE_WINDOW = "outside the window"
REPEATED = "repeating a user, item and time"
OUTSIDE_CORE = "outside the k-core"


def filter_events(shop: Shop, data: Data) -> FilteredEvents:
    """Every filter in its order; nothing left is an error that says what each filter took."""
    published = data.compat == "minionerec"
    events, ledger = shop.events, shop.event_ledger
    events = drop_events(events, mark_among(events, shop.items["item"]), UNRECORDED, ledger)
    titled = shop.items.filter(pl.col("title").is_not_null())["item"]
    events = drop_events(events, mark_among(events, titled), UNTITLED, ledger)
    if data.min_rating > 0:
        events = drop_events(events, events.rating >= data.min_rating, name_unrated(data), ledger)
    if published and data.st_year is not None and len(events):
        data = data.model_copy(update={"st_year": find_published_start(events, data)})
    events, window = cut_window(events, data, ledger)
    if not published:
        events = drop_events(events, mark_first(events.user, events.item, events.time, events.weight), REPEATED, ledger)
    core = k_core(events.user, events.item, data.user_k, data.user_k if published else data.item_k)
    events = drop_events(events, core.keep, OUTSIDE_CORE, ledger)
    ledger.check(len(events))
    if len(events) == 0:
        raise TooFewEvents("no events are left")
    return FilteredEvents(events, core.rounds, window)


def drop_events(events: Events, keep: np.ndarray, reason: str, ledger: Ledger) -> Events:
    ledger.drop(reason, int((~keep).sum()))
    return events if keep.all() else events.take(keep)


def cut_window(events: Events, data: Data, ledger: Ledger) -> tuple[Events, WindowCut | None]:
    """The events inside the window, and what it took; without one all of them."""
    months = name_window(data)
    if len(events) == 0 or months == ("", ""):
        return events, None
    inside = mark_inside(events.time, data)
    span = describe_span(int(events.time.min()), int(events.time.max()))
    cut = WindowCut(months, int((~inside).sum()), len(events), span)
    return drop_events(events, inside, name_outside(months), ledger), cut


def name_unrated(data: Data) -> str:
    return f"{BELOW_RATING} {data.min_rating:g} or unrated"


def name_outside(months: tuple[str, str]) -> str:
    return f"{OUTSIDE_WINDOW} {'..'.join(months)}"


def name_window(data: Data) -> tuple[str, str]:
    """The first and the last month, '' where the window is open."""
    return name_month(data.st_year, data.st_month), name_month(data.ed_year, data.ed_month)


def mark_among(events: Events, items: pl.Series) -> np.ndarray:
    """(T,) bool: the event's item is one of these."""
    return events.item_id.is_in(items.implode()).to_numpy()[events.item]


def month_start(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp())


def name_month(year: int | None, month: int | None) -> str:
    """'2018-10'; '' where that end is open."""
    return "" if year is None else f"{year}-{month:02d}"


def mark_inside(time: np.ndarray, data: Data) -> np.ndarray:
    """(T,) bool: from the first second of the start month to that of the end month, both inclusive, UTC."""
    inside = np.ones(len(time), dtype=bool)
    if data.st_year is not None and data.st_month is not None:
        inside &= time >= month_start(data.st_year, data.st_month)
    if data.ed_year is not None and data.ed_month is not None:
        inside &= time <= month_start(data.ed_year, data.ed_month)
    return inside


def describe_span(first: int, last: int) -> str:
    """'2013-10-01 to 2018-09-30': what events from one second to another cover."""
    return " to ".join(f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d}" for time in (first, last))


def mark_first(user: np.ndarray, item: np.ndarray, time: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """(T,) bool: no earlier row has the same user, item and time; of several weights the heaviest is first."""
    columns = (time, user.astype(np.int64) * (int(item.max(initial=0)) + 1) + item)
    first_heavy = () if weight is None else (-weight,)
    order = np.lexsort((*first_heavy, *columns))  # stable: of equal rows the earliest comes first
    repeats = np.logical_and.reduce([np.diff(column[order]) == 0 for column in columns])  # (T - 1,)
    first = np.ones(len(time), dtype=bool)
    first[order[1:][repeats]] = False
    return first


def find_published_start(events: Events, data: Data) -> int:
    """The start year that the published rule comes to: a year earlier while fewer than 3,000 items remain."""
    assert data.st_year is not None, "a window that is open at its start cannot begin earlier"
    year = data.st_year
    while year > PUBLISHED_FIRST_YEAR:
        inside = events.take(mark_inside(events.time, data.model_copy(update={"st_year": year})))
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
