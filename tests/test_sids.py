"""Semantic IDs as numbers and as tokens: there and back, and what is no index."""

import numpy as np
import pytest

from genrec.artifacts import write_json
from genrec.errors import ArtifactError
from genrec.sids import (
    NONE,
    count_collisions,
    load_codebooks,
    load_index,
    make_index,
    parse_token,
    read_index_json,
    save_codebooks,
    save_index,
    write_index_json,
)

CODES = np.array([[0, 1, NONE], [0, 1, 2], [1, 0, NONE]])


def test_tokens_say_level_and_code_and_a_shorter_sid_has_fewer():
    index = make_index(CODES, (2, 2, 3))
    assert index.text(1) == "<a_0><b_1><c_2>" and index.text(0) == "<a_0><b_1>"
    assert index.tokens() == ["<a_0>", "<a_1>", "<b_0>", "<b_1>", "<c_0>", "<c_1>", "<c_2>"]
    assert [index.tokens()[start] for start in index.first_token()] == ["<a_0>", "<b_0>", "<c_0>"]
    assert parse_token("<c_12>") == (2, 12)


@pytest.mark.parametrize("text", ["<A_1>", "<a_>", "a_1", "<a_1> ", "<a_1>\n", "<a_01>", "<a_\u0661>", 5, None])
def test_what_is_no_token_is_said(text):
    with pytest.raises(ArtifactError, match="is not a semantic-ID token"):
        parse_token(text)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([[0, 2]], "codes reach from 0 to 2, but the levels have"),
        ([[NONE, 0]], "has a gap"),
        ([[0, 0], [0, 0]], "1 of 2 semantic IDs repeat"),
        ([0, 1], "codes have shape"),
    ],
)
def test_an_index_that_could_not_be_decoded_is_refused(codes, message):
    with pytest.raises(ArtifactError, match=message):
        make_index(np.array(codes), (2, 2))


def test_items_beyond_the_first_of_a_sid_are_collisions():
    assert count_collisions(np.array([[0, 0], [0, 0], [0, 0], [1, 0]])) == 2 and count_collisions(CODES) == 0


def test_an_index_comes_back_from_npz_and_from_minionerecs_json(tmp_path):
    index = make_index(CODES, (2, 2, 3))
    save_index(index, tmp_path / "i.npz")
    write_index_json(index, tmp_path / "i.json")
    for read in (load_index(tmp_path / "i.npz"), read_index_json(tmp_path / "i.json")):
        assert (read.codes == index.codes).all() and read.sizes == index.sizes and read.codes.dtype == np.int16


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"0": ["<b_0>", "<a_0>"]}, "item 0 has levels out of order"),
        ({"1": ["<a_0>"]}, r"must map the items '0'..'N-1' to tokens; it has 1 keys"),
        ({}, "it has 0 keys"),
        ([["<a_0>"]], "it has a JSON list"),
        (None, "it has a JSON NoneType"),
        (5, "it has a JSON int"),
        ({"0": []}, "item 0 must have a list of tokens"),
        ({"0": None}, "item 0 must have a list of tokens"),
        ({"0": "<a_0>"}, "item 0 must have a list of tokens"),
        ({"0": [5]}, "item 0: 5 is not a semantic-ID token"),
        ({"0": ["<a_32768>"]}, "item 0 has the code 32768; a level has 32767 at most"),
        ({"0": ["<a_" + "9" * 5000 + ">"]}, "item 0: .* is not a semantic-ID token"),
    ],
)
def test_a_json_of_another_shape_is_refused(rows, message, tmp_path):
    write_json(tmp_path / "i.json", rows)
    with pytest.raises(ArtifactError, match=message):
        read_index_json(tmp_path / "i.json")


def test_codebooks_keep_their_order_beyond_ten_levels(tmp_path):
    save_codebooks(tuple(np.full((1, 1), float(level)) for level in range(12)), tmp_path / "c.npz")
    assert [int(book[0, 0]) for book in load_codebooks(tmp_path / "c.npz")] == list(range(12))


def test_rows_are_packed_apart_however_many_levels_they_have():
    rng = np.random.default_rng(0)
    for levels, size in ((1, 3), (3, 4), (9, 32000)):
        codes = rng.integers(-1, size, (200, levels))
        codes[100:] = codes[rng.integers(0, 100, 100)]
        distinct = len({tuple(row) for row in codes.tolist()})
        assert count_collisions(codes) == 200 - distinct
    assert count_collisions(np.zeros((0, 3), dtype=np.int16)) == 0
