"""What a refusal advises was tried: the flags that it prints, typed, leave what it says."""

import re

import pytest

from genrec.data import amazon, changes
from genrec.data.changes import widen_window
from genrec.data.filters import month_start
from genrec.data.preparation import prepare_shop
from genrec.errors import ArtifactError
from tests import parse_flags
from tests.data.raw import item, real, review, write_shop

T0 = month_start(2016, 1)
USERS, ITEMS = "uvwxyz", "abcdef"


def prepare(raw, *flags, dataset="shop"):
    words = ["--data.dataset", dataset, "--data.raw_dir", str(raw), *map(str, flags)]
    data = parse_flags(words).config.data
    return prepare_shop(amazon.read_shop(data, amazon.EDITIONS[data.source]), data, seed=0)


def refused(raw, *flags, **rest):
    """(the message, the flags that it advises, the events that it promises)"""
    with pytest.raises(ArtifactError) as caught:
        prepare(raw, *flags, **rest)
    message = str(caught.value)
    assert "\n" not in message
    advised, events = re.fullmatch(r".*; with (--data\S+.*) ([\d,]+) events are left", message).groups()
    return message, advised.split(), int(events.replace(",", ""))


def every(start=T0, rating=5.0, users=USERS, items=ITEMS):
    return [review(u, i, start + n, rating) for n, i in enumerate(items) for u in users]


UNTITLED = [item(i, title='<span class="x"') for i in ITEMS]
TITLED = [item(i) for i in ITEMS]
CASES = {
    "titles": (every(), UNTITLED, [], ["--data.untitled", "keep"], "36 of items without a usable title"),
    "rating": (every(rating=2.0), TITLED, ["--data.min_rating", 4], ["--data.min_rating", "0"], "36 rated below 4"),
    "window": (
        every(),
        TITLED,
        "--data.st_year 2017 --data.st_month 1 --data.ed_year 2018 --data.ed_month 1".split(),
        "--data.st_year 2016 --data.st_month 1 --data.ed_year 2016 --data.ed_month 2".split(),
        "36 outside the window 2017-01..2018-01",
    ),
    "core": (
        every(users="uvwx", items="abcd"),
        TITLED,
        [],
        ["--data.user_k", "4", "--data.item_k", "4"],
        "16 outside the k-core",
    ),
    "titles, then the core": (
        every(users="uvwx"),
        UNTITLED,
        [],
        ["--data.untitled", "keep", "--data.user_k", "4", "--data.item_k", "4"],
        "24 of items without a usable title",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_advised_flags_work_and_leave_what_was_promised(tmp_path, name):
    reviews, items, flags, advised, cause = CASES[name]
    write_shop(tmp_path, reviews, items)
    message, words, events = refused(tmp_path, *flags)
    assert words == advised and cause in message
    done = prepare(tmp_path, *flags, *words)
    assert len(done.sequences.item) == events > 0 and all(map(len, done.splits.values()))


def test_a_core_far_too_high_is_answered_within_a_few_counts(tmp_path, monkeypatch):
    write_shop(tmp_path, every(users="uvwx", items="abcd"), TITLED)
    counted, count = [], changes.count_left
    monkeypatch.setattr(changes, "count_left", lambda shop, data, seed: counted.append(data) or count(shop, data, seed))
    _, words, events = refused(tmp_path, "--data.user_k", 100_000)
    assert words == ["--data.user_k", "4", "--data.item_k", "4"] and events == 16
    assert len(counted) < 20


def test_the_largest_cause_comes_first_though_a_lower_core_would_do_too(tmp_path):
    """29 events stand behind a title; lowering the core alone would leave a rest of 7."""
    reviews = [*every(items="abcde", users="uvwxyz")[:29], *[review(u, "f", T0 + 99) for u in USERS]]
    reviews += [review("u", "g", T0 + 100)]
    write_shop(tmp_path, reviews, [*UNTITLED[:5], item("f"), item("g")])
    _, words, events = refused(tmp_path)
    assert words == ["--data.untitled", "keep"] and events > 7


def test_real_magazines_name_their_titles_and_the_named_way_works():
    raw, dataset = real("amazon18_raw"), "Magazine_Subscriptions"
    message, words, events = refused(raw, dataset=dataset)
    assert "64 of items without a record, 2,292 of items without a usable title" in message
    assert words == ["--data.untitled", "keep"] and events == 1950
    done = prepare(raw, *words, dataset=dataset)
    assert len(done.sequences.item) == 1950 and (done.catalog.title != "").all()
    assert done.report["untitled"]["items"] == 124


@pytest.mark.parametrize(
    ("reviews", "items", "message"),
    [
        ([], TITLED, "0 read, 0 kept; the file holds no usable event; check --data.dataset"),
        (every(), [], "36 of items without a record.*check that the item records of meta_shop.json.gz belong"),
        ([review("u", "a", T0)], TITLED, "1 outside the k-core, 0 kept; nothing that a key can change"),
    ],
)
def test_where_nothing_helps_it_says_so(tmp_path, reviews, items, message):
    write_shop(tmp_path, reviews, items)
    with pytest.raises(ArtifactError, match=message):
        prepare(tmp_path)


@pytest.mark.parametrize(
    ("year", "month", "end"), [(2016, 1, (2016, 2)), (2016, 12, (2017, 1)), (2016, 11, (2016, 12))]
)
def test_a_widened_window_ends_with_the_month_after_the_last(tmp_path, year, month, end):
    write_shop(tmp_path, [review("u", "a", month_start(year, month))], TITLED)
    data = parse_flags(["--data.dataset", "shop", "--data.raw_dir", str(tmp_path)]).config.data
    change = widen_window(amazon.read_shop(data, amazon.EDITIONS["amazon18"]).events)
    assert change == {"st_year": year, "st_month": month, "ed_year": end[0], "ed_month": end[1]}
