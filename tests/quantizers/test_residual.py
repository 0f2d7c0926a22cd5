"""The residual recursion by hand, and against every combination of codes."""

from itertools import product

import numpy as np
import pytest

from genrec.errors import ArtifactError
from genrec.quantizers import residual
from genrec.quantizers.residual import (
    check_codebook_size,
    child_costs,
    encode_residually,
    find_nearest_codes,
    fit_levels,
    sum_codebooks,
)

BOOKS = (np.array([[0.0, 0], [10, 0]], np.float32), np.array([[1.0, 1], [-1, 0], [0, 3]], np.float32))


def test_codes_follow_the_recursion_by_hand():
    vectors = np.array([[9, 0], [0.5, 0.4], [10, 3]], np.float32)
    assert encode_residually(vectors, BOOKS).tolist() == [[1, 1], [0, 0], [1, 2]]
    assert sum_codebooks(np.array([[1, 1], [0, 2]]), BOOKS).tolist() == [[9, 0], [0, 3]]
    assert sum_codebooks(np.zeros((2, 0), int), BOOKS).tolist() == [[0, 0], [0, 0]]


def test_the_nearest_code_is_that_of_all_distances_and_ties_go_to_the_lower(monkeypatch):
    monkeypatch.setattr(residual, "CHUNK", 3)
    rng = np.random.default_rng(0)
    vectors, book = rng.normal(size=(10, 4)).astype(np.float32), rng.normal(size=(5, 4)).astype(np.float32)
    distances = ((vectors[:, None] - book[None]) ** 2).sum(-1)
    assert (find_nearest_codes(vectors, book) == distances.argmin(1)).all()
    assert find_nearest_codes(np.zeros((1, 2), np.float32), np.array([[1, 0], [-1, 0]], np.float32)).tolist() == [0]
    assert find_nearest_codes(vectors[:0], book).shape == (0,)


def test_costs_of_children_are_distances_of_whole_sums():
    vectors = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    prefix = np.array([[0], [1], [1], [0]])
    costs = child_costs(vectors, prefix, BOOKS)
    for row, code in product(range(4), range(3)):
        whole = sum_codebooks(np.array([[prefix[row, 0], code]]), BOOKS)[0]
        assert costs[row, code] == pytest.approx(((vectors[row] - whole) ** 2).sum(), abs=1e-4)


def test_levels_cluster_what_the_level_before_left():
    vectors, seen = np.array([[0.0], [1], [10], [11]], np.float32), []

    def halves(rows, num_codes, seed):
        seen.append((rows.ravel().tolist(), seed))
        codes = (rows[:, 0] > rows.mean()).astype(np.int64)
        return np.stack([rows[codes == code].mean(0) for code in (0, 1)]).astype(np.float32), codes

    quantized = fit_levels(vectors, 2, 2, halves, seed=5)
    assert seen == [([0, 1, 10, 11], 5), ([-0.5, 0.5, -0.5, 0.5], 6)]
    assert quantized.codes.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert (sum_codebooks(quantized.codes, quantized.codebooks) == vectors).all()
    assert (encode_residually(vectors, quantized.codebooks) == quantized.codes).all()


def test_more_codes_than_items_are_refused_with_a_size_that_fits():
    check_codebook_size(4, 4)
    with pytest.raises(ArtifactError, match=r"codebook_size 5 is more than the 4 items; .* --sids.codebook_size 2"):
        check_codebook_size(4, 5)
