"""Repeated targets and whole pasts, against a loop over users; and the rule that they decide."""

import numpy as np
import pytest

from genrec.config import Evaluation
from genrec.data.prepared import Prepared
from genrec.data.repeats import (
    REPEATS_ALLOWED,
    held_out,
    leaves_out_seen,
    mark_repeated_targets,
    mark_repeats,
    measure_repeats,
)
from genrec.data.sequences import Examples, Sequences, Split, cut_examples
from genrec.data.splits import leave_one_out
from tests.pasts import make_past
from tests.small_shop import small_shop


def draw_events(users=40, items=12, seed=0):
    rng = np.random.default_rng(seed)
    length = rng.integers(3, 15, users)
    offset = np.concatenate([[0], np.cumsum(length)])
    item = rng.integers(0, items, offset[-1]).astype(np.int32)
    return Sequences(item, np.arange(offset[-1]), offset, np.arange(users).astype(str))


def test_repeats_are_those_of_a_loop_over_users():
    events = draw_events()
    expected = [
        item in events.item[begin:at]
        for begin, end in zip(events.offset, events.offset[1:], strict=False)
        for at, item in enumerate(events.item[begin:end], begin)
    ]
    assert mark_repeats(events).tolist() == expected and any(expected) and not all(expected)
    splits = leave_one_out(events)
    for name, share in measure_repeats(events, splits).items():
        assert share == pytest.approx(np.array(expected)[splits[name].end].mean())


def test_a_past_is_the_whole_one_however_short_the_history_is():
    events = draw_events()
    split = leave_one_out(events)["test"]
    rows = cut_examples(events, split, 2).take(np.array([7, 3, 3, 0]))
    row, item = rows.past.pairs()
    distinct = rows.past.items()
    for place, (user, end) in enumerate(zip(split.user[[7, 3, 3, 0]], split.end[[7, 3, 3, 0]], strict=True)):
        whole = events.item[events.offset[user] : end]
        assert item[row == place].tolist() == whole.tolist()
        assert distinct[place][distinct[place] >= 0].tolist() == sorted(set(whole.tolist()))
    assert (distinct >= 0).any(axis=0).all()  # no wider than the longest row


def test_a_target_seen_before_the_cut_history_repeats_too():
    past = make_past([[4, 1, 2], [3, 1, 2]], target=4)
    history = np.array([[1, 2], [1, 2]])
    rows = Examples(past.split.user, history, np.array([4, 4]), past)
    assert mark_repeated_targets(rows).tolist() == [True, False]
    assert mark_repeated_targets(Examples(rows.user, history, np.array([2, 4]))).tolist() == [True, False]


def test_a_user_without_a_past_excludes_nothing():
    past = make_past([[], []])
    assert past.items().shape == (2, 0) and [len(part) for part in past.pairs()] == [0, 0]


def shop_of(repeats: int, rows: int = 100) -> Prepared:
    """`repeats` of `rows` valid targets are taken again."""
    item = np.array([[1, 2, 1 if row < repeats else 3, 4] for row in range(rows)], dtype=np.int32).ravel()
    events = Sequences(item, np.arange(4 * rows), 4 * np.arange(rows + 1), np.arange(rows).astype(str))
    return Prepared(small_shop().catalog, events, leave_one_out(events), 2)


@pytest.mark.parametrize(("repeats", "left_out"), [(0, True), (1, False), (60, False)])
def test_auto_leaves_seen_items_out_where_hardly_a_valid_target_repeats(repeats, left_out):
    shop = shop_of(repeats)
    assert REPEATS_ALLOWED == 0.01
    assert leaves_out_seen("auto", shop) == left_out
    assert (held_out(shop, "test", "auto").excluded is not None) == left_out
    assert leaves_out_seen(True, shop) and not leaves_out_seen(False, shop)


def test_without_valid_rows_nothing_is_left_out():
    shop = shop_of(0)
    none = Split(np.zeros(0, np.int32), np.zeros(0, np.int64))
    assert not leaves_out_seen("auto", Prepared(shop.catalog, shop.sequences, shop.splits | {"valid": none}, 2))


def test_the_help_of_the_knob_states_the_threshold():
    assert f"less than {REPEATS_ALLOWED:.0%} of the valid targets" in " ".join(
        Evaluation.model_fields["filter_seen"].description.split()
    )
