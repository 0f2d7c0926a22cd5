"""The catalogue that `genrec sids --add / --retire` left: old items first, new ones behind them.

N old items, M new items
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from genrec.artifacts import ALLOWED, ITEM_JSON, SID_INDEX
from genrec.data.catalog import TEXTS, Catalog
from genrec.data.item_json import read_item_json
from genrec.data.prepared import Prepared
from genrec.errors import ArtifactError
from genrec.sids import SidIndex, load_index


@dataclass(frozen=True)
class GrownCatalog:
    index: SidIndex  # (N + M) rows
    catalog: Catalog  # of N + M items; the number stands in for the shop's id, which nobody gave
    allowed: np.ndarray  # (N + M,) bool, False for retired items


def load_grown(directory: Path, dataset: str, trained: SidIndex) -> GrownCatalog:
    """What lies in sids_grown/, or an error where its old items are not those of `trained`, (N) rows."""
    index = load_index(directory / SID_INDEX)
    if not np.array_equal(index.codes[: len(trained)], trained.codes):
        raise ArtifactError(f"{directory} did not grow from the semantic IDs in use; remove it and grow it again")
    catalog = read_item_json(directory / ITEM_JSON.format(dataset=dataset))
    return GrownCatalog(index, catalog, np.load(directory / ALLOWED, allow_pickle=False))


def join_new_items(data: Prepared, new: Catalog) -> Prepared:
    """Prepared data over a grown catalogue `new`, (N + M) items: no event knows a new item."""
    old = data.catalog
    texts = {name: np.concatenate([getattr(old, name), getattr(new, name)[len(old) :]]) for name in TEXTS}
    features = {name: np.pad(values, (0, len(new) - len(old))) for name, values in old.features.items()}
    return replace(data, catalog=Catalog(**texts, features=features))
