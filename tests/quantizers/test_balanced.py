"""Balanced k-means: the cheapest assignment with equal sizes, by an exact oracle; both backends to one contract."""

from typing import get_args

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from genrec.config import Sids
from genrec.quantizers import balanced
from genrec.quantizers.balanced import (
    BACKENDS,
    COARSE,
    ROUGH,
    assign_balanced,
    balanced_kmeans,
    cost_matrix,
    finest_eps,
    misplaced_share,
    renew_prices,
    soften_choices,
    sum_demand,
)


def blobs(rows, width=16, centres=8, seed=0):
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(centres, width))[rng.integers(centres, size=rows)] + rng.normal(size=(rows, width))
    return found.astype(np.float32)


def total(cost, codes):
    return float(cost.gather(1, codes[:, None]).double().sum())


@pytest.mark.parametrize(("rows", "num_codes", "seed"), [(40, 4, 0), (203, 10, 1), (150, 50, 2)])
def test_assignment_is_the_cheapest_with_its_sizes(rows, num_codes, seed):
    vectors = torch.from_numpy(blobs(rows, seed=seed))
    cost = cost_matrix(vectors, vectors[:num_codes])
    codes = assign_balanced(cost)
    sizes = torch.bincount(codes, minlength=num_codes)
    assert int(sizes.min()) == rows // num_codes and int(sizes.max()) == -(-rows // num_codes)
    places = np.repeat(np.arange(num_codes), sizes.numpy())  # one column a place: the Hungarian method as oracle
    best = cost.numpy()[:, places][linear_sum_assignment(cost.numpy()[:, places])].astype(float).sum()
    assert total(cost, codes) == pytest.approx(best, rel=1e-5, abs=1e-3)


def inertia(vectors, centroids, codes):
    return float(((vectors - centroids[codes]) ** 2).sum())


def test_the_backends_are_those_of_the_knob():
    assert set(BACKENDS) == set(get_args(Sids.model_fields["kmeans_backend"].annotation))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("rows", "num_codes"), [(600, 24), (203, 10), (12, 12), (12, 1)])
def test_every_backend_gives_the_means_of_codes_of_equal_size(backend, rows, num_codes):
    vectors = blobs(rows, seed=4)
    given = vectors.copy()
    centroids, codes = BACKENDS[backend](vectors, num_codes, seed=2**31 + 5, iters=30)
    assert (centroids.shape, centroids.dtype) == ((num_codes, 16), np.float32)
    assert (codes.shape, codes.dtype) == ((rows,), np.int32)
    sizes = np.bincount(codes, minlength=num_codes)
    assert set(sizes) == {rows // num_codes, -(-rows // num_codes)}
    means = np.stack([vectors[codes == code].mean(axis=0) for code in range(num_codes)])
    np.testing.assert_allclose(centroids, means, atol=1e-5)
    assert (vectors == given).all()


def test_inertia_of_the_backends_differs_by_less_than_3_percent():
    vectors = blobs(600, seed=4)
    ours, library = (inertia(vectors, *cluster(vectors, 24, seed=0, iters=30)) for cluster in BACKENDS.values())
    assert max(ours, library) < 1.03 * min(ours, library), f"balanced {ours:.1f}, k_means_constrained {library:.1f}"


def test_more_rows_than_the_sample_are_balanced_too(monkeypatch):
    monkeypatch.setattr(balanced, "SAMPLE", 20)
    centroids, codes = balanced_kmeans(blobs(1003), 10, seed=0, iters=10)
    assert set(np.bincount(codes, minlength=10)) == {100, 101}
    assert np.isfinite(centroids).all()


def tight_groups(rows, groups, noise):
    """Far apart and of unequal weight, so that prices alone leave codes lopsided."""
    rng = np.random.default_rng(0)
    middle, weight = rng.normal(size=(groups, 16)), rng.dirichlet(np.ones(groups))
    return (middle[rng.choice(groups, rows, p=weight)] + noise * rng.normal(size=(rows, 16))).astype(np.float32)


@pytest.mark.parametrize(
    ("vectors", "num_codes"), [(blobs(16 * COARSE + 9, seed=4), 16), (tight_groups(32 * COARSE + 9, 12, 0.3), 32)]
)
def test_rounds_by_price_lose_about_1_percent_to_exact_rounds_alone(monkeypatch, vectors, num_codes):
    by_price = balanced_kmeans(vectors, num_codes, seed=0, iters=30)
    monkeypatch.setattr(balanced, "COARSE", len(vectors))
    exactly = balanced_kmeans(vectors, num_codes, seed=0, iters=30)
    assert not (by_price[1] == exactly[1]).all(), "both went the same way"
    assert set(np.bincount(by_price[1], minlength=num_codes)) == {COARSE, COARSE + 1}
    assert inertia(vectors, *by_price) < 1.015 * inertia(vectors, *exactly)


@pytest.mark.parametrize("scale", [0.0, 100.0])
def test_prices_are_even_again_however_far_they_were(scale):
    vectors = torch.from_numpy(blobs(1200, seed=5))
    cost = cost_matrix(vectors, vectors[:16])
    prices = renew_prices(cost, scale * torch.arange(16.0))
    assert misplaced_share(sum_demand(cost, prices, ROUGH * finest_eps(cost))) < 0.01


def test_exponents_that_end_early_do_not_change_a_bit():
    vectors = torch.from_numpy(blobs(400, seed=6))
    cost, prices = cost_matrix(vectors, vectors[:50]), torch.linspace(-3, 3, 50)
    for eps in (1e-3, 0.05, 1.0, 50.0):
        plain = torch.threshold(torch.softmax((cost + prices) / -eps, dim=1), balanced.NEGLIGIBLE, 0.0)
        assert torch.equal(soften_choices(cost, prices, eps), plain)


@pytest.mark.parametrize(
    "vectors",
    [
        np.ones((500, 4), np.float32),  # one vector 500 times
        np.concatenate([np.ones((480, 4)), blobs(20, 4)]).astype(np.float32),
        np.column_stack([blobs(300, 3), np.full(300, 7.0)]).astype(np.float32),  # a constant column
        np.zeros((64, 4), np.float32),
    ],
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_degenerate_vectors_are_balanced(backend, vectors):
    _, codes = BACKENDS[backend](vectors, 16, seed=0, iters=5)
    sizes = np.bincount(codes, minlength=16)
    assert sizes.max() - sizes.min() <= 1


def test_one_code_and_as_many_codes_as_rows():
    vectors = blobs(12)
    centroids, codes = balanced_kmeans(vectors, 1, seed=0, iters=5)
    assert not codes.any() and np.allclose(centroids[0], vectors.mean(axis=0), atol=1e-5)
    assert sorted(balanced_kmeans(vectors, 12, seed=0, iters=5)[1]) == list(range(12))


def test_negligible_choices_do_not_change_a_bit(monkeypatch):
    vectors = blobs(2000, seed=4)
    given = balanced_kmeans(vectors, 64, seed=0, iters=10)
    monkeypatch.setattr(balanced, "NEGLIGIBLE", 0.0)
    exact = balanced_kmeans(vectors, 64, seed=0, iters=10)
    assert all((a == b).all() for a, b in zip(given, exact, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_same_seed_same_bytes(backend):
    first, second = (BACKENDS[backend](blobs(300), 10, seed=3, iters=10) for _ in range(2))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))
