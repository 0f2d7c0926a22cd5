"""A small shop whose titles are hard to write and to read again."""

import csv
from dataclasses import replace
from pathlib import Path

from genrec.data.prepared import Prepared
from tests.small_shop import small_shop

AWKWARD = [
    "tab\there",
    "two\nlines",
    "quote ' and \" both",
    "back\\slash \\n \\u0041",
    "emoji \U0001f600 é ☃",
    "[1, 2], null, NaN",
]
STEM = "small_5"


def make_awkward_shop() -> Prepared:
    shop = small_shop()
    title = shop.catalog.title.copy()
    title[: len(AWKWARD)] = AWKWARD
    return replace(shop, catalog=replace(shop.catalog, title=title))


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
