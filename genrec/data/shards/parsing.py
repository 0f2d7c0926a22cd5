"""A piece of a file of events -> a part: rows as the one-machine readers take them, grouped by a hash of the user.

    part.arrow     groups of rows in file order: user, item (a code of items.arrow), row, time, rating, weight, ticks
    items.arrow    the ids of its items by code

T rows
"""

from __future__ import annotations

import socket
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from genrec.config import Data
from genrec.data.amazon import EDITIONS, read_review_rows
from genrec.data.events import encode_ids
from genrec.data.ledger import Ledger
from genrec.data.shards.files import write_groups, write_texts
from genrec.data.shards.pieces import Piece, lifted
from genrec.data.table import (
    FLOAT_ID,
    KeptEvents,
    judge_rows,
    list_types,
    name_column,
    take_columns,
    weigh_types,
)
from genrec.data.table_columns import Columns
from genrec.data.table_files import OPENERS, Rows, read_json_lines, take_rows
from genrec.data.table_times import TimeSurvey, settle_form, survey_times
from genrec.errors import ArtifactError

PART, ITEMS = "part.arrow", "items.arrow"
SHOWN = 3  # ids of a piece that a message may quote


@dataclass(frozen=True)
class Recipe:
    """How a source's files are read."""

    data: Data
    groups: int  # of users
    columns: Columns | None = None  # of a table; None: of Amazon's reviews
    kinds: dict[str, Any] | None = None  # column -> type, of Parquet parts together


class Parsed(NamedTuple):
    """The rows of a piece that can be used, in file order."""

    user: pl.Series  # (T,) ids
    item: pl.Series
    time: np.ndarray  # (T,) int64 seconds
    rating: np.ndarray  # (T,) float32, nan where unknown
    weight: np.ndarray | None  # (T,) float32
    ticks: np.ndarray | None  # (T,) int64, where a second does not tell all times of the piece apart


def parse_piece(piece: Piece, recipe: Recipe, form: str | None, place: Path) -> dict[str, Any]:
    """Writes the part, and says what was read and lost. `form` None: the one that this piece's own times have.

    Where these have none that can be told the part is not written, and "form" is None.
    """
    if not piece.path.is_file():
        raise ArtifactError(
            f"{piece.path} is not seen by node {socket.gethostname()}; put it on a disk that all nodes "
            "share, under one path"
        )
    with lifted(piece, place.parent) as (path, ends):
        if recipe.columns is None:
            parsed, said = parse_reviews(path, recipe.data)
        else:
            parsed, said = parse_table(path, piece, recipe, form)
    said |= {"ends": ends, "rows": 0}
    if parsed is not None:
        write_part(parsed, recipe.groups, place)
        said |= {"rows": len(parsed.time), "ticks": parsed.ticks is not None, **look_at_ids(parsed)}
    return said


def parse_reviews(path: Path, data: Data) -> tuple[Parsed, dict[str, Any]]:
    frame, ledger = read_review_rows(path, EDITIONS[data.source])
    user, item, time, rating = frame.get_columns()
    parsed = Parsed(user, item, time.to_numpy(), to_ratings(rating), None, None)
    return parsed, {"read": ledger.as_dict(), "lost": Ledger("").as_dict(), "form": ""}


def parse_table(path: Path, piece: Piece, recipe: Recipe, form: str | None) -> tuple[Parsed | None, dict[str, Any]]:
    data, columns = recipe.data, recipe.columns
    assert columns is not None, "a table has columns"
    read, lost = Ledger("events"), Ledger("events")
    frame, locate = read_rows(path, piece, recipe, read)
    rows = take_columns(frame, columns, str(piece.path))
    survey = survey_times(rows.time)
    form = own_form(survey, columns, piece) if form is None else form
    said = {"read": read.as_dict(), "survey": survey._asdict(), "types": list_types(rows), "form": form}
    if form is None:
        return None, said | {"lost": lost.as_dict()}
    keep, times = judge_rows(rows, columns, form, lost, locate)
    keep, _, weight = weigh_types(rows, KeptEvents(keep, times, None), data, lost)
    kept = np.flatnonzero(keep)
    parsed = Parsed(
        rows.user.gather(kept),
        rows.item.gather(kept),
        times.seconds.gather(kept).to_numpy(),
        to_ratings(rows.rating.gather(kept)),
        None if weight is None else weight[kept],
        None if times.fine is None else times.fine.gather(kept).to_numpy(),
    )
    return parsed, said | {"lost": lost.as_dict()}


def read_rows(path: Path, piece: Piece, recipe: Recipe, ledger: Ledger) -> Rows:
    """As the whole file would be read; JSON lines by the columns of the whole, Parquet by the types of all parts."""
    assert recipe.columns is not None, "a table has columns"
    names = recipe.columns.all
    if piece.kind == "jsonl":
        return read_json_lines(path, names, ledger)
    if piece.kind == "parquet":
        rows = pl.scan_parquet(path, glob=False).select(names).slice(piece.start, (piece.stop or 0) - piece.start)
        return take_rows(rows.collect(engine="streaming").cast(pl.Schema(recipe.kinds or {})), ledger)
    return OPENERS[piece.kind](path).read(names, ledger)


def own_form(survey: TimeSurvey, columns: Columns, piece: Piece) -> str | None:
    """What the piece alone would be understood as; whoever has all surveys decides."""
    try:
        return settle_form([survey], name_column(columns.one("time"), str(piece.path)), 1.0)
    except ArtifactError:
        return None


def to_ratings(rating: pl.Series) -> np.ndarray:
    return rating.cast(pl.Float32).fill_null(np.nan).to_numpy()


def look_at_ids(parsed: Parsed) -> dict[str, Any]:
    """Whether all ids look like floats, and some of them."""
    said = {}
    for role, ids in (("user", parsed.user), ("item", parsed.item)):
        said[role] = {"floats": bool(ids.str.contains(FLOAT_ID).all()), "some": ids.unique().head(SHOWN).to_list()}
    return said


def write_part(parsed: Parsed, groups: int, place: Path) -> None:
    user, names = encode_ids(parsed.user)
    item, items = encode_ids(parsed.item)
    columns = {
        "user": parsed.user,
        "item": item,
        "row": np.arange(len(item), dtype=np.int64),
        "time": parsed.time,
        "rating": parsed.rating,
    }
    columns |= {} if parsed.weight is None else {"weight": parsed.weight}
    columns |= {} if parsed.ticks is None else {"ticks": parsed.ticks}
    place.mkdir(parents=True, exist_ok=True)
    write_texts(place / ITEMS, items)
    write_groups(place / PART, columns, group_users(names, groups)[user], groups)


def group_users(names: pl.Series, groups: int) -> np.ndarray:
    """(U,) ids -> (U,) group, the same on every machine."""
    return np.fromiter((zlib.crc32(name.encode()) % groups for name in names), dtype=np.int64, count=len(names))
