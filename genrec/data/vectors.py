"""Text vectors of items: read and checked before anything is built on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from genrec.errors import ArtifactError, first_line
from genrec.pipeline import command_of

LARGEST = 1e15  # distances are summed squares in float32


def load_vectors(path: Path, num_items: int) -> np.ndarray:
    """(N, D) float32, checked against the catalogue's size."""
    try:
        vectors = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"{path} cannot be read: {first_line(error)}; run {command_of('embeddings')}") from None
    if not isinstance(vectors, np.ndarray):
        raise ArtifactError(f"{path} must be a float matrix (items, width); it is an npz")
    check_vectors(vectors, num_items, str(path))
    return vectors.astype(np.float32)


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
            f"{name} hold values up to {largest:.3g}; distances in float32 allow {bound:.3g} at width "
            f"{vectors.shape[1]}. Scale them down, to length 1 say"
        )


def check_vectors(vectors: np.ndarray, num_items: int, name: str) -> None:
    """Refuse what no quantizer can use: wrong type or shape, NaN or infinite rows, rows of zeros."""
    if vectors.ndim != 2 or vectors.dtype not in (np.float16, np.float32, np.float64):
        raise ArtifactError(f"{name} must be a float matrix (items, width); found {vectors.dtype} {vectors.shape}")
    if len(vectors) != num_items:
        raise ArtifactError(
            f"{name} have {len(vectors)} rows, the catalogue has {num_items} items; "
            f"run `{command_of('embeddings')} --clean`"
        )
    if not vectors.shape[1]:
        raise ArtifactError(f"{name} have width 0")
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise ArtifactError(f"{name} hold NaN or infinite numbers in {len(bad)} rows, first row {bad[0]}")
    check_magnitude(vectors, name)
    zero = np.flatnonzero(~vectors.any(axis=1))
    if len(zero):
        raise ArtifactError(f"{name} hold {len(zero)} rows of zeros, first row {zero[0]}: those items have no text")


def scale_to_unit(vectors: np.ndarray) -> np.ndarray:
    """(N, D) vectors, each scaled to length 1; a row of zeros stays one."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
