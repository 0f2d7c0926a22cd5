"""The data artifact in the formats of MiniOneRec's preprocessing: .inter, .item.json, .inter.json, id tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from genrec.artifacts import ITEM_JSON, write_text
from genrec.data.catalog import Catalog
from genrec.data.item_json import write_item_json
from genrec.data.prepared import Prepared
from genrec.data.sequences import SPLITS, Sequences

INTER_HEADER = "user_id:token\titem_id_list:token_seq\titem_id:token"


def export(made: Prepared, directory: Path, dataset: str, published: bool) -> None:
    """<directory>/<dataset>.{train,valid,test}.inter .item.json .inter.json .user2id .item2id"""
    directory.mkdir(parents=True, exist_ok=True)
    for name in SPLITS:
        write_lines(directory / f"{dataset}.{name}.inter", [INTER_HEADER, *inter_lines(made, name)])
    write_text(directory / f"{dataset}.inter.json", json.dumps(items_by_user(made.sequences), indent=2))
    write_lines(directory / f"{dataset}.user2id", numbered(made.sequences.user_id))
    write_lines(directory / f"{dataset}.item2id", numbered(made.catalog.item_id))
    catalog = without_categories(made.catalog) if published else made.catalog
    write_item_json(catalog, directory / ITEM_JSON.format(dataset=dataset))


def inter_lines(made: Prepared, name: str) -> Iterator[str]:
    """user TAB history, oldest first TAB target; all numbers."""
    rows = made.examples(name)
    for user, history, target in zip(rows.user.tolist(), rows.history.tolist(), rows.target.tolist(), strict=True):
        yield f"{user}\t{' '.join(str(item) for item in history if item >= 0)}\t{target}"


def items_by_user(sequences: Sequences) -> dict[str, list[int]]:
    parts = np.split(sequences.item, sequences.offset[1:-1])
    return {str(user): part.tolist() for user, part in enumerate(parts)}


def numbered(ids: np.ndarray) -> list[str]:
    return [f"{name}\t{number}" for number, name in enumerate(ids.tolist())]


def without_categories(catalog: Catalog) -> Catalog:
    """The published rules look for the key `categories`, which 2018 files spell `category`: theirs are always empty."""
    return replace(catalog, categories=np.full(len(catalog), "", dtype=object))


def write_lines(path: Path, lines: list[str]) -> None:
    write_text(path, "\n".join(lines) + "\n")
