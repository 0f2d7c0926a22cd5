"""Texts about users and items on disk: JSON {id: text}, ids as the collection has them."""

from __future__ import annotations

from pathlib import Path

from genrec.artifacts import ArtifactError, read_json
from UR4Rec.data.dataset_loader import ItemMetadata, UserSequences
from UR4Rec.data.multimodal_dataset import train_prefixes
from UR4Rec.prompts import plain_preference

USER_PREFERENCES, ITEM_DESCRIPTIONS = "user_preferences.json", "item_descriptions.json"


def read_texts(path: Path | str) -> dict[str, str]:
    """{id: text}, as the generator writes it."""
    found = read_json(Path(path))
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ArtifactError(f'{path} must hold {{"id": "text", ...}}')
    return found


def plain_preferences(item_metadata: ItemMetadata, user_sequences: UserSequences) -> dict[str, str]:
    """{user id: text} without a language model, from the train prefix alone."""
    return {
        str(user): plain_preference([item_metadata[item] for item in items])
        for user, items in train_prefixes(user_sequences).items()
    }
