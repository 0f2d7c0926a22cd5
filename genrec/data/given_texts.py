"""Texts about items or users that come from outside, JSON {the shop's own id: text}; a language model may write them.

A text about a user names what the user liked, so it gives those items away: it may be read for later targets alone.
user_preferences.json {user: text} knows a user's training events, all of them, and serves the held-out targets;
user_preference_snapshots.json {user: {n: text}} knows the first n events, and serves training from the next one on.
made_of.json beside them says from which data artifact they were made. Or rows that each name their target, see
`read_training_preferences`.

U users, S texts, E examples
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from genrec.artifacts import read_json, read_json_lines
from genrec.data.catalog import Catalog
from genrec.data.prepared import Prepared
from genrec.data.sequences import Sequences, Split
from genrec.data.texts import clean_text
from genrec.errors import ArtifactError

EVENTS = re.compile("[0-9]{1,18}")
MADE_OF = "made_of.json"
SNAPSHOTS = "user_preference_snapshots.json"


@dataclass(frozen=True)
class Preferences:
    """Texts about users in the order of `end`; text s knows user[s]'s events before event number end[s]."""

    user: np.ndarray  # (S,) int32
    end: np.ndarray  # (S,) int64, index into Sequences.item
    text: np.ndarray  # (S,) str

    def newest(self, split: Split) -> np.ndarray:
        """(E,) the last text that knows nothing of the target or after it, -1 where there is none."""
        row = np.searchsorted(self.end, split.end, side="right") - 1  # ends of a user lie after those of the one before
        own = (row >= 0) & (self.user[row] == split.user)
        return np.where(own, row, -1)


def read_texts(path: Path) -> dict[str, str]:
    """{id: clean text}, without empty ones."""
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(text, str) for text in content.values()):
        raise ArtifactError(f'{path} must hold {{"id": "text", ...}}, ids as the shop has them')
    return {name: text for name, text in ((name, clean_text(text)) for name, text in content.items()) if text}


def match_texts(ids: np.ndarray, path: Path, what: str) -> tuple[np.ndarray, str]:
    """A file's texts in the order of `ids` (N,), (N,) str, '' where it has none; and a line that counts both sides."""
    texts = read_texts(path)
    matched = np.array([texts.get(str(name), "") for name in ids], dtype=object)
    count = int((matched != "").sum())
    if not count:
        raise ArtifactError(
            f"none of the {len(texts):,} ids of {path} is one of the {len(ids):,} {what} here "
            f"(there {quote_ids(texts)}; here {quote_ids(ids)}); the file belongs to other data"
        )
    strangers = len(texts) - count
    return matched, f"{path}: texts of {count:,} of {len(ids):,} {what}; {strangers:,} are of no one here"


def quote_ids(ids: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in list(ids)[:3]) or "no id"


def add_descriptions(catalog: Catalog, path: Path) -> tuple[Catalog, str]:
    """The catalogue with the file's texts behind its own, and a line that counts."""
    given, line = match_texts(catalog.item_id, path, "items")
    joined = [" ".join(filter(None, pair)) for pair in zip(catalog.text, given, strict=True)]
    return replace(catalog, text=np.array(joined, dtype=object)), line


def read_preferences(path: Path, data: str, sequences: Sequences, seen: np.ndarray) -> tuple[Preferences, str]:
    """The file's texts and the snapshots beside it, and a line that counts; `seen` (T,) is what training may see.

    Refused unless made_of.json says that they were made from the data artifact of fingerprint `data`.
    """
    check_made_of(path, data)
    whole, line = match_texts(sequences.user_id, path, "users")
    length = np.add.reduceat(seen, sequences.offset[:-1])  # (U,) training events
    known_events = [(user, length[user], text) for user, text in enumerate(whole) if text]
    snapshots = read_snapshots(path.with_name(SNAPSHOTS))
    for user, user_id in enumerate(sequences.user_id):
        for events, text in snapshots.get(str(user_id), {}).items():
            if not 1 <= events < length[user]:
                raise ArtifactError(f"a snapshot of user {user_id} knows {events} events of {length[user]} in training")
            known_events.append((user, events, text))
    rows = sorted((user, sequences.offset[user] + events, text) for user, events, text in known_events)
    user, end, text = (np.array(column) for column in zip(*rows, strict=True))
    earlier = f", and {len(rows) - int((whole != '').sum()):,} earlier ones" if snapshots else ""
    return Preferences(user.astype(np.int32), end.astype(np.int64), text), line + earlier


def check_made_of(path: Path, data: str) -> None:
    made_of = path.with_name(MADE_OF)
    origin = read_json(made_of) if made_of.exists() else {"data_artifact": "unknown"}
    if not isinstance(origin, dict):
        raise ArtifactError(f'{made_of} must hold {{"data_artifact": "..."}}, found a JSON {type(origin).__name__}')
    artifact = origin.get("data_artifact", "none")
    if artifact != data:
        raise ArtifactError(
            f"{path} was made from data artifact {artifact}, this run has {data}; texts of other data may know "
            "held-out items. Way on: python UR4Rec/models/llm_generator.py --run_dir THIS_RUN --snapshots 3"
        )


def read_snapshots(path: Path) -> dict[str, dict[int, str]]:
    """{user: {events it knows: text}}, {} where the file is not there."""
    if not path.exists():
        return {}
    content = read_json(path)
    users = content.values() if isinstance(content, dict) else [None]
    pairs = [pair for texts in users for pair in (texts.items() if isinstance(texts, dict) else [("", None)])]
    if not all(EVENTS.fullmatch(events) and isinstance(text, str) for events, text in pairs):
        raise ArtifactError(f'{path} must hold {{"user": {{"events": "text", ...}}, ...}}')
    return {user: {int(events): text for events, text in texts.items()} for user, texts in content.items()}


def read_training_preferences(path: Path, data: str, prepared: Prepared) -> tuple[Preferences, str]:
    """Texts about users in either form, and a line that counts. `data` is the fingerprint of the data artifact.

    Rows {user, split, user_preference, context: {history_items, target_item}} name the target they were written
    before, and only those of split "train" are read; an item is its number here (int) or the shop's own id (str).
    """
    rows = read_preference_rows(path)
    if rows is None:
        return read_preferences(path, data, prepared.sequences, prepared.seen)
    training = [row for row in rows if row["split"] == "train"]
    targets = zip(find_targets(training, prepared), training, strict=True)
    knowledge = sorted((*target, clean_text(row["user_preference"])) for target, row in targets if target)
    if not knowledge:
        raise ArtifactError(f"none of {len(rows):,} rows of {path} is a training row here; it belongs to other data")
    user, end, text = (np.array(column) for column in zip(*knowledge, strict=True))
    line = (
        f"{path}: {len(rows):,} rows, {len(training):,} of split train, {len(knowledge):,} of them training rows here"
    )
    return Preferences(user.astype(np.int32), end.astype(np.int64), text), line


def read_preference_rows(path: Path) -> list[dict] | None:
    """The rows of a JSONL file or a JSON list; None where the file holds one object."""
    rows = read_json_lines(path) if path.suffix == ".jsonl" else read_json(path)
    if isinstance(rows, dict):
        return None
    if not isinstance(rows, list):
        raise ArtifactError(f"{path} must hold a list of rows or one object, found a JSON {type(rows).__name__}")
    for number, row in enumerate(rows):
        if not is_preference_row(row):
            form = "{user, split, user_preference: text, context: {history_items: list, target_item}}"
            raise ArtifactError(f"{path}: row {number} must be {form}, ids and items texts or whole numbers")
    return rows


def is_preference_row(row: object) -> bool:
    context = row.get("context") if isinstance(row, dict) else None
    if not isinstance(row, dict) or not isinstance(context, dict):
        return False
    history = context.get("history_items")
    names = [row.get("user"), context.get("target_item"), *(history if isinstance(history, list) else [None])]
    texts = [row.get("split"), row.get("user_preference")]
    return all(isinstance(name, str | int) for name in names) and all(isinstance(text, str) for text in texts)


def find_targets(rows: list[dict], prepared: Prepared) -> list[tuple[int, int] | None]:
    """(user, event) of the training target each row was written before, the one with its history; None: no such."""
    sequences, train = prepared.sequences, prepared.splits["train"]
    named = (sequences.user_id, prepared.catalog.item_id)
    users, items = ({str(name): number for number, name in enumerate(ids)} for ids in named)
    ends: dict[int, list[int]] = {}
    for user, end in zip(train.user.tolist(), train.end.tolist(), strict=True):
        ends.setdefault(user, []).append(end)

    def target(row: dict) -> tuple[int, int] | None:
        user = users.get(str(row["user"]), -1)
        asked = [*row["context"]["history_items"], row["context"]["target_item"]]
        numbers = [item if isinstance(item, int) else items.get(item, -1) for item in asked]
        for end in ends.get(user, []):
            first = max(end - len(numbers) + 1, sequences.offset[user])
            if sequences.item[first : end + 1].tolist() == numbers:
                return user, end
        return None

    return [target(row) for row in rows]
