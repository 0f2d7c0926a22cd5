"""A growing catalogue: old SIDs stay byte for byte, new items can be decoded, retired ones cannot."""

import errno
import json

import numpy as np
import pytest
import torch

from genrec import sids
from genrec.embeddings import item_encoder
from genrec.errors import ArtifactError
from genrec.models.trie import build_trie, make_filter
from genrec.quantizers import grow as quantizers_grow
from genrec.quantizers.grow import grow_index
from genrec.stages.sids import main
from genrec.store import RunStore
from genrec.verify import REMEMBERED
from tests import parse_flags
from tests.rq.conftest import NUM_ITEMS, WIDTH, shop_vectors


@pytest.fixture
def new_items(tmp_path, monkeypatch):
    """Four new items: two equal to old item 0, one near item 4, one unlike anything; a table stands for the encoder."""
    old = shop_vectors()
    table = {"twin": old[0], "twin too": old[0], "near": old[4] + 0.01, "odd": 9 * np.ones(WIDTH, np.float32)}
    monkeypatch.setattr(item_encoder, "encode_items", lambda texts, *_: np.stack([table[t] for t in texts]))
    path = tmp_path / "new.item.json"
    path.write_text(json.dumps({str(i): {"title": title} for i, title in enumerate(table)}))
    return path


def grow(run, *flags):
    config = parse_flags([*run.flags, *flags], "sids").config
    return grow_index(RunStore.of(config), config.sids, config.embeddings, config.run.device)


@pytest.mark.parametrize("method", ["rqkmeans", "rqvae", "rqkmeans_plus"])
def test_old_codes_stay_and_new_items_are_reachable(run, new_items, method):
    before = np.load(run.sids("--method", method) / "codes.npy")
    grown = grow(run, "--method", method, "--add", str(new_items), "--retire", "[3, 4]")
    index = sids.load_index(grown / "sid_index.npz")
    assert index.codes[:NUM_ITEMS].tobytes() == before.tobytes()
    assert len(index) == NUM_ITEMS + 4 and len(np.unique(index.codes, axis=0)) == NUM_ITEMS + 4
    trie = build_trie(index)
    reachable = reached(trie, make_filter(trie, torch.from_numpy(np.load(grown / "allowed.npy")), None))
    assert reachable == set(range(NUM_ITEMS + 4)) - {3, 4}


def reached(trie, kept):
    """Items that a decoder can come to: every child with a kept item, level by level."""
    nodes = torch.zeros(1, dtype=torch.long)
    for depth in range(trie.num_levels):
        child, real = trie.children(depth, nodes)
        nodes = child[real]
        nodes = nodes[trie.count(depth + 1, nodes, kept) > 0]
    return set(trie.item[trie.under[-1][nodes]].tolist())


def test_the_report_names_what_moved_and_what_is_placed_poorly(run, new_items):
    run.sids("--method", "rqkmeans")
    report = json.loads((grow(run, "--add", str(new_items)) / "grown.json").read_text())
    by_title = {item["title"]: item for item in report["items"]}
    assert by_title["twin"]["moved"] and by_title["twin too"]["moved"]
    assert [title for title, item in by_title.items() if item["poor"]] == ["odd"] or by_title["odd"]["poor"]
    assert by_title["near"]["item"] == NUM_ITEMS + 2


def test_adding_the_same_file_again_adds_nothing(run, new_items):
    run.sids("--method", "rqkmeans")
    first = (grow(run, "--add", str(new_items)) / "codes.npy").read_bytes()
    assert (grow(run, "--add", str(new_items)) / "codes.npy").read_bytes() == first


def test_a_second_file_goes_on_from_the_first(run, new_items, tmp_path):
    run.sids("--method", "rqkmeans")
    first = np.load(grow(run, "--add", str(new_items)) / "codes.npy")
    more = tmp_path / "more.item.json"
    more.write_text(json.dumps({"0": {"title": "twin"}}))
    second = np.load(grow(run, "--add", str(more)) / "codes.npy")
    assert len(second) == len(first) + 1 and (second[:-1] == first).all()


def test_vectors_of_new_items_are_kept_as_far_as_they_are_known(run, new_items, tmp_path):
    run.sids("--method", "rqkmeans")
    place = grow(run, "--add", str(new_items))
    store, old = RunStore(run.dir), shop_vectors()
    assert np.array_equal(store.new_vectors(4)[2], old[4] + np.float32(0.01))
    for round, text in enumerate(("twin", "near")):
        more = tmp_path / f"more{round}.item.json"
        more.write_text(json.dumps({"0": {"title": text}}))
        grow(run, "--add", str(more))
        if not round:
            assert np.array_equal(store.new_vectors(5)[4], old[0])
            (place / "new_vectors.npy").unlink()  # as an earlier release left it
    with pytest.raises(ArtifactError, match="new_vectors.npy is not there.*add its items again"):
        store.new_vectors(6)


def test_extra_level_and_kept_indices_grow_too(run, new_items):
    for how in ("extra_level", "keep"):
        before = np.load(run.sids("--method", "rqkmeans", "--collisions", how, "--clean") / "codes.npy")
        index = sids.load_index(grow(run, "--add", str(new_items)) / "sid_index.npz")
        assert (index.codes[:NUM_ITEMS] == before).all()
        new = index.codes[NUM_ITEMS:, :3]
        assert not (new[:, None] == before[None, :, :3]).all(axis=2).any()
        (run.dir / "sids_grown" / run.made.name).rename(run.dir / f"grown_{how}")


def test_what_cannot_be_grown_says_so(run):
    with pytest.raises(ArtifactError, match="not there yet"):
        grow(run, "--retire", "[1]")
    run.sids("--method", "rqkmeans")
    with pytest.raises(ArtifactError, match="retire names item 90"):
        grow(run, "--retire", "[90]")
    with pytest.raises(ArtifactError, match="cannot be read|No such file"):
        grow(run, "--add", "/no/such.item.json")


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(run, new_items):
    run.sids("--method", "rqkmeans")
    before = written(run)
    done = run.script("generate_indices.py", "--add", str(new_items), "--retire", "[3]", "--dry-run")
    assert done.returncode == 0 and "to run: 4 items added to the 90" in done.stdout and "1 retired" in done.stdout
    assert written(run) == before
    done = run.script("generate_indices.py", "--retire", "[94]", "--dry-run")
    assert done.returncode == 1 and "names item 94" in done.stderr and "Traceback" not in done.stderr


def written(run):
    """Every file of the run, but for what is remembered of checked artifacts."""
    return sorted(path for path in run.dir.rglob("*") if path.name != REMEMBERED)


def test_a_full_disk_is_one_line(run, new_items, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    run.sids("--method", "rqkmeans")
    monkeypatch.setattr(quantizers_grow, "write_grown", full)
    monkeypatch.setattr("sys.argv", ["generate_indices.py", *run.flags, "--add", str(new_items)])
    with pytest.raises(SystemExit, match="1"):
        main()
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"error: cannot write under {run.dir}: No space left") and "\n" not in said
