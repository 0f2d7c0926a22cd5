import numpy as np

from genrec.data.lists import pad_lists


def test_short_lists_end_in_no_item_with_the_lowest_score():
    item, score = pad_lists(np.array([[3, 1], [0, 2]], np.int32), np.array([[0.5, 0.1], [2, 1]], np.float32), 4)
    assert item.tolist() == [[3, 1, -1, -1], [0, 2, -1, -1]] and item.dtype == np.int32
    assert score.tolist() == [[0.5, np.float32(0.1), -np.inf, -np.inf], [2, 1, -np.inf, -np.inf]]
    assert score.dtype == np.float32


def test_a_full_list_of_one_example_is_left_as_it_is():
    item, score = pad_lists(np.array([4, 2]), np.array([1.0, 0.5]), 2)
    assert item.tolist() == [4, 2] and score.tolist() == [1.0, 0.5]
