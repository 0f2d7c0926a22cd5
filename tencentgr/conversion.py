"""A sequence file -> flat arrays: every user's interactions end to end, profiles and unseen items beside them.

A line that cannot be used is dropped and counted by its reason and number; a record within a good line likewise.

T interactions, S lines (a user each), R rows of a feature table
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genrec.data.ledger import Ledger
from genrec.errors import ArtifactError
from tencentgr.features import FeatureSchema, FeatureTable, Record, encode_table
from tencentgr.files import is_name, read_lines, read_offsets

NO_ACTION = -1
CLICK = 1  # the last action that has a meaning


@dataclass(frozen=True)
class Interactions:
    """All lines of a sequence file end to end, a line's interactions in time order."""

    offset: np.ndarray  # (S + 1,) int64, line s owns interactions offset[s]:offset[s + 1]
    item: np.ndarray  # (T,) int32, row of the item table
    action: np.ndarray  # (T,) int8: 0 exposure, 1 click, NO_ACTION unknown
    time: np.ndarray  # (T,) int64, seconds
    user: np.ndarray  # (S,) int32, row of the user table; 0 for a user without a profile record

    def __len__(self) -> int:
        return len(self.user)


@dataclass(frozen=True)
class ConvertedSequences:
    """What one sequence file holds; rows beyond the schema's items and users are those training never saw."""

    interactions: Interactions
    user_id: np.ndarray  # (S,) str, as the file names the user: re-id or raw name
    users: FeatureTable  # rows of known users 0..U, then of unseen ones
    cold_items: FeatureTable  # rows of unseen items only
    cold_creative: np.ndarray  # (cold items,) str
    report: dict[str, Any]


@dataclass
class ParsedLines:
    """Columns that grow line by line; those of interactions are packed, 17 bytes each."""

    ledger: Ledger
    tally: Counter = field(default_factory=Counter)
    length: list[int] = field(default_factory=list)  # interactions a line
    item: array = field(default_factory=lambda: array("q"))
    action: array = field(default_factory=lambda: array("b"))
    time: array = field(default_factory=lambda: array("q"))
    user: list[int | str] = field(default_factory=list)
    profile: list[Record | None] = field(default_factory=list)
    unseen: dict[int, Record] = field(default_factory=dict)  # features of items beyond the indexer, by creative id


def convert_sequences(path: Path, offsets: Path, schema: FeatureSchema) -> ConvertedSequences:
    """seq.jsonl or predict_seq.jsonl."""
    parsed, begins = parse(path, schema.num_items)
    check_offsets(offsets, begins, path)
    if not parsed.length:
        raise ArtifactError(f"{path} holds no usable line: {parsed.ledger.trail()}")
    parsed.ledger.check(len(parsed.length))
    item, cold = number_items(parsed, schema.num_items)
    offset = np.concatenate([[0], np.cumsum(parsed.length)]).astype(np.int64)
    user, users = number_users(parsed, schema)
    arrays = {"item": item, "action": np.array(parsed.action, np.int8), "time": np.array(parsed.time, np.int64)}
    interactions = sort_by_time(Interactions(offset, **arrays, user=user), parsed.tally)
    records = [parsed.unseen[creative] for creative in cold]
    nobody = np.zeros(len(cold), dtype=np.int32)
    cold_items = encode_table(nobody, records, schema.item_fields, parsed.tally)
    names = np.array([str(name) for name in parsed.user], dtype=np.str_)
    cold_creative = np.array([str(creative) for creative in cold], dtype=np.str_)
    parsed.tally["items unseen in training"] = len(cold)
    parsed.tally["lines without interactions"] = parsed.length.count(0)
    return ConvertedSequences(interactions, names, users, cold_items, cold_creative, report_of(parsed))


def report_of(parsed: ParsedLines) -> dict[str, Any]:
    counts = {reason: count for reason, count in sorted(parsed.tally.items()) if count}
    return {"lines": parsed.ledger.as_dict(), "trail": parsed.ledger.line(), "counts": counts}


def parse(path: Path, num_items: int) -> tuple[ParsedLines, np.ndarray]:
    """Every line of a file, and the bytes where lines begin."""
    parsed, begins = ParsedLines(Ledger(path.name)), []
    if not path.exists():
        raise ArtifactError(f"{path} is missing")
    for number, begin, line in read_lines(path):
        begins.append(begin)
        parsed.ledger.read += 1
        if reason := parse_line(line, parsed, num_items):
            parsed.ledger.drop(reason, 1, [number])
    return parsed, np.array(begins, dtype=np.int64)


def parse_line(line: bytes, parsed: ParsedLines, num_items: int) -> str:
    """Add one user to `parsed`, or say why not."""
    try:
        records = json.loads(line)
    except (ValueError, RecursionError):
        return "not valid JSON"
    if not isinstance(records, list):
        return "not a list of records"
    sound = [record for record in records if is_record(record)]
    parsed.tally["records of another form, dropped"] += len(records) - len(sound)
    if not sound:
        return "no usable record"
    users = {record[0] for record in sound}
    if len(users) > 1:
        return "records of several users"
    events = [record for record in sound if record[1] is not None]
    profiles = [record[2] for record in sound if record[1] is None]
    parsed.tally["profile records beyond a line's last, dropped"] += max(0, len(profiles) - 1)
    parsed.user.append(users.pop())
    parsed.profile.append(profiles[-1] if profiles else None)
    parsed.length.append(len(events))
    parsed.item.extend(event[1] for event in events)
    parsed.tally["actions beyond click, unknown"] += sum(event[4] is not None and event[4] > CLICK for event in events)
    parsed.action.extend(NO_ACTION if event[4] is None or event[4] > CLICK else event[4] for event in events)
    parsed.time.extend(event[5] for event in events)
    for event in events:
        if event[1] > num_items:
            parsed.unseen[event[1]] = event[3] or {}
    return ""


def is_record(record: Any) -> bool:
    """[user, item | null, user features | null, item features | null, action | null, time], an item or a profile."""
    if not isinstance(record, list) or len(record) != 6:
        return False
    user, item, user_features, item_features, action, time = record
    if (
        type(user) not in (int, str)
        or not is_name(user)
        or not is_number(time, 2**62)
        or not (action is None or is_number(action, 2**7))
    ):
        return False
    if item is None:
        return isinstance(user_features, dict)
    return is_number(item, 2**62) and item > 0 and (item_features is None or isinstance(item_features, dict))


def is_number(value: Any, end: int) -> bool:
    return type(value) is int and 0 <= value < end


def check_offsets(path: Path, begins: np.ndarray, lines: Path) -> None:
    """The offset file must be of this sequence file; nothing else is read by it."""
    if not path.exists():
        raise ArtifactError(f"{path} is missing")
    offsets = read_offsets(path)
    if not np.array_equal(np.sort(offsets), begins):
        raise ArtifactError(
            f"{path} does not belong to {lines.name}: it names {len(offsets)} lines, the last at byte "
            f"{offsets.max(initial=0)}; the file has {len(begins)}, the last at byte {begins.max(initial=0)}"
        )


def number_items(parsed: ParsedLines, num_items: int) -> tuple[np.ndarray, list[int]]:
    """(T,) rows of the item table, and the creative ids of the rows after the known ones."""
    item = np.array(parsed.item, dtype=np.int64)
    cold = sorted(parsed.unseen)
    place = np.searchsorted(cold, item) if cold else np.zeros(len(item), np.int64)
    return np.where(item > num_items, num_items + 1 + place, item).astype(np.int32), cold


def number_users(parsed: ParsedLines, schema: FeatureSchema) -> tuple[np.ndarray, FeatureTable]:
    """(S,) rows of the user table, and that table: re-ids first, then a row for each unseen user with a profile."""
    records: list[Record] = [{} for _ in range(schema.num_users + 1)]
    rows = np.zeros(len(parsed.user), dtype=np.int32)
    for line, (user, profile) in enumerate(zip(parsed.user, parsed.profile, strict=True)):
        is_known = type(user) is int and 0 < user <= schema.num_users
        parsed.tally["users unseen in training"] += not is_known
        if profile is None:
            parsed.tally["users without a profile"] += 1
        elif is_known:
            rows[line], records[user] = user, profile
        else:
            rows[line] = len(records)
            records.append(profile)
    ids = np.zeros(len(records), dtype=np.int32)
    ids[: schema.num_users + 1] = np.arange(schema.num_users + 1)
    return rows, encode_table(ids, records, schema.user_fields, parsed.tally)


def sort_by_time(rows: Interactions, tally: Counter) -> Interactions:
    """The format promises time order; lines that break it are sorted, ties as they stand, and counted."""
    line = np.repeat(np.arange(len(rows)), np.diff(rows.offset))
    breaks = (np.diff(rows.time) < 0) & (np.diff(line) == 0)
    tally["lines out of time order, sorted"] += len(np.unique(line[1:][breaks]))
    if not breaks.any():
        return rows
    order = np.lexsort((rows.time, line))
    return Interactions(rows.offset, rows.item[order], rows.action[order], rows.time[order], rows.user)
