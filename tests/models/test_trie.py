"""The trie against sets of prefixes built in plain Python."""

import numpy as np
import torch

from genrec.models.trie import allow_items, build_trie, deny_items, list_items, make_filter
from genrec.sids import NONE, make_index


def walk(trie, depth=0, node=0, path=()):
    """(path, items) of every leaf, following `children` alone."""
    if depth == trie.num_levels:
        start, stop = trie.under[depth][node], trie.under[depth][node + 1]
        return [(path, sorted(trie.item[start:stop].tolist()))]
    child, real = trie.children(depth, torch.tensor(node))
    return [
        leaf
        for place in child[real].tolist()
        for leaf in walk(trie, depth + 1, place, (*path, int(trie.code[depth][place])))
    ]


def test_leaves_are_exactly_the_items(index):
    expected = sorted((tuple(int(c) for c in row), [item]) for item, row in enumerate(index.codes))
    assert walk(build_trie(index)) == expected


def test_items_that_share_a_sid_share_a_leaf():
    index = make_index(np.array([[1, 0], [0, 1], [1, 0]]), (2, 2), allow_collisions=True)
    assert walk(build_trie(index)) == [((0, 1), [1]), ((1, 0), [0, 2])]


def test_shorter_sids_end_in_a_none_step():
    index = make_index(np.array([[0, 1, NONE], [0, 0, 0], [0, 0, 1]]), (1, 2, 2))
    assert walk(build_trie(index)) == [((0, 0, 0), [1]), ((0, 0, 1), [2]), ((0, 1, NONE), [0])]


def test_counts_of_allowed_items_under_each_node(index):
    trie, rng = build_trie(index), np.random.default_rng(0)
    allowed = rng.random(len(index)) < 0.5
    only = make_filter(trie, torch.from_numpy(allowed), None)
    for depth in range(trie.num_levels + 1):
        nodes = len(trie.under[depth]) - 1
        counts = trie.count(depth, torch.arange(nodes), only)
        prefixes = np.unique(index.codes[:, :depth], axis=0) if depth else np.zeros((1, 0))
        brute = [int((allowed & (index.codes[:, :depth] == prefix).all(1)).sum()) for prefix in prefixes]
        assert counts.tolist() == brute


def test_the_place_of_an_item_leads_back_to_it(index):
    trie = build_trie(index)
    assert trie.item[trie.place].tolist() == list(range(len(index)))


def test_only_leaves_are_those_of_single_paths():
    index = make_index(np.array([[0, 0, 0], [0, 1, NONE], [1, 0, 0], [1, 0, 1], [2, NONE, NONE]]), (3, 2, 2))
    trie = build_trie(index)
    of_chains = [trie.only_leaf(depth, torch.arange(len(trie.code[depth - 1])), True) for depth in (1, 2)]
    ended = [trie.only_leaf(depth, torch.arange(len(trie.code[depth - 1])), False) for depth in (1, 2)]
    assert [alone.tolist() for _, alone in of_chains] == [[False, False, True], [True, True, False, True]]
    assert [alone.tolist() for _, alone in ended] == [[False, False, True], [False, True, False, True]]
    assert [leaf.tolist() for leaf, _ in of_chains] == [[0, 2, 4], [0, 1, 2, 4]]


def test_what_a_list_may_hold_is_counted_apart_from_what_has_a_share(index):
    trie, rng = build_trie(index), np.random.default_rng(1)
    allowed, listed = (torch.from_numpy(rng.random(len(index)) < 0.6) for _ in range(2))
    denied = torch.tensor([[0, 1, 2, -1], [3, -1, -1, -1]])
    only = deny_items(trie, list_items(trie, allow_items(trie, allowed), listed), denied)
    leaves = torch.arange(len(trie.code[-1])).expand(2, -1)
    may = (allowed & listed)[trie.item].expand(2, -1).clone()
    for row, items in enumerate(denied.tolist()):
        may[row, [int(trie.place[item]) for item in items if item >= 0]] = False
    assert torch.equal(trie.count_listed(trie.num_levels, leaves, only) > 0, may)
    assert torch.equal(trie.count(trie.num_levels, leaves[0], only) > 0, allowed[trie.item])
    assert torch.equal(only.lists(leaves), may)
