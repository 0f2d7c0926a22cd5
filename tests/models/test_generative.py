"""A language model behind the face all families share: ties, repeats, filters, and the card that must fit."""

import numpy as np
import pytest

from genrec.data.lists import order_longest_first
from genrec.data.sequences import Examples
from genrec.data.tasks import Texts
from genrec.errors import ArtifactError
from genrec.evaluation.metrics import check_recommendations
from genrec.models.generative import Decoding, GenerativeModel
from genrec.sids import make_index
from tests.pasts import make_past
from tests.training.small_rows import NUM_ITEMS, make_small_model, make_small_texts, make_small_tokenizer


@pytest.fixture(scope="module")
def texts():
    return make_small_texts()


@pytest.fixture(scope="module")
def generative(texts):
    tokenizer = make_small_tokenizer(texts)
    return GenerativeModel(make_small_model(texts, tokenizer), tokenizer, texts, 256)


def make_examples(*histories):
    history = np.full((len(histories), 4), -1, dtype=np.int32)
    for row, items in enumerate(histories):
        history[row, 4 - len(items) :] = items
    past = make_past([*map(list, histories)])
    return Examples(past.split.user, history, np.zeros(len(histories), np.int32), past)


EXAMPLES = make_examples([3], [1, 2, 3, 4], [5, 5], [])


def test_lists_do_not_depend_on_the_batch(generative):
    one, four = (generative.recommend(EXAMPLES, 5, Decoding(8, batch_size=size)) for size in (1, 4))
    check_recommendations(four, 4, 5, NUM_ITEMS)
    assert (one.item == four.item).all() and np.allclose(one.score, four.score, atol=1e-4)


def test_wide_beams_and_exact_ranking_agree(generative):
    beams, exact = (generative.recommend(EXAMPLES, 12, Decoding(12, exact=exact)) for exact in (False, True))
    assert (beams.item == exact.item).all() and np.allclose(beams.score, exact.score, atol=1e-4)


def test_a_frontier_says_of_each_list_whether_it_is_proven(generative):
    exact = generative.recommend(EXAMPLES, 5, Decoding(5, exact=True))
    proven = generative.recommend(EXAMPLES, 5, Decoding(5, decoding="frontier"))
    assert (proven.item == exact.item).all() and np.allclose(proven.score, exact.score, atol=1e-4)
    assert exact.exact is None and proven.exact.all()
    cut = generative.recommend(EXAMPLES, 5, Decoding(5, decoding="frontier", frontier_budget=1))
    assert not cut.exact.any() and np.isfinite(cut.bound).all()


@pytest.mark.parametrize("exact, search", [(False, "beam"), (True, "beam"), (False, "frontier")])
def test_seen_and_disallowed_items_are_left_out(generative, exact, search):
    allowed = np.arange(NUM_ITEMS) != 7
    decoding = Decoding(12, exact=exact, decoding=search)
    only = generative.allow(allowed)
    listed = generative.recommend(EXAMPLES.without_seen(), 12, decoding, only).item
    for row, seen in zip(listed, ([3], [1, 2, 3, 4], [5], []), strict=True):
        assert set(row[row >= 0]) == set(range(NUM_ITEMS)) - {7, *seen}


def test_items_of_one_sid_come_by_their_number_with_one_score(texts):
    codes = texts.index.codes.copy()
    codes[5] = codes[0]
    shared = Texts(texts.catalog, make_index(codes, texts.index.sizes, allow_collisions=True), "toy")
    tokenizer = make_small_tokenizer(shared)
    generative = GenerativeModel(make_small_model(shared, tokenizer), tokenizer, shared, 256)
    listed = generative.recommend(EXAMPLES, 12, Decoding(12))
    for items, scores in zip(listed.item.tolist(), listed.score, strict=True):
        place = items.index(0)
        assert items[place + 1] == 5 and scores[place] == scores[place + 1]


def test_prompts_are_batched_longest_first():
    assert order_longest_first([[1], [1, 2, 3], [1, 2], [4, 5, 6]]).tolist() == [1, 3, 2, 0]


@pytest.mark.parametrize("exact", [False, True])
def test_an_item_is_left_out_though_another_one_has_its_sid(texts, exact):
    codes = texts.index.codes.copy()
    codes[5] = codes[3]
    shared = Texts(texts.catalog, make_index(codes, texts.index.sizes, allow_collisions=True), "toy")
    tokenizer = make_small_tokenizer(shared)
    generative = GenerativeModel(make_small_model(shared, tokenizer), tokenizer, shared, 256)
    listed = generative.recommend(EXAMPLES.without_seen(), 12, Decoding(12, exact=exact)).item
    for row, seen in zip(listed, ([3], [1, 2, 3, 4], [5], []), strict=True):
        assert set(row[row >= 0]) == set(range(NUM_ITEMS)) - set(seen)


def test_a_model_that_reads_no_trees_cannot_be_ranked_exactly(generative, monkeypatch):
    monkeypatch.setattr(generative, "trees", False)
    plain = generative.recommend(EXAMPLES, 5, Decoding(8))
    monkeypatch.undo()
    assert (plain.item == generative.recommend(EXAMPLES, 5, Decoding(8)).item).all()
    monkeypatch.setattr(generative, "trees", False)
    with pytest.raises(ArtifactError, match="does not take a 4-D attention mask, which exact ranking rests on"):
        generative.recommend(EXAMPLES, 5, Decoding(8, exact=True))
    with pytest.raises(ArtifactError, match="which a frontier rests on; use --evaluation.decoding beam"):
        generative.recommend(EXAMPLES, 5, Decoding(8, decoding="frontier"))
