"""Importer of MiniOneRec's published artifacts.

    {train,valid,test}/<dataset>_<k>_<window>.csv    user_id, history_item_id (a printed list), item_id, ...
    index/<dataset>.index.json  index/<dataset>.item.json

in <raw_dir>/ or <raw_dir>/Amazon/. The files hold rows, not sequences: a user's rows are chained back into one, and
every row is then found again, exactly and in order, by `examples(...)`. A row that no chain of its user leads up to
begins a segment of its own, as user 'A584#2', and is counted. There are no times; an event's time is the row number of
its target. Filters and split are the published ones: data.user_k, the window, data.split and the like change nothing.

The published SIDs go into the artifact as <dataset>.index.json, for `sids.method: imported`.
"""

from __future__ import annotations

import csv
import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from genrec.artifacts import INDEX_JSON, ITEM_JSON
from genrec.config import Data
from genrec.data.catalog import Catalog
from genrec.data.item_json import read_item_json
from genrec.data.ledger import Ledger
from genrec.data.ndjson import check_bad_share
from genrec.data.preparation import Preparation, describe_preparation
from genrec.data.sequences import SPLITS, Sequences, Split
from genrec.data.texts import clean_text
from genrec.errors import ArtifactError

PUBLISHED_HISTORY = 10  # the files cut histories to this
COLUMNS = {"user_id", "history_item_id", "item_id"}  # those that are read
NO_UTF8 = re.compile(r"[\udc80-\udcff]")
LONGEST_FIELD = 2**31 - 1  # characters; the csv module's own limit is less than some histories of titles


class PublishedRow(NamedTuple):
    user: str
    history: list[int]
    target: int


class UserSegment:
    """A stretch of one user's events that rows were chained into."""

    def __init__(self, name: str, items: list[int], row: int):
        self.name, self.items, self.times = name, items, [row] * len(items)

    def leads_to(self, history: list[int]) -> bool:
        """The next event of this segment would have exactly this history."""
        return self.items[-PUBLISHED_HISTORY:] == history

    def append(self, item: int, row: int) -> int:
        """The place of the new event."""
        self.items.append(item)
        self.times.append(row)
        return len(self.items) - 1


def read_publication(data: Data) -> Preparation:
    """Rows -> sequences and splits; catalogue from item.json."""
    paths = find_files(data)
    catalog = read_catalog(paths["items"])
    rows, ledgers = {}, {}
    for name in SPLITS:
        rows[name], ledgers[name] = read_rows(paths[name], len(catalog), data.max_bad_share)
        if not rows[name]:
            raise ArtifactError(f"{paths[name]} holds no usable row: {ledgers[name].trail()}")
    sequences, splits, new_segments = chain_rows(rows)
    report = {
        "files": {role: path.name for role, path in paths.items()},
        "read": {name: ledger.as_dict() for name, ledger in ledgers.items()},
        "rows_in_a_segment_of_their_own": new_segments,
        **describe_preparation(catalog, sequences, splits, data.max_history),
    }
    return Preparation(catalog, sequences, splits, report)


def find_raw_files(data: Data) -> dict[str, Path]:
    """role -> file, when all that an import reads are there."""
    try:
        return find_files(data)
    except ArtifactError:
        return {}


def find_files(data: Data) -> dict[str, Path]:
    """role -> path of the five files."""
    base = data.raw_dir / "Amazon" if (data.raw_dir / "Amazon").is_dir() else data.raw_dir
    paths = {name: find_rows_file(base / name, data.dataset) for name in SPLITS}
    paths["items"] = base / "index" / ITEM_JSON.format(dataset=data.dataset)
    paths["index"] = base / "index" / INDEX_JSON.format(dataset=data.dataset)
    for path in paths.values():
        if not path.is_file():
            raise ArtifactError(f"no {path}; data.raw_dir must hold MiniOneRec's train/ valid/ test/ index/ folders")
    return paths


def find_rows_file(directory: Path, dataset: str) -> Path:
    """<dataset>_<k>_<window>.csv, also without a window, else its RECONSTRUCTED stand-in."""
    for ending in (r"\.csv", r"\.RECONSTRUCTED\.csv"):
        pattern = re.compile(re.escape(dataset) + r"_\d+(_[\d-]+)?" + ending)
        matches = sorted(path for path in directory.glob("*.csv") if pattern.fullmatch(path.name))
        if len(matches) > 1:
            raise ArtifactError(
                f"{directory} holds {len(matches)} files of {dataset} ({matches[0].name}, ...); leave one"
            )
        if matches:
            return matches[0]
    return directory / f"{dataset}_<k>_<window>.csv"


def read_catalog(path: Path) -> Catalog:
    """Texts with markup cleaned; an empty title becomes 'item 12', so that none is empty."""
    raw = read_item_json(path)
    texts = {
        name: np.array([clean_text(str(value)) for value in getattr(raw, name)], dtype=object)
        for name in ("title", "text", "brand", "categories")
    }
    texts["title"] = np.array([title or f"item {i}" for i, title in enumerate(texts["title"])], dtype=object)
    return replace(raw, **texts)


def read_rows(path: Path, num_items: int, max_bad_share: float) -> tuple[list[PublishedRow], Ledger]:
    """The rows of a CSV in file order; bad ones are counted with their line."""
    ledger, rows = Ledger(path.parent.name), []
    for number, fields in number_records(path):
        ledger.read += 1
        row = parse_row(fields, num_items)
        if isinstance(row, str):
            ledger.drop(row, 1, [number])
        else:
            rows.append(row)
    ledger.check(len(rows))
    check_bad_share(ledger, path, max_bad_share)
    return rows, ledger


def number_records(path: Path) -> Iterator[tuple[int, dict[str | None, Any]]]:
    """(line on which it ends, fields by column) of each record; bytes that are not UTF-8 come as lone surrogates."""
    csv.field_size_limit(LONGEST_FIELD)
    number = 0
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            check_columns(reader.fieldnames or [], path)
            for fields in reader:
                number = reader.line_num
                yield number, fields
    except csv.Error as error:
        raise ArtifactError(
            f"{path}: after line {number} comes what is no CSV ({error}); mend the quotes there"
        ) from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from None


def check_columns(columns: Sequence[str], path: Path) -> None:
    if missing := COLUMNS - set(columns):
        present = textwrap.shorten(ascii(list(columns)), 200, placeholder=" ...")
        raise ArtifactError(f"{path} lacks the column {sorted(missing)[0]}; it has {present}")


def parse_row(fields: dict[str | None, Any], num_items: int) -> PublishedRow | str:
    """One row, or why it cannot be used. A printed list of integers is JSON, so nothing is evaluated."""
    if None in fields or None in fields.values():
        return "with another number of fields than columns"
    if any(NO_UTF8.search(field) for field in fields.values()):
        return "with a byte that is not UTF-8"
    try:
        history, target = json.loads(fields["history_item_id"]), json.loads(fields["item_id"])
    except (ValueError, RecursionError):
        return "without a readable history or target"
    if not fields["user_id"] or not isinstance(history, list) or not history:
        return "without a user or history"
    if not all(type(item) is int and 0 <= item < num_items for item in [*history, target]):
        return "with an item that item.json does not have"
    return PublishedRow(fields["user_id"], history, target)


def chain_rows(rows: dict[str, list[PublishedRow]]) -> tuple[Sequences, dict[str, Split], dict[str, int]]:
    """Sequences and splits in which every row is found again, and how many rows began a further segment."""
    segments: dict[str, list[UserSegment]] = {}  # user -> segments
    places: dict[str, list[tuple[UserSegment, int]]] = {name: [] for name in rows}
    new_segments, number = dict.fromkeys(rows, 0), 0
    for name, rows_of_split in rows.items():
        for row in rows_of_split:
            user_segments = segments.setdefault(row.user, [])
            segment = next((each for each in user_segments if each.leads_to(row.history)), None)
            if segment is None:
                new_segments[name] += bool(user_segments)
                label = f"{row.user}#{len(user_segments) + 1}" if user_segments else row.user
                segment = UserSegment(label, list(row.history), number)
                user_segments.append(segment)
            places[name].append((segment, segment.append(row.target, number)))
            number += 1
    return flatten_segments(
        [each for user_segments in segments.values() for each in user_segments], places, new_segments
    )


def flatten_segments(
    segments: list[UserSegment], places: dict[str, list[tuple[UserSegment, int]]], new_segments: dict[str, int]
) -> tuple[Sequences, dict[str, Split], dict[str, int]]:
    """Segments end to end, and places within them as pointers."""
    offset = np.cumsum([0, *(len(segment.items) for segment in segments)])
    number_of = {id(segment): number for number, segment in enumerate(segments)}  # a user may be called 'A584#2'
    sequences = Sequences(
        item=np.concatenate([segment.items for segment in segments]).astype(np.int32),
        time=np.concatenate([segment.times for segment in segments]).astype(np.int64),
        offset=offset.astype(np.int64),
        user_id=np.array([segment.name for segment in segments]),
    )
    splits = {}
    for name, targets in places.items():
        user = np.array([number_of[id(segment)] for segment, _ in targets], dtype=np.int32)
        splits[name] = Split(user, offset[user] + np.array([place for _, place in targets], dtype=np.int64))
    return sequences, splits, new_segments
