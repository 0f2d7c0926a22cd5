"""What to change where the filters leave too few events: causes by what they took, and a change that was tried."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from genrec.config import Data
from genrec.data.events import Events, Shop
from genrec.data.filters import (
    BELOW_RATING,
    OUTSIDE_CORE,
    OUTSIDE_WINDOW,
    UNRECORDED,
    UNTITLED,
    TooFewEvents,
    filter_events,
)
from genrec.data.ledger import Ledger
from genrec.data.splits import build_sequences, split_targets
from genrec.data.ties import draw_tie_order
from genrec.data.untitled import name_untitled

Change = dict[str, Any]  # key of the section data -> its other value


class TriedChange(NamedTuple):
    change: Change
    events: int  # that it leaves

    def describe(self) -> str:
        flags = " ".join(f"--data.{key} {value}" for key, value in self.change.items())
        return f"with {flags} {self.events:,} events are left"


def explain_too_few(error: TooFewEvents, shop: Shop, data: Data, seed: int) -> str:
    """The error with what each filter took, and the change of the largest causes that helps."""
    ledger, way_on = shop.event_ledger, "nothing that a key can change leaves enough"
    if len(shop.events) == 0:
        way_on = "the file holds no usable event; check --data.dataset and --data.raw_dir"
    elif tried := try_changes(shop, data, seed):
        way_on = tried.describe()
    elif ledger.dropped.get(UNRECORDED):
        way_on = f"check that the item records of {shop.files['items']} belong to these events"
    return f"{error}: {ledger.trail()}; {way_on}"


def try_changes(shop: Shop, data: Data, seed: int) -> TriedChange | None:
    """The first change that leaves enough for a split: of the largest cause, then of the next that shows, and so on."""
    causes: list[str] = []
    ledger = shop.event_ledger
    while cause := find_largest_cause(ledger, data, causes):
        causes.append(cause)
        tried, ledger = lift_causes(causes, shop, data, seed)
        if tried.events:
            return tried
    return None


def lift_causes(causes: list[str], shop: Shop, data: Data, seed: int) -> tuple[TriedChange, Ledger]:
    """What lifts these causes together, with the highest core that leaves enough; and what the widest change took.

    A core of k holds that of k + 1, so k is found by halving.
    """

    def try_core(k: int) -> tuple[TriedChange, Ledger]:
        lower = {key: k for key in ("user_k", "item_k") if k and getattr(data, key) > k}
        events, ledger = count_left(shop, data.model_copy(update=change | lower), seed)
        return TriedChange(change | lower, events), ledger

    change = combine(causes, shop.events)
    low, high = (1, max(data.user_k, data.item_k) - 1) if OUTSIDE_CORE in causes else (0, 0)
    best, ledger = try_core(low)
    while best.events and low < high:
        middle = (low + high + 1) // 2
        tried, _ = try_core(middle)
        if tried.events:
            low, best = middle, tried
        else:
            high = middle - 1
    return best, ledger


def find_largest_cause(ledger: Ledger, data: Data, lifted: list[str]) -> str | None:
    """Of the reasons that a key can change, without those lifted already, the one that took most."""
    changeable = [UNTITLED] if data.compat == "none" else []
    changeable += [BELOW_RATING, OUTSIDE_WINDOW, OUTSIDE_CORE]
    took = {cause: sum(rows for why, rows in ledger.dropped.items() if why.startswith(cause)) for cause in changeable}
    causes = [cause for cause in changeable if took[cause] and cause not in lifted]
    return max(causes, key=took.__getitem__, default=None)


def combine(causes: list[str], events: Events) -> Change:
    """What lifts these causes together, the core aside."""
    change: Change = {}
    if UNTITLED in causes:
        change["untitled"] = "keep"
    if BELOW_RATING in causes:
        change["min_rating"] = 0
    if OUTSIDE_WINDOW in causes:
        change |= widen_window(events)
    return change


def widen_window(events: Events) -> Change:
    """The months that hold every event: from the first one's to the one after the last one's."""
    first, last = (datetime.fromtimestamp(int(time), UTC) for time in (events.time.min(), events.time.max()))
    year, month = divmod(last.year * 12 + last.month, 12)  # months from 0, so this is the next one
    return {"st_year": first.year, "st_month": first.month, "ed_year": year, "ed_month": month + 1}


def count_left(shop: Shop, data: Data, seed: int) -> tuple[int, Ledger]:
    """Events that the filters leave under this configuration, 0 where too few for its split; and what they took."""
    ledger = Ledger(shop.event_ledger.name, read=len(shop.events))
    fresh = replace(shop, event_ledger=ledger)
    fresh = name_untitled(fresh) if data.untitled == "keep" else fresh
    try:
        kept = filter_events(fresh, data).events
        sequences, _, tie_order = build_sequences(kept, draw_tie_order(data.ties, len(kept), seed))
        split_targets(sequences, data.split, tie_order)
    except TooFewEvents:
        return 0, ledger
    return len(kept), ledger
