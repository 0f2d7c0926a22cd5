"""Items without a readable title, called by what else is known of them (data.untitled keep)."""

from __future__ import annotations

import re
from dataclasses import replace

import polars as pl

from genrec.data.events import Shop
from genrec.data.texts import clean_title

WORDS = 8  # of a description


def name_untitled(shop: Shop) -> Shop:
    """The same shop with a title for every item."""
    return replace(shop, items=shop.items.with_columns(pl.Series("title", map(name_item, *record_columns(shop.items)))))


def record_columns(items: pl.DataFrame) -> list[list[str | None]]:
    return [items[name].to_list() for name in ("title", "brand", "categories", "text", "item")]


def name_item(title: str | None, brand: str, categories: str, text: str, item: str) -> str:
    """Its title; else 'Brand, Finest Category, the first words of its description', as far as known; else its id."""
    if title is not None:
        return title
    finest = re.split(r",(?=\S)", categories)[-1]
    return ", ".join(filter(None, map(clean_title, (brand, finest, " ".join(text.split()[:WORDS]))))) or item


def count_names(items: pl.DataFrame, kept: pl.Series) -> dict[str, int]:
    """Of the kept items without a title: how many there are, and how many have each of what they are called by."""
    untitled = items.filter(pl.col("title").is_null() & pl.col("item").is_in(kept.implode()))
    parts = {"brand": "brand", "category": "categories", "description": "text"}
    has = {name: [clean_title(text) is not None for text in untitled[column]] for name, column in parts.items()}
    nothing = sum(not any(known) for known in zip(*has.values(), strict=True))
    return {"items": len(untitled), **{name: sum(known) for name, known in has.items()}, "id alone": nothing}
