"""Readers of Amazon reviews and item records, 2018 and 2023, as JSON lines, plain or gzip.

<raw_dir>/<dataset>_5.json(.gz)  or  <dataset>.json(l)(.gz)      reviews
<raw_dir>/meta_<dataset>.json(l)(.gz)                             item records
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from genrec.config import Data
from genrec.data import texts
from genrec.data.download import fetch_file
from genrec.data.events import Events, Shop, encode_events
from genrec.data.ledger import Ledger
from genrec.data.ndjson import LATEST, check_bad_share, read_ndjson, sound_identifier, sound_list, sound_text
from genrec.errors import ArtifactError

SUFFIXES = (".json", ".json.gz", ".jsonl", ".jsonl.gz")
LARGEST = 1e18  # a number of a record is smaller, or it is noise


@dataclass(frozen=True)
class Edition:
    """How one year's files spell things, and where they are published."""

    user: str
    item: str
    time: str
    ticks: int  # time units a second
    rating: str
    brand: str
    categories: str
    stems: tuple[str, ...]  # review file names without suffix, best first
    reviews_url: str
    meta_url: str


EDITIONS = {
    "amazon18": Edition(
        user="reviewerID",
        item="asin",
        time="unixReviewTime",
        ticks=1,
        rating="overall",
        brand="brand",
        categories="category",
        stems=("{dataset}_5", "{dataset}"),
        reviews_url="https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/categoryFilesSmall/{dataset}_5.json.gz",
        meta_url="https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2/metaFiles2/meta_{dataset}.json.gz",
    ),
    "amazon23": Edition(
        user="user_id",
        item="parent_asin",
        time="timestamp",
        ticks=1000,
        rating="rating",
        brand="store",
        categories="categories",
        stems=("{dataset}",),
        reviews_url="https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/review_categories/{dataset}.jsonl.gz",
        meta_url="https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/meta_categories/meta_{dataset}.jsonl.gz",
    ),
}


def read_shop(data: Data, edition: Edition) -> Shop:
    """Fetch what is missing, read both files, and keep the item records of reviewed items."""
    reviews_path = find_file(data, edition.stems) or fetch_file(edition.reviews_url, data)
    meta_path = find_file(data, ("meta_{dataset}",)) or fetch_file(edition.meta_url, data)
    events, event_ledger = read_reviews(reviews_path, edition, data.max_bad_share)
    items, item_ledger = read_items(meta_path, edition, data, events.item_id)
    files = {"reviews": reviews_path.name, "items": meta_path.name}
    return Shop(events, items, event_ledger, item_ledger, files)


def find_raw_files(data: Data, edition: Edition) -> dict[str, Path]:
    """role -> raw file, of those that are there."""
    paths = {"reviews": find_file(data, edition.stems), "items": find_file(data, ("meta_{dataset}",))}
    return {role: path for role, path in paths.items() if path}


def find_file(data: Data, stems: tuple[str, ...]) -> Path | None:
    """The first of these names that lies in raw_dir, or None."""
    paths = (data.raw_dir / (stem.format(dataset=data.dataset) + suffix) for stem in stems for suffix in SUFFIXES)
    path = next((path for path in paths if path.exists()), None)
    if path and not path.is_file():
        raise ArtifactError(f"{path} must be a file of JSON lines, and is a folder; put the file in its place")
    return path


def read_reviews(path: Path, edition: Edition, max_bad_share: float) -> tuple[Events, Ledger]:
    """The four columns that count, in file order."""
    frame, ledger = read_review_rows(path, edition)
    check_bad_share(ledger, path, max_bad_share)
    return encode_events(*frame.get_columns()), ledger


def read_review_rows(path: Path, edition: Edition) -> tuple[pl.DataFrame, Ledger]:
    """(user, item, seconds, rating) of each line that can be used."""
    e = edition
    schema = {e.user: pl.String, e.item: pl.String, e.time: pl.Int64, e.rating: pl.Float64}
    seconds = pl.col(e.time) // e.ticks
    usual_rating = pl.col(e.rating).is_null() | (pl.col(e.rating).abs() < LARGEST)
    sound = sound_identifier(e.user) & sound_identifier(e.item) & seconds.is_between(1, LATEST) & usual_rating
    frame, ledger = read_ndjson(path, schema, sound, partial(parse_review, edition=e), "reviews")
    return frame.select(e.user, e.item, seconds, e.rating), ledger


def parse_review(record: dict[str, Any], edition: Edition) -> dict[str, Any] | str:
    row = {name: parse_identifier(record.get(name)) for name in (edition.user, edition.item)}
    for name, value in row.items():
        if value is None:
            return f"without {name}"
    time, rating = parse_number(record.get(edition.time)), parse_number(record.get(edition.rating))
    if record.get(edition.time) is None:
        return f"without {edition.time}"
    if time is None or not 1 <= time // edition.ticks <= LATEST:
        return f"with a bad {edition.time}"
    if rating is None and record.get(edition.rating) is not None:
        return f"with a bad {edition.rating}"
    return {**row, edition.time: int(time), edition.rating: rating}


def parse_identifier(value: Any) -> str | None:
    """An id as text; a number in plain decimals, 59.0 as 59."""
    if isinstance(value, float):
        return print_plainly(value) if math.isfinite(value) else None
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value)
    return None if "\x00" in text or texts.NO_UNICODE.search(text) else text or None


def print_plainly(number: float) -> str:
    """The shortest decimals that give this number again, without an exponent."""
    return f"{Decimal(repr(number)):f}".removesuffix(".0")


def parse_number(value: Any) -> float | int | None:
    """A finite number, also when quoted, or None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or (isinstance(value, str) and "_" in value):
        return None
    try:
        read = value if isinstance(value, int) else float(value)
    except ValueError:
        return None
    return read if abs(read) < LARGEST else None  # nan and infinity compare False


def read_items(path: Path, edition: Edition, data: Data, reviewed: pl.Series) -> tuple[pl.DataFrame, Ledger]:
    """(item, title, text, brand, categories) of reviewed items; title is null where none is usable."""
    e, strings = edition, pl.List(pl.String)
    schema = {e.item: pl.String, "title": pl.String, "description": strings, e.brand: pl.String, e.categories: strings}
    frame, ledger = read_ndjson(path, schema, sound_items(e), partial(parse_item, edition=e), "items")
    check_bad_share(ledger, path, data.max_bad_share)
    frame = frame.rename({e.item: "item", e.brand: "brand", e.categories: "categories"})
    records = frame.filter(pl.col("item").is_in(reviewed.implode()))
    ledger.drop("of items that nobody reviewed", len(frame) - len(records))
    items = join_records(records, TEXT_RULES[data.compat])
    ledger.drop("repeating an item", len(records) - len(items))
    ledger.check(len(items))
    return items, ledger


def sound_items(edition: Edition) -> pl.Expr:
    """True of item records whose every field is of its own kind."""
    single = sound_identifier(edition.item) & sound_text("title") & sound_text(edition.brand)
    return single & sound_list("description") & sound_list(edition.categories)


def parse_item(record: dict[str, Any], edition: Edition) -> dict[str, Any] | str:
    item = parse_identifier(record.get(edition.item))
    if item is None:
        return f"without {edition.item}"
    return {
        edition.item: item,
        "title": as_text(record.get("title")),
        "description": as_list(record.get("description")),
        edition.brand: as_text(record.get(edition.brand)),
        edition.categories: as_list(record.get(edition.categories)),
    }


def as_text(value: Any) -> str | None:
    return texts.mend_unicode(value) if isinstance(value, str) else None


def as_list(value: Any) -> list[str]:
    """Texts of a list, of nested lists, or of one text alone."""
    if isinstance(value, list):
        return [text for element in value for text in as_list(element)]
    text = as_text(value)
    return [] if text is None else [text]


FIELDS = ("text", "brand", "categories")  # of an item beside its title; '' where unknown


@dataclass(frozen=True)
class TextRules:
    """How raw fields become texts: ours, or the published ones."""

    title: Callable[[str | None], str | None]
    text: Callable[[list[str | None] | None], str]
    brand: Callable[[str | None], str]
    last_record: bool  # of an item with several records: its last one counts, empty fields and all


TEXT_RULES = {
    "none": TextRules(texts.clean_title, texts.join_paragraphs, lambda brand: texts.clean_text(brand or ""), False),
    "minionerec": TextRules(texts.clean_published_title, texts.clean_published_text, texts.clean_published_brand, True),
}


def join_records(records: pl.DataFrame, rules: TextRules) -> pl.DataFrame:
    """Items once: of each field the last record's, or the last that is not empty; of the title always that."""
    cleaned = records.select(
        "item",
        map_column("title", rules.title),
        map_column("description", rules.text).alias("text"),
        map_column("brand", rules.brand),
        map_column("categories", texts.join_categories),
    ).with_columns(pl.col(FIELDS).replace("", None))
    last = pl.col(FIELDS).last() if rules.last_record else pl.col(FIELDS).drop_nulls().last()
    several = pl.col("item").is_duplicated()
    joined = cleaned.filter(several).group_by("item", maintain_order=True)
    joined = joined.agg(pl.col("title").drop_nulls().last(), last)
    return pl.concat([cleaned.filter(~several), joined]).with_columns(pl.col(FIELDS).fill_null(""))


def map_column(column: str, function: Callable[[Any], str | None]) -> pl.Expr:
    """A text function over a column; lists arrive as Python lists."""

    def each(values: pl.Series) -> pl.Series:
        return pl.Series([function(value) for value in values.to_list()], dtype=pl.String)

    return pl.col(column).map_batches(each, return_dtype=pl.String)
