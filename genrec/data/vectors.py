"""Text vectors of items: read and checked before anything is built on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from genrec.errors import ArtifactError, first_line
from genrec.pipeline import command_of

BLOCK = 16_384  # rows of a file that are looked at together
WINDOW = 65_536  # rows of a file whose pages may be in memory together
LARGEST = 1e15  # distances are summed squares in float32


class Rows(Protocol):
    """Vectors (N, D) of which some are taken at a time: an array, or what lies on disk."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, at: Any, /) -> np.ndarray: ...


@dataclass(frozen=True)
class RowFile:
    """Vectors in a .npy file, (N, D); what is taken of them is float32, and only that is in memory."""

    path: str
    shape: tuple[int, int]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, at: Any, /) -> np.ndarray:
        if not isinstance(at, np.ndarray):
            return self.read(at)
        taken = np.empty((len(at), self.shape[1]), dtype=np.float32)
        order = np.argsort(at, kind="stable")
        window = at[order] // WINDOW  # one after the other: pages between rows that are far apart are read too
        for places in np.split(order, np.flatnonzero(np.diff(window)) + 1):
            taken[places] = self.read(at[places])
        return taken

    def read(self, at: Any) -> np.ndarray:
        """As an array gives it; the file is mapped anew, so that its pages leave memory again."""
        mapped = np.load(self.path, allow_pickle=False, mmap_mode="r")
        return np.array(mapped[at], dtype=np.float32)


def split_rows(rows: Rows) -> list[slice]:
    """An array as one block, what lies on disk in blocks of BLOCK rows."""
    size = max(len(rows), 1) if isinstance(rows, np.ndarray) else BLOCK
    return [slice(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]


def load_vectors(path: Path, num_items: int) -> np.ndarray:
    """(N, D) float32, checked against the catalogue's size."""
    vectors = map_vectors(path)
    check_vectors(vectors, num_items, str(path))
    return vectors.astype(np.float32)


def open_vectors(path: Path, num_items: int) -> RowFile:
    """The same, checked a block at a time and left on disk."""
    vectors = map_vectors(path)
    check_form(vectors, num_items, str(path))
    rows = RowFile(str(path.resolve()), (len(vectors), vectors.shape[1]))
    del vectors
    check_rows(rows, str(path))
    return rows


def map_vectors(path: Path) -> np.ndarray:
    try:
        vectors = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"{path} cannot be read: {first_line(error)}; run {command_of('embeddings')}") from None
    if not isinstance(vectors, np.ndarray):
        raise ArtifactError(f"{path} must be a float matrix (items, width); it is an npz")
    return vectors


def largest_magnitude(width: int) -> float:
    """The largest value whose squared distances, 4 x^2 a column, stay in float32 over so many columns."""
    return float(np.sqrt(np.finfo(np.float32).max / (4 * width)))


def check_magnitude(vectors: np.ndarray, name: str) -> None:
    """Refuse (N, D) values whose squared distances overflow float32: k-means then ends the whole process."""
    if not vectors.size:
        return
    largest, bound = float(max(vectors.max(), -vectors.min())), largest_magnitude(vectors.shape[1])
    if not largest <= bound:
        raise ArtifactError(
            f"{name} hold numbers up to {largest:.3g}, whose squares overflow float32: at width {vectors.shape[1]} "
            f"they may reach {bound:.3g}. Scale them down, to length 1 say"
        )


def check_vectors(vectors: np.ndarray, num_items: int, name: str) -> None:
    """Refuse what no quantizer can use: wrong type or shape, NaN or infinite rows, rows of zeros."""
    check_form(vectors, num_items, name)
    check_rows(np.asarray(vectors), name)


def check_form(vectors: np.ndarray, num_items: int, name: str) -> None:
    if vectors.ndim != 2 or vectors.dtype not in (np.float16, np.float32, np.float64):
        raise ArtifactError(f"{name} must be a float matrix (items, width); found {vectors.dtype} {vectors.shape}")
    if len(vectors) != num_items:
        raise ArtifactError(
            f"{name} have {len(vectors)} rows, the catalogue has {num_items} items; "
            f"run `{command_of('embeddings')} --clean`"
        )
    if not vectors.shape[1]:
        raise ArtifactError(f"{name} have width 0")


def check_rows(vectors: Rows, name: str) -> None:
    bad, zero = [], []
    for block in split_rows(vectors):
        rows = vectors[block]
        bad.append(block.start + np.flatnonzero(~np.isfinite(rows).all(axis=1)))
        if not len(bad[-1]):
            check_magnitude(rows, name)
        zero.append(block.start + np.flatnonzero(~rows.any(axis=1)))
    infinite, empty = (np.concatenate([np.zeros(0, np.int64), *found]) for found in (bad, zero))
    if len(infinite):
        raise ArtifactError(f"{name} hold NaN or infinite numbers in {len(infinite)} rows, first row {infinite[0]}")
    if len(empty):
        raise ArtifactError(f"{name} hold {len(empty)} rows of zeros, first row {empty[0]}: those items have no text")


def scale_to_unit(vectors: np.ndarray) -> np.ndarray:
    """(N, D) vectors, each scaled to length 1; a row of zeros stays one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
