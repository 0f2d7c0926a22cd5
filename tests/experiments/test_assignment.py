"""Users keep their arm, shares are kept, and a changed share moves no more users than it must."""

import hashlib
import math

import pytest

from genrec.errors import ConfigError
from genrec.experiments.assignment import Experiments, choose_arm, hash_uniform, hash_user

HALVES = {"experiments": {"ranker": {"salt": "s", "arms": {"a": {"share": 0.5}, "b": {"share": 0.5}}}}}
GOLDEN = "aaabaaabbaccaaaaabaaaabaacaaabaaaaaabaac"
USERS = [f"user {number}" for number in range(20_000)]


def deal(shares, salt="s"):
    return {user: choose_arm(user, salt, shares) for user in USERS}


def make(**experiment):
    return {"experiments": {"ranker": experiment}}


def test_the_hash_is_that_of_the_words_by_hand():
    digest = hashlib.sha256(b"1:s1:a2:u1").hexdigest()
    assert hash_uniform("s", "a", "u1") == (int(digest[:13], 16) + 0.5) / 2**52
    assert hash_uniform("s", "a1") != hash_uniform("sa", "1")


def test_arms_are_golden():
    """These must not change between versions: users would change arms in the midst of an experiment."""
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}
    dealt = "".join(choose_arm(f"u{number}", "spring", shares) for number in range(40))
    assert dealt == GOLDEN


def test_hidden_users_are_hmac_sha256():
    """The second test case of RFC 4231."""
    assert hash_user("what do ya want for nothing?", "Jefe") == "5bdcc146bf60754e6a042426089575c7"


def test_shares_are_kept_within_sampling_error():
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}
    dealt = list(deal(shares).values())
    for arm, share in shares.items():
        assert abs(dealt.count(arm) / len(USERS) - share) < 4 * math.sqrt(share * (1 - share) / len(USERS))


def test_two_salts_deal_independently():
    one, other = (deal({"a": 0.5, "b": 0.5}, salt) for salt in ("s", "t"))
    both = sum(one[user] == other[user] for user in USERS) / len(USERS)
    assert abs(both - 0.5) < 4 * math.sqrt(0.25 / len(USERS))


@pytest.mark.parametrize(
    "before, after, into",
    [
        ({"a": 0.9, "b": 0.1}, {"a": 0.5, "b": 0.5}, {"b"}),  # a ramp
        ({"a": 0.8, "b": 0.1, "c": 0.1}, {"a": 0.4, "b": 0.3, "c": 0.3}, {"b", "c"}),
        ({"a": 0.5, "b": 0.5}, {"a": 0.25, "b": 0.25, "c": 0.5}, {"c"}),  # an arm more
        ({"a": 0.25, "b": 0.25, "c": 0.5}, {"a": 0.5, "b": 0.5}, {"a", "b"}),  # an arm less
    ],
)
def test_only_users_that_must_move_do(before, after, into):
    one, other = deal(before), deal(after)
    moved = [user for user in USERS if one[user] != other[user]]
    least = sum(max(after[arm] - before.get(arm, 0), 0) for arm in after)
    assert {other[user] for user in moved} == into
    assert abs(len(moved) / len(USERS) - least) < 4 * math.sqrt(0.25 / len(USERS))


def test_assignment_says_experiment_arm_and_its_settings(tmp_path):
    path = tmp_path / "experiments.yaml"
    path.write_text("""
experiments:
  ranker:
    salt: s
    arms:
      sft: {share: 0.5, model: sft}
      rl: {share: 0.5, model: rl, settings: {k: 20}}
  mixed: {interleave: true, arms: {sft: {model: sft}, rl: {model: rl}}}
""")
    experiments = Experiments.read(path)
    given = {experiments.assign(user, "ranker").arm: experiments.assign(user, "ranker") for user in USERS[:50]}
    assert set(given) == {"sft", "rl"} and given["rl"].arms["rl"].settings == {"k": 20}
    both = experiments.assign("u1", "mixed")
    assert both.arm == "sft+rl" and [arm.model for arm in both.arms.values()] == ["sft", "rl"]
    assert Experiments.check(experiments.dump(), "again") == experiments
    with pytest.raises(ConfigError, match="there are several experiments, name one of: ranker, mixed"):
        experiments.assign("u1")
    with pytest.raises(ConfigError, match="no experiment 'rankr'; did you mean 'ranker'"):
        experiments.assign("u1", "rankr")


@pytest.mark.parametrize(
    "tree, message",
    [
        ({}, "at least one experiment is needed"),
        ({"experiment": {}}, "unknown key 'experiment'; did you mean 'experiments'"),
        (make(arms={"a": {"share": 1.0}}), "at least two arms, found 1"),
        (make(arms={"a": {"share": 0.5}, "b": {"share": 0.4}}), "shares must sum to 1, found 0.9 over a, b"),
        (make(arms={"a": {"share": 1.0}, "b": {"share": 0}}), "experiments.ranker.arms.b.share"),
        (make(arms={"a": {"share": 0.5}, "b c": {"share": 0.5}}), "found 'b c'"),
        (make(arms={"a": {"shares": 0.5}, "b": {}}), "unknown key 'experiments.ranker.arms.a.shares'"),
        (make(arms={name: {} for name in "abc"}, interleave=True), "exactly two arms, found 3: a, b, c"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tree, message):
    with pytest.raises(ConfigError) as refused:
        Experiments.check(tree, "ab.yaml")
    assert message in str(refused.value) and "\n" not in str(refused.value)
    assert str(refused.value).startswith("ab.yaml: ")
