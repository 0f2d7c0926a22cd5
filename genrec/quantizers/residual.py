"""The residual quantizer that all methods share: what codes mean, and how to go from vectors to codes and back.

    r_0 = z
    c_l = argmin_k |r_l - C_l[k]|^2
    r_{l+1} = r_l - C_l[c_l]
    z^  = sum_l C_l[c_l]

A method says where z comes from (the vectors themselves, or an encoder) and how the codebooks C_l are learned.

N items, D width of z, L levels, K codes a level
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from genrec.data.vectors import Rows
from genrec.errors import ArtifactError

CHUNK = 16384  # rows of a distance matrix at a time: 16384 x 256 float32 are 16 MB


@dataclass(frozen=True)
class Quantized:
    """What a method returns."""

    latent: Rows  # (N, D) float32, the z that codebooks quantize
    codes: np.ndarray  # (N, L) int32, before collisions are resolved
    codebooks: tuple[np.ndarray, ...]  # L of (K, D) float32
    inputs: Rows  # (N, width) float32, what was to be quantized: z itself unless there is an encoder
    reconstruct: Callable[[np.ndarray], np.ndarray] = np.asarray  # z^ (n, D) -> (n, width)


Cluster = Callable[[np.ndarray, int, int], tuple[np.ndarray, np.ndarray]]
# (vectors (N, D), K, seed) -> centroids (K, D) float32, codes (N,) int32


def fit_levels(vectors: np.ndarray, num_levels: int, codebook_size: int, cluster: Cluster, seed: int) -> Quantized:
    """Level by level: cluster the residuals, keep the centroids exactly as they are, subtract them."""
    check_codebook_size(len(vectors), codebook_size)
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    residual = vectors.copy()
    codes, codebooks = [], []
    for level in range(num_levels):
        centroids, nearest = cluster(residual, codebook_size, seed + level)
        residual -= centroids[nearest]
        codes.append(nearest.astype(np.int32))
        codebooks.append(centroids)
    return Quantized(vectors, np.stack(codes, axis=1), tuple(codebooks), vectors)


def fit_codebooks(vectors: np.ndarray, codes: np.ndarray, codebook_size: int) -> Quantized:
    """(N, D), (N, L) -> the codebooks that lose least under these codes, level by level.

    C_l[k] is the mean of the residuals r_l of the items with c_l = k. A code that no item has gets the mean of all, so
    that it stands among them.
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    remaining, codebooks = vectors.copy(), []
    for level in codes.T:
        counts = np.bincount(level, minlength=codebook_size)
        sums = np.zeros((codebook_size, vectors.shape[1]), dtype=np.float64)
        np.add.at(sums, level, remaining)
        means = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], remaining.mean(axis=0))
        codebooks.append(means.astype(np.float32))
        remaining -= codebooks[-1][level]
    return Quantized(vectors, codes.astype(np.int32), tuple(codebooks), vectors)


def check_codebook_size(num_items: int, codebook_size: int) -> None:
    if codebook_size > num_items:
        raise ArtifactError(
            f"sids.codebook_size {codebook_size} is more than the {num_items} items; a level cannot use so many codes. "
            f"Use --sids.codebook_size {max(2, num_items // 4)} or fewer"
        )


def squared_distances(vectors: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """Squared distances (n, D), (K, D) -> (n, K), by |a|^2 - 2ab + |b|^2."""
    squares = (vectors**2).sum(axis=1, keepdims=True) + (codebook**2).sum(axis=1)  # (n, K)
    return np.maximum(squares - 2 * vectors @ codebook.T, 0)


def find_nearest_codes(vectors: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """(N, D), (K, D) -> (N,) the nearest code of each; ties to the lower code."""
    blocks = [vectors[start : start + CHUNK] for start in range(0, len(vectors), CHUNK)]
    nearest = [squared_distances(block, codebook).argmin(axis=1) for block in blocks]
    return np.concatenate(nearest).astype(np.int32) if nearest else np.zeros(0, np.int32)


def encode_residually(latent: np.ndarray, codebooks: tuple[np.ndarray, ...]) -> np.ndarray:
    """(N, D) -> (N, L) codes by the recursion above."""
    residual, codes = latent.astype(np.float32, copy=True), []
    for codebook in codebooks:
        codes.append(find_nearest_codes(residual, codebook))
        residual -= codebook[codes[-1]]
    return np.stack(codes, axis=1)


def subtract_codebooks(rows: np.ndarray, codes: np.ndarray, codebooks: tuple[np.ndarray, ...]) -> np.ndarray:
    """(n, D), (n, l) -> r_l (n, D), in the place of the rows."""
    for level in range(codes.shape[1]):
        rows -= codebooks[level][codes[:, level]]
    return rows


def sum_codebooks(codes: np.ndarray, codebooks: tuple[np.ndarray, ...]) -> np.ndarray:
    """(N, l) codes of the first l levels -> (N, D) their sum; l may be 0."""
    total = np.zeros((len(codes), codebooks[0].shape[1]), dtype=np.float32)
    for level in range(codes.shape[1]):
        total += codebooks[level][codes[:, level]]
    return total


def child_costs(latent: np.ndarray, prefix: np.ndarray, codebooks: tuple[np.ndarray, ...]) -> np.ndarray:
    """Squared distance of each z to each child of its own prefix: (n, D), (n, l) -> (n, K_l)."""
    return squared_distances(latent - sum_codebooks(prefix, codebooks), codebooks[prefix.shape[1]])
