"""SASRec against formulas: padding on either side, the catalogue's scores, lists, and a saved model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from genrec.data.sequences import Examples
from genrec.errors import ArtifactError
from genrec.evaluation.metrics import check_recommendations
from genrec.models.sasrec import (
    IMPOSSIBLE,
    SasRec,
    SasRecRecommender,
    SasRecShape,
    load_sasrec,
    save_sasrec,
    to_right_padded,
)

ITEMS = 30


def model(cosine: bool = False) -> SasRec:
    torch.manual_seed(0)
    return away_from_start(SasRec(SasRecShape(ITEMS, 16, 2, 2, 0.3, max_length=8, cosine=cosine, temperature=0.1)))


def away_from_start(sasrec: SasRec) -> SasRec:
    """Weights so large that differences would show."""
    with torch.no_grad():
        for parameter in sasrec.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return sasrec.eval()


def asked(*histories: list[int], width: int = 8) -> Examples:
    padded = np.array([[-1] * (width - len(items)) + items for items in histories], dtype=np.int32)
    return Examples(np.arange(len(histories), dtype=np.int32), padded, np.zeros(len(histories), dtype=np.int32))


def test_later_items_do_not_change_earlier_states():
    items = torch.randint(0, ITEMS, (4, 8), generator=torch.Generator().manual_seed(1))
    changed = items.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % ITEMS
    before, after = model()(items), model()(changed)
    assert torch.allclose(before[:, :5], after[:, :5], atol=1e-6)
    assert not torch.allclose(before[:, 5:], after[:, 5:], atol=1e-3)


@pytest.mark.parametrize("cosine", [False, True])
def test_padding_does_not_matter(cosine):
    recommender = SasRecRecommender(model(cosine))
    narrow = recommender.recommend(asked([3, 4, 5], width=3), 10)
    wide = recommender.recommend(asked([3, 4, 5], [1, 2, 3, 4, 5, 6, 7], width=8), 10)
    assert (narrow.item[0] == wide.item[0]).all()
    assert narrow.score[0] == pytest.approx(wide.score[0], abs=1e-5)


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("length", [1, 5, 8])
def test_left_padded_ids_from_1_score_as_right_padded_ids_from_0(cosine, length):
    """Copied weights: the item table has one row more, and positions that count from the end are moved."""
    right = model(cosine)
    left = SasRec(replace(right.shape, padding="left", first_id=1)).eval()
    weights = right.state_dict()
    weights["item.weight"] = torch.cat([torch.full((1, 16), 9.0), weights["item.weight"]])
    weights["bias"] = torch.cat([torch.tensor([9.0]), weights["bias"]])
    weights["position.weight"] = weights["position.weight"].roll(8 - length, dims=0)
    left.load_state_dict(weights)
    history = torch.randint(0, ITEMS, (3, length), generator=torch.Generator().manual_seed(4))
    after = right.score(right(F.pad(history, (0, 8 - length), value=-1)))[:, length - 1]
    scores = left.score(left(F.pad(history + 1, (8 - length, 0))))[:, -1]
    torch.testing.assert_close(scores[:, 1:], after, rtol=0, atol=1e-6 * after.abs().max().item())
    assert (scores[:, 0] == IMPOSSIBLE).all()


def test_a_history_longer_than_the_model_is_an_error():
    with pytest.raises(ValueError, match="histories of 9 positions, this SASRec has 8"):
        model()(torch.zeros(1, 9, dtype=torch.long))


def test_attention_equals_the_textbook_formula():
    block, x = model().backbone.blocks[0], torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(2))
    query, key, value = block.query_key_value(x).split(16, dim=-1)
    expected = torch.zeros_like(x)
    for b in range(2):
        for head in range(2):
            part = slice(8 * head, 8 * head + 8)
            for t in range(6):
                weight = torch.softmax(key[b, : t + 1, part] @ query[b, t, part] / 8**0.5, dim=0)
                expected[b, t, part] = weight @ value[b, : t + 1, part]
    assert torch.allclose(block.attend(x, None), block.out(expected), atol=1e-5)


@pytest.mark.parametrize("cosine", [False, True])
def test_scores_of_chosen_items_are_those_of_the_whole_catalogue(cosine):
    sasrec, states = model(cosine), torch.randn(5, 16, generator=torch.Generator().manual_seed(3))
    items = torch.tensor([0, 7, 7, 29, 4])
    assert torch.allclose(sasrec.score_some(states, items), sasrec.score(states)[torch.arange(5), items], atol=1e-5)


def test_lists_are_valid_also_when_longer_than_the_catalogue():
    rows = asked([1], [2, 3], list(range(8)))
    listed = SasRecRecommender(model()).recommend(rows, 50)
    check_recommendations(listed, 3, 50, ITEMS)
    assert (listed.item[:, ITEMS:] == -1).all() and (np.sort(listed.item[:, :ITEMS]) == np.arange(ITEMS)).all()


def test_left_padded_becomes_right_padded():
    items, last = to_right_padded(np.array([[-1, -1, 5], [-1, 6, 7], [1, 2, 3], [-1, -1, -1]]))
    assert items.tolist() == [[5, -1, -1], [6, 7, -1], [1, 2, 3], [-1, -1, -1]]
    assert last.tolist() == [0, 1, 2, 0]


def test_a_saved_model_recommends_the_same(tmp_path):
    sasrec, rows = model(), asked([1, 2], [3])
    save_sasrec(sasrec, tmp_path)
    loaded = load_sasrec(tmp_path, "cpu").recommend(rows, 5)
    assert (loaded.item == SasRecRecommender(sasrec).recommend(rows, 5).item).all()
    with pytest.raises(ArtifactError, match="add 'sasrec_bce' to sequential.models"):
        load_sasrec(tmp_path / "sasrec_bce", "cpu")


@pytest.mark.parametrize("cosine", [False, True])
def test_scores_of_given_items_are_those_of_the_ranking(cosine):
    recommender = SasRecRecommender(model(cosine))
    examples = asked([3, 4, 5], [1, 2, 3, 4, 5, 6, 7])
    ranked = recommender.recommend(examples, ITEMS)
    some = ranked.item[:, [0, 5, 9]]
    np.testing.assert_allclose(recommender.score_items(examples.history, some), ranked.score[:, [0, 5, 9]], atol=1e-5)
