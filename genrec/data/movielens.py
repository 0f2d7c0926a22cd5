"""MovieLens-100K and 1M: the original files, or RecBole's atomic files.

    ml-100k   u.data u.item            or  ml-100k.inter ml-100k.item
    ml-1m     ratings.dat movies.dat   or  ml-1m.inter ml-1m.item

or the original's <dataset>.zip, in <raw_dir>/<dataset>/ or <raw_dir>/; what is there is used before any network.
With <dataset>.omdb.jsonl (movie_id, plot) beside them, plots join the texts.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import polars as pl

from genrec.artifacts import read_json_lines
from genrec.config import Data
from genrec.data.download import CHECKSUMS, compute_checksum, fetch_file, open_destination, unpack_members
from genrec.data.events import Shop, encode_events
from genrec.data.ledger import Ledger
from genrec.data.ndjson import BYTE_ORDER_MARK, LATEST, OTHER_ENCODING, check_bad_share, open_file
from genrec.data.texts import clean_text, clean_title
from genrec.errors import ArtifactError
from genrec.launch import note

OWN_URL = "https://files.grouplens.org/datasets/movielens/{dataset}.zip"
OWN_SITE_TIMEOUT = 5  # seconds; there is another way for ml-100k
RECBOLE = "recbole==1.2.1"  # its wheel carries ml-100k as atomic files
WHEEL = "recbole-1.2.1-py3-none-any.whl"
OMDB = "{dataset}.omdb.jsonl"

# dataset -> (users, items, events) of the whole collection
COUNTS = {"ml-100k": (943, 1682, 100_000), "ml-1m": (6040, 3883, 1_000_209)}

# u.item's flags, in the order of its last 19 columns
GENRES = (
    "unknown,Action,Adventure,Animation,Children's,Comedy,Crime,Documentary,Drama,Fantasy,Film-Noir,Horror,Musical,"
    "Mystery,Romance,Sci-Fi,Thriller,War,Western"
).split(",")

NOT_UTF8 = "\ufffd"  # in place of a line whose bytes are no text
Fields = list[str]


class Layout(NamedTuple):
    """One way the files come: names, how a line is cut, and what its fields mean."""

    events: str
    items: str
    users: str  # who they are; no part of the shop, and it may be missing
    separators: tuple[str, str]  # of events, of items and users
    header: bool
    encoding: str
    film: Callable[[Fields], tuple[str, str, list[str]]]  # -> id, title with year, genres


def parse_100k_film(fields: Fields) -> tuple[str, str, list[str]]:
    flags = zip(GENRES, fields[5:24], strict=True)
    return fields[0], fields[1], [genre for genre, flag in flags if flag == "1"]


def parse_1m_film(fields: Fields) -> tuple[str, str, list[str]]:
    item, title, genres = fields
    return item, title, genres.split("|")


def parse_atomic_film(fields: Fields) -> tuple[str, str, list[str]]:
    item, title, year, genres = fields
    return item, f"{title} ({year})" if year.isdigit() else title, genres.split()


def list_layouts(dataset: str) -> list[Layout]:
    """The ways in which a collection may lie there, the original first."""
    original = {
        "ml-100k": Layout("u.data", "u.item", "u.user", ("\t", "|"), False, "latin-1", parse_100k_film),
        "ml-1m": Layout("ratings.dat", "movies.dat", "users.dat", ("::", "::"), False, "latin-1", parse_1m_film),
    }
    names = (f"{dataset}.inter", f"{dataset}.item", f"{dataset}.user")
    return [original[dataset], Layout(*names, ("\t", "\t"), True, "utf-8", parse_atomic_film)]


def read_shop(data: Data) -> Shop:
    """Find or fetch a collection, read it, and check its counts."""
    if data.dataset not in COUNTS:
        raise ArtifactError(f"data.dataset {data.dataset} is not a MovieLens collection; known: {', '.join(COUNTS)}")
    layout, directory = find_layout(data) or obtain_layout(data)
    event_ledger, item_ledger = Ledger("events"), Ledger("items")
    between, within = layout.separators
    rows = list(parse_lines(directory / layout.events, between, layout, parse_event, event_ledger))
    films = list(parse_lines(directory / layout.items, within, layout, layout.film, item_ledger))
    for ledger, name in ((event_ledger, layout.events), (item_ledger, layout.items)):
        check_bad_share(ledger, directory / name, data.max_bad_share)
    columns = [pl.Series(column) for column in zip(*rows, strict=True)]
    if not columns or not films:
        raise ArtifactError(f"{directory} holds {len(rows)} events and {len(films)} films; remove it and run again")
    events = encode_events(*columns)
    counts = (len(events.user_id), len({item for item, *_ in films}), len(events))
    check_counts(data.dataset, directory, counts, event_ledger, item_ledger)
    items = describe_films(films, find_plots(data, directory))
    return Shop(events, items, event_ledger, item_ledger, {"events": layout.events, "items": layout.items})


def find_raw_files(data: Data) -> dict[str, Path]:
    """role -> raw file, of those that are there."""
    location = find_layout(data) if data.dataset in COUNTS else None
    if not location:
        return {}
    layout, directory = location
    plots = find_plots_file(data, directory)
    files = {"events": directory / layout.events, "items": directory / layout.items}
    return {**files, "plots": plots} if plots else files


def find_layout(data: Data) -> tuple[Layout, Path] | None:
    """The layout whose two files lie in raw_dir/<dataset> or raw_dir."""
    for directory in (data.raw_dir / data.dataset, data.raw_dir):
        for layout in list_layouts(data.dataset):
            if (directory / layout.events).is_file() and (directory / layout.items).is_file():
                return layout, directory
    return None


def obtain_layout(data: Data) -> tuple[Layout, Path]:
    """The archive in raw_dir; else from the own site (or data.url); for ml-100k, without it, from the recbole wheel."""
    original, atomic_files = list_layouts(data.dataset)
    directory = data.raw_dir / data.dataset
    open_destination(data.raw_dir)
    try:
        archive = find_archive(data) or fetch_file(OWN_URL, data, OWN_SITE_TIMEOUT)
    except ArtifactError as error:
        if data.dataset != "ml-100k" or data.url:
            raise
        why = str(error).split(". Ways on")[0]
        note("data", f"{why}; taking the copy of {data.dataset} in the {RECBOLE} wheel")
        unpack_wheel(data.raw_dir, directory, str(error))
        return atomic_files, directory
    names = (original.events, original.items, original.users)
    unpack_members(archive, {f"{data.dataset}/{name}": name for name in names}, directory)
    return original, directory


def find_archive(data: Data) -> Path | None:
    """The collection's zip where the user, or an earlier run, put it."""
    name = OWN_URL.format(dataset=data.dataset).rsplit("/", 1)[-1]
    return next((path for path in (data.raw_dir / name, data.raw_dir / data.dataset / name) if path.is_file()), None)


def unpack_wheel(raw_dir: Path, directory: Path, first_error: str) -> None:
    """ml-100k's atomic files out of the wheel, which pip fetches from wherever it is configured to."""
    names = [f"ml-100k.{kind}" for kind in ("inter", "item", "user")]
    with tempfile.TemporaryDirectory(dir=raw_dir, prefix="wheel.") as place:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", place, RECBOLE]
        done = subprocess.run(command, capture_output=True, text=True)
        wheel = Path(place) / WHEEL
        if done.returncode or not wheel.is_file():
            why = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise ArtifactError(f"{first_error}. Its copy in the {RECBOLE} wheel cannot be had either: {why}")
        check_wheel(wheel)
        unpack_members(wheel, {f"recbole/dataset_example/ml-100k/{name}": name for name in names}, directory)


def check_wheel(wheel: Path) -> None:
    kind, published = CHECKSUMS[wheel.name]
    if (came := compute_checksum(wheel, kind)) != published:
        raise ArtifactError(f"the {kind} of {wheel.name} is {came}, the published wheel's is {published}")


def parse_lines(
    path: Path, separator: str, layout: Layout, parse: Callable[[Fields], tuple], ledger: Ledger
) -> Iterator[tuple]:
    """Rows of a file, whose first field is an id; a line that cannot be parsed is counted by its number."""
    first = 2 if layout.header else 1
    for number, line in enumerate(islice(read_text_lines(path, layout.encoding), first - 1, None), start=first):
        try:
            fields = line.rstrip("\r").split(separator)
            if not fields[0]:
                raise ValueError("no id")
            row = parse(fields)
        except (ValueError, IndexError):
            if line and not line.isspace():
                ledger.read += 1
                ledger.drop(OTHER_ENCODING if line == NOT_UTF8 else "not in the file's format", 1, [number])
            continue
        ledger.read += 1
        yield row


def read_text_lines(path: Path, own: str) -> list[str]:
    """The lines of a file: each UTF-8 where its bytes are that, as people save files anew, else in the own encoding.

    Where that is UTF-8 too, a line of other bytes is NOT_UTF8.
    """
    with open_file(path) as file:
        content = file.read().removeprefix(BYTE_ORDER_MARK)
    if content.isascii():
        return content.decode("ascii").split("\n")
    lines, encodings = [], Counter()
    for line in content.split(b"\n"):
        text, encoding = decode_line(line, own)
        lines.append(text)
        encodings[encoding] += not line.isascii() and text != NOT_UTF8
    said = " and ".join(f"{count:,} as {encoding}" for encoding, count in (+encodings).items())
    note("data", f"{path.name}: lines with letters beyond ASCII were read: {said or 'none'}")
    return lines


def decode_line(line: bytes, own: str) -> tuple[str, str]:
    """(text, encoding)"""
    try:
        return line.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return (NOT_UTF8 if own == "utf-8" else line.decode(own)), own


def parse_event(fields: Fields) -> tuple[str, str, int, float]:
    user, item, rating, time = fields
    stars, seconds = float(rating), float(time)
    if not (item and math.isfinite(stars) and 0 <= seconds <= LATEST):
        raise ValueError("an id is empty or a number is none")
    return user, item, int(seconds), stars


def check_counts(dataset: str, directory: Path, counts: tuple, *ledgers: Ledger) -> None:
    """A collection is whole or it is not that collection."""
    if counts != COUNTS[dataset]:
        raise ArtifactError(
            f"{directory} has (users, items, events) {counts}, {dataset} has {COUNTS[dataset]} "
            f"({'; '.join(f'{ledger.name}: {ledger.trail()}' for ledger in ledgers)}); remove it to fetch it anew"
        )


def describe_films(films: list[tuple[str, str, list[str]]], plot: dict[str, str]) -> pl.DataFrame:
    """Text of a film: its genres in words, and its plot where known."""
    records = [
        {
            "item": item,
            "title": clean_title(title),
            "text": " ".join(filter(None, [f"Genres: {', '.join(genres)}." if genres else "", plot.get(item, "")])),
            "brand": "",
            "categories": ",".join(genres),
        }
        for item, title, genres in films
    ]
    return pl.DataFrame(records, schema=dict.fromkeys(("item", "title", "text", "brand", "categories"), pl.String))


def find_plots_file(data: Data, directory: Path) -> Path | None:
    name = OMDB.format(dataset=data.dataset)
    return next((path for path in (directory / name, data.raw_dir / name) if path.exists()), None)


def find_plots(data: Data, directory: Path) -> dict[str, str]:
    """movie id -> plot, from the optional file."""
    path = find_plots_file(data, directory)
    return read_plots(path) if path else {}


def read_plots(path: Path) -> dict[str, str]:
    """A file of one JSON object a line with movie_id and plot -> {movie id: plot}, without those that are unknown."""
    try:
        records = [(str(record["movie_id"]), clean_text(record.get("plot") or "")) for record in read_json_lines(path)]
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path} must hold one JSON object a line with movie_id and plot ({error!r})") from None
    return {item: plot for item, plot in records if plot != "N/A"}
