"""Vectors to an index, method by method, without a run around it."""

import numpy as np
import pytest

from genrec.config import Sids
from genrec.errors import ArtifactError
from genrec.quantizers.build import METHODS, build_index, mix_vectors, take_published
from genrec.quantizers.fused import fuse_vectors
from genrec.quantizers.purchases import Purchases
from genrec.quantizers.residual import sum_codebooks
from genrec.runtime.epochs import CHECKPOINT
from genrec.sids import make_index

KNOBS = {"num_levels": 2, "codebook_size": 4, "num_epochs": 3, "hidden_sizes": [8], "latent": 3, "batch_size": 16}
NOBODY = Purchases(np.zeros((0, 2), int), None, np.zeros((0, 2), int))


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    return rng.normal(size=(14, 6)).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_distinct_sids_and_says_what_is_left(vectors, tmp_path, method):
    built = build_index(vectors, Sids(method=method, **KNOBS), 0, "cpu", tmp_path)
    assert len(np.unique(built.index.codes, axis=0)) == len(built.index) == 14
    assert built.codes.shape == (14, 2) and [len(book) for book in built.codebooks] == [4, 4]
    assert not list(tmp_path.rglob(CHECKPOINT))
    if method == "rqkmeans":
        rebuilt = sum_codebooks(built.index.codes, built.codebooks)
        left = ((vectors - rebuilt) ** 2).sum() / ((vectors - vectors.mean(axis=0)) ** 2).sum()
        assert built.reconstruction["error"][-1] == pytest.approx(left, abs=1e-5)


def test_collisions_that_are_kept_stay(tmp_path):
    same = np.ones((6, 4), np.float32)
    built = build_index(
        same, Sids(method="rqkmeans", collisions="keep", **KNOBS | {"num_levels": 1}), 0, "cpu", tmp_path
    )
    assert len(np.unique(built.index.codes, axis=0)) == 1 and (built.index.codes == built.codes).all()


def test_text_stands_alone_without_factors(vectors):
    mixture = mix_vectors(vectors, NOBODY, Sids(alpha=0), 0)
    assert mixture.vectors is vectors and mixture.describe() == {}


def test_a_given_alpha_fuses_and_auto_takes_the_best_of_those_it_tried(vectors):
    factors = np.zeros((14, 2), np.float32)
    factors[np.arange(14), np.arange(14) % 2] = 1
    pairs = np.array([[item, (item + 2) % 14] for item in range(14)])  # bought after each other: alike in factors alone
    purchases = Purchases(pairs, factors, pairs)
    given = mix_vectors(vectors, purchases, Sids(alpha=0.4), 0)
    assert (given.vectors == fuse_vectors(vectors, factors, 0.4)).all() and given.describe() == {"alpha": 0.4}
    chosen = mix_vectors(vectors, purchases, Sids(alpha="auto"), 0)
    rates = chosen.describe()["alpha_hit_rates"]
    assert rates[str(chosen.alpha)] == max(rates.values()) and len(rates) > 3


def test_a_published_index_must_be_of_the_same_catalogue(tmp_path):
    index = make_index(np.array([[0, 0], [0, 1]]), (1, 2))
    built = take_published(index, 2, tmp_path)
    assert built.index is index and built.codebooks is None and built.reconstruction is None
    with pytest.raises(ArtifactError, match="has an index of 2 items, its catalogue has 3"):
        take_published(index, 3, tmp_path)
