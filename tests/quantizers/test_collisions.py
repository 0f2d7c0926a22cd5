"""Distinct semantic IDs: least total cost by brute force, and what happens when a prefix, or all codes, run out."""

from itertools import permutations

import numpy as np
import pytest

from genrec.errors import ArtifactError
from genrec.quantizers.collisions import add_extra_level, reassign_codes, resolve_collisions
from genrec.quantizers.residual import Quantized, encode_residually, sum_codebooks
from genrec.sids import NONE


def quantized(latent, *codebooks):
    books = tuple(np.asarray(book, dtype=np.float32) for book in codebooks)
    latent = np.asarray(latent, dtype=np.float32)
    return Quantized(latent, encode_residually(latent, books), books, latent)


def random_case(num_items, num_codes, num_levels, seed=0):
    rng = np.random.default_rng(seed)
    books = [rng.normal(size=(num_codes, 2)) / (level + 1) for level in range(num_levels)]
    return quantized(rng.normal(size=(num_items, 2)), *books)


def cost(case, codes):
    return float(((case.latent - sum_codebooks(codes, case.codebooks)) ** 2).sum())


def test_reassign_is_the_cheapest_of_all_placements_under_a_prefix():
    rng = np.random.default_rng(1)
    latent = rng.normal(size=(5, 2)) * 0.01  # all five choose the same code
    case = quantized(latent, [[0.0, 0.0]], rng.normal(size=(6, 2)))
    found = cost(case, reassign_codes(case))
    best = min(cost(case, np.column_stack([np.zeros(5, int), leaves])) for leaves in permutations(range(6), 5))
    assert found == pytest.approx(best, rel=1e-5)


def test_items_without_a_collision_keep_their_codes():
    case = random_case(60, 8, 3)
    _, group, size = np.unique(case.codes, axis=0, return_inverse=True, return_counts=True)
    alone = size[group] == 1
    codes = reassign_codes(case)
    assert alone.any() and not alone.all()
    assert (codes[alone] == case.codes[alone]).all()
    assert len(np.unique(codes, axis=0)) == 60


def test_file_order_does_not_matter_to_the_total_cost():
    case = random_case(200, 6, 3)
    order = np.random.default_rng(5).permutation(200)
    turned = Quantized(case.latent[order], case.codes[order], case.codebooks, case.latent[order])
    assert cost(turned, reassign_codes(turned)) == pytest.approx(cost(case, reassign_codes(case)), rel=0.02)


def test_500_copies_of_one_vector_spill_into_the_nearest_prefixes():
    rng = np.random.default_rng(0)
    case = quantized(np.ones((500, 4)), rng.normal(size=(16, 4)), rng.normal(size=(16, 4)), rng.normal(size=(16, 4)))
    codes = reassign_codes(case)
    assert len(np.unique(codes, axis=0)) == 500
    assert len(np.unique(codes[:, 0])) == 2  # 256 under the nearest first code, the rest under the second nearest


def test_a_code_space_that_is_just_full_is_filled():
    codes = reassign_codes(random_case(27, 3, 3))
    assert len(np.unique(codes, axis=0)) == 27


def test_a_code_space_that_is_too_small_says_so():
    with pytest.raises(ArtifactError, match=r"28 items .*\(27 in all\).*num_levels"):
        reassign_codes(random_case(28, 3, 3))


@pytest.mark.parametrize(("num_items", "num_levels", "num_codes"), [(5, 1, 5), (1, 3, 1), (4, 2, 2)])
def test_smallest_code_spaces(num_items, num_levels, num_codes):
    codes = reassign_codes(random_case(num_items, num_codes, num_levels))
    assert len(np.unique(codes, axis=0)) == num_items


def test_extra_level_numbers_the_items_of_a_group_and_leaves_others_short():
    codes = np.array([[1, 2], [0, 0], [1, 2], [3, 3], [1, 2]])
    assert add_extra_level(codes).tolist() == [[1, 2, 0], [0, 0, NONE], [1, 2, 1], [3, 3, NONE], [1, 2, 2]]


def test_resolve_extra_level_without_any_collision_adds_no_level():
    case = random_case(3, 8, 3, seed=3)
    assert len(np.unique(case.codes, axis=0)) == 3
    assert resolve_collisions(case, "extra_level").sizes == (8, 8, 8)


def test_resolve_keep_keeps():
    case = quantized(np.zeros((4, 2)), [[0.0, 0.0], [1.0, 1.0]])
    assert resolve_collisions(case, "keep").codes.tolist() == [[0]] * 4


def test_a_crowd_of_alike_items_is_spread_in_a_few_rounds_and_stays_near(monkeypatch):
    """Each round of a crowd that goes to one prefix after the other would place only that prefix's leaves."""
    from genrec.quantizers import collisions

    rng = np.random.default_rng(0)
    rows = np.concatenate([np.ones((1500, 4)), rng.normal(size=(50, 4))])
    books = [rng.normal(size=(16, 4)) / (level + 1) for level in range(3)]
    case, rounds = quantized(rows, *books), []
    move = collisions.move_to_next_prefix
    monkeypatch.setattr(collisions, "move_to_next_prefix", lambda *told: rounds.append(1) or move(*told))
    one_by_one = reassign_codes(case)
    slow = len(rounds)
    monkeypatch.setattr(collisions, "MANY", 64)
    rounds.clear()
    codes = reassign_codes(case)
    assert len(np.unique(codes, axis=0)) == 1550 and len(rounds) < 20 < slow
    assert cost(case, codes) < 1.05 * cost(case, one_by_one)
