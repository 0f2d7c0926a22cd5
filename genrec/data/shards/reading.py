"""Files of events -> parts and a shop without its events: what a source says once all its pieces were looked at.

N items of all
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from genrec.config import Data, expand_home
from genrec.data import amazon, table
from genrec.data.download import fetch_file
from genrec.data.events import Events, Shop, encode_ids
from genrec.data.ledger import Ledger
from genrec.data.ndjson import check_bad_share
from genrec.data.shards.files import read_texts, write_columns
from genrec.data.shards.groups import CODES, KNOWN, NAMELESS, STATE, UNKNOWN, PartOfAll
from genrec.data.shards.parsing import ITEMS, Recipe, parse_piece
from genrec.data.shards.pieces import PACKED, Piece, cut_file, is_packed, shift_lines
from genrec.data.shards.work import Task
from genrec.data.table_columns import Columns, assign_columns
from genrec.data.table_files import Table, find_parts, is_dataset, join_frames, open_table
from genrec.data.table_times import ORDER, TimeSurvey, count_ticks, settle_form
from genrec.errors import ConfigError

Finish = Callable[[str, list[Task]], list[dict[str, Any]]]  # a step's tasks -> what each said


@dataclass(frozen=True)
class Files:
    """What is read, before it is."""

    name: str  # of the events, in messages
    pieces: list[list[Piece]]  # of each file
    table: Table | None = None
    columns: Columns | None = None

    @property
    def all_pieces(self) -> list[Piece]:
        return [piece for pieces in self.pieces for piece in pieces]

    @property
    def has_lines(self) -> bool:
        """Whether a line's number tells where it stands."""
        return len(self.pieces) == 1


class ParsedPieces(NamedTuple):
    """All pieces as parts."""

    said: list[dict[str, Any]]  # of each
    places: list[Path]
    form: str  # of the times, '' of Amazon's


class ReadShop(NamedTuple):
    """A shop whose events lie in parts."""

    shop: Shop  # its events are none; they carry the items' ids
    data: Data  # with what the files decide
    parts: list[PartOfAll]
    ticks: int  # that make a second, where seconds do not tell all times apart; else 0


def open_files(data: Data, size: int) -> Files:
    """The events' files in pieces of about `size` bytes of text."""
    if data.source != "table":
        edition = amazon.EDITIONS[data.source]
        path = (amazon.find_file(data, edition.stems) or fetch_file(edition.reviews_url, data)).absolute()
        return Files(path.name, [cut_file(path, "jsonl", size)])
    location = require_files(data)
    events = open_table(location, "events")
    columns = assign_columns(events, "events", table.given_columns(data))
    paths = find_parts(str(expand_home(Path(location)).absolute()), "events")
    return Files(events.name, [cut_file(part.path, part.kind, size) for part in paths], events, columns)


def require_files(data: Data) -> str:
    location = data.events
    if location is None:
        raise ConfigError("data.source table reads data.events, which is empty; name a file or a folder")
    if is_dataset(location):
        raise ConfigError(
            f"data.shard_size {data.shard_size} cuts files, and data.events {location} is a dataset, which is read "
            "at once; leave data.shard_size out, or write it as Parquet"
        )
    return location


def count_groups(files: Files, size: int) -> int:
    """As many as hold about what a piece holds."""
    return max(1, -(-sum(map(count_text, paths_of(files))) // size))


def count_text(path: Path) -> int:
    """Bytes of a file unpacked, by rule of thumb where it is packed."""
    return path.stat().st_size * (PACKED if path.suffix == ".parquet" or is_packed(path) else 1)


def paths_of(files: Files) -> list[Path]:
    return [pieces[0].path for pieces in files.pieces]


def make_recipe(files: Files, data: Data, groups: int) -> Recipe:
    kinds = None
    if files.columns and files.pieces[0][0].kind == "parquet":
        empty = [pl.DataFrame(schema=pl.read_parquet_schema(path)) for path in paths_of(files)]
        names = files.columns.all
        kinds = dict(join_frames(files.name, [frame.select(names) for frame in empty]).schema)
    return Recipe(data, groups, files.columns, kinds)


def read_shop(files: Files, data: Data, recipe: Recipe, place: Path, finish: Finish) -> ReadShop:
    parsed = parse_alike(files, data, recipe, place, finish)
    said, places = parsed.said, parsed.places
    ledger = join_ledgers(files, said)
    check_bad_share(ledger, paths_of(files)[0] if files.table is None else Path(files.name), data.max_bad_share)
    if files.columns:
        check_types(files, data, said, ledger)
    before = np.concatenate([[0], np.cumsum([piece["rows"] for piece in said])]).tolist()
    has_ticks = [piece["ticks"] for piece in said]
    parts = [PartOfAll(*of) for of in zip(places, before[:-1], has_ticks, strict=True)]
    shop, data = describe_shop(files, data, parsed.form, ledger, number_items(places))
    return ReadShop(shop, data, parts, count_ticks(parsed.form) if any(has_ticks) else 0)


def parse_alike(files: Files, data: Data, recipe: Recipe, place: Path, finish: Finish) -> ParsedPieces:
    """Every piece, its times by the form of all; one that alone would be understood otherwise is read again."""
    pieces = files.all_pieces
    said = finish("parse", make_parse_tasks(pieces, recipe, None, place, range(len(pieces))))
    places = [place / f"part-{number}" for number in range(len(pieces))]
    if files.columns is None:
        return ParsedPieces(said, places, "")
    table.refuse_no_rows(Ledger("events", read=sum(piece["read"]["read"] for piece in said)), files.name)
    column = table.name_column(files.columns.one("time"), files.name)
    form = settle_form([TimeSurvey(**piece["survey"]) for piece in said], column, data.max_bad_share)
    others = [number for number, piece in enumerate(said) if piece["form"] != form]
    again = finish("parse again", make_parse_tasks(pieces, recipe, form, place, others)) if others else []
    for number, piece in zip(others, again, strict=True):
        said[number], places[number] = piece, place / f"part-{number}-as-one"
    return ParsedPieces(said, places, form)


def make_parse_tasks(
    pieces: list[Piece], recipe: Recipe, form: str | None, place: Path, numbers: list[int] | range
) -> list[Task]:
    end = "" if form is None else "-as-one"
    return [
        Task(
            parse_piece,
            (pieces[number], recipe, form, place / f"part-{number}{end}"),
            place / f"part-{number}{end}.json",
        )
        for number in numbers
    ]


def join_ledgers(files: Files, said: list[dict[str, Any]]) -> Ledger:
    """The account of all pieces, as one reader of all would have kept it."""
    ledger = Ledger("events" if files.table else "reviews", read=sum(piece["read"]["read"] for piece in said))
    shifts = [s for pieces, own in by_file(files, said) for s in shift_lines(pieces, [p["ends"] for p in own])]
    for piece, shift in zip(said, shifts, strict=True):
        add(ledger, piece["read"], shift if files.has_lines else None)
    told = files.has_lines and not (files.pieces[0][0].kind == "jsonl" and files.table and ledger.dropped)
    for reason in table.name_faults(files.columns) if files.columns else []:
        for piece, shift in zip(said, shifts, strict=True):
            lost = {name: {k: v for k, v in piece["lost"][name].items() if k == reason} for name in LOST}
            add(ledger, lost, shift if told else None)
    return ledger


LOST = ("dropped", "first_lines")


def by_file(files: Files, said: list[dict[str, Any]]) -> list[tuple[list[Piece], list[dict[str, Any]]]]:
    waiting = iter(said)
    return [(pieces, [next(waiting) for _ in pieces]) for pieces in files.pieces]


def add(ledger: Ledger, account: dict[str, Any], shift: int | None) -> None:
    for reason, rows in account["dropped"].items():
        lines = account["first_lines"].get(reason, []) if shift is not None else []
        ledger.drop(reason, rows, [line + (shift or 0) for line in lines])


def check_types(files: Files, data: Data, said: list[dict[str, Any]], ledger: Ledger) -> None:
    assert files.columns is not None, "a table has columns"
    there = sorted({kind for piece in said for kind in piece["types"]})
    table.check_types(there, files.columns.one("event"), data, files.name)
    ledger.drop(table.UNNAMED, sum(piece["lost"]["dropped"].get(table.UNNAMED, 0) for piece in said))
    held = [piece for piece in said if piece["rows"]]
    for role in ("user", "item") if held else ():
        if all(piece[role]["floats"] for piece in held):
            raise table.float_ids_error(files.columns.one(role), files.name, held[0][role]["some"])


def number_items(places: list[Path]) -> pl.Series:
    """(N,) ids of all parts' items; each part is told which of its codes are which of these."""
    own = [read_texts(place / ITEMS) for place in places]
    codes, ids = encode_ids(pl.concat(own))
    ends = np.cumsum([len(texts) for texts in own]).tolist()
    for place, start, stop in zip(places, [0, *ends[:-1]], ends, strict=True):
        write_columns(place, **{CODES: codes[start:stop]})
    return ids


def describe_shop(files: Files, data: Data, form: str, ledger: Ledger, ids: pl.Series) -> tuple[Shop, Data]:
    """With the records of the items that the events name."""
    events = stand_in(ids, form == ORDER)
    if files.table is None or files.columns is None:
        edition = amazon.EDITIONS[data.source]
        meta = amazon.find_file(data, ("meta_{dataset}",)) or fetch_file(edition.meta_url, data)
        items, item_ledger = amazon.read_items(meta, edition, data, ids)
        return Shop(events, items, ledger, item_ledger, {"reviews": files.name, "items": meta.name}), data
    items_table = open_table(data.items, "items") if data.items else None
    notes = [table.describe_events(files.table, files.columns, form)]
    data = table.settle_split(data, form == ORDER)
    items, item_ledger = table.read_beside(items_table, files.columns, data, ids, notes)
    named = table.name_files(files.table, items_table)
    return Shop(events, items, ledger, item_ledger, named, tuple(notes)), data


def stand_in(ids: pl.Series, is_order: bool) -> Events:
    """No events, of these items."""
    nothing = np.zeros(0, dtype=np.int32)
    return Events(
        nothing,
        nothing,
        nothing.astype(np.int64),
        nothing.astype(np.float32),
        pl.Series([], dtype=pl.String),
        ids,
        None,
        is_order,
    )


def write_states(shop: Shop, place: Path) -> None:
    """(N,) of each item whether it has a record, and a title."""
    ids, titled = shop.events.item_id, shop.items.filter(pl.col("title").is_not_null())["item"]
    recorded = ids.is_in(shop.items["item"].implode()).to_numpy()
    states = np.where(recorded, NAMELESS, UNKNOWN).astype(np.int8)
    states[ids.is_in(titled.implode()).to_numpy()] = KNOWN
    write_columns(place, **{STATE: states})
