"""What cold items are given: each leaf's probability by a loop over its path, and every search's list against it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from genrec.models.array_beam import array_beam_search
from genrec.models.beam import beam_search, share_with_cold
from genrec.models.exact import exact_search
from genrec.models.frontier import frontier_search
from genrec.models.trie import allow_items, build_trie, favour_cold
from tests.models.conftest import CODES, TEXT_TOKENS
from tests.models.test_array_beam import search_of

SHARE = 0.2
COLD = np.isin(np.arange(30), [3, 4, 11, 20, 28])


def probability(model, index, prompt, item, kept):
    """Of an item, code by code: the softmax over what is kept below, then the share of cold items."""
    answer, codes = 1.0, index.codes
    path = codes[item].tolist()
    for depth in range(codes.shape[1]):
        below = kept & (codes[:, :depth] == path[:depth]).all(axis=1)
        legal = np.unique(codes[below, depth])
        tokens = [TEXT_TOKENS + CODES * level + code for level, code in enumerate(path[:depth])]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + tokens])).logits[0, -1].double().numpy()
        exps = {int(code): np.exp(logits[TEXT_TOKENS + CODES * depth + code]) for code in legal}
        p = exps[path[depth]] / sum(exps.values())
        cold_below, cold_here = (below & COLD).sum(), (below & COLD & (codes[:, depth] == path[depth])).sum()
        answer *= (1 - SHARE) * p + SHARE * cold_here / cold_below if cold_below else p
    return answer


def log_probabilities(model, index, prompt, kept):
    return np.array(
        [np.log(probability(model, index, prompt, item, kept)) if kept[item] else -np.inf for item in range(30)]
    )


@pytest.mark.parametrize("kept", [np.ones(30, dtype=bool), ~np.isin(np.arange(30), [4, 5, 17])])
def test_every_search_lists_by_the_model_and_the_share_of_cold_items(model, index, sids, prompts, kept):
    trie = build_trie(index)
    only = favour_cold(trie, allow_items(trie, torch.from_numpy(kept)), torch.from_numpy(COLD), SHARE)
    wanted = np.stack([log_probabilities(model, index, prompt, kept) for prompt in prompts[:2]])
    assert np.allclose(np.exp(wanted).sum(axis=1), 1)
    order = np.argsort(-wanted, axis=1)[:, : kept.sum()]
    asked = (model, trie, sids, prompts[:2])
    found = frontier_search(*asked, int(kept.sum()), "trie", only, 1000)
    assert found.exact.all()
    lists = [beam_search(*asked, 30, "trie", only), exact_search(*asked, 30, "trie", only), (found.leaf, found.score)]
    for leaf, score in lists:
        leaf, score = leaf[:, : kept.sum()], score[:, : kept.sum()]
        assert np.array_equal(trie.item[leaf].numpy(), order)
        assert np.allclose(score.numpy(), np.take_along_axis(wanted, order, axis=1), atol=1e-4)


def test_the_search_in_numpy_shares_alike(model, index, sids, prompts):
    trie, search = build_trie(index), search_of(model, index, 30, "trie")
    only = favour_cold(trie, None, torch.from_numpy(COLD), SHARE)
    leaf, score = beam_search(model, trie, sids, prompts, 30, "trie", only)
    ours = array_beam_search(replace(search, cold=only.cold.numpy(), cold_share=SHARE), prompts)
    assert np.array_equal(ours[0], leaf.numpy()) and np.allclose(ours[1], score.numpy(), atol=1e-4)


def test_a_node_without_cold_items_keeps_the_model_s_scores():
    score = torch.tensor([[[0.5, 0.5], [0.9, 0.1]]]).log()
    shared = share_with_cold(score, torch.tensor([[[0, 0], [1, 3]]]), 0.5).exp()
    assert torch.allclose(shared, torch.tensor([[[0.5, 0.5], [0.45 + 0.125, 0.05 + 0.375]]]))
