"""The entries of the cache: which raw files each is made from, what it holds, and how tables are put together of them.

    catalog                       indexer.pkl, item_feat_dict.json     creative_id, sparse, array
    pickled_<id>                  creative_emb/emb_<id>_<width>.pkl    its creatives and vectors, all of them
    emb_<id>                      + creative_emb/                      vectors
    train | predict               + seq.jsonl | predict_seq.jsonl      interactions, users, items training never saw
    candidates                    + predict_set.jsonl
    <train | ...>_emb_<id>        + creative_emb/                      vectors of items training never saw

N items, R rows of a feature table
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from genrec.data.ledger import Ledger
from genrec.errors import ArtifactError, one_line
from tencentgr import files
from tencentgr.cache import CacheEntry, read_or_build, stamp_files
from tencentgr.conversion import ConvertedSequences, convert_sequences
from tencentgr.features import (
    ITEM_ARRAY,
    ITEM_CONTINUAL,
    ITEM_SPARSE,
    USER_ARRAY,
    USER_CONTINUAL,
    USER_SPARSE,
    FeatureSchema,
    FeatureTable,
    Record,
    encode_table,
    stack_tables,
)
from tencentgr.files import is_name
from tencentgr.semantic import semantic_columns

BASE = (files.INDEXER, files.ITEM_FEATURES)
STORED = ("ids", "sparse", "array", "continual")  # columns of a table in an entry


@dataclass(frozen=True)
class CompetitionSource:
    """Where the files lie and which of the optional ones are read; see `locate_source`."""

    data_dir: Path
    cache_dir: Path
    mm_emb_id: tuple[str, ...]
    semantic: bool
    prefixes: bool
    grains: tuple[Path, ...] = ()  # further files of semantic IDs

    def stamps(self, *names: str | Path) -> dict[str, str]:
        return stamp_files(self.data_dir, [self.data_dir / name for name in names])


def locate_source(
    data_dir: Path | str,
    mm_emb_id: Iterable[str | int] = ("81",),
    cache_dir: Path | str | None = None,
    semantic: bool = True,
    prefixes: bool = False,
    grains: Iterable[Path] = (),
) -> CompetitionSource:
    """`mm_emb_id` are the embeddings to read, e.g. [81, 82]. The cache lies in <data_dir>/cache unless named.

    `semantic` reads semantic_id_dict.json where it is there (`schema.semantic` is empty where it is not); `prefixes`
    makes each prefix of two or more codes a feature of its own. `grains` are further files of the same form, coarser or
    finer, whose codes are features too.
    """
    data_dir = Path(data_dir)
    if not data_dir.is_dir():
        raise ArtifactError(f"there is no data directory {data_dir}; make_sample.py writes one to try things on")
    places = data_dir, Path(cache_dir or data_dir / "cache"), tuple(map(str, mm_emb_id))
    return CompetitionSource(*places, semantic, prefixes, tuple(grains))


def catalog_entry(source: CompetitionSource) -> CacheEntry:
    return read_or_build(source.cache_dir, "catalog", source.stamps(*BASE), partial(build_catalog, source.data_dir))


def build_catalog(data_dir: Path, out: Path) -> dict[str, Any]:
    """The indexer as a schema and names, and the features of all items (a missing one has the defaults, 0)."""
    indexer, features = files.read_indexer(data_dir), files.read_item_features(data_dir)
    schema, tally = schema_of(indexer), Counter()
    records: list[Record] = [{}] + [features.get(str(item), {}) for item in range(1, schema.num_items + 1)]
    tally["items without features"] = sum(not record for record in records[1:])
    table = encode_table(np.arange(len(records), dtype=np.int32), records, schema.item_fields, tally)
    np.save(out / "creative_id.npy", files.names_by_id(indexer["i"]))
    save_table(table, out, "items")
    counts = {reason: count for reason, count in tally.items() if count}
    return {"schema": asdict(schema), "counts": counts, "trail": describe_schema(schema, indexer)}


def describe_schema(schema: FeatureSchema, indexer: dict[str, dict]) -> str:
    used = {*schema.item_sparse, *schema.item_array, *schema.user_sparse, *schema.user_array}
    unused = sorted(set(map(str, indexer["f"])) - used)
    text = f"{files.INDEXER}: {schema.num_items:,} items, {schema.num_users:,} users, {len(used)} fields"
    return text + (f", not used: {' '.join(map(one_line, unused))}" if unused else "")


def schema_of(indexer: dict[str, dict]) -> FeatureSchema:
    sizes = {str(name): len(values) for name, values in indexer["f"].items()}

    def pick(names: tuple[str, ...]) -> dict[str, int]:
        return {name: sizes[name] for name in names if name in sizes}

    return FeatureSchema(
        num_users=len(indexer["u"]),
        num_items=len(indexer["i"]),
        user_sparse=pick(USER_SPARSE),
        user_array=pick(USER_ARRAY),
        user_continual=USER_CONTINUAL,
        item_sparse=pick(ITEM_SPARSE),
        item_array=pick(ITEM_ARRAY),
        item_continual=ITEM_CONTINUAL,
    )


def sequence_entry(source: CompetitionSource, name: str, lines: str, offsets: str, schema: FeatureSchema) -> CacheEntry:
    def build(out: Path) -> dict[str, Any]:
        return save_converted(convert_sequences(source.data_dir / lines, source.data_dir / offsets, schema), out)

    return read_or_build(source.cache_dir, name, source.stamps(files.INDEXER, lines, offsets), build)


def save_converted(converted: ConvertedSequences, out: Path) -> dict[str, Any]:
    for name, values in vars(converted.interactions).items():
        np.save(out / f"{name}.npy", values)
    np.save(out / "user_id.npy", converted.user_id)
    np.save(out / "cold_creative.npy", converted.cold_creative)
    save_table(converted.users, out, "users")
    save_table(converted.cold_items, out, "items")
    return converted.report


def candidate_entry(source: CompetitionSource, schema: FeatureSchema, creatives: np.ndarray) -> CacheEntry:
    """predict_set.jsonl; `creatives` (N + 1,) are the names of the items training knew."""

    def build(out: Path) -> dict[str, Any]:
        return build_candidates(source.data_dir / files.PREDICT_SET, schema, files.rows_by_name(creatives), out)

    return read_or_build(source.cache_dir, "candidates", source.stamps(*BASE, files.PREDICT_SET), build)


def build_candidates(path: Path, schema: FeatureSchema, item_of: dict[str, int], out: Path) -> dict[str, Any]:
    ledger, tally, sound, ids = Ledger(path.name), Counter(), [], set()
    for number, _, line in files.read_lines(path):
        ledger.read += 1
        record = parse_candidate(line)
        if record is None:
            ledger.drop("not a candidate", 1, [number])
        elif record["retrieval_id"] in ids:
            ledger.drop("retrieval_id of an earlier candidate", 1, [number])
        else:
            ids.add(record["retrieval_id"])
            sound.append(record)
    if not sound:
        raise ArtifactError(f"{path} holds no usable candidate: {ledger.trail()}")
    names = [str(record["creative_id"]) for record in sound]
    items = np.array([0] + [item_of.get(name, 0) for name in names], dtype=np.int32)
    tally["items unseen in training"] = int((items[1:] == 0).sum())
    records = [{}] + [record["features"] for record in sound]
    save_table(encode_table(items, records, schema.item_fields, tally), out, "items")
    np.save(out / "creative_id.npy", np.array(["", *names], dtype=np.str_))
    np.save(out / "retrieval_id.npy", np.array([record["retrieval_id"] for record in sound], dtype=np.uint64))
    counts = {reason: count for reason, count in tally.items() if count}
    return {"lines": ledger.as_dict(), "trail": ledger.line(), "counts": counts}


def parse_candidate(line: bytes) -> dict[str, Any] | None:
    """{"creative_id", "retrieval_id", "features"}, or None for a line of another form."""
    try:
        record = json.loads(line)
        sound = type(record["retrieval_id"]) is int and 0 <= record["retrieval_id"] < 2**64
        sound = sound and isinstance(record["features"], dict) and type(record["creative_id"]) in (int, str)
        sound = sound and is_name(record["creative_id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return record if sound else None


def embedding_entry(
    source: CompetitionSource, name: str, mm_id: str, creatives: np.ndarray, made_from: tuple[str, ...]
) -> CacheEntry:
    """vectors (R, width) float32 of creatives (R,), zeros where the files have none."""
    _, width = files.embedding_source(source.data_dir, mm_id)
    pairs = read_vectors(source, mm_id)

    def build(out: Path) -> dict[str, Any]:
        vectors = open_vectors(out, (len(creatives), width))
        filled = files.look_up_embedding(pairs, creatives, vectors)
        vectors.flush()
        return {"missing": int((creatives != "").sum()) - filled}

    return read_or_build(source.cache_dir, name, source.stamps(*made_from, *embedding_names(source, mm_id)), build)


def embedding_names(source: CompetitionSource, mm_id: str) -> list[Path]:
    return [path.relative_to(source.data_dir) for path in files.embedding_files(source.data_dir, mm_id)]


def open_vectors(out: Path, shape: tuple[int, int]) -> np.ndarray:
    return np.lib.format.open_memmap(out / "vectors.npy", mode="w+", dtype=np.float32, shape=shape)


def read_vectors(source: CompetitionSource, mm_id: str) -> Iterator[tuple[str, np.ndarray]]:
    """(creative id, (width,) float32) in the file's order; a pickle is converted once, and its entry is read."""
    path, _ = files.embedding_source(source.data_dir, mm_id)
    if path.suffix != ".pkl":
        return files.read_embedding(source.data_dir, mm_id)
    build = partial(convert_pickled, source.data_dir, mm_id)
    inputs = source.stamps(*embedding_names(source, mm_id))
    return rows_of(read_or_build(source.cache_dir, f"pickled_{mm_id}", inputs, build))


def convert_pickled(data_dir: Path, mm_id: str, out: Path) -> dict[str, Any]:
    _, width = files.embedding_source(data_dir, mm_id)
    pairs = list(files.read_embedding(data_dir, mm_id))
    if not pairs:
        raise ArtifactError(f"{files.embedding_source(data_dir, mm_id)[0]} holds no vectors")
    np.save(out / "creative_id.npy", np.array([creative for creative, _ in pairs], dtype=np.str_))
    vectors = open_vectors(out, (len(pairs), width))
    for row, (_, vector) in enumerate(pairs):
        vectors[row] = vector
    vectors.flush()
    return {"vectors": len(pairs)}


def rows_of(entry: CacheEntry) -> Iterator[tuple[str, np.ndarray]]:
    yield from zip(entry["creative_id"].tolist(), np.asarray(entry["vectors"]), strict=True)


def add_embeddings(
    source: CompetitionSource, table: FeatureTable, creatives: np.ndarray, stem: str, made_from: tuple[str, ...]
) -> tuple[FeatureTable, dict[str, int]]:
    """The table with the vectors of source.mm_emb_id, and how many rows lack each."""
    entries = {
        mm_id: embedding_entry(source, f"{stem}emb_{mm_id}", mm_id, creatives, made_from) for mm_id in source.mm_emb_id
    }
    vectors = {mm_id: entry["vectors"] for mm_id, entry in entries.items()}
    return replace(table, emb=vectors), {mm_id: entry.report["missing"] for mm_id, entry in entries.items()}


def join_item_tables(
    source: CompetitionSource, catalog: CacheEntry, events: CacheEntry, name: str, lines: str
) -> tuple[FeatureTable, dict]:
    """Rows of the indexer's items, then those of items that only this sequence file knows; and the missing vectors."""
    trained, missing = add_embeddings(source, read_table(catalog, "items"), catalog["creative_id"], "", BASE[:1])
    cold = read_table(events, "items")
    if not len(cold):
        return trained, missing
    cold, more = add_embeddings(source, cold, events["cold_creative"], f"{name}_", (files.INDEXER, lines))
    return stack_tables(trained, cold), {mm_id: count + more[mm_id] for mm_id, count in missing.items()}


def read_semantic_features(
    source: CompetitionSource, creatives: np.ndarray
) -> tuple[np.ndarray | None, tuple[int, ...]]:
    """((R, C), sizes) of all files side by side, or (None, ()) where they are off or there is none."""
    own = source.data_dir / files.SEMANTIC
    paths = [*([own] if own.exists() else []), *source.grains] if source.semantic else []
    if not paths:
        return None, ()
    read = [semantic_columns(files.read_semantic(path), creatives, source.prefixes) for path in paths]
    return np.concatenate([columns for columns, _ in read], axis=1), tuple(size for _, sizes in read for size in sizes)


def save_table(table: FeatureTable, out: Path, name: str) -> None:
    """Features as files give them; vectors and semantic IDs are entries of their own."""
    for column in STORED:
        np.save(out / f"{name}_{column}.npy", getattr(table, column))


def read_table(entry: CacheEntry, name: str) -> FeatureTable:
    return FeatureTable(**{column: entry[f"{name}_{column}"] for column in STORED})
