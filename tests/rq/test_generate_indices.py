"""The stage sids, method by method: distinct, repeatable, and clear about what it cannot do."""

import json

import numpy as np
import pytest

from genrec import sids
from genrec.errors import ArtifactError
from genrec.quantizers.quality import list_warnings
from genrec.store import list_sids
from tests.rq.conftest import NUM_ITEMS, SMALL, Run, shop_vectors

METHODS = ["rqkmeans", "rqkmeans_constrained", "rqvae", "rqkmeans_plus"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_writes_distinct_sids_and_the_same_bytes_again(run, method):
    made = run.sids("--method", method)
    index = sids.load_index(made / "sid_index.npz")
    assert len(np.unique(index.codes, axis=0)) == NUM_ITEMS and index.sizes == (12, 12, 12)
    rows = json.loads((made / "toy.index.json").read_text())
    assert rows["7"] == index.item_tokens(7) and len(rows) == NUM_ITEMS
    quality = run.json("quality.json")
    assert quality["collisions"]["before"]["items"] >= 2 and quality["collisions"]["after"]["items"] == 0
    assert len(quality["reconstruction"]["error"]) == 3
    first = {path.name: path.read_bytes() for path in made.rglob("*") if path.is_file() and path.suffix != ".json"}
    run.sids("--method", method, "--clean")
    assert {p.name: p.read_bytes() for p in made.rglob("*") if p.is_file() and p.suffix != ".json"} == first


@pytest.mark.parametrize("backend", ["balanced", "k_means_constrained"])
def test_constrained_codes_hold_equal_shares_before_collisions_are_resolved(run, backend):
    run.sids("--method", "rqkmeans_constrained", "--collisions", "keep", "--kmeans_backend", backend)
    for level in run.json("quality.json")["levels"]:
        assert (level["smallest"], level["largest"]) == (7, 8)


def test_extra_level_and_keep(run, tmp_path):
    run.sids("--method", "rqkmeans", "--collisions", "extra_level")
    rows = run.json("toy.index.json")
    assert [rows[str(i)][-1][:3] for i in range(3)] == ["<d_"] * 3
    assert {len(row) for row in rows.values()} == {3, 4}
    run.sids("--method", "rqkmeans", "--collisions", "keep", "--clean")
    rows = run.json("toy.index.json")
    assert rows["0"] == rows["1"] == rows["2"]


def test_a_published_index_is_imported_as_it_is(run):
    with pytest.raises(ArtifactError, match="imported needs .*toy.index.json.*rqkmeans_plus"):
        run.sids("--method", "imported")
    rows = {str(i): [f"<a_{i % 7}>", f"<b_{i // 7}>", *(["<c_1>"] if i == 5 else [])] for i in range(NUM_ITEMS)}
    rows["1"] = rows["0"]
    (run.dir / "data/toy.index.json").write_text(json.dumps(rows))
    run.sids("--method", "imported", "--clean")
    assert run.json("toy.index.json") == rows
    assert run.json("quality.json")["collisions"]["after"]["items"] == 1


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.full((NUM_ITEMS, 4), np.nan, np.float32), "NaN or infinite"),
        (np.ones((NUM_ITEMS, 4), np.int32), "float matrix"),
        (np.ones((NUM_ITEMS - 1, 4), np.float32), f"{NUM_ITEMS - 1} rows, the catalogue has {NUM_ITEMS}"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(run, vectors, said):
    run.embed(vectors)
    with pytest.raises(ArtifactError, match=said):
        run.sids("--method", "rqkmeans")
    assert not (run.dir / "sids").exists()


@pytest.mark.parametrize("method", METHODS)
def test_fewer_items_than_codes_is_one_line(run, method):
    with pytest.raises(ArtifactError, match="codebook_size 256 is more than the 90 items"):
        run.sids("--method", method, "--codebook_size", "256")


@pytest.mark.parametrize("method", METHODS)
def test_identical_vectors_get_distinct_sids(run, method):
    run.embed(np.ones((NUM_ITEMS, 4), np.float32))
    made = run.sids("--method", method)
    assert len(np.unique(np.load(made / "codes.npy"), axis=0)) == NUM_ITEMS


@pytest.mark.parametrize(
    "flags", [("--num_levels", "1", "--codebook_size", "90"), ("--codebook_size", "7", "--num_levels", "4")]
)
def test_unusual_shapes(run, flags):
    made = run.sids("--method", "rqkmeans", *flags)
    assert len(np.unique(np.load(made / "codes.npy"), axis=0)) == NUM_ITEMS


def test_alpha_changes_the_index_and_auto_says_what_it_tried(run):
    text = np.load(run.sids("--method", "rqkmeans") / "codes.npy")
    fused = np.load(run.sids("--method", "rqkmeans", "--alpha", "0.6", "--clean") / "codes.npy")
    assert (text != fused).any()
    run.sids("--method", "rqkmeans", "--alpha", "auto", "--clean")
    quality = run.json("quality.json")
    rates = quality["alpha_hit_rates"]
    assert rates[str(quality["alpha"])] == max(rates.values())


def test_the_chain_of_three_scripts_reuses_the_constrained_codebooks(run):
    assert run.script("rqkmeans_constrained.sh").returncode == 0
    constrained = np.load(run.dir / "sids/rqkmeans_constrained/codebooks.npz")["codebook_0"]
    plus = run.script("rqkmeans_plus.sh")
    assert plus.returncode == 0, plus.stderr
    assert f"goes on from the codebooks in {run.dir}/sids/rqkmeans_constrained" in plus.stdout
    assert (np.load(run.dir / "sids/rqkmeans_plus/constrained.npz")["codebook_0"] == constrained).all()
    last = run.script("generate_indices_plus.sh")
    assert "sids: up to date\n" in last.stdout


@pytest.mark.slow
def test_methods_lie_side_by_side_and_a_table_compares_them(run):
    """None of them asks for another directory; the same with other settings takes a name."""
    for script in ("rqkmeans_plus.sh", "rqvae.sh", "rqkmeans_constrained.sh"):
        done = run.script(script)
        assert done.returncode == 0, done.stderr
    assert list_sids(run.dir) == ["rqkmeans_constrained", "rqkmeans_plus", "rqvae"]
    assert [line.split()[0] for line in done.stdout.splitlines() if "12x12x12" in line] == list_sids(run.dir)
    assert "in use by this configuration: sids/rqkmeans_constrained" in done.stdout
    refused = run.script("rqvae.sh", "--codebook_size", "6")
    assert refused.returncode == 1 and "Ways on: --sids.name ANOTHER for a new one beside it" in refused.stderr
    assert run.script("rqvae.sh", "--codebook_size", "6", "--name", "small").returncode == 0
    assert "small" in list_sids(run.dir)


def test_plus_is_the_same_with_and_without_what_constrained_left(run, tmp_path):
    alone = (run.sids("--method", "rqkmeans_plus") / "codes.npy").read_bytes()
    run.sids("--method", "rqkmeans_constrained")
    after = run.sids("--method", "rqkmeans_plus", "--name", "after")
    assert (after / "codes.npy").read_bytes() == alone
    assert (after / "constrained.json").read_bytes() == (run.dir / "sids/rqkmeans_plus/constrained.json").read_bytes()


@pytest.mark.slow
def test_plus_does_not_go_on_from_codebooks_of_another_backend(run):
    run.sids("--method", "rqkmeans_constrained", "--kmeans_backend", "k_means_constrained")
    plus = run.script("rqkmeans_plus.py")
    assert plus.returncode == 0 and "goes on from the codebooks" not in plus.stdout
    again = run.script("rqkmeans_plus.py", "--kmeans_backend", "k_means_constrained", "--name", "package")
    assert "goes on from the codebooks in" in again.stdout


def test_plus_says_when_it_ends_worse_than_it_began():
    report = {"levels": [], "items": 10, "start": {"collisions": {"share": 0.069}, "error": [0.5, 0.4]}}
    report |= {
        "collisions": {"before": {"share": 0.115}, "after": {"items": 0}},
        "reconstruction": {"error": [0.4, 0.3]},
    }
    assert "(collisions 6.9% -> 11.5%); --sids.method rqkmeans_constrained keeps that" in list_warnings(report)[0]
    assert list_warnings(report | {"collisions": report["collisions"] | {"before": {"share": 0.05}}}) == []


def test_a_killed_training_goes_on_and_ends_with_the_same_index(run, tmp_path, monkeypatch):
    from genrec.quantizers import rqvae_training

    whole = (run.sids("--method", "rqvae", "--eval_step", "2") / "codes.npy").read_bytes()
    train = rqvae_training.train_epoch

    def die(*arguments):
        if arguments[-1] == 5:
            raise KeyboardInterrupt
        return train(*arguments)

    monkeypatch.setattr(rqvae_training, "train_epoch", die)
    with pytest.raises(KeyboardInterrupt):
        run.sids("--method", "rqvae", "--eval_step", "2", "--clean")
    monkeypatch.setattr(rqvae_training, "train_epoch", train)
    assert (run.dir / "sids/rqvae.partial/quantizer/checkpoint.safetensors").exists()
    assert (run.sids("--method", "rqvae", "--eval_step", "2") / "codes.npy").read_bytes() == whole


def test_shop_has_three_equal_items():
    vectors = shop_vectors()
    assert (vectors[0] == vectors[1]).all() and len(SMALL) == 8 and Run
