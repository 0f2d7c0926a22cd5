"""A collection of 30 films and 24 users who walk a noisy ring of them, with random texts and posters."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from UR4Rec.data.features import ItemFeatures
from UR4Rec.data.multimodal_dataset import create_dataloaders
from UR4Rec.models.preferences import Preferences, make_preferences

ITEMS, WIDTH = 30, 12


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def item_metadata() -> dict:
    return {
        i: {"title": f"Film {i}", "genres": ["Drama"], "genres_str": "Drama", "description": "", "original_id": i}
        for i in range(1, ITEMS + 1)
    }


def user_sequences(num_users: int = 24, seed: int = 0) -> dict[int, list[int]]:
    """No film twice; the next one is mostly the next of the ring."""
    random = np.random.default_rng(seed)
    walks = {}
    for user in range(num_users):
        walk = [int(random.integers(ITEMS))]
        while len(walk) < 12:
            step = 1 if random.random() < 0.8 else int(random.integers(ITEMS))
            if (after := (walk[-1] + step) % ITEMS) not in walk:
                walk.append(after)
        walks[user + 100] = [item + 1 for item in walk]
    return walks


def item_features(images: bool = False, seed: int = 1) -> ItemFeatures:
    """Texts of all films; a poster of every film but each third."""
    random = np.random.default_rng(seed)
    text = random.standard_normal((ITEMS + 1, WIDTH)).astype(np.float32)
    has_text = np.arange(ITEMS + 1) > 0
    has_image = has_text & (np.arange(ITEMS + 1) % 3 > 0) & images
    image = random.standard_normal((ITEMS + 1, 6)).astype(np.float32) * has_image[:, None] if images else None
    return ItemFeatures(text * has_text[:, None], has_text, image, has_image)


def user_preferences(num_users: int = 24, seed: int = 2) -> Preferences:
    """Two texts a user, of the first 3 and of the first 8 events."""
    random = np.random.default_rng(seed)
    vector = random.standard_normal((2 * num_users, WIDTH)).astype(np.float32)
    user = np.repeat(np.arange(num_users), 2)
    return make_preferences(vector, np.ones(len(user), dtype=bool), user, np.tile([3, 8], num_users), num_users)


def loaders(windows: bool = True, batch_size: int = 8):
    return create_dataloaders(
        user_sequences(),
        item_metadata(),
        batch_size=batch_size,
        max_seq_len=10,
        num_candidates=10,
        windows=windows,
        encoder=None,
    )
