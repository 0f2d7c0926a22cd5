"""A shop's words -> item numbers: an id, else an exact title; of what is neither the nearest is named.

N items
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from rapidfuzz import fuzz, process

from genrec.data.titles import fold

LONGEST = 200  # characters of a word that are compared with others


class UnknownWord(LookupError):
    """Neither an id nor a title of the catalogue."""


@dataclass(frozen=True)
class ItemWords:
    """What items are called. A word that is an id of one item and the title of another is the id."""

    item_id: list[str]  # (N,)
    title: list[str]  # (N,)
    number: dict[str, int]  # id or title -> item
    folded: list[str]  # (N,) titles as they are searched
    by_popularity: list[int]  # (N,) items, the most frequent first

    def __len__(self) -> int:
        return len(self.item_id)

    def read(self, words: Iterable[str]) -> np.ndarray:
        """(n,) int32 item numbers; UnknownWord of the first that is none."""
        try:
            return np.array([self.number[word] for word in words], dtype=np.int32)
        except KeyError as error:
            raise UnknownWord(error.args[0]) from None

    def describe_unknown(self, word: str) -> str:
        """One sentence that names the nearest id or title."""
        near = self.nearest(word)
        called = repr(self.title[near]) if fold(word) and self.is_title_like(word, near) else repr(self.item_id[near])
        return f"no item {word[:LONGEST]!r} among the {len(self):,} of the catalogue; nearest: {called}"

    def nearest(self, word: str) -> int:
        """The item whose id or title is most like a word, by the share of characters that both have in order."""
        found = [process.extractOne(word[:LONGEST], texts, scorer=fuzz.ratio) for texts in (self.item_id, self.title)]
        folded = process.extractOne(fold(word[:LONGEST]), self.folded, scorer=fuzz.ratio)
        return max((*found, folded), key=lambda match: match[1])[2]

    def is_title_like(self, word: str, item: int) -> bool:
        asked = fold(word[:LONGEST])
        return fuzz.ratio(asked, self.folded[item]) > fuzz.ratio(word[:LONGEST], self.item_id[item])

    def search(self, query: str, limit: int) -> list[int]:
        """Items whose id is the query or whose title holds it, the most popular first; where none does, the nearest."""
        found = list(self.matches(query, limit))
        return found or [self.nearest(query)]

    def matches(self, query: str, limit: int) -> Iterator[int]:
        exact = self.number.get(query)
        left = limit
        if exact is not None:
            yield exact
            left -= 1
        part = fold(query)
        for item in self.by_popularity:
            if not left:
                return
            if item != exact and part in self.folded[item]:
                yield item
                left -= 1


def make_words(item_id: np.ndarray, title: np.ndarray, train_count: np.ndarray) -> ItemWords:
    """Of items with equal titles the most popular is meant, then the first."""
    ids, titles = [str(each) for each in item_id], [str(each) for each in title]
    order = np.argsort(-train_count, kind="stable").tolist()
    number = {titles[item]: item for item in reversed(order)}
    number |= {ids[item]: item for item in reversed(range(len(ids)))}
    return ItemWords(ids, titles, number, [fold(each) for each in titles], order)
