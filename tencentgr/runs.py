"""A prepared run of genrec (`data/prepare.py`: an Amazon category, MovieLens, ...) as data of the competition's form.

Brand, categories and the catalogue's other features are item features, the run's text embeddings are the multimodal
vector "text", its semantic IDs the semantic features. Users have no profile; an event is a click. The splits are the
run's own, so metrics stand beside those of its other models.

N items, T events
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from genrec.data.catalog import Catalog
from genrec.data.prepared import Prepared
from genrec.data.sequences import Split
from genrec.store import RunStore
from tencentgr.conversion import Interactions
from tencentgr.dataset import SequenceRows, TencentGRData
from tencentgr.features import FeatureSchema, FeatureTable
from tencentgr.semantic import level_columns, sizes_of

TEXT = "text"  # the mm id of the run's embeddings
CLICK = 1


def load_run(
    run_dir: Path | str, mm_emb_id: tuple[str, ...] = (TEXT,), semantic: bool = True, prefixes: bool = False
) -> TencentGRData:
    """The data of a run; `mm_emb_id` is ("text",) or (). Semantic IDs are used where the run has made them."""
    store = RunStore(Path(run_dir))
    run = store.prepared()
    items, schema = item_features(run.catalog)
    if TEXT in mm_emb_id:
        store.manifest("embeddings")
        vectors = store.vectors(len(run.catalog))
        items = replace(items, emb={TEXT: np.pad(vectors, ((1, 0), (0, 0)))})
        schema = replace(schema, item_emb={TEXT: items.emb[TEXT].shape[1]})
    if semantic and store.has("sids"):
        columns = semantic_ids(store, prefixes)
        items, schema = replace(items, semantic=columns), replace(schema, semantic=sizes_of(columns))
    return TencentGRData(
        schema=schema,
        items=items,
        users=empty_users(),
        sequences=interactions(run),
        creative_id=np.array(["", *run.catalog.item_id], dtype=np.str_),
        user_id=run.sequences.user_id,
        report={},
        splits={"train": select_training_rows(run)} | {name: as_rows(run.splits[name]) for name in ("valid", "test")},
    )


def item_features(catalog: Catalog) -> tuple[FeatureTable, FeatureSchema]:
    """Brand, categories and further columns, those left out that no item of this catalogue has."""
    brands = number_words([[brand] for brand in catalog.brand])
    categories = number_words([[word.strip() for word in text.split(",")] for text in catalog.categories])
    columns = {"brand": brands[:, 0], **{name: np.append(0, values) for name, values in catalog.features.items()}}
    sparse = {name: values for name, values in columns.items() if values.any()}
    array = {"categories": categories} if categories.any() else {}
    schema = FeatureSchema(
        num_users=0,
        num_items=len(catalog),
        item_sparse={name: int(values.max()) for name, values in sparse.items()},
        item_array={name: int(values.max()) for name, values in array.items()},
    )
    rows = len(catalog) + 1
    table = FeatureTable(
        np.arange(rows, dtype=np.int32),
        np.stack([np.zeros(rows), *sparse.values()], axis=1)[:, 1:].astype(np.int32),  # (N + 1, features), also 0
        categories[:, None][:, : len(array)],  # (N + 1, 1 or 0, longest)
        np.zeros((rows, 0), np.float32),
    )
    return table, schema


def number_words(rows: list[list[str]]) -> np.ndarray:
    """Each item's words -> (N + 1, longest) int32 with a row of padding first; words number from 1, '' is 0."""
    words = {word: number for number, word in enumerate(sorted({word for row in rows for word in row if word}), 1)}
    table = np.zeros((len(rows) + 1, max(len(row) for row in rows)), dtype=np.int32)
    for item, row in enumerate(rows, start=1):
        table[item, : len(row)] = [words.get(word, 0) for word in row]
    return table


def empty_users() -> FeatureTable:
    """The user table of a source without profiles: padding alone."""
    return FeatureTable(
        np.zeros(1, np.int32), np.zeros((1, 0), np.int32), np.zeros((1, 0, 1), np.int32), np.zeros((1, 0), np.float32)
    )


def semantic_ids(store: RunStore, prefixes: bool) -> np.ndarray:
    """(N + 1, C) int32 with a row of padding first."""
    store.manifest("sids")
    return np.pad(level_columns(store.codes().astype(np.int64), prefixes), ((1, 0), (0, 0)))


def interactions(run: Prepared) -> Interactions:
    events = run.sequences
    return Interactions(
        offset=events.offset,
        item=events.item.astype(np.int32) + 1,
        action=np.full(len(events.item), CLICK, dtype=np.int8),
        time=events.time,
        user=np.zeros(len(events), dtype=np.int32),
    )


def select_training_rows(run: Prepared) -> SequenceRows:
    """Each user as far as training may see; every event after the first is a target."""
    events = np.diff(np.append(0, np.cumsum(run.seen))[run.sequences.offset])  # (users,)
    users = np.flatnonzero(events >= 2)
    return SequenceRows(users, run.sequences.offset[users] + events[users])


def as_rows(split: Split) -> SequenceRows:
    return SequenceRows(split.user.astype(np.int64), split.end.astype(np.int64) + 1)
