"""Texts about users at several points of their train prefix, as vectors: training reads one that precedes its target.

U users, S texts
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from genrec.artifacts import read_json
from genrec.data.given_texts import MADE_OF, SNAPSHOTS, read_snapshots, read_texts
from genrec.errors import ArtifactError
from UR4Rec.data.dataset_loader import ItemMetadata, UserSequences
from UR4Rec.data.features import ENCODER, encode_texts
from UR4Rec.data.generated import TextSource, movielens_source
from UR4Rec.models.preferences import Preferences, make_preferences
from UR4Rec.prompts import plain_preference

EARLIER = 3  # texts a user before the one of the whole train prefix

Texts = dict[tuple[int, int], str]  # {(place of the user, events it was written from): text}


def plain_snapshots(
    item_metadata: ItemMetadata,
    user_sequences: UserSequences,
    encoder: str = ENCODER,
    cache: Path | str | None = None,
) -> Preferences:
    """Without a language model: genres and titles liked so far, in fixed sentences."""
    source = movielens_source("", item_metadata, user_sequences)
    texts = {}
    for number, (user, liked) in enumerate(source.histories.items()):
        for events in [*source.moments(user, EARLIER), len(liked)]:
            texts[number, events] = plain_preference(source.history(user, events))
    return encode_snapshots(texts, len(source.histories), encoder, cache)


def given_snapshots(
    path: Path,
    item_metadata: ItemMetadata,
    user_sequences: UserSequences,
    encoder: str = ENCODER,
    cache: Path | str | None = None,
) -> Preferences:
    """What llm_generator.py wrote: user_preferences.json, and the snapshots beside it, without which the expert on
    texts of users would have nothing to learn from."""
    source = movielens_source("", item_metadata, user_sequences)
    check_source(path, source)
    whole, earlier = read_texts(path), read_snapshots(path.with_name(SNAPSHOTS))
    if not earlier:
        raise ArtifactError(
            f"no {SNAPSHOTS} beside {path}: a text of the whole train prefix names every item that training asks for. "
            "Way on: python UR4Rec/models/llm_generator.py --snapshots 3"
        )
    texts = {}
    for number, (user, liked) in enumerate(source.histories.items()):
        check_moments(path.with_name(SNAPSHOTS), user, earlier.get(user, {}), len(liked))
        texts |= {(number, events): text for events, text in earlier.get(user, {}).items()}
        if user in whole:
            texts[number, len(liked)] = whole[user]
    return encode_snapshots(texts, len(source.histories), encoder, cache)


def check_moments(path: Path, user: str, moments: Mapping[int, str], length: int) -> None:
    for events in moments:
        if not 1 <= events < length:
            raise ArtifactError(f"{path}: a text of user {user} knows {events} events of {length} in training")


def check_source(path: Path, source: TextSource) -> None:
    """Texts of other films or other histories may know held-out items."""
    origin = path.with_name(MADE_OF)
    content = read_json(origin) if origin.exists() else {}
    if not isinstance(content, dict):
        raise ArtifactError(f"{origin} must hold a JSON object, found {type(content).__name__}")
    there = content.get("data", "unknown")
    if there != source.fingerprint:
        raise ArtifactError(
            f"{path} was made from data {there}, here it is {source.fingerprint}; "
            "run UR4Rec/models/llm_generator.py with the same --dataset, --data_dir and --plots"
        )


def encode_snapshots(texts: Texts, num_users: int, encoder: str, cache: Path | str | None) -> Preferences:
    if not texts:
        raise ArtifactError(f"there is no text about any of {num_users} users; the texts belong to other data")
    user, end = zip(*texts, strict=True)
    vectors = encode_texts(list(texts.values()), encoder, cache)
    return make_preferences(vectors.vector, vectors.present, user, end, num_users)
