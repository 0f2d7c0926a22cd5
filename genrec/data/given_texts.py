"""Texts about items or users that come from outside, JSON {the shop's own id: text}; a language model may write them.

made_of.json beside texts about users says from which data artifact they were made: a text that knows what a user did
later would give the held-out items away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from genrec.artifacts import ArtifactError, read_json
from genrec.data.catalog import Catalog
from genrec.data.texts import clean

MADE_OF = "made_of.json"


def read_texts(path: Path) -> dict[str, str]:
    """{id: clean text}, without empty ones."""
    found = read_json(path)
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ArtifactError(f'{path} must hold {{"id": "text", ...}}, ids as the shop has them')
    return {name: text for name, text in ((name, clean(text)) for name, text in found.items()) if text}


def texts_of(ids: Sequence[str], path: Path, what: str) -> tuple[np.ndarray, str]:
    """A file's texts in the order of `ids`, (N,) str, '' where it has none; and a line that counts both sides."""
    texts = read_texts(path)
    matched = np.array([texts.get(str(name), "") for name in ids], dtype=object)
    count = int((matched != "").sum())
    if not count:
        raise ArtifactError(
            f"none of the {len(texts):,} ids of {path} is one of the {len(ids):,} {what} here "
            f"(there {shown(texts)}; here {shown(ids)}); the file belongs to other data"
        )
    strangers = len(texts) - count
    return matched, f"{path}: texts of {count:,} of {len(ids):,} {what}; {strangers:,} are of no one here"


def shown(ids) -> str:
    return ", ".join(f"'{name}'" for name in list(ids)[:3]) or "no id"


def with_descriptions(catalog: Catalog, path: Path) -> tuple[Catalog, str]:
    """The catalogue with the file's texts behind its own, and a line that counts."""
    given, line = texts_of(catalog.item_id, path, "items")
    joined = [" ".join(filter(None, pair)) for pair in zip(catalog.text, given, strict=True)]
    return replace(catalog, text=np.array(joined, dtype=object)), line


def read_preferences(path: Path, data: str, user_id: Sequence[str]) -> tuple[np.ndarray, str]:
    """(U,) texts about users, '' where there is none, and a line that counts; `data` is a data artifact's fingerprint.

    Refused unless made_of.json says that they were made from the training events of this very artifact.
    """
    made_of = path.with_name(MADE_OF)
    artifact = read_json(made_of).get("data_artifact", "none") if made_of.exists() else "unknown"
    if artifact != data:
        raise ArtifactError(
            f"{path} was made from data artifact {artifact}, this run has {data}; texts of other data may know "
            "held-out items. Way on: python UR4Rec/models/llm_generator.py --run_dir THIS_RUN --skip_items"
        )
    return texts_of(user_id, path, "users")
