import numpy as np
import polars as pl
import pytest

from genrec.data.events import encode_events
from genrec.data.sequences import cut_examples
from genrec.data.splits import (
    NEW_SHARE,
    build_sequences,
    leave_one_out,
    split_by_new_items,
    split_chronologically,
    split_targets,
)
from genrec.data.ties import draw_tie_order
from genrec.errors import ArtifactError


def number_rows(rows, rule="file", seed=0):
    """(user, item, time) in file order -> sequences, item ids, the order of ties."""
    users, items, times = (pl.Series(column) for column in zip(*rows, strict=True))
    events = encode_events(users, items, times, pl.Series([5.0] * len(rows)))
    return build_sequences(events, draw_tie_order(rule, len(events), seed))


HAND = [("v", "x", 30), ("u", "y", 20), ("v", "y", 10), ("u", "x", 20), ("v", "z", 40), ("u", "w", 5)]


def test_numbering_is_by_first_appearance_and_ties_stay_in_file_order():
    sequences, item_ids, _ = number_rows(HAND)
    assert sequences.user_id.tolist() == ["v", "u"]
    assert item_ids.to_list() == ["y", "x", "z", "w"]  # v: y x z, u: w y x
    assert sequences.item.tolist() == [0, 1, 2, 3, 0, 1]
    assert sequences.time.tolist() == [10, 30, 40, 5, 20, 20]
    assert sequences.offset.tolist() == [0, 3, 6]


def test_the_chronological_split_worked_by_hand():
    times = [[0, 9, 3], [1, 7, 7, 2], [4, 6, 8, 5, 10, 11, 12]]
    rows = [(f"u{u}", f"i{t}", t) for u, part in enumerate(times) for t in part]
    sequences, _, tie_order = number_rows(
        rows
    )  # 14 events, 11 targets: int(8.8) = 8 train, int(9.9) - 8 = 1 valid, 2 test
    splits = split_chronologically(sequences, tie_order)
    by_name = {name: sequences.time[part.end].tolist() for name, part in splits.items()}
    assert by_name == {"train": [2, 3, 5, 6, 7, 7, 8, 9], "valid": [10], "test": [11, 12]}
    assert splits["train"].user.tolist() == [1, 0, 2, 2, 1, 1, 2, 0]


def test_leave_one_out_worked_by_hand():
    rows = [("a", f"i{n}", n) for n in range(4)] + [("b", "i1", 1), ("b", "i2", 2)] + [("c", "i3", 3)]
    sequences = number_rows(rows).sequences
    ends = {name: part.end.tolist() for name, part in leave_one_out(sequences).items()}
    assert ends == {"train": [1], "valid": [2], "test": [3, 5]}  # b has no history before its second-last, c none


def test_the_split_by_new_items_worked_by_hand():
    """Item n comes at time 15, once more at 16: no cut after it has anything new behind it, the last one before has."""
    rows = [(f"u{t % 2}", f"i{t // 2 % 2}", t) for t in range(15)]
    rows += [("u0", "n", 15), ("u1", "n", 16), *((f"u{t % 2}", "i0", t) for t in range(17, 22))]
    sequences, _, tie_order = number_rows(rows)  # 22 events, 20 targets, at 2..21
    splits = split_by_new_items(sequences, tie_order)
    times = {name: sequences.time[part.end].tolist() for name, part in splits.items()}
    assert times == {"train": [*range(2, 15)], "valid": [15, 16, 17], "test": [18, 19, 20, 21]}


@pytest.mark.parametrize("seed", range(5))
def test_train_ends_as_late_as_new_items_allow(seed):
    rng = np.random.default_rng(seed)
    rows = []
    for time in range(300):  # items come up one after the other, some stay
        item = rng.integers(max(0, time // 6 - 12), time // 6 + 1)
        rows.append((f"u{rng.integers(25)}", f"i{item}", time // 2))
    sequences, _, tie_order = number_rows(rows, "random", seed)
    splits = split_by_new_items(sequences, tie_order)
    order = np.lexsort((tie_order, sequences.time))
    item, rank = sequences.item[order], np.argsort(order)
    targets = np.sort(rank[np.setdiff1d(np.arange(300), sequences.offset[:-1])])

    def share_of_new(cut):
        before = set(item[: targets[cut]].tolist())
        return np.mean([item[target] not in before for target in targets[cut:]])

    cuts = [cut for cut in range(int(0.8 * len(targets)) + 1) if share_of_new(cut) >= NEW_SHARE]
    held_out = len(targets) - cuts[-1]
    assert [len(splits[name]) for name in ("train", "valid", "test")] == [
        cuts[-1],
        held_out // 2,
        held_out - held_out // 2,
    ]
    assert sorted(rank[np.concatenate([part.end for part in splits.values()])]) == targets.tolist()
    train, rest = (rank[np.concatenate([splits[name].end for name in part])] for part in (["train"], ["valid", "test"]))
    assert train.max() < rest.min()


@pytest.mark.parametrize("rule", ["chronological", "leave_one_out", "new_items"])
def test_each_target_is_in_one_split_and_never_first(rule):
    rng = np.random.default_rng(0)
    rows = [(f"u{u}", f"i{i}", t) for u, i, t in rng.integers(0, (20, 30, 1000), (400, 3)).tolist()]
    sequences, _, tie_order = number_rows(rows)
    ends = np.concatenate([part.end for part in split_targets(sequences, rule, tie_order).values()])
    assert len(np.unique(ends)) == len(ends)
    assert sorted([*ends.tolist(), *sequences.offset[:-1].tolist()]) == list(range(400))
    rows = cut_examples(sequences, split_targets(sequences, rule, tie_order)["train"], 5)
    assert (rows.history[:, -1] >= 0).all()


def test_too_few_events_for_a_split_is_an_error():
    sequences, _, tie_order = number_rows([("u", "a", 1), ("u", "b", 2), ("v", "a", 3)])
    with pytest.raises(ArtifactError, match="2 users with 3 events are too few"):
        split_targets(sequences, "chronological", tie_order)


ONE_TIME = [(f"u{user}", f"i{(7 * user + place) % 40}", 100) for user in range(20) for place in range(12)]


def test_a_seed_orders_the_events_of_one_time_and_only_those():
    rows = [("u", f"i{n}", n // 4) for n in range(40)]
    in_file = number_rows(rows)
    drawn, again, other = (number_rows(rows, "random", seed) for seed in (1, 1, 2))
    names = [numbered.item_ids.gather(numbered.sequences.item).to_list() for numbered in (in_file, drawn, again, other)]
    assert names[1] == names[2] and names[1] != names[3] and names[1] != names[0]
    for each in names:
        blocks = [set(each[begin : begin + 4]) for begin in range(0, 40, 4)]
        assert blocks == [{f"i{n}" for n in range(begin, begin + 4)} for begin in range(0, 40, 4)]


def test_with_one_time_for_all_a_seed_shares_every_user_out_over_the_splits_and_file_order_does_not():
    held_out = {}
    for rule in ("file", "random"):
        sequences, _, tie_order = number_rows(ONE_TIME, rule)
        splits = split_chronologically(sequences, tie_order)
        train, test = (set(splits[name].user.tolist()) for name in ("train", "test"))
        held_out[rule] = test - train
        for one, other in (("train", "valid"), ("valid", "test")):
            last = {user: end for user, end in zip(splits[one].user, splits[one].end, strict=True)}
            later = zip(splits[other].user, splits[other].end, strict=True)
            assert all(end > last[user] for user, end in later if user in last), (rule, one)
    assert len(held_out["file"]) >= 2 and not held_out["random"]
