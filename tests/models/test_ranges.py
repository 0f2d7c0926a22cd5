"""The flat arrays of the tree of codes, against a tree written by hand."""

import numpy as np

from genrec.models.ranges import build_ranges
from genrec.models.trie import build_trie
from genrec.sids import NONE, make_index

INDEX = make_index(np.array([[1, 0], [0, 2], [1, NONE], [0, 1]]), (2, 3))


def test_the_tree_by_hand():
    ranges = build_ranges(INDEX)
    assert ranges.item.tolist() == [3, 1, 2, 0]
    assert [code.tolist() for code in ranges.code] == [[0, 1], [1, 2, NONE, 0]]
    assert [first.tolist() for first in ranges.first] == [[0, 2], [0, 2, 4]]
    assert [under.tolist() for under in ranges.under] == [[0, 4], [0, 2, 4], [0, 1, 2, 3, 4]]
    assert ranges.width == (2, 2) and ranges.num_levels == 2


def test_children_past_the_last_are_not_real():
    index = make_index(np.array([[0, 0], [1, 0], [1, 1]]), (2, 2))
    child, real = build_ranges(index).children(1, np.array([0, 1]))
    assert child.tolist() == [[0, 0], [1, 2]] and real.tolist() == [[True, False], [True, True]]


def test_the_tensors_of_the_trie_are_these_arrays():
    ranges, trie = build_ranges(INDEX), build_trie(INDEX)
    for name in ("code", "first", "under"):
        for array, tensor in zip(getattr(ranges, name), getattr(trie, name), strict=True):
            assert np.array_equal(array, tensor.numpy())
    assert np.array_equal(ranges.item, trie.item.numpy()) and ranges.width == trie.width
