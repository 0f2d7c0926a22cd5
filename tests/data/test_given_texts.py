import json
from itertools import pairwise

import pytest

from genrec.data.given_texts import SNAPSHOTS, add_descriptions, match_texts, read_preference_rows, read_preferences
from genrec.errors import ArtifactError
from tests.small_shop import small_catalog, small_shop


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def test_a_description_joins_the_items_own_text(tmp_path):
    path = write(tmp_path / "d.json", {"B000": "Given &amp; <b>clean</b>.", "B001": "More.", "B999": "x", "B002": " "})
    catalog, line = add_descriptions(small_catalog(5), path)
    assert catalog.text.tolist() == ["Given & clean .", "text 1 More.", "text 2", "", "text 4"]
    assert catalog.title.tolist() == small_catalog(5).title.tolist()
    assert line == f"{path}: texts of 2 of 5 items; 1 are of no one here"


def test_a_file_of_other_data_is_refused_with_ids_of_both(tmp_path):
    with pytest.raises(ArtifactError, match=r"none of the 1 ids .* 5 items here \(there '1'; here 'B000', 'B001'"):
        add_descriptions(small_catalog(5), write(tmp_path / "d.json", {"1": "x"}))


@pytest.mark.parametrize("content", [["a"], {"1": 2}, {"1": {"text": "x"}}])
def test_a_file_of_another_shape_is_one_line(tmp_path, content):
    with pytest.raises(ArtifactError, match='must hold {"id": "text", ...}'):
        match_texts(["1"], write(tmp_path / "d.json", content), "items")


@pytest.fixture
def preferences(tmp_path):
    """Texts of two users of a shop, one of them with snapshots, as the generator leaves them."""
    shop = small_shop()
    write(tmp_path / "made_of.json", {"data_artifact": "abc"})
    write(tmp_path / SNAPSHOTS, {"u0": {"1": "Early.", "2": "Later."}})
    return shop, write(tmp_path / "user_preferences.json", {"u0": "All of u0.", "u2": "All of u2.", "gone": "x"})


def test_preferences_must_be_of_this_very_data(preferences):
    shop, path = preferences
    asked = shop.sequences, shop.seen
    write(path.with_name("made_of.json"), {"source": "ml-100k"})
    with pytest.raises(ArtifactError, match="data artifact none, this run has abc.*--run_dir THIS_RUN"):
        read_preferences(path, "abc", *asked)
    path.with_name("made_of.json").unlink()
    with pytest.raises(ArtifactError, match="data artifact unknown"):
        read_preferences(path, "abc", *asked)


def test_a_text_is_read_for_targets_after_what_it_knows_and_no_others(preferences):
    """Brute force over every target of every split."""
    shop, path = preferences
    found, line = read_preferences(path, "abc", shop.sequences, shop.seen)
    assert "texts of 2 of 60 users; 1 are of no one here, and 2 earlier ones" in line
    train = [int(shop.seen[a:b].sum()) for a, b in pairwise(shop.sequences.offset)]
    known = {0: {1: "Early.", 2: "Later.", train[0]: "All of u0."}, 2: {train[2]: "All of u2."}}
    for split in shop.splits.values():
        for user, end, row in zip(split.user, split.end, found.newest(split), strict=True):
            before = end - shop.sequences.offset[user]  # events that the target's history may hold
            expected = [text for events, text in sorted(known.get(int(user), {}).items()) if events <= before]
            assert (found.text[row] if row >= 0 else None) == (expected[-1] if expected else None)
    held = shop.splits["test"]
    assert found.text[found.newest(held)[0]] == "All of u0."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"u0": {"99": "x"}}, "knows 99 events of"),
        ({"u0": "x"}, "must hold"),
        ([], "must hold"),
        ({"u0": {"1": None}}, "must hold"),
        ({"u0": {"1": 5}}, "must hold"),
        ({"u0": {"1e3": "x"}}, "must hold"),
        ({"u0": {"-1": "x"}}, "must hold"),
        ({"u0": [1]}, "must hold"),
        (None, "must hold"),
        ("x", "must hold"),
    ],
)
def test_snapshots_that_know_too_much_or_are_none_are_refused(preferences, content, said):
    shop, path = preferences
    write(path.with_name(SNAPSHOTS), content)
    with pytest.raises(ArtifactError, match=said):
        read_preferences(path, "abc", shop.sequences, shop.seen)


@pytest.mark.parametrize("content", [[], "x", 5, None])
def test_an_origin_of_another_shape_is_one_line(preferences, content):
    shop, path = preferences
    write(path.with_name("made_of.json"), content)
    with pytest.raises(ArtifactError, match='made_of.json must hold {"data_artifact"'):
        read_preferences(path, "abc", shop.sequences, shop.seen)


PREFERENCE = {
    "user": "u",
    "split": "train",
    "user_preference": "x",
    "context": {"history_items": ["a"], "target_item": 1},
}


@pytest.mark.parametrize(
    "row",
    [
        5,
        None,
        [],
        {},
        {**PREFERENCE, "user": None},
        {**PREFERENCE, "user": ["u"]},
        {**PREFERENCE, "split": 1},
        {**PREFERENCE, "user_preference": 5},
        {**PREFERENCE, "user_preference": None},
        {**PREFERENCE, "context": None},
        {**PREFERENCE, "context": {"history_items": "ab", "target_item": 1}},
        {**PREFERENCE, "context": {"history_items": [[1]], "target_item": 1}},
        {**PREFERENCE, "context": {"history_items": [1.5], "target_item": 1}},
        {**PREFERENCE, "context": {"history_items": [1], "target_item": {}}},
    ],
)
def test_a_row_of_another_shape_is_named(tmp_path, row):
    assert read_preference_rows(write(tmp_path / "p.json", [PREFERENCE])) == [PREFERENCE]
    with pytest.raises(ArtifactError, match="p.json: row 1 must be {user, split"):
        read_preference_rows(write(tmp_path / "p.json", [PREFERENCE, row]))


@pytest.mark.parametrize("content", [5, "x", None, True])
def test_rows_that_are_no_list_are_one_line(tmp_path, content):
    with pytest.raises(ArtifactError, match="p.json must hold a list of rows or one object"):
        read_preference_rows(write(tmp_path / "p.json", content))


def test_a_line_separator_within_a_text_ends_no_line(tmp_path):
    row = {**PREFERENCE, "user_preference": "a\u2028b\x85c"}
    (tmp_path / "p.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_preference_rows(tmp_path / "p.jsonl") == [row]
