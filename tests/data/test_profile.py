"""The profile: commonest names, and companions against statistics recomputed without the asked user."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from genrec.data.profile import COMPANIONS, find_commonest, make_profile
from genrec.errors import ConfigError
from tests import parse_flags
from tests.small_shop import small_shop


def test_the_commonest_name_is_the_latest_of_equals():
    assert find_commonest(np.array(["a", "b", "", "a", "b"], dtype=object)) == "b"
    assert find_commonest(np.array(["a", "b", "a", ""], dtype=object)) == "a"
    assert find_commonest(np.array(["", ""], dtype=object)) == "" == find_commonest(np.array([], dtype=object))


def baskets(shop, without: int = -1) -> list[set[int]]:
    """What each user but one bought in training."""
    events = [np.arange(a, b) for a, b in zip(shop.sequences.offset, shop.sequences.offset[1:], strict=False)]
    return [
        set(shop.sequences.item[each[shop.seen[each]]].tolist()) for user, each in enumerate(events) if user != without
    ]


def by_hand(shop, history: list[int], user: int) -> list[int]:
    others = baskets(shop, user)
    count = {item: sum(item in basket for basket in others) for item in range(len(shop.catalog))}
    score = dict.fromkeys(range(len(shop.catalog)), 0.0)
    for h, j in product(set(history), score):
        both = sum(h in basket and j in basket for basket in others)
        score[j] += both / max(count[h] * count[j], 1) ** 0.5
    ranked = sorted((-round(value, 9), item) for item, value in score.items() if value > 0 and item not in history)
    return [item for _, item in ranked[:COMPANIONS]]


@pytest.mark.parametrize("known", [True, False])
def test_companions_are_what_other_users_bought(known):
    shop = small_shop(num_users=25)
    profile = make_profile(shop, ["companions"])
    rows = shop.examples("train")
    for row in range(0, len(rows), 7):
        history, user = rows.history[row], int(rows.user[row]) if known else -1
        found = profile.companions(history, user)
        expected = by_hand(shop, history[history >= 0].tolist(), user)
        assert found == expected, row
    assert profile.favourites(rows.history[0]) == []


def test_a_row_is_not_told_what_its_own_user_alone_bought_next():
    shop = small_shop(num_users=25)
    user, end = int(shop.splits["train"].user[0]), int(shop.splits["train"].end[0])
    item = shop.sequences.item.copy()
    item[item == 19] = 18
    item[end] = 19  # a purchase nobody else made
    shop = replace(shop, sequences=replace(shop.sequences, item=item))
    history, profile = item[end - 1 : end], make_profile(shop, ["companions"])
    assert 19 not in profile.companions(history, user)
    assert 19 in profile.companions(history, -1) or len(profile.companions(history, -1)) == COMPANIONS


def test_the_knob_takes_one_word_or_several():
    assert parse_flags(["--sft.profile", "taste,companions"]).config.sft.profile == ["taste", "companions"]
    assert parse_flags(["--sft.profile", "companions"]).config.sft.profile == ["companions"]
    with pytest.raises(ConfigError, match="sft.profile"):
        parse_flags(["--sft.profile", "friends"])


def test_without_a_history_or_a_wish_nothing_is_said():
    shop = small_shop()
    assert make_profile(shop, ["companions"]).companions(np.array([-1, -1]), 0) == []
    taste = make_profile(shop, ["taste"])
    assert taste.companions(np.array([1, 2]), 0) == []
    assert taste.favourites(np.array([-1, 1, 3, 2])) == ["Tools", "brand 2"]
