from collections import Counter

import numpy as np
import pytest

from genrec.config import Data
from genrec.data import amazon
from genrec.data.filters import TooFewEvents, filter_events, k_core, month_start
from tests.data.raw import item, review, write_shop

T0 = month_start(2016, 1)
OWN_WINDOW = dict(st_year=1996, st_month=10, ed_year=2018, ed_month=11)


def brute_force_core(pairs, user_k, item_k):
    """Positions of the k-core, by plain counting until nothing changes."""
    left = list(range(len(pairs)))
    while True:
        users, items = Counter(pairs[i][0] for i in left), Counter(pairs[i][1] for i in left)
        stay = [i for i in left if users[pairs[i][0]] >= user_k and items[pairs[i][1]] >= item_k]
        if stay == left:
            return left
        left = stay


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("user_k", "item_k"), [(1, 1), (3, 5), (5, 3), (5, 5), (40, 1)])
def test_the_core_equals_brute_force(seed, user_k, item_k):
    rng = np.random.default_rng(seed)
    user = rng.zipf(1.3, 600).clip(max=120).astype(np.int32)
    item_ = rng.zipf(1.4, 600).clip(max=80).astype(np.int32)
    core = k_core(user, item_, user_k, item_k)
    assert np.flatnonzero(core.keep).tolist() == brute_force_core(list(zip(user, item_, strict=True)), user_k, item_k)
    assert core.rounds[-1]["events"] == core.keep.sum()


def shop(tmp_path, reviews, items, **knobs):
    data = Data(dataset="shop", raw_dir=write_shop(tmp_path, reviews, items), **{"user_k": 1, "item_k": 1, **knobs})
    return amazon.read_shop(data, amazon.EDITIONS["amazon18"]), data


def run(tmp_path, reviews, items, **knobs):
    source, data = shop(tmp_path, reviews, items, **knobs)
    return filter_events(source, data), source.event_ledger


def test_every_drop_is_counted_by_its_reason(tmp_path):
    reviews = [
        review("u", "a", T0),
        review("u", "a", T0),  # the same again
        review("u", "gone", T0),
        review("u", "untitled", T0),
        review("u", "a", T0 + 1, rating=2.0),
        review("u", "a", month_start(2019, 1)),
        review("u", "b", T0 + 2),
        review("v", "a", T0 + 3),
        "half a line",
    ]
    items = [item("a"), item("b"), item("untitled", title='<span class="x"'), item("nobody")]
    filtered, ledger = run(tmp_path, reviews, items, min_rating=3, item_k=2, max_bad_share=0.5, **OWN_WINDOW)
    assert ledger.dropped == {
        "not valid JSON": 1,
        "of items without a record": 1,
        "of items without a usable title": 1,
        "rated below 3 or unrated": 1,
        "outside the window 1996-10..2018-11": 1,
        "repeating a user, item and time": 1,
        "outside the k-core": 1,
    }
    assert (ledger.read, ledger.kept, len(filtered.events)) == (9, 2, 2)


def test_the_window_is_inclusive_at_both_ends_in_utc(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    start, end = month_start(2016, 10), month_start(2018, 11)
    assert (start, end) == (1_475_280_000, 1_541_030_400)
    reviews = [review("u", "a", time) for time in (start - 1, start, end, end + 1)]
    filtered, _ = run(tmp_path, reviews, [item("a")], st_year=2016, st_month=10, ed_year=2018, ed_month=11)
    assert filtered.events.time.tolist() == [start, end]


def test_user_and_item_cores_are_separate_but_not_in_compat(tmp_path):
    reviews = [review(u, i, T0 + n) for n, (u, i) in enumerate(["ua", "ub", "uc", "va", "vb", "vc"])]
    reviews += [review("w", "a", T0 + 9)]
    items = [item(i) for i in "abc"]
    filtered, _ = run(tmp_path, reviews, items, user_k=3, item_k=2)
    assert len(filtered.events) == 6
    with pytest.raises(TooFewEvents, match="no events are left"):
        run(tmp_path, reviews, items, user_k=3, item_k=2, compat="minionerec")


def test_compat_keeps_repeats_and_widens_the_window(tmp_path):
    reviews = [review("u", "a", month_start(1998, 1)), review("u", "a", month_start(1998, 1)), review("u", "b", T0)]
    filtered, ledger = run(
        tmp_path, reviews, [item("a"), item("b")], compat="minionerec", **OWN_WINDOW | {"st_year": 2010}
    )
    assert filtered.window.months == ("1996-10", "2018-11") and len(filtered.events) == 3 and ledger.dropped == {}


def test_without_a_window_every_time_counts_and_with_one_it_says_what_it_took(tmp_path):
    reviews = [review("u", "a", month_start(year, 1)) for year in (1990, 2000, 2030)]
    filtered, _ = run(tmp_path, reviews, [item("a")])
    assert filtered.window is None and len(filtered.events) == 3
    filtered, _ = run(tmp_path, reviews, [item("a")], **OWN_WINDOW)
    assert filtered.window == (("1996-10", "2018-11"), 2, 3, "1990-01-01 to 2030-01-01")
    filtered, _ = run(tmp_path, reviews, [item("a")], st_year=1996, st_month=10)
    assert filtered.window.months == ("1996-10", "") and len(filtered.events) == 2
