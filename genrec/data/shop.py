"""What a model directory says of the shop it was trained in, so that it can be used without its run: which items there
are, and how often each was taken in training.

N items
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp

from genrec.artifacts import COMPANIONS, ITEMS, load_arrays, save_arrays
from genrec.data.catalog import Catalog
from genrec.data.prepared import Prepared
from genrec.data.profile import Profile, Purchases, count_purchases, name_traits
from genrec.errors import ArtifactError, first_line

TEXTS = ("item_id", "title", "brand", "categories")
COUNT = "train_events"


@dataclass(frozen=True)
class Shop:
    catalog: Catalog  # without descriptions, which no prompt of evaluation holds
    train_count: np.ndarray  # (N,) events of each item in training
    together: sp.csr_array | None = None  # (N, N) users of both items, where the prompts name companions

    def profile(self, kinds: list[str]) -> Profile | None:
        """What prompts say of users beside their histories (sft.profile); users of training are strangers here."""
        if not kinds:
            return None
        traits = name_traits(self.catalog) if "taste" in kinds else ()
        return Profile(traits, self.purchases() if "companions" in kinds else None)

    def purchases(self) -> Purchases:
        if self.together is None:
            raise ArtifactError(f"the prompts of this model name companions, and {COMPANIONS} is not there")
        return Purchases(sp.csr_array((0, len(self.catalog))), self.together, self.together.diagonal())


def make_shop(data: Prepared, profile: list[str]) -> Shop:
    return Shop(data.catalog, data.train_count, count_purchases(data).together if "companions" in profile else None)


def save_shop(shop: Shop, directory: Path) -> None:
    """items.parquet, and companions.npz where prompts name companions."""
    columns = {name: pl.Series(name, getattr(shop.catalog, name).tolist(), dtype=pl.String) for name in TEXTS}
    packed = io.BytesIO()  # polars reports a full disk as an error of its own kind; a plain write says what it is
    pl.DataFrame({**columns, COUNT: shop.train_count.astype(np.int64)}).write_parquet(packed)
    (directory / ITEMS).write_bytes(packed.getbuffer())
    if shop.together is not None:
        arrays = {name: getattr(shop.together, name) for name in ("data", "indices", "indptr")}
        save_arrays(directory / COMPANIONS, **arrays)


def load_shop(directory: Path) -> Shop:
    """What save_shop wrote, or ArtifactError that names the file."""
    path = directory / ITEMS
    try:
        table = pl.read_parquet(path.read_bytes())
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ArtifactError(f"{path} cannot be read: {first_line(error)}") from None
    kinds = {**dict.fromkeys(TEXTS, pl.String), COUNT: pl.Int64}
    for name, kind in kinds.items():
        if name not in table.columns or table[name].dtype != kind or table[name].null_count():
            there = ", ".join(f"{column} {table[column].dtype}" for column in table.columns)
            raise ArtifactError(f"{path} must have a column '{name}' of {kind} without gaps; it has {there}")
    item_id, title, brand, categories = (table[name].to_numpy().astype(object) for name in TEXTS)
    catalog = Catalog(item_id, title, np.full(len(table), "", dtype=object), brand, categories)
    return Shop(catalog, table[COUNT].to_numpy(), load_companions(directory, len(catalog)))


def load_companions(directory: Path, num_items: int) -> sp.csr_array | None:
    path = directory / COMPANIONS
    if not path.exists():
        return None
    arrays = load_arrays(path, "data", "indices", "indptr")
    data, indices, indptr = (arrays[name] for name in ("data", "indices", "indptr"))
    fit = len(indptr) == num_items + 1 and len(data) == len(indices) == indptr[-1]
    if not fit or indices.min(initial=0) < 0 or indices.max(initial=-1) >= num_items:
        raise ArtifactError(f"{path} is of {len(indptr) - 1} items, {ITEMS} of {num_items}; get both again")
    return sp.csr_array((data, indices, indptr), shape=(num_items, num_items))
