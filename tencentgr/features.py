"""What is known of items and users, as tables that are looked up by row.

N items, U users, R rows of a table, A longest list, L semantic-id levels

A row is an item (or user) and row 0 is padding, all zeros. `ids` says which embedding row a table row owns: in the
training table row r is item r; an item or user that training never saw has features and the id 0.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from genrec.errors import ArtifactError

# The competition's fields. One that its indexer does not know is left out; numbers (continual) stand in no indexer.
# A change here changes what conversion writes: raise cache.VERSION.
USER_SPARSE = ("103", "104", "105", "109")
USER_ARRAY = ("106", "107", "108", "110")
USER_CONTINUAL: tuple[str, ...] = ()
ITEM_SPARSE = ("100", "117", "111", "118", "101", "102", "119", "120", "114", "112", "121", "115", "122", "116")
ITEM_ARRAY: tuple[str, ...] = ()
ITEM_CONTINUAL: tuple[str, ...] = ()

PAD, ITEM, USER = 0, 1, 2  # what a token is: nothing, a row of the item table, a row of the user table

Record = dict[str, Any]  # features of one item or user as a file gives them: {feature id: value or list of values}


@dataclass(frozen=True)
class FeatureFields:
    """What records of one side, items or users, are read for."""

    sparse: dict[str, int]  # {feature id: size of its vocabulary}
    array: dict[str, int]
    continual: tuple[str, ...]


@dataclass(frozen=True)
class FeatureSchema:
    """Every embedding table a model needs, by feature id; values run 1..size, 0 is padding or unknown."""

    num_users: int
    num_items: int
    user_sparse: dict[str, int] = field(default_factory=dict)
    user_array: dict[str, int] = field(default_factory=dict)
    item_sparse: dict[str, int] = field(default_factory=dict)
    item_array: dict[str, int] = field(default_factory=dict)
    user_continual: tuple[str, ...] = ()
    item_continual: tuple[str, ...] = ()
    item_emb: dict[str, int] = field(default_factory=dict)  # {mm id: width}
    semantic: tuple[int, ...] = ()  # codes of each semantic-id feature; code c is stored as c + 1

    @property
    def user_fields(self) -> FeatureFields:
        return FeatureFields(self.user_sparse, self.user_array, self.user_continual)

    @property
    def item_fields(self) -> FeatureFields:
        return FeatureFields(self.item_sparse, self.item_array, self.item_continual)

    @staticmethod
    def from_dict(fields: dict[str, Any]) -> FeatureSchema:
        """Back from `dataclasses.asdict`, also by way of JSON."""
        return FeatureSchema(**{name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()})


@dataclass(frozen=True)
class FeatureTable:
    """Columns stand in the order of the schema."""

    ids: np.ndarray  # (R,) int32, row of the id embedding; 0 for what training never saw
    sparse: np.ndarray  # (R, sparse) int32
    array: np.ndarray  # (R, arrays, A) int32, lists padded with 0 at the end
    continual: np.ndarray  # (R, continual) float32
    emb: dict[str, np.ndarray] = field(default_factory=dict)  # {mm id: (R, width) float32}, 0 where missing
    semantic: np.ndarray | None = None  # (R, L) int32, 0 where missing

    def __len__(self) -> int:
        return len(self.ids)

    def head(self, rows: int) -> FeatureTable:
        """The first rows."""
        return FeatureTable(
            self.ids[:rows],
            self.sparse[:rows],
            self.array[:rows],
            self.continual[:rows],
            {mm_id: vectors[:rows] for mm_id, vectors in self.emb.items()},
            None if self.semantic is None else self.semantic[:rows],
        )


def encode_table(ids: np.ndarray, records: list[Record], fields: FeatureFields, tally: Counter) -> FeatureTable:
    """Records as files give them -> a table without vectors and semantic IDs; what was defaulted is counted."""
    return FeatureTable(
        ids,
        encode_sparse(records, fields.sparse, tally),
        encode_array(records, fields.array, tally),
        encode_continual(records, fields.continual, tally),
    )


def encode_sparse(records: list[Record], vocabulary: dict[str, int], tally: Counter) -> np.ndarray:
    """Records -> (R, features) int32; unseen values (strings, numbers beyond the vocabulary) become 0, counted."""
    table = np.zeros((len(records), len(vocabulary)), dtype=np.int32)
    for column, (name, size) in enumerate(vocabulary.items()):
        table[:, column] = [keep_in_vocabulary(record.get(name, 0), size, tally) for record in records]
    return table


def encode_array(records: list[Record], vocabulary: dict[str, int], tally: Counter) -> np.ndarray:
    """Records -> (R, features, A) int32, A the longest list, at least 1."""
    lists = [[as_list(record.get(name)) for name in vocabulary] for record in records]
    longest = max((len(values) for row in lists for values in row), default=0)
    table = np.zeros((len(records), len(vocabulary), max(1, longest)), dtype=np.int32)
    sizes = list(vocabulary.values())
    for row, columns in enumerate(lists):
        for column, values in enumerate(columns):
            table[row, column, : len(values)] = [keep_in_vocabulary(value, sizes[column], tally) for value in values]
    return table


def encode_continual(records: list[Record], names: tuple[str, ...], tally: Counter) -> np.ndarray:
    """Records -> (R, features) float32; what is no finite number becomes 0, counted."""
    table = np.zeros((len(records), len(names)), dtype=np.float32)
    for column, name in enumerate(names):
        table[:, column] = [as_number(record.get(name, 0), tally) for record in records]
    return table


def as_number(value: Any, tally: Counter) -> float:
    if type(value) in (int, float) and math.isfinite(value):
        return value
    tally["feature values that are no number (0)"] += 1
    return 0.0


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def keep_in_vocabulary(value: Any, size: int, tally: Counter) -> int:
    """The value if the vocabulary 1..size (or the default 0) has it, else 0."""
    if type(value) is int and 0 <= value <= size:
        return value
    tally["feature values unseen in training (0)"] += 1
    return 0


def stack_tables(first: FeatureTable, second: FeatureTable) -> FeatureTable:
    """The rows of one table after those of another."""
    if not len(second):
        return first
    longest = max(first.array.shape[2], second.array.shape[2])
    return FeatureTable(
        np.concatenate([first.ids, second.ids]),
        np.concatenate([first.sparse, second.sparse]),
        np.concatenate([widen(first.array, longest), widen(second.array, longest)]),
        np.concatenate([first.continual, second.continual]),
        {name: np.concatenate([values, second.emb[name]]) for name, values in first.emb.items()},
        None if first.semantic is None else np.concatenate([first.semantic, second.semantic]),
    )


def widen(array: np.ndarray, longest: int) -> np.ndarray:
    return np.pad(array, ((0, 0), (0, 0), (0, longest - array.shape[2])))


def restrict(table: FeatureTable, have: FeatureSchema, want: FeatureSchema, side: str) -> FeatureTable:
    """The table for a model that was made for the schema `want`: values it has no row for become 0 (unknown).

    The features themselves must be the same; `side` is "item" or "user".
    """
    kinds = [f"{side}_sparse", f"{side}_array", f"{side}_continual"] + (["item_emb"] if side == "item" else [])
    for kind in kinds:
        here, there = getattr(have, kind), getattr(want, kind)
        if list(here) != list(there) or (kind == "item_emb" and here != there):
            raise ArtifactError(f"{kind} of the data is {here}, the model was trained with {there}; use its data")
    ids = np.where(table.ids <= getattr(want, f"num_{side}s"), table.ids, 0)
    sparse = limit(table.sparse, list(getattr(want, f"{side}_sparse").values()))
    array = limit(table.array, [[size] for size in getattr(want, f"{side}_array").values()])
    semantic = table.semantic
    if side == "item" and len(have.semantic) != len(want.semantic):
        raise ArtifactError(
            f"the model was trained with {len(want.semantic)} semantic-id features, the data has {len(have.semantic)}; "
            "put its semantic_id_dict.json into the data directory, with the same options"
        )
    if side == "item" and semantic is not None:
        semantic = limit(semantic, list(want.semantic))
    return FeatureTable(ids, sparse, array, table.continual, table.emb, semantic)


def limit(values: np.ndarray, sizes: list[Any]) -> np.ndarray:
    """Values above the size of their column become 0."""
    bounds = np.array(sizes, dtype=np.int64).reshape(np.shape(sizes) or (0,))
    return np.where(values <= bounds, values, 0) if len(sizes) else values
