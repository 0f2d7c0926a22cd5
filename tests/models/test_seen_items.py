"""Every family that leaves seen items out gives the list of brute force: score all, remove the whole past, sort."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from genrec.config_checks import validate
from genrec.data.sequences import Examples
from genrec.evaluation.metrics import Recommendations, check_recommendations
from genrec.models.ensemble import Ensemble
from genrec.models.families import FAMILIES, Request
from genrec.models.generative import Decoding, GenerativeModel, GenerativeRecommender
from genrec.models.sasrec import SasRec, SasRecRecommender, SasRecShape
from genrec.pipeline import FAMILY_READS
from genrec.store import RunStore
from tests.pasts import make_past
from tests.small_shop import small_shop
from tests.training.small_rows import NUM_ITEMS, make_small_model, make_small_texts, make_small_tokenizer

BASELINES = [name for name, stages in FAMILY_READS.items() if not stages]
PASTS = [[3], [1, 2, 3, 4, 0, 5, 6], [5, 5], [], [0, 1, 2, 3, 4, 5, 6, 7, 8]]


def asked(items: list[list[int]], max_history: int = 3) -> Examples:
    """Histories shorter than the pasts."""
    history = np.array([([-1] * max_history + each)[-max_history:] for each in items], dtype=np.int32)
    past = make_past(items)
    return Examples(past.split.user, history, np.zeros(len(items), np.int32), past)


def remove_past(whole: Recommendations, rows: Examples, items: list[list[int]], k: int) -> list[list[int]]:
    """The first k of what a list of all items keeps."""
    lists = zip(whole.item.tolist(), items, strict=True)
    return [[item for item in row if item >= 0 and item not in past][:k] for row, past in lists]


def assert_brute_force(recommender, num_items: int, k: int) -> None:
    rows = asked(PASTS)
    whole = recommender.recommend(rows, num_items)
    listed = recommender.recommend(rows.without_seen(), k)
    check_recommendations(listed, len(rows), k, num_items)
    assert [[item for item in row if item >= 0] for row in listed.item.tolist()] == remove_past(whole, rows, PASTS, k)
    assert (np.isneginf(listed.score) == (listed.item < 0)).all()


@pytest.mark.parametrize("k", [4, 20])
@pytest.mark.parametrize("name", BASELINES)
def test_baselines(tmp_path, name, k):
    shop = small_shop()
    request = Request(RunStore(tmp_path), shop, validate({"evaluation": {"models": [name]}}).evaluation, "cpu")
    assert_brute_force(FAMILIES[name](request), len(shop.catalog), k)


def make_sasrec(cosine: bool) -> SasRecRecommender:
    torch.manual_seed(0)
    return SasRecRecommender(SasRec(SasRecShape(NUM_ITEMS, 16, 1, 2, 0.0, max_length=4, cosine=cosine, temperature=1)))


def make_language_model(normalization: str, exact: bool) -> GenerativeRecommender:
    texts = make_small_texts()
    tokenizer = make_small_tokenizer(texts)
    model = GenerativeModel(make_small_model(texts, tokenizer), tokenizer, texts, 256)
    return GenerativeRecommender(model, Decoding(NUM_ITEMS, batch_size=2, normalization=normalization, exact=exact))


@pytest.mark.parametrize("k", [4, NUM_ITEMS])
@pytest.mark.parametrize("cosine", [False, True])
def test_sasrec(cosine, k):
    assert_brute_force(make_sasrec(cosine), NUM_ITEMS, k)


@pytest.mark.parametrize("k", [4, NUM_ITEMS])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("normalization", ["vocab", "trie"])
def test_language_models(normalization, exact, k):
    assert_brute_force(make_language_model(normalization, exact), NUM_ITEMS, k)


def test_the_ensemble():
    both = (make_language_model("trie", False), make_sasrec(False))
    rows = asked(PASTS).without_seen()
    listed = Ensemble(*both, 0.5).recommend(rows, NUM_ITEMS)
    for row, past in zip(listed.item.tolist(), PASTS, strict=True):
        assert {item for item in row if item >= 0} == set(range(NUM_ITEMS)) - set(past)


def test_lists_of_examples_that_exclude_nothing_stay_as_they_are(tmp_path):
    rows = asked(PASTS)
    plain = replace(rows, past=None)
    for recommender in (make_sasrec(True), make_language_model("vocab", False)):
        with_past, without = (recommender.recommend(each, 6) for each in (rows, plain))
        assert (with_past.item == without.item).all() and (with_past.score == without.score).all()
