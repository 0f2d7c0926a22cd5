"""Drafted lists are fair, complete and credited to who brought each item."""

import math

import numpy as np
import pytest
from scipy import stats

from genrec.experiments.statistics.interleaving import Draft, credit_teams, draft_teams, measure_preference

FIRST, SECOND = list("abcdefgh"), list("cbahgfed")


def test_every_round_takes_the_best_of_both_that_is_not_listed():
    for seed in range(50):
        draft = draft_teams(FIRST, SECOND, 6, np.random.default_rng(seed))
        assert len(set(draft.items)) == 6 and draft.teams.count(0) == 3
        for begin in range(0, 6, 2):
            assert sorted(draft.teams[begin : begin + 2]) == [0, 1]
        for place, (item, team) in enumerate(zip(draft.items, draft.teams, strict=True)):
            left = [each for each in (FIRST, SECOND)[team] if each not in draft.items[:place]]
            assert item == left[0]


def test_equal_rankings_give_that_ranking_and_either_team_every_place():
    drafts = [draft_teams(FIRST, FIRST, 4, np.random.default_rng(seed)) for seed in range(400)]
    assert all(draft.items == FIRST[:4] for draft in drafts)
    firsts = sum(draft.teams[0] for draft in drafts)
    assert abs(firsts - 200) < 4 * math.sqrt(100)


def test_lists_of_odd_length_and_short_rankings_end_where_they_must():
    assert len(draft_teams(FIRST, SECOND, 5, np.random.default_rng(0)).items) == 5
    short = draft_teams(["a"], ["b", "a"], 10, np.random.default_rng(0))
    assert sorted(short.items) == ["a", "b"] and sorted(short.teams) == [0, 1]
    assert draft_teams([], [], 3, np.random.default_rng(0)) == Draft([], [])


def test_clicks_go_to_the_team_that_brought_the_item_once():
    assert credit_teams(Draft(["a", "b", "c"], [0, 1, 1]), ["c", "c", "b", "a", "z"]) == (1, 2)


def test_the_preference_is_the_sign_test_over_users():
    first, second = np.array([0, 1, 2, 0, 3, 0, 0]), np.array([1, 2, 2, 4, 1, 1, 0])
    found = measure_preference(first, second)
    assert (found.first, found.second, found.ties, found.share) == (1, 4, 1, 0.8)
    assert found.p_value == pytest.approx(stats.binomtest(4, 5).pvalue) == pytest.approx(0.375)  # 2 * (1 + 5) / 32
    nobody = measure_preference(np.zeros(3), np.zeros(3))
    assert nobody.p_value == 1 and math.isnan(nobody.share) and (nobody.low, nobody.high) == (0, 1)
