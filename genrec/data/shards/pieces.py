"""Files -> pieces that a task each reads: a file, or where it can be cut a part of its lines or rows.

JSON lines are cut before a line that begins an object, delimited text at any line where the file holds no quote,
Parquet by rows. What is packed, or holds quotes, is one piece however large.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import polars as pl

from genrec.data.ndjson import GZIP_MAGIC, ZSTD_MAGIC, damaged_file_error, open_file

BLOCK = 2**24  # bytes read at once
PACKED = 4  # bytes of text that one of a packed file or of Parquet stands for, by rule of thumb
QUOTED = ("csv", "tsv")  # kinds in which a line's end may stand within a quoted value


class Piece(NamedTuple):
    """What one task reads: bytes `start` to `stop` of a file, of Parquet rows; `stop` None: all of it."""

    path: Path
    kind: str
    start: int = 0
    stop: int | None = None

    @property
    def is_whole(self) -> bool:
        return self.stop is None


def cut_file(path: Path, kind: str, size: int) -> list[Piece]:
    """Pieces of about `size` bytes of text, in the order of the file."""
    bytes_there = path.stat().st_size
    if kind == "parquet":
        return cut_rows(path, -(-bytes_there * PACKED // size))
    if bytes_there <= size or not can_be_cut(path, kind):
        return [Piece(path, kind)]
    starts = find_starts(path, kind, bytes_there, size)
    return [Piece(path, kind, start, stop) for start, stop in pairwise([*starts, bytes_there])]


def cut_rows(path: Path, pieces: int) -> list[Piece]:
    try:
        rows = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise damaged_file_error(path, error) from None
    pieces = max(1, min(pieces, rows))
    return [Piece(path, "parquet", rows * part // pieces, rows * (part + 1) // pieces) for part in range(pieces)]


def is_packed(path: Path) -> bool:
    with open_file(path) as file:
        head = file.read(len(ZSTD_MAGIC))
    return head[: len(GZIP_MAGIC)] == GZIP_MAGIC or head == ZSTD_MAGIC


def can_be_cut(path: Path, kind: str) -> bool:
    return not is_packed(path) and not (kind in QUOTED and holds_quotes(path))


def holds_quotes(path: Path) -> bool:
    with open_file(path) as file:
        return any(b'"' in block for block in iter(lambda: file.read(BLOCK), b""))


def find_starts(path: Path, kind: str, bytes_there: int, size: int) -> list[int]:
    """Where pieces begin: at a line's beginning, the first one that will do behind each multiple of `size`."""
    starts = [0]
    with open_file(path) as file:
        for target in range(size, bytes_there, size):
            if target <= starts[-1]:
                continue
            file.seek(target)
            file.readline()
            while (start := file.tell()) < bytes_there and kind == "jsonl" and file.read(1) != b"{":
                file.seek(start)
                file.readline()
            if start < bytes_there:
                starts.append(start)
    return starts


@contextmanager
def lifted(piece: Piece, beside: Path) -> Iterator[tuple[Path, int]]:
    """Within: (a file that holds this piece alone, under the header where there is one; the line ends it took).

    It lies in the directory `beside`, which goes with the job, so that a worker that is killed leaves nothing else.
    """
    if piece.is_whole or piece.kind == "parquet":
        yield piece.path, 0
        return
    with TemporaryDirectory(prefix="piece-", dir=beside) as scratch:
        path = Path(scratch) / f"piece{piece.path.suffix}"
        yield path, copy_piece(piece, path)


def copy_piece(piece: Piece, path: Path) -> int:
    """The line ends of its bytes."""
    assert piece.stop is not None, "a whole file is read where it lies"
    ends, left = 0, piece.stop - piece.start
    with open_file(piece.path) as file, path.open("wb") as copy:
        if piece.start and piece.kind != "jsonl":
            copy.write(file.readline())
        file.seek(piece.start)
        while left and (block := file.read(min(BLOCK, left))):
            copy.write(block)
            left, ends = left - len(block), ends + block.count(b"\n")
    return ends


def shift_lines(pieces: list[Piece], ends: list[int]) -> list[int]:
    """What to add to a line's number within each piece of one file, for its number in the file."""
    shifts, before = [], 0
    for piece, own in zip(pieces, ends, strict=True):
        if piece.kind == "parquet":
            shifts.append(piece.start)
        else:
            shifts.append(before - (1 if piece.start and piece.kind != "jsonl" else 0))
        before += own
    return shifts
