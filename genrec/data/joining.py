"""New events joined to a run's data: its users, items and rows keep their numbers, newcomers stand behind them.

Old events stay in their order and each user's new ones follow; the new targets are cut 8:1:1 by time. Train is what was
train or valid before and the first of these, valid and test are the newest alone.

T events, U users, N items of the run before
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from genrec.config import Data
from genrec.data.catalog import TEXTS, Catalog
from genrec.data.events import Shop
from genrec.data.filters import BELOW_RATING, UNRECORDED, UNTITLED
from genrec.data.ledger import Ledger
from genrec.data.preparation import build_catalog
from genrec.data.prepared import Prepared
from genrec.data.sequences import Sequences, Split
from genrec.data.splits import mark_weighty, rank_by_appearance
from genrec.data.untitled import name_untitled
from genrec.data.updated import Updated
from genrec.errors import ArtifactError

KNOWN = "that the run has already"
LATE = "older than their user's newest one in the run"
NEWCOMERS = "of newcomers with too few events"
TRAIN, VALID = 0.8, 0.9  # of the new targets by time, where train and valid end


@dataclass(frozen=True)
class Joined:
    data: Prepared
    fresh: np.ndarray  # (T,) bool: events that are new
    ledger: Ledger  # what became of the new events

    @property
    def updated(self) -> Updated:
        assert self.data.updated is not None, "joined data know what they were joined to"
        return self.data.updated


@dataclass(frozen=True)
class Fresh:
    """New events by the numbers of the joined data; of newcomers they have gaps until `number_newcomers`."""

    user: np.ndarray  # (T,) int64
    item: np.ndarray
    time: np.ndarray
    weight: np.ndarray | None

    def __len__(self) -> int:
        return len(self.user)

    def take(self, keep: np.ndarray) -> Fresh:
        weight = None if self.weight is None else self.weight[keep]
        return Fresh(self.user[keep], self.item[keep], self.time[keep], weight)


def join_events(old: Prepared, shop: Shop, data: Data, run: Path) -> Joined:
    """The run's data with what a reader brought; `data` are the run's rules for events, `run` is named in errors."""
    refuse_order(old, shop, run)
    shop = name_untitled(shop) if data.untitled == "keep" else shop
    of_user = find_numbers(shop.events.user_id, old.sequences.user_id)
    of_item = find_numbers(shop.events.item_id, old.catalog.item_id)
    refuse_strangers(of_item, old, shop, run)
    of_user, of_item = number_apart(of_user, len(old.sequences)), number_apart(of_item, len(old.catalog))
    fresh = filter_fresh(old, shop, data, of_user, of_item)
    if not len(fresh):
        refuse_nothing_new(shop, run)
    fresh, users, items = number_newcomers(fresh, len(old.sequences), len(old.catalog))
    sequences, place = join_sequences(old.sequences, fresh, shop.events.user_id.gather(users).to_list())
    catalog = join_catalogs(old.catalog, build_catalog(shop.items, shop.events.item_id.gather(items)))
    return join_rows(old, catalog, sequences, place, shop.event_ledger)


def refuse_order(old: Prepared, shop: Shop, run: Path) -> None:
    for name, is_order in ((str(run), old.sequences.is_order), (shop.files["events"], shop.events.is_order)):
        if is_order:
            raise ArtifactError(
                f"{name} has order numbers within each user in place of times, so nothing says what is newer; prepare "
                "a run anew over all events, with times"
            )


def find_numbers(ids: pl.Series, known: np.ndarray) -> np.ndarray:
    """(codes,) the number of each id among `known`, -1 where it is not one of them."""
    table = pl.DataFrame({"id": pl.Series(known.tolist(), dtype=pl.String), "number": np.arange(len(known))})
    asked = pl.DataFrame({"id": ids.cast(pl.String)})
    found = asked.join(table.unique("id", keep="first"), on="id", how="left", maintain_order="left")
    return found["number"].fill_null(-1).to_numpy()


def number_apart(number: np.ndarray, known: int) -> np.ndarray:
    """Newcomers get numbers of their own behind the known ones."""
    return np.where(number < 0, known + np.arange(len(number)), number)


def refuse_strangers(of_item: np.ndarray, old: Prepared, shop: Shop, run: Path) -> None:
    if not (of_item >= 0).any():
        here, there = (", ".join(map(str, ids[:3])) for ids in (shop.events.item_id.to_list(), old.catalog.item_id))
        raise ArtifactError(
            f"none of the {len(of_item):,} items of {shop.files['events']} ({here}) is one of the {len(old.catalog):,} "
            f"of {run} ({there}): these are another shop's ids; name a table with the run's own"
        )


def refuse_nothing_new(shop: Shop, run: Path) -> None:
    ledger = shop.event_ledger
    if ledger.dropped.get(KNOWN) == ledger.read:
        raise ArtifactError(
            f"all {ledger.read:,} events of {shop.files['events']} are in {run} already; name a table with later ones"
        )
    raise ArtifactError(f"no event of {shop.files['events']} can join {run}: {ledger.trail()}")


def filter_fresh(old: Prepared, shop: Shop, data: Data, of_user: np.ndarray, of_item: np.ndarray) -> Fresh:
    """The events that join, by the run's rules; each drop is counted. Known items and users need no record, no core."""
    events, ledger = shop.events, shop.event_ledger
    fresh = Fresh(of_user[events.user], of_item[events.item], events.time, events.weight)
    is_new, code = fresh.item >= len(old.catalog), events.item

    def has_record(items: pl.Series) -> np.ndarray:
        return events.item_id.is_in(items.implode()).to_numpy()[code]

    titled = shop.items.filter(pl.col("title").is_not_null())["item"]
    faults = {UNRECORDED: is_new & ~has_record(shop.items["item"]), UNTITLED: is_new & ~has_record(titled)}
    if data.min_rating > 0:
        faults[f"{BELOW_RATING} {data.min_rating:g} or unrated"] = ~(events.rating >= data.min_rating)
    keep = np.ones(len(events), dtype=bool)
    for reason, bad in faults.items():
        ledger.drop(reason, int((keep & bad).sum()))
        keep &= ~bad
    fresh = fresh.take(keep)
    for reason, find in (
        (KNOWN, lambda fresh: mark_known(fresh, old.sequences)),
        ("repeating a user, item and time", mark_repeats),
        (LATE, lambda fresh: mark_late(fresh, old.sequences)),
        (NEWCOMERS, lambda fresh: mark_outside_core(fresh, old, data)),
    ):
        fresh = drop_marked(fresh, find, reason, ledger)
    ledger.check(len(fresh))
    return fresh


def drop_marked(fresh: Fresh, find: Callable[[Fresh], np.ndarray], reason: str, ledger: Ledger) -> Fresh:
    bad = find(fresh)
    ledger.drop(reason, int(bad.sum()))
    return fresh.take(~bad)


def frame_events(user: np.ndarray, item: np.ndarray, time: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"user": user.astype(np.int64), "item": item.astype(np.int64), "time": time.astype(np.int64)})


def mark_known(fresh: Fresh, old: Sequences) -> np.ndarray:
    """(T,) bool: the run has the same user, item and time."""
    owner = np.repeat(np.arange(len(old)), np.diff(old.offset))
    there = frame_events(owner, old.item, old.time).unique().with_columns(known=True)
    asked = frame_events(fresh.user, fresh.item, fresh.time)
    found = asked.join(there, on=asked.columns, how="left", maintain_order="left")
    return found["known"].fill_null(False).to_numpy()


def mark_repeats(fresh: Fresh) -> np.ndarray:
    """(T,) bool: an earlier line has the same user, item and time."""
    events = frame_events(fresh.user, fresh.item, fresh.time)
    return ~events.select(pl.struct(pl.all()).is_first_distinct()).to_series().to_numpy()


def mark_late(fresh: Fresh, old: Sequences) -> np.ndarray:
    """(T,) bool: before the last event that the run has of this user, whose rows would get another past by it."""
    last = old.time[old.offset[1:] - 1]
    known = fresh.user < len(old)
    return known & (fresh.time < last[np.where(known, fresh.user, 0)])


def mark_outside_core(fresh: Fresh, old: Prepared, data: Data) -> np.ndarray:
    """(T,) bool: of new users with less than data.user_k events, or new items with less than data.item_k, what is left.

    repeat: count events a newcomer over what is left; drop those of newcomers with too few
    """
    left = np.arange(len(fresh))
    while True:
        enough = np.ones(len(left), dtype=bool)
        for number, known, least in (
            (fresh.user, len(old.sequences), data.user_k),
            (fresh.item, len(old.catalog), data.item_k),
        ):
            enough &= (number[left] < known) | (np.bincount(number[left])[number[left]] >= least)
        if enough.all():
            break
        left = left[enough]
    outside = np.ones(len(fresh), dtype=bool)
    outside[left] = False
    return outside


def number_newcomers(fresh: Fresh, num_users: int, num_items: int) -> tuple[Fresh, np.ndarray, np.ndarray]:
    """The events in time order, newcomers numbered as they appear; the codes of new users and of new items."""
    fresh = fresh.take(np.argsort(fresh.time, kind="stable"))
    user, users = number_behind(fresh.user, num_users)
    item, items = number_behind(fresh.item, num_items)
    return replace(fresh, user=user, item=item), users, items


def number_behind(number: np.ndarray, known: int) -> tuple[np.ndarray, np.ndarray]:
    """known + code -> known + 0, 1, ... as they appear; and the codes in that order."""
    new = number >= known
    rank, codes = rank_by_appearance(number[new] - known)
    numbered = number.copy()
    numbered[new] = known + rank
    return numbered, codes


def join_sequences(old: Sequences, fresh: Fresh, new_users: list[str]) -> tuple[Sequences, np.ndarray]:
    """All users end to end, each one's new events behind the old ones; and where every event went, old ones first."""
    owner = np.concatenate([np.repeat(np.arange(len(old)), np.diff(old.offset)), fresh.user])
    order = np.argsort(owner, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    num_users = len(old) + len(new_users)
    offset = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=num_users))]).astype(np.int64)
    item = np.concatenate([old.item, fresh.item]).astype(np.int32)[order]
    time = np.concatenate([old.time, fresh.time])[order]
    user_id = np.concatenate([old.user_id, np.array(new_users, dtype=np.str_)])
    return Sequences(item, time, offset, user_id, join_weights(old, fresh, order)), place


def join_weights(old: Sequences, fresh: Fresh, order: np.ndarray) -> np.ndarray | None:
    """Where only one side weighs its events, those of the other count 1 each."""
    if old.weight is None and fresh.weight is None:
        return None
    sides = [(old.weight, len(old.item)), (fresh.weight, len(fresh))]
    return np.concatenate([np.ones(n, np.float32) if weight is None else weight for weight, n in sides])[order]


def join_catalogs(old: Catalog, new: Catalog) -> Catalog:
    """New items behind the old ones. The words of features are not kept, so of new items they are unknown."""
    texts = {name: np.concatenate([getattr(old, name), getattr(new, name)]) for name in TEXTS}
    return Catalog(**texts, features={name: np.pad(codes, (0, len(new))) for name, codes in old.features.items()})


def join_rows(old: Prepared, catalog: Catalog, sequences: Sequences, place: np.ndarray, ledger: Ledger) -> Joined:
    """Old rows at their new places, new targets by time."""
    num_old = len(old.sequences.item)
    fresh = np.zeros(len(place), dtype=bool)
    fresh[place[num_old:]] = True
    moved = {name: Split(split.user, place[split.end]) for name, split in old.splits.items()}
    new = cut_new_targets(sequences, fresh)
    splits = {"train": join_splits(moved["train"], moved["valid"], new["train"]), "valid": new["valid"]}
    splits["test"] = new["test"]
    learned = np.arange(len(splits["train"])) < len(moved["train"])
    before = [] if old.updated is None else [Split(old.updated.earlier.user, place[old.updated.earlier.end])]
    updated = Updated(learned, len(old.catalog), join_splits(*before, moved["test"]))
    return Joined(Prepared(catalog, sequences, splits, old.max_history, updated), fresh, ledger)


def join_splits(*splits: Split) -> Split:
    return Split(np.concatenate([each.user for each in splits]), np.concatenate([each.end for each in splits]))


def cut_new_targets(sequences: Sequences, fresh: np.ndarray) -> dict[str, Split]:
    """New events that have a past, by time: the first 80% train, then 10% valid, 10% test, by count."""
    owner = np.repeat(np.arange(len(sequences)), np.diff(sequences.offset)).astype(np.int32)
    first = np.zeros(len(fresh), dtype=bool)
    first[sequences.offset[:-1]] = True
    ends = np.flatnonzero(fresh & ~first & mark_weighty(sequences))
    ends = ends[np.argsort(sequences.time[ends], kind="stable")]
    parts = np.split(ends, (int(TRAIN * len(ends)), int(VALID * len(ends))))
    rows = dict(zip(("train", "valid", "test"), map(len, parts), strict=True))
    if not all(rows.values()):
        raise ArtifactError(
            f"{int(fresh.sum()):,} new events are too few to train on some and to measure on the newest, rows would be "
            f"{rows}; update once more have come in"
        )
    return {name: Split(owner[part], part) for name, part in zip(rows, parts, strict=True)}
