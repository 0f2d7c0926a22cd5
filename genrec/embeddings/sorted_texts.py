"""Item texts on disk, longest first: an encoder reads them a shard at a time, so nobody holds all of them.

    texts.jsonl    [item, "text"] a line, in the order in which texts are encoded; ASCII, so a character is a byte

It is written in two passes over the items, a slice at a time: the first measures texts, the second puts each at its
place. What stays in memory are some numbers an item.

N items; the place of an item is its rank by falling length of its text
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from genrec.artifacts import whole_file
from genrec.errors import ArtifactError

Slices = Callable[[], Iterable[list[str]]]  # texts of the items in their order, anew at each call


class Piece(NamedTuple):
    """Texts of some places, as a worker is told of them."""

    path: str
    first: int  # byte
    last: int
    count: int


@dataclass(frozen=True)
class SortedTexts:
    """A file of texts and where they stand in it."""

    path: Path
    order: np.ndarray  # (N,) int64, the item of each place
    starts: np.ndarray  # (N + 1,) int64, the byte at which each place begins
    characters: int
    digest: str  # of all texts in the order of the items

    def __len__(self) -> int:
        return len(self.order)

    def piece(self, span: tuple[int, int]) -> Piece:
        first, last = (int(self.starts[place]) for place in span)
        return Piece(str(self.path.resolve()), first, last, span[1] - span[0])


def lay_texts(slices: Slices, path: Path) -> SortedTexts:
    """Texts of all items, longest first, as the file `path`; whole or not there."""
    digest, lengths, sizes = hashlib.sha256(), [], []
    for lines, texts in write_lines(slices()):
        digest.update(b"".join(lines))
        lengths.append(np.array([len(text) for text in texts], dtype=np.int64))
        sizes.append(np.array([len(line) for line in lines], dtype=np.int64))
    length, size = (np.concatenate([np.zeros(0, np.int64), *parts]) for parts in (lengths, sizes))
    order = np.argsort(-length, kind="stable")  # longest first: memory runs out at once or never
    starts = np.concatenate([[0], np.cumsum(size[order])])
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    with whole_file(path) as file:
        first = 0
        for lines, _ in write_lines(slices()):
            put_lines(file, lines, place[first : first + len(lines)], starts)
            first += len(lines)
    return SortedTexts(path, order, starts, int(length.sum()), digest.hexdigest()[:16])


def write_lines(slices: Iterable[list[str]]) -> Iterable[tuple[list[bytes], list[str]]]:
    """(lines of the file, texts) of each slice."""
    first = 0
    for texts in slices:
        yield [json.dumps([first + row, text]).encode() + b"\n" for row, text in enumerate(texts)], texts
        first += len(texts)


def put_lines(file: BinaryIO, lines: list[bytes], places: np.ndarray, starts: np.ndarray) -> None:
    """Each line at its place (n,); neighbours are written at once, and of equal length all of a slice are."""
    by_place = np.argsort(places)
    for run in np.split(by_place, np.flatnonzero(np.diff(places[by_place]) != 1) + 1):
        if len(run):
            file.seek(int(starts[places[run[0]]]))
            file.write(b"".join(lines[row] for row in run))


def read_piece(piece: Piece) -> tuple[np.ndarray, list[str]]:
    """Items (n,) and their texts, or one line where the file is not what was laid."""
    try:
        with open(piece.path, "rb") as file:
            file.seek(piece.first)
            lines = file.read(piece.last - piece.first).splitlines()
        pairs = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{piece.path} cannot be read: {error}; run the same command again") from None
    if len(pairs) != piece.count:
        raise ArtifactError(
            f"{piece.path} is truncated: {len(pairs):,} of {piece.count:,} texts from byte {piece.first:,} on; "
            "run the same command again"
        )
    return np.array([item for item, _ in pairs], dtype=np.int64), [text for _, text in pairs]
