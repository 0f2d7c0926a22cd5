"""MiniOneRec's item.json: {"0": {"title", "description", "brand", "categories"}, ...}, all strings."""

from __future__ import annotations

import ast
import json
import textwrap
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from genrec.artifacts import read_json, write_json_entries
from genrec.data.catalog import Catalog
from genrec.data.texts import mend_unicode
from genrec.errors import ArtifactError

FIELDS = {"title": "title", "description": "text", "brand": "brand", "categories": "categories"}  # theirs -> ours


def write_item_json(catalog: Catalog, path: Path) -> None:
    write_items([catalog], path)


def write_items(slices: Iterable[Catalog], path: Path) -> None:
    """The same of a catalogue that comes a slice at a time."""
    write_json_entries(
        path, ((str(item), texts) for item, texts in enumerate(chain.from_iterable(map(list_items, slices))))
    )


def list_items(catalog: Catalog) -> Iterator[dict[str, str]]:
    columns = {theirs: getattr(catalog, ours) for theirs, ours in FIELDS.items()}
    return ({name: str(column[row]) for name, column in columns.items()} for row in range(len(catalog)))


def read_item_json(path: Path) -> Catalog:
    """The texts of an item.json; the item number stands in for the shop's own id, which the file does not hold."""
    rows = read_json(path)
    if not isinstance(rows, dict) or not rows:
        raise ArtifactError(f"{path} must map the items '0'..'N-1' to their texts; found {_shorten(rows)}")
    keys = [str(item) for item in range(len(rows))]
    if unknown := sorted(rows.keys() - set(keys)):
        raise ArtifactError(
            f"{path} must map the items '0'..'{len(rows) - 1}' to their texts; found '{unknown[0]:.40}'"
        )
    if wrong := [key for key in keys if not isinstance(rows[key], dict)]:
        raise ArtifactError(
            f"{path}: item '{wrong[0]}' must be an object with a title; found {_shorten(rows[wrong[0]])}"
        )
    columns = {ours: _make_column([rows[key].get(theirs) for key in keys]) for theirs, ours in FIELDS.items()}
    return Catalog(item_id=np.array(keys, dtype=object), **columns, features={})


def _shorten(value: object) -> str:
    return textwrap.shorten(json.dumps(value), 80, placeholder=" ...")


def _make_column(values: list[object]) -> np.ndarray:
    return np.array([" ".join(mend_unicode(_make_plain(value)).split()) for value in values], dtype=object)


def _make_plain(value: object) -> str:
    """A text; MiniOneRec writes descriptions as the repr of a list ("['first', 'second']")."""
    if value is None:
        return ""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if text.startswith("[") and text.endswith("]"):
        try:
            return " ".join(str(part) for part in ast.literal_eval(text))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # the last two: thousands of brackets
            return text
    return text
