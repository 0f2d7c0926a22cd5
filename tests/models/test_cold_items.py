"""What cold items are given: by hand, by a loop over all items, and through every way that lists are made."""

from dataclasses import replace

import numpy as np
import pytest

import genrec
from genrec.data.sequences import Examples
from genrec.errors import ArtifactError, ConfigError
from genrec.evaluation.metrics import Recommendations
from genrec.models import cold_items
from genrec.models.cold_items import TEMPERATURE, ColdItems
from genrec.stages.recommend import describe_scores
from genrec.store import RunStore
from tests.pasts import make_past
from tests.small_model import write_run

VECTORS = np.array([[1, 0], [0, 1], [0.6, 0.8], [0.8, 0.6], [-1, 0]], dtype=np.float32)
COLD = ColdItems(VECTORS, np.array([2, 3]), 0.2)


def ask(*histories, excluded=None):
    history = np.full((len(histories), 3), -1, dtype=np.int32)
    for row, items in enumerate(histories):
        history[row, 3 - len(items) :] = items
    user = np.arange(len(histories), dtype=np.int32)
    return Examples(user, history, np.zeros(len(histories), np.int32), None, excluded)


def lists_of(*rows):
    """Lists of (item, probability)."""
    item = np.array([[item for item, _ in row] for row in rows], dtype=np.int32)
    with np.errstate(divide="ignore"):
        return Recommendations(item, np.log(np.array([[p for _, p in row] for row in rows], dtype=np.float32)))


def test_a_list_by_hand():
    mixed = COLD.mix(lists_of([(1, 0.5), (0, 0.3), (2, 0.1)]), ask([4, 0]), None)
    # the history is half of (-1, 0) and (1, 0), of direction (1, 0): cosines 0, .6 and .8 of items 1, 2 and 3
    whole = 1 + np.exp(0.6 / TEMPERATURE) + np.exp(0.8 / TEMPERATURE)
    assert mixed.item.tolist() == [[1, 0, 3]]
    assert np.allclose(np.exp(mixed.score), [[0.4, 0.24, 0.2 * np.exp(0.8 / TEMPERATURE) / whole]], atol=1e-6)


def test_a_history_whose_neighbours_are_known_keeps_its_list():
    vector = np.concatenate([VECTORS, [[0.999, 0.04]]]).astype(np.float32)  # item 5, bought, is next to item 0
    mixed = ColdItems(vector, np.array([2, 3]), 0.2).mix(lists_of([(1, 0.5), (0, 0.003)]), ask([0]), None)
    assert mixed.item.tolist() == [[1, 0]]


def brute_force(row, history, k, allowed, without):
    given = {item: 0.8 * p for item, p in row if item not in (2, 3) and item >= 0}
    mean = sum(VECTORS[item] * 0.5 ** (len(history) - 1 - place) for place, item in enumerate(history))
    power = {i: np.exp(VECTORS[i] @ mean / np.linalg.norm(mean) / TEMPERATURE) for i in range(5) if i not in history}
    listed = [i for i in (2, 3) if allowed[i] and i not in without and i not in history]
    given |= {i: 0.2 * power[i] / sum(power.values()) for i in listed}
    best = sorted(given.items(), key=lambda pair: (-pair[1], pair[0]))[:k]
    return [item for item, _ in best] + [-1] * (k - len(best)), [p for _, p in best] + [0] * (k - len(best))


@pytest.mark.parametrize("allowed", [np.ones(5, dtype=bool), np.arange(5) != 3])
@pytest.mark.parametrize("without", [[[], []], [[2], [3, 2]]])
@pytest.mark.parametrize("block", [2, 100])
def test_lists_are_those_of_a_loop_over_all_items(allowed, without, block, monkeypatch):
    monkeypatch.setattr(cold_items, "BLOCK", block)
    rows = [[(0, 0.4), (4, 0.3), (2, 0.25), (1, 0.05)], [(1, 0.1), (0, 0.1), (4, 0.02), (-1, 0.0)]]
    histories = [[0], [1, 4, 3]]
    examples = ask(*histories, excluded=make_past(without) if any(without) else None)
    mixed = COLD.mix(lists_of(*rows), examples, allowed)
    for found, score, *given in zip(mixed.item, mixed.score, rows, histories, without, strict=True):
        row, history, left_out = given
        item, p = brute_force(row, history, 4, allowed, left_out)
        assert found.tolist() == item
        assert np.allclose(np.exp(score), p, atol=1e-6)


def test_a_row_without_a_history_keeps_its_list_and_an_open_bound_shrinks():
    given = lists_of([(1, 0.5)], [(1, 0.5)])
    mixed = COLD.mix(replace(given, bound=np.log(np.float32([0.25, 0.25]))), ask([], [0]), None)
    assert mixed.item[0] == 1 and np.exp(mixed.score[0]) == pytest.approx(0.5)
    assert np.allclose(np.exp(mixed.bound), [0.25, 0.2])
    none = replace(COLD, item=np.zeros(0, dtype=np.int64))
    assert none.mix(given, ask([], [0]), None) is given


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose text vectors say that the unsold item is like item 0."""
    directory, shop = write_run(tmp_path_factory.mktemp("runs") / "run")
    return directory, shop


def test_lists_of_a_run_hold_cold_items_whichever_way_they_are_searched(run, monkeypatch):
    directory, shop = run
    count, items = shop.train_count.copy(), len(shop.catalog)
    count[:] = np.arange(items) != 5
    vectors = np.eye(items, dtype=np.float32)
    vectors[5] = vectors[0]  # nearest by far, so it takes the whole share
    monkeypatch.setattr(RunStore, "vectors", lambda store, number: vectors)
    monkeypatch.setattr("genrec.models.generative.load_cold_items", lambda *_: ColdItems(vectors, np.array([5]), 0.3))
    ways = [{"num_beams": items}, {"decoding": "frontier"}, {"ranking": "exact"}]
    history, asked = [shop.catalog.item_id[[1, 0]].tolist()], {"normalization": "trie", "cold_share": 0.3}
    lists = [genrec.load(directory, "sft", **asked, **way).recommend(history, k=6) for way in ways]
    for frame in lists:
        score = frame.filter(frame["item_id"] == shop.catalog.item_id[5])["score"]
        assert score.to_list() == [pytest.approx(np.log(0.3), abs=1e-5)]
        assert frame["item_id"].to_list() == lists[0]["item_id"].to_list()
    loaded = genrec.load(directory, "sft", **asked)
    assert "of items without a train event by their texts" in describe_scores(loaded, loaded.read_histories(history))
    denied = loaded.recommend(history, k=6, deny=[shop.catalog.item_id[5]])
    assert shop.catalog.item_id[5] not in denied["item_id"].to_list()


def test_what_knows_nothing_of_the_share_says_so(run, monkeypatch):
    directory, shop = run
    asked = {"normalization": "trie", "cold_share": 0.3}
    with pytest.raises(ConfigError, match="which .*sft does not hold; name the run, or leave cold_share 0"):
        genrec.load(directory / "sft", **asked)
    with pytest.raises(ArtifactError, match="embed"):
        genrec.load(directory, "sft", **asked)  # the run was made without vectors
    monkeypatch.setattr("genrec.models.generative.load_cold_items", lambda *_: COLD)
    loaded, history = genrec.load(directory, "sft", **asked), [shop.catalog.item_id[0]]
    for ask_one in (loaded.rank, loaded.explain):
        with pytest.raises(ConfigError, match="the model's own, and these lists hold cold items by their texts too"):
            ask_one(history, shop.catalog.item_id[1])
