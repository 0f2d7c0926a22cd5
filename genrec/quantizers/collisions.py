"""Items with equal codes made distinct: `reassign`, `extra_level`, or left as they are: `keep`.

N items, D width, L levels, K codes a level; a prefix is the first L-1 codes, its leaves are the K codes of the last.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from genrec.data.vectors import Rows
from genrec.errors import ArtifactError
from genrec.quantizers.residual import CHUNK, Quantized, child_costs
from genrec.sids import NONE, SidIndex, make_index, pack_rows

MANY = 65_536  # items that wait for another prefix


def resolve_collisions(quantized: Quantized, how: str) -> SidIndex:
    """Codes of a method -> the index that is written."""
    sizes = tuple(len(codebook) for codebook in quantized.codebooks)
    if how == "keep":
        return make_index(quantized.codes, sizes, allow_collisions=True)
    if how == "extra_level" and find_colliding(quantized.codes).any():
        codes = add_extra_level(quantized.codes)
        return make_index(codes, (*sizes, int(codes[:, -1].max()) + 1))
    return make_index(reassign_codes(quantized), sizes)


def add_extra_level(codes: np.ndarray) -> np.ndarray:
    """(N, L) -> (N, L+1): items that share a row are numbered 0, 1, ... in item order; alone ones get NONE."""
    _, group, size = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    rank = np.empty(len(codes), dtype=np.int64)
    order = np.argsort(group, kind="stable")
    starts = np.concatenate([[0], np.cumsum(size)[:-1]])
    rank[order] = np.arange(len(codes)) - np.repeat(starts, size)
    return np.column_stack([codes, np.where(size[group] > 1, rank, NONE)])


def reassign_codes(quantized: Quantized, taken: np.ndarray | None = None) -> np.ndarray:
    """(N, L) distinct codes near the ones given, and none of the SIDs already `taken` (M, L) by other items.

    Under each prefix the colliding items are matched with its free leaves at the least total squared distance
    (Hungarian method), so no item wins by its place in the file. Items for which a prefix has no leaf left go on to
    the nearest prefix with room, by the last code that has a free sibling, and are matched again there.
    """
    taken = np.zeros((0, quantized.codes.shape[1]), dtype=np.int64) if taken is None else taken
    codes = np.concatenate([taken, quantized.codes.astype(np.int64)])  # (M + N, L), the first M are not touched
    check_room(len(codes), quantized.codebooks)
    placed = ~find_colliding(codes)  # (M + N,) rows that keep their code
    placed[: len(taken)] = True
    space = Space(quantized.latent, len(taken), quantized.codebooks, codes, placed)
    while len(waiting := np.flatnonzero(~placed)):
        for items, leaves in group_by_prefix(codes, waiting, placed):
            match_leaves(space, items, leaves)
        move_to_next_prefix(space, np.flatnonzero(~placed))
    return codes[len(taken) :]


@dataclass(frozen=True)
class Space:
    """What `reassign_codes` works on; codes and placed change in place."""

    latent: Rows  # (N, D)
    taken: int  # rows of codes and placed before those of latent
    codebooks: tuple[np.ndarray, ...]
    codes: np.ndarray  # (M + N, L)
    placed: np.ndarray  # (M + N,) bool

    def rows(self, items: np.ndarray) -> np.ndarray:
        """z (n, D) of items that are not among the taken."""
        return self.latent[items - self.taken]


def check_room(num_items: int, books: tuple[np.ndarray, ...]) -> None:
    room = math.prod(len(book) for book in books)
    if num_items > room:
        raise ArtifactError(
            f"{num_items} items cannot have distinct semantic IDs in {len(books)} levels of {len(books[0])} codes "
            f"({room} in all); raise --sids.num_levels or --sids.codebook_size, or use --sids.collisions extra_level"
        )


def find_colliding(codes: np.ndarray) -> np.ndarray:
    """(N,) bool: the row stands more than once."""
    _, group, size = np.unique(pack_rows(codes), return_inverse=True, return_counts=True)
    return size[group] > 1


def group_by_prefix(
    codes: np.ndarray, waiting: np.ndarray, placed: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(waiting items, leaves taken by placed items) of every prefix under which items wait."""
    prefix = pack_rows(codes[:, :-1])
    asked = np.unique(prefix[waiting])
    at = np.minimum(np.searchsorted(asked, prefix), len(asked) - 1)
    there = np.flatnonzero(asked[at] == prefix)  # items of these prefixes alone are sorted
    order = there[np.argsort(at[there], kind="stable")]
    for members in np.split(order, np.cumsum(np.bincount(at[there]))[:-1]):
        yield members[~placed[members]], codes[members[placed[members]], -1]


def match_leaves(space: Space, items: np.ndarray, taken: np.ndarray) -> None:
    """Give the items of one prefix its free leaves, as many as there are, at the least total cost; in place.

    Of more than MANY items, which are mostly alike, the first ones are asked: all would take K times K steps each.
    """
    from scipy.optimize import linear_sum_assignment

    free = np.setdiff1d(np.arange(len(space.codebooks[-1])), taken)
    if not len(free):
        return
    items = items[:MANY]
    cost = child_costs(space.rows(items), space.codes[items, :-1], space.codebooks)[:, free]  # (n, free)
    rows, columns = linear_sum_assignment(cost)
    space.codes[items[rows], -1] = free[columns]
    space.placed[items[rows]] = True


def move_to_next_prefix(space: Space, waiting: np.ndarray) -> None:
    """Send each waiting item to the nearest prefix with room; in place.

    It keeps as many of its codes as it can: the deepest level whose subtree has room takes the nearest child with
    room, and so on downwards. Items that are alike, by their codes and their vectors, go the same way. More than MANY
    fill prefixes as they come: all of a crowd would go to one prefix, again and again, a round for each.
    """
    if not len(waiting):
        return
    full = find_full_children(space.codes[space.placed], tuple(len(book) for book in space.codebooks))
    room = Room(space, full) if len(waiting) > MANY else None
    ways: dict[bytes, np.ndarray] = {}
    for start in range(0, len(waiting), CHUNK):
        items = waiting[start : start + CHUNK]
        for item, latent in zip(items, space.rows(items), strict=True):
            kind = hashlib.blake2b(space.codes[item].tobytes() + latent.tobytes(), digest_size=16).digest()
            if kind not in ways or (room and room.is_full(ways[kind])):
                ways[kind] = find_way(space, space.codes[item], latent[None], full)
            space.codes[item] = ways[kind]
            if room:
                room.take(ways[kind])


def find_way(space: Space, given: np.ndarray, latent: np.ndarray, full: dict[tuple[int, ...], list[int]]) -> np.ndarray:
    """(L,) codes whose prefix has room, for codes (L,) and z (1, D)."""
    books, row = space.codebooks, given.copy()
    depth = len(books) - 1
    level = max(at for at in range(depth) if len(full.get(tuple(row[:at]), ())) < len(books[at]))
    while level < depth:
        cost = child_costs(latent, row[None, :level], books)[0]  # (K,)
        cost[full.get(tuple(row[:level]), [])] = np.inf
        row[level] = int(cost.argmin())
        level += 1
    return row


class Room:
    """Free leaves of prefixes, as items are sent there; `full` is kept up to date with them."""

    def __init__(self, space: Space, full: dict[tuple[int, ...], list[int]]) -> None:
        self.books, self.full = space.codebooks, full
        placed = space.codes[space.placed]
        self.weight = np.cumprod([1, *(len(book) for book in self.books[-2:0:-1])], dtype=object)[::-1]  # of a digit
        distinct = np.unique(pack_rows(placed), return_index=True)[1]
        self.keys, self.counts = np.unique(self.key(placed[distinct]), return_counts=True)
        self.sent: dict[int, int] = {}  # by key

    def key(self, codes: np.ndarray) -> np.ndarray:
        """(n, L) -> (n,) one number a prefix."""
        kind = np.int64 if math.prod(len(book) for book in self.books[:-1]) < 2**62 else object
        return (codes[:, :-1] * self.weight.astype(kind)).sum(axis=1).astype(kind)

    def left(self, row: np.ndarray) -> int:
        key = int(self.key(row[None])[0])
        if key not in self.sent:
            at = int(np.searchsorted(self.keys, key))
            there = at < len(self.keys) and self.keys[at] == key
            self.sent[key] = int(self.counts[at]) if there else 0
        return len(self.books[-1]) - self.sent[key]

    def is_full(self, row: np.ndarray) -> bool:
        return self.left(row) <= 0

    def take(self, row: np.ndarray) -> None:
        """One leaf under the prefix of `row` (L,), and where that was the last one, up the tree."""
        left = self.left(row)
        self.sent[int(self.key(row[None])[0])] += 1
        level = len(self.books) - 1
        while left == 1 and level:
            children = self.full.setdefault(tuple(row[: level - 1]), [])
            children.append(int(row[level - 1]))
            left = 1 if len(children) == len(self.books[level - 1]) else 0
            level -= 1


def find_full_children(codes: np.ndarray, sizes: tuple[int, ...]) -> dict[tuple[int, ...], list[int]]:
    """{prefix: its children (not leaves) under which every SID is taken}, by the placed rows (n, L)."""
    full: dict[tuple[int, ...], list[int]] = {}
    codes = codes[np.unique(pack_rows(codes), return_index=True)[1]]  # kept collisions take one SID together
    for level in range(1, len(sizes)):
        _, first, counts = np.unique(pack_rows(codes[:, :level]), return_index=True, return_counts=True)
        for *prefix, code in codes[first[counts == math.prod(sizes[level:])], :level].tolist():
            full.setdefault(tuple(prefix), []).append(code)
    return full
