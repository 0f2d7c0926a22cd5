"""Exact top lists by best-first search over the trie: a prefix that cannot hold one of the best k is never read.

B prompts, A of them still searched, P prompt tokens, T tokens appended to a row, F open prefixes, W of them read in a
pass, C most children of a node, L levels, d width

A child never scores above its parent, under `vocab` as under `trie`. So when k items are finished and every open prefix
scores below the k-th, no item under one of them can be among the best k (best-first beam search, arXiv 2007.03909).
A pass reads the best open prefixes of every request, of whatever depth: they are tokens of one tree appended to the
prompt's row, and each sees the prompt, its own ancestors and itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from genrec.models.beam import NEVER, SidVocabulary, append_tokens, read_prompts, score_children
from genrec.models.passes import Past, Runtime
from genrec.models.trie import Filter, Trie

WIDTH = 20  # prefixes of a request that a pass reads while all are searched
WIDEST = 64  # where few are left: a pass that reads little takes hardly less time
TRIED = 3  # the best of so many times the nodes that are needed tell what is certain: more tell little more
ROUNDING = 1e-3  # by how much a sum of log-probabilities may fall short of what its parts promise
SHALLOW = -1e4  # added to the score of what is not deepest where the deepest come first


@dataclass(frozen=True)
class Space:
    """Where a search goes."""

    model: PreTrainedModel | Runtime
    trie: Trie
    sids: SidVocabulary
    normalization: str
    only: Filter | None  # rows of its `denied` are the requests still searched
    k: int  # leaves that are asked for


class Leaves(NamedTuple):
    """Finished leaves of the trie, NEVER-scored where there is none."""

    leaf: Tensor  # (A, n)
    score: Tensor  # (A, n)


@dataclass(frozen=True)
class Prefixes:
    """Nodes above the leaves that the model has not read, best first; NEVER-scored where there is none."""

    node: Tensor  # (A, F)
    depth: Tensor  # (A, F) 1..L-1
    score: Tensor  # (A, F)
    parent: Tensor  # (A, F) place of the parent among the appended tokens, -1 at depth 1

    def take(self, column: Tensor) -> Prefixes:
        """Columns (A, n) of each row."""
        return Prefixes(*(value.gather(1, column) for value in vars(self).values()))

    def rows(self, row: Tensor) -> Prefixes:
        return Prefixes(*(value[row] for value in vars(self).values()))

    def join(self, other: Prefixes) -> Prefixes:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Prefixes(*(torch.cat(pair, dim=1) for pair in pairs))

    @property
    def real(self) -> Tensor:
        return self.score > NEVER / 2


class Grown(NamedTuple):
    """The children of prefixes that were read."""

    open: Prefixes
    finished: Leaves
    floor: Tensor  # (A,) what is left out scores below


@dataclass(frozen=True)
class Found:
    """The best leaves of each request, and what proves them."""

    leaf: Tensor  # (B, k) best first; which of equal scores are listed goes by item number
    score: Tensor  # (B, k) NEVER where the catalogue has no more
    bound: Tensor  # (B,) no item that is not listed scores above this; NEVER where the list is proven
    reads: Tensor  # (B,) prefixes that were read

    @property
    def exact(self) -> Tensor:
        """(B,) bool: these are the best k of all items, up to the rounding of the passes that scored them."""
        return self.bound < NEVER / 2


@torch.inference_mode()
def frontier_search(
    model: PreTrainedModel | Runtime,
    trie: Trie,
    sids: SidVocabulary,
    prompts: list[list[int]],
    k: int,
    normalization: str = "vocab",
    only: Filter | None = None,
    budget: int = 1000,
    width: int = WIDTH,
) -> Found:
    """The best k leaves of each prompt, proven; where `budget` reads of a prompt end first, the best found by then.

    The lists of `beam_search` with endless beams. A pass reads at most `width` prefixes a prompt.
    """
    count = min(k, len(trie.code[-1]))
    read, space = read_prompts(model, prompts), Space(model, trie, sids, normalization, only, count)
    device = read[1].device
    frontier, new = begin_search(space, read, budget, torch.full((len(prompts),), NEVER, device=device))
    lists = Leaves(*(value.new_zeros(len(prompts), count) for value in new))
    found = Found(
        *lists, *(torch.zeros(len(prompts), dtype=kind, device=device) for kind in (torch.float32, torch.long))
    )
    best = keep_best(frontier.space, new, count)
    while True:
        floor = find_floor(best, count)
        frontier.prune(floor)
        ended = frontier.ended()
        if ended.any():
            write_ended(found, frontier, best, ended)
            going = (~ended).nonzero()[:, 0]
            if not len(going):
                return found
            frontier.keep_rows(going)
            best, floor = Leaves(best.leaf[going], best.score[going]), floor[going]
        new = frontier.read(frontier.choose(max(width, min(WIDEST, width * len(prompts) // len(best.score)))), floor)
        best = keep_best(frontier.space, Leaves(*map(join_columns, best, new)), count)


def join_columns(left: Tensor, right: Tensor) -> Tensor:
    return torch.cat([left, right], dim=1)


def find_floor(best: Leaves, k: int) -> Tensor:
    """(A,) the k-th best score, that an item must reach to be listed; NEVER while fewer are finished."""
    if best.score.shape[1] < k:
        return best.score.new_full((len(best.score),), NEVER)
    return best.score[:, -1]


def write_ended(found: Found, frontier: Frontier, best: Leaves, ended: Tensor) -> None:
    """The answers of requests that need no further pass, or get none."""
    row, width = frontier.row[ended], best.score.shape[1]
    found.score[row] = pad(best.score[ended], (0, found.score.shape[1] - width), value=NEVER)
    found.leaf[row] = pad(best.leaf[ended], (0, found.leaf.shape[1] - width))
    found.bound[row] = frontier.bound()[ended]
    found.reads[row] = frontier.reads[ended]


class Frontier:
    """The open prefixes of a batch of requests, and what the model has read of them; every pass changes it."""

    def __init__(self, space: Space, cache: Past, seen: Tensor, length: Tensor, open_: Prefixes, budget: int):
        self.space = space
        self.budget = budget  # prefixes of a request that may be read
        self.cache = cache
        self.seen = seen  # (A, P) which keys of the prompt count
        self.length = length  # (A,)
        self.open = open_
        self.row = torch.arange(len(length), device=length.device)  # (A,) which request it is
        self.reads = torch.zeros_like(length)  # (A,)
        self.lost = open_.score.new_full((len(length),), NEVER)  # (A,) best score of what no read was left for
        self.promise = self.lost  # (A,) what the k best leaves reach, whether finished or not
        self.path = length.new_zeros(len(length), 0, space.trie.num_levels - 1)  # (A, T, L - 1), see `ancestors`

    def prune(self, floor: Tensor) -> None:
        """Drop what cannot be listed, (A,) being the score to reach, and what is behind more than can still be read.

        Where fewer than k items are finished no score tells what may be left out: the deepest come first, as in a beam.
        """
        score, reach = self.open.score, torch.maximum(floor, self.promise)
        score = score.masked_fill(score < reach[:, None], NEVER)  # a score that is no number stays, and is refused
        real, room = score > NEVER / 2, max(self.budget - int(self.reads.min()), 1)
        depth = self.open.depth.masked_fill(~real, 0)
        deferred = (depth < depth.amax(1, keepdim=True)) & (floor < NEVER / 2)[:, None]
        order = torch.where(deferred & real, score + SHALLOW, score)
        size = int(real.sum(1).max())
        if size > room:  # what may be read by one order or by the other
            last = [values.topk(room, dim=1).values[:, -1:] for values in (score, order)]
            order = order.masked_fill((score < last[0]) & (order < last[1]), NEVER)
            size = int((order > NEVER / 2).sum(1).max())
        column = order.topk(min(max(size, 1), order.shape[1]), dim=1).indices
        self.lost = torch.maximum(self.lost, score.scatter(1, column, NEVER).amax(1))
        self.lost = self.lost.masked_fill(self.lost < floor, NEVER)
        self.open = replace(self.open, score=score).take(column)

    def ended(self) -> Tensor:
        """(A,) nothing is open that may be read."""
        return ~self.open.real.any(1) | (self.reads >= self.budget)

    def bound(self) -> Tensor:
        """(A,) the best score that is still open."""
        return torch.cat([self.lost[:, None], self.open.score], dim=1).amax(1)

    def keep_rows(self, row: Tensor) -> None:
        """Go on with some of the requests."""
        for name in ("seen", "length", "row", "reads", "lost", "promise", "path"):
            setattr(self, name, getattr(self, name)[row])
        self.open = self.open.rows(row)
        self.cache.batch_select_indices(row)
        if self.space.only is not None:
            self.space = replace(self.space, only=self.space.only.rows(row))

    def choose(self, width: int) -> Prefixes:
        """Take out the first `width` open prefixes (A, W), fewer where the budget ends."""
        width = min(width, int(self.open.real.sum(1).max()))
        left = (self.budget - self.reads)[:, None]
        first = torch.arange(self.open.score.shape[1], device=left.device) < left.clamp(max=width)
        chosen = replace(self.open, score=self.open.score.masked_fill(~first, NEVER))
        self.open = replace(self.open, score=self.open.score.masked_fill(first, NEVER))
        return Prefixes(*(value[:, :width] for value in vars(chosen).values()))

    def read(self, chosen: Prefixes, floor: Tensor) -> Leaves:
        """One pass over chosen prefixes (A, W): their children are open from now on, or are returned as finished.

        Those that score below `floor` (A,) are left out, or below what k leaves under them are certain to reach.
        """
        here = torch.arange(chosen.node.shape[1], device=chosen.node.device) + self.path.shape[1]
        hidden = append_tokens(
            self.space.model,
            self.cache,
            self.tokens(chosen),
            self.seen,
            self.ancestors(chosen),
            self.length[:, None] + chosen.depth - 1,
        )  # (A, W, d)
        self.reads = self.reads + chosen.real.sum(1)
        finished = []
        for depth, column in split_depths(chosen, self.space.trie.num_levels):
            some = chosen.take(column)
            some = replace(some, score=some.score.masked_fill(some.depth != depth, NEVER), parent=here[column])
            state = hidden.gather(1, column[..., None].expand(-1, -1, hidden.shape[-1]))
            open_, leaves, floor = grow_prefixes(self.space, some, state, depth, floor)
            self.open = self.open.join(open_)
            finished.append(leaves)
        self.promise = torch.maximum(self.promise, floor)
        return Leaves(*(torch.cat(parts, dim=1) for parts in zip(*finished, strict=True)))

    def tokens(self, chosen: Prefixes) -> Tensor:
        """(A, W) token ids of prefixes' last codes."""
        trie, sids = self.space.trie, self.space.sids
        token = torch.zeros_like(chosen.node)
        for depth in range(1, trie.num_levels):
            here = chosen.depth == depth
            code = trie.code[depth - 1][chosen.node.masked_fill(~here, 0)]
            token = torch.where(here, sids.level(depth - 1)[code.clamp(min=0)], token)
        return token

    def ancestors(self, chosen: Prefixes) -> Tensor:
        """(A, W, T + W) bool, which appended tokens each prefix sees; `path` learns of them.

        `path` holds of every appended token the places of its ancestors and its own, one a depth, from 1 on; 0 is none.
        """
        (rows, width), T = chosen.node.shape, self.path.shape[1]
        known = pad(self.path, (0, 0, 1, 0))  # (A, 1 + T, L - 1); depth 1 has no parent
        path = known.gather(1, (chosen.parent + 1)[..., None].expand(-1, -1, known.shape[-1]))
        place = (torch.arange(width, device=path.device) + T + 1).expand(rows, -1)
        path = path.scatter(2, (chosen.depth - 1)[..., None], place[..., None])
        self.path = torch.cat([self.path, path], dim=1)
        sees = torch.zeros(rows, width, 1 + T + width, dtype=torch.bool, device=path.device)
        return sees.scatter_(2, path, True)[..., 1:]


def begin_search(
    space: Space, read: tuple[Past, Tensor, Tensor, Tensor], budget: int, floor: Tensor
) -> tuple[Frontier, Leaves]:
    """Prompts as `read_prompts` left them, and the root's children that reach `floor` (B,), open or finished."""
    cache, last, seen, length = read
    nothing = torch.zeros_like(length)[:, None]
    root = Prefixes(nothing, nothing, nothing.float(), nothing - 1)
    open_, leaves, _ = grow_prefixes(space, root, last[:, None], 0, floor)
    return Frontier(space, cache, seen, length, open_, budget), leaves


def split_depths(chosen: Prefixes, num_levels: int) -> Iterator[tuple[int, Tensor]]:
    """Depth by depth the columns (A, w) of its prefixes first; rows with fewer have others behind."""
    for depth in range(1, num_levels):
        here = chosen.real & (chosen.depth == depth)
        if count := int(here.sum(1).max()):
            yield depth, here.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :count]


def grow_prefixes(space: Space, parent: Prefixes, hidden: Tensor, depth: int, floor: Tensor) -> Grown:
    """Prefixes (A, w) of one depth and their hidden states -> their children that reach `floor` (A,).

    `parent.parent` holds the place where each was read. NEVER-scored ones have no children.
    """
    trie = space.trie
    node = parent.node.masked_fill(~parent.real, 0)
    child, _, score = score_children(
        space.model, trie, space.sids, node, hidden, depth, space.normalization, space.only
    )  # (A, w, C) each
    total = (parent.score[..., None] + score).clamp(min=NEVER).flatten(1)
    if depth + 1 < trie.num_levels and bool((floor < NEVER / 2).any()):
        floor = torch.maximum(floor, promise_leaves(space, child.flatten(1), total, depth + 1))
    total, column = take_reaching(total, floor)
    place, child = parent.parent.gather(1, column // child.shape[-1]), child.flatten(1).gather(1, column)
    if depth + 1 == trie.num_levels:
        zero = torch.zeros_like(child[:, :1])
        none = Prefixes(zero, zero + 1, torch.full_like(total[:, :1], NEVER), zero - 1)
        return Grown(none, Leaves(child, total), floor)
    leaf, certain = trie.only_leaf(depth + 1, child, of_chains=space.normalization == "trie")
    open_ = Prefixes(child, torch.full_like(child, depth + 1), total.masked_fill(certain, NEVER), place)
    return Grown(open_, Leaves(leaf, total.masked_fill(~certain, NEVER)), floor)


def promise_leaves(space: Space, node: Tensor, score: Tensor, depth: int) -> Tensor:
    """(A,) what the k best leaves under nodes (A, n) of a depth are certain to reach; NEVER where that is not known.

    Under `trie` the probability of a node is that of its leaves together, so the best of m has an m-th of it or more.
    A denied item has a share of it and is not listed, but each is under one node only: with P of them k of the best
    k + P nodes are without.
    """
    only, place = space.only, space.k
    if only is not None and only.denied is not None:
        place += only.denied.shape[1]
    if space.normalization != "trie" or place > node.shape[1] or (only is not None and only.listed is not None):
        return torch.full_like(score[:, 0], NEVER)
    score, column = score.topk(min(TRIED * place, score.shape[1]), dim=1)
    leaves, node = space.trie.leaves[depth], node.gather(1, column)
    least = score - (leaves[node + 1] - leaves[node]).clamp(min=1).log()
    return least.topk(place, dim=1).values[:, -1] - ROUNDING


def take_reaching(score: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (A, n) that reach (A,) and their columns, (A, m) both: what follows is done for few of many children."""
    score = score.masked_fill(score < floor[:, None], NEVER)
    size = max(int((score > NEVER / 2).sum(1).max()), 1)
    if 2 * size > score.shape[1]:
        return score, torch.arange(score.shape[1], device=score.device).expand(len(score), -1)
    return score.topk(size, dim=1)


def keep_best(space: Space, leaves: Leaves, k: int) -> Leaves:
    """The best k, equal scores by the lowest item that may be listed."""
    score, column = leaves.score.topk(min(k, leaves.score.shape[1]), dim=1)
    floor = score[:, -1:]
    reaching = (leaves.score >= floor) & (floor > NEVER / 2)
    if int(reaching.sum(1).max()) > score.shape[1]:
        number = first_items(space, leaves.leaf)
        by_number = number.argsort(dim=1, stable=True)
        order = leaves.score.gather(1, by_number).argsort(dim=1, descending=True, stable=True)
        column = by_number.gather(1, order)[:, :k]
    return Leaves(*(value.gather(1, column) for value in leaves))


def first_items(space: Space, leaf: Tensor) -> Tensor:
    """(A, n) the lowest item of each leaf that its row may get; N where there is none."""
    place, listed = items_under(space, leaf)
    return torch.where(listed, space.trie.item[place], len(space.trie.item)).amin(-1)


def items_under(space: Space, leaf: Tensor) -> tuple[Tensor, Tensor]:
    """Leaves (A, n) -> places in code order of their items (A, n, most of a leaf), and whether the row gets them."""
    trie = space.trie
    start, stop = trie.under[-1][leaf], trie.under[-1][leaf + 1]
    place = start[..., None] + torch.arange(int((stop - start).max()), device=leaf.device)
    listed = place < stop[..., None]
    place = place.clamp(max=len(trie.item) - 1)
    return place, listed if space.only is None else listed & space.only.lists(place)
