"""JSON lines -> a frame. A line means what `parse` makes of its JSON object, whatever stands in the other lines.

polars' reader is the quick way there. It takes numbers, lists and objects for text, so a row of its frame counts only
where `sound` shows that nothing was taken for anything; the other rows are parsed from their lines. A file that polars
refuses is parsed line by line. Lines end at \\n alone, a byte-order mark may open the file, and of a key that repeats
within an object the first counts, as with polars.
"""

from __future__ import annotations

import glob
import gzip
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from genrec.data.ledger import Ledger
from genrec.errors import ArtifactError

CHUNK = 200_000  # parsed lines held as Python objects
GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
UNPACKED_BY_POLARS = (b"x", b"(")  # how zlib and zstd begin, and JSON never does; of the two zstd is a format here
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
OTHER_ENCODING = "not in UTF-8"  # why a line was dropped
NESTING = 3_000  # Python's recursion limit while lines are parsed; polars takes objects 1,024 deep
LATEST = 4_102_444_800  # seconds of 2100-01-01: later ones are milliseconds in a seconds field, or noise

# What polars may have written for a value that is no text: a list, an object, a boolean, a number; and half of a
# surrogate pair, for which it writes NUL. An identifier may be a number, printed the same way up to 15 characters.
LIST_OR_OBJECT = r"\[[\[\]{\d\"tfn-]|\{[\"}]"
NO_TEXT = rf"^(?:{LIST_OR_OBJECT}|true$|false$|-?\d[\d.]*$)|\x00"
NO_IDENTIFIER = rf"^(?:$|{LIST_OR_OBJECT}|true$|false$|-?[\d.]{{16,}}$)|\x00"

Parse = Callable[[dict[str, Any]], dict[str, Any] | str]  # a record -> its row, or why it cannot be used


def read_ndjson(path: Path, schema: dict[str, Any], sound: pl.Expr, parse: Parse, name: str):
    """(frame with the columns of `schema`, Ledger). `sound`: true of every row that needs no second look."""
    frame = scan_quickly(path, schema)
    if frame is None:
        return read_line_by_line(path, schema, parse, name)
    doubtful = frame.select((~sound.fill_null(False)).arg_true()).to_series().to_numpy()
    if len(doubtful) == 0:
        return frame, Ledger(name, read=len(frame))
    if len(doubtful) > CHUNK:
        return read_line_by_line(path, schema, parse, name)
    return reread_rows(path, frame, doubtful, parse, name)


def sound_identifier(column: str) -> pl.Expr:
    return ~pl.col(column).str.contains(NO_IDENTIFIER)


def sound_text(column: str) -> pl.Expr:
    return pl.col(column).is_null() | ~pl.col(column).str.contains(NO_TEXT)


def sound_list(column: str) -> pl.Expr:
    """Of a list of texts: each is one."""
    bad_element = pl.element().is_null() | pl.element().str.contains(NO_TEXT)
    return pl.col(column).is_null() | ~pl.col(column).list.eval(bad_element).list.any()


def scan_quickly(path: Path, schema: dict[str, Any]) -> pl.DataFrame | None:
    """What polars makes of the file, a row for each line that is not blank; None where it refuses."""
    with open_file(path) as file:
        head = file.read(len(ZSTD_MAGIC))
    if head[:1] in UNPACKED_BY_POLARS and head != ZSTD_MAGIC:
        return None
    try:
        return pl.scan_ndjson(glob.escape(str(path.absolute())), schema=schema).collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError):
        return None


def reread_rows(path: Path, frame: pl.DataFrame, doubtful: np.ndarray, parse: Parse, name: str):
    """`frame` with these rows (ascending numbers) parsed from their lines."""
    ledger, rows, places = Ledger(name, read=len(frame)), [], []
    order, left, count = np.arange(len(frame)), set(doubtful.tolist()), 0
    with deep_nesting():
        for count, (number, line) in enumerate(number_lines(path), start=1):
            if count - 1 not in left:
                continue
            row = parse_line(line, parse)
            if isinstance(row, str):
                ledger.drop(row, 1, [number])
                order[count - 1] = -1
            else:
                rows.append(row)
                places.append(count - 1)
    assert count == len(frame), f"{path}: polars reads {len(frame)} rows of {count} lines"
    order[places] = len(frame) + np.arange(len(rows))
    parsed = pl.DataFrame(rows, schema=frame.schema, orient="row")
    frame = pl.concat([frame, parsed])[order[order >= 0]]
    ledger.check(len(frame))
    return frame, ledger


def read_line_by_line(path: Path, schema: dict[str, Any], parse: Parse, name: str):
    """The same by `parse` alone: slower, and no file is refused."""
    ledger, rows, chunks = Ledger(name), [], [pl.DataFrame(schema=schema)]
    with deep_nesting():
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


def keep_first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


DECODER = json.JSONDecoder(object_pairs_hook=keep_first)


def parse_line(line: bytes, parse: Parse) -> dict[str, Any] | str:
    try:
        record = DECODER.decode(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return "not valid JSON"
    return parse(record) if isinstance(record, dict) else "not a JSON object"


@contextmanager
def deep_nesting() -> Iterator[None]:
    """Within: json takes at least what polars takes, so a deep line means the same on both ways."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, NESTING))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def number_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(1-based number, line) of every line that is not blank, packed or not, without a byte-order mark."""
    with open_unpacked(path) as file:
        for number, line in enumerate(file, start=1):
            content = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
            if content and not content.isspace():
                yield number, content


@contextmanager
def open_unpacked(path: Path) -> Iterator[Iterable[bytes]]:
    """A file's bytes, plain, gzip or zstd by content; one that is cut short is an error where its end is missing."""
    with open_file(path) as plain:
        head = plain.read(len(ZSTD_MAGIC))
    try:
        if head == ZSTD_MAGIC:
            import pyarrow

            with pyarrow.input_stream(str(path), compression="zstd") as file, io.BufferedReader(file) as lines:
                yield lines
        else:
            with gzip.open(path, "rb") if head[:2] == GZIP_MAGIC else open_file(path) as file:
                yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise damaged_file_error(path, error) from None
    except OSError as error:
        if head == ZSTD_MAGIC and not error.errno:
            raise damaged_file_error(path, error) from None
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from None


def open_file(path: Path):
    """A raw file, open for bytes."""
    try:
        return path.open("rb")
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from None


def damaged_file_error(path: Path, error: Exception) -> ArtifactError:
    """Half a gzip file hides an unknown number of rows, so it is never used in part."""
    return ArtifactError(
        f"{path} is damaged or cut short ({error}); put a whole copy there, or remove it where it was downloaded, "
        "and run again"
    )


def check_bad_share(ledger: Ledger, path: Path, max_bad_share: float) -> None:
    """Stop when more lines are bad than the user allows."""
    bad = sum(ledger.dropped.values())
    if bad > max_bad_share * ledger.read:
        raise ArtifactError(
            f"{path}: {bad:,} of {ledger.read:,} lines ({bad / ledger.read:.1%}) cannot be used, more than "
            f"data.max_bad_share {max_bad_share:g}: {ledger.trail()}; {way_on(ledger, path)}"
        )


def way_on(ledger: Ledger, path: Path) -> str:
    """What mends most of the lines that were dropped."""
    if 2 * ledger.dropped.get(OTHER_ENCODING, 0) > sum(ledger.dropped.values()):
        return f"write it anew: iconv -f LATIN1 -t UTF-8 {path.name} (or -f the encoding that it is in)"
    return "mend the file or raise --data.max_bad_share"
