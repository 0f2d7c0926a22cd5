"""The catalogue that `rq/generate_indices.py --add / --retire` left: old items first, new ones behind them.

N old items, M new items
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from genrec.artifacts import ALLOWED, ITEM_JSON, SID_INDEX, ArtifactError
from genrec.config import Config
from genrec.data.catalog import TEXTS, Catalog
from genrec.data.item_json import read_item_json
from genrec.data.prepared import Prepared
from genrec.sids import SidIndex, load_index
from genrec.stage import stage_dir


@dataclass(frozen=True)
class GrownCatalog:
    index: SidIndex  # (N + M) rows
    catalog: Catalog  # of N + M items; the number stands in for the shop's id, which nobody gave
    allowed: np.ndarray  # (N + M,) bool, False for retired items


def grown_dir(config: Config) -> Path:
    return stage_dir(config, "sids").with_name("sids_grown")


def load_grown(config: Config, trained: SidIndex) -> GrownCatalog:
    """What lies in sids_grown/, or an error where its old items are not those of `trained`, (N) rows."""
    directory = grown_dir(config)
    if not directory.exists():
        raise ArtifactError(
            f"{directory} is not there yet; run first: python rq/generate_indices.py --add new.item.json"
        )
    index = load_index(directory / SID_INDEX)
    if not np.array_equal(index.codes[: len(trained)], trained.codes):
        raise ArtifactError(f"{directory} did not grow from the semantic IDs in use; remove it and grow it again")
    catalog = read_item_json(directory / ITEM_JSON.format(dataset=config.data.dataset))
    return GrownCatalog(index, catalog, np.load(directory / ALLOWED, allow_pickle=False))


def with_new_items(config: Config, data: Prepared) -> Prepared:
    """The run's data over the grown catalogue: no event knows a new item."""
    trained = load_index(stage_dir(config, "sids") / SID_INDEX)
    new = load_grown(config, trained).catalog
    old = data.catalog
    texts = {name: np.concatenate([getattr(old, name), getattr(new, name)[len(old) :]]) for name in TEXTS}
    features = {name: np.pad(values, (0, len(new) - len(old))) for name, values in old.features.items()}
    return replace(data, catalog=Catalog(**texts, features=features))
