"""What the codes of a semantic ID stand for, by the items that share them: their commonest words and categories.

    weight(w) = n(w) log(share of w among these items / share of w in the catalogue)

N items, L levels
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
import polars as pl

from genrec.data.catalog import Catalog
from genrec.sids import NONE, SidIndex, format_token

WORD = re.compile(r"[^\W\d_]{3,}")
WORDS, CATEGORIES = 5, 2  # that are named


def describe_codes(catalog: Catalog, index: SidIndex, item: int) -> pl.DataFrame:
    """A row a code of the item's path: level from 1, code, items whose path begins so, their words and categories."""
    codes = index.codes[: len(catalog)]
    words, categories = [set(split_words(title)) for title in catalog.title], list(map(split_names, catalog.categories))
    all_words, all_categories = count(words), count(categories)
    rows, under = [], np.ones(len(codes), dtype=bool)
    for level, code in enumerate(index.codes[item].tolist()):
        if code == NONE:
            break
        under &= codes[:, level] == code
        items = np.flatnonzero(under).tolist()
        common = [
            pick_common([each[i] for i in items], everywhere, len(codes), limit)
            for each, everywhere, limit in ((words, all_words, WORDS), (categories, all_categories, CATEGORIES))
        ]
        rows.append((level + 1, format_token(level, code), len(items), *(", ".join(names) for names in common)))
    schema = {"level": pl.Int32, "code": pl.String, "items": pl.Int64, "words": pl.String, "categories": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def pick_common(here: list[set[str]], everywhere: Counter[str], num_items: int, limit: int) -> list[str]:
    """The words that stand out most among some items, by the formula above; ties by the alphabet."""
    weights = {}
    for word, n in count(here).items():
        weights[word] = n * math.log(n / len(here) * num_items / everywhere[word])
    best = sorted((word for word in weights if weights[word] > 0), key=lambda word: (-weights[word], word))
    return best[:limit]


def count(sets: Iterable[set[str]]) -> Counter[str]:
    """In how many of the sets each word stands."""
    return Counter(word for words in sets for word in words)


def split_words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def split_names(categories: str) -> set[str]:
    """A path "A,B, C,D" -> {"A", "B, C", "D"}: a comma within a name has a space behind."""
    return {name.strip() for name in re.split(r",(?=\S)", categories) if name.strip()}
