"""JSON lines -> a frame. Sound files go through polars' lazy reader; a file with any bad line is read again line by
line, so that each bad line is counted by its reason and its number."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from genrec.data.ledger import Ledger
from genrec.errors import ArtifactError

CHUNK = 200_000  # parsed lines held as Python objects
GZIP_MAGIC = b"\x1f\x8b"

Parse = Callable[[dict[str, Any]], dict[str, Any] | str]  # a record -> its row, or why it cannot be used


def read_ndjson(path: Path, schema: dict[str, pl.DataType], sound: pl.Expr, parse: Parse, name: str):
    """(frame with the columns of `schema`, Ledger). `sound`: true of every row that needs no second look."""
    try:
        frame = pl.scan_ndjson(path, schema=schema).collect(engine="streaming")
        is_sound = frame.select(sound.fill_null(False).all()).item()
    except pl.exceptions.PolarsError:
        is_sound = False  # a line that is not JSON or has another type: found again below, with its number
    except OSError as error:
        raise damaged_file_error(path, error) from None
    if is_sound:
        return frame, Ledger(name, read=len(frame))
    return read_line_by_line(path, schema, parse, name)


def read_line_by_line(path: Path, schema: dict[str, pl.DataType], parse: Parse, name: str):
    """The same, by json.loads on one line after another: slower, and it knows every line number."""
    ledger, rows, chunks = Ledger(name), [], [pl.DataFrame(schema=schema)]
    for number, line in number_lines(path):
        ledger.read += 1
        row = parse_line(line, parse)
        if isinstance(row, str):
            ledger.drop(row, 1, [number])
            continue
        rows.append(row)
        if len(rows) == CHUNK:
            chunks.append(pl.DataFrame(rows, schema=schema, orient="row"))
            rows = []
    chunks.append(pl.DataFrame(rows, schema=schema, orient="row"))
    frame = pl.concat(chunks)
    ledger.check(len(frame))
    return frame, ledger


def parse_line(line: bytes, parse: Parse) -> dict[str, Any] | str:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return "not valid JSON"
    return parse(record) if isinstance(record, dict) else "not a JSON object"


def number_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(1-based number, line) of every line that is not blank, plain or gzip by content."""
    with path.open("rb") as plain:
        packed = plain.read(2) == GZIP_MAGIC
    try:
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.isspace():
                    yield number, line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged_file_error(path, error) from None


def damaged_file_error(path: Path, error: Exception) -> ArtifactError:
    """Half a gzip file hides an unknown number of rows, so it is never used in part."""
    return ArtifactError(
        f"{path} is damaged or cut short ({error}); remove it and run again to download it anew, "
        "or put a whole copy there (`gzip -t FILE` tells)"
    )


def check_bad_share(ledger: Ledger, path: Path, max_bad_share: float) -> None:
    """Stop when more lines are bad than the user allows."""
    bad = sum(ledger.dropped.values())
    if bad > max_bad_share * ledger.read:
        raise ArtifactError(
            f"{path}: {bad:,} of {ledger.read:,} lines ({bad / ledger.read:.1%}) cannot be used, more than "
            f"data.max_bad_share {max_bad_share:.1%}: {ledger.trail()}; mend the file or raise --data.max_bad_share"
        )
