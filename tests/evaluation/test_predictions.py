"""Ranked lists on disk and on the screen."""

import json
from dataclasses import replace

import numpy as np

from genrec.artifacts import EVAL_RESULTS
from genrec.evaluation.metrics import Recommendations
from genrec.evaluation.predictions import read_predictions, shorten, show_examples, write_predictions
from tests.small_shop import small_shop


def lists_of(shop, first: int) -> Recommendations:
    """Every row is recommended `first` and the item after it; the third place is empty."""
    items = np.tile(np.array([first, first + 1, -1], dtype=np.int32), (len(shop.examples("test")), 1))
    return Recommendations(items, np.tile(np.array([2, 1, -np.inf], dtype=np.float32), (len(items), 1)))


def test_what_is_written_comes_back_and_each_line_says_the_rank(tmp_path):
    shop = small_shop()
    examples, lists = shop.examples("test"), lists_of(shop, 4)
    write_predictions(tmp_path, examples, lists, shop.catalog, shop.sequences)
    rows, recommended = read_predictions(tmp_path)
    assert (rows.target == examples.target).all() and (rows.history == examples.history).all()
    assert (recommended.item == lists.item).all() and (recommended.score == lists.score).all()
    lines = [json.loads(line) for line in (tmp_path / EVAL_RESULTS).read_text(encoding="utf-8").split("\n")[:-1]]
    ranks = {4: 1, 5: 2}
    assert [line["rank"] for line in lines] == [ranks.get(target) for target in examples.target.tolist()]
    assert all(line["predictions"] == [4, 5] and line["scores"] == [2.0, 1.0] for line in lines)
    assert not list(tmp_path.glob("*.tmp"))


def test_the_same_seed_shows_the_same_users_with_a_star_at_the_truth():
    shop = small_shop()
    examples = shop.examples("test")
    row = int(np.flatnonzero(examples.target == 4)[0])
    one = examples.take(np.array([row]))
    text = show_examples(
        one, Recommendations(np.array([[4, 5, -1]]), np.zeros((1, 3))), shop.catalog, shop.sequences, 0
    )
    assert "recommended *Item 4" in text and "(rank 1)" in text and text.count("recommended") == 2
    lists = lists_of(shop, 4)
    first, again = (show_examples(examples, lists, shop.catalog, shop.sequences, seed=3) for _ in range(2))
    assert first == again and first.count("user ") == 5


def test_long_titles_end_in_an_ellipsis():
    assert shorten("abcd", 4) == "abcd" and shorten("abcde", 4) == "abc…"


def test_what_steers_a_terminal_is_escaped_and_a_miss_is_told_to_the_end_of_the_list():
    shop = small_shop()
    sequences = replace(shop.sequences, user_id=np.array([f"u\x1b[2J{n}" for n in range(len(shop.sequences))]))
    catalog = replace(shop.catalog, title=np.array([f"t\x07\x9b{n}" for n in range(20)], dtype=object))
    one = shop.examples("test").take(np.array([0]))
    lists = Recommendations(np.array([[int(one.target[0] + 1) % 20, -1, -1]]), np.zeros((1, 3)))
    text = show_examples(one, lists, catalog, sequences, 0)
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert "user u\\x1b[2J" in text and "t\\x07\\x9b" in text and "(not in the first 1)" in text
