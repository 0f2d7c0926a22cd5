"""Texts about users at several points of their train prefix: training reads one that does not know the target.

U users, S texts
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from UR4Rec.data.dataset_loader import ItemMetadata, UserSequences
from UR4Rec.data.features import ENCODER, encode_preferences, encode_texts
from UR4Rec.data.multimodal_dataset import train_prefixes
from UR4Rec.models.preferences import Preferences, make_preferences
from UR4Rec.prompts import plain_preference

SHARES = (0.25, 0.5, 0.75, 1.0)  # of the train prefix that a user's texts tell of


def plain_snapshots(
    item_metadata: ItemMetadata,
    user_sequences: UserSequences,
    encoder: str = ENCODER,
    cache: Path | str | None = None,
    shares: Sequence[float] = SHARES,
) -> Preferences:
    """Texts without a language model (prompts.plain_preference), one for each share of each user's train prefix."""
    texts, user, end = [], [], []
    for number, items in enumerate(train_prefixes(user_sequences).values()):
        for length in sorted({max(round(share * len(items)), 1) for share in shares}):
            texts.append(plain_preference([item_metadata[item] for item in items[:length]]))
            user.append(number)
            end.append(length)
    vectors = encode_texts(texts, encoder, cache)
    return make_preferences(vectors.vector, vectors.known, user, end, len(user_sequences))


def given_texts(
    preferences: Mapping[str, str],
    user_sequences: UserSequences,
    encoder: str = ENCODER,
    cache: Path | str | None = None,
    covered: float = 1.0,
) -> Preferences:
    """One text a user {user id: text}, written from the first `covered` share of each train prefix.

    A text of the whole prefix can be read for valid and test, but by no row of training: it names their targets.
    """
    vectors = encode_preferences(preferences, list(user_sequences), encoder, cache)
    end = [int(np.ceil(covered * len(items))) for items in train_prefixes(user_sequences).values()]
    return make_preferences(vectors.vector, vectors.known, range(len(end)), end, len(end))
