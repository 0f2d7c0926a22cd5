"""The generated data set: the same bytes each time, faults in place, and a structure that can be learned."""

import json
import subprocess
import sys

import numpy as np

from tencentgr import files
from tencentgr.dataset import load_data, load_queries
from tencentgr.entries import locate_source
from tencentgr.generator import write_sample
from tests import ROOT
from tests.tencentgr.conftest import WIDTHS


def test_the_same_seed_writes_the_same_bytes(sample, tmp_path):
    write_sample(tmp_path, num_users=120, num_items=80, seed=3, mm_emb_id=tuple(WIDTHS), widths=WIDTHS)
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert len(written) == 10
    assert all((sample / name).read_bytes() == (tmp_path / name).read_bytes() for name in written)


def test_the_last_item_tells_more_than_popularity(sample):
    """The most frequent follower of the last item hits far more often than the most popular items do."""
    data = load_data(locate_source(sample))
    item, offset = data.sequences.item, data.sequences.offset
    follows = np.zeros((81, 81))
    inside = np.ones(len(item), dtype=bool)
    inside[offset[1:][offset[1:] > 0] - 1] = False  # a last item has no follower
    at = np.flatnonzero(inside)
    half = at < len(item) // 2
    np.add.at(follows, (item[at[half]], item[at[half] + 1]), 1)
    test = at[~half]
    by_last = follows.argmax(axis=1)[item[test]] == item[test + 1]
    by_popularity = np.bincount(item).argmax() == item[test + 1]
    assert by_last.mean() > 0.4 and by_last.mean() > 5 * by_popularity.mean()


def test_vectors_and_features_follow_topics(world, sample):
    data = load_data(locate_source(sample, list(WIDTHS)))
    topic = world.topic[:80]
    for vectors in data.items.emb.values():
        have = vectors[1:].any(axis=1)
        likeness = vectors[1:][have] @ vectors[1:][have].T
        same = topic[have][:, None] == topic[have]
        assert likeness[same & ~np.eye(len(likeness), dtype=bool)].mean() > likeness[~same].mean() + 0.2
    column = list(data.schema.item_sparse).index("101")
    values = data.items.sparse[1:, column]
    assert len({(int(v), int(t)) for v, t in zip(values, topic, strict=True) if v}) == len(set(topic.tolist()))


def test_faults_are_planted(sample):
    queries = load_queries(locate_source(sample))
    counts = queries.report[files.PREDICT_SEQ]["counts"]
    assert counts["users unseen in training"] == 12 and counts["items unseen in training"] > 0
    assert counts["lines without interactions"] == 1 and counts["feature values unseen in training (0)"] > 0
    assert queries.report[files.EMBEDDINGS]["81"] > 0 and queries.report["catalog"]["counts"]["items without features"]


def test_the_command(tmp_path):
    words = [sys.executable, "make_sample.py", "--output_dir", str(tmp_path), "--users", "20", "--items", "40"]
    done = subprocess.run(
        [*words, "--mm_emb_id", "81", "86", "--width", "4"], cwd=ROOT / "tencentgr", capture_output=True, text=True
    )
    assert done.returncode == 0 and "20 users, 40 items" in done.stdout
    assert (tmp_path / files.EMBEDDINGS / "emb_86_4" / "part_00000.json").exists()
    first = json.loads((tmp_path / files.SEQ).read_text().splitlines()[0])
    assert [len(record) for record in first] == [6] * len(first)
    wrong = subprocess.run([*words[:-1], "10"], cwd=ROOT / "tencentgr", capture_output=True, text=True)
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1
