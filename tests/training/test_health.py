"""What is said of rewards before a step is taken."""

import numpy as np
import pytest

from genrec.errors import ArtifactError
from genrec.training.health import check_alive, format_replay
from genrec.training.rewards import Groups, Knowledge

KNOWN = Knowledge(codes=np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), train_count=np.array([1, 1, 1, 1]))


def groups(target):
    """Two groups of two; item 0 and 1 answered, then 2 and 3."""
    item = np.array([[0, 1], [2, 3]])
    return Groups(item, np.array([[0, 1], [0, 1]]), np.array(target), np.full((2, 1), -1))


def test_replay_tells_the_share_of_dead_groups_by_reward():
    table = {
        line.split()[0]: line.split()[1:] for line in format_replay(groups([1, 0]), KNOWN, {"rule": 2.0}).splitlines()
    }
    assert table["2"][:4] == ["groups", "of", "2;", "50.0%"]  # one of two holds its target
    assert table["rule"][0] == table["chosen"][0] == "50.0%"
    assert table["chosen"][1] == f"{2 / 4:.4f}" and table["rule"][2] == f"{0.5 / 2:.4f}"
    assert table["prefix"][0] == "50.0%"  # 2 and 3 share nothing with item 0
    assert "semantic" not in table and "sasrec" not in table  # no vectors, no sequential model


def test_a_reward_without_any_signal_is_named_before_training():
    assert check_alive(groups([1, 0]), KNOWN, {"rule": 1.0}) == 0.5
    with pytest.raises(ArtifactError, match="reward 'rule' is constant in each of 2 groups"):
        check_alive(groups([3, 0]), KNOWN, {"rule": 1.0})
