"""Text vectors mixed with collaborative ones: items bought together come to share codes even when their texts differ.

    C_ij     how often i and j stand within WINDOW purchases of one user, train events only
    M_ij     max(0, log(C_ij sum(C) / (C_i. C_.j)) - log SHIFT)      shifted positive PMI
    f        rows of U sqrt(S), M = U S U^T truncated                 factors, scaled to length 1
    x_fused  [sqrt(1 - alpha) text, sqrt(alpha) f]                    |x - y|^2 mixes both distances by alpha

An item that training never saw has f = 0: it is placed by its text alone.

N items, D width of the text vectors, F factors, P pairs
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import svds

from genrec.data.vectors import Rows, scale_to_unit, split_rows

WINDOW = 5
SHIFT = 1.0
GRID = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7)  # what alpha: auto tries
SAMPLE = 2000  # valid examples it looks at
HITS_AT = 10


def fuse_vectors(text: np.ndarray, factors: np.ndarray, alpha: float) -> np.ndarray:
    """(N, D), (N, F) -> (N, D + F) float32."""
    return np.concatenate([np.sqrt(1 - alpha) * scale_to_unit(text), np.sqrt(alpha) * factors], axis=1).astype(
        np.float32
    )


@dataclass(frozen=True)
class MixedRows:
    """The same (N, D + F), of which only what is taken is made."""

    text: Rows
    factors: Rows
    alpha: float

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.text), self.text.shape[1] + self.factors.shape[1]

    def __len__(self) -> int:
        return len(self.text)

    def __getitem__(self, at: Any, /) -> np.ndarray:
        return fuse_vectors(self.text[at], self.factors[at], self.alpha)


def mix_rows(text: Rows, factors: Rows, alpha: float) -> Rows:
    """Both as arrays: an array."""
    mixed = MixedRows(text, factors, alpha)
    return mixed[:] if isinstance(text, np.ndarray) else mixed


def compute_item_factors(
    item: np.ndarray, offset: np.ndarray, seen: np.ndarray, num_items: int, width: int
) -> np.ndarray:
    """Events (T,) that training may see -> (N, F) of length 1, or 0 for items without a neighbour."""
    ppmi = shifted_ppmi(count_co_occurrence(item, offset, seen, num_items))
    rank = min(width, num_items - 1)
    if not ppmi.nnz or rank < 1:
        return np.zeros((num_items, width), dtype=np.float32)
    start = np.random.default_rng(0).normal(size=num_items)  # svds otherwise starts anywhere
    left, values, _ = svds(ppmi, k=rank, v0=start)
    factors = np.zeros((num_items, width), dtype=np.float32)
    factors[:, :rank] = left[:, ::-1] * np.sqrt(values[::-1])
    factors[np.asarray(ppmi.sum(axis=1)).ravel() == 0] = 0
    return scale_to_unit(factors).astype(np.float32)


def count_co_occurrence(item: np.ndarray, offset: np.ndarray, seen: np.ndarray, num_items: int) -> sparse.csr_matrix:
    """(N, N) symmetric counts of different items within WINDOW events of one user."""
    owner = np.repeat(np.arange(len(offset) - 1), np.diff(offset))[seen]
    items = item[seen]
    counts = sparse.csr_matrix((num_items, num_items))
    for gap in range(1, WINDOW + 1):
        near = (owner[gap:] == owner[:-gap]) & (items[gap:] != items[:-gap])
        pair = items[:-gap][near], items[gap:][near]
        counts += sparse.csr_matrix((np.ones(near.sum()), pair), shape=(num_items, num_items))
    return (counts + counts.T).tocsr()


def shifted_ppmi(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    cells = counts.tocoo()
    total, margin = cells.data.sum(), np.asarray(counts.sum(axis=1)).ravel()
    value = np.log(cells.data * total / (margin[cells.row] * margin[cells.col])) - np.log(SHIFT)
    matrix = sparse.csr_matrix((np.maximum(value, 0), (cells.row, cells.col)), shape=counts.shape)
    matrix.eliminate_zeros()
    return matrix


def choose_alpha(
    text: Rows, factors: Rows, last: np.ndarray, target: np.ndarray, seed: int
) -> tuple[float, dict[str, float]]:
    """The alpha of GRID at which items near the last one (P,) most often hold the valid target (P,), and all rates."""
    sampled = np.sort(np.random.default_rng(seed).permutation(len(last))[:SAMPLE])
    rates = {alpha: measure_hit_rate(mix_rows(text, factors, alpha), last[sampled], target[sampled]) for alpha in GRID}
    return max(GRID, key=lambda alpha: rates[alpha]), {str(alpha): round(rate, 5) for alpha, rate in rates.items()}


def measure_hit_rate(vectors: Rows, last: np.ndarray, target: np.ndarray) -> float:
    """Share of pairs whose target is among the HITS_AT items most like the last one, itself aside."""
    if not isinstance(vectors, np.ndarray):
        return measure_hit_rate_by_blocks(vectors, last, target)
    hits = 0
    for start in range(0, len(last), 256):
        query, targets = last[start : start + 256], target[start : start + 256]
        likeness = vectors[query] @ vectors.T  # (n, N)
        likeness[np.arange(len(query)), query] = -np.inf
        own = likeness[np.arange(len(query)), targets]
        hits += int(((likeness > own[:, None]).sum(axis=1) < HITS_AT)[np.isfinite(own)].sum())
    return hits / max(1, len(last))


def measure_hit_rate_by_blocks(vectors: Rows, last: np.ndarray, target: np.ndarray) -> float:
    """The same, of which one block of the items is in memory at a time."""
    query = vectors[last]  # (P, D)
    own, above = (query * vectors[target]).sum(axis=1), np.zeros(len(last), dtype=np.int64)
    for block in split_rows(vectors):
        likeness = query @ vectors[block].T  # (P, n)
        for left_out in (last, target):
            row = np.flatnonzero((left_out >= block.start) & (left_out < block.stop))
            likeness[row, left_out[row] - block.start] = -np.inf
        above += (likeness > own[:, None]).sum(axis=1)
    return int(((above < HITS_AT) & (last != target)).sum()) / max(1, len(last))
