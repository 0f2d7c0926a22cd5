"""Balanced k-means: the cheapest assignment with equal sizes, by an exact oracle; clusterings like the library's."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from genrec.quantizers.balanced import assign_balanced, balanced_kmeans, cost_matrix


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


def test_inertia_within_3_percent_of_k_means_constrained():
    library = pytest.importorskip("k_means_constrained")
    vectors = blobs(600, seed=4)
    centroids, codes = balanced_kmeans(vectors, 24, seed=0, iters=30)
    model = library.KMeansConstrained(24, size_min=25, size_max=25, n_init=1, random_state=0).fit(vectors)
    assert (np.bincount(codes) == 25).all()
    assert ((vectors - centroids[codes]) ** 2).sum() < 1.03 * model.inertia_


def test_more_rows_than_the_sample_are_balanced_too(monkeypatch):
    from genrec.quantizers import balanced

    monkeypatch.setattr(balanced, "SAMPLE", 20)
    centroids, codes = balanced_kmeans(blobs(1003), 10, seed=0, iters=10)
    assert set(np.bincount(codes, minlength=10)) == {100, 101}
    assert np.isfinite(centroids).all()


@pytest.mark.parametrize(
    "vectors",
    [
        np.ones((500, 4), np.float32),  # one vector 500 times
        np.concatenate([np.ones((480, 4)), blobs(20, 4)]).astype(np.float32),
        np.column_stack([blobs(300, 3), np.full(300, 7.0)]).astype(np.float32),  # a constant column
        np.zeros((64, 4), np.float32),
    ],
)
def test_degenerate_vectors_are_balanced(vectors):
    _, codes = balanced_kmeans(vectors, 16, seed=0, iters=5)
    sizes = np.bincount(codes, minlength=16)
    assert sizes.max() - sizes.min() <= 1


def test_one_code_and_as_many_codes_as_rows():
    vectors = blobs(12)
    centroids, codes = balanced_kmeans(vectors, 1, seed=0, iters=5)
    assert not codes.any() and np.allclose(centroids[0], vectors.mean(axis=0), atol=1e-5)
    assert sorted(balanced_kmeans(vectors, 12, seed=0, iters=5)[1]) == list(range(12))


def test_same_seed_same_bytes():
    first, second = (balanced_kmeans(blobs(300), 10, seed=3, iters=10) for _ in range(2))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))
