"""What a reader hands on: raw events as numbers in file order, and the item records beside them.

T events
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from genrec.data.ledger import Ledger


@dataclass(frozen=True)
class Events:
    """One row an event, in file order; users and items are codes into their id tables."""

    user: np.ndarray  # (T,) int32
    item: np.ndarray  # (T,) int32
    time: np.ndarray  # (T,) int64, seconds UTC
    rating: np.ndarray  # (T,) float32, nan where unknown
    user_id: pl.Series  # code -> the shop's own id
    item_id: pl.Series
    weight: np.ndarray | None = None  # (T,) float32, how much each counts as a target; None: alike
    is_order: bool = False  # times are places within the user, which no two users can be compared by

    def __len__(self) -> int:
        return len(self.user)

    def take(self, keep: np.ndarray) -> Events:
        """The events where `keep` (T,) bool, or at these positions; the id tables stay."""
        names = ("user", "item", "time", "rating", *([] if self.weight is None else ["weight"]))
        return replace(self, **{name: getattr(self, name)[keep] for name in names})


@dataclass(frozen=True)
class Shop:
    """A source as read; `items`: one row an item with item, title (null: none usable), text, brand, categories, and
    further columns of texts, which become features.
    """

    events: Events
    items: pl.DataFrame
    event_ledger: Ledger
    item_ledger: Ledger
    files: dict[str, str]  # role -> file name, for the report
    notes: tuple[str, ...] = ()  # what else the screen should say of how it was read


def encode_events(users: pl.Series, items: pl.Series, time: pl.Series, rating: pl.Series) -> Events:
    """Strings -> codes; the ids of users and items are numbered apart."""
    user, user_id = encode_ids(users)
    item, item_id = encode_ids(items)
    seconds = time.cast(pl.Int64).to_numpy()
    return Events(user, item, seconds, rating.cast(pl.Float32).fill_null(np.nan).to_numpy(), user_id, item_id)


def encode_ids(ids: pl.Series) -> tuple[np.ndarray, pl.Series]:
    """(T,) str -> (T,) int32 codes, code -> id. Each call has its own numbering, so codes are dense."""
    categorical = ids.cast(pl.Categorical(pl.Categories.random()))
    distinct = categorical.unique()
    names = distinct.cast(pl.String).gather(distinct.to_physical().arg_sort())
    return categorical.to_physical().cast(pl.Int32).to_numpy(), names
