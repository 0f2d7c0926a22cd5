"""The rank of an item is that of scoring every item, or is said to be a lower bound."""

import numpy as np
import pytest
import torch

from genrec.models.frontier import frontier_search
from genrec.models.target_rank import rank_targets
from genrec.models.trie import build_trie, make_filter
from genrec.sids import NONE, make_index
from tests.models.conftest import CODES, LEVELS
from tests.models.test_frontier import make_catalogue, make_equal_model, make_model, make_sids, score_every_item


def rank_by_hand(every, item, legal):
    """1 + the items that may be listed and come before: higher, or equal with a lower number."""
    number = np.arange(len(every))
    return 1 + int((legal & ((every > every[item]) | (every == every[item]) & (number < item))).sum())


def assert_ranks(model, index, sids, prompts, normalization, legal=None, allowed=None, only=None):
    """Of every item after every prompt."""
    trie = build_trie(index)
    legal = np.ones((len(prompts), len(index)), dtype=bool) if legal is None else legal
    every = [score_every_item(model, index, sids, prompt, normalization, allowed) for prompt in prompts]
    for item in range(len(index)):
        target = torch.full((len(prompts),), item)
        found = rank_targets(model, trie, sids, prompts, target, normalization, only and only(trie), width=4)
        assert found.exact.all()
        for row, scores in enumerate(every):
            if not legal[row, item]:
                assert found.rank[row] == 0
                continue
            assert found.rank[row] == rank_by_hand(scores, item, legal[row])
            assert float(found.score[row]) == pytest.approx(scores[item], abs=1e-4)


@pytest.mark.parametrize("normalization", ["vocab", "trie"])
@pytest.mark.parametrize("levels, size", [(1, 5), (2, 15), (4, 30)])
def test_the_rank_is_that_of_scoring_every_item(prompts, normalization, levels, size):
    assert_ranks(make_model(levels=levels), make_catalogue(levels, size), make_sids(levels), prompts, normalization)


@pytest.mark.parametrize("normalization", ["vocab", "trie"])
def test_the_rank_is_among_what_may_be_listed(sids, prompts, normalization):
    index, rng = make_catalogue(LEVELS, 24), np.random.default_rng(3)
    denied = np.stack([rng.choice(len(index), 5, replace=False) for _ in prompts])
    denied[0, 2:] = -1
    allowed = np.arange(len(index)) % 4 != 0
    legal = allowed & ~(denied[..., None] == np.arange(len(index))).any(1)

    def only(trie):
        return make_filter(trie, torch.from_numpy(allowed), torch.from_numpy(denied))

    assert_ranks(make_model(), index, sids, prompts, normalization, legal, allowed, only)


@pytest.mark.parametrize("normalization", ["vocab", "trie"])
def test_unequal_depths(sids, prompts, normalization):
    codes = np.array([[0, 0, 0], [0, 0, 1], [0, 1, NONE], [1, 2, NONE], [2, 2, 5], [3, NONE, NONE]])
    assert_ranks(make_model(), make_index(codes, (CODES,) * LEVELS), sids, prompts, normalization)


def test_items_of_equal_scores_stand_by_number():
    """Two levels, five SIDs, all of one score; some are of two items: item i is the (i + 1)-th."""
    codes = np.array([[0, 0], [1, 1], [0, 1], [1, 1], [0, 0], [1, 0]])
    index = make_index(codes, (CODES,) * 2, allow_collisions=True)
    model, trie = make_equal_model(2), build_trie(index)
    found = rank_targets(model, trie, make_sids(2), [[1, 2]] * 6, torch.arange(6))
    assert found.rank.tolist() == [1, 2, 3, 4, 5, 6] and found.exact.all()
    only = make_filter(trie, None, torch.tensor([[0, 3]] * 6))
    found = rank_targets(model, trie, make_sids(2), [[1, 2]] * 6, torch.arange(6), "vocab", only)
    assert found.rank.tolist() == [0, 1, 2, 0, 3, 4]


@pytest.mark.parametrize("budget", [1, 5, 30])
def test_a_budget_that_bites_leaves_a_rank_that_is_at_least_so_high(prompts, budget):
    model, sids, index = make_model(0.02, 4), make_sids(4), make_catalogue(4, 300)
    last = [int(np.argmin(score_every_item(model, index, sids, prompt, "vocab"))) for prompt in prompts]
    found = rank_targets(model, build_trie(index), sids, prompts, torch.tensor(last), budget=budget, width=8)
    assert not found.exact.any() and (found.reads == budget).all()
    assert ((found.rank >= 1) & (found.rank < 300)).all()


def test_the_listed_stand_where_they_are_listed(prompts):
    model, sids, index = make_model(), make_sids(LEVELS), make_catalogue(LEVELS, 60)
    trie = build_trie(index)
    lists = trie.item[frontier_search(model, trie, sids, prompts, 9).leaf]
    for place in range(9):
        found = rank_targets(model, trie, sids, prompts, lists[:, place])
        assert found.rank.tolist() == [place + 1] * len(prompts)


def test_scores_that_are_no_numbers_are_no_rank(prompts, index, sids):
    model = make_model()
    with torch.no_grad():
        model.model.norm.weight[:] = torch.nan
    found = rank_targets(model, build_trie(index), sids, prompts, torch.zeros(len(prompts), dtype=torch.long))
    assert found.score.isnan().all()
