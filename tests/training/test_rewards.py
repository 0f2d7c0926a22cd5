"""Each reward against values worked by hand. Items 0..5 with codes (0,0) (0,1) (0,2) (1,0) (1,1) (2,0)."""

import numpy as np
import pytest

from genrec.config import REWARD_NAMES
from genrec.errors import ArtifactError
from genrec.training import rewards
from genrec.training.rewards import REWARDS, Groups, Knowledge, is_flat, score_groups

CODES = np.array([[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [2, 0]])
VECTORS = np.array([[1, 0], [0.6, 0.8], [0, 1], [-1, 0], [0.8, -0.6], [0, -1]])
KNOWN = Knowledge(
    codes=CODES,
    train_count=np.array([7, 3, 0, 1, 1, 0]),
    vectors=VECTORS,
    sequential={
        "sasrec": lambda history, item: item + history[:, -1:] * 100.0,
        "sasrec_text": lambda history, item: -1.0 * item,
    },
)
# Two groups of three: the first finds its target 1 at rank 1, the second misses its target 4.
GROUPS = Groups(
    item=np.array([[0, 1, 3], [3, 0, 5]]),
    rank=np.array([[0, 1, 2], [0, 1, 2]]),
    target=np.array([1, 4]),
    history=np.array([[-1, 2], [-1, -1]]),
)
# 1/log2(2), 1/log2(3), 1/log2(4) = 1, .63093, .5; their sum 2.13093
WHOLE = 2.13093


def close(name, expected):
    np.testing.assert_allclose(score_groups(name, GROUPS, KNOWN), expected, atol=1e-5)


def test_rule():
    close("rule", [[0, 1, 0], [0, 0, 0]])


def test_ranking_only():
    close("ranking_only", [[-1 / WHOLE, 0, -0.5 / WHOLE], [0, 0, 0]])


def test_ranking():
    close("ranking", [[-1 / WHOLE, 1, -0.5 / WHOLE], [0, 0, 0]])


def test_ranks_may_stand_in_any_order():
    turned = Groups(GROUPS.item[:, ::-1], GROUPS.rank[:, ::-1], GROUPS.target, GROUPS.history)
    np.testing.assert_allclose(score_groups("ranking", turned, KNOWN)[:, ::-1], score_groups("ranking", GROUPS, KNOWN))


def test_prefix_is_bounded_below_the_exact_item():
    close("prefix", [[0.25, 1, 0], [0.25, 0, 0]])
    twin = Knowledge(codes=np.zeros((6, 2), dtype=int), train_count=KNOWN.train_count)  # equal SIDs, other items
    assert score_groups("prefix", GROUPS, twin)[1].max() == rewards.PREFIX_CREDIT < 1


def test_prefix_counts_only_leading_levels():
    same_last = Groups(np.array([[3, 5]]), np.array([[0, 1]]), np.array([0]), np.array([[-1]]))
    np.testing.assert_array_equal(score_groups("prefix", same_last, KNOWN), [[0, 0]])


def test_semantic():
    close("semantic", [[0.6, 1, -0.6], [-0.8, 0.8, 0.6]])


def test_sasrec_is_standardised_and_silent_without_a_history():
    mean, std = 4 / 3, np.std([0, 1, 3])
    close("sasrec", [[(0 - mean) / std, (1 - mean) / std, (3 - mean) / std], [0, 0, 0]])
    close("sasrec_text", [[mean / std, (mean - 1) / std, (mean - 3) / std], [0, 0, 0]])


def test_diversity():
    top = np.log(8)
    close("diversity", [[-1, 0, -np.log(2) / top], [-np.log(2) / top, -1, 0]])


def test_dead_groups():
    assert is_flat(score_groups("ranking", GROUPS, KNOWN)).tolist() == [False, True]
    assert is_flat(score_groups("prefix", GROUPS, KNOWN)).tolist() == [False, False]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda groups, known: groups.item * np.nan, "reward 'rule' is not a number for 6 of 6"),
        (lambda groups, known: groups.target * 1.0, r"reward 'rule' gave shape \(2,\) for groups of shape \(2, 3\)"),
    ],
)
def test_a_faulty_reward_is_named(monkeypatch, fault, message):
    monkeypatch.setitem(REWARDS, "rule", fault)
    with pytest.raises(ArtifactError, match=message):
        score_groups("rule", GROUPS, KNOWN)


def test_config_names_every_reward():
    assert set(REWARD_NAMES) == set(REWARDS)
