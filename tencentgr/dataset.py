"""Data of the competition's form as arrays, and the sequences that a model is trained and asked on.

load_data        seq.jsonl and what lies beside it, by way of a cache (tencentgr.cache)
load_queries     predict_seq.jsonl in the same form
load_candidates  predict_set.jsonl
split_rows       train and valid, by users
SequenceDataset  rows of token numbers; features are looked up in the tables, on the device, by the model

S sequences (a user each), T interactions, n rows of a data set, L = max_history + 1 tokens
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from tencentgr import files
from tencentgr.conversion import Interactions
from tencentgr.entries import (
    BASE,
    CompetitionSource,
    add_embeddings,
    candidate_entry,
    catalog_entry,
    join_item_tables,
    read_semantic_features,
    read_table,
    sequence_entry,
)
from tencentgr.features import ITEM, PAD, USER, FeatureSchema, FeatureTable, restrict


@dataclass(frozen=True)
class SequenceRows:
    """Pointers: row r stands for the interactions of sequence[r] before the interaction stop[r]."""

    sequence: np.ndarray  # (n,) int64
    stop: np.ndarray  # (n,) int64, between offset[s] and offset[s + 1]

    def __len__(self) -> int:
        return len(self.sequence)


@dataclass(frozen=True)
class TencentGRData:
    schema: FeatureSchema
    items: FeatureTable  # row = item re-id; then items training never saw
    users: FeatureTable  # row = user re-id; then users training never saw
    sequences: Interactions
    creative_id: np.ndarray  # (rows of items,) str, '' at 0
    user_id: np.ndarray  # (S,) str
    report: dict[str, Any]  # what was dropped or defaulted, by file; see report_lines
    splits: dict[str, SequenceRows] | None = None  # where the source has its own train, valid and test

    @cached_property
    def counts(self) -> np.ndarray:
        """(num_items + 1,) interactions of each item that training may see."""
        return self.popularity(self.splits["train"] if self.splits else all_rows(self))

    def popularity(self, rows: SequenceRows) -> np.ndarray:
        """(num_items + 1,) interactions of each item in these rows, each interaction once; 0 at 0."""
        seen = np.zeros(len(self.sequences.item) + 1, dtype=np.int64)
        np.add.at(seen, self.sequences.offset[rows.sequence], 1)
        np.add.at(seen, rows.stop, -1)
        item = self.sequences.item[np.cumsum(seen[:-1]) > 0]
        return np.bincount(item[item <= self.schema.num_items], minlength=self.schema.num_items + 1)

    def within(self, schema: FeatureSchema) -> TencentGRData:
        """The same data for a model of another schema: what that does not know becomes 0."""
        items = restrict(self.items, self.schema, schema, "item")
        users = restrict(self.users, self.schema, schema, "user")
        return replace(self, schema=schema, items=items, users=users)


@dataclass(frozen=True)
class Candidates:
    """Items to choose from; row 0 of the table is padding, candidate c stands at row c + 1."""

    table: FeatureTable
    creative_id: np.ndarray  # (candidates,) str
    retrieval_id: np.ndarray  # (candidates,) uint64
    report: dict[str, Any]


def load_data(source: CompetitionSource) -> TencentGRData:
    """The training data: seq.jsonl, seq_offsets.pkl, indexer.pkl, item_feat_dict.json, creative_emb/."""
    return load_sequences(source, "train", files.SEQ, files.SEQ_OFFSETS)


def load_queries(source: CompetitionSource) -> TencentGRData:
    """predict_seq.jsonl in the same form: items and users training never saw have rows with features and id 0.

    A user may come without interactions; `SequenceDataset(..., query=True)` then shows the profile alone.
    """
    return load_sequences(source, "predict", files.PREDICT_SEQ, files.PREDICT_SEQ_OFFSETS)


def load_candidates(source: CompetitionSource) -> tuple[Candidates, FeatureSchema]:
    """predict_set.jsonl, and the schema of its table (for `features.restrict`)."""
    catalog = catalog_entry(source)
    schema = FeatureSchema.from_dict(catalog.report["schema"])
    entry = candidate_entry(source, schema, catalog["creative_id"])
    creatives, made_from = entry["creative_id"], (*BASE, files.PREDICT_SET)
    table, missing = add_embeddings(source, read_table(entry, "items"), creatives, "candidates_", made_from)
    table, schema = add_semantic(source, table, creatives, schema)
    report = {files.PREDICT_SET: entry.report, files.EMBEDDINGS: missing}
    return Candidates(table, creatives[1:], entry["retrieval_id"], report), schema


def load_sequences(source: CompetitionSource, name: str, lines: str, offsets: str) -> TencentGRData:
    catalog = catalog_entry(source)
    schema = FeatureSchema.from_dict(catalog.report["schema"])
    events = sequence_entry(source, name, lines, offsets, schema)
    creatives = np.concatenate([catalog["creative_id"], events["cold_creative"]])
    items, missing = join_item_tables(source, catalog, events, name, lines)
    items, schema = add_semantic(source, items, creatives, schema)
    report = {"catalog": catalog.report, lines: events.report, files.EMBEDDINGS: missing}
    columns = (np.asarray(events[key]) for key in ("offset", "item", "action", "time", "user"))
    users = read_table(events, "users")
    return TencentGRData(schema, items, users, Interactions(*columns), creatives, events["user_id"], report)


def add_semantic(
    source: CompetitionSource, table: FeatureTable, creatives: np.ndarray, schema: FeatureSchema
) -> tuple[FeatureTable, FeatureSchema]:
    """Table and schema with what only the whole table can tell: vectors' widths, semantic IDs."""
    semantic, sizes = read_semantic_features(source, creatives)
    widths = {mm_id: vectors.shape[1] for mm_id, vectors in table.emb.items()}
    return replace(table, semantic=semantic), replace(schema, item_emb=widths, semantic=sizes)


def all_items(data: TencentGRData) -> Candidates:
    """Every item training knew, as candidates; the retrieval id is the re-id."""
    num_rows = data.schema.num_items + 1
    ids = np.arange(1, num_rows, dtype=np.uint64)
    return Candidates(data.items.head(num_rows), data.creative_id[1:num_rows], ids, {})


def report_lines(report: dict[str, Any]) -> list[str]:
    """What was dropped or defaulted, a line a file."""
    lines = []
    for name, entry in report.items():
        if name == files.EMBEDDINGS:
            lines += [f"embedding {mm_id}: {count:,} items have none (0)" for mm_id, count in entry.items() if count]
            continue
        counts = ", ".join(f"{count:,} {reason}" for reason, count in entry["counts"].items())
        lines.append(f"{entry['trail']}{'; ' if counts else ''}{counts}")
    return lines


def all_rows(data: TencentGRData) -> SequenceRows:
    return SequenceRows(np.arange(len(data.sequences)), data.sequences.offset[1:])


def split_users(num_users: int, seed: int, valid_share: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """(train, valid) numbers 0..num_users - 1, each in order, drawn by the seed."""
    order = np.random.default_rng(seed).permutation(num_users)
    cut = round(num_users * valid_share)
    return np.sort(order[cut:]), np.sort(order[:cut])


def split_rows(data: TencentGRData, seed: int, valid_share: float = 0.1) -> dict[str, SequenceRows]:
    """{"train", "valid", ...}: the source's own splits, else users drawn by the seed.

    A row ends with its target. Users with nothing to predict from, or nothing to predict, are left out.
    """
    if data.splits:
        return data.splits
    pairs = zip(("train", "valid"), split_users(len(data.sequences), seed, valid_share), strict=True)
    return {name: with_target(data, SequenceRows(users, data.sequences.offset[users + 1])) for name, users in pairs}


def with_target(data: TencentGRData, rows: SequenceRows) -> SequenceRows:
    """The rows that have an interaction after a first token (a profile, or another interaction)."""
    interactions = rows.stop - data.sequences.offset[rows.sequence]
    enough = interactions + (data.sequences.user[rows.sequence] > 0) >= 2
    kept = enough & (interactions >= 1)
    return SequenceRows(rows.sequence[kept], rows.stop[kept])


def windows(data: TencentGRData, rows: SequenceRows, max_history: int) -> SequenceRows:
    """The rows, and before a row that cannot show its whole user further ones: each interaction is a target once."""
    begin, length = data.sequences.offset[rows.sequence], max_history + 1
    targets = rows.stop - begin - (data.sequences.user[rows.sequence] == 0)  # without a profile the first is none
    count = np.maximum(1, -(-targets // length))
    back = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)  # 0, 1, ... from the latest row
    return SequenceRows(np.repeat(rows.sequence, count), np.repeat(rows.stop, count) - back * length)


class SequenceDataset(Dataset):
    """Token numbers of rows, left-padded to L = max_history + 1, in the competition's convention.

    A user's profile is the first token, then come the latest interactions, as many as fit. A row is a dict of (L,):

        seq               row of the item table, or of the user table where token_type is USER
        token_type        ITEM, USER or PAD (0)
        action_type       action of the token + 1, 0 where it has none
        pos               the next item, a row of the item table; 0 where there is none that training knows
        next_token_type   ITEM where pos > 0, else 0
        next_action_type  action of the next item, 0 where it has none
        hour, weekday     1..24 and 1 (Monday) .. 7 in UTC, 0 where there is no time (with time_features)
        gap               log(1 + seconds since the interaction before) float32 (with time_features)
        sequence          one number, not (L,): which sequence of the data the row is of

    A row's last interaction is its last target, so `pos[-1]` is the leave-one-out target of its user; with `query` it
    is a token like the others, and `pos[-1]` is 0. `__getitems__`, which DataLoader calls, builds a batch at once.
    """

    def __init__(
        self,
        data: TencentGRData,
        rows: SequenceRows,
        max_history: int = 101,
        time_features: bool = False,
        query: bool = False,
    ):
        self.sequences, self.num_items = data.sequences, data.schema.num_items
        self.rows, self.length, self.time_features, self.query = rows, max_history + 1, time_features, query

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return {name: values[0] for name, values in self.__getitems__([row]).items()}

    def __getitems__(self, rows: list[int]) -> dict[str, np.ndarray]:
        """n rows at once -> {name: (n, L)}, and sequence (n,)."""
        events, sequence, stop = self.sequences, self.rows.sequence[rows], self.rows.stop[rows]
        begin, end = events.offset[sequence], stop if self.query else stop - 1  # tokens are begin..end
        profile = events.user[sequence]  # (n,)
        first = np.maximum(begin, end - (self.length - (profile > 0)))  # the profile's place is kept
        event = (end - self.length)[:, None] + np.arange(self.length)  # (n, L) the interaction at each place
        is_item = event >= first[:, None]
        is_profile = (event == first[:, None] - 1) & (profile > 0)[:, None]
        tokens = self.tokens(event, is_item, is_profile, profile)
        return tokens | self.targets(event, is_item | is_profile, stop) | {"sequence": np.asarray(sequence, np.int64)}

    def tokens(
        self, event: np.ndarray, is_item: np.ndarray, is_profile: np.ndarray, profile: np.ndarray
    ) -> dict[str, np.ndarray]:
        events, where = self.sequences, np.where(is_item, event, 0)
        columns = {
            "seq": np.where(is_item, gather(events.item, where), np.where(is_profile, profile[:, None], 0)),
            "token_type": np.where(is_item, ITEM, np.where(is_profile, USER, PAD)),
            "action_type": np.where(is_item, gather(events.action, where) + 1, 0),
        }
        return columns | (self.times(where, is_item) if self.time_features else {})

    def targets(self, event: np.ndarray, is_token: np.ndarray, stop: np.ndarray) -> dict[str, np.ndarray]:
        events, after = self.sequences, event + 1
        inside = is_token & (after < stop[:, None])
        where = np.where(inside, after, 0)
        item = gather(events.item, where)
        wanted = inside & (item <= self.num_items)
        return {
            "pos": np.where(wanted, item, 0),
            "next_token_type": np.where(wanted, ITEM, PAD),
            "next_action_type": np.where(wanted, np.maximum(gather(events.action, where), 0), 0),
        }

    def times(self, where: np.ndarray, is_item: np.ndarray) -> dict[str, np.ndarray]:
        time = gather(self.sequences.time, where)
        before = np.where(is_item[:, :-1], time[:, :-1], time[:, 1:])  # itself, where none is shown before it
        gap = np.log1p(np.maximum(time[:, 1:] - before, 0), dtype=np.float64)
        gap = np.pad(gap, ((0, 0), (1, 0)))
        return {
            "hour": np.where(is_item, time // 3600 % 24 + 1, 0),
            "weekday": np.where(is_item, (time // 86400 + 3) % 7 + 1, 0),  # 1970-01-01 was a Thursday
            "gap": np.where(is_item, gap, 0).astype(np.float32),
        }


def cut_batches(rows: np.ndarray, size: int, least: int = 1) -> list[list[int]]:
    """Rows in their order in batches of `size`; what is left at the end joins the batch before where it is below
    `least`."""
    begins = list(range(0, len(rows), size))
    if len(begins) > 1 and len(rows) - begins[-1] < least:
        begins.pop()
    return [rows[begin:end].tolist() for begin, end in zip(begins, [*begins[1:], len(rows)], strict=True)]


def gather(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """values[where] as int64; an empty table has no rows to take and nothing to show."""
    return values[where].astype(np.int64) if len(values) else np.zeros(where.shape, dtype=np.int64)


def collate(rows: dict[str, np.ndarray] | list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """A batch as `__getitems__` makes it, or a list of rows, -> {name: (B, L) tensor}."""
    if isinstance(rows, list):
        rows = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return {name: torch.from_numpy(values) for name, values in rows.items()}
