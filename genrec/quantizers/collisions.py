"""Items with equal codes made distinct: `reassign`, `extra_level`, or left as they are: `keep`.

N items, D width, L levels, K codes a level; a prefix is the first L-1 codes, its leaves are the K codes of the last.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from genrec.errors import ArtifactError
from genrec.quantizers.residual import Quantized, child_costs
from genrec.sids import NONE, SidIndex, make_index


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
    latent = np.concatenate([np.zeros((len(taken), quantized.latent.shape[1]), np.float32), quantized.latent])
    check_room(len(codes), quantized.codebooks)
    placed = ~find_colliding(codes)  # (M + N,) rows that keep their code
    placed[: len(taken)] = True
    space = Space(latent, quantized.codebooks, codes, placed)
    while len(waiting := np.flatnonzero(~placed)):
        for items, leaves in group_by_prefix(codes, waiting, placed):
            match_leaves(space, items, leaves)
        move_to_next_prefix(space, np.flatnonzero(~placed))
    return codes[len(taken) :]


@dataclass(frozen=True)
class Space:
    """What `reassign_codes` works on; codes and placed change in place."""

    latent: np.ndarray  # (N, D)
    codebooks: tuple[np.ndarray, ...]
    codes: np.ndarray  # (N, L)
    placed: np.ndarray  # (N,) bool


def check_room(num_items: int, books: tuple[np.ndarray, ...]) -> None:
    room = math.prod(len(book) for book in books)
    if num_items > room:
        raise ArtifactError(
            f"{num_items} items cannot have distinct semantic IDs in {len(books)} levels of {len(books[0])} codes "
            f"({room} in all); raise --sids.num_levels or --sids.codebook_size, or use --sids.collisions extra_level"
        )


def find_colliding(codes: np.ndarray) -> np.ndarray:
    """(N,) bool: the row stands more than once."""
    _, group, size = np.unique(codes, axis=0, return_inverse=True, return_counts=True)
    return size[group] > 1


def group_by_prefix(
    codes: np.ndarray, waiting: np.ndarray, placed: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(waiting items, leaves taken by placed items) of every prefix under which items wait."""
    _, prefix = np.unique(codes[:, :-1], axis=0, return_inverse=True)
    order = np.lexsort((np.arange(len(codes)), prefix))
    starts = np.searchsorted(prefix[order], np.arange(prefix.max() + 2))
    for p in np.unique(prefix[waiting]):
        members = order[starts[p] : starts[p + 1]]
        yield members[~placed[members]], codes[members[placed[members]], -1]


def match_leaves(space: Space, items: np.ndarray, taken: np.ndarray) -> None:
    """Give the items of one prefix its free leaves, as many as there are, at the least total cost; in place."""
    from scipy.optimize import linear_sum_assignment

    free = np.setdiff1d(np.arange(len(space.codebooks[-1])), taken)
    if not len(free):
        return
    cost = child_costs(space.latent[items], space.codes[items, :-1], space.codebooks)[:, free]  # (n, free)
    rows, columns = linear_sum_assignment(cost)
    space.codes[items[rows], -1] = free[columns]
    space.placed[items[rows]] = True


def move_to_next_prefix(space: Space, waiting: np.ndarray) -> None:
    """Send each waiting item to the nearest prefix with room; in place.

    It keeps as many of its codes as it can: the deepest level whose subtree has room takes the nearest child with
    room, and so on downwards.
    """
    books, depth = space.codebooks, len(space.codebooks) - 1
    full = find_full_children(space.codes[space.placed], tuple(len(book) for book in books))
    for item in waiting:
        row = space.codes[item]
        level = max(at for at in range(depth) if len(full.get(tuple(row[:at]), ())) < len(books[at]))
        while level < depth:
            cost = child_costs(space.latent[item : item + 1], row[None, :level], books)[0]  # (K,)
            cost[full.get(tuple(row[:level]), [])] = np.inf
            row[level] = int(cost.argmin())
            level += 1


def find_full_children(codes: np.ndarray, sizes: tuple[int, ...]) -> dict[tuple[int, ...], list[int]]:
    """{prefix: its children (not leaves) under which every SID is taken}, by the placed rows (n, L)."""
    full: dict[tuple[int, ...], list[int]] = {}
    codes = np.unique(codes, axis=0)  # kept collisions of old items take one SID together
    for level in range(1, len(sizes)):
        prefixes, counts = np.unique(codes[:, :level], axis=0, return_counts=True)
        for *prefix, code in prefixes[counts == math.prod(sizes[level:])].tolist():
            full.setdefault(tuple(prefix), []).append(code)
    return full
