from collections import Counter

import numpy as np

from genrec.data.sequences import count_train_events, cut_examples
from genrec.data.toy import write_raw
from tests.toy_store import make_toy_store


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        write_raw(tmp_path / name, num_users=40, num_items=30, seed=seed)
    reviews = [(tmp_path / name / "toy_5.json.gz").read_bytes() for name in ("one", "two", "three")]
    assert reviews[0] == reviews[1] != reviews[2]


def test_the_store_comes_through_the_reader_whole(tmp_path):
    made = make_toy_store(tmp_path)
    assert (made.report["users"], made.report["items"]) == (600, 200)
    assert made.report["read"]["events"]["dropped"] == {}
    assert len(set(made.catalog.title)) == 200
    assert all(made.catalog.text) and all(made.catalog.brand) and all(made.catalog.categories)


def test_structure_beats_popularity(tmp_path):
    made = make_toy_store(tmp_path)
    rows = cut_examples(made.sequences, made.splits["test"], 1)
    counts = count_train_events(made.sequences, made.splits, len(made.catalog))
    popular = np.isin(rows.target, np.argsort(-counts)[:10]).mean()
    trained = cut_examples(made.sequences, made.splits["train"], 1)
    followers = {}
    for last, target in zip(trained.history[:, -1].tolist(), trained.target.tolist(), strict=True):
        followers.setdefault(last, Counter())[target] += 1
    top = [
        target in dict(followers.get(last, Counter()).most_common(3))
        for last, target in zip(rows.history[:, -1].tolist(), rows.target.tolist(), strict=True)
    ]
    assert np.mean(top) > 3 * popular > 0


def test_other_sizes(tmp_path):
    made = make_toy_store(tmp_path, num_users=50, num_items=25, seed=1, user_k=2, item_k=2, split="leave_one_out")
    assert made.report["users"] == 50 and made.report["items"] <= 25
