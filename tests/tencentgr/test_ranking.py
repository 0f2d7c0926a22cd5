import numpy as np
import pytest
import torch

from tencentgr import ranking
from tencentgr.ranking import rank_items, trim
from tests.tencentgr.small import batch


def by_sorting(queries, items, target):
    scores = (queries @ items.T).numpy()
    order = np.argsort(-scores, axis=1, kind="stable")
    own = scores[np.arange(len(target)), target]
    auc = [np.mean([(o > s) + 0.5 * (o == s) for j, s in enumerate(row) if j != t])
           for row, o, t in zip(scores, own, target, strict=True)]  # fmt: skip
    return order, np.array(auc)


@pytest.mark.parametrize("held", [1 << 24, 70])
def test_lists_and_auc_are_those_of_sorting_everything(held, monkeypatch):
    monkeypatch.setattr(ranking, "SCORES", held)  # 70 scores: three rows at once
    torch.manual_seed(0)
    queries, items, target = torch.randn(11, 4), torch.randn(20, 4), torch.randint(0, 20, (11,))
    order, auc = by_sorting(queries, items, target.numpy())
    actual = rank_items(queries, items, target, 6)
    assert (actual.listed.item == order[:, :6]).all() and actual.auc == pytest.approx(auc)


def test_equal_scores_count_half():
    actual = rank_items(torch.ones(1, 2), torch.ones(5, 2), torch.tensor([3]), 2)
    assert actual.auc.tolist() == [0.5]


def test_a_small_catalogue_is_filled_up():
    actual = rank_items(torch.ones(1, 2), torch.randn(3, 2), torch.tensor([0]), 5).listed
    assert (actual.item[0, 3:] == -1).all() and sorted(actual.item[0, :3]) == [0, 1, 2]


def test_trimming_cuts_what_is_padding_for_all():
    whole = batch([1, 2], [3, 4, 5])
    cut = trim(whole)
    assert cut["seq"].shape == (2, 3) and cut["sequence"].shape == (2,)
    assert torch.equal(cut["seq"], whole["seq"][:, -3:])
