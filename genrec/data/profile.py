"""What a prompt may say of a user beside the history (sft.profile): what its items have in common, and what others
bought with them.

    likeness(j) = sum over history items h of others(h, j) / sqrt(others(h) others(j))

others(...) counts training users but the one asked about: a training row must not be told what its user bought next.

N items, U users
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from genrec.data.catalog import Catalog, pick_categories
from genrec.data.prepared import Prepared

COMPANIONS = 5  # items named in a prompt


@dataclass(frozen=True)
class Purchases:
    """Who bought what in training, once each."""

    items: sp.csr_array  # (U, N) 0 / 1
    together: sp.csr_array  # (N, N) users who bought both; of an item with itself: its users
    users: np.ndarray  # (N,)


@dataclass(frozen=True)
class Profile:
    traits: tuple[np.ndarray, ...] = ()  # (N,) names each, whose commonest in a history is told
    bought: Purchases | None = None

    def favourites(self, items: np.ndarray) -> list[str]:
        """A name a trait, '' where none is known; items -1 are ignored."""
        return [find_commonest(names[items[items >= 0]]) for names in self.traits]

    def companions(self, items: np.ndarray, user: int) -> list[int]:
        """The items others most bought with these, best first, ties by number; user -1 is nobody of training."""
        if self.bought is None or not (items >= 0).any():
            return []
        history = np.unique(items[items >= 0])
        own_items = read_row(self.bought.items, user)[0] if user >= 0 else np.zeros(0, dtype=np.int64)
        terms = [score_companions(self.bought, h, own_items) for h in history]
        item, place = np.unique(np.concatenate([item for item, _ in terms]), return_inverse=True)
        score = np.bincount(place, np.concatenate([value for _, value in terms]))
        fit = (score > 0) & ~np.isin(item, history)
        return item[fit][np.argsort(-score[fit], kind="stable")[:COMPANIONS]].tolist()


def score_companions(bought: Purchases, item: int, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Items bought with one item, and their terms of the formula above, without the user whose items are `own`."""
    other, count = read_row(bought.together, item)
    mine = np.isin(other, own)
    both = count - (mine if item in own else 0)
    users = np.maximum((bought.users[other] - mine) * (bought.users[item] - (item in own)), 1)
    return other, both / np.sqrt(users)


def read_row(matrix: sp.csr_array, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns and values of one row."""
    inside = slice(matrix.indptr[number], matrix.indptr[number + 1])
    return matrix.indices[inside], matrix.data[inside]


def find_commonest(names: np.ndarray) -> str:
    """The most frequent name, of equally frequent ones the latest; '' where none is known."""
    given = [name for name in names if name]
    return max(reversed(given), key=given.count, default="")


def make_profile(data: Prepared, parts: list[str]) -> Profile:
    traits = name_traits(data.catalog) if "taste" in parts else ()
    return Profile(traits, count_purchases(data) if "companions" in parts else None)


def name_traits(catalog: Catalog) -> tuple[np.ndarray, ...]:
    """(N,) categories and brands."""
    return pick_categories(catalog.categories), catalog.brand


def count_purchases(data: Prepared) -> Purchases:
    owner = np.repeat(np.arange(len(data.sequences)), np.diff(data.sequences.offset))[data.seen]
    shape = (len(data.sequences), len(data.catalog))
    counts = sp.coo_array((np.ones(len(owner)), (owner, data.sequences.item[data.seen])), shape=shape).tocsr()
    once = sp.csr_array((np.ones(counts.nnz), counts.indices, counts.indptr), shape=shape)
    together = sp.csr_array(once.T @ once)
    return Purchases(once, together, together.diagonal())
