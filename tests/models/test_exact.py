"""Exact ranking is exhaustive scoring, whatever memory a pass may take."""

import numpy as np
import pytest
import torch

from genrec.models.exact import exact_search, rank_exactly, tokens_within
from genrec.models.trie import build_trie, make_filter
from tests.models.test_beam import exhaustive, items


@pytest.mark.parametrize("normalization", ["vocab", "trie"])
@pytest.mark.parametrize("budget", [1, 60, 4096])
def test_exact_ranking_is_exhaustive_scoring(model, index, sids, prompts, normalization, budget):
    trie = build_trie(index)
    leaves, scores = exact_search(model, trie, sids, prompts, 12, normalization, token_budget=budget)
    for row, prompt in enumerate(prompts):
        every = exhaustive(model, index, sids, prompt, normalization)
        assert items(trie, leaves[row]).tolist() == np.argsort(-every)[:12].tolist()
        np.testing.assert_allclose(scores[row], np.sort(every)[::-1][:12], atol=1e-4)


def test_a_memory_budget_is_kept_by_the_bill_it_is_made_of(model, index, prompts):
    """Ten times the memory holds more tokens, and never more than the bill for logits alone allows."""
    trie = build_trie(index)
    small, large = (tokens_within(memory, model, trie, prompts) for memory in (10**5, 10**6))
    assert len(prompts) <= small < large
    assert large * 8 * model.config.vocab_size < 10**6
    assert tokens_within(1, model, trie, prompts) == len(prompts)  # the least a pass can hold


@pytest.mark.parametrize("most", [1, 30, 1000])
def test_a_frontier_before_it_changes_no_list(model, index, sids, prompts, monkeypatch, most):
    """Whether it proves none of the lists, some or all."""
    monkeypatch.setattr("genrec.models.exact.FEWEST_READS", 1)
    monkeypatch.setattr("genrec.models.exact.MOST_READS", most)
    trie = build_trie(index)
    denied = torch.tensor([[0, 1], [2, 3], [4, -1], [-1, -1], [5, 6]])
    only = make_filter(trie, torch.arange(len(index)) % 5 != 0, denied)
    leaves, scores = rank_exactly(model, trie, sids, prompts, 3, "vocab", only, 4096)
    expected = exact_search(model, trie, sids, prompts, 3, "vocab", only)
    assert torch.equal(leaves, expected[0])
    torch.testing.assert_close(scores, expected[1], atol=1e-4, rtol=0)
