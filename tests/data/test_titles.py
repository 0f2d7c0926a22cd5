"""Which item a title means: equal, equal but for letters' case, else the nearest, as brute force finds it."""

import difflib

import numpy as np
import pytest

from genrec.data.titles import find_titles, fold
from genrec.errors import ConfigError

TITLES = np.array(["Star Wars (1977)", "Alien (1979)", "alien (1979)", "Aliens (1986)", "The Third Man"], dtype=object)
TAKEN = np.array([5, 1, 9, 3, 0])


def test_exact_then_letters_then_nearest():
    exact, folded, near = find_titles(["Alien (1979)", "THE  third man", "star wars"], TITLES, TAKEN)
    assert (exact.item, exact.exact, exact.likeness) == (1, True, 1.0)
    assert (folded.item, folded.exact, folded.likeness) == (4, False, 1.0)
    assert (near.item, near.exact) == (0, False) and near.likeness == pytest.approx(2 * 9 / (9 + 16))


def test_of_equal_titles_the_more_popular_is_meant():
    assert find_titles(["ALIEN (1979)"], TITLES, TAKEN)[0].item == 2
    same = np.array(["x", "x", "x"], dtype=object)
    assert find_titles(["x"], same, np.array([1, 3, 3]))[0].item == 1


@pytest.mark.parametrize("asked", ["alein 79", "third wars", "zzz", "man"])
def test_the_nearest_is_what_brute_force_finds(asked):
    ratio = [difflib.SequenceMatcher(None, fold(title), fold(asked), autojunk=False).ratio() for title in TITLES]
    match = find_titles([asked], TITLES, TAKEN)[0]
    best = max(range(len(TITLES)), key=lambda item: (ratio[item], TAKEN[item]))
    assert (match.item, match.likeness) == (best, pytest.approx(ratio[best]))


def test_an_empty_title_is_refused():
    with pytest.raises(ConfigError, match="must have a letter, found ' '"):
        find_titles([" "], TITLES, TAKEN)
