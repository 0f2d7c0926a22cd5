"""The small shop and tables of what happened later, for tests of updates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from genrec.config import Data
from genrec.data.events import Shop
from genrec.data.frames import read_frames
from genrec.data.prepared import Prepared
from tests.small_shop import small_shop

RULES = {"source": "table", "dataset": "small", "user_k": 2, "item_k": 2}
EARLIER, LATER = 1_500_000_000, 1_600_000_000  # seconds: when the small shop's events begin, and those that join


def dated_shop() -> Prepared:
    """The small shop with times that no one takes for order numbers."""
    shop = small_shop()
    return replace(shop, sequences=replace(shop.sequences, time=shop.sequences.time + EARLIER))


def rules(**knobs) -> Data:
    return Data(**(RULES | knobs))


def make_events(*rows: tuple[str, str, int]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=["user_id", "item_id", "timestamp"], orient="row")


def make_items(*ids: str) -> pl.DataFrame:
    return pl.DataFrame({"item_id": list(ids), "title": [f"Later {name}" for name in ids], "brand": "brand 0"})


def read_later(events: pl.DataFrame, items: pl.DataFrame | None = None, data: Data | None = None) -> Shop:
    return read_frames(events, items, data or rules())[0]


def later_walks(old: Prepared, first: int, steps: int = 6, newcomers: int = 2, seed: int = 3) -> pl.DataFrame:
    """Every known user and some new ones go along the ring, whose end is a new item; `first` second of it."""
    random, known = np.random.default_rng(seed), [str(name) for name in old.catalog.item_id]
    names = [*known, "N0", "N1"]
    users = [*map(str, old.sequences.user_id), *(f"v{number}" for number in range(newcomers))]
    rows = []
    for user in users:
        start = int(random.integers(len(names)))
        rows += [(user, names[(start + step) % len(names)], first + len(rows) + step) for step in range(steps)]
    return make_events(*rows)


def later_shop(old: Prepared | None = None, first: int = LATER) -> tuple[Prepared, Shop]:
    old = old or dated_shop()
    return old, read_later(later_walks(old, first), make_items("N0", "N1"))
