"""Tasks as data: what is given, what is wanted, and which rows there are."""

import numpy as np
import pytest

from genrec.data.tasks import RECOMMEND, TASKS, Texts, draw_copies, draw_row_numbers, make_texts, repeat_rows, take_row
from genrec.sids import make_index
from tests.small_shop import small_shop

SHOP = small_shop(num_users=10, num_items=20)
INDEX = make_index(np.stack([np.arange(20) // 5, np.arange(20) % 5], axis=1), (4, 5))
TEXTS = make_texts(SHOP, INDEX, "toy", [])


@pytest.mark.parametrize(("share", "counts"), [(0, [0]), (1, [1]), (2, [2]), (0.5, [0, 1]), (2.3, [2, 3])])
def test_a_share_repeats_rows_and_draws_the_rest(share, counts):
    rows = draw_copies(100, share, np.random.default_rng(0))
    times = np.bincount(rows, minlength=100)
    assert len(rows) == round(100 * share) and set(times.tolist()) == set(counts)
    assert (np.diff(rows) >= 0).all()


def test_copies_are_whole_first_and_a_part_last():
    lists = list(repeat_rows(10, 1.5, np.random.default_rng(0)))
    assert lists[0].tolist() == list(range(10)) and len(lists[1]) == 5 and len(set(lists[1].tolist())) == 5


def test_rows_of_a_description_task_have_a_description():
    rows = draw_row_numbers(TASKS["description_to_sid"], 1, np.zeros(0, int), SHOP.catalog, np.random.default_rng(0))
    assert rows.tolist() == [item for item in range(20) if item % 3]
    assert (
        len(draw_row_numbers(TASKS["title_to_sid"], 1, np.zeros(0, int), SHOP.catalog, np.random.default_rng(0))) == 20
    )


def test_a_row_is_an_example_or_an_item():
    examples = SHOP.examples("train")
    history, target = take_row(RECOMMEND, examples, 3)
    assert (history == examples.history[3]).all() and target == examples.target[3]
    items, target = take_row(TASKS["sid_to_title"], examples, 7)
    assert items.tolist() == [7] and target == 7


def test_prompts_and_answers_by_hand():
    items = np.array([-1, 1, 6])
    assert (
        TEXTS.prompt(RECOMMEND, items).parts == ("<a_0><b_1>", "<a_1><b_1>")
        and TEXTS.prompt(RECOMMEND, items).tail == ""
    )
    assert (
        TEXTS.answer(RECOMMEND, 6) == "<a_1><b_1>" and TEXTS.answer(TASKS["sid_to_title"], 6) == SHOP.catalog.title[6]
    )
    titles = TEXTS.prompt(TASKS["title_history_to_sid"], items)
    assert titles.parts == tuple(f"{SHOP.catalog.title[item]}\n" for item in (1, 6))


def test_a_text_about_a_user_is_only_asked_for_where_there_are_some():
    with pytest.raises(AssertionError, match="sft.preferences"):
        Texts(SHOP.catalog, INDEX, "toy").answer(TASKS["sid_to_preference"], 0)
