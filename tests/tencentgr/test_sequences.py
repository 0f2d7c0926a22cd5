"""Rows of tokens against a plain loop over JSON records, splits, loaders, and the views of evaluation and inference."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

from tencentgr import files
from tencentgr.dataset import (
    SequenceDataset,
    SequenceRows,
    all_rows,
    collate,
    load_data,
    load_queries,
    split_rows,
    split_users,
    windows,
)
from tencentgr.entries import locate_source
from tests.tencentgr.conftest import ANN, BOB, CYD, write_by_hand


def by_loop(records: list, max_history: int, num_items: int, query: bool = False) -> dict[str, list]:
    """The competition's sample of one user, token by token: profile first, items after, left-padded."""
    profiles = [r for r in records if r[1] is None]
    items = [r for r in records if r[1] is not None]
    tokens, after = (items, []) if query else (items[:-1], items[-1:])
    kept = tokens[max(0, len(tokens) - (max_history + 1 - len(profiles))) :]
    chain = [*profiles, *kept, *after]
    names = "seq token_type action_type pos next_token_type next_action_type hour weekday gap".split()
    rows = {name: [] for name in names}
    for place in range(len(profiles) + len(kept)):
        user, item, _, _, action, time = chain[place]
        following = chain[place + 1] if place + 1 < len(chain) else None
        is_target = following is not None and following[1] <= num_items
        day = datetime.fromtimestamp(time, UTC)
        before = chain[place - 1] if place and chain[place - 1][1] is not None else None
        rows["seq"].append(user if item is None else item)
        rows["token_type"].append(2 if item is None else 1)
        rows["action_type"].append(0 if action is None else action + 1)
        rows["pos"].append(following[1] if is_target else 0)
        rows["next_token_type"].append(int(is_target))
        rows["next_action_type"].append((following[4] or 0) if is_target else 0)
        rows["hour"].append(0 if item is None else day.hour + 1)
        rows["weekday"].append(0 if item is None else day.isoweekday())
        rows["gap"].append(0.0 if item is None or before is None else math.log(1 + time - before[5]))
    return {name: [0] * (max_history + 1 - len(values)) + values for name, values in rows.items()}


@pytest.mark.parametrize("max_history", [1, 4, 12, 60])
@pytest.mark.parametrize("query", [False, True])
def test_rows_are_those_of_a_plain_loop(sample, max_history, query):
    data = load_data(locate_source(sample))
    lines = [json.loads(line) for line in (sample / files.SEQ).read_bytes().splitlines()]
    rows = all_rows(data) if query else split_rows(data, seed=0, valid_share=0)["train"]
    dataset = SequenceDataset(data, rows, max_history, time_features=True, query=query)
    assert len(dataset) == (120 if query else 119)  # one user has no interactions
    for row, line in enumerate(rows.sequence):
        wanted = by_loop(lines[line], max_history, data.schema.num_items, query) | {"sequence": line}
        for name, values in dataset[row].items():
            np.testing.assert_allclose(values, wanted[name], rtol=1e-6, err_msg=f"{name} of line {line}")


def test_batches_of_the_hand_made_set(by_hand):
    data = load_data(locate_source(by_hand))
    batch = SequenceDataset(data, all_rows(data), max_history=3).__getitems__([0, 1])
    assert batch["seq"].tolist() == [[0, 1, 1, 2], [0, 0, 0, 4]]  # ann's profile, then two items; bob has none
    assert batch["token_type"].tolist() == [[0, 2, 1, 1], [0, 0, 0, 1]]
    assert batch["pos"].tolist() == [[0, 1, 2, 3], [0, 0, 0, 1]]
    assert batch["next_action_type"].tolist() == [[0, 0, 1, 0], [0, 0, 0, 0]]


def test_a_long_user_loses_the_oldest_items_not_the_profile(by_hand):
    data = load_data(locate_source(by_hand))
    row = SequenceDataset(data, all_rows(data), max_history=1)[0]
    assert row["seq"].tolist() == [1, 2] and row["token_type"].tolist() == [2, 1]
    assert row["pos"].tolist() == [2, 3]  # the profile predicts the first item shown


def test_the_last_interaction_is_the_held_out_target(sample):
    data = load_data(locate_source(sample))
    rows = split_rows(data, seed=0)["valid"]
    batch = SequenceDataset(data, rows).__getitems__(list(range(len(rows))))
    np.testing.assert_array_equal(
        batch["pos"][:, -1], data.sequences.item[data.sequences.offset[rows.sequence + 1] - 1]
    )


def test_a_query_keeps_the_latest_item_and_a_user_without_items_has_a_profile(sample):
    data = load_queries(locate_source(sample))
    batch = SequenceDataset(data, all_rows(data), query=True).__getitems__(list(range(len(data.sequences))))
    lines = [json.loads(line) for line in (sample / files.PREDICT_SEQ).read_bytes().splitlines()]
    for row, line in enumerate(lines):
        items = [record for record in line if record[1] is not None]
        if not items:
            assert batch["token_type"][row].tolist() == [0] * 101 + [2]
            continue
        last = batch["seq"][row, -1]
        known = items[-1][1] <= 80
        assert last == items[-1][1] if known else data.creative_id[last] == str(items[-1][1])
    assert batch["pos"][:, -1].max() == 0


def test_an_unseen_item_is_a_token_but_never_a_target(tmp_path):
    line = [[1, 1, None, {}, 0, 1], [1, 77, None, {"100": 1}, 1, 2], [1, 2, None, {}, 1, 3]]
    write_by_hand(tmp_path, [line])
    row = SequenceDataset(
        load_data(locate_source(tmp_path)), SequenceRows(np.array([0]), np.array([3])), max_history=2
    )[0]
    assert row["seq"].tolist() == [0, 1, 5]
    assert row["pos"].tolist() == [0, 0, 2] and row["next_token_type"].tolist() == [0, 0, 1]
    assert row["next_action_type"].tolist() == [0, 0, 1]


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_reads_the_same(sample, workers):
    data = load_data(locate_source(sample))
    dataset = SequenceDataset(data, split_rows(data, seed=0)["train"])

    def batches(count: int) -> list:
        return list(DataLoader(dataset, batch_size=7, collate_fn=collate, num_workers=count))

    for alone, together in zip(batches(0), batches(workers), strict=True):
        assert all(torch.equal(alone[name], together[name]) for name in alone)


def test_single_rows_and_subsets_collate_to_the_same_batch(sample):
    data = load_data(locate_source(sample))
    dataset = SequenceDataset(data, all_rows(data), time_features=True)
    whole = collate(dataset.__getitems__([3, 5]))
    for other in (collate([dataset[3], dataset[5]]), collate(Subset(dataset, [3, 5]).__getitems__([0, 1]))):
        assert all(torch.equal(whole[name], other[name]) for name in whole)


@pytest.mark.parametrize("max_history", [1, 2, 5, 60])
def test_windows_make_each_interaction_a_target_once(sample, max_history):
    data = load_data(locate_source(sample))
    without = replace(data, sequences=replace(data.sequences, user=np.where(data.sequences.user % 2, 0, 1)))
    for source in (data, without):
        rows = split_rows(source, seed=0)["train"]
        pieces = windows(source, rows, max_history)
        batch = SequenceDataset(source, pieces, max_history).__getitems__(list(range(len(pieces))))
        counts = np.bincount(batch["sequence"].repeat((batch["pos"] > 0).sum(axis=1)), minlength=120)
        events = np.diff(source.sequences.offset) - (source.sequences.user == 0)
        assert (counts[rows.sequence] == events[rows.sequence]).all()
        last = pieces.stop == source.sequences.offset[pieces.sequence + 1]
        np.testing.assert_array_equal(pieces.sequence[last], rows.sequence)
        targets = np.sort(batch["pos"][batch["pos"] > 0])
        whole = SequenceDataset(source, rows, 60).__getitems__(list(range(len(rows))))["pos"]
        np.testing.assert_array_equal(targets, np.sort(whole[whole > 0]))


def test_users_split_by_seed_and_apart():
    train, valid = split_users(100, seed=1)
    assert len(valid) == 10 and sorted([*train, *valid]) == list(range(100))
    assert (split_users(100, seed=1)[1] == valid).all() and not (split_users(100, seed=2)[1] == valid).all()


def test_rows_without_a_target_are_left_out(tmp_path):
    alone = [[1, 1, None, {}, 0, 1]]  # nothing to predict it from
    write_by_hand(tmp_path, [alone, [*CYD, [3, 1, None, {}, 0, 1]], CYD, BOB, ANN])
    assert split_rows(load_data(locate_source(tmp_path)), seed=0, valid_share=0)["train"].sequence.tolist() == [1, 3, 4]


def test_popularity_counts_the_rows_given(by_hand):
    data = load_data(locate_source(by_hand))
    assert data.popularity(SequenceRows(np.array([0]), np.array([2]))).tolist() == [0, 1, 1, 0, 0]
    assert data.popularity(SequenceRows(np.array([0, 0, 1]), np.array([1, 2, 5]))).tolist() == [0, 2, 1, 0, 1]
