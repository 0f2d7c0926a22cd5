"""Residual k-means: the recursion, odd sizes, and shops too small or too uniform."""

import numpy as np
import pytest

from genrec.errors import ArtifactError
from genrec.quantizers import rqkmeans
from genrec.quantizers.residual import encode_residually, find_nearest_codes, sum_codebooks


def vectors(rows=200, width=8, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def test_nearest_is_nearest_by_brute_force():
    rows, codebook = vectors(50), vectors(7, seed=1)
    by_hand = [min(range(7), key=lambda k: ((row - codebook[k]) ** 2).sum()) for row in rows]
    assert find_nearest_codes(rows, codebook).tolist() == by_hand


def test_codes_follow_from_the_codebooks_alone():
    found = rqkmeans.fit_rqkmeans(vectors(), 3, 10, iters=10, seed=0)
    assert (encode_residually(found.latent, found.codebooks) == found.codes).all()
    residual = found.latent - found.codebooks[0][found.codes[:, 0]] - found.codebooks[1][found.codes[:, 1]]
    assert (find_nearest_codes(residual, found.codebooks[2]) == found.codes[:, 2]).all()


@pytest.mark.parametrize(("num_levels", "num_codes"), [(1, 1), (1, 7), (2, 100), (4, 3), (3, 200)])
def test_any_number_of_codes_and_levels(num_levels, num_codes):
    found = rqkmeans.fit_rqkmeans(vectors(), num_levels, num_codes, iters=5, seed=0)
    assert found.codes.shape == (200, num_levels) and found.codes.max() < num_codes
    assert all(book.shape == (num_codes, 8) and np.isfinite(book).all() for book in found.codebooks)


def test_each_level_lowers_the_error():
    found = rqkmeans.fit_rqkmeans(vectors(), 4, 16, iters=20, seed=0)
    errors = [
        ((found.latent - sum_codebooks(found.codes[:, :level], found.codebooks)) ** 2).sum() for level in range(5)
    ]
    assert errors == sorted(errors, reverse=True)


def test_500_copies_and_constant_columns_end():
    same = np.ones((500, 8), np.float32)
    assert rqkmeans.fit_rqkmeans(same, 3, 16, iters=5, seed=0).codes.shape == (500, 3)
    flat = vectors()
    flat[:, 3] = 5.0
    assert np.isfinite(rqkmeans.fit_rqkmeans(flat, 3, 16, iters=5, seed=0).codebooks[2]).all()


def test_fewer_items_than_codes_says_what_to_do():
    with pytest.raises(ArtifactError, match="codebook_size 256 is more than the 200 items.*--sids.codebook_size 50"):
        rqkmeans.fit_rqkmeans(vectors(), 3, 256, iters=5, seed=0)


def test_same_seed_same_codes():
    assert (
        rqkmeans.fit_rqkmeans(vectors(), 3, 9, 10, 5).codes == rqkmeans.fit_rqkmeans(vectors(), 3, 9, 10, 5).codes
    ).all()


def test_vectors_whose_distances_overflow_are_refused_before_they_are_clustered():
    vectors = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    vectors[7, 2] = 3e38
    with pytest.raises(
        ArtifactError, match=r"hold values up to 3e\+38; distances in float32 allow 4.61e\+18 at width 4"
    ):
        rqkmeans.fit_rqkmeans(vectors, 2, 4, 5, 0)
