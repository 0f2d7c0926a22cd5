"""The catalogue: what each item is, by item number 0..N-1.

N items
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from genrec.errors import ArtifactError, first_line


@dataclass(frozen=True)
class Catalog:
    """Row = item number. Texts are clean Unicode without markup, tabs or newlines; '' where unknown."""

    item_id: np.ndarray  # (N,) str, the shop's own id
    title: np.ndarray  # (N,) str, never empty
    text: np.ndarray  # (N,) str, the description
    brand: np.ndarray  # (N,) str
    categories: np.ndarray  # (N,) str, from coarse to fine, comma-separated
    features: dict[str, np.ndarray] = field(default_factory=dict)  # {name: (N,) int32, 0 = unknown}

    def __len__(self) -> int:
        return len(self.item_id)


class Labels(NamedTuple):
    """What groups items."""

    brand: np.ndarray  # (N,) str
    categories: np.ndarray  # (N,) str, from coarse to fine, comma-separated


SLICE = 262_144  # items that are read at once: what polars puts into a group of rows
TEXTS = ("item_id", "title", "text", "brand", "categories")


def save_catalog(catalog: Catalog, path: Path) -> None:
    columns = {name: pl.Series(name, getattr(catalog, name).tolist(), dtype=pl.String) for name in TEXTS}
    features = {f"feature_{name}": values.astype(np.int32) for name, values in catalog.features.items()}
    packed = io.BytesIO()  # polars reports a full disk as an error of its own kind; a plain write says what it is
    pl.DataFrame({**columns, **features}).write_parquet(packed)
    path.write_bytes(packed.getbuffer())


def load_catalog(path: Path) -> Catalog:
    with read_errors(path):
        table = pl.read_parquet(path.read_bytes())  # polars would take a name with [ ] * ? for a pattern
    return make_catalog(table, path)


def read_catalog_slices(path: Path, size: int = SLICE) -> Iterator[Catalog]:
    """The same, `size` items after the other, so that nobody holds all texts."""
    with read_errors(path):
        rows = pl.scan_parquet(path, glob=False)
        count = rows.select(pl.len()).collect().item()
    for start in range(0, count, size):
        with read_errors(path):
            table = rows.slice(start, size).collect()
        yield make_catalog(table, path)


def load_labels(path: Path) -> Labels:
    """Of all items only what groups them; equal texts are one in memory."""
    with read_errors(path):
        table = pl.scan_parquet(path, glob=False).select("brand", "categories").collect()
    return Labels(*(share_texts(table[name]) for name in Labels._fields))


def share_texts(texts: pl.Series) -> np.ndarray:
    """(N,) str, of which equal ones are the same object."""
    kinds, number = number_texts(texts)
    return kinds[number]


def number_texts(texts: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """(N,) texts -> the different ones (T,), and which of them each is (N,)."""
    kinds = texts.unique()
    number = texts.replace_strict(kinds, np.arange(len(kinds))).cast(pl.Int64)  # of no text it is of no type
    return kinds.to_numpy().astype(object), number.to_numpy()


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ArtifactError(f"{path} cannot be read: {first_line(error)}") from None


def make_catalog(table: pl.DataFrame, path: Path) -> Catalog:
    if missing := [name for name in TEXTS if name not in table.columns or table[name].dtype != pl.String]:
        raise ArtifactError(f"{path} has no column '{missing[0]}' of texts; it has {', '.join(table.columns)}")
    if empty := [name for name in TEXTS if table[name].null_count()]:
        raise ArtifactError(f"{path}: {table[empty[0]].null_count():,} items have no {empty[0]}, not even an empty one")
    texts = {name: table[name].to_numpy().astype(object) for name in TEXTS}
    features = {
        name.removeprefix("feature_"): table[name].to_numpy() for name in table.columns if name.startswith("feature_")
    }
    return Catalog(**texts, features=features)


def pick_categories(categories: np.ndarray, too_common: float = 0.9) -> np.ndarray:
    """(N,) "a,b,c" -> (N,) the name at the first level where none covers `too_common` of the items; '' where none."""
    paths = [[name.strip() for name in text.split(",")] for text in categories]
    for level in range(max((len(path) for path in paths), default=0)):
        names = np.array([path[level] if level < len(path) else "" for path in paths])
        if np.unique(names, return_counts=True)[1].max() < too_common * len(names):
            return names
    return np.full(len(categories), "")
