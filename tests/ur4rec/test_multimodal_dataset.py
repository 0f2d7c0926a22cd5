import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from genrec.errors import ArtifactError
from tests import ROOT
from tests.ur4rec.small import film_id, write_posters
from UR4Rec.data.multimodal_dataset import create_dataloaders, train_prefixes

NUM_ITEMS = 60


def metadata(num_items=NUM_ITEMS):
    return {
        n: {"title": f"T{n}", "genres": [], "genres_str": "", "description": "", "original_id": film_id(n)}
        for n in range(1, num_items + 1)
    }


@pytest.fixture
def sequences():
    random = np.random.default_rng(0)
    ids = np.arange(1, NUM_ITEMS + 1)
    return {200 + u: random.permutation(ids)[: random.integers(5, 25)].tolist() for u in range(17)}


def loaders(sequences, **changes):
    options = {"batch_size": 8, "max_seq_len": 6, "num_negatives": 3, "num_candidates": 20, **changes}
    return create_dataloaders(sequences, metadata(), **options)


def rows(loader):
    """(user, input without padding, target) of every row."""
    return [
        (user, [i for i in items.tolist() if i], int(target))
        for batch in loader
        for user, items, target in zip(batch["user_ids"], batch["input_seq"], batch["target_items"], strict=True)
    ]


def test_every_event_of_the_train_prefix_but_the_first_is_a_target_once(sequences):
    expected = Counter()
    for user, items in sequences.items():
        for end in range(1, len(items) - 2):
            expected[user, tuple(items[max(end - 6, 0) : end]), items[end]] += 1
    assert Counter((user, tuple(seen), target) for user, seen, target in rows(loaders(sequences)[0])) == expected


@pytest.mark.parametrize(("split", "held"), [(1, 2), (2, 1)])
def test_the_last_two_are_valid_and_test(sequences, split, held):
    expected = [(user, items[:-held][-6:], items[-held]) for user, items in sequences.items()]
    assert rows(loaders(sequences)[split]) == expected


def test_a_batch_is_what_the_contract_says(sequences):
    batch = next(iter(loaders(sequences)[2]))
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in batch.items() if name != "user_ids"}
    assert shapes == {
        "user_index": ((8,), torch.int64),
        "history_length": ((8,), torch.int64),
        "input_seq": ((8, 6), torch.int64),
        "seq_padding_mask": ((8, 6), torch.bool),
        "target_items": ((8,), torch.int64),
        "negative_items": ((8, 3), torch.int64),
        "candidate_items": ((8, 20), torch.int64),
    }
    assert batch["user_ids"] == list(sequences)[:8] and batch["user_index"].tolist() == list(range(8))
    short = loaders({1: [5, 6, 7, 8, 9]}, max_seq_len=6)[2]
    assert next(iter(short))["input_seq"].tolist() == [[0, 0, 5, 6, 7, 8]]
    assert next(iter(short))["seq_padding_mask"].tolist() == [[True, True, False, False, False, False]]


def test_windows_ask_for_the_same_targets_with_fewer_rows(sequences):
    single, windows = loaders(sequences)[0], loaders(sequences, windows=True)[0]
    asked_for = Counter()
    for batch in windows:
        for user, items, after in zip(batch["user_ids"], batch["input_seq"], batch["target_seq"], strict=True):
            assert (items == 0).tolist() == (after == 0).tolist()
            for place in range(1, len(items)):
                assert items[place - 1] == 0 or after[place - 1] == items[place]
            asked_for.update((user, int(i)) for i in after if i)
    assert asked_for == Counter((user, target) for user, _, target in rows(single))
    assert len(windows.dataset) < len(single.dataset) / 3


def test_negatives_and_candidates_were_not_seen_before(sequences):
    past = {
        0: train_prefixes(sequences),
        1: {user: items[:-1] for user, items in sequences.items()},
        2: sequences,
    }
    for split, loader in enumerate(loaders(sequences)):
        for batch in loader:
            for row, user in enumerate(batch["user_ids"]):
                assert not set(batch["negative_items"][row].tolist()) & {0, *past[split][user]}
                if split:
                    target, *others = batch["candidate_items"][row].tolist()
                    assert target == batch["target_items"][row]
                    assert len(set(others)) == 19 and not set(others) & {0, *past[split][user]}


def test_training_does_not_know_which_items_are_held_out(sequences):
    """Were the held-out items never drawn as negatives, their absence would tell them."""
    drawn = Counter()
    loader = loaders(sequences, num_negatives=500)[0]
    for batch in loader:
        for user, items in zip(batch["user_ids"], batch["negative_items"], strict=True):
            drawn.update((user, int(i)) for i in items)
    assert all(drawn[user, items[-1]] and drawn[user, items[-2]] for user, items in sequences.items())


def same(one, other):
    return all(torch.equal(one[k], other[k]) if torch.is_tensor(one[k]) else one[k] == other[k] for k in one)


def test_batches_depend_on_seed_and_epoch_and_on_nothing_else(sequences):
    loader = loaders(sequences)[0]
    first, second = list(loader), list(loader)
    assert not same(first[0], second[0])  # the next pass is the next epoch
    loader.set_epoch(0)
    assert all(map(same, first, loader))
    resumed = loaders(sequences)[0]
    resumed.set_epoch(1)
    assert all(map(same, second, resumed))
    assert not same(first[0], next(iter(loaders(sequences, seed=1)[0])))


def test_workers_change_nothing(sequences):
    for alone, shared in zip(loaders(sequences), loaders(sequences, num_workers=2), strict=True):
        alone.set_epoch(3), shared.set_epoch(3)
        assert all(map(same, alone, shared))


def test_candidates_are_the_same_in_every_epoch(sequences):
    loader = loaders(sequences)[2]
    one, other = (torch.cat([batch["candidate_items"] for batch in loader]) for _ in range(2))
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("sequence", "said"),
    [
        ([1, 2, 61, 3, 4], r"item ids 1..61, item_metadata has 60 items"),
        ([0, 2, 3, 4, 5], r"item ids 0..5"),
        ([1, 2], "2 events, leave-one-out needs 3"),
        (list(range(1, 61)), "has seen all 60 items"),
        (list(range(1, 50)), "has 12 unseen items, 20 candidates need 19"),
    ],
)
def test_what_cannot_be_is_refused_and_never_clamped(sequence, said):
    with pytest.raises(ArtifactError, match=said):
        loaders({1: sequence})


def test_posters_come_with_a_mask_of_those_that_are_there(sequences, tmp_path):
    there = {film_id(n) for n in range(1, 31)}  # of 60
    write_posters(tmp_path / "image", sorted(there))
    batch = next(iter(loaders(sequences, image_dir=tmp_path / "image", load_images=True, image_size=8)[2]))
    assert batch["target_images"].shape == (8, 3, 8, 8) and batch["negative_images"].shape == (8, 3, 3, 8, 8)
    for name in ("target", "negative"):
        items = batch[f"{name}_items"].flatten().tolist()
        images = batch[f"{name}_images"].reshape(-1, 3, 8, 8)
        for item, image, present in zip(items, images, batch[f"{name}_has_image"].flatten(), strict=True):
            assert bool(present) == (item <= 30)
            red = film_id(item) / 255 if present else 0.0
            assert torch.allclose(image[0], torch.full((8, 8), red), atol=1e-6)


def test_posters_that_are_not_there_or_not_images_are_one_line(sequences, tmp_path):
    with pytest.raises(ArtifactError, match="no folder of posters at"):
        loaders(sequences, image_dir=tmp_path / "nowhere", load_images=True)
    for n in range(1, 61):
        (tmp_path / f"{film_id(n)}.png").write_bytes(b"no picture")
    with pytest.raises(ArtifactError, match="is no image"):
        next(iter(loaders(sequences, image_dir=tmp_path, load_images=True, image_size=8)[0]))
    with pytest.raises(ArtifactError, match="image_size 8 changes nothing without posters; .*load_images=True"):
        loaders(sequences, image_size=8)


def test_help_does_not_wait_for_torch():
    code = "import sys, UR4Rec.data.multimodal_dataset; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
