"""The catalogue as a tree of codes, in flat arrays: no Python object a node.

N items, L levels, D <= L depth of a node (0 = root), n_D nodes at depth D, W most children of one node

The arrays are those of genrec/models/ranges.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from genrec.models.ranges import build_ranges
from genrec.sids import SidIndex

NEVER = -1e30  # score of what may not be taken, and of a place that holds nothing


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
        return self.count_under(depth, node, None if only is None else only.kept)

    def count_under(self, depth: int, node: Tensor, running: Tensor | None) -> Tensor:
        start, stop = self.under[depth][node], self.under[depth][node + 1]
        return stop - start if running is None else running[stop] - running[start]

    def count_listed(self, depth: int, node: Tensor, only: Filter) -> Tensor:
        """Items under each node (B, ...) that row b's list may hold."""
        count = self.count_under(depth, node, only.open)
        return count if only.denied is None else count - self.count_denied(depth, node, only.denied)

    @cached_property
    def leaves(self) -> tuple[Tensor, ...]:
        """[D] (n_D + 1,) leaves under node i of depth D are leaves[i]:leaves[i + 1]."""
        ranges = [torch.arange(len(self.code[-1]) + 1, device=self.item.device)]
        for first in reversed(self.first):
            ranges.append(ranges[-1][first])
        return tuple(reversed(ranges))

    @cached_property
    def place(self) -> Tensor:
        """(N,) where each item stands in code order."""
        place = torch.empty_like(self.item)
        place[self.item] = torch.arange(len(self.item), device=self.item.device)
        return place

    def nodes_to(self, item: Tensor) -> list[Tensor]:
        """[D] (...) the nodes on the way to items (...), root first."""
        place = self.place[item]
        return [torch.searchsorted(under, place, right=True) - 1 for under in self.under]

    def only_leaf(self, depth: int, node: Tensor, of_chains: bool) -> tuple[Tensor, Tensor]:
        """Nodes (...) of a depth -> the first leaf under each, and where its score is certain to be the node's own.

        That is where it is the only leaf and the SID has ended, or, `of_chains`, where a code without alternative is
        certain to follow.
        """
        leaf, stop = self.leaves[depth][node], self.leaves[depth][node + 1]
        alone = stop - leaf == 1
        if not of_chains:
            alone = alone & (self.code[depth][self.first[depth][node]] < 0)
        return leaf, alone

    def count_denied(self, depth: int, node: Tensor, denied: Tensor) -> Tensor:
        """Items under each node (B, ...) that row b may not get; denied (B, P) as Filter has it."""
        edges = torch.stack([self.under[depth][node], self.under[depth][node + 1]]).flatten(2)  # (2, B, nodes)
        before = torch.searchsorted(denied.expand(2, -1, -1).contiguous(), edges)  # places below each edge
        return (before[1] - before[0]).view(node.shape)


@dataclass(frozen=True)
class Filter:
    """Which items may be recommended: a patch on the trie. `kept` serves every call, `denied` is of one batch."""

    kept: Tensor | None = None  # (N + 1,) running count of allowed items in code order; None: all are
    listed: Tensor | None = None  # (N + 1,) the same of allowed items that any list may hold; None: those of `kept`
    denied: Tensor | None = None  # (B, P) places of listed items that row b may not get, ascending, -1 = none

    @property
    def open(self) -> Tensor | None:
        """(N + 1,) running count of what a list may hold, `denied` aside; None: all."""
        return self.kept if self.listed is None else self.listed

    def lists(self, place: Tensor) -> Tensor:
        """Places (B, ...) of items in code order -> whether row b may get them."""
        allowed = torch.ones_like(place, dtype=torch.bool)
        if self.open is not None:
            allowed = self.open[place + 1] > self.open[place]
        if self.denied is None or not self.denied.shape[1]:
            return allowed
        flat = place.flatten(1).contiguous()
        near = torch.searchsorted(self.denied, flat).clamp(max=self.denied.shape[1] - 1)
        return allowed & (self.denied.gather(1, near) != flat).view(place.shape)

    def rows(self, row: Tensor) -> Filter:
        """The same for some rows of the batch, by their numbers."""
        return self if self.denied is None else replace(self, denied=self.denied[row])


def build_trie(index: SidIndex) -> Trie:
    """N log N time, no loop over items."""
    ranges = build_ranges(index)

    def tensors(arrays: tuple[np.ndarray, ...]) -> tuple[Tensor, ...]:
        return tuple(map(torch.from_numpy, arrays))

    code, first, under = tensors(ranges.code), tensors(ranges.first), tensors(ranges.under)
    return Trie(code, first, under, torch.from_numpy(ranges.item), ranges.width)


def make_filter(trie: Trie, allowed: Tensor | None, denied: Tensor | None) -> Filter | None:
    """`allowed` (N,) bool for all rows, `denied` (B, P) distinct items of each row (-1 = none) -> Filter."""
    only = None if allowed is None else allow_items(trie, allowed)
    return only if denied is None else deny_items(trie, only, denied)


def allow_items(trie: Trie, allowed: Tensor) -> Filter:
    """`allowed` (N,) bool -> what every row may get; N time, once for all batches."""
    return Filter(kept=count_places(trie, allowed))


def list_items(trie: Trie, only: Filter | None, listed: Tensor) -> Filter:
    """The same where lists hold nothing but `listed` (N,) bool; the others keep their share of the probability."""
    only = only or Filter()
    running = count_places(trie, listed)
    if only.kept is not None:
        running = join_counts(only.kept, running)
    return replace(only, listed=running)


def count_places(trie: Trie, chosen: Tensor) -> Tensor:
    """(N,) bool of items -> (N + 1,) running count in code order."""
    counts = chosen[trie.item].long().cumsum(0)
    return torch.cat([counts.new_zeros(1), counts])


def join_counts(left: Tensor, right: Tensor) -> Tensor:
    """Running counts of two sets, (N + 1,) each -> of the items that are in both."""
    both = (left.diff() * right.diff()).cumsum(0)
    return torch.cat([both.new_zeros(1), both])


def deny_items(trie: Trie, only: Filter | None, denied: Tensor) -> Filter:
    """The same without what each row may not get, (B, P) distinct items, -1 = none; no time that grows with N."""
    only = only or Filter()
    place = trie.place[denied.clamp(min=0)]  # (B, P)
    counted = denied >= 0
    if only.open is not None:
        counted = counted & (only.open[place + 1] > only.open[place])  # what nobody may get is not taken off twice
    return replace(only, denied=torch.where(counted, place, -1).sort(dim=1).values)
