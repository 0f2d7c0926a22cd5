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


def write_inter_files(data: Prepared, directory: Path, dataset: str, published: bool) -> None:
    """<directory>/<dataset>.{train,valid,test}.inter .item.json .inter.json .user2id .item2id"""
    directory.mkdir(parents=True, exist_ok=True)
    for name in SPLITS:
        write_lines(directory / f"{dataset}.{name}.inter", [INTER_HEADER, *make_inter_lines(data, name)])
    write_text(directory / f"{dataset}.inter.json", json.dumps(group_items(data.sequences), indent=2))
    write_lines(directory / f"{dataset}.user2id", number_ids(data.sequences.user_id))
    write_lines(directory / f"{dataset}.item2id", number_ids(data.catalog.item_id))
    catalog = clear_categories(data.catalog) if published else data.catalog
    write_item_json(catalog, directory / ITEM_JSON.format(dataset=dataset))


def make_inter_lines(data: Prepared, name: str) -> Iterator[str]:
    """user TAB history, oldest first TAB target; all numbers."""
    rows = data.examples(name)
    for user, history, target in zip(rows.user.tolist(), rows.history.tolist(), rows.target.tolist(), strict=True):
        yield f"{user}\t{' '.join(str(item) for item in history if item >= 0)}\t{target}"


def group_items(sequences: Sequences) -> dict[str, list[int]]:
    items_by_user = np.split(sequences.item, sequences.offset[1:-1])
    return {str(user): items.tolist() for user, items in enumerate(items_by_user)}


def number_ids(ids: np.ndarray) -> list[str]:
    return [f"{name}\t{number}" for number, name in enumerate(ids.tolist())]


def clear_categories(catalog: Catalog) -> Catalog:
    """The published rules look for the key `categories`, which 2018 files spell `category`: theirs are always empty."""
    return replace(catalog, categories=np.full(len(catalog), "", dtype=object))


def write_lines(path: Path, lines: list[str]) -> None:
    write_text(path, "\n".join(lines) + "\n")
