"""The catalogue as a tree of codes in flat numpy arrays, for searches with torch and without.

N items, L levels, D <= L depth of a node (0 = root), n_D nodes at depth D, W most children of one node

Built from the sorted code matrix: the nodes of depth D are its distinct prefixes of length D, so children of a node and
the items under it, are contiguous ranges (the CSR form of arXiv 2602.22647).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from genrec.sids import SidIndex


@dataclass(frozen=True)
class Ranges:
    code: tuple[np.ndarray, ...]  # [D-1] (n_D,) code that leads to a node of depth D; -1 where a shorter SID has ended
    first: tuple[np.ndarray, ...]  # [D] (n_D + 1,) children of node i are first[i]:first[i + 1] at depth D + 1
    under: tuple[np.ndarray, ...]  # [D] (n_D + 1,) items under node i are item[under[i]:under[i + 1]]
    item: np.ndarray  # (N,) items in code order
    width: tuple[int, ...]  # [D] W of each depth

    @property
    def num_levels(self) -> int:
        return len(self.code)

    @cached_property
    def place(self) -> np.ndarray:
        """(N,) where each item stands in code order."""
        place = np.empty_like(self.item)
        place[self.item] = np.arange(len(self.item))
        return place

    def children(self, depth: int, node: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Nodes (...) of a depth -> their children (..., W) at depth + 1 and which of these places are real."""
        child = self.first[depth][node][..., None] + np.arange(self.width[depth])
        real = child < self.first[depth][node + 1][..., None]
        return np.where(real, child, 0), real


def build_ranges(index: SidIndex) -> Ranges:
    """N log N time, no loop over items."""
    order = np.lexsort(index.codes.T[::-1])  # (N,)
    codes = index.codes[order]  # (N, L) sorted
    starts = [np.zeros(1, dtype=np.int64)]  # per depth: row where each node begins
    new = np.zeros(len(codes), dtype=bool)
    new[0] = True
    for level in range(index.num_levels):
        new[1:] |= codes[1:, level] != codes[:-1, level]
        starts.append(np.flatnonzero(new))
    first = [
        np.searchsorted(below, np.append(here, len(codes))) for here, below in zip(starts, starts[1:], strict=False)
    ]
    return Ranges(
        code=tuple(codes[starts[depth + 1], depth].astype(np.int64) for depth in range(index.num_levels)),
        first=tuple(first),
        under=tuple(np.append(rows, len(codes)) for rows in starts),
        item=order.astype(np.int64),
        width=tuple(int(np.diff(ranges).max()) for ranges in first),
    )
