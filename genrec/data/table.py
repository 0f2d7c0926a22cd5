"""A shop of one's own: a table of events and, if there is one, a table of items (data.source table).

data.events    user, item, time; rating, event type
data.items     item; title, text, brand, categories; every further column becomes a feature

Files are read by genrec/data/table_files.py, columns chosen by table_columns.py, times understood by table_times.py.

T events
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from genrec.config import Data
from genrec.data import texts
from genrec.data.events import Events, Shop, encode_events
from genrec.data.ledger import FIRST_LINES, Ledger
from genrec.data.ndjson import check_bad_share
from genrec.data.table_columns import Columns, as_names, assign_columns
from genrec.data.table_files import Locate, Table, open_table
from genrec.data.table_files import find_raw_files as find_files
from genrec.data.table_times import (
    ORDER,
    RawTimes,
    Times,
    look_at_times,
    settle_form,
    survey_times,
    understand_times,
)
from genrec.errors import ArtifactError, ConfigError, suggest
from genrec.launch import note

FIELDS = ("text", "brand", "categories")  # of an item beside its title
FLOAT_ID = r"^-?\d+\.0+$"
MOST_VALUES = 3  # quoted in a message
ROLES = ("events", "items")
UNNAMED = "of event types that data.event_weights does not name"


def read_shop(data: Data) -> tuple[Shop, Data]:
    """The shop, and the configuration with what the tables decide."""
    if data.events is None:  # a run that is prepared needs it no more, so that commands do without
        raise ConfigError("data.source table reads data.events, which is empty; name a file, a folder or hf:NAME")
    items = open_table(data.items, "items") if data.items else None
    return read_tables(open_table(data.events, "events"), items, data)


def find_raw_files(data: Data) -> dict[str, Path]:
    """role and number -> raw file, of those that are there."""
    named = {role: find_files(location, role) for role in ROLES if (location := getattr(data, role))}
    return {role if len(files) == 1 else f"{role}/{n}": f for role, files in named.items() for n, f in enumerate(files)}


def read_tables(events_table: Table, items_table: Table | None, data: Data) -> tuple[Shop, Data]:
    event_columns = assign_columns(events_table, "events", given_columns(data))
    events, ledger, form = read_events(events_table, event_columns, data)
    notes = [describe_events(events_table, event_columns, form)]
    data = settle_split(data, events.is_order)
    items, item_ledger = read_beside(items_table, event_columns, data, events.item_id, notes)
    return Shop(events, items, ledger, item_ledger, name_files(events_table, items_table), tuple(notes)), data


def given_columns(data: Data) -> dict[str, str | list[str]]:
    return {str(role): names for role, names in (data.columns or {}).items()}


def describe_events(table: Table, columns: Columns, form: str) -> str:
    return f"{shorten(table)}: {columns.describe()}; {describe_times(columns.one('time'), form)}"


def name_files(events_table: Table, items_table: Table | None) -> dict[str, str]:
    return {"events": shorten(events_table), "items": shorten(items_table) if items_table else "none"}


def settle_split(data: Data, is_order: bool) -> Data:
    if is_order:
        return settle_order(data)
    return data.model_copy(update={"split": "chronological"}) if data.split == "auto" else data


def read_beside(
    table: Table | None, event_columns: Columns, data: Data, item_id: pl.Series, notes: list[str]
) -> tuple[pl.DataFrame, Ledger]:
    """The records of the events' items; what is to be said of them joins `notes`."""
    given = given_columns(data)
    if table is None:
        check_columns_taken(given, event_columns, None)
        items, ledger = make_empty_items(), Ledger("items")
    else:
        columns = assign_columns(table, "items", given)
        check_columns_taken(given, event_columns, columns)
        items, ledger = read_items(table, columns, data, item_id)
        notes.append(f"{shorten(table)}: {describe_items(columns)}")
    if data.untitled == "keep":
        items = add_unrecorded(items, item_id, table is not None, notes)
    return items, ledger


def settle_order(data: Data) -> Data:
    """What order numbers leave possible."""
    order = "the time column holds order numbers within each user, which no two users can be compared by"
    if data.split in ("chronological", "new_items"):
        raise ConfigError(f"{order}, so data.split {data.split} has no meaning; --data.split leave_one_out (or auto)")
    if data.st_year is not None or data.ed_year is not None:
        raise ConfigError(f"{order}, so a window of years has no meaning; leave data.st_year and data.ed_year out")
    return data.model_copy(update={"split": "leave_one_out"})


def check_columns_taken(given: Mapping[Any, Any], events: Columns, items: Columns | None) -> None:
    """Every name of data.columns is a column of the table that its role belongs to."""
    for role in given:
        if role not in events.of and (items is None or role not in items.of):
            where = "data.items, which is not given" if items is None else "the items"
            raise ConfigError(f"data.columns.{role} {given[role]!r} is of {where}; leave it out or name the table")
    taken = {columns.one("item") for columns in (events, items) if columns}
    for name in as_names(given.get("item", ())):
        if name not in taken:
            of_items = f", of the items '{items.one('item')}'" if items else ""
            raise ConfigError(
                f"data.columns.item '{name}' is the item column of no table; that of the events is "
                f"'{events.one('item')}'{of_items}"
            )


def shorten(table: Table) -> str:
    """Without the folders before it."""
    return Path(table.name).name or table.name


def describe_items(columns: Columns) -> str:
    others = f"; as features {', '.join(columns.others)}" if columns.others else ""
    return columns.describe() + others


# Events


class EventRows(NamedTuple):
    """Rows of a table by what its columns are, before any is left out."""

    user: pl.Series  # (T,) ids, null where there is none
    item: pl.Series
    time: RawTimes
    rating: pl.Series
    bad_rating: pl.Series  # (T,) bool
    types: pl.Series | None  # (T,) of events


class KeptEvents(NamedTuple):
    """What became of some rows."""

    keep: np.ndarray  # (T,) bool
    times: Times
    weight: np.ndarray | None  # (T,) float32


def read_events(table: Table, columns: Columns, data: Data) -> tuple[Events, Ledger, str]:
    """(events, what was lost, the form of their times)"""
    ledger = Ledger("events")
    frame, locate = table.read(columns.all, ledger)
    refuse_no_rows(ledger, table.name)
    rows = take_columns(frame, columns, table.name)
    form = settle_form([survey_times(rows.time)], name_column(columns.one("time"), table.name), data.max_bad_share)
    keep, times = judge_rows(rows, columns, form, ledger, locate)
    check_bad_share(ledger, Path(table.name), data.max_bad_share)
    check_types(list_types(rows), columns.one("event"), data, table.name)
    _, _, weight = kept = weigh_types(rows, KeptEvents(keep, times, None), data, ledger)
    order = order_finely(times, kept.keep)
    events = encode_events(*(column.gather(order) for column in (rows.user, rows.item, times.seconds, rows.rating)))
    refuse_float_ids(events.user_id, columns.one("user"), table.name)
    refuse_float_ids(events.item_id, columns.one("item"), table.name)
    ledger.check(len(events))
    own = {"weight": None if weight is None else weight[order], "is_order": times.is_order}
    return Events(**{**vars(events), **own}), ledger, form


def refuse_no_rows(ledger: Ledger, table: str) -> None:
    if not ledger.read:
        raise ArtifactError(f"{table} has columns and no rows; data.events needs a row an event")


def name_column(name: str | None, table: str) -> str:
    return f"column '{name}' of {table}"


def take_columns(frame: pl.DataFrame, columns: Columns, table: str) -> EventRows:
    names = {role: names[0] for role, names in columns.of.items()}
    user, item = (read_ids(frame[names[role]], role, table) for role in ("user", "item"))
    rating, rated = read_ratings(frame, names.get("rating")), names.get("rating")
    bad = rating.is_null() & frame[rated].is_not_null() if rated else pl.Series([False]).new_from_index(0, len(frame))
    types = frame[names["event"]].cast(pl.String) if "event" in names else None
    return EventRows(user, item, look_at_times(frame[names["time"]]), rating, bad, types)


def judge_rows(
    rows: EventRows, columns: Columns, form: str, ledger: Ledger, locate: Locate
) -> tuple[np.ndarray, Times]:
    """(T,) bool: rows without a fault; and their times by the form that all of them have."""
    times = understand_times(rows.time, form)
    faults = dict(zip(name_faults(columns), list_faults(rows, times), strict=False))
    return drop_rows(ledger, faults, locate), times


def name_faults(columns: Columns) -> list[str]:
    """Why a row is left out, in the order in which its faults are looked for."""
    needed = [columns.one(role) for role in ("user", "item", "time")]
    rating = columns.one("rating")
    bad = [f"with a bad {needed[2]}", *([f"with a bad {rating}"] if rating else [])]
    return [*(f"without {name}" for name in needed), *bad]


def list_faults(rows: EventRows, times: Times) -> list[pl.Series]:
    """(T,) bool of each fault."""
    absent = rows.time.values.is_null()
    return [rows.user.is_null(), rows.item.is_null(), absent, times.seconds.is_null(), rows.bad_rating]


def describe_times(name: str | None, form: str) -> str:
    if form == ORDER:
        return f"{name} holds order numbers within each user, so the split is leave_one_out"
    return f"{name} holds {form}"


def order_finely(times: Times, keep: np.ndarray) -> np.ndarray:
    """Positions of the events kept, in file order; where times are finer than a second, in theirs."""
    positions = np.flatnonzero(keep)
    if times.fine is None:
        return positions
    return positions[np.argsort(times.fine.gather(positions).to_numpy(), kind="stable")]


def read_ids(values: pl.Series, role: str, table: str) -> pl.Series:
    """Strings; null where empty. Whole numbers are taken as written; floats are no ids."""
    kind = values.dtype
    if kind.is_float():
        raise float_ids_error(values.name, table, [str(value) for value in values.drop_nulls().head(MOST_VALUES)])
    if not (kind.is_integer() or kind in (pl.String, pl.Categorical, pl.Enum, pl.Null)):
        raise ArtifactError(
            f"the {role} column '{values.name}' of {table} holds {kind}; ids are texts or whole numbers"
        )
    ids = values.cast(pl.String)
    if kind.is_integer():
        return ids
    ids = ids.str.strip_chars()
    return ids.set((ids == "") | ids.str.contains("\0", literal=True), None)


def refuse_float_ids(ids: pl.Series, name: str | None, table: str) -> None:
    """Texts such as 1.0: a whole number that went through a column of floats."""
    if len(ids) and ids.str.contains(FLOAT_ID).all():
        raise float_ids_error(name, table, ids.head(MOST_VALUES).to_list())


def float_ids_error(name: str | None, table: str, values: Sequence[str]) -> ArtifactError:
    return ArtifactError(
        f"column '{name}' of {table} holds ids as floats ({', '.join(values)}); ids are texts, and 1.0 is not 1. "
        f"pandas makes floats of whole numbers where some are missing: write df['{name}'].astype('Int64') instead"
    )


def read_ratings(frame: pl.DataFrame, name: str | None) -> pl.Series:
    if name is None:
        return pl.Series([None], dtype=pl.Float64).new_from_index(0, len(frame))
    values = frame[name].cast(pl.Float64, strict=False)
    return values.set((~values.is_finite()).fill_null(False), None)


def drop_rows(ledger: Ledger, faults: Mapping[str, pl.Series], locate: Locate) -> np.ndarray:
    """(T,) bool: rows without a fault; the others are counted once, by the first fault they have."""
    keep: np.ndarray | None = None
    for reason, bad in faults.items():
        marks = bad.fill_null(True).to_numpy()
        keep = np.ones(len(marks), dtype=bool) if keep is None else keep
        rows = np.flatnonzero(marks & keep)
        if len(rows):
            ledger.drop(reason, len(rows), locate(rows[:FIRST_LINES].tolist()))
            keep &= ~marks
    assert keep is not None, "some column is always looked at"
    return keep


def list_types(rows: EventRows) -> list[str]:
    return [] if rows.types is None else rows.types.unique().drop_nulls().sort().to_list()


def check_types(there: list[str], name: str | None, data: Data, table: str) -> None:
    """What data.event_weights says, beside the event types that there are."""
    weights = data.event_weights
    if weights is None:
        if len(there) > 1:
            some = ", ".join(there[:5])
            note("data", f"{table}: {name} ({some}) is not looked at, all events count alike; see data.event_weights")
        return
    if name is None:
        raise ConfigError(
            f"data.event_weights needs a column of event types, which {table} lacks: --data.columns.event"
        )
    for kind in weights:
        if kind not in there:
            shown = ", ".join(there[:10])
            raise ConfigError(
                f"data.event_weights.{kind} is no event type of {table}{suggest(kind, there)}; it has {shown}"
            )
    if not any(weights.values()):
        raise ConfigError(f"data.event_weights {weights} leaves no target: every weight is 0")


def weigh_types(rows: EventRows, kept: KeptEvents, data: Data, ledger: Ledger) -> KeptEvents:
    """The weight of each event by its type, None where all count alike; types without a weight are left out."""
    if data.event_weights is None or rows.types is None:
        return kept
    weight = rows.types.replace_strict(data.event_weights, default=None, return_dtype=pl.Float32)
    named = weight.is_not_null().to_numpy()
    ledger.drop(UNNAMED, int((kept.keep & ~named).sum()))
    return KeptEvents(kept.keep & named, kept.times, weight.fill_null(0).to_numpy())


# Items


def make_empty_items() -> pl.DataFrame:
    return pl.DataFrame(schema=dict.fromkeys(("item", "title", *FIELDS), pl.String))


def read_items(table: Table, columns: Columns, data: Data, item_id: pl.Series) -> tuple[pl.DataFrame, Ledger]:
    """(item, title, text, brand, categories, features) of items with events; of several rows the last known value."""
    ledger = Ledger("items")
    frame, locate = table.read([*columns.all, *columns.others], ledger)
    if not len(frame) and not ledger.read:
        raise ArtifactError(
            f"{table.name} has columns and no rows; leave data.items out where nothing is known of items"
        )
    name = columns.one("item")
    assert name is not None, "assign_columns sees to it"
    ids = read_ids(frame[name], "item", table.name)
    refuse_float_ids(ids.drop_nulls(), name, table.name)
    keep = drop_rows(ledger, {f"without {name}": ids.is_null()}, locate)
    check_bad_share(ledger, Path(table.name), data.max_bad_share)
    frame = frame.with_columns(ids.alias(name)).filter(keep)
    used = frame.filter(pl.col(name).is_in(item_id.implode()))
    ledger.drop("of items that no event names", len(frame) - len(used))
    if not len(used):
        raise ArtifactError(
            f"none of the {len(frame):,} items of {table.name} is one of the {len(item_id):,} of the events "
            f"(there {quote(frame[name])}; in the events {quote(item_id)}); --data.columns.item names the column"
        )
    records = clean_records(used, columns, table.sequences)
    items = join_records(records)
    ledger.drop("repeating an item", len(records) - len(items))
    ledger.check(len(items))
    return items, ledger


def quote(ids: pl.Series) -> str:
    return ", ".join(f"'{name}'" for name in ids.head(MOST_VALUES))


def clean_records(frame: pl.DataFrame, columns: Columns, words: frozenset[str]) -> pl.DataFrame:
    """Raw columns -> texts as the catalogue has them, null where nothing is known."""
    title, brand = columns.one("title"), columns.one("brand")
    series = {
        "item": frame[columns.one("item") or ""].to_list(),
        "title": map_column(frame, title, lambda value: texts.clean_title(print_text(value))),
        "text": join_texts(frame, columns.of.get("text", ())),
        "brand": map_column(frame, brand, lambda value: texts.clean_text(print_text(value))),
        "categories": read_categories(frame, columns.of.get("categories", ()), words),
    }
    features = {
        name: map_column(frame, name, lambda value: texts.clean_text(print_text(value))) for name in columns.others
    }
    features = {name if name not in series else f"{name}_column": values for name, values in features.items()}
    return pl.DataFrame({**series, **features}, schema=dict.fromkeys((*series, *features), pl.String))


def map_column(frame: pl.DataFrame, name: str | None, clean) -> list[str | None]:
    if name is None:
        return [None] * len(frame)
    return [clean(value) or None if value is not None else None for value in frame[name].to_list()]


def print_text(value: Any) -> str:
    """A value as text: the parts of a list one behind the other, a number as it is printed."""
    if isinstance(value, str):
        parts = parse_list(value)
        return value if parts is None else " ".join(map(print_text, parts))
    if isinstance(value, list):
        return " ".join(print_text(part) for part in value if part is not None)
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict) else str(value)


def parse_list(value: str) -> list[Any] | None:
    """The list that a text spells, in JSON or as Python prints it; None of any other text."""
    if not (value.startswith("[") and value.endswith("]")):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else None
    return None


def join_texts(frame: pl.DataFrame, names: Sequence[str]) -> list[str | None]:
    """Of several columns one text."""
    columns = [map_column(frame, name, lambda value: texts.clean_text(print_text(value))) for name in names]
    return [" ".join(filter(None, row)) or None for row in zip(*columns, strict=True)] if names else [None] * len(frame)


def read_categories(frame: pl.DataFrame, names: Sequence[str], words: frozenset[str]) -> list[str | None]:
    """Paths from coarse to fine: lists, or texts cut at | > ; or, where none of these is there, at commas."""
    columns = [map_column(frame, name, lambda value: join_path(value, name in words)) for name in names]  # noqa: B023
    return [",".join(filter(None, row)) or None for row in zip(*columns, strict=True)] if names else [None] * len(frame)


def join_path(value: Any, of_words: bool) -> str:
    parts = value if isinstance(value, list) else parse_list(str(value))
    if parts is None:
        cut = r"\s+" if of_words else r"\s*[|>;]\s*" if re.search(r"[|>;]", str(value)) else r"\s*,\s*"
        parts = re.split(cut, str(value).strip())
    return texts.join_categories([print_text(part) for part in parts if part is not None])


def join_records(records: pl.DataFrame) -> pl.DataFrame:
    """Items once, of each column the last known value; '' where nothing is known, of titles null."""
    several = pl.col("item").is_duplicated()
    joined = records.filter(several).group_by("item", maintain_order=True).agg(pl.all().drop_nulls().last())
    items = pl.concat([records.filter(~several), joined])
    return items.with_columns(pl.exclude("item", "title").fill_null(""))


def add_unrecorded(items: pl.DataFrame, item_id: pl.Series, has_table: bool, notes: list[str]) -> pl.DataFrame:
    """Items of events that have no row: their id is all that is known of them."""
    lacking = item_id.filter(~item_id.is_in(items["item"].implode()))
    if not len(lacking):
        return items
    if has_table:
        notes.append(f"{len(lacking):,} of {len(item_id):,} items of the events have no row in data.items")
    blank = {
        name: pl.Series([""]).new_from_index(0, len(lacking)) for name in items.columns if name not in ("item", "title")
    }
    rows = pl.DataFrame({"item": lacking, **blank}).with_columns(pl.lit(None, pl.String).alias("title"))
    return pl.concat([items, rows.select(items.columns)])
