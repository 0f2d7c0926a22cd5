"""Texts about users and items on disk, JSON {id: text} by the collection's own ids, and their source.

A text about a user is made from the user's train prefix alone, so that it can stand in a prompt, or in a model's input,
for the user's held-out items.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genrec.artifacts import read_json, write_json
from genrec.data.catalog import Catalog
from genrec.data.given_texts import MADE_OF, read_snapshots, read_texts
from genrec.data.sequences import Sequences
from genrec.errors import ArtifactError
from genrec.guard import differences, refusal
from UR4Rec.data.dataset_loader import ItemMetadata, UserSequences
from UR4Rec.prompts import Item, plain_preference

USER_PREFERENCES, ITEM_DESCRIPTIONS = "user_preferences.json", "item_descriptions.json"


@dataclass(frozen=True)
class TextSource:
    """What may be said of items and users; ids as strings, the collection's own."""

    name: str
    items: Mapping[str, Item]
    histories: Mapping[str, list[str]]  # {user: items of the train prefix, oldest first}
    data_artifact: str | None = None  # fingerprint, where it is a run's

    @property
    def fingerprint(self) -> str:
        texts = {item: [facts["title"], facts["description"]] for item, facts in self.items.items()}
        content = json.dumps([texts, dict(self.histories)], ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def history(self, user: str, events: int | None = None) -> list[Item]:
        """The train prefix, or its first so many events."""
        return [self.items[item] for item in self.histories[user][:events]]

    def moments(self, user: str, count: int) -> list[int]:
        """Numbers of events, `count` of them, that cut the train prefix evenly."""
        length = len(self.histories[user])
        cuts = {round(length * share / (count + 1)) for share in range(1, count + 1)}
        return sorted(cuts - {0, length})


def movielens_source(name: str, item_metadata: ItemMetadata, user_sequences: UserSequences) -> TextSource:
    """Leave-one-out: the last two of each sequence are held out."""
    original = {number: str(item["original_id"]) for number, item in item_metadata.items()}
    histories = {str(user): [original[i] for i in items[:-2]] for user, items in user_sequences.items()}
    return TextSource(name, {original[number]: item for number, item in item_metadata.items()}, histories)


def prepared_source(
    name: str, catalog: Catalog, sequences: Sequences, seen: np.ndarray, data_artifact: str
) -> TextSource:
    """A run's data artifact: `seen` (T,) are the events that training may see."""
    items = {str(catalog.item_id[i]): catalog_item(catalog, i) for i in range(len(catalog))}
    histories = {}
    for user, user_id in enumerate(sequences.user_id):
        own = slice(sequences.offset[user], sequences.offset[user + 1])
        history = catalog.item_id[sequences.item[own][seen[own]]]
        if len(history):
            histories[str(user_id)] = [str(item) for item in history]
    return TextSource(name, items, histories, data_artifact)


def catalog_item(catalog: Catalog, row: int) -> dict[str, Any]:
    genres = [name for name in str(catalog.categories[row]).split(",") if name]
    return {
        "title": str(catalog.title[row]),
        "genres": genres,
        "genres_str": ", ".join(genres),
        "description": str(catalog.text[row]),
    }


def plain_preferences(item_metadata: ItemMetadata, user_sequences: UserSequences) -> dict[str, str]:
    """{user id: text} without a language model."""
    source = movielens_source("", item_metadata, user_sequences)
    return {user: plain_preference(source.history(user)) for user in source.histories}


def check_origin(directory: Path, origin: dict[str, Any]) -> None:
    """Texts of other data, models or prompts are never mixed into one file."""
    path = directory / MADE_OF
    there = read_json(path) if path.exists() else origin
    if not isinstance(there, dict):
        raise ArtifactError(f"{path} must hold a JSON object, found {type(there).__name__}; put the file back")
    if different := differences({"config": there, "inputs": {}}, {"config": origin, "inputs": {}}):
        raise ArtifactError(refusal(directory, different, "--output_dir ANOTHER", "remove it"))
    if not path.exists() and any((directory / name).exists() for name in (USER_PREFERENCES, ITEM_DESCRIPTIONS)):
        raise ArtifactError(f"{directory} holds texts but no {MADE_OF} that says of what; give another --output_dir")


def merge_texts(path: Path, texts: dict[str, str]) -> int:
    """Add to, or replace in, what is there: nothing is ever lost; -> how many texts the file holds now."""
    merged = {**(read_texts(path) if path.exists() else {}), **texts}
    write_json(path, by_number(merged))
    return len(merged)


def merge_snapshots(path: Path, texts: dict[str, dict[int, str]]) -> int:
    """The same for {user: {events: text}}."""
    there = read_snapshots(path)
    merged = {user: {**there.get(user, {}), **texts.get(user, {})} for user in there.keys() | texts.keys()}
    write_json(path, by_number({user: dict(sorted(moments.items())) for user, moments in merged.items()}))
    return sum(map(len, merged.values()))


def by_number(by_id: dict[str, Any]) -> dict[str, Any]:
    """Sorted as 1, 2, 10."""
    return dict(sorted(by_id.items(), key=lambda pair: (len(pair[0]), pair[0])))
