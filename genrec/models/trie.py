"""The catalogue as a tree of codes, in flat arrays: no Python object a node.

N items, L levels, D <= L depth of a node (0 = root), n_D nodes at depth D, W most children of one node

Built from the sorted code matrix: the nodes of depth D are its distinct prefixes of length D, so children of a node and
the items under it, are contiguous ranges (the CSR form of arXiv 2602.22647).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genrec.sids import SidIndex


@dataclass(frozen=True)
class Trie:
    code: tuple[Tensor, ...]  # [D-1] (n_D,) code that leads to a node of depth D; -1 where a shorter SID has ended
    first: tuple[Tensor, ...]  # [D] (n_D + 1,) children of node i are first[i]:first[i + 1] at depth D + 1
    under: tuple[Tensor, ...]  # [D] (n_D + 1,) items under node i are item[under[i]:under[i + 1]]
    item: Tensor  # (N,) items in code order
    width: tuple[int, ...]  # [D] W of each depth

    @property
    def num_levels(self) -> int:
        return len(self.code)

    def to(self, device: torch.device) -> Trie:
        def moved(arrays: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(array.to(device) for array in arrays)

        return Trie(moved(self.code), moved(self.first), moved(self.under), self.item.to(device), self.width)

    def children(self, depth: int, node: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes (...) of a depth -> their children (..., W) at depth + 1 and which of these places are real."""
        start, stop = self.first[depth][node], self.first[depth][node + 1]
        child = start[..., None] + torch.arange(self.width[depth], device=node.device)
        real = child < stop[..., None]
        return torch.where(real, child, 0), real

    def count(self, depth: int, node: Tensor, kept: Tensor | None = None) -> Tensor:
        """Items under each node (...); with `kept` (N + 1,), the running count of kept items in code order, just those."""
        start, stop = self.under[depth][node], self.under[depth][node + 1]
        return stop - start if kept is None else kept[stop] - kept[start]


def build_trie(index: SidIndex) -> Trie:
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
    return Trie(
        code=tuple(torch.from_numpy(codes[starts[d + 1], d].astype(np.int64)) for d in range(index.num_levels)),
        first=tuple(torch.from_numpy(ranges) for ranges in first),
        under=tuple(torch.from_numpy(np.append(rows, len(codes))) for rows in starts),
        item=torch.from_numpy(order.astype(np.int64)),
        width=tuple(int(np.diff(ranges).max()) for ranges in first),
    )


def keep_only(trie: Trie, allowed: Tensor) -> Tensor:
    """(N,) bool by item -> (N + 1,) running count in code order for `Trie.count`: how an allow list patches the trie."""
    counts = allowed[trie.item].long().cumsum(0)
    return torch.cat([counts.new_zeros(1), counts])
