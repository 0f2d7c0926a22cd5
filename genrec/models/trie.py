"""The catalogue as a tree of codes, in flat arrays: no Python object a node.

N items, L levels, D <= L depth of a node (0 = root), n_D nodes at depth D, W most children of one node

The arrays are those of genrec/models/ranges.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genrec.models.ranges import build_ranges
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
        def move(arrays: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(array.to(device) for array in arrays)

        return Trie(move(self.code), move(self.first), move(self.under), self.item.to(device), self.width)

    def children(self, depth: int, node: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes (...) of a depth -> their children (..., W) at depth + 1 and which of these places are real."""
        start, stop = self.first[depth][node], self.first[depth][node + 1]
        child = start[..., None] + torch.arange(self.width[depth], device=node.device)
        real = child < stop[..., None]
        return torch.where(real, child, 0), real

    def count(self, depth: int, node: Tensor, only: Filter | None = None) -> Tensor:
        """Items under each node (...), or those of them that are allowed."""
        start, stop = self.under[depth][node], self.under[depth][node + 1]
        return stop - start if only is None else only.kept[stop] - only.kept[start]

    def count_denied(self, depth: int, node: Tensor, denied: Tensor) -> Tensor:
        """Items under each node (B, ...) that row b may not get; denied (B, P) as Filter has it."""
        edges = torch.stack([self.under[depth][node], self.under[depth][node + 1]]).flatten(2)  # (2, B, nodes)
        before = torch.searchsorted(denied.expand(2, -1, -1).contiguous(), edges)  # places below each edge
        return (before[1] - before[0]).view(node.shape)


@dataclass(frozen=True)
class Filter:
    """Which items may be recommended: a patch on the trie, made for one call."""

    kept: Tensor  # (N + 1,) running count of allowed items in code order
    denied: Tensor | None  # (B, P) places of allowed items in code order that row b may not get, ascending, -1 = none


def build_trie(index: SidIndex) -> Trie:
    """N log N time, no loop over items."""
    ranges = build_ranges(index)

    def tensors(arrays: tuple[np.ndarray, ...]) -> tuple[Tensor, ...]:
        return tuple(map(torch.from_numpy, arrays))

    code, first, under = tensors(ranges.code), tensors(ranges.first), tensors(ranges.under)
    return Trie(code, first, under, torch.from_numpy(ranges.item), ranges.width)


def make_filter(trie: Trie, allowed: Tensor | None, denied: Tensor | None) -> Filter | None:
    """`allowed` (N,) bool for all rows, `denied` (B, P) distinct items of each row (-1 = none) -> Filter."""
    if allowed is None and denied is None:
        return None
    allowed = torch.ones(len(trie.item), dtype=torch.bool, device=trie.item.device) if allowed is None else allowed
    counts = allowed[trie.item].long().cumsum(0)
    kept = torch.cat([counts.new_zeros(1), counts])
    if denied is None:
        return Filter(kept, None)
    place = torch.argsort(trie.item)[denied.clamp(min=0)]  # (B, P)
    counted = (denied >= 0) & allowed[denied.clamp(min=0)]  # an item that nobody may get is not taken off twice
    return Filter(kept, torch.where(counted, place, -1).sort(dim=1).values)
