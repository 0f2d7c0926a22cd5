"""Lists without what their user had: against a sort of everything, and the rule that decides it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tencentgr.conversion import Interactions
from tencentgr.dataset import load_data
from tencentgr.entries import locate_source
from tencentgr.inference import search
from tencentgr.seen_items import find_seen, leaves_out_seen, measure_repeats
from tests.tencentgr.conftest import ANN, BOB, write_by_hand


def test_lists_are_those_of_a_sort_without_the_own_items():
    random = np.random.default_rng(0)
    queries, items = random.normal(size=(4, 3)).astype(np.float32), random.normal(size=(7, 3)).astype(np.float32)
    had = [[501, 502], [], [501, 502, 503, 504, 505, 506], [999, 503]]  # 999 is no candidate
    names = np.array([str(501 + number) for number in range(7)])
    rows = np.array(["", *names, "999"])
    row_of = {name: row for row, name in enumerate(rows.tolist())}
    flat = np.array([row_of[str(item)] for own in had for item in own])
    events = SimpleNamespace(item=flat, offset=np.cumsum([0, *map(len, had)]))
    seen = find_seen(SimpleNamespace(sequences=events, creative_id=rows), SimpleNamespace(creative_id=names))
    actual = search(queries, items, 4, seen)
    for query, own, row in zip(queries, had, actual, strict=True):
        wanted = [n for n in np.argsort(-(items @ query)) if int(names[n]) not in own][:4]
        assert row.tolist() == wanted + [-1] * (4 - len(wanted))


@pytest.mark.parametrize("repeats, leaves_out", [(0, True), (1, False)])
def test_the_newest_interactions_say_whether_seen_items_are_left_out(tmp_path, repeats, leaves_out):
    again = [[1, 1, None, None, 0, 10**6]] * repeats  # ann's item 1 once more
    write_by_hand(tmp_path, [[*ANN, *again], BOB])
    data = load_data(locate_source(tmp_path))
    assert measure_repeats(data) == repeats / 2
    assert leaves_out_seen("auto", data) == (leaves_out, repeats / 2)
    assert leaves_out_seen(True, data)[0] and not leaves_out_seen(False, data)[0]


def test_a_user_with_one_interaction_says_nothing(tmp_path):
    write_by_hand(tmp_path, [BOB[:1]])
    data = load_data(locate_source(tmp_path))
    assert measure_repeats(data) == 0.0
    assert isinstance(data.sequences, Interactions) and replace(data).splits is None
